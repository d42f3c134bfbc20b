//! The contract of `sid-store`, on Postgres with its vectors in Qdrant. Before each search everything is fed, so that all vectors come from there.

mod common;

use std::sync::Arc;

use async_trait::async_trait;
use common::Collections;
use sid_store::{Candidates, Capability, MemorySearch, SearchQuery, Store, StoreError};
use sid_store_pg::{Indexer, PgStore};
use sid_testkit::conformance::Fixture;
use sid_types::{ManualClock, Scope};

/// A store whose index is never behind.
struct Indexed {
    inner: PgStore,
}

sid_testkit::delegate_store!(Indexed, inner: StateStore, EventLog, RecallStore, ArchivalStore, EmbeddingIndex, BlockStore, DiaryStore,
    Directory, Eraser);

#[async_trait]
impl MemorySearch for Indexed {
    fn capability(&self) -> Capability {
        self.inner.capability()
    }

    async fn search(&self, scope: &Scope, query: &SearchQuery) -> Result<Candidates, StoreError> {
        Indexer::new(&self.inner).expect("it has an index").catch_up().await?;
        let status = self.inner.vector_status().await?.expect("it has an index");
        assert_eq!((status.waiting, status.removals), (0, 0));
        let found = self.inner.search(scope, query).await?;
        assert_eq!(self.inner.vector_status().await?.expect("it has an index").fallbacks, 0, "the index has answered");
        Ok(found)
    }
}

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
