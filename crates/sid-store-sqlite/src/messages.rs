//! Message rows: written by whoever places messages, read by paging, loading and search.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use sid_store::{Record, StoreError};
use sid_types::{
    ApprovedCall, Body, ConversationId, DiaryLevel, Message, MessageId, NewMessage, RunId, Sender, Seq, Source, Timestamp, Tokens, ToolCall,
};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::codec::{Columns, Id, date, days, from_hex, nanos, role_number, time, to_json};
use crate::error::{Result, damaged};
use crate::full_text;
use crate::partitions::IndexChange;
use crate::visibility::Conv;
use crate::writer::{After, Kind, Tx};

/// What a body has beside its text.
#[derive(Default, Serialize, Deserialize)]
struct Extra {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_error: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    quotes: Vec<MessageId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    untrusted: Vec<Source>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    approved: Option<Box<ApprovedCall>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sender: Option<Box<Sender>>,
}

/// The `extra` column of a message.
pub(crate) fn extra(message: &Message) -> Result<Option<String>> {
    let is_plain = message.untrusted.is_empty() && message.approved.is_none() && message.sender.is_none();
    let mut extra = match &message.body {
        Body::User { .. } | Body::Note { .. } if is_plain => return Ok(None),
        Body::User { .. } | Body::Note { .. } => Extra::default(),
        Body::Assistant { reasoning: None, tool_calls, .. } if tool_calls.is_empty() && is_plain => return Ok(None),
        Body::Assistant { reasoning, tool_calls, .. } => {
            Extra { reasoning: reasoning.clone(), tool_calls: tool_calls.clone(), ..Extra::default() }
        }
        Body::Tool { call_id, name, is_error, quotes, .. } => Extra {
            call_id: Some(call_id.clone()),
            name: Some(name.clone()),
            is_error: *is_error,
            quotes: quotes.clone(),
            ..Extra::default()
        },
    };
    extra.untrusted.clone_from(&message.untrusted);
    extra.approved.clone_from(&message.approved);
    extra.sender.clone_from(&message.sender);
    to_json(&extra).map(Some)
}

fn read_extra(extra: Option<&str>) -> Result<Extra> {
    Ok(extra.map_or_else(|| Ok(Extra::default()), serde_json::from_str)?)
}

fn body(role: i64, text: String, extra: Extra) -> Result<Body> {
    Ok(match role {
        0 => Body::User { text },
        1 => Body::Assistant { text, reasoning: extra.reasoning, tool_calls: extra.tool_calls },
        2 => Body::Tool {
            call_id: extra.call_id.unwrap_or_default(),
            name: extra.name.unwrap_or_default(),
            text,
            is_error: extra.is_error,
            quotes: extra.quotes,
        },
        3 => Body::Note { text },
        other => return Err(damaged(format!("a message has role {other}")).into()),
    })
}

/// The columns of [`read`], of a table `m`.
pub(crate) const COLUMNS: &str = "m.id, m.seq, m.run, m.role, m.text, m.extra, m.speaker, m.at, m.tokens";

/// A message from a row that begins with [`COLUMNS`].
pub(crate) fn read(row: &SqliteRow, conversation: ConversationId) -> Result<Message> {
    let (mut extra, text) = (read_extra(row.maybe_text(5)?.as_deref())?, row.text(4)?);
    let (untrusted, approved, sender) = (std::mem::take(&mut extra.untrusted), extra.approved.take(), extra.sender.take());
    Ok(Message {
        id: row.id(0)?,
        conversation,
        seq: Seq(row.count(1)?),
        run: row.maybe_id(2)?,
        body: body(row.int(3)?, text, extra)?,
        speaker: row.maybe_text(6)?,
        at: row.time(7)?,
        tokens: row.maybe_int(8)?.map(|n| Tokens(u32::try_from(n).unwrap_or(u32::MAX))),
        untrusted,
        approved,
        sender,
    })
}

/// A message of a table `m` as a JSON array. Lists of messages are read as one text: a row that comes over from SQLite's thread costs far
/// more than what stands in it.
pub(crate) const PACKED: &str = "json_array(hex(m.id), m.seq, hex(m.run), m.role, m.text, m.extra, m.speaker, m.at, m.tokens)";

/// [`PACKED`], read. No run is the empty text.
#[derive(Deserialize)]
pub(crate) struct Packed(String, u64, String, i64, String, Option<String>, Option<String>, i64, Option<u32>);

impl Packed {
    pub(crate) fn message(self, conversation: ConversationId) -> Result<Message> {
        let Self(id, seq, run, role, text, extra, speaker, at, tokens) = self;
        let mut extra = read_extra(extra.as_deref())?;
        let (untrusted, approved, sender) = (std::mem::take(&mut extra.untrusted), extra.approved.take(), extra.sender.take());
        Ok(Message {
            id: from_hex(&id)?,
            conversation,
            seq: Seq(seq),
            run: if run.is_empty() { None } else { Some(from_hex(&run)?) },
            body: body(role, text, extra)?,
            speaker,
            at: time(at),
            tokens: tokens.map(Tokens),
            untrusted,
            approved,
            sender,
        })
    }
}

/// The messages of a row whose first column is a list of [`PACKED`].
pub(crate) fn unpack(row: &SqliteRow, conversation: ConversationId) -> Result<Vec<Message>> {
    row.json::<Vec<Packed>>(0)?.into_iter().map(|packed| packed.message(conversation)).collect()
}

/// Which of these ids are messages already, in their places or waiting with a run.
pub(crate) async fn known(conn: &mut SqliteConnection, tenant: i64, messages: &[NewMessage]) -> Result<Vec<MessageId>> {
    let mut known = Vec::new();
    for chunk in messages.chunks(64) {
        let marks = vec!["?"; chunk.len()].join(",");
        let sql = format!(
            "SELECT id FROM messages WHERE tenant = ? AND id IN ({marks})
             UNION ALL SELECT id FROM waiting_messages WHERE tenant = ? AND id IN ({marks})"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for _ in 0..2 {
            query = query.bind(tenant);
            for message in chunk {
                query = query.bind(message.id.blob());
            }
        }
        for row in query.fetch_all(&mut *conn).await? {
            known.push(row.id(0)?);
        }
    }
    Ok(known)
}

/// Takes ids for messages that wait with a run. A unique violation when one is taken already.
pub(crate) fn reserve(tx: &mut Tx, tenant: i64, run: i64, messages: &[NewMessage]) {
    for message in messages {
        tx.later("INSERT INTO waiting_messages (tenant, id, run) VALUES (?, ?, ?)").bind(tenant).bind(message.id.blob()).bind(run);
    }
}

/// The messages of a run do not wait any longer.
pub(crate) fn unreserve(tx: &mut Tx, run: i64) {
    tx.later("DELETE FROM waiting_messages WHERE run = ?").bind(run);
}

/// The zone in which a user's days are told; UTC without one.
pub(crate) fn zone(name: Option<&str>) -> TimeZone {
    name.and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC)
}

/// Rows of one `INSERT`; few different sizes, so that the statements stay prepared.
const ROWS: usize = 32;

/// Puts messages at the next places of a conversation. The caller saves `conv`.
///
/// Errors: a unique violation when a message's id is there already.
pub(crate) async fn place(tx: &mut Tx, conv: &mut Conv, run: Option<RunId>, messages: Vec<NewMessage>) -> Result<Vec<Message>> {
    let mut placed: Vec<(i64, Message)> = Vec::with_capacity(messages.len());
    for new in messages {
        conv.last_seq += 1;
        conv.last_at = Some(nanos(new.at));
        placed.push((tx.rid(Kind::Message), new.placed(conv.id, Seq(conv.last_seq), run)));
    }
    let mut rest = &placed[..];
    while !rest.is_empty() {
        let size = if rest.len() >= ROWS { ROWS } else { rest.len().min(4) };
        let (chunk, later) = rest.split_at(size);
        insert(tx, conv, chunk)?;
        tx.relieve().await?;
        rest = later;
    }
    note_searchable(tx, conv, &placed).await?;
    Ok(placed.into_iter().map(|(_, message)| message).collect())
}

fn insert(tx: &mut Tx, conv: &Conv, rows: &[(i64, Message)]) -> Result<()> {
    let mut sql = String::from(
        "INSERT INTO messages (rid, tenant, conv, seq, id, part, run, role, text, extra, speaker, at, written_at, tokens) VALUES ",
    );
    for i in 0..rows.len() {
        let _ = write!(sql, "{}(?,?,?,?,?,?,?,?,?,?,?,?,?,?)", if i == 0 { "" } else { "," });
    }
    let now = nanos(tx.now);
    let mut later = tx.later(&sql);
    for (rid, m) in rows {
        later = later
            .bind(*rid)
            .bind(conv.tenant)
            .bind(conv.conv)
            .bind(m.seq.0 as i64)
            .bind(m.id.blob())
            .bind(m.body.is_searchable().then_some(conv.part))
            .bind(m.run.map(Id::blob))
            .bind(role_number(m.body.role()))
            .bind(m.body.text())
            .bind(extra(m)?)
            .bind(m.speaker.as_deref())
            .bind(nanos(m.at))
            .bind(now)
            .bind(m.tokens.map(|t| i64::from(t.0)));
    }
    for (rid, m) in rows {
        if let Body::Tool { quotes, .. } = &m.body {
            for quoted in quotes {
                tx.later("INSERT OR IGNORE INTO quotes (tenant, quoted, quoting) VALUES (?, ?, ?)")
                    .bind(conv.tenant)
                    .bind(quoted.blob())
                    .bind(*rid);
            }
        }
    }
    Ok(())
}

/// Counts new searchable messages, marks their days, and tells the index.
async fn note_searchable(tx: &mut Tx, conv: &mut Conv, placed: &[(i64, Message)]) -> Result<()> {
    let searchable: Vec<&(i64, Message)> = placed.iter().filter(|(_, m)| m.body.is_searchable()).collect();
    if searchable.is_empty() {
        return Ok(());
    }
    let zone = zone(conv.zone.as_deref());
    let mut told: Vec<i64> = searchable.iter().map(|(_, m)| days(m.at.to_zoned(zone.clone()).date())).collect();
    told.sort_unstable();
    told.dedup();
    for day in told {
        touch(tx, conv.tenant, conv.part, DiaryLevel::Day, day, tx.now);
        tx.relieve().await?;
    }
    tx.later("UPDATE partitions SET records = records + ? WHERE part = ?").bind(searchable.len() as i64).bind(conv.part);
    conv.records += searchable.len() as u64;
    if !conv.is_full_text && conv.records >= tx.full_text_from {
        full_text::begin(tx, conv.part);
        conv.is_full_text = true;
    }
    if conv.is_full_text {
        let rows: Vec<full_text::Row<'_>> = searchable.iter().map(|(rid, m)| (*rid, m.speaker.as_deref(), m.body.text())).collect();
        full_text::insert(tx, conv.part, &rows).await?;
    }
    for (rid, message) in searchable {
        let record = Box::new(Record::Message(message.clone()));
        tx.then(After::Index { part: conv.part, change: IndexChange::Put { rid: *rid, record } });
    }
    Ok(())
}

/// Counts records in or out of a partition; answers whether its new records go into the full-text index.
pub(crate) async fn count(tx: &mut Tx, part: i64, records: i64) -> Result<bool> {
    let row = sqlx::query("UPDATE partitions SET records = records + ? WHERE part = ? RETURNING records, is_full_text")
        .bind(records)
        .bind(part)
        .fetch_one(&mut tx.conn)
        .await?;
    let is_full_text = row.flag(1)?;
    if !is_full_text && row.count(0)? >= tx.full_text_from {
        full_text::begin(tx, part);
        return Ok(true);
    }
    Ok(is_full_text)
}

/// A period has something newer than its page.
pub(crate) fn touch(tx: &mut Tx, tenant: i64, part: i64, level: DiaryLevel, start: i64, at: Timestamp) {
    tx.later(
        "INSERT INTO diary_dirty (tenant, part, level, start, ends, touched_at) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET touched_at = max(touched_at, excluded.touched_at)",
    )
    .bind(tenant)
    .bind(part)
    .bind(crate::codec::level_number(level))
    .bind(start)
    .bind(days(level.end_of(date(start))))
    .bind(nanos(at));
}

/// A message's id is there already.
pub(crate) fn there_already(id: MessageId) -> StoreError {
    StoreError::Exists { what: "message", name: id.to_string() }
}
