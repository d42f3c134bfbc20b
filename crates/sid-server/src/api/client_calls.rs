//! Tools that a caller brings, and its answers to their calls, on the wire.

use serde::Deserialize;
use serde_json::Value;
use sid_core::ClientAnswer;
use sid_types::{Body, Message, ToolCall, ToolSpec};
use utoipa::ToSchema;

use super::names::check_text;
use crate::auth::Caller;
use crate::error::ApiError;

/// A tool that the caller carries out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientTool {
    /// 1 to 64 characters of a-z, A-Z, 0-9, _ and -; no name of a tool that the server has.
    name: String,
    /// One or two sentences for the model.
    #[serde(default)]
    description: String,
    /// JSON Schema of the arguments, of type `object`. Default: no arguments.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
    /// Whether its answers are to be trusted as what you say is. `false` where they tell what others have written. Default `true`.
    #[serde(default = "yes")]
    trusted: bool,
}

const fn yes() -> bool {
    true
}

impl From<ClientTool> for sid_types::ClientTool {
    fn from(tool: ClientTool) -> Self {
        Self { spec: spec(tool.name, tool.description, tool.parameters), untrusted: !tool.trusted }
    }
}

/// A tool whose schema may be left out.
pub(crate) fn spec(name: String, description: String, parameters: Option<Value>) -> ToolSpec {
    let parameters = parameters.unwrap_or_else(|| serde_json::json!({"type": "object", "properties": {}}));
    ToolSpec { name, description, parameters }
}

/// What came of a call that waits for the caller.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CallResult {
    /// `calls[].id` of the answer that the run ended with.
    call_id: String,
    /// What the model reads.
    text: String,
    /// Whether the call failed. Default `false`.
    #[serde(default)]
    is_error: bool,
}

impl CallResult {
    pub(super) fn answer(self, caller: &Caller, index: usize) -> Result<ClientAnswer, ApiError> {
        check_text(&format!("results[{index}].text"), &self.text, usize::MAX)?;
        Ok(ClientAnswer { call_id: self.call_id, text: self.text, is_error: self.is_error, untrusted: caller.sources() })
    }
}

/// Calls of a run that ended with some for its caller.
pub(crate) fn calls_of(messages: &[Message]) -> impl Iterator<Item = &ToolCall> {
    let last = messages.iter().rev().find(|m| matches!(m.body, Body::Assistant { .. }));
    last.into_iter().flat_map(|m| m.body.tool_calls()).filter(|call| call.for_client)
}
