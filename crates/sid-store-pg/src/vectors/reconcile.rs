//! Whether the index holds what it should, and if not: making it so.

use std::collections::{BTreeSet, HashSet};

use sid_store::{PointFilter, PointKey, VectorIndex};
use sid_types::TenantId;
use uuid::Uuid;

use super::feed::{self, Live};
use super::indexer::Indexer;
use crate::backend::PgStore;
use crate::codec::Columns;
use crate::error::Result;
use crate::tx::Tx;

/// Partitions, and points, that are read at once.
const PARTITIONS: i64 = 256;
const POINTS: usize = 2_000;

/// How the index differed from the database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drift {
    /// Partitions that were compared, in each generation.
    pub partitions: u64,
    /// Points that should be there, and were.
    pub points: u64,
    /// Points that should have been there.
    pub missing: u64,
    /// Points that should not have been there: of records that are gone or of earlier versions. No search believes them.
    pub surplus: u64,
}

impl Drift {
    /// Whether nothing differed.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.missing == 0 && self.surplus == 0
    }
}

/// The index has no hash to ask for, so the keys themselves are compared: of one partition at a time, without vectors.
pub(super) async fn reconcile(indexer: &Indexer, is_repairing: bool) -> Result<Drift> {
    let store = &indexer.store;
    let mut drift = Drift::default();
    let Some(vectors) = store.vectors() else { return Ok(drift) };
    for live in feed::generations(store).await? {
        let is_there = match vectors.index().dimensions(&live.name).await? {
            None => false,
            Some(found) if found == live.dimensions => true,
            // Of another database: whoever feeds it says so.
            Some(_) => continue,
        };
        let mut after = (Uuid::nil(), -1);
        loop {
            let call = store.call("SELECT o_tenant, o_part FROM sid.index_partitions($1, $2, $3, $4)").bind(live.number);
            let rows = call.bind(after.0).bind(after.1).bind(PARTITIONS).fetch_all().await?;
            for row in &rows {
                let (tenant, part): (TenantId, i64) = (row.id(0)?, row.int(1)?);
                after = (tenant.uuid(), part);
                compare(store, &**vectors.index(), &live, is_there, tenant, part, is_repairing, &mut drift).await?;
            }
            if (rows.len() as i64) < PARTITIONS {
                break;
            }
        }
    }
    Ok(drift)
}

#[allow(clippy::too_many_arguments, reason = "one partition of the loop above")]
async fn compare(
    store: &PgStore,
    index: &dyn VectorIndex,
    live: &Live,
    is_there: bool,
    tenant: TenantId,
    part: i64,
    is_repairing: bool,
    drift: &mut Drift,
) -> Result<()> {
    let mut tx = store.begin_long(tenant).await?;
    // While the mark is held nobody feeds the partition, and nobody deletes from it there.
    let query = tx.query("SELECT indexed_to FROM sid.index_marks WHERE tenant = $1 AND part = $2 AND generation = $3 FOR UPDATE");
    let row = query.bind(tx.tenant).bind(part).bind(live.number).fetch_optional(tx.conn()).await?;
    let Some(indexed_to) = row.map(|row| row.int(0)).transpose()? else { return Ok(()) };
    let may = all(&mut tx, live.number, part).await?;
    let is = if is_there { held(index, live, tenant, part).await? } else { HashSet::new() };
    // What is behind the mark may be there already: whoever fed it has died before the mark was moved.
    let missing: Vec<&PointKey> = may.difference(&is).filter(|key| key.version <= indexed_to).collect();
    let surplus: Vec<&PointKey> = is.difference(&may).collect();
    drift.partitions += 1;
    drift.points += (is.len() - surplus.len()) as u64;
    drift.missing += missing.len() as u64;
    drift.surplus += surplus.len() as u64;
    if !is_repairing || (missing.is_empty() && surplus.is_empty()) {
        return Ok(());
    }
    let unwanted: BTreeSet<i64> = surplus.iter().map(|key| key.record).collect();
    let mut wanted: BTreeSet<i64> = missing.iter().map(|key| key.record).collect();
    for records in unwanted.iter().copied().collect::<Vec<i64>>().chunks(POINTS) {
        let which = PointFilter { records: Some(records.to_vec()), ..PointFilter::partition(tenant, part) };
        index.delete(&live.name, &which).await?;
    }
    // A record that had a stale point has lost its good ones with it.
    wanted.extend(unwanted);
    for records in wanted.into_iter().collect::<Vec<i64>>().chunks(256) {
        let points = feed::points_of(&mut tx, live.number, part, indexed_to, records).await?;
        if !points.is_empty() {
            index.upsert(&live.name, points).await?;
        }
    }
    Ok(())
}

/// All vectors of a partition.
async fn all(tx: &mut Tx, generation: i32, part: i64) -> Result<HashSet<PointKey>> {
    let query =
        tx.query("SELECT rid, chunk, change FROM sid.vectors WHERE tenant = $1 AND part = $2 AND generation = $3 AND length(vector) > 0");
    let rows = query.bind(tx.tenant).bind(part).bind(generation).fetch_all(tx.conn()).await?;
    let tenant = TenantId::from_uuid(tx.tenant);
    rows.iter()
        .map(|row| Ok(PointKey { tenant, partition: part, record: row.int(0)?, chunk: row.number(1)?, version: row.int(2)? }))
        .collect()
}

/// What is in the index.
async fn held(index: &dyn VectorIndex, live: &Live, tenant: TenantId, part: i64) -> Result<HashSet<PointKey>> {
    let which = PointFilter::partition(tenant, part);
    let (mut keys, mut after) = (HashSet::new(), None);
    loop {
        let page = index.scroll(&live.name, &which, after, POINTS).await?;
        keys.extend(page.keys);
        after = page.next;
        if after.is_none() {
            return Ok(keys);
        }
    }
}
