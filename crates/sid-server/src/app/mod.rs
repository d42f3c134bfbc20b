//! The server as a value: opened, driven, shut down.

mod routes;
mod serving;
mod setup;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub(crate) use routes::document;
pub use routes::{access_markdown, openapi_json};
use setup::{context_policy, engine_config, first_start};
pub use setup::{create_operator_key, migrate};
use sid_context::secrets::Vault;
use sid_context::{ContextError, ContextService};
use sid_core::Engine;
use sid_store::{EraseTarget, Receipt, Store, StoreError};
use sid_types::{Clock, RunLimits, Scope, SystemClock, TenantId, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Gate;
use crate::audit::Audit;
use crate::auth::Auth;
use crate::backend::Backend;
use crate::config::Config;
use crate::drive::{self, Connections};
use crate::embedding::Embedding;
use crate::erasures::Erasures;
use crate::error::ApiError;
use crate::health::Probes;
use crate::mcp::Operations;
use crate::metrics;
use crate::models::ModelDirectory;
use crate::open_error::OpenError;
use crate::rates::Rates;
use crate::toolbox::{self, TenantTools};
use crate::webhooks::{self, Sender};

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
    places: Arc<Semaphore>,
    most_requests: usize,
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
        // When nothing can fail any more: the key is shown once. Where many servers start together, `sid-server migrate` has made it.
        let first_key =
            if backend.is_shared() { None } else { first_start(backend.store().as_ref(), clock.now()).await.map_err(store_error)? };
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
        let most_requests = if config.server.max_requests == 0 { Semaphore::MAX_PERMITS } else { config.server.max_requests };
        let inner = Inner {
            auth,
            erasures,
            audit: Audit::start(backend.store().clone()),
            rates: Arc::default(),
            probes: Probes::default(),
            places: Arc::new(Semaphore::new(most_requests)),
            most_requests,
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

    /// Functions that tenants give their agents.
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

    /// Where secrets are kept; an error where no key for them is configured.
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

    /// A place among the requests under way.
    pub(crate) fn admit(&self) -> Result<Arc<OwnedSemaphorePermit>, tokio::sync::TryAcquireError> {
        self.inner.places.clone().try_acquire_owned().map(Arc::new)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.inner.most_requests - self.inner.places.available_permits()
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

/// Histograms keep every sample until they are folded: do that even when nobody reads `/metrics`.
async fn upkeep(closing: CancellationToken) {
    let Some(recorder) = metrics::install() else { return };
    while tokio::time::timeout(Duration::from_secs(5), closing.cancelled()).await.is_err() {
        recorder.run_upkeep();
    }
}
