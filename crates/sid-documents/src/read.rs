//! From bytes to parts.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sid_types::{DocumentFormat, Place};

use crate::error::Unreadable;
use crate::html;
use crate::limits::Limits;
use crate::markdown::sections;
use crate::pages::pages;
use crate::parts::parts;
use crate::section::Section;

/// SHA-256 of a document's bytes, in hexadecimal.
#[must_use]
pub fn digest(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// A piece of a document's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Where it stands.
    pub place: Place,
    /// The text, without white space around it; never empty.
    pub text: String,
}

/// What a document says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadDocument {
    /// First to last; at least one.
    pub parts: Vec<Part>,
    /// Pages, where the format has any.
    pub pages: Option<u32>,
}

/// Reads a document, in this thread, until it is done: see [`DocumentReader`](crate::DocumentReader) for files of strangers.
///
/// Errors: [`Unreadable`].
pub fn read(format: DocumentFormat, content: &[u8], limits: &Limits) -> Result<ReadDocument, Unreadable> {
    if content.len() as u64 > limits.bytes {
        return Err(Unreadable::TooLarge { what: "bytes".into(), found: content.len() as u64, limit: limits.bytes });
    }
    let (found, pages) = match format {
        DocumentFormat::Text => {
            let text = text_of(content)?;
            (vec![Section { text, ..Section::default() }], None)
        }
        DocumentFormat::Markdown => (sections(&text_of(content)?), None),
        // Headings are laid out as Markdown writes them.
        DocumentFormat::Html => (sections(&html::whole(content)?), None),
        DocumentFormat::Pdf => {
            let (found, count) = pages(content, limits)?;
            (found, Some(count))
        }
    };
    let characters: u64 = found.iter().map(|section| section.text.chars().count() as u64).sum();
    if characters > limits.characters {
        return Err(Unreadable::TooLarge { what: "characters".into(), found: characters, limit: limits.characters });
    }
    let parts = parts(found, limits.part_characters);
    match parts.len() {
        0 => Err(Unreadable::NoText),
        found if found > limits.parts as usize => {
            Err(Unreadable::TooLarge { what: "parts, one a heading at least".into(), found: found as u64, limit: limits.parts.into() })
        }
        _ => Ok(ReadDocument { parts, pages }),
    }
}

/// The bytes as text, lines ended by `\n`, without marks that no reader sees.
fn text_of(content: &[u8]) -> Result<String, Unreadable> {
    let text = std::str::from_utf8(content).map_err(|e| Unreadable::NotUtf8 { at: e.valid_up_to() })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    Ok(text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(format: DocumentFormat, content: &[u8]) -> Result<Vec<String>, Unreadable> {
        Ok(read(format, content, &Limits::default())?.parts.into_iter().map(|part| part.text).collect())
    }

    #[test]
    fn text_is_read_as_it_is() {
        assert_eq!(said(DocumentFormat::Text, "\u{feff}# no heading\r\nGrüße".as_bytes()), Ok(vec!["# no heading\nGrüße".into()]));
        assert_eq!(said(DocumentFormat::Text, b"ab\xff"), Err(Unreadable::NotUtf8 { at: 2 }));
        assert_eq!(said(DocumentFormat::Markdown, b" \n\t"), Err(Unreadable::NoText));
    }

    #[test]
    fn html_has_its_headings() {
        let page = "<html><body><nav>Menu</nav><h1>Handbook</h1><p>Be kind.</p><h2>Holidays</h2><ul><li>Thirty days</ul></body></html>";
        let read = read(DocumentFormat::Html, page.as_bytes(), &Limits::default()).expect("a page");
        let shown: Vec<(String, &str)> = read.parts.iter().map(|p| (p.place.heading.join(">"), p.text.as_str())).collect();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert_eq!(shown[0].0, "Handbook");
        assert_eq!(shown[1].0, "Handbook>Holidays");
        assert!(shown[1].1.contains("Thirty days") && !shown.iter().any(|(_, text)| text.contains("Menu")));
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let limits = Limits { bytes: 10, characters: 5, ..Limits::default() };
        let error = |content: &[u8]| read(DocumentFormat::Text, content, &limits).expect_err("too large").to_string();
        assert_eq!(error(b"01234567890"), "it has 11 bytes, and 10 are the most: split it");
        assert_eq!(error(b"0123456789"), "it has 10 characters, and 5 are the most: split it");
    }

    #[test]
    fn headings_without_end_are_refused() {
        let limits = Limits { parts: 3, ..Limits::default() };
        let text = |count: usize| "# A\nx\n".repeat(count);
        assert_eq!(read(DocumentFormat::Markdown, text(3).as_bytes(), &limits).map(|read| read.parts.len()), Ok(3));
        let error = read(DocumentFormat::Markdown, text(4).as_bytes(), &limits).expect_err("too many");
        assert_eq!(error.to_string(), "it has 4 parts, one a heading at least, and 3 are the most: split it");
    }

    #[test]
    fn a_page_that_nests_without_end_is_refused() {
        assert_eq!(said(DocumentFormat::Html, "<div>".repeat(5_000).as_bytes()), Err(Unreadable::TooDeep));
    }
}
