//! Documents: their bytes, how far their reading has come, and their parts in archival memory.

use std::time::Duration;

use async_trait::async_trait;
use sid_types::{
    ConversationId, Document, DocumentFormat, DocumentId, DocumentParts, DocumentStatus, NewPassage, Owner, Provenance, Scope, Timestamp,
};

use crate::{Page, PageRequest, StoreError};

/// The channel of passages that are parts of documents.
pub const DOCUMENT_CHANNEL: &str = "document";

/// A document to be kept, or new bytes for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDocument {
    /// Its id, made by the caller; bytes for an id that is there are a new version of that document.
    pub id: DocumentId,
    /// Whose it is.
    pub owner: Owner,
    /// What it is called. 1 to [`Document::TITLE_CHARS`] characters.
    pub title: String,
    /// What the bytes are.
    pub format: DocumentFormat,
    /// Where it was fetched.
    pub origin: Option<String>,
    /// SHA-256 of the bytes, in hexadecimal.
    pub digest: String,
    /// The bytes, at least one.
    pub content: Vec<u8>,
    /// Who brings it.
    pub provenance: Provenance,
}

/// Which documents to list. The default asks for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DocumentFilter {
    /// Only of this owner.
    pub owner: Option<Owner>,
}

/// A document that is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadDocument {
    /// The scope in which its bytes are read and what they say is written.
    pub scope: Scope,
    /// The document.
    pub document: Document,
    /// How often its newest bytes were taken, this time included.
    pub attempts: u32,
}

/// What came of reading a version.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// It was read.
    Done {
        /// Its parts, first to last, under the ids of [`Document::part_id`] and of the document's owner. May be none: a scan has no text.
        parts: Vec<NewPassage>,
        /// Pages, where the format has any.
        pages: Option<u32>,
    },
    /// It cannot be read.
    Failed {
        /// Why, in words for the person whose it is.
        problem: String,
    },
}

/// Documents.
///
/// Who sees one, and who may bring, change or drop one, is who may read, or write, its owner's archival memory. What a document says is
/// in archival memory, under [`DOCUMENT_CHANNEL`]: it is found, embedded and erased as passages are, and changes with its document alone.
#[async_trait]
pub trait DocumentStore: Send + Sync {
    /// Keeps a document, to be read soon. When it answers the bytes are safe; what they say is found later.
    ///
    /// The owner's document with the same bytes that was brought in the same conversation, or outside any, is the answer, whatever its id,
    /// and nothing is made; one that could not be read is tried again, as a new version. Bytes for an id that is there are a new version: parts of the one before are found until the new one was read.
    ///
    /// Errors: `NotFound` (owner); `Exists` when the id is taken by a document of another owner, or of another conversation; `Invalid` for what [`check_document`] refuses, and when the
    /// owner has `most` documents.
    async fn put_document(&self, scope: &Scope, new: NewDocument, most: u64) -> Result<Document, StoreError>;

    /// One of them. Errors: `NotFound`.
    async fn document(&self, scope: &Scope, document: DocumentId) -> Result<Document, StoreError>;

    /// Those that the scope sees, newest first.
    async fn documents(&self, scope: &Scope, filter: &DocumentFilter, page: PageRequest) -> Result<Page<Document>, StoreError>;

    /// The bytes of its newest version. Errors: `NotFound`.
    async fn document_content(&self, scope: &Scope, document: DocumentId) -> Result<Vec<u8>, StoreError>;

    /// Forgets a document with its bytes, its parts and their vectors. Errors: `NotFound`.
    async fn drop_document(&self, scope: &Scope, document: DocumentId) -> Result<(), StoreError>;

    /// Takes up to `want` documents that wait to be read, and keeps other takers from them for `hold`. Not bound to a tenant: it is the
    /// engine's own call. Tenants take turns; in a tenant the one that waits longest comes first.
    ///
    /// Holding spares work: what keeps two readers from a mixture is that [`settle_document`](Self::settle_document) goes by the version.
    async fn take_documents(&self, want: usize, hold: Duration) -> Result<Vec<UnreadDocument>, StoreError>;

    /// Writes what came of reading `version`: its parts in place of those before, with the document's new status, all or nothing. The
    /// engine's own call.
    ///
    /// Errors: `Conflict` when there are newer bytes; `NotFound` when it is gone; `Invalid` for parts that are not this document's.
    async fn settle_document(&self, scope: &Scope, document: DocumentId, version: u64, reading: Reading) -> Result<Document, StoreError>;
}

/// What a store answers who may not see a document, and when there is none.
pub const NO_DOCUMENT: StoreError = StoreError::NotFound { what: "document" };

/// Checks what is brought, for implementers.
///
/// Errors: `Invalid` for a title of no or too many characters, and for no bytes.
pub fn check_document(new: &NewDocument) -> Result<(), StoreError> {
    if new.title.trim().is_empty() || new.title.chars().count() > Document::TITLE_CHARS {
        return Err(StoreError::Invalid(format!("the title of a document has 1 to {} characters", Document::TITLE_CHARS)));
    }
    if new.content.is_empty() {
        return Err(StoreError::Invalid("a document has at least one byte".into()));
    }
    Ok(())
}

/// The document that is made, for implementers, or that `known`, the one with its id, becomes. `None`: it is that one already.
#[must_use]
pub fn next_document(known: Option<&Document>, new: &NewDocument, now: Timestamp) -> Option<Document> {
    let NewDocument { id, owner, title, format, origin, digest, content, provenance } = new;
    if known.is_some_and(|k| k.status != DocumentStatus::Failed && k.digest == *digest && k.format == *format && k.title == *title) {
        return None;
    }
    Some(Document {
        id: *id,
        owner: *owner,
        title: title.clone(),
        format: *format,
        origin: origin.clone(),
        digest: digest.clone(),
        size: content.len() as u64,
        status: DocumentStatus::Reading,
        problem: None,
        parts: known.and_then(|k| k.parts),
        provenance: provenance.clone(),
        version: known.map_or(1, |k| k.version + 1),
        created_at: known.map_or(now, |k| k.created_at),
        updated_at: now,
    })
}

/// The document after its version was read, for implementers, and the parts to store.
///
/// Errors: `Conflict` unless it is that version; `Invalid` for parts that are not the document's.
pub fn settled_document(
    known: &Document,
    version: u64,
    reading: Reading,
    now: Timestamp,
) -> Result<(Document, Vec<NewPassage>), StoreError> {
    if known.version != version {
        return Err(StoreError::Conflict { expected: version, found: known.version });
    }
    let settled = Document { updated_at: now, ..known.clone() };
    match reading {
        Reading::Failed { problem } => Ok((Document { status: DocumentStatus::Failed, problem: Some(problem), ..settled }, Vec::new())),
        Reading::Done { parts, pages } => {
            let is_own = |(number, part): (u32, &NewPassage)| {
                part.id == Document::part_id(known.id, version, number)
                    && part.owner == known.owner
                    && part.provenance.channel == DOCUMENT_CHANNEL
                    && !part.text.trim().is_empty()
            };
            if !(1_u32..).zip(&parts).all(is_own) {
                return Err(StoreError::Invalid("the parts are not those of the document".into()));
            }
            let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
            let read = DocumentParts { version, count, pages };
            Ok((Document { status: DocumentStatus::Ready, problem: None, parts: Some(read), ..settled }, parts))
        }
    }
}

/// Whether new bytes may be those of a document that is there, for implementers: it has the same owner, and goes with the same conversation
/// if that is erased.
#[must_use]
pub fn is_same_place(known: &Document, new: &NewDocument) -> bool {
    known.owner == new.owner && known.provenance.conversation == new.provenance.conversation
}

/// Whether it goes with a conversation that is erased: an agent brought it there.
#[must_use]
pub fn is_document_of(document: &Document, conversation: ConversationId) -> bool {
    document.provenance.conversation == Some(conversation)
}

/// What an owner with too many is told.
#[must_use]
pub fn too_many_documents(most: u64) -> StoreError {
    StoreError::Invalid(format!("there are {most} documents of this owner, which is the most: remove one"))
}
