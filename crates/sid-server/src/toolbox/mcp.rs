//! MCP servers: those that tenants name by URL, and those that the operator has on this machine.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sid_mcp::{Authorization, ClientCredentials, Limits, McpAnswer, McpServer, McpTool, Program, RemoteTool};
use sid_tools::http::Connection;
use sid_tools::{EffectClass, Tool, ToolContext};
use sid_types::{Scope, TenantId, Timestamp, Toolset, ToolsetKind};

use super::login::{Logins, ToolsetLogin};
use super::make::{Made, connection};
use super::source::{Effect, McpSource};
use crate::config::{Config, McpProgram};

/// More toolsets than this do not keep their servers at once.
const MOST: usize = 10_000;

/// A server that the operator has.
struct Own {
    server: McpServer,
    /// `None` = all.
    tenants: Option<Vec<TenantId>>,
}

/// All servers.
pub(super) struct McpServers {
    own: BTreeMap<String, Own>,
    /// By tenant and toolset: what it was made from, and the server.
    of_toolsets: Mutex<HashMap<(TenantId, String), (String, McpServer)>>,
    /// With the secrets of whoever a call is for.
    calls: Connection,
    /// With the tenant's secrets only.
    looks: Connection,
    logins: Arc<Logins>,
    discovery: Duration,
}

impl McpServers {
    pub(super) fn new(config: &Config, calls: Connection, looks: Connection, logins: Arc<Logins>, now: Timestamp) -> Self {
        let discovery = Duration::from_millis(config.tools.mcp_discovery_ms);
        let own = config.mcp_programs.iter().map(|(name, program)| {
            let server = McpServer::local(name, program_of(program), limits(discovery, program.timeout_ms));
            // Known before the first tenant asks.
            server.keep_fresh(ToolContext::detached(now));
            (name.clone(), Own { server, tenants: program.only_tenants() })
        });
        Self { own: own.collect(), of_toolsets: Mutex::default(), calls, looks, logins, discovery }
    }

    /// Asks the server for its tools. Errors: in words, for who put it.
    pub(super) async fn described(&self, scope: &Scope, name: &str, mut source: McpSource, now: Timestamp) -> Result<McpSource, String> {
        match self.server(scope.tenant(), name, &source)?.look(&looking(scope, now)).await {
            Ok(functions) => source.functions = functions,
            // It is put first, and then somebody logs in.
            Err(_) if source.login.is_some() => source.functions = Vec::new(),
            Err(problem) => return Err(problem),
        }
        Ok(source)
    }

    /// Somebody has logged in: their calls begin anew. By the tenant's login the server is asked for its tools, too.
    pub(super) async fn logged_in(&self, scope: &Scope, name: &str, source: &McpSource, is_tenants: bool, now: Timestamp) {
        let Ok(server) = self.server(scope.tenant(), name, source) else { return };
        server.greet_anew();
        if is_tenants {
            // What goes wrong is kept with what is known, and logged there.
            let _ = server.look(&looking(scope, now)).await;
        }
    }

    /// The functions as they are known; waits for nothing, and looks again in the background if it is time.
    pub(super) fn made(&self, scope: &Scope, name: &str, source: &McpSource, now: Timestamp) -> Result<Made, String> {
        let server = self.server(scope.tenant(), name, source)?;
        server.keep_fresh(looking(scope, now));
        let found = server.found();
        let prefix = source.prefix.clone().unwrap_or_else(|| format!("{name}_"));
        let wanted = |tool: &RemoteTool| source.only.as_ref().is_none_or(|only| only.contains(&tool.name));
        let wanted: Vec<(RemoteTool, EffectClass)> =
            found.tools.into_iter().filter(wanted).map(|tool| (tool.clone(), effect(source, &tool))).collect();
        let answers = McpAnswer::new(&server, &prefix, wanted.iter().map(|(tool, effect)| (tool.name.clone(), *effect)));
        let is_asking = source.questions && !wanted.is_empty();
        let tools = wanted.into_iter().map(|(tool, effect)| Arc::new(McpTool::new(&server, tool, &prefix, effect)) as Arc<dyn Tool>);
        let mut tools: Vec<Arc<dyn Tool>> = tools.collect();
        if is_asking {
            tools.push(Arc::new(answers));
        }
        Ok(Made { tools, left_out: Vec::new(), problem: found.problem })
    }

    /// Looks again at those of these toolsets' servers whose turn it is, in the background. Another number than before means that something
    /// has changed.
    pub(super) fn keep_fresh(&self, scope: &Scope, toolsets: &[Toolset], now: Timestamp) -> u64 {
        let mut of_toolsets = self.of_toolsets.lock();
        of_toolsets.retain(|(tenant, name), _| *tenant != scope.tenant() || toolsets.iter().any(|t| t.name == *name));
        let mut revisions = 0;
        for toolset in toolsets.iter().filter(|t| t.spec.kind == ToolsetKind::Mcp) {
            if let Some((_, server)) = of_toolsets.get(&(scope.tenant(), toolset.name.clone())) {
                server.keep_fresh(looking(scope, now));
                revisions += server.found().revision;
            }
        }
        revisions
    }

    /// The server of a toolset; the same as before while it is put the same way. Errors: in words, for who put it.
    fn server(&self, tenant: TenantId, name: &str, source: &McpSource) -> Result<McpServer, String> {
        let made_from = McpSource { functions: Vec::new(), ..source.clone() };
        let made_from = serde_json::to_string(&made_from).map_err(|e| e.to_string())?;
        let mut of_toolsets = self.of_toolsets.lock();
        let key = (tenant, name.to_owned());
        if let Some((_, server)) = of_toolsets.get(&key).filter(|(from, _)| *from == made_from) {
            return Ok(server.clone());
        }
        let server = match (&source.url, &source.server) {
            (Some(url), None) => self.remote(tenant, name, url, source)?.asking(source.questions).knowing(source.functions.clone()),
            (None, Some(_)) if source.questions || source.login.is_some() => {
                return Err("`questions` and `login` are for servers on the network: all users share a program".into());
            }
            (None, Some(own)) => {
                let own = self.own.get(own).filter(|own| own.tenants.as_ref().is_none_or(|tenants| tenants.contains(&tenant)));
                own.ok_or("`server`: the operator has set up no MCP server of this name for this tenant")?.server.clone()
            }
            _ => return Err("give either `url`, of a server on the network, or `server`, the name of one that the operator has".into()),
        };
        if of_toolsets.len() >= MOST {
            of_toolsets.clear();
        }
        of_toolsets.insert(key, (made_from, server.clone()));
        Ok(server)
    }

    fn remote(&self, tenant: TenantId, name: &str, url: &str, source: &McpSource) -> Result<McpServer, String> {
        let McpSource { headers, secret_headers, timeout_ms, .. } = source;
        let with = |base| connection(base, headers.clone(), secret_headers.clone(), *timeout_ms);
        let authorization = match (source.oauth.clone(), &source.login) {
            (Some(_), Some(_)) => return Err("give either `oauth`, for a client of its own, or `login`, for people".into()),
            (Some(o), None) => Some(Authorization::Client(ClientCredentials {
                token_url: o.token_url,
                client_id: o.client_id,
                client_secret: o.client_secret,
                scope: o.scope,
            })),
            (None, Some(login)) => {
                login.check()?;
                let (logins, toolset, url, shared) = (self.logins.clone(), name.to_owned(), url.to_owned(), login.shared);
                Some(Authorization::Login(Arc::new(ToolsetLogin { logins, tenant, toolset, url, shared })))
            }
            (None, None) => None,
        };
        let limits = limits(self.discovery, timeout_ms.unwrap_or(u64::MAX));
        McpServer::remote(name, url, with(&self.calls), with(&self.looks), authorization, limits).map_err(|e| format!("`url`: {e}"))
    }
}

fn limits(discovery: Duration, call_ms: u64) -> Limits {
    Limits { discovery, call: Duration::from_millis(call_ms), ..Limits::default() }
}

/// The tenant's word counts; the server's only where the tenant believes it.
fn effect(source: &McpSource, tool: &RemoteTool) -> EffectClass {
    match source.effects.get(&tool.name) {
        Some(effect) => (*effect).into(),
        None if source.believe_hints && tool.says_read_only => Effect::Read.into(),
        None if source.believe_hints && tool.says_idempotent => Effect::Idempotent.into(),
        None => Effect::Once.into(),
    }
}

/// Nobody's call: to ask a server what it has.
fn looking(scope: &Scope, now: Timestamp) -> ToolContext {
    ToolContext { scope: *scope, ..ToolContext::detached(now) }
}

/// What is started. Its environment is what the operator says, and what programs cannot do without.
fn program_of(program: &McpProgram) -> Program {
    let folder = program.folder.clone().unwrap_or_else(std::env::temp_dir);
    let inherited = |name: &str| std::env::var(name).ok().map(|value| (name.to_owned(), value));
    let mut environment: BTreeMap<String, String> = inherited("PATH").into_iter().collect();
    environment.insert("HOME".into(), folder.display().to_string());
    environment.insert("LANG".into(), "C.UTF-8".into());
    environment.extend(program.pass_env.iter().filter_map(|name| inherited(name)));
    environment.extend(program.env.iter().filter_map(|pair| pair.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())));
    Program {
        launcher: std::env::current_exe().ok().filter(|_| program.launch),
        command: PathBuf::from(&program.command),
        arguments: program.args.clone(),
        environment: environment.into_iter().collect(),
        folder,
    }
}
