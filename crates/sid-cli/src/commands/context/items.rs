//! Items: adding, reading, changing, deleting and sharing them.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Kind, became, row, table, wish};
use crate::client::Request;
use crate::commands::block::text_or_stdin;
use crate::error::CliError;
use crate::output::table::{Table, facts};
use crate::output::text::{moment, printable};
use crate::session::{Paging, Session, given, named};
use crate::wire;

/// What to do with items.
#[derive(Debug, Subcommand)]
pub(super) enum Items {
    /// Add an item; assistants add freely
    Add {
        /// What it is
        kind: Kind,
        /// One line
        title: String,
        /// For a team's own, not the user's
        #[arg(long, value_name = "TEAM")]
        team: Option<String>,
        #[command(flatten)]
        parts: Parts,
    },
    /// One item, whole
    Show {
        /// Its id
        id: String,
        /// With all that is below it, as Markdown
        #[arg(long)]
        document: bool,
    },
    /// Items, the last changed first
    List {
        /// Only this kind
        #[arg(long)]
        kind: Option<Kind>,
        /// Only with this tag
        #[arg(long)]
        tag: Option<String>,
        /// Only in this state
        #[arg(long)]
        state: Option<String>,
        /// All of the tree that this item is in
        #[arg(long, value_name = "ID")]
        tree: Option<String>,
        /// What others share, not the user's own
        #[arg(long, conflicts_with = "team")]
        shared: bool,
        /// What is a team's
        #[arg(long, value_name = "TEAM")]
        team: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Search among items, by words and by meaning
    Search {
        /// Natural language, dates included
        #[arg(required = true)]
        words: Vec<String>,
        /// Most hits
        #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
        k: u32,
        /// Only these kinds, with commas between them
        #[arg(long, value_delimiter = ',')]
        kinds: Vec<Kind>,
    },
    /// Change an item; what an assistant may not decide alone becomes a proposal
    Edit {
        /// Its id
        id: String,
        /// Another title
        #[arg(long)]
        title: Option<String>,
        /// Only if this is still the version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
        #[command(flatten)]
        parts: Parts,
    },
    /// Delete an item with all that is below it
    Delete {
        /// Its id
        id: String,
        /// Only if this is still the version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Share a tree, or change the level; without --with and --team: who it is shared with
    Share {
        /// The top of the tree
        id: String,
        #[command(flatten)]
        sharee: Sharee,
        /// What they may do
        #[arg(long, default_value = "read")]
        level: Level,
    },
    /// End a sharing, at once
    Unshare {
        /// The top of the tree
        id: String,
        #[command(flatten)]
        sharee: Sharee,
    },
}

/// What an item has besides its title.
#[derive(Debug, Args)]
pub(super) struct Parts {
    /// The text; `-` = from standard input
    #[arg(long)]
    body: Option<String>,
    /// Tags, with commas between them
    #[arg(long, value_delimiter = ',')]
    tags: Option<Vec<String>>,
    /// What it is a part of
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// Of projects: planning, active, on_hold, evolving, complete or archived
    #[arg(long)]
    state: Option<String>,
    /// Order among the parts of one parent
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    position: Option<i32>,
}

impl Parts {
    fn json(self, title: Option<String>) -> Result<Value, CliError> {
        Ok(given([
            ("title", title.map(Value::String)),
            ("body", self.body.map(text_or_stdin).transpose()?.map(Value::String)),
            ("tags", self.tags.map(|tags| json!(tags.into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>()))),
            ("parent", self.parent.map(Value::String)),
            ("state", self.state.map(Value::String)),
            ("position", self.position.map(|n| json!(n))),
        ]))
    }
}

/// With whom.
#[derive(Debug, Args)]
pub(super) struct Sharee {
    /// A person who is in a team with the owner
    #[arg(long, value_name = "USER")]
    with: Option<String>,
    /// Everybody in a team
    #[arg(long, value_name = "TEAM", conflicts_with = "with")]
    team: Option<String>,
}

impl Sharee {
    /// Its name for the API and the value; `None` = nobody was named.
    fn named(&self) -> Option<(&'static str, String)> {
        match (&self.with, &self.team) {
            (Some(user), _) => Some(("user", named("user", user))),
            (None, Some(team)) => Some(("team", named("team", team))),
            (None, None) => None,
        }
    }
}

/// What somebody may do with a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Level {
    /// Read it
    Read,
    /// Change it, and add to it
    Edit,
    /// Delete below its top, too
    Full,
}

/// As the API calls it.
fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

fn team_owner(team: &str) -> Value {
    json!({"type": "team", "team": named("team", team)})
}

pub(super) async fn run(command: Items, session: &Session) -> Result<(), CliError> {
    match command {
        Items::Add { kind, title, team, parts } => {
            let mut body = parts.json(Some(title))?;
            body["kind"] = json!(name(kind));
            if let Some(team) = team {
                body["owner"] = team_owner(&team);
            }
            let show = |item: wire::Item| format!("added {} ({})\n", item.id, item.kind);
            session.ask(Request::post(&["context", "items"]).json(body), "the item", show).await
        }
        Items::Show { id, document: true } => {
            let show = |tree: wire::Tree| printable(&tree.markdown);
            session.ask(Request::get(&["context", "items", &id, "document"]), "the document", show).await
        }
        Items::Show { id, document: false } => {
            session.ask(Request::get(&["context", "items", &id]), "the item", |item| render(&item, session)).await
        }
        Items::List { kind, tag, state, tree, shared, team, paging } => {
            let request = Request::get(&["context", "items"])
                .query_if("kind", kind.map(name))
                .query_if("tag", tag)
                .query_if("state", state)
                .query_if("tree", tree)
                .query_if("shared", shared.then_some(true))
                .query_if("owner_type", team.is_some().then_some("team"))
                .query_if("team", team.map(|team| named("team", &team)));
            session.list(request, &paging, table(), row, "nothing is kept; add something: sid context add note TITLE").await
        }
        Items::Search { words, k, kinds } => {
            let kinds: Vec<String> = kinds.into_iter().map(name).collect();
            let body = json!({"query": words.join(" "), "k": k, "kinds": kinds});
            let show = |found: wire::FoundItems| {
                let mut table = Table::new().number("score").name("kind").name("id").text("title").text("excerpt");
                for hit in found.hits {
                    table.row([format!("{:.2}", hit.score), hit.item.kind, hit.item.id, hit.item.title, hit.excerpt]);
                }
                if table.is_empty() { "nothing found\n".into() } else { table.render(session.out.cut_to(), session.out.paint) }
            };
            session.ask(Request::post(&["context", "search"]).json(body), "what was found", show).await
        }
        Items::Edit { id, title, if_version, parts } => {
            let edit = parts.json(title)?;
            if edit.as_object().is_some_and(serde_json::Map::is_empty) {
                return Err(CliError::Usage(
                    "there is nothing to change: say --title, --body, --tags, --state, --position or --parent".into(),
                ));
            }
            let request = Request::patch(&["context", "items", &id]).json(edit).header_if("if-match", tag_of(if_version).as_deref());
            session.ask(request, "the item", |done| became(&done, "changed")).await
        }
        Items::Delete { id, if_version, yes } => {
            if !session.out.confirm(&format!("Delete {id} with all that is below it?"), yes)? {
                return session.out.note("nothing was deleted");
            }
            let request = Request::delete(&["context", "items", &id]).header_if("if-match", tag_of(if_version).as_deref());
            session.ask(request, "what became of it", |done| became(&done, "deleted")).await
        }
        Items::Share { id, sharee, level } => {
            let Some((kind, who)) = sharee.named() else { return shares(session, &id).await };
            let body = json!({kind: who, "level": name(level)});
            session.client().await?.send(Request::put(&["context", "items", &id, "shares"]).json(body)).await?;
            done(session, "shared", &id)
        }
        Items::Unshare { id, sharee } => {
            let Some((kind, who)) = sharee.named() else {
                return Err(CliError::Usage("say with whom it is shared no longer: --with USER or --team TEAM".into()));
            };
            session.client().await?.send(Request::delete(&["context", "items", &id, "shares"]).query(kind, who)).await?;
            done(session, "shared no longer:", &id)
        }
    }
}

/// A version as an entity tag.
pub(super) fn tag_of(version: Option<u64>) -> Option<String> {
    version.map(|v| format!("\"{v}\""))
}

async fn shares(session: &Session, id: &str) -> Result<(), CliError> {
    let list = session.client().await?.whole(Request::get(&["context", "items", id, "shares"])).await?;
    let table = Table::new().name("with").name("id").name("level").name("since");
    let row = |share: wire::Share| {
        let kind = if share.user.is_some() { "user" } else { "team" };
        vec![kind.into(), share.user.or(share.team).unwrap_or_default(), share.level, moment(&share.created_at)]
    };
    session.show_list(list, table, row, "it is shared with nobody")
}

/// For calls whose answer is empty.
pub(super) fn done(session: &Session, what: &str, id: &str) -> Result<(), CliError> {
    if session.out.json {
        session.out.value(&json!({"done": what.trim_end_matches(':'), "id": id}))
    } else {
        session.out.line(&format!("{what} {id}"))
    }
}

pub(super) fn render(item: &wire::Item, session: &Session) -> String {
    let mut lines = vec![
        ("title", printable(&item.title)),
        ("kind", item.kind.clone()),
        ("id", item.id.clone()),
        ("owner", item.owner.describe()),
        ("state", item.state.clone()),
        ("tags", item.tags.join(", ")),
        ("part of", item.parent.clone().unwrap_or_default()),
        ("for", item.recipient.clone().unwrap_or_default()),
        ("you may", item.level.clone()),
        ("version", format!("{} of {}", item.version, moment(&item.updated_at))),
    ];
    if let Some(handoff) = &item.handoff {
        let until = handoff.claimed_until.as_deref().map(|at| format!(" until {}", moment(at))).unwrap_or_default();
        lines.push(("from", handoff.from.clone().unwrap_or_else(|| "the user".into())));
        lines.push(("claimed by", handoff.claimed_by.clone().map(|by| by + &until).unwrap_or_default()));
        lines.push(("result", printable(handoff.result.as_deref().unwrap_or_default())));
    }
    if let Some(proposal) = &item.proposal {
        lines.push(("about", format!("{} (version {})", proposal.item, proposal.version)));
        lines.push(("wish", wish(proposal)));
    }
    lines.retain(|(_, value)| !value.is_empty());
    let body = printable(item.body.as_deref().unwrap_or_default());
    let body = if body.is_empty() { body } else { format!("\n{}\n", body.trim_end()) };
    format!("{}{body}", facts(&lines, session.out.paint))
}
