//! The tail: the volatile end of the prompt, right before the stimulus.
//!
//! Time, gap, recalled snippets, changed blocks and memory pressure change every turn; standing last, they leave the prefix alone.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sid_memory::Count;
use sid_types::Tokens;

/// What the tail says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    /// The present moment in the user's zone and the gap since the last message.
    pub clock: String,
    /// Recalled snippets, each with its date, oldest first.
    pub recalled: Vec<String>,
    /// Blocks whose value is not the one in the prefix any more: `(label, value)`.
    pub changed_blocks: Vec<(String, String)>,
    /// Tasks that wait for an answer, a line each.
    pub tasks: Vec<String>,
    /// Memory pressure, in words for the model.
    pub warning: Option<String>,
}

impl Tail {
    /// The text as the model sees it.
    #[must_use]
    pub fn render(&self) -> String {
        self.lines().join("\n")
    }

    /// Cuts each changed block's value to so many bytes.
    pub(crate) fn cut_blocks(&mut self, most: usize) {
        for (_, value) in self.changed_blocks.iter_mut().filter(|(_, value)| value.len() > most) {
            value.truncate(value.floor_char_boundary(most));
            value.push_str(" (cut: too long for this window)");
        }
    }

    /// Its size, counted line by line: most of the recalled lines have been counted before.
    #[must_use]
    pub fn tokens(&self, count: &Count<'_>) -> Tokens {
        let line_break = count("\n");
        self.lines().iter().map(|line| count(line) + line_break).sum()
    }

    fn lines(&self) -> Vec<Cow<'_, str>> {
        let mut lines: Vec<Cow<'_, str>> = vec!["<context>".into(), self.clock.as_str().into()];
        if !self.changed_blocks.is_empty() {
            lines.push("Core memory has changed:".into());
            lines.extend(self.changed_blocks.iter().map(|(label, value)| format!("<{label}>\n{value}\n</{label}>").into()));
        }
        if !self.recalled.is_empty() {
            lines.push("From your memory (oldest first; newer facts replace older ones):".into());
            lines.extend(self.recalled.iter().map(|snippet| snippet.as_str().into()));
        }
        if !self.tasks.is_empty() {
            lines.push("Tasks that wait for an answer (answer_task passes it on):".into());
            lines.extend(self.tasks.iter().map(|task| task.as_str().into()));
        }
        lines.extend(self.warning.iter().map(|warning| warning.as_str().into()));
        lines.push("</context>".into());
        lines
    }
}

/// The clock's line: weekday, date and time in the user's zone, and how long the user was away.
#[must_use]
pub fn clock_line(now: Timestamp, timezone: Option<&str>, last_contact: Option<Timestamp>) -> String {
    let zone_name = timezone.unwrap_or("UTC");
    let zone = TimeZone::get(zone_name).unwrap_or(TimeZone::UTC);
    let shown = now.to_zoned(zone).strftime("%A, %Y-%m-%d %H:%M").to_string();
    let mut line = format!("It is {shown} ({zone_name}).");
    if let Some(gap) = last_contact.map(|then| now.duration_since(then)).and_then(gap_words) {
        let _ = write!(line, " The user last wrote {gap} ago.");
    }
    line
}

/// Words for a gap of at least an hour.
fn gap_words(gap: SignedDuration) -> Option<String> {
    let hours = gap.as_hours();
    let plural = |n: i64, unit: &str| format!("{n} {unit}{}", if n == 1 { "" } else { "s" });
    match hours {
        ..1 => None,
        1..48 => Some(plural(hours, "hour")),
        48..1_440 => Some(plural(hours / 24, "day")),
        1_440..17_520 => Some(plural(hours / 730, "month")),
        _ => Some(plural(hours / 8_760, "year")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(now: &str, last: Option<&str>, zone: Option<&str>, expected: &str) {
        let at = |s: &str| s.parse::<Timestamp>().expect("a timestamp");
        assert_eq!(clock_line(at(now), zone, last.map(at)), expected);
    }

    #[test]
    fn clock_lines() {
        check("2025-05-20T09:00:00Z", None, None, "It is Tuesday, 2025-05-20 09:00 (UTC).");
        check(
            "2025-05-20T09:00:00Z",
            Some("2025-05-20T08:30:00Z"),
            Some("Europe/Berlin"),
            "It is Tuesday, 2025-05-20 11:00 (Europe/Berlin).",
        );
        check(
            "2025-05-20T09:00:00Z",
            Some("2025-05-11T09:00:00Z"),
            None,
            "It is Tuesday, 2025-05-20 09:00 (UTC). The user last wrote 9 days ago.",
        );
        check(
            "2025-05-20T09:00:00Z",
            Some("2025-02-11T09:00:00Z"),
            None,
            "It is Tuesday, 2025-05-20 09:00 (UTC). The user last wrote 3 months ago.",
        );
        check("2025-05-20T09:00:00Z", Some("2025-05-21T09:00:00Z"), Some("Not/AZone"), "It is Tuesday, 2025-05-20 09:00 (Not/AZone).");
    }
}
