//! `TimerStore`: one row each, found by when it is due.

use std::time::Duration;

use async_trait::async_trait;
use sid_store::{
    Accepted, DueTimer, DueTimers, Firing, NO_TIMER, Page, PageRequest, PairFilter, Right, StoreError, TimerStore, check_timer,
    may_change_timers, next_timer, too_many_timers,
};
use sid_types::{Scope, TenantId, Timer, TimerId, TimerState};

use crate::backend::PgStore;
use crate::codec::{At, Columns, Id, to_json};
use crate::directory::{find_agent, find_user};
use crate::error::{Result, missing};
use crate::listed::listed;
use crate::rows::{Conv, turn_scope};
use crate::state::accept::accept_in;
use crate::state::ttl_micros;
use crate::tx::Tx;
use crate::visibility::Viewer;

async fn find(tx: &mut Tx, timer: TimerId) -> Result<Option<Timer>> {
    let query = tx.query("SELECT doc FROM sid.timers WHERE tenant = $1 AND id = $2");
    let row = query.bind(tx.tenant).bind(timer.uuid()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(|row| row.json(0)).transpose()
}

/// The timer, for those who may change it.
async fn own(tx: &mut Tx, viewer: &Viewer, timer: TimerId) -> Result<Timer> {
    let found = find(tx, timer).await?;
    Ok(found.filter(|t| may_change_timers(&viewer.scope, t.agent, t.user)).ok_or(NO_TIMER)?)
}

/// Puts the timer in the place of the version before it, and lets go of it.
async fn replace(tx: &mut Tx, timer: &Timer) -> Result<()> {
    let query = tx.query(
        "UPDATE sid.timers SET next_due = $3, held_until = NULL, is_done = $4, version = $5, doc = $6
         WHERE tenant = $1 AND id = $2 AND version = $5 - 1",
    );
    let query = query.bind(tx.tenant).bind(timer.id.uuid()).bind(timer.looked_at().map(At)).bind(timer.state == TimerState::Done);
    let done = query.bind(timer.version as i64).bind(to_json(timer)?).execute(tx.conn()).await?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    // Somebody was first between the look and this.
    let found = find(tx, timer.id).await?.ok_or(NO_TIMER)?.version;
    Err(StoreError::Conflict { expected: timer.version - 1, found }.into())
}

async fn create(tx: &mut Tx, viewer: &Viewer, timer: Timer, most: u64) -> Result<Timer> {
    if !may_change_timers(&viewer.scope, timer.agent, timer.user) || find_agent(tx, timer.agent).await?.is_none() {
        return Err(missing("agent").into());
    }
    if let Some(user) = timer.user {
        find_user(tx, user).await?.ok_or(missing("user"))?;
    }
    if let Some(conversation) = timer.conversation {
        let of = Conv::get(tx, viewer, conversation).await?;
        if (of.agent, of.user) != (timer.agent, timer.user) {
            return Err(missing("conversation").into());
        }
    }
    // Whoever erases one of them waits, or has erased it before: then there is no row to hold.
    let held = [
        ("SELECT 1 FROM sid.conversations WHERE tenant = $1 AND id = $2 FOR KEY SHARE", timer.conversation.map(Id::raw), "conversation"),
        ("SELECT 1 FROM sid.users WHERE tenant = $1 AND id = $2 FOR KEY SHARE", timer.user.map(Id::raw), "user"),
        ("SELECT 1 FROM sid.agents WHERE tenant = $1 AND id = $2 FOR KEY SHARE", Some(timer.agent.raw()), "agent"),
    ];
    for (sql, id, what) in held {
        let Some(id) = id else { continue };
        tx.query(sql).bind(tx.tenant).bind(id).fetch_optional(tx.conn()).await?.ok_or(missing(what))?;
    }
    // One after the other, so that none is made beyond the most.
    let query = tx.query("SELECT pg_advisory_xact_lock(hashtextextended('sid.timers ' || $1::uuid::text || $2::uuid::text, 0))");
    query.bind(tx.tenant).bind(timer.agent.uuid()).execute(tx.conn()).await?;
    if let Some(known) = find(tx, timer.id).await? {
        let is_own = (known.agent, known.user) == (timer.agent, timer.user);
        return if is_own { Ok(known) } else { Err(StoreError::Exists { what: "timer", name: timer.id.to_string() }.into()) };
    }
    let query =
        tx.query("SELECT count(*) FROM sid.timers WHERE tenant = $1 AND agent_id = $2 AND user_id IS NOT DISTINCT FROM $3 AND NOT is_done");
    let query = query.bind(tx.tenant).bind(timer.agent.uuid()).bind(timer.user.map(Id::raw));
    if query.fetch_one(tx.conn()).await?.count(0)? >= most {
        return Err(too_many_timers(most).into());
    }
    let timer = Timer { version: 1, created_at: tx.now, updated_at: tx.now, ..timer };
    let query = tx.query(
        "INSERT INTO sid.timers (tenant, id, agent_id, user_id, conv, next_due, is_done, version, created_at, doc)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9)",
    );
    let query = query.bind(tx.tenant).bind(timer.id.uuid()).bind(timer.agent.uuid()).bind(timer.user.map(Id::raw));
    let query = query.bind(timer.conversation.map(Id::raw)).bind(timer.looked_at().map(At)).bind(timer.state == TimerState::Done);
    query.bind(At(timer.created_at)).bind(to_json(&timer)?).execute(tx.conn()).await?;
    Ok(timer)
}

async fn fire(store: &PgStore, tx: &mut Tx, scope: &Scope, Firing { timer, accept }: Firing) -> Result<Option<Accepted>> {
    let known = own(tx, &store.viewer(scope), timer.id).await?;
    let next = next_timer(&known, timer, tx.now)?;
    // The conversation first, as erasing it does; then the timer, whose version tells whether somebody has fired it meanwhile.
    let accepted = match accept {
        Some(accept) => Some(accept_in(store, tx, scope, &accept).await?),
        None => None,
    };
    replace(tx, &next).await?;
    Ok(accepted)
}

#[async_trait]
impl TimerStore for PgStore {
    async fn create_timer(&self, scope: &Scope, timer: Timer, most: u64) -> Result<Timer, StoreError> {
        check_timer(&timer)?;
        let mut tx = self.begin(scope.tenant()).await?;
        let outcome = create(&mut tx, &self.viewer(scope), timer, most).await;
        tx.finish(outcome).await
    }

    async fn timer(&self, scope: &Scope, timer: TimerId) -> Result<Timer, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        let found = find(&mut tx, timer).await?;
        found.filter(|t| Right::to_conversation(scope, t.agent, t.user)).ok_or(NO_TIMER)
    }

    async fn timers(&self, scope: &Scope, filter: &PairFilter, page: PageRequest) -> Result<Page<Timer>, StoreError> {
        Ok(listed(self, scope, "timers", filter, &page, |t: &Timer| (t.created_at, t.id)).await?)
    }

    async fn put_timer(&self, scope: &Scope, timer: Timer) -> Result<Timer, StoreError> {
        check_timer(&timer)?;
        let mut tx = self.begin(scope.tenant()).await?;
        let outcome = async {
            let next = next_timer(&own(&mut tx, &self.viewer(scope), timer.id).await?, timer, tx.now)?;
            replace(&mut tx, &next).await?;
            Ok(next)
        }
        .await;
        tx.finish(outcome).await
    }

    async fn drop_timer(&self, scope: &Scope, timer: TimerId) -> Result<(), StoreError> {
        let mut tx = self.begin(scope.tenant()).await?;
        let outcome = async {
            own(&mut tx, &self.viewer(scope), timer).await?;
            let query = tx.query("DELETE FROM sid.timers WHERE tenant = $1 AND id = $2");
            query.bind(tx.tenant).bind(timer.uuid()).execute(tx.conn()).await?;
            Ok(())
        }
        .await;
        tx.finish(outcome).await
    }

    async fn take_timers(&self, want: usize, hold: Duration) -> Result<DueTimers, StoreError> {
        let call = self
            .call("SELECT x.o_tenant, x.o_doc, x.o_now, x.o_next FROM sid.take_timers($1, $2, $3) x")
            .bind(self.clock())
            .bind(i32::try_from(want).unwrap_or(1_000).min(1_000))
            .bind(ttl_micros(hold));
        let rows = self.timely(call.fetch_all()).await?;
        let mut due = DueTimers::default();
        for row in &rows {
            due.now = row.time(2)?;
            let Some(tenant) = row.maybe_id::<TenantId>(0)? else {
                due.next = row.maybe_time(3)?;
                continue;
            };
            let timer: Timer = row.json(1)?;
            due.timers.push(DueTimer { scope: turn_scope(tenant, timer.agent, timer.user), timer });
        }
        Ok(due)
    }

    async fn fire_timer(&self, scope: &Scope, firing: Firing) -> Result<Option<Accepted>, StoreError> {
        check_timer(&firing.timer)?;
        let mut tx = self.begin(scope.tenant()).await?;
        let outcome = fire(self, &mut tx, scope, firing).await;
        tx.finish(outcome).await
    }
}
