//! `sid memory`: recall, archival memory and the diary.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::owner::OwnerArgs;
use crate::client::{Request, read};
use crate::error::CliError;
use crate::output::table::Table;
use crate::output::text::{left, moment, printable, thousands, wrap};
use crate::session::{Paging, Session, given, named};
use crate::wire;

/// Recall, archival memory and the diary.
#[derive(Debug, Subcommand)]
pub enum Memory {
    /// Search as a turn does; with --agent (and --user) it sees what a turn of the two sees
    Search {
        /// Natural language, dates included
        #[arg(required = true)]
        words: Vec<String>,
        /// Through this agent's eyes
        #[arg(long, env = "SID_AGENT")]
        agent: Option<String>,
        /// Most hits
        #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200))]
        k: u32,
        /// Only these kinds, with commas between them
        #[arg(long, value_delimiter = ',')]
        kinds: Vec<Kind>,
        /// Only messages of this conversation
        #[arg(long, value_name = "ID")]
        conversation: Option<String>,
        /// Only what was said from then on, such as 2026-05-01T00:00:00Z
        #[arg(long, value_name = "WHEN")]
        from: Option<String>,
        /// Only what was said before
        #[arg(long, value_name = "WHEN")]
        to: Option<String>,
        /// Wait this long at most until all that was written has its vectors, in milliseconds
        #[arg(long, value_name = "MS", default_value_t = 0)]
        wait: u64,
    },
    /// Store a passage
    Add {
        /// The text
        #[arg(required = true)]
        text: Vec<String>,
        /// A tag; may be repeated
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// When it was said or became true [default: now]
        #[arg(long, value_name = "WHEN")]
        at: Option<String>,
        #[command(flatten)]
        owner: OwnerArgs,
    },
    /// Passages of one owner, newest first
    List {
        #[command(flatten)]
        owner: OwnerArgs,
        #[command(flatten)]
        paging: Paging,
    },
    /// Remove a passage with its vectors
    Remove {
        /// Its id
        id: String,
    },
    /// Pages of the diary, newest first
    Diary {
        /// Whose diary; with --user what the agent knows of that user
        #[arg(long, env = "SID_AGENT", default_value = "sid")]
        agent: String,
        /// Only this level
        #[arg(long)]
        level: Option<Level>,
        /// Periods that start on or after this day, such as 2026-05-01
        #[arg(long, value_name = "DAY")]
        from: Option<String>,
        /// Periods that start before this day
        #[arg(long, value_name = "DAY")]
        to: Option<String>,
        /// Most pages
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
}

/// What search finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Recall memory
    Message,
    /// Archival memory
    Passage,
    /// The diary
    Diary,
}

/// How much time a page tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Level {
    Day,
    Week,
    Month,
}

fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

pub(crate) async fn run(command: Memory, session: &Session) -> Result<(), CliError> {
    match command {
        Memory::Search { words, agent, k, kinds, conversation, from, to, wait } => {
            let kinds: Vec<String> = kinds.into_iter().map(name).collect();
            let body = given([
                ("query", Some(json!(words.join(" ")))),
                ("k", Some(json!(k))),
                ("agent", agent.map(|a| json!(named("agent", &a)))),
                ("user", session.user().map(Value::String)),
                ("kinds", (!kinds.is_empty()).then(|| json!(kinds))),
                ("conversation", conversation.map(Value::String)),
                ("from", from.map(Value::String)),
                ("to", to.map(Value::String)),
                ("wait_for_index_ms", (wait > 0).then(|| json!(wait))),
            ]);
            search(session, body).await
        }
        Memory::Add { text, tags, at, owner } => {
            let body = given([
                ("owner", Some(owner.owner(session)?.json())),
                ("text", Some(json!(text.join(" ")))),
                ("tags", (!tags.is_empty()).then(|| json!(tags))),
                ("at", at.map(Value::String)),
            ]);
            let show = |p: wire::Passage| format!("stored {} for {}\n", p.id, p.owner.describe());
            session.ask(Request::post(&["passages"]).json(body), "the passage", show).await?;
            session.settle(Duration::from_secs(3)).await
        }
        Memory::List { owner, paging } => {
            let owner = owner.owner(session)?;
            let table = Table::new().name("id").name("at").text("tags").text("text");
            let row = |p: wire::Passage| vec![p.id, moment(&p.at), p.tags.join(", "), p.text];
            let when_empty = format!("{} has no passages; store one: sid memory add TEXT", owner.describe());
            session.list(owner.query(Request::get(&["passages"])), &paging, table, row, &when_empty).await
        }
        Memory::Remove { id } => {
            session.client().await?.send(Request::delete(&["passages", &id])).await?;
            if session.out.json { session.out.value(&json!({"removed": id})) } else { session.out.line(&format!("removed {id}")) }
        }
        Memory::Diary { agent, level, from, to, limit } => {
            let request = Request::get(&["diary"])
                .query("agent", named("agent", &agent))
                .query_if("user", session.user())
                .query_if("level", level.map(name))
                .query_if("from", from)
                .query_if("to", to)
                .query("limit", limit);
            diary(session, request).await
        }
    }
}

/// Searches and prints what was found; also `/search` in a chat.
pub(crate) async fn search(session: &Session, body: Value) -> Result<(), CliError> {
    let answer = session.client().await?.value(Request::post(&["search"]).json(body)).await?;
    if session.out.json {
        return session.out.value(&answer);
    }
    let found: wire::Found = read(answer, "what was found")?;
    if found.hits.is_empty() {
        session.out.note(&format!("nothing found among {} memories", thousands(found.searched)))?;
    } else {
        session.out.text(&render(&found, session))?;
    }
    if !found.index.is_semantic {
        session.out.warn("recall is lexical only: the same words are found, the same meaning is not (`sid doctor` says what to do)")?;
    }
    if found.index.pending > 0 {
        session.out.note(&format!("{} memories wait for their vectors; --wait MS waits for them", thousands(found.index.pending)))?;
    }
    Ok(())
}

fn render(found: &wire::Found, session: &Session) -> String {
    let out = &session.out;
    let score = |n: f64| format!("{n:.3}");
    let channel = |n: f64| if n == 0.0 { "-".into() } else { format!("{n:.2}") };
    let mut hits = Table::new()
        .number("#")
        .number("score")
        .number("bm25")
        .number("context")
        .number("dense")
        .name("kind")
        .name("when")
        .text("who")
        .text("text");
    let mut signals: Vec<&str> = Vec::new();
    for (i, hit) in found.hits.iter().enumerate() {
        let who = hit.speaker.clone().or_else(|| hit.role.clone()).unwrap_or_else(|| "-".into());
        let text = if out.full { hit.text.clone() } else { hit.excerpt.clone() };
        let c = &hit.channels;
        let scores = [score(hit.score), channel(c.bm25), channel(c.context_bm25), channel(c.dense)];
        hits.row([(i + 1).to_string()].into_iter().chain(scores).chain([hit.kind.clone(), moment(&hit.at), who, text]));
        for why in &hit.why {
            if !signals.contains(&why.signal.as_str()) {
                signals.push(&why.signal);
            }
        }
    }
    let mut text = hits.render(out.cut_to(), out.paint);
    if !signals.is_empty() {
        text.push_str(&format!("\n{}\n", out.paint.bold("why: what each signal added to the score")));
        text.push_str(&why_table(&found.hits, &signals).render(out.cut_to(), out.paint));
    }
    text
}

fn why_table(hits: &[wire::Hit], signals: &[&str]) -> Table {
    let mut table = signals.iter().fold(Table::new().number("#"), |table, signal| table.number(signal)).name("id");
    for (i, hit) in hits.iter().enumerate() {
        let part = |signal: &&str| hit.why.iter().find(|w| w.signal == *signal).map_or_else(|| "-".into(), |w| format!("{:+.3}", w.score));
        table.row([(i + 1).to_string()].into_iter().chain(signals.iter().map(part)).chain([hit.id.clone()]));
    }
    table
}

async fn diary(session: &Session, request: Request) -> Result<(), CliError> {
    let list = session.client().await?.whole(request).await?;
    if session.out.json {
        return session.out.value(&json!({"items": list.items, "next": list.next}));
    }
    if list.items.is_empty() {
        return session.out.note("no pages yet: a day is written down after it has ended");
    }
    let paint = session.out.paint;
    for item in list.items {
        let page: wire::DiaryEntry = read(item, "a diary page")?;
        let floor = if page.is_floor { paint.yellow(" (written without a model)") } else { String::new() };
        let mut text = format!("{}{floor} {}\n", paint.bold(&format!("{} {}", left(&page.level, 5), page.start)), paint.dim(&page.id));
        for line in wrap(&printable(&page.text), session.out.cut_to().unwrap_or(usize::MAX - 2).saturating_sub(2)) {
            text.push_str(&format!("  {line}\n"));
        }
        session.out.text(&text)?;
    }
    Ok(())
}
