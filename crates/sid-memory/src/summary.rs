//! Summaries: what to ask of a model, in pieces that its window holds, and the floor that needs no model.

use async_trait::async_trait;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use sid_types::{DiaryEntry, DiaryLevel, Message, Role, Seq, Tokens};

use crate::Item;
use crate::render;
use crate::text::{Count, cut_to, first_words, one_line};

/// What a summary is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SummaryKind {
    /// What left a conversation's queue.
    Queue,
    /// One page of the diary.
    Page {
        /// How much time it tells of.
        level: DiaryLevel,
        /// The first day of it.
        start: Date,
    },
}

/// One thing that a summary is made from: a message, or a diary page of the level below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLine {
    date: Date,
    seq: Option<Seq>,
    is_user: bool,
    /// What floors quote: the words alone, in one line.
    words: String,
    /// What a model reads: one line with date and speaker.
    line: String,
}

impl SourceLine {
    /// A message of the queue; `None` when it says nothing.
    #[must_use]
    pub fn item(item: &Item, zone: &TimeZone) -> Option<Self> {
        let line = render::transcript_line(&item.body, item.speaker.as_deref(), item.at, zone);
        (!line.is_empty()).then(|| Self {
            date: item.at.to_zoned(zone.clone()).date(),
            seq: Some(item.seq),
            is_user: item.body.role() == Role::User,
            words: one_line(item.body.text()),
            line,
        })
    }

    /// A stored message; `None` when it says nothing.
    #[must_use]
    pub fn message(message: &Message, zone: &TimeZone) -> Option<Self> {
        Self::item(&Item::from(message), zone)
    }

    /// A page of the diary.
    #[must_use]
    pub fn page(entry: &DiaryEntry) -> Self {
        let words = one_line(&entry.text);
        Self { date: entry.start, seq: None, is_user: false, line: format!("[{}] {words}", page_name(entry.level, entry.start)), words }
    }

    /// What a model reads.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.line
    }
}

/// How a page is called in texts: `2025-03-10 Mon`, `week of 2025-03-10`, `2025-03`.
#[must_use]
pub fn page_name(level: DiaryLevel, start: Date) -> String {
    match level {
        DiaryLevel::Day => render::date(start),
        DiaryLevel::Week => format!("week of {start}"),
        DiaryLevel::Month => start.strftime("%Y-%m").to_string(),
    }
}

/// A summary to be written: what there is, what comes in, and how long the result may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryTask {
    /// What it is of.
    pub kind: SummaryKind,
    /// The present text; empty when there is none. Pages are written from nothing.
    pub old: String,
    /// What comes in, oldest first.
    pub sources: Vec<SourceLine>,
    /// Most tokens of the result.
    pub limit: Tokens,
}

/// One request to a summarising model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryPrompt {
    /// Instructions; they contain the word "Summarize", by which such requests are told from an agent's own.
    pub system: String,
    /// Old text and sources.
    pub user: String,
}

impl SummaryTask {
    /// The recursive summary after `evicted` (oldest first) has left the queue.
    #[must_use]
    pub fn queue(old: &str, evicted: &[Item], limit: Tokens, zone: &TimeZone) -> Self {
        let sources = evicted.iter().filter_map(|item| SourceLine::item(item, zone)).collect();
        Self { kind: SummaryKind::Queue, old: old.to_owned(), sources, limit }
    }

    /// A page of the diary. Days are made from messages, weeks from days, months from weeks; `sources` in order of time.
    #[must_use]
    pub fn page(level: DiaryLevel, start: Date, sources: Vec<SourceLine>, limit: Tokens) -> Self {
        Self { kind: SummaryKind::Page { level, start }, old: String::new(), sources, limit }
    }

    /// The sources in pieces of at most `room` tokens each, in order. Nothing is lost: a line that is too long is split.
    #[must_use]
    pub fn chunks(&self, room: Tokens, count: &Count<'_>) -> Vec<String> {
        let room = room.max(Tokens(16));
        let mut chunks: Vec<String> = Vec::new();
        let (mut chunk, mut used) = (String::new(), Tokens(0));
        for source in &self.sources {
            let mut rest = source.line.as_str();
            while !rest.is_empty() {
                let piece = cut_to(rest, room, count);
                // A counter may refuse even a single character; then it is dropped rather than looped on.
                let piece = if piece.is_empty() { &rest[..rest.ceil_char_boundary(1)] } else { piece };
                // One for the line break.
                let size = count(piece) + Tokens(1);
                if used + size > room && !chunk.is_empty() {
                    chunks.push(std::mem::take(&mut chunk));
                    used = Tokens(0);
                }
                if !chunk.is_empty() {
                    chunk.push('\n');
                }
                chunk.push_str(piece);
                used += size;
                rest = rest[piece.len()..].trim_start();
            }
        }
        if !chunk.is_empty() {
            chunks.push(chunk);
        }
        chunks
    }

    /// The request that folds one chunk into what has been written so far. `is_short` leaves the example out, for tiny windows.
    #[must_use]
    pub fn prompt(&self, so_far: &str, chunk: &str, is_short: bool) -> SummaryPrompt {
        let words = (self.limit.0 * 3 / 5).max(12);
        let what = match self.kind {
            SummaryKind::Queue => "this conversation for the assistant's own memory".to_owned(),
            SummaryKind::Page { level: DiaryLevel::Day, start } => format!("{}: a diary page, from what was said", render::date(start)),
            SummaryKind::Page { level, start } => format!("the {} as a diary page, from shorter pages", page_name(level, start)),
        };
        let mut system = format!(
            "Summarize {what}. Merge the present summary and the new text into one of at most {words} words. Keep names, numbers, dates and \
             promises verbatim. A newer fact replaces an older one. Plain sentences only; add nothing that was not said."
        );
        if !is_short {
            system.push_str(EXAMPLE);
        }
        let present = if so_far.is_empty() { "(none)" } else { so_far };
        SummaryPrompt { system, user: format!("Present summary:\n{present}\n\nNew text:\n{chunk}\n\nSummary:") }
    }

    /// Makes a model's answer usable: labels and fences off, sentences that repeat the prompt's example out, cut to the limit at the
    /// end of a sentence. Empty when nothing usable is left.
    #[must_use]
    pub fn tidy(&self, answer: &str, count: &Count<'_>) -> String {
        let text = answer.trim().trim_matches('`').trim();
        let text =
            ["Summary:", "summary:", "**Summary:**", "New summary:"].iter().fold(text, |t, label| t.strip_prefix(label).unwrap_or(t));
        let is_told = |word: &str| self.old.contains(word) || self.sources.iter().any(|s| s.line.contains(word));
        let text = if EXAMPLE_WORDS.iter().any(|word| text.contains(word) && !is_told(word)) {
            sentences(text).filter(|s| !EXAMPLE_WORDS.iter().any(|word| s.contains(word) && !is_told(word))).collect::<Vec<_>>().join(" ")
        } else {
            text.trim().to_owned()
        };
        let cut = cut_to(&text, self.limit, count);
        if cut.len() == text.len() {
            return text;
        }
        match cut.rfind(['.', '\n', ';']) {
            Some(end) if end * 2 > cut.len() => cut[..=end].trim_end().to_owned(),
            _ => cut.to_owned(),
        }
    }

    /// The summary that needs no model. See [`floor_summary`] for the queue's; pages quote a fair share of each source.
    #[must_use]
    pub fn floor(&self, count: &Count<'_>) -> String {
        match self.kind {
            SummaryKind::Queue => floor_of(&self.old, &self.sources, self.limit, count),
            SummaryKind::Page { .. } => floor_page(&self.sources, self.limit, count),
        }
    }
}

/// The people of the example occur nowhere else, so that a small model that copies it is found out.
const EXAMPLE_WORDS: [&str; 3] = ["Zsuzsi", "Quillfeather", "QX 7731"];

const EXAMPLE: &str = "\n\nExample.\nPresent summary:\nZsuzsi is a vet.\nNew text:\n[2024-02-05 Mon 10:00] user: I fly QX 7731 on 4 May with my \
                       boss Quillfeather.\nSummary:\nZsuzsi is a vet. On 2024-02-05 Zsuzsi said: flies QX 7731 on 4 May with boss Quillfeather.";

fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(['.', '\n', '!', '?']).map(str::trim).filter(|s| !s.is_empty())
}

/// Why there is no summary. The caller writes the floor instead: an agent never waits for a summariser that is down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SummarizeError {
    /// The model failed.
    #[error("the summariser failed: {source}")]
    Failed {
        /// Its own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model answered nothing usable.
    #[error("the summariser answered nothing usable")]
    Empty,
}

/// Writes summaries, usually with a model.
#[async_trait]
pub trait Summarizer: Send + Sync {
    /// The text after the task's sources were folded into its old text; never longer than its limit.
    async fn summarize(&self, task: &SummaryTask) -> Result<String, SummarizeError>;
}

/// The summariser that needs no model: always the floor.
#[derive(Debug, Clone, Copy, Default)]
pub struct FloorSummarizer;

#[async_trait]
impl Summarizer for FloorSummarizer {
    async fn summarize(&self, task: &SummaryTask) -> Result<String, SummarizeError> {
        Ok(task.floor(&crate::count_bytes))
    }
}

/// What stands in a floor summary for the lines that had to go.
const OLDER: &str = "(Older: search finds it.)";

/// The summary that needs no model: one line per day and half a dozen of its messages, with numbers and the first words of what the
/// human said; the oldest lines go first.
///
/// Shape: `old` (whoever wrote it) comes first, as far as it fits. Never longer than `limit`, for any input; so it never grows.
/// Units: `limit` in tokens. Pure.
///
/// ```
/// use sid_memory::{Item, count_bytes, floor_summary};
/// use sid_types::Tokens;
/// # let zone = jiff::tz::TimeZone::UTC;
/// let said = Item::user(4, "2025-03-10T09:00:00Z".parse().unwrap(), "My bike is a blue Pinarello that I got from Jo in the month of May");
/// let text = floor_summary("Ann is a vet.", &[said], Tokens(160), &zone, &count_bytes);
/// assert_eq!(text, "Ann is a vet.\n- [2025-03-10 Mon] #4: My bike is a blue Pinarello that I got from Jo in…");
/// ```
#[must_use]
pub fn floor_summary(old: &str, evicted: &[Item], limit: Tokens, zone: &TimeZone, count: &Count<'_>) -> String {
    SummaryTask::queue(old, evicted, limit, zone).floor(count)
}

fn floor_of(old: &str, sources: &[SourceLine], limit: Tokens, count: &Count<'_>) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in old.lines().map(str::trim).filter(|l| !l.is_empty() && *l != OLDER) {
        if line.starts_with("- [") {
            lines.push(line.to_owned());
        } else {
            // Prose goes sentence by sentence, so that one long paragraph is not all or nothing.
            lines.extend(sentences(line).map(ToOwned::to_owned));
        }
    }
    // A small summary tells of more messages with fewer words each.
    let words = if limit < Tokens(150) { 7 } else { 12 };
    let mut rest = sources;
    while let Some(first) = rest.first() {
        let mut quoted = 0;
        let same = rest.iter().take_while(|s| s.date == first.date).take_while(|s| {
            quoted += usize::from(s.is_user);
            quoted <= 6
        });
        let part = &rest[..same.count().max(1)];
        rest = &rest[part.len()..];
        let seqs = part.iter().filter_map(|s| s.seq);
        let numbers = match (seqs.clone().min(), seqs.max()) {
            (Some(a), Some(b)) if a == b => format!(" #{a}"),
            (Some(a), Some(b)) => format!(" #{a}-#{b}"),
            _ => String::new(),
        };
        let quotes: Vec<String> = part.iter().filter(|s| s.is_user).map(|s| first_words(&s.words, words, 90)).collect();
        lines.push(format!("- [{}]{numbers}: {}", render::date(first.date), quotes.join(" | ")).trim_end_matches([' ', ':']).to_owned());
    }
    let had_older = old.lines().any(|l| l.trim() == OLDER);
    let whole = if had_older { format!("{OLDER}\n{}", lines.join("\n")) } else { lines.join("\n") };
    if count(&whole) <= limit {
        return whole;
    }
    // Newest first until the room is used; then checked as a whole, since a counter need not add up.
    let mut room = limit.saturating_sub(count(OLDER) + Tokens(1));
    let mut first = lines.len();
    while first > 0 {
        let size = count(&lines[first - 1]) + Tokens(1);
        if size > room {
            break;
        }
        room = room.saturating_sub(size);
        first -= 1;
    }
    while first < lines.len() {
        let text = format!("{OLDER}\n{}", lines[first..].join("\n"));
        if count(&text) <= limit {
            return text;
        }
        first += 1;
    }
    lines.last().map(|line| cut_to(line, limit, count).to_owned()).unwrap_or_default()
}

fn floor_page(sources: &[SourceLine], limit: Tokens, count: &Count<'_>) -> String {
    let said: Vec<&SourceLine> = sources.iter().filter(|s| s.is_user || s.seq.is_none()).collect();
    let said = if said.is_empty() { sources.iter().collect() } else { said };
    if said.is_empty() || limit.0 == 0 {
        return String::new();
    }
    // A quote below a dozen tokens tells nothing: rather fewer, spread over the whole time.
    let most = (limit.0 as usize / 12).clamp(1, said.len());
    for shown in (1..=most).rev() {
        let share = Tokens((limit.0 / u32::try_from(shown).unwrap_or(u32::MAX)).saturating_sub(2).max(1));
        let picked = (0..shown).map(|n| said[n * said.len() / shown]);
        let mut day = None;
        let text = picked
            .map(|source| {
                let is_new_day = day.replace(source.date) != Some(source.date) && source.seq.is_none();
                let head = if is_new_day { format!("{}: ", render::date(source.date)) } else { String::new() };
                let room = share.saturating_sub(count(&head));
                let quote = cut_to(&source.words, room, count);
                format!("{head}{quote}{}", if quote.len() < source.words.len() { "…" } else { "" })
            })
            .collect::<Vec<_>>()
            .join(" | ");
        if count(&text) <= limit {
            return text;
        }
    }
    cut_to(&said[0].words, limit, count).to_owned()
}
