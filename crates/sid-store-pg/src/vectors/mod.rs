//! Vectors in an index beside the database: fed from it, asked by searches, joined back to it (ADR 0009).
//!
//! `sid.vectors` is the truth; the index holds what is behind each partition's mark. A search takes what is before the mark from the index and
//! compares the rest itself, so nothing that was committed is ever missed; and it believes no hit that the snapshot does not confirm.

mod erasures;
mod feed;
mod indexer;
mod look;
mod pgvector;
mod reconcile;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sid_store::{GenerationId, StoreError, VectorHit, VectorIndex, VectorQuery};
use sid_types::Timestamp;

use crate::backend::PgStore;
use crate::codec::Columns;
use crate::error::Fault;

pub(crate) use erasures::{Removal, remove, written};
pub(crate) use feed::tell;
pub use indexer::Indexer;
pub(crate) use look::{Centroid, Outside, look, vectors_by_id};
pub use pgvector::PgVectors;
pub use reconcile::Drift;

/// After a failure the index is left alone for so long: a search should not wait for it each time.
const REST: Duration = Duration::from_secs(1);

/// The index of a store, and how it has been answering.
#[derive(Debug)]
pub(crate) struct Vectors {
    index: Arc<dyn VectorIndex>,
    resting_until: Mutex<Option<Instant>>,
    fallbacks: AtomicU64,
}

/// How a store's vector index is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorStatus {
    /// Whether the index has answered when it was last asked by a search of this process.
    pub is_answering: bool,
    /// Searches of this process that went on without it.
    pub fallbacks: u64,
    /// Changes of partitions that wait to be fed; searches compare them without the index.
    pub waiting: u64,
    /// Since when the oldest of them waits.
    pub waits_since: Option<Timestamp>,
    /// Deletions that no count has verified yet.
    pub removals: u64,
    /// Since when the oldest of them waits.
    pub removals_since: Option<Timestamp>,
}

impl Vectors {
    pub(crate) fn new(index: Arc<dyn VectorIndex>) -> Self {
        Self { index, resting_until: Mutex::default(), fallbacks: AtomicU64::new(0) }
    }

    pub(crate) fn index(&self) -> &Arc<dyn VectorIndex> {
        &self.index
    }

    fn is_resting(&self) -> bool {
        self.resting_until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// Asks the index; `None` = it does not answer, and is left alone for a moment.
    async fn search(&self, generation: &GenerationId, query: &VectorQuery<'_>) -> Option<Vec<VectorHit>> {
        if !self.is_resting() {
            match self.index.search(generation, query).await {
                Ok(hits) => {
                    *self.resting_until.lock() = None;
                    return Some(hits);
                }
                Err(error) => {
                    tracing::warn!(%error, code = error.code(), generation = generation.0, "search goes on without the vector index");
                    *self.resting_until.lock() = Some(Instant::now() + REST);
                }
            }
        }
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl PgStore {
    /// Forgets that the database was ever given a vector index: for who goes on without one, as nothing would be dropped from what waits for
    /// it. What the index holds is not touched. Answers how many partitions were in it.
    pub async fn forget_vector_index(&self) -> Result<u64, StoreError> {
        let call = self.call("SELECT sid.index_forget()");
        Ok(call.fetch_one().await.map_err(Fault::Sql)?.count(0)?)
    }

    /// How the vector index is doing; `None` if there is none. For metrics: `waits_since` is the lag.
    pub async fn vector_status(&self) -> Result<Option<VectorStatus>, StoreError> {
        let Some(vectors) = self.vectors() else { return Ok(None) };
        let call = self.call("SELECT o_waiting, o_waits_since, o_removals, o_removals_since FROM sid.index_lag()");
        let row = call.fetch_one().await.map_err(Fault::Sql)?;
        Ok(Some(VectorStatus {
            is_answering: !vectors.is_resting(),
            fallbacks: vectors.fallbacks.load(Ordering::Relaxed),
            waiting: row.count(0)?,
            waits_since: row.maybe_time(1)?,
            removals: row.count(2)?,
            removals_since: row.maybe_time(3)?,
        }))
    }
}
