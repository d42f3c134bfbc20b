//! Request bodies, written from the request as it is. What changes least comes first, so that two requests of one conversation share their
//! first bytes.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use sid_types::{ToolCall, ToolSpec};

use crate::turns::{Rules, normalise};
use crate::{ChatMessage, ChatRequest, ModelProfile, schema};

/// How an API writes what the others write in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(all(feature = "openai", feature = "ollama")), expect(dead_code, reason = "one of them is not built"))]
enum Dialect {
    OpenAi,
    Ollama,
}

/// Messages as turns of a dialect.
pub(crate) struct Turns {
    messages: Vec<ChatMessage>,
    dialect: Dialect,
}

impl Turns {
    fn of(messages: &[ChatMessage], profile: &ModelProfile, dialect: Dialect) -> Self {
        Self { messages: normalise(messages, Rules { system_anywhere: profile.system_anywhere }), dialect }
    }
}

impl Serialize for Turns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.messages.iter().map(|message| Turn::of(message, self.dialect)))
    }
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<&'a str>,
    content: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
}

impl<'a> Turn<'a> {
    fn of(message: &'a ChatMessage, dialect: Dialect) -> Self {
        let plain = |role, content| Self { role, tool_call_id: None, name: None, tool_name: None, content, tool_calls: Vec::new() };
        match message {
            ChatMessage::System { text } => plain("system", text),
            ChatMessage::User { text } => plain("user", text),
            ChatMessage::Assistant { text, tool_calls } => {
                let tool_calls = tool_calls.iter().map(|call| Call::of(call, dialect)).collect();
                Self { tool_calls, ..plain("assistant", text) }
            }
            ChatMessage::Tool { call_id, name, text } => match dialect {
                Dialect::OpenAi => Self { tool_call_id: Some(call_id), name: Some(name), ..plain("tool", text) },
                Dialect::Ollama => Self { tool_name: Some(name), ..plain("tool", text) },
            },
        }
    }
}

#[derive(Serialize)]
struct Call<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: CalledFunction<'a>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: Arguments<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Arguments<'a> {
    Text(String),
    Object(&'a Map<String, Value>),
}

impl<'a> Call<'a> {
    fn of(call: &'a ToolCall, dialect: Dialect) -> Self {
        let (id, kind, arguments) = match dialect {
            Dialect::OpenAi => {
                let arguments = serde_json::to_string(&call.arguments).unwrap_or_default();
                (Some(call.id.as_str()), Some("function"), Arguments::Text(arguments))
            }
            Dialect::Ollama => (None, None, Arguments::Object(&call.arguments)),
        };
        Self { id, r#type: kind, function: CalledFunction { name: &call.name, arguments } }
    }
}

/// Tools as all these APIs are told of them; nothing where there are none.
struct Tools<'a>(&'a [Arc<ToolSpec>]);

impl<'a> Tools<'a> {
    fn of(request: &'a ChatRequest) -> Option<Self> {
        (!request.tools.is_empty()).then_some(Self(&request.tools))
    }
}

impl Serialize for Tools<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|tool| OfferedTool {
            r#type: "function",
            function: OfferedFunction { name: &tool.name, description: &tool.description, parameters: schema::simplify(&tool.parameters) },
        }))
    }
}

#[derive(Serialize)]
struct OfferedTool<'a> {
    r#type: &'static str,
    function: OfferedFunction<'a>,
}

#[derive(Serialize)]
struct OfferedFunction<'a> {
    name: &'a str,
    description: &'a str,
    parameters: Value,
}

/// `messages` in the OpenAI form.
#[cfg(feature = "openai")]
pub(crate) fn openai_messages(messages: &[ChatMessage], profile: &ModelProfile) -> Turns {
    Turns::of(messages, profile, Dialect::OpenAi)
}

/// A request of the OpenAI chat API. What the operator adds replaces what is here.
#[cfg(feature = "openai")]
#[derive(Serialize)]
pub(crate) struct OpenAi<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Tools<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Turns>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

#[cfg(feature = "openai")]
impl<'a> OpenAi<'a> {
    pub(crate) fn new(
        model: &'a str,
        extra: &'a Map<String, Value>,
        stream: bool,
        profile: &ModelProfile,
        request: &'a ChatRequest,
    ) -> Self {
        let is_own = |key: &str| !extra.contains_key(key);
        let response_format = request.json_schema.as_ref().map(
            |schema| serde_json::json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema::simplify(schema)}}),
        );
        Self {
            model: is_own("model").then_some(model),
            tools: Tools::of(request).filter(|_| is_own("tools")),
            messages: is_own("messages").then(|| openai_messages(&request.messages, profile)),
            response_format: response_format.filter(|_| is_own("response_format")),
            max_tokens: Some(request.max_tokens.0).filter(|most| *most > 0 && is_own("max_tokens")),
            temperature: request.temperature.map(decimal).filter(|_| is_own("temperature")),
            stream: is_own("stream").then_some(stream),
            stream_options: (stream && is_own("stream_options")).then(|| serde_json::json!({"include_usage": true})),
            extra,
        }
    }
}

/// A request of Ollama's native chat API.
#[cfg(feature = "ollama")]
#[derive(Serialize)]
pub(crate) struct Ollama<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Tools<'a>>,
    messages: Turns,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Value>,
    options: Map<String, Value>,
    // Newer versions then refuse a prompt that is too large instead of cutting it; older ones ignore both.
    truncate: bool,
    shift: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_alive: Option<&'a str>,
    stream: bool,
}

#[cfg(feature = "ollama")]
impl<'a> Ollama<'a> {
    pub(crate) fn new(config: &'a crate::OllamaConfig, num_ctx: u32, profile: &ModelProfile, request: &'a ChatRequest) -> Self {
        let mut options = Map::new();
        options.insert("num_ctx".into(), num_ctx.into());
        if request.max_tokens.0 > 0 {
            options.insert("num_predict".into(), request.max_tokens.0.into());
        }
        if let Some(temperature) = request.temperature {
            options.insert("temperature".into(), decimal(temperature));
        }
        options.extend(config.extra_options.iter().map(|(k, v)| (k.clone(), v.clone())));
        Self {
            model: &config.model,
            tools: Tools::of(request),
            messages: Turns::of(&request.messages, profile, Dialect::Ollama),
            format: request.json_schema.as_ref().map(schema::simplify),
            options,
            truncate: false,
            shift: false,
            think: config.think,
            keep_alive: config.keep_alive.as_deref(),
            stream: config.stream,
        }
    }
}

/// `0.7` and not `0.699999988079071`.
fn decimal(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}
