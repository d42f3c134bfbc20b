//! The contract of `sid-store`, on Postgres with its vectors in Qdrant. Before each search everything is fed, so that all vectors come from there.

mod common;
#[path = "../../sid-store-pg/tests/common/indexed.rs"]
mod indexed;

use std::sync::Arc;

use common::Collections;
use indexed::Indexed;
use sid_store::Store;
use sid_testkit::conformance::Fixture;
use sid_types::ManualClock;

async fn open(clock: Arc<ManualClock>) -> Fixture {
    let (database, collections) = (Arc::new(common::postgres::database().await), Arc::new(Collections::new()));
    let store = Arc::new(Indexed { inner: common::open(&database, &clock, Arc::new(collections.index())).await });
    let kept = (Arc::clone(&database), Arc::clone(&collections));
    let reopen = move |old: Arc<dyn Store>| {
        drop(old);
        let (database, collections, clock) = (Arc::clone(&database), Arc::clone(&collections), Arc::clone(&clock));
        async move {
            let inner = common::open(&database, &clock, Arc::new(collections.index())).await;
            Arc::new(Indexed { inner }) as Arc<dyn Store>
        }
    };
    Fixture::new(store).reopened_by(reopen).keeping(kept)
}

sid_testkit::store_conformance!(open);
