//! Layers around a model.
//!
//! The order, from the provider outwards:
//!
//! ```text
//! provider.timeouts(…)            one attempt; sees the bytes' heartbeat, so it is next to the provider
//!         .breaker(…)             counts attempts and how they end; when most fail, those that waited for a place fail at once
//!         .concurrency_limit(n)   waiting for a place is no time-out, and waiting to retry holds no place
//!         .fail_fast(…)           while the breaker is open nobody waits for a place in vain
//!         .retry(…)               the whole attempt again within a budget, `Restart` first where deltas were passed on
//!         .ladder(…)              asks in another way; sees only what retrying cannot mend
//!         .traced()               one span over all of it
//! ```
//!
//! [`ModelExt::standard`] puts them on in this order.

mod breaker;
mod budget;
mod limit;
mod retry;
mod timeouts;
mod trace;
mod window;

pub use breaker::{BreakerPolicy, BreakerState, CircuitBreaker, FailFast, WithBreaker};
pub use budget::{BudgetPolicy, RetryBudget};
pub use limit::ConcurrencyLimit;
pub use retry::{Retry, RetryPolicy};
pub use timeouts::{Timeouts, WithTimeouts};
pub use trace::Traced;

use crate::{ChatModel, LadderPolicy, ToolLadder};

/// What all calls of one model at one endpoint share, however many models are configured for it and however often they are layered
/// anew. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct EndpointGuard {
    /// Whether calls pass.
    pub breaker: CircuitBreaker,
    /// How many of them may be tried again.
    pub retries: RetryBudget,
}

/// All layers of [`ModelExt::standard`] around a model.
pub type Standard<M> = Traced<ToolLadder<Retry<FailFast<ConcurrencyLimit<WithBreaker<WithTimeouts<M>>>>>>>;

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

    /// Counts how calls end, and makes none while `breaker` is open: [`LlmError::BreakerOpen`](crate::LlmError::BreakerOpen).
    fn breaker(self, breaker: CircuitBreaker) -> WithBreaker<Self> {
        WithBreaker::new(self, breaker)
    }

    /// Refuses calls at once while `breaker` is open; counts nothing.
    fn fail_fast(self, breaker: CircuitBreaker) -> FailFast<Self> {
        FailFast::new(self, breaker)
    }

    /// Repeats calls that failed in passing, as long as there is something left in `budget`.
    fn retry(self, policy: RetryPolicy, budget: RetryBudget) -> Retry<Self> {
        Retry::new(self, policy, budget)
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
    fn standard(self, n: usize, timeouts: Timeouts, retry: RetryPolicy, guard: EndpointGuard) -> Standard<Self>
    where
        Self: 'static,
    {
        let EndpointGuard { breaker, retries } = guard;
        self.timeouts(timeouts)
            .breaker(breaker.clone())
            .concurrency_limit(n)
            .fail_fast(breaker)
            .retry(retry, retries)
            .ladder(LadderPolicy::default())
            .traced()
    }
}

impl<M: ChatModel + Sized> ModelExt for M {}
