//! `Duties`: in memory, because the data folder serves one process.

use std::time::Duration;

use async_trait::async_trait;
use sid_store::{Duties, StoreError};
use sid_types::WorkerId;

use crate::backend::SqliteStore;

#[async_trait]
impl Duties for SqliteStore {
    async fn take_duty(&self, duty: &str, worker: WorkerId, ttl: Duration) -> Result<bool, StoreError> {
        self.duties().take(duty, worker, ttl, self.now())
    }

    async fn leave_duty(&self, duty: &str, worker: WorkerId) -> Result<(), StoreError> {
        self.duties().leave(duty, worker);
        Ok(())
    }
}
