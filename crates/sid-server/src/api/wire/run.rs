//! Runs and their steps on the wire.

use serde::Serialize;
use sid_types::{AgentId, ConversationId, MessageId, Run, RunId, RunLimits, RunStatus, Step, StopReason, Timestamp, Usage};
use utoipa::ToSchema;

/// Tokens used.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct UsageJson {
    /// Tokens of the prompts.
    prompt_tokens: u64,
    /// Tokens of the answers, reasoning included.
    completion_tokens: u64,
    /// Prompt tokens that the engine took from its prefix cache.
    cached_tokens: u64,
    /// Whether Sid counted because the engine did not report.
    is_estimated: bool,
}

impl From<Usage> for UsageJson {
    fn from(u: Usage) -> Self {
        Self {
            prompt_tokens: u.prompt_tokens,
            completion_tokens: u.completion_tokens,
            cached_tokens: u.cached_tokens,
            is_estimated: u.is_estimated,
        }
    }
}

/// What a run may use up.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct LimitsJson {
    max_steps: u32,
    max_tokens: u64,
    max_time_ms: u64,
    max_repeats: u32,
}

impl From<RunLimits> for LimitsJson {
    fn from(l: RunLimits) -> Self {
        Self { max_steps: l.max_steps, max_tokens: l.max_tokens, max_time_ms: l.max_time_ms, max_repeats: l.max_repeats }
    }
}

pub(crate) const fn status_name(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Queued => "queued",
        RunStatus::Running => "running",
        RunStatus::Completed => "completed",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "cancelled",
    }
}

pub(crate) const fn stop_name(reason: StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn => "end_turn",
        StopReason::MaxSteps => "max_steps",
        StopReason::MaxTokens => "max_tokens",
        StopReason::MaxTime => "max_time",
        StopReason::RepeatedCalls => "repeated_calls",
        StopReason::ClientCalls => "client_calls",
        StopReason::RulesUnmet => "rules_unmet",
        StopReason::Cancelled => "cancelled",
        StopReason::InvalidModelOutput => "invalid_model_output",
        StopReason::ModelUnavailable => "model_unavailable",
        StopReason::ModelRefused => "model_refused",
        StopReason::WindowTooSmall => "window_too_small",
        StopReason::Budget => "budget",
        StopReason::Internal => "internal",
    }
}

/// The reaction to one stimulus.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunJson {
    #[schema(value_type = String)]
    pub(crate) id: RunId,
    #[schema(value_type = String)]
    conversation: ConversationId,
    #[schema(value_type = String)]
    agent: AgentId,
    /// `queued`, `running`, `completed`, `failed` or `cancelled`.
    status: &'static str,
    /// Why it ended: `end_turn`, `max_steps`, `max_tokens`, `max_time`, `repeated_calls`, `client_calls`, `rules_unmet`, `cancelled`,
    /// `invalid_model_output`, `model_unavailable`, `model_refused`, `window_too_small`, `budget`, `internal`.
    stop_reason: Option<&'static str>,
    /// What failed, in words.
    error: Option<String>,
    limits: LimitsJson,
    /// What woke the agent: `user`, `task`, `timer` or `heartbeat`. Of runs that wait, the next one is chosen by it.
    priority: &'static str,
    /// Steps that were committed.
    steps: u32,
    usage: UsageJson,
    cancel_requested: bool,
    /// The messages that it reacts to.
    #[schema(value_type = Vec<String>)]
    stimulus: Vec<MessageId>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
}

impl From<Run> for RunJson {
    fn from(r: Run) -> Self {
        Self {
            id: r.id,
            conversation: r.conversation,
            agent: r.agent,
            status: status_name(r.status),
            stop_reason: r.stop_reason.map(stop_name),
            error: r.error,
            limits: r.limits.into(),
            priority: r.priority.as_str(),
            steps: r.steps,
            usage: r.usage.into(),
            cancel_requested: r.cancel_requested,
            stimulus: r.stimulus,
            created_at: r.created_at,
            started_at: r.started_at,
            ended_at: r.ended_at,
        }
    }
}

/// A memory that was recalled for a prompt.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScoredId {
    id: String,
    score: f32,
}

/// One model call with its tool calls and its commit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepJson {
    id: String,
    /// Counts from 1 in its run.
    number: u32,
    usage: UsageJson,
    /// How tool calls were got: `native`, `salvaged`, `structured`, `text` or `none`.
    rung: String,
    first_token_ms: u64,
    total_ms: u64,
    /// The volatile end of the prompt, as it was sent.
    tail: Option<String>,
    /// The first message of the queue that was in the prompt.
    queue_from: u64,
    /// The last one.
    queue_to: u64,
    /// What was recalled, best first.
    recalled: Vec<ScoredId>,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

impl From<Step> for StepJson {
    fn from(s: Step) -> Self {
        Self {
            id: s.id.to_string(),
            number: s.number,
            usage: s.usage.into(),
            rung: s.rung,
            first_token_ms: s.first_token_ms,
            total_ms: s.total_ms,
            tail: s.tail,
            queue_from: s.queue.0,
            queue_to: s.queue.1,
            recalled: s.recalled.into_iter().map(|(id, score)| ScoredId { id, score }).collect(),
            at: s.at,
        }
    }
}
