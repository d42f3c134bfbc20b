//! Connections that whoever is done passes on as they are.
//!
//! A pool asks each connection that comes back whether it still works: one more round trip beside every call. One whose last answer was read to
//! its end needs no such question: it waits here for the next, not for long, and goes back to the pool then. The pool makes connections, ends
//! old ones, and has back whatever broke off.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::tx::Statement;

/// A connection that nobody has used for longer is asked before it is used again.
const REST: Duration = Duration::from_secs(1);
/// The pool has each connection back now and then, and ends it when it is old.
const AWAY: Duration = Duration::from_secs(60);

/// A connection that waits for the next.
struct Spare {
    conn: PoolConnection<Postgres>,
    /// Since when the pool does not have it.
    away_since: Instant,
    idle_since: Instant,
}

/// `None`: closed.
type Spares = Arc<Mutex<Option<Vec<Spare>>>>;

/// A pool with its spare connections.
pub(crate) struct Connections {
    pool: PgPool,
    /// As many as there may be connections: who has a place finds a connection among the spare ones or in the pool, and never waits for one that
    /// is spare.
    places: Arc<Semaphore>,
    patience: Duration,
    spare: Spares,
}

impl Connections {
    /// Nothing else takes connections of this pool.
    pub(crate) fn new(pool: PgPool) -> Self {
        let (most, patience) = (pool.options().get_max_connections(), pool.options().get_acquire_timeout());
        Self { pool, places: Arc::new(Semaphore::new(most as usize)), patience, spare: Arc::new(Mutex::new(Some(Vec::new()))) }
    }

    /// A connection, when there is one.
    ///
    /// Errors: no place in the pool's time (`PoolTimedOut`), or what the pool says.
    pub(crate) async fn take(&self) -> Result<Taken, sqlx::Error> {
        let place = tokio::time::timeout(self.patience, self.places.clone().acquire_owned()).await;
        let place = place.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        let (conn, away_since) = match self.spare() {
            Some(spare) => (spare.conn, spare.away_since),
            None => (Box::pin(self.pool.acquire()).await?, Instant::now()),
        };
        Ok(Taken { conn, away_since, spare: self.spare.clone(), _place: place })
    }

    /// The rows of a statement that is a transaction of its own.
    pub(crate) async fn fetch_all(&self, statement: Statement) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut taken = self.take().await?;
        let rows = statement.fetch_all(&mut *taken).await?;
        taken.pass_on();
        Ok(rows)
    }

    /// The one that was taken from the pool first: its server process has in its caches what is done all the time, and the others may go when
    /// fewer are needed.
    fn spare(&self) -> Option<Spare> {
        let (fresh, _rested) = {
            let mut spare = self.spare.lock();
            let spare = spare.as_mut()?;
            let rested: Vec<Spare> = spare.extract_if(.., |s| s.idle_since.elapsed() > REST).collect();
            let first = (0..spare.len()).min_by_key(|i| spare[*i].away_since);
            (first.map(|first| spare.swap_remove(first)), rested)
        };
        fresh
    }

    /// Closes all connections, waiting for those that are taken.
    pub(crate) async fn close(&self) {
        drop(self.spare.lock().take());
        self.pool.close().await;
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        // Closed here and now: the pool would take them back in a task, and there may be no runtime any more.
        self.spare.lock().take().into_iter().flatten().for_each(|spare| drop(spare.conn.detach()));
    }
}

/// A connection that somebody works with. Dropped, it goes back to the pool, which looks after it.
pub(crate) struct Taken {
    conn: PoolConnection<Postgres>,
    away_since: Instant,
    spare: Spares,
    _place: OwnedSemaphorePermit,
}

impl Taken {
    /// For the next one: every answer was read to its end, and no transaction is open.
    pub(crate) fn pass_on(self) {
        if self.away_since.elapsed() < AWAY
            && let Some(spare) = self.spare.lock().as_mut()
        {
            spare.push(Spare { conn: self.conn, away_since: self.away_since, idle_since: Instant::now() });
        }
    }

    /// It is closed, not kept.
    pub(crate) fn close_on_drop(&mut self) {
        self.conn.close_on_drop();
    }
}

impl Deref for Taken {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.conn
    }
}

impl DerefMut for Taken {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.conn
    }
}
