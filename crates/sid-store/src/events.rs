//! The event log: what streams replay and follow.

use std::time::Duration;

use async_trait::async_trait;
use sid_types::{Event, EventBody, RunId, Scope};

use crate::{Lease, StoreError};

/// Durable events per run, densely numbered, so that a client resumes after the last number it saw.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Adds events between commits (text deltas). Fenced like a commit. Answers the events as numbered. Errors: `Fenced`, `Invalid`
    /// ([`EventBody::Done`], which only the end of a run writes).
    async fn append_events(&self, lease: &Lease, events: Vec<EventBody>) -> Result<Vec<Event>, StoreError>;

    /// Events after number `after`, in order, at most `limit`. Checks that the scope may see the run, each time. None are left some days after
    /// the end of the run ([`Maintenance`](crate::Maintenance)), which is known by its state then.
    async fn events(&self, scope: &Scope, run: RunId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError>;

    /// Waits until there is an event after `after` or `wait` is over; answers what there is then (maybe nothing).
    async fn follow(&self, scope: &Scope, run: RunId, after: u64, wait: Duration) -> Result<Vec<Event>, StoreError>;
}
