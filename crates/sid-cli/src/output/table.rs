//! Tables: columns that align, and one that gives way when the terminal is narrow.

use super::Paint;
use super::text::{cut, left, one_line, right, width};

const GAP: &str = "  ";
/// A text column is never made narrower than this.
const LEAST: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Aligned left, never cut: ids and names that people copy.
    Name,
    /// Aligned right, never cut.
    Number,
    /// Aligned left, cut to the terminal's width.
    Text,
}

/// Rows under headings.
#[derive(Debug, Clone, Default)]
pub struct Table {
    columns: Vec<(String, Kind)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Without columns yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A column of ids or names.
    #[must_use]
    pub fn name(self, heading: &str) -> Self {
        self.column(heading, Kind::Name)
    }

    /// A column of numbers.
    #[must_use]
    pub fn number(self, heading: &str) -> Self {
        self.column(heading, Kind::Number)
    }

    /// A column of free text.
    #[must_use]
    pub fn text(self, heading: &str) -> Self {
        self.column(heading, Kind::Text)
    }

    fn column(mut self, heading: &str, kind: Kind) -> Self {
        self.columns.push((heading.to_owned(), kind));
        self
    }

    /// Adds a row; each cell becomes one line.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        for cell in &mut row {
            // Cells that the program painted are one line already; stored text is made so.
            if !super::text::has_colours(cell) && !cell.chars().all(|c| c == ' ' || !c.is_control() && !c.is_whitespace()) {
                *cell = one_line(cell);
            }
        }
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, at most `columns` wide where text columns can give way; `None` = nothing is cut.
    #[must_use]
    pub fn render(&self, columns: Option<usize>, paint: Paint) -> String {
        let widths = self.widths(columns);
        let mut out = String::new();
        let headings: Vec<String> = self.columns.iter().map(|(h, _)| h.clone()).collect();
        out.push_str(&paint.dim(&self.line(&headings, &widths)));
        out.push('\n');
        for row in &self.rows {
            out.push_str(&self.line(row, &widths));
            out.push('\n');
        }
        out
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut out = String::new();
        for (i, ((cell, (_, kind)), columns)) in cells.iter().zip(&self.columns).zip(widths).enumerate() {
            if i > 0 {
                out.push_str(GAP);
            }
            match kind {
                Kind::Number => out.push_str(&right(cell, *columns)),
                Kind::Name => out.push_str(&left(cell, *columns)),
                Kind::Text => out.push_str(&left(&cut(cell, *columns), *columns)),
            }
        }
        out.truncate(out.trim_end().len());
        out
    }

    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|(heading, _)| width(heading)).collect();
        for row in &self.rows {
            for (most, cell) in widths.iter_mut().zip(row) {
                *most = (*most).max(width(cell));
            }
        }
        let Some(limit) = limit else { return widths };
        let total = widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
        let mut too_much = total.saturating_sub(limit);
        // The widest text column gives way first, a column at a time, so that several end up alike.
        while too_much > 0 {
            let widest = (0..widths.len()).filter(|i| self.columns[*i].1 == Kind::Text && widths[*i] > LEAST).max_by_key(|i| widths[*i]);
            let Some(widest) = widest else { break };
            widths[widest] -= 1;
            too_much -= 1;
        }
        widths
    }
}

/// `name: value` lines about one thing.
#[must_use]
pub fn facts(facts: &[(&str, String)], paint: Paint) -> String {
    let columns = facts.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let mut out = String::new();
    for (name, value) in facts {
        let mut lines = value.lines();
        out.push_str(&format!("{}  {}\n", paint.dim(&left(name, columns)), lines.next().unwrap_or_default()));
        for line in lines {
            out.push_str(&format!("{}  {line}\n", " ".repeat(columns)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new().name("id").number("tokens").text("text");
        table.row(["msg_1", "12", "I keep the pickles\nin the cellar, behind the old stove"]);
        table.row(["msg_22", "1,024", "short"]);
        table
    }

    #[test]
    fn columns_align_and_numbers_stand_right() {
        let text = sample().render(None, Paint::plain());
        let expected = "\
id      tokens  text
msg_1       12  I keep the pickles in the cellar, behind the old stove
msg_22   1,024  short
";
        assert_eq!(text, expected);
    }

    #[test]
    fn text_gives_way_ids_never_do() {
        let text = sample().render(Some(40), Paint::plain());
        assert!(text.lines().all(|l| width(l) <= 40), "{text}");
        assert!(text.contains("msg_22") && text.contains("I keep the pickles in t…"), "{text}");
        let narrow = sample().render(Some(5), Paint::plain());
        assert!(narrow.contains("msg_22") && narrow.contains("I keep the …"), "{narrow}");
    }

    #[test]
    fn facts_of_several_lines_keep_their_column() {
        let text = facts(&[("name", "sid".into()), ("instructions", "Be brief.\nBe kind.".into())], Paint::plain());
        assert_eq!(text, "name          sid\ninstructions  Be brief.\n              Be kind.\n");
    }
}
