//! Answers in the form of the OpenAI chat API.

use serde_json::{Value, json};

/// A call as it goes over the wire; what is `None` is left out.
#[derive(Debug, Clone, Default)]
pub(super) struct WireCall {
    pub(super) index: Option<u64>,
    pub(super) id: Option<String>,
    pub(super) name: String,
    /// `None` = null.
    pub(super) arguments: Option<String>,
}

/// An answer, before it is put into bytes.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) model: String,
    pub(super) reasoning: String,
    pub(super) text: String,
    pub(super) calls: Vec<WireCall>,
    pub(super) finish: String,
    pub(super) prompt_tokens: u64,
    pub(super) has_usage: bool,
    pub(super) usage_everywhere: bool,
}

impl Answer {
    pub(super) fn completion_tokens(&self) -> u64 {
        let calls: usize = self.calls.iter().map(|c| c.name.len() + c.arguments.as_ref().map_or(0, String::len)).sum();
        (self.text.len() + self.reasoning.len() + calls).div_ceil(4).max(1) as u64
    }

    fn usage(&self) -> Value {
        let completion = self.completion_tokens();
        json!({"prompt_tokens": self.prompt_tokens, "completion_tokens": completion, "total_tokens": self.prompt_tokens + completion})
    }

    fn envelope(&self, object: &str, choices: Value) -> Value {
        json!({"id": "chatcmpl-scripted", "object": object, "created": 0, "model": self.model, "choices": choices})
    }

    /// The whole answer as one document.
    pub(super) fn document(&self) -> String {
        let mut message =
            json!({"role": "assistant", "content": if self.calls.is_empty() { Value::from(self.text.as_str()) } else { Value::Null }});
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.as_str().into();
        }
        if !self.calls.is_empty() {
            message["tool_calls"] = self.calls.iter().map(|c| call(c, None)).collect();
        }
        let mut body = self.envelope("chat.completion", json!([{"index": 0, "message": message, "finish_reason": self.finish}]));
        if self.has_usage {
            body["usage"] = self.usage();
        }
        body.to_string()
    }

    /// The events of a stream, each with its blank line, without `[DONE]`.
    pub(super) fn events(&self) -> Vec<String> {
        let chunk = |delta: Value, finish: Value| {
            let mut body = self.envelope("chat.completion.chunk", json!([{"index": 0, "delta": delta, "finish_reason": finish}]));
            if self.usage_everywhere {
                body["usage"] = self.usage();
            }
            event(&body)
        };
        let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
        events.extend(pieces(&self.reasoning).map(|p| chunk(json!({"reasoning_content": p}), Value::Null)));
        events.extend(pieces(&self.text).map(|p| chunk(json!({"content": p}), Value::Null)));
        for one in &self.calls {
            // The head of the call, then its arguments in pieces, as vLLM does it.
            events.push(chunk(json!({"tool_calls": [call(one, Some(""))]}), Value::Null));
            for piece in one.arguments.iter().flat_map(|a| pieces(a)) {
                let mut delta = json!({"function": {"arguments": piece}});
                if let Some(index) = one.index {
                    delta["index"] = index.into();
                }
                events.push(chunk(json!({"tool_calls": [delta]}), Value::Null));
            }
        }
        events.push(chunk(json!({}), self.finish.as_str().into()));
        if self.has_usage {
            let mut body = self.envelope("chat.completion.chunk", json!([]));
            body["usage"] = self.usage();
            events.push(event(&body));
        }
        events
    }
}

pub(super) fn event(body: &Value) -> String {
    format!("data: {body}\n\n")
}

/// Pieces of 24 characters.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.char_indices().nth(24).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

fn call(one: &WireCall, arguments: Option<&str>) -> Value {
    let arguments = match (&one.arguments, arguments) {
        (None, _) => Value::Null,
        (Some(_), Some(first)) => first.into(),
        (Some(all), None) => all.as_str().into(),
    };
    let mut value = json!({"type": "function", "function": {"name": one.name, "arguments": arguments}});
    if let Some(index) = one.index {
        value["index"] = index.into();
    }
    if let Some(id) = &one.id {
        value["id"] = id.as_str().into();
    }
    value
}
