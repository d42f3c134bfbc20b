//! A span per call, with numbers and without words.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use async_trait::async_trait;
use futures::{Stream, StreamExt as _};
use sid_types::Tokens;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::{ChatEvent, ChatModel, ChatRequest, ChatStream, LlmError, ModelInfo};

/// See [`crate::ModelExt::traced`].
///
/// The span is `sid.llm.chat` with the fields `model`, `messages`, `tools`, `rung`, `finish`, `prompt_tokens`,
/// `completion_tokens`, `cached_tokens`, `calls`, `restarts`, `first_delta_ms`, `total_ms` and `error` (a code).
#[derive(Debug, Clone)]
pub struct Traced<M> {
    inner: M,
}

impl<M> Traced<M> {
    pub(super) const fn new(inner: M) -> Self {
        Self { inner }
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for Traced<M> {
    fn info(&self) -> ModelInfo {
        self.inner.info()
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let span = tracing::info_span!(
            "sid.llm.chat",
            model = %self.inner.info().model,
            messages = request.messages.len(),
            tools = request.tools.len(),
            rung = Empty,
            finish = Empty,
            prompt_tokens = Empty,
            completion_tokens = Empty,
            cached_tokens = Empty,
            calls = Empty,
            restarts = Empty,
            first_delta_ms = Empty,
            total_ms = Empty,
            error = Empty,
        );
        let start = Instant::now();
        match self.inner.chat(request).instrument(span.clone()).await {
            Ok(inner) => Ok(TracedStream { inner, span, start, has_delta: false, restarts: 0 }.boxed()),
            Err(error) => {
                span.record("error", error.code());
                span.record("total_ms", millis(start));
                Err(error)
            }
        }
    }

    async fn count_prompt(&self, request: &ChatRequest) -> Result<Option<Tokens>, LlmError> {
        self.inner.count_prompt(request).await
    }
}

struct TracedStream {
    inner: ChatStream,
    span: Span,
    start: Instant,
    has_delta: bool,
    restarts: u64,
}

impl TracedStream {
    fn note(&mut self, event: &Result<ChatEvent, LlmError>) {
        let span = &self.span;
        match event {
            Ok(ChatEvent::TextDelta(text) | ChatEvent::ReasoningDelta(text)) => {
                if !self.has_delta && !text.is_empty() {
                    self.has_delta = true;
                    span.record("first_delta_ms", millis(self.start));
                }
            }
            Ok(ChatEvent::Restart) => self.restarts += 1,
            Ok(ChatEvent::Done(reply)) => {
                span.record("rung", reply.rung.name());
                span.record("finish", tracing::field::debug(reply.finish));
                span.record("calls", reply.calls.len());
                span.record("restarts", self.restarts);
                if let Some(usage) = reply.usage {
                    span.record("prompt_tokens", usage.prompt_tokens);
                    span.record("completion_tokens", usage.completion_tokens);
                    span.record("cached_tokens", usage.cached_tokens);
                }
                span.record("total_ms", millis(self.start));
            }
            Err(error) => {
                span.record("error", error.code());
                span.record("restarts", self.restarts);
                span.record("total_ms", millis(self.start));
            }
        }
    }
}

impl Stream for TracedStream {
    type Item = Result<ChatEvent, LlmError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let span = self.span.clone();
        let polled = span.in_scope(|| self.inner.poll_next_unpin(context));
        if let Poll::Ready(Some(event)) = &polled {
            self.note(event);
        }
        polled
    }
}
