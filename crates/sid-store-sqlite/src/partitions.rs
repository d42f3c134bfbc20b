//! Partitions in memory: loaded at the first search, kept up to date by every commit, the least recently used ones dropped.
//!
//! A commit only notes its change at the partition; the next search takes the notes in before it looks. So the writer never waits for
//! a search, and a record is found the moment its commit has returned. A partition that is being loaded is in the map before its rows
//! are read: what is committed meanwhile is noted, too, and may be taken in twice without harm.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use sid_store::index::{Document, IndexHits, PartitionIndex, WordStatistics};
use sid_store::{Chunk, GenerationId, Record, RecordId, SearchQuery, StoreError};
use sid_types::ConversationId;
use tokio::sync::watch;

use crate::error::unavailable;

/// A change of a partition.
#[derive(Debug, Clone)]
pub(crate) enum IndexChange {
    /// A record was written.
    Put { rid: i64, record: Box<Record> },
    /// A record is gone.
    Remove(RecordId),
    /// All messages of a conversation are gone.
    RemoveConversation(ConversationId),
    /// A record has its vectors.
    Vectors { id: RecordId, generation: GenerationId, chunks: Arc<[Chunk]> },
    /// Everything is gone.
    Forget,
}

/// A partition's records in memory.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) index: PartitionIndex,
    /// In the order of writing; what was removed may still be named.
    pub(crate) order: VecDeque<(i64, RecordId)>,
    /// Generations whose vectors are in memory.
    pub(crate) generations: HashSet<GenerationId>,
    /// Records before this one are only on disk.
    pub(crate) lowest: i64,
}

impl Shelf {
    fn apply(&mut self, change: IndexChange, capacity: usize) {
        match change {
            IndexChange::Put { rid, record } => {
                let Some(document) = Document::of(&record) else { return };
                // Loaded and noted: the row was read after its commit.
                if self.order.binary_search_by_key(&rid, |(r, _)| *r).is_ok() {
                    return;
                }
                if self.index.contains(document.id) {
                    self.order.retain(|(_, id)| *id != document.id);
                }
                self.index.insert(&document);
                self.order.push_back((rid, document.id));
                // In large steps: each removal leaves a tombstone.
                if self.index.len() > capacity + capacity / 16 {
                    self.shrink(capacity);
                }
            }
            IndexChange::Remove(id) => {
                self.index.remove(id);
                // Else a record that was written anew, and loaded with its new number, would be taken for known when its note comes.
                self.order.retain(|(_, known)| *known != id);
            }
            IndexChange::RemoveConversation(conversation) => {
                self.index.remove_conversation(conversation);
            }
            IndexChange::Vectors { id, generation, chunks } => {
                if self.generations.contains(&generation) {
                    self.index.set_vectors(id, &generation, &chunks);
                }
            }
            IndexChange::Forget => {
                self.index = PartitionIndex::new();
                self.order.clear();
            }
        }
    }

    fn shrink(&mut self, capacity: usize) {
        while self.index.len() > capacity {
            let Some((rid, id)) = self.order.pop_front() else { break };
            self.index.remove(id);
            self.lowest = rid + 1;
        }
    }
}

/// How far a partition's loading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loading {
    Busy,
    Ready,
    Failed,
}

/// A partition in memory, or on its way there.
pub(crate) struct Entry {
    pub(crate) part: i64,
    shelf: RwLock<Shelf>,
    notes: Mutex<Vec<IndexChange>>,
    state: watch::Sender<Loading>,
    last_used: AtomicU64,
    bytes: AtomicUsize,
}

/// Searches in more records than this go to a thread of their own.
const INLINE: usize = 2_000;
/// With so many notes that no search has taken in, the partition is dropped rather than kept.
const MOST_NOTES: usize = 20_000;

impl Entry {
    /// Waits until it is loaded.
    pub(crate) async fn ready(&self) -> Loading {
        let mut state = self.state.subscribe();
        let seen = state.wait_for(|s| *s != Loading::Busy).await;
        seen.map_or(Loading::Failed, |s| *s)
    }

    pub(crate) fn has_generation(&self, generation: &GenerationId) -> bool {
        self.shelf.read().generations.contains(generation)
    }

    /// From now on vectors of this generation are taken in. Answers the lowest `rid` that is in memory, or `None` if it was known.
    pub(crate) fn begin_generation(&self, generation: &GenerationId) -> Option<i64> {
        let mut shelf = self.shelf.write();
        shelf.generations.insert(generation.clone()).then_some(shelf.lowest)
    }

    pub(crate) fn set_vectors(&self, id: RecordId, generation: &GenerationId, chunks: &[Chunk]) {
        self.shelf.write().index.set_vectors(id, generation, chunks);
    }

    pub(crate) fn forget_generation(&self, generation: &GenerationId) {
        self.shelf.write().generations.remove(generation);
    }

    /// Takes the notes in and looks.
    fn look(&self, query: &SearchQuery, others: &WordStatistics, capacity: usize) -> IndexHits {
        let notes = std::mem::take(&mut *self.notes.lock());
        if !notes.is_empty() {
            let mut shelf = self.shelf.write();
            let grown = notes.len();
            for change in notes {
                shelf.apply(change, capacity);
            }
            if grown > 64 || shelf.index.len() % 512 < grown {
                self.bytes.store(shelf.index.bytes(), Ordering::Relaxed);
            }
        }
        let shelf = self.shelf.read();
        shelf.index.search_among(query, others)
    }

    /// Records before this number are only on disk; 0 = none are.
    pub(crate) fn lowest(&self) -> i64 {
        self.shelf.read().lowest
    }

    /// How rare a query's words are here.
    pub(crate) fn statistics(&self, text: &str) -> WordStatistics {
        self.shelf.read().index.statistics(text)
    }

    /// Searches as one of several partitions; `others` are the statistics of the rest.
    pub(crate) async fn search(
        self: &Arc<Self>,
        query: &SearchQuery,
        others: WordStatistics,
        capacity: usize,
    ) -> Result<IndexHits, StoreError> {
        let size = self.shelf.read().index.len();
        if size <= INLINE {
            return Ok(self.look(query, &others, capacity));
        }
        let (entry, query) = (Arc::clone(self), query.clone());
        tokio::task::spawn_blocking(move || entry.look(&query, &others, capacity)).await.map_err(unavailable)
    }

    /// The loader's last act.
    pub(crate) fn finish(&self, shelf: Shelf) {
        self.bytes.store(shelf.index.bytes(), Ordering::Relaxed);
        *self.shelf.write() = shelf;
        self.state.send_replace(Loading::Ready);
    }

    pub(crate) fn fail(&self) {
        self.state.send_replace(Loading::Failed);
    }

    fn note(&self, change: IndexChange) -> usize {
        let mut notes = self.notes.lock();
        notes.push(change);
        notes.len()
    }
}

/// All partitions in memory.
pub(crate) struct Partitions {
    entries: Mutex<HashMap<i64, Arc<Entry>>>,
    clock: AtomicU64,
    budget: usize,
}

impl Partitions {
    pub(crate) fn new(budget: usize) -> Self {
        Self { entries: Mutex::new(HashMap::new()), clock: AtomicU64::new(0), budget }
    }

    /// The partition; `true` if the caller has to load it.
    pub(crate) fn get(&self, part: i64) -> (Arc<Entry>, bool) {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(&part) {
            entry.last_used.store(now, Ordering::Relaxed);
            return (Arc::clone(entry), false);
        }
        let entry = Arc::new(Entry {
            part,
            shelf: RwLock::default(),
            notes: Mutex::default(),
            state: watch::Sender::new(Loading::Busy),
            last_used: AtomicU64::new(now),
            bytes: AtomicUsize::new(0),
        });
        entries.insert(part, Arc::clone(&entry));
        (entry, true)
    }

    /// Notes a change; partitions that are not in memory read it from disk when they are asked for.
    pub(crate) fn note(&self, part: i64, change: IndexChange) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get(&part) else { return };
        if entry.note(change) > MOST_NOTES && *entry.state.borrow() == Loading::Ready {
            entries.remove(&part);
        }
    }

    pub(crate) fn drop_entry(&self, entry: &Arc<Entry>) {
        let mut entries = self.entries.lock();
        if entries.get(&entry.part).is_some_and(|e| Arc::ptr_eq(e, entry)) {
            entries.remove(&entry.part);
        }
    }

    /// Drops the least recently used partitions until the rest fits. The one in use stays, however large.
    pub(crate) fn fit(&self, in_use: i64) {
        let mut entries = self.entries.lock();
        let mut total: usize = entries.values().map(|e| e.bytes.load(Ordering::Relaxed)).sum();
        while total > self.budget {
            let oldest = entries
                .iter()
                .filter(|(part, e)| **part != in_use && *e.state.borrow() == Loading::Ready)
                .min_by_key(|(_, e)| e.last_used.load(Ordering::Relaxed))
                .map(|(part, _)| *part);
            let Some(entry) = oldest.and_then(|part| entries.remove(&part)) else { break };
            total -= entry.bytes.load(Ordering::Relaxed).min(total);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().len()
    }
}

#[cfg(test)]
mod tests;
