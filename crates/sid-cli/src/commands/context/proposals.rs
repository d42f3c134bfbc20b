//! Changes that wait for the user's consent.

use clap::Subcommand;
use serde_json::json;

use super::items::done;
use super::{became, wish};
use crate::client::Request;
use crate::error::CliError;
use crate::output::table::Table;
use crate::session::{Paging, Session};
use crate::wire;

/// What to do with proposals.
#[derive(Debug, Subcommand)]
pub(super) enum Proposals {
    /// Those that wait
    List(Paging),
    /// Say yes: the change is made, if the item is still as the assistant had read it
    Approve {
        /// The proposal's id
        id: String,
    },
    /// Say no: the item stays as it is
    Reject {
        /// The proposal's id
        id: String,
    },
}

pub(super) async fn run(command: Proposals, session: &Session) -> Result<(), CliError> {
    match command {
        Proposals::List(paging) => {
            let request = Request::get(&["context", "items"]).query("kind", "proposal").query("state", "open");
            let table = Table::new().name("id").name("about").text("wish");
            let row = |item: wire::Item| {
                let proposal = item.proposal.unwrap_or_default();
                let wish = wish(&proposal);
                vec![item.id, proposal.item, wish]
            };
            session.list(request, &paging, table, row, "no proposal waits").await
        }
        Proposals::Approve { id } => {
            let request = Request::post(&["context", "proposals", &id, "approve"]).json(json!({}));
            session.ask(request, "what became of it", |after| became(&after, "approved")).await
        }
        Proposals::Reject { id } => {
            session.client().await?.send(Request::post(&["context", "proposals", &id, "reject"]).json(json!({}))).await?;
            done(session, "rejected", &id)
        }
    }
}
