//! The schema: embedded migrations, run on purpose and counted in a table.

use std::time::Duration;

use sid_store::{StoreError, crash_point};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use crate::error::{Fault, Result, code, unavailable};

/// Each step leads to the version that is its place in this list, from 1. Steps that were released are never changed.
const STEPS: &[&[&str]] = &[
    &[
        include_str!("../migrations/0001_tables.sql"),
        include_str!("../migrations/0001_security.sql"),
        include_str!("../migrations/0001_journal.sql"),
        include_str!("../migrations/0001_records.sql"),
        include_str!("../migrations/0001_engine.sql"),
    ],
    &[
        include_str!("../migrations/0002_tuning.sql"),
        include_str!("../migrations/0002_vectors.sql"),
        include_str!("../migrations/0002_search.sql"),
        include_str!("../migrations/0002_duties.sql"),
        include_str!("../migrations/0002_generations.sql"),
        // The last two lock what every turn writes until the step is committed: a trigger on steps, then the event log.
        include_str!("../migrations/0002_limits.sql"),
        include_str!("../migrations/0002_retention.sql"),
    ],
];

/// The oldest server that `hash partitioning`, `xid8` and row-level security are known to work with as they are used here.
const OLDEST_SERVER: i32 = 150_000;

/// How long a migration waits for its connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// What migrations hold while they run, so that two never do at once: `Sid pg` in ASCII.
const LOCK: i64 = 0x5369_6420_7067;

/// Asks the catalogue's tables, not its caches: those may be as old as the transaction, which has waited for another migration.
const IS_THERE: &str = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'sid' AND c.relname = 'schema_version')";

/// The schema's version; 0 = there is none.
async fn version(conn: &mut PgConnection) -> Result<u32> {
    let row = sqlx::raw_sql(IS_THERE).fetch_one(&mut *conn).await?;
    if !row.try_get::<bool, _>(0)? {
        return Ok(0);
    }
    let row = sqlx::raw_sql("SELECT coalesce(max(version), 0) FROM sid.schema_version").fetch_one(conn).await?;
    Ok(u32::try_from(row.try_get::<i32, _>(0)?).unwrap_or_default())
}

/// How often a step is tried that does not get a lock: those who want one behind it wait for no more than `LOCK_PATIENCE` each time.
const TRIES: u32 = 30;
const LOCK_PATIENCE: &str = "2s";
const PAUSE: Duration = Duration::from_secs(1);

/// Brings a database to the version that this program knows; answers it.
pub(crate) async fn migrate(options: PgConnectOptions) -> Result<u32, StoreError> {
    migrate_to(options, STEPS.len() as u32).await
}

/// Brings a database to this version, at most to the one that this program knows; answers it.
pub(crate) async fn migrate_to(options: PgConnectOptions, wanted: u32) -> Result<u32, StoreError> {
    let mut conn = connect(options, PATIENCE).await?;
    let known = STEPS.len() as u32;
    let outcome = async {
        let found = version(&mut conn).await?;
        if found > known {
            return Err(newer(found, known).into());
        }
        for (number, step) in (1..=wanted.min(known)).zip(STEPS) {
            let mut tries = 1;
            while let Err(fault) = take(&mut conn, number, step).await {
                if tries == TRIES || !(fault.is_lock_missed() || fault.is_collision()) {
                    return Err(fault);
                }
                tracing::info!(step = number, tries, "a table is in use: the step is tried again");
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
        if wanted >= known {
            pgvector(&mut conn).await?;
        }
        Ok(wanted.min(known))
    }
    .await
    .map_err(|fault: Fault| match fault {
        Fault::Sql(error) if code(&error).as_deref() == Some("42501") => StoreError::Setup(format!(
            "the role may not prepare the database ({error}): migrate as its owner, who may also make roles (CREATEROLE)"
        )),
        other => other.into(),
    });
    // The answer is known; how the connection ends changes nothing.
    let _ = conn.close().await;
    outcome
}

/// Takes a step, unless it was taken. One transaction: a step that fails leaves nothing behind. The lock goes with it.
async fn take(conn: &mut PgConnection, number: u32, step: &[&'static str]) -> Result<()> {
    let mut tx = conn.begin().await?;
    let lock = format!("SELECT pg_advisory_xact_lock({LOCK}); SET LOCAL lock_timeout = '{LOCK_PATIENCE}'");
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *tx).await?;
    if version(&mut tx).await? >= number {
        return Ok(());
    }
    crash_point!("pg.migrate.before");
    for sql in step {
        sqlx::raw_sql(*sql).execute(&mut *tx).await?;
    }
    let note = format!("INSERT INTO sid.schema_version (version) VALUES ({number})");
    sqlx::raw_sql(AssertSqlSafe(note)).execute(&mut *tx).await?;
    crash_point!("pg.migrate.inside");
    tx.commit().await?;
    crash_point!("pg.migrate.after");
    Ok(())
}

/// The vector index inside the database, if the server has pgvector and this role may create the extension, or it is there. Else nothing: who
/// asks for that index is told when it is opened.
async fn pgvector(conn: &mut PgConnection) -> Result<()> {
    const SCHEMA: &str =
        "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'";
    if sqlx::raw_sql(SCHEMA).fetch_optional(&mut *conn).await?.is_none()
        && let Err(error) = sqlx::raw_sql("CREATE EXTENSION IF NOT EXISTS vector").execute(&mut *conn).await
    {
        if error.as_database_error().is_none() {
            return Err(error.into());
        }
        tracing::info!(%error, "the database goes without pgvector");
        return Ok(());
    }
    let mut tx = conn.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(format!("SELECT pg_advisory_xact_lock({LOCK}); SET LOCAL lock_timeout = '{LOCK_PATIENCE}'")))
        .execute(&mut *tx)
        .await?;
    let schema: String = sqlx::raw_sql(SCHEMA).fetch_one(&mut *tx).await?.try_get(0)?;
    let is_there = "SELECT to_regclass('sid_vectors.points') IS NOT NULL";
    if !sqlx::raw_sql(is_there).fetch_one(&mut *tx).await?.try_get::<bool, _>(0)? {
        let sql = include_str!("../migrations/pgvector.sql").replace('@', &schema);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Makes a role a member of `sid_app`.
pub(crate) async fn admit(options: PgConnectOptions, role: &str) -> Result<(), StoreError> {
    let mut conn = connect(options, PATIENCE).await?;
    let outcome = async {
        let row = sqlx::query("SELECT count(*) FILTER (WHERE pg_has_role(r.oid, 'sid_app', 'MEMBER')), count(*), quote_ident($1) FROM pg_roles r WHERE r.rolname = $1")
            .persistent(false)
            .bind(role)
            .fetch_one(&mut conn)
            .await?;
        let (admitted, there, name): (i64, i64, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if there == 0 {
            let make = format!("CREATE ROLE {name} LOGIN PASSWORD '...'");
            return Err(StoreError::Setup(format!("the server's user {name} is not there: {make}, then migrate again")).into());
        }
        if admitted == 0 {
            sqlx::raw_sql(AssertSqlSafe(format!("GRANT sid_app TO {name}"))).execute(&mut conn).await?;
        }
        Ok(())
    }
    .await
    .map_err(|fault: Fault| fault.into());
    let _ = conn.close().await;
    outcome
}

/// Looks whether this program can work with the database, as this role. On a connection of its own, because a pool would try a server that
/// refuses it again and again, and would not say why.
pub(crate) async fn check(options: PgConnectOptions, patience: Duration) -> Result<(), StoreError> {
    let mut conn = connect(options, patience).await?;
    let outcome = check_on(&mut conn).await;
    let _ = conn.close().await;
    outcome
}

async fn connect(options: PgConnectOptions, patience: Duration) -> Result<PgConnection, StoreError> {
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
    if found > known {
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

fn newer(found: u32, known: u32) -> StoreError {
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
