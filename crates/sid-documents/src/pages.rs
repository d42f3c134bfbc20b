//! Pages of a PDF, as text.

use crate::error::Unreadable;
use crate::limits::Limits;
use crate::section::Section;

#[cfg(not(feature = "pdf"))]
pub(crate) fn pages(_: &[u8], _: &Limits) -> Result<(Vec<Section>, u32), Unreadable> {
    Err(Unreadable::Unsupported { format: "PDF".into() })
}

/// Sections, one a page with text on it, and how many pages there are.
#[cfg(feature = "pdf")]
pub(crate) fn pages(content: &[u8], limits: &Limits) -> Result<(Vec<Section>, u32), Unreadable> {
    use pdf_extract::Document;

    let broken = |problem: String| Unreadable::Broken { format: "PDF".into(), problem };
    let mut document = caught(|| Document::load_mem(content))
        .ok_or_else(|| broken("its structure is damaged".into()))?
        .map_err(|e| broken(e.to_string()))?;
    if document.is_encrypted() && caught(|| document.decrypt("")).is_none_or(|done| done.is_err()) {
        return Err(Unreadable::Encrypted);
    }
    let count = caught(|| document.get_pages().len()).ok_or_else(|| broken("its tree of pages is damaged".into()))?;
    if count > limits.pages as usize {
        return Err(Unreadable::TooLarge { what: "pages".into(), found: count as u64, limit: limits.pages.into() });
    }
    let (mut sections, mut start, mut damaged) = (Vec::new(), 0, 0);
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    for page in 1..=count {
        // One page that cannot be read keeps nobody from the others.
        let Some(text) = text_of(&document, page, limits) else {
            damaged += 1;
            continue;
        };
        let text = tidy(&text);
        let length = text.chars().count() as u64;
        if start + length > limits.characters {
            return Err(Unreadable::TooLarge { what: "characters".into(), found: start + length, limit: limits.characters });
        }
        if !text.is_empty() {
            sections.push(Section { page: Some(page), text: text + "\n", start, ..Section::default() });
            start += length + 1;
        }
    }
    if sections.is_empty() && damaged > 0 {
        return Err(broken("none of its pages can be read".into()));
    }
    Ok((sections, count))
}

/// The library was not written for hostile files: what it did not expect it panics at.
#[cfg(feature = "pdf")]
fn caught<T>(read: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).ok()
}

#[cfg(feature = "pdf")]
fn text_of(document: &pdf_extract::Document, page: u32, limits: &Limits) -> Option<String> {
    use pdf_extract::{PlainTextOutput, output_doc_page};

    caught(|| {
        let mut text = Bounded { text: Vec::new(), most: usize::try_from(limits.characters).unwrap_or(usize::MAX).saturating_mul(4) };
        let done = output_doc_page(document, &mut PlainTextOutput::new(&mut text as &mut dyn std::io::Write), page);
        done.is_ok().then(|| String::from_utf8_lossy(&text.text).into_owned())
    })
    .flatten()
}

/// Takes no more than it may: a page can draw the same form again and again.
#[cfg(feature = "pdf")]
struct Bounded {
    text: Vec<u8>,
    most: usize,
}

#[cfg(feature = "pdf")]
impl std::io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> std::io::Result<usize> {
        if self.text.len() + more.len() > self.most {
            return Err(std::io::Error::other("the page has too much text"));
        }
        self.text.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lines without white space around them, paragraphs with one empty line between them.
#[cfg(any(feature = "pdf", test))]
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.lines().map(str::trim) {
        if line.is_empty() {
            empty += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if empty > 0 { "\n\n" } else { "\n" });
        }
        empty = 0;
        out.extend(line.chars().filter(|c| !c.is_control()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_tidied() {
        assert_eq!(tidy("\n\n  One \nTwo\u{0}\n\n\n Three\n"), "One\nTwo\n\nThree");
        assert_eq!(tidy(" \n\t"), "");
    }
}
