//! Hand-offs between assistants.

use clap::Subcommand;
use serde_json::{Value, json};

use super::items::render;
use super::{row, table};
use crate::client::Request;
use crate::commands::block::text_or_stdin;
use crate::error::CliError;
use crate::session::{Session, given, named};
use crate::wire;

/// What to do with hand-offs.
#[derive(Debug, Subcommand)]
pub(super) enum Handoff {
    /// Leave work for another of the user's assistants
    Leave {
        /// One line
        title: String,
        /// All that the other needs to know; `-` = from standard input
        #[arg(long)]
        body: Option<String>,
        /// For which assistant [default: whichever comes first]
        #[arg(long, value_name = "AGENT")]
        to: Option<String>,
    },
    /// What may be picked up
    List,
    /// Pick one up: it is kept for the caller for a while
    Claim {
        /// Its id
        id: String,
    },
    /// End one that was claimed
    Finish {
        /// Its id
        id: String,
        /// What came of it; `-` = from standard input
        #[arg(long)]
        result: Option<String>,
    },
    /// Give a claimed one back
    Return {
        /// Its id
        id: String,
    },
    /// Take one back that nobody has finished
    Withdraw {
        /// Its id
        id: String,
    },
}

pub(super) async fn run(command: Handoff, session: &Session) -> Result<(), CliError> {
    match command {
        Handoff::Leave { title, body, to } => {
            let body = given([
                ("title", Some(json!(title))),
                ("body", body.map(text_or_stdin).transpose()?.map(Value::String)),
                ("recipient", to.map(|to| json!(named("agent", &to)))),
            ]);
            let show = |item: wire::Item| format!("left {}\n", item.id);
            session.ask(Request::post(&["context", "handoffs"]).json(body), "the hand-off", show).await
        }
        Handoff::List => {
            let list = session.client().await?.whole(Request::get(&["context", "handoffs"])).await?;
            session.show_list(list, table(), row, "nothing waits")
        }
        Handoff::Claim { id } => step(session, &id, "claim", json!({})).await,
        Handoff::Finish { id, result } => {
            let result = result.map(text_or_stdin).transpose()?.map(Value::String);
            step(session, &id, "finish", given([("result", result)])).await
        }
        Handoff::Return { id } => step(session, &id, "return", json!({})).await,
        Handoff::Withdraw { id } => step(session, &id, "withdraw", json!({})).await,
    }
}

/// A step in its life, and what it is then.
async fn step(session: &Session, id: &str, what: &str, body: Value) -> Result<(), CliError> {
    session.ask(Request::post(&["context", "handoffs", id, what]).json(body), "the hand-off", |item| render(&item, session)).await
}
