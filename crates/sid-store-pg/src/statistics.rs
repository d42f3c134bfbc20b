//! Counting the rows of young tables, so that plans are not made for empty ones (ADR 0037).

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{debug, warn};

use crate::backend::PgStore;
use crate::error::Fault;

/// After so many writes of a process rows are counted for the first time, then each time after four times as many: a count costs every
/// connection its plans.
const FIRST: u64 = 64;
/// After so many they are not: autovacuum has come by now.
const LAST: u64 = 1 << 20;

/// How much a process has written.
#[derive(Default)]
pub(crate) struct Statistics {
    writes: AtomicU64,
}

impl PgStore {
    /// A write begins. Now and then rows are counted beside it; nobody waits for that.
    pub(crate) fn note_write(&self) {
        let writes = self.statistics().writes.fetch_add(1, Ordering::Relaxed) + 1;
        if !(writes.is_power_of_two() && writes.trailing_zeros().is_multiple_of(2) && (FIRST..=LAST).contains(&writes)) {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let store = self.clone();
            drop(runtime.spawn(async move { store.count_rows().await }));
        }
    }

    async fn count_rows(&self) {
        let counted = async {
            let row = self.timely(self.call("SELECT sid.count_rows()").fetch_one()).await?;
            sqlx::Row::try_get_unchecked::<i32, _>(&row, 0).map_err(Fault::Sql)
        };
        match counted.await {
            Ok(tables) => debug!(tables, "counted rows"),
            Err(fault) => {
                let error = sid_store::StoreError::from(fault);
                warn!(%error, "could not count rows: statements may be slow until autovacuum has");
            }
        }
    }
}
