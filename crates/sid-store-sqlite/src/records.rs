//! Searchable records by number, read many at a time.

use futures::TryStreamExt;
use sid_store::index::Document;
use sid_store::{Chunk, GenerationId, Record, RecordId};
use sid_types::{MessageId, PassageId, SummaryId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::codec::{Columns, from_hex, to_json};
use crate::embedding::{Generation, from_bytes};
use crate::error::Result;
use crate::messages::{self, Packed};
use crate::partitions::Shelf;
use crate::writer::Kind;
use crate::{archival, diary};

/// Rows between two moments at which other tasks get their turn.
const POLITE: usize = 64;

/// The records with these numbers that are still there, with their numbers, in order of number.
pub(crate) async fn numbered(conn: &mut SqliteConnection, rids: &[i64]) -> Result<Vec<(i64, Record)>> {
    let mut found = Vec::with_capacity(rids.len());
    let of_kind = |kind: Kind| rids.iter().copied().filter(|rid| rid & 3 == kind as i64).collect::<Vec<i64>>();
    let messages = of_kind(Kind::Message);
    if !messages.is_empty() {
        let sql = format!(
            "SELECT json_group_array(json_array({}, hex(c.id), m.rid)) FROM json_each(?) j CROSS JOIN messages m ON m.rid = j.value
             JOIN conversations c ON c.conv = m.conv",
            messages::PACKED
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(to_json(&messages)?).fetch_one(&mut *conn).await?;
        for (packed, conversation, rid) in row.json::<Vec<(Packed, String, i64)>>(0)? {
            found.push((rid, Record::Message(packed.message(from_hex(&conversation)?)?)));
        }
    }
    for (kind, sql) in [
        (
            Kind::Passage,
            format!(
                "SELECT {} FROM json_each(?) j CROSS JOIN passages p ON p.rid = j.value JOIN partitions o ON o.part = p.part",
                archival::COLUMNS
            ),
        ),
        (
            Kind::Diary,
            format!(
                "SELECT {} FROM json_each(?) j CROSS JOIN diary d ON d.rid = j.value JOIN partitions o ON o.part = d.part",
                diary::COLUMNS
            ),
        ),
    ] {
        let asked = of_kind(kind);
        if asked.is_empty() {
            continue;
        }
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(to_json(&asked)?).fetch_all(&mut *conn).await?;
        for row in &rows {
            found.push(match kind {
                Kind::Passage => (row.int(9)?, Record::Passage(archival::read(row)?)),
                _ => (row.int(11)?, Record::Diary(diary::read(row)?)),
            });
        }
    }
    found.sort_unstable_by_key(|(rid, _)| *rid);
    Ok(found)
}

/// The records of these names that are still there. Looked up together with the tenant.
pub(crate) async fn named(conn: &mut SqliteConnection, tenant: i64, ids: &[RecordId]) -> Result<Vec<(i64, Record)>> {
    let mut rids = Vec::with_capacity(ids.len());
    for table in ["messages", "passages", "diary"] {
        let of_table: Vec<String> = ids.iter().filter_map(|id| hex_in(table, *id)).collect();
        if of_table.is_empty() {
            continue;
        }
        let sql =
            format!("SELECT json_group_array(x.rid) FROM json_each(?) j CROSS JOIN {table} x ON x.tenant = ? AND x.id = unhex(j.value)");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(to_json(&of_table)?).bind(tenant).fetch_one(&mut *conn).await?;
        rids.extend(row.json::<Vec<i64>>(0)?);
    }
    numbered(conn, &rids).await
}

fn hex_in(table: &str, id: RecordId) -> Option<String> {
    let uuid = match (table, id) {
        ("messages", RecordId::Message(id)) => id.uuid(),
        ("passages", RecordId::Passage(id)) => id.uuid(),
        ("diary", RecordId::Diary(id)) => id.uuid(),
        _ => return None,
    };
    Some(uuid.simple().to_string())
}

/// Reads a partition into memory: its newest `capacity` records, and their vectors of one generation.
pub(crate) async fn load(conn: &mut SqliteConnection, part: i64, capacity: usize, generation: Option<&GenerationId>) -> Result<Shelf> {
    let mut shelf = Shelf { lowest: lowest(conn, part, capacity).await?, ..Shelf::default() };
    let lowest = shelf.lowest;
    const MESSAGES: &str = "SELECT m.rid, m.id, m.text, m.at, m.role, m.seq, m.speaker, c.id FROM messages m
        JOIN conversations c ON c.conv = m.conv WHERE m.part = ? AND m.rid >= ? ORDER BY m.rid";
    const PASSAGES: &str = "SELECT rid, id, text, at FROM passages WHERE part = ? AND rid >= ? ORDER BY rid";
    let mut count = 0;
    for (kind, sql) in [(0, MESSAGES), (1, PASSAGES)] {
        let mut rows = sqlx::query(sql).bind(part).bind(lowest).fetch(&mut *conn);
        while let Some(row) = rows.try_next().await? {
            take_in(&mut shelf, kind, &row)?;
            count += 1;
            if count % POLITE == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
    // Pages of the diary are few.
    let pages =
        sqlx::query("SELECT rid FROM diary WHERE part = ? AND rid >= ? ORDER BY rid").bind(part).bind(lowest).fetch_all(&mut *conn).await?;
    let pages: Vec<i64> = pages.iter().map(|row| row.int(0)).collect::<Result<_>>()?;
    for (rid, record) in numbered(conn, &pages).await? {
        if let Some(document) = Document::of(&record) {
            shelf.index.insert(&document);
            shelf.order.push_back((rid, document.id));
        }
    }
    shelf.order.make_contiguous().sort_unstable_by_key(|(rid, _)| *rid);
    if let Some(generation) = generation {
        shelf.generations.insert(generation.clone());
        let index = &mut shelf.index;
        vectors(conn, part, lowest, generation, |id, chunks| index.set_vectors(id, generation, chunks)).await?;
    }
    Ok(shelf)
}

fn take_in(shelf: &mut Shelf, kind: i64, row: &SqliteRow) -> Result<()> {
    let (rid, text) = (row.int(0)?, row.text(2)?);
    let (id, speaker) = match kind {
        0 => (RecordId::Message(row.id(1)?), row.maybe_text(6)?),
        _ => (RecordId::Passage(row.id(1)?), None),
    };
    let is_message = kind == 0;
    let document = Document {
        id,
        conversation: if is_message { Some(row.id(7)?) } else { None },
        seq: if is_message { Some(sid_types::Seq(row.count(5)?)) } else { None },
        role: if is_message { Some(if row.int(4)? == 0 { sid_types::Role::User } else { sid_types::Role::Assistant }) } else { None },
        at: row.time(3)?,
        speaker: speaker.as_deref(),
        text: &text,
    };
    shelf.index.insert(&document);
    shelf.order.push_back((rid, id));
    Ok(())
}

/// From which record on a partition fits into memory; 0 = all of it.
async fn lowest(conn: &mut SqliteConnection, part: i64, capacity: usize) -> Result<i64> {
    let records = sqlx::query("SELECT records FROM partitions WHERE part = ?").bind(part).fetch_optional(&mut *conn).await?;
    if records.map_or(Ok(0), |row| row.count(0))? <= capacity as u64 {
        return Ok(0);
    }
    let row = sqlx::query(
        "SELECT rid FROM messages WHERE part = ?1 UNION ALL SELECT rid FROM passages WHERE part = ?1
         UNION ALL SELECT rid FROM diary WHERE part = ?1 ORDER BY rid DESC LIMIT 1 OFFSET ?2",
    )
    .bind(part)
    .bind(capacity.saturating_sub(1) as i64)
    .fetch_optional(conn)
    .await?;
    row.map_or(Ok(0), |r| r.int(0))
}

/// Calls `take` with the vectors of each of a partition's records from `lowest` on.
pub(crate) async fn vectors(
    conn: &mut SqliteConnection,
    part: i64,
    lowest: i64,
    generation: &GenerationId,
    mut take: impl FnMut(RecordId, &[Chunk]) + Send,
) -> Result<()> {
    let Some(Generation { number, .. }) = Generation::find(conn, generation).await? else { return Ok(()) };
    for (kind, table) in ["messages", "passages", "diary"].into_iter().enumerate() {
        let sql = format!(
            "SELECT x.id, v.first_byte, v.end_byte, v.vector FROM {table} x JOIN vectors v ON v.rid = x.rid AND v.generation = ?
             WHERE x.part = ? AND x.rid >= ? ORDER BY x.rid, v.chunk"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(number).bind(part).bind(lowest);
        let mut rows = query.fetch(&mut *conn);
        let mut current: Option<(RecordId, Vec<Chunk>)> = None;
        let mut count = 0;
        while let Some(row) = rows.try_next().await? {
            let id = record_id(kind, &row)?;
            let chunk = chunk(&row, 1)?;
            if current.as_ref().is_some_and(|(last, _)| *last != id)
                && let Some((last, chunks)) = current.take()
            {
                take(last, &chunks);
            }
            let (_, chunks) = current.get_or_insert_with(|| (id, Vec::new()));
            chunks.extend(chunk);
            count += 1;
            if count % POLITE == 0 {
                tokio::task::yield_now().await;
            }
        }
        if let Some((last, chunks)) = current {
            take(last, &chunks);
        }
    }
    Ok(())
}

fn record_id(kind: usize, row: &SqliteRow) -> Result<RecordId> {
    Ok(match kind {
        0 => RecordId::Message(row.id::<MessageId>(0)?),
        1 => RecordId::Passage(row.id::<PassageId>(0)?),
        _ => RecordId::Diary(row.id::<SummaryId>(0)?),
    })
}

/// A chunk from `first_byte, end_byte, vector`; `None` for a record that cannot be embedded.
fn chunk(row: &SqliteRow, at: usize) -> Result<Option<Chunk>> {
    let vector = from_bytes(&row.bytes(at + 2)?);
    let byte = |column| Ok::<_, crate::error::Fault>(usize::try_from(row.int(column)?).unwrap_or_default());
    Ok(if vector.is_empty() { None } else { Some(Chunk { start: byte(at)?, end: byte(at + 1)?, vector }) })
}

/// The vectors of some records, by number.
pub(crate) async fn vectors_of(conn: &mut SqliteConnection, rids: &[i64], generation: &GenerationId) -> Result<Vec<(i64, Vec<Chunk>)>> {
    let Some(Generation { number, .. }) = Generation::find(conn, generation).await? else { return Ok(Vec::new()) };
    let rows = sqlx::query(
        "SELECT v.rid, v.first_byte, v.end_byte, v.vector FROM json_each(?) j CROSS JOIN vectors v ON v.rid = j.value AND v.generation = ?
         ORDER BY v.rid, v.chunk",
    )
    .bind(to_json(rids)?)
    .bind(number)
    .fetch_all(conn)
    .await?;
    let mut found: Vec<(i64, Vec<Chunk>)> = Vec::new();
    for row in &rows {
        let rid = row.int(0)?;
        if found.last().is_none_or(|(last, _)| *last != rid) {
            found.push((rid, Vec::new()));
        }
        if let (Some((_, chunks)), Some(chunk)) = (found.last_mut(), chunk(row, 1)?) {
            chunks.push(chunk);
        }
    }
    Ok(found)
}
