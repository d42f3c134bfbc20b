//! Runs, steps and planned calls.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{AgentId, ClientTool, ConversationId, MessageId, Priority, RunId, StepId, ToolCall};

/// Where a run stands. A closed set; every state but the last three has a lease or a place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Accepted; waits for its turn in the conversation.
    Queued,
    /// Claimed by a worker.
    Running,
    /// Ended with an answer, or at a limit that its stop reason names.
    Completed,
    /// Ended because something failed; the stop reason and the error say what.
    Failed,
    /// Ended because somebody asked for it.
    Cancelled,
}

impl RunStatus {
    /// Whether it will never change again.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model answered and asked for nothing more.
    EndTurn,
    /// The most steps of one run were made.
    MaxSteps,
    /// The most tokens of one run were spent.
    MaxTokens,
    /// The time of one run was over.
    MaxTime,
    /// The same call was repeated too often.
    RepeatedCalls,
    /// The model called tools of the caller, who is to answer: the last assistant message has the calls.
    ClientCalls,
    /// The model wanted to end without a tool that its agent's rules require, again and again.
    RulesUnmet,
    /// Somebody cancelled it.
    Cancelled,
    /// The model answered nothing that could be used, more than once.
    InvalidModelOutput,
    /// The model endpoint could not be reached or kept failing.
    ModelUnavailable,
    /// The model endpoint refused the credentials or the request.
    ModelRefused,
    /// Not even the smallest prompt fits the window.
    WindowTooSmall,
    /// The tenant's tokens of the day or the month are used up.
    Budget,
    /// A fault of Sid's own or of its store.
    Internal,
}

impl StopReason {
    /// The status that a run with this reason ends in.
    #[must_use]
    pub const fn status(self) -> RunStatus {
        match self {
            Self::EndTurn
            | Self::MaxSteps
            | Self::MaxTokens
            | Self::MaxTime
            | Self::RepeatedCalls
            | Self::RulesUnmet
            | Self::ClientCalls => RunStatus::Completed,
            Self::Cancelled => RunStatus::Cancelled,
            Self::InvalidModelOutput
            | Self::ModelUnavailable
            | Self::ModelRefused
            | Self::WindowTooSmall
            | Self::Budget
            | Self::Internal => RunStatus::Failed,
        }
    }
}

/// What one run may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLimits {
    /// Most model calls. Default 50.
    pub max_steps: u32,
    /// Most tokens, prompt and answer together. Default 1,000,000.
    pub max_tokens: u64,
    /// Most wall time in milliseconds. Default 600,000 (ten minutes).
    pub max_time_ms: u64,
    /// The same call with the same arguments this many times in a row ends the run. Default 3.
    pub max_repeats: u32,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self { max_steps: 50, max_tokens: 1_000_000, max_time_ms: 600_000, max_repeats: 3 }
    }
}

/// Tokens used, as the engine reported them or as Sid counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompts.
    pub prompt_tokens: u64,
    /// Tokens of the answers, reasoning included.
    pub completion_tokens: u64,
    /// Prompt tokens that the engine took from its prefix cache, if it says so.
    #[serde(default)]
    pub cached_tokens: u64,
    /// Whether Sid counted because the engine did not report.
    #[serde(default)]
    pub is_estimated: bool,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.cached_tokens += other.cached_tokens;
        self.is_estimated |= other.is_estimated;
    }
}

/// The reaction to one stimulus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Where it happens.
    pub conversation: ConversationId,
    /// Who reacts.
    pub agent: AgentId,
    /// Where it stands.
    pub status: RunStatus,
    /// Why it ended, once it has.
    pub stop_reason: Option<StopReason>,
    /// What failed, in words for a person; never a secret.
    pub error: Option<String>,
    /// What it may use up.
    pub limits: RunLimits,
    /// What woke the agent.
    #[serde(default)]
    pub priority: Priority,
    /// Tools of the caller: the model may call them, and the caller answers. In the order in which they were given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_tools: Vec<ClientTool>,
    /// Steps that were committed.
    pub steps: u32,
    /// Tokens of all committed steps.
    pub usage: Usage,
    /// The commit number that resume looks for: each commit of a run carries the next one, a repeated one changes nothing.
    pub commits: u64,
    /// Whether somebody asked it to stop.
    pub cancel_requested: bool,
    /// The messages that it reacts to.
    pub stimulus: Vec<MessageId>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it was first claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// How far a planned call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// Recorded together with the model's reply; not begun.
    Planned,
    /// An external call was about to be made: after a crash its outcome is unknown.
    Started,
    /// Its result is a message.
    Done,
}

/// A tool call that the journal knows of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedCall {
    /// The call.
    pub call: ToolCall,
    /// Stable for this run, step and place: what an external service is given as idempotency key.
    pub token: Uuid,
    /// How far it has come.
    pub state: CallState,
}

impl PlannedCall {
    /// The token of the `index`th call of step `step` of `run`: the same on every attempt.
    #[must_use]
    pub fn token_for(run: RunId, step: u32, index: usize) -> Uuid {
        Uuid::new_v5(&run.uuid(), format!("{step}/{index}").as_bytes())
    }
}

/// One model call with its tool calls and its commit: what `sid run` and `sid prompt` show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its id.
    pub id: StepId,
    /// The run.
    pub run: RunId,
    /// Counts from 1 in its run.
    pub number: u32,
    /// Tokens used.
    pub usage: Usage,
    /// The rung of the tool-call ladder that was used, such as `native` or `structured`.
    pub rung: String,
    /// Milliseconds until the first token, and in all.
    pub first_token_ms: u64,
    /// Milliseconds of the whole model call.
    pub total_ms: u64,
    /// The volatile end of the prompt (time, gap, recalled snippets), as it was sent; with the conversation's prefix and queue it
    /// gives the exact prompt. Erased together with what it quotes.
    pub tail: Option<String>,
    /// The queue that was in the prompt: first and last sequence number.
    pub queue: (u64, u64),
    /// Messages and passages that were recalled, as ids in text form, best first, with their scores.
    pub recalled: Vec<(String, f32)>,
    /// When it was committed.
    pub at: Timestamp,
}
