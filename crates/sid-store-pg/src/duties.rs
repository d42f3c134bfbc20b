//! `Duties`: one row each, taken by the database's clock.

use std::time::Duration;

use async_trait::async_trait;
use sid_store::{Duties, StoreError, check_duty};
use sid_types::WorkerId;

use crate::backend::PgStore;
use crate::codec::clean;
use crate::error::Fault;
use crate::state::ttl_micros;

#[async_trait]
impl Duties for PgStore {
    async fn take_duty(&self, duty: &str, worker: WorkerId, ttl: Duration) -> Result<bool, StoreError> {
        check_duty(duty)?;
        let call = self
            .call("SELECT sid.take_duty($1, $2, $3, $4)")
            .bind(self.clock())
            .bind(clean(duty).into_owned())
            .bind(worker.uuid())
            .bind(ttl_micros(ttl));
        let row = self.timely(call.fetch_one()).await?;
        Ok(sqlx::Row::try_get_unchecked(&row, 0).map_err(Fault::Sql)?)
    }

    async fn leave_duty(&self, duty: &str, worker: WorkerId) -> Result<(), StoreError> {
        let call = self.call("SELECT sid.leave_duty($1, $2)").bind(clean(duty).into_owned()).bind(worker.uuid());
        self.timely(call.fetch_all()).await?;
        Ok(())
    }
}
