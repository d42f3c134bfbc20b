//! Search among documents: the search of all memory, and of what it finds the parts of documents.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sid_memory::ranking::render_excerpt;
use sid_memory::recall::{RecallOptions, recall};
use sid_store::{Record, RecordKinds, SearchQuery, StoreError};
use sid_types::{Citation, DocumentId, Owner, Scope, Source};

use super::Library;
use crate::CoreError;

/// Candidates per channel: other passages are among them.
const PER_CHANNEL: usize = 300;
/// The same where one document is searched: its owner's other documents are among them.
const PER_CHANNEL_OF_ONE: usize = 1_000;
/// Ranked candidates that are looked through for parts of documents.
const LOOKED_THROUGH: usize = 200;
/// Size of an excerpt.
const EXCERPT_BYTES: usize = 500;

/// What to look for.
#[derive(Debug, Clone)]
pub struct DocumentSearch {
    /// The words.
    pub query: String,
    /// Only in this document.
    pub document: Option<DocumentId>,
    /// Most hits.
    pub k: usize,
    /// The moment that "yesterday" is counted from.
    pub now: Timestamp,
}

/// A found part.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentHit {
    /// Where it stands.
    pub citation: Citation,
    /// Whose it is.
    pub owner: Owner,
    /// What answers best.
    pub excerpt: String,
    /// Larger is better; comparable inside one answer only.
    pub score: f32,
    /// What it is not trusted for.
    pub untrusted: Vec<Source>,
}

impl Library {
    /// Parts that answer, best first. One document is searched among its owner's, so of an owner with very many parts that fit as well, some
    /// may be left out.
    ///
    /// Errors: `Invalid` (no words); `NotFound` (document).
    pub async fn search(&self, scope: &Scope, search: &DocumentSearch) -> Result<Vec<DocumentHit>, CoreError> {
        if search.query.trim().is_empty() {
            return Err(CoreError::Invalid("the query is empty: say what to look for".into()));
        }
        let mut query = SearchQuery::new(search.query.clone());
        query.kinds = RecordKinds::PASSAGES;
        query.per_channel = PER_CHANNEL;
        if let Some(document) = search.document {
            query.owners = Some(vec![self.store.document(scope, document).await?.owner]);
            query.per_channel = PER_CHANNEL_OF_ONE;
        }
        let limit = if search.document.is_some() { PER_CHANNEL_OF_ONE } else { LOOKED_THROUGH };
        let now = search.now.to_zoned(TimeZone::UTC);
        let options = RecallOptions { now: Some(now), limit, follow: false, excerpt_bytes: EXCERPT_BYTES, ..RecallOptions::default() };
        let found = recall(&*self.store, self.embedder.as_deref(), scope, query, &options).await?;
        let hit = |hit: sid_memory::recall::RecallHit| {
            let Record::Passage(passage) = hit.found.record else { return None };
            let citation = *passage.provenance.citation?;
            let is_asked = search.document.is_none_or(|asked| asked == citation.document);
            is_asked.then(|| DocumentHit {
                citation,
                owner: passage.owner,
                excerpt: render_excerpt(&passage.text, &hit.excerpt),
                score: hit.score,
                untrusted: passage.provenance.untrusted,
            })
        };
        Ok(found.hits.into_iter().filter_map(hit).take(search.k).collect())
    }
}

/// Whether a store's answer means that there is no such document for whoever asks.
pub(super) const fn is_missing(error: &CoreError) -> bool {
    matches!(error, CoreError::Store(StoreError::NotFound { .. }))
}
