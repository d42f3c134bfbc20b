//! Reading: any replica takes what waits, reads it, and puts its parts and its status in place in one transaction.

use std::time::Duration;

use sid_documents::{ReadDocument, Unreadable};
use sid_store::{DOCUMENT_CHANNEL, Reading, StoreError, UnreadDocument};
use sid_types::{Channel, Citation, Document, NewPassage, Provenance, Source};
use tracing::{debug, info, warn};

use super::Library;
use crate::{Engine, metrics};

/// Most documents that one process reads at a time.
const AT_ONCE: usize = 2;
/// A document whose reading has ended this often without a word, because the process ended with it, is not tried again.
const MOST_ATTEMPTS: u32 = 3;
/// Between two looks, where nothing was brought to this process.
const REST: Duration = Duration::from_secs(1);

/// Reads what waits, until the engine drains.
pub(crate) async fn poll(engine: Engine) {
    let library = engine.library();
    // Longer than reading may take, so that nobody else begins meanwhile; whoever ends in the middle delays a document by that much.
    let hold = library.reader.limits().time * 2 + Duration::from_secs(10);
    while !engine.is_draining() {
        match library.store.take_documents(AT_ONCE, hold).await {
            Ok(unread) if !unread.is_empty() => {
                futures::future::join_all(unread.into_iter().map(|unread| library.answer(unread))).await;
                engine.memory_changed();
                continue;
            }
            Ok(_) => {}
            Err(error) => warn!(%error, "could not look for documents that wait to be read"),
        }
        let _ = tokio::time::timeout(REST.min(engine.inner.config.poll), library.brought.notified()).await;
    }
}

impl Library {
    /// Reads one document. What fails for a reason of ours is taken again when nobody holds it any more.
    async fn answer(&self, unread: UnreadDocument) {
        let UnreadDocument { scope, document, attempts } = unread;
        let id = document.id;
        let reading = if attempts > MOST_ATTEMPTS {
            Reading::Failed {
                problem: format!(
                    "reading it was begun {MOST_ATTEMPTS} times and never ended: bring it again, or save it in another format"
                ),
            }
        } else {
            let content = match self.store.document_content(&scope, id).await {
                Ok(content) => content,
                Err(error) => return debug!(document = %id, %error, "a document was not read"),
            };
            match self.reader.read(document.format, content).await {
                Ok(read) => done(&document, read),
                Err(error) if error.is_transient() => {
                    return warn!(document = %id, %error, "a document could not be read; it is tried again");
                }
                Err(error) => failed(&error),
            }
        };
        let word = match &reading {
            Reading::Done { .. } => "ready",
            Reading::Failed { .. } => "failed",
        };
        match self.store.settle_document(&scope, id, document.version, reading).await {
            Ok(settled) => {
                metrics::document_read(word);
                info!(document = %id, version = settled.version, parts = settled.parts.map_or(0, |p| p.count), "a document was read: {word}");
            }
            // There are newer bytes, or it is gone.
            Err(error @ (StoreError::Conflict { .. } | StoreError::NotFound { .. })) => {
                debug!(document = %id, %error, "a document was not settled")
            }
            Err(error) => warn!(document = %id, %error, "what a document says could not be stored; it is tried again"),
        }
    }
}

fn failed(error: &Unreadable) -> Reading {
    Reading::Failed { problem: error.to_string() }
}

/// The parts as passages: found, embedded and erased as others are, and never trusted.
fn done(document: &Document, read: ReadDocument) -> Reading {
    let part = |part: sid_documents::Part| {
        let citation = Citation { document: document.id, title: document.title.clone(), place: part.place };
        let mut untrusted = document.provenance.untrusted.clone();
        Source::add(&mut untrusted, &[Source::new(Channel::Import, document.title.clone())]);
        NewPassage {
            id: Document::part_id(document.id, document.version, citation.place.part),
            owner: document.owner,
            text: part.text,
            tags: Vec::new(),
            at: document.updated_at,
            provenance: Provenance {
                channel: DOCUMENT_CHANNEL.into(),
                untrusted,
                citation: Some(Box::new(citation)),
                ..document.provenance.clone()
            },
        }
    };
    Reading::Done { parts: read.parts.into_iter().map(part).collect(), pages: read.pages }
}
