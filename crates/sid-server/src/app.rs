//! The server as a value: opened, driven, shut down.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::serve::ListenerExt as _;
use rmcp::transport::StreamableHttpServerConfig;
use sid_context::secrets::Vault;
use sid_context::{ContextError, ContextService, Policy};
use sid_core::{Engine, EngineConfig, ModelPrice};
use sid_store::{EraseTarget, Receipt, Store, StoreError, TenantLimits};
use sid_types::{Caps, ChainBudget, Clock, KeyId, RunLimits, Scope, SystemClock, TenantId, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::access::{self, Gate};
use crate::audit::Audit;
use crate::auth::{Auth, DEFAULT_TENANT, KeySpec, Trusted, house_right, new_key};
use crate::backend::{self, Backend};
use crate::config::{Config, Server, Vectors};
use crate::drive::{self, Connections};
use crate::embedding::Embedding;
use crate::erasures::Erasures;
use crate::error::{ApiCode, ApiError};
use crate::health::Probes;
use crate::mcp::{self, McpServer, Operations};
use crate::models::ModelDirectory;
use crate::open_error::OpenError;
use crate::rates::Rates;
use crate::toolbox::{self, TenantTools};
use crate::webhooks::{self, Sender};
use crate::{api, health, layers, metrics, openai, well_known};

/// After the drain, connections that still have not ended are cut after this long.
const LAST_BYTES: Duration = Duration::from_secs(5);

/// How long giving back what other replicas wait for may take.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// A server that has been opened: store, models, embedder and engine at work. Cheap to clone; all clones are one server.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    clock: Arc<dyn Clock>,
    backend: Backend,
    models: ModelDirectory,
    embedding: Embedding,
    next_embedding: Option<Embedding>,
    engine: Engine,
    limits: RunLimits,
    context: ContextService,
    toolbox: Arc<TenantTools>,
    /// Signs deliveries of webhooks.
    sender: Arc<Sender>,
    /// Where a key for secrets is configured.
    vault: Option<Vault>,
    /// Where Google Drive is set up.
    drive: Option<Connections>,
    auth: Auth,
    erasures: Erasures,
    audit: Audit,
    rates: Arc<Rates<TenantId>>,
    probes: Probes,
    first_key: Option<String>,
    places: Option<Arc<Semaphore>>,
    openapi: OnceLock<Arc<str>>,
    operations: OnceLock<Operations>,
    gate: OnceLock<Gate>,
    /// No new work is taken.
    draining: CancellationToken,
    /// Streams and waits end.
    closing: CancellationToken,
    /// What may still read requests: a port that is served.
    serving: TaskTracker,
    /// The store has taken all that was to be written.
    settled: CancellationToken,
}

impl App {
    /// Opens the store, sets models and embedder up, and starts the engine on the current tokio runtime.
    ///
    /// Waits for no model: endpoints are asked in the background, and an embedding model is loaded there too; until it is there,
    /// recall goes by words. On a store without keys, a `default` tenant and an operator key are made: [`App::first_key`].
    ///
    /// Errors: the store cannot be opened; a model or the embedder is set up wrongly.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        Self::open_with_clock(config, Arc::new(SystemClock)).await
    }

    /// [`App::open`] with a clock of one's own.
    pub async fn open_with_clock(config: Config, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        config.check()?;
        // `reqwest` is built without a provider of its own. An embedding program may have chosen one before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        metrics::install();
        let store_error = |source: StoreError| OpenError::store(&config, source);
        let backend = Backend::open(&config, clock.clone()).await.map_err(store_error)?;
        // Where many servers start at once, `sid-server migrate` has made the key.
        let first_key =
            if backend.is_shared() { None } else { first_start(backend.store().as_ref(), clock.now()).await.map_err(store_error)? };
        let erasures = Erasures::of(&config);
        erasures.repeat(backend.store().as_ref()).await.map_err(store_error)?;
        let auth = Auth::new(backend.store().clone(), clock.clone(), &config)?;
        let models = ModelDirectory::build(&config)?;
        let embedding = Embedding::build(&config.embedder, "embedder")?;
        let next_embedding = config.next_embedder.as_ref().map(|next| Embedding::build(next, "next_embedder")).transpose()?;
        let engine_config = engine_config(&config);
        let limits = engine_config.limits;
        let store = backend.store();
        let context = ContextService::new(store.clone(), store.clone(), clock.clone(), context_policy(&config));
        let vault = config.secrets.keys()?.map(|keys| Vault::new(context.clone(), Arc::new(keys)));
        let fetcher = config.tools.fetcher()?;
        let hook_fetcher = webhooks::fetcher(&config.tools, &config.webhooks)?;
        let sender = Arc::new(Sender::new(hook_fetcher, vault.clone(), clock.clone(), &config.webhooks));
        let mut builtin = toolbox::builtin(&config.builtin, &fetcher);
        let (reader, library) = (config.documents.reader(), drive::LaterLibrary::default());
        let drive =
            config.drive(&fetcher)?.zip(vault.clone()).map(|(drive, vault)| Connections::new(drive, vault, store.clone(), clock.clone()));
        if let Some(connections) = &drive {
            // A reader of its own: however many files are opened, documents that wait are not kept from theirs.
            builtin.extend(drive::tools(connections, &config.documents.reader(), &library));
        }
        let toolbox = TenantTools::new(store.clone(), fetcher, vault.clone(), clock.clone(), &config);
        let toolbox = Arc::new(toolbox.map_err(|e| crate::config::ConfigError::BadValue {
            key: "images".into(),
            problem: e.to_string(),
            place: None,
        })?);
        let mut engine = Engine::builder(backend.store().clone(), models.entries(), embedding.embedder(), clock.clone(), engine_config)
            .next_embedder(next_embedding.as_ref().and_then(Embedding::embedder))
            .tool_provider(toolbox.clone())
            .document_reader(reader);
        for tool in builtin {
            engine = engine.tool(tool).expect("built-in tools have names of their own");
        }
        for tool in toolbox::handoffs(&context, store) {
            engine = engine.named_tool(tool);
        }
        let engine = engine.build().expect("the memory tools register beside the built-in ones");
        let _ = library.set(engine.library().clone());
        engine.start();
        models.discover_in_background();
        let max_requests = config.server.max_requests;
        let inner = Inner {
            auth,
            erasures,
            audit: Audit::start(backend.store().clone()),
            rates: Arc::default(),
            probes: Probes::default(),
            places: (max_requests > 0).then(|| Arc::new(Semaphore::new(max_requests))),
            openapi: OnceLock::new(),
            operations: OnceLock::new(),
            gate: OnceLock::new(),
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
            serving: TaskTracker::new(),
            settled: CancellationToken::new(),
            config,
            clock,
            backend,
            models,
            embedding,
            next_embedding,
            engine,
            toolbox,
            sender,
            limits,
            context,
            vault,
            drive,
            first_key,
        };
        let app = Self { inner: Arc::new(inner) };
        tokio::spawn(upkeep(app.closing().clone()));
        tokio::spawn(app.inner.rates.clone().share(app.backend().store().clone(), app.closing().clone()));
        app.send_webhooks();
        let (feeder, closing) = (app.clone(), app.closing().clone());
        tokio::spawn(async move { feeder.backend().feed_index(closing.cancelled()).await });
        Ok(app)
    }

    /// Begins to send what webhooks are to be told, and to forget what is old.
    fn send_webhooks(&self) {
        let (store, settings, closing) = (self.backend().store(), &self.config().webhooks, self.closing());
        tokio::spawn(webhooks::forget(store.clone(), settings.clone(), closing.clone()));
        if settings.send {
            tokio::spawn(webhooks::deliver(store.clone(), self.sender().clone(), settings.clone(), closing.clone()));
        }
    }

    /// The operator key that was made because the store had no keys: shown once, stored nowhere.
    #[must_use]
    pub fn first_key(&self) -> Option<&str> {
        self.inner.first_key.as_deref()
    }

    /// All routes, behind authentication: for [`axum::serve()`], or to be driven in process without a port.
    pub fn router(&self) -> Router {
        if self.config().mcp.enabled { self.router_with_mcp(mcp::endpoint) } else { self.inner_router() }
    }

    /// The same, with `/mcp` as `endpoint` makes it of Sid's own MCP server and its settings: for programs that put tools of their own
    /// around it. Nobody reaches it without a key.
    pub fn router_with_mcp<E>(&self, endpoint: impl FnOnce(McpServer, StreamableHttpServerConfig) -> E) -> Router
    where
        E: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
        E::Response: IntoResponse + 'static,
        E::Future: Send + 'static,
    {
        let (server, settings) = mcp::server(self);
        self.routes(Router::new().route_service(mcp::PATH, endpoint(server, settings)))
    }

    /// The same without MCP: what MCP's calls go through. It holds the server, so the server must not hold it.
    pub(crate) fn inner_router(&self) -> Router {
        self.routes(Router::new())
    }

    fn routes(&self, more: Router<Self>) -> Router {
        let (routes, document) = api_router().split_for_parts();
        self.inner.gate.get_or_init(|| Gate::new(&document));
        self.inner.openapi.get_or_init(|| api::finish(document).to_json().unwrap_or_default().into());
        routes
            .merge(health::router())
            .merge(more)
            .route("/", axum::routing::get(mcp::home))
            .route(toolbox::login::CALLBACK, axum::routing::get(api::logins::came_back))
            .route(well_known::PATH, axum::routing::get(well_known::protected_resource))
            .route(well_known::MCP_PATH, axum::routing::get(well_known::protected_resource))
            .fallback(no_route)
            .method_not_allowed_fallback(wrong_method)
            // Bodies are read by one extractor, which has its own limit and its own words for it.
            .layer(axum::extract::DefaultBodyLimit::disable())
            .layer(axum::middleware::from_fn_with_state(self.clone(), layers::guard))
            .layer(axum::middleware::from_fn_with_state(self.clone(), layers::observe))
            .with_state(self.clone())
    }

    /// The same routes for the process itself: without a key, each request is an operator's (`X-Sid-Tenant` and `X-Sid-User` narrow
    /// it). Whoever can open the data folder owns it. Never serve this on a port.
    pub fn trusted_router(&self) -> Router {
        self.router().layer(axum::Extension(Trusted))
    }

    /// Serves until `shutdown` is ready, then drains: no new work, running steps end, streams close, the rest is left for the next
    /// start.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
        let app = self.clone();
        let drained = async move {
            shutdown.await;
            app.shutdown().await;
        };
        let listener = listener.tap_io(|stream| {
            // A small answer must not wait for the next one.
            let _ = stream.set_nodelay(true);
        });
        let service = self.router().into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(listener, service).with_graceful_shutdown(self.closing().clone().cancelled_owned()).into_future();
        let cut = async {
            self.closing().cancelled().await;
            tokio::time::sleep(LAST_BYTES).await;
        };
        let ended = async {
            tokio::select! {
                served = serving => served,
                () = cut => {
                    tracing::warn!("connections were cut: they did not end in time");
                    Ok(())
                }
            }
        };
        // The store is closed after the last connection: one that has sent half a request may send the rest.
        let (served, ()) = tokio::join!(self.inner.serving.track_future(ended), drained);
        served
    }

    /// Stops taking work, lets running steps end for at most `server.drain_timeout_ms`, then closes streams. Again does nothing.
    pub async fn shutdown(&self) {
        if self.inner.draining.is_cancelled() {
            return self.inner.settled.cancelled().await;
        }
        self.inner.draining.cancel();
        let server: &Server = &self.config().server;
        tracing::info!(runs = self.engine().active_runs(), "shutting down");
        tokio::time::sleep(Duration::from_millis(server.drain_delay_ms)).await;
        tokio::select! {
            // First: it is this call that refuses new work.
            biased;
            () = self.engine().drain(Duration::from_millis(server.drain_timeout_ms)) => {}
            // Idle background workers end by themselves; nobody has to wait for their next look at the clock.
            () = self.no_runs() => {}
        }
        // A store that does not answer keeps nobody: duties expire.
        let _ = tokio::time::timeout(LAST_CALLS, self.engine().leave_duties()).await;
        self.closing().cancel();
        self.inner.serving.close();
        // They cut what does not end.
        let _ = tokio::time::timeout(LAST_BYTES * 2, self.inner.serving.wait()).await;
        self.no_requests().await;
        // While the store still answers.
        self.flush_audit().await;
        self.backend().settle().await;
        self.inner.settled.cancel();
    }

    /// Whoever waited for something has been told that the server closes: ready when those requests have ended, or soon. A program that
    /// serves the routes itself has no port here to wait for.
    async fn no_requests(&self) {
        let ended = async {
            while self.in_flight() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(LAST_CALLS, ended).await;
    }

    /// What was queued for the audit log is written, if the store takes it in time.
    async fn flush_audit(&self) {
        if tokio::time::timeout(LAST_BYTES, self.audit().flush()).await.is_err() {
            tracing::error!("the store did not take the last entries of the audit log");
        }
    }

    /// Ready when no run has been under way for a moment.
    async fn no_runs(&self) {
        let mut quiet = 0;
        while quiet < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            quiet = if self.engine().active_runs() == 0 { quiet + 1 } else { 0 };
        }
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The engine, for programs that embed the server.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// The store, for programs that embed the server.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        self.inner.backend.store().as_ref()
    }

    /// Forgets, and sees to it that an older copy of the store does not remember. The caller has been found to be allowed to.
    pub(crate) async fn erase(&self, scope: &Scope, target: EraseTarget) -> Result<Receipt, ApiError> {
        self.inner.erasures.note(scope.tenant(), target, self.now()).await?;
        // What still waits to be written may name what is erased.
        self.audit().flush().await;
        Ok(self.engine().erase(scope, target).await?)
    }

    /// The context service, for programs that embed the server.
    #[must_use]
    pub fn context(&self) -> &ContextService {
        &self.inner.context
    }

    /// Where secrets are kept; an error where no key for them is configured.
    pub(crate) fn toolbox(&self) -> &TenantTools {
        &self.inner.toolbox
    }

    /// Google Drive of people, where it is set up.
    pub(crate) fn drive(&self) -> Option<&Connections> {
        self.inner.drive.as_ref()
    }

    pub(crate) fn sender(&self) -> &Arc<Sender> {
        &self.inner.sender
    }

    pub(crate) fn vault(&self) -> Result<&Vault, ContextError> {
        self.inner.vault.as_ref().ok_or(ContextError::NoKey)
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.inner.backend
    }

    pub(crate) fn models(&self) -> &ModelDirectory {
        &self.inner.models
    }

    pub(crate) fn auth(&self) -> &Auth {
        &self.inner.auth
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.inner.audit
    }

    /// The access table by route.
    pub(crate) fn gate(&self) -> &Gate {
        self.inner.gate.get_or_init(|| Gate::new(&document()))
    }

    /// Request limits of tenants.
    pub(crate) fn rates(&self) -> &Rates<TenantId> {
        &self.inner.rates
    }

    pub(crate) fn probes(&self) -> &Probes {
        &self.inner.probes
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Limits of runs whose request names none; also the most that a request may name.
    pub(crate) fn run_limits(&self) -> RunLimits {
        self.inner.limits
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.inner.draining.is_cancelled()
    }

    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.inner.closing
    }

    /// A place among the requests under way; `Ok(None)` = there is no limit.
    pub(crate) fn admit(&self) -> Result<Option<Arc<OwnedSemaphorePermit>>, tokio::sync::TryAcquireError> {
        self.inner.places.as_ref().map(|p| p.clone().try_acquire_owned().map(Arc::new)).transpose()
    }

    pub(crate) fn in_flight(&self) -> usize {
        let free = self.inner.places.as_ref().map(|p| p.available_permits());
        free.map_or(0, |free| self.config().server.max_requests.saturating_sub(free))
    }

    /// Of the embedder that memory is searched with: `none`, `lexical`, `loading`, `ready` or `failed`.
    pub(crate) fn embedder_status(&self) -> &'static str {
        let searched = self.engine().embedder().map(|e| e.generation().id);
        let is_searched = |embedding: &&Embedding| embedding.embedder().map(|e| e.generation().id) == searched;
        self.inner.next_embedding.as_ref().filter(is_searched).unwrap_or(&self.inner.embedding).status()
    }

    /// Every operation of the API.
    pub(crate) fn operations(&self) -> &Operations {
        self.inner.operations.get_or_init(|| Operations::of_document(&serde_json::from_str(&self.openapi_json()).unwrap_or_default()))
    }

    pub(crate) fn openapi_json(&self) -> String {
        self.inner.openapi.get().map(ToString::to_string).unwrap_or_default()
    }
}

/// All documented routes.
fn api_router() -> utoipa_axum::router::OpenApiRouter<App> {
    utoipa_axum::router::OpenApiRouter::with_openapi(api::blank()).nest("/api/v1", api::router()).merge(openai::router())
}

/// What the routes say of themselves.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    api_router().into_openapi()
}

/// The OpenAPI document, as served at `/openapi.json`; needs no store.
#[must_use]
pub fn openapi_json() -> String {
    api::finish(document()).to_pretty_json().unwrap_or_default()
}

/// Who may do what, as Markdown: what `docs/access.md` holds; needs no store.
#[must_use]
pub fn access_markdown() -> String {
    access::page(&document())
}

async fn no_route(request: axum::extract::Request) -> ApiError {
    ApiError::new(ApiCode::NoRoute, format!("there is no route {}: see /openapi.json", request.uri().path())).openai("unknown_url", None)
}

async fn wrong_method(request: axum::extract::Request) -> ApiError {
    ApiError::new(ApiCode::Method, format!("{} is not a method of {}", request.method(), request.uri().path()))
}

/// On a store without keys: a tenant to begin with, and a key to get in.
async fn first_start(store: &dyn Store, now: Timestamp) -> Result<Option<String>, StoreError> {
    let right = house_right();
    if !store.keys(&right, None).await?.is_empty() {
        return Ok(None);
    }
    if store.tenants(&right).await?.is_empty() {
        store.create_tenant(&right, DEFAULT_TENANT).await?;
    }
    let (key, text) = new_key(KeyId::new(), KeySpec::operator("first operator"), now);
    store.put_key(&right, key).await?;
    Ok(Some(text))
}

/// Makes an operator key in the configured store, for people who have lost all of theirs. Whoever can open the data folder owns it.
///
/// Errors: the store cannot be opened, for instance because a server runs on it.
pub async fn create_operator_key(config: &Config, name: &str) -> Result<String, OpenError> {
    let store_error = |source: StoreError| OpenError::store(config, source);
    let backend = Backend::open(config, Arc::new(SystemClock)).await.map_err(store_error)?;
    let (key, text) = new_key(KeyId::new(), KeySpec::operator(name), SystemClock.now());
    backend.store().put_key(&house_right(), key).await.map_err(store_error)?;
    Ok(text)
}

/// Prepares the configured Postgres database, or brings it to this version's schema: run once, before servers of this version start.
/// Answers the schema's version, and on a new database the first operator key: shown once, stored nowhere.
///
/// Errors: another store is configured, or no `store.admin_url`; the database cannot be reached or is not as Sid needs it.
pub async fn migrate(config: &Config) -> Result<(u32, Option<String>), OpenError> {
    config.check_migration()?;
    let store_error = |source: StoreError| OpenError::store(config, source);
    let version = backend::migrate(&config.store).await.map_err(store_error)?;
    if config.store.url.reveal().is_none() {
        return Ok((version, None));
    }
    // Keys need no index; whether that answers is for the servers to say.
    let without_index = Config { vectors: Vectors::default(), ..config.clone() };
    let backend = Backend::open(&without_index, Arc::new(SystemClock)).await.map_err(store_error)?;
    let key = first_start(backend.store().as_ref(), SystemClock.now()).await.map_err(store_error)?;
    Ok((version, key))
}

fn engine_config(config: &Config) -> EngineConfig {
    let engine = &config.engine;
    EngineConfig {
        lease_ttl: Duration::from_millis(engine.lease_ttl_ms),
        poll: Duration::from_millis(engine.poll_ms),
        max_runs: config.server.max_runs,
        max_runs_per_tenant: if config.limits.runs_at_once == 0 { usize::MAX } else { config.limits.runs_at_once },
        tenant_limits: TenantLimits {
            requests_per_second: Some(config.limits.requests_per_second),
            tokens_per_day: Some(config.limits.tokens_per_day),
            tokens_per_month: Some(config.limits.tokens_per_month),
            keep_conversations_days: Some(0),
            caps: Caps {
                runs_per_hour: Some(config.limits.self_begun_runs_per_hour),
                runs_per_day: Some(config.limits.self_begun_runs_per_day),
                tokens_per_day: Some(config.limits.self_begun_tokens_per_day),
            },
        },
        limits: RunLimits {
            max_steps: engine.max_steps,
            max_tokens: engine.max_tokens,
            max_time_ms: engine.max_time_ms,
            max_repeats: engine.max_repeats,
        },
        queue_depth: config.server.queue_depth,
        most_tool_tokens: config.tools.most_prompt_tokens.map(sid_types::Tokens),
        delta_flush: Duration::from_millis(engine.delta_flush_ms),
        embed_wait: Duration::from_millis(engine.embed_wait_ms),
        diary: engine.diary,
        documents_per_owner: config.documents.per_owner,
        timers_per_pair: engine.timers_per_user,
        approval_ttl: Duration::from_millis(engine.approval_ttl_ms),
        shortest_timer: Duration::from_millis(engine.shortest_timer_ms),
        timer_patience: Duration::from_millis(engine.timer_patience_ms),
        consolidate: engine.consolidate,
        agent_caps: Caps {
            runs_per_hour: Some(engine.agent_runs_per_hour),
            runs_per_day: Some(engine.agent_runs_per_day),
            tokens_per_day: Some(engine.agent_tokens_per_day),
        },
        idle: Duration::from_millis(engine.idle_ms),
        task_runs_per_tenant: config.limits.task_runs_at_once,
        chain_depth: config.limits.agents_in_a_row,
        chain_budget: ChainBudget { messages: config.limits.agent_messages, tokens: config.limits.agent_tokens },
        ask_timeout: Duration::from_millis(engine.ask_timeout_ms),
        prices: config
            .models
            .iter()
            .map(|(name, m)| (name.clone(), ModelPrice { prompt: m.price_prompt, completion: m.price_completion }))
            .collect(),
        ..EngineConfig::default()
    }
}

/// Histograms keep every sample until they are folded: do that even when nobody reads `/metrics`.
async fn upkeep(closing: CancellationToken) {
    let Some(recorder) = metrics::install() else { return };
    while tokio::time::timeout(Duration::from_secs(5), closing.cancelled()).await.is_err() {
        recorder.run_upkeep();
    }
}

fn context_policy(config: &Config) -> Policy {
    let context = &config.context;
    let needs_approval = if context.ask_first { Policy::default().needs_approval } else { Vec::new() };
    Policy { needs_approval, claim_s: context.claim_s, session_gap_s: context.session_gap_s }
}
