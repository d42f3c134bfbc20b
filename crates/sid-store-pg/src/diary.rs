//! `DiaryStore`: pages, and which of them are missing.
//!
//! What is missing is never searched for: whoever writes a message marks its day, whoever writes a page marks the period above it, and a
//! page takes its mark away. With nothing marked that is over, asking for work reads one row.

use async_trait::async_trait;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use sid_store::{DiaryQuery, DiaryStore, DiaryWork, MOST_OF_A_DAY, RecordId, StoreError};
use sid_types::{DiaryEntry, DiaryLevel, KeyId, Message, Owner, Principal, Scope, TenantId, Timestamp};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::archival::forget_record;
use crate::backend::PgStore;
use crate::codec::{At, Columns, Day, clean, kept, level, level_number, limit, to_json};
use crate::directory;
use crate::error::{Fault, Result, missing};
use crate::journal::zone;
use crate::recall::MESSAGE;
use crate::rows::{MessageRow, turn_scope};
use crate::tx::Tx;
use crate::visibility::{Partition, Viewer, owner};

/// The columns of [`read`], of tables `d` (diary) and `o` (partitions).
pub(crate) const COLUMNS: &str =
    "d.id, o.kind, o.a, o.b, d.level, d.start, d.text, d.messages, d.is_floor, d.written_at, d.untrusted, d.rid, d.part";
/// Their tables.
pub(crate) const TABLES: &str = "sid.diary d JOIN sid.partitions o ON o.tenant = d.tenant AND o.part = d.part";

/// A page from a row that begins with [`COLUMNS`].
pub(crate) fn read(row: &PgRow) -> Result<DiaryEntry> {
    Ok(DiaryEntry {
        id: row.id(0)?,
        owner: owner(row, 1)?,
        level: level(row.small(4)?)?,
        start: row.date(5)?,
        text: row.text(6)?,
        messages: row.json(7)?,
        is_floor: row.flag(8)?,
        untrusted: row.json(10)?,
        written_at: row.time(9)?,
    })
}

#[async_trait]
impl DiaryStore for PgStore {
    async fn diary(&self, scope: &Scope, owner: Owner, query: &DiaryQuery) -> Result<Vec<DiaryEntry>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        if !self.viewer(scope).sees(&mut tx, owner).await? {
            return Err(missing("owner"));
        }
        let Some(partition) = Partition::find(&mut tx, owner).await? else { return Ok(Vec::new()) };
        let statement = tx.query_of(format!(
            "SELECT {COLUMNS} FROM {TABLES} WHERE d.tenant = $1 AND d.part = $2 AND ($3::smallint IS NULL OR d.level = $3)
             AND ($4::date IS NULL OR d.start >= $4) AND ($5::date IS NULL OR d.start < $5)
             ORDER BY d.start DESC, d.level DESC LIMIT $6"
        ));
        let rows = statement
            .bind(tx.tenant)
            .bind(partition.part)
            .bind(query.level.map(level_number))
            .bind(query.from.map(Day))
            .bind(query.to.map(Day))
            .bind(limit(query.limit))
            .fetch_all(tx.conn())
            .await
            .map_err(Fault::Sql)?;
        Ok(rows.iter().map(read).collect::<Result<_>>()?)
    }

    async fn diary_work(&self, now: Timestamp, limit: usize) -> Result<Vec<DiaryWork>, StoreError> {
        let mut work = Vec::new();
        for level in [DiaryLevel::Day, DiaryLevel::Week, DiaryLevel::Month] {
            due(self, now, level, limit, &mut work).await?;
        }
        Ok(work)
    }

    async fn redo_diary(&self, work: &DiaryWork, not_before: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin(work.scope.tenant()).await?;
        let outcome = redo(&mut tx, &self.viewer(&work.scope), work, not_before).await;
        tx.finish(outcome).await
    }

    async fn day_messages(&self, scope: &Scope, owner: Owner, day: Date) -> Result<Vec<Message>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        if !self.viewer(scope).sees(&mut tx, owner).await? {
            return Err(missing("owner"));
        }
        let Some(partition) = Partition::find(&mut tx, owner).await? else { return Ok(Vec::new()) };
        let (from, to) = day_range(day, &owner_zone(&mut tx, owner).await?);
        let query = tx.query_of(format!(
            "SELECT {MESSAGE} FROM sid.messages m WHERE m.tenant = $1 AND m.part = $2 AND m.rid IS NOT NULL AND m.at >= $3 AND m.at < $4
             ORDER BY m.at DESC, m.conv DESC, m.seq DESC LIMIT {MOST_OF_A_DAY}"
        ));
        let query = query.bind(tx.tenant).bind(partition.part).bind(from).bind(to);
        let rows = query.fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let told: Result<Vec<Message>> = rows.iter().rev().map(|row| row.json::<MessageRow>(0)?.message()).collect();
        Ok(told?)
    }

    async fn put_diary(&self, scope: &Scope, entry: DiaryEntry) -> Result<(), StoreError> {
        let mut tx = self.begin(scope.tenant()).await?;
        let outcome = put(self, &mut tx, &self.viewer(scope), entry).await;
        tx.finish(outcome).await
    }
}

/// Rows that one look for work reads at once.
const LOOK: i64 = 256;

/// Marked periods of one level that are over.
async fn due(store: &PgStore, now: Timestamp, level: DiaryLevel, limit: usize, work: &mut Vec<DiaryWork>) -> Result<()> {
    // Nowhere on Earth is it later than this; the zones of the users are looked at one by one.
    let latest = now.to_zoned(TimeZone::fixed(jiff::tz::offset(14))).date();
    // Periods that have only begun are passed by without being read.
    let shortest = match level {
        DiaryLevel::Day => 1,
        DiaryLevel::Week => 7,
        DiaryLevel::Month => 28,
    };
    let last_start = latest.saturating_sub(jiff::Span::new().days(shortest));
    let below = level.below().map_or(-1, level_number);
    let mut after = (jiff::civil::date(1, 1, 1), i64::MIN);
    while work.len() < limit {
        let rows = store
            .call(
                "SELECT o_start, o_part, o_ends, o_tenant, o_kind, o_a, o_b, o_zone, o_below, o_tries
                 FROM sid.diary_to_write($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(At(now))
            .bind(level_number(level))
            .bind(below)
            .bind(Day(last_start))
            .bind(Day(latest))
            .bind(Day(after.0))
            .bind(after.1)
            .bind(LOOK)
            .fetch_all()
            .await?;
        for row in &rows {
            after = (row.date(0)?, row.int(1)?);
            let today = now.to_zoned(zone(row.maybe_text(7)?.as_deref())).date();
            // A level waits for the one below it.
            let below: Option<Vec<Day>> = sqlx::Row::try_get_unchecked(row, 8)?;
            let waits = below.is_some_and(|ends| ends.iter().any(|end| end.0 <= today));
            if row.date(2)? <= today && !waits && work.len() < limit {
                let owner = owner(row, 4)?;
                let (scope, tries) = (engine_scope(row.id(3)?, owner), sqlx::Row::try_get_unchecked::<i32, _>(row, 9)?);
                work.push(DiaryWork { scope, owner, level, start: after.0, tries: u32::try_from(tries).unwrap_or_default() });
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
    let nobody = KeyId::from_uuid(Uuid::nil());
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
pub(crate) async fn owner_zone(tx: &mut Tx, owner: Owner) -> Result<TimeZone> {
    let Some(user) = owner.user() else { return Ok(TimeZone::UTC) };
    Ok(zone(directory::find_user(tx, user).await?.and_then(|u| u.timezone).as_deref()))
}

/// First and end of a day.
pub(crate) fn day_range(day: Date, zone: &TimeZone) -> (At, At) {
    let start = |d: Date| At(d.to_zoned(zone.clone()).map_or(Timestamp::UNIX_EPOCH, |z| z.timestamp()));
    (start(day), start(DiaryLevel::Day.end_of(day)))
}

/// Whether the viewer may write a page of this period, and there is such a period.
async fn check(tx: &mut Tx, viewer: &Viewer, of: Owner, level: DiaryLevel, start: Date) -> Result<()> {
    let may = match viewer.scope.principal() {
        Principal::Tenant { .. } => true,
        Principal::Turn { agent, user } => Owner::of_conversation(agent, user) == of,
        Principal::User { .. } => false,
    };
    if !may || !viewer.sees(tx, of).await? {
        return Err(missing("owner").into());
    }
    if level.start_of(start) != start {
        return Err(StoreError::Invalid(format!("no {level:?} starts on {start}")).into());
    }
    Ok(())
}

async fn redo(tx: &mut Tx, viewer: &Viewer, work: &DiaryWork, not_before: Timestamp) -> Result<()> {
    check(tx, viewer, work.owner, work.level, work.start).await?;
    let part = Partition::open(tx, work.owner).await?;
    let query = tx.query(
        "INSERT INTO sid.diary_dirty (tenant, part, level, start, ends, touched_at, tries) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (tenant, part, level, start) DO UPDATE SET touched_at = excluded.touched_at, tries = excluded.tries",
    );
    let query =
        query.bind(tx.tenant).bind(part).bind(level_number(work.level)).bind(Day(work.start)).bind(Day(work.level.end_of(work.start)));
    query.bind(At(not_before)).bind(i32::try_from(work.tries).unwrap_or(i32::MAX)).execute(tx.conn()).await?;
    Ok(())
}

async fn put(store: &PgStore, tx: &mut Tx, viewer: &Viewer, mut entry: DiaryEntry) -> Result<()> {
    check(tx, viewer, entry.owner, entry.level, entry.start).await?;
    entry.written_at = kept(entry.written_at);
    let part = Partition::open(tx, entry.owner).await?;
    // Erasing locks the partition, too: it comes before this page, or after it, and never in between.
    let query = tx.query("SELECT 1 FROM sid.partitions WHERE tenant = $1 AND part = $2 FOR UPDATE");
    query.bind(tx.tenant).bind(part).execute(tx.conn()).await?;
    // What was forgotten while the page was being written must not come back with it.
    let mut sources: Vec<Uuid> = entry.messages.iter().map(|(conversation, ..)| conversation.uuid()).collect();
    sources.sort_unstable();
    sources.dedup();
    let query = tx.query("SELECT count(*) FROM sid.conversations WHERE tenant = $1 AND part = $2 AND id = ANY ($3)");
    let known = query.bind(tx.tenant).bind(part).bind(sources.clone()).fetch_one(tx.conn()).await?;
    if known.count(0)? < sources.len() as u64 {
        return Err(missing("conversation").into());
    }
    let query = tx.query("DELETE FROM sid.diary WHERE tenant = $1 AND part = $2 AND level = $3 AND start = $4 RETURNING rid, id, text");
    let query = query.bind(tx.tenant).bind(part).bind(level_number(entry.level)).bind(Day(entry.start));
    if let Some(row) = query.fetch_optional(tx.conn()).await? {
        forget_record(store, tx, part, row.int(0)?, RecordId::Diary(row.id(1)?), &row.text(2)?).await?;
    }
    let query = tx.query("SELECT sid.put_page($1, $2, $3, $4, $5, $6, $7, $8, $9)").bind(tx.tenant).bind(part);
    query
        .bind(level_number(entry.level))
        .bind(Day(entry.start))
        .bind(entry.id.uuid())
        .bind(clean(&entry.text).into_owned())
        .bind(to_json(&entry.messages)?)
        .bind(entry.is_floor)
        .bind(At(entry.written_at))
        .execute(tx.conn())
        .await
        .map_err(|e| directory::taken(e, "diary page", &entry.id.to_string()))?;
    if !entry.untrusted.is_empty() {
        let query = tx.query("UPDATE sid.diary SET untrusted = $5 WHERE tenant = $1 AND part = $2 AND level = $3 AND start = $4");
        let query = query.bind(tx.tenant).bind(part).bind(level_number(entry.level)).bind(Day(entry.start));
        query.bind(to_json(&entry.untrusted)?).execute(tx.conn()).await?;
    }
    let query = tx.query("DELETE FROM sid.diary_dirty WHERE tenant = $1 AND part = $2 AND level = $3 AND start = $4 AND touched_at <= $5");
    let query = query.bind(tx.tenant).bind(part).bind(level_number(entry.level)).bind(Day(entry.start));
    query.bind(At(entry.written_at)).execute(tx.conn()).await?;
    mark_above(tx, part, entry.level, entry.start, entry.written_at).await
}

/// Marks the period above a page, unless its own page is as new already.
async fn mark_above(tx: &mut Tx, part: i64, level: DiaryLevel, start: Date, written_at: Timestamp) -> Result<()> {
    let above = match level {
        DiaryLevel::Day => DiaryLevel::Week,
        DiaryLevel::Week => DiaryLevel::Month,
        DiaryLevel::Month => return Ok(()),
    };
    let start = above.start_of(start);
    let query = tx.query("SELECT 1 FROM sid.diary WHERE tenant = $1 AND part = $2 AND level = $3 AND start = $4 AND written_at >= $5");
    let query = query.bind(tx.tenant).bind(part).bind(level_number(above)).bind(Day(start)).bind(At(written_at));
    if query.fetch_optional(tx.conn()).await?.is_none() {
        touch(tx, part, above, start, written_at).await?;
    }
    Ok(())
}

/// A period has something newer than its page.
pub(crate) async fn touch(tx: &mut Tx, part: i64, level: DiaryLevel, start: Date, at: Timestamp) -> Result<()> {
    let query = tx.query(
        "INSERT INTO sid.diary_dirty AS d (tenant, part, level, start, ends, touched_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (tenant, part, level, start) DO UPDATE SET touched_at = greatest(d.touched_at, excluded.touched_at)",
    );
    let query = query.bind(tx.tenant).bind(part).bind(level_number(level)).bind(Day(start)).bind(Day(level.end_of(start)));
    query.bind(At(at)).execute(tx.conn()).await?;
    Ok(())
}
