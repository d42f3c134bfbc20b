//! The reference store: the whole contract in plain collections behind one lock.
//!
//! Reading order: `room` (what is kept), `visibility` (who sees it), `journal` and `commit` (runs), then one file per contract trait.

mod approvals;
mod archival;
mod audit;
mod blocks;
mod commit;
mod diary;
mod directory;
mod documents;
mod duties;
mod egos;
mod erase;
mod events;
mod generations;
mod images;
mod items;
mod journal;
mod maintenance;
mod recall;
mod room;
mod search;
mod state;
mod tasks;
mod teams;
mod timers;
mod toolsets;
mod usage;
mod vectors;
mod visibility;
mod webhooks;

use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use sid_types::{Clock, SystemClock, Timestamp};
use tokio::sync::Notify;

use crate::{DutyRoster, StoreError};
use room::State;

/// The reference store: everything in the process's own memory, gone when it ends.
///
/// It is the readable definition of the contract, and what tests run on: each method takes the one lock, checks, then changes; so each
/// is a transaction. It keeps no file and starts no task.
///
/// ```
/// use sid_store::{InProcess, MemorySearch, Store};
/// let store = InProcess::default();
/// let _: &dyn Store = &store;
/// assert!(!store.capability().durable);
/// ```
pub struct InProcess {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Wakes those who follow an event log, after each change.
    changed: Notify,
    duties: DutyRoster,
}

impl InProcess {
    /// An empty store that tells the time by `clock`: leases expire and idempotency keys age by it.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::new(State::default()), changed: Notify::new(), duties: DutyRoster::default() }
    }

    fn read(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Runs one transaction. `change` must check everything before it changes anything: nothing is rolled back.
    fn write<T>(&self, change: impl FnOnce(&mut State, Timestamp) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let answer = change(&mut self.state.lock(), self.clock.now());
        if answer.is_ok() {
            self.changed.notify_waiters();
        }
        answer
    }
}

impl Default for InProcess {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").finish_non_exhaustive()
    }
}

/// There is no such thing, or the scope may not see it.
const fn missing(what: &'static str) -> StoreError {
    StoreError::NotFound { what }
}
