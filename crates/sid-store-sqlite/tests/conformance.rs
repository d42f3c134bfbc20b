//! The contract of `sid-store`, on SQLite.

use std::sync::Arc;

use sid_store::Store;
use sid_store_sqlite::{SqliteConfig, SqliteStore};
use sid_testkit::conformance::Fixture;
use sid_types::ManualClock;

async fn open(clock: Arc<ManualClock>) -> Fixture {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_owned();
    let at = move |clock: Arc<ManualClock>| {
        let path = path.clone();
        async move {
            let config = SqliteConfig { synchronous_full: false, ..SqliteConfig::new(path) };
            Arc::new(SqliteStore::open(config, clock).await.expect("the store opens")) as Arc<dyn Store>
        }
    };
    let store = at(Arc::clone(&clock)).await;
    let reopen = move |old: Arc<dyn Store>| {
        // As a crash would: no shutdown, the last handle is dropped.
        drop(old);
        at(Arc::clone(&clock))
    };
    Fixture::new(store).reopened_by(reopen).keeping(folder)
}

sid_testkit::store_conformance!(open);
