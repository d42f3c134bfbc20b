//! How an engine is put together.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sid_documents::DocumentReader;
use sid_llm::Embedder;
use sid_store::Store;
use sid_tools::{Registry, RegistryError, Tool};
use sid_types::Clock;
use tokio_util::task::TaskTracker;

use crate::active::ActiveRuns;
use crate::budget::KnownLimits;
use crate::compaction::PreparedSummaries;
use crate::documents::{self, Library};
use crate::duty::Duties;
use crate::ego::KnownEgos;
use crate::embedders::Embedders;
use crate::engine::Inner;
use crate::provider::ToolProvider;
use crate::task::TaskTools;
use crate::timers::{self, Keeper};
use crate::tool_vectors::ToolVectors;
use crate::{Engine, EngineConfig, Models};

/// An engine being put together.
pub struct EngineBuilder {
    store: Arc<dyn Store>,
    models: Models,
    embedder: Option<Arc<dyn Embedder>>,
    next_embedder: Option<Arc<dyn Embedder>>,
    clock: Arc<dyn Clock>,
    config: EngineConfig,
    tools: Registry,
    named: Vec<Arc<dyn Tool>>,
    provider: Option<Arc<dyn ToolProvider>>,
    document_reader: Arc<dyn DocumentReader>,
}

impl EngineBuilder {
    /// Where tenants' own functions are found; without one they have none.
    #[must_use]
    pub fn tool_provider(mut self, provider: Arc<dyn ToolProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Who reads documents; without one they are read in this process: see [`sid_documents::InProcess`].
    #[must_use]
    pub fn document_reader(mut self, reader: Arc<dyn DocumentReader>) -> Self {
        self.document_reader = reader;
        self
    }

    /// Adds a tool beside the memory tools.
    pub fn tool(mut self, tool: Arc<dyn Tool>) -> Result<Self, RegistryError> {
        self.tools.register(tool)?;
        Ok(self)
    }

    /// Adds a tool for agents that name it; others' prompts do not grow.
    #[must_use]
    pub fn named_tool(mut self, tool: Arc<dyn Tool>) -> Self {
        self.named.push(tool);
        self
    }

    /// Builds the generation of this embedder beside that of the present one, and searches with it when it is complete. Without a present
    /// one it is the present one.
    #[must_use]
    pub fn next_embedder(mut self, next: Option<Arc<dyn Embedder>>) -> Self {
        self.next_embedder = next;
        self
    }

    /// The engine; it does nothing until [`Engine::start`].
    pub fn build(mut self) -> Result<Engine, RegistryError> {
        let (current, next) = match self.embedder {
            Some(current) => (Some(current), self.next_embedder),
            None => (self.next_embedder, None),
        };
        let embedder = current.map(|current| Arc::new(Embedders::new(current, next)));
        let searched = embedder.clone().map(|e| e as Arc<dyn Embedder>);
        let tool_vectors = Arc::new(ToolVectors::new(searched.clone(), self.config.embed_wait));
        sid_memory::tools::register_memory_tools(&mut self.tools, self.store.clone(), searched.clone())?;
        let tasks_changed = Arc::new(tokio::sync::Notify::new());
        let task_tools = TaskTools::new(self.store.clone(), tasks_changed.clone())?;
        // Before those that an agent has only if it names them: their descriptions cost tokens in every prompt.
        let offered = self.tools.names().map(str::to_owned).collect();
        let timers = Keeper::new(self.store.clone(), self.clock.clone(), &self.config);
        timers::register(&mut self.tools, &timers)?;
        std::mem::take(&mut self.named).into_iter().try_for_each(|tool| self.tools.register(tool))?;
        let library = Library::new(self.store.clone(), searched, self.document_reader, self.config.documents_per_owner);
        documents::register(&mut self.tools, &library)?;
        Ok(Engine {
            inner: Arc::new(Inner {
                store: self.store,
                models: self.models,
                embedder,
                tool_vectors,
                tools: Arc::new(self.tools),
                offered,
                provider: self.provider,
                clock: self.clock,
                config: self.config,
                active: ActiveRuns::default(),
                prepared: PreparedSummaries::default(),
                limits: KnownLimits::default(),
                duties: Duties::default(),
                new_memory: tokio::sync::Notify::new(),
                tasks_changed,
                task_tools,
                timers,
                egos: KnownEgos::default(),
                library,
                tasks: TaskTracker::new(),
                draining: AtomicBool::new(false),
            }),
        })
    }
}

impl Engine {
    /// An engine with the memory tools.
    ///
    /// Panics: never; the memory tools' names and schemas are fixed and fit the registry.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        models: Models,
        embedder: Option<Arc<dyn Embedder>>,
        clock: Arc<dyn Clock>,
        config: EngineConfig,
    ) -> Self {
        Self::builder(store, models, embedder, clock, config).build().expect("the memory tools register in an empty registry")
    }

    /// An engine to which own tools can be added.
    #[must_use]
    pub fn builder(
        store: Arc<dyn Store>,
        models: Models,
        embedder: Option<Arc<dyn Embedder>>,
        clock: Arc<dyn Clock>,
        config: EngineConfig,
    ) -> EngineBuilder {
        EngineBuilder {
            store,
            models,
            embedder,
            next_embedder: None,
            clock,
            config,
            tools: Registry::new(),
            named: Vec::new(),
            provider: None,
            document_reader: Arc::new(sid_documents::InProcess::default()),
        }
    }
}
