//! `ArchivalStore`: passages written on purpose.

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{ArchivalStore, Page, PageRequest, Record, RecordId, StoreError, check_channel};
use sid_types::{NewPassage, Owner, Passage, PassageId, Provenance, Scope};
use sqlx::sqlite::SqliteRow;

use crate::backend::SqliteStore;
use crate::codec::{Columns, Id, nanos, to_json};
use crate::error::{Fault, Result, missing};
use crate::full_text;
use crate::messages::count;
use crate::paging::Cursor;
use crate::partitions::IndexChange;
use crate::visibility::{Partition, Viewer, owner};
use crate::writer::{After, Kind, Tx};

/// The columns of [`read`], of tables `p` (passages) and `o` (partitions).
pub(crate) const COLUMNS: &str = "p.id, o.kind, o.a, o.b, p.text, p.tags, p.at, p.provenance, p.created_at, p.rid, p.part";

/// A passage from a row that begins with [`COLUMNS`].
pub(crate) fn read(row: &SqliteRow) -> Result<Passage> {
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
impl ArchivalStore for SqliteStore {
    async fn upsert(&self, scope: &Scope, passages: Vec<NewPassage>) -> Result<Vec<Passage>, StoreError> {
        let viewer = self.viewer(scope).await?;
        if viewer.tenant < 0 {
            return Err(missing("owner"));
        }
        self.write(move |tx| {
            async move {
                let mut stored = Vec::with_capacity(passages.len());
                for passage in passages {
                    stored.push(put(tx, &viewer, passage).await?);
                }
                Ok(stored)
            }
            .boxed()
        })
        .await
    }

    async fn insert(&self, scope: &Scope, passage: NewPassage) -> Result<Passage, StoreError> {
        let viewer = self.viewer(scope).await?;
        if viewer.tenant < 0 {
            return Err(missing("owner"));
        }
        // Writers come one after the other: what this look does not find, nobody else stores before this one.
        self.write(move |tx| {
            async move {
                let known = known(tx, viewer.tenant, passage.id).await?;
                check_passage(tx, &viewer, &passage, known.as_ref()).await?;
                match known {
                    None => store(tx, viewer.tenant, passage, None).await,
                    Some(known) => Err(StoreError::Exists { what: "passage", name: known.id.to_string() }.into()),
                }
            }
            .boxed()
        })
        .await
    }

    async fn list(&self, scope: &Scope, owner: Owner, page: PageRequest) -> Result<Page<Passage>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        if !viewer.sees(&mut conn, owner).await? {
            return Err(missing("owner"));
        }
        let cursor = Cursor::descending::<PassageId>(&page)?;
        let Some(partition) = Partition::find(&mut conn, viewer.tenant, owner).await? else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM passages p JOIN partitions o ON o.part = p.part
             WHERE p.part = ? AND (p.created_at, p.id) < (?, ?) ORDER BY p.created_at DESC, p.id DESC LIMIT ?"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(partition.part)
            .bind(cursor.at)
            .bind(cursor.id.clone())
            .bind(cursor.fetch())
            .fetch_all(&mut *conn)
            .await
            .map_err(Fault::Sql)?;
        let items: Result<Vec<Passage>> = rows.iter().map(read).collect();
        Ok(cursor.page(items?, |p| (p.created_at, p.id)))
    }

    async fn passage(&self, scope: &Scope, passage: PassageId) -> Result<Passage, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        let sql = format!("SELECT {COLUMNS} FROM passages p JOIN partitions o ON o.part = p.part WHERE p.tenant = ? AND p.id = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(viewer.tenant)
            .bind(passage.blob())
            .fetch_optional(&mut *conn)
            .await
            .map_err(Fault::Sql)?
            .ok_or(missing("passage"))?;
        let passage = read(&row)?;
        if viewer.sees(&mut conn, passage.owner).await? { Ok(passage) } else { Err(missing("passage")) }
    }

    async fn delete(&self, scope: &Scope, passages: &[PassageId]) -> Result<u64, StoreError> {
        let (viewer, passages) = (self.viewer(scope).await?, passages.to_vec());
        self.write(move |tx| {
            async move {
                let mut deleted = 0;
                for id in passages {
                    // What may not be written counts as what is not there.
                    if let Some(known) = known(tx, viewer.tenant, id).await?
                        && viewer.writes(&mut tx.conn, known.owner).await?
                    {
                        check_channel(&known.provenance)?;
                        remove(tx, &known).await?;
                        deleted += 1;
                    }
                }
                Ok(deleted)
            }
            .boxed()
        })
        .await
    }
}

/// Where a stored passage is.
pub(crate) struct Known {
    pub(crate) rid: i64,
    pub(crate) part: i64,
    pub(crate) id: PassageId,
    pub(crate) owner: Owner,
    pub(crate) created_at: i64,
    pub(crate) provenance: Provenance,
}

pub(crate) async fn known(tx: &mut Tx, tenant: i64, id: PassageId) -> Result<Option<Known>> {
    let row = sqlx::query(
        "SELECT p.rid, p.part, p.created_at, o.kind, o.a, o.b, p.provenance FROM passages p JOIN partitions o ON o.part = p.part
         WHERE p.tenant = ? AND p.id = ?",
    )
    .bind(tenant)
    .bind(id.blob())
    .fetch_optional(&mut tx.conn)
    .await?;
    let known = |r: SqliteRow| {
        Ok(Known { rid: r.int(0)?, part: r.int(1)?, id, created_at: r.int(2)?, owner: owner(&r, 3)?, provenance: r.json(6)? })
    };
    row.map(known).transpose()
}

/// Removes a passage with its vectors; answers how many vectors.
pub(crate) async fn remove(tx: &mut Tx, known: &Known) -> Result<u64> {
    sqlx::query("DELETE FROM passages WHERE rid = ?").bind(known.rid).execute(&mut tx.conn).await?;
    forget_record(tx, known.part, known.rid, RecordId::Passage(known.id)).await
}

/// Makes a record, whose row is gone, unfindable; answers how many vectors went with it.
pub(crate) async fn forget_record(tx: &mut Tx, part: i64, rid: i64, id: RecordId) -> Result<u64> {
    let vectors = sqlx::query("SELECT count(*) FROM vectors WHERE rid = ? AND length(vector) > 0; DELETE FROM vectors WHERE rid = ?")
        .bind(rid)
        .bind(rid)
        .fetch_all(&mut tx.conn)
        .await?;
    if count(tx, part, -1).await? {
        full_text::remove(tx, rid).await?;
    }
    tx.then(After::Index { part, change: IndexChange::Remove(id) });
    vectors.first().map_or(Ok(0), |row| row.count(0))
}

/// Stores one passage, in place of the one with its id.
pub(crate) async fn put(tx: &mut Tx, viewer: &Viewer, new: NewPassage) -> Result<Passage> {
    let replaced = known(tx, viewer.tenant, new.id).await?;
    check_passage(tx, viewer, &new, replaced.as_ref()).await?;
    store(tx, viewer.tenant, new, replaced).await
}

/// Whether the viewer may store the passage in place of another, or of none.
async fn check_passage(tx: &mut Tx, viewer: &Viewer, new: &NewPassage, replaced: Option<&Known>) -> Result<()> {
    let mut may = viewer.writes(&mut tx.conn, new.owner).await?;
    if let Some(known) = replaced {
        may = may && viewer.writes(&mut tx.conn, known.owner).await?;
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

/// Stores one passage in place of another, or of none, without asking.
pub(crate) async fn store(tx: &mut Tx, tenant: i64, new: NewPassage, replaced: Option<Known>) -> Result<Passage> {
    let created_at = replaced.as_ref().map_or(nanos(tx.now), |k| k.created_at);
    if let Some(known) = replaced {
        remove(tx, &known).await?;
    }
    let NewPassage { id, owner, text, tags, at, provenance } = new;
    let passage = Passage { id, owner, text, tags, at, provenance, created_at: crate::codec::time(created_at) };
    let part = Partition::open(tx, tenant, owner).await?.part;
    let rid = tx.rid(Kind::Passage);
    sqlx::query(
        "INSERT INTO passages (rid, tenant, id, part, text, tags, at, provenance, source_conv, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(rid)
    .bind(tenant)
    .bind(id.blob())
    .bind(part)
    .bind(passage.text.as_str())
    .bind(to_json(&passage.tags)?)
    .bind(nanos(passage.at))
    .bind(to_json(&passage.provenance)?)
    .bind(passage.provenance.conversation.map(Id::blob))
    .bind(created_at)
    .execute(&mut tx.conn)
    .await?;
    if count(tx, part, 1).await? {
        full_text::insert(tx, part, &[(rid, None, passage.text.as_str())]).await?;
    }
    tx.then(After::Index { part, change: IndexChange::Put { rid, record: Box::new(Record::Passage(passage.clone())) } });
    Ok(passage)
}
