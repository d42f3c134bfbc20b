//! Embedding generations: how far each has come, and what becomes of old ones.

use std::time::Duration;

use serde::Serialize;
use sid_llm::Embedder as _;
use sid_store::{GenerationId, IndexStatus};
use sid_types::Scope;

use crate::{CoreError, Engine, embedders};

/// How far the background's embedding has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IndexReport {
    /// The embedding generation; `None` without an embedder.
    pub generation: Option<String>,
    /// Whether nearness means likeness of meaning.
    pub is_semantic: bool,
    /// Records with vectors.
    pub indexed: u64,
    /// Records that wait for theirs.
    pub pending: u64,
}

/// An embedding generation, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GenerationReport {
    /// Provider, model, dimensions and chunker.
    pub id: String,
    /// Whether it is the one that memory is searched with.
    pub is_active: bool,
    /// Whether it is the one that is to become active when nothing is pending.
    pub is_wanted: bool,
    /// Whether an embedder of this process makes it.
    pub is_configured: bool,
    /// Records with vectors, in all tenants.
    pub indexed: u64,
    /// Records that wait for theirs.
    pub pending: u64,
}

impl Engine {
    /// How far embedding has come for all that the scope sees; waits at most `wait` until nothing is pending.
    pub async fn index(&self, scope: &Scope, wait: Duration) -> Result<IndexReport, CoreError> {
        let Some(embedder) = &self.inner.embedder else {
            return Ok(IndexReport { generation: None, is_semantic: false, indexed: 0, pending: 0 });
        };
        let generation = embedder.generation();
        let id = GenerationId(generation.id.clone());
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let status = self.inner.store.index_status(scope, &id, None).await?;
            if status.pending == 0 || tokio::time::Instant::now() >= deadline {
                return Ok(IndexReport {
                    generation: Some(generation.id),
                    is_semantic: generation.is_semantic,
                    indexed: status.indexed,
                    pending: status.pending,
                });
            }
            self.inner.new_memory.notify_one();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The embedding generations that the store knows or that are configured here, by name, and how far each is in all tenants.
    pub async fn generations(&self) -> Result<Vec<GenerationReport>, CoreError> {
        let known = self.inner.store.generations().await?;
        let configured = self.inner.embedder.as_ref().map(|e| e.in_order()).unwrap_or_default();
        let configured: Vec<GenerationId> = configured.iter().map(|e| embedders::id(&**e)).collect();
        let mut ids: Vec<GenerationId> = known.iter().map(|g| g.id.clone()).chain(configured.iter().cloned()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut reports = Vec::with_capacity(ids.len());
        for id in ids {
            let IndexStatus { indexed, pending } = self.inner.store.generation_status(&id).await?;
            let is_active = known.iter().any(|g| g.is_active && g.id == id);
            let is_wanted = self.inner.embedder.as_ref().is_some_and(|e| e.wanted() == id);
            reports.push(GenerationReport { is_configured: configured.contains(&id), id: id.0, is_active, is_wanted, indexed, pending });
        }
        Ok(reports)
    }

    /// Drops vectors of generations that are neither active nor configured, for about as long as `patience`. Answers how many generations are
    /// left to be dropped: call it again until none is.
    pub async fn drop_old_generations(&self, patience: Duration) -> Result<usize, CoreError> {
        let end = tokio::time::Instant::now() + patience;
        let old: Vec<_> = self.generations().await?.into_iter().filter(|g| !g.is_active && !g.is_configured).collect();
        for (dropped, one) in old.iter().enumerate() {
            while self.inner.store.drop_generation(&GenerationId(one.id.clone())).await? {
                if tokio::time::Instant::now() >= end {
                    return Ok(old.len() - dropped);
                }
            }
        }
        Ok(0)
    }
}
