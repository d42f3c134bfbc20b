//! Which snippets go into the prompt's tail, and how they look there.

use std::collections::HashSet;

use jiff::tz::TimeZone;
use sid_types::Timestamp;

/// A piece of memory that may go into a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Snippet {
    /// When it was said.
    pub at: Timestamp,
    /// Breaks ties between snippets of the same moment: the place in the conversation.
    pub seq: u64,
    /// Who said it, or what it is: `user`, `assistant`, a name, `note`, `diary`.
    pub who: String,
    /// One line, such as [`render_excerpt`](super::render_excerpt) makes.
    pub text: String,
}

impl Snippet {
    /// `[2025-03-03 Mon] user: I love pickles.` The date stands before the text, so that a model reads it first.
    #[must_use]
    pub fn render(&self, zone: &TimeZone) -> String {
        let day = self.at.to_zoned(zone.clone()).strftime("%Y-%m-%d %a");
        format!("[{day}] {}: {}", self.who, self.text)
    }
}

/// What was chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecallPlan {
    /// Indices of the chosen snippets and their lines, oldest first, so that the newest value is read last.
    pub lines: Vec<(usize, String)>,
    /// What the lines count, each with its line break.
    pub tokens: u32,
}

impl RecallPlan {
    /// The lines as they stand in a prompt; empty if there are none.
    #[must_use]
    pub fn text(&self) -> String {
        let lines: Vec<&str> = self.lines.iter().map(|(_, line)| line.as_str()).collect();
        lines.join("\n")
    }
}

/// After so many snippets in a row that do not fit, nothing smaller is looked for.
const MOST_MISSES: usize = 8;

/// Chooses snippets, best first, while their lines fit into `budget` tokens; one that does not fit is passed over for smaller ones.
///
/// Shape: no line twice. Units: `count` counts tokens of a text; it is asked line by line, so that one that remembers has counted most of
/// them before. Pure.
///
/// ```
/// use sid_memory::ranking::{Snippet, plan_recall};
/// let said = |day: i64, text: &str| Snippet {
///     at: jiff::Timestamp::from_second(day * 86_400).unwrap(), seq: 0, who: "user".into(), text: text.into(),
/// };
/// let snippets = [said(9, "The code is 9020 now."), said(3, "The code is 4471.")];
/// let plan = plan_recall(&snippets, 100, &jiff::tz::TimeZone::UTC, |t| t.len() as u32 / 4 + 1);
/// assert_eq!(plan.text(), "[1970-01-04 Sun] user: The code is 4471.\n[1970-01-10 Sat] user: The code is 9020 now.");
/// ```
#[must_use]
pub fn plan_recall(snippets: &[Snippet], budget: u32, zone: &TimeZone, count: impl Fn(&str) -> u32) -> RecallPlan {
    let mut chosen: Vec<(usize, String)> = Vec::new();
    let mut seen: HashSet<String> = HashSet::new();
    let (mut used, mut misses) = (0_u32, 0);
    let line_break = count("\n");
    for (i, snippet) in snippets.iter().enumerate() {
        if snippet.text.trim().is_empty() {
            continue;
        }
        let line = snippet.render(zone);
        let cost = count(&line).saturating_add(line_break);
        if used.saturating_add(cost) > budget {
            misses += 1;
            if misses >= MOST_MISSES {
                break;
            }
            continue;
        }
        if seen.insert(line.clone()) {
            used += cost;
            misses = 0;
            chosen.push((i, line));
        }
    }
    chosen.sort_by_key(|(i, _)| (snippets[*i].at, snippets[*i].seq, *i));
    RecallPlan { lines: chosen, tokens: used }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snippet(second: i64, text: &str) -> Snippet {
        Snippet { at: Timestamp::from_second(second).expect("in range"), seq: 0, who: "user".into(), text: text.into() }
    }

    #[test]
    fn never_over_budget() {
        let snippets: Vec<Snippet> = (0..40).map(|i| snippet(i * 7_919 % 100_000, &"word ".repeat(1 + (i as usize * 37) % 60))).collect();
        let fair = |t: &str| t.len() as u32 / 4 + 1;
        for budget in 0..400 {
            let plan = plan_recall(&snippets, budget, &TimeZone::UTC, fair);
            assert!(plan.tokens <= budget && (plan.lines.is_empty() || fair(&plan.text()) <= budget));
        }
    }

    #[test]
    fn the_best_come_first_and_the_newest_stands_last() {
        let snippets = [snippet(500_000, "newest and best"), snippet(100_000, "oldest"), snippet(300_000, "middle")];
        let count = |t: &str| t.split_whitespace().count() as u32;
        let plan = plan_recall(&snippets, 11, &TimeZone::UTC, count);
        let chosen: Vec<usize> = plan.lines.iter().map(|(i, _)| *i).collect();
        assert_eq!(chosen, [1, 0], "the best two, in order of time");
    }

    #[test]
    fn what_does_not_fit_is_passed_over_and_nothing_comes_twice() {
        let long = "word ".repeat(100);
        let snippets = [snippet(1, &long), snippet(2, "short"), snippet(2, "short"), snippet(3, " ")];
        let plan = plan_recall(&snippets, 20, &TimeZone::UTC, |t| t.split_whitespace().count() as u32);
        assert_eq!(plan.lines.len(), 1);
        assert_eq!(plan.text(), "[1970-01-01 Thu] user: short");
    }
}
