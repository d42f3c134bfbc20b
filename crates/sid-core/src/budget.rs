//! What a tenant may use up: limits as the operator set them, and tokens reserved before each model call.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use sid_store::{Lease, Reserve, Reserved, StoreError, TenantLimits};
use sid_types::TenantId;
use tokio::time::Instant;
use tracing::warn;

use crate::engine::Inner;
use crate::{CoreError, Engine, metrics};

/// How long looked-up limits are trusted: a change that another process made is in force at most this much later.
const TTL: Duration = Duration::from_secs(2);
/// More tenants than this are not remembered at once.
const MOST: usize = 10_000;
/// A step may take a little longer than its run has time: its end has to be written too.
const GRACE: Duration = Duration::from_secs(60);
/// From this share of a limit on the operator is warned, in percent.
const WARN_PERCENT: u64 = 80;

/// Limits that were looked up lately.
#[derive(Default)]
pub(crate) struct KnownLimits {
    by_tenant: Mutex<HashMap<TenantId, (TenantLimits, Instant)>>,
    /// Who is beyond the warning mark of which period: said once, until it is below again.
    warned: Mutex<HashSet<(TenantId, &'static str)>>,
}

impl Engine {
    /// What a tenant may use up: what the operator has set for it, else what the engine is configured with. A change by another process
    /// is seen 2 s later.
    ///
    /// Errors: those of the store, unless the limits were known before.
    pub async fn limits_of(&self, tenant: TenantId) -> Result<TenantLimits, StoreError> {
        limits_of(&self.inner, tenant).await
    }

    /// Looks a tenant's limits up anew at the next use.
    pub fn forget_limits(&self, tenant: TenantId) {
        self.inner.limits.by_tenant.lock().remove(&tenant);
    }
}

pub(crate) async fn limits_of(inner: &Inner, tenant: TenantId) -> Result<TenantLimits, StoreError> {
    let known = inner.limits.by_tenant.lock().get(&tenant).copied();
    if let Some((limits, _)) = known.filter(|(_, at)| at.elapsed() < TTL) {
        return Ok(limits);
    }
    let limits = match (inner.store.limits(tenant).await, known) {
        (Ok(set), _) => set.or(inner.config.tenant_limits),
        // Better the limits of a moment ago than a stop.
        (Err(error), Some((limits, _))) if error.is_transient() => limits,
        (Err(error), _) => return Err(error),
    };
    let mut all = inner.limits.by_tenant.lock();
    if all.len() >= MOST {
        all.clear();
    }
    all.insert(tenant, (limits, Instant::now()));
    Ok(limits)
}

/// Whether a step has tokens reserved.
pub(crate) enum Budget {
    /// The tenant has no limit: nothing to reserve, nothing to give back.
    Unlimited,
    /// They are reserved until the step is recorded.
    Reserved,
    /// Nothing is left; the error says of what.
    UsedUp(CoreError),
}

/// Reserves `tokens` for the step that is about to begin and takes `left` at most.
pub(crate) async fn reserve(inner: &Inner, lease: &Lease, tokens: u64, left: Duration) -> Result<Budget, StoreError> {
    let tenant = lease.scope.tenant();
    let limits = limits_of(inner, tenant).await?;
    let (per_day, per_month) = (limits.tokens_per_day.unwrap_or(0), limits.tokens_per_month.unwrap_or(0));
    if per_day == 0 && per_month == 0 {
        return Ok(Budget::Unlimited);
    }
    let Reserved { is_granted, used } =
        inner.store.reserve(lease, Reserve { tokens, per_day, per_month, ttl: left.saturating_add(GRACE) }).await?;
    for (period, used, limit) in [("day", used.day, per_day), ("month", used.month, per_month)] {
        if limit > 0 && inner.limits.is_newly_beyond(tenant, period, used, limit) {
            metrics::budget_warning(period);
            warn!(%tenant, period, used, limit, "a tenant has used {WARN_PERCENT} % of its tokens");
        }
    }
    if is_granted {
        return Ok(Budget::Reserved);
    }
    let day = ("day", per_day, used.day + used.reserved);
    let month = ("month", per_month, used.month + used.reserved);
    let (period, limit, used) = if per_day > 0 && day.2 >= per_day { day } else { month };
    metrics::budget_used_up(period);
    Ok(Budget::UsedUp(CoreError::Budget { period, limit, used }))
}

/// Gives back what was reserved for a step that ended without a record. What cannot be given back expires.
pub(crate) async fn unreserve(inner: &Inner, lease: &Lease) {
    if let Err(error) = inner.store.unreserve(lease).await {
        warn!(run = %lease.run, %error, "tokens stay reserved until they expire");
    }
}

impl KnownLimits {
    /// Whether the tenant is beyond the warning mark, and nobody was told yet.
    fn is_newly_beyond(&self, tenant: TenantId, period: &'static str, used: u64, limit: u64) -> bool {
        let is_beyond = used.saturating_mul(100) >= limit.saturating_mul(WARN_PERCENT);
        let mut warned = self.warned.lock();
        if !is_beyond {
            warned.remove(&(tenant, period));
            return false;
        }
        if warned.len() >= MOST {
            warned.clear();
        }
        warned.insert((tenant, period))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_is_warned_once_a_period() {
        let (limits, tenant) = (KnownLimits::default(), TenantId::new());
        let is_news = |period, used| limits.is_newly_beyond(tenant, period, used, 1_000);
        assert!(!is_news("day", 799));
        assert!(is_news("day", 800) && !is_news("day", 1_200));
        assert!(is_news("month", 800), "a month has a warning of its own");
        assert!(!is_news("day", 0), "the next day");
        assert!(is_news("day", 900));
        assert!(limits.is_newly_beyond(TenantId::new(), "day", 900, 1_000), "and so has each tenant");
    }
}
