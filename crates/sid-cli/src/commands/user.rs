//! `sid user`: the people of a tenant.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::client::Request;
use crate::commands::erase;
use crate::error::CliError;
use crate::output::table::{Table, facts};
use crate::output::text::moment;
use crate::session::{Paging, Session, given, named};
use crate::wire;

/// Users.
#[derive(Debug, Subcommand)]
pub enum User {
    /// All users, oldest first
    List(Paging),
    /// Make a user
    Create {
        /// The application's own name for the user, unique in the tenant
        handle: String,
        /// What agents call the user
        #[arg(long)]
        name: Option<String>,
        /// IANA time zone, such as Europe/Berlin
        #[arg(long)]
        timezone: Option<String>,
        /// When agents begin nothing by themselves, such as 22:00-07:00
        #[arg(long, value_name = "FROM-TO")]
        quiet_hours: Option<String>,
    },
    /// One user
    Show {
        /// Handle or id
        handle: String,
    },
    /// Change what agents call the user, the time zone, or the quiet hours
    Update {
        /// Handle or id
        handle: String,
        /// What agents call the user
        #[arg(long)]
        name: Option<String>,
        /// IANA time zone; `none` = UTC
        #[arg(long)]
        timezone: Option<String>,
        /// When agents begin nothing by themselves, such as 22:00-07:00; `none` = what the agent says
        #[arg(long, value_name = "FROM-TO")]
        quiet_hours: Option<String>,
    },
    /// Erase a user with all conversations and memory (the same as `sid erase user`)
    Delete {
        /// Handle or id
        handle: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) async fn run(command: User, session: &Session) -> Result<(), CliError> {
    let paint = session.out.paint;
    let show = move |u: wire::User| {
        let zone = u.timezone.unwrap_or_else(|| "UTC".into());
        let quiet = u.quiet_hours.unwrap_or_else(|| "as the agent says".into());
        let made = moment(&u.created_at);
        facts(&[("handle", u.handle), ("id", u.id), ("name", u.display_name), ("time zone", zone), ("quiet", quiet), ("made", made)], paint)
    };
    match command {
        User::List(paging) => {
            let table = Table::new().name("handle").text("name").name("time zone").name("id").name("made");
            let row =
                |u: wire::User| vec![u.handle, u.display_name, u.timezone.unwrap_or_else(|| "UTC".into()), u.id, moment(&u.created_at)];
            session.list(Request::get(&["users"]), &paging, table, row, "no users yet; make one: sid user create HANDLE").await
        }
        User::Create { handle, name, timezone, quiet_hours } => {
            let body = given([
                ("handle", Some(json!(handle.trim_start_matches('@')))),
                ("display_name", name.map(Value::String)),
                ("timezone", timezone.map(Value::String)),
                ("quiet_hours", quiet_hours.map(Value::String)),
            ]);
            session.ask(Request::post(&["users"]).json(body), "the user", show).await
        }
        User::Show { handle } => session.ask(Request::get(&["users", &named("user", &handle)]), "the user", show).await,
        User::Update { handle, name, timezone, quiet_hours } => {
            if name.is_none() && timezone.is_none() && quiet_hours.is_none() {
                return Err(CliError::Usage("name at least one thing to change: --name, --timezone or --quiet-hours".into()));
            }
            let zone = timezone.map(|zone| if zone == "none" { Value::Null } else { Value::String(zone) });
            let quiet = quiet_hours.map(|hours| if hours == "none" { Value::Null } else { Value::String(hours) });
            let body = given([("display_name", name.map(Value::String)), ("timezone", zone), ("quiet_hours", quiet)]);
            session.ask(Request::patch(&["users", &named("user", &handle)]).json(body), "the user", show).await
        }
        User::Delete { handle, yes } => erase::user(session, &handle, yes).await,
    }
}
