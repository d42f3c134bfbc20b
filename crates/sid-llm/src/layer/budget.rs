//! A budget for retries: an endpoint in trouble must not get more load because it is in trouble.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::window::Window;

/// How many retries there may be, beside the calls themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetPolicy {
    /// Calls that are looked at: those of the last so much time. Default 30 s.
    pub window: Duration,
    /// Retries in it, in percent of its calls. Default 10; from 100 on there is no limit.
    pub percent: u64,
    /// Retries in it that a quiet endpoint has beside that. Default 10.
    pub minimum: u64,
}

impl Default for BudgetPolicy {
    fn default() -> Self {
        Self { window: Duration::from_secs(30), percent: 10, minimum: 10 }
    }
}

#[derive(Debug)]
struct Inner {
    /// Calls, and as marks their retries.
    window: Window,
    refused: u64,
}

/// The retry budget of one endpoint. Cheap to clone; all clones are one budget.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    policy: BudgetPolicy,
    inner: Arc<Mutex<Inner>>,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(BudgetPolicy::default())
    }
}

impl RetryBudget {
    /// A budget of which nothing is used.
    #[must_use]
    pub fn new(policy: BudgetPolicy) -> Self {
        Self { policy, inner: Arc::new(Mutex::new(Inner { window: Window::new(policy.window), refused: 0 })) }
    }

    /// How many retries were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.inner.lock().refused
    }

    /// A call begins: its first attempt.
    pub(super) fn on_call(&self) {
        self.inner.lock().window.add(1, 0);
    }

    /// Takes one retry out of the budget; `false` = there is none left.
    pub(super) fn take(&self) -> bool {
        let mut inner = self.inner.lock();
        let (calls, retries) = inner.window.sums();
        let may = self.policy.percent >= 100 || retries < self.policy.minimum + calls * self.policy.percent / 100;
        if may {
            inner.window.add(0, 1);
        } else {
            inner.refused += 1;
        }
        may
    }
}
