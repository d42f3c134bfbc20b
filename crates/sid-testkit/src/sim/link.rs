//! A replica's way to the store: late, broken, cut off, frozen or dead.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sid_store::StoreError;
use tokio::sync::Notify;

use super::Sim;
use super::watched::Watched;

/// How a replica's process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// It runs.
    Running,
    /// It stands still, and does not know.
    Frozen,
    /// It is gone: nothing goes out any more, nothing comes back.
    Dead,
}

/// The store as one process of a replica sees it, and the edge of that process for everything else.
pub(super) struct Link {
    name: String,
    sim: Arc<Sim>,
    store: Arc<Watched>,
    condition: Mutex<Condition>,
    // Not a `watch` channel, which wakes those who wait in random order.
    changed: Notify,
    is_cut_off: Mutex<bool>,
}

crate::delegate_store!(Link, store through travel: StateStore, EventLog, RecallStore, ArchivalStore, MemorySearch, EmbeddingIndex,
    BlockStore, ItemStore, TimerStore, ToolsetStore, EgoStore, TaskStore, ImageStore, ApprovalStore, WebhookStore, DiaryStore, Directory, DocumentStore, AuditLog, Eraser, UsageStore, Duties, Generations, Maintenance);

impl Link {
    pub(super) fn new(name: String, sim: &Arc<Sim>) -> Arc<Self> {
        let condition = Mutex::new(Condition::Running);
        Arc::new(Self {
            name,
            sim: sim.clone(),
            store: sim.store.clone(),
            condition,
            changed: Notify::new(),
            is_cut_off: Mutex::new(false),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn set(&self, condition: Condition) {
        // The dead stay dead.
        let mut now = self.condition.lock();
        if *now != Condition::Dead {
            *now = condition;
            self.changed.notify_waiters();
        }
    }

    pub(super) fn cut_off(&self, is_cut_off: bool) {
        *self.is_cut_off.lock() = is_cut_off;
    }

    /// Comes back when the process runs: at once, after a thaw, or never.
    pub(super) async fn running(&self) {
        self.is(Condition::Running).await;
    }

    /// Comes back when the process is dead.
    pub(super) async fn death(&self) {
        self.is(Condition::Dead).await;
    }

    async fn is(&self, wanted: Condition) {
        loop {
            // Registered before the look, so that no change in between is missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if *self.condition.lock() == wanted {
                return;
            }
            changed.await;
        }
    }

    /// One call: there, its effect, and back.
    async fn travel<T>(&self, call: &'static str, effect: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
        let (dice, plan) = (&self.sim.dice, &self.sim.plan);
        self.running().await;
        self.way().await;
        if *self.is_cut_off.lock() || dice.chance(plan.store_before) && self.sim.is_stormy() {
            return self.fails(call, "before");
        }
        let answer = effect.await;
        self.way().await;
        if *self.is_cut_off.lock() || dice.chance(plan.store_after) && self.sim.is_stormy() {
            return self.fails(call, "after");
        }
        match &answer {
            Ok(_) => self.sim.trace.say(&self.name, format_args!("{call}")),
            Err(error) => {
                if matches!(error, StoreError::Fenced { .. }) {
                    self.sim.heard.lock().tally.fenced += 1;
                }
                self.sim.trace.say(&self.name, format_args!("{call}: {}", error.code()));
            }
        }
        answer
    }

    async fn way(&self) {
        let most = self.sim.plan.store_millis;
        tokio::time::sleep(self.sim.dice.millis(0..most)).await;
        self.running().await;
    }

    fn fails<T>(&self, call: &str, when: &str) -> Result<T, StoreError> {
        self.sim.heard.lock().tally.store_faults += 1;
        self.sim.trace.say(&self.name, format_args!("{call} fails {when} its effect"));
        Err(StoreError::Unavailable { store: "simulated store", source: format!("{call} failed {when} its effect").into() })
    }

    /// A pause of the process itself, such as a model that takes its time.
    pub(super) async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
        self.running().await;
    }
}
