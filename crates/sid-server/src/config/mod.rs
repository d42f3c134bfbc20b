//! Configuration: defaults < TOML file < `SID_*` environment < flags.
//!
//! A key that nobody knows is an error, wherever it stands; the message names the nearest one that exists. Each option is declared
//! once, in `sections`; [`reference()`] and the check read the same declaration.

mod error;
mod identity;
mod load;
mod sections;
mod setting;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

pub use error::ConfigError;
pub(crate) use identity::role;
pub use load::Sources;
pub use sections::{
    Builtin, Context, Documents, Embedder, EmbedderKind, Engine, Google, Images, Issuer, Limits, Log, LogFormat, Mcp, McpProgram, Model,
    ModelApi, Secrets, Server, Store, StoreKind, Tokenizer, ToolMode, Tools, Top, TrustedProxy, Vectors, VectorsKind, Webhooks,
};
use setting::Section;
pub use setting::{ConfigField, Secret};
use sid_context::ContextError;
use sid_context::secrets::LocalKeys;
use sid_fetch::{Fetcher, Opening, Policy};

/// All options, checked.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Options above all sections.
    pub top: Top,
    /// The HTTP server.
    pub server: Server,
    /// The store.
    pub store: Store,
    /// An index for the vectors of large memories.
    pub vectors: Vectors,
    /// Model endpoints by name. Empty = one called `default` with the defaults of [`Model`].
    pub models: BTreeMap<String, Model>,
    /// What makes vectors.
    pub embedder: Embedder,
    /// What is to make them from the day on when everything has been embedded by it; until then `embedder` goes on (`sid reindex`).
    pub next_embedder: Option<Embedder>,
    /// The agent loop.
    pub engine: Engine,
    /// What one tenant may use up.
    pub limits: Limits,
    /// The context service.
    pub context: Context,
    /// Keys for secrets.
    pub secrets: Secrets,
    /// Functions that tenants give their agents.
    pub tools: Tools,
    /// Documents.
    pub documents: Documents,
    /// Google Drive of people.
    pub google: Google,
    /// Tools that come with the server (`[tools.builtin]`).
    pub builtin: Builtin,
    /// Images that agents have made.
    pub images: Images,
    /// Webhooks.
    pub webhooks: Webhooks,
    /// MCP servers on this machine by name (`[tools.mcp.NAME]`).
    pub mcp_programs: BTreeMap<String, McpProgram>,
    /// The MCP endpoint.
    pub mcp: Mcp,
    /// Issuers of tokens by name (`[auth.oidc.NAME]`). Empty = keys only.
    pub oidc: BTreeMap<String, Issuer>,
    /// A proxy that says whom it speaks for (`[auth.trusted_proxy]`).
    pub trusted_proxy: TrustedProxy,
    /// The log.
    pub log: Log,
}

impl Config {
    /// Reads and checks everything.
    ///
    /// Errors: an unreadable or malformed file, an unknown key, a value that does not fit, values that do not fit together.
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        let mut config = load::read(sources)?;
        if config.models.is_empty() {
            config.models.insert("default".into(), Model::default());
        }
        config.check()?;
        Ok(config)
    }

    /// The model of agents that name none.
    #[must_use]
    pub fn default_model(&self) -> &str {
        let named = self.top.default_model.as_str();
        if !named.is_empty() {
            return named;
        }
        if self.models.contains_key("default") { "default" } else { self.models.keys().next().map_or("default", String::as_str) }
    }

    /// Google Drive, where it is set up.
    pub(crate) fn drive(&self, fetcher: &Fetcher) -> Result<Option<sid_assistant::Drive>, ConfigError> {
        let bad = |error: sid_fetch::FetchError| ConfigError::BadValue { key: "google".into(), problem: error.to_string(), place: None };
        self.google.drive(fetcher, self.documents.max_bytes).map_err(bad)
    }

    /// Whether the values fit together.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |key: &str, problem: String| Err(ConfigError::BadValue { key: key.to_owned(), problem, place: None });
        if self.server.listen.parse::<std::net::SocketAddr>().is_err() {
            return bad("server.listen", format!("expected an address such as 127.0.0.1:8700, found `{}`", self.server.listen));
        }
        if self.server.body_limit_bytes < 1_024 {
            return bad("server.body_limit_bytes", "must be at least 1024".into());
        }
        for (key, value) in [("server.queue_depth", self.server.queue_depth), ("server.max_runs", self.server.max_runs)] {
            if value == 0 {
                return bad(key, "must be at least 1".into());
            }
        }
        if !self.models.is_empty() && !self.models.contains_key(self.default_model()) {
            let names: Vec<&str> = self.models.keys().map(String::as_str).collect();
            return bad("default_model", format!("there is no [models.{}]; configured: {}", self.top.default_model, names.join(", ")));
        }
        for (name, model) in &self.models {
            let at = |field: &str| format!("models.{name}.{field}");
            if !is_web_url(&model.base_url) {
                return bad(&at("base_url"), format!("expected a URL that begins with http:// or https://, found `{}`", model.base_url));
            }
            if model.model.is_empty() {
                return bad(&at("model"), "must not be empty: the name that the endpoint knows the model by".into());
            }
            if let Some(other) = &model.summarizer
                && !self.models.contains_key(other)
            {
                return bad(&at("summarizer"), format!("there is no [models.{other}]"));
            }
            if model.context_window.is_some_and(|w| w < 512) {
                return bad(&at("context_window"), "must be at least 512 tokens".into());
            }
            let times = [
                ("connect_ms", model.connect_ms),
                ("first_byte_ms", model.first_byte_ms),
                ("idle_ms", model.idle_ms),
                ("total_ms", model.total_ms),
                ("max_tries", u64::from(model.max_tries)),
            ];
            if let Some((field, _)) = times.iter().find(|(_, value)| *value == 0) {
                return bad(&at(field), "must be at least 1".into());
            }
            if !(1..=100).contains(&model.breaker_failures_percent) {
                return bad(&at("breaker_failures_percent"), "must be 1 to 100".into());
            }
        }
        if self.store.kind == StoreKind::Postgres && self.store.url.reveal().is_none() {
            return bad("store.url", "required when store.kind is \"postgres\": postgres://user:password@host:5432/database".into());
        }
        if self.vectors.kind != VectorsKind::Memory && self.store.kind != StoreKind::Postgres {
            return bad("vectors.kind", "only a \"postgres\" store takes an index beside it: use \"memory\"".into());
        }
        if self.vectors.kind == VectorsKind::Qdrant && self.vectors.url.is_none() {
            return bad("vectors.url", "required when vectors.kind is \"qdrant\": the gRPC address, such as http://host:6334".into());
        }
        let limits = [
            ("vectors.timeout_ms", self.vectors.timeout_ms),
            ("vectors.search_timeout_ms", self.vectors.search_timeout_ms),
            ("vectors.replicas", u64::from(self.vectors.replicas)),
            ("store.connections", u64::from(self.store.connections)),
            ("store.acquire_ms", self.store.acquire_ms),
            ("store.statement_ms", self.store.statement_ms),
        ];
        if let Some((key, _)) = limits.iter().find(|(_, value)| *value == 0) {
            return bad(key, "must be at least 1".into());
        }
        self.embedder.check("embedder").and_then(|()| self.next_embedder.as_ref().map_or(Ok(()), |next| next.check("next_embedder")))?;
        if self.next_embedder.as_ref().is_some_and(|next| next.kind == EmbedderKind::None) {
            return bad("next_embedder.kind", "must make vectors: to go without, set embedder.kind to \"none\"".into());
        }
        self.secrets.keys()?;
        if self.tools.mcp_discovery_ms == 0 {
            return bad("tools.mcp_discovery_ms", "must be at least 1".into());
        }
        if !(1_024..=sid_store::MOST_IMAGE_BYTES).contains(&self.images.most_bytes) {
            return bad("images.most_bytes", format!("expected 1024 to {}", sid_store::MOST_IMAGE_BYTES));
        }
        if self.images.timeout_ms == 0 {
            return bad("images.timeout_ms", "must be at least 1".into());
        }
        for (name, program) in &self.mcp_programs {
            program.check().or_else(|(field, problem)| bad(&format!("tools.mcp.{name}.{field}"), problem))?;
        }
        for (key, value) in [
            ("documents.max_bytes", self.documents.max_bytes as u64),
            ("documents.read_ms", self.documents.read_ms),
            ("documents.max_pages", self.documents.max_pages.into()),
        ] {
            if value == 0 {
                return bad(key, "must be at least 1".into());
            }
        }
        if let Err((field, problem)) = self.google.check(self.secrets.keys()?.is_some()) {
            return bad(&format!("google.{field}"), problem.into());
        }
        if self.documents.read_memory_bytes < 256 << 20 {
            return bad("documents.read_memory_bytes", "must be at least 268435456: the process itself has to fit".into());
        }
        let hooks = &self.webhooks;
        let sizes = [("webhooks.at_once", hooks.at_once as u64), ("webhooks.per_webhook", hooks.per_webhook as u64)];
        let times = [
            ("webhooks.timeout_ms", hooks.timeout_ms),
            ("webhooks.first_retry_ms", hooks.first_retry_ms),
            ("webhooks.give_up_days", hooks.give_up_days),
            ("webhooks.keep_days", hooks.keep_days),
            ("webhooks.poll_ms", hooks.poll_ms),
        ];
        if let Some((key, _)) = sizes.iter().chain(&times).find(|(_, value)| *value == 0) {
            return bad(key, "must be at least 1".into());
        }
        if self.context.claim_s == 0 {
            return bad("context.claim_s", "must be at least 1".into());
        }
        if self.store.keep_audit_days == 0 {
            return bad("store.keep_audit_days", "must be at least 1".into());
        }
        if self.store.keep_events_days == 0 {
            return bad("store.keep_events_days", "must be at least 1: streams are resumed from stored events".into());
        }
        if self.server.public_url.as_deref().is_some_and(|url| !is_web_url(url)) {
            return bad("server.public_url", "expected a URL that begins with http:// or https://".into());
        }
        for (name, issuer) in &self.oidc {
            issuer.check(&format!("auth.oidc.{name}"))?;
        }
        if let Some((name, _)) = self.oidc.iter().find(|(a, i)| self.oidc.iter().any(|(b, j)| *a < b && i.issuer == j.issuer)) {
            return bad(&format!("auth.oidc.{name}.issuer"), "another section has the same issuer".into());
        }
        self.trusted_proxy.check("auth.trusted_proxy")?;
        if self.engine.poll_ms == 0 || self.engine.lease_ttl_ms < 2 * self.engine.poll_ms {
            return bad("engine.lease_ttl_ms", "must be at least twice engine.poll_ms, which must be at least 1".into());
        }
        Ok(())
    }

    /// Whether there is a database to migrate.
    pub(crate) fn check_migration(&self) -> Result<(), ConfigError> {
        let bad = |key: &str, problem: &str| Err(ConfigError::BadValue { key: key.into(), problem: problem.into(), place: None });
        if self.store.kind != StoreKind::Postgres {
            return bad("store.kind", "only a \"postgres\" store is migrated by itself; the embedded one is when it is opened");
        }
        if self.store.admin_url.reveal().is_none() {
            return bad("store.admin_url", "required to migrate: the database as its owner, on a direct connection");
        }
        Ok(())
    }

    /// The effective values as TOML, secrets redacted.
    #[must_use]
    pub fn show(&self) -> String {
        let mut out = String::new();
        let mut put = |header: Option<String>, fields: Vec<(&'static str, String)>| {
            if let Some(header) = header {
                let _ = writeln!(out, "\n[{header}]");
            }
            for (key, value) in fields {
                let _ = writeln!(out, "{key} = {value}");
            }
        };
        put(None, self.top.show());
        put(Some("server".into()), self.server.show());
        put(Some("store".into()), self.store.show());
        put(Some("vectors".into()), self.vectors.show());
        for (name, model) in &self.models {
            put(Some(format!("models.{name}")), model.show());
        }
        put(Some("embedder".into()), self.embedder.show());
        if let Some(next) = &self.next_embedder {
            put(Some("next_embedder".into()), next.show());
        }
        put(Some("engine".into()), self.engine.show());
        put(Some("limits".into()), self.limits.show());
        put(Some("context".into()), self.context.show());
        put(Some("documents".into()), self.documents.show());
        put(Some("google".into()), self.google.show());
        put(Some("secrets".into()), self.secrets.show());
        put(Some("tools".into()), self.tools.show());
        put(Some("tools.builtin".into()), self.builtin.show());
        put(Some("images".into()), self.images.show());
        put(Some("webhooks".into()), self.webhooks.show());
        for (name, program) in &self.mcp_programs {
            put(Some(format!("tools.mcp.{name}")), program.show());
        }
        put(Some("mcp".into()), self.mcp.show());
        for (name, issuer) in &self.oidc {
            put(Some(format!("auth.oidc.{name}")), issuer.show());
        }
        if self.trusted_proxy.is_on() {
            put(Some("auth.trusted_proxy".into()), self.trusted_proxy.show());
        }
        put(Some("log".into()), self.log.show());
        out
    }
}

impl Secrets {
    /// The keys, if there are any.
    pub(crate) fn keys(&self) -> Result<Option<LocalKeys>, ConfigError> {
        let bad = |error: ContextError| ConfigError::BadValue { key: "secrets.keys".into(), problem: error.to_string(), place: None };
        self.keys.reveal().map(LocalKeys::parse).transpose().map_err(bad)
    }
}

impl Tools {
    /// What functions call out with.
    pub(crate) fn fetcher(&self) -> Result<Fetcher, ConfigError> {
        self.fetcher_with(|_| {})
    }

    /// The same with another policy, but for what is open.
    pub(crate) fn fetcher_with(&self, change: impl FnOnce(&mut Policy)) -> Result<Fetcher, ConfigError> {
        let bad = |key: &str, problem: String| ConfigError::BadValue { key: key.to_owned(), problem, place: None };
        if self.timeout_ms == 0 {
            return Err(bad("tools.timeout_ms", "must be at least 1".into()));
        }
        let open = self.open.iter().map(|text| text.trim().parse::<Opening>().map_err(|e| bad("tools.open", e.to_string())));
        let timeout = Duration::from_millis(self.timeout_ms);
        let mut policy = Policy { open: open.collect::<Result<_, _>>()?, https_only: self.https_only, timeout, ..Policy::default() };
        change(&mut policy);
        Fetcher::new(policy).map_err(|e| bad("tools", e.to_string()))
    }
}

impl Embedder {
    /// Whether the values of this section fit together.
    fn check(&self, section: &str) -> Result<(), ConfigError> {
        let bad = |field: &str, problem: &str| {
            Err(ConfigError::BadValue { key: format!("{section}.{field}"), problem: problem.to_owned(), place: None })
        };
        match self.kind {
            EmbedderKind::Fastembed if self.path.is_none() => {
                bad("path", &format!("required when {section}.kind is \"fastembed\": the folder with the model's files"))
            }
            EmbedderKind::OpenAi if !self.base_url.as_deref().is_some_and(is_web_url) => {
                bad("base_url", &format!("a URL is required when {section}.kind is \"openai\""))
            }
            EmbedderKind::OpenAi if self.model.is_none() => bad("model", &format!("required when {section}.kind is \"openai\"")),
            EmbedderKind::OpenAi if self.dimensions.is_none() => {
                bad("dimensions", &format!("required when {section}.kind is \"openai\": how many numbers one vector has"))
            }
            EmbedderKind::Lexical if self.dimensions.is_some_and(|d| !(1..=4_096).contains(&d)) => bad("dimensions", "must be 1 to 4096"),
            _ => Ok(()),
        }
    }
}

fn is_web_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|r| !r.is_empty() && !r.starts_with('/') && !r.contains(char::is_whitespace))
}

/// Every option that exists, in the order of the reference.
#[must_use]
pub fn reference() -> Vec<ConfigField> {
    let mut all = Top::describe("");
    all.extend(Server::describe("server"));
    all.extend(Store::describe("store"));
    all.extend(Vectors::describe("vectors"));
    all.extend(Model::describe("models.NAME"));
    all.extend(Embedder::describe("embedder"));
    all.extend(Embedder::describe("next_embedder"));
    all.extend(Engine::describe("engine"));
    all.extend(Limits::describe("limits"));
    all.extend(Context::describe("context"));
    all.extend(Secrets::describe("secrets"));
    all.extend(Documents::describe("documents"));
    all.extend(Google::describe("google"));
    all.extend(Tools::describe("tools"));
    all.extend(Builtin::describe("tools.builtin"));
    all.extend(Images::describe("images"));
    all.extend(Webhooks::describe("webhooks"));
    all.extend(McpProgram::describe("tools.mcp.NAME"));
    all.extend(Mcp::describe("mcp"));
    all.extend(Issuer::describe("auth.oidc.NAME"));
    all.extend(TrustedProxy::describe("auth.trusted_proxy"));
    all.extend(Log::describe("log"));
    all
}

/// The reference as Markdown: what `docs/configuration.md` holds.
#[must_use]
pub fn reference_markdown() -> String {
    let mut out = String::from(concat!(
        "# Configuration\n\n",
        "Generated by `cargo xtask gen`; do not edit.\n\n",
        "Later sources win: defaults, the TOML file (`--config FILE`, else `./sid.toml` if it is there), the environment, flags.\n",
        "An unknown key is an error. `sid-server config check` prints the effective values, secrets redacted.\n\n",
        "- Environment: `SID_` + the key in capitals, `__` for each dot: `SID_SERVER__LISTEN`, `SID_MODELS__DEFAULT__BASE_URL`.\n",
        "- Flags: `--set key=value`, as often as needed; `--listen`, `--data` and `--store` are short forms.\n",
        "- A secret may stand in a file instead: `api_key_file = \"path\"`, `SID_MODELS__DEFAULT__API_KEY_FILE=path`.\n",
        "- `[next_embedder]` is left out but for a change of the embedder: `sid reindex` says how far that is.\n",
        "- `models.NAME` stands for any name: agents call the model by it. Without any, `models.default` is assumed.\n",
        "- `auth.oidc.NAME` stands for any name: one section per issuer of tokens. Without any, only keys are taken ([identity.md](identity.md)).\n",
        "- A list is an array in the file, and has commas between its items in the environment and in flags.\n",
    ));
    let mut section = None;
    for field in reference() {
        let own = field.key.rsplit_once('.').map_or("", |(s, _)| s).to_owned();
        if section.as_ref() != Some(&own) {
            let title = if own.is_empty() { "Top level".to_owned() } else { format!("`[{own}]`") };
            let _ = write!(out, "\n## {title}\n\n| key | type | default | what |\n| --- | --- | --- | --- |\n");
            section = Some(own);
        }
        let short = field.key.rsplit_once('.').map_or(field.key.as_str(), |(_, k)| k);
        let default = field.default.map_or_else(|| "not set".to_owned(), |d| format!("`{d}`"));
        let _ = writeln!(out, "| `{short}` | {} | {default} | {} |", field.type_name, field.doc);
    }
    out
}
