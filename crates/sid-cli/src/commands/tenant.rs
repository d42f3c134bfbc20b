//! `sid tenant`: customer organisations, the operator's own.

use clap::Subcommand;
use serde_json::json;

use crate::client::Request;
use crate::error::CliError;
use crate::output::table::{Table, facts};
use crate::output::text::moment;
use crate::session::{Paging, Session};
use crate::wire;

/// Tenants (operators only).
#[derive(Debug, Subcommand)]
pub enum Tenant {
    /// All tenants, oldest first
    List(Paging),
    /// Make a tenant
    Create {
        /// Its name, unique
        name: String,
    },
}

pub(crate) async fn run(command: Tenant, session: &Session) -> Result<(), CliError> {
    match command {
        Tenant::List(paging) => {
            let table = Table::new().name("name").name("id").name("made");
            let row = |t: wire::Named| vec![t.name, t.id, moment(&t.created_at)];
            session.list(Request::get(&["tenants"]), &paging, table, row, "no tenants yet; make one: sid tenant create NAME").await
        }
        Tenant::Create { name } => {
            let paint = session.out.paint;
            let show = move |t: wire::Named| facts(&[("name", t.name), ("id", t.id), ("made", moment(&t.created_at))], paint);
            session.ask(Request::post(&["tenants"]).json(json!({"name": name})), "the tenant", show).await
        }
    }
}
