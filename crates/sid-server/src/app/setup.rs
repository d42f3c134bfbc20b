//! What a server is opened with: its store's first key and schema, its engine's settings.

use std::sync::Arc;
use std::time::Duration;

use sid_context::Policy;
use sid_core::{EngineConfig, ModelPrice};
use sid_store::{Store, StoreError, TenantLimits};
use sid_types::{Caps, ChainBudget, Clock as _, KeyId, RunLimits, SystemClock, Timestamp};

use crate::auth::{DEFAULT_TENANT, KeySpec, house_right, new_key};
use crate::backend::{self, Backend};
use crate::config::{Config, Vectors};
use crate::open_error::OpenError;

/// On a store without keys: a tenant to begin with, and a key to get in.
pub(super) async fn first_start(store: &dyn Store, now: Timestamp) -> Result<Option<String>, StoreError> {
    let right = house_right();
    if !store.keys(&right, None).await?.is_empty() {
        return Ok(None);
    }
    if store.tenants(&right).await?.is_empty() {
        store.create_tenant(&right, DEFAULT_TENANT).await?;
    }
    let (key, text) = new_key(KeyId::new(), KeySpec::operator("first operator"), now);
    store.put_key(&right, key).await?;
    Ok(Some(text))
}

/// Makes an operator key in the configured store, for people who have lost all of theirs. Whoever can open the data folder owns it.
///
/// Errors: the store cannot be opened, for instance because a server runs on it.
pub async fn create_operator_key(config: &Config, name: &str) -> Result<String, OpenError> {
    let store_error = |source: StoreError| OpenError::store(config, source);
    let backend = Backend::open(config, Arc::new(SystemClock)).await.map_err(store_error)?;
    let (key, text) = new_key(KeyId::new(), KeySpec::operator(name), SystemClock.now());
    backend.store().put_key(&house_right(), key).await.map_err(store_error)?;
    Ok(text)
}

/// Prepares the configured Postgres database, or brings it to this version's schema: run once, before servers of this version start.
/// Answers the schema's version, and on a new database the first operator key: shown once, stored nowhere.
///
/// Errors: another store is configured, or no `store.admin_url`; the database cannot be reached or is not as Sid needs it.
pub async fn migrate(config: &Config) -> Result<(u32, Option<String>), OpenError> {
    config.check_migration()?;
    let store_error = |source: StoreError| OpenError::store(config, source);
    let version = backend::migrate(&config.store).await.map_err(store_error)?;
    if config.store.url.reveal().is_none() {
        return Ok((version, None));
    }
    // Keys need no index; whether that answers is for the servers to say.
    let without_index = Config { vectors: Vectors::default(), ..config.clone() };
    let backend = Backend::open(&without_index, Arc::new(SystemClock)).await.map_err(store_error)?;
    let key = first_start(backend.store().as_ref(), SystemClock.now()).await.map_err(store_error)?;
    Ok((version, key))
}

pub(super) fn engine_config(config: &Config) -> EngineConfig {
    let engine = &config.engine;
    EngineConfig {
        lease_ttl: Duration::from_millis(engine.lease_ttl_ms),
        poll: Duration::from_millis(engine.poll_ms),
        max_runs: config.server.max_runs,
        max_runs_per_tenant: if config.limits.runs_at_once == 0 { usize::MAX } else { config.limits.runs_at_once },
        tenant_limits: TenantLimits {
            requests_per_second: Some(config.limits.requests_per_second),
            tokens_per_day: Some(config.limits.tokens_per_day),
            tokens_per_month: Some(config.limits.tokens_per_month),
            keep_conversations_days: Some(0),
            caps: Caps {
                runs_per_hour: Some(config.limits.self_begun_runs_per_hour),
                runs_per_day: Some(config.limits.self_begun_runs_per_day),
                tokens_per_day: Some(config.limits.self_begun_tokens_per_day),
            },
        },
        limits: RunLimits {
            max_steps: engine.max_steps,
            max_tokens: engine.max_tokens,
            max_time_ms: engine.max_time_ms,
            max_repeats: engine.max_repeats,
        },
        queue_depth: config.server.queue_depth,
        most_tool_tokens: config.tools.most_prompt_tokens.map(sid_types::Tokens),
        delta_flush: Duration::from_millis(engine.delta_flush_ms),
        embed_wait: Duration::from_millis(engine.embed_wait_ms),
        diary: engine.diary,
        documents_per_owner: config.documents.per_owner,
        timers_per_pair: engine.timers_per_user,
        approval_ttl: Duration::from_millis(engine.approval_ttl_ms),
        shortest_timer: Duration::from_millis(engine.shortest_timer_ms),
        timer_patience: Duration::from_millis(engine.timer_patience_ms),
        consolidate: engine.consolidate,
        agent_caps: Caps {
            runs_per_hour: Some(engine.agent_runs_per_hour),
            runs_per_day: Some(engine.agent_runs_per_day),
            tokens_per_day: Some(engine.agent_tokens_per_day),
        },
        idle: Duration::from_millis(engine.idle_ms),
        task_runs_per_tenant: config.limits.task_runs_at_once,
        chain_depth: config.limits.agents_in_a_row,
        chain_budget: ChainBudget { messages: config.limits.agent_messages, tokens: config.limits.agent_tokens },
        ask_timeout: Duration::from_millis(engine.ask_timeout_ms),
        prices: config
            .models
            .iter()
            .map(|(name, m)| (name.clone(), ModelPrice { prompt: m.price_prompt, completion: m.price_completion }))
            .collect(),
        ..EngineConfig::default()
    }
}

pub(super) fn context_policy(config: &Config) -> Policy {
    let context = &config.context;
    let needs_approval = if context.ask_first { Policy::default().needs_approval } else { Vec::new() };
    Policy { needs_approval, claim_s: context.claim_s, session_gap_s: context.session_gap_s }
}
