//! Functions that tenants gave their agents: made from the toolsets that the store keeps, and remembered.

mod builtin;
mod handoffs;
mod images;
pub(crate) mod login;
mod make;
mod mcp;
mod python;
pub(crate) mod secrets;
pub(crate) mod source;
mod trusted;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use sid_context::secrets::Vault;
use sid_core::{GivenTools, ToolProvider};
use sid_fetch::{FetchError, Fetcher};
use sid_store::{Store, StoreError};
use sid_tools::http::Connection;
use sid_types::{Clock, Scope, TenantId, Timestamp, Toolset, ToolsetSpec};
use tokio::time::Instant;
use tracing::warn;

pub(crate) use builtin::builtin;
pub(crate) use handoffs::handoffs;
use images::Images;
use login::Logins;
pub(crate) use make::Made;
use mcp::McpServers;
use python::Functions;
use secrets::{TenantSecrets, VaultSecrets};
use source::Source;

use crate::config::Config;
use crate::metrics;

/// For so long nobody looks whether a tenant's toolsets have changed elsewhere.
const FRESH: Duration = Duration::from_secs(2);
/// More tenants than this are not remembered at once.
const MOST: usize = 10_000;

/// What is known of one tenant.
struct Known {
    looked_at: Instant,
    /// Names, versions and times that `given` was made from: a toolset that was dropped and made anew counts from 1 again.
    made_from: Vec<(String, u64, Timestamp)>,
    /// Of what its MCP servers have told.
    revision: u64,
    given: Option<Arc<GivenTools>>,
}

/// All tenants' functions.
pub(crate) struct TenantTools {
    store: Arc<dyn Store>,
    connection: Connection,
    functions: Functions,
    servers: McpServers,
    images: Images,
    logins: Arc<Logins>,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<TenantId, Known>>,
}

impl TenantTools {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        fetcher: Fetcher,
        vault: Option<Vault>,
        clock: Arc<dyn Clock>,
        config: &Config,
    ) -> Result<Self, FetchError> {
        let secrets = Arc::new(VaultSecrets::new(vault.clone(), store.clone()));
        let logins = Arc::new(Logins::new(vault, secrets.clone(), store.clone(), fetcher.clone(), clock.clone(), config));
        let connection = Connection::new(fetcher).secrets(secrets.clone());
        let looks = connection.clone().secrets(Arc::new(TenantSecrets(secrets.clone())));
        let servers = McpServers::new(config, connection.clone(), looks, logins.clone(), clock.now());
        let images = Images::new(store.clone(), &connection, config)?;
        Ok(Self { store, connection, functions: Functions::new(config, secrets), servers, images, logins, clock, known: Mutex::default() })
    }

    /// What is put, as it is kept: a module is looked into, a server is asked. Answers with what cannot be a function, and why.
    ///
    /// Errors: what is wrong with it as a whole, for who made it.
    pub(crate) async fn described(&self, scope: &Scope, name: &str, source: Source) -> Result<(Source, Vec<(String, String)>), String> {
        match source {
            Source::Python(source) => {
                let (source, left_out) = self.functions.described(name, source).await?;
                Ok((Source::Python(source), left_out))
            }
            Source::Mcp(source) => {
                let source = self.servers.described(scope, name, source, self.clock.now()).await?;
                Ok((Source::Mcp(source), Vec::new()))
            }
            source => Ok((source, Vec::new())),
        }
    }

    /// The functions of a toolset. Errors: as for [`Self::described`].
    pub(crate) async fn make(&self, scope: &Scope, name: &str, spec: &ToolsetSpec) -> Result<Made, String> {
        make::make(self, scope, name, spec).await
    }

    /// Whether the tenant gave its agents a function of this name.
    pub(crate) async fn has(&self, scope: &Scope, name: &str) -> Result<bool, StoreError> {
        Ok(self.given(scope).await?.is_some_and(|given| given.registry.declaration(name).is_some()))
    }

    /// Logins of toolsets.
    pub(crate) fn logins(&self) -> &Logins {
        &self.logins
    }

    /// Somebody has logged in.
    pub(crate) async fn logged_in(&self, place: &login::Place) {
        let (scope, name) = (place.scope(), &place.toolset);
        if let Ok(toolset) = self.store.toolset(&scope, name).await
            && let Ok(Source::Mcp(source)) = Source::of(&toolset.spec)
        {
            self.servers.logged_in(&scope, name, &source, place.user.is_none(), self.clock.now()).await;
        }
        self.forget(scope.tenant());
    }

    /// The next run looks at the tenant's toolsets anew.
    pub(crate) fn forget(&self, tenant: TenantId) {
        self.known.lock().remove(&tenant);
    }

    async fn put_together(&self, scope: &Scope, toolsets: &[Toolset]) -> Option<Arc<GivenTools>> {
        let mut given = GivenTools::default();
        let mut names = BTreeSet::new();
        for toolset in toolsets {
            let made = match self.make(scope, &toolset.name, &toolset.spec).await {
                Ok(Made { problem: None, tools, .. }) => tools,
                Ok(Made { problem: Some(problem), .. }) | Err(problem) => {
                    warn!(toolset = %toolset.name, problem, "a toolset cannot be used");
                    metrics::toolset_unusable(toolset.spec.kind.as_str());
                    continue;
                }
            };
            for tool in made {
                let name = tool.spec().name;
                match given.registry.register(tool) {
                    Ok(()) if toolset.spec.is_default => {
                        names.insert(name);
                    }
                    Ok(()) => {}
                    Err(error) => warn!(toolset = %toolset.name, %error, "a function is left out"),
                }
            }
        }
        given.defaults = names.into_iter().collect();
        let is_empty = given.registry.names().next().is_none();
        (!is_empty).then(|| Arc::new(given))
    }
}

#[async_trait]
impl ToolProvider for TenantTools {
    async fn given(&self, scope: &Scope) -> Result<Option<Arc<GivenTools>>, StoreError> {
        let tenant = scope.tenant();
        if let Some(known) = self.known.lock().get(&tenant).filter(|k| k.looked_at.elapsed() < FRESH) {
            return Ok(known.given.clone());
        }
        let looked_at = Instant::now();
        let toolsets = self.store.toolsets(scope).await?;
        let made_from: Vec<_> = toolsets.iter().map(|t| (t.name.clone(), t.version, t.updated_at)).collect();
        let revision = self.servers.keep_fresh(scope, &toolsets, self.clock.now());
        let same = self.known.lock().get(&tenant).filter(|k| k.made_from == made_from && k.revision == revision).map(|k| k.given.clone());
        let given = match same {
            Some(given) => given,
            None => self.put_together(scope, &toolsets).await,
        };
        let mut known = self.known.lock();
        if known.len() >= MOST {
            known.retain(|_, k| k.looked_at.elapsed() < FRESH);
        }
        known.insert(tenant, Known { looked_at, made_from, revision, given: given.clone() });
        Ok(given)
    }
}
