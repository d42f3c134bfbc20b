//! Engines with an OpenAI-compatible chat API: vLLM, llama.cpp, SGLang, LM Studio, Together and others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value};
use sid_types::Tokens;

use super::receive::{Wire, receive};
use super::{body, redacted};
use crate::http::{self, Endpoint, Settings};
use crate::{Assembler, AssemblerOptions, ChatModel, ChatRequest, ChatStream, LlmError, ModelInfo, ModelProfile, count_engine};

/// How to reach a model by the OpenAI chat API.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenAiConfig {
    /// Such as `http://localhost:8000`, with or without `/v1`.
    pub base_url: String,
    /// Sent as `Authorization: Bearer`.
    pub api_key: Option<String>,
    /// The name that the endpoint knows.
    pub model: String,
    /// More headers.
    pub headers: BTreeMap<String, String>,
    /// More fields of the request's body, such as `{"top_p": 0.9}` or `{"chat_template_kwargs": {"enable_thinking": false}}`.
    pub extra_body: Map<String, Value>,
    /// `false` for engines that cannot stream. Default `true`.
    pub stream: bool,
    /// An HTTP proxy; none by default, whatever the environment says.
    pub proxy: Option<String>,
    /// Milliseconds for making a connection. Default 5,000.
    pub connect_timeout_ms: u64,
    /// Most bytes of an answer. Default 8,000,000.
    pub max_output_bytes: usize,
}

impl Default for OpenAiConfig {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            api_key: None,
            model: String::new(),
            headers: BTreeMap::new(),
            extra_body: Map::new(),
            stream: true,
            proxy: None,
            connect_timeout_ms: 5_000,
            max_output_bytes: 8_000_000,
        }
    }
}

impl OpenAiConfig {
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

impl std::fmt::Debug for OpenAiConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenAiConfig")
            .field("base_url", &http::redact(&self.base_url))
            .field("api_key", &redacted(self.api_key.as_ref()))
            .field("model", &self.model)
            .field("headers", &self.headers.keys())
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// A model behind an OpenAI-compatible endpoint.
#[derive(Debug, Clone)]
pub struct OpenAiCompatible {
    config: Arc<OpenAiConfig>,
    endpoint: Endpoint,
    profile: ModelProfile,
}

impl OpenAiCompatible {
    /// A model of which nothing but the default profile is known; see [`crate::discover`].
    ///
    /// Errors: [`LlmError::Config`].
    pub fn new(config: OpenAiConfig) -> Result<Self, LlmError> {
        Self::with_profile(config, ModelProfile::default())
    }

    /// A model with this profile.
    ///
    /// Errors: [`LlmError::Config`].
    pub fn with_profile(config: OpenAiConfig, profile: ModelProfile) -> Result<Self, LlmError> {
        if config.model.is_empty() {
            return Err(LlmError::Config("the model's name is empty: set `model`".into()));
        }
        Ok(Self { endpoint: config.endpoint()?, config: Arc::new(config), profile })
    }
}

#[async_trait]
impl ChatModel for OpenAiCompatible {
    fn info(&self) -> ModelInfo {
        ModelInfo { model: self.config.model.clone(), profile: self.profile.clone() }
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let config = &self.config;
        let body = body::OpenAi::new(&config.model, &config.extra_body, config.stream, &self.profile, &request);
        let response = self.endpoint.post(&self.endpoint.versioned("/chat/completions"), &body).await?;
        let options = AssemblerOptions { max_output_bytes: config.max_output_bytes, id_seed: rand::random() };
        let assembler = Assembler::new(Arc::new(request), options);
        Ok(receive(http::bytes(response), assembler, Wire::OpenAi, config.max_output_bytes))
    }

    /// vLLM and llama.cpp have a tokenizer to ask.
    async fn count_prompt(&self, request: &ChatRequest) -> Result<Option<Tokens>, LlmError> {
        if !self.profile.counts_tokens {
            return Ok(None);
        }
        count_engine::count_prompt(&self.endpoint, &self.config.model, &self.profile, request).await.map(Some)
    }
}
