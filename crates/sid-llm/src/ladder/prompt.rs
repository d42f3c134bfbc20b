//! How a request is written on each rung.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};
use sid_types::{ToolCall, ToolSpec};

use crate::{ChatMessage, ChatRequest, Rung, schema};

/// Whether the history has calls or results, which engines without tools refuse.
pub(super) fn mentions_tools(messages: &[ChatMessage]) -> bool {
    messages.iter().any(|m| match m {
        ChatMessage::Tool { .. } => true,
        ChatMessage::Assistant { tool_calls, .. } => !tool_calls.is_empty(),
        _ => false,
    })
}

/// The request as this rung asks it.
pub(super) fn render(request: &ChatRequest, rung: Rung) -> ChatRequest {
    match rung {
        Rung::Native | Rung::Salvaged => request.clone(),
        Rung::Structured => ChatRequest {
            messages: with_instructions(history(&request.messages, rung, request.tools.is_empty()), &request.tools, rung),
            tools: Vec::new(),
            json_schema: if request.tools.is_empty() { request.json_schema.clone() } else { Some(schema::envelope(&request.tools)) },
            ..*request
        },
        Rung::Text => ChatRequest {
            messages: with_instructions(history(&request.messages, rung, request.tools.is_empty()), &request.tools, rung),
            tools: Vec::new(),
            json_schema: request.json_schema.clone(),
            ..*request
        },
        Rung::None => ChatRequest {
            messages: history(&request.messages, rung, true),
            tools: Vec::new(),
            json_schema: request.json_schema.clone(),
            ..*request
        },
    }
}

/// Without an example: small models answer with the words of the example.
const STRUCTURED: &str = "Answer with one JSON object. Its key \"reply\" holds what you say to the user. \
To use a tool instead, its key \"action\" holds the \"tool\" and its \"arguments\"; the result comes in the next message. \
Use a tool only when it helps.";

const TEXT: &str = "To use a tool, write only one JSON object like this and stop:\n\
{\"tool\": \"name\", \"arguments\": {…}}\n\
The result comes in the next message; then go on. To speak to the user, write plain text without JSON. \
Use a tool only when it helps.";

/// Puts the description of the tools behind the system instructions: they change as rarely.
fn with_instructions(mut messages: Vec<ChatMessage>, tools: &[Arc<ToolSpec>], rung: Rung) -> Vec<ChatMessage> {
    if tools.is_empty() {
        return messages;
    }
    let mut text = String::from("# Tools\n");
    for tool in tools {
        let parameters = schema::simplify(&tool.parameters);
        let properties = parameters.get("properties").cloned().unwrap_or_else(|| json!({}));
        let required = parameters.get("required").cloned().unwrap_or_else(|| json!([]));
        let _ = match rung {
            // The schema sees to the arguments.
            Rung::Structured => writeln!(text, "- {}({}): {}", tool.name, signature(&properties, &required), tool.description),
            _ => writeln!(text, "- {}: {}\n  arguments: {properties} required: {required}", tool.name, tool.description),
        };
    }
    text.push('\n');
    text.push_str(if rung == Rung::Structured { STRUCTURED } else { TEXT });
    match messages.first_mut() {
        Some(ChatMessage::System { text: before }) => {
            before.push_str("\n\n");
            before.push_str(&text);
        }
        _ => messages.insert(0, ChatMessage::System { text }),
    }
    messages
}

/// `query, page?`
fn signature(properties: &Value, required: &Value) -> String {
    let is_required = |name: &str| required.as_array().is_some_and(|r| r.iter().any(|n| n == name));
    let names =
        properties.as_object().into_iter().flatten().map(|(name, _)| if is_required(name) { name.clone() } else { format!("{name}?") });
    names.collect::<Vec<_>>().join(", ")
}

/// The history without calls and results, as the model would have written and read them on this rung.
fn history(messages: &[ChatMessage], rung: Rung, is_plain: bool) -> Vec<ChatMessage> {
    let mut out = Vec::with_capacity(messages.len());
    for message in messages {
        match message {
            ChatMessage::Assistant { text, tool_calls } => {
                let mut written = String::new();
                if !text.trim().is_empty() {
                    match rung {
                        Rung::Structured if !is_plain && tool_calls.is_empty() => written.push_str(&json!({"reply": text}).to_string()),
                        _ => written.push_str(text),
                    }
                }
                for call in tool_calls {
                    if !written.is_empty() {
                        written.push('\n');
                    }
                    written.push_str(&call_text(call, rung));
                }
                if !written.is_empty() {
                    out.push(ChatMessage::Assistant { text: written, tool_calls: Vec::new() });
                }
            }
            ChatMessage::Tool { name, text, .. } => {
                let text = format!("<tool_result name=\"{name}\">\n{text}\n</tool_result>");
                match out.last_mut() {
                    Some(ChatMessage::User { text: before }) if before.ends_with("</tool_result>") => {
                        before.push('\n');
                        before.push_str(&text);
                    }
                    _ => out.push(ChatMessage::User { text }),
                }
            }
            other => out.push(other.clone()),
        }
    }
    out
}

fn call_text(call: &ToolCall, rung: Rung) -> String {
    match rung {
        Rung::Structured => json!({"action": {"tool": call.name, "arguments": call.arguments}}).to_string(),
        _ => json!({"tool": call.name, "arguments": call.arguments}).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ChatRequest {
        let arguments = [("x".to_owned(), json!(1))].into_iter().collect();
        let call = ToolCall { id: "1".into(), name: "f".into(), arguments, for_client: false };
        ChatRequest {
            messages: vec![
                ChatMessage::System { text: "Be kind.".into() },
                ChatMessage::User { text: "hi".into() },
                ChatMessage::Assistant { text: String::new(), tool_calls: vec![call] },
                ChatMessage::Tool { call_id: "1".into(), name: "f".into(), text: "ok".into() },
                ChatMessage::Assistant { text: "done".into(), tool_calls: vec![] },
                ChatMessage::User { text: "more".into() },
            ],
            tools: vec![Arc::new(ToolSpec {
                name: "f".into(),
                description: "Does it.".into(),
                parameters: json!({"type": "object", "properties": {"x": {"type": "integer"}}}),
            })],
            max_tokens: sid_types::Tokens(100),
            ..ChatRequest::default()
        }
    }

    #[test]
    fn lower_rungs_write_calls_and_results_as_plain_turns() {
        for (rung, call, words) in [
            (Rung::Structured, r#"{"action":{"tool":"f","arguments":{"x":1}}}"#, r#"{"reply":"done"}"#),
            (Rung::Text, r#"{"tool":"f","arguments":{"x":1}}"#, "done"),
            (Rung::None, r#"{"tool":"f","arguments":{"x":1}}"#, "done"),
        ] {
            let rendered = render(&request(), rung);
            assert!(rendered.tools.is_empty() && !mentions_tools(&rendered.messages));
            assert_eq!(rendered.messages[2], ChatMessage::Assistant { text: call.into(), tool_calls: vec![] });
            assert_eq!(rendered.messages[3], ChatMessage::User { text: "<tool_result name=\"f\">\nok\n</tool_result>".into() });
            assert_eq!(rendered.messages[4], ChatMessage::Assistant { text: words.into(), tool_calls: vec![] });
            assert_eq!(rendered.json_schema.is_some(), rung == Rung::Structured);
            let ChatMessage::System { text } = &rendered.messages[0] else { panic!("the system message comes first") };
            assert_eq!(text.contains("Does it."), rung != Rung::None);
            assert_eq!(text.contains("- f(x?): Does it."), rung == Rung::Structured);
        }
        assert_eq!(render(&request(), Rung::Native), request());
    }
}
