//! Embeddings from an OpenAI-compatible endpoint.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{cut, normalise};
use crate::http::Endpoint;
use crate::{EmbedInput, Embedder, EmbeddingGeneration, LlmError, OpenAiConfig};

/// How to reach an embedding model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenAiEmbedderConfig {
    /// Where, and which model; `stream`, `extra_body` and `max_output_bytes` are not used.
    pub endpoint: OpenAiConfig,
    /// Texts per request. Default 16.
    pub batch: usize,
    /// Most bytes of a text that are sent. Default 2,000.
    pub chunk_bytes: usize,
    /// Put before queries, for models that want it, such as `query: `.
    pub query_prefix: String,
    /// Put before documents.
    pub document_prefix: String,
    /// Milliseconds for one request. Default 60,000.
    pub timeout_ms: u64,
}

impl Default for OpenAiEmbedderConfig {
    fn default() -> Self {
        Self {
            endpoint: OpenAiConfig::default(),
            batch: 16,
            chunk_bytes: 2_000,
            query_prefix: String::new(),
            document_prefix: String::new(),
            timeout_ms: 60_000,
        }
    }
}

/// An embedding model behind `/v1/embeddings`.
#[derive(Debug, Clone)]
pub struct OpenAiEmbedder {
    config: OpenAiEmbedderConfig,
    endpoint: Endpoint,
    dimensions: usize,
}

impl OpenAiEmbedder {
    /// Connects, and asks for one vector to learn how long they are.
    ///
    /// Errors: [`LlmError::Config`], and those of the endpoint.
    pub async fn connect(config: OpenAiEmbedderConfig) -> Result<Self, LlmError> {
        if config.endpoint.model.is_empty() {
            return Err(LlmError::Config("the embedding model's name is empty: set `model`".into()));
        }
        let endpoint = config.endpoint.endpoint()?;
        let mut embedder = Self { config, endpoint, dimensions: 0 };
        let probe = embedder.request(&["dimension"]).await?;
        embedder.dimensions = probe.first().map_or(0, Vec::len);
        Ok(embedder)
    }

    async fn request(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, LlmError> {
        let body = json!({"model": self.config.endpoint.model, "input": texts, "encoding_format": "float"});
        let limit = Duration::from_millis(self.config.timeout_ms);
        let answer = self.endpoint.json(&self.endpoint.versioned("/embeddings"), Some(&body), limit).await?;
        let bad = |what: &str| LlmError::Interrupted { detail: format!("the embedding endpoint's answer {what}") };
        let data = answer.get("data").and_then(Value::as_array).ok_or_else(|| bad("has no data"))?;
        let mut vectors = vec![Vec::new(); texts.len()];
        for (position, item) in data.iter().enumerate() {
            let at = item.get("index").and_then(Value::as_u64).and_then(|i| usize::try_from(i).ok()).unwrap_or(position);
            let numbers = item.get("embedding").and_then(Value::as_array).ok_or_else(|| bad("has an item without a vector"))?;
            let vector: Option<Vec<f32>> = numbers.iter().map(|n| n.as_f64().map(|n| n as f32)).collect();
            let mut vector =
                vector.filter(|v| v.iter().all(|x| x.is_finite())).ok_or_else(|| bad("has a vector with something else than numbers"))?;
            normalise(&mut vector);
            *vectors.get_mut(at).ok_or_else(|| bad("has more vectors than texts"))? = vector;
        }
        let length = if self.dimensions == 0 { vectors.first().map_or(0, Vec::len) } else { self.dimensions };
        if length == 0 || vectors.iter().any(|v| v.len() != length) {
            return Err(bad("has vectors that are missing or of another length"));
        }
        Ok(vectors)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Embedder for OpenAiEmbedder {
    fn generation(&self) -> EmbeddingGeneration {
        let prefixed = if self.config.query_prefix.is_empty() && self.config.document_prefix.is_empty() { "c1" } else { "c1p" };
        EmbeddingGeneration {
            id: format!("openai/{}/{}/{prefixed}", self.config.endpoint.model, self.dimensions),
            dimensions: self.dimensions,
            chunk_bytes: self.config.chunk_bytes,
            is_semantic: true,
        }
    }

    async fn embed(&self, input: EmbedInput, texts: &[String]) -> Result<Vec<Vec<f32>>, LlmError> {
        let prefix = match input {
            EmbedInput::Query => &self.config.query_prefix,
            EmbedInput::Document => &self.config.document_prefix,
        };
        // Some engines refuse an empty text.
        let prepared: Vec<String> = texts
            .iter()
            .map(|text| match cut(text, self.config.chunk_bytes) {
                "" => format!("{prefix} "),
                text => format!("{prefix}{text}"),
            })
            .collect();
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in prepared.chunks(self.config.batch.max(1)) {
            let batch: Vec<&str> = batch.iter().map(String::as_str).collect();
            vectors.extend(self.request(&batch).await?);
        }
        Ok(vectors)
    }
}
