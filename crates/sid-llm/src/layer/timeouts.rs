//! Time-outs of one attempt.

use std::time::Duration;

use async_stream::try_stream;
use async_trait::async_trait;
use futures::StreamExt as _;
use sid_types::Tokens;
use tokio::time::{Instant, timeout_at};

use crate::{ChatEvent, ChatModel, ChatRequest, ChatStream, LlmError, ModelInfo, TimeoutStage};

/// How long a call may take. The time for making the connection is the provider's `connect_timeout_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the call to the first byte of the answer; prefill of a long prompt is slow. Default 60 s.
    pub first_byte: Duration,
    /// Between two bytes after that. Default 30 s.
    pub idle: Duration,
    /// The whole call. Default 600 s.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { first_byte: Duration::from_secs(60), idle: Duration::from_secs(30), total: Duration::from_secs(600) }
    }
}

impl Timeouts {
    /// For engines that do not stream: the first byte comes with the last.
    #[must_use]
    pub const fn whole(total: Duration) -> Self {
        Self { first_byte: total, idle: total, total }
    }
}

/// See [`crate::ModelExt::timeouts`].
#[derive(Debug, Clone)]
pub struct WithTimeouts<M> {
    inner: M,
    timeouts: Timeouts,
}

impl<M> WithTimeouts<M> {
    pub(super) const fn new(inner: M, timeouts: Timeouts) -> Self {
        Self { inner, timeouts }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for WithTimeouts<M> {
    fn info(&self) -> ModelInfo {
        self.inner.info()
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let Timeouts { first_byte, idle, total } = self.timeouts;
        let start = Instant::now();
        let limit = move |stage: TimeoutStage, from: Instant| {
            let (own, length) = match stage {
                TimeoutStage::FirstByte => (start + first_byte, first_byte),
                _ => (from + idle, idle),
            };
            if own <= start + total { (own, stage, length) } else { (start + total, TimeoutStage::Total, total) }
        };
        let (deadline, stage, length) = limit(TimeoutStage::FirstByte, start);
        let mut inner = timeout_at(deadline, self.inner.chat(request)).await.map_err(|_| LlmError::Timeout { stage, limit: length })??;
        let stream = try_stream! {
            let mut stage = TimeoutStage::FirstByte;
            loop {
                let (deadline, which, length) = limit(stage, Instant::now());
                let event = timeout_at(deadline, inner.next()).await.map_err(|_| LlmError::Timeout { stage: which, limit: length })?;
                let Some(event) = event else { break };
                stage = TimeoutStage::Idle;
                match event? {
                    // A heartbeat of the provider: it has done its duty here.
                    ChatEvent::ReasoningDelta(text) | ChatEvent::TextDelta(text) if text.is_empty() => {}
                    event => yield event,
                }
            }
        };
        Ok(stream.boxed())
    }

    async fn count_prompt(&self, request: &ChatRequest) -> Result<Option<Tokens>, LlmError> {
        self.inner.count_prompt(request).await
    }
}
