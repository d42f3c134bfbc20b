//! `EmbeddingIndex`: which records wait for vectors, and the vectors.
//!
//! Records are numbered, and vectors are made oldest first; so each generation remembers up to which number everything is done, and asking
//! for what is pending looks only at what came after. Numbers are drawn before they are committed: the mark never passes one that a
//! transaction under way may still bring.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sid_store::index::embedded_text_of_message;
use sid_store::{Chunk, EmbedJob, EmbeddingIndex, GenerationId, IndexStatus, NewVectors, RecordId, StoreError};
use sid_types::{ConversationId, MessageId, NewMessage, Owner, PassageId, Scope, Seq, SummaryId, TenantId, Timestamp};
use sqlx::postgres::PgRow;

use crate::archival::note;
use crate::backend::PgStore;
use crate::codec::{Columns, clean, limit, to_bytes};
use crate::diary::engine_scope;
use crate::error::{Fault, Result, missing};
use crate::tx::Tx;
use crate::vectors;
use crate::visibility::owner;

/// A generation as stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Generation {
    pub(crate) number: i32,
    pub(crate) dimensions: Option<usize>,
    done_to: i64,
}

impl Generation {
    pub(crate) async fn find(tx: &mut Tx, name: &GenerationId) -> Result<Option<Self>> {
        let query = tx.query("SELECT id, dimensions, done_to FROM sid.generations WHERE name = $1").bind(clean(&name.0).into_owned());
        let row = query.fetch_optional(tx.conn()).await?;
        row.map(|r| {
            let dimensions: Option<i32> = sqlx::Row::try_get_unchecked(&r, 1)?;
            Ok(Self { number: r.number(0)?, dimensions: dimensions.and_then(|d| usize::try_from(d).ok()), done_to: r.int(2)? })
        })
        .transpose()
    }
}

#[async_trait]
impl EmbeddingIndex for PgStore {
    async fn pending(&self, generation: &GenerationId, most: usize) -> Result<Vec<EmbedJob>, StoreError> {
        let rows = self
            .call("SELECT o_tenant, o_kind, o_a, o_b, o_record, o_id, o_speaker, o_text FROM sid.pending($1, $2)")
            .bind(clean(&generation.0).into_owned())
            .bind(limit(most))
            .fetch_all()
            .await
            .map_err(Fault::Sql)?;
        let jobs: Result<Vec<EmbedJob>> = rows.iter().map(job).collect();
        Ok(jobs?)
    }

    async fn put_vectors(&self, generation: &GenerationId, vectors: Vec<NewVectors>) -> Result<(), StoreError> {
        Ok(put(self, generation, vectors).await?)
    }

    async fn index_status(&self, scope: &Scope, generation: &GenerationId, owner: Option<Owner>) -> Result<IndexStatus, StoreError> {
        let mut tx = self.read_long(scope.tenant()).await?;
        self.check_tenant(&mut tx, scope.tenant(), "owner").await?;
        let viewer = self.viewer(scope);
        if let Some(owner) = owner
            && !viewer.sees(&mut tx, owner).await?
        {
            return Err(missing("owner"));
        }
        let known = Generation::find(&mut tx, generation).await?;
        let (number, done_to) = known.map_or((-1, -1), |g| (g.number, g.done_to));
        let mut partitions = viewer.partitions(&mut tx).await?;
        partitions.retain(|p| owner.is_none_or(|owner| owner == p.owner));
        let records: u64 = partitions.iter().map(|p| p.records).sum();
        let parts: Vec<i64> = partitions.iter().map(|p| p.part).collect();
        let query = tx.query(
            "SELECT (SELECT count(*) FROM sid.messages m WHERE m.tenant = $1 AND m.part = ANY ($2) AND m.rid > $3 AND NOT EXISTS (
                    SELECT FROM sid.vectors v WHERE v.tenant = $1 AND v.part = m.part AND v.generation = $4 AND v.rid = m.rid))
                + (SELECT count(*) FROM sid.passages m WHERE m.tenant = $1 AND m.part = ANY ($2) AND m.rid > $3 AND NOT EXISTS (
                    SELECT FROM sid.vectors v WHERE v.tenant = $1 AND v.part = m.part AND v.generation = $4 AND v.rid = m.rid))
                + (SELECT count(*) FROM sid.diary m WHERE m.tenant = $1 AND m.part = ANY ($2) AND m.rid > $3 AND NOT EXISTS (
                    SELECT FROM sid.vectors v WHERE v.tenant = $1 AND v.part = m.part AND v.generation = $4 AND v.rid = m.rid))",
        );
        let query = query.bind(tx.tenant).bind(parts).bind(done_to).bind(number);
        let pending = query.fetch_one(tx.conn()).await.map_err(Fault::Sql)?.count(0)?;
        Ok(IndexStatus { indexed: records.saturating_sub(pending), pending })
    }
}

/// What there is to embed of a record.
fn job(row: &PgRow) -> Result<EmbedJob> {
    let scope = engine_scope(row.id(0)?, owner(row, 1)?);
    let text = row.text(7)?;
    Ok(match row.number(4)? {
        0 => {
            let (id, speaker) = (row.id::<MessageId>(5)?, row.maybe_text(6)?);
            // The text is what counts; the rest of the message is not looked at.
            let body = sid_types::Body::User { text };
            let message = NewMessage {
                id,
                body,
                speaker,
                at: Timestamp::UNIX_EPOCH,
                tokens: None,
                untrusted: Vec::new(),
                approved: None,
                sender: None,
            };
            let message = message.placed(ConversationId::from_uuid(uuid::Uuid::nil()), Seq(0), None);
            EmbedJob { scope, record: RecordId::Message(id), text: embedded_text_of_message(&message) }
        }
        1 => EmbedJob { scope, record: RecordId::Passage(row.id::<PassageId>(5)?), text },
        _ => EmbedJob { scope, record: RecordId::Diary(row.id::<SummaryId>(5)?), text },
    })
}

/// A record's number, partition and owner, if it is there and searchable.
async fn place(tx: &mut Tx, id: RecordId) -> Result<Option<(i64, i64, Owner)>> {
    let (sql, id) = match id {
        RecordId::Message(id) => (
            "SELECT x.rid, x.part, o.kind, o.a, o.b FROM sid.message_ids k
             JOIN sid.messages x ON x.tenant = k.tenant AND x.part = k.part AND x.conv = k.conv AND x.seq = k.seq
             JOIN sid.partitions o ON o.tenant = x.tenant AND o.part = x.part WHERE k.tenant = $1 AND k.id = $2 AND x.rid IS NOT NULL",
            id.uuid(),
        ),
        RecordId::Passage(id) => (
            "SELECT x.rid, x.part, o.kind, o.a, o.b FROM sid.passages x JOIN sid.partitions o ON o.tenant = x.tenant AND o.part = x.part
             WHERE x.tenant = $1 AND x.id = $2",
            id.uuid(),
        ),
        RecordId::Diary(id) => (
            "SELECT x.rid, x.part, o.kind, o.a, o.b FROM sid.diary x JOIN sid.partitions o ON o.tenant = x.tenant AND o.part = x.part
             WHERE x.tenant = $1 AND x.id = $2",
            id.uuid(),
        ),
    };
    let row = tx.query(sql).bind(tx.tenant).bind(id).fetch_optional(tx.conn()).await?;
    row.map(|r| Ok((r.int(0)?, r.int(1)?, owner(&r, 2)?))).transpose()
}

async fn put(store: &PgStore, generation: &GenerationId, vectors: Vec<NewVectors>) -> Result<()> {
    let first = vectors.iter().flat_map(|v| &v.chunks).map(|c| c.vector.len()).next();
    check_dimensions(generation, first, &vectors)?;
    let row = store
        .call("SELECT o_id, o_dimensions FROM sid.open_generation($1, $2)")
        .bind(clean(&generation.0).into_owned())
        .bind(first.and_then(|d| i32::try_from(d).ok()))
        .fetch_one()
        .await?;
    let number = row.number(0)?;
    let stored: Option<i32> = sqlx::Row::try_get_unchecked(&row, 1)?;
    check_dimensions(generation, stored.and_then(|d| usize::try_from(d).ok()), &vectors)?;
    let mut of_tenants: BTreeMap<TenantId, Vec<NewVectors>> = BTreeMap::new();
    for new in vectors {
        of_tenants.entry(new.scope.tenant()).or_default().push(new);
    }
    for (tenant, vectors) in of_tenants {
        let mut tx = store.begin_long(tenant).await?;
        let outcome = put_of_tenant(store, &mut tx, number, vectors).await;
        tx.finish(outcome).await?;
    }
    store.call("SELECT sid.advance_generation($1)").bind(number).fetch_all().await?;
    Ok(())
}

/// Vectors of one partition, as columns.
#[derive(Default)]
struct Batch {
    rids: Vec<i64>,
    numbers: Vec<i64>,
    chunks: Vec<i32>,
    first: Vec<i64>,
    end: Vec<i64>,
    vectors: Vec<Vec<u8>>,
}

impl Batch {
    fn add(&mut self, rid: i64, chunks: &[Chunk]) {
        self.rids.push(rid);
        let nothing = [Chunk { start: 0, end: 0, vector: Vec::new() }];
        let chunks = if chunks.is_empty() { &nothing[..] } else { chunks };
        for (i, chunk) in (0..).zip(chunks) {
            self.numbers.push(rid);
            self.chunks.push(i);
            self.first.push(chunk.start as i64);
            self.end.push(chunk.end as i64);
            self.vectors.push(to_bytes(&chunk.vector));
        }
    }
}

async fn put_of_tenant(store: &PgStore, tx: &mut Tx, generation: i32, vectors: Vec<NewVectors>) -> Result<()> {
    // In the order of partitions: two who store vectors at once lock them in the same order.
    let mut of_parts: BTreeMap<i64, Batch> = BTreeMap::new();
    for new in vectors {
        let Some((rid, part, owner)) = place(tx, new.record).await? else { continue };
        if store.viewer(&new.scope).sees(tx, owner).await? {
            of_parts.entry(part).or_default().add(rid, &new.chunks);
            let subject = match new.record {
                RecordId::Message(id) => id.uuid(),
                RecordId::Passage(id) => id.uuid(),
                RecordId::Diary(id) => id.uuid(),
            };
            note(store, tx, "record.vectors", Some(part), subject).await?;
        }
    }
    for (part, batch) in of_parts {
        let Batch { rids, numbers, chunks, first, end, vectors } = batch;
        let query = tx.query("SELECT sid.put_vectors($1, $2, $3, $4, $5, $6, $7, $8, $9)").bind(tx.tenant).bind(part).bind(generation);
        query.bind(rids).bind(numbers).bind(chunks).bind(first).bind(end).bind(vectors).execute(tx.conn()).await?;
        vectors::tell(store, tx, part).await?;
    }
    Ok(())
}

/// Fails unless all vectors have this length.
fn check_dimensions(generation: &GenerationId, expected: Option<usize>, vectors: &[NewVectors]) -> Result<(), StoreError> {
    for found in vectors.iter().flat_map(|v| &v.chunks).map(|c| c.vector.len()) {
        if Some(found) != expected || found == 0 {
            let (name, expected) = (&generation.0, expected.unwrap_or_default());
            return Err(StoreError::Invalid(format!("vectors of `{name}` have {expected} dimensions, this one has {found}")));
        }
    }
    Ok(())
}
