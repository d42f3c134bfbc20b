//! Ollama by its native API. Its OpenAI door ignores `num_ctx` and cuts the prompt silently; this one does not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::receive::{Wire, receive};
use super::{body, redacted};
use crate::http::{self, Endpoint, Settings};
use crate::{Assembler, AssemblerOptions, ChatModel, ChatRequest, ChatStream, Engine, LlmError, ModelInfo, ModelProfile};

/// The window that is asked for where nobody says another.
const DEFAULT_WINDOW: u32 = 8_192;

/// How to reach a model of Ollama.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OllamaConfig {
    /// Default `http://localhost:11434`.
    pub base_url: String,
    /// For Ollama behind a proxy that asks for one.
    pub api_key: Option<String>,
    /// Such as `qwen3:8b`.
    pub model: String,
    /// More headers.
    pub headers: BTreeMap<String, String>,
    /// The window to allocate, in tokens. The profile's when `None`.
    pub num_ctx: Option<u32>,
    /// Switches thinking on or off, for models that can. The model's own way when `None`.
    pub think: Option<bool>,
    /// How long the model stays loaded, such as `30m`.
    pub keep_alive: Option<String>,
    /// More options, such as `{"top_p": 0.9}`.
    pub extra_options: Map<String, Value>,
    /// Default `true`.
    pub stream: bool,
    /// An HTTP proxy; none by default, whatever the environment says.
    pub proxy: Option<String>,
    /// Milliseconds for making a connection. Default 5,000.
    pub connect_timeout_ms: u64,
    /// Most bytes of an answer. Default 8,000,000.
    pub max_output_bytes: usize,
}

impl Default for OllamaConfig {
    fn default() -> Self {
        Self {
            base_url: "http://localhost:11434".into(),
            api_key: None,
            model: String::new(),
            headers: BTreeMap::new(),
            num_ctx: None,
            think: None,
            keep_alive: None,
            extra_options: Map::new(),
            stream: true,
            proxy: None,
            connect_timeout_ms: 5_000,
            max_output_bytes: 8_000_000,
        }
    }
}

impl OllamaConfig {
    /// A configuration with the defaults.
    #[must_use]
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), model: model.into(), ..Self::default() }
    }

    pub(crate) fn endpoint(&self) -> Result<Endpoint, LlmError> {
        Endpoint::new(&Settings {
            base_url: &self.base_url,
            api_key: self.api_key.as_deref(),
            headers: &self.headers,
            proxy: self.proxy.as_deref(),
            connect_timeout: Duration::from_millis(self.connect_timeout_ms),
        })
    }
}

impl std::fmt::Debug for OllamaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OllamaConfig")
            .field("base_url", &http::redact(&self.base_url))
            .field("api_key", &redacted(self.api_key.as_ref()))
            .field("model", &self.model)
            .field("num_ctx", &self.num_ctx)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// A model of Ollama.
#[derive(Debug, Clone)]
pub struct Ollama {
    config: Arc<OllamaConfig>,
    endpoint: Endpoint,
    profile: ModelProfile,
    num_ctx: u32,
}

impl Ollama {
    /// A model of which nothing is known; see [`crate::discover`].
    ///
    /// Errors: [`LlmError::Config`].
    pub fn new(config: OllamaConfig) -> Result<Self, LlmError> {
        Self::with_profile(config, ModelProfile { engine: Engine::Ollama, json_schema: true, ..ModelProfile::default() })
    }

    /// A model with this profile. The window that is allocated is `num_ctx` of the configuration, else the profile's, else
    /// 8,192 tokens; the profile of [`ChatModel::info`] says which.
    ///
    /// Errors: [`LlmError::Config`].
    pub fn with_profile(config: OllamaConfig, mut profile: ModelProfile) -> Result<Self, LlmError> {
        if config.model.is_empty() {
            return Err(LlmError::Config("the model's name is empty: set `model`".into()));
        }
        let num_ctx = config.num_ctx.or(profile.context_window.map(|w| w.0)).unwrap_or(DEFAULT_WINDOW);
        profile.context_window = Some(sid_types::Tokens(num_ctx));
        Ok(Self { endpoint: config.endpoint()?, config: Arc::new(config), profile, num_ctx })
    }
}

#[async_trait]
impl ChatModel for Ollama {
    fn info(&self) -> ModelInfo {
        ModelInfo { model: self.config.model.clone(), profile: self.profile.clone() }
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let body = body::Ollama::new(&self.config, self.num_ctx, &self.profile, &request);
        let response = self.endpoint.post(&self.endpoint.unversioned("/api/chat"), &body).await?;
        let options = AssemblerOptions { max_output_bytes: self.config.max_output_bytes, id_seed: rand::random() };
        let assembler = Assembler::new(Arc::new(request), options);
        Ok(receive(http::bytes(response), assembler, Wire::Ollama, self.config.max_output_bytes))
    }
}
