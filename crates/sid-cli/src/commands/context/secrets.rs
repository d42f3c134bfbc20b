//! Secrets: kept sealed by the server, shown only when somebody asks for one.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::json;

use super::items::{done, tag_of};
use crate::client::Request;
use crate::error::CliError;
use crate::output::table::Table;
use crate::output::text::moment;
use crate::session::{Session, named};
use crate::wire;

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub(super) enum Secret {
    /// Keep a value under a name: asked for without showing it, or read from standard input to its end
    Set {
        /// Letters, digits, `-`, `_`, `.` and `/`
        name: String,
        /// What it is for; assistants read this
        #[arg(long, default_value = "")]
        description: String,
        /// Only in place of this version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
        #[command(flatten)]
        whose: Whose,
    },
    /// Names and descriptions, never values
    List {
        #[command(flatten)]
        whose: Whose,
    },
    /// Print a value; who asked is written to the audit log
    Reveal {
        /// Its name
        name: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Delete a secret
    Delete {
        /// Its name
        name: String,
        /// Only this version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
        #[command(flatten)]
        whose: Whose,
    },
}

/// Whose secret it is.
#[derive(Debug, Args)]
pub(super) struct Whose {
    /// A team's, not the user's
    #[arg(long, value_name = "TEAM")]
    team: Option<String>,
    /// The whole tenant's, not the user's
    #[arg(long, conflicts_with = "team")]
    of_tenant: bool,
}

impl Whose {
    fn query(&self, request: Request) -> Request {
        match &self.team {
            Some(team) => request.query("owner_type", "team").query("team", named("team", team)),
            None => request.query_if("owner_type", self.of_tenant.then_some("tenant")),
        }
    }
}

pub(super) async fn run(command: Secret, session: &Session) -> Result<(), CliError> {
    match command {
        Secret::Set { name, description, if_version, whose } => {
            let body = json!({"value": value(&name)?, "description": description});
            let request = whose.query(Request::put(&["context", "secrets", &name])).json(body);
            let request = request.header_if("if-match", tag_of(if_version).as_deref());
            session.ask(request, "the secret", |kept: wire::Secret| format!("kept {} (version {})\n", kept.name, kept.version)).await
        }
        Secret::List { whose } => {
            let list = session.client().await?.whole(whose.query(Request::get(&["context", "secrets"]))).await?;
            let table = Table::new().name("name").number("version").name("changed").text("description");
            let row = |s: wire::Secret| vec![s.name, s.version.to_string(), moment(&s.updated_at), s.description];
            session.show_list(list, table, row, "there are no secrets; keep one: sid context secret set NAME")
        }
        Secret::Reveal { name, whose } => {
            let request = whose.query(Request::post(&["context", "secrets", &name, "reveal"])).json(json!({}));
            session.ask(request, "the secret", |shown: wire::Revealed| format!("{}\n", shown.value)).await
        }
        Secret::Delete { name, if_version, whose } => {
            let request = whose.query(Request::delete(&["context", "secrets", &name])).header_if("if-match", tag_of(if_version).as_deref());
            session.client().await?.send(request).await?;
            done(session, "deleted", &name)
        }
    }
}

/// Never an argument: those stand in lists of processes and in histories.
fn value(name: &str) -> Result<String, CliError> {
    let failed = |e: std::io::Error| CliError::file("read", Path::new("standard input"), &e);
    if std::io::stdin().is_terminal() {
        let term = console::Term::stderr();
        term.write_str(&format!("value of {name} (not shown): ")).map_err(failed)?;
        return term.read_secure_line().map_err(failed);
    }
    let mut value = String::new();
    std::io::stdin().read_to_string(&mut value).map_err(failed)?;
    // The end of the line that `echo` and editors add is not part of it.
    let end = value.strip_suffix('\n').map_or(value.len(), |line| line.strip_suffix('\r').unwrap_or(line).len());
    value.truncate(end);
    Ok(value)
}
