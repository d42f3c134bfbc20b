//! Migrations: steps that lead from one schema to the next while servers work.
//!
//! What a release changes comes in three kinds of steps. It *expands* first: new tables, columns with a default, triggers that fill
//! them for programs that do not know them. It *fills* what is there, in batches. A later release, whose servers are the only ones
//! left, *contracts*. Steps of the first two kinds say which older programs can live with them ([`Step::for_programs_from`]).
//!
//! Whoever wants a lock that excludes others stands in the queue before everybody who comes later, so one long transaction would stop all
//! traffic through a migration that waits for it. A step therefore waits [`LOCK_WAIT`] at most, lets everybody pass, and tries again.

use std::time::{Duration, Instant};

use sid_store::{StoreError, crash_point};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Row};

use crate::error::{Fault, Result, code, unavailable};
use crate::schema::{STEPS, connect, newer, oldest_program, version};

/// What migrations hold while they run, so that two never do at once: `Sid pg` in ASCII.
const LOCK: i64 = 0x5369_6420_7067;

/// How long a migration waits for its connection.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a statement waits for a lock: as long do others wait behind it. Much less than servers wait (`PgConfig::lock_timeout`).
const LOCK_WAIT: Duration = Duration::from_millis(200);

/// How long a step tries to get its locks.
const LOCK_PATIENCE: Duration = Duration::from_secs(600);

/// One step of the schema. It leads to the version that is its place in the list, from 1.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    work: Work,
    /// `None`: only programs that know the step.
    compatible_from: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
enum Work {
    Once(&'static [&'static str]),
    Batches(&'static str),
    Index { name: &'static str, table: &'static str, on: &'static str },
}

impl Step {
    /// SQL in one transaction: all of it or nothing. It holds its locks to its end, so it touches few rows.
    #[must_use]
    pub const fn once(sql: &'static [&'static str]) -> Self {
        Self { work: Work::Once(sql), compatible_from: None }
    }

    /// A statement that changes some rows, each time in a transaction of its own, until it changes none. Who is interrupted goes on
    /// where it was: the statement finds what is left.
    ///
    /// Row-level security is forced: an owner who is no superuser reads nothing, and so changes nothing, unless a step before has made
    /// a policy for it (`TO CURRENT_USER`).
    #[must_use]
    pub const fn batches(sql: &'static str) -> Self {
        Self { work: Work::Batches(sql), compatible_from: None }
    }

    /// An index of a table of the schema `sid`, built beside its traffic; of each of its parts, if it is partitioned. `on` is what stands after
    /// the table's name, as `(tenant, part) WHERE ...`.
    #[must_use]
    pub const fn index(name: &'static str, table: &'static str, on: &'static str) -> Self {
        Self { work: Work::Index { name, table, on }, compatible_from: None }
    }

    /// The same step, which programs made for `schema` and later can live with.
    #[must_use]
    pub const fn for_programs_from(self, schema: u32) -> Self {
        Self { compatible_from: Some(schema), ..self }
    }
}

/// Takes the steps that a database lacks; answers its version.
pub(crate) async fn migrate(options: PgConnectOptions, steps: &[Step]) -> Result<u32, StoreError> {
    let mut conn = connect(options, PATIENCE).await?;
    let outcome = take(&mut conn, steps).await.map_err(|fault| match fault {
        Fault::Sql(error) if code(&error).as_deref() == Some("42501") => StoreError::Setup(format!(
            "the role may not prepare the database ({error}): migrate as its owner, who may also make roles (CREATEROLE)"
        )),
        Fault::Sql(error) if is_in_the_way(&error) => unavailable(format!(
            "no lock in {LOCK_PATIENCE:?} ({error}): end the long transaction that holds it (pg_stat_activity), then migrate again"
        )),
        other => other.into(),
    });
    // The answer is known; how the connection ends changes nothing. The lock goes with it.
    let _ = conn.close().await;
    outcome
}

async fn take(conn: &mut PgConnection, steps: &[Step]) -> Result<u32> {
    alone(conn).await?;
    let known = steps.len() as u32;
    let found = version(conn).await?;
    if found > known {
        // A newer program has been here. Where this one can work, there is nothing for it to do.
        return if oldest_program(conn, known).await? <= known { Ok(found) } else { Err(newer(found, known).into()) };
    }
    for (step, to) in steps.iter().zip(1..).skip(found as usize) {
        crash_point!("pg.migrate.before");
        // The first step makes the table; the second makes the column.
        let note = match step.compatible_from {
            None => format!("INSERT INTO sid.schema_version (version) VALUES ({to})"),
            Some(from) => format!("INSERT INTO sid.schema_version (version, compatible_from) VALUES ({to}, {from})"),
        };
        match step.work {
            Work::Once(sql) => drop(transaction(conn, &[sql, &[note.as_str()]].concat()).await?),
            Work::Batches(sql) => {
                batches(conn, sql).await?;
                transaction(conn, &[&note]).await?;
            }
            Work::Index { name, table, on } => {
                index(conn, name, table, on).await?;
                transaction(conn, &[&note]).await?;
            }
        }
        tracing::info!(version = to, "the database has a new schema");
        crash_point!("pg.migrate.after");
    }
    // What it makes is of the newest schema.
    if steps.len() >= STEPS.len() {
        pgvector(conn).await?;
    }
    Ok(known)
}

/// Waits until no other migration runs. It asks again and again: who waited inside a statement would hold a snapshot, and an index that the
/// other builds beside the traffic would wait for that.
async fn alone(conn: &mut PgConnection) -> Result<()> {
    let mut is_told = false;
    loop {
        let row = sqlx::raw_sql(AssertSqlSafe(format!("SELECT pg_try_advisory_lock({LOCK})"))).fetch_one(&mut *conn).await?;
        if row.try_get(0)? {
            return Ok(());
        }
        if !std::mem::replace(&mut is_told, true) {
            tracing::info!("another migration is under way: waiting for its end");
        }
        tokio::time::sleep(LOCK_WAIT).await;
    }
}

/// One transaction; answers how many rows it has changed. While others hold what it needs, it lets them pass and tries again.
async fn transaction(conn: &mut PgConnection, sql: &[&str]) -> Result<u64> {
    let began = Instant::now();
    let mut pause = LOCK_WAIT;
    loop {
        match attempt(conn, sql).await {
            Err(Fault::Sql(error)) if is_in_the_way(&error) && began.elapsed() < LOCK_PATIENCE => {
                tracing::info!(%error, "others are at work here: trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            done => return done,
        }
    }
}

async fn attempt(conn: &mut PgConnection, sql: &[&str]) -> Result<u64> {
    let mut tx = conn.begin().await?;
    let wait = format!("SET LOCAL lock_timeout = {}", LOCK_WAIT.as_millis());
    sqlx::raw_sql(AssertSqlSafe(wait)).execute(&mut *tx).await?;
    let mut changed = 0;
    for sql in sql {
        changed += sqlx::raw_sql(AssertSqlSafe((*sql).to_owned())).execute(&mut *tx).await?.rows_affected();
    }
    crash_point!("pg.migrate.inside");
    tx.commit().await?;
    Ok(changed)
}

/// `lock_not_available` and `deadlock_detected`.
fn is_in_the_way(error: &sqlx::Error) -> bool {
    matches!(code(error).as_deref(), Some("55P03" | "40P01"))
}

async fn batches(conn: &mut PgConnection, sql: &str) -> Result<()> {
    loop {
        let began = Instant::now();
        if transaction(conn, &[sql]).await? == 0 {
            return Ok(());
        }
        // Half of the time is everybody else's.
        tokio::time::sleep(began.elapsed()).await;
    }
}

async fn index(conn: &mut PgConnection, name: &str, table: &str, on: &str) -> Result<()> {
    let parts = format!(
        "SELECT c.relname FROM pg_partition_tree('sid.{table}') t JOIN pg_class c ON c.oid = t.relid WHERE t.isleaf ORDER BY c.relname"
    );
    let parts = sqlx::raw_sql(AssertSqlSafe(parts)).fetch_all(&mut *conn).await?;
    let parts: Vec<String> = parts.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    if parts.is_empty() {
        return beside_traffic(conn, name, table, on).await;
    }
    // A partitioned table's index is made of those of its parts; only these can be built beside the traffic.
    let mut whole = vec![format!("CREATE INDEX IF NOT EXISTS {name} ON ONLY sid.{table} {on}")];
    for part in &parts {
        let of_part = format!("{part}_{name}");
        beside_traffic(conn, &of_part, part, on).await?;
        whole.push(format!("ALTER INDEX sid.{name} ATTACH PARTITION sid.{of_part}"));
    }
    let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
    transaction(conn, &whole).await.map(drop)
}

/// Builds the index unless it is there. It waits for older transactions, in nobody's way, for as long as they take.
async fn beside_traffic(conn: &mut PgConnection, name: &str, table: &str, on: &str) -> Result<()> {
    let found = format!("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('sid.{name}')");
    let found = sqlx::raw_sql(AssertSqlSafe(found)).fetch_optional(&mut *conn).await?;
    match found.map(|row| row.try_get(0)).transpose()? {
        Some(true) => return Ok(()),
        // Somebody was interrupted while building it: nothing reads it, and every write pays for it.
        Some(false) => {
            let drop = format!("DROP INDEX CONCURRENTLY sid.{name}");
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *conn).await?;
        }
        None => {}
    }
    let build = format!("CREATE INDEX CONCURRENTLY {name} ON sid.{table} {on}");
    sqlx::raw_sql(AssertSqlSafe(build)).execute(conn).await?;
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
    let schema: String = sqlx::raw_sql(SCHEMA).fetch_one(&mut *conn).await?.try_get(0)?;
    let is_there = "SELECT to_regclass('sid_vectors.points') IS NOT NULL";
    if !sqlx::raw_sql(is_there).fetch_one(&mut *conn).await?.try_get::<bool, _>(0)? {
        let sql = include_str!("../migrations/pgvector.sql").replace('@', &schema);
        transaction(conn, &[&sql]).await?;
    }
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
