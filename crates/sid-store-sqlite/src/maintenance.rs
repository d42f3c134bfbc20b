//! `Maintenance`: events, idempotency keys and used tokens go in small steps, so that no write waits for long.

use async_trait::async_trait;
use futures::FutureExt;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};
use sid_store::{Maintenance, StoreError};
use sid_types::Timestamp;

use crate::backend::SqliteStore;
use crate::codec::{Columns, nanos};
use crate::error::{Fault, Result};
use crate::state::accept::KEY_LIFE;
use crate::writer::Tx;

/// Most runs whose events go in one step, and most keys.
const MOST: i64 = 64;

#[async_trait]
impl Maintenance for SqliteStore {
    async fn maintain(&self) -> Result<bool, StoreError> {
        let keep = SignedDuration::try_from(self.config().keep_events).unwrap_or(SignedDuration::MAX);
        let ended_before = self.now().checked_sub(keep).unwrap_or(Timestamp::MIN);
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
        self.write(move |tx| drop_old(tx, runs).boxed()).await
    }
}

async fn drop_old(tx: &mut Tx, runs: Vec<i64>) -> Result<bool> {
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
    Ok(runs.len() as i64 == MOST || keys.rows_affected() as i64 == MOST)
}
