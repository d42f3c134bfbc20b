//! The contract of `sid-store`, on Postgres with an index that is only fed now and then, by two indexers at once: what it has not got yet
//! must be found all the same.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::Collections;
use sid_store::Store;
use sid_store_pg::Indexer;
use sid_testkit::conformance::Fixture;
use sid_types::ManualClock;

async fn open(clock: Arc<ManualClock>) -> Fixture {
    let (database, collections) = (Arc::new(common::postgres::database().await), Arc::new(Collections::new()));
    let store = common::open(&database, &clock, Arc::new(collections.index())).await;
    let other = common::open(&database, &clock, Arc::new(collections.index())).await;
    // The other process' store: dropped with its tasks, when the check is over.
    for _ in 0..2 {
        let indexer = Indexer::new(&other).expect("it has an index").reconciling_every(Duration::from_millis(700));
        tokio::spawn(indexer.run(std::future::pending()));
    }
    let kept = (Arc::clone(&database), Arc::clone(&collections));
    let reopen = move |old: Arc<dyn Store>| {
        drop(old);
        let (database, collections, clock) = (Arc::clone(&database), Arc::clone(&collections), Arc::clone(&clock));
        async move { Arc::new(common::open(&database, &clock, Arc::new(collections.index())).await) as Arc<dyn Store> }
    };
    Fixture::new(Arc::new(store)).reopened_by(reopen).keeping(kept)
}

sid_testkit::store_conformance!(open);
