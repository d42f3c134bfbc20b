//! `Generations`.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::InProcess;
use crate::{Generation, GenerationId, Generations, IndexStatus, StoreError};

#[async_trait]
impl Generations for InProcess {
    async fn generations(&self) -> Result<Vec<Generation>, StoreError> {
        let state = self.read();
        let mut known: BTreeSet<&GenerationId> = state.rooms.values().flat_map(|room| room.vectors.keys()).collect();
        known.extend(&state.active);
        Ok(known.into_iter().map(|id| Generation { id: id.clone(), is_active: state.active.as_ref() == Some(id) }).collect())
    }

    async fn activate(&self, from: Option<&GenerationId>, to: &GenerationId) -> Result<bool, StoreError> {
        self.write(|state, _| {
            let is_as_said = state.active.as_ref() == from;
            if is_as_said {
                if let Some(from) = from {
                    // It stays known, as one that was active.
                    for room in state.rooms.values_mut() {
                        room.vectors.entry(from.clone()).or_default();
                    }
                }
                state.active = Some(to.clone());
            }
            Ok(is_as_said)
        })
    }

    async fn generation_status(&self, generation: &GenerationId) -> Result<IndexStatus, StoreError> {
        let state = self.read();
        let mut status = IndexStatus::default();
        for room in state.rooms.values() {
            for shelf in room.shelves.values() {
                let indexed = shelf.records.values().filter(|id| room.is_embedded(generation, **id)).count();
                status.indexed += indexed as u64;
                status.pending += (shelf.records.len() - indexed) as u64;
            }
        }
        Ok(status)
    }

    async fn drop_generation(&self, generation: &GenerationId) -> Result<bool, StoreError> {
        self.write(|state, _| {
            if state.active.as_ref() == Some(generation) {
                return Err(StoreError::Invalid(format!("`{}` is the generation that is searched: it cannot be dropped", generation.0)));
            }
            state.dimensions.remove(generation);
            for room in state.rooms.values_mut() {
                room.vectors.remove(generation);
                for shelf in room.shelves.values_mut() {
                    shelf.index.drop_generation(generation);
                }
            }
            Ok(false)
        })
    }
}
