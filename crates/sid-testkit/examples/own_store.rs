//! A store of one's own behind the conformance suite: a wrapper that counts commits.
//!
//! `cargo run -p sid-testkit --example own_store` runs every check and prints one line per subject;
//! `cargo test -p sid-testkit --example own_store` runs each as a test of its own, as a backend's test suite does.
#![expect(clippy::print_stdout, reason = "an example tells what it does")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sid_store::{Accept, Accepted, Commit, Committed, InProcess, Lease, Loaded, Renewed, StateStore, StoreError};
use sid_testkit::conformance::{self, Fixture};
use sid_types::{ConversationId, MessageId, Run, RunId, Scope, Step, WorkerId};

/// Any store, with a counter in front of it.
struct Counting {
    inner: InProcess,
    commits: Arc<AtomicU64>,
}

// Everything but the journal is handed on as it is.
sid_testkit::delegate_store!(Counting, inner: EventLog, RecallStore, ArchivalStore, MemorySearch, EmbeddingIndex, BlockStore, ItemStore,
    TimerStore, ToolsetStore, EgoStore, TaskStore, ImageStore, ApprovalStore, WebhookStore, DiaryStore, Directory, DocumentStore, AuditLog, Eraser, UsageStore, Duties, Generations, Maintenance);

#[async_trait]
impl StateStore for Counting {
    async fn commit(&self, lease: &Lease, commit: Commit) -> Result<Committed, StoreError> {
        let committed = self.inner.commit(lease, commit).await?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(committed)
    }

    async fn accept(&self, scope: &Scope, accept: Accept) -> Result<Accepted, StoreError> {
        self.inner.accept(scope, accept).await
    }

    async fn claim(&self, worker: WorkerId, want: usize, per_tenant: usize, ttl: Duration) -> Result<Vec<Lease>, StoreError> {
        self.inner.claim(worker, want, per_tenant, ttl).await
    }

    async fn renew(&self, leases: &[Lease], ttl: Duration) -> Result<Vec<Renewed>, StoreError> {
        self.inner.renew(leases, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner.release(lease).await
    }

    async fn load(&self, lease: &Lease) -> Result<Loaded, StoreError> {
        self.inner.load(lease).await
    }

    async fn run(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError> {
        self.inner.run(scope, run).await
    }

    async fn runs(&self, scope: &Scope, conversation: ConversationId, limit: usize) -> Result<Vec<Run>, StoreError> {
        self.inner.runs(scope, conversation, limit).await
    }

    async fn steps(&self, scope: &Scope, run: RunId) -> Result<Vec<Step>, StoreError> {
        self.inner.steps(scope, run).await
    }

    async fn cancel(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError> {
        self.inner.cancel(scope, run).await
    }

    async fn is_cancel_requested(&self, lease: &Lease) -> Result<bool, StoreError> {
        self.inner.is_cancel_requested(lease).await
    }

    async fn waiting_messages(&self, scope: &Scope, run: RunId) -> Result<Vec<MessageId>, StoreError> {
        self.inner.waiting_messages(scope, run).await
    }
}

fn main() {
    let commits = Arc::new(AtomicU64::new(0));
    let mut passed: BTreeMap<&str, usize> = BTreeMap::new();
    for (subject, _, check) in conformance::checks() {
        let commits = Arc::clone(&commits);
        // A check that fails panics, and says why.
        conformance::run(async |clock| Fixture::new(Arc::new(Counting { inner: InProcess::new(clock), commits })), check);
        *passed.entry(subject).or_default() += 1;
    }
    for (subject, count) in &passed {
        println!("{subject:>12}  {count:>3} checks passed");
    }
    println!("{:>12}  {:>3} checks, {} commits", "in all", passed.values().sum::<usize>(), commits.load(Ordering::Relaxed));
}

#[cfg(test)]
mod tests {
    use sid_types::ManualClock;

    use super::*;

    async fn open(clock: Arc<ManualClock>) -> Fixture {
        Fixture::new(Arc::new(Counting { inner: InProcess::new(clock), commits: Arc::default() }))
    }

    sid_testkit::store_conformance!(open);
}
