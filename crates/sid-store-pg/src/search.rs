//! `MemorySearch`: exact in memory, and through word lists where a partition is larger than its room in memory. Vectors of large partitions
//! come from the vector index, if there is one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use sid_store::index::{IndexHit, IndexHits, MergedHits, WordStatistics, merge};
use sid_store::{Candidate, Candidates, Capability, GenerationId, MemorySearch, RecordId, SearchQuery, StoreError};
use sid_types::{Owner, Scope};

use crate::backend::PgStore;
use crate::codec::Columns;
use crate::deep;
use crate::embedding::Generation;
use crate::error::{Fault, Result, unavailable};
use crate::glance::{Glance, glance, named};
use crate::partitions::Entry;
use crate::records;
use crate::tx::Tx;
use crate::vectors::{self, Outside};
use crate::visibility::Partition;
use crate::words;

/// Searches in more records than this go to a thread of their own.
const INLINE: usize = 2_000;
/// How often a search begins anew because memory was ahead of its snapshot.
const TRIES: usize = 5;

/// A query's embedding generation, if any vectors are in it: its name and number.
type Asked<'a> = Option<&'a (GenerationId, i32)>;

#[async_trait]
impl MemorySearch for PgStore {
    fn capability(&self) -> Capability {
        Capability { durable: true, dense: true, shared: true, backup: false }
    }

    async fn search(&self, scope: &Scope, query: &SearchQuery) -> Result<Candidates, StoreError> {
        for _ in 0..TRIES {
            if let Some(candidates) = search(self, scope, query).await? {
                return Ok(candidates);
            }
        }
        Err(unavailable("this memory changes faster than it can be read; try again"))
    }
}

/// `None`: memory is ahead of the snapshot that this search has read.
async fn search(store: &PgStore, scope: &Scope, query: &SearchQuery) -> Result<Option<Candidates>> {
    if let Some(Glance { looks, asked }) = glance(store, scope, query).await? {
        let whole = |(partition, entry)| Look { partition, entry: Some(entry), outside: None };
        let looks: Arc<Vec<Look>> = Arc::new(looks.into_iter().map(whole).collect());
        let hits = hits_in_memory(&looks, query, asked.as_ref()).await?;
        store.partitions().fit(&looks.iter().map(|look| look.partition.part).collect());
        let partitions: Vec<Partition> = looks.iter().map(|look| look.partition).collect();
        let parts = looks.iter().zip(hits).filter_map(|(look, hits)| Some((look.partition.owner, hits?))).collect();
        return Ok(Some(candidates(store, scope, &partitions, merge(parts), false).await?));
    }
    let mut tx = store.read(scope.tenant()).await?;
    let mut asked = None;
    if let Some(vector) = &query.vector
        && let Some(generation) = Generation::find(&mut tx, &vector.generation).await?
    {
        let found = vector.values.len();
        if let Some(dimensions) = generation.dimensions.filter(|d| *d != found) {
            let why = format!("the generation has {dimensions} dimensions, the query's vector {found}");
            return Err(StoreError::Invalid(why).into());
        }
        asked = Some((vector.generation.clone(), generation.number));
    }
    let only = match query.conversation {
        Some(id) => {
            let statement = tx.query("SELECT part FROM sid.conversations WHERE tenant = $1 AND id = $2").bind(tx.tenant).bind(id.uuid());
            statement.fetch_optional(tx.conn()).await?.map(|row| row.int(0)).transpose()?
        }
        None => None,
    };
    let mut partitions = store.viewer(scope).partitions(&mut tx).await?;
    store.partitions().remember(scope, partitions.iter().filter(|p| p.records > 0).map(|p| p.part).collect());
    partitions.retain(|p| {
        let is_asked = query.owners.as_ref().is_none_or(|owners| owners.contains(&p.owner));
        p.records > 0 && is_asked && (query.conversation.is_none() || only == Some(p.part))
    });
    let mut outside = vectors::look(store, &mut tx, &partitions, query, asked.as_ref()).await?;
    let searched = partitions.clone();
    let mut looks = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let outside = outside.remove(&partition.part);
        // Vectors that come from outside are not read into memory.
        let in_memory = asked.as_ref().filter(|_| outside.is_none());
        let entry = match ready(store, &mut tx, &partition, in_memory).await? {
            Ready::Yes(entry) => {
                if let Some((name, _)) = asked.as_ref().filter(|_| outside.is_some()) {
                    entry.drop_vectors(name);
                }
                Some(entry)
            }
            Ready::NotYet => None,
            Ready::Ahead => return Ok(None),
        };
        looks.push(Look { partition, entry, outside });
    }
    let is_partial = looks.iter().any(|look| look.outside.as_ref().is_some_and(|o| o.is_partial));
    let parts = look(store, &mut tx, looks, query, asked.as_ref()).await?;
    drop(tx);
    Ok(Some(candidates(store, scope, &searched, merge(parts), is_partial).await?))
}

/// With the records. One that went away meanwhile is not found.
async fn candidates(store: &PgStore, scope: &Scope, partitions: &[Partition], found: MergedHits, is_partial: bool) -> Result<Candidates> {
    let parts: HashMap<Owner, i64> = partitions.iter().map(|p| (p.owner, p.part)).collect();
    let names: Vec<(i64, RecordId)> = found.items.iter().filter_map(|(owner, hit)| Some((*parts.get(owner)?, hit.id))).collect();
    let mut records = named(store, scope, &names).await?;
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
        is_partial,
    })
}

/// One partition in a search.
struct Look {
    partition: Partition,
    /// `None`: it is large and on its way into memory.
    entry: Option<Arc<Entry>>,
    /// Its vectors, if they are not in memory.
    outside: Option<Outside>,
}

/// Looks through all partitions, as one memory: words are as rare as they are in everything that the scope sees.
async fn look(store: &PgStore, tx: &mut Tx, looks: Vec<Look>, query: &SearchQuery, asked: Asked<'_>) -> Result<Vec<(Owner, IndexHits)>> {
    let looks = Arc::new(looks);
    let hits = hits_in_memory(&looks, query, asked).await?;
    let mut parts = Vec::with_capacity(looks.len());
    for (look, hits) in looks.iter().zip(hits) {
        let Look { partition, entry, outside } = look;
        let generation = asked.map(|(_, number)| *number);
        let below = entry.as_ref().map_or(i64::MAX, |e| e.lowest());
        let near = outside.as_ref().map(|o| o.before(below)).unwrap_or_default();
        let hits = match (hits, entry) {
            (Some(mut hits), Some(entry)) => {
                if outside.is_some() {
                    complete(tx, partition, entry, query, generation, &mut hits).await?;
                }
                if below <= 0 { hits } else { joined(hits, deep::look(tx, partition, query, generation, below, &near).await?) }
            }
            _ => deep::look(tx, partition, query, generation, i64::MAX, &near).await?,
        };
        parts.push((partition.owner, hits));
    }
    store.partitions().fit(&looks.iter().map(|look| look.partition.part).collect());
    Ok(parts)
}

/// What memory finds, by partition; `None` where it is not in memory.
async fn hits_in_memory(looks: &Arc<Vec<Look>>, query: &SearchQuery, asked: Asked<'_>) -> Result<Vec<Option<IndexHits>>> {
    let size: usize = looks.iter().filter_map(|look| look.entry.as_ref()).map(|e| e.shelf().index.len()).sum();
    if size <= INLINE {
        return Ok(in_memory(looks, query, asked));
    }
    let (looks, query, asked) = (Arc::clone(looks), query.clone(), asked.cloned());
    Ok(tokio::task::spawn_blocking(move || in_memory(&looks, &query, asked.as_ref())).await.map_err(unavailable)?)
}

fn in_memory(looks: &[Look], query: &SearchQuery, asked: Asked<'_>) -> Vec<Option<IndexHits>> {
    let shelves: Vec<_> = looks.iter().map(|look| look.entry.as_ref().map(|e| e.shelf())).collect();
    let own: Vec<Option<WordStatistics>> = shelves.iter().map(|s| s.as_ref().map(|s| s.index.statistics(&query.text))).collect();
    let mut all = WordStatistics::default();
    for statistics in own.iter().flatten() {
        all.add(statistics);
    }
    let each = looks.iter().zip(&shelves).zip(&own).map(|((look, shelf), own)| {
        let (shelf, others) = (shelf.as_ref()?, all.without(own.as_ref()?));
        Some(match (&look.outside, query.vector.as_ref().filter(|_| asked.is_some())) {
            (Some(outside), Some(vector)) => shelf.index.search_given(query, &others, &outside.compare(shelf, &vector.values)),
            _ => shelf.index.search_among(query, &others),
        })
    });
    each.collect()
}

/// Gives what words have found its dense score, where vectors are not in memory.
async fn complete(
    tx: &mut Tx,
    partition: &Partition,
    entry: &Entry,
    query: &SearchQuery,
    generation: Option<i32>,
    hits: &mut IndexHits,
) -> Result<()> {
    let (Some(vector), Some(generation)) = (&query.vector, generation) else { return Ok(()) };
    let without: HashSet<RecordId> = hits.items.iter().filter(|h| h.channels.dense == 0.0).map(|h| h.id).collect();
    let numbers = entry.shelf().numbers(&without);
    let dense = vectors::vectors_by_id(tx, partition.part, generation, &vector.values, &numbers).await?;
    entry.shelf().index.complete(hits, &dense);
    Ok(())
}

/// How a partition's memory stands to a search's snapshot.
enum Ready {
    Yes(Arc<Entry>),
    /// It is large and on its way.
    NotYet,
    /// It is newer than the snapshot, where that matters.
    Ahead,
}

async fn ready(store: &PgStore, tx: &mut Tx, partition: &Partition, asked: Asked<'_>) -> Result<Ready> {
    let entry = store.partitions().get(partition.part);
    if partition.records < store.config().word_lists_threshold() {
        return refresh(store, tx, partition, entry, asked).await;
    }
    let is_loaded = { entry.seen() >= partition.reload_from };
    if !is_loaded || entry.shelf().newer_than(partition.filled_to) >= words::STEP {
        store.spawn_filling(tx.tenant, partition.part);
    }
    if is_loaded {
        return refresh(store, tx, partition, entry, asked).await;
    }
    // In a task of its own: a caller that goes away must not make others begin anew.
    let (store, tenant, part, asked) = (store.clone(), tx.tenant, partition.part, asked.cloned());
    let patience = store.config().load_patience;
    let loading = tokio::spawn(async move {
        let mut tx = store.read_long(sid_types::TenantId::from_uuid(tenant)).await?;
        if let Some(partition) = Partition::numbered(&mut tx, part).await? {
            refresh(&store, &mut tx, &partition, entry, asked.as_ref()).await?;
        }
        Ok::<(), Fault>(())
    });
    match tokio::time::timeout(patience, loading).await {
        // Begin anew, with a snapshot that is as young as memory.
        Ok(Ok(Ok(()))) => Ok(Ready::Ahead),
        Ok(Ok(Err(fault))) => Err(fault),
        Ok(Err(error)) => Err(unavailable(error).into()),
        Err(_) => Ok(Ready::NotYet),
    }
}

/// Brings memory up to the transaction's snapshot, if it is not there already.
async fn refresh(store: &PgStore, tx: &mut Tx, partition: &Partition, entry: Arc<Entry>, asked: Asked<'_>) -> Result<Ready> {
    {
        let _gate = entry.gate.lock().await;
        let Partition { part, version, reload_from, .. } = *partition;
        let (seen, known) = {
            let shelf = entry.shelf();
            (shelf.seen, shelf.generations.clone())
        };
        let missing = asked.filter(|(name, _)| !known.contains_key(name));
        if seen > version {
            return Ok(if missing.is_some() { Ready::Ahead } else { Ready::Yes(Arc::clone(&entry)) });
        }
        if seen < reload_from {
            let mut shelf = records::load(tx, partition, store.partitions().capacity).await?;
            if let Some((name, number)) = asked {
                shelf.generations.insert(name.clone(), *number);
                for (rid, chunks) in records::vectors(tx, part, *number, -1, version).await? {
                    shelf.set_vectors(name, rid, &chunks);
                }
            }
            entry.change(|old| *old = shelf);
        } else {
            if seen < version {
                let known: Vec<(GenerationId, i32)> = known.into_iter().collect();
                let changes = records::changes(tx, part, seen, version, &known).await?;
                entry.change(|shelf| shelf.apply(changes, store.partitions().capacity));
            }
            if let Some((name, number)) = missing {
                let vectors = records::vectors(tx, part, *number, -1, version).await?;
                entry.change(|shelf| {
                    shelf.generations.insert(name.clone(), *number);
                    for (rid, chunks) in &vectors {
                        shelf.set_vectors(name, *rid, chunks);
                    }
                });
            }
        }
    }
    Ok(Ready::Yes(entry))
}

/// What memory and the word lists have found, each record once. Shapes are those of memory: it has looked at far more.
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
