//! What the server reads out of a request.

use serde_json::{Map, Value, json};

/// The request as far as the server cares, of either API.
pub(super) struct Prompt<'a> {
    body: &'a Value,
    pub(super) is_ollama: bool,
}

impl<'a> Prompt<'a> {
    pub(super) const fn new(body: &'a Value, is_ollama: bool) -> Self {
        Self { body, is_ollama }
    }

    pub(super) fn stream(&self) -> bool {
        // Ollama streams unless told not to.
        self.body.get("stream").and_then(Value::as_bool).unwrap_or(self.is_ollama)
    }

    pub(super) fn wants_usage(&self) -> bool {
        self.is_ollama || !self.stream() || self.body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true))
    }

    fn messages(&self) -> &'a [Value] {
        self.body.get("messages").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The last message of the human, and whether a call has been made since.
    pub(super) fn last_user(&self) -> (String, bool) {
        let mut acted = false;
        for message in self.messages().iter().rev() {
            let text = text_of(message);
            match message.get("role").and_then(Value::as_str) {
                // How Sid writes results for templates without tools.
                Some("user") if text.trim_start().starts_with("<tool_result") => acted = true,
                Some("user") => return (text, acted),
                Some("tool" | "assistant") => acted = true,
                _ => {}
            }
        }
        (String::new(), acted)
    }

    /// Names and parameters of the offered tools, also those described by an envelope.
    pub(super) fn tools(&self) -> Vec<(String, Value)> {
        let native = self.body.get("tools").and_then(Value::as_array).into_iter().flatten();
        let mut tools: Vec<(String, Value)> = native
            .filter_map(|t| {
                let f = t.get("function")?;
                Some((f.get("name")?.as_str()?.to_owned(), f.get("parameters").cloned().unwrap_or_default()))
            })
            .collect();
        let actions = self.schema().and_then(|s| s.pointer("/anyOf/1/properties/action/anyOf")).and_then(Value::as_array);
        tools.extend(actions.into_iter().flatten().filter_map(|a| {
            let name = a.pointer("/properties/tool/const")?.as_str()?.to_owned();
            Some((name, a.pointer("/properties/arguments").cloned().unwrap_or_default()))
        }));
        if tools.is_empty() {
            tools = self.described_tools();
        }
        tools
    }

    /// Tools that Sid describes in its system instructions for models without a better way.
    fn described_tools(&self) -> Vec<(String, Value)> {
        let Some(text) = self.messages().first().map(text_of) else { return Vec::new() };
        let Some((_, described)) = text.split_once("# Tools\n- ") else { return Vec::new() };
        let one = |entry: &str| {
            let (name, rest) = entry.split_once(": ")?;
            let (_, arguments) = rest.split_once("\n  arguments: ")?;
            let (properties, required) = arguments.lines().next()?.rsplit_once(" required: ")?;
            let schema = json!({
                "type": "object",
                "properties": serde_json::from_str::<Value>(properties).ok()?,
                "required": serde_json::from_str::<Value>(required).ok()?,
            });
            Some((name.to_owned(), schema))
        };
        described.split("\n- ").filter_map(one).collect()
    }

    pub(super) fn has_tools(&self) -> bool {
        self.body.get("tools").and_then(Value::as_array).is_some_and(|t| !t.is_empty())
    }

    pub(super) fn schema(&self) -> Option<&'a Value> {
        self.body.pointer("/response_format/json_schema/schema").or_else(|| self.body.get("format").filter(|f| f.is_object()))
    }

    pub(super) fn is_envelope(&self) -> bool {
        self.schema().is_some_and(|s| s.pointer("/anyOf/0/properties/reply").is_some())
    }

    /// Four bytes of words, calls and tools are a token, and each message costs four.
    pub(super) fn tokens(&self) -> u64 {
        let message = |m: &Value| {
            let calls = m.get("tool_calls").map_or(0, |c| c.to_string().len());
            text_of(m).len() + calls + 16
        };
        let bytes = self.messages().iter().map(message).sum::<usize>() + self.body.get("tools").map_or(0, |t| t.to_string().len());
        bytes.div_ceil(4) as u64
    }
}

fn text_of(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|p| p.get("text").and_then(Value::as_str)).collect(),
        _ => String::new(),
    }
}

/// The least value that fits a schema.
pub(super) fn sample(schema: &Value) -> Value {
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|e| e.first()) {
        return first.clone();
    }
    if let Some(first) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array).and_then(|e| e.first()) {
        return sample(first);
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or("null"),
        Some(Value::String(kind)) => kind,
        _ => "object",
    };
    match kind {
        "string" => json!("pickles"),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(true),
        "array" => json!([]),
        "null" => Value::Null,
        _ => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            let property = |name: &str| schema.get("properties").and_then(|p| p.get(name)).map_or(Value::Null, sample);
            Value::Object(required.map(|name| (name.to_owned(), property(name))).collect::<Map<_, _>>())
        }
    }
}
