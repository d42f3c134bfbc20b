//! `Duties`.

use std::time::Duration;

use async_trait::async_trait;
use sid_types::WorkerId;

use super::InProcess;
use crate::{Duties, StoreError};

#[async_trait]
impl Duties for InProcess {
    async fn take_duty(&self, duty: &str, worker: WorkerId, ttl: Duration) -> Result<bool, StoreError> {
        self.duties.take(duty, worker, ttl, self.clock.now())
    }

    async fn leave_duty(&self, duty: &str, worker: WorkerId) -> Result<(), StoreError> {
        self.duties.leave(duty, worker);
        Ok(())
    }
}
