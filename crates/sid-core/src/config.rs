//! Options of the engine.

use std::collections::BTreeMap;
use std::time::Duration;

use sid_store::TenantLimits;
use sid_types::{Caps, ChainBudget, RunLimits, Tokens, Usage, WorkerId};

/// How the engine works. Every field has a default that suits one laptop and one server alike.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// This process among the workers of a store. Default: a new one.
    pub worker: WorkerId,
    /// How long a lease, or a duty among replicas, holds unless renewed. Default 15 s.
    pub lease_ttl: Duration,
    /// How often leases are renewed and orphaned work is looked for. Default 1 s.
    pub poll: Duration,
    /// Most runs at once in this process. Default 512.
    pub max_runs: usize,
    /// Most runs at once of one tenant in this process; its other work waits in commit order. Default 32.
    pub max_runs_per_tenant: usize,
    /// What a tenant may use up for which the operator has set nothing. Default: no limits.
    pub tenant_limits: TenantLimits,
    /// Limits of a run whose request names none.
    pub limits: RunLimits,
    /// Most runs that wait in one conversation. Default 256.
    pub queue_depth: usize,
    /// Text deltas are written to the event log at most this long after the model gave them. Default 50 ms.
    pub delta_flush: Duration,
    /// How long a turn waits for its query's vector before it goes on lexically. Default 2 s.
    pub embed_wait: Duration,
    /// Whether diary pages are written in the background. Default true.
    pub diary: bool,
    /// Whether, with a day's page, facts are drawn from what was said and full blocks give lines to archival memory. Default true.
    pub consolidate: bool,
    /// Diary pages and summaries are asked of a model only when no run has been under way here for so long. Default 5 s.
    pub idle: Duration,
    /// After so long without such a pause diary pages are written all the same, one at a time. Default 5 min.
    pub diary_patience: Duration,
    /// Most runs of one tenant's tasks at once, in all processes; the others wait. 0 = tasks are not worked on. Default 8.
    pub task_runs_per_tenant: usize,
    /// Most agents that wake each other in a row, by a message or a question. Default 4.
    pub chain_depth: u32,
    /// What the agents that one stimulus wakes, directly or through others, may use up together. Default 32 messages and 1,000,000 tokens.
    pub chain_budget: ChainBudget,
    /// How long an agent that asks another one waits for the answer. Default 2 min.
    pub ask_timeout: Duration,
    /// What models cost, by their names; one that is missing costs nothing.
    pub prices: BTreeMap<String, ModelPrice>,
    /// Most tokens of tool specifications in a prompt; with more, an agent finds its tools by search. Never more than the window's share,
    /// which is also the default.
    pub most_tool_tokens: Option<Tokens>,
    /// How long a question whether a call may be made waits for an answer. Default 24 h.
    pub approval_ttl: Duration,
    /// How often the store is asked for such questions whose time is over. Default 30 s.
    pub expire: Duration,
    /// How often the store is asked to drop what is old. Default 1 h.
    pub maintain: Duration,
    /// Most documents of one owner. Default 1,000.
    pub documents_per_owner: u64,
    /// Most timers that are not done, of an agent with one user. Default 100.
    pub timers_per_pair: u64,
    /// The shortest time between two occurrences of a timer. Default 1 min.
    pub shortest_timer: Duration,
    /// Most of what one agent begins by itself, unless it says otherwise. Default 10,000 runs an hour, 100,000 a day, and no limit of tokens.
    pub agent_caps: Caps,
    /// What is due for longer is late; a timer's policy says what becomes of it. Default 1 min.
    pub timer_patience: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            worker: WorkerId::new(),
            lease_ttl: Duration::from_secs(15),
            poll: Duration::from_secs(1),
            max_runs: 512,
            max_runs_per_tenant: 32,
            tenant_limits: TenantLimits::default(),
            limits: RunLimits::default(),
            queue_depth: 256,
            delta_flush: Duration::from_millis(50),
            embed_wait: Duration::from_secs(2),
            diary: true,
            consolidate: true,
            idle: Duration::from_secs(5),
            diary_patience: Duration::from_secs(300),
            task_runs_per_tenant: 8,
            chain_depth: 4,
            chain_budget: ChainBudget { messages: 32, tokens: 1_000_000 },
            ask_timeout: Duration::from_secs(120),
            prices: BTreeMap::new(),
            most_tool_tokens: None,
            approval_ttl: Duration::from_secs(24 * 3_600),
            expire: Duration::from_secs(30),
            maintain: Duration::from_secs(3_600),
            documents_per_owner: 1_000,
            timers_per_pair: 100,
            shortest_timer: Duration::from_secs(60),
            agent_caps: Caps { runs_per_hour: Some(10_000), runs_per_day: Some(100_000), tokens_per_day: Some(0) },
            timer_patience: Duration::from_secs(60),
        }
    }
}

/// What a model costs, in millionths of a currency per million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelPrice {
    /// Of the prompt.
    pub prompt: u64,
    /// Of the answer.
    pub completion: u64,
}

impl ModelPrice {
    /// What this much costs, in millionths, rounded up.
    #[must_use]
    pub fn of(self, usage: Usage) -> u64 {
        let millionths =
            u128::from(usage.prompt_tokens) * u128::from(self.prompt) + u128::from(usage.completion_tokens) * u128::from(self.completion);
        u64::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}
