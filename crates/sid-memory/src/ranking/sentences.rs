//! Where sentences end.

use std::ops::Range;

/// Words whose full stop ends no sentence.
const ABBREVIATIONS: [&str; 14] = ["mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "no", "vol", "fig", "approx"];

/// The sentences of a text: byte ranges in order, without the white space between them, none of them empty.
///
/// A sentence ends at a line break, or after `.`, `!`, `?` or their wide forms when white space follows. Everything that is not white
/// space lies in exactly one range.
#[must_use]
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let end = at + c.len_utf8();
        let next = chars.peek().map(|(_, n)| *n);
        let is_border = match c {
            '\n' | '\r' => true,
            '。' | '！' | '？' => true,
            '.' | '!' | '?' | '…' => next.is_none_or(char::is_whitespace) && !(c == '.' && is_abbreviation(&text[start..at])),
            _ => false,
        };
        if is_border {
            push_trimmed(text, start..end, &mut out);
            start = end;
        }
    }
    push_trimmed(text, start..text.len(), &mut out);
    out
}

/// A range without the white space at its ends; nothing is pushed if nothing is left.
fn push_trimmed(text: &str, range: Range<usize>, out: &mut Vec<Range<usize>>) {
    let piece = &text[range.clone()];
    let start = range.start + (piece.len() - piece.trim_start().len());
    let end = range.start + piece.trim_end().len();
    if start < end {
        out.push(start..end);
    }
}

fn is_abbreviation(before: &str) -> bool {
    let word = before.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    // A single capital is an initial, a number at the start of a line counts an item.
    let is_initial = word.len() == 1 && word.chars().all(|c| c.is_ascii_uppercase());
    let is_item = !word.is_empty() && word.len() <= 2 && word == before.trim() && word.bytes().all(|b| b.is_ascii_digit());
    is_initial || is_item || ABBREVIATIONS.iter().any(|a| word.eq_ignore_ascii_case(a))
}

/// The largest `n <= at` at which `text` may be cut.
pub(super) fn floor_border(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let found: Vec<&str> = sentences(text).into_iter().map(|r| &text[r]).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn table() {
        check("", &[]);
        check("  \n ", &[]);
        check("One", &["One"]);
        check("One. Two! Three?", &["One.", "Two!", "Three?"]);
        check("Version 0.6.2 is out. Get it", &["Version 0.6.2 is out.", "Get it"]);
        check("Dr. Who met J. Smith. Fine.", &["Dr. Who met J. Smith.", "Fine."]);
        check("a\n\n- b\n- c", &["a", "- b", "- c"]);
        check("1. First\n2. Second", &["1. First", "2. Second"]);
        check("Wait... what?!  Yes.", &["Wait...", "what?!", "Yes."]);
        check("猫です。犬です。", &["猫です。", "犬です。"]);
    }
}
