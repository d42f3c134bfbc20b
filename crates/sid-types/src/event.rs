//! The event log of a run: what streams carry.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ApprovalId, Message, RunId, RunStatus, StopReason, ToolCall, Usage};

/// One thing that happened in a run. A client that has seen `seq` resumes after it, on any replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The run.
    pub run: RunId,
    /// Dense in its run, from 1.
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
    /// When it was written.
    pub at: Timestamp,
}

/// A memory that a turn was reminded of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recollection {
    /// Message, passage or diary id.
    pub id: String,
    /// The fused score.
    pub score: f32,
    /// What each signal added to it.
    pub why: Vec<(String, f32)>,
    /// As it stands in the prompt.
    pub text: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventBody {
    /// A worker took the run up, or asked the model anew. Said a second time in a run, text deltas of the step that was under way
    /// are void.
    Started {
        /// Epoch of the worker's lease.
        epoch: u64,
    },
    /// What was recalled for this turn, in short form, for people who ask why.
    Recalled {
        /// The tail's snippets, best first.
        items: Vec<Recollection>,
        /// Tokens of the prompt and of the window.
        prompt_tokens: u32,
        /// The window.
        window_tokens: u32,
    },
    /// A piece of the answer's text.
    TextDelta {
        /// The piece.
        text: String,
    },
    /// A piece of the model's reasoning.
    ReasoningDelta {
        /// The piece.
        text: String,
    },
    /// A call was planned.
    ToolCall {
        /// The call.
        call: ToolCall,
    },
    /// A call waits for somebody's word; nothing of it has been done.
    ApprovalAsked {
        /// The question.
        approval: ApprovalId,
        /// The call, with the arguments that it would be made with.
        call: ToolCall,
        /// Why it is asked.
        reason: String,
    },
    /// A message was committed: the answer, or a tool's result.
    Message {
        /// The message.
        message: Box<Message>,
    },
    /// Messages left the queue.
    PageOut {
        /// How many.
        messages: u64,
        /// The first that is still in the queue.
        queue_start: u64,
        /// Whether the deterministic floor wrote the summary.
        is_floor: bool,
    },
    /// A step was committed.
    Step {
        /// Counts from 1.
        number: u32,
        /// Tokens used by it.
        usage: Usage,
        /// The rung of the tool-call ladder that was used.
        rung: String,
    },
    /// The run ended. Always the last event.
    Done {
        /// Where it ended.
        status: RunStatus,
        /// Why.
        stop_reason: StopReason,
        /// What failed, if something did.
        error: Option<String>,
        /// Tokens of the whole run.
        usage: Usage,
    },
}

impl EventBody {
    /// The `event:` name on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Recalled { .. } => "recalled",
            Self::TextDelta { .. } => "text_delta",
            Self::ReasoningDelta { .. } => "reasoning_delta",
            Self::ToolCall { .. } => "tool_call",
            Self::ApprovalAsked { .. } => "approval_asked",
            Self::Message { .. } => "message",
            Self::PageOut { .. } => "page_out",
            Self::Step { .. } => "step",
            Self::Done { .. } => "done",
        }
    }
}
