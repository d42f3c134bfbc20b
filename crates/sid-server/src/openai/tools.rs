//! Functions of the client, in OpenAI's shape.

use serde::Serialize;
use serde_json::{Map, Value, json};
use sid_types::{ClientTool, ToolCall};
use utoipa::ToSchema;

use crate::api::client_calls::spec;
use crate::error::ApiError;

/// A call, as clients read it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenAiCall {
    id: String,
    r#type: &'static str,
    function: OpenAiFunction,
}

#[derive(Debug, Serialize, ToSchema)]
struct OpenAiFunction {
    name: String,
    /// JSON.
    arguments: String,
}

impl From<&ToolCall> for OpenAiCall {
    fn from(call: &ToolCall) -> Self {
        let arguments = Value::Object(call.arguments.clone()).to_string();
        Self { id: call.id.clone(), r#type: "function", function: OpenAiFunction { name: call.name.clone(), arguments } }
    }
}

/// The delta of a whole call.
pub(super) fn delta(index: usize, call: &ToolCall) -> Value {
    let mut shown = serde_json::to_value(OpenAiCall::from(call)).unwrap_or_default();
    shown["index"] = json!(index);
    json!({"tool_calls": [shown]})
}

/// The tools of a request. `None`: it brings none and forbids none.
pub(super) fn given(tools: Option<&[Value]>, choice: Option<&Value>) -> Result<Option<Vec<ClientTool>>, ApiError> {
    let bad = |param: &'static str, detail: String| ApiError::bad_request(detail).openai("invalid_value", Some(param));
    match choice.map(|c| c.as_str().unwrap_or_default()) {
        None | Some("auto") => {}
        Some("none") => return Ok(Some(Vec::new())),
        Some(_) => return Err(bad("tool_choice", "`tool_choice` must be `auto` or `none`".into())),
    }
    let read = |(i, tool): (usize, &Value)| {
        let function =
            tool.get("function").and_then(Value::as_object).filter(|_| tool.get("type").and_then(Value::as_str) == Some("function"));
        let function = function.ok_or_else(|| bad("tools", format!("tools[{i}] must be of type `function`, with a `function`")))?;
        let name = text(function, "name").ok_or_else(|| bad("tools", format!("tools[{i}].function has no `name`")))?;
        let parameters = function.get("parameters").filter(|p| !p.is_null()).cloned();
        let spec = spec(name, text(function, "description").unwrap_or_default(), parameters);
        // Sid's own word beside OpenAI's, as in its API.
        Ok(ClientTool { spec, untrusted: function.get("trusted") == Some(&Value::Bool(false)) })
    };
    tools.map(|tools| tools.iter().enumerate().map(read).collect()).transpose()
}

fn text(function: &Map<String, Value>, field: &str) -> Option<String> {
    function.get(field).and_then(Value::as_str).map(str::to_owned)
}
