//! `sid approvals`: calls of agents that wait for a yes.

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::client::Request;
use crate::error::CliError;
use crate::output::table::{Table, facts};
use crate::output::text::{moment, one_line, printable};
use crate::session::{Paging, Session, given};
use crate::wire;

/// Calls that wait, or waited, for somebody's word.
#[derive(Debug, Subcommand)]
pub enum Approvals {
    /// Those that wait, newest first
    List {
        /// Others
        #[arg(long, value_enum, default_value = "pending")]
        status: Status,
        #[command(flatten)]
        paging: Paging,
    },
    /// One of them, with all that the call is made with
    Show {
        /// Its id
        id: String,
    },
    /// Say yes: the call is made as it was shown
    Approve {
        /// Its id
        id: String,
        /// What the agent is told beside it
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// Say no
    Deny {
        /// Its id
        id: String,
        /// What the agent is told beside it
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
}

/// Which to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Status {
    /// Nobody has said anything yet
    Pending,
    /// Somebody said yes
    Approved,
    /// Somebody said no
    Denied,
    /// Nobody said anything in time
    Expired,
    /// All of them
    All,
}

impl Status {
    const fn query(self) -> Option<&'static str> {
        match self {
            Self::Pending => Some("pending"),
            Self::Approved => Some("approved"),
            Self::Denied => Some("denied"),
            Self::Expired => Some("expired"),
            Self::All => None,
        }
    }
}

pub(crate) async fn run(command: Approvals, session: &Session) -> Result<(), CliError> {
    let paint = session.out.paint;
    let show = move |a: wire::Approval| {
        let arguments = serde_json::to_string_pretty(&a.arguments).unwrap_or_default();
        let mut rows = vec![
            ("id", a.id),
            ("call", a.tool),
            ("status", a.status),
            ("why", printable(&a.reason)),
            ("asked", moment(&a.asked_at)),
            ("expires", moment(&a.expires_at)),
            ("conversation", a.conversation),
        ];
        rows.extend(a.decided_by.map(|by| ("decided by", by)));
        rows.extend(a.note.map(|note| ("note", printable(&note))));
        rows.extend(a.answered_by.map(|run| ("told by", run)));
        format!("{}\n{}\n", facts(&rows, paint), printable(&arguments))
    };
    match command {
        Approvals::List { status, paging } => {
            let mut request = Request::get(&["approvals"]);
            if let Some(status) = status.query() {
                request = request.query("status", status);
            }
            let table = Table::new().name("id").name("status").name("call").text("with").name("asked").text("why");
            let row = |a: wire::Approval| {
                vec![a.id, a.status, a.tool, one_line(&a.arguments.to_string()), moment(&a.asked_at), one_line(&a.reason)]
            };
            session.list(request, &paging, table, row, "nothing waits for you").await
        }
        Approvals::Show { id } => session.ask(Request::get(&["approvals", &id]), "the approval", show).await,
        Approvals::Approve { id, note } => session.ask(decide(&id, "approve", note), "the approval", show).await,
        Approvals::Deny { id, note } => session.ask(decide(&id, "deny", note), "the approval", show).await,
    }
}

/// A decision as a request.
pub(crate) fn decide(id: &str, decision: &str, note: Option<String>) -> Request {
    Request::post(&["approvals", id]).json(given([("decision", Some(json!(decision))), ("note", note.map(|note| json!(note)))]))
}
