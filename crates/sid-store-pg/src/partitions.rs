//! Partitions in memory: loaded at the first search, brought up to date by the next ones, the least recently used ones dropped.
//!
//! Any process may write to any partition, so memory is never told of a change; it asks. Every change of a partition draws a number under
//! the partition's row lock and leaves it as the partition's version. A search reads the versions in its snapshot and takes in what was
//! numbered since the version that memory has seen: usually nothing, else one small read. So a record is found, everywhere, the moment
//! its commit has returned.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use sid_store::index::{Document, PartitionIndex};
use sid_store::{Chunk, GenerationId, RecordId};
use sid_types::{ConversationId, Scope};

use crate::vectors::Centroid;

/// A partition's records in memory.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) index: PartitionIndex,
    /// In the order of writing; what was removed may still be named.
    order: VecDeque<(i64, RecordId)>,
    /// Generations whose vectors are in memory, with their numbers.
    pub(crate) generations: HashMap<GenerationId, i32>,
    /// Records before this one are only in the database; 0 = none are.
    pub(crate) lowest: i64,
    /// The version that was read; -1 = nothing was read yet.
    pub(crate) seen: i64,
}

/// What a partition has had since a version.
#[derive(Default)]
pub(crate) struct Changes {
    /// The version up to which they were read.
    pub(crate) upto: i64,
    pub(crate) removed: Vec<RecordId>,
    /// In the order of their numbers.
    pub(crate) records: Vec<Row>,
    pub(crate) vectors: Vec<(GenerationId, i64, Vec<Chunk>)>,
}

/// A record as search takes it in.
pub(crate) struct Row {
    pub(crate) rid: i64,
    pub(crate) id: RecordId,
    /// Conversation, place and role of a message.
    pub(crate) said: Option<(ConversationId, sid_types::Seq, sid_types::Role)>,
    pub(crate) at: sid_types::Timestamp,
    pub(crate) speaker: Option<String>,
    pub(crate) text: String,
}

impl Row {
    fn document(&self) -> Document<'_> {
        Document {
            id: self.id,
            conversation: self.said.map(|(conversation, ..)| conversation),
            seq: self.said.map(|(_, seq, _)| seq),
            role: self.said.map(|(.., role)| role),
            at: self.at,
            speaker: self.speaker.as_deref(),
            text: &self.text,
        }
    }
}

impl Shelf {
    pub(crate) fn new(lowest: i64) -> Self {
        Self { lowest, seen: -1, ..Self::default() }
    }

    pub(crate) fn insert(&mut self, row: &Row) {
        self.index.insert(&row.document());
        self.order.push_back((row.rid, row.id));
    }

    /// Records of several kinds were read one kind after the other.
    pub(crate) fn sort(&mut self) {
        self.order.make_contiguous().sort_unstable_by_key(|(rid, _)| *rid);
    }

    /// Gives the record with this number its vectors, if it is here.
    pub(crate) fn set_vectors(&mut self, generation: &GenerationId, rid: i64, chunks: &[Chunk]) {
        if let Some(id) = self.named(rid) {
            self.index.set_vectors(id, generation, chunks);
        }
    }

    pub(crate) fn apply(&mut self, changes: Changes, capacity: usize) {
        if changes.upto <= self.seen {
            return;
        }
        for id in &changes.removed {
            self.index.remove(*id);
        }
        if !changes.removed.is_empty() {
            let removed: HashSet<RecordId> = changes.removed.iter().copied().collect();
            self.order.retain(|(_, id)| !removed.contains(id));
        }
        for row in &changes.records {
            self.insert(row);
        }
        for (generation, rid, chunks) in &changes.vectors {
            self.set_vectors(generation, *rid, chunks);
        }
        self.seen = changes.upto;
        // In large steps: each removal leaves a tombstone.
        if self.index.len() > capacity + capacity / 16 {
            while self.index.len() > capacity {
                let Some((rid, id)) = self.order.pop_front() else { break };
                self.index.remove(id);
                self.lowest = rid + 1;
            }
        }
    }

    /// The record with this number, if it is here.
    pub(crate) fn named(&self, rid: i64) -> Option<RecordId> {
        let at = self.order.binary_search_by_key(&rid, |(r, _)| *r).ok()?;
        Some(self.order[at].1)
    }

    /// The numbers of these records.
    pub(crate) fn numbers(&self, ids: &HashSet<RecordId>) -> Vec<(i64, RecordId)> {
        self.order.iter().filter(|(_, id)| ids.contains(id)).copied().collect()
    }

    /// How many records here are newer than this one.
    pub(crate) fn newer_than(&self, rid: i64) -> usize {
        self.order.len() - self.order.partition_point(|(r, _)| *r <= rid)
    }
}

/// A partition in memory, or on its way there.
pub(crate) struct Entry {
    shelf: RwLock<Shelf>,
    /// Held by whoever reads the partition from the database.
    pub(crate) gate: tokio::sync::Mutex<()>,
    /// What the vectors of a generation are like on the whole, where they are not in memory.
    centroids: Mutex<HashMap<i32, Centroid>>,
    last_used: AtomicU64,
    bytes: AtomicUsize,
}

impl Entry {
    pub(crate) fn centroid(&self, generation: i32) -> Option<Centroid> {
        self.centroids.lock().get(&generation).cloned()
    }

    pub(crate) fn keep_centroid(&self, generation: i32, centroid: Centroid) {
        self.centroids.lock().insert(generation, centroid);
    }

    pub(crate) fn shelf(&self) -> RwLockReadGuard<'_, Shelf> {
        self.shelf.read()
    }

    /// The version that was read; -1 = nothing was read yet.
    pub(crate) fn seen(&self) -> i64 {
        self.shelf.read().seen
    }

    /// Records before this number are only in the database; 0 = none are.
    pub(crate) fn lowest(&self) -> i64 {
        self.shelf.read().lowest
    }

    /// Drops the vectors of a generation that are taken from elsewhere, unless somebody is just reading them.
    pub(crate) fn drop_vectors(&self, generation: &GenerationId) {
        let is_there = self.shelf().generations.contains_key(generation);
        if is_there && let Ok(_gate) = self.gate.try_lock() {
            self.change(|shelf| {
                shelf.generations.remove(generation);
                shelf.index.drop_generation(generation);
            });
        }
    }

    /// Changes the partition, by whoever holds the gate.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Shelf)) {
        let mut shelf = self.shelf.write();
        change(&mut shelf);
        self.bytes.store(shelf.index.bytes(), Ordering::Relaxed);
    }
}

/// Most principals whose partitions are remembered.
const PRINCIPALS: usize = 4_096;
/// Most partitions of a principal that are remembered: a turn sees a handful, an application all of its tenant's.
const FEW: usize = 64;

/// All partitions in memory.
pub(crate) struct Partitions {
    entries: Mutex<HashMap<i64, Arc<Entry>>>,
    /// What a principal saw at its last search; what it may see is asked at each.
    seen_by: Mutex<HashMap<Scope, Arc<[i64]>>>,
    /// Partitions whose word lists are being written.
    filling: Mutex<HashSet<i64>>,
    clock: AtomicU64,
    budget: usize,
    pub(crate) capacity: usize,
}

impl Partitions {
    pub(crate) fn new(budget: usize, capacity: usize) -> Self {
        Self {
            entries: Mutex::default(),
            seen_by: Mutex::default(),
            filling: Mutex::default(),
            clock: AtomicU64::new(0),
            budget,
            capacity: capacity.max(1),
        }
    }

    /// The partition, as far as it is in memory.
    pub(crate) fn get(&self, part: i64) -> Arc<Entry> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.entries.lock();
        let entry = entries.entry(part).or_insert_with(|| {
            Arc::new(Entry {
                shelf: RwLock::new(Shelf::new(0)),
                gate: tokio::sync::Mutex::new(()),
                centroids: Mutex::default(),
                last_used: AtomicU64::new(now),
                bytes: AtomicUsize::new(0),
            })
        });
        entry.last_used.store(now, Ordering::Relaxed);
        Arc::clone(entry)
    }

    /// Remembers which partitions a principal has seen, if they are few.
    pub(crate) fn remember(&self, scope: &Scope, parts: Vec<i64>) {
        let mut all = self.seen_by.lock();
        if all.len() >= PRINCIPALS {
            all.clear();
        }
        if parts.len() <= FEW {
            all.insert(*scope, parts.into());
        } else {
            all.remove(scope);
        }
    }

    /// What the principal saw at its last search, as far as it is in memory: the partition, the version that was read, and its memory.
    pub(crate) fn seen_by(&self, scope: &Scope) -> Option<Vec<(i64, i64, Arc<Entry>)>> {
        let parts = self.seen_by.lock().get(scope).cloned()?;
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let entries = self.entries.lock();
        let known = parts.iter().filter_map(|part| {
            let entry = entries.get(part)?;
            entry.last_used.store(now, Ordering::Relaxed);
            Some((*part, entry.seen(), Arc::clone(entry))).filter(|(_, seen, _)| *seen >= 0)
        });
        Some(known.collect())
    }

    /// Drops the least recently used partitions until the rest fits. Those in use stay, however large.
    pub(crate) fn fit(&self, in_use: &HashSet<i64>) {
        let mut entries = self.entries.lock();
        let mut total: usize = entries.values().map(|e| e.bytes.load(Ordering::Relaxed)).sum();
        while total > self.budget {
            let oldest = entries
                .iter()
                .filter(|(part, _)| !in_use.contains(part))
                .min_by_key(|(_, e)| e.last_used.load(Ordering::Relaxed))
                .map(|(part, _)| *part);
            let Some(entry) = oldest.and_then(|part| entries.remove(&part)) else { break };
            total -= entry.bytes.load(Ordering::Relaxed).min(total);
        }
    }

    /// Drops a partition whose owner is gone.
    pub(crate) fn forget(&self, part: i64) {
        self.entries.lock().remove(&part);
    }

    /// Whether nobody in this process writes the partition's word lists already; then the caller does.
    pub(crate) fn begin_filling(&self, part: i64) -> bool {
        self.filling.lock().insert(part)
    }

    pub(crate) fn end_filling(&self, part: i64) {
        self.filling.lock().remove(&part);
    }
}

#[cfg(test)]
mod tests {
    use sid_store::SearchQuery;
    use sid_types::{PassageId, Timestamp};

    use super::*;

    fn row(rid: i64, id: PassageId, text: &str) -> Row {
        Row { rid, id: RecordId::Passage(id), said: None, at: Timestamp::UNIX_EPOCH, speaker: None, text: text.into() }
    }

    fn finds(shelf: &Shelf, word: &str) -> usize {
        shelf.index.search(&SearchQuery::new(word)).items.len()
    }

    #[test]
    fn changes_are_taken_in_once_and_in_order() {
        let mut shelf = Shelf::new(0);
        let (a, b) = (PassageId::new(), PassageId::new());
        shelf.apply(Changes { upto: 8, records: vec![row(4, a, "pickles")], ..Changes::default() }, 100);
        // Written anew and once more: only the last text counts.
        let second = || Changes {
            upto: 24,
            removed: vec![RecordId::Passage(a)],
            records: vec![row(12, b, "violin"), row(20, a, "gherkins")],
            ..Changes::default()
        };
        shelf.apply(second(), 100);
        assert_eq!((finds(&shelf, "pickles"), finds(&shelf, "gherkins"), finds(&shelf, "violin"), shelf.seen), (0, 1, 1, 24));
        // What was seen already changes nothing: a slow reader may come late with it.
        shelf.apply(Changes { upto: 16, removed: vec![RecordId::Passage(a)], ..Changes::default() }, 100);
        shelf.apply(second(), 100);
        assert_eq!((finds(&shelf, "gherkins"), shelf.index.len(), shelf.newer_than(12)), (1, 2, 1));
    }

    #[test]
    fn vectors_find_their_record_by_number() {
        let generation = GenerationId("g".into());
        let mut shelf = Shelf::new(0);
        let a = PassageId::new();
        let chunk = Chunk { start: 0, end: 1, vector: vec![1.0, 0.0] };
        let vectors = vec![(generation.clone(), 4, vec![chunk.clone()]), (generation.clone(), 999, vec![chunk])];
        shelf.apply(Changes { upto: 8, records: vec![row(4, a, "pickles")], vectors, ..Changes::default() }, 100);
        assert!(shelf.index.has_vectors(RecordId::Passage(a), &generation));
        assert_eq!(shelf.index.embedded(&generation), 1);
    }

    #[test]
    fn the_oldest_leave_a_full_partition() {
        let mut shelf = Shelf::new(0);
        let records = (0..40).map(|i| row(i * 4, PassageId::new(), "pickles")).collect();
        shelf.apply(Changes { upto: 200, records, ..Changes::default() }, 32);
        assert_eq!((shelf.index.len(), shelf.lowest), (32, 29));
    }

    #[test]
    fn memory_keeps_to_its_budget() {
        let partitions = Partitions::new(1, 100);
        for part in 0..3 {
            partitions.get(part).change(|shelf| shelf.insert(&row(1, PassageId::new(), "pickles")));
        }
        partitions.fit(&HashSet::from([1]));
        assert_eq!(partitions.entries.lock().keys().copied().collect::<Vec<_>>(), [1]);
        assert!(partitions.begin_filling(7) && !partitions.begin_filling(7));
        partitions.end_filling(7);
        assert!(partitions.begin_filling(7));
    }
}
