//! The outbox: what other systems must hear of, written in the transaction of the change itself.

use sid_store::StoreError;
use sid_types::{TenantId, Timestamp};
use uuid::Uuid;

use crate::backend::PgStore;
use crate::codec::{Columns, limit};
use crate::error::{Fault, Result};

/// A change that waits to be told. Told at least once: deal with it, then [`drop`](PgStore::drop_outbox) it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outboxed {
    /// Its number: what [`PgStore::drop_outbox`] takes.
    pub id: i64,
    /// Whose it is.
    pub tenant: TenantId,
    /// What happened: `record.vectors` (a record has its vectors), `record.gone`, `conversation.gone` (with all its messages), `run.done`.
    pub topic: String,
    /// The memory partition in which it happened, if it was in one.
    pub partition: Option<i64>,
    /// The record, conversation or run, as the UUID of its id.
    pub subject: Uuid,
    /// When, by the store's clock.
    pub at: Timestamp,
}

impl PgStore {
    /// The oldest changes that nobody has dropped, at most `most`; across tenants, for one consumer. Empty unless
    /// [`PgConfig::outbox`](crate::PgConfig::outbox) is set on the processes that write.
    pub async fn read_outbox(&self, most: usize) -> Result<Vec<Outboxed>, StoreError> {
        let rows = self
            .call("SELECT o_id, o_tenant, o_topic, o_part, o_subject, o_at FROM sid.read_outbox($1)")
            .bind(limit(most))
            .fetch_all()
            .await
            .map_err(Fault::Sql)?;
        let read = |row: &sqlx::postgres::PgRow| {
            Ok(Outboxed {
                id: row.int(0)?,
                tenant: row.id(1)?,
                topic: row.text(2)?,
                partition: row.maybe_int(3)?,
                subject: row.id::<sid_types::MessageId>(4)?.uuid(),
                at: row.time(5)?,
            })
        };
        let read: Result<Vec<Outboxed>> = rows.iter().map(read).collect();
        Ok(read?)
    }

    /// Drops changes that were dealt with; answers how many were still there.
    pub async fn drop_outbox(&self, ids: &[i64]) -> Result<u64, StoreError> {
        let call = self.call("SELECT sid.drop_outbox($1)").bind(ids.to_vec());
        Ok(call.fetch_one().await.map_err(Fault::Sql)?.count(0)?)
    }
}
