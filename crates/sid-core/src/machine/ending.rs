//! When a run is over, and how it ends.

use serde_json::Value;
use sid_llm::{ChatReply, LlmError};
use sid_store::Effect;
use sid_tools::ToolOutcome;
use sid_types::{EventBody, StopReason, Timestamp};

use super::{Phase, RunMachine};

impl RunMachine {
    pub(super) fn limit_reached(&self, clock_now: Timestamp) -> Option<StopReason> {
        let run = &self.state.run;
        let elapsed_ms = clock_now.duration_since(self.started).as_millis();
        if self.cancelled {
            Some(StopReason::Cancelled)
        } else if self.repeats >= run.limits.max_repeats {
            Some(StopReason::RepeatedCalls)
        } else if run.steps >= run.limits.max_steps {
            Some(StopReason::MaxSteps)
        } else if run.usage.prompt_tokens + run.usage.completion_tokens >= run.limits.max_tokens {
            Some(StopReason::MaxTokens)
        } else if self.time_is_up || elapsed_ms >= i128::from(run.limits.max_time_ms) {
            Some(StopReason::MaxTime)
        } else {
            None
        }
    }

    pub(super) fn track_repeats(&mut self, reply: &ChatReply) {
        if reply.calls.is_empty() {
            self.last_calls = None;
            self.repeats = 0;
            return;
        }
        let shape: Vec<Value> = reply
            .calls
            .iter()
            .map(|c| match &c.arguments {
                Ok(map) => serde_json::json!([c.name, map]),
                Err(bad) => serde_json::json!([c.name, bad.raw]),
            })
            .collect();
        let shape = Value::Array(shape).to_string();
        if self.last_calls.as_deref() == Some(shape.as_str()) {
            self.repeats += 1;
        } else {
            self.repeats = 1;
            self.last_calls = Some(shape);
        }
    }

    /// The model could not be got to answer.
    pub fn on_model_error(&mut self, error: &LlmError) {
        let reason = match error {
            LlmError::Unauthorized { .. } | LlmError::Refused { .. } | LlmError::Config(_) => StopReason::ModelRefused,
            LlmError::ContextOverflow { .. } => StopReason::WindowTooSmall,
            LlmError::OutputTooLarge { .. } => StopReason::InvalidModelOutput,
            _ => StopReason::ModelUnavailable,
        };
        self.fail(reason, error.to_string());
    }

    /// The run ends here.
    pub fn fail(&mut self, reason: StopReason, error: String) {
        // What was on its way into a commit is dropped, and what would have told of it: the run ends without it.
        self.effects.retain(|effect| match effect {
            Effect::Events(events) => {
                !events.iter().any(|e| matches!(e, EventBody::Message { .. } | EventBody::ToolCall { .. } | EventBody::Step { .. }))
            }
            other => matches!(other, Effect::PageOut(_) | Effect::SetPrefix(_)),
        });
        // Calls that are in the history already get a result all the same, so that it stays whole.
        if matches!((self.phase, self.after_commit), (Phase::Tools, _) | (_, Phase::Model | Phase::Done(_))) {
            let calls = std::mem::take(&mut self.to_call);
            let refused = || ToolOutcome::error(format!("Not done: {error}"));
            let results: Vec<_> = calls.iter().map(|call| self.result(call, call.known.clone().unwrap_or_else(refused))).collect();
            self.effects.extend(calls.iter().map(|call| Effect::FinishCall(call.planned.token)));
            if !results.is_empty() {
                self.append(results);
            }
        }
        self.finish(reason, Some(error));
    }

    pub(super) fn finish(&mut self, reason: StopReason, error: Option<String>) {
        self.effects.push(Effect::Finish { reason, error });
        self.commit_then(Phase::Done(reason));
    }
}
