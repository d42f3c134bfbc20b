//! What runs load, read by the write that handed them to a worker of this process: one round trip less.
//!
//! It is what a load would have read at that moment. Who does not come for it soon reads anew.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sid_types::{RunId, Timestamp};

/// What was read longer ago is not used.
const AGE: Duration = Duration::from_millis(250);
/// Most runs whose reading is kept.
const MOST: usize = 1_024;

struct Kept<T> {
    began: Instant,
    /// A test suite's clock.
    time: Option<Timestamp>,
    read: T,
}

/// What was read for runs.
pub(crate) struct Ahead<T>(Mutex<HashMap<RunId, Kept<T>>>);

impl<T> Default for Ahead<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Ahead<T> {
    /// `began`: when the statement was sent that read it; `time`: a test suite's clock.
    pub(crate) fn keep(&self, run: RunId, began: Instant, time: Option<Timestamp>, read: T) {
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(run, Kept { began, time, read });
    }

    /// Lets go of what nobody came for. To be called now and then.
    pub(crate) fn sweep(&self) {
        self.0.lock().retain(|_, kept| kept.began.elapsed() < AGE);
    }

    /// What was read for the run, for whoever comes first, and when that began.
    pub(crate) fn take(&self, run: RunId, time: Option<Timestamp>) -> Option<(Instant, T)> {
        let kept = self.0.lock().remove(&run)?;
        (kept.began.elapsed() < AGE && kept.time == time).then_some((kept.began, kept.read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_for_its_own_run_once_and_not_for_long() {
        let (ahead, run, other) = (Ahead::default(), RunId::new(), RunId::new());
        let take = |run, time| ahead.take(run, time).map(|(_, read)| read);
        ahead.keep(run, Instant::now(), None, 1);
        assert_eq!(take(other, None), None);
        assert_eq!((take(run, None), take(run, None)), (Some(1), None));
        ahead.keep(run, Instant::now().checked_sub(AGE).expect("the machine has run for longer"), None, 2);
        assert_eq!(take(run, None), None, "it is too old");
        ahead.keep(run, Instant::now(), Some(Timestamp::UNIX_EPOCH), 3);
        assert_eq!(take(run, Some(Timestamp::MAX)), None, "the suite's clock has gone on");
    }

    #[test]
    fn what_nobody_comes_for_is_let_go() {
        let ahead = Ahead::default();
        for _ in 0..=MOST {
            ahead.keep(RunId::new(), Instant::now(), None, ());
        }
        assert_eq!(ahead.0.lock().len(), 1);
        ahead.keep(RunId::new(), Instant::now().checked_sub(AGE).expect("the machine has run for longer"), None, ());
        ahead.sweep();
        assert_eq!(ahead.0.lock().len(), 1, "the old one has gone");
    }
}
