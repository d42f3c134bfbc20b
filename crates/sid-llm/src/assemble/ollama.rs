//! Lines of Ollama's native chat API.

use serde_json::Value;
use sid_types::Usage;

use super::Assembler;
use super::openai::read_call;
use crate::LlmError;
use crate::refusal;

impl Assembler {
    /// Takes a line of a stream, or a whole answer.
    ///
    /// Errors: as [`Assembler::openai`].
    pub fn ollama(&mut self, line: &Value) -> Result<(), LlmError> {
        if let Some(error) = line.get("error").filter(|e| !e.is_null()) {
            return Err(refusal::in_stream(error));
        }
        let Some(message) = line.get("message").filter(|m| m.is_object()) else {
            if line.get("done").and_then(Value::as_bool) == Some(true) && self.has_choice {
                self.ollama_end(line);
                return Ok(());
            }
            return Err(LlmError::Interrupted { detail: "the engine sent JSON that is no line of an answer".into() });
        };
        self.has_choice = true;
        if let Some(text) = message.get("thinking").and_then(Value::as_str) {
            self.reasoning(text)?;
        }
        if let Some(text) = message.get("content").and_then(Value::as_str) {
            self.text(text)?;
        }
        for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            // Each line brings whole calls, whatever index they claim.
            self.call(read_call(call, true))?;
        }
        if line.get("done").and_then(Value::as_bool) == Some(true) {
            self.ollama_end(line);
        }
        Ok(())
    }

    fn ollama_end(&mut self, line: &Value) {
        self.finish_reason(line.get("done_reason").and_then(Value::as_str).unwrap_or("stop"));
        let number = |key: &str| line.get(key).and_then(Value::as_u64);
        if let Some(prompt_tokens) = number("prompt_eval_count").filter(|n| *n > 0) {
            let completion_tokens = number("eval_count").unwrap_or(0);
            self.usage(Usage { prompt_tokens, completion_tokens, cached_tokens: 0, is_estimated: false });
        }
    }
}
