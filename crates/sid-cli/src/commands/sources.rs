//! `sid sources`: what came from outside, and taking it back.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::client::Request;
use crate::error::CliError;
use crate::output::table::Table;
use crate::output::text::{moment, one_line};
use crate::session::{Paging, Session, given};
use crate::wire;

/// Sources that are not trusted.
#[derive(Debug, Subcommand)]
pub enum Sources {
    /// Show which sources have written how much, and since when
    List,
    /// Take back what agents wrote after reading from a source: block edits and passages
    Undo {
        /// The source, such as `web:example.org`, `tool:tickets` or `import:*`
        source: String,
        /// Only what was written from this moment on, such as 2026-11-22T10:00:00Z
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
}

pub(crate) async fn run(command: Sources, session: &Session) -> Result<(), CliError> {
    let Sources::Undo { source, since } = command else { return list(session).await };
    let request = Request::post(&["sources", "undo"]).json(body(&source, since)?);
    let show = |r: wire::Undone| {
        let mut out = format!("{} blocks and {} passages\n", r.blocks, r.passages);
        for left in r.left_out {
            out.push_str(&format!("left out: version {} of {}: {}\n", left.version, left.block, left.why));
        }
        out
    };
    session.ask(request, "what was undone", show).await
}

async fn list(session: &Session) -> Result<(), CliError> {
    let names = ["messages", "passages", "facts", "block lines", "diary pages", "timers", "tasks"];
    let table = names.into_iter().fold(Table::new().name("source"), Table::number).text("since");
    let row = |used: wire::SourceUse| {
        let counts = [used.messages, used.passages, used.facts, used.block_lines, used.diary_pages, used.timers, used.tasks];
        let name = one_line(&format!("{}:{}", used.source.channel, used.source.name));
        std::iter::once(name).chain(counts.map(|n| n.to_string())).chain([moment(&used.since)]).collect()
    };
    let everything = Paging { limit: 50, after: None, all: true };
    session.list(Request::get(&["sources"]), &everything, table, row, "nothing came from outside").await
}

fn body(source: &str, since: Option<String>) -> Result<Value, CliError> {
    let (channel, name) =
        source.split_once(':').ok_or_else(|| CliError::Usage("name a source as CHANNEL:NAME, such as web:example.org".into()))?;
    Ok(given([("source", Some(json!({"channel": channel, "name": name}))), ("since", since.map(|s| json!(s)))]))
}
