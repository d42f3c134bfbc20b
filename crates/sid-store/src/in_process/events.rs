//! `EventLog`.

use std::time::Duration;

use async_trait::async_trait;
use sid_types::{Event, EventBody, RunId, Scope};

use super::InProcess;
use crate::{EventLog, Lease, StoreError};

#[async_trait]
impl EventLog for InProcess {
    async fn append_events(&self, lease: &Lease, events: Vec<EventBody>) -> Result<Vec<Event>, StoreError> {
        self.write(|state, now| {
            let gone = StoreError::Fenced { held: lease.epoch, current: lease.epoch + 1 };
            let journal = state.rooms.get_mut(&lease.scope.tenant()).ok_or(gone)?.held(lease)?;
            if events.iter().any(|e| matches!(e, EventBody::Done { .. })) {
                return Err(StoreError::Invalid("the last event comes with `Effect::Finish`".into()));
            }
            Ok(events.into_iter().map(|body| journal.log(body, now).clone()).collect())
        })
    }

    async fn events(&self, scope: &Scope, run: RunId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let state = self.read();
        let journal = state.room(scope, "run")?.journal(scope, run)?;
        let seen = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(journal.events.iter().skip(seen).take(limit).cloned().collect())
    }

    async fn follow(&self, scope: &Scope, run: RunId, after: u64, wait: Duration) -> Result<Vec<Event>, StoreError> {
        let until = tokio::time::Instant::now() + wait;
        loop {
            // Registered before the look, so that no change between the look and the wait is missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let events = self.events(scope, run, after, usize::MAX).await?;
            if !events.is_empty() || tokio::time::timeout_at(until, changed).await.is_err() {
                return Ok(events);
            }
        }
    }
}
