//! HTML as text, within bounds.
//!
//! Parsing and laying out a page take the square of its depth: a megabyte of `<div>` would keep a thread busy for an hour.

use std::io::Read;
use std::time::{Duration, Instant};

use html2text::{Element, Handle, config};

use crate::error::Unreadable;

/// Characters of a line. Wide, so that lines are as the page has them.
const WIDTH: usize = 400;
/// Elements in each other. Pages have tens; browsers stop at 512.
const DEEPEST: usize = 128;
/// Bytes of a page that are read: laid out, each line carries the indents of all that it stands in.
const MOST_BYTES: usize = 1_000_000;
/// For parsing alone. A page of [`MOST_BYTES`] takes a fraction of it.
const PARSING: Duration = Duration::from_secs(2);

/// Gives bytes until the time is up.
struct Hurried<'a> {
    bytes: &'a [u8],
    until: Instant,
}

impl Read for Hurried<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if Instant::now() > self.until {
            return Err(std::io::Error::other("parsing takes too long"));
        }
        self.bytes.read(into)
    }
}

/// What stands around the subject, on every page of a site.
const AROUND: [&str; 3] = ["nav", "footer", "aside"];

/// Where a page says what its subject is (`main`, or one `article`), that alone is left; what stands around it goes in any case.
fn keep_the_subject(document: &Handle) {
    let is = |node: &Handle, names: &[&str]| matches!(&node.data, Element { name, .. } if names.contains(&&*name.local));
    let all = |names: &[&str]| {
        let (mut found, mut open) = (Vec::new(), vec![document.clone()]);
        while let Some(node) = open.pop() {
            if is(&node, names) {
                found.push(node.clone());
            }
            open.extend(node.children.borrow().iter().cloned());
        }
        found
    };
    let mains = all(&["main"]);
    let subjects = if mains.is_empty() { all(&["article"]) } else { mains };
    if let ([subject], [body]) = (&subjects[..], &all(&["body"])[..]) {
        *body.children.borrow_mut() = vec![subject.clone()];
    }
    let mut open = vec![document.clone()];
    while let Some(node) = open.pop() {
        node.children.borrow_mut().retain(|child| !is(child, &AROUND));
        open.extend(node.children.borrow().iter().cloned());
    }
}

/// The text of a page with its links, of its first megabyte.
///
/// Errors: `TooDeep`, `Broken`.
pub fn text_of(page: &[u8]) -> Result<String, Unreadable> {
    whole(&page[..page.len().min(MOST_BYTES)])
}

/// The text of all of a page, or none.
///
/// Errors: `TooDeep`, `Broken`.
pub(crate) fn whole(page: &[u8]) -> Result<String, Unreadable> {
    let broken = || Unreadable::Broken { format: "HTML".into(), problem: "it cannot be laid out".into() };
    let layout = config::plain().allow_width_overflow();
    let dom = layout.parse_html(Hurried { bytes: page, until: Instant::now() + PARSING }).map_err(|_| Unreadable::TooDeep)?;
    if is_deeper(&dom.document, DEEPEST) {
        return Err(Unreadable::TooDeep);
    }
    keep_the_subject(&dom.document);
    let tree = layout.dom_to_render_tree(&dom).map_err(|_| broken())?;
    let text = layout.render_to_string(tree, WIDTH).map_err(|_| broken())?;
    Ok(text.trim().to_owned())
}

fn is_deeper(document: &Handle, most: usize) -> bool {
    let mut open = vec![(document.clone(), 0)];
    while let Some((node, depth)) = open.pop() {
        if depth > most {
            return true;
        }
        open.extend(node.children.borrow().iter().map(|child| (child.clone(), depth + 1)));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_nest_without_end_are_refused() {
        for tag in ["<div>", "<ul><li>", "<b><i><div>", "<blockquote>", "<dl><dt>", "<a href=x><div>", "<div><table></div></table>"] {
            for count in [200, 1_000] {
                let page = tag.repeat(count) + "bottom";
                assert_eq!(text_of(page.as_bytes()), Err(Unreadable::TooDeep), "{count} of {tag}");
            }
        }
    }

    #[test]
    fn the_subject_is_read_and_not_what_stands_around_it() {
        let page = "<body><nav>Menu</nav><header>Shop</header><main><h1>Pickles</h1><aside>Ads</aside><p>Three a day.</main><footer>Imprint</footer>";
        let text = text_of(page.as_bytes()).expect("a page");
        assert!(text.contains("Pickles") && text.contains("Three a day."), "{text}");
        for around in ["Menu", "Shop", "Ads", "Imprint"] {
            assert!(!text.contains(around), "{around}: {text}");
        }
        let one = text_of(b"<body><header>Shop</header><article>Pickles</article>").expect("a page");
        assert!(one.contains("Pickles") && !one.contains("Shop"), "{one}");
        let many = text_of(b"<body><header>News</header><article>One</article><article>Two</article>").expect("a page");
        assert!(["News", "One", "Two"].iter().all(|part| many.contains(part)), "a list is the subject itself: {many}");
    }

    #[test]
    fn a_page_that_takes_too_long_to_parse_is_refused() {
        let late = Hurried { bytes: b"<p>text", until: Instant::now().checked_sub(Duration::from_secs(1)).expect("a past") };
        assert!(config::plain().parse_html(late).is_err());
    }

    #[test]
    fn pages_as_deep_as_pages_are_can_be_read() {
        for tag in ["<div>", "<ul><li>", "<blockquote>", "<b><i>", "<table><tr><td>"] {
            let page = tag.repeat(25) + "bottom";
            assert!(text_of(page.as_bytes()).expect("a page").contains("bottom"), "{tag}");
        }
        let long = "<p>A paragraph without an end, and a list:<ul><li>one<li>two</ul>".repeat(2_000);
        assert!(text_of(long.as_bytes()).expect("a page").contains("* two"));
    }
}
