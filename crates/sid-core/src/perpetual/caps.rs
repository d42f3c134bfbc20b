//! Caps: how much an agent, and all of a tenant's, may begin by themselves. What users write is never held back by them.

use jiff::{SignedDuration, Timestamp};
use sid_store::{SelfBegun, StoreError, day_begins, hour_begins};
use sid_types::{Agent, Caps, Held, HeldBy, Scope};
use tracing::warn;

use crate::engine::Inner;
use crate::{budget, metrics};

const AGENT: [HeldBy; 3] = [HeldBy::AgentRunsPerHour, HeldBy::AgentRunsPerDay, HeldBy::AgentTokensPerDay];
const TENANT: [HeldBy; 3] = [HeldBy::TenantRunsPerHour, HeldBy::TenantRunsPerDay, HeldBy::TenantTokensPerDay];

/// The cap that is reached, and when its hour or day is over. Several that begin at the same moment may go beyond it together, by one for each.
pub(super) async fn reached(inner: &Inner, scope: &Scope, agent: &Agent, now: Timestamp) -> Result<Option<Held>, StoreError> {
    let of_agent = agent.spec.caps.or(inner.config.agent_caps);
    let of_tenant = budget::limits_of(inner, scope.tenant()).await?.caps;
    if is_unlimited(of_agent) && is_unlimited(of_tenant) {
        return Ok(None);
    }
    let used = inner.store.self_begun(scope, agent.id).await?;
    let Some(by) = cap_of(of_agent, used.agent, AGENT).or_else(|| cap_of(of_tenant, used.tenant, TENANT)) else { return Ok(None) };
    let over = match by {
        HeldBy::AgentRunsPerHour | HeldBy::TenantRunsPerHour => hour_begins(used.now) + SignedDuration::from_hours(1),
        _ => day_begins(used.now) + SignedDuration::from_hours(24),
    };
    metrics::capped(by);
    warn!(tenant = %scope.tenant(), agent = %agent.id, cap = by.as_str(), until = %over, "an agent may begin no more by itself for now");
    // By the store's clock it is over then; a caller's may be behind.
    Ok(Some(Held { by, at: now, until: Some(over.max(now)) }))
}

fn is_unlimited(caps: Caps) -> bool {
    [caps.runs_per_hour, caps.runs_per_day, caps.tokens_per_day].iter().all(|cap| cap.unwrap_or(0) == 0)
}

/// The cap that lasts longest of those that are reached.
fn cap_of(caps: Caps, used: SelfBegun, names: [HeldBy; 3]) -> Option<HeldBy> {
    let is_reached = |cap: Option<u64>, used: u64| cap.is_some_and(|cap| cap > 0 && used >= cap);
    let reached = [
        is_reached(caps.runs_per_hour, used.runs_this_hour),
        is_reached(caps.runs_per_day, used.runs_today),
        is_reached(caps.tokens_per_day, used.tokens_today),
    ];
    (0..3).rev().find(|i| reached[*i]).map(|i| names[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_cap_is_named() {
        let caps = Caps { runs_per_hour: Some(2), runs_per_day: Some(5), tokens_per_day: Some(0) };
        let used = |runs_this_hour, runs_today, tokens_today| SelfBegun { runs_this_hour, runs_today, tokens_today };
        assert_eq!(cap_of(caps, used(1, 4, 9_999), AGENT), None);
        assert_eq!(cap_of(caps, used(2, 4, 0), AGENT), Some(HeldBy::AgentRunsPerHour));
        assert_eq!(cap_of(caps, used(2, 5, 0), TENANT), Some(HeldBy::TenantRunsPerDay));
        let tokens = Caps { tokens_per_day: Some(10), ..Caps::default() };
        assert_eq!(cap_of(tokens, used(0, 0, 10), AGENT), Some(HeldBy::AgentTokensPerDay));
        assert!(is_unlimited(Caps::default()) && !is_unlimited(tokens));
    }
}
