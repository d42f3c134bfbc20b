//! Request bodies. What changes least comes first, so that two requests of one conversation share their first bytes.

use serde_json::{Map, Value, json};

use crate::turns::{Rules, normalise};
use crate::{ChatMessage, ChatRequest, ModelProfile, schema};

fn rules(profile: &ModelProfile) -> Rules {
    Rules { system_anywhere: profile.system_anywhere }
}

fn tools(request: &ChatRequest) -> Value {
    request
        .tools
        .iter()
        .map(|tool| {
            let parameters = schema::simplify(&tool.parameters);
            json!({"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": parameters}})
        })
        .collect()
}

/// `messages` in the OpenAI form.
#[cfg(feature = "openai")]
pub(crate) fn openai_messages(messages: &[ChatMessage], profile: &ModelProfile) -> Value {
    let one = |message: ChatMessage| match message {
        ChatMessage::System { text } => json!({"role": "system", "content": text}),
        ChatMessage::User { text } => json!({"role": "user", "content": text}),
        ChatMessage::Assistant { text, tool_calls } if tool_calls.is_empty() => json!({"role": "assistant", "content": text}),
        ChatMessage::Assistant { text, tool_calls } => {
            let calls: Value = tool_calls
                .into_iter()
                .map(|call| {
                    let arguments = Value::Object(call.arguments).to_string();
                    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
                })
                .collect();
            json!({"role": "assistant", "content": text, "tool_calls": calls})
        }
        ChatMessage::Tool { call_id, name, text } => json!({"role": "tool", "tool_call_id": call_id, "name": name, "content": text}),
    };
    normalise(messages, rules(profile)).into_iter().map(one).collect()
}

/// A request of the OpenAI chat API.
#[cfg(feature = "openai")]
pub(crate) fn openai(model: &str, extra: &Map<String, Value>, stream: bool, profile: &ModelProfile, request: &ChatRequest) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), model.into());
    if !request.tools.is_empty() {
        body.insert("tools".into(), tools(request));
    }
    body.insert("messages".into(), openai_messages(&request.messages, profile));
    if let Some(schema) = &request.json_schema {
        let schema = schema::simplify(schema);
        body.insert(
            "response_format".into(),
            json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema}}),
        );
    }
    if request.max_tokens.0 > 0 {
        body.insert("max_tokens".into(), request.max_tokens.0.into());
    }
    if let Some(temperature) = request.temperature {
        body.insert("temperature".into(), decimal(temperature));
    }
    body.insert("stream".into(), stream.into());
    if stream {
        body.insert("stream_options".into(), json!({"include_usage": true}));
    }
    body.extend(extra.iter().map(|(k, v)| (k.clone(), v.clone())));
    Value::Object(body)
}

/// A request of Ollama's native chat API.
#[cfg(feature = "ollama")]
pub(crate) fn ollama(config: &crate::OllamaConfig, num_ctx: u32, profile: &ModelProfile, request: &ChatRequest) -> Value {
    let one = |message: ChatMessage| match message {
        ChatMessage::System { text } => json!({"role": "system", "content": text}),
        ChatMessage::User { text } => json!({"role": "user", "content": text}),
        ChatMessage::Assistant { text, tool_calls } if tool_calls.is_empty() => json!({"role": "assistant", "content": text}),
        ChatMessage::Assistant { text, tool_calls } => {
            let calls: Value = tool_calls
                .into_iter()
                .map(|call| json!({"function": {"name": call.name, "arguments": Value::Object(call.arguments)}}))
                .collect();
            json!({"role": "assistant", "content": text, "tool_calls": calls})
        }
        ChatMessage::Tool { name, text, .. } => json!({"role": "tool", "tool_name": name, "content": text}),
    };
    let messages: Value = normalise(&request.messages, rules(profile)).into_iter().map(one).collect();
    let mut options = Map::new();
    options.insert("num_ctx".into(), num_ctx.into());
    if request.max_tokens.0 > 0 {
        options.insert("num_predict".into(), request.max_tokens.0.into());
    }
    if let Some(temperature) = request.temperature {
        options.insert("temperature".into(), decimal(temperature));
    }
    options.extend(config.extra_options.iter().map(|(k, v)| (k.clone(), v.clone())));
    let mut body = Map::new();
    body.insert("model".into(), config.model.as_str().into());
    if !request.tools.is_empty() {
        body.insert("tools".into(), tools(request));
    }
    body.insert("messages".into(), messages);
    if let Some(schema) = &request.json_schema {
        body.insert("format".into(), schema::simplify(schema));
    }
    body.insert("options".into(), Value::Object(options));
    // Newer versions then refuse a prompt that is too large instead of cutting it; older ones ignore both.
    body.insert("truncate".into(), false.into());
    body.insert("shift".into(), false.into());
    if let Some(think) = config.think {
        body.insert("think".into(), think.into());
    }
    if let Some(keep_alive) = &config.keep_alive {
        body.insert("keep_alive".into(), keep_alive.as_str().into());
    }
    body.insert("stream".into(), config.stream.into());
    Value::Object(body)
}

/// `0.7` and not `0.699999988079071`.
fn decimal(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}
