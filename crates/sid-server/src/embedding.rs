//! The configured embedder. What takes time happens in the background, so that the server is ready at once: until a model is there,
//! recall goes by words.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::RwLock;
use sid_llm::{
    EmbedInput, Embedder, EmbeddingGeneration, FastembedConfig, FastembedEmbedder, HashEmbedder, LlmError, OpenAiConfig, OpenAiEmbedder,
    OpenAiEmbedderConfig,
};

use crate::config::{self, EmbedderKind};
use crate::open_error::OpenError;

/// How long a query waits for a model that is being loaded; then the turn goes on by words.
const QUERY_PATIENCE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// An embedder, and how far it is.
pub(crate) struct Embedding {
    embedder: Option<Arc<dyn Embedder>>,
    status: Arc<RwLock<&'static str>>,
}

impl Embedding {
    /// `section`: where the settings stand.
    pub(crate) fn build(settings: &config::Embedder, section: &str) -> Result<Self, OpenError> {
        let status = Arc::new(RwLock::new("loading"));
        let wrong = |source| OpenError::Model { what: format!("[{section}]"), source };
        let embedder: Option<Arc<dyn Embedder>> = match settings.kind {
            EmbedderKind::None => {
                *status.write() = "none";
                tracing::warn!("RECALL IS LEXICAL ONLY: {section}.kind is \"none\", memories are found by their words");
                None
            }
            EmbedderKind::Lexical => {
                *status.write() = "lexical";
                tracing::warn!(
                    "RECALL IS LEXICAL ONLY: {section}.kind is \"lexical\", which finds the same words and not the same meaning; \
                     set it to \"fastembed\" or \"openai\" for search by meaning"
                );
                Some(Arc::new(settings.dimensions.map_or_else(HashEmbedder::new, HashEmbedder::with_dimensions)))
            }
            EmbedderKind::Fastembed => {
                let folder = settings.path.clone().unwrap_or_default();
                let mut wanted = FastembedConfig { onnxruntime: settings.onnxruntime.clone(), ..FastembedConfig::folder(folder) };
                if settings.threads > 0 {
                    wanted.threads = settings.threads;
                }
                let model = Arc::new(FastembedEmbedder::start(wanted).map_err(wrong)?);
                tokio::spawn(report(model.clone(), status.clone()));
                Some(Arc::new(Patient(model)))
            }
            EmbedderKind::OpenAi => {
                let model = Arc::new(RemoteEmbedder::new(settings));
                tokio::spawn(model.clone().connect(status.clone()));
                Some(model)
            }
        };
        Ok(Self { embedder, status })
    }

    pub(crate) fn embedder(&self) -> Option<Arc<dyn Embedder>> {
        self.embedder.clone()
    }

    /// `none`, `lexical`, `loading`, `ready` or `failed`.
    pub(crate) fn status(&self) -> &'static str {
        *self.status.read()
    }
}

async fn report(model: Arc<FastembedEmbedder>, status: Arc<RwLock<&'static str>>) {
    let started = std::time::Instant::now();
    match model.ready().await {
        Ok(()) => {
            *status.write() = "ready";
            let generation = model.generation();
            tracing::info!(generation = generation.id, loaded_ms = started.elapsed().as_millis() as u64, "embedding model loaded");
        }
        Err(e) => {
            *status.write() = "failed";
            tracing::error!(code = e.code(), "RECALL IS LEXICAL ONLY: the embedding model cannot be loaded: {e}");
        }
    }
}

/// Lets queries wait for a model that is being loaded for a short while only; documents have time.
struct Patient(Arc<FastembedEmbedder>);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Embedder for Patient {
    fn generation(&self) -> EmbeddingGeneration {
        self.0.generation()
    }

    async fn embed(&self, input: EmbedInput, texts: &[String]) -> Result<Vec<Vec<f32>>, LlmError> {
        if input == EmbedInput::Query {
            match tokio::time::timeout(QUERY_PATIENCE, self.0.ready()).await {
                Ok(ready) => ready?,
                Err(_) => return Err(LlmError::Interrupted { detail: "the embedding model is being loaded".into() }),
            }
        }
        self.0.embed(input, texts).await
    }
}

/// An embedding endpoint that may come up later than the server.
struct RemoteEmbedder {
    settings: OpenAiEmbedderConfig,
    generation: EmbeddingGeneration,
    connected: RwLock<Option<Arc<OpenAiEmbedder>>>,
}

impl RemoteEmbedder {
    fn new(settings: &config::Embedder) -> Self {
        let model = settings.model.clone().unwrap_or_default();
        let dimensions = settings.dimensions.unwrap_or_default();
        let endpoint = OpenAiConfig {
            api_key: settings.api_key.reveal().map(ToOwned::to_owned),
            ..OpenAiConfig::new(settings.base_url.clone().unwrap_or_default(), model.as_str())
        };
        let settings = OpenAiEmbedderConfig { endpoint, ..OpenAiEmbedderConfig::default() };
        let generation = EmbeddingGeneration {
            id: format!("openai/{model}/{dimensions}/c1"),
            dimensions,
            chunk_bytes: settings.chunk_bytes,
            is_semantic: true,
        };
        Self { settings, generation, connected: RwLock::new(None) }
    }

    async fn connect(self: Arc<Self>, status: Arc<RwLock<&'static str>>) {
        let mut pause = Duration::from_secs(1);
        loop {
            match OpenAiEmbedder::connect(self.settings.clone()).await {
                Ok(found) if found.generation().dimensions == self.generation.dimensions => {
                    *self.connected.write() = Some(Arc::new(found));
                    *status.write() = "ready";
                    tracing::info!(generation = self.generation.id, "embedding endpoint connected");
                    return;
                }
                Ok(found) => {
                    *status.write() = "failed";
                    tracing::error!(
                        "RECALL IS LEXICAL ONLY: the embedding endpoint makes vectors of {} numbers: set embedder.dimensions to that",
                        found.generation().dimensions
                    );
                    return;
                }
                Err(e) => {
                    if *status.read() != "failed" {
                        tracing::error!(code = e.code(), "RECALL IS LEXICAL ONLY for now: the embedding endpoint does not answer: {e}");
                    }
                    *status.write() = "failed";
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Embedder for RemoteEmbedder {
    fn generation(&self) -> EmbeddingGeneration {
        self.generation.clone()
    }

    async fn embed(&self, input: EmbedInput, texts: &[String]) -> Result<Vec<Vec<f32>>, LlmError> {
        let connected = self.connected.read().clone();
        match connected {
            Some(embedder) => embedder.embed(input, texts).await,
            None => Err(LlmError::Interrupted { detail: "the embedding endpoint has not answered yet".into() }),
        }
    }
}
