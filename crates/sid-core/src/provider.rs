//! The functions of a turn: the engine's own, and those that a tenant gave its agents.

use std::sync::Arc;

use async_trait::async_trait;
use sid_store::StoreError;
use sid_tools::Registry;
use sid_types::{Scope, ToolSpec};

use crate::engine::Inner;

/// Functions that a tenant gave its agents.
#[derive(Default)]
pub struct GivenTools {
    /// By name. A name that the engine's own tools have is theirs.
    pub registry: Registry,
    /// Those that agents have which name no tools of their own.
    pub defaults: Vec<String>,
}

/// Where an engine finds what tenants gave their agents.
#[async_trait]
pub trait ToolProvider: Send + Sync {
    /// What the scope's tenant gave; `None` for nothing. Asked once a run, so what costs is to be remembered. A function that cannot be made
    /// is left out: a run goes on without it.
    async fn given(&self, scope: &Scope) -> Result<Option<Arc<GivenTools>>, StoreError>;
}

/// What one run may call.
pub(crate) struct TurnTools {
    pub(crate) registry: Arc<Registry>,
    /// What the model is offered, in the order of the names.
    pub(crate) specs: Vec<ToolSpec>,
}

impl TurnTools {
    /// `named`: the tools that the agent names; all of the engine's own, and the tenant's defaults, if it names none.
    pub(crate) async fn of(inner: &Inner, scope: &Scope, named: Option<&[String]>) -> Result<Self, StoreError> {
        let given = match &inner.provider {
            Some(provider) => provider.given(scope).await?,
            None => None,
        };
        let Some(given) = given else { return Ok(Self { registry: inner.tools.clone(), specs: inner.tools.specs(named) }) };
        let registry = Arc::new(inner.tools.and(&given.registry));
        let specs = match named {
            Some(named) => registry.specs(Some(named)),
            None => {
                let offered: Vec<String> = inner.tools.names().map(str::to_owned).chain(given.defaults.iter().cloned()).collect();
                registry.specs(Some(&offered))
            }
        };
        Ok(Self { registry, specs })
    }
}
