//! `Maintenance`: parts of the event log are made ahead and dropped whole, and the audit log loses its end, by the database.

use async_trait::async_trait;
use sid_store::{Maintenance, Overdue, StoreError};
use sid_types::Owner;
use sqlx::postgres::PgRow;

use crate::backend::PgStore;
use crate::codec::Columns;
use crate::diary::engine_scope;
use crate::error::{Fault, Result};
use crate::state::ttl_micros;

#[async_trait]
impl Maintenance for PgStore {
    async fn maintain(&self) -> Result<bool, StoreError> {
        let keep = ttl_micros(self.config().keep_events);
        let call =
            self.call("SELECT x.events OR x.audit FROM (SELECT sid.maintain($1, $2) AS events, sid.forget_audit($1, $3) AS audit) x");
        let call = call.bind(self.clock()).bind(keep).bind(ttl_micros(self.config().keep_audit));
        // As patient as other long work: dropping a part unlinks files.
        let patience = self.config().statement_timeout * 10;
        match tokio::time::timeout(patience, call.fetch_one()).await {
            Ok(row) => Ok(sqlx::Row::try_get_unchecked(&row.map_err(Fault::Sql)?, 0).map_err(Fault::Sql)?),
            Err(_) => Err(crate::error::unavailable(format!("no answer in {patience:?}"))),
        }
    }

    async fn overdue(&self, most: usize) -> Result<Vec<Overdue>, StoreError> {
        let call = self.call("SELECT x.tenant, x.conv, x.since FROM sid.overdue($1, $2) x").bind(self.clock()).bind(most as i64);
        let rows = self.timely(call.fetch_all()).await?;
        let overdue =
            |row: &PgRow| Ok(Overdue { scope: engine_scope(row.id(0)?, Owner::Tenant), conversation: row.id(1)?, since: row.time(2)? });
        Ok(rows.iter().map(overdue).collect::<Result<_>>()?)
    }
}
