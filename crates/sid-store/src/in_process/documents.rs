//! `DocumentStore`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use sid_types::{Document, DocumentId, DocumentStatus, Scope, Timestamp};

use super::directory::paged;
use super::journal::after;
use super::room::Room;
use super::{InProcess, missing};
use crate::documents::{is_same_place, next_document, settled_document, too_many_documents};
use crate::{
    DocumentFilter, DocumentStore, NO_DOCUMENT, NewDocument, Order, Page, PageRequest, Reading, RecordId, StoreError, UnreadDocument,
    check_document,
};

/// A document with its bytes.
pub(super) struct DocumentRow {
    pub(super) document: Document,
    content: Vec<u8>,
    /// Somebody reads it until then.
    held_until: Option<Timestamp>,
    attempts: u32,
}

#[async_trait]
impl DocumentStore for InProcess {
    async fn put_document(&self, scope: &Scope, mut new: NewDocument, most: u64) -> Result<Document, StoreError> {
        check_document(&new)?;
        self.write(|state, now| {
            let room = state.room_mut(scope, "owner")?;
            if !room.writes(scope, new.owner) {
                return Err(missing("owner"));
            }
            let mut known = room.documents.get(&new.id).map(|row| &row.document);
            if known.is_some_and(|known| !is_same_place(known, &new)) {
                return Err(StoreError::Exists { what: "document", name: new.id.to_string() });
            }
            if known.is_none() {
                let own: Vec<&Document> = room.documents.values().map(|row| &row.document).filter(|d| d.owner == new.owner).collect();
                known = own.iter().find(|d| d.digest == new.digest && is_same_place(d, &new)).copied();
                match known {
                    Some(same) if same.status != DocumentStatus::Failed => return Ok(same.clone()),
                    Some(same) => new.id = same.id,
                    None if own.len() as u64 >= most => return Err(too_many_documents(most)),
                    None => {}
                }
            }
            let Some(document) = next_document(known, &new, now) else { return known.cloned().ok_or(NO_DOCUMENT) };
            let row = DocumentRow { document: document.clone(), content: new.content, held_until: None, attempts: 0 };
            room.documents.insert(document.id, row);
            Ok(document)
        })
    }

    async fn document(&self, scope: &Scope, document: DocumentId) -> Result<Document, StoreError> {
        Ok(self.read().room(scope, "document")?.seen_document(scope, document)?.document.clone())
    }

    async fn documents(&self, scope: &Scope, filter: &DocumentFilter, page: PageRequest) -> Result<Page<Document>, StoreError> {
        let state = self.read();
        let room = state.room(scope, "tenant")?;
        let is_asked = |d: &&Document| filter.owner.is_none_or(|owner| owner == d.owner) && room.sees(scope, d.owner);
        paged(room.documents.values().map(|row| &row.document).filter(is_asked), Order::Descending, &page, |d| (d.created_at, d.id))
    }

    async fn document_content(&self, scope: &Scope, document: DocumentId) -> Result<Vec<u8>, StoreError> {
        Ok(self.read().room(scope, "document")?.seen_document(scope, document)?.content.clone())
    }

    async fn drop_document(&self, scope: &Scope, document: DocumentId) -> Result<(), StoreError> {
        self.write(|state, _| {
            let room = state.room_mut(scope, "document")?;
            let owner = room.seen_document(scope, document)?.document.owner;
            if !room.writes(scope, owner) {
                return Err(NO_DOCUMENT);
            }
            room.drop_parts(document);
            room.documents.remove(&document);
            Ok(())
        })
    }

    async fn take_documents(&self, want: usize, hold: Duration) -> Result<Vec<UnreadDocument>, StoreError> {
        self.write(|state, now| {
            let mut waiting = Vec::new();
            for (tenant, room) in &state.rooms {
                let is_free =
                    |row: &&DocumentRow| row.document.status == DocumentStatus::Reading && row.held_until.is_none_or(|held| held <= now);
                let mut own: Vec<_> = room.documents.values().filter(is_free).map(|row| &row.document).collect();
                own.sort_by_key(|d| (d.updated_at, d.id));
                waiting.extend(own.iter().enumerate().map(|(turn, d)| (turn, d.updated_at, *tenant, d.id)));
            }
            waiting.sort_unstable();
            waiting.truncate(want);
            let mut taken = Vec::new();
            for (_, _, tenant, id) in waiting {
                let Some(room) = state.rooms.get_mut(&tenant) else { continue };
                let Some(row) = room.documents.get_mut(&id) else { continue };
                row.held_until = Some(after(now, hold));
                row.attempts += 1;
                let (document, attempts) = (row.document.clone(), row.attempts);
                taken.push(UnreadDocument { scope: room.engine_scope(sid_types::Owner::Tenant), document, attempts });
            }
            Ok(taken)
        })
    }

    async fn settle_document(&self, scope: &Scope, document: DocumentId, version: u64, reading: Reading) -> Result<Document, StoreError> {
        self.write(|state, now| {
            let room = state.room_mut(scope, "document")?;
            let known = room.documents.get(&document).filter(|_| scope.is_tenant_wide()).ok_or(NO_DOCUMENT)?;
            let (settled, parts) = settled_document(&known.document, version, reading, now)?;
            if settled.status == DocumentStatus::Ready {
                room.drop_parts(document);
            }
            for part in parts {
                room.put_passage(part, now);
            }
            if let Some(row) = room.documents.get_mut(&document) {
                row.document = settled.clone();
                row.held_until = None;
            }
            Ok(settled)
        })
    }
}

/// Documents by id.
pub(super) type Documents = BTreeMap<DocumentId, DocumentRow>;

impl Room {
    fn seen_document(&self, scope: &Scope, document: DocumentId) -> Result<&DocumentRow, StoreError> {
        self.documents.get(&document).filter(|row| self.sees(scope, row.document.owner)).ok_or(NO_DOCUMENT)
    }

    /// Takes what can be read of a document out of archival memory.
    fn drop_parts(&mut self, document: DocumentId) {
        let Some(row) = self.documents.get(&document) else { return };
        for part in row.document.part_ids() {
            self.unshelve(RecordId::Passage(part));
            self.passages.remove(&part);
        }
    }
}
