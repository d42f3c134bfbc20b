//! `EgoStore`.

use async_trait::async_trait;
use sid_types::{Agent, Ego, EgoSpec, Scope};

use super::InProcess;
use crate::egos::{NO_EGO, too_many_egos};
use crate::{EgoStore, MOST_EGOS, StoreError, check_ego, check_toolset_version};

#[async_trait]
impl EgoStore for InProcess {
    async fn put_ego(&self, scope: &Scope, name: &str, spec: EgoSpec, expected: Option<u64>) -> Result<Ego, StoreError> {
        check_ego(name, &spec)?;
        self.write(|state, now| {
            let room = state.room_mut(scope, "ego")?;
            if !scope.is_tenant_wide() {
                return Err(NO_EGO);
            }
            if spec.agents().any(|id| !room.agents.contains_key(&id)) {
                return Err(StoreError::NotFound { what: "agent" });
            }
            let known = room.egos.get(name);
            check_toolset_version(expected, known.map_or(0, |e| e.version))?;
            if known.is_none() && room.egos.len() as u64 >= MOST_EGOS {
                return Err(too_many_egos());
            }
            let (version, created_at) = known.map_or((1, now), |e| (e.version + 1, e.created_at));
            let ego = Ego { name: name.to_owned(), spec, version, created_at, updated_at: now };
            room.egos.insert(name.to_owned(), ego.clone());
            Ok(ego)
        })
    }

    async fn ego(&self, scope: &Scope, name: &str) -> Result<Ego, StoreError> {
        self.read().room(scope, "ego")?.egos.get(name).cloned().ok_or(NO_EGO)
    }

    async fn egos(&self, scope: &Scope) -> Result<Vec<Ego>, StoreError> {
        Ok(self.read().room(scope, "tenant")?.egos.values().cloned().collect())
    }

    async fn drop_ego(&self, scope: &Scope, name: &str, expected: Option<u64>) -> Result<(), StoreError> {
        self.write(|state, _| {
            let room = state.room_mut(scope, "ego")?;
            let known = room.egos.get(name).filter(|_| scope.is_tenant_wide()).ok_or(NO_EGO)?;
            check_toolset_version(expected, known.version)?;
            room.egos.remove(name);
            Ok(())
        })
    }

    async fn roster(&self, scope: &Scope) -> Result<Vec<Agent>, StoreError> {
        let mut agents: Vec<Agent> = self.read().room(scope, "tenant")?.agents.values().cloned().collect();
        agents.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        Ok(agents)
    }
}
