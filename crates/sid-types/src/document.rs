//! Documents: texts from outside that are read in parts, and cited.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{DocumentId, Owner, PassageId, Provenance};

named! {
    /// What a document's bytes are.
    DocumentFormat {
        /// Plain text in UTF-8.
        Text = "text",
        /// Markdown in UTF-8.
        Markdown = "markdown",
        /// A page of HTML.
        Html = "html",
        /// PDF.
        Pdf = "pdf",
    }
}

impl DocumentFormat {
    /// The media type of its bytes.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::Markdown => "text/markdown",
            Self::Html => "text/html",
            Self::Pdf => "application/pdf",
        }
    }

    /// The format of a media type, parameters left aside.
    #[must_use]
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "text/plain" => Some(Self::Text),
            "text/markdown" | "text/x-markdown" => Some(Self::Markdown),
            "text/html" | "application/xhtml+xml" => Some(Self::Html),
            "application/pdf" => Some(Self::Pdf),
            _ => None,
        }
    }

    /// The format that a file's name promises.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, ending) = name.rsplit_once('.')?;
        match ending.to_ascii_lowercase().as_str() {
            "txt" | "text" | "log" => Some(Self::Text),
            "md" | "markdown" => Some(Self::Markdown),
            "html" | "htm" | "xhtml" => Some(Self::Html),
            "pdf" => Some(Self::Pdf),
            _ => None,
        }
    }
}

named! {
    /// How far the reading of a document has come.
    DocumentStatus {
        /// Its newest bytes wait to be read, or are being read.
        Reading = "reading",
        /// Its newest bytes were read: what they say is found.
        Ready = "ready",
        /// Its newest bytes cannot be read; the document says why.
        Failed = "failed",
    }
}

/// The parts that can be read: all of one version, at no time a mixture of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentParts {
    /// The version whose parts they are. Older than the document's own while a newer one is being read, or if that could not be.
    pub version: u64,
    /// How many there are, numbered from 1.
    pub count: u32,
    /// Pages, where the format has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<u32>,
}

/// A document. Its bytes are kept beside it; what they say is in archival memory, a passage for each part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its id.
    pub id: DocumentId,
    /// Whose it is.
    pub owner: Owner,
    /// What it is called, and cited as. 1 to 200 characters.
    pub title: String,
    /// What its bytes are.
    pub format: DocumentFormat,
    /// Where it was fetched; `None` for what somebody uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    /// How many bytes it has.
    pub size: u64,
    /// How far its reading has come.
    pub status: DocumentStatus,
    /// Why its newest bytes cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What can be read of it; `None` = nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<DocumentParts>,
    /// Who brought it.
    pub provenance: Provenance,
    /// Counts its bytes, from 1: new bytes are a new version.
    pub version: u64,
    /// When it was first brought.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Document {
    /// Most characters of a title.
    pub const TITLE_CHARS: usize = 200;

    /// The passage that is a part: the same each time that a version is read.
    #[must_use]
    pub fn part_id(document: DocumentId, version: u64, number: u32) -> PassageId {
        PassageId::from_uuid(Uuid::new_v5(&document.uuid(), format!("{version}/{number}").as_bytes()))
    }

    /// The passages that can be read, first to last.
    pub fn part_ids(&self) -> impl Iterator<Item = PassageId> + use<> {
        let (document, parts) = (self.id, self.parts);
        parts.into_iter().flat_map(move |parts| (1..=parts.count).map(move |number| Self::part_id(document, parts.version, number)))
    }
}

/// Where in a document a passage stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The part's number, from 1.
    pub part: u32,
    /// The page, from 1, where there are pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// The headings that it stands under, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heading: Vec<String>,
    /// Its first character in the document's text.
    pub start: u64,
    /// The first character after it.
    pub end: u64,
}

/// The document that a passage is a part of, and where it stands there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Citation {
    /// The document.
    pub document: DocumentId,
    /// What it is called.
    pub title: String,
    /// Where in it.
    #[serde(flatten)]
    pub place: Place,
}

impl std::fmt::Display for Citation {
    /// As an answer cites it: `[Handbook, page 3]`, `[Handbook, Holidays > Notice]`, `[Handbook, part 2]`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}", self.title)?;
        match (self.place.page, self.place.heading.is_empty()) {
            (Some(page), _) => write!(f, ", page {page}]"),
            (None, false) => write!(f, ", {}]", self.place.heading.join(" > ")),
            (None, true) => write!(f, ", part {}]", self.place.part),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_citation_names_the_narrowest_place_that_a_reader_can_find() {
        let place = Place { part: 2, page: Some(3), heading: vec!["Holidays".into(), "Notice".into()], start: 0, end: 9 };
        let shown = |place: Place| Citation { document: DocumentId::new(), title: "Handbook".into(), place }.to_string();
        assert_eq!(shown(place.clone()), "[Handbook, page 3]");
        assert_eq!(shown(Place { page: None, ..place.clone() }), "[Handbook, Holidays > Notice]");
        assert_eq!(shown(Place { page: None, heading: Vec::new(), ..place }), "[Handbook, part 2]");
    }

    #[test]
    fn formats_are_told_by_media_type_and_by_name() {
        for format in DocumentFormat::ALL {
            assert_eq!(DocumentFormat::of_media_type(format.media_type()), Some(format));
        }
        assert_eq!(DocumentFormat::of_media_type("Text/HTML; charset=utf-8"), Some(DocumentFormat::Html));
        assert_eq!(DocumentFormat::of_name("Notes.MD"), Some(DocumentFormat::Markdown));
        assert_eq!((DocumentFormat::of_name("pdf"), DocumentFormat::of_name("a.exe")), (None, None));
    }
}
