//! `EmbeddingIndex`: which records wait for vectors, and the vectors.

use async_trait::async_trait;
use sid_types::{Owner, Principal, Scope};

use super::room::{Room, State};
use super::{InProcess, missing};
use crate::index::embedded_text;
use crate::{EmbedJob, EmbeddingIndex, GenerationId, IndexStatus, NewVectors, RecordId, StoreError};

#[async_trait]
impl EmbeddingIndex for InProcess {
    async fn pending(&self, generation: &GenerationId, limit: usize) -> Result<Vec<EmbedJob>, StoreError> {
        let state = self.read();
        let mut waiting: Vec<(u64, &Room, Owner, RecordId)> = Vec::new();
        for room in state.rooms.values() {
            for (owner, shelf) in &room.shelves {
                let without = shelf.records.iter().filter(|(_, id)| !room.is_embedded(generation, **id));
                waiting.extend(without.take(limit).map(|(ordinal, id)| (*ordinal, room, *owner, *id)));
            }
        }
        waiting.sort_unstable_by_key(|(ordinal, ..)| *ordinal);
        let job = |(_, room, owner, record): (u64, &Room, Owner, RecordId)| {
            let text = embedded_text(&room.record(record)?.1);
            Some(EmbedJob { scope: room.engine_scope(owner), record, text })
        };
        Ok(waiting.into_iter().take(limit).filter_map(job).collect())
    }

    async fn put_vectors(&self, generation: &GenerationId, vectors: Vec<NewVectors>) -> Result<(), StoreError> {
        self.write(|state, _| {
            let dimensions = check_dimensions(state, generation, &vectors)?;
            if let Some(dimensions) = dimensions {
                state.dimensions.insert(generation.clone(), dimensions);
            }
            for new in vectors {
                let Some(room) = state.rooms.get_mut(&new.scope.tenant()) else { continue };
                let Some((owner, _)) = room.record(new.record).filter(|(owner, _)| room.sees(&new.scope, *owner)) else { continue };
                let Some(shelf) = room.shelves.get_mut(&owner).filter(|s| s.index.contains(new.record)) else { continue };
                shelf.index.set_vectors(new.record, generation, &new.chunks);
                room.vectors.entry(generation.clone()).or_default().insert(new.record, new.chunks.len());
            }
            Ok(())
        })
    }

    async fn index_status(&self, scope: &Scope, generation: &GenerationId, owner: Option<Owner>) -> Result<IndexStatus, StoreError> {
        let state = self.read();
        let room = state.room(scope, "owner")?;
        if owner.is_some_and(|owner| !room.sees(scope, owner)) {
            return Err(missing("owner"));
        }
        let mut status = IndexStatus::default();
        for (of, shelf) in &room.shelves {
            if owner.map_or_else(|| room.sees(scope, *of), |owner| owner == *of) {
                let indexed = shelf.records.values().filter(|id| room.is_embedded(generation, **id)).count();
                status.indexed += indexed as u64;
                status.pending += (shelf.records.len() - indexed) as u64;
            }
        }
        Ok(status)
    }
}

impl Room {
    pub(super) fn is_embedded(&self, generation: &GenerationId, id: RecordId) -> bool {
        self.vectors.get(generation).is_some_and(|records| records.contains_key(&id))
    }

    /// The narrowest scope that sees the owner's memory, for the engine's own background work.
    pub(super) fn engine_scope(&self, owner: Owner) -> Scope {
        let principal = match owner {
            Owner::Pair { agent, user } => Principal::Turn { agent, user: Some(user) },
            Owner::Agent { agent } => Principal::Turn { agent, user: None },
            Owner::User { user } => Principal::User { user },
            // No user or agent stands for a whole team or tenant; the all-zero key is nobody's.
            Owner::Team { .. } | Owner::Tenant => Principal::Tenant { key: sid_types::KeyId::from_uuid(uuid::Uuid::nil()) },
        };
        #[allow(clippy::disallowed_methods, reason = "jobs that span tenants carry the scope of the record they are about")]
        Scope::grant(self.tenant.id, principal)
    }
}

/// The length that all vectors have; `None` when there is none at all.
fn check_dimensions(state: &State, generation: &GenerationId, vectors: &[NewVectors]) -> Result<Option<usize>, StoreError> {
    let mut dimensions = state.dimensions.get(generation).copied();
    for found in vectors.iter().flat_map(|v| &v.chunks).map(|c| c.vector.len()) {
        let expected = *dimensions.get_or_insert(found);
        if found != expected || found == 0 {
            let name = &generation.0;
            return Err(StoreError::Invalid(format!("vectors of `{name}` have {expected} dimensions, this one has {found}")));
        }
    }
    Ok(dimensions)
}
