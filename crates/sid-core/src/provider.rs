//! The functions of a turn: the engine's own, and those that a tenant gave its agents.

use std::sync::Arc;

use async_trait::async_trait;
use sid_store::StoreError;
use sid_tools::Registry;
use sid_types::{AgentSpec, ClientTool, Scope, Tokens, ToolRule, ToolSpec};

use crate::client_tools::ClientTools;
use crate::engine::Inner;
use crate::tool_search;
use crate::tool_vectors::ToolVectors;

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
    /// What the model may call, in the order of the names.
    pub(crate) specs: Vec<Arc<ToolSpec>>,
    /// What stands in the prompt: all of them, or with a way to find the others.
    pub(crate) offered: Vec<Arc<ToolSpec>>,
    /// Whether there are others.
    pub(crate) is_searched: bool,
    /// Tools that the caller carries out; their specifications are the last of `specs`.
    pub(crate) client: ClientTools,
    /// Names of those that are offered before any other.
    first: Vec<String>,
}

impl TurnTools {
    /// `named`: the tools that the agent names; those of the engine's own that are offered to all, and the tenant's defaults, if it names none.
    /// `from_client`: what the caller brought. `more`: more of the engine's own, all of them offered, and before any other.
    pub(crate) async fn of(
        inner: &Inner,
        scope: &Scope,
        named: Option<&[String]>,
        from_client: &[ClientTool],
        more: Option<Registry>,
    ) -> Result<Self, StoreError> {
        let (mut registry, mut specs) = Self::of_server(inner, scope, named).await?;
        let first: Vec<String> = more.iter().flat_map(Registry::names).map(str::to_owned).collect();
        if let Some(more) = more {
            registry = Arc::new(more.and(&registry));
            let all: Vec<String> = specs.iter().map(|s| s.name.clone()).chain(first.iter().cloned()).collect();
            specs = registry.specs(Some(&all));
        }
        let client = ClientTools::of(from_client, &registry);
        // What an agent does not have it does not call either, whatever its model makes up.
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let registry = Arc::new(registry.only(&names));
        specs.extend_from_slice(client.specs());
        Ok(Self { registry, offered: specs.clone(), specs, is_searched: false, client, first })
    }

    /// With a search where not all of them fit `cap`. Pinned are the caller's own, those that rules name, and those that the agent names, in
    /// its order.
    pub(crate) fn searched(mut self, agent: &AgentSpec, from_client: &[ClientTool], cap: Tokens, vectors: &Arc<ToolVectors>) -> Self {
        let of_client = from_client.iter().map(|tool| tool.spec.name.as_str());
        let of_rules = agent.tool_rules.iter().flat_map(ToolRule::names);
        let named = agent.tools.iter().flatten().map(String::as_str);
        let first: Vec<&str> = self.first.iter().map(String::as_str).collect();
        let pinned: Vec<&str> = of_client.chain(of_rules).chain(named).collect();
        if let Some(offered) = tool_search::offer(&self.specs, &first, &pinned, cap)
            && let Some(registry) = tool_search::with_search(&self.registry, &self.specs, vectors.clone())
        {
            (self.registry, self.offered, self.is_searched) = (Arc::new(registry), offered, true);
        }
        self
    }

    async fn of_server(inner: &Inner, scope: &Scope, named: Option<&[String]>) -> Result<(Arc<Registry>, Vec<Arc<ToolSpec>>), StoreError> {
        let given = match &inner.provider {
            Some(provider) => provider.given(scope).await?,
            None => None,
        };
        let Some(given) = given else { return Ok((inner.tools.clone(), inner.tools.specs(Some(named.unwrap_or(&inner.offered))))) };
        let registry = Arc::new(inner.tools.and(&given.registry));
        let specs = match named {
            Some(named) => registry.specs(Some(named)),
            None => {
                let offered: Vec<String> = inner.offered.iter().chain(&given.defaults).cloned().collect();
                registry.specs(Some(&offered))
            }
        };
        Ok((registry, specs))
    }
}
