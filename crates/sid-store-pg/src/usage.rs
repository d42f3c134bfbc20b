//! `UsageStore`: limits, requests, tokens. Each call is one round trip and one transaction.

use std::collections::HashMap;

use async_trait::async_trait;
use sid_store::{Lease, Reserve, Reserved, SelfBegun, SelfBegunUse, StoreError, TenantLimits, TokenUse, UsageStore};
use sid_types::{AgentId, OperatorScope, Scope, TenantId};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::backend::PgStore;
use crate::codec::{Columns, to_json};
use crate::error::{Fault, Result, missing};
use crate::state::ttl_micros;

#[async_trait]
impl UsageStore for PgStore {
    async fn limits(&self, tenant: TenantId) -> Result<TenantLimits, StoreError> {
        let call = self.call("SELECT sid.tenant_limits($1)").bind(tenant.uuid());
        let row = self.timely(call.fetch_one()).await?;
        let text = row.maybe_text(0)?.unwrap_or_else(|| "{}".into());
        Ok(serde_json::from_str(&text).map_err(|e| crate::error::damaged(format!("the limits of {tenant}: {e}")))?)
    }

    async fn set_limits(&self, _operator: &OperatorScope, tenant: TenantId, limits: TenantLimits) -> Result<(), StoreError> {
        let call = self.call("SELECT sid.set_tenant_limits($1, $2)").bind(tenant.uuid()).bind(to_json(&limits)?);
        let row = self.timely(call.fetch_one()).await?;
        if row.flag(0)? { Ok(()) } else { Err(missing("tenant")) }
    }

    async fn add_requests(&self, requests: &[(TenantId, u64)]) -> Result<Vec<u64>, StoreError> {
        let tenants: Vec<Uuid> = requests.iter().map(|(tenant, _)| tenant.uuid()).collect();
        let counts: Vec<i64> = requests.iter().map(|(_, count)| column(*count)).collect();
        let call = self.call("SELECT o_tenant, o_requests FROM sid.add_requests($1, $2)").bind(tenants).bind(counts);
        let rows = self.timely(call.fetch_all()).await?;
        let totals: Result<HashMap<TenantId, u64>> = rows.iter().map(|row| Ok((row.id(0)?, row.count(1)?))).collect();
        let totals = totals?;
        Ok(requests.iter().map(|(tenant, _)| totals.get(tenant).copied().unwrap_or_default()).collect())
    }

    async fn reserve(&self, lease: &Lease, reserve: Reserve) -> Result<Reserved, StoreError> {
        let call = self
            .call("SELECT day, month, reserved, granted FROM sid.reserve_tokens($1, $2, $3, $4, $5, $6, $7)")
            .bind(lease.scope.tenant().uuid())
            .bind(self.clock())
            .bind(lease.run.uuid())
            .bind(Some(column(reserve.tokens)))
            .bind(ttl_micros(reserve.ttl))
            .bind(column(reserve.per_day))
            .bind(column(reserve.per_month));
        let row = self.timely(call.fetch_one()).await?;
        Ok(Reserved { is_granted: row.flag(3)?, used: token_use(&row)? })
    }

    async fn unreserve(&self, lease: &Lease) -> Result<(), StoreError> {
        let call = self
            .call("SELECT 1 FROM sid.reserve_tokens($1, $2, $3, NULL, 0, 0, 0)")
            .bind(lease.scope.tenant().uuid())
            .bind(self.clock())
            .bind(lease.run.uuid());
        self.timely(call.fetch_all()).await?;
        Ok(())
    }

    async fn self_begun(&self, scope: &Scope, agent: AgentId) -> Result<SelfBegunUse, StoreError> {
        let call = self
            .call(
                "SELECT o_now, agent_hour, agent_runs, agent_tokens, tenant_hour, tenant_runs, tenant_tokens
                 FROM sid.self_begun_use($1, $2, $3)",
            )
            .bind(scope.tenant().uuid())
            .bind(self.clock())
            .bind(agent.uuid());
        let row = self.timely(call.fetch_one()).await?;
        let sum = |column| Ok::<u64, Fault>(row.maybe_int(column)?.and_then(|n| u64::try_from(n).ok()).unwrap_or_default());
        let of = |at| Ok::<_, Fault>(SelfBegun { runs_this_hour: sum(at)?, runs_today: sum(at + 1)?, tokens_today: sum(at + 2)? });
        Ok(SelfBegunUse { now: row.time(0)?, agent: of(1)?, tenant: of(4)? })
    }

    async fn token_use(&self, _operator: &OperatorScope, tenant: TenantId) -> Result<TokenUse, StoreError> {
        let call = self.call("SELECT day, month, reserved FROM sid.token_use($1, $2)").bind(tenant.uuid()).bind(self.clock());
        Ok(token_use(&self.timely(call.fetch_one()).await?)?)
    }
}

fn token_use(row: &PgRow) -> Result<TokenUse, Fault> {
    Ok(TokenUse { day: row.count(0)?, month: row.count(1)?, reserved: row.count(2)? })
}

fn column(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
