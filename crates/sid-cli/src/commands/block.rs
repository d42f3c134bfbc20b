//! `sid block`: core memory, with its history.

use std::io::Read as _;
use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::owner::{Owner, OwnerArgs};
use crate::client::{Request, read};
use crate::error::CliError;
use crate::output::bar::bar;
use crate::output::diff::unified;
use crate::output::table::{Table, facts};
use crate::output::text::{moment, printable, thousands};
use crate::session::{Session, given, is_id};
use crate::wire;

/// Core memory blocks.
#[derive(Debug, Subcommand)]
pub enum Block {
    /// The blocks of one owner
    List {
        #[command(flatten)]
        owner: OwnerArgs,
    },
    /// Make a block
    Create {
        /// The name that agents use
        label: String,
        /// Its first value; `-` = from standard input
        #[arg(default_value = "")]
        value: String,
        /// What it is for; agents see it
        #[arg(long, default_value = "")]
        description: String,
        /// Most characters of the value
        #[arg(long, value_name = "CHARS")]
        limit: Option<u32>,
        #[command(flatten)]
        owner: OwnerArgs,
    },
    /// One block, whole
    Show {
        #[command(flatten)]
        block: Which,
    },
    /// Set the whole value
    Set {
        #[command(flatten)]
        block: Which,
        /// The new value; `-` = from standard input
        value: String,
        /// Only if this is still the version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
    },
    /// Add a line at the end
    Append {
        #[command(flatten)]
        block: Which,
        /// The line; `-` = from standard input
        text: String,
    },
    /// Versions, newest first: what changed, when, and where it came from
    History {
        #[command(flatten)]
        block: Which,
        /// Most versions
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// What changed between two versions
    Diff {
        #[command(flatten)]
        block: Which,
        /// The older version [default: the one before the newer]
        from: Option<u64>,
        /// The newer version [default: the present one]
        to: Option<u64>,
    },
    /// Set the value back to an earlier version's (an edit like any other: it can be undone too)
    Undo {
        #[command(flatten)]
        block: Which,
        /// The version to go back to [default: the one before]
        #[arg(long, value_name = "VERSION")]
        to: Option<u64>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Names a block.
#[derive(Debug, Args)]
pub struct Which {
    /// Its id, or its label together with --agent, --user or --team
    block: String,
    #[command(flatten)]
    owner: OwnerArgs,
}

impl Which {
    async fn find(&self, session: &Session) -> Result<wire::Block, CliError> {
        let client = session.client().await?;
        if is_id("blk", &self.block) {
            return read(client.value(Request::get(&["blocks", &self.block])).await?, "the block");
        }
        by_label(session, &self.owner.owner(session)?, &self.block).await
    }
}

async fn by_label(session: &Session, owner: &Owner, label: &str) -> Result<wire::Block, CliError> {
    let list = session.client().await?.whole(owner.query(Request::get(&["blocks"]))).await?;
    let mut labels = Vec::new();
    for item in list.items {
        let block: wire::Block = read(item, "a block")?;
        if block.label == label {
            return Ok(block);
        }
        labels.push(block.label);
    }
    let hint = match labels.as_slice() {
        [] => "it has none; say whose block it is with --agent, --user or --team".to_owned(),
        labels => format!("its blocks: {}", labels.join(", ")),
    };
    Err(CliError::failed("SID-CLI-NO-BLOCK", format!("{} has no block `{label}`", owner.describe()), hint))
}

pub(crate) async fn run(command: Block, session: &Session) -> Result<(), CliError> {
    match command {
        Block::List { owner } => list(session, &owner.owner(session)?).await,
        Block::Create { label, value, description, limit, owner } => {
            let body = given([
                ("owner", Some(owner.owner(session)?.json())),
                ("label", Some(json!(label))),
                ("value", Some(json!(text_or_stdin(value)?))),
                ("description", Some(json!(description))),
                ("limit_chars", limit.map(|l| json!(l))),
            ]);
            session.ask(Request::post(&["blocks"]).json(body), "the block", |b| render(&b, session)).await
        }
        Block::Show { block } => {
            let block = block.find(session).await?;
            session.ask(Request::get(&["blocks", &block.id]), "the block", |b| render(&b, session)).await
        }
        Block::Set { block, value, if_version } => {
            let edit = json!({"op": "set", "value": text_or_stdin(value)?});
            change(session, &block, edit, if_version).await
        }
        Block::Append { block, text } => change(session, &block, json!({"op": "append", "text": text_or_stdin(text)?}), None).await,
        Block::History { block, limit } => history(session, &block, limit).await,
        Block::Diff { block, from, to } => diff(session, &block, from, to).await,
        Block::Undo { block, to, yes } => undo(session, block.find(session).await?, to, yes).await,
    }
}

/// Prints the blocks of one owner; also `/blocks` in a chat.
pub(crate) async fn list(session: &Session, owner: &Owner) -> Result<(), CliError> {
    let list = session.client().await?.whole(owner.query(Request::get(&["blocks"]))).await?;
    let table = Table::new().name("label").number("chars").name("full").number("version").name("changed").name("id").text("value");
    let row = |b: wire::Block| {
        let used = b.value.chars().count() as u64;
        let chars = format!("{} / {}", thousands(used), thousands(b.limit_chars));
        let full = format!("▕{}▏", bar(used, b.limit_chars, 8));
        vec![b.label, chars, full, b.version.to_string(), moment(&b.updated_at), b.id, b.value]
    };
    session.show_list(list, table, row, &format!("{} has no blocks", owner.describe()))
}

fn render(block: &wire::Block, session: &Session) -> String {
    let chars = format!("{} of {}", thousands(block.value.chars().count() as u64), thousands(block.limit_chars));
    let lines = [
        ("label", block.label.clone()),
        ("id", block.id.clone()),
        ("owner", block.owner.describe()),
        ("for", block.description.clone()),
        ("characters", chars),
        ("version", format!("{} of {}", block.version, moment(&block.updated_at))),
    ];
    format!("{}\n{}\n", facts(&lines, session.out.paint), printable(&block.value))
}

/// Edits, and shows what changed.
async fn change(session: &Session, which: &Which, edit: Value, if_version: Option<u64>) -> Result<(), CliError> {
    let before = which.find(session).await?;
    let mut request = Request::patch(&["blocks", &before.id]).json(edit);
    if let Some(version) = if_version {
        request = request.header("if-match", format!("\"{version}\""));
    }
    session.ask(request, "the block", |after| what_changed(session, &before, &after)).await
}

fn what_changed(session: &Session, before: &wire::Block, after: &wire::Block) -> String {
    let name = |b: &wire::Block| format!("{} version {}", b.label, b.version);
    let diff = unified(&name(before), &printable(&before.value), &name(after), &printable(&after.value), session.out.paint);
    if diff.is_empty() { format!("{}: nothing changed\n", name(after)) } else { diff }
}

/// Versions, newest first.
async fn versions(session: &Session, block: &wire::Block, limit: u32) -> Result<crate::client::List, CliError> {
    session.client().await?.whole(Request::get(&["blocks", &block.id, "history"]).query("limit", limit)).await
}

async fn history(session: &Session, which: &Which, limit: u32) -> Result<(), CliError> {
    let block = which.find(session).await?;
    let list = versions(session, &block, limit).await?;
    let table = Table::new().number("version").name("when").name("edit").name("by").number("chars").text("value");
    let row = |v: wire::BlockVersion| {
        let source = v.provenance.run.or(v.provenance.conversation).or(v.provenance.user);
        let by = [Some(v.provenance.channel), source].into_iter().flatten().collect::<Vec<_>>().join(" ");
        vec![v.version.to_string(), moment(&v.at), v.edit.op, by, thousands(v.value_after.chars().count() as u64), v.value_after]
    };
    session.show_list(list, table, row, "no versions")
}

async fn diff(session: &Session, which: &Which, from: Option<u64>, to: Option<u64>) -> Result<(), CliError> {
    let block = which.find(session).await?;
    let all: Vec<wire::BlockVersion> =
        versions(session, &block, 1_000).await?.items.into_iter().map(|v| read(v, "a version")).collect::<Result<_, _>>()?;
    let find = |version: u64| {
        all.iter().find(|v| v.version == version).ok_or_else(|| {
            let hint = format!("`sid block history {}` shows the versions", block.id);
            CliError::failed("SID-CLI-NO-VERSION", format!("block `{}` has no version {version}", block.label), hint)
        })
    };
    let to = find(to.unwrap_or(block.version))?;
    // Before the first version there was nothing.
    let from = match from.unwrap_or(to.version.saturating_sub(1)) {
        0 => &wire::BlockVersion::default(),
        version => find(version)?,
    };
    if session.out.json {
        let side = |v: &wire::BlockVersion| json!({"version": v.version, "value": v.value_after, "at": v.at});
        return session.out.value(&json!({"block": block.id, "label": block.label, "from": side(from), "to": side(to)}));
    }
    let name = |v: &wire::BlockVersion| format!("{} version {}", block.label, v.version);
    let text = unified(&name(from), &printable(&from.value_after), &name(to), &printable(&to.value_after), session.out.paint);
    if text.is_empty() { session.out.note("the two versions are equal") } else { session.out.text(&text) }
}

/// Takes the last change of a block back, after asking; `/undo` in a chat.
pub(crate) async fn undo_by_label(session: &Session, owner: &Owner, label: &str) -> Result<(), CliError> {
    let block = by_label(session, owner, label).await?;
    undo(session, block, None, false).await
}

async fn undo(session: &Session, block: wire::Block, to: Option<u64>, yes: bool) -> Result<(), CliError> {
    let all = versions(session, &block, 1_000).await?.items;
    let target = to.unwrap_or(block.version.saturating_sub(1));
    let version =
        all.into_iter().map(|v| read::<wire::BlockVersion>(v, "a version")).find(|v| v.as_ref().is_ok_and(|v| v.version == target));
    let Some(version) = version.transpose()? else {
        let (message, hint) = match (to, block.version) {
            (None, 0 | 1) => ("this is the block's first version: there is nothing to undo".to_owned(), String::new()),
            _ => {
                (format!("block `{}` has no version {target}", block.label), format!("`sid block history {}` shows the versions", block.id))
            }
        };
        return Err(CliError::failed("SID-CLI-NO-VERSION", message, hint));
    };
    let after = wire::Block { value: version.value_after, version: block.version + 1, ..block.clone() };
    if !session.out.json && !yes {
        session.out.text(&what_changed(session, &block, &after))?;
    }
    if !session.out.confirm(&format!("Set `{}` back to version {target}?", block.label), yes)? {
        return session.out.note("nothing was changed");
    }
    let request = Request::post(&["blocks", &block.id, "undo"]).json(json!({"to_version": target}));
    session.ask(request, "the block", |after| what_changed(session, &block, &after)).await
}

/// The text; `-` stands for what comes from standard input.
pub(crate) fn text_or_stdin(text: String) -> Result<String, CliError> {
    if text != "-" {
        return Ok(text);
    }
    let mut all = String::new();
    std::io::stdin().read_to_string(&mut all).map_err(|e| CliError::file("read", Path::new("standard input"), &e))?;
    all.truncate(all.trim_end_matches(['\r', '\n']).len());
    Ok(all)
}
