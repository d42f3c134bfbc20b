//! What happens in a run, on the wire.

use serde::Serialize;
use sid_types::{ApprovalId, Event, EventBody, Recollection, RunId, Timestamp};
use utoipa::ToSchema;

use super::message::{MessageJson, ToolCallJson};
use super::run::{UsageJson, status_name, stop_name};

/// What one signal added to a score.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WhyJson {
    signal: String,
    score: f32,
}

impl From<(String, f32)> for WhyJson {
    fn from((signal, score): (String, f32)) -> Self {
        Self { signal, score }
    }
}

/// A memory that automatic recall put into the prompt.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecalledJson {
    /// Message, passage or diary id.
    id: String,
    /// The fused score.
    score: f32,
    /// What each signal added to the score.
    why: Vec<WhyJson>,
    /// As it stands in the prompt.
    text: String,
}

impl From<Recollection> for RecalledJson {
    fn from(r: Recollection) -> Self {
        Self { id: r.id, score: r.score, why: r.why.into_iter().map(Into::into).collect(), text: r.text }
    }
}

/// One thing that happened in a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventJson {
    #[schema(value_type = String)]
    run: RunId,
    /// Dense in its run, from 1; the `id:` of the stream.
    pub(crate) seq: u64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[serde(flatten)]
    body: EventBodyJson,
}

/// What happened; `event` is also the `event:` name of the stream.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum EventBodyJson {
    /// A worker took the run up, or asked the model anew. Said a second time in a run, text deltas of the step that was under way
    /// are void. `epoch` is that of the worker's lease.
    Started { epoch: u64 },
    /// What was recalled for this turn.
    Recalled { items: Vec<RecalledJson>, prompt_tokens: u32, window_tokens: u32 },
    /// A piece of the answer's text.
    TextDelta { text: String },
    /// A piece of the model's reasoning.
    ReasoningDelta { text: String },
    /// A call was planned.
    ToolCall { call: ToolCallJson },
    /// A message was committed: the answer, or a tool's result.
    Message { message: Box<MessageJson> },
    /// A call waits for somebody's word: `POST /approvals/{approval}`. Nothing of it has been done.
    ApprovalAsked {
        #[schema(value_type = String)]
        approval: ApprovalId,
        call: ToolCallJson,
        reason: String,
    },
    /// Messages left the queue.
    PageOut { messages: u64, queue_start: u64, is_floor: bool },
    /// A step was committed.
    Step { number: u32, usage: UsageJson, rung: String },
    /// The run ended. Always the last event.
    Done { status: &'static str, stop_reason: &'static str, error: Option<String>, usage: UsageJson },
}

impl From<Event> for EventJson {
    fn from(e: Event) -> Self {
        let body = match e.body {
            EventBody::Started { epoch } => EventBodyJson::Started { epoch },
            EventBody::Recalled { items, prompt_tokens, window_tokens } => {
                EventBodyJson::Recalled { items: items.into_iter().map(Into::into).collect(), prompt_tokens, window_tokens }
            }
            EventBody::TextDelta { text } => EventBodyJson::TextDelta { text },
            EventBody::ReasoningDelta { text } => EventBodyJson::ReasoningDelta { text },
            EventBody::ToolCall { call } => EventBodyJson::ToolCall { call: call.into() },
            EventBody::Message { message } => EventBodyJson::Message { message: Box::new((*message).into()) },
            EventBody::ApprovalAsked { approval, call, reason } => EventBodyJson::ApprovalAsked { approval, call: call.into(), reason },
            EventBody::PageOut { messages, queue_start, is_floor } => EventBodyJson::PageOut { messages, queue_start, is_floor },
            EventBody::Step { number, usage, rung } => EventBodyJson::Step { number, usage: usage.into(), rung },
            EventBody::Done { status, stop_reason, error, usage } => {
                EventBodyJson::Done { status: status_name(status), stop_reason: stop_name(stop_reason), error, usage: usage.into() }
            }
        };
        Self { run: e.run, seq: e.seq, at: e.at, body }
    }
}
