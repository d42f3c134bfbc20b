//! Housekeeping: what a store drops by its age.

use async_trait::async_trait;

use sid_types::{ConversationId, Scope, Timestamp};

use crate::StoreError;

/// Drops what nobody needs for long, piece by piece.
///
/// Events of runs go some days after the run has ended (each store's option, 7 days by default), idempotency keys after their 24 hours, the
/// days of the token ledger when the month after theirs is over.
/// Messages, runs, steps, summaries, blocks, passages and pages of the diary are kept until they are erased: by somebody, or because their
/// tenant keeps conversations for so long and no longer.
#[async_trait]
pub trait Maintenance: Send + Sync {
    /// Does one small piece of what is due; answers whether there is more. The engine's own call: it spans tenants. To be called again and
    /// again by whoever has the duty; twice at once does no harm.
    async fn maintain(&self) -> Result<bool, StoreError>;

    /// Conversations in which nothing was said for longer than their tenant keeps them
    /// ([`TenantLimits::keep_conversations_days`](crate::TenantLimits)), the longest silent first, `most` at most. The engine's own call: it
    /// spans tenants, and erases them one by one ([`EraseTarget::Idle`](crate::EraseTarget)).
    async fn overdue(&self, most: usize) -> Result<Vec<Overdue>, StoreError>;
}

/// A conversation that is kept no longer.
#[derive(Debug, Clone)]
pub struct Overdue {
    /// The tenant's.
    pub scope: Scope,
    /// Which.
    pub conversation: ConversationId,
    /// Nothing was said in it since then.
    pub since: Timestamp,
}
