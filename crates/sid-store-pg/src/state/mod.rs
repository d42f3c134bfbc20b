//! `StateStore`: accept, claim, load, commit.

pub(crate) mod accept;
mod claim;
mod commit;
mod load;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use sid_store::{Accept, Accepted, Commit, Committed, Lease, Loaded, Renewed, StateStore, StoreError};
use sid_types::{ConversationId, MessageId, Run, RunId, Scope, Step, WorkerId};
use uuid::Uuid;

use crate::backend::PgStore;
use crate::codec::{Columns, limit};
use crate::error::{Result, missing};
use crate::journal::{Draft, Peek, Question, fenced, held, lost};
use crate::rows::{Conv, Journal, RunRow};
use crate::tx::Tx;
use crate::visibility::Viewer;

#[async_trait]
impl StateStore for PgStore {
    async fn accept(&self, scope: &Scope, accept: Accept) -> Result<Accepted, StoreError> {
        Ok(accept::accept(self, scope, accept).await?)
    }

    async fn claim(&self, worker: WorkerId, want: usize, per_tenant: usize, ttl: Duration) -> Result<Vec<Lease>, StoreError> {
        Ok(claim::claim(self, worker, want, per_tenant, ttl).await?)
    }

    async fn renew(&self, leases: &[Lease], ttl: Duration) -> Result<Vec<Renewed>, StoreError> {
        Ok(renew(self, leases, ttl).await?)
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let release = |peek| {
            let (mut draft, _) = held(self, peek, lease)?;
            draft.release();
            Ok(Some((draft, ())))
        };
        write(self, lease, release).await?;
        Ok(())
    }

    async fn load(&self, lease: &Lease) -> Result<Loaded, StoreError> {
        Ok(load::load(self, lease).await?)
    }

    async fn commit(&self, lease: &Lease, commit: Commit) -> Result<Committed, StoreError> {
        Ok(Box::pin(commit::commit(self, lease, commit)).await?)
    }

    async fn run(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError> {
        Ok(find_run(self, scope, run).await?.1.run)
    }

    async fn runs(&self, scope: &Scope, conversation: ConversationId, most: usize) -> Result<Vec<Run>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        let conv = Conv::get(&mut tx, &self.viewer(scope), conversation).await?;
        let query =
            tx.query("SELECT row_to_json(r)::text FROM sid.runs r WHERE r.tenant = $1 AND r.conv = $2 ORDER BY r.number DESC LIMIT $3");
        let query = query.bind(tx.tenant).bind(conv.id.uuid()).bind(limit(most));
        let rows = query.fetch_all(tx.conn()).await.map_err(crate::error::Fault::Sql)?;
        let runs: Result<Vec<Run>> = rows.iter().map(|row| Ok(row.json::<RunRow>(0)?.journal(conv.agent)?.run)).collect();
        Ok(runs?)
    }

    async fn steps(&self, scope: &Scope, run: RunId) -> Result<Vec<Step>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        visible_run(&mut tx, &self.viewer(scope), run).await?;
        let query = tx.query("SELECT doc, tail, recalled FROM sid.steps WHERE tenant = $1 AND run = $2 ORDER BY number");
        let query = query.bind(tx.tenant).bind(run.uuid());
        let rows = query.fetch_all(tx.conn()).await.map_err(crate::error::Fault::Sql)?;
        let steps: Result<Vec<Step>> =
            rows.iter().map(|row| Ok(Step { tail: row.maybe_text(1)?, recalled: row.json(2)?, ..row.json(0)? })).collect();
        Ok(steps?)
    }

    async fn cancel(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError> {
        let (_, mut journal) = find_run(self, scope, run).await?;
        if journal.run.status.is_terminal() || journal.run.cancel_requested {
            return Ok(journal.run);
        }
        let mut tx = self.begin(scope.tenant()).await?;
        let query = tx.query("UPDATE sid.runs SET cancel = true WHERE tenant = $1 AND id = $2 AND status < 2");
        let query = query.bind(tx.tenant).bind(run.uuid());
        let done = query.execute(tx.conn()).await.map_err(crate::error::Fault::Sql)?;
        if done.rows_affected() == 0 {
            // It ended meanwhile, or was erased.
            drop(tx);
            return Ok(find_run(self, scope, run).await?.1.run);
        }
        tx.commit().await?;
        journal.run.cancel_requested = true;
        // Whoever follows the run may want to look.
        self.watchers().wake(scope.tenant(), run);
        Ok(journal.run)
    }

    async fn is_cancel_requested(&self, lease: &Lease) -> Result<bool, StoreError> {
        let call = self
            .call("SELECT asked, epoch FROM sid.cancel_asked($1, $2, $3, $4, $5)")
            .bind(lease.scope.tenant().uuid())
            .bind(self.clock())
            .bind(lease.conversation.uuid())
            .bind(lease.run.uuid())
            .bind(i64::try_from(lease.epoch).unwrap_or(i64::MAX));
        let row = self.timely(call.fetch_one()).await?;
        let epoch = row.maybe_int(1)?.and_then(|e| u64::try_from(e).ok());
        let asked: Option<bool> = sqlx::Row::try_get_unchecked(&row, 0).map_err(crate::error::Fault::Sql)?;
        asked.ok_or_else(|| fenced(lease, epoch))
    }

    async fn waiting_messages(&self, scope: &Scope, run: RunId) -> Result<Vec<MessageId>, StoreError> {
        Ok(find_run(self, scope, run).await?.1.waiting.iter().map(|m| m.id).collect())
    }
}

/// A run, if the scope may see its conversation.
async fn find_run(store: &PgStore, scope: &Scope, run: RunId) -> Result<(Conv, Journal)> {
    let question = Question { run: Some(run), ..Question::default() };
    let Peek { conv, run, .. } = store.peek(None, scope.tenant(), &question).await?;
    let conv = conv.filter(|c| store.viewer(scope).sees_conversation(c.agent, c.user)).ok_or(missing("run"))?;
    Ok((conv, run.ok_or(missing("run"))?))
}

/// How many events a run has, if the scope may see its conversation.
pub(crate) async fn visible_run(tx: &mut Tx, viewer: &Viewer, run: RunId) -> Result<u64> {
    let query = tx.query(
        "SELECT c.agent_id, c.user_id, r.events FROM sid.runs r JOIN sid.conversations c ON c.tenant = r.tenant AND c.id = r.conv
         WHERE r.tenant = $1 AND r.id = $2",
    );
    let row = query.bind(tx.tenant).bind(run.uuid()).fetch_optional(tx.conn()).await?.ok_or(missing("run"))?;
    if viewer.sees_conversation(row.id(0)?, row.maybe_id(1)?) { row.count(2) } else { Err(missing("run").into()) }
}

/// A small write under a lease: without the lock first, with it when somebody else was faster. `decide` may answer that nothing is to
/// be written.
pub(crate) async fn write<T: Send>(
    store: &PgStore,
    lease: &Lease,
    decide: impl Fn(Peek) -> Result<Option<(Draft, T)>> + Send + Sync,
) -> Result<Option<T>> {
    let tenant = lease.scope.tenant();
    let question = Question { conversation: Some(lease.conversation), ..Question::default() };
    if let Some(peek) = store.recall_peek(tenant, &question)
        && let Ok(Some((draft, value))) = decide(peek)
        && let Ok(true) = store.put(None, draft).await
    {
        return Ok(Some(value));
    }
    let Some((draft, value)) = decide(store.peek(None, tenant, &question).await?)? else { return Ok(None) };
    match store.put(None, draft).await {
        Ok(true) => return Ok(Some(value)),
        Ok(false) => {}
        Err(fault) if fault.is_collision() => {}
        Err(fault) => return Err(fault),
    }
    let mut tx = store.begin(tenant).await?;
    let peek = store.peek(Some(&mut tx), tenant, &question).await?;
    let Some((draft, value)) = decide(peek)? else { return Ok(None) };
    if !store.put(Some(&mut tx), draft).await? {
        return Err(lost());
    }
    tx.commit().await?;
    Ok(Some(value))
}

async fn renew(store: &PgStore, leases: &[Lease], ttl: Duration) -> Result<Vec<Renewed>> {
    if leases.is_empty() {
        return Ok(Vec::new());
    }
    // Conversations are locked in the order in which a batch of writes locks them.
    let mut ordered: Vec<&Lease> = leases.iter().collect();
    ordered.sort_unstable_by_key(|l| l.conversation.uuid());
    let ids = |of: fn(&Lease) -> Uuid| ordered.iter().map(|lease| of(lease)).collect::<Vec<Uuid>>();
    let epochs: Vec<i64> = ordered.iter().map(|l| i64::try_from(l.epoch).unwrap_or(i64::MAX)).collect();
    let call = store
        .call("SELECT o_conv, o_expires, o_epoch, o_cancel FROM sid.renew($1, $2, $3, $4, $5, $6)")
        .bind(store.clock())
        .bind(ttl_micros(ttl))
        .bind(ids(|l| l.scope.tenant().uuid()))
        .bind(ids(|l| l.conversation.uuid()))
        .bind(ids(|l| l.run.uuid()))
        .bind(epochs);
    let rows = store.timely(call.fetch_all()).await?;
    let mut until = HashMap::with_capacity(rows.len());
    for row in &rows {
        let is_cancel_requested: bool = sqlx::Row::try_get_unchecked(row, 3)?;
        until.insert((row.id::<ConversationId>(0)?, row.count(2)?), (row.time(1)?, is_cancel_requested));
    }
    let mut held: Vec<Renewed> = Vec::with_capacity(rows.len());
    for lease in leases {
        if let Some(&(expires_at, is_cancel_requested)) = until.get(&(lease.conversation, lease.epoch)) {
            held.push(Renewed { lease: Lease { expires_at, ..lease.clone() }, is_cancel_requested });
        }
    }
    Ok(held)
}

/// Microseconds of a time to live; at most a century, so that now + ttl stays in range.
pub(crate) fn ttl_micros(ttl: Duration) -> i64 {
    const CENTURY: i64 = 100 * 365 * 24 * 3_600 * 1_000_000;
    i64::try_from(ttl.as_micros()).unwrap_or(CENTURY).min(CENTURY)
}
