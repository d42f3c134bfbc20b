//! The configured models: connected at once, discovered in the background, rebuilt when more is known.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::RwLock;
use sid_core::{MemoCounter, ModelEntry, Models};
use sid_llm::{
    BreakerPolicy, BudgetPolicy, ByteCounter, CalibratedCounter, ChatModel, ChatRequest, ChatStream, CircuitBreaker, EndpointGuard,
    LargerOf, LlmError, ModelConfig, ModelExt as _, ModelInfo, ModelProfile, OllamaConfig, OpenAiConfig, ProfileOverrides, RetryBudget,
    RetryPolicy, Rung, TiktokenCounter, Timeouts, TokenCounter, Vocabulary, discover,
};
use sid_types::Tokens;

use crate::config::{self, Config, ModelApi, Tokenizer, ToolMode};
use crate::open_error::OpenError;

/// The window of models of which nobody knows it.
const FALLBACK_WINDOW: Tokens = Tokens(8_192);
/// An endpoint that could not be asked is asked again after this long, then after twice as long, and so on.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// All configured models by name.
pub(crate) struct ModelDirectory {
    models: BTreeMap<String, Arc<LiveModel>>,
}

/// How far discovery has come.
#[derive(Debug, Clone)]
pub(crate) enum Discovery {
    /// Not asked yet.
    Pending,
    /// The endpoint has answered.
    Done,
    /// The endpoint could not be asked; it is asked again.
    Failed(LlmError),
}

/// A model whose profile may become better known while it is in use.
pub(crate) struct LiveModel {
    name: String,
    settings: config::Model,
    endpoint: ModelConfig,
    /// Outlives each layering: what an endpoint has done is not forgotten when more is known about it.
    guard: EndpointGuard,
    current: RwLock<Arc<dyn ChatModel>>,
    discovery: RwLock<Discovery>,
}

impl ModelDirectory {
    pub(crate) fn build(config: &Config) -> Result<Self, OpenError> {
        let mut models = BTreeMap::new();
        let mut guards = BTreeMap::new();
        for (name, settings) in &config.models {
            let guard: &EndpointGuard = guards.entry((&settings.base_url, &settings.model)).or_insert_with(|| guard(settings));
            let model = LiveModel::connect(name, settings, guard.clone())
                .map_err(|source| OpenError::Model { what: format!("[models.{name}]"), source })?;
            models.insert(name.clone(), Arc::new(model));
        }
        Ok(Self { models })
    }

    /// The models as the engine takes them.
    pub(crate) fn entries(&self) -> Models {
        self.models.values().fold(Models::new(), |models, model| {
            let entry = ModelEntry {
                chat: model.clone(),
                counter: counter(model.settings.tokenizer),
                fallback_window: FALLBACK_WINDOW,
                summarizer: model.settings.summarizer.clone(),
            };
            models.with(model.name.clone(), entry)
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &LiveModel> {
        self.models.values().map(AsRef::as_ref)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<LiveModel>> {
        self.models.get(name)
    }

    /// Asks each endpoint what it is, until it answers.
    pub(crate) fn discover_in_background(&self) {
        for model in self.models.values() {
            tokio::spawn(discover_until_known(Arc::downgrade(model)));
        }
    }
}

/// Corrected by what the engine reports, whatever counts. Vocabularies are loaded at the first count, not at the start.
fn counter(tokenizer: Tokenizer) -> Arc<dyn TokenCounter> {
    match tokenizer {
        Tokenizer::Bytes => Arc::new(CalibratedCounter::new(ByteCounter)),
        Tokenizer::Auto => {
            Arc::new(CalibratedCounter::new(MemoCounter::new(LargerOf(TiktokenCounter::new(Vocabulary::Cl100k), ByteCounter))))
        }
        Tokenizer::Cl100k => Arc::new(CalibratedCounter::new(MemoCounter::new(TiktokenCounter::new(Vocabulary::Cl100k)))),
        Tokenizer::O200k => Arc::new(CalibratedCounter::new(MemoCounter::new(TiktokenCounter::new(Vocabulary::O200k)))),
    }
}

async fn discover_until_known(model: Weak<LiveModel>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(live) = model.upgrade() else { return };
        match live.ask().await {
            Ok(()) => return,
            Err(e) if pause == FIRST_PAUSE => {
                tracing::warn!(
                    model = live.name,
                    code = e.code(),
                    "cannot ask the model endpoint what it is: {e}; asking again until it answers"
                );
            }
            Err(e) => tracing::debug!(model = live.name, code = e.code(), "still cannot ask the model endpoint: {e}"),
        }
        drop(live);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

impl LiveModel {
    fn connect(name: &str, settings: &config::Model, guard: EndpointGuard) -> Result<Self, LlmError> {
        let api_key = settings.api_key.reveal().map(ToOwned::to_owned);
        let endpoint = match settings.api {
            ModelApi::OpenAi => ModelConfig::OpenAi(OpenAiConfig {
                api_key,
                stream: settings.stream,
                connect_timeout_ms: settings.connect_ms,
                ..OpenAiConfig::new(settings.base_url.as_str(), settings.model.as_str())
            }),
            ModelApi::Ollama => ModelConfig::Ollama(OllamaConfig {
                api_key,
                stream: settings.stream,
                connect_timeout_ms: settings.connect_ms,
                num_ctx: settings.context_window,
                ..OllamaConfig::new(settings.base_url.as_str(), settings.model.as_str())
            }),
        };
        let first = layered(&endpoint, settings, effective(settings, ModelProfile::default()), &guard)?;
        Ok(Self {
            name: name.to_owned(),
            settings: settings.clone(),
            endpoint,
            guard,
            current: RwLock::new(first),
            discovery: RwLock::new(Discovery::Pending),
        })
    }

    /// Asks the endpoint once, and uses what it says.
    async fn ask(&self) -> Result<(), LlmError> {
        let asked = match discover(&self.endpoint).await {
            Ok(profile) => layered(&self.endpoint, &self.settings, effective(&self.settings, profile), &self.guard),
            Err(e) => Err(e),
        };
        match asked {
            Ok(model) => {
                let info = model.info();
                tracing::info!(
                    model = self.name,
                    engine = ?info.profile.engine,
                    window = info.profile.context_window.map(|w| w.0),
                    tools = info.profile.tool_mode.name(),
                    "model discovered"
                );
                *self.current.write() = model;
                *self.discovery.write() = Discovery::Done;
                Ok(())
            }
            Err(e) => {
                *self.discovery.write() = Discovery::Failed(e.clone());
                Err(e)
            }
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn settings(&self) -> &config::Model {
        &self.settings
    }

    pub(crate) fn endpoint(&self) -> &ModelConfig {
        &self.endpoint
    }

    pub(crate) const fn guard(&self) -> &EndpointGuard {
        &self.guard
    }

    /// What the operator says, as probing takes it.
    pub(crate) fn overrides(&self) -> ProfileOverrides {
        ProfileOverrides {
            context_window: self.settings.context_window.map(Tokens),
            tool_mode: rung(self.settings.tool_mode),
            json_schema: (self.settings.tool_mode == ToolMode::Structured).then_some(true),
            system_anywhere: self.settings.system_anywhere,
            ..ProfileOverrides::default()
        }
    }

    pub(crate) fn discovery(&self) -> Discovery {
        self.discovery.read().clone()
    }
}

const fn rung(mode: ToolMode) -> Option<Rung> {
    match mode {
        ToolMode::Auto => None,
        ToolMode::Native => Some(Rung::Native),
        ToolMode::Structured => Some(Rung::Structured),
        ToolMode::Text => Some(Rung::Text),
        ToolMode::None => Some(Rung::None),
    }
}

/// What was discovered, corrected by what the operator says.
fn effective(settings: &config::Model, mut profile: ModelProfile) -> ModelProfile {
    profile.context_window = match (settings.context_window.map(Tokens), profile.context_window) {
        // More than the engine has allocated is never there, whatever is configured.
        (Some(own), Some(found)) => Some(own.min(found)),
        (own, found) => own.or(found),
    };
    if let Some(rung) = rung(settings.tool_mode) {
        profile.tool_mode = rung;
        profile.json_schema |= rung == Rung::Structured;
    }
    if let Some(anywhere) = settings.system_anywhere {
        profile.system_anywhere = anywhere;
    }
    profile
}

fn guard(settings: &config::Model) -> EndpointGuard {
    let breaker = BreakerPolicy {
        min_calls: settings.breaker_min_calls,
        failures_percent: settings.breaker_failures_percent,
        pause: Duration::from_millis(settings.breaker_pause_ms),
        ..BreakerPolicy::default()
    };
    let retries = BudgetPolicy { percent: settings.retry_percent, ..BudgetPolicy::default() };
    EndpointGuard { breaker: CircuitBreaker::new(breaker), retries: RetryBudget::new(retries) }
}

fn layered(
    endpoint: &ModelConfig,
    settings: &config::Model,
    profile: ModelProfile,
    guard: &EndpointGuard,
) -> Result<Arc<dyn ChatModel>, LlmError> {
    let ms = Duration::from_millis;
    let timeouts = Timeouts { first_byte: ms(settings.first_byte_ms), idle: ms(settings.idle_ms), total: ms(settings.total_ms) };
    let retry = RetryPolicy { tries: settings.max_tries, base: ms(settings.base_delay_ms), ..RetryPolicy::default() };
    let places = match settings.max_concurrency {
        0 => tokio::sync::Semaphore::MAX_PERMITS,
        n => n.min(tokio::sync::Semaphore::MAX_PERMITS),
    };
    Ok(Arc::new(endpoint.connect(profile)?.standard(places, timeouts, retry, guard.clone())))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ChatModel for LiveModel {
    fn info(&self) -> ModelInfo {
        self.current.read().info()
    }

    async fn chat(&self, mut request: ChatRequest) -> Result<ChatStream, LlmError> {
        if let Some(most) = self.settings.max_output {
            request.max_tokens = request.max_tokens.min(Tokens(most));
        }
        let model = self.current.read().clone();
        model.chat(request).await
    }

    async fn count_prompt(&self, request: &ChatRequest) -> Result<Option<Tokens>, LlmError> {
        let model = self.current.read().clone();
        model.count_prompt(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(own: Option<u32>, found: Option<u32>, expected: Option<u32>) {
        let settings = config::Model { context_window: own, ..config::Model::default() };
        let profile = ModelProfile { context_window: found.map(Tokens), ..ModelProfile::default() };
        assert_eq!(effective(&settings, profile).context_window, expected.map(Tokens));
    }

    #[test]
    fn the_operators_word_narrows_what_was_discovered() {
        check(None, Some(4_096), Some(4_096));
        check(Some(2_048), Some(4_096), Some(2_048));
        check(Some(32_768), Some(4_096), Some(4_096));
        check(Some(32_768), None, Some(32_768));
        check(None, None, None);
        let settings = config::Model { tool_mode: ToolMode::Structured, ..config::Model::default() };
        let profile = effective(&settings, ModelProfile::default());
        assert!(profile.json_schema && profile.tool_mode == Rung::Structured);
    }
}
