//! Messages: what was said, in the order it was said.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ApprovedCall, ConversationId, MessageId, RunId, Sender, Seq, Source, Tokens};

/// A function call that a model asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Unique inside its conversation's prompt; given by the engine or made by Sid.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Arguments: always a JSON object, whatever the model wrote.
    pub arguments: serde_json::Map<String, serde_json::Value>,
    /// Whether the caller answers it, and not Sid: the run ends with [`StopReason::ClientCalls`](crate::StopReason::ClientCalls).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub for_client: bool,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The human.
    User,
    /// The agent.
    Assistant,
    /// The answer of a tool.
    Tool,
    /// A note by the system: an edit made elsewhere, memory pressure, a stimulus without words.
    Note,
}

/// What a message carries. A closed set: nothing a model answers can make another kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Body {
    /// Said by the human.
    User {
        /// The words.
        text: String,
    },
    /// Said by the agent. Text, calls, or both; never neither.
    Assistant {
        /// The words; may be empty when there are calls.
        text: String,
        /// The model's reasoning, kept for people who debug; never sent back to a model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reasoning: Option<String>,
        /// Calls, in order. Each is answered by exactly one `Tool` message before the next assistant message, but for calls of the client's
        /// tools that the client passed over.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
    },
    /// The answer to one call.
    Tool {
        /// The [`ToolCall::id`] it answers.
        call_id: String,
        /// The tool's name.
        name: String,
        /// What the tool says to the model.
        text: String,
        /// Whether the call failed.
        #[serde(default)]
        is_error: bool,
        /// Messages that the text quotes. Erasing one of them redacts this result.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        quotes: Vec<MessageId>,
    },
    /// Said by the system.
    Note {
        /// The words.
        text: String,
    },
}

impl Body {
    /// Who speaks.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Self::User { .. } => Role::User,
            Self::Assistant { .. } => Role::Assistant,
            Self::Tool { .. } => Role::Tool,
            Self::Note { .. } => Role::Note,
        }
    }

    /// The words, without calls and reasoning.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::User { text } | Self::Assistant { text, .. } | Self::Tool { text, .. } | Self::Note { text } => text,
        }
    }

    /// The calls it makes; empty unless it is an assistant's.
    #[must_use]
    pub fn tool_calls(&self) -> &[ToolCall] {
        match self {
            Self::Assistant { tool_calls, .. } => tool_calls,
            _ => &[],
        }
    }

    /// Whether recall memory indexes it. Tool results and notes are readable by paging but never found by search:
    /// recalled text must not be recalled again.
    #[must_use]
    pub fn is_searchable(&self) -> bool {
        matches!(self, Self::User { .. } | Self::Assistant { .. }) && !self.text().trim().is_empty()
    }
}

/// A message that has not been given its place yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMessage {
    /// Its id, made by the caller, so that a repeated commit is recognised.
    pub id: MessageId,
    /// What it carries.
    #[serde(flatten)]
    pub body: Body,
    /// Who spoke, where the role does not tell (imports, group logs); searched together with the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// When it was said. May be given by the client; order never depends on it.
    pub at: Timestamp,
    /// Its size in a prompt, if it was counted.
    #[serde(default)]
    pub tokens: Option<Tokens>,
    /// Sources that are not trusted, from which it came or which whoever wrote it had read; none = trusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untrusted: Vec<Source>,
    /// A call that somebody approved, and that the run begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Box<ApprovedCall>>,
    /// The agent that wrote it to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Box<Sender>>,
}

impl NewMessage {
    /// A human's message.
    #[must_use]
    pub fn user(text: impl Into<String>, at: Timestamp) -> Self {
        Self::of(Body::User { text: text.into() }, at)
    }

    /// An agent's plain answer.
    #[must_use]
    pub fn assistant(text: impl Into<String>, at: Timestamp) -> Self {
        Self::of(Body::Assistant { text: text.into(), reasoning: None, tool_calls: Vec::new() }, at)
    }

    /// A message with this body and a fresh id.
    #[must_use]
    pub fn of(body: Body, at: Timestamp) -> Self {
        Self { id: MessageId::new(), body, speaker: None, at, tokens: None, untrusted: Vec::new(), approved: None, sender: None }
    }

    /// This message at its place in a conversation.
    #[must_use]
    pub fn placed(self, conversation: ConversationId, seq: Seq, run: Option<RunId>) -> Message {
        Message {
            id: self.id,
            conversation,
            seq,
            run,
            body: self.body,
            speaker: self.speaker,
            at: self.at,
            tokens: self.tokens,
            untrusted: self.untrusted,
            approved: self.approved,
            sender: self.sender,
        }
    }
}

/// A message in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Where it was said.
    pub conversation: ConversationId,
    /// Its place: dense, from 1, in commit order.
    pub seq: Seq,
    /// The run that it belongs to; `None` for imports.
    pub run: Option<RunId>,
    /// What it carries.
    #[serde(flatten)]
    pub body: Body,
    /// Who spoke, where the role does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// When it was said.
    pub at: Timestamp,
    /// Its size in a prompt, if it was counted.
    #[serde(default)]
    pub tokens: Option<Tokens>,
    /// Sources that are not trusted, from which it came or which whoever wrote it had read; none = trusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untrusted: Vec<Source>,
    /// A call that somebody approved, and that the run begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Box<ApprovedCall>>,
    /// The agent that wrote it to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Box<Sender>>,
}
