//! A model's configuration, whichever the provider, and the way from it to a model.

use std::sync::Arc;

use serde::Deserialize;

use crate::{ChatModel, LlmError, ModelProfile};
#[cfg(feature = "ollama")]
use crate::{Ollama, OllamaConfig};
#[cfg(feature = "openai")]
use crate::{OpenAiCompatible, OpenAiConfig};

/// Where a model is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "provider", rename_all = "snake_case")]
pub enum ModelConfig {
    /// `provider = "openai"`: anything with an OpenAI-compatible chat API.
    #[cfg(feature = "openai")]
    #[serde(rename = "openai")]
    OpenAi(OpenAiConfig),
    /// `provider = "ollama"`: Ollama's native API.
    #[cfg(feature = "ollama")]
    Ollama(OllamaConfig),
}

impl ModelConfig {
    /// The name that the endpoint knows.
    #[must_use]
    pub fn model(&self) -> &str {
        match self {
            #[cfg(feature = "openai")]
            Self::OpenAi(config) => &config.model,
            #[cfg(feature = "ollama")]
            Self::Ollama(config) => &config.model,
        }
    }

    /// A model with this profile, without layers.
    ///
    /// Errors: [`LlmError::Config`].
    pub fn connect(&self, profile: ModelProfile) -> Result<AnyModel, LlmError> {
        Ok(AnyModel(match self {
            #[cfg(feature = "openai")]
            Self::OpenAi(config) => Arc::new(OpenAiCompatible::with_profile(config.clone(), profile)?),
            #[cfg(feature = "ollama")]
            Self::Ollama(config) => Arc::new(Ollama::with_profile(config.clone(), profile)?),
        }))
    }
}

/// A model of whichever provider, to put layers around.
#[derive(Clone)]
pub struct AnyModel(Arc<dyn ChatModel>);

impl AnyModel {
    /// Wraps a model whose type is not known.
    #[must_use]
    pub fn new(model: Arc<dyn ChatModel>) -> Self {
        Self(model)
    }
}

impl std::fmt::Debug for AnyModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AnyModel").field(&self.0.info().model).finish()
    }
}

#[async_trait::async_trait]
#[deny(clippy::missing_trait_methods)]
impl ChatModel for AnyModel {
    fn info(&self) -> crate::ModelInfo {
        self.0.info()
    }

    async fn chat(&self, request: crate::ChatRequest) -> Result<crate::ChatStream, LlmError> {
        self.0.chat(request).await
    }

    async fn count_prompt(&self, request: &crate::ChatRequest) -> Result<Option<sid_types::Tokens>, crate::LlmError> {
        self.0.count_prompt(request).await
    }
}
