//! Clocks that show the simulation's time, right or wrong.

use jiff::{SignedDuration, Timestamp};
use sid_types::Clock;
use tokio::time::Instant;

/// A clock that goes with tokio's and is off by a constant.
#[derive(Debug, Clone, Copy)]
pub(super) struct SimClock {
    origin: Instant,
    skew: SignedDuration,
}

impl SimClock {
    /// The time begins now: noon of a spring day.
    pub(super) fn begin(skew: SignedDuration) -> Self {
        Self { origin: Instant::now(), skew }
    }

    /// The same time on a clock that is off by `skew`.
    pub(super) const fn with_skew(self, skew: SignedDuration) -> Self {
        Self { skew, ..self }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let noon: Timestamp = Timestamp::constant(1_775_044_800, 0);
        let passed = SignedDuration::try_from(self.origin.elapsed()).unwrap_or(SignedDuration::MAX);
        noon + passed + self.skew
    }
}
