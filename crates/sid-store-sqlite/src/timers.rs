//! `TimerStore`: one row each, found by when it is due.

use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{
    Accepted, DueTimer, DueTimers, Firing, NO_TIMER, Page, PageRequest, PairFilter, Right, StoreError, TimerStore, Told, check_timer,
    may_change_timers, next_timer, too_many_timers,
};
use sid_types::{Scope, Timer, TimerId, TimerState, Timestamp};
use sqlx::sqlite::SqliteConnection;

use crate::backend::SqliteStore;
use crate::codec::{Columns, Id, nanos, time, to_json};
use crate::directory::{find_agent, find_user};
use crate::error::{Result, missing};
use crate::journal::ttl_nanos;
use crate::listed::listed;
use crate::state::accept;
use crate::visibility::{Conv, Viewer, turn_scope};
use crate::webhooks;
use crate::writer::Tx;

/// Of so many that are due tenants take turns.
const WINDOW: i64 = 1_000;

async fn find(conn: &mut SqliteConnection, tenant: i64, timer: TimerId) -> Result<Option<Timer>> {
    let row =
        sqlx::query("SELECT doc FROM timers WHERE tenant = ? AND id = ?").bind(tenant).bind(timer.blob()).fetch_optional(conn).await?;
    row.map(|row| row.json(0)).transpose()
}

/// The timer, for those who may change it.
async fn own(conn: &mut SqliteConnection, viewer: &Viewer, timer: TimerId) -> Result<Timer> {
    let found = find(conn, viewer.tenant, timer).await?;
    Ok(found.filter(|t| may_change_timers(&viewer.scope, t.agent, t.user)).ok_or(NO_TIMER)?)
}

async fn write(tx: &mut Tx, tenant: i64, timer: &Timer) -> Result<()> {
    sqlx::query(
        "INSERT OR REPLACE INTO timers (tenant, id, agent, user, conv, next_due, held_until, is_done, created_at, doc)
         VALUES (?, ?, ?, ?, ?, ?, NULL, ?, ?, ?)",
    )
    .bind(tenant)
    .bind(timer.id.blob())
    .bind(timer.agent.blob())
    .bind(timer.user.map(Id::blob))
    .bind(timer.conversation.map(Id::blob))
    .bind(timer.looked_at().map(nanos))
    .bind(timer.state == TimerState::Done)
    .bind(nanos(timer.created_at))
    .bind(to_json(timer)?)
    .execute(&mut tx.conn)
    .await?;
    Ok(())
}

async fn create(tx: &mut Tx, viewer: Viewer, timer: Timer, most: u64) -> Result<Timer> {
    let is_own = may_change_timers(&viewer.scope, timer.agent, timer.user);
    if !is_own || find_agent(&mut tx.conn, viewer.tenant, timer.agent).await?.is_none() {
        return Err(missing("agent").into());
    }
    if let Some(user) = timer.user {
        find_user(&mut tx.conn, viewer.tenant, user).await?.ok_or(missing("user"))?;
    }
    if let Some(conversation) = timer.conversation {
        let of = Conv::get(&mut tx.conn, &viewer, conversation).await?;
        if (of.agent, of.user) != (timer.agent, timer.user) {
            return Err(missing("conversation").into());
        }
    }
    if let Some(known) = find(&mut tx.conn, viewer.tenant, timer.id).await? {
        let is_own = (known.agent, known.user) == (timer.agent, timer.user);
        return if is_own { Ok(known) } else { Err(StoreError::Exists { what: "timer", name: timer.id.to_string() }.into()) };
    }
    let query = sqlx::query("SELECT count(*) FROM timers WHERE tenant = ? AND agent = ? AND user IS ? AND NOT is_done");
    let query = query.bind(viewer.tenant).bind(timer.agent.blob()).bind(timer.user.map(Id::blob));
    if query.fetch_one(&mut tx.conn).await?.count(0)? >= most {
        return Err(too_many_timers(most).into());
    }
    let timer = Timer { version: 1, created_at: tx.now, updated_at: tx.now, ..timer };
    write(tx, viewer.tenant, &timer).await?;
    Ok(timer)
}

async fn take(tx: &mut Tx, want: usize, hold: Duration) -> Result<DueTimers> {
    let now = nanos(tx.now);
    let rows = sqlx::query(
        "WITH due AS (SELECT rowid AS row, tenant, id, next_due FROM timers
            WHERE next_due <= ?1 AND (held_until IS NULL OR held_until <= ?1) ORDER BY next_due, id LIMIT ?2),
         turns AS (SELECT row, next_due, id, row_number() OVER (PARTITION BY tenant ORDER BY next_due, id) AS turn FROM due)
         SELECT x.rowid, t.id, x.doc FROM turns d JOIN timers x ON x.rowid = d.row JOIN tenants t ON t.tenant = x.tenant
         ORDER BY d.turn, d.next_due, d.id LIMIT ?3",
    )
    .bind(now)
    .bind(WINDOW)
    .bind(i64::try_from(want).unwrap_or(i64::MAX))
    .fetch_all(&mut tx.conn)
    .await?;
    let mut timers = Vec::with_capacity(rows.len());
    for row in &rows {
        let timer: Timer = row.json(2)?;
        sqlx::query("UPDATE timers SET held_until = ? WHERE rowid = ?")
            .bind(now.saturating_add(ttl_nanos(hold)))
            .bind(row.int(0)?)
            .execute(&mut tx.conn)
            .await?;
        timers.push(DueTimer { scope: turn_scope(row.id(1)?, timer.agent, timer.user), timer });
    }
    let next = next_look(&mut tx.conn, now).await?;
    Ok(DueTimers { now: tx.now, timers, next })
}

/// When something can be taken next, at `now` or later.
async fn next_look(conn: &mut SqliteConnection, now: i64) -> Result<Option<Timestamp>> {
    let row = sqlx::query(
        "SELECT min(x) FROM (SELECT min(next_due) AS x FROM timers WHERE next_due > ?1
         UNION ALL SELECT min(max(ifnull(held_until, next_due), next_due)) FROM timers WHERE next_due <= ?1)",
    );
    Ok(row.bind(now).fetch_one(conn).await?.maybe_int(0)?.map(time))
}

async fn fire(tx: &mut Tx, viewer: Viewer, Firing { timer, accept }: Firing) -> Result<Option<Accepted>> {
    let known = own(&mut tx.conn, &viewer, timer.id).await?;
    let next = next_timer(&known, timer, tx.now)?;
    let accepted = match accept {
        Some(accept) => Some(accept::accept(tx, viewer, accept).await?),
        None => None,
    };
    write(tx, viewer.tenant, &next).await?;
    if let Some(told) = Told::of_timer(&next, known.last_run) {
        webhooks::tell(tx, viewer.tenant, &told)?;
    }
    Ok(accepted)
}

#[async_trait]
impl TimerStore for SqliteStore {
    async fn create_timer(&self, scope: &Scope, timer: Timer, most: u64) -> Result<Timer, StoreError> {
        check_timer(&timer)?;
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| create(tx, viewer, timer, most).boxed()).await
    }

    async fn timer(&self, scope: &Scope, timer: TimerId) -> Result<Timer, StoreError> {
        let viewer = self.viewer(scope).await?;
        let found = find(&mut *self.reader().await?, viewer.tenant, timer).await?;
        found.filter(|t| Right::to_conversation(scope, t.agent, t.user)).ok_or(NO_TIMER)
    }

    async fn timers(&self, scope: &Scope, filter: &PairFilter, page: PageRequest) -> Result<Page<Timer>, StoreError> {
        Ok(listed(self, scope, "timers", filter, &page, |t: &Timer| (t.created_at, t.id)).await?)
    }

    async fn put_timer(&self, scope: &Scope, timer: Timer) -> Result<Timer, StoreError> {
        check_timer(&timer)?;
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| {
            async move {
                let next = next_timer(&own(&mut tx.conn, &viewer, timer.id).await?, timer, tx.now)?;
                write(tx, viewer.tenant, &next).await?;
                Ok(next)
            }
            .boxed()
        })
        .await
    }

    async fn drop_timer(&self, scope: &Scope, timer: TimerId) -> Result<(), StoreError> {
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| {
            async move {
                own(&mut tx.conn, &viewer, timer).await?;
                sqlx::query("DELETE FROM timers WHERE tenant = ? AND id = ?")
                    .bind(viewer.tenant)
                    .bind(timer.blob())
                    .execute(&mut tx.conn)
                    .await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn take_timers(&self, want: usize, hold: Duration) -> Result<DueTimers, StoreError> {
        // Asked often and mostly in vain: a look does not need the writer.
        let now = self.now();
        let next = next_look(&mut *self.reader().await?, nanos(now)).await?;
        if want == 0 || next.is_none_or(|next| next > now) {
            return Ok(DueTimers { now, timers: Vec::new(), next });
        }
        self.write(move |tx| take(tx, want, hold).boxed()).await
    }

    async fn fire_timer(&self, scope: &Scope, firing: Firing) -> Result<Option<Accepted>, StoreError> {
        check_timer(&firing.timer)?;
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| fire(tx, viewer, firing).boxed()).await
    }
}
