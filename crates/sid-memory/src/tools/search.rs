//! `conversation_search`: recall memory.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use sid_store::{Order, RecallStore, Record, RecordKinds};
use sid_tools::{EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::{Body, Message, MessageId, Seq, Source, Tokens, ToolSpec};

use super::finder::Finder;
use super::pager::{Row, count, page as lay_out};
use super::{integer, page, schema, string, text};
use crate::render;
use crate::text::{cut_to, one_line};

/// Most messages that a range (`#12-#80`) opens.
const RANGE: usize = 200;

/// Searches everything that was said. `#17` opens a message of this conversation whole, page by page; `#12-#19` a stretch of it.
pub struct ConversationSearch {
    finder: Finder,
    recall: Arc<dyn RecallStore>,
}

impl ConversationSearch {
    /// The tool over these stores.
    #[must_use]
    pub fn new(finder: Finder, recall: Arc<dyn RecallStore>) -> Self {
        Self { finder, recall }
    }

    async fn open(&self, context: &ToolContext, first: Seq, last: Seq, number: usize) -> ToolOutcome {
        let from = (first.0 > 1).then(|| Seq(first.0 - 1));
        let limit = usize::try_from(last.0 - first.0 + 1).unwrap_or(RANGE).min(RANGE);
        let found = match self.recall.page(&context.scope, context.conversation, from, Order::Ascending, limit).await {
            Ok(found) => found,
            Err(error) => return store_failed(&error),
        };
        let found: Vec<Message> = found.into_iter().filter(|m| first <= m.seq && m.seq <= last).collect();
        let zone = render::zone(&context.timezone);
        let mut sources = Vec::new();
        found.iter().for_each(|message| Source::add(&mut sources, &message.untrusted));
        let opened = match found.as_slice() {
            [] => ToolOutcome::error(format!("This conversation has no message #{first}.")),
            [one] => whole(one, number, context.result_budget, &zone),
            _ => {
                let rows: Vec<Row> = found.iter().filter_map(|m| row(m, context, &zone)).collect();
                outcome("Messages", &rows, number, context.result_budget)
            }
        };
        ToolOutcome { sources, ..opened }
    }
}

#[async_trait]
impl Tool for ConversationSearch {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "conversation_search".into(),
            description: "Search all that was said before, best first. Query \"#17\" opens message 17 whole.".into(),
            parameters: schema(&[("query", string()), ("page", integer())], &["query"]),
        }
    }

    fn effect(&self) -> EffectClass {
        EffectClass::Read
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        let query = text(&arguments, "query");
        if query.is_empty() {
            return ToolOutcome::error("`query` is empty: say what to look for.");
        }
        if let Some((first, last)) = place(query) {
            return self.open(context, first, last, page(&arguments)).await;
        }
        let found = match self.finder.find(context, query, RecordKinds::MESSAGES).await {
            Ok(found) => found,
            Err(error) => return store_failed(&error),
        };
        let zone = render::zone(&context.timezone);
        let rows: Vec<Row> = found
            .iter()
            .filter_map(|found| {
                let Record::Message(message) = &found.record else { return None };
                let (line, is_whole) = found.line(&zone);
                let whole_at = whole_at(message, context);
                let text = if is_whole { line } else { format!("{line}{whole_at}") };
                Some(Row { text, whole_at, quotes: vec![message.id] })
            })
            .collect();
        if rows.is_empty() {
            return ToolOutcome::text("Nothing was found. Try other words, or diary_read for a time.");
        }
        let sources = sources(found.iter().map(|f| &f.record));
        ToolOutcome { sources, ..outcome("Said before", &rows, page(&arguments), context.result_budget) }
    }
}

/// `#17` or `#12-#19`, also without the second `#` and with `message` before it.
fn place(query: &str) -> Option<(Seq, Seq)> {
    let query = query.trim_start_matches("message").trim();
    let rest = query.strip_prefix('#')?;
    let (first, last) = rest.split_once(['-', '–']).unwrap_or((rest, rest));
    let number = |text: &str| text.trim().trim_start_matches('#').parse::<u64>().ok().filter(|n| *n > 0);
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((Seq(first), Seq(last)))
}

/// How to read a message whole: by its number, if it is one of this conversation.
fn whole_at(message: &Message, context: &ToolContext) -> String {
    if message.conversation == context.conversation { format!(" (whole: \"#{}\")", message.seq) } else { String::new() }
}

/// `[2025-03-03 Mon] user: text`.
fn row(message: &Message, context: &ToolContext, zone: &jiff::tz::TimeZone) -> Option<Row> {
    let words = one_line(message.body.text());
    if words.is_empty() {
        return None;
    }
    let who = message.speaker.clone().unwrap_or_else(|| render::role_name(message.body.role()).to_owned());
    let mut quotes = vec![message.id];
    if let Body::Tool { quotes: inner, .. } = &message.body {
        quotes.extend(inner.iter().copied());
    }
    Some(Row { text: format!("[{}] {who}: {words}", render::day(message.at, zone)), whole_at: whole_at(message, context), quotes })
}

/// One message, page by page.
fn whole(message: &Message, number: usize, budget: Tokens, zone: &jiff::tz::TimeZone) -> ToolOutcome {
    let head = format!("[{}] {}: ", render::day(message.at, zone), render::role_name(message.body.role()));
    let head = if count(&head).0 * 2 > budget.0 { String::new() } else { head };
    let mark = " (page 9999 of 9999)";
    let room = budget.saturating_sub(count(&head) + count(mark)).max(Tokens(budget.0 / 2)).max(Tokens(1));
    let mut rest = message.body.text().trim();
    let mut parts: Vec<&str> = Vec::new();
    while !rest.is_empty() {
        let part = cut_to(rest, room, &count);
        let part = if part.is_empty() { &rest[..rest.ceil_char_boundary(1)] } else { part };
        parts.push(part);
        rest = rest[part.len()..].trim_start();
    }
    let Some(part) = parts.get(number - 1) else {
        return ToolOutcome::text(cut_to(&format!("Message #{} has only {} pages.", message.seq, parts.len()), budget, &count));
    };
    let mark = if parts.len() > 1 { format!(" (page {number} of {})", parts.len()) } else { String::new() };
    let shown = format!("{head}{part}{mark}");
    let mut quotes = vec![message.id];
    if let Body::Tool { quotes: inner, .. } = &message.body {
        quotes.extend(inner.iter().copied());
    }
    let mut outcome = ToolOutcome::text(cut_to(&shown, budget, &count));
    outcome.quotes = quotes;
    outcome
}

/// Sources that are not trusted, of what was found.
pub(super) fn sources<'r>(records: impl Iterator<Item = &'r Record>) -> Vec<Source> {
    let mut sources = Vec::new();
    for record in records {
        match record {
            Record::Message(message) => Source::add(&mut sources, &message.untrusted),
            Record::Passage(passage) => Source::add(&mut sources, &passage.provenance.untrusted),
            Record::Diary(page) => Source::add(&mut sources, &page.untrusted),
        }
    }
    sources
}

pub(super) fn outcome(what: &str, rows: &[Row], number: usize, budget: Tokens) -> ToolOutcome {
    let page = lay_out(what, rows, number, budget);
    let mut quotes: Vec<MessageId> = page.quotes;
    quotes.dedup();
    ToolOutcome { text: page.text, quotes, ..ToolOutcome::default() }
}

pub(super) fn store_failed(error: &sid_store::StoreError) -> ToolOutcome {
    let hint = if error.is_transient() { " Try again in a moment." } else { "" };
    ToolOutcome::error(format!("Memory could not be read: {error}.{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_from_words() {
        let check =
            |query: &str, expected: Option<(u64, u64)>| assert_eq!(place(query), expected.map(|(a, b)| (Seq(a), Seq(b))), "{query}");
        check("#17", Some((17, 17)));
        check("message #17", Some((17, 17)));
        check("#12-#19", Some((12, 19)));
        check("#12-19", Some((12, 19)));
        check("17", None);
        check("#0", None);
        check("#9-#3", None);
        check("#hash tags", None);
        check("issue #17", None);
    }
}
