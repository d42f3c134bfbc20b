//! `EventLog`: durable events, and waking those who follow them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use parking_lot::Mutex;
use sid_store::{EventLog, Lease, StoreError};
use sid_types::{Event, EventBody, RunId, Scope, TenantId};
use tokio::sync::Notify;

use crate::backend::SqliteStore;
use crate::codec::Columns;
use crate::error::{Fault, Result};
use crate::journal::{Held, Journal};

/// Most events that one answer of `follow` carries; the caller comes back for the rest.
const MOST_FOLLOWED: usize = 1_000;

#[async_trait]
impl EventLog for SqliteStore {
    async fn append_events(&self, lease: &Lease, events: Vec<EventBody>) -> Result<Vec<Event>, StoreError> {
        if events.iter().any(|e| matches!(e, EventBody::Done { .. })) {
            return Err(StoreError::Invalid("the last event comes with `Effect::Finish`".into()));
        }
        let (tenant, lease) = (self.tenant(lease.scope.tenant()).await?, lease.clone());
        self.write(move |tx| {
            async move {
                let (conv, mut journal) = Held::get(&mut tx.conn, tenant, &lease).await?;
                let events = journal.log(tx, &conv, events)?;
                tx.later("UPDATE runs SET events = ? WHERE run = ?").bind(journal.events as i64).bind(journal.number);
                Ok(events)
            }
            .boxed()
        })
        .await
    }

    async fn events(&self, scope: &Scope, run: RunId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        let (_, journal) = Journal::get(&mut conn, &viewer, run).await?;
        if journal.events <= after {
            return Ok(Vec::new());
        }
        let rows = sqlx::query("SELECT seq, at, body FROM events WHERE tenant = ? AND run = ? AND seq > ? ORDER BY seq LIMIT ?")
            .bind(viewer.tenant)
            .bind(journal.number)
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *conn)
            .await
            .map_err(Fault::Sql)?;
        let events: Result<Vec<Event>> =
            rows.iter().map(|row| Ok(Event { run, seq: row.count(0)?, at: row.time(1)?, body: row.json(2)? })).collect();
        Ok(events?)
    }

    async fn follow(&self, scope: &Scope, run: RunId, after: u64, wait: Duration) -> Result<Vec<Event>, StoreError> {
        let until = tokio::time::Instant::now() + wait;
        let watch = self.watchers().watch(scope.tenant(), run);
        loop {
            // Registered before the look, so that no event between the look and the wait is missed.
            let mut changed = std::pin::pin!(watch.notify.notified());
            changed.as_mut().enable();
            let events = self.events(scope, run, after, MOST_FOLLOWED).await?;
            if !events.is_empty() || tokio::time::timeout_at(until, changed).await.is_err() {
                return Ok(events);
            }
        }
    }
}

type Key = (TenantId, RunId);

/// Runs that somebody follows.
#[derive(Default)]
pub(crate) struct Watchers(Mutex<HashMap<Key, Arc<Notify>>>);

impl Watchers {
    fn watch(&self, tenant: TenantId, run: RunId) -> Watch<'_> {
        let key = (tenant, run);
        let notify = Arc::clone(self.0.lock().entry(key).or_default());
        Watch { watchers: self, key, notify }
    }

    /// Wakes those who follow the run.
    pub(crate) fn wake(&self, tenant: TenantId, run: RunId) {
        if let Some(notify) = self.0.lock().get(&(tenant, run)) {
            notify.notify_waiters();
        }
    }
}

/// One who follows; the last one to go takes the entry along.
struct Watch<'w> {
    watchers: &'w Watchers,
    key: Key,
    notify: Arc<Notify>,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut map = self.watchers.0.lock();
        // Two handles are left: the map's and this one's.
        if map.get(&self.key).is_some_and(|n| Arc::ptr_eq(n, &self.notify) && Arc::strong_count(n) <= 2) {
            map.remove(&self.key);
        }
    }
}
