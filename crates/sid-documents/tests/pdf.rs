//! PDFs: text with its pages.

mod support;

use sid_documents::{Limits, ReadDocument, Unreadable, read};
use sid_types::DocumentFormat;
use support::of_pages;

fn pdf(content: &[u8]) -> Result<ReadDocument, Unreadable> {
    read(DocumentFormat::Pdf, content, &Limits::default())
}

#[test]
fn each_part_knows_its_page() {
    let read = pdf(&of_pages(&["Be kind to each other.", "", "Thirty days of holidays.\nThey end in March."])).expect("a PDF");
    assert_eq!(read.pages, Some(3));
    let shown: Vec<(Option<u32>, &str)> = read.parts.iter().map(|p| (p.place.page, p.text.as_str())).collect();
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert_eq!(shown[0], (Some(1), "Be kind to each other."));
    assert_eq!(shown[1].0, Some(3));
    assert!(shown[1].1.contains("Thirty days") && shown[1].1.contains("March"), "{shown:?}");
    assert_eq!(read.parts[1].place.start, 23, "after the first page and a line's end");
}

#[test]
fn a_sentence_over_two_pages_is_two_parts() {
    let read = pdf(&of_pages(&["The pickle jar stands in", "the cellar behind the door."])).expect("a PDF");
    let shown: Vec<_> = read.parts.iter().map(|p| (p.place.part, p.place.page, p.text.as_str())).collect();
    assert_eq!(shown, [(1, Some(1), "The pickle jar stands in"), (2, Some(2), "the cellar behind the door.")]);
}

#[test]
fn a_long_page_is_cut_into_parts_of_that_page() {
    let lines: Vec<String> = (0..90).map(|n| format!("Line {n} of a long page about cucumbers and dill.")).collect();
    let read = pdf(&of_pages(&[&lines.join("\n"), "End."])).expect("a PDF");
    let pages: Vec<Option<u32>> = read.parts.iter().map(|p| p.place.page).collect();
    assert!(pages.len() > 3 && pages[..pages.len() - 1].iter().all(|p| *p == Some(1)) && pages.last() == Some(&Some(2)), "{pages:?}");
}

#[test]
fn what_is_no_pdf_says_so() {
    for content in [&b"%PDF-1.4\ngarbage"[..], b"hello", b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<< /Root 9 0 R >>\n%%EOF"] {
        let error = pdf(content).expect_err("no PDF");
        assert!(matches!(error, Unreadable::Broken { .. } | Unreadable::NoText), "{error:?}");
    }
    assert_eq!(pdf(&of_pages(&["", ""])), Err(Unreadable::NoText), "a scan");
}

#[test]
fn pages_have_a_limit() {
    let limits = Limits { pages: 1, ..Limits::default() };
    let error = read(DocumentFormat::Pdf, &of_pages(&["one", "two"]), &limits).expect_err("too many");
    assert_eq!(error.to_string(), "it has 2 pages, and 1 are the most: split it");
}
