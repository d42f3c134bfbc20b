//! Asks an engine what it is and what it can.

use std::time::Duration;

use serde_json::Value;
use sid_types::Tokens;

use crate::http::Endpoint;
use crate::{Engine, LlmError, ModelConfig, ModelProfile, Rung};

/// Each question waits this long at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// Discovers the profile of a model. What an engine does not say stays at its default.
///
/// | engine | asked |
/// | --- | --- |
/// | vLLM, SGLang | `/v1/models`: `max_model_len` |
/// | llama.cpp | `/props`: `default_generation_settings.n_ctx` (per slot), `chat_template_caps` |
/// | Ollama | `/api/show`: `capabilities`, parameters, trained length; `/api/ps`: the allocated length |
/// | LM Studio | `/api/v0/models`: `loaded_context_length` |
/// | others | `/v1/models`: `context_length` and the like |
///
/// Errors: [`LlmError::Config`], [`LlmError::Unreachable`], [`LlmError::Unauthorized`], [`LlmError::Timeout`] when the engine
/// cannot be asked at all; [`LlmError::Refused`] when it says that it has no such model.
pub async fn discover(config: &ModelConfig) -> Result<ModelProfile, LlmError> {
    match config {
        #[cfg(feature = "openai")]
        ModelConfig::OpenAi(config) => openai(&config.endpoint()?, &config.model).await,
        #[cfg(feature = "ollama")]
        ModelConfig::Ollama(config) => ollama(&config.endpoint()?, &config.model, config.num_ctx).await,
    }
}

/// Passes on the errors that say "cannot be asked", and swallows the others.
fn soft(answer: Result<Value, LlmError>) -> Result<Option<Value>, LlmError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error @ (LlmError::Unreachable { .. } | LlmError::Unauthorized { .. } | LlmError::Timeout { .. } | LlmError::Config(_))) => {
            Err(error)
        }
        Err(_) => Ok(None),
    }
}

fn tokens(value: &Value, keys: &[&str]) -> Option<Tokens> {
    let number = keys.iter().find_map(|k| value.get(*k).and_then(Value::as_u64))?;
    u32::try_from(number).ok().filter(|n| *n > 0).map(Tokens)
}

#[cfg(feature = "openai")]
async fn openai(endpoint: &Endpoint, model: &str) -> Result<ModelProfile, LlmError> {
    let mut profile = ModelProfile::default();
    let listed = soft(endpoint.json(&endpoint.versioned("/models"), None, PATIENCE).await)?.unwrap_or_default();
    let models = listed.get("data").and_then(Value::as_array).or_else(|| listed.as_array()).map_or(&[][..], Vec::as_slice);
    let entry = models.iter().find(|m| m.get("id").is_some_and(|id| id == model)).or(match models {
        // llama.cpp serves its one model under any name.
        [only] => Some(only),
        _ => None,
    });
    let entry = entry.cloned().unwrap_or_default();
    let owner = entry.get("owned_by").and_then(Value::as_str).unwrap_or_default();
    profile.context_window =
        tokens(&entry, &["max_model_len", "context_length", "loaded_context_length", "max_context_length", "context_window"]);

    // llama.cpp says so in its list, or answers `/props`.
    if matches!(owner, "llamacpp" | "llama.cpp") || (!matches!(owner, "vllm" | "sglang") && entry.get("meta").is_some()) || owner.is_empty()
    {
        let props = endpoint.json(&endpoint.unversioned("/props"), None, PATIENCE).await.unwrap_or_default();
        if props.get("default_generation_settings").is_some() {
            profile.engine = Engine::LlamaCpp;
            profile.json_schema = true;
            profile.counts_tokens = true;
            profile.context_window =
                props.get("default_generation_settings").and_then(|s| tokens(s, &["n_ctx"])).or(profile.context_window);
            let caps = props.get("chat_template_caps");
            let can = |key: &str| caps.and_then(|c| c.get(key)).and_then(Value::as_bool);
            if can("supports_tools") == Some(false) || can("supports_tool_calls") == Some(false) {
                profile.tool_mode = Rung::Structured;
            }
            return Ok(profile);
        }
    }
    match owner {
        "vllm" => {
            profile.engine = Engine::Vllm;
            profile.json_schema = true;
            profile.counts_tokens = true;
        }
        "sglang" => profile.json_schema = true,
        _ => {
            let studio = endpoint.json(&endpoint.unversioned("/api/v0/models"), None, PATIENCE).await.unwrap_or_default();
            let entry =
                studio.get("data").and_then(Value::as_array).into_iter().flatten().find(|m| m.get("id").is_some_and(|id| id == model));
            if let Some(entry) = entry {
                profile.json_schema = true;
                profile.context_window = tokens(entry, &["loaded_context_length", "max_context_length"]).or(profile.context_window);
            }
        }
    }
    Ok(profile)
}

#[cfg(feature = "ollama")]
async fn ollama(endpoint: &Endpoint, model: &str, num_ctx: Option<u32>) -> Result<ModelProfile, LlmError> {
    let mut profile = ModelProfile { engine: Engine::Ollama, json_schema: true, ..ModelProfile::default() };
    let shown = match endpoint.json(&endpoint.unversioned("/api/show"), Some(&serde_json::json!({"model": model})), PATIENCE).await {
        // It is Ollama, and says that the model is not there.
        Err(LlmError::Refused { status: 404, .. }) => {
            let detail = format!("Ollama has no model `{model}`: run `ollama pull {model}`");
            return Err(LlmError::Refused { status: 404, detail });
        }
        answer => soft(answer)?.unwrap_or_default(),
    };
    if let Some(capabilities) = shown.get("capabilities").and_then(Value::as_array)
        && !capabilities.iter().any(|c| c == "tools")
    {
        profile.tool_mode = Rung::Structured;
    }
    let running = endpoint.json(&endpoint.unversioned("/api/ps"), None, PATIENCE).await.unwrap_or_default();
    let is_it = |m: &&Value| {
        ["model", "name"]
            .iter()
            .any(|k| m.get(*k).and_then(Value::as_str).is_some_and(|n| n == model || n.strip_suffix(":latest") == Some(model)))
    };
    let allocated =
        running.get("models").and_then(Value::as_array).into_iter().flatten().find(is_it).and_then(|m| tokens(m, &["context_length"]));
    let trained = shown.get("model_info").and_then(Value::as_object).into_iter().flatten();
    let trained = trained.filter(|(k, _)| k.ends_with(".context_length")).find_map(|(_, v)| u32::try_from(v.as_u64()?).ok());
    let parameter = shown.get("parameters").and_then(Value::as_str).and_then(|text| {
        let line = text.lines().find(|l| l.trim_start().starts_with("num_ctx"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    });
    // What is asked for is what is allocated, so the trained length bounds it and nothing else does.
    let wish = num_ctx.or(parameter).map(Tokens).or(allocated);
    profile.context_window = match (wish, trained) {
        (Some(wish), Some(trained)) => Some(wish.min(Tokens(trained))),
        (Some(wish), None) => Some(wish),
        (None, Some(trained)) => Some(Tokens(trained.min(8_192))),
        (None, None) => None,
    };
    Ok(profile)
}
