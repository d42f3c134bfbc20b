//! Runs under way in this process: who may be told to stop, and who waits for an end.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use sid_store::Lease;
use sid_types::{Message, Run, RunId};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// A run that has ended, or not yet when whoever waited lost patience.
#[derive(Debug, Clone)]
pub struct RunEnd {
    /// The run.
    pub run: Run,
    /// All its messages in order, if they were at hand: it ended in this process.
    pub messages: Option<Vec<Message>>,
}

struct Active {
    lease: Lease,
    stop: CancellationToken,
}

/// The table of runs under way.
#[derive(Default)]
pub(crate) struct ActiveRuns {
    /// In the order of their ids, so that what is done for each is done in the same order in every process.
    runs: Mutex<BTreeMap<RunId, Active>>,
    waiters: Mutex<HashMap<RunId, Vec<oneshot::Sender<RunEnd>>>>,
}

impl ActiveRuns {
    /// Enters a run; the token ends its model call. Again under the same lease changes nothing.
    pub(crate) fn enter(&self, lease: &Lease) -> CancellationToken {
        let mut runs = self.runs.lock();
        if let Some(active) = runs.get(&lease.run).filter(|a| a.lease.epoch == lease.epoch) {
            return active.stop.clone();
        }
        let stop = CancellationToken::new();
        runs.insert(lease.run, Active { lease: lease.clone(), stop: stop.clone() });
        stop
    }

    /// Whether the run is under way here: it has not ended, or whoever waits for its end is still to be told.
    pub(crate) fn contains(&self, run: RunId) -> bool {
        self.runs.lock().contains_key(&run)
    }

    /// Takes a run out.
    pub(crate) fn leave(&self, run: RunId) {
        self.runs.lock().remove(&run);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.runs.lock().len()
    }

    /// Tells a run to look up: it was cancelled, or its lease is gone.
    pub(crate) fn stop(&self, run: RunId) {
        if let Some(active) = self.runs.lock().get(&run) {
            active.stop.cancel();
        }
    }

    /// All leases, for the renewal in one batch.
    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.runs.lock().values().map(|a| a.lease.clone()).collect()
    }

    /// Waits for the end of a run in this process.
    pub(crate) fn subscribe(&self, run: RunId) -> oneshot::Receiver<RunEnd> {
        let (tx, rx) = oneshot::channel();
        let mut waiters = self.waiters.lock();
        let list = waiters.entry(run).or_default();
        list.retain(|w| !w.is_closed());
        list.push(tx);
        rx
    }

    /// Whether anybody waits for the end of this run.
    pub(crate) fn has_waiters(&self, run: RunId) -> bool {
        self.waiters.lock().contains_key(&run)
    }

    /// Forgets waiters that have gone.
    pub(crate) fn unsubscribe(&self, run: RunId) {
        let mut waiters = self.waiters.lock();
        if let Some(list) = waiters.get_mut(&run) {
            list.retain(|w| !w.is_closed());
            if list.is_empty() {
                waiters.remove(&run);
            }
        }
    }

    /// Tells everybody who waits that a run has ended.
    pub(crate) fn finished(&self, end: &RunEnd) {
        for waiter in self.waiters.lock().remove(&end.run.id).into_iter().flatten() {
            let _ = waiter.send(end.clone());
        }
    }
}
