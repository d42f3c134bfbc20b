//! Counts over the last while.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The window is as exact as this share of its length.
const SLOTS: u32 = 30;

/// Calls of the last while, and how many of them were marked. Old ones leave slot by slot, so its size does not grow with load.
#[derive(Debug)]
pub(super) struct Window {
    slot: Duration,
    /// When a slot began, its calls, its marks.
    slots: VecDeque<(Instant, u64, u64)>,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        Self { slot: (length / SLOTS).max(Duration::from_millis(1)), slots: VecDeque::new() }
    }

    pub(super) fn add(&mut self, calls: u64, marks: u64) {
        let now = Instant::now();
        match self.slots.back_mut() {
            Some(last) if now.duration_since(last.0) < self.slot => {
                last.1 += calls;
                last.2 += marks;
            }
            _ => self.slots.push_back((now, calls, marks)),
        }
    }

    /// Calls and marks of the last while.
    pub(super) fn sums(&mut self) -> (u64, u64) {
        let now = Instant::now();
        let length = self.slot * SLOTS;
        while self.slots.front().is_some_and(|slot| now.duration_since(slot.0) >= length) {
            self.slots.pop_front();
        }
        self.slots.iter().fold((0, 0), |(calls, marks), slot| (calls + slot.1, marks + slot.2))
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
    }
}
