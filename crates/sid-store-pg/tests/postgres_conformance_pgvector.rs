//! The contract of `sid-store`, with all vectors in pgvector.

mod common;
#[path = "common/indexed.rs"]
mod indexed;

use std::sync::Arc;

use indexed::Indexed;
use sid_store::Store;
use sid_store_pg::{PgConfig, PgStore, PgVectors};
use sid_testkit::conformance::Fixture;
use sid_testkit::postgres::Database;
use sid_types::ManualClock;

async fn store(database: &Database, clock: &Arc<ManualClock>) -> Arc<dyn Store> {
    let config = PgConfig { vector_index_from: 0, ..common::config(database) };
    let index = PgVectors::open(&config).await.expect("pgvector is there");
    let inner = PgStore::open_with_test_clock(config, Arc::clone(clock) as _).await.expect("the store opens");
    Arc::new(Indexed { inner: inner.with_vector_index(Arc::new(index)) })
}

async fn open(clock: Arc<ManualClock>) -> Fixture {
    let database = Arc::new(common::database().await);
    let opened = store(&database, &clock).await;
    let kept = Arc::clone(&database);
    let reopen = move |old: Arc<dyn Store>| {
        drop(old);
        let (database, clock) = (Arc::clone(&database), Arc::clone(&clock));
        async move { store(&database, &clock).await }
    };
    Fixture::new(opened).reopened_by(reopen).keeping(kept)
}

sid_testkit::store_conformance!(open);
