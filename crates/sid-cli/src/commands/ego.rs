//! `sid ego`: agents that meet people as one.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::agent::template;
use crate::client::Request;
use crate::error::CliError;
use crate::output::table::{Table, facts};
use crate::output::text::moment;
use crate::session::{Paging, Session, given, named};
use crate::wire;

/// Egos.
#[derive(Debug, Subcommand)]
pub enum Ego {
    /// All egos, by name
    List,
    /// One ego
    Show {
        /// Its name
        name: String,
    },
    /// Make an ego, or put this one in its place
    Put {
        /// Its name; no agent has it
        name: String,
        /// The agent that people speak with
        #[arg(long, value_name = "AGENT")]
        spokesperson: String,
        /// An agent that the spokesperson asks, tells and gives work to; may be repeated
        #[arg(long = "member", value_name = "AGENT", required = true)]
        members: Vec<String>,
        /// Whose memory its blocks are
        #[arg(long, default_value = "per-user")]
        memory: Memory,
        /// A block that all of them read and write; may be repeated
        #[arg(long = "block", value_name = "LABEL[:LIMIT][=DESCRIPTION]", value_parser = template)]
        blocks: Vec<Value>,
    },
    /// Take an ego away; its agents and their memory stay
    Drop {
        /// Its name
        name: String,
    },
}

/// Whose memory an ego's blocks are.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Memory {
    /// Each user has blocks of her own
    PerUser,
    /// All users share them
    Shared,
}

pub(crate) async fn run(command: Ego, session: &Session) -> Result<(), CliError> {
    let paint = session.out.paint;
    let show = move |ego: wire::Ego| {
        let blocks: Vec<String> = ego.blocks.iter().map(|b| b.label.clone()).collect();
        let mut lines = vec![
            ("name", ego.name),
            ("spokesperson", ego.spokesperson),
            ("members", ego.members.join(", ")),
            ("memory", ego.memory),
            ("blocks", blocks.join(", ")),
            ("version", ego.version.to_string()),
            ("made", moment(&ego.created_at)),
            ("changed", moment(&ego.updated_at)),
        ];
        lines.retain(|(_, value)| !value.is_empty());
        facts(&lines, paint)
    };
    match command {
        Ego::List => {
            let table = Table::new().name("name").name("memory").name("spokesperson").name("members").name("changed");
            let row = |e: wire::Ego| vec![e.name, e.memory, e.spokesperson, e.members.len().to_string(), moment(&e.updated_at)];
            let everything = Paging { limit: 50, after: None, all: true };
            session
                .list(
                    Request::get(&["egos"]),
                    &everything,
                    table,
                    row,
                    "no egos yet; make one: sid ego put NAME --spokesperson AGENT --member AGENT",
                )
                .await
        }
        Ego::Show { name } => session.ask(Request::get(&["egos", &name]), "the ego", show).await,
        Ego::Put { name, spokesperson, members, memory, blocks } => {
            let members: Vec<String> = members.iter().map(|m| named("agent", m)).collect();
            let memory = match memory {
                Memory::PerUser => "per_user",
                Memory::Shared => "shared",
            };
            let body = given([
                ("spokesperson", Some(json!(named("agent", &spokesperson)))),
                ("members", Some(json!(members))),
                ("memory", Some(json!(memory))),
                ("blocks", Some(Value::Array(blocks))),
            ]);
            session.ask(Request::put(&["egos", &name]).json(body), "the ego", show).await
        }
        Ego::Drop { name } => {
            session.client().await?.send(Request::delete(&["egos", &name])).await?;
            if session.out.json {
                return session.out.value(&json!({"name": name, "dropped": true}));
            }
            session.out.line(&format!("{name} is gone; its agents and their memory stay"))
        }
    }
}
