//! From `sid.vectors` into the index, partition by partition, in the order of changes.

use sid_store::{GenerationId, PointKey, RecordKind, StoreError, VectorIndex, VectorPoint};
use sid_types::{Role, Seq, TenantId};
use sqlx::postgres::PgRow;

use crate::backend::PgStore;
use crate::codec::{At, Columns, from_bytes};
use crate::error::{Fault, Result};
use crate::tx::Tx;

/// Vectors of one call of the index, and those that were written together with the last of them.
const BATCH: i64 = 256;

/// A generation that has vectors.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) name: GenerationId,
    pub(super) number: i32,
    pub(super) dimensions: usize,
}

/// Tells whoever feeds the index that a partition has new vectors.
pub(crate) async fn tell(store: &PgStore, tx: &mut Tx, part: i64) -> Result<()> {
    // Also by a process that was given no index: another one may have been.
    let query = tx.query(
        "INSERT INTO sid.outbox (tenant, topic, part, subject, at) SELECT $1, 'index.vectors', $2, $1, $3
         WHERE $4 OR EXISTS (SELECT FROM sid.index_marks m WHERE m.tenant = $1 AND m.part = $2)",
    );
    let query = query.bind(tx.tenant).bind(part).bind(At(tx.now)).bind(store.vectors().is_some());
    query.execute(tx.conn()).await?;
    Ok(())
}

/// All generations that have vectors.
pub(super) async fn generations(store: &PgStore) -> Result<Vec<Live>> {
    let rows = store.call("SELECT name, id, dimensions FROM sid.generations WHERE dimensions IS NOT NULL ORDER BY id").fetch_all();
    let live = |row: &PgRow| {
        Ok(Live {
            name: GenerationId(row.text(0)?),
            number: row.number(1)?,
            dimensions: usize::try_from(row.number(2)?).unwrap_or_default(),
        })
    };
    rows.await?.iter().map(live).collect()
}

/// Makes sure that the index has the generation. If it had not, everything is fed again: it may have had it once.
pub(super) async fn ensure(store: &PgStore, index: &dyn VectorIndex, live: &Live) -> Result<()> {
    match index.dimensions(&live.name).await? {
        Some(found) if found == live.dimensions => Ok(()),
        Some(found) => Err(StoreError::Setup(format!(
            "the vector index has `{}` with {found} dimensions, the database with {}: was another database fed into it? Use another collection prefix, or drop it there",
            live.name.0, live.dimensions
        ))
        .into()),
        None => {
            // The marks first: who dies in between leaves marks that say too little, never too much.
            let call = store.call("SELECT sid.index_is_empty($1)").bind(live.number);
            let again = call.fetch_one().await?.count(0)?;
            index.make_generation(&live.name, live.dimensions).await?;
            tracing::info!(generation = live.name.0, partitions = again, "the vector index begins empty; it is fed from the database");
            Ok(())
        }
    }
}

/// Feeds what a partition has behind its mark; `false` = another process is at it.
pub(super) async fn feed(store: &PgStore, index: &dyn VectorIndex, live: &Live, tenant: TenantId, part: i64) -> Result<bool> {
    loop {
        let mut tx = store.begin_long(tenant).await?;
        let Some(mark) = enter(store, &mut tx, live.number, part).await? else { return Ok(true) };
        let indexed_to = match mark {
            Mark::Held(indexed_to) => indexed_to,
            Mark::Elsewhere => return Ok(false),
            // The partition's lock is not held while the index is written to.
            Mark::Made => {
                tx.commit().await?;
                continue;
            }
        };
        let points = behind(&mut tx, live.number, part, indexed_to).await?;
        let Some(last) = points.last().map(|(change, _)| *change) else { return Ok(true) };
        let points: Vec<VectorPoint> = points.into_iter().filter_map(|(_, point)| point).collect();
        if !points.is_empty() {
            // Under the mark's lock: whoever deletes from this partition there waits until these are in, or reads a mark that has moved.
            index.upsert(&live.name, points).await?;
        }
        let query = tx.query("UPDATE sid.index_marks SET indexed_to = $4 WHERE tenant = $1 AND part = $2 AND generation = $3");
        query.bind(tx.tenant).bind(part).bind(live.number).bind(last).execute(tx.conn()).await?;
        tx.commit().await?;
    }
}

enum Mark {
    /// Its value; nobody else feeds the partition until the transaction is over.
    Held(i64),
    /// Another process holds it.
    Elsewhere,
    /// It is new, and to be committed.
    Made,
}

/// Takes the partition's mark. `None`: the partition is gone, or too small for the index.
async fn enter(store: &PgStore, tx: &mut Tx, generation: i32, part: i64) -> Result<Option<Mark>> {
    let held = "SELECT indexed_to FROM sid.index_marks WHERE tenant = $1 AND part = $2 AND generation = $3 FOR UPDATE SKIP LOCKED";
    let row = tx.query(held).bind(tx.tenant).bind(part).bind(generation).fetch_optional(tx.conn()).await?;
    if let Some(row) = row {
        return Ok(Some(Mark::Held(row.int(0)?)));
    }
    let there = "SELECT 1 FROM sid.index_marks WHERE tenant = $1 AND part = $2 AND generation = $3";
    if tx.query(there).bind(tx.tenant).bind(part).bind(generation).fetch_optional(tx.conn()).await?.is_some() {
        return Ok(Some(Mark::Elsewhere));
    }
    // Under the partition's lock: whoever removes something either sees the mark, and says what must be gone, or is over before this reads.
    let from = store.config().vector_index_from as i64;
    let query = tx.query("SELECT 1 FROM sid.partitions WHERE tenant = $1 AND part = $2 AND records >= $3 FOR UPDATE");
    if query.bind(tx.tenant).bind(part).bind(from).fetch_optional(tx.conn()).await?.is_none() {
        return Ok(None);
    }
    let query = tx.query("INSERT INTO sid.index_marks (tenant, part, generation) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING");
    query.bind(tx.tenant).bind(part).bind(generation).execute(tx.conn()).await?;
    Ok(Some(Mark::Made))
}

/// Look-ups by key: a join may read the whole partition for each batch.
const POINTS: &str = "SELECT v.change, v.rid, v.chunk, v.vector, coalesce(m.at, p.at, d.start::timestamp AT TIME ZONE 'UTC'), m.conv, m.seq, m.role, v.tenant, v.part
    FROM sid.vectors v
    LEFT JOIN LATERAL (SELECT x.at, x.conv, x.seq, x.role FROM sid.messages x WHERE v.rid & 3 = 0 AND x.tenant = $1 AND x.part = $2
        AND x.rid = v.rid LIMIT 1) m ON true
    LEFT JOIN LATERAL (SELECT x.at FROM sid.passages x WHERE v.rid & 3 = 1 AND x.tenant = $1 AND x.part = $2 AND x.rid = v.rid LIMIT 1) p ON true
    LEFT JOIN LATERAL (SELECT x.start FROM sid.diary x WHERE v.rid & 3 = 2 AND x.tenant = $1 AND x.part = $2 AND x.rid = v.rid LIMIT 1) d ON true
    WHERE v.tenant = $1 AND v.part = $2 AND v.generation = $3";

/// The next vectors after a change, by change; records that cannot be embedded have none.
async fn behind(tx: &mut Tx, generation: i32, part: i64, indexed_to: i64) -> Result<Vec<(i64, Option<VectorPoint>)>> {
    let query = tx.query_of(format!("{POINTS} AND v.change > $4 ORDER BY v.change FETCH FIRST $5 ROWS WITH TIES"));
    let query = query.bind(tx.tenant).bind(part).bind(generation).bind(indexed_to).bind(BATCH);
    query.fetch_all(tx.conn()).await?.iter().map(|row| Ok((row.int(0)?, point(row)?))).collect()
}

/// The vectors of some records that are before the mark.
pub(super) async fn points_of(tx: &mut Tx, generation: i32, part: i64, indexed_to: i64, rids: &[i64]) -> Result<Vec<VectorPoint>> {
    let query = tx.query_of(format!("{POINTS} AND v.change <= $4 AND v.rid = ANY ($5)"));
    let query = query.bind(tx.tenant).bind(part).bind(generation).bind(indexed_to).bind(rids.to_vec());
    let points: Result<Vec<Option<VectorPoint>>> = query.fetch_all(tx.conn()).await?.iter().map(point).collect();
    Ok(points?.into_iter().flatten().collect())
}

fn point(row: &PgRow) -> Result<Option<VectorPoint>> {
    let (version, record, vector) = (row.int(0)?, row.int(1)?, from_bytes(row.bytes(3)?));
    if vector.is_empty() {
        return Ok(None);
    }
    let key = PointKey { tenant: row.id(8)?, partition: row.int(9)?, record, chunk: row.number(2)?, version };
    let kind = match record & 3 {
        0 => RecordKind::Message,
        1 => RecordKind::Passage,
        _ => RecordKind::Diary,
    };
    let said = match row.maybe_id(5)? {
        Some(conversation) => {
            let role = if row.small(7)? == 0 { Role::User } else { Role::Assistant };
            Some((conversation, Seq(row.count(6)?), role))
        }
        None => None,
    };
    let at = row.maybe_time(4)?.unwrap_or(sid_types::Timestamp::UNIX_EPOCH);
    Ok(Some(VectorPoint { key, kind, said, at, vector }))
}

/// As the two low bits of a record's number say it.
pub(super) const fn kind_number(kind: RecordKind) -> i16 {
    match kind {
        RecordKind::Message => 0,
        RecordKind::Passage => 1,
        RecordKind::Diary => 2,
    }
}

/// Partitions with news, and the last row that says so.
pub(super) async fn work(store: &PgStore, most: i64) -> Result<Vec<(TenantId, i64, i64)>> {
    let rows = store.call("SELECT o_tenant, o_part, o_upto FROM sid.index_work($1)").bind(most).fetch_all().await?;
    rows.iter().map(|row| Ok((row.id(0)?, row.int(1)?, row.int(2)?))).collect()
}

/// Drops the rows that told of what is done.
pub(super) async fn done(store: &PgStore, tenant: TenantId, part: i64, upto: i64) -> Result<(), StoreError> {
    let mut tx = store.begin(tenant).await?;
    let query = tx.query("DELETE FROM sid.outbox WHERE tenant = $1 AND topic = 'index.vectors' AND part = $2 AND id <= $3");
    let outcome = query.bind(tx.tenant).bind(part).bind(upto).execute(tx.conn()).await;
    tx.finish(outcome.map(drop).map_err(Fault::Sql)).await
}
