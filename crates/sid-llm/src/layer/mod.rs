//! Layers around a model.
//!
//! The order, from the provider outwards:
//!
//! ```text
//! provider.timeouts(…)            one attempt; sees the bytes' heartbeat, so it is next to the provider
//!         .concurrency_limit(n)   waiting for a place is no time-out, and waiting to retry holds no place
//!         .retry(…)               the whole attempt again, `Restart` first where deltas were passed on
//!         .ladder(…)              asks in another way; sees only what retrying cannot mend
//!         .traced()               one span over all of it
//! ```
//!
//! [`ModelExt::standard`] puts them on in this order.

mod limit;
mod retry;
mod timeouts;
mod trace;

pub use limit::ConcurrencyLimit;
pub use retry::{Retry, RetryPolicy};
pub use timeouts::{Timeouts, WithTimeouts};
pub use trace::Traced;

use crate::{ChatModel, LadderPolicy, ToolLadder};

/// Wraps models in layers.
pub trait ModelExt: ChatModel + Sized {
    /// Ends calls that take too long.
    fn timeouts(self, timeouts: Timeouts) -> WithTimeouts<Self> {
        WithTimeouts::new(self, timeouts)
    }

    /// Lets at most `n` calls run at once; the others wait in order of arrival.
    fn concurrency_limit(self, n: usize) -> ConcurrencyLimit<Self> {
        ConcurrencyLimit::new(self, n)
    }

    /// Repeats calls that failed in passing.
    fn retry(self, policy: RetryPolicy) -> Retry<Self> {
        Retry::new(self, policy)
    }

    /// Asks for tool calls in the way that the model can.
    fn ladder(self, policy: LadderPolicy) -> ToolLadder<Self> {
        ToolLadder::new(self, policy)
    }

    /// Opens a span for each call.
    fn traced(self) -> Traced<Self> {
        Traced::new(self)
    }

    /// All layers in their order, with at most `n` calls at once.
    fn standard(self, n: usize, timeouts: Timeouts, retry: RetryPolicy) -> Traced<ToolLadder<Retry<ConcurrencyLimit<WithTimeouts<Self>>>>>
    where
        Self: 'static,
    {
        self.timeouts(timeouts).concurrency_limit(n).retry(retry).ladder(LadderPolicy::default()).traced()
    }
}

impl<M: ChatModel + Sized> ModelExt for M {}
