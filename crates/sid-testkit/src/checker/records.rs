//! What the checker reads: plain records, as the API's JSON has them or as they are made from a store's own types.

use serde::{Deserialize, Serialize};
use sid_types::EventBody;

/// Everything that is known about some conversations after the storm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dump {
    /// The conversations, each whole.
    pub conversations: Vec<Conversation>,
    /// What clients were told, in any order.
    pub ledger: Vec<Entry>,
    /// What clients saw of event streams.
    pub streams: Vec<Stream>,
    /// Writes that changed something, in the order in which the store made them, where a wrapper has watched them.
    pub writes: Vec<Write>,
    /// How far each index has come.
    pub indexes: Vec<Index>,
    /// Calls that left the house and must not be repeated.
    pub effects: Vec<Effect>,
    /// Texts that only one tenant may ever read.
    pub canaries: Vec<Canary>,
    /// What tenants were answered, or what a model was sent for them.
    pub answers: Vec<Answer>,
}

/// One conversation, with all of its messages and runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// All messages, as listed in ascending order.
    pub messages: Vec<Message>,
    /// All runs, in any order.
    pub runs: Vec<Run>,
}

/// A message in its place: `GET /conversations/{id}/messages`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Its place.
    pub seq: u64,
    /// The run that it belongs to; `None` for imports.
    pub run: Option<String>,
    /// `user`, `assistant`, `tool` or `note`.
    pub role: String,
    /// The words.
    pub text: String,
    /// An assistant's calls.
    pub tool_calls: Vec<Call>,
    /// For `tool`: the call that it answers.
    pub call_id: Option<String>,
}

/// A call that an assistant's message makes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its id.
    pub id: String,
    /// Whether the caller answers it.
    #[serde(default)]
    pub for_client: bool,
}

/// A run: `GET /runs/{id}`, with `steps` and `events` put beside it where they were read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// `queued`, `running`, `completed`, `failed` or `cancelled`.
    pub status: String,
    /// Tokens of the whole run.
    pub usage: Usage,
    /// The messages that it reacts to.
    pub stimulus: Vec<String>,
    /// `GET /runs/{id}/steps`.
    pub step_records: Option<Vec<Step>>,
    /// `GET /runs/{id}/events`, all of them.
    pub events: Option<Vec<Event>>,
}

/// Tokens used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens of the prompts.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
}

/// A step of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Counts from 1 in its run.
    pub number: u32,
    /// Tokens used.
    pub usage: Usage,
}

/// An event of a run. Fields that its kind does not have are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Dense in its run, from 1.
    pub seq: u64,
    /// Its kind: `started`, `message`, `done`, …
    pub event: String,
    /// `started`: the epoch of the worker's lease.
    pub epoch: Option<u64>,
    /// `message`: the message.
    pub message: Option<Message>,
    /// `step`: its number.
    pub number: Option<u32>,
    /// `step` and `done`.
    pub usage: Option<Usage>,
    /// `text_delta` and `reasoning_delta`.
    pub text: Option<String>,
    /// `done`: where the run ended.
    pub status: Option<String>,
}

/// An acknowledged message: what the client wrote down before it relied on it. No two messages of a conversation have the same text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Where.
    pub conversation: String,
    /// What was said.
    pub text: String,
    /// The run that the server named; `None` where the client does not care.
    pub run: Option<String>,
    /// When it was first sent and when it was acknowledged, by any clock that all entries share (a counter will do). A message sent
    /// after another was acknowledged stands after it. Both 0 = unknown.
    pub sent: u64,
    /// See `sent`.
    pub acknowledged: u64,
}

/// What one client saw of a run's events, over as many connections as it took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stream {
    /// The run.
    pub run: String,
    /// The number after which it began to read.
    pub after: u64,
    /// What it got, in order.
    pub events: Vec<Event>,
    /// Whether it read to the end.
    pub is_whole: bool,
}

/// A write that changed something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Write {
    /// Where.
    pub conversation: String,
    /// The epoch of the lease that the writer showed.
    pub epoch: u64,
}

/// How far an index has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Index {
    /// Whose, or which.
    pub name: String,
    /// Records that are there to be found.
    pub searchable: u64,
    /// Records that the index has.
    pub indexed: u64,
    /// Records that wait for it, and rows of the outbox.
    pub pending: u64,
}

/// What a call did outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Which call: the token that it carried.
    pub token: String,
    /// How many times it came.
    pub times: u64,
}

/// A text that only one tenant may ever read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Whose.
    pub tenant: String,
    /// The text.
    pub text: String,
}

/// A text that a tenant was given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// To whom.
    pub tenant: String,
    /// By what, such as `search` or `prompt`.
    pub by: String,
    /// The whole text.
    pub text: String,
}

impl From<sid_types::Usage> for Usage {
    fn from(usage: sid_types::Usage) -> Self {
        Self { prompt_tokens: usage.prompt_tokens, completion_tokens: usage.completion_tokens }
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
    }
}

impl From<&sid_types::Message> for Message {
    fn from(message: &sid_types::Message) -> Self {
        let role = match message.body.role() {
            sid_types::Role::User => "user",
            sid_types::Role::Assistant => "assistant",
            sid_types::Role::Tool => "tool",
            sid_types::Role::Note => "note",
        };
        let call_id = if let sid_types::Body::Tool { call_id, .. } = &message.body { Some(call_id.clone()) } else { None };
        Self {
            id: message.id.to_string(),
            seq: message.seq.0,
            run: message.run.map(|run| run.to_string()),
            role: role.into(),
            text: message.body.text().into(),
            tool_calls: message.body.tool_calls().iter().map(|call| Call { id: call.id.clone(), for_client: call.for_client }).collect(),
            call_id,
        }
    }
}

impl From<&sid_types::Run> for Run {
    fn from(run: &sid_types::Run) -> Self {
        Self {
            id: run.id.to_string(),
            status: status_name(run.status).into(),
            usage: run.usage.into(),
            stimulus: run.stimulus.iter().map(ToString::to_string).collect(),
            step_records: None,
            events: None,
        }
    }
}

impl From<&sid_types::Step> for Step {
    fn from(step: &sid_types::Step) -> Self {
        Self { number: step.number, usage: step.usage.into() }
    }
}

impl From<&sid_types::Event> for Event {
    fn from(event: &sid_types::Event) -> Self {
        let mut out = Self { seq: event.seq, event: event.body.name().into(), ..Self::default() };
        match &event.body {
            EventBody::Started { epoch } => out.epoch = Some(*epoch),
            EventBody::TextDelta { text } | EventBody::ReasoningDelta { text } => out.text = Some(text.clone()),
            EventBody::Message { message } => out.message = Some((&**message).into()),
            EventBody::Step { number, usage, .. } => (out.number, out.usage) = (Some(*number), Some((*usage).into())),
            EventBody::Done { status, usage, .. } => {
                (out.status, out.usage) = (Some(status_name(*status).into()), Some((*usage).into()));
            }
            EventBody::Recalled { .. } | EventBody::ToolCall { .. } | EventBody::ApprovalAsked { .. } | EventBody::PageOut { .. } => {}
        }
        out
    }
}

const fn status_name(status: sid_types::RunStatus) -> &'static str {
    match status {
        sid_types::RunStatus::Queued => "queued",
        sid_types::RunStatus::Running => "running",
        sid_types::RunStatus::Completed => "completed",
        sid_types::RunStatus::Failed => "failed",
        sid_types::RunStatus::Cancelled => "cancelled",
    }
}
