//! What is known about a model: discovered from its engine, overridden by the operator.

use serde::{Deserialize, Serialize};
use sid_types::Tokens;

/// The program that serves the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// vLLM.
    Vllm,
    /// llama.cpp's server.
    LlamaCpp,
    /// Ollama, by its native API.
    Ollama,
    /// Anything else that speaks the OpenAI chat API.
    #[default]
    Generic,
}

/// How tool calls are got out of a model; the ladder, best first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// The engine's own `tools` and `tool_calls`.
    #[default]
    Native,
    /// Native, but the calls were found in the text or the reasoning.
    Salvaged,
    /// One `json_schema` over all tools and a plain reply.
    Structured,
    /// Tools described in the prompt, JSON found in the text.
    Text,
    /// No tools at all.
    None,
}

impl Rung {
    /// The name in metrics, steps and configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Salvaged => "salvaged",
            Self::Structured => "structured",
            Self::Text => "text",
            Self::None => "none",
        }
    }
}

/// What is known about a model and its engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelProfile {
    /// The engine.
    pub engine: Engine,
    /// The window that the engine has really allocated; `None` = it does not say.
    pub context_window: Option<Tokens>,
    /// The rung to start on: `Native`, `Structured`, `Text` or `None`.
    pub tool_mode: Rung,
    /// Whether `response_format: json_schema` is enforced.
    pub json_schema: bool,
    /// Whether the chat template takes a system message after the first message. `false` folds the prompt's tail into the user's turn.
    pub system_anywhere: bool,
    /// Whether the engine counts tokens (`/tokenize`).
    pub counts_tokens: bool,
}

impl Default for ModelProfile {
    fn default() -> Self {
        Self {
            engine: Engine::Generic,
            context_window: None,
            tool_mode: Rung::Native,
            json_schema: false,
            system_anywhere: false,
            counts_tokens: false,
        }
    }
}

/// A model as the loop sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The name that the endpoint knows.
    pub model: String,
    /// What is known about it.
    pub profile: ModelProfile,
}

/// What an operator knows better than the discovery; `None` leaves what was discovered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileOverrides {
    /// The engine.
    pub engine: Option<Engine>,
    /// The window in tokens.
    pub context_window: Option<Tokens>,
    /// `native`, `structured`, `text` or `none`.
    pub tool_mode: Option<Rung>,
    /// Whether `response_format: json_schema` is enforced.
    pub json_schema: Option<bool>,
    /// Whether the chat template takes a system message after the first message.
    pub system_anywhere: Option<bool>,
    /// Whether the engine counts tokens.
    pub counts_tokens: Option<bool>,
}

impl ProfileOverrides {
    /// The profile with these corrections.
    #[must_use]
    pub fn apply(&self, mut profile: ModelProfile) -> ModelProfile {
        profile.engine = self.engine.unwrap_or(profile.engine);
        profile.context_window = self.context_window.or(profile.context_window);
        profile.tool_mode = self.tool_mode.unwrap_or(profile.tool_mode);
        profile.json_schema = self.json_schema.unwrap_or(profile.json_schema);
        profile.system_anywhere = self.system_anywhere.unwrap_or(profile.system_anywhere);
        profile.counts_tokens = self.counts_tokens.unwrap_or(profile.counts_tokens);
        profile
    }
}
