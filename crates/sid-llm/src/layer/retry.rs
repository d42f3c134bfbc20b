//! Repeats attempts that failed in passing.

use std::sync::Arc;
use std::time::Duration;

use async_stream::try_stream;
use async_trait::async_trait;
use futures::StreamExt as _;
use sid_types::Tokens;

use super::budget::RetryBudget;
use crate::{ChatEvent, ChatModel, ChatRequest, ChatStream, LlmError, ModelInfo, TimeoutStage};

/// When to try again, and how long to wait before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all. Default 3.
    pub tries: u32,
    /// The first wait is random up to this; each further bound is twice the one before. Default 0.5 s.
    pub base: Duration,
    /// No wait is longer, but for `Retry-After`. Default 20 s.
    pub cap: Duration,
    /// A server that asks to wait longer is not waited for. Default 60 s.
    pub max_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { tries: 3, base: Duration::from_millis(500), cap: Duration::from_secs(20), max_retry_after: Duration::from_secs(60) }
    }
}

impl RetryPolicy {
    /// One attempt only.
    #[must_use]
    pub const fn never() -> Self {
        Self { tries: 1, base: Duration::ZERO, cap: Duration::ZERO, max_retry_after: Duration::ZERO }
    }

    /// The wait after the `failed`-th attempt (from 1); `None` = give up.
    fn wait(&self, failed: u32, error: &LlmError) -> Option<Duration> {
        // Another total time-out would keep the caller for as long again; an open breaker stays open for longer than a caller waits.
        let is_hopeless =
            !error.is_transient() || matches!(error, LlmError::Timeout { stage: TimeoutStage::Total, .. } | LlmError::BreakerOpen { .. });
        if failed >= self.tries || is_hopeless {
            return None;
        }
        if let LlmError::RateLimited { retry_after: Some(asked) } = error {
            // A little more than asked for, so that all who were refused do not come back at once.
            return (*asked <= self.max_retry_after).then(|| asked.mul_f64(rand::random_range(1.0..1.1)));
        }
        let bound = self.base.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(self.cap);
        Some(bound.mul_f64(rand::random_range(0.0..1.0)))
    }
}

/// See [`crate::ModelExt::retry`].
#[derive(Debug)]
pub struct Retry<M> {
    inner: Arc<M>,
    policy: RetryPolicy,
    budget: RetryBudget,
}

impl<M> Clone for Retry<M> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), policy: self.policy, budget: self.budget.clone() }
    }
}

impl<M> Retry<M> {
    pub(super) fn new(inner: M, policy: RetryPolicy, budget: RetryBudget) -> Self {
        Self { inner: Arc::new(inner), policy, budget }
    }
}

async fn pause(policy: RetryPolicy, budget: &RetryBudget, failed: u32, error: LlmError) -> Result<(), LlmError> {
    let Some(wait) = policy.wait(failed, &error) else { return Err(error) };
    if !budget.take() {
        tracing::warn!(code = error.code(), attempt = failed, "the model call failed; the endpoint's retries are used up");
        return Err(error);
    }
    tracing::warn!(
        code = error.code(),
        attempt = failed,
        wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        "the model call failed and is tried again"
    );
    tokio::time::sleep(wait).await;
    Ok(())
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel + 'static> ChatModel for Retry<M> {
    fn info(&self) -> ModelInfo {
        self.inner.info()
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let (inner, policy, budget) = (Arc::clone(&self.inner), self.policy, self.budget.clone());
        budget.on_call();
        let mut failed = 0;
        let first = loop {
            match inner.chat(request.clone()).await {
                Ok(stream) => break stream,
                Err(error) => {
                    failed += 1;
                    pause(policy, &budget, failed, error).await?;
                }
            }
        };
        let stream = try_stream! {
            let mut current = Some(first);
            let mut has_deltas = false;
            loop {
                let error = match current.take() {
                    Some(mut stream) => loop {
                        match stream.next().await {
                            None => return,
                            Some(Err(error)) => break error,
                            Some(Ok(event)) => {
                                has_deltas |= match &event {
                                    ChatEvent::TextDelta(text) | ChatEvent::ReasoningDelta(text) => !text.is_empty(),
                                    _ => false,
                                };
                                yield event;
                            }
                        }
                    },
                    None => match inner.chat(request.clone()).await {
                        Ok(stream) => {
                            current = Some(stream);
                            continue;
                        }
                        Err(error) => error,
                    },
                };
                failed += 1;
                pause(policy, &budget, failed, error).await?;
                if std::mem::take(&mut has_deltas) {
                    yield ChatEvent::Restart;
                }
            }
        };
        Ok(stream.boxed())
    }

    async fn count_prompt(&self, request: &ChatRequest) -> Result<Option<Tokens>, LlmError> {
        self.inner.count_prompt(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_bounded_and_hopeless_errors_are_not_repeated() {
        let policy = RetryPolicy { tries: 100, ..RetryPolicy::default() };
        let fault = LlmError::ServerFault { status: 500, detail: String::new() };
        for failed in 1..50 {
            assert!(policy.wait(failed, &fault).expect("transient") <= policy.cap);
        }
        let limited = |secs| LlmError::RateLimited { retry_after: Some(Duration::from_secs(secs)) };
        let wait = policy.wait(1, &limited(3)).expect("short enough");
        assert!(wait >= Duration::from_secs(3) && wait < Duration::from_millis(3_300));
        assert_eq!(policy.wait(1, &limited(61)), None);
        assert_eq!(policy.wait(1, &LlmError::Unauthorized { status: 401 }), None);
        assert_eq!(policy.wait(1, &LlmError::Timeout { stage: TimeoutStage::Total, limit: Duration::ZERO }), None);
        assert_eq!(policy.wait(1, &LlmError::BreakerOpen { retry_after: Duration::ZERO }), None);
        assert_eq!(RetryPolicy::default().wait(3, &fault), None);
        assert_eq!(RetryPolicy::never().wait(1, &fault), None);
    }
}
