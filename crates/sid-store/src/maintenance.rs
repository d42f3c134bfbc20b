//! Housekeeping: what a store drops by its age.

use async_trait::async_trait;

use crate::StoreError;

/// Drops what nobody needs for long, piece by piece.
///
/// Events of runs go some days after the run has ended (each store's option, 7 days by default), idempotency keys after their 24 hours, the
/// days of the token ledger when the month after theirs is over.
/// Messages, runs, steps, summaries, blocks, passages and pages of the diary are kept until they are erased.
#[async_trait]
pub trait Maintenance: Send + Sync {
    /// Does one small piece of what is due; answers whether there is more. The engine's own call: it spans tenants. To be called again and
    /// again by whoever has the duty; twice at once does no harm.
    async fn maintain(&self) -> Result<bool, StoreError>;
}
