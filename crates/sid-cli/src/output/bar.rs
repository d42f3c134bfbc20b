//! Bars of block characters, an eighth of a column fine.

use super::Paint;

const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// A bar of `columns` columns of which `part / whole` is filled. Something that is not nothing shows at least an eighth.
#[must_use]
pub fn bar(part: u64, whole: u64, columns: usize) -> String {
    let eighths = (columns * 8) as u64;
    let mut filled = (part.min(whole) * eighths + whole / 2).checked_div(whole).unwrap_or(0);
    if part > 0 && filled == 0 {
        filled = 1;
    }
    let full = (filled / 8) as usize;
    let mut out = "█".repeat(full);
    if full < columns {
        out.push(EIGHTHS[(filled % 8) as usize]);
        out.push_str(&" ".repeat(columns - full - 1));
    }
    out
}

/// One bar of several parts, each in its own colour and, without colours, its own letter. What is left of `whole` is dots.
///
/// Every part that is not nothing gets at least one column while there are enough; the parts never overrun the bar.
#[must_use]
pub fn stacked(parts: &[(usize, char, u64)], whole: u64, columns: usize, paint: Paint) -> String {
    let sum: u64 = parts.iter().map(|(_, _, n)| n).sum();
    let whole = whole.max(sum).max(1);
    let mut out = String::new();
    let mut used = 0;
    let mut before = 0;
    for (number, letter, amount) in parts {
        before += amount;
        // Rounded at the end of each part, so that errors do not add up.
        let end = ((before * columns as u64 + whole / 2) / whole) as usize;
        let cells = end.saturating_sub(used).max(usize::from(*amount > 0)).min(columns - used);
        let text = if paint.is_on() { "█".repeat(cells) } else { letter.to_string().repeat(cells) };
        out.push_str(&paint.part(*number, &text));
        used += cells;
    }
    out.push_str(&paint.dim(&"·".repeat(columns - used)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::text::width;

    #[test]
    fn bars_are_scaled_in_eighths() {
        let check = |part, whole, expected: &str| assert_eq!(bar(part, whole, 4), expected, "{part}/{whole}");
        check(0, 100, "    ");
        check(50, 100, "██  ");
        check(100, 100, "████");
        check(500, 100, "████");
        check(1, 100_000, "▏   ");
        check(3, 32, "▍   ");
        check(31, 32, "███▉");
        check(5, 0, "▏   ");
    }

    #[test]
    fn stacked_parts_fill_exactly_the_bar() {
        let plain = |parts: &[(usize, char, u64)], whole| stacked(parts, whole, 20, Paint::plain());
        assert_eq!(plain(&[(0, 'i', 25), (1, 'q', 50)], 100), "iiiiiqqqqqqqqqq·····");
        assert_eq!(plain(&[(0, 'i', 1), (1, 'q', 1_000)], 1_000_000), "iq··················");
        assert_eq!(plain(&[(0, 'i', 70), (1, 'q', 70)], 100), "iiiiiiiiiiqqqqqqqqqq");
        for n in 0..200 {
            let text = plain(&[(0, 'a', n), (1, 'b', n * n), (2, 'c', 3)], 5_000);
            assert_eq!(width(&text), 20, "{n}: {text}");
        }
    }
}
