//! An empty database on the throw-away Postgres, for programs that are not written in Rust: prints its URLs as one line of JSON
//! (`admin_url` of a superuser, `url` of a login role that servers may use, `name`), and drops it when standard input closes.
//! `postgres_server sql DATABASE STATEMENT` runs SQL in such a database as a superuser instead.
#![allow(clippy::print_stdout, reason = "its caller reads it")]

use std::io::Read as _;

use sid_testkit::postgres::{ADMIN, Cluster};

/// What servers log in as: nothing yet, until a migration lets it in.
const SERVER: &str = "sid_server";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cluster = Cluster::shared().map_err(anyhow::Error::msg)?;
    let role = format!("DO $$ BEGIN CREATE ROLE {SERVER} LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$");
    let _ = cluster.sql("postgres", &role);
    if let [_, command, name, statement] = &std::env::args().collect::<Vec<_>>()[..]
        && command == "sql"
    {
        println!("{}", cluster.sql(name, statement));
        return Ok(());
    }
    let database = cluster.database("empty", async |_| ()).await;
    let urls = serde_json::json!({"admin_url": database.url(ADMIN), "url": database.url(SERVER), "name": database.name()});
    println!("{urls}");
    let mut nothing = Vec::new();
    std::io::stdin().read_to_end(&mut nothing)?;
    Ok(())
}
