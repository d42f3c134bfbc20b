//! At most so many calls at once.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use sid_types::Tokens;
use tokio::sync::Semaphore;

use crate::{ChatModel, ChatRequest, ChatStream, LlmError, ModelInfo};

/// See [`crate::ModelExt::concurrency_limit`].
#[derive(Debug, Clone)]
pub struct ConcurrencyLimit<M> {
    inner: M,
    places: Arc<Semaphore>,
}

impl<M> ConcurrencyLimit<M> {
    pub(super) fn new(inner: M, n: usize) -> Self {
        Self { inner, places: Arc::new(Semaphore::new(n.clamp(1, Semaphore::MAX_PERMITS))) }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for ConcurrencyLimit<M> {
    fn info(&self) -> ModelInfo {
        self.inner.info()
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| LlmError::Config("the model is shut down".into()))?;
        let inner = self.inner.chat(request).await?;
        // The place is held until the stream is dropped.
        let held = inner.map(move |event| {
            let _ = &place;
            event
        });
        Ok(held.boxed())
    }

    async fn count_prompt(&self, request: &ChatRequest) -> Result<Option<Tokens>, LlmError> {
        self.inner.count_prompt(request).await
    }
}
