//! What runs load, read by the write that handed them to a worker of this process: one round trip less.
//!
//! It is what a load would have read at that moment. Who does not come for it soon reads anew.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sid_types::RunId;

/// What was read longer ago is not used.
const AGE: Duration = Duration::from_millis(250);
/// Most runs whose reading is kept.
const MOST: usize = 1_024;

/// What was read for runs, and when.
pub(crate) struct Ahead<T>(Mutex<HashMap<RunId, (Instant, T)>>);

impl<T> Default for Ahead<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Ahead<T> {
    /// `began`: when the statement was sent that read it.
    pub(crate) fn keep(&self, run: RunId, began: Instant, read: T) {
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.retain(|_, (began, _)| began.elapsed() < AGE);
            if all.len() >= MOST {
                all.clear();
            }
        }
        all.insert(run, (began, read));
    }

    /// What was read for the run, for whoever comes first.
    pub(crate) fn take(&self, run: RunId) -> Option<T> {
        let (began, read) = self.0.lock().remove(&run)?;
        (began.elapsed() < AGE).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_for_its_own_run_once_and_not_for_long() {
        let (ahead, run, other) = (Ahead::default(), RunId::new(), RunId::new());
        ahead.keep(run, Instant::now(), 1);
        assert_eq!(ahead.take(other), None);
        assert_eq!((ahead.take(run), ahead.take(run)), (Some(1), None));
        ahead.keep(run, Instant::now().checked_sub(AGE).expect("the machine has run for longer"), 2);
        assert_eq!(ahead.take(run), None, "it is too old");
    }

    #[test]
    fn what_nobody_comes_for_is_let_go() {
        let ahead = Ahead::default();
        for _ in 0..=MOST {
            ahead.keep(RunId::new(), Instant::now(), ());
        }
        assert_eq!(ahead.0.lock().len(), 1);
    }
}
