//! `diary_read`: pages of days, weeks and months, down to the messages under a day.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::civil::Date;
use serde_json::{Map, Value, json};
use sid_store::{DiaryQuery, DiaryStore, StoreError};
use sid_tools::{EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::{DiaryEntry, DiaryLevel, Owner, Source, ToolSpec};

use super::archival::owner;
use super::pager::Row;
use super::search::{outcome, store_failed};
use super::{integer, page, schema, string, text};
use crate::diary::pages_to_show;
use crate::render;
use crate::summary::page_name;
use crate::text::one_line;

/// Most pages that one call looks at.
const MOST: usize = 60;
/// Most days whose messages one call opens.
const MOST_DAYS: usize = 7;

/// Reads the diary of the conversation's owner.
pub struct DiaryRead {
    diary: Arc<dyn DiaryStore>,
}

impl DiaryRead {
    /// The tool over this store.
    #[must_use]
    pub fn new(diary: Arc<dyn DiaryStore>) -> Self {
        Self { diary }
    }

    async fn pages(&self, context: &ToolContext, owner: Owner, query: DiaryQuery) -> Result<Vec<DiaryEntry>, StoreError> {
        self.diary.diary(&context.scope, owner, &query).await
    }

    /// What was said on the days of `span`, oldest first.
    async fn messages(&self, context: &ToolContext, owner: Owner, span: (Date, Date)) -> Result<Told, StoreError> {
        let zone = render::zone(&context.timezone);
        let mut told = Told::default();
        for day in days(span).take(MOST_DAYS) {
            for message in self.diary.day_messages(&context.scope, owner, day).await? {
                let is_in_prompt = message.conversation == context.conversation && message.seq >= context.queue_start;
                if is_in_prompt || message.body.text().trim().is_empty() {
                    continue;
                }
                let is_here = message.conversation == context.conversation;
                Source::add(&mut told.sources, &message.untrusted);
                told.rows.push(Row {
                    text: render::message_line(&message, &zone),
                    whole_at: if is_here { format!(" (whole: conversation_search \"#{}\")", message.seq) } else { String::new() },
                    quotes: vec![message.id],
                });
            }
        }
        Ok(told)
    }
}

/// What is shown, and the sources of it that are not trusted.
#[derive(Default)]
struct Told {
    rows: Vec<Row>,
    sources: Vec<Source>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Pages(DiaryLevel),
    Messages,
}

#[async_trait]
impl Tool for DiaryRead {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "diary_read".into(),
            description: "Read your diary: months, weeks, days, or the messages of a day. Dates like 2025-03-10.".into(),
            parameters: schema(
                &[
                    ("from", string()),
                    ("to", string()),
                    ("level", json!({"type": "string", "enum": ["month", "week", "day", "messages"]})),
                    ("page", integer()),
                ],
                &[],
            ),
        }
    }

    fn effect(&self) -> EffectClass {
        EffectClass::Read
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        let Some(owner) = owner(context) else {
            return ToolOutcome::error("There is no diary here: this is no agent's turn.");
        };
        let (from, to) = (text(&arguments, "from"), text(&arguments, "to"));
        let span = match (span_of(from), span_of(to)) {
            (Ok(None), Ok(None)) => None,
            (Ok(Some(from)), Ok(None)) => Some(from),
            (Ok(None), Ok(Some(to))) => Some(to),
            (Ok(Some(from)), Ok(Some(to))) => Some((from.0.min(to.0), from.1.max(to.1))),
            (Err(problem), _) | (_, Err(problem)) => return ToolOutcome::error(problem),
        };
        let level = match text(&arguments, "level") {
            "day" => Some(Level::Pages(DiaryLevel::Day)),
            "week" => Some(Level::Pages(DiaryLevel::Week)),
            "month" => Some(Level::Pages(DiaryLevel::Month)),
            "messages" => Some(Level::Messages),
            _ => None,
        };
        match self.read(context, owner, span, level).await {
            Ok(told) if told.rows.is_empty() => ToolOutcome::text(match span {
                Some((a, b)) if a == b => format!("The diary has nothing about {a}."),
                Some((a, b)) => format!("The diary has nothing from {a} to {b}."),
                None => "The diary is empty.".into(),
            }),
            Ok(Told { rows, sources }) => ToolOutcome { sources, ..outcome("Diary", &rows, page(&arguments), context.result_budget) },
            Err(error) => store_failed(&error),
        }
    }
}

impl DiaryRead {
    async fn read(
        &self,
        context: &ToolContext,
        owner: Owner,
        span: Option<(Date, Date)>,
        level: Option<Level>,
    ) -> Result<Told, StoreError> {
        let today = context.now.to_zoned(render::zone(&context.timezone)).date();
        if level == Some(Level::Messages) {
            return self.messages(context, owner, span.unwrap_or((today, today))).await;
        }
        let pages_level = match level {
            Some(Level::Pages(level)) => Some(level),
            _ => None,
        };
        // A week or month that began before `from` tells of it too.
        let start = |day: Date| pages_level.map_or(day, |level| level.start_of(day));
        let query = DiaryQuery {
            level: pages_level,
            from: span.map(|(from, _)| start(from)),
            to: span.map(|(_, to)| DiaryLevel::Day.end_of(to)),
            limit: MOST,
        };
        let mut pages = self.pages(context, owner, query).await?;
        if let (None, None) = (span, level) {
            pages = pages_to_show(&pages).into_iter().cloned().collect();
        }
        if pages.is_empty()
            && pages_level.is_none()
            && let Some((from, to)) = span
            && days((from, to)).count() <= MOST_DAYS
        {
            // Not written yet (today), or never: what was said is the page.
            return self.messages(context, owner, (from, to)).await;
        }
        let mut sources = Vec::new();
        pages.iter().for_each(|page| Source::add(&mut sources, &page.untrusted));
        Ok(Told { rows: pages.iter().map(page_row).collect(), sources })
    }
}

fn page_row(entry: &DiaryEntry) -> Row {
    let whole_at = match entry.level {
        DiaryLevel::Day => format!(" (diary_read from {} level messages)", entry.start),
        DiaryLevel::Week => format!(" (diary_read from {} to {} level day)", entry.start, last_day(entry)),
        DiaryLevel::Month => format!(" (diary_read from {} to {} level week)", entry.start, last_day(entry)),
    };
    Row { text: format!("{}: {}", page_name(entry.level, entry.start), one_line(&entry.text)), whole_at, quotes: Vec::new() }
}

fn last_day(entry: &DiaryEntry) -> Date {
    entry.level.end_of(entry.start).yesterday().unwrap_or(entry.start)
}

fn days((from, to): (Date, Date)) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(from), |day| day.tomorrow().ok()).take_while(move |day| *day <= to)
}

/// The first and the last day of `2025-03-10`, `2025-03` or `2025`; `None` for an empty text.
fn span_of(text: &str) -> Result<Option<(Date, Date)>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad = || format!("`{}` is not a date: write it like 2025-03-10.", text.chars().take(30).collect::<String>());
    // A time after the date does no harm.
    let date = text.split(['T', ' ']).next().unwrap_or_default();
    if let Ok(day) = date.parse::<Date>() {
        return Ok(Some((day, day)));
    }
    let mut parts = date.split('-');
    let year: i16 = parts.next().and_then(|y| y.parse().ok()).filter(|y| (1_000..=9_999).contains(y)).ok_or_else(bad)?;
    let month = match parts.next() {
        Some(month) => Some(month.parse::<i8>().map_err(|_| bad())?),
        None => None,
    };
    if parts.next().is_some() {
        return Err(bad());
    }
    let first = Date::new(year, month.unwrap_or(1), 1).map_err(|_| bad())?;
    let last = if month.is_some() { first.last_of_month() } else { first.last_of_year() };
    Ok(Some((first, last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_days_months_and_years() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let found = span_of(text).expect(text).map(|(a, b)| (a.to_string(), b.to_string()));
            assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        };
        check("", None);
        check("2025-03-10", Some(("2025-03-10", "2025-03-10")));
        check("2025-03-10T09:00:00Z", Some(("2025-03-10", "2025-03-10")));
        check("2024-02", Some(("2024-02-01", "2024-02-29")));
        check("2024", Some(("2024-01-01", "2024-12-31")));
        for bad in ["yesterday", "10.3.2025", "2025-13", "2025-02-30", "2025-1-1-1", "é"] {
            assert!(span_of(bad).is_err(), "{bad}");
        }
    }
}
