//! Messages and their calls on the wire.

use serde::Serialize;
use sid_types::{Body, ConversationId, Message, MessageId, RunId, Timestamp, ToolCall};
use utoipa::ToSchema;

use super::provenance::{SourceJson, trust_of};

/// A function call that a model asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToolCallJson {
    id: String,
    name: String,
    #[schema(value_type = Object)]
    arguments: serde_json::Map<String, serde_json::Value>,
    /// Whether the caller answers it, with `results`; left out where Sid does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    for_client: bool,
}

impl From<ToolCall> for ToolCallJson {
    fn from(c: ToolCall) -> Self {
        Self { id: c.id, name: c.name, arguments: c.arguments, for_client: c.for_client }
    }
}

/// A message in its place.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessageJson {
    #[schema(value_type = String)]
    pub(crate) id: MessageId,
    #[schema(value_type = String)]
    pub(crate) conversation: ConversationId,
    /// Its place in the conversation: dense, from 1.
    pub(crate) seq: u64,
    /// The run that it belongs to; `null` for imports.
    #[schema(value_type = Option<String>)]
    pub(crate) run: Option<RunId>,
    /// `user`, `assistant`, `tool` or `note`.
    pub(crate) role: &'static str,
    pub(crate) text: String,
    /// The model's reasoning, for people who debug.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    /// An assistant's calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCallJson>,
    /// For `tool`: the call it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<String>,
    /// For `tool`: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// For `tool`: whether the call failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_error: Option<bool>,
    /// Who spoke, where the role does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    speaker: Option<String>,
    /// When it was said.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Its size in a prompt, if it was counted.
    tokens: Option<u32>,
    /// Whether what it says may be followed: not where it came from one of `untrusted`, or was written by who had read them.
    trust: &'static str,
    /// Sources that are not trusted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    untrusted: Vec<SourceJson>,
}

pub(crate) const fn role_name(role: sid_types::Role) -> &'static str {
    match role {
        sid_types::Role::User => "user",
        sid_types::Role::Assistant => "assistant",
        sid_types::Role::Tool => "tool",
        sid_types::Role::Note => "note",
    }
}

impl From<Message> for MessageJson {
    fn from(m: Message) -> Self {
        let role = role_name(m.body.role());
        let mut out = Self {
            id: m.id,
            conversation: m.conversation,
            seq: m.seq.0,
            run: m.run,
            role,
            text: String::new(),
            reasoning: None,
            tool_calls: Vec::new(),
            call_id: None,
            name: None,
            is_error: None,
            speaker: m.speaker,
            at: m.at,
            tokens: m.tokens.map(|t| t.0),
            trust: trust_of(&m.untrusted),
            untrusted: m.untrusted.into_iter().map(Into::into).collect(),
        };
        match m.body {
            Body::User { text } | Body::Note { text } => out.text = text,
            Body::Assistant { text, reasoning, tool_calls } => {
                out.text = text;
                out.reasoning = reasoning;
                out.tool_calls = tool_calls.into_iter().map(Into::into).collect();
            }
            Body::Tool { call_id, name, text, is_error, .. } => {
                out.text = text;
                out.call_id = Some(call_id);
                out.name = Some(name);
                out.is_error = Some(is_error);
            }
        }
        out
    }
}
