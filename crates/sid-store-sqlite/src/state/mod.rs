//! `StateStore`: accept, claim, load, commit.

pub(crate) mod accept;
mod commit;
mod load;

use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{Accept, Accepted, Commit, Committed, Lease, Loaded, Renewed, StateStore, StoreError};
use sid_types::{ConversationId, MessageId, Run, RunId, Scope, Step, WorkerId};

use crate::backend::SqliteStore;
use crate::codec::{Columns, Id, nanos};
use crate::error::Result;
use crate::journal::{Held, Journal, RUN, fenced, take, ttl_nanos};
use crate::visibility::{CONV, Conv};
use crate::writer::{After, Tx};

#[async_trait]
impl StateStore for SqliteStore {
    async fn accept(&self, scope: &Scope, accept: Accept) -> Result<Accepted, StoreError> {
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| accept::accept(tx, viewer, accept).boxed()).await
    }

    async fn claim(&self, worker: WorkerId, want: usize, per_tenant: usize, ttl: Duration) -> Result<Vec<Lease>, StoreError> {
        let now = nanos(self.now());
        // Asked often and mostly in vain: a look does not need the writer.
        let mut conn = self.reader().await?;
        let is_work = sqlx::query("SELECT 1 FROM conversations WHERE head IS NOT NULL AND (expires_at IS NULL OR expires_at <= ?) LIMIT 1")
            .bind(now)
            .fetch_optional(&mut *conn)
            .await
            .map_err(crate::error::Fault::Sql)?
            .is_some();
        drop(conn);
        if want == 0 || !is_work {
            return Ok(Vec::new());
        }
        self.write(move |tx| claim(tx, worker, want, per_tenant, ttl).boxed()).await
    }

    async fn renew(&self, leases: &[Lease], ttl: Duration) -> Result<Vec<Renewed>, StoreError> {
        let mut asked = Vec::with_capacity(leases.len());
        for lease in leases {
            asked.push((self.tenant(lease.scope.tenant()).await?, lease.clone()));
        }
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        self.write(move |tx| renew(tx, asked, ttl).boxed()).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let (tenant, lease) = (self.tenant(lease.scope.tenant()).await?, lease.clone());
        self.write(move |tx| {
            async move {
                let (mut conv, _) = Held::get(&mut tx.conn, tenant, &lease).await?;
                (conv.holder, conv.expires_at, conv.ttl) = (None, None, None);
                conv.save(tx);
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn load(&self, lease: &Lease) -> Result<Loaded, StoreError> {
        load::load(self, lease).await
    }

    async fn commit(&self, lease: &Lease, commit: Commit) -> Result<Committed, StoreError> {
        let (viewer, lease) = (self.viewer(&lease.scope).await?, lease.clone());
        self.write(move |tx| commit::commit(tx, viewer, lease, commit).boxed()).await
    }

    async fn run(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError> {
        let viewer = self.viewer(scope).await?;
        Ok(Journal::get(&mut *self.reader().await?, &viewer, run).await?.1.run)
    }

    async fn runs(&self, scope: &Scope, conversation: ConversationId, limit: usize) -> Result<Vec<Run>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        let conv = Conv::get(&mut conn, &viewer, conversation).await?;
        let sql = format!("SELECT {RUN} FROM runs r WHERE r.tenant = ? AND r.conv = ? ORDER BY r.run DESC LIMIT ?");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(viewer.tenant)
            .bind(conv.conv)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *conn)
            .await
            .map_err(crate::error::Fault::Sql)?;
        let runs: Result<Vec<Run>> = rows.iter().map(|row| Ok(Journal::read(row, 0, conv.id, conv.agent)?.run)).collect();
        Ok(runs?)
    }

    async fn steps(&self, scope: &Scope, run: RunId) -> Result<Vec<Step>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        let (_, journal) = Journal::get(&mut conn, &viewer, run).await?;
        let rows = sqlx::query("SELECT doc FROM steps WHERE tenant = ? AND run = ? ORDER BY number")
            .bind(viewer.tenant)
            .bind(journal.number)
            .fetch_all(&mut *conn)
            .await
            .map_err(crate::error::Fault::Sql)?;
        let steps: Result<Vec<Step>> = rows.iter().map(|row| row.json(0)).collect();
        Ok(steps?)
    }

    async fn cancel(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError> {
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| {
            async move {
                let (conv, mut journal) = Journal::get(&mut tx.conn, &viewer, run).await?;
                if !journal.run.status.is_terminal() && !journal.run.cancel_requested {
                    journal.run.cancel_requested = true;
                    request_cancel(tx, &conv, &journal).await?;
                }
                Ok(journal.run)
            }
            .boxed()
        })
        .await
    }

    async fn is_cancel_requested(&self, lease: &Lease) -> Result<bool, StoreError> {
        let tenant = self.tenant(lease.scope.tenant()).await?;
        let row = sqlx::query(
            "SELECT c.epoch, c.holder IS NOT NULL AND r.id IS ?, r.cancel FROM conversations c LEFT JOIN runs r ON r.run = c.head
             WHERE c.tenant = ? AND c.id = ?",
        )
        .bind(lease.run.blob())
        .bind(tenant)
        .bind(lease.conversation.blob())
        .fetch_optional(&mut *self.reader().await?)
        .await
        .map_err(crate::error::Fault::Sql)?;
        match row {
            Some(row) if row.flag(1)? && row.count(0)? == lease.epoch => Ok(row.flag(2)?),
            Some(row) => Err(fenced(lease, Some(row.count(0)?))),
            None => Err(fenced(lease, None)),
        }
    }

    async fn waiting_messages(&self, scope: &Scope, run: RunId) -> Result<Vec<MessageId>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let (_, journal) = Journal::get(&mut *self.reader().await?, &viewer, run).await?;
        Ok(journal.waiting.iter().map(|m| m.id).collect())
    }
}

/// Marks a run as to be stopped.
async fn request_cancel(tx: &mut Tx, conv: &Conv, journal: &Journal) -> Result<()> {
    sqlx::query("UPDATE runs SET cancel = 1 WHERE run = ?").bind(journal.number).execute(&mut tx.conn).await?;
    // Whoever follows the run may want to look.
    tx.then(After::Events(conv.tenant_id, journal.run.id));
    Ok(())
}

async fn claim(tx: &mut Tx, worker: WorkerId, want: usize, per_tenant: usize, ttl: Duration) -> Result<Vec<Lease>> {
    let mut leases = Vec::new();
    // Conversations whose waiting runs were all cancelled give no lease; the next ones are looked at instead.
    while leases.len() < want {
        let sql = format!(
            "WITH held AS (SELECT w.tenant, count(*) AS n, sum(w.holder = ?1) AS own FROM conversations w
                WHERE w.head IS NOT NULL AND w.expires_at > ?2 GROUP BY w.tenant),
             waiting AS (SELECT w.conv, ifnull(r.turn, r.created_at) AS turn,
                    row_number() OVER (PARTITION BY w.tenant ORDER BY ifnull(r.turn, r.created_at), w.head) AS place
                FROM conversations w JOIN runs r ON r.run = w.head
                WHERE w.head IS NOT NULL AND (w.expires_at IS NULL OR w.expires_at <= ?2))
             SELECT {CONV}, c.tenant, t.id FROM waiting w JOIN conversations c ON c.conv = w.conv JOIN tenants t ON t.tenant = c.tenant
             LEFT JOIN held h ON h.tenant = c.tenant WHERE w.place + ifnull(h.own, 0) <= ?3
             ORDER BY w.place + ifnull(h.n, 0), w.turn, c.head LIMIT ?4"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(worker.blob())
            .bind(nanos(tx.now))
            .bind(i64::try_from(per_tenant).unwrap_or(i64::MAX))
            .bind((want - leases.len()) as i64)
            .fetch_all(&mut tx.conn)
            .await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let at = crate::journal::AFTER_CONV;
            let mut conv = Conv::read(&row, row.int(at)?, row.id(at + 1)?)?;
            leases.extend(take(tx, &mut conv, worker, ttl_nanos(ttl)).await?);
            conv.save(tx);
        }
        tx.flush().await?;
        if ttl.is_zero() {
            break;
        }
    }
    Ok(leases)
}

async fn renew(tx: &mut Tx, asked: Vec<(i64, Lease)>, ttl: Duration) -> Result<Vec<Renewed>> {
    let ttl = ttl_nanos(ttl);
    let expires_at = tx.now.checked_add(jiff::SignedDuration::from_nanos(ttl)).unwrap_or(jiff::Timestamp::MAX);
    let mut held = Vec::new();
    for (tenant, lease) in asked {
        let renewed = sqlx::query(
            "UPDATE conversations SET expires_at = ?, ttl = ? WHERE tenant = ? AND id = ? AND epoch = ? AND holder IS NOT NULL
             AND head = (SELECT run FROM runs WHERE tenant = conversations.tenant AND id = ?)
             RETURNING (SELECT cancel FROM runs WHERE run = head)",
        )
        .bind(nanos(expires_at))
        .bind(ttl)
        .bind(tenant)
        .bind(lease.conversation.blob())
        .bind(lease.epoch as i64)
        .bind(lease.run.blob())
        .fetch_optional(&mut tx.conn)
        .await?;
        if let Some(row) = renewed {
            held.push(Renewed { lease: Lease { expires_at, ..lease }, is_cancel_requested: row.flag(0)? });
        }
    }
    Ok(held)
}
