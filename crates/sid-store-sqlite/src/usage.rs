//! `UsageStore`: limits, requests, tokens.

use async_trait::async_trait;
use futures::FutureExt;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use sid_store::{
    Lease, Reserve, Reserved, SelfBegun, SelfBegunUse, StoreError, TenantLimits, TokenUse, UsageStore, day_begins, hour_begins,
};
use sid_types::{AgentId, OperatorScope, Scope, TenantId, Timestamp, Usage};
use sqlx::sqlite::SqliteConnection;

use crate::backend::SqliteStore;
use crate::codec::{Columns, Id, nanos, to_json};
use crate::error::{Fault, Result, missing};
use crate::journal::ttl_nanos;
use crate::visibility::Conv;
use crate::writer::Tx;

#[async_trait]
impl UsageStore for SqliteStore {
    async fn limits(&self, tenant: TenantId) -> Result<TenantLimits, StoreError> {
        let row = sqlx::query("SELECT limits FROM tenant_limits WHERE tenant = ?")
            .bind(self.tenant(tenant).await?)
            .fetch_optional(&mut *self.reader().await?)
            .await
            .map_err(Fault::Sql)?;
        Ok(row.map(|row| row.json(0)).transpose()?.unwrap_or_default())
    }

    async fn set_limits(&self, _operator: &OperatorScope, tenant: TenantId, limits: TenantLimits) -> Result<(), StoreError> {
        let tenant = self.tenant(tenant).await?;
        if tenant < 0 {
            return Err(missing("tenant"));
        }
        self.write(move |tx| {
            async move {
                tx.later("INSERT OR REPLACE INTO tenant_limits (tenant, limits) VALUES (?, ?)").bind(tenant).bind(to_json(&limits)?);
                tx.flush().await
            }
            .boxed()
        })
        .await
    }

    async fn add_requests(&self, requests: &[(TenantId, u64)]) -> Result<Vec<u64>, StoreError> {
        // One process is all processes: nothing to be written down.
        let mut all = self.requests().lock();
        let mut add = |(tenant, new): &(TenantId, u64)| {
            let total = all.entry(*tenant).or_default();
            *total += new;
            *total
        };
        Ok(requests.iter().map(&mut add).collect())
    }

    async fn reserve(&self, lease: &Lease, reserve: Reserve) -> Result<Reserved, StoreError> {
        let (tenant, run) = (self.tenant(lease.scope.tenant()).await?, lease.run);
        self.write(move |tx| {
            async move {
                sqlx::query("DELETE FROM token_reservations WHERE tenant = ?1 AND (run = ?2 OR expires_at <= ?3)")
                    .bind(tenant)
                    .bind(run.blob())
                    .bind(nanos(tx.now))
                    .execute(&mut tx.conn)
                    .await?;
                let used = token_use(&mut tx.conn, tenant, tx.now).await?;
                let is_free = |used: u64, limit: u64| limit == 0 || used < limit;
                let is_granted =
                    is_free(used.day + used.reserved, reserve.per_day) && is_free(used.month + used.reserved, reserve.per_month);
                if is_granted {
                    sqlx::query("INSERT INTO token_reservations (tenant, run, tokens, expires_at) VALUES (?, ?, ?, ?)")
                        .bind(tenant)
                        .bind(run.blob())
                        .bind(i64::try_from(reserve.tokens).unwrap_or(i64::MAX))
                        .bind(nanos(tx.now).saturating_add(ttl_nanos(reserve.ttl)))
                        .execute(&mut tx.conn)
                        .await?;
                }
                Ok(Reserved { is_granted, used })
            }
            .boxed()
        })
        .await
    }

    async fn unreserve(&self, lease: &Lease) -> Result<(), StoreError> {
        let (tenant, run) = (self.tenant(lease.scope.tenant()).await?, lease.run);
        self.write(move |tx| {
            async move {
                tx.later("DELETE FROM token_reservations WHERE tenant = ? AND run = ?").bind(tenant).bind(run.blob());
                tx.flush().await
            }
            .boxed()
        })
        .await
    }

    async fn self_begun(&self, scope: &Scope, agent: AgentId) -> Result<SelfBegunUse, StoreError> {
        let (tenant, now) = (self.tenant(scope.tenant()).await?, self.now());
        let row = sqlx::query(
            "SELECT sum(runs) FILTER (WHERE agent = ?4 AND hour = ?3), sum(runs) FILTER (WHERE agent = ?4), sum(tokens) FILTER (WHERE agent = ?4),
                sum(runs) FILTER (WHERE hour = ?3), sum(runs), sum(tokens) FROM self_begun WHERE tenant = ?1 AND hour >= ?2",
        )
        .bind(tenant)
        .bind(nanos(day_begins(now)))
        .bind(nanos(hour_begins(now)))
        .bind(agent.blob())
        .fetch_one(&mut *self.reader().await?)
        .await
        .map_err(Fault::Sql)?;
        let sum = |column| Ok::<u64, Fault>(row.maybe_int(column)?.and_then(|n| u64::try_from(n).ok()).unwrap_or_default());
        let of = |at| Ok::<_, Fault>(SelfBegun { runs_this_hour: sum(at)?, runs_today: sum(at + 1)?, tokens_today: sum(at + 2)? });
        Ok(SelfBegunUse { now, agent: of(0)?, tenant: of(3)? })
    }

    async fn token_use(&self, _operator: &OperatorScope, tenant: TenantId) -> Result<TokenUse, StoreError> {
        let (tenant, now) = (self.tenant(tenant).await?, self.now());
        Ok(token_use(&mut *self.reader().await?, tenant, now).await?)
    }
}

/// A step was recorded: its tokens are used, and reserved no more.
pub(crate) fn settle(tx: &mut Tx, conv: &Conv, run: sid_types::RunId, usage: Usage) {
    let tokens = i64::try_from(usage.prompt_tokens + usage.completion_tokens).unwrap_or(i64::MAX);
    let day = day_of(tx.now).to_string();
    tx.later("INSERT INTO token_ledger AS t (tenant, day, tokens) VALUES (?, ?, ?) ON CONFLICT (tenant, day) DO UPDATE SET tokens = t.tokens + excluded.tokens")
        .bind(conv.tenant)
        .bind(day)
        .bind(tokens);
    tx.later("DELETE FROM token_reservations WHERE tenant = ? AND run = ?").bind(conv.tenant).bind(run.blob());
}

/// A run was accepted that nobody asked for at this moment.
pub(crate) fn begin_by_self(tx: &mut Tx, conv: &Conv) {
    let first = day_begins(tx.now).checked_sub(jiff::SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN);
    tx.later("DELETE FROM self_begun WHERE tenant = ? AND hour < ?").bind(conv.tenant).bind(nanos(first));
    add_by_self(tx, conv, 1, 0);
}

/// Such a run has made a step.
pub(crate) fn use_by_self(tx: &mut Tx, conv: &Conv, usage: Usage) {
    add_by_self(tx, conv, 0, i64::try_from(usage.prompt_tokens + usage.completion_tokens).unwrap_or(i64::MAX));
}

fn add_by_self(tx: &mut Tx, conv: &Conv, runs: i64, tokens: i64) {
    let hour = nanos(hour_begins(tx.now));
    tx.later(
        "INSERT INTO self_begun AS s (tenant, hour, agent, runs, tokens) VALUES (?, ?, ?, ?, ?) ON CONFLICT (tenant, hour, agent)
         DO UPDATE SET runs = s.runs + excluded.runs, tokens = s.tokens + excluded.tokens",
    )
    .bind(conv.tenant)
    .bind(hour)
    .bind(conv.agent.blob())
    .bind(runs)
    .bind(tokens);
}

async fn token_use(conn: &mut SqliteConnection, tenant: i64, now: Timestamp) -> Result<TokenUse> {
    let today = day_of(now);
    let row = sqlx::query(
        "SELECT (SELECT tokens FROM token_ledger WHERE tenant = ?1 AND day = ?2),
            (SELECT sum(tokens) FROM token_ledger WHERE tenant = ?1 AND day BETWEEN ?3 AND ?4),
            (SELECT sum(tokens) FROM token_reservations WHERE tenant = ?1 AND expires_at > ?5)",
    )
    .bind(tenant)
    .bind(today.to_string())
    .bind(today.first_of_month().to_string())
    .bind(today.last_of_month().to_string())
    .bind(nanos(now))
    .fetch_one(conn)
    .await?;
    let sum = |column| Ok::<u64, Fault>(row.maybe_int(column)?.and_then(|n| u64::try_from(n).ok()).unwrap_or_default());
    Ok(TokenUse { day: sum(0)?, month: sum(1)?, reserved: sum(2)? })
}

fn day_of(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}
