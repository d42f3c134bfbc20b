//! `UsageStore`: limits, requests, tokens.

use async_trait::async_trait;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};
use sid_types::{AgentId, OperatorScope, RunId, Scope, TenantId, Timestamp, Usage};

use super::journal::after;
use super::room::Room;
use super::{InProcess, missing};
use crate::usage::{day_begins, hour_begins};
use crate::{Lease, Reserve, Reserved, SelfBegun, SelfBegunUse, StoreError, TenantLimits, TokenUse, UsageStore};

#[async_trait]
impl UsageStore for InProcess {
    async fn limits(&self, tenant: TenantId) -> Result<TenantLimits, StoreError> {
        Ok(self.read().rooms.get(&tenant).map(|room| room.limits).unwrap_or_default())
    }

    async fn set_limits(&self, _operator: &OperatorScope, tenant: TenantId, limits: TenantLimits) -> Result<(), StoreError> {
        self.write(|state, _| {
            state.rooms.get_mut(&tenant).ok_or(missing("tenant"))?.limits = limits;
            Ok(())
        })
    }

    async fn add_requests(&self, requests: &[(TenantId, u64)]) -> Result<Vec<u64>, StoreError> {
        self.write(|state, _| {
            let mut add = |(tenant, new): &(TenantId, u64)| {
                let total = state.requests.entry(*tenant).or_default();
                *total += new;
                *total
            };
            Ok(requests.iter().map(&mut add).collect())
        })
    }

    async fn reserve(&self, lease: &Lease, reserve: Reserve) -> Result<Reserved, StoreError> {
        self.write(|state, now| {
            let room = state.room_mut(&lease.scope, "lease")?;
            room.reserved.remove(&lease.run);
            let used = room.token_use(now);
            let is_free = |used: u64, limit: u64| limit == 0 || used < limit;
            let is_granted = is_free(used.day + used.reserved, reserve.per_day) && is_free(used.month + used.reserved, reserve.per_month);
            if is_granted {
                room.reserved.insert(lease.run, (reserve.tokens, after(now, reserve.ttl)));
            }
            Ok(Reserved { is_granted, used })
        })
    }

    async fn unreserve(&self, lease: &Lease) -> Result<(), StoreError> {
        self.write(|state, _| {
            state.room_mut(&lease.scope, "lease")?.reserved.remove(&lease.run);
            Ok(())
        })
    }

    async fn self_begun(&self, scope: &Scope, agent: AgentId) -> Result<SelfBegunUse, StoreError> {
        self.write(|state, now| {
            let room = state.rooms.get(&scope.tenant());
            let of = |agent: Option<AgentId>| room.map(|room| room.self_begun_by(agent, now)).unwrap_or_default();
            Ok(SelfBegunUse { now, agent: of(Some(agent)), tenant: of(None) })
        })
    }

    async fn token_use(&self, _operator: &OperatorScope, tenant: TenantId) -> Result<TokenUse, StoreError> {
        self.write(|state, now| Ok(state.rooms.get_mut(&tenant).map(|room| room.token_use(now)).unwrap_or_default()))
    }
}

impl Room {
    fn token_use(&mut self, now: Timestamp) -> TokenUse {
        self.reserved.retain(|_, (_, expires_at)| *expires_at > now);
        let today = day_of(now);
        let month = self.ledger.range(today.first_of_month()..=today.last_of_month()).map(|(_, tokens)| tokens).sum();
        let reserved = self.reserved.values().map(|(tokens, _)| tokens).sum();
        TokenUse { day: self.ledger.get(&today).copied().unwrap_or_default(), month, reserved }
    }

    /// Drops the days that are before the last month.
    pub(super) fn forget_used_tokens(&mut self, now: Timestamp) {
        let first = day_of(now).first_of_month().saturating_sub(1.month());
        self.ledger.retain(|day, _| *day >= first);
    }

    /// What was begun by this agent, or by all of them.
    fn self_begun_by(&self, agent: Option<AgentId>, now: Timestamp) -> SelfBegun {
        let this_hour = hour_begins(now);
        let mut sum = SelfBegun::default();
        for ((hour, of), (runs, tokens)) in self.self_begun.range((day_begins(now), AgentId::from_uuid(uuid::Uuid::nil()))..) {
            if agent.is_none_or(|agent| *of == agent) {
                sum.runs_this_hour += if *hour == this_hour { *runs } else { 0 };
                sum.runs_today += runs;
                sum.tokens_today += tokens;
            }
        }
        sum
    }

    /// A run was accepted that nobody asked for at this moment.
    pub(super) fn begin_by_self(&mut self, agent: AgentId, now: Timestamp) {
        let first = day_begins(now).checked_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN);
        self.self_begun.retain(|(hour, _), _| *hour >= first);
        self.self_begun.entry((hour_begins(now), agent)).or_default().0 += 1;
    }

    /// Such a run has made a step.
    pub(super) fn use_by_self(&mut self, agent: AgentId, usage: Usage, now: Timestamp) {
        self.self_begun.entry((hour_begins(now), agent)).or_default().1 += usage.prompt_tokens + usage.completion_tokens;
    }

    /// A step was recorded.
    pub(super) fn settle(&mut self, run: RunId, usage: Usage, now: Timestamp) {
        *self.ledger.entry(day_of(now)).or_default() += usage.prompt_tokens + usage.completion_tokens;
        self.reserved.remove(&run);
    }
}

fn day_of(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}
