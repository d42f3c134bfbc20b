//! Text that has to fit somewhere: widths are columns of a terminal, not bytes.

use console::{AnsiCodeIterator, measure_text_width, truncate_str};

/// Columns that the text takes; colour codes take none.
#[must_use]
pub fn width(text: &str) -> usize {
    measure_text_width(text)
}

/// The text in at most `columns` columns, with `…` where something was cut.
#[must_use]
pub fn cut(text: &str, columns: usize) -> String {
    truncate_str(text, columns, "…").into_owned()
}

/// On one line: line breaks and runs of white space become single spaces, control characters go.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.split_whitespace().map(printable).collect::<Vec<_>>().join(" ")
}

/// Without control characters (other than line feeds and tabs), so that stored text cannot steer the terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// Broken between words into lines of at most `columns` columns. Longer words are broken inside. Line breaks of the text stay.
#[must_use]
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        let mut used = 0;
        for word in paragraph.split(' ') {
            let mut word = word.to_owned();
            let space = usize::from(!line.is_empty());
            if used + space + width(&word) > columns && !line.is_empty() {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            while width(&word) > columns {
                let head = prefix(&word, columns);
                if head.len() == word.len() {
                    break;
                }
                word.drain(..head.len());
                lines.push(head);
            }
            if !line.is_empty() {
                line.push(' ');
                used += 1;
            }
            used += width(&word);
            line.push_str(&word);
        }
        lines.push(line);
    }
    lines
}

/// The longest beginning that fits, at least one character.
fn prefix(text: &str, columns: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        out.push(c);
        if width(&out) > columns && out.chars().count() > 1 {
            out.pop();
            break;
        }
    }
    out
}

/// Padded with spaces on the right.
#[must_use]
pub fn left(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Padded with spaces on the left.
#[must_use]
pub fn right(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// `12345` as `12,345`.
#[must_use]
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Whether the text carries colour codes.
#[must_use]
pub fn has_colours(text: &str) -> bool {
    AnsiCodeIterator::new(text).any(|(_, is_code)| is_code)
}

/// A moment of the API (RFC 3339) in the local time zone, to the minute; the text itself when it is none.
#[must_use]
pub fn moment(at: &str) -> String {
    let Ok(at) = at.parse::<jiff::Timestamp>() else { return at.to_owned() };
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_counts_columns_not_bytes() {
        assert_eq!(cut("Straßenbahn", 6), "Straß…");
        assert_eq!(cut("日本語の文章", 7), "日本語…");
        assert_eq!(cut("short", 6), "short");
        assert_eq!(width("\x1b[31mred\x1b[0m"), 3);
    }

    #[test]
    fn stored_text_cannot_steer_the_terminal() {
        assert_eq!(one_line("a\n\n b\t\x1b[2Jc\u{7}"), "a b [2Jc");
        assert_eq!(printable("a\n\x1bb"), "a\nb");
    }

    #[test]
    fn wrapping_keeps_every_word() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a\n\nb", 7), ["a", "", "b"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("日本語", 1), ["日", "本", "語"]);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(8_192), "8,192");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
