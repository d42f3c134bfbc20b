//! What tenants may use up and keep, and what they have used: shared by all processes that work on one store.

use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use sid_types::{AgentId, Caps, OperatorScope, Scope, TenantId, Timestamp};

use crate::{Lease, StoreError};

/// What one tenant may use up and keep, where the operator has said so. `None`: as everybody; 0: without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantLimits {
    /// Requests per second, over all processes.
    #[serde(default)]
    pub requests_per_second: Option<u32>,
    /// Tokens per day (UTC), prompts and answers together.
    #[serde(default)]
    pub tokens_per_day: Option<u64>,
    /// Tokens per month (UTC), prompts and answers together.
    #[serde(default)]
    pub tokens_per_month: Option<u64>,
    /// Days after its last message that a conversation is kept, with all that derives from it: see
    /// [`Maintenance::overdue`](crate::Maintenance::overdue).
    #[serde(default)]
    pub keep_conversations_days: Option<u32>,
    /// Most of what its agents begin by themselves, all together.
    #[serde(default, skip_serializing_if = "Caps::is_empty")]
    pub caps: Caps,
}

impl TenantLimits {
    /// The moment since which nothing was said in conversations that are kept no longer; `None`: they are kept for good.
    #[must_use]
    pub fn kept_since(&self, now: Timestamp) -> Option<Timestamp> {
        let days = self.keep_conversations_days.filter(|days| *days > 0)?;
        let age = SignedDuration::from_hours(24 * i64::from(days));
        Some(now.checked_sub(age).unwrap_or(Timestamp::MIN))
    }

    /// These limits, and `others` where there is none.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            requests_per_second: self.requests_per_second.or(others.requests_per_second),
            tokens_per_day: self.tokens_per_day.or(others.tokens_per_day),
            tokens_per_month: self.tokens_per_month.or(others.tokens_per_month),
            keep_conversations_days: self.keep_conversations_days.or(others.keep_conversations_days),
            caps: self.caps.or(others.caps),
        }
    }
}

/// Tokens of one tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUse {
    /// Of all steps that were recorded today (UTC).
    pub day: u64,
    /// Of all steps that were recorded this month (UTC).
    pub month: u64,
    /// Of steps that are under way, as far as they were reserved.
    pub reserved: u64,
}

/// What was begun without anybody asking at that moment ([`Priority::is_self_begun`](sid_types::Priority::is_self_begun)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfBegun {
    /// Runs that were accepted in this hour (UTC).
    pub runs_this_hour: u64,
    /// Runs that were accepted today (UTC).
    pub runs_today: u64,
    /// Tokens of the steps of such runs that were recorded today (UTC).
    pub tokens_today: u64,
}

/// That of one agent, and of its tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SelfBegunUse {
    /// The store's clock: which hour and day are meant.
    pub now: Timestamp,
    /// Of the agent.
    pub agent: SelfBegun,
    /// Of all agents of the tenant.
    pub tenant: SelfBegun,
}

/// Tokens that a step will need at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserve {
    /// How many: the prompt and the longest answer.
    pub tokens: u64,
    /// The tenant's limit of a day; 0 = none.
    pub per_day: u64,
    /// The tenant's limit of a month; 0 = none.
    pub per_month: u64,
    /// How long they are kept for a step that is never recorded.
    pub ttl: Duration,
}

/// The answer to a [`Reserve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    /// Whether the tokens were reserved. They are as long as less than the limit is used and reserved by others, so that what is left
    /// can be spent: a limit is overshot by what is reserved last.
    pub is_granted: bool,
    /// What is used, and what other runs have reserved.
    pub used: TokenUse,
}

/// Limits and ledgers.
///
/// The token ledger is written by [`commit`](crate::StateStore::commit): [`Effect::RecordStep`](crate::Effect::RecordStep) adds the
/// step's usage to the day and month of the store's clock and ends the run's reservation, in that transaction. So the ledger is the
/// sum of the usage of all steps, whatever crashes when. Erasing steps takes nothing back: what was used stays used.
#[async_trait]
pub trait UsageStore: Send + Sync {
    /// What the operator has set for a tenant; nothing for one that is not there. The engine's own call.
    async fn limits(&self, tenant: TenantId) -> Result<TenantLimits, StoreError>;

    /// Sets all of a tenant's limits. Errors: `NotFound` (tenant).
    async fn set_limits(&self, operator: &OperatorScope, tenant: TenantId, limits: TenantLimits) -> Result<(), StoreError>;

    /// Counts requests that this process was asked for since it last told; answers, in the same order, how many all processes together
    /// have told. The counts only grow, but may begin anew. No tenant twice. The server's own call.
    async fn add_requests(&self, requests: &[(TenantId, u64)]) -> Result<Vec<u64>, StoreError>;

    /// Reserves tokens for the next step of the lease's run, in place of what the run had reserved; or refuses.
    ///
    /// Reservations of one tenant are made one after the other, by whichever process, so that no two of them spend the same rest.
    async fn reserve(&self, lease: &Lease, reserve: Reserve) -> Result<Reserved, StoreError>;

    /// Gives back what the lease's run has reserved: its step will not be recorded. Again changes nothing.
    async fn unreserve(&self, lease: &Lease) -> Result<(), StoreError>;

    /// What an agent, and its tenant, have begun by themselves; nothing for one that is not there. The engine's own call.
    ///
    /// Counted by [`accept`](crate::StateStore::accept) and [`commit`](crate::StateStore::commit) in their transactions, for two days.
    /// Erasing runs takes nothing back.
    async fn self_begun(&self, scope: &Scope, agent: AgentId) -> Result<SelfBegunUse, StoreError>;

    /// What a tenant has used; nothing for one that is not there. The operator's own call.
    async fn token_use(&self, operator: &OperatorScope, tenant: TenantId) -> Result<TokenUse, StoreError>;
}

/// When the hour (UTC) began, for implementers.
#[must_use]
pub fn hour_begins(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second().div_euclid(3_600) * 3_600).unwrap_or(now)
}

/// When the day (UTC) began, for implementers.
#[must_use]
pub fn day_begins(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second().div_euclid(86_400) * 86_400).unwrap_or(now)
}
