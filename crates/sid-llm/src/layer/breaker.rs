//! A circuit breaker: an endpoint that fails again and again is left alone for a while.

use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use async_trait::async_trait;
use futures::StreamExt as _;
use parking_lot::Mutex;
use sid_types::Tokens;
use tokio::time::Instant;

use super::window::Window;
use crate::{ChatEvent, ChatModel, ChatRequest, ChatStream, LlmError, ModelInfo};

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Calls that are looked at: those of the last so much time. Default 30 s.
    pub window: Duration,
    /// Fewer calls than this prove nothing. Default 20; 0 = the breaker never opens.
    pub min_calls: u64,
    /// Share of failed calls that opens it, in percent. Default 50.
    pub failures_percent: u64,
    /// How long it stays open before one call may try. Default 10 s.
    pub pause: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { window: Duration::from_secs(30), min_calls: 20, failures_percent: 50, pause: Duration::from_secs(10) }
    }
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// One call may try whether the endpoint is back; the others are refused.
    HalfOpen,
    /// Calls are refused.
    Open,
}

#[derive(Debug)]
enum State {
    Closed,
    /// Until when calls are refused; after that one probes.
    Open {
        until: Instant,
        is_probing: bool,
    },
}

#[derive(Debug)]
struct Inner {
    state: State,
    window: Window,
    opened: u64,
}

/// The breaker of one model at one endpoint. Cheap to clone; all clones are one breaker.
///
/// What counts as a failure is what [`LlmError::is_transient`] says: no connection, time-outs, 5xx, 429, an answer that breaks off.
/// An endpoint that refuses a request or a key is well. A call that its caller gave up counts as nothing.
/// Source: Nygard, *Release It!*; the figures are Sid's own.
#[derive(Debug, Clone)]
pub struct CircuitBreaker {
    policy: BreakerPolicy,
    inner: Arc<Mutex<Inner>>,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self::new(BreakerPolicy::default())
    }
}

impl CircuitBreaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(policy: BreakerPolicy) -> Self {
        let inner = Inner { state: State::Closed, window: Window::new(policy.window), opened: 0 };
        Self { policy, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Where it stands now.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.inner.lock().state {
            State::Closed => BreakerState::Closed,
            State::Open { until, .. } if until > Instant::now() => BreakerState::Open,
            State::Open { .. } => BreakerState::HalfOpen,
        }
    }

    /// How often it has opened.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.inner.lock().opened
    }

    /// Whether a call would be refused now, without making it.
    fn check(&self) -> Result<(), LlmError> {
        Self::refusal(&self.inner.lock().state)
    }

    fn refusal(state: &State) -> Result<(), LlmError> {
        let State::Open { until, is_probing } = state else { return Ok(()) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() && !is_probing { Ok(()) } else { Err(LlmError::BreakerOpen { retry_after: left }) }
    }

    /// Lets one call through, or refuses it.
    fn pass(&self) -> Result<Passage, LlmError> {
        let mut inner = self.inner.lock();
        Self::refusal(&inner.state)?;
        let is_probe = matches!(inner.state, State::Open { .. });
        if let State::Open { is_probing, .. } = &mut inner.state {
            *is_probing = true;
        }
        Ok(Passage { breaker: self.clone(), is_probe, is_told: false })
    }

    fn on_outcome(&self, is_probe: bool, has_failed: bool) {
        let mut inner = self.inner.lock();
        match (&inner.state, is_probe) {
            (State::Open { .. }, true) if has_failed => self.open(&mut inner),
            (State::Open { .. }, true) => {
                inner.state = State::Closed;
                // What failed before says nothing about the endpoint as it is now.
                inner.window.clear();
                tracing::info!("the model endpoint answers again: the breaker is closed");
            }
            // Calls that were under way when it opened.
            (State::Open { .. }, false) => {}
            (State::Closed, _) => {
                inner.window.add(1, u64::from(has_failed));
                let (calls, failures) = inner.window.sums();
                let BreakerPolicy { min_calls, failures_percent, .. } = self.policy;
                if has_failed && min_calls > 0 && calls >= min_calls && failures * 100 >= calls * failures_percent {
                    tracing::warn!(calls, failures, "the model endpoint keeps failing: the breaker is open");
                    self.open(&mut inner);
                }
            }
        }
    }

    fn open(&self, inner: &mut Inner) {
        inner.state = State::Open { until: Instant::now() + self.policy.pause, is_probing: false };
        inner.opened += 1;
    }
}

/// One call on its way. Dropped without an outcome it has proved nothing, and the next call may probe in its stead.
struct Passage {
    breaker: CircuitBreaker,
    is_probe: bool,
    is_told: bool,
}

impl Passage {
    fn tell(mut self, has_failed: bool) {
        self.is_told = true;
        self.breaker.on_outcome(self.is_probe, has_failed);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.is_probe
            && !self.is_told
            && let State::Open { is_probing, .. } = &mut self.breaker.inner.lock().state
        {
            *is_probing = false;
        }
    }
}

/// See [`crate::ModelExt::breaker`].
#[derive(Debug, Clone)]
pub struct WithBreaker<M> {
    inner: M,
    breaker: CircuitBreaker,
}

impl<M> WithBreaker<M> {
    pub(super) const fn new(inner: M, breaker: CircuitBreaker) -> Self {
        Self { inner, breaker }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for WithBreaker<M> {
    fn info(&self) -> ModelInfo {
        self.inner.info()
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let passage = self.breaker.pass()?;
        let mut inner = match self.inner.chat(request).await {
            Ok(stream) => stream,
            Err(error) => {
                passage.tell(error.is_transient());
                return Err(error);
            }
        };
        let mut passage = Some(passage);
        let stream = stream! {
            while let Some(event) = inner.next().await {
                let outcome = match &event {
                    Ok(ChatEvent::Done(_)) => Some(false),
                    Ok(_) => None,
                    Err(error) => Some(error.is_transient()),
                };
                // Told before the event is passed on: whoever has the answer may never poll again.
                if let (Some(has_failed), Some(passage)) = (outcome, outcome.and_then(|_| passage.take())) {
                    passage.tell(has_failed);
                }
                yield event;
            }
        };
        Ok(stream.boxed())
    }

    async fn count_prompt(&self, request: &ChatRequest) -> Result<Option<Tokens>, LlmError> {
        self.inner.count_prompt(request).await
    }
}

/// See [`crate::ModelExt::fail_fast`].
#[derive(Debug, Clone)]
pub struct FailFast<M> {
    inner: M,
    breaker: CircuitBreaker,
}

impl<M> FailFast<M> {
    pub(super) const fn new(inner: M, breaker: CircuitBreaker) -> Self {
        Self { inner, breaker }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for FailFast<M> {
    fn info(&self) -> ModelInfo {
        self.inner.info()
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        self.breaker.check()?;
        self.inner.chat(request).await
    }

    async fn count_prompt(&self, request: &ChatRequest) -> Result<Option<Tokens>, LlmError> {
        self.inner.count_prompt(request).await
    }
}

#[cfg(test)]
mod tests;
