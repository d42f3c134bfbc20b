//! What an erasure leaves in the files: earlier states of pages in the write-ahead log, and copies of rows in the unused parts of pages,
//! where they were before pages were split. `secure_delete` overwrites neither.

use std::time::Duration;

use sid_store::StoreError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::backend::{FILE, SqliteStore};
use crate::codec::Columns;
use crate::error::{Fault, unavailable};

/// Bytes of the largest database that is written anew when somebody was erased: writes wait meanwhile. Larger ones keep what stands in
/// unused parts of pages until they are backed up and restored; the backup has none of it.
const MOST_BYTES: i64 = 64 << 20;
/// How often the log is tried to be emptied while somebody still reads from it.
const TRIES: u32 = 5;

/// Writes the database anew, if it is small enough and that is wanted, and empties the write-ahead log.
pub(super) async fn clean(store: &SqliteStore, anew: bool) -> Result<(), StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(store.config().path.join(FILE))
        .busy_timeout(Duration::from_secs(2))
        .pragma("temp_store", "memory")
        .disable_statement_logging();
    let mut conn = options.connect().await.map_err(Fault::Sql)?;
    let outcome = clean_with(&mut conn, anew).await;
    conn.close().await.map_err(Fault::Sql)?;
    outcome
}

async fn clean_with(conn: &mut SqliteConnection, anew: bool) -> Result<(), StoreError> {
    let size = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";
    let size = sqlx::query(size).fetch_one(&mut *conn).await.map_err(Fault::Sql)?.int(0)?;
    if anew && size <= MOST_BYTES {
        sqlx::query("VACUUM").execute(&mut *conn).await.map_err(Fault::Sql)?;
    }
    for _ in 0..TRIES {
        let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *conn).await.map_err(Fault::Sql)?;
        if row.int(0)? == 0 {
            return Ok(());
        }
    }
    Err(unavailable("the write-ahead log is being read and cannot be emptied"))
}
