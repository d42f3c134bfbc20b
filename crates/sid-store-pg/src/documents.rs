//! `DocumentStore`: one row each; what it says is in `passages`.

use std::time::Duration;

use async_trait::async_trait;
use sid_store::{
    DocumentFilter, DocumentStore, NO_DOCUMENT, NewDocument, Page, PageRequest, Reading, StoreError, UnreadDocument, check_document,
    is_same_place, next_document, settled_document, too_many_documents,
};
use sid_types::{Document, DocumentId, DocumentStatus, Owner, Provenance, Scope};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::archival::{self, store_passage};
use crate::backend::PgStore;
use crate::codec::{At, Columns, Id, to_json};
use crate::diary::engine_scope;
use crate::error::{Fault, Result, missing};
use crate::paging::Cursor;
use crate::state::ttl_micros;
use crate::tx::Tx;
use crate::visibility::{Viewer, columns};

async fn find(tx: &mut Tx, document: DocumentId) -> Result<Option<Document>> {
    let query = tx.query("SELECT doc FROM sid.documents WHERE tenant = $1 AND id = $2").bind(tx.tenant).bind(document.uuid());
    query.fetch_optional(tx.conn()).await?.as_ref().map(|row| row.json(0)).transpose()
}

/// The document as it is now, held until the transaction ends.
async fn hold(tx: &mut Tx, document: DocumentId) -> Result<Option<Document>> {
    let query = tx.query("SELECT doc FROM sid.documents WHERE tenant = $1 AND id = $2 FOR UPDATE").bind(tx.tenant).bind(document.uuid());
    query.fetch_optional(tx.conn()).await?.as_ref().map(|row| row.json(0)).transpose()
}

/// The same with whose it is.
async fn held(tx: &mut Tx, document: DocumentId) -> Result<Document> {
    // Erasing takes these in the same order: first whose it is, then the document.
    let found = find(tx, document).await?.ok_or(NO_DOCUMENT)?;
    hold_owner(tx, found.owner, &found.provenance).await?;
    Ok(hold(tx, document).await?.ok_or(NO_DOCUMENT)?)
}

/// The document, if the viewer may see it.
async fn seen(tx: &mut Tx, viewer: &Viewer, document: DocumentId) -> Result<Document> {
    let found = find(tx, document).await?.ok_or(NO_DOCUMENT)?;
    if viewer.sees(tx, found.owner).await? { Ok(found) } else { Err(NO_DOCUMENT.into()) }
}

/// Whoever erases what the document would belong to waits, or has erased it before: then there is no row to hold.
async fn hold_owner(tx: &mut Tx, owner: Owner, provenance: &Provenance) -> Result<()> {
    let agent = match owner {
        Owner::Agent { agent } | Owner::Pair { agent, .. } => Some(agent),
        Owner::Tenant | Owner::Team { .. } | Owner::User { .. } => None,
    };
    let rows = [
        ("SELECT 1 FROM sid.conversations WHERE tenant = $1 AND id = $2 FOR KEY SHARE", provenance.conversation.map(Id::raw)),
        ("SELECT 1 FROM sid.users WHERE tenant = $1 AND id = $2 FOR KEY SHARE", owner.user().map(Id::raw)),
        ("SELECT 1 FROM sid.agents WHERE tenant = $1 AND id = $2 FOR KEY SHARE", agent.map(Id::raw)),
    ];
    for (sql, id) in rows {
        let Some(id) = id else { continue };
        tx.query(sql).bind(tx.tenant).bind(id).fetch_optional(tx.conn()).await?.ok_or(missing("owner"))?;
    }
    Ok(())
}

async fn put(tx: &mut Tx, viewer: &Viewer, mut new: NewDocument, most: u64) -> Result<Document> {
    if !viewer.writes(tx, new.owner).await? {
        return Err(missing("owner").into());
    }
    hold_owner(tx, new.owner, &new.provenance).await?;
    let (kind, a, b) = columns(new.owner);
    // One after the other for each owner: so that none is made beyond the most, and the same bytes once.
    let query = tx
        .query("SELECT pg_advisory_xact_lock(hashtextextended('sid.documents ' || $1::uuid::text || $2::uuid::text || $3::uuid::text, 0))");
    query.bind(tx.tenant).bind(a).bind(b).execute(tx.conn()).await?;
    // Held: whoever settles it at this moment changes which parts it has.
    let mut known = hold(tx, new.id).await?;
    if known.as_ref().is_some_and(|known| !is_same_place(known, &new)) {
        return Err(StoreError::Exists { what: "document", name: new.id.to_string() }.into());
    }
    let conversation = new.provenance.conversation.map(Id::raw);
    if known.is_none() {
        let query = tx.query(
            "SELECT doc FROM sid.documents WHERE tenant = $1 AND owner_kind = $2 AND a = $3 AND b = $4 AND digest = $5
             AND source_conv IS NOT DISTINCT FROM $6 ORDER BY created_at, id LIMIT 1 FOR UPDATE",
        );
        let query = query.bind(tx.tenant).bind(kind).bind(a).bind(b).bind(new.digest.clone()).bind(conversation);
        known = query.fetch_optional(tx.conn()).await?.as_ref().map(|row| row.json(0)).transpose()?;
    }
    match &known {
        Some(same) if same.id != new.id && same.status != DocumentStatus::Failed => return Ok(same.clone()),
        Some(same) => new.id = same.id,
        None => {
            let query = tx.query("SELECT count(*) FROM sid.documents WHERE tenant = $1 AND owner_kind = $2 AND a = $3 AND b = $4");
            if query.bind(tx.tenant).bind(kind).bind(a).bind(b).fetch_one(tx.conn()).await?.count(0)? >= most {
                return Err(too_many_documents(most).into());
            }
        }
    }
    let Some(document) = next_document(known.as_ref(), &new, tx.now) else { return known.ok_or_else(|| NO_DOCUMENT.into()) };
    let query = tx.query(
        "INSERT INTO sid.documents AS d (tenant, id, owner_kind, a, b, of_user, source_conv, digest, waits_since, attempts, version, created_at, doc, content)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11, $12, $13)
         ON CONFLICT (tenant, id) DO UPDATE SET digest = excluded.digest, waits_since = excluded.waits_since, held_until = NULL, attempts = 0,
            version = excluded.version, doc = excluded.doc, content = excluded.content
         WHERE d.version = excluded.version - 1",
    );
    let query = query.bind(tx.tenant).bind(document.id.uuid()).bind(kind).bind(a).bind(b).bind(new.owner.user().map(Id::raw));
    let query = query.bind(conversation).bind(new.digest).bind(At(document.updated_at)).bind(document.version as i64);
    let done = query.bind(At(document.created_at)).bind(to_json(&document)?).bind(new.content).execute(tx.conn()).await?;
    if done.rows_affected() == 1 {
        return Ok(document);
    }
    // Somebody was first between the look and this.
    Err(StoreError::Exists { what: "document", name: document.id.to_string() }.into())
}

/// Takes what can be read of a document out of archival memory.
async fn drop_parts(store: &PgStore, tx: &mut Tx, document: &Document) -> Result<()> {
    for part in document.part_ids() {
        if let Some(known) = archival::known(tx, part).await? {
            archival::remove(store, tx, &known).await?;
        }
    }
    Ok(())
}

async fn drop_one(store: &PgStore, tx: &mut Tx, viewer: &Viewer, document: DocumentId) -> Result<()> {
    let known = held(tx, document).await?;
    // Whoever writes sees, too.
    if !viewer.writes(tx, known.owner).await? {
        return Err(NO_DOCUMENT.into());
    }
    drop_parts(store, tx, &known).await?;
    let query = tx.query("DELETE FROM sid.documents WHERE tenant = $1 AND id = $2").bind(tx.tenant).bind(document.uuid());
    query.execute(tx.conn()).await?;
    Ok(())
}

async fn settle(store: &PgStore, tx: &mut Tx, document: DocumentId, version: u64, reading: Reading) -> Result<Document> {
    let known = held(tx, document).await?;
    let (settled, parts) = settled_document(&known, version, reading, tx.now)?;
    if settled.status == DocumentStatus::Ready {
        drop_parts(store, tx, &known).await?;
    }
    for part in parts {
        let replaced = archival::known(tx, part.id).await?;
        store_passage(store, tx, part, replaced).await?;
    }
    let query = tx.query("UPDATE sid.documents SET doc = $3, waits_since = NULL, held_until = NULL WHERE tenant = $1 AND id = $2");
    query.bind(tx.tenant).bind(document.uuid()).bind(to_json(&settled)?).execute(tx.conn()).await?;
    Ok(settled)
}

#[async_trait]
impl DocumentStore for PgStore {
    async fn put_document(&self, scope: &Scope, new: NewDocument, most: u64) -> Result<Document, StoreError> {
        check_document(&new)?;
        let mut tx = self.begin_long(scope.tenant()).await?;
        let outcome = put(&mut tx, &self.viewer(scope), new, most).await;
        tx.finish(outcome).await
    }

    async fn document(&self, scope: &Scope, document: DocumentId) -> Result<Document, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        Ok(seen(&mut tx, &self.viewer(scope), document).await?)
    }

    async fn documents(&self, scope: &Scope, filter: &DocumentFilter, page: PageRequest) -> Result<Page<Document>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        self.check_tenant(&mut tx, scope.tenant(), "tenant").await?;
        let cursor = Cursor::descending::<DocumentId>(&page)?;
        let (kind, a, b): (Option<i16>, Option<Uuid>, Option<Uuid>) =
            filter.owner.map(columns).map_or((None, None, None), |(kind, a, b)| (Some(kind), Some(a), Some(b)));
        let (principal, agent, user) = self.viewer(scope).principal();
        // Whose memory the scope reads: the rules of `Right::to_read`.
        let query = tx.query(
            "SELECT doc FROM sid.documents d WHERE tenant = $1 AND (created_at, id) < ($2, $3)
             AND ($4::smallint IS NULL OR (owner_kind = $4 AND a = $5 AND b = $6))
             AND ($7::smallint = 0 OR owner_kind = 0 OR (owner_kind = 2 AND a = $9::uuid) OR (owner_kind = 3 AND a = $8::uuid)
                OR (owner_kind = 4 AND b = $9 AND ($8 IS NULL OR a = $8))
                OR (owner_kind = 1 AND EXISTS (SELECT 1 FROM sid.team_members m WHERE m.tenant = $1 AND m.user_id = $9 AND m.team_id = d.a
                    AND ($8 IS NULL OR EXISTS (SELECT 1 FROM sid.agent_teams g WHERE g.tenant = $1 AND g.agent_id = $8 AND g.team_id = d.a)))))
             ORDER BY created_at DESC, id DESC LIMIT $10",
        );
        let query = query.bind(tx.tenant).bind(cursor.at).bind(cursor.id).bind(kind).bind(a).bind(b).bind(principal).bind(agent).bind(user);
        let rows = query.bind(cursor.fetch()).fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let documents: Vec<Document> = rows.iter().map(|row| row.json(0)).collect::<Result<_>>()?;
        Ok(cursor.page(documents, |d| (d.created_at, d.id)))
    }

    async fn document_content(&self, scope: &Scope, document: DocumentId) -> Result<Vec<u8>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        seen(&mut tx, &self.viewer(scope), document).await?;
        let query = tx.query("SELECT content FROM sid.documents WHERE tenant = $1 AND id = $2").bind(tx.tenant).bind(document.uuid());
        let row = query.fetch_optional(tx.conn()).await.map_err(Fault::Sql)?.ok_or(NO_DOCUMENT)?;
        Ok(row.bytes(0)?.to_vec())
    }

    async fn drop_document(&self, scope: &Scope, document: DocumentId) -> Result<(), StoreError> {
        let mut tx = self.begin_long(scope.tenant()).await?;
        let outcome = drop_one(self, &mut tx, &self.viewer(scope), document).await;
        tx.finish(outcome).await
    }

    async fn take_documents(&self, want: usize, hold: Duration) -> Result<Vec<UnreadDocument>, StoreError> {
        let call = self
            .call("SELECT x.o_tenant, x.o_doc, x.o_attempts FROM sid.take_documents($1, $2, $3) x")
            .bind(self.clock())
            .bind(i32::try_from(want).unwrap_or(1_000).min(1_000))
            .bind(ttl_micros(hold));
        let rows = self.timely(call.fetch_all()).await?;
        let one = |row: &PgRow| {
            let attempts = u32::try_from(row.number(2)?).unwrap_or_default();
            Ok(UnreadDocument { scope: engine_scope(row.id(0)?, Owner::Tenant), document: row.json(1)?, attempts })
        };
        Ok(rows.iter().map(one).collect::<Result<_>>()?)
    }

    async fn settle_document(&self, scope: &Scope, document: DocumentId, version: u64, reading: Reading) -> Result<Document, StoreError> {
        if !scope.is_tenant_wide() {
            return Err(NO_DOCUMENT);
        }
        let mut tx = self.begin_long(scope.tenant()).await?;
        let outcome = settle(self, &mut tx, document, version, reading).await;
        tx.finish(outcome).await
    }
}
