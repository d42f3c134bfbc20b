//! The models that agents may use, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use sid_llm::{ChatModel, TokenCounter};
use sid_types::Tokens;

/// A model, ready to be called.
#[derive(Clone)]
pub struct ModelEntry {
    /// The model with its layers.
    pub chat: Arc<dyn ChatModel>,
    /// Counts and learns for this model.
    pub counter: Arc<dyn TokenCounter>,
    /// The window when neither the profile nor the agent says: the operator's word. Default 8,192.
    pub fallback_window: Tokens,
    /// The configured model that summarises for this one; itself when `None`.
    pub summarizer: Option<String>,
}

impl ModelEntry {
    /// The window that may be used: what the engine allocated, else the fallback.
    #[must_use]
    pub fn window(&self) -> Tokens {
        self.chat.info().profile.context_window.unwrap_or(self.fallback_window)
    }
}

/// All configured models.
#[derive(Clone, Default)]
pub struct Models {
    entries: BTreeMap<String, ModelEntry>,
}

impl Models {
    /// No models.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a model, or replaces the one of that name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, entry: ModelEntry) -> Self {
        self.entries.insert(name.into(), entry);
        self
    }

    /// The model of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ModelEntry> {
        self.entries.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }
}
