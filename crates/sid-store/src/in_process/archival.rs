//! `ArchivalStore`.

use async_trait::async_trait;
use sid_types::{NewPassage, Owner, Passage, PassageId, Scope, Timestamp};

use super::directory::paged;
use super::room::Room;
use super::{InProcess, missing};
use crate::{ArchivalStore, Order, Page, PageRequest, RecordId, StoreError, check_channel};

#[async_trait]
impl ArchivalStore for InProcess {
    async fn upsert(&self, scope: &Scope, passages: Vec<NewPassage>) -> Result<Vec<Passage>, StoreError> {
        self.write(|state, now| {
            let room = state.room_mut(scope, "owner")?;
            for passage in &passages {
                room.check_passage(scope, passage)?;
            }
            Ok(passages.into_iter().map(|passage| room.put_passage(passage, now)).collect())
        })
    }

    async fn insert(&self, scope: &Scope, passage: NewPassage) -> Result<Passage, StoreError> {
        self.write(|state, now| {
            let room = state.room_mut(scope, "owner")?;
            room.check_passage(scope, &passage)?;
            if room.passages.contains_key(&passage.id) {
                return Err(StoreError::Exists { what: "passage", name: passage.id.to_string() });
            }
            Ok(room.put_passage(passage, now))
        })
    }

    async fn list(&self, scope: &Scope, owner: Owner, page: PageRequest) -> Result<Page<Passage>, StoreError> {
        let state = self.read();
        let room = state.room(scope, "owner")?;
        if !room.sees(scope, owner) {
            return Err(missing("owner"));
        }
        let own = room.passages.values().filter(|p| p.owner == owner);
        paged(own, Order::Descending, &page, |p| (p.created_at, p.id))
    }

    async fn passage(&self, scope: &Scope, passage: PassageId) -> Result<Passage, StoreError> {
        let state = self.read();
        let room = state.room(scope, "passage")?;
        room.passages.get(&passage).filter(|p| room.sees(scope, p.owner)).cloned().ok_or(missing("passage"))
    }

    async fn delete(&self, scope: &Scope, passages: &[PassageId]) -> Result<u64, StoreError> {
        self.write(|state, _| {
            let Ok(room) = state.room_mut(scope, "passage") else { return Ok(0) };
            let own = passages.iter().filter_map(|id| room.passages.get(id)).filter(|p| room.writes(scope, p.owner));
            for passage in own {
                check_channel(&passage.provenance)?;
            }
            let mut deleted = 0;
            for id in passages {
                // What may not be written counts as what is not there.
                if room.passages.get(id).is_some_and(|p| room.writes(scope, p.owner)) {
                    room.unshelve(RecordId::Passage(*id));
                    room.passages.remove(id);
                    deleted += 1;
                }
            }
            Ok(deleted)
        })
    }
}

impl Room {
    /// Whether the passage may be stored: its owner may be written, and so may the owner of what it replaces.
    pub(super) fn check_passage(&self, scope: &Scope, passage: &NewPassage) -> Result<(), StoreError> {
        let replaced = self.passages.get(&passage.id).map(|p| p.owner);
        if !self.writes(scope, passage.owner) || replaced.is_some_and(|owner| !self.writes(scope, owner)) {
            return Err(missing("owner"));
        }
        check_channel(&passage.provenance)?;
        self.passages.get(&passage.id).map_or(Ok(()), |replaced| check_channel(&replaced.provenance))?;
        if passage.text.trim().is_empty() {
            return Err(StoreError::Invalid("a passage has at least one character that is not white space".into()));
        }
        Ok(())
    }

    /// Stores a passage that was checked.
    pub(super) fn put_passage(&mut self, new: NewPassage, now: Timestamp) -> Passage {
        let NewPassage { id, owner, text, tags, at, provenance } = new;
        let created_at = self.passages.get(&id).map_or(now, |p| p.created_at);
        let passage = Passage { id, owner, text, tags, at, provenance, created_at };
        self.passages.insert(id, passage.clone());
        self.shelve(RecordId::Passage(id));
        passage
    }
}
