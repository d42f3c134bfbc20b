//! `DiaryStore`: pages, and which of them are missing.
//!
//! What is missing is never searched for: whoever writes a message marks its day, whoever writes a page marks the period above it, and a
//! page takes its mark away. With nothing marked that is over, asking for work reads one row.

use async_trait::async_trait;
use futures::FutureExt;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use sid_store::{DiaryQuery, DiaryStore, DiaryWork, MOST_OF_A_DAY, Record, RecordId, StoreError};
use sid_types::{DiaryEntry, DiaryLevel, KeyId, Message, Owner, Principal, Scope, TenantId, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::archival::forget_record;
use crate::backend::SqliteStore;
use crate::codec::{Columns, Id, date, days, from_hex, level, level_number, nanos, to_json};
use crate::directory;
use crate::error::{Fault, Result, missing};
use crate::full_text;
use crate::messages::{self, Packed, count, touch, zone};
use crate::partitions::IndexChange;
use crate::visibility::{Partition, Viewer, owner, turn_scope};
use crate::writer::{After, Kind, Tx};

/// The columns of [`read`], of tables `d` (diary) and `o` (partitions).
pub(crate) const COLUMNS: &str =
    "d.id, o.kind, o.a, o.b, d.level, d.start, d.text, d.messages, d.is_floor, d.written_at, d.untrusted, d.rid, d.part";

/// A page from a row that begins with [`COLUMNS`].
pub(crate) fn read(row: &SqliteRow) -> Result<DiaryEntry> {
    Ok(DiaryEntry {
        id: row.id(0)?,
        owner: owner(row, 1)?,
        level: level(row.int(4)?)?,
        start: date(row.int(5)?),
        text: row.text(6)?,
        messages: row.json(7)?,
        is_floor: row.flag(8)?,
        untrusted: row.json(10)?,
        written_at: row.time(9)?,
    })
}

#[async_trait]
impl DiaryStore for SqliteStore {
    async fn diary(&self, scope: &Scope, owner: Owner, query: &DiaryQuery) -> Result<Vec<DiaryEntry>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        if !viewer.sees(&mut conn, owner).await? {
            return Err(missing("owner"));
        }
        let Some(partition) = Partition::find(&mut conn, viewer.tenant, owner).await? else { return Ok(Vec::new()) };
        let sql = format!(
            "SELECT {COLUMNS} FROM diary d JOIN partitions o ON o.part = d.part
             WHERE d.tenant = ?1 AND d.part = ?2 AND (?3 IS NULL OR d.level = ?3) AND (?4 IS NULL OR d.start >= ?4) AND (?5 IS NULL OR d.start < ?5)
             ORDER BY d.start DESC, d.level DESC LIMIT ?6"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(viewer.tenant)
            .bind(partition.part)
            .bind(query.level.map(level_number))
            .bind(query.from.map(days))
            .bind(query.to.map(days))
            .bind(i64::try_from(query.limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *conn)
            .await
            .map_err(Fault::Sql)?;
        Ok(rows.iter().map(read).collect::<Result<_>>()?)
    }

    async fn diary_work(&self, now: Timestamp, limit: usize) -> Result<Vec<DiaryWork>, StoreError> {
        let mut conn = self.reader().await?;
        let mut work = Vec::new();
        for level in [DiaryLevel::Day, DiaryLevel::Week, DiaryLevel::Month] {
            due(&mut conn, now, level, limit, &mut work).await?;
        }
        Ok(work)
    }

    async fn redo_diary(&self, work: &DiaryWork, not_before: Timestamp) -> Result<(), StoreError> {
        let (viewer, work) = (self.viewer(&work.scope).await?, work.clone());
        self.write(move |tx| redo(tx, viewer, work, not_before).boxed()).await
    }

    async fn day_messages(&self, scope: &Scope, owner: Owner, day: Date) -> Result<Vec<Message>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        if !viewer.sees(&mut conn, owner).await? {
            return Err(missing("owner"));
        }
        let Some(partition) = Partition::find(&mut conn, viewer.tenant, owner).await? else { return Ok(Vec::new()) };
        let zone = owner_zone(&mut conn, viewer.tenant, owner).await?;
        let (from, to) = day_range(day, &zone);
        let sql = format!(
            "SELECT json_group_array(json_array({}, hex(m.conversation))) FROM (
                SELECT m.*, c.id AS conversation FROM messages m JOIN conversations c ON c.conv = m.conv
                WHERE m.part = ? AND m.at >= ? AND m.at < ? ORDER BY m.at DESC, c.id DESC, m.seq DESC LIMIT {MOST_OF_A_DAY}) m",
            messages::PACKED
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(partition.part)
            .bind(from)
            .bind(to)
            .fetch_one(&mut *conn)
            .await
            .map_err(Fault::Sql)?;
        let newest_first: Vec<(Packed, String)> = row.json(0)?;
        let told: Result<Vec<Message>> =
            newest_first.into_iter().rev().map(|(packed, conversation)| packed.message(from_hex(&conversation)?)).collect();
        Ok(told?)
    }

    async fn put_diary(&self, scope: &Scope, entry: DiaryEntry) -> Result<(), StoreError> {
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| put(tx, viewer, entry).boxed()).await
    }
}

/// Rows that one look for work reads at once.
const LOOK: i64 = 256;

/// Marked periods of one level that are over.
async fn due(conn: &mut SqliteConnection, now: Timestamp, level: DiaryLevel, limit: usize, work: &mut Vec<DiaryWork>) -> Result<()> {
    // Nowhere on Earth is it later than this; the zones of the users are looked at one by one.
    let latest = days(now.to_zoned(TimeZone::fixed(jiff::tz::offset(14))).date());
    // Periods that have only begun are passed by without being read.
    let last_start = latest
        - match level {
            DiaryLevel::Day => 1,
            DiaryLevel::Week => 7,
            DiaryLevel::Month => 28,
        };
    let below = level.below().map_or(-1, level_number);
    let mut after = (i64::MIN, i64::MIN);
    while work.len() < limit {
        let rows = sqlx::query(
            "SELECT d.start, d.part, d.ends, t.id, o.kind, o.a, o.b, u.timezone,
                (SELECT group_concat(x.ends) FROM diary_dirty x WHERE x.tenant = d.tenant AND x.part = d.part AND x.level = ?2
                    AND x.start >= d.start AND x.start < d.ends AND (x.tries = 0 OR x.touched_at <= ?8)), d.tries
             FROM diary_dirty d CROSS JOIN partitions o ON o.part = d.part CROSS JOIN tenants t ON t.tenant = d.tenant
             LEFT JOIN users u ON u.tenant = d.tenant AND u.id = CASE o.kind WHEN 4 THEN o.b WHEN 2 THEN o.a END
             WHERE d.level = ?1 AND d.start <= ?7 AND d.ends <= ?3 AND (d.start, d.part) > (?4, ?5)
             AND (d.tries = 0 OR d.touched_at <= ?8) ORDER BY d.start, d.part LIMIT ?6",
        )
        .bind(level_number(level))
        .bind(below)
        .bind(latest)
        .bind(after.0)
        .bind(after.1)
        .bind(LOOK)
        .bind(last_start)
        .bind(nanos(now))
        .fetch_all(&mut *conn)
        .await?;
        for row in &rows {
            after = (row.int(0)?, row.int(1)?);
            let today = days(now.to_zoned(zone(row.maybe_text(7)?.as_deref())).date());
            // A level waits for the one below it.
            let waits = row.maybe_text(8)?.is_some_and(|ends| ends.split(',').any(|e| e.parse().is_ok_and(|e: i64| e <= today)));
            if row.int(2)? <= today && !waits && work.len() < limit {
                let owner = owner(row, 4)?;
                let (scope, tries) = (engine_scope(row.id(3)?, owner), u32::try_from(row.int(9)?).unwrap_or(u32::MAX));
                work.push(DiaryWork { scope, owner, level, start: date(after.0), tries });
            }
        }
        if (rows.len() as i64) < LOOK {
            break;
        }
    }
    Ok(())
}

/// The narrowest scope that sees the owner's memory, for the engine's own background work.
pub(crate) fn engine_scope(tenant: TenantId, owner: Owner) -> Scope {
    // No user or agent stands for a whole team or tenant; the all-zero key is nobody's.
    let nobody = KeyId::from_uuid(uuid::Uuid::nil());
    let principal = match owner {
        Owner::Pair { agent, user } => return turn_scope(tenant, agent, Some(user)),
        Owner::Agent { agent } => return turn_scope(tenant, agent, None),
        Owner::User { user } => Principal::User { user },
        Owner::Team { .. } | Owner::Tenant => Principal::Tenant { key: nobody },
    };
    #[allow(clippy::disallowed_methods, reason = "jobs that span tenants carry the scope of the record they are about")]
    Scope::grant(tenant, principal)
}

/// The zone in which an owner's days are told.
pub(crate) async fn owner_zone(conn: &mut SqliteConnection, tenant: i64, owner: Owner) -> Result<TimeZone> {
    let Some(user) = owner.user() else { return Ok(TimeZone::UTC) };
    Ok(zone(directory::find_user(conn, tenant, user).await?.and_then(|u| u.timezone).as_deref()))
}

/// First and end of a day, in nanoseconds.
pub(crate) fn day_range(day: Date, zone: &TimeZone) -> (i64, i64) {
    let start = |d: Date| d.to_zoned(zone.clone()).map_or(0, |z| nanos(z.timestamp()));
    (start(day), start(DiaryLevel::Day.end_of(day)))
}

/// Whether the viewer may write a page of this period, and there is such a period.
async fn check(tx: &mut Tx, viewer: &Viewer, of: Owner, level: DiaryLevel, start: Date) -> Result<()> {
    let may = match viewer.scope.principal() {
        Principal::Tenant { .. } => true,
        Principal::Turn { agent, user } => Owner::of_conversation(agent, user) == of,
        Principal::User { .. } => false,
    };
    if !may || !viewer.sees(&mut tx.conn, of).await? {
        return Err(missing("owner").into());
    }
    if level.start_of(start) != start {
        return Err(StoreError::Invalid(format!("no {level:?} starts on {start}")).into());
    }
    Ok(())
}

async fn redo(tx: &mut Tx, viewer: Viewer, work: DiaryWork, not_before: Timestamp) -> Result<()> {
    check(tx, &viewer, work.owner, work.level, work.start).await?;
    let part = Partition::open(tx, viewer.tenant, work.owner).await?.part;
    tx.later(
        "INSERT INTO diary_dirty (tenant, part, level, start, ends, touched_at, tries) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET touched_at = excluded.touched_at, tries = excluded.tries",
    )
    .bind(viewer.tenant)
    .bind(part)
    .bind(level_number(work.level))
    .bind(days(work.start))
    .bind(days(work.level.end_of(work.start)))
    .bind(nanos(not_before))
    .bind(i64::from(work.tries));
    tx.flush().await
}

async fn put(tx: &mut Tx, viewer: Viewer, entry: DiaryEntry) -> Result<()> {
    check(tx, &viewer, entry.owner, entry.level, entry.start).await?;
    let part = Partition::open(tx, viewer.tenant, entry.owner).await?.part;
    // What was forgotten while the page was being written must not come back with it.
    let mut sources: Vec<_> = entry.messages.iter().map(|(conversation, ..)| *conversation).collect();
    sources.sort_unstable();
    sources.dedup();
    for source in sources {
        let known = sqlx::query("SELECT 1 FROM conversations WHERE tenant = ? AND id = ? AND part = ?")
            .bind(viewer.tenant)
            .bind(source.blob())
            .bind(part)
            .fetch_optional(&mut tx.conn)
            .await?;
        if known.is_none() {
            return Err(missing("conversation").into());
        }
    }
    let start = days(entry.start);
    let old = sqlx::query("DELETE FROM diary WHERE tenant = ? AND part = ? AND level = ? AND start = ? RETURNING rid, id")
        .bind(viewer.tenant)
        .bind(part)
        .bind(level_number(entry.level))
        .bind(start)
        .fetch_optional(&mut tx.conn)
        .await?;
    if let Some(row) = old {
        forget_record(tx, part, row.int(0)?, RecordId::Diary(row.id(1)?)).await?;
    }
    let rid = tx.rid(Kind::Diary);
    sqlx::query(
        "INSERT INTO diary (rid, tenant, part, level, start, id, text, messages, is_floor, written_at, untrusted)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(rid)
    .bind(viewer.tenant)
    .bind(part)
    .bind(level_number(entry.level))
    .bind(start)
    .bind(entry.id.blob())
    .bind(entry.text.as_str())
    .bind(to_json(&entry.messages)?)
    .bind(entry.is_floor)
    .bind(nanos(entry.written_at))
    .bind(to_json(&entry.untrusted)?)
    .execute(&mut tx.conn)
    .await
    .map_err(|e| match Fault::Sql(e) {
        f if f.is_unique_violation() => StoreError::Exists { what: "diary page", name: entry.id.to_string() }.into(),
        other => other,
    })?;
    if count(tx, part, 1).await? {
        full_text::insert(tx, part, &[(rid, None, entry.text.as_str())]).await?;
    }
    sqlx::query("DELETE FROM diary_dirty WHERE tenant = ? AND part = ? AND level = ? AND start = ? AND touched_at <= ?")
        .bind(viewer.tenant)
        .bind(part)
        .bind(level_number(entry.level))
        .bind(start)
        .bind(nanos(entry.written_at))
        .execute(&mut tx.conn)
        .await?;
    mark_above(tx, viewer.tenant, part, entry.level, entry.start, entry.written_at).await?;
    let record = Box::new(Record::Diary(entry));
    tx.then(After::Index { part, change: IndexChange::Put { rid, record } });
    Ok(())
}

/// Marks the period above a page, unless its own page is as new already.
pub(crate) async fn mark_above(tx: &mut Tx, tenant: i64, part: i64, level: DiaryLevel, start: Date, written_at: Timestamp) -> Result<()> {
    let above = match level {
        DiaryLevel::Day => DiaryLevel::Week,
        DiaryLevel::Week => DiaryLevel::Month,
        DiaryLevel::Month => return Ok(()),
    };
    let start = days(above.start_of(start));
    let newer = sqlx::query("SELECT 1 FROM diary WHERE tenant = ? AND part = ? AND level = ? AND start = ? AND written_at >= ?")
        .bind(tenant)
        .bind(part)
        .bind(level_number(above))
        .bind(start)
        .bind(nanos(written_at))
        .fetch_optional(&mut tx.conn)
        .await?;
    if newer.is_none() {
        touch(tx, tenant, part, above, start, written_at);
    }
    Ok(())
}
