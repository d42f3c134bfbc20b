//! `MemorySearch`: exact in memory, and through the full-text index where a partition is larger than its room in memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use sid_store::index::{IndexHit, IndexHits, WordStatistics, merge};
use sid_store::{Candidate, Candidates, Capability, MemorySearch, Record, RecordId, SearchQuery, StoreError};
use sid_types::{Owner, Scope};
use sqlx::Connection;

use crate::backend::SqliteStore;
use crate::deep;
use crate::embedding::Generation;
use crate::error::{Fault, Result, unavailable};
use crate::partitions::{Entry, Loading};
use crate::records;
use crate::visibility::{Conv, Partition};

#[async_trait]
impl MemorySearch for SqliteStore {
    fn capability(&self) -> Capability {
        Capability { durable: true, dense: true, shared: false, backup: true }
    }

    async fn search(&self, scope: &Scope, query: &SearchQuery) -> Result<Candidates, StoreError> {
        let viewer = self.viewer(scope).await?;
        let partitions = {
            let mut conn = self.reader().await?;
            if let Some(vector) = &query.vector
                && let Some(dimensions) = Generation::find(&mut conn, &vector.generation).await?.and_then(|g| g.dimensions)
                && dimensions != vector.values.len()
            {
                let found = vector.values.len();
                return Err(StoreError::Invalid(format!("the generation has {dimensions} dimensions, the query's vector {found}")));
            }
            let only = match query.conversation {
                Some(id) => Conv::find(&mut conn, viewer.tenant, viewer.tenant_id(), id).await?.map(|c| c.part),
                None => None,
            };
            let mut partitions = viewer.partitions(&mut conn).await?;
            partitions.retain(|p| {
                let is_asked = query.owners.as_ref().is_none_or(|owners| owners.contains(&p.owner));
                p.records > 0 && is_asked && (query.conversation.is_none() || only == Some(p.part))
            });
            partitions
        };
        // Words are as rare as they are in everything that the scope sees.
        let mut looks = Vec::with_capacity(partitions.len());
        let mut all = WordStatistics::default();
        for partition in &partitions {
            let entry = self.loaded(partition, query).await?;
            let own = entry.as_ref().map(|e| e.statistics(&query.text)).unwrap_or_default();
            all.add(&own);
            looks.push((partition, entry, own));
        }
        let mut parts: Vec<(Owner, IndexHits)> = Vec::with_capacity(looks.len());
        for (partition, entry, own) in looks {
            parts.push((partition.owner, self.look(partition, entry, query, all.without(&own)).await?));
        }
        let found = merge(parts);
        let ids: Vec<RecordId> = found.items.iter().map(|(_, hit)| hit.id).collect();
        let mut records: HashMap<RecordId, Record> = if ids.is_empty() {
            HashMap::new()
        } else {
            let named = records::named(&mut *self.reader().await?, viewer.tenant, &ids).await?;
            named.into_iter().map(|(_, record)| (record.id(), record)).collect()
        };
        // A record that went away between the look and the reading is not found.
        let candidate = |(owner, hit): (Owner, IndexHit)| {
            let record = records.remove(&hit.id)?;
            Some(Candidate { record, owner, channels: hit.channels, best_chunk: hit.best_chunk, neighbours: hit.neighbours })
        };
        Ok(Candidates {
            items: found.items.into_iter().filter_map(candidate).collect(),
            searched: found.searched,
            bm25: found.bm25,
            context_bm25: found.context_bm25,
            dense: found.dense,
            is_partial: false,
        })
    }
}

impl SqliteStore {
    /// Looks through one partition.
    async fn look(
        &self,
        partition: &Partition,
        entry: Option<Arc<Entry>>,
        query: &SearchQuery,
        others: WordStatistics,
    ) -> Result<IndexHits, StoreError> {
        let Some(entry) = entry else {
            let mut conn = self.reader().await?;
            return Ok(deep::look(&mut conn, partition, query, i64::MAX).await?);
        };
        if let Some(vector) = &query.vector
            && !entry.has_generation(&vector.generation)
        {
            self.load_generation(&entry, &vector.generation).await?;
        }
        // Both at once: neither needs the other's answer.
        let below = entry.lowest();
        let older = async {
            if below <= 0 {
                return Ok(None);
            }
            let mut conn = self.reader().await?;
            Ok::<_, StoreError>(Some(deep::look(&mut conn, partition, query, below).await?))
        };
        let (looked, older) = futures::try_join!(entry.search(query, others, self.config().index_capacity), older)?;
        self.partitions().fit(partition.part);
        Ok(match older {
            Some(older) => joined(looked, older),
            None => looked,
        })
    }

    /// The partition in memory; `None` while a large one is still on its way there.
    async fn loaded(&self, partition: &Partition, query: &SearchQuery) -> Result<Option<Arc<Entry>>, StoreError> {
        // The second try is for one that failed to load for somebody else.
        for _ in 0..2 {
            let (entry, is_mine) = self.partitions().get(partition.part);
            if is_mine {
                let generation = query.vector.as_ref().map(|v| v.generation.clone());
                self.spawn_load(Arc::clone(&entry), generation);
            }
            let state = if partition.is_full_text {
                match tokio::time::timeout(self.config().load_patience, entry.ready()).await {
                    Ok(state) => state,
                    Err(_) => return Ok(None),
                }
            } else {
                entry.ready().await
            };
            if state == Loading::Ready {
                return Ok(Some(entry));
            }
        }
        Err(unavailable("a memory partition could not be read; the log says why"))
    }

    /// Loads in a task of its own: a caller that goes away must not leave it half done.
    fn spawn_load(&self, entry: Arc<Entry>, generation: Option<sid_store::GenerationId>) {
        let (pool, partitions, capacity) = (self.pool(), Arc::clone(self.partitions()), self.config().index_capacity);
        tokio::spawn(async move {
            let outcome = async {
                let mut conn = pool.acquire().await?;
                // One snapshot for rows and vectors.
                let mut tx = conn.begin().await?;
                let shelf = records::load(&mut tx, entry.part, capacity, generation.as_ref()).await?;
                tx.rollback().await?;
                Ok::<_, Fault>(shelf)
            }
            .await;
            match outcome {
                Ok(shelf) => entry.finish(shelf),
                Err(fault) => {
                    tracing::error!(error = %StoreError::from(fault), part = entry.part, "a memory partition could not be loaded");
                    partitions.drop_entry(&entry);
                    entry.fail();
                }
            }
        });
    }

    async fn load_generation(&self, entry: &Arc<Entry>, generation: &sid_store::GenerationId) -> Result<()> {
        let Some(lowest) = entry.begin_generation(generation) else { return Ok(()) };
        let mut conn = self.reader().await?;
        let outcome =
            records::vectors(&mut conn, entry.part, lowest, generation, |id, chunks| entry.set_vectors(id, generation, chunks)).await;
        if outcome.is_err() {
            entry.forget_generation(generation);
        }
        outcome
    }
}

/// What memory and the full-text index have found, each record once. Shapes are those of memory: it has looked at far more.
fn joined(mut hits: IndexHits, older: IndexHits) -> IndexHits {
    let known: HashSet<RecordId> = hits.items.iter().map(|h| h.id).collect();
    hits.bm25.max = hits.bm25.max.max(older.bm25.max);
    hits.context_bm25.max = hits.context_bm25.max.max(older.context_bm25.max);
    hits.dense.max = hits.dense.max.max(older.dense.max);
    // The look below memory has gone over the whole partition.
    hits.searched = hits.searched.max(older.searched);
    hits.embedded += older.embedded;
    hits.items.extend(older.items.into_iter().filter(|h| !known.contains(&h.id)));
    hits
}
