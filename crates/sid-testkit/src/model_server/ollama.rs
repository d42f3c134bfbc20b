//! Answers in the form of Ollama's native API.

use serde_json::{Map, Value, json};

use super::openai::Answer;

impl Answer {
    fn line(&self, message: &Value, is_done: bool) -> Value {
        json!({"model": self.model, "created_at": "2026-01-01T00:00:00Z", "message": message, "done": is_done})
    }

    fn ollama_calls(&self) -> Value {
        let one = |call: &super::openai::WireCall| {
            let text = call.arguments.as_deref().unwrap_or("null");
            let arguments = serde_json::from_str::<Value>(text).unwrap_or_else(|_| text.into());
            let mut function = Map::new();
            if let Some(index) = call.index {
                function.insert("index".into(), index.into());
            }
            function.insert("name".into(), call.name.as_str().into());
            function.insert("arguments".into(), arguments);
            let mut value = json!({"function": function});
            if let Some(id) = &call.id {
                value["id"] = id.as_str().into();
            }
            value
        };
        self.calls.iter().map(one).collect()
    }

    fn ollama_end(&self, mut line: Value) -> Value {
        line["done_reason"] = if self.finish == "tool_calls" { "stop".into() } else { self.finish.as_str().into() };
        if self.has_usage {
            line["prompt_eval_count"] = self.prompt_tokens.into();
            line["eval_count"] = self.completion_tokens().into();
        }
        line
    }

    /// The whole answer as one document.
    pub(super) fn ollama_document(&self) -> String {
        let mut message = json!({"role": "assistant", "content": self.text});
        if !self.reasoning.is_empty() {
            message["thinking"] = self.reasoning.as_str().into();
        }
        if !self.calls.is_empty() {
            message["tool_calls"] = self.ollama_calls();
        }
        self.ollama_end(self.line(&message, true)).to_string()
    }

    /// The lines of a stream.
    pub(super) fn ollama_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut push = |message: Value| lines.push(format!("{}\n", self.line(&message, false)));
        if !self.reasoning.is_empty() {
            push(json!({"role": "assistant", "content": "", "thinking": self.reasoning}));
        }
        for word in self.text.split_inclusive(' ') {
            push(json!({"role": "assistant", "content": word}));
        }
        if !self.calls.is_empty() {
            push(json!({"role": "assistant", "content": "", "tool_calls": self.ollama_calls()}));
        }
        let end = self.ollama_end(self.line(&json!({"role": "assistant", "content": ""}), true));
        lines.push(format!("{end}\n"));
        lines
    }
}
