//! The schema: embedded migrations, counted in `PRAGMA user_version`.

use std::path::Path;

use sid_store::{StoreError, crash_point};
use sqlx::Executor;
use sqlx::sqlite::SqliteConnection;

use crate::codec::Columns;
use crate::error::{Result, damaged};

/// Each step leads to the version that is its place in this list, from 1. Steps that were released are never changed.
const STEPS: &[&[&str]] = &[
    &[include_str!("../migrations/0001_foundation.sql")],
    &[include_str!("../migrations/0002_limits.sql"), include_str!("../migrations/0002_generations.sql")],
    &[
        include_str!("../migrations/0003_items.sql"),
        include_str!("../migrations/0003_audit.sql"),
        include_str!("../migrations/0003_teams.sql"),
        include_str!("../migrations/0003_keys.sql"),
        include_str!("../migrations/0003_toolsets.sql"),
    ],
    &[
        include_str!("../migrations/0004_timers.sql"),
        include_str!("../migrations/0004_tasks.sql"),
        include_str!("../migrations/0004_documents.sql"),
        include_str!("../migrations/0004_approvals.sql"),
        include_str!("../migrations/0004_clients.sql"),
        include_str!("../migrations/0004_provenance.sql"),
        include_str!("../migrations/0004_egos.sql"),
        include_str!("../migrations/0004_images.sql"),
        include_str!("../migrations/0004_webhooks.sql"),
        include_str!("../migrations/0004_perpetual.sql"),
    ],
];

/// `Sid1` in ASCII: tells this file from other programs' databases.
const APPLICATION: i64 = 0x5369_6431;

/// Brings a database to the version that this program knows. Reads two numbers when there is nothing to do.
pub(crate) async fn prepare(conn: &mut SqliteConnection, path: &Path) -> Result<()> {
    let version = pragma(conn, "PRAGMA user_version").await?;
    let known = STEPS.len() as i64;
    let application = pragma(conn, "PRAGMA application_id").await?;
    let folder = path.display();
    if version == 0 && application == 0 {
        let tables = pragma(conn, "SELECT count(*) FROM sqlite_master").await?;
        if tables > 0 {
            return Err(damaged(format!("the database in {folder} is another program's; choose another folder")).into());
        }
    } else if application != APPLICATION {
        return Err(damaged(format!("the database in {folder} is another program's; choose another folder")).into());
    }
    if version > known {
        return Err(StoreError::Invalid(format!(
            "the data folder {folder} was written by a newer Sid (schema {version}, this one knows {known}): upgrade Sid, or restore a backup that was made before"
        ))
        .into());
    }
    for (i, step) in STEPS.iter().enumerate().skip(usize::try_from(version).unwrap_or_default()) {
        let sql =
            format!("BEGIN IMMEDIATE; {}; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {}; COMMIT", step.join(";"), i + 1);
        crash_point!("sqlite.migrate.before");
        if let Err(error) = conn.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await {
            // Nothing of the step is kept.
            let _ = conn.execute("ROLLBACK").await;
            return Err(error.into());
        }
        crash_point!("sqlite.migrate.after");
    }
    Ok(())
}

async fn pragma(conn: &mut SqliteConnection, sql: &'static str) -> Result<i64> {
    sqlx::query(sql).fetch_one(conn).await?.int(0)
}
