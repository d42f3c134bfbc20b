//! `Maintenance`: events, idempotency keys, used tokens and the audit log go in small steps, so that no write waits for long.

use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};
use sid_store::{Maintenance, Overdue, StoreError, TenantLimits};
use sid_types::{Owner, Timestamp};

use crate::backend::SqliteStore;
use crate::codec::{Columns, nanos};
use crate::diary::engine_scope;
use crate::error::{Fault, Result};
use crate::state::accept::KEY_LIFE;
use crate::writer::Tx;

/// Most runs whose events go in one step, and most keys.
const MOST: i64 = 64;
/// Most entries of the audit log that go in one step.
const MOST_ENTRIES: i64 = 1_000;

/// The moment that long before `now`.
fn ago(now: Timestamp, keep: Duration) -> Timestamp {
    let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
    now.checked_sub(keep).unwrap_or(Timestamp::MIN)
}

#[async_trait]
impl Maintenance for SqliteStore {
    async fn maintain(&self) -> Result<bool, StoreError> {
        let ended_before = ago(self.now(), self.config().keep_events);
        let keep_audit = self.config().keep_audit;
        // Looked for by a reader: in vain, mostly, and it may be a long look.
        let rows = sqlx::query(
            "SELECT r.run FROM runs r WHERE r.ended_at < ?
             AND EXISTS (SELECT 1 FROM events e WHERE e.tenant = r.tenant AND e.run = r.run) ORDER BY r.run LIMIT ?",
        )
        .bind(nanos(ended_before))
        .bind(MOST)
        .fetch_all(&mut *self.reader().await?)
        .await
        .map_err(Fault::Sql)?;
        let runs: Vec<i64> = rows.iter().map(|row| row.int(0)).collect::<Result<_>>()?;
        self.write(move |tx| drop_old(tx, runs, keep_audit).boxed()).await
    }

    async fn overdue(&self, most: usize) -> Result<Vec<Overdue>, StoreError> {
        let mut conn = self.reader().await?;
        let limited = sqlx::query("SELECT l.tenant, t.id, l.limits FROM tenant_limits l JOIN tenants t ON t.tenant = l.tenant");
        let mut found = Vec::new();
        for row in limited.fetch_all(&mut *conn).await.map_err(Fault::Sql)? {
            let Some(since) = row.json::<TenantLimits>(2)?.kept_since(self.now()) else { continue };
            let query = sqlx::query(
                "SELECT c.id, ifnull(c.last_at, c.created_at) AS at FROM conversations c
                 WHERE c.tenant = ? AND c.head IS NULL AND ifnull(c.last_at, c.created_at) < ? ORDER BY at LIMIT ?",
            );
            let query = query.bind(row.int(0)?).bind(nanos(since)).bind(most as i64);
            let scope = engine_scope(row.id(1)?, Owner::Tenant);
            for row in query.fetch_all(&mut *conn).await.map_err(Fault::Sql)? {
                found.push((row.int(1)?, Overdue { scope, conversation: row.id(0)?, since }));
            }
        }
        found.sort_by_key(|(at, o)| (*at, o.conversation));
        Ok(found.into_iter().take(most).map(|(_, overdue)| overdue).collect())
    }
}

async fn drop_old(tx: &mut Tx, runs: Vec<i64>, keep_audit: Duration) -> Result<bool> {
    for run in &runs {
        sqlx::query("DELETE FROM events WHERE tenant = (SELECT tenant FROM runs WHERE run = ?1) AND run = ?1")
            .bind(run)
            .execute(&mut tx.conn)
            .await?;
    }
    let keys = sqlx::query(
        "DELETE FROM idempotency WHERE (tenant, principal, key) IN (SELECT tenant, principal, key FROM idempotency WHERE at <= ? LIMIT ?)",
    )
    .bind(nanos(tx.now).saturating_sub(KEY_LIFE))
    .bind(MOST)
    .execute(&mut tx.conn)
    .await?;
    let first = tx.now.to_zoned(TimeZone::UTC).date().first_of_month().saturating_sub(1.month());
    sqlx::query("DELETE FROM token_ledger WHERE day < ?").bind(first.to_string()).execute(&mut tx.conn).await?;
    sqlx::query("DELETE FROM token_reservations WHERE expires_at <= ?").bind(nanos(tx.now)).execute(&mut tx.conn).await?;
    let entries = sqlx::query("DELETE FROM audit WHERE entry IN (SELECT entry FROM audit WHERE at <= ? LIMIT ?)")
        .bind(nanos(ago(tx.now, keep_audit)))
        .bind(MOST_ENTRIES)
        .execute(&mut tx.conn)
        .await?;
    if entries.rows_affected() as i64 == MOST_ENTRIES {
        return Ok(true);
    }
    Ok(runs.len() as i64 == MOST || keys.rows_affected() as i64 == MOST)
}
