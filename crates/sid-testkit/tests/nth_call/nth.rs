//! A store whose n-th call fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use sid_store::{Store, StoreError};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// An error, and nothing has happened.
    ErrorBefore,
    /// An error, and it has happened.
    ErrorAfter,
    /// It never arrives, and is never answered.
    NeverArrives,
    /// It happens, and is never answered.
    NeverAnswers,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::ErrorBefore, Self::ErrorAfter, Self::NeverArrives, Self::NeverAnswers];

    pub(crate) const fn hangs(self) -> bool {
        matches!(self, Self::NeverArrives | Self::NeverAnswers)
    }
}

/// One process's view of a store, one of whose calls fails.
pub(crate) struct Nth {
    store: Arc<dyn Store>,
    n: u64,
    way: Way,
    calls: AtomicU64,
    failed: Mutex<Option<&'static str>>,
    is_dead: AtomicBool,
}

sid_testkit::delegate_store!(Nth, store through count: StateStore, EventLog, RecallStore, ArchivalStore, MemorySearch, EmbeddingIndex,
    BlockStore, ItemStore, TimerStore, ToolsetStore, EgoStore, TaskStore, ImageStore, ApprovalStore, WebhookStore, DiaryStore, Directory, DocumentStore, AuditLog, Eraser, UsageStore, Duties, Generations, Maintenance);

impl Nth {
    pub(crate) fn new(store: Arc<dyn Store>, n: u64, way: Way) -> Self {
        Self { store, n, way, calls: AtomicU64::new(0), failed: Mutex::new(None), is_dead: AtomicBool::new(false) }
    }

    /// Which call failed; `None` = there were fewer.
    pub(crate) fn failed(&self) -> Option<&'static str> {
        *self.failed.lock()
    }

    /// From now on nothing of this process reaches the store, and nothing is answered.
    pub(crate) fn kill(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
    }

    async fn count<T>(&self, name: &'static str, call: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
        if self.is_dead.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        if self.calls.fetch_add(1, Ordering::SeqCst) + 1 != self.n {
            return call.await;
        }
        *self.failed.lock() = Some(name);
        if matches!(self.way, Way::ErrorAfter | Way::NeverAnswers) {
            // An error of its own would tell that nothing has happened.
            call.await?;
        }
        if self.way.hangs() {
            return std::future::pending().await;
        }
        Err(StoreError::Unavailable { store: "store", source: format!("the {}. call, `{name}`, fails", self.n).into() })
    }
}
