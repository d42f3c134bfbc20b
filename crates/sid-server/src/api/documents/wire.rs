//! Documents as they are shown.

use serde::{Deserialize, Serialize};
use sid_core::DocumentHit;
use sid_types::{Citation, Document, DocumentFormat, DocumentId, Passage, Timestamp};
use utoipa::ToSchema;

use crate::api::wire::{OwnerJson, ProvenanceJson};

/// What a document's bytes are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FormatJson {
    Text,
    Markdown,
    Html,
    Pdf,
}

impl From<FormatJson> for DocumentFormat {
    fn from(format: FormatJson) -> Self {
        match format {
            FormatJson::Text => Self::Text,
            FormatJson::Markdown => Self::Markdown,
            FormatJson::Html => Self::Html,
            FormatJson::Pdf => Self::Pdf,
        }
    }
}

impl From<DocumentFormat> for FormatJson {
    fn from(format: DocumentFormat) -> Self {
        match format {
            DocumentFormat::Text => Self::Text,
            DocumentFormat::Markdown => Self::Markdown,
            DocumentFormat::Html => Self::Html,
            DocumentFormat::Pdf => Self::Pdf,
        }
    }
}

/// A document. Its bytes are at `/documents/{id}/content`, what they say at `/documents/{id}/text`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DocumentJson {
    #[schema(value_type = String)]
    id: DocumentId,
    owner: OwnerJson,
    /// What it is called, and cited as.
    title: String,
    format: FormatJson,
    /// Where it was fetched; `null` for what was uploaded.
    origin: Option<String>,
    /// SHA-256 of its bytes, in hexadecimal.
    digest: String,
    /// How many bytes it has.
    size: u64,
    /// `reading`, `ready` or `failed`.
    status: &'static str,
    /// Why it cannot be read.
    problem: Option<String>,
    /// Parts that can be read; while new bytes are being read, those of the bytes before.
    parts: u32,
    /// Pages, where the format has any.
    pages: Option<u32>,
    provenance: ProvenanceJson,
    /// Counts its bytes: new bytes are a new version.
    version: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Document> for DocumentJson {
    fn from(d: Document) -> Self {
        Self {
            id: d.id,
            owner: d.owner.into(),
            title: d.title,
            format: d.format.into(),
            origin: d.origin,
            digest: d.digest,
            size: d.size,
            status: d.status.as_str(),
            problem: d.problem,
            parts: d.parts.map_or(0, |parts| parts.count),
            pages: d.parts.and_then(|parts| parts.pages),
            provenance: d.provenance.into(),
            version: d.version,
            created_at: d.created_at,
            updated_at: d.updated_at,
        }
    }
}

/// Where in a document something stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CitationJson {
    #[schema(value_type = String)]
    document: DocumentId,
    title: String,
    /// As an answer cites it, such as `[Handbook, page 3]`.
    cite: String,
    /// The part's number, from 1.
    part: u32,
    /// The page, from 1, where there are pages.
    page: Option<u32>,
    /// The headings that it stands under, outermost first.
    heading: Vec<String>,
    /// Its first character in the document's text, and the first one after it.
    start: u64,
    end: u64,
}

impl From<Citation> for CitationJson {
    fn from(citation: Citation) -> Self {
        let cite = citation.to_string();
        let Citation { document, title, place } = citation;
        Self { document, title, cite, part: place.part, page: place.page, heading: place.heading, start: place.start, end: place.end }
    }
}

/// A piece of what a document says.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartJson {
    citation: CitationJson,
    text: String,
}

/// Parts of a document, in order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartsJson {
    pub(super) items: Vec<PartJson>,
    /// The part to go on with.
    pub(super) next: Option<u32>,
}

pub(super) fn part_json(part: Passage) -> Option<PartJson> {
    Some(PartJson { citation: (*part.provenance.citation?).into(), text: part.text })
}

/// A part that answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DocumentHitJson {
    citation: CitationJson,
    owner: OwnerJson,
    /// What answers best.
    excerpt: String,
    /// Larger is better; comparable inside one answer only.
    score: f32,
}

impl From<DocumentHit> for DocumentHitJson {
    fn from(hit: DocumentHit) -> Self {
        Self { citation: hit.citation.into(), owner: hit.owner.into(), excerpt: hit.excerpt, score: hit.score }
    }
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DocumentHitsJson {
    /// Best first.
    pub(super) hits: Vec<DocumentHitJson>,
}
