//! `ToolsetStore`.

use async_trait::async_trait;
use sid_types::{Principal, Scope, Toolset, ToolsetSpec};

use super::InProcess;
use crate::toolsets::{NO_TOOLSET, check_toolset_version, too_many_toolsets};
use crate::{MOST_TOOLSETS, StoreError, ToolsetStore, check_toolset};

#[async_trait]
impl ToolsetStore for InProcess {
    async fn put_toolset(&self, scope: &Scope, name: &str, spec: ToolsetSpec, expected: Option<u64>) -> Result<Toolset, StoreError> {
        check_toolset(name, &spec)?;
        self.write(|state, now| {
            let room = state.room_mut(scope, "toolset")?;
            if !scope.is_tenant_wide() {
                return Err(NO_TOOLSET);
            }
            let known = room.toolsets.get(name);
            check_toolset_version(expected, known.map_or(0, |t| t.version))?;
            if known.is_none() && room.toolsets.len() as u64 >= MOST_TOOLSETS {
                return Err(too_many_toolsets());
            }
            let (version, created_at) = known.map_or((1, now), |t| (t.version + 1, t.created_at));
            let toolset = Toolset { name: name.to_owned(), spec, version, created_at, updated_at: now };
            room.toolsets.insert(name.to_owned(), toolset.clone());
            Ok(toolset)
        })
    }

    async fn toolset(&self, scope: &Scope, name: &str) -> Result<Toolset, StoreError> {
        self.toolsets(scope).await?.into_iter().find(|t| t.name == name).ok_or(NO_TOOLSET)
    }

    async fn toolsets(&self, scope: &Scope) -> Result<Vec<Toolset>, StoreError> {
        let state = self.read();
        let room = state.room(scope, "tenant")?;
        let is_open = !matches!(scope.principal(), Principal::User { .. });
        Ok(room.toolsets.values().filter(|_| is_open).cloned().collect())
    }

    async fn drop_toolset(&self, scope: &Scope, name: &str, expected: Option<u64>) -> Result<(), StoreError> {
        self.write(|state, _| {
            let room = state.room_mut(scope, "toolset")?;
            let known = room.toolsets.get(name).filter(|_| scope.is_tenant_wide()).ok_or(NO_TOOLSET)?;
            check_toolset_version(expected, known.version)?;
            room.toolsets.remove(name);
            Ok(())
        })
    }
}
