//! Options of the engine.

use std::time::Duration;

use sid_store::TenantLimits;
use sid_types::{RunLimits, WorkerId};

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
    /// Diary pages and summaries are asked of a model only when no run has been under way here for so long. Default 5 s.
    pub idle: Duration,
    /// After so long without such a pause diary pages are written all the same, one at a time. Default 5 min.
    pub diary_patience: Duration,
    /// How often the store is asked to drop what is old. Default 1 h.
    pub maintain: Duration,
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
            idle: Duration::from_secs(5),
            diary_patience: Duration::from_secs(300),
            maintain: Duration::from_secs(3_600),
        }
    }
}
