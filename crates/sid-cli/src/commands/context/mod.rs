//! `sid context`: what assistants keep for their user beside conversations.

mod handoffs;
mod items;
mod proposals;
mod secrets;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use crate::client::Request;
use crate::error::CliError;
use crate::output::table::Table;
use crate::output::text::{moment, printable};
use crate::session::Session;
use crate::wire;

/// What a user's assistants keep: without a command the overview that an assistant reads when it starts.
///
/// --user says whose it is (a user's key is for its own user), --agent as which assistant it is read and written.
#[derive(Debug, Args)]
pub struct Context {
    /// Act as this assistant of the user
    #[arg(long, global = true, value_name = "AGENT", env = "SID_AGENT")]
    pub agent: Option<String>,
    /// Most tokens of the overview
    #[arg(long, value_name = "TOKENS")]
    budget: Option<u32>,
    #[command(subcommand)]
    what: Option<What>,
}

/// What to do with it.
#[derive(Debug, Subcommand)]
enum What {
    #[command(flatten)]
    Items(items::Items),
    /// Work that one assistant leaves for another
    #[command(subcommand)]
    Handoff(handoffs::Handoff),
    /// Values that are kept sealed, and that no model sees
    #[command(subcommand)]
    Secret(secrets::Secret),
    /// Changes that assistants propose and the user decides on
    #[command(subcommand)]
    Proposals(proposals::Proposals),
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "docs/context.md has them")]
pub enum Kind {
    Note,
    Memory,
    Preference,
    Hint,
    Project,
    Section,
    Page,
    Session,
    Handoff,
    Proposal,
}

pub(crate) async fn run(args: Context, session: &Session) -> Result<(), CliError> {
    match args.what {
        Some(_) if args.budget.is_some() => Err(CliError::Usage("--budget is about the overview".into())),
        None => overview(session, args.budget).await,
        Some(What::Items(command)) => items::run(command, session).await,
        Some(What::Handoff(command)) => handoffs::run(command, session).await,
        Some(What::Secret(command)) => secrets::run(command, session).await,
        Some(What::Proposals(command)) => proposals::run(command, session).await,
    }
}

async fn overview(session: &Session, budget: Option<u32>) -> Result<(), CliError> {
    let request = Request::get(&["context"]).query_if("budget_tokens", budget);
    session.ask(request, "the overview", |seen| render(&seen, session)).await
}

/// The time, notes whole, and the titles of everything else.
fn render(seen: &wire::Overview, session: &Session) -> String {
    let paint = session.out.paint;
    let mut text = format!("{}\n", seen.time.words);
    let mut kind = "";
    for item in &seen.items {
        if item.kind != kind {
            kind = &item.kind;
            text.push_str(&format!("\n{}\n", paint.bold(kind)));
        }
        let marks = [item.state.as_str(), if item.is_shared { "shared" } else { "" }, if item.is_cut { "cut" } else { "" }];
        let marks = marks.into_iter().filter(|m| !m.is_empty()).collect::<Vec<_>>().join(", ");
        let marks = if marks.is_empty() { marks } else { paint.dim(&format!(" ({marks})")) };
        text.push_str(&format!("  {}{marks}  {}\n", printable(&item.title), paint.dim(&item.id)));
        for line in item.body.as_deref().unwrap_or_default().lines() {
            text.push_str(&format!("    {}\n", printable(line)));
        }
    }
    if seen.open_proposals > 0 {
        text.push_str(&format!("\nproposals that wait for a decision: {} (sid context proposals list)\n", seen.open_proposals));
    }
    let more = if seen.more.is_empty() { String::new() } else { format!("; there are more of: {}", seen.more.join(", ")) };
    text.push_str(&format!("\n{}\n", paint.dim(&format!("{} of {} tokens{more}", seen.tokens, seen.budget_tokens))));
    text
}

/// Columns of a list of items.
fn table() -> Table {
    Table::new().name("kind").name("id").number("version").name("changed").name("state").text("tags").text("title")
}

fn row(item: wire::Item) -> Vec<String> {
    vec![item.kind, item.id, item.version.to_string(), moment(&item.updated_at), item.state, item.tags.join(", "), item.title]
}

/// What an assistant wants of an item, for people.
fn wish(proposal: &wire::Proposed) -> String {
    let Some(Value::Object(edit)) = &proposal.edit else { return "delete it".into() };
    let field = |(name, value): (&String, &Value)| format!("{name}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    printable(&edit.iter().map(field).collect::<Vec<_>>().join("; "))
}

/// What became of a wish, in a line.
fn became(done: &wire::Outcome, what: &str) -> String {
    let item = done.item.as_ref();
    match (done.outcome.as_str(), item) {
        ("proposed", Some(proposal)) => {
            format!("proposed as {}: it waits for the user (sid context proposals approve {})\n", proposal.id, proposal.id)
        }
        (_, Some(item)) => format!("{what} {} (version {})\n", item.id, item.version),
        (_, None) => format!("{what}\n"),
    }
}
