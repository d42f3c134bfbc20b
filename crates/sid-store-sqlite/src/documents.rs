//! `DocumentStore`: one row each; what it says is in `passages`.

use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{
    DocumentFilter, DocumentStore, NO_DOCUMENT, NewDocument, Page, PageRequest, Reading, StoreError, UnreadDocument, check_document,
    is_same_place, next_document, settled_document, too_many_documents,
};
use sid_types::{Document, DocumentId, DocumentStatus, Owner, Principal, Scope};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::archival;
use crate::backend::SqliteStore;
use crate::codec::{Columns, Id, nanos, to_json};
use crate::diary::engine_scope;
use crate::error::{Fault, Result, missing};
use crate::journal::ttl_nanos;
use crate::paging::Cursor;
use crate::visibility::{Viewer, columns};
use crate::writer::Tx;

/// Of so many that wait tenants take turns.
const WINDOW: i64 = 1_000;

async fn find(conn: &mut SqliteConnection, tenant: i64, document: DocumentId) -> Result<Option<Document>> {
    let query = sqlx::query("SELECT doc FROM documents WHERE tenant = ? AND id = ?").bind(tenant).bind(document.blob());
    query.fetch_optional(conn).await?.map(|row| row.json(0)).transpose()
}

/// The document, if the scope may see it.
async fn seen(conn: &mut SqliteConnection, viewer: &Viewer, document: DocumentId) -> Result<Document> {
    let found = find(conn, viewer.tenant, document).await?.ok_or(NO_DOCUMENT)?;
    if viewer.sees(conn, found.owner).await? { Ok(found) } else { Err(NO_DOCUMENT.into()) }
}

async fn put(tx: &mut Tx, viewer: Viewer, mut new: NewDocument, most: u64) -> Result<Document> {
    if !viewer.writes(&mut tx.conn, new.owner).await? {
        return Err(missing("owner").into());
    }
    let mut known = find(&mut tx.conn, viewer.tenant, new.id).await?;
    if known.as_ref().is_some_and(|known| !is_same_place(known, &new)) {
        return Err(StoreError::Exists { what: "document", name: new.id.to_string() }.into());
    }
    let (kind, a, b) = columns(new.owner);
    let conversation = new.provenance.conversation.map(Id::blob);
    if known.is_none() {
        let query = sqlx::query(
            "SELECT doc FROM documents WHERE tenant = ? AND owner_kind = ? AND a = ? AND b = ? AND digest = ? AND source_conv IS ?
             ORDER BY created_at, id LIMIT 1",
        );
        let query = query.bind(viewer.tenant).bind(kind).bind(a.clone()).bind(b.clone()).bind(&new.digest).bind(conversation.clone());
        known = query.fetch_optional(&mut tx.conn).await?.map(|row| row.json(0)).transpose()?;
    }
    match &known {
        Some(same) if same.id != new.id && same.status != DocumentStatus::Failed => return Ok(same.clone()),
        Some(same) => new.id = same.id,
        None => {
            let query = sqlx::query("SELECT count(*) FROM documents WHERE tenant = ? AND owner_kind = ? AND a = ? AND b = ?");
            let query = query.bind(viewer.tenant).bind(kind).bind(a.clone()).bind(b.clone());
            if query.fetch_one(&mut tx.conn).await?.count(0)? >= most {
                return Err(too_many_documents(most).into());
            }
        }
    }
    let Some(document) = next_document(known.as_ref(), &new, tx.now) else { return known.ok_or_else(|| NO_DOCUMENT.into()) };
    sqlx::query(
        "INSERT OR REPLACE INTO documents (tenant, id, owner_kind, a, b, source_conv, digest, waits_since, held_until, attempts, created_at, doc, content)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, 0, ?, ?, ?)",
    )
    .bind(viewer.tenant)
    .bind(document.id.blob())
    .bind(kind)
    .bind(a)
    .bind(b)
    .bind(conversation)
    .bind(&new.digest)
    .bind(nanos(document.updated_at))
    .bind(nanos(document.created_at))
    .bind(to_json(&document)?)
    .bind(new.content)
    .execute(&mut tx.conn)
    .await?;
    Ok(document)
}

/// Takes what can be read of a document out of archival memory.
async fn drop_parts(tx: &mut Tx, tenant: i64, document: &Document) -> Result<()> {
    for part in document.part_ids() {
        if let Some(known) = archival::known(tx, tenant, part).await? {
            archival::remove(tx, &known).await?;
        }
    }
    Ok(())
}

async fn drop_one(tx: &mut Tx, viewer: Viewer, document: DocumentId) -> Result<()> {
    let known = seen(&mut tx.conn, &viewer, document).await?;
    if !viewer.writes(&mut tx.conn, known.owner).await? {
        return Err(NO_DOCUMENT.into());
    }
    drop_parts(tx, viewer.tenant, &known).await?;
    let query = sqlx::query("DELETE FROM documents WHERE tenant = ? AND id = ?").bind(viewer.tenant).bind(document.blob());
    query.execute(&mut tx.conn).await?;
    Ok(())
}

async fn take(tx: &mut Tx, want: usize, hold: Duration) -> Result<Vec<UnreadDocument>> {
    let now = nanos(tx.now);
    let rows = sqlx::query(
        "WITH free AS (SELECT rowid AS row, tenant, id, waits_since FROM documents
            WHERE waits_since IS NOT NULL AND (held_until IS NULL OR held_until <= ?1) ORDER BY waits_since, id LIMIT ?2),
         turns AS (SELECT row, waits_since, id, row_number() OVER (PARTITION BY tenant ORDER BY waits_since, id) AS turn FROM free)
         SELECT x.rowid, t.id, x.doc, x.attempts FROM turns d JOIN documents x ON x.rowid = d.row JOIN tenants t ON t.tenant = x.tenant
         ORDER BY d.turn, d.waits_since, d.id LIMIT ?3",
    )
    .bind(now)
    .bind(WINDOW)
    .bind(i64::try_from(want).unwrap_or(i64::MAX))
    .fetch_all(&mut tx.conn)
    .await?;
    let mut taken = Vec::with_capacity(rows.len());
    for row in &rows {
        let query = sqlx::query("UPDATE documents SET held_until = ?, attempts = attempts + 1 WHERE rowid = ?");
        query.bind(now.saturating_add(ttl_nanos(hold))).bind(row.int(0)?).execute(&mut tx.conn).await?;
        let attempts = u32::try_from(row.count(3)?).unwrap_or(u32::MAX).saturating_add(1);
        taken.push(UnreadDocument { scope: engine_scope(row.id(1)?, Owner::Tenant), document: row.json(2)?, attempts });
    }
    Ok(taken)
}

async fn settle(tx: &mut Tx, viewer: Viewer, document: DocumentId, version: u64, reading: Reading) -> Result<Document> {
    let known = find(&mut tx.conn, viewer.tenant, document).await?.filter(|_| viewer.scope.is_tenant_wide()).ok_or(NO_DOCUMENT)?;
    let (settled, parts) = settled_document(&known, version, reading, tx.now)?;
    if settled.status == DocumentStatus::Ready {
        drop_parts(tx, viewer.tenant, &known).await?;
    }
    for part in parts {
        let replaced = archival::known(tx, viewer.tenant, part.id).await?;
        archival::store(tx, viewer.tenant, part, replaced).await?;
    }
    let query = sqlx::query("UPDATE documents SET doc = ?, waits_since = NULL, held_until = NULL WHERE tenant = ? AND id = ?");
    query.bind(to_json(&settled)?).bind(viewer.tenant).bind(document.blob()).execute(&mut tx.conn).await?;
    Ok(settled)
}

/// Documents that were brought in a conversation which is erased. Their parts go as its passages do.
pub(crate) async fn erase_of_conversation(tx: &mut Tx, tenant: i64, conversation: Vec<u8>) -> Result<()> {
    let query = sqlx::query("DELETE FROM documents WHERE tenant = ? AND source_conv = ?").bind(tenant).bind(conversation);
    query.execute(&mut tx.conn).await?;
    Ok(())
}

#[async_trait]
impl DocumentStore for SqliteStore {
    async fn put_document(&self, scope: &Scope, new: NewDocument, most: u64) -> Result<Document, StoreError> {
        check_document(&new)?;
        let viewer = self.viewer(scope).await?;
        if viewer.tenant < 0 {
            return Err(missing("owner"));
        }
        self.write(move |tx| put(tx, viewer, new, most).boxed()).await
    }

    async fn document(&self, scope: &Scope, document: DocumentId) -> Result<Document, StoreError> {
        let viewer = self.viewer(scope).await?;
        Ok(seen(&mut *self.reader().await?, &viewer, document).await?)
    }

    async fn documents(&self, scope: &Scope, filter: &DocumentFilter, page: PageRequest) -> Result<Page<Document>, StoreError> {
        let viewer = self.viewer(scope).await?;
        if viewer.tenant < 0 {
            return Err(missing("tenant"));
        }
        let cursor = Cursor::descending::<DocumentId>(&page)?;
        let owner = filter.owner.map(columns);
        let (kind, a, b) = owner.map_or((None, None, None), |(kind, a, b)| (Some(kind), Some(a), Some(b)));
        let (is_all, agent, user) = match scope.principal() {
            Principal::Tenant { .. } => (true, None, None),
            Principal::User { user } => (false, None, Some(user)),
            Principal::Turn { agent, user } => (false, Some(agent), user),
        };
        // Whose memory the scope reads: the rules of `Right::to_read`.
        let rows = sqlx::query(
            "SELECT doc FROM documents d WHERE tenant = ?1 AND (created_at, id) < (?2, ?3)
             AND (?4 IS NULL OR (owner_kind = ?4 AND a = ?5 AND b = ?6))
             AND (?7 OR owner_kind = 0 OR (owner_kind = 2 AND a = ?9) OR (owner_kind = 3 AND a = ?8)
                OR (owner_kind = 4 AND b = ?9 AND (?8 IS NULL OR a = ?8))
                OR (owner_kind = 1 AND EXISTS (SELECT 1 FROM team_members m WHERE m.tenant = ?1 AND m.user = ?9 AND m.team = d.a
                    AND (?8 IS NULL OR EXISTS (SELECT 1 FROM agent_teams g WHERE g.tenant = ?1 AND g.agent = ?8 AND g.team = d.a)))))
             ORDER BY created_at DESC, id DESC LIMIT ?10",
        )
        .bind(viewer.tenant)
        .bind(cursor.at)
        .bind(cursor.id.clone())
        .bind(kind)
        .bind(a)
        .bind(b)
        .bind(is_all)
        .bind(agent.map(Id::blob))
        .bind(user.map(Id::blob))
        .bind(cursor.fetch())
        .fetch_all(&mut *self.reader().await?)
        .await
        .map_err(Fault::Sql)?;
        let documents: Vec<Document> = rows.iter().map(|row: &SqliteRow| row.json(0)).collect::<Result<_>>()?;
        Ok(cursor.page(documents, |d| (d.created_at, d.id)))
    }

    async fn document_content(&self, scope: &Scope, document: DocumentId) -> Result<Vec<u8>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        seen(&mut conn, &viewer, document).await?;
        let query = sqlx::query("SELECT content FROM documents WHERE tenant = ? AND id = ?").bind(viewer.tenant).bind(document.blob());
        let row = query.fetch_optional(&mut *conn).await.map_err(Fault::Sql)?.ok_or(NO_DOCUMENT)?;
        Ok(row.bytes(0)?)
    }

    async fn drop_document(&self, scope: &Scope, document: DocumentId) -> Result<(), StoreError> {
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| drop_one(tx, viewer, document).boxed()).await
    }

    async fn take_documents(&self, want: usize, hold: Duration) -> Result<Vec<UnreadDocument>, StoreError> {
        // Asked often and mostly in vain: a look does not need the writer.
        let query = sqlx::query("SELECT 1 FROM documents WHERE waits_since IS NOT NULL AND ifnull(held_until, 0) <= ? LIMIT 1");
        let query = query.bind(nanos(self.now()));
        if want == 0 || query.fetch_optional(&mut *self.reader().await?).await.map_err(Fault::Sql)?.is_none() {
            return Ok(Vec::new());
        }
        self.write(move |tx| take(tx, want, hold).boxed()).await
    }

    async fn settle_document(&self, scope: &Scope, document: DocumentId, version: u64, reading: Reading) -> Result<Document, StoreError> {
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| settle(tx, viewer, document, version, reading).boxed()).await
    }
}
