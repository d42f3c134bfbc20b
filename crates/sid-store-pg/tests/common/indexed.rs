//! A store whose vector index is never behind: everything is fed before each search, so that all vectors come from the index.

use async_trait::async_trait;
use sid_store::{Candidates, Capability, MemorySearch, SearchQuery, StoreError};
use sid_store_pg::{Indexer, PgStore};
use sid_types::Scope;

pub(crate) struct Indexed {
    pub(crate) inner: PgStore,
}

sid_testkit::delegate_store!(Indexed, inner: StateStore, EventLog, RecallStore, ArchivalStore, EmbeddingIndex, BlockStore, ItemStore, DiaryStore,
    Directory, DocumentStore, TimerStore, ToolsetStore, EgoStore, TaskStore, ImageStore, ApprovalStore, WebhookStore, AuditLog, Eraser, UsageStore, Duties, Generations, Maintenance);

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
