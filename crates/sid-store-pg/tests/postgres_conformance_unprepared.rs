//! The contract of `sid-store`, on Postgres behind a pooler that keeps no prepared statements.

mod common;

use std::sync::Arc;

use sid_store::Store;
use sid_testkit::conformance::Fixture;
use sid_types::ManualClock;

async fn open(clock: Arc<ManualClock>) -> Fixture {
    let database = Arc::new(common::database().await);
    let store: Arc<dyn Store> = Arc::new(common::open_unprepared(&database, &clock).await);
    let kept = Arc::clone(&database);
    let reopen = move |old: Arc<dyn Store>| {
        // As a crash would: no shutdown, the last handle is dropped.
        drop(old);
        let (database, clock) = (Arc::clone(&database), Arc::clone(&clock));
        async move { Arc::new(common::open_unprepared(&database, &clock).await) as Arc<dyn Store> }
    };
    Fixture::new(store).reopened_by(reopen).keeping(kept)
}

sid_testkit::store_conformance!(open);
