//! Chunks and bodies of the OpenAI chat API.

use serde_json::Value;
use sid_types::Usage;

use super::{Assembler, CallDelta};
use crate::LlmError;
use crate::refusal;

impl Assembler {
    /// Takes a chunk of a stream, or a whole answer.
    ///
    /// Errors: the engine's own, when the chunk is one; [`LlmError::OutputTooLarge`]; [`LlmError::Interrupted`] when it is no
    /// chunk at all.
    pub fn openai(&mut self, chunk: &Value) -> Result<(), LlmError> {
        if let Some(error) = chunk.get("error").filter(|e| !e.is_null()) {
            return Err(refusal::in_stream(error));
        }
        if !chunk.is_object() {
            return Err(LlmError::Interrupted { detail: "the engine sent JSON that is no chunk of an answer".into() });
        }
        if let Some(usage) = chunk.get("usage").and_then(read_usage).or_else(|| chunk.get("timings").and_then(read_timings)) {
            self.usage(usage);
        }
        let choices = chunk.get("choices").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        // Only one answer is asked for; a second one would be another choice.
        let choice = choices.iter().find(|c| c.get("index").and_then(Value::as_u64).unwrap_or(0) == 0);
        let Some(choice) = choice else { return Ok(()) };
        self.has_choice = true;
        match (choice.get("delta").filter(|d| d.is_object()), choice.get("message").filter(|m| m.is_object())) {
            (Some(delta), _) => self.openai_message(delta, false)?,
            // A whole message after deltas repeats them.
            (None, Some(message)) if self.bytes == 0 => self.openai_message(message, true)?,
            (None, _) => {
                if let Some(text) = choice.get("text").and_then(Value::as_str) {
                    self.text(text)?;
                }
            }
        }
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
            self.finish_reason(reason);
        }
        Ok(())
    }

    fn openai_message(&mut self, message: &Value, is_whole: bool) -> Result<(), LlmError> {
        // Engines in transition send the same reasoning under two names.
        let reasoning = ["reasoning", "reasoning_content", "thinking"].into_iter().filter_map(|k| message.get(k));
        if let Some(reasoning) = reasoning.map(words).find(|text| !text.is_empty()) {
            self.reasoning(&reasoning)?;
        }
        if let Some(content) = message.get("content") {
            if let Value::Array(parts) = content {
                for part in parts.iter().filter(|p| p.get("type").is_some_and(|t| t == "thinking" || t == "reasoning")) {
                    self.reasoning(&words(part.get("thinking").or_else(|| part.get("text")).unwrap_or(&Value::Null)))?;
                }
            }
            let text = words(content);
            if !text.is_empty() {
                self.text(&text)?;
            }
        }
        match message.get("tool_calls") {
            Some(Value::Array(calls)) => {
                let is_positional = calls.len() > 1 && calls.iter().all(|c| c.get("index").is_none_or(Value::is_null));
                for (position, call) in calls.iter().enumerate() {
                    let mut delta = read_call(call, is_whole);
                    if is_positional && !is_whole && delta.name.is_none() && delta.id.is_none() {
                        delta.index = Some(position as u64);
                    }
                    self.call(delta)?;
                }
            }
            Some(call @ Value::Object(_)) => self.call(read_call(call, is_whole))?,
            _ => {}
        }
        if let Some(call) = message.get("function_call").filter(|c| c.is_object()) {
            self.call(read_call(call, is_whole))?;
        }
        Ok(())
    }
}

/// A text, or the text parts of a list.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter(|p| p.get("type").is_none_or(|t| t == "text" || t == "output_text"))
            .map(|p| p.as_str().or_else(|| p.get("text").and_then(Value::as_str)).unwrap_or_default())
            .collect(),
        Value::Object(map) => ["text", "content"].into_iter().find_map(|k| map.get(k)?.as_str()).unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

pub(super) fn read_call(call: &Value, is_whole: bool) -> CallDelta {
    let function = call.get("function").filter(|f| f.is_object()).unwrap_or(call);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned);
    let index = call.get("index").or_else(|| function.get("index"));
    CallDelta {
        index: index.and_then(|i| i.as_u64().or_else(|| i.as_str()?.parse().ok())),
        id: text(call.get("id")).or_else(|| text(call.get("call_id"))),
        name: text(function.get("name")),
        arguments: ["arguments", "parameters", "argument", "input"]
            .into_iter()
            .find_map(|k| function.get(k))
            .filter(|a| !a.is_null())
            .cloned(),
        is_whole,
    }
}

/// `None` for null, `{}` and other reports without a prompt size.
pub(crate) fn read_usage(usage: &Value) -> Option<Usage> {
    let number = |key: &str| usage.get(key).and_then(Value::as_u64);
    Some(Usage {
        prompt_tokens: number("prompt_tokens").or_else(|| number("input_tokens")).filter(|n| *n > 0)?,
        completion_tokens: number("completion_tokens").or_else(|| number("output_tokens")).unwrap_or(0),
        cached_tokens: usage.pointer("/prompt_tokens_details/cached_tokens").and_then(Value::as_u64).unwrap_or(0),
        is_estimated: false,
    })
}

/// llama.cpp's own report, where the standard one is missing.
fn read_timings(timings: &Value) -> Option<Usage> {
    let number = |key: &str| timings.get(key).and_then(Value::as_u64);
    let cached = number("cache_n").unwrap_or(0);
    Some(Usage {
        prompt_tokens: number("prompt_n")? + cached,
        completion_tokens: number("predicted_n").unwrap_or(0),
        cached_tokens: cached,
        is_estimated: false,
    })
}
