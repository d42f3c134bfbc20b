//! Chance: one generator for everything.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// The one source of chance. Clones are the same generator.
#[derive(Clone)]
pub(super) struct Dice(Arc<Mutex<StdRng>>);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Whether something that happens so often happens now.
    pub(super) fn chance(&self, probability: f64) -> bool {
        self.0.lock().random_bool(probability)
    }

    /// One of `range`.
    pub(super) fn number(&self, range: Range<u64>) -> u64 {
        self.0.lock().random_range(range)
    }

    /// A share in `0..most`.
    pub(super) fn share(&self, most: f64) -> f64 {
        self.0.lock().random_range(0.0..most)
    }

    /// So many milliseconds.
    pub(super) fn millis(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.number(range))
    }

    /// One of them.
    ///
    /// Panics: when there is none.
    pub(super) fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.number(0..of.len() as u64)).expect("an index")]
    }
}
