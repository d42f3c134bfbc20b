//! `ArchivalStore`: passages written on purpose.

use async_trait::async_trait;
use sid_store::{ArchivalStore, Page, PageRequest, RecordId, StoreError, check_channel};
use sid_types::{NewPassage, Owner, Passage, PassageId, Provenance, Scope, Timestamp};
use sqlx::postgres::PgRow;

use crate::backend::PgStore;
use crate::codec::{At, Columns, Id, clean, kept, to_json};
use crate::error::{Fault, Result, missing};
use crate::paging::Cursor;
use crate::tx::Tx;
use crate::visibility::{Partition, Viewer, owner};
use crate::words;

/// The columns of [`read`], of tables `p` (passages) and `o` (partitions).
pub(crate) const COLUMNS: &str = "p.id, o.kind, o.a, o.b, p.text, p.tags, p.at, p.provenance, p.created_at, p.rid, p.part";
/// Their tables.
pub(crate) const TABLES: &str = "sid.passages p JOIN sid.partitions o ON o.tenant = p.tenant AND o.part = p.part";

/// A passage from a row that begins with [`COLUMNS`].
pub(crate) fn read(row: &PgRow) -> Result<Passage> {
    Ok(Passage {
        id: row.id(0)?,
        owner: owner(row, 1)?,
        text: row.text(4)?,
        tags: row.json(5)?,
        at: row.time(6)?,
        provenance: row.json(7)?,
        created_at: row.time(8)?,
    })
}

#[async_trait]
impl ArchivalStore for PgStore {
    async fn upsert(&self, scope: &Scope, passages: Vec<NewPassage>) -> Result<Vec<Passage>, StoreError> {
        let mut tx = self.begin_long(scope.tenant()).await?;
        let viewer = self.viewer(scope);
        let outcome = async {
            self.check_tenant(&mut tx, scope.tenant(), "owner").await?;
            let mut stored = Vec::with_capacity(passages.len());
            for passage in passages {
                stored.push(put(self, &mut tx, &viewer, passage).await?);
            }
            Ok(stored)
        }
        .await;
        tx.finish(outcome).await
    }

    async fn insert(&self, scope: &Scope, passage: NewPassage) -> Result<Passage, StoreError> {
        let mut tx = self.begin(scope.tenant()).await?;
        let (viewer, id) = (self.viewer(scope), passage.id);
        let taken = || Fault::from(StoreError::Exists { what: "passage", name: id.to_string() });
        let outcome = async {
            self.check_tenant(&mut tx, scope.tenant(), "owner").await?;
            let known = known(&mut tx, id).await?;
            check_passage(&mut tx, &viewer, &passage, known.as_ref()).await?;
            // No second look: it might find what another has just stored, and replace it.
            if known.is_none() { store_passage(self, &mut tx, passage, None).await } else { Err(taken()) }
        }
        .await;
        // Another may have stored it after this look: the unique row decides.
        let outcome = outcome.map_err(|fault| if fault.broken_rule() == Some("passages_pkey") { taken() } else { fault });
        tx.finish(outcome).await
    }

    async fn list(&self, scope: &Scope, owner: Owner, page: PageRequest) -> Result<Page<Passage>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        if !self.viewer(scope).sees(&mut tx, owner).await? {
            return Err(missing("owner"));
        }
        let cursor = Cursor::descending::<PassageId>(&page)?;
        let Some(partition) = Partition::find(&mut tx, owner).await? else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM {TABLES} WHERE p.tenant = $1 AND p.part = $2 AND (p.created_at, p.id) < ($3, $4)
             ORDER BY p.created_at DESC, p.id DESC LIMIT $5"
        );
        let query = tx.query_of(sql).bind(tx.tenant).bind(partition.part).bind(cursor.at).bind(cursor.id).bind(cursor.fetch());
        let rows = query.fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let items: Result<Vec<Passage>> = rows.iter().map(read).collect();
        Ok(cursor.page(items?, |p| (p.created_at, p.id)))
    }

    async fn passage(&self, scope: &Scope, passage: PassageId) -> Result<Passage, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        let query = tx.query_of(format!("SELECT {COLUMNS} FROM {TABLES} WHERE p.tenant = $1 AND p.id = $2"));
        let query = query.bind(tx.tenant).bind(passage.uuid());
        let row = query.fetch_optional(tx.conn()).await.map_err(Fault::Sql)?.ok_or(missing("passage"))?;
        let passage = read(&row)?;
        if self.viewer(scope).sees(&mut tx, passage.owner).await? { Ok(passage) } else { Err(missing("passage")) }
    }

    async fn delete(&self, scope: &Scope, passages: &[PassageId]) -> Result<u64, StoreError> {
        let mut tx = self.begin_long(scope.tenant()).await?;
        let viewer = self.viewer(scope);
        let outcome = async {
            let mut deleted = 0;
            for id in passages {
                // What may not be written counts as what is not there.
                if let Some(known) = known(&mut tx, *id).await?
                    && viewer.writes(&mut tx, known.owner).await?
                {
                    check_channel(&known.provenance)?;
                    remove(self, &mut tx, &known).await?;
                    deleted += 1;
                }
            }
            Ok(deleted)
        }
        .await;
        tx.finish(outcome).await
    }
}

/// Where a stored passage is.
pub(crate) struct Known {
    pub(crate) rid: i64,
    pub(crate) part: i64,
    pub(crate) id: PassageId,
    pub(crate) owner: Owner,
    pub(crate) text: String,
    pub(crate) created_at: Timestamp,
    pub(crate) provenance: Provenance,
}

pub(crate) async fn known(tx: &mut Tx, id: PassageId) -> Result<Option<Known>> {
    let query = tx.query_of(format!("SELECT {COLUMNS} FROM {TABLES} WHERE p.tenant = $1 AND p.id = $2 FOR UPDATE OF p"));
    let row = query.bind(tx.tenant).bind(id.uuid()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(known_of).transpose()
}

/// A passage's place, from a row that begins with [`COLUMNS`].
pub(crate) fn known_of(row: &PgRow) -> Result<Known> {
    Ok(Known {
        rid: row.int(9)?,
        part: row.int(10)?,
        id: row.id(0)?,
        owner: owner(row, 1)?,
        text: row.text(4)?,
        created_at: row.time(8)?,
        provenance: row.json(7)?,
    })
}

/// Removes a passage with its vectors; answers how many vectors.
pub(crate) async fn remove(store: &PgStore, tx: &mut Tx, known: &Known) -> Result<u64> {
    tx.query("DELETE FROM sid.passages WHERE tenant = $1 AND id = $2").bind(tx.tenant).bind(known.id.uuid()).execute(tx.conn()).await?;
    forget_record(store, tx, known.part, known.rid, RecordId::Passage(known.id), &known.text).await
}

/// Makes a record, whose row is gone, unfindable; answers how many vectors went with it.
pub(crate) async fn forget_record(store: &PgStore, tx: &mut Tx, part: i64, rid: i64, id: RecordId, text: &str) -> Result<u64> {
    let raw = match id {
        RecordId::Message(id) => id.uuid(),
        RecordId::Passage(id) => id.uuid(),
        RecordId::Diary(id) => id.uuid(),
    };
    let query = tx.query("SELECT sid.forget_record($1, $2, $3, $4, $5)").bind(tx.tenant).bind(part).bind(rid).bind(raw);
    let row = query.bind(words::tokens(None, text)).fetch_one(tx.conn()).await?;
    note(store, tx, "record.gone", Some(part), raw).await?;
    row.count(0)
}

/// Tells the outbox of a change, if anybody empties it.
pub(crate) async fn note(store: &PgStore, tx: &mut Tx, topic: &'static str, part: Option<i64>, subject: uuid::Uuid) -> Result<()> {
    if store.config().outbox {
        let query = tx.query("INSERT INTO sid.outbox (tenant, topic, part, subject, at) VALUES ($1, $2, $3, $4, $5)");
        query.bind(tx.tenant).bind(topic).bind(part).bind(subject).bind(At(tx.now)).execute(tx.conn()).await?;
    }
    Ok(())
}

/// Stores one passage, in place of the one with its id.
pub(crate) async fn put(store: &PgStore, tx: &mut Tx, viewer: &Viewer, new: NewPassage) -> Result<Passage> {
    let replaced = known(tx, new.id).await?;
    check_passage(tx, viewer, &new, replaced.as_ref()).await?;
    store_passage(store, tx, new, replaced).await
}

/// Whether the viewer may store the passage in place of another, or of none.
async fn check_passage(tx: &mut Tx, viewer: &Viewer, new: &NewPassage, replaced: Option<&Known>) -> Result<()> {
    let mut may = viewer.writes(tx, new.owner).await?;
    if let Some(known) = replaced {
        may = may && viewer.writes(tx, known.owner).await?;
    }
    if !may {
        return Err(missing("owner").into());
    }
    check_channel(&new.provenance)?;
    replaced.map_or(Ok(()), |known| check_channel(&known.provenance))?;
    if new.text.trim().is_empty() {
        return Err(StoreError::Invalid("a passage has at least one character that is not white space".into()).into());
    }
    Ok(())
}

/// Stores one passage in place of another, or of none, without asking; fails by the unique rule of ids if there is one all the same.
pub(crate) async fn store_passage(store: &PgStore, tx: &mut Tx, new: NewPassage, replaced: Option<Known>) -> Result<Passage> {
    let created_at = replaced.as_ref().map_or(tx.now, |k| k.created_at);
    if let Some(known) = replaced {
        remove(store, tx, &known).await?;
    }
    let NewPassage { id, owner, text, tags, at, provenance } = new;
    let passage = Passage { id, owner, text, tags, at: kept(at), provenance, created_at };
    let part = Partition::open(tx, owner).await?;
    let query = tx.query("SELECT sid.put_passage($1, $2, $3, $4, $5, $6, $7, $8, $9)").bind(tx.tenant).bind(part).bind(id.uuid());
    query
        .bind(clean(&passage.text).into_owned())
        .bind(to_json(&passage.tags)?)
        .bind(At(passage.at))
        .bind(to_json(&passage.provenance)?)
        .bind(passage.provenance.conversation.map(Id::raw))
        .bind(At(created_at))
        .execute(tx.conn())
        .await?;
    Ok(passage)
}
