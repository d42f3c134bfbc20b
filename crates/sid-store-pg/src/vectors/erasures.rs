//! What must be gone from the index: deleted there, counted, and only then done with.

use std::collections::BTreeSet;

use sid_store::{GenerationId, PointFilter, StoreError};
use sid_types::{ConversationId, TenantId};

use super::feed::{self, Live};
use crate::backend::PgStore;
use crate::codec::{At, Columns, Id};
use crate::error::Result;
use crate::tx::Tx;

/// Removals of one partition that are dealt with at once.
const BATCH: i64 = 512;

/// What is to be removed from a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Removal {
    /// All messages of a conversation.
    Conversation(ConversationId),
    /// Everything.
    Partition,
}

/// Writes down what must go from the index, if the partition is in it. Single records are written down by `sid.forget_record`.
pub(crate) async fn remove(tx: &mut Tx, part: i64, what: Removal) -> Result<()> {
    let conversation = match what {
        Removal::Conversation(id) => Some(id.raw()),
        Removal::Partition => None,
    };
    let query = tx.query(
        "INSERT INTO sid.index_removals (tenant, part, conv, at) SELECT $1, $2, $3, $4
         WHERE EXISTS (SELECT FROM sid.index_marks m WHERE m.tenant = $1 AND m.part = $2)",
    );
    query.bind(tx.tenant).bind(part).bind(conversation).bind(At(tx.now)).execute(tx.conn()).await?;
    Ok(())
}

/// Partitions from which something must go.
pub(super) async fn due(store: &PgStore, most: i64) -> Result<Vec<(TenantId, i64)>> {
    let rows = store.call("SELECT o_tenant, o_part FROM sid.index_removals_due($1)").bind(most).fetch_all().await?;
    rows.iter().map(|row| Ok((row.id(0)?, row.int(1)?))).collect()
}

/// What a transaction has written down: numbers and partitions.
pub(crate) async fn written(tx: &mut Tx) -> Result<Vec<(i64, i64)>> {
    let query = tx.query("SELECT id, part FROM sid.index_removals WHERE tenant = $1 AND xmin = pg_current_xact_id()::xid");
    query.bind(tx.tenant).fetch_all(tx.conn()).await?.iter().map(|row| Ok((row.int(0)?, row.int(1)?))).collect()
}

/// Deletes from the index what is written down for a partition, and drops what a count has verified. Answers how many removals are left
/// that it has looked at.
pub(super) async fn sweep(store: &PgStore, live: &[Live], tenant: TenantId, part: i64) -> Result<u64> {
    let Some(vectors) = store.vectors() else { return Ok(0) };
    let mut tx = store.begin_long(tenant).await?;
    // Whoever feeds the partition just now is waited for: what it has read may be what must go.
    let query = tx.query("SELECT generation FROM sid.index_marks WHERE tenant = $1 AND part = $2 ORDER BY generation FOR UPDATE");
    let rows = query.bind(tx.tenant).bind(part).fetch_all(tx.conn()).await?;
    let fed: Vec<i32> = rows.iter().map(|row| row.number(0)).collect::<Result<_>>()?;
    let query = tx.query(
        "SELECT id, conv, rid, before FROM sid.index_removals WHERE tenant = $1 AND part = $2 ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED",
    );
    let rows = query.bind(tx.tenant).bind(part).bind(BATCH).fetch_all(tx.conn()).await?;
    let mut filters: Vec<(PointFilter, Vec<i64>)> = Vec::new();
    let mut records = (Vec::new(), Vec::new());
    for row in &rows {
        let (id, conversation, rid, before) = (row.int(0)?, row.maybe_id(1)?, row.maybe_int(2)?, row.maybe_int(3)?);
        let filter = PointFilter { conversation, records: rid.map(|rid| vec![rid]), before, ..PointFilter::partition(tenant, part) };
        match (rid, before) {
            // Plain removals of records go together.
            (Some(rid), None) => {
                records.0.push(rid);
                records.1.push(id);
            }
            _ => filters.push((filter, vec![id])),
        }
    }
    if !records.0.is_empty() {
        filters.push((PointFilter { records: Some(records.0), ..PointFilter::partition(tenant, part) }, records.1));
    }
    let mut held: Vec<&GenerationId> = Vec::new();
    for live in live.iter().filter(|live| fed.contains(&live.number)) {
        if vectors.index().dimensions(&live.name).await?.is_some() {
            held.push(&live.name);
        }
    }
    let mut left = 0;
    for (filter, ids) in filters {
        let mut still_there = 0;
        for generation in &held {
            vectors.index().delete(generation, &filter).await?;
            still_there += vectors.index().count(generation, &filter).await?;
        }
        if still_there > 0 {
            tracing::warn!(part, still_there, "the vector index still holds what was deleted; it is deleted again");
            left += ids.len() as u64;
            continue;
        }
        let query = tx.query("DELETE FROM sid.index_removals WHERE tenant = $1 AND id = ANY ($2)");
        query.bind(tx.tenant).bind(ids).execute(tx.conn()).await?;
    }
    if left == 0 {
        // A partition that is no more needs no mark.
        let query = tx.query(
            "DELETE FROM sid.index_marks m WHERE m.tenant = $1 AND m.part = $2
             AND NOT EXISTS (SELECT FROM sid.partitions p WHERE p.tenant = $1 AND p.part = $2)
             AND NOT EXISTS (SELECT FROM sid.index_removals r WHERE r.tenant = $1 AND r.part = $2)",
        );
        query.bind(tx.tenant).bind(part).execute(tx.conn()).await?;
    }
    tx.commit().await?;
    Ok(left)
}

impl PgStore {
    /// Deletes from the index what a transaction has written down, if the index answers at once; answers how many deletions are left to be
    /// verified.
    pub(crate) async fn verify_removals(&self, tenant: TenantId, written: &[(i64, i64)]) -> Result<u64> {
        if written.is_empty() {
            return Ok(0);
        }
        if self.vectors().is_some_and(|vectors| !vectors.is_resting()) {
            let live = feed::generations(self).await?;
            for part in written.iter().map(|(_, part)| *part).collect::<BTreeSet<i64>>() {
                if let Err(fault) = sweep(self, &live, tenant, part).await {
                    let error = StoreError::from(fault);
                    tracing::warn!(%error, "erased in the database; the vector index follows when it answers");
                    break;
                }
            }
        }
        let mut tx = self.read(tenant).await?;
        let query = tx.query("SELECT count(*) FROM sid.index_removals WHERE tenant = $1 AND id = ANY ($2)");
        let ids: Vec<i64> = written.iter().map(|(id, _)| *id).collect();
        query.bind(tx.tenant).bind(ids).fetch_one(tx.conn()).await?.count(0)
    }
}
