//! The schema: its steps, and whether this program can work with what it finds.

use std::time::Duration;

use sid_store::StoreError;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use crate::error::{Fault, Result, code, unavailable};
use crate::migrate::Step;

/// Steps that were released are never changed.
pub(crate) const STEPS: &[Step] = &[
    Step::once(&[
        include_str!("../migrations/0001_tables.sql"),
        include_str!("../migrations/0001_security.sql"),
        include_str!("../migrations/0001_journal.sql"),
        include_str!("../migrations/0001_records.sql"),
        include_str!("../migrations/0001_engine.sql"),
    ]),
    Step::once(&[
        include_str!("../migrations/0002_versions.sql"),
        include_str!("../migrations/0002_tuning.sql"),
        include_str!("../migrations/0002_vectors.sql"),
        include_str!("../migrations/0002_search.sql"),
        include_str!("../migrations/0002_duties.sql"),
        include_str!("../migrations/0002_generations.sql"),
        // The last ones lock what every turn writes until the step is committed: a trigger on steps, then the event log.
        include_str!("../migrations/0002_limits.sql"),
        include_str!("../migrations/0002_retention.sql"),
        include_str!("../migrations/0002_compression.sql"),
    ]),
    // Servers of schema 2 go on: what they erase takes items along, whom they put into a team is in the teams above it, and keys that may
    // do less than they know of are none to them.
    Step::once(&[
        include_str!("../migrations/0003_audit.sql"),
        include_str!("../migrations/0003_keys.sql"),
        include_str!("../migrations/0003_toolsets.sql"),
        // The last ones lock, for a moment, what every turn reads: conversations get a trigger, teams a column.
        include_str!("../migrations/0003_items.sql"),
        include_str!("../migrations/0003_teams.sql"),
    ])
    .for_programs_from(2),
    // Servers of schema 3 go on.
    Step::once(&[
        include_str!("../migrations/0004_tasks.sql"),
        include_str!("../migrations/0004_documents.sql"),
        include_str!("../migrations/0004_approvals.sql"),
        include_str!("../migrations/0004_clients.sql"),
        include_str!("../migrations/0004_egos.sql"),
        include_str!("../migrations/0004_writes.sql"),
        include_str!("../migrations/0004_lookups.sql"),
        // The last ones lock, for a moment, what turns read and write: the diary gets a column, steps, conversations and runs get triggers.
        include_str!("../migrations/0004_tokens.sql"),
        include_str!("../migrations/0004_provenance.sql"),
        include_str!("../migrations/0004_perpetual.sql"),
        include_str!("../migrations/0004_images.sql"),
        include_str!("../migrations/0004_timers.sql"),
        include_str!("../migrations/0004_webhooks.sql"),
        include_str!("../migrations/0004_statistics.sql"),
    ])
    .for_programs_from(3),
];

/// The oldest server that `hash partitioning`, `xid8` and row-level security are known to work with as they are used here.
const OLDEST_SERVER: i32 = 150_000;

const IS_THERE: &str = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'sid' AND c.relname = 'schema_version')";

/// The schema's version; 0 = there is none.
pub(crate) async fn version(conn: &mut PgConnection) -> Result<u32> {
    let row = sqlx::raw_sql(IS_THERE).fetch_one(&mut *conn).await?;
    if !row.try_get::<bool, _>(0)? {
        return Ok(0);
    }
    let row = sqlx::raw_sql("SELECT coalesce(max(version), 0) FROM sid.schema_version").fetch_one(conn).await?;
    Ok(u32::try_from(row.try_get::<i32, _>(0)?).unwrap_or_default())
}

/// The oldest program, told by the schema that it was made for, that can live with every step after `known`; 0 = there is none.
pub(crate) async fn oldest_program(conn: &mut PgConnection, known: u32) -> Result<u32> {
    let sql = format!("SELECT coalesce(max(coalesce(compatible_from, version)), 0) FROM sid.schema_version WHERE version > {known}");
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(conn).await?;
    Ok(u32::try_from(row.try_get::<i32, _>(0)?).unwrap_or_default())
}

/// Looks whether this program can work with the database, as this role. On a connection of its own, because a pool would try a server that
/// refuses it again and again, and would not say why.
pub(crate) async fn check(options: PgConnectOptions, patience: Duration) -> Result<(), StoreError> {
    let mut conn = connect(options, patience).await?;
    let outcome = check_on(&mut conn).await;
    let _ = conn.close().await;
    outcome
}

pub(crate) async fn connect(options: PgConnectOptions, patience: Duration) -> Result<PgConnection, StoreError> {
    let place = format!("{}:{}", options.get_host(), options.get_port());
    match tokio::time::timeout(patience, options.connect()).await {
        Ok(Ok(conn)) => Ok(conn),
        Ok(Err(error)) => Err(opening(error, &place)),
        Err(_) => Err(unavailable(format!("no answer from {place} in {patience:?}"))),
    }
}

async fn check_on(conn: &mut PgConnection) -> Result<(), StoreError> {
    let known = STEPS.len() as u32;
    let found = version(conn).await.map_err(|fault| match fault {
        // The schema is there and nobody has let this role in.
        Fault::Sql(error) if code(&error).as_deref() == Some("42501") => not_a_member(),
        other => other.into(),
    })?;
    if found == 0 {
        return Err(StoreError::Setup("the database has no schema of Sid's: run `sid-server migrate` on it first".into()));
    }
    if found > known && oldest_program(conn, known).await? > known {
        return Err(newer(found, known));
    }
    if found < known {
        return Err(StoreError::Setup(format!(
            "the database has schema {found}, this version of Sid needs {known}: run `sid-server migrate` before the new servers start"
        )));
    }
    // The simple protocol: one message, whatever pooler stands in between.
    let row = sqlx::raw_sql(
        "SELECT r.rolsuper OR r.rolbypassrls, pg_has_role(r.oid, 'sid_app', 'MEMBER'),
            EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'sid' AND c.relname = 'messages' AND pg_has_role(r.oid, c.relowner, 'MEMBER')),
            current_setting('server_version_num')::int, current_setting('server_encoding')
         FROM pg_roles r WHERE r.rolname = current_user",
    )
    .fetch_one(conn)
    .await
    .map_err(Fault::Sql)?;
    let flag = |column| row.try_get::<bool, _>(column).map_err(|e| StoreError::from(Fault::Sql(e)));
    if flag(0)? || flag(2)? {
        return Err(StoreError::Setup(
            "row-level security would not bind this role (a superuser, BYPASSRLS or the tables' owner): connect as a role that is a member of `sid_app` and nothing more"
                .into(),
        ));
    }
    if !flag(1)? {
        return Err(not_a_member());
    }
    let server: i32 = row.try_get(3).map_err(|e| StoreError::from(Fault::Sql(e)))?;
    if server < OLDEST_SERVER {
        return Err(StoreError::Setup(format!("the server is Postgres {}: Sid needs 15 or newer", server / 10_000)));
    }
    let encoding: String = row.try_get(4).map_err(|e| StoreError::from(Fault::Sql(e)))?;
    if encoding != "UTF8" {
        return Err(StoreError::Setup(format!("the database is encoded in {encoding}: make it anew with ENCODING 'UTF8'")));
    }
    Ok(())
}

fn not_a_member() -> StoreError {
    StoreError::Setup("the role may not use Sid's tables: GRANT sid_app TO it".into())
}

pub(crate) fn newer(found: u32, known: u32) -> StoreError {
    StoreError::Setup(format!(
        "the database was written by a newer Sid (schema {found}, this one knows {known}): upgrade Sid, or restore a backup that was made before"
    ))
}

/// What connecting failed with, in words for a person.
fn opening(error: sqlx::Error, place: &str) -> StoreError {
    match code(&error).as_deref() {
        Some("3D000") => StoreError::Setup(format!("there is no such database ({error}): check the URL, or create it")),
        Some("28000" | "28P01") => StoreError::Setup(format!("the server refused this user ({error}): check user and password in the URL")),
        _ => match error {
            error @ (sqlx::Error::Configuration(_) | sqlx::Error::Tls(_)) => {
                StoreError::Setup(format!("the database cannot be reached as the URL says ({error})"))
            }
            other => unavailable(format!("{place} cannot be reached ({other}): is Postgres running there, and is the URL right?")),
        },
    }
}
