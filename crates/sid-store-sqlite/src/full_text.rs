//! The full-text index of large partitions: what keeps every detail findable at bounded cost.
//!
//! A partition that grows large goes into it: new records in their own transactions, the older ones in the background, oldest first,
//! in steps that a restart takes up again. Lists of words are per partition: a token is the partition's number and a hash of the stem.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sid_store::index::terms;
use sqlx::sqlite::SqliteConnection;

use crate::codec::Columns;
use crate::error::Result;
use crate::writer::{After, Tx};

/// Records that one background step brings over.
const STEP: i64 = 256;

/// The token of a stem in a partition: letters and digits only, whatever the script of the stem.
pub(crate) fn token(part: i64, stem: &str) -> String {
    // FNV-1a: stored, so it must never change. Two stems with one hash only cost a look at a record too many.
    let hash = stem.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{part:x}g{hash:x}")
}

fn tokens(part: i64, speaker: Option<&str>, text: &str) -> String {
    let mut stems: BTreeSet<String> = terms(text).into_iter().collect();
    stems.extend(speaker.map(terms).unwrap_or_default());
    let mut out = String::with_capacity(stems.len() * 20);
    for stem in stems {
        let _ = write!(out, "{} ", token(part, &stem));
    }
    out
}

/// A record as it is taken in: number, speaker, text.
pub(crate) type Row<'r> = (i64, Option<&'r str>, &'r str);

/// Takes records in.
pub(crate) async fn insert(tx: &mut Tx, part: i64, rows: &[Row<'_>]) -> Result<()> {
    let mut rest = rows;
    while !rest.is_empty() {
        // Few different sizes, so that the statements stay prepared.
        let size = if rest.len() >= 32 { 32 } else { rest.len().min(4) };
        let (chunk, later_rows) = rest.split_at(size);
        let sql = format!("INSERT OR REPLACE INTO full_text (rowid, tokens) VALUES {}", vec!["(?,?)"; size].join(","));
        let mut later = tx.later(&sql);
        for (rid, speaker, text) in chunk {
            later = later.bind(*rid).bind(tokens(part, *speaker, text));
        }
        tx.relieve().await?;
        rest = later_rows;
    }
    Ok(())
}

/// Takes a record out.
pub(crate) async fn remove(tx: &mut Tx, rid: i64) -> Result<()> {
    sqlx::query("DELETE FROM full_text WHERE rowid = ?").bind(rid).execute(&mut tx.conn).await?;
    Ok(())
}

/// From now on the partition's new records are taken in; those that are there already are to follow.
pub(crate) fn begin(tx: &mut Tx, part: i64) {
    // What this job still writes is brought over as well, whether or not it knows that the index has begun.
    let end = tx.rid_horizon();
    tx.later("UPDATE partitions SET is_full_text = 1, filled_to = -1, fill_end = ? WHERE part = ? AND is_full_text = 0")
        .bind(end)
        .bind(part);
    tx.then(After::FullText { part });
}

/// Brings over the next older records; answers whether there are more.
pub(crate) async fn fill(tx: &mut Tx, part: i64) -> Result<bool> {
    let state = sqlx::query("SELECT filled_to, fill_end FROM partitions WHERE part = ?").bind(part).fetch_optional(&mut tx.conn).await?;
    let Some((from, end)) = state.map(|row| Ok::<_, crate::error::Fault>((row.int(0)?, row.int(1)?))).transpose()? else {
        return Ok(false);
    };
    if from >= end {
        return Ok(false);
    }
    let rows = sqlx::query(
        "SELECT * FROM (
            SELECT * FROM (SELECT rid, speaker, text FROM messages WHERE part = ?1 AND rid > ?2 AND rid <= ?3 ORDER BY rid LIMIT ?4)
            UNION ALL SELECT * FROM (SELECT rid, NULL, text FROM passages WHERE part = ?1 AND rid > ?2 AND rid <= ?3 ORDER BY rid LIMIT ?4)
            UNION ALL SELECT * FROM (SELECT rid, NULL, text FROM diary WHERE part = ?1 AND rid > ?2 AND rid <= ?3 ORDER BY rid LIMIT ?4)
         ) ORDER BY rid LIMIT ?4",
    )
    .bind(part)
    .bind(from)
    .bind(end)
    .bind(STEP)
    .fetch_all(&mut tx.conn)
    .await?;
    let (mut last, mut texts) = (from, Vec::with_capacity(rows.len()));
    for row in &rows {
        last = row.int(0)?;
        texts.push((last, row.maybe_text(1)?, row.text(2)?));
    }
    let records: Vec<Row<'_>> = texts.iter().map(|(rid, speaker, text)| (*rid, speaker.as_deref(), text.as_str())).collect();
    insert(tx, part, &records).await?;
    let is_done = (rows.len() as i64) < STEP;
    tx.later("UPDATE partitions SET filled_to = ? WHERE part = ?").bind(if is_done { end } else { last }).bind(part);
    Ok(!is_done)
}

/// Pages that one step of tidying writes.
const TIDY_PAGES: i64 = 64;

/// Merges parts of the index, which many small transactions leave in many segments: each word of a search looks into each of them.
/// Answers whether there is more to do.
pub(crate) async fn tidy(tx: &mut Tx, is_first: bool) -> Result<bool> {
    let changes = async |conn: &mut SqliteConnection| sqlx::query("SELECT total_changes()").fetch_one(conn).await?.int(0);
    let before = changes(&mut tx.conn).await?;
    // Negative: from now on everything is to become one segment.
    let pages = if is_first { -TIDY_PAGES } else { TIDY_PAGES };
    sqlx::query("INSERT INTO full_text (full_text, rank) VALUES ('merge', ?)").bind(pages).execute(&mut tx.conn).await?;
    // The statement itself counts as one.
    Ok(changes(&mut tx.conn).await? - before > 1)
}

/// Partitions that are being brought over, after a restart.
pub(crate) async fn unfinished(conn: &mut SqliteConnection) -> Result<Vec<i64>> {
    let rows = sqlx::query("SELECT part FROM partitions WHERE filled_to < fill_end").fetch_all(conn).await?;
    rows.iter().map(|row| row.int(0)).collect()
}

/// For each list of stems: records before `below` that have all of them, newest first, at most `limit`. One trip for all lists.
pub(crate) async fn find(conn: &mut SqliteConnection, part: i64, asked: &[Vec<&str>], below: i64, limit: usize) -> Result<Vec<Vec<i64>>> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    const LIST: &str =
        "(SELECT group_concat(rowid) FROM (SELECT rowid FROM full_text WHERE full_text MATCH ? AND rowid < ? ORDER BY rowid DESC LIMIT ?))";
    let sql = format!("SELECT {}", vec![LIST; asked.len()].join(", "));
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
    for stems in asked {
        let all = stems.iter().map(|stem| token(part, stem)).collect::<Vec<_>>().join(" AND ");
        query = query.bind(all).bind(below).bind(limit as i64);
    }
    let row = query.fetch_one(conn).await?;
    let list = |column| Ok(row.maybe_text(column)?.map(|l| l.split(',').filter_map(|rid| rid.parse().ok()).collect()).unwrap_or_default());
    (0..asked.len()).map(list).collect()
}
