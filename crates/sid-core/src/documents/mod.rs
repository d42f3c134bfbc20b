//! Documents: brought, read in the background, searched, opened and cited (ADR 0033).

mod open;
mod read;
mod search;
mod tools;

use std::sync::Arc;

use sid_documents::{DocumentReader, digest};
use sid_llm::Embedder;
use sid_store::{NewDocument, Store, StoreError};
use sid_types::{Document, DocumentFormat, DocumentId, Owner, Provenance, Scope};
use tokio::sync::Notify;

use crate::CoreError;

pub(crate) use read::poll;
pub use search::{DocumentHit, DocumentSearch};
pub(crate) use tools::register;

/// A document to be brought.
#[derive(Debug, Clone)]
pub struct Bring {
    /// Its id, made by the caller: bytes for one that is there are its new version.
    pub id: DocumentId,
    /// Whose it will be.
    pub owner: Owner,
    /// What it is called, and cited as.
    pub title: String,
    /// What the bytes are.
    pub format: DocumentFormat,
    /// Where it was fetched.
    pub origin: Option<String>,
    /// The bytes.
    pub content: Vec<u8>,
    /// Who brings it.
    pub provenance: Provenance,
}

/// Brings, searches and opens documents: for the engine, for servers, and for agents that have the tools.
#[derive(Clone)]
pub struct Library {
    store: Arc<dyn Store>,
    embedder: Option<Arc<dyn Embedder>>,
    reader: Arc<dyn DocumentReader>,
    most: u64,
    /// Wakes the reader when something is brought here.
    pub(crate) brought: Arc<Notify>,
}

impl Library {
    pub(crate) fn new(store: Arc<dyn Store>, embedder: Option<Arc<dyn Embedder>>, reader: Arc<dyn DocumentReader>, most: u64) -> Self {
        Self { store, embedder, reader, most, brought: Arc::default() }
    }

    /// Keeps a document, to be read soon. When it answers, it is safe.
    ///
    /// Errors: `TooLarge`; those of [`DocumentStore::put_document`](sid_store::DocumentStore::put_document).
    pub async fn bring(&self, scope: &Scope, bring: Bring) -> Result<Document, CoreError> {
        let Bring { id, owner, title, format, origin, content, provenance } = bring;
        let (size, limit) = (content.len() as u64, self.reader.limits().bytes);
        if size > limit {
            return Err(StoreError::TooLarge { what: "document (bytes)", size, limit }.into());
        }
        let digest = digest(&content);
        let new = NewDocument { id, owner, title: title.trim().to_owned(), format, origin, digest, content, provenance };
        let document = self.store.put_document(scope, new, self.most).await?;
        self.brought.notify_one();
        Ok(document)
    }

    /// Most bytes of one document.
    #[must_use]
    pub fn most_bytes(&self) -> u64 {
        self.reader.limits().bytes
    }
}
