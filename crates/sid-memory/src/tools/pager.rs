//! Pages of results that always fit.

pub(super) use sid_tools::most_tokens as count;
use sid_types::{MessageId, Tokens};

use crate::text::cut_to;

/// One result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// What is shown, in one line.
    pub(super) text: String,
    /// What is shown where the line has to be cut: how to read the rest. May be empty.
    pub(super) whole_at: String,
    /// The messages that it quotes.
    pub(super) quotes: Vec<MessageId>,
}

/// One page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Header and rows.
    pub(super) text: String,
    /// The messages that it quotes.
    pub(super) quotes: Vec<MessageId>,
}

/// Most rows on a page: more than a small model reads.
const ROWS: usize = 12;

/// Lays rows out in pages and answers page `number` (from 1), with a header when there is more than one page.
///
/// Shape: never more than `budget` tokens. Rows are never lost between pages; one that is larger than half of a page is cut and says
/// where the whole is. A number past the end gives a text that says how many pages there are.
pub(super) fn page(what: &str, rows: &[Row], number: usize, budget: Tokens) -> Page {
    // Room for the header on each page, whatever it is.
    let header = |n: usize, of: usize| format!("{what}: {} results, page {n} of {of}.", rows.len());
    let header_size = count(&header(9_999, 9_999)) + Tokens(1);
    let has_header = header_size.0 * 2 <= budget.0;
    let room = if has_header { budget.saturating_sub(header_size) } else { budget };
    let most = Tokens(room.0 / 2).max(room.saturating_sub(Tokens(60)).min(Tokens(16))).max(Tokens(1));

    let mut pages: Vec<Vec<(String, &Row)>> = vec![Vec::new()];
    let mut used = Tokens(0);
    for row in rows {
        let shown = cut_row(row, most);
        // One for the line break.
        let size = count(&shown) + Tokens(1);
        let last = pages.last().map_or(0, Vec::len);
        if last > 0 && (used + size > room || last >= ROWS) {
            pages.push(Vec::new());
            used = Tokens(0);
        }
        used += size;
        if let Some(page) = pages.last_mut() {
            page.push((shown, row));
        }
    }
    let of = pages.len();
    let Some(shown) = pages.get(number - 1) else {
        return Page { text: cut_to(&format!("There are only {of} pages."), budget, &count).to_owned(), quotes: Vec::new() };
    };
    let mut lines: Vec<&str> = Vec::new();
    let head = header(number, of);
    if has_header && of > 1 {
        lines.push(&head);
    }
    lines.extend(shown.iter().map(|(text, _)| text.as_str()));
    let text = lines.join("\n");
    // The sizes of lines do not add up exactly with every counter; the promise is the whole.
    let text = cut_to(&text, budget, &count).to_owned();
    Page { text, quotes: shown.iter().flat_map(|(_, row)| row.quotes.iter().copied()).collect() }
}

fn cut_row(row: &Row, most: Tokens) -> String {
    if count(&row.text) <= most {
        return row.text.clone();
    }
    for mark in [row.whole_at.as_str(), ""] {
        let mark = format!("…{mark}");
        let room = most.saturating_sub(count(&mark) + Tokens(1));
        if room.0 >= 8 || mark == "…" {
            return format!("{}{mark}", cut_to(&row.text, room, &count));
        }
    }
    String::new()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(texts: &[String]) -> Vec<Row> {
        texts.iter().map(|text| Row { text: text.clone(), whole_at: " (whole: \"#7\")".into(), quotes: vec![MessageId::new()] }).collect()
    }

    /// What is wrong with the pages of `rows`, read one after the other until there is none.
    fn problems(lay_out: impl Fn(&[Row], usize, Tokens) -> Page, texts: &[String], budget: Tokens) -> Vec<String> {
        let rows = rows(texts);
        let mut seen = 0;
        for number in 1..=rows.len() + 1 {
            let page = lay_out(&rows, number, budget);
            let size = sid_llm::TokenCounter::count(&sid_llm::ByteCounter, &page.text);
            if size > budget {
                return vec![format!("page {number} has {size} of {budget} tokens")];
            }
            if page.text.is_empty() && !rows.is_empty() && budget.0 > 2 {
                return vec![format!("page {number} is empty")];
            }
            let expected: Vec<MessageId> = rows[seen.min(rows.len())..].iter().take(page.quotes.len()).map(|r| r.quotes[0]).collect();
            if expected != page.quotes {
                return vec![format!("page {number} does not go on where the one before ended")];
            }
            seen += page.quotes.len();
            if page.quotes.is_empty() {
                break;
            }
        }
        if seen == rows.len() { Vec::new() } else { vec![format!("{seen} of {} rows were shown", rows.len())] }
    }

    proptest! {
        #[test]
        fn pages_fit_and_lose_nothing(texts in proptest::collection::vec("[a-z é漢]{1,300}", 0..40), budget in 3_u32..400) {
            prop_assert_eq!(problems(|rows, n, b| page("x", rows, n, b), &texts, Tokens(budget)), Vec::<String>::new());
        }
    }

    #[test]
    fn fails_on_planted_bug() {
        let texts: Vec<String> = (0..30).map(|n| format!("result number {n} {}", "word ".repeat(n))).collect();
        assert!(problems(|rows, n, b| page("x", rows, n, b), &texts, Tokens(100)).is_empty());
        // A pager that forgets the header's room.
        let too_large = |rows: &[Row], n: usize, b: Tokens| {
            let mut p = page("x", rows, n, b);
            p.text = format!("A long header that nobody has reserved any room for at all, page {n}\n{}{}", p.text, "x".repeat(200));
            p
        };
        assert!(!problems(too_large, &texts, Tokens(100)).is_empty());
        // One that skips a row between two pages.
        let skips = |rows: &[Row], n: usize, b: Tokens| {
            let mut p = page("x", rows, n, b);
            if n == 2 {
                p.quotes.remove(0);
            }
            p
        };
        assert!(!problems(skips, &texts, Tokens(100)).is_empty());
    }

    #[test]
    fn a_page_past_the_end_says_so() {
        let rows = rows(&["one".into(), "two".into()]);
        assert_eq!(page("x", &rows, 5, Tokens(100)).text, "There are only 1 pages.");
    }
}
