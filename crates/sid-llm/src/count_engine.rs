//! Counting a whole prompt with the serving engine's own tokenizer.

use std::time::Duration;

use serde_json::{Value, json};
use sid_types::Tokens;

use crate::http::Endpoint;
use crate::provider::openai_messages;
use crate::{ChatRequest, Engine, LlmError, ModelProfile};

const PATIENCE: Duration = Duration::from_secs(10);

/// The tokens of a prompt as the engine would see it.
///
/// Errors: those of the endpoint; [`LlmError::Interrupted`] when the answer has no count.
pub(crate) async fn count_prompt(
    endpoint: &Endpoint,
    model: &str,
    profile: &ModelProfile,
    request: &ChatRequest,
) -> Result<Tokens, LlmError> {
    let mut body = json!({"model": model, "messages": openai_messages(&request.messages, profile)});
    if !request.tools.is_empty() {
        let tools: Value = request
            .tools
            .iter()
            .map(|t| json!({"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}))
            .collect();
        body["tools"] = tools;
    }
    let count = if profile.engine == Engine::LlamaCpp {
        let prompt = ask(endpoint, "/apply-template", &body).await?;
        let prompt = prompt.get("prompt").and_then(Value::as_str).ok_or_else(no_count)?;
        let tokens = ask(endpoint, "/tokenize", &json!({"content": prompt, "add_special": true, "parse_special": true})).await?;
        tokens.get("tokens").and_then(Value::as_array).map(|t| t.len() as u64)
    } else {
        ask(endpoint, "/tokenize", &body).await?.get("count").and_then(Value::as_u64)
    };
    count.and_then(|c| u32::try_from(c).ok()).map(Tokens).ok_or_else(no_count)
}

async fn ask(endpoint: &Endpoint, path: &str, body: &Value) -> Result<Value, LlmError> {
    endpoint.json(&endpoint.unversioned(path), Some(body), PATIENCE).await
}

fn no_count() -> LlmError {
    LlmError::Interrupted { detail: "the engine's tokenizer answered without a count".into() }
}
