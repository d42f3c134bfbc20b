//! `EventLog`: durable events, and waking those who follow them.
//!
//! Nothing is notified inside a step's transaction: that lock is one for the whole cluster of databases. Whoever follows is woken by
//! writes of the same process, and by one poll per process for all runs that are followed, which slows down while nothing happens.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use sid_store::{EventLog, Lease, StoreError};
use sid_types::{Event, EventBody, RunId, Scope, TenantId};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::backend::PgStore;
use crate::codec::{Columns, limit};
use crate::error::{Fault, Result};
use crate::journal::held;
use crate::state::{visible_run, write};

/// Most events that one answer of `follow` carries; the caller comes back for the rest.
const MOST_FOLLOWED: usize = 1_000;

#[async_trait]
impl EventLog for PgStore {
    async fn append_events(&self, lease: &Lease, events: Vec<EventBody>) -> Result<Vec<Event>, StoreError> {
        if events.iter().any(|e| matches!(e, EventBody::Done { .. })) {
            return Err(StoreError::Invalid("the last event comes with `Effect::Finish`".into()));
        }
        let append = |peek| {
            let (mut draft, mut journal) = held(self, peek, lease)?;
            let events = draft.log(&mut journal, events.clone())?;
            draft.save(&journal)?;
            Ok(Some((draft, events)))
        };
        Ok(write(self, lease, append).await?.unwrap_or_default())
    }

    async fn events(&self, scope: &Scope, run: RunId, after: u64, most: usize) -> Result<Vec<Event>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        if visible_run(&mut tx, &self.viewer(scope), run).await? <= after {
            return Ok(Vec::new());
        }
        let query = tx.query("SELECT seq, at, body FROM sid.events WHERE tenant = $1 AND run = $2 AND seq > $3 ORDER BY seq LIMIT $4");
        let query = query.bind(tx.tenant).bind(run.uuid()).bind(i64::try_from(after).unwrap_or(i64::MAX)).bind(limit(most));
        let rows = query.fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let events: Result<Vec<Event>> =
            rows.iter().map(|row| Ok(Event { run, seq: row.count(0)?, at: row.time(1)?, body: row.json(2)? })).collect();
        Ok(events?)
    }

    async fn follow(&self, scope: &Scope, run: RunId, after: u64, wait: Duration) -> Result<Vec<Event>, StoreError> {
        let until = tokio::time::Instant::now() + wait;
        let watch = Watching::begin(self, scope.tenant(), run, after);
        loop {
            // Registered before the look, so that no event between the look and the wait is missed.
            let mut changed = std::pin::pin!(watch.watch.notify.notified());
            changed.as_mut().enable();
            let events = self.events(scope, run, after, MOST_FOLLOWED).await?;
            if !events.is_empty() || tokio::time::timeout_at(until, changed).await.is_err() {
                return Ok(events);
            }
        }
    }
}

type Key = (TenantId, RunId);

/// A run that is followed.
#[derive(Default)]
struct Watch {
    notify: Notify,
    /// How many events it is known to have.
    seen: AtomicU64,
}

/// Runs that somebody follows.
#[derive(Default)]
pub(crate) struct Watchers {
    map: Mutex<HashMap<Key, Arc<Watch>>>,
    /// Whether the poll is under way; changed under the map's lock only.
    is_polling: std::sync::atomic::AtomicBool,
}

impl Watchers {
    /// Wakes those who follow the run.
    pub(crate) fn wake(&self, tenant: TenantId, run: RunId) {
        if let Some(watch) = self.map.lock().get(&(tenant, run)) {
            watch.notify.notify_waiters();
        }
    }

    /// The runs that are followed; `None` = none are, and the poll is over.
    fn followed(&self) -> Option<Vec<(Key, Arc<Watch>)>> {
        let map = self.map.lock();
        if map.is_empty() {
            self.is_polling.store(false, Ordering::Relaxed);
            return None;
        }
        Some(map.iter().map(|(key, watch)| (*key, Arc::clone(watch))).collect())
    }
}

/// One who follows; the last one to go takes the entry along.
struct Watching {
    watchers: Arc<Watchers>,
    key: Key,
    watch: Arc<Watch>,
}

impl Watching {
    fn begin(store: &PgStore, tenant: TenantId, run: RunId, after: u64) -> Self {
        let watchers = Arc::clone(store.watchers());
        let key = (tenant, run);
        let watch = {
            let mut map = watchers.map.lock();
            let watch = Arc::clone(map.entry(key).or_default());
            watch.seen.fetch_max(after, Ordering::Relaxed);
            if !watchers.is_polling.swap(true, Ordering::Relaxed) {
                tokio::spawn(poll(store.clone()));
            }
            watch
        };
        Self { watchers, key, watch }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut map = self.watchers.map.lock();
        // Two handles are left (the poll may hold a third for a moment; then it is the next one who takes the entry along).
        if map.get(&self.key).is_some_and(|w| Arc::ptr_eq(w, &self.watch) && Arc::strong_count(w) <= 2) {
            map.remove(&self.key);
        }
    }
}

/// Looks at all followed runs, again and again, until none is left.
async fn poll(store: PgStore) {
    let slowest = store.config().poll.max(Duration::from_millis(10));
    let mut pause = slowest / 10;
    loop {
        tokio::time::sleep(pause).await;
        let Some(followed) = store.watchers().followed() else { return };
        match look(&store, &followed).await {
            Ok(true) => pause = slowest / 10,
            Ok(false) => pause = (pause * 3 / 2).min(slowest),
            Err(fault) => {
                tracing::debug!(error = %StoreError::from(fault), "the followed runs could not be looked at");
                pause = slowest;
            }
        }
        drop(followed);
        // Entries whose last follower went while the poll held them.
        store.watchers().map.lock().retain(|_, watch| Arc::strong_count(watch) > 1);
    }
}

/// Whether anything has happened in one of the runs.
async fn look(store: &PgStore, followed: &[(Key, Arc<Watch>)]) -> Result<bool> {
    let mut has_news = false;
    for some in followed.chunks(1_000) {
        let rows = store
            .call("SELECT o_tenant, o_run, o_events FROM sid.progress($1, $2)")
            .bind(some.iter().map(|((tenant, _), _)| tenant.uuid()).collect::<Vec<Uuid>>())
            .bind(some.iter().map(|((_, run), _)| run.uuid()).collect::<Vec<Uuid>>())
            .fetch_all()
            .await?;
        let mut found: HashMap<Key, u64> = HashMap::with_capacity(rows.len());
        for row in &rows {
            found.insert((row.id(0)?, row.id(1)?), row.count(2)?);
        }
        for (key, watch) in some {
            // A run that was erased has none any more: those who follow it learn that it is gone.
            let events = found.get(key).copied().unwrap_or(u64::MAX);
            if watch.seen.fetch_max(events, Ordering::Relaxed) < events {
                watch.notify.notify_waiters();
                has_news = true;
            }
        }
    }
    Ok(has_news)
}
