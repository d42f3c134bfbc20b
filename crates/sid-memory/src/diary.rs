//! The diary: pages of days, weeks and months, and the morning's reading, which has a fixed size.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use sid_types::{ConversationId, DiaryEntry, DiaryLevel, Message, Seq, Source, Tokens};

use crate::summary::{SourceLine, SummaryTask, page_name};
use crate::text::{Count, cut_to, one_line};

/// How many of the newest days, weeks and months the prompt shows at most.
pub const DAYS_SHOWN: usize = 3;
/// See [`DAYS_SHOWN`].
pub const WEEKS_SHOWN: usize = 4;
/// See [`DAYS_SHOWN`].
pub const MONTHS_SHOWN: usize = 12;

/// Most tokens of a page of this level.
#[must_use]
pub const fn page_limit(level: DiaryLevel) -> Tokens {
    match level {
        DiaryLevel::Day => Tokens(160),
        DiaryLevel::Week => Tokens(200),
        DiaryLevel::Month => Tokens(240),
    }
}

/// The page of a day, from its messages in order of time (all conversations of one owner together).
#[must_use]
pub fn day_task(day: Date, messages: &[Message], zone: &TimeZone) -> SummaryTask {
    let sources = messages.iter().filter_map(|m| SourceLine::message(m, zone)).collect();
    SummaryTask::page(DiaryLevel::Day, day, sources, page_limit(DiaryLevel::Day))
}

/// The page of a week or a month, from pages of the level below: those of `entries` that lie in its period; others are left alone.
///
/// A week belongs to the month that it starts in. `None` when `level` is a day or nothing of the period was written.
#[must_use]
pub fn upper_task(level: DiaryLevel, start: Date, entries: &[DiaryEntry]) -> Option<SummaryTask> {
    let below = level.below()?;
    let end = level.end_of(start);
    let mut parts: Vec<&DiaryEntry> = entries.iter().filter(|e| e.level == below && start <= e.start && e.start < end).collect();
    parts.sort_by_key(|e| e.start);
    let sources: Vec<SourceLine> = parts.into_iter().map(SourceLine::page).collect();
    (!sources.is_empty()).then(|| SummaryTask::page(level, start, sources, page_limit(level)))
}

/// The dense ranges `(conversation, first, last)` that these messages make up, in order of conversation and place: what a day's page
/// keeps as its sources.
#[must_use]
pub fn message_ranges(messages: &[Message]) -> Vec<(ConversationId, Seq, Seq)> {
    let mut places: Vec<(ConversationId, Seq)> = messages.iter().map(|m| (m.conversation, m.seq)).collect();
    places.sort_unstable();
    places.dedup();
    let mut ranges: Vec<(ConversationId, Seq, Seq)> = Vec::new();
    for (conversation, seq) in places {
        match ranges.last_mut() {
            // Tool results and notes between two messages are no gap worth a range of its own, but a hole of unknown size is.
            Some((c, _, last)) if *c == conversation && last.next() == seq => *last = seq,
            _ => ranges.push((conversation, seq, seq)),
        }
    }
    ranges
}

/// The pages that the prompt shows, newest first: the last days, then weeks that began before the oldest of them, then months that
/// began before the oldest week.
///
/// The last *written* days, not the days before today: after a month of silence the reading is still the right one.
#[must_use]
pub fn pages_to_show(entries: &[DiaryEntry]) -> Vec<&DiaryEntry> {
    let newest = |level: DiaryLevel, before: Option<Date>, most: usize| {
        let mut pages: Vec<&DiaryEntry> =
            entries.iter().filter(|e| e.level == level && before.is_none_or(|b| e.start < b) && !e.text.trim().is_empty()).collect();
        pages.sort_by(|a, b| b.start.cmp(&a.start).then(a.id.cmp(&b.id)));
        pages.dedup_by_key(|e| e.start);
        pages.truncate(most);
        pages
    };
    let mut shown = newest(DiaryLevel::Day, None, DAYS_SHOWN);
    let oldest_day = shown.last().map(|e| e.start);
    let weeks = newest(DiaryLevel::Week, oldest_day, WEEKS_SHOWN);
    let before_months = weeks.last().map(|e| e.start).or(oldest_day);
    shown.extend(weeks);
    shown.extend(newest(DiaryLevel::Month, before_months, MONTHS_SHOWN));
    shown
}

/// The morning's reading: [`pages_to_show`] in at most `cap` tokens, one page a line, newest first.
///
/// Shape: `2025-03-10 Mon: …`, `week of 2025-03-03: …`, `2025-02: …`, with the mark of sources that are not trusted before the words; the dates are what `diary_read` takes to open the page or the
/// messages under it. Days may use half of the cap, weeks half of the rest, months what is left; what a page does not use goes on to
/// the next. Empty when there is nothing, or no room to tell anything. Pure.
#[must_use]
pub fn diary_segment(entries: &[DiaryEntry], cap: Tokens, count: &Count<'_>) -> String {
    let pages = pages_to_show(entries);
    let mut text = String::new();
    let mut used = Tokens(0);
    let mut level_end = Tokens(0);
    let mut level = None;
    let left_of = |l: DiaryLevel, from: usize| pages[from..].iter().filter(|p| p.level == l).count();
    for (n, page) in pages.iter().enumerate() {
        if level.replace(page.level) != Some(page.level) {
            let is_last = pages[n..].iter().all(|p| p.level == page.level);
            let free = cap.saturating_sub(used);
            level_end = if is_last { cap } else { used + free.share(1, 2) };
        }
        let share = Tokens(level_end.saturating_sub(used).0 / u32::try_from(left_of(page.level, n)).unwrap_or(1).max(1));
        // A page that is shown at all shows a sentence: in a small cap the newest one gets it.
        let share = share.max(Tokens(24)).min(cap.saturating_sub(used));
        let head = format!("{}: {}", page_name(page.level, page.start), Source::mark(&page.untrusted));
        // One for the line break, one for the mark of a cut.
        let room = share.saturating_sub(count(&head) + Tokens(2));
        let words = one_line(&page.text);
        let shown = cut_to(&words, room, count);
        // A date with three words after it is not worth its tokens.
        if shown.len() < words.len() && room < Tokens(8) {
            continue;
        }
        let mark = if shown.len() < words.len() { "…" } else { "" };
        let line = format!("{}{head}{shown}{mark}", if text.is_empty() { "" } else { "\n" });
        let size = count(&line);
        if used + size > cap || count(&format!("{text}{line}")) > cap {
            continue;
        }
        used += size;
        text.push_str(&line);
    }
    text
}
