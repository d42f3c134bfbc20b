//! `MemorySearch`, and what it looks through: an index per owner, kept up to date by whoever changes a record.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sid_types::{Owner, Scope};

use super::InProcess;
use super::room::Room;
use crate::index::{Document, IndexHits, PartitionIndex, merge, search_together};
use crate::{Candidate, Candidates, Capability, MemorySearch, Record, RecordId, SearchQuery, StoreError};

/// The searchable records of one owner.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) index: PartitionIndex,
    /// In the order in which they came, across tenants: what has waited longest is embedded first.
    pub(super) records: BTreeMap<u64, RecordId>,
}

#[async_trait]
impl MemorySearch for InProcess {
    fn capability(&self) -> Capability {
        Capability { durable: false, dense: true, shared: false, backup: false }
    }

    async fn search(&self, scope: &Scope, query: &SearchQuery) -> Result<Candidates, StoreError> {
        let state = self.read();
        if let Some(vector) = &query.vector
            && let Some(dimensions) = state.dimensions.get(&vector.generation)
            && *dimensions != vector.values.len()
        {
            let found = vector.values.len();
            return Err(StoreError::Invalid(format!("the generation has {dimensions} dimensions, the query's vector {found}")));
        }
        let Ok(room) = state.room(scope, "tenant") else { return Ok(Candidates::default()) };
        let visible: Vec<_> = room
            .shelves
            .iter()
            .filter(|(owner, _)| {
                let is_asked = query.owners.as_ref().is_none_or(|owners| owners.contains(owner));
                is_asked && room.sees(scope, **owner)
            })
            .collect();
        let parts: Vec<(Owner, IndexHits)> = search_together(visible.iter().map(|(_, shelf)| &shelf.index), query)
            .into_iter()
            .zip(&visible)
            .map(|(hits, (owner, _))| (**owner, hits))
            .collect();
        let found = merge(parts);
        let candidate = |(owner, hit): (Owner, crate::index::IndexHit)| {
            let record = room.record(hit.id)?.1;
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

impl Room {
    /// A record and its owner.
    pub(super) fn record(&self, id: RecordId) -> Option<(Owner, Record)> {
        match id {
            RecordId::Message(id) => {
                let (conversation, seq) = self.places.get(&id)?;
                let thread = self.threads.get(conversation)?;
                Some((thread.owner(), Record::Message(thread.message(*seq)?.clone())))
            }
            RecordId::Passage(id) => self.passages.get(&id).map(|p| (p.owner, Record::Passage(p.clone()))),
            RecordId::Diary(id) => self.diary.values().find(|d| d.id == id).map(|d| (d.owner, Record::Diary(d.clone()))),
        }
    }

    /// Makes a stored record findable, in place of what was findable under its id; its vectors are to be made (again).
    pub(super) fn shelve(&mut self, id: RecordId) {
        self.unshelve(id);
        let Some((owner, record)) = self.record(id) else { return };
        let Some(document) = Document::of(&record) else { return };
        let shelf = self.shelves.entry(owner).or_default();
        let ordinal = self.ordinals.next();
        shelf.index.insert(&document);
        shelf.records.insert(ordinal, id);
        self.shelved.insert(id, (owner, ordinal));
    }

    /// Makes a record unfindable; answers how many vectors went with it.
    pub(super) fn unshelve(&mut self, id: RecordId) -> u64 {
        if let Some((owner, ordinal)) = self.shelved.remove(&id)
            && let Some(shelf) = self.shelves.get_mut(&owner)
        {
            shelf.records.remove(&ordinal);
            shelf.index.remove(id);
        }
        self.vectors.values_mut().filter_map(|records| records.remove(&id)).sum::<usize>() as u64
    }
}
