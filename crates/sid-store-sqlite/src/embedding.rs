//! `EmbeddingIndex`: which records wait for vectors, and the vectors.
//!
//! Records are numbered in the order they are written, and vectors are made oldest first; so each generation remembers up to which number
//! everything is done, and asking for what is pending looks only at what came after.

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::index::embedded_text_of_message;
use sid_store::{Chunk, EmbedJob, EmbeddingIndex, GenerationId, IndexStatus, NewVectors, RecordId, StoreError};
use sid_types::{MessageId, Owner, PassageId, Scope, SummaryId};
use sqlx::sqlite::SqliteConnection;

use crate::backend::SqliteStore;
use crate::codec::{Columns, Id};
use crate::diary::engine_scope;
use crate::error::{Fault, Result, missing};
use crate::partitions::IndexChange;
use crate::visibility::{Viewer, owner};
use crate::writer::{After, Tx};

/// A generation as stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Generation {
    pub(crate) number: i64,
    pub(crate) dimensions: Option<usize>,
    done_to: i64,
}

impl Generation {
    pub(crate) async fn find(conn: &mut SqliteConnection, name: &GenerationId) -> Result<Option<Self>> {
        let row = sqlx::query("SELECT generation, dimensions, done_to FROM generations WHERE name = ?")
            .bind(name.0.as_str())
            .fetch_optional(conn)
            .await?;
        row.map(|r| {
            let dimensions = r.maybe_int(1)?.and_then(|d| usize::try_from(d).ok());
            Ok(Self { number: r.int(0)?, dimensions, done_to: r.int(2)? })
        })
        .transpose()
    }
}

/// Records after `?2` without vectors in generation `?1`, oldest first, at most `?3`, as `rid`.
const WAITING: &str = "
    SELECT rid FROM (
        SELECT * FROM (SELECT m.rid FROM messages m WHERE m.rid > ?2 AND m.part IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM vectors v WHERE v.rid = m.rid AND v.generation = ?1) ORDER BY m.rid LIMIT ?3)
        UNION ALL SELECT * FROM (SELECT p.rid FROM passages p WHERE p.rid > ?2
            AND NOT EXISTS (SELECT 1 FROM vectors v WHERE v.rid = p.rid AND v.generation = ?1) ORDER BY p.rid LIMIT ?3)
        UNION ALL SELECT * FROM (SELECT d.rid FROM diary d WHERE d.rid > ?2
            AND NOT EXISTS (SELECT 1 FROM vectors v WHERE v.rid = d.rid AND v.generation = ?1) ORDER BY d.rid LIMIT ?3)
    ) ORDER BY rid LIMIT ?3";

#[async_trait]
impl EmbeddingIndex for SqliteStore {
    async fn pending(&self, generation: &GenerationId, limit: usize) -> Result<Vec<EmbedJob>, StoreError> {
        let mut conn = self.reader().await?;
        let known = Generation::find(&mut conn, generation).await?;
        let (number, done_to) = known.map_or((-1, -1), |g| (g.number, g.done_to));
        let rows = sqlx::query(WAITING)
            .bind(number)
            .bind(done_to)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *conn)
            .await
            .map_err(Fault::Sql)?;
        let mut jobs = Vec::with_capacity(rows.len());
        for row in &rows {
            jobs.extend(job(&mut conn, row.int(0)?).await?);
        }
        Ok(jobs)
    }

    async fn put_vectors(&self, generation: &GenerationId, vectors: Vec<NewVectors>) -> Result<(), StoreError> {
        let mut asked = Vec::with_capacity(vectors.len());
        for new in vectors {
            asked.push((self.viewer(&new.scope).await?, new));
        }
        let generation = generation.clone();
        self.write(move |tx| put(tx, generation, asked).boxed()).await
    }

    async fn index_status(&self, scope: &Scope, generation: &GenerationId, owner: Option<Owner>) -> Result<IndexStatus, StoreError> {
        let viewer = self.viewer(scope).await?;
        if viewer.tenant < 0 {
            return Err(missing("owner"));
        }
        let mut conn = self.reader().await?;
        if let Some(owner) = owner
            && !viewer.sees(&mut conn, owner).await?
        {
            return Err(missing("owner"));
        }
        let known = Generation::find(&mut conn, generation).await?;
        let (number, done_to) = known.map_or((-1, -1), |g| (g.number, g.done_to));
        let mut status = IndexStatus::default();
        for partition in viewer.partitions(&mut conn).await? {
            if owner.is_some_and(|owner| owner != partition.owner) {
                continue;
            }
            let row = sqlx::query(
                "SELECT (SELECT count(*) FROM messages m WHERE m.part = ?1 AND m.rid > ?2
                        AND NOT EXISTS (SELECT 1 FROM vectors v WHERE v.rid = m.rid AND v.generation = ?3))
                    + (SELECT count(*) FROM passages p WHERE p.part = ?1 AND p.rid > ?2
                        AND NOT EXISTS (SELECT 1 FROM vectors v WHERE v.rid = p.rid AND v.generation = ?3))
                    + (SELECT count(*) FROM diary d WHERE d.part = ?1 AND d.rid > ?2
                        AND NOT EXISTS (SELECT 1 FROM vectors v WHERE v.rid = d.rid AND v.generation = ?3))",
            )
            .bind(partition.part)
            .bind(done_to)
            .bind(number)
            .fetch_one(&mut *conn)
            .await
            .map_err(Fault::Sql)?;
            let pending = row.count(0)?;
            status.pending += pending;
            status.indexed += partition.records.saturating_sub(pending);
        }
        Ok(status)
    }
}

/// What there is to embed of a record; `None` if it is gone by now.
async fn job(conn: &mut SqliteConnection, rid: i64) -> Result<Option<EmbedJob>> {
    const OWNER: &str = "t.id, o.kind, o.a, o.b";
    const JOINS: &str = "JOIN partitions o ON o.part = x.part JOIN tenants t ON t.tenant = x.tenant WHERE x.rid = ?";
    let sql = match rid & 3 {
        0 => format!("SELECT {OWNER}, x.id, x.text, x.speaker FROM messages x {JOINS}"),
        1 => format!("SELECT {OWNER}, x.id, x.text FROM passages x {JOINS}"),
        _ => format!("SELECT {OWNER}, x.id, x.text FROM diary x {JOINS}"),
    };
    let Some(row) = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(rid).fetch_optional(conn).await? else { return Ok(None) };
    let scope = engine_scope(row.id(0)?, owner(&row, 1)?);
    Ok(Some(match rid & 3 {
        0 => {
            let (id, speaker, text) = (row.id::<MessageId>(4)?, row.maybe_text(6)?, row.text(5)?);
            // The text is what counts; the rest of the message is not looked at.
            let body = sid_types::Body::User { text };
            let message = sid_types::NewMessage {
                id,
                body,
                speaker,
                at: sid_types::Timestamp::UNIX_EPOCH,
                tokens: None,
                untrusted: Vec::new(),
                approved: None,
                sender: None,
            };
            let message = message.placed(sid_types::ConversationId::from_uuid(uuid::Uuid::nil()), sid_types::Seq(0), None);
            EmbedJob { scope, record: RecordId::Message(id), text: embedded_text_of_message(&message) }
        }
        1 => EmbedJob { scope, record: RecordId::Passage(row.id::<PassageId>(4)?), text: row.text(5)? },
        _ => EmbedJob { scope, record: RecordId::Diary(row.id::<SummaryId>(4)?), text: row.text(5)? },
    }))
}

/// A record's number, partition and owner, if it is there and searchable.
async fn place(conn: &mut SqliteConnection, tenant: i64, id: RecordId) -> Result<Option<(i64, i64, Owner)>> {
    let (sql, id) = match id {
        RecordId::Message(id) => (
            "SELECT x.rid, x.part, o.kind, o.a, o.b FROM messages x JOIN partitions o ON o.part = x.part WHERE x.tenant = ? AND x.id = ?",
            id.blob(),
        ),
        RecordId::Passage(id) => (
            "SELECT x.rid, x.part, o.kind, o.a, o.b FROM passages x JOIN partitions o ON o.part = x.part WHERE x.tenant = ? AND x.id = ?",
            id.blob(),
        ),
        RecordId::Diary(id) => (
            "SELECT x.rid, x.part, o.kind, o.a, o.b FROM diary x JOIN partitions o ON o.part = x.part WHERE x.tenant = ? AND x.id = ?",
            id.blob(),
        ),
    };
    let row = sqlx::query(sql).bind(tenant).bind(id).fetch_optional(conn).await?;
    row.map(|r| Ok((r.int(0)?, r.int(1)?, owner(&r, 2)?))).transpose()
}

async fn put(tx: &mut Tx, generation: GenerationId, vectors: Vec<(Viewer, NewVectors)>) -> Result<()> {
    let known = sqlx::query(
        "INSERT INTO generations (name) VALUES (?) ON CONFLICT DO UPDATE SET name = name RETURNING generation, dimensions, done_to",
    )
    .bind(generation.0.as_str())
    .fetch_one(&mut tx.conn)
    .await?;
    let (number, done_to) = (known.int(0)?, known.int(2)?);
    let stored = known.maybe_int(1)?.and_then(|d| usize::try_from(d).ok());
    let dimensions = check_dimensions(&generation, stored, &vectors)?;
    if let (None, Some(dimensions)) = (stored, dimensions) {
        sqlx::query("UPDATE generations SET dimensions = ? WHERE generation = ?")
            .bind(dimensions as i64)
            .bind(number)
            .execute(&mut tx.conn)
            .await?;
    }
    for (viewer, new) in vectors {
        let Some((rid, part, owner)) = place(&mut tx.conn, viewer.tenant, new.record).await? else { continue };
        if !viewer.sees(&mut tx.conn, owner).await? {
            continue;
        }
        insert(tx, viewer.tenant, number, rid, &new.chunks).await?;
        let change = IndexChange::Vectors { id: new.record, generation: generation.clone(), chunks: new.chunks.into() };
        tx.then(After::Index { part, change });
    }
    // Move on to right before the first record that still waits.
    let first = sqlx::query(WAITING).bind(number).bind(done_to).bind(1_i64).fetch_optional(&mut tx.conn).await?;
    let next = match first {
        Some(row) => row.int(0)? - 1,
        None => {
            let last = sqlx::query(
                "SELECT max(ifnull((SELECT max(rid) FROM messages), -1), ifnull((SELECT max(rid) FROM passages), -1),
                    ifnull((SELECT max(rid) FROM diary), -1))",
            )
            .fetch_one(&mut tx.conn)
            .await?;
            last.int(0)?
        }
    };
    if next > done_to {
        sqlx::query("UPDATE generations SET done_to = ? WHERE generation = ?").bind(next).bind(number).execute(&mut tx.conn).await?;
    }
    Ok(())
}

async fn insert(tx: &mut Tx, tenant: i64, generation: i64, rid: i64, chunks: &[Chunk]) -> Result<()> {
    sqlx::query("DELETE FROM vectors WHERE rid = ? AND generation = ?").bind(rid).bind(generation).execute(&mut tx.conn).await?;
    let nothing = [Chunk { start: 0, end: 0, vector: Vec::new() }];
    let chunks = if chunks.is_empty() { &nothing[..] } else { chunks };
    for (i, chunk) in chunks.iter().enumerate() {
        sqlx::query("INSERT INTO vectors (tenant, generation, rid, chunk, first_byte, end_byte, vector) VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind(tenant)
            .bind(generation)
            .bind(rid)
            .bind(i as i64)
            .bind(chunk.start as i64)
            .bind(chunk.end as i64)
            .bind(to_bytes(&chunk.vector))
            .execute(&mut tx.conn)
            .await?;
    }
    Ok(())
}

/// The length that all vectors have; `None` when there is none at all.
fn check_dimensions(
    generation: &GenerationId,
    stored: Option<usize>,
    vectors: &[(Viewer, NewVectors)],
) -> Result<Option<usize>, StoreError> {
    let mut dimensions = stored;
    for found in vectors.iter().flat_map(|(_, v)| &v.chunks).map(|c| c.vector.len()) {
        let expected = *dimensions.get_or_insert(found);
        if found != expected || found == 0 {
            let name = &generation.0;
            return Err(StoreError::Invalid(format!("vectors of `{name}` have {expected} dimensions, this one has {found}")));
        }
    }
    Ok(dimensions)
}

fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A stored vector.
pub(crate) fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}
