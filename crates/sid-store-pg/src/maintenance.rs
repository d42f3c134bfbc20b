//! `Maintenance`: parts of the event log are made ahead and dropped whole, and the audit log loses its end, by the database.

use async_trait::async_trait;
use sid_store::{Maintenance, StoreError};

use crate::backend::PgStore;
use crate::error::Fault;
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
}
