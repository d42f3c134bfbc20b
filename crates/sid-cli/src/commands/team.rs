//! `sid team`: groups of users that share memory.

use clap::Subcommand;
use serde_json::json;

use crate::client::Request;
use crate::error::CliError;
use crate::output::table::{Table, facts};
use crate::output::text::moment;
use crate::session::{Paging, Session, named};
use crate::wire;

/// Teams.
#[derive(Debug, Subcommand)]
pub enum Team {
    /// All teams, by name
    List(Paging),
    /// Make a team
    Create {
        /// Its name, unique in the tenant
        name: String,
    },
    /// One team
    Show {
        /// Name or id
        team: String,
    },
    /// Who is in it
    Members {
        /// Name or id
        team: String,
    },
    /// Add users, in force for the very next search
    Add {
        /// Name or id
        team: String,
        /// Handles or ids
        #[arg(required = true)]
        users: Vec<String>,
    },
    /// Take users out, in force for the very next search
    Remove {
        /// Name or id
        team: String,
        /// Handles or ids
        #[arg(required = true)]
        users: Vec<String>,
    },
}

pub(crate) async fn run(command: Team, session: &Session) -> Result<(), CliError> {
    let paint = session.out.paint;
    let show = move |t: wire::Named| facts(&[("name", t.name), ("id", t.id), ("made", moment(&t.created_at))], paint);
    match command {
        Team::List(paging) => {
            let table = Table::new().name("name").name("id").name("made");
            let row = |t: wire::Named| vec![t.name, t.id, moment(&t.created_at)];
            session.list(Request::get(&["teams"]), &paging, table, row, "no teams yet; make one: sid team create NAME").await
        }
        Team::Create { name } => session.ask(Request::post(&["teams"]).json(json!({"name": name})), "the team", show).await,
        Team::Show { team } => session.ask(Request::get(&["teams", &named("team", &team)]), "the team", show).await,
        Team::Members { team } => {
            let table = Table::new().name("handle").text("name").name("id");
            let row = |u: wire::User| vec![u.handle, u.display_name, u.id];
            let everybody = Paging { limit: 50, after: None, all: true };
            let request = Request::get(&["teams", &named("team", &team), "members"]);
            session.list(request, &everybody, table, row, "nobody is in it; add somebody: sid team add TEAM HANDLE").await
        }
        Team::Add { team, users } => change(session, &team, &users, true).await,
        Team::Remove { team, users } => change(session, &team, &users, false).await,
    }
}

async fn change(session: &Session, team: &str, users: &[String], member: bool) -> Result<(), CliError> {
    for user in users {
        let path = ["teams", &named("team", team), "members", &named("user", user)];
        let request = if member { Request::put(&path) } else { Request::delete(&path) };
        session.client().await?.send(request).await?;
        if session.out.json {
            session.out.value(&json!({"team": team, "user": user, "member": member}))?;
        } else {
            session.out.line(&format!("{user} is {} {team}", if member { "in" } else { "no longer in" }))?;
        }
    }
    Ok(())
}
