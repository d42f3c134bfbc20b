//! Searchable records, read many at a time.

use futures::TryStreamExt;
use sid_store::{Chunk, GenerationId, Record, RecordId};
use sid_types::{MessageId, PassageId, Role, Seq, SummaryId};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::codec::{Columns, from_bytes};
use crate::error::Result;
use crate::partitions::{Changes, Row, Shelf};
use crate::recall::MESSAGE;
use crate::rows::MessageRow;
use crate::tx::Tx;
use crate::visibility::Partition;
use crate::{archival, diary};

/// Rows between two moments at which other tasks get their turn.
const POLITE: usize = 256;

const MESSAGES: &str = "SELECT rid, id, text, at, role, seq, speaker, conv FROM sid.messages
    WHERE tenant = $1 AND part = $2 AND rid > $3 AND rid <= $4 ORDER BY rid";
const PASSAGES: &str = "SELECT rid, id, text, at FROM sid.passages WHERE tenant = $1 AND part = $2 AND rid > $3 AND rid <= $4 ORDER BY rid";
/// A page's time is the start of its first day in UTC.
const PAGES: &str = "SELECT rid, id, text, start::timestamp AT TIME ZONE 'UTC' FROM sid.diary
    WHERE tenant = $1 AND part = $2 AND rid > $3 AND rid <= $4 ORDER BY rid";

fn row(kind: usize, row: &PgRow) -> Result<Row> {
    let (id, said, speaker) = match kind {
        0 => {
            let role = if row.small(4)? == 0 { Role::User } else { Role::Assistant };
            (RecordId::Message(row.id(1)?), Some((row.id(7)?, Seq(row.count(5)?), role)), row.maybe_text(6)?)
        }
        1 => (RecordId::Passage(row.id(1)?), None, None),
        _ => (RecordId::Diary(row.id(1)?), None, None),
    };
    Ok(Row { rid: row.int(0)?, id, said, at: row.time(3)?, speaker, text: row.text(2)? })
}

/// Reads a partition, as the transaction's snapshot has it, into memory: its newest `capacity` records.
pub(crate) async fn load(tx: &mut Tx, partition: &Partition, capacity: usize) -> Result<Shelf> {
    let Partition { part, version: upto, .. } = *partition;
    let lowest = if partition.records > capacity as u64 { lowest(tx, part, capacity).await? } else { 0 };
    let mut shelf = Shelf::new(lowest);
    let mut count = 0;
    for (kind, sql) in [MESSAGES, PASSAGES, PAGES].into_iter().enumerate() {
        let query = tx.query(sql).bind(tx.tenant).bind(part).bind(lowest - 1).bind(upto);
        let mut rows = query.fetch(tx.conn());
        while let Some(found) = rows.try_next().await? {
            shelf.insert(&row(kind, &found)?);
            count += 1;
            if count % POLITE == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
    shelf.sort();
    shelf.seen = upto;
    Ok(shelf)
}

/// From which record on a partition that is too large fits into memory.
async fn lowest(tx: &mut Tx, part: i64, capacity: usize) -> Result<i64> {
    let query = tx.query(
        "SELECT rid FROM (
            (SELECT rid FROM sid.messages WHERE tenant = $1 AND part = $2 AND rid IS NOT NULL ORDER BY rid DESC LIMIT $3)
            UNION ALL (SELECT rid FROM sid.passages WHERE tenant = $1 AND part = $2 ORDER BY rid DESC LIMIT $3)
            UNION ALL (SELECT rid FROM sid.diary WHERE tenant = $1 AND part = $2 ORDER BY rid DESC LIMIT $3)) x
         ORDER BY rid DESC LIMIT 1 OFFSET $3 - 1",
    );
    let row = query.bind(tx.tenant).bind(part).bind(capacity as i64).fetch_optional(tx.conn()).await?;
    row.map_or(Ok(0), |r| r.int(0))
}

/// What a partition has had between two versions; vectors of these generations only.
pub(crate) async fn changes(tx: &mut Tx, part: i64, seen: i64, upto: i64, generations: &[(GenerationId, i32)]) -> Result<Changes> {
    let mut changes = Changes { upto, ..Changes::default() };
    let query = tx.query("SELECT kind, id FROM sid.removals WHERE tenant = $1 AND part = $2 AND change > $3 AND change <= $4");
    for found in query.bind(tx.tenant).bind(part).bind(seen).bind(upto).fetch_all(tx.conn()).await? {
        changes.removed.push(record_id(found.small(0)?, found.id::<MessageId>(1)?.uuid()));
    }
    for (kind, sql) in [MESSAGES, PASSAGES, PAGES].into_iter().enumerate() {
        let rows = tx.query(sql).bind(tx.tenant).bind(part).bind(seen).bind(upto).fetch_all(tx.conn()).await?;
        for found in &rows {
            changes.records.push(row(kind, found)?);
        }
    }
    changes.records.sort_unstable_by_key(|row| row.rid);
    for (name, number) in generations {
        for (rid, chunks) in vectors(tx, part, *number, seen, upto).await? {
            changes.vectors.push((name.clone(), rid, chunks));
        }
    }
    Ok(changes)
}

/// The name of a record of this kind.
pub(crate) const fn record_id(kind: i16, id: Uuid) -> RecordId {
    match kind {
        0 => RecordId::Message(MessageId::from_uuid(id)),
        1 => RecordId::Passage(PassageId::from_uuid(id)),
        _ => RecordId::Diary(SummaryId::from_uuid(id)),
    }
}

/// Vectors that a generation got between two versions, by record.
pub(crate) async fn vectors(tx: &mut Tx, part: i64, generation: i32, seen: i64, upto: i64) -> Result<Vec<(i64, Vec<Chunk>)>> {
    let query = tx.query(
        "SELECT rid, first_byte, end_byte, vector FROM sid.vectors
         WHERE tenant = $1 AND part = $2 AND generation = $3 AND change > $4 AND change <= $5 ORDER BY rid, chunk",
    );
    let query = query.bind(tx.tenant).bind(part).bind(generation).bind(seen).bind(upto);
    let mut found = Vec::new();
    let mut rows = query.fetch(tx.conn());
    let mut count = 0;
    while let Some(row) = rows.try_next().await? {
        add_chunk(&mut found, &row)?;
        count += 1;
        if count % POLITE == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(found)
}

/// Takes in a row of `rid, first_byte, end_byte, vector`, in order of `rid`. A record that cannot be embedded has no chunk.
fn add_chunk(found: &mut Vec<(i64, Vec<Chunk>)>, row: &PgRow) -> Result<()> {
    let rid = row.int(0)?;
    if found.last().is_none_or(|(last, _)| *last != rid) {
        found.push((rid, Vec::new()));
    }
    let vector = from_bytes(row.bytes(3)?);
    if let (Some((_, chunks)), false) = (found.last_mut(), vector.is_empty()) {
        let byte = |column| Ok::<_, crate::error::Fault>(usize::try_from(row.int(column)?).unwrap_or_default());
        chunks.push(Chunk { start: byte(1)?, end: byte(2)?, vector });
    }
    Ok(())
}

/// The vectors of some records of a partition, by number.
pub(crate) async fn vectors_of(tx: &mut Tx, part: i64, generation: i32, rids: &[i64]) -> Result<Vec<(i64, Vec<Chunk>)>> {
    let query = tx.query(
        "SELECT rid, first_byte, end_byte, vector FROM sid.vectors
         WHERE tenant = $1 AND part = $2 AND generation = $3 AND rid = ANY ($4) ORDER BY rid, chunk",
    );
    let rows = query.bind(tx.tenant).bind(part).bind(generation).bind(rids.to_vec()).fetch_all(tx.conn()).await?;
    let mut found = Vec::new();
    for row in &rows {
        add_chunk(&mut found, row)?;
    }
    Ok(found)
}

/// The records of a partition with these numbers that are still there, in order of number.
pub(crate) async fn numbered(tx: &mut Tx, part: i64, rids: &[i64]) -> Result<Vec<(i64, Record)>> {
    let mut found = Vec::with_capacity(rids.len());
    let of = |kind: i64| rids.iter().copied().filter(|rid| rid & 3 == kind).collect::<Vec<i64>>();
    let messages = of(0);
    if !messages.is_empty() {
        let query =
            tx.query_of(format!("SELECT {MESSAGE}, m.rid FROM sid.messages m WHERE m.tenant = $1 AND m.part = $2 AND m.rid = ANY ($3)"));
        for row in query.bind(tx.tenant).bind(part).bind(messages).fetch_all(tx.conn()).await? {
            found.push((row.int(1)?, Record::Message(row.json::<MessageRow>(0)?.message()?)));
        }
    }
    let passages = of(1);
    if !passages.is_empty() {
        let sql =
            format!("SELECT {} FROM {} WHERE p.tenant = $1 AND p.part = $2 AND p.rid = ANY ($3)", archival::COLUMNS, archival::TABLES);
        for row in tx.query_of(sql).bind(tx.tenant).bind(part).bind(passages).fetch_all(tx.conn()).await? {
            found.push((row.int(9)?, Record::Passage(archival::read(&row)?)));
        }
    }
    let pages = of(2);
    if !pages.is_empty() {
        let sql = format!("SELECT {} FROM {} WHERE d.tenant = $1 AND d.part = $2 AND d.rid = ANY ($3)", diary::COLUMNS, diary::TABLES);
        for row in tx.query_of(sql).bind(tx.tenant).bind(part).bind(pages).fetch_all(tx.conn()).await? {
            found.push((row.int(11)?, Record::Diary(diary::read(&row)?)));
        }
    }
    found.sort_unstable_by_key(|(rid, _)| *rid);
    Ok(found)
}
