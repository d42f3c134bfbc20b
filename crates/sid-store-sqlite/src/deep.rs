//! Search below what is in memory: what the full-text index and the time index bring, scored by [`OlderWords`].

use std::collections::BTreeSet;

use sid_store::index::{IndexHits, OlderWords};
use sid_store::{SearchQuery, TimeRange};
use sqlx::sqlite::SqliteConnection;

use crate::codec::{Columns, nanos, to_json};
use crate::error::Result;
use crate::full_text;
use crate::records;
use crate::visibility::Partition;

/// Newest records that are looked at in any case while the partition is not in memory.
const NEWEST: i64 = 250;
/// Records of a span that the query filters by, or names.
const PER_SPAN: i64 = 1_000;
const PER_NAMED_SPAN: i64 = 64;

/// Looks for records before `below` (`i64::MAX`: for all, the newest in any case).
pub(crate) async fn look(conn: &mut SqliteConnection, partition: &Partition, query: &SearchQuery, below: i64) -> Result<IndexHits> {
    let words = look_up(conn, partition, query, below).await?;
    let is_filtered = query.conversation.is_some() || query.role.is_some() || query.within.is_some();
    let mut rids: BTreeSet<i64> = words.best(query.kinds, is_filtered).into_iter().collect();
    if let Some(span) = &query.within {
        rids.extend(spanned(conn, partition.part, span, below, PER_SPAN).await?);
    }
    for span in &query.named_times {
        rids.extend(spanned(conn, partition.part, span, below, PER_NAMED_SPAN).await?);
    }
    if below == i64::MAX {
        rids.extend(newest(conn, partition.part).await?);
    }
    if rids.is_empty() {
        return Ok(IndexHits { searched: partition.records, ..IndexHits::default() });
    }
    rids.extend(neighbours(conn, &rids).await?);
    let rids: Vec<i64> = rids.into_iter().collect();
    let records = records::numbered(conn, &rids).await?;
    let vectors = match &query.vector {
        Some(vector) => records::vectors_of(conn, &rids, &vector.generation).await?,
        None => Vec::new(),
    };
    Ok(words.score(query, &records, &vectors))
}

async fn look_up(conn: &mut SqliteConnection, partition: &Partition, query: &SearchQuery, below: i64) -> Result<OlderWords> {
    let mut words = OlderWords::of(&query.text, partition.records, below);
    let lists = full_text::find(conn, partition.part, &words.singles(), below, OlderWords::PER_LIST).await?;
    words.take_singles(&lists);
    let (asked, weights): (Vec<_>, Vec<f32>) = words.pairs().into_iter().map(|pair| (pair.stems.clone(), pair.weight())).unzip();
    let lists = full_text::find(conn, partition.part, &asked, below, OlderWords::PER_LIST).await?;
    words.take_pairs(&weights, &lists);
    Ok(words)
}

async fn spanned(conn: &mut SqliteConnection, part: i64, span: &TimeRange, below: i64, limit: i64) -> Result<Vec<i64>> {
    let rows = sqlx::query(
        "SELECT rid FROM (SELECT rid FROM messages WHERE part = ?1 AND at >= ?2 AND at < ?3 AND rid < ?4 ORDER BY at DESC LIMIT ?5)
         UNION ALL SELECT rid FROM (SELECT rid FROM passages WHERE part = ?1 AND at >= ?2 AND at < ?3 AND rid < ?4 ORDER BY rid DESC LIMIT ?5)",
    )
    .bind(part)
    .bind(nanos(span.from))
    .bind(nanos(span.to))
    .bind(below)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| row.int(0)).collect()
}

async fn newest(conn: &mut SqliteConnection, part: i64) -> Result<Vec<i64>> {
    let rows = sqlx::query(
        "SELECT rid FROM (SELECT rid FROM messages WHERE part = ?1 ORDER BY rid DESC LIMIT ?2)
         UNION ALL SELECT rid FROM (SELECT rid FROM passages WHERE part = ?1 ORDER BY rid DESC LIMIT ?2)
         UNION ALL SELECT rid FROM (SELECT rid FROM diary WHERE part = ?1 ORDER BY rid DESC LIMIT ?2)",
    )
    .bind(part)
    .bind(NEWEST)
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| row.int(0)).collect()
}

/// The searchable messages right before and after these.
async fn neighbours(conn: &mut SqliteConnection, rids: &BTreeSet<i64>) -> Result<Vec<i64>> {
    let rows = sqlx::query(
        "SELECT (SELECT n.rid FROM messages n WHERE n.tenant = m.tenant AND n.conv = m.conv AND n.seq < m.seq AND n.part IS NOT NULL
                ORDER BY n.seq DESC LIMIT 1),
            (SELECT n.rid FROM messages n WHERE n.tenant = m.tenant AND n.conv = m.conv AND n.seq > m.seq AND n.part IS NOT NULL
                ORDER BY n.seq LIMIT 1)
         FROM json_each(?) j CROSS JOIN messages m ON m.rid = j.value",
    )
    .bind(to_json(&rids.iter().filter(|rid| *rid & 3 == 0).collect::<Vec<_>>())?)
    .fetch_all(conn)
    .await?;
    let mut found = Vec::with_capacity(rows.len() * 2);
    for row in &rows {
        found.extend(row.maybe_int(0)?);
        found.extend(row.maybe_int(1)?);
    }
    Ok(found)
}
