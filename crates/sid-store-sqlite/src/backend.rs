//! Opening a data folder: one process, one writer, a few readers.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use sid_store::{DutyRoster, StoreError};
use sid_types::{Clock, Scope, TenantId, Timestamp};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Sqlite};

use crate::codec::{Columns, Id};
use crate::config::SqliteConfig;
use crate::error::{Fault, Result, damaged, missing, unavailable};
use crate::events::Watchers;
use crate::full_text;
use crate::partitions::Partitions;
use crate::schema;
use crate::visibility::Viewer;
use crate::writer::{After, Aftermath, Grouping, Last, Tx, WeakWriter, Writer};

/// The database's file in the data folder.
pub(crate) const FILE: &str = "sid.db";
/// How long opening waits for a process that is just ending.
const LOCK_PATIENCE: Duration = Duration::from_millis(1_000);

/// The embedded store: everything in one data folder, for one process. Cheap to clone.
///
/// Dropping the last handle ends it without loss; [`close`](Self::close) waits until it has ended.
#[derive(Clone)]
pub struct SqliteStore(Arc<Inner>);

struct Inner {
    config: SqliteConfig,
    clock: Arc<dyn Clock>,
    writer: Writer,
    readers: SqlitePool,
    memory: Arc<Memory>,
    /// Numbers of tenants, which never change.
    tenants: RwLock<HashMap<TenantId, i64>>,
    /// Requests of each tenant since the store was opened.
    requests: Mutex<HashMap<TenantId, u64>>,
    duties: DutyRoster,
    ended: tokio::sync::watch::Receiver<()>,
}

/// What lives in memory beside the database.
struct Memory {
    partitions: Arc<Partitions>,
    watchers: Watchers,
    /// Partitions to be brought into the full-text index.
    to_fill: tokio::sync::mpsc::UnboundedSender<i64>,
}

impl Aftermath for Memory {
    fn apply(&self, after: Vec<After>) {
        for change in after {
            match change {
                After::Index { part, change } => self.partitions.note(part, change),
                After::Events(tenant, run) => self.watchers.wake(tenant, run),
                After::FullText { part } => {
                    // The task may be gone at the very end; a restart takes it up again.
                    let _ = self.to_fill.send(part);
                }
            }
        }
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.0.config.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the data folder, or makes it. Needs a tokio runtime, in which the writer's task runs. Tells the time by `clock` alone.
    ///
    /// Errors: `Unavailable` when the folder is in use by another process; `Invalid` when it cannot be written, or was written by a newer
    /// version; `Corrupt` when the file is not a database or not Sid's; `Full`.
    pub async fn open(config: SqliteConfig, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let lock = lock(&config.path).await?;
        let file = config.path.join(FILE);
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10))
            .statement_cache_capacity(256)
            // Rows come in one batch: waking the other thread for each costs more than reading it.
            .row_buffer_size(512)
            .pragma("temp_store", "memory")
            .disable_statement_logging();
        let synchronous = if config.synchronous_full { SqliteSynchronous::Full } else { SqliteSynchronous::Normal };
        let writing = options
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            // What is deleted is overwritten: `fast` leaves it in pages that become free as a whole.
            .pragma("secure_delete", "on")
            .pragma("journal_size_limit", "67108864")
            .pragma("cache_size", format!("-{}", config.cache_kib))
            .thread_name(|_| "sid-sqlite-writer".to_owned());
        let mut conn = writing.connect().await.map_err(|error| opening(&config.path, error))?;
        schema::prepare(&mut conn, &config.path).await.map_err(|fault| match fault {
            Fault::Sql(error) => opening(&config.path, error),
            Fault::Store(error) => error,
        })?;
        if let Some(pages) = config.max_pages {
            let limit = format!("PRAGMA max_page_count = {pages}");
            sqlx::query(sqlx::AssertSqlSafe(limit)).execute(&mut conn).await.map_err(Fault::Sql)?;
        }
        release_dead_leases(&mut conn).await?;
        sid_store::crash_point!("sqlite.open.after");
        let last = last_numbers(&mut conn).await?;
        let unfinished = full_text::unfinished(&mut conn).await?;

        let readers = SqlitePoolOptions::new()
            .max_connections(config.readers.max(1))
            .min_connections(0)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(
                options
                    .pragma("cache_size", format!("-{}", config.cache_kib / 4))
                    .pragma("query_only", "on")
                    .thread_name(|n| format!("sid-sqlite-reader-{n}")),
            );
        let (to_fill, fillers) = tokio::sync::mpsc::unbounded_channel();
        for part in unfinished {
            let _ = to_fill.send(part);
        }
        let memory = Arc::new(Memory { partitions: Arc::new(Partitions::new(config.index_bytes)), watchers: Watchers::default(), to_fill });
        let grouping = Grouping { window: config.group_commit_window, most: config.group_commit_max.max(1) };
        let (ending, ended) = tokio::sync::watch::channel(());
        let full_text_from = config.full_text_threshold();
        let aftermath: Arc<dyn Aftermath> = Arc::clone(&memory) as _;
        // The lock goes when the writer has closed the database, not before.
        let writer =
            Writer::start(conn, Arc::clone(&clock), grouping, full_text_from, last, aftermath, (lock, ending)).map_err(unavailable)?;
        let (tenants, requests, duties) = (RwLock::default(), Mutex::default(), DutyRoster::default());
        let inner = Inner { config, clock, writer, readers, memory, tenants, requests, duties, ended };
        let store = Self(Arc::new(inner));
        store.spawn_filling(fillers);
        Ok(store)
    }

    /// Ends the store: what was accepted is committed, the files are closed and the lock is given back. Other handles fail from now on
    /// only when this is the last one; those that are left keep it open.
    pub async fn close(self) {
        let mut ended = self.0.ended.clone();
        if let Some(inner) = Arc::into_inner(self.0) {
            inner.readers.close().await;
            drop(inner);
            // An error is the end: the sender is gone with the writer.
            while ended.changed().await.is_ok() {}
        }
    }

    /// Brings what has been committed from the write-ahead log into the database's file, and empties the log. Nothing depends on it; a
    /// folder that is left alone for long, or copied by hand, is one file then.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(self.0.config.path.join(FILE))
            .busy_timeout(Duration::from_secs(2))
            .disable_statement_logging();
        let mut conn = options.connect().await.map_err(Fault::Sql)?;
        sid_store::crash_point!("sqlite.checkpoint.before");
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut conn).await.map_err(Fault::Sql)?;
        sid_store::crash_point!("sqlite.checkpoint.after");
        sqlx::Connection::close(conn).await.map_err(Fault::Sql)?;
        Ok(())
    }

    /// Copies the whole store to a new file `to`, while it serves: one consistent snapshot, checked, and ready to be put into an empty
    /// data folder as `sid.db`.
    ///
    /// Errors: `Invalid` when `to` is there already or cannot be written; `Full`.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        if to.exists() {
            return Err(StoreError::Invalid(format!("{} is there already: choose a new file for the backup", to.display())));
        }
        let target = to.to_str().ok_or_else(|| StoreError::Invalid("the backup's path is not valid UTF-8".into()))?;
        let parent = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !parent.is_dir() {
            return Err(StoreError::Invalid(format!("{} is not a folder: make it, or choose another place", parent.display())));
        }
        // A connection of its own: `query_only` would refuse it, and readers stay free.
        let options = SqliteConnectOptions::new().filename(self.0.config.path.join(FILE)).disable_statement_logging();
        let mut source = options.connect().await.map_err(Fault::Sql)?;
        let copied = sqlx::query("VACUUM INTO ?").bind(target).execute(&mut source).await;
        if let Err(error) = copied {
            let _ = std::fs::remove_file(to);
            return Err(Fault::Sql(error).into());
        }
        sqlx::Connection::close(source).await.map_err(Fault::Sql)?;
        let written = File::open(to).and_then(|file| file.sync_all());
        written.map_err(|error| unavailable(format!("the backup could not be brought to the disk: {error}")))?;
        let mut copy =
            SqliteConnectOptions::new().filename(to).immutable(true).disable_statement_logging().connect().await.map_err(Fault::Sql)?;
        let check = sqlx::query("PRAGMA quick_check").fetch_one(&mut copy).await.map_err(Fault::Sql)?;
        let verdict = check.text(0)?;
        sqlx::Connection::close(copy).await.map_err(Fault::Sql)?;
        if verdict == "ok" { Ok(()) } else { Err(damaged(format!("the backup failed its check: {verdict}"))) }
    }

    /// Looks through the whole database for damage; answers what was found, empty = sound. Slow on large stores.
    pub async fn check(&self) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("PRAGMA integrity_check").fetch_all(&mut *self.reader().await?).await.map_err(Fault::Sql)?;
        let lines: Vec<String> = rows.iter().map(|row| row.text(0)).collect::<Result<_>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    pub(crate) fn config(&self) -> &SqliteConfig {
        &self.0.config
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(crate) fn duties(&self) -> &DutyRoster {
        &self.0.duties
    }

    pub(crate) fn watchers(&self) -> &Watchers {
        &self.0.memory.watchers
    }

    pub(crate) fn partitions(&self) -> &Arc<Partitions> {
        &self.0.memory.partitions
    }

    pub(crate) fn pool(&self) -> SqlitePool {
        self.0.readers.clone()
    }

    /// A connection for reading.
    pub(crate) async fn reader(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.0.readers.acquire().await.map_err(|error| Fault::Sql(error).into())
    }

    /// Runs a job in the writer and answers after its commit.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + 'static,
    {
        self.0.writer.write(work).await
    }

    /// The number of a tenant; -1 for one that is not there.
    pub(crate) async fn tenant(&self, id: TenantId) -> Result<i64, StoreError> {
        if let Some(number) = self.0.tenants.read().get(&id) {
            return Ok(*number);
        }
        let row = sqlx::query("SELECT tenant FROM tenants WHERE id = ?")
            .bind(id.blob())
            .fetch_optional(&mut *self.reader().await?)
            .await
            .map_err(Fault::Sql)?;
        let Some(row) = row else { return Ok(-1) };
        let number = row.int(0)?;
        self.0.tenants.write().insert(id, number);
        Ok(number)
    }

    pub(crate) fn requests(&self) -> &Mutex<HashMap<TenantId, u64>> {
        &self.0.requests
    }

    pub(crate) async fn viewer(&self, scope: &Scope) -> Result<Viewer, StoreError> {
        Ok(Viewer { tenant: self.tenant(scope.tenant()).await?, scope: *scope })
    }

    /// The scope, for those who manage the tenant.
    pub(crate) async fn administrator(&self, scope: &Scope, what: &'static str) -> Result<Viewer, StoreError> {
        let viewer = self.viewer(scope).await?;
        if scope.is_tenant_wide() && viewer.tenant >= 0 { Ok(viewer) } else { Err(missing(what)) }
    }

    /// Brings older records of large partitions into the full-text index, in small steps between other writes.
    fn spawn_filling(&self, mut parts: tokio::sync::mpsc::UnboundedReceiver<i64>) {
        let writer = self.0.writer.downgrade();
        tokio::spawn(async move {
            while let Some(part) = parts.recv().await {
                let filled = in_steps(&writer, move |tx, _| full_text::fill(tx, part).boxed()).await;
                let tidied = match filled {
                    Ok(()) => in_steps(&writer, move |tx, step| full_text::tidy(tx, step == 0).boxed()).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = tidied {
                    tracing::warn!(%error, part, "the full-text index could not be extended; the next start tries again");
                }
            }
        });
    }
}

/// Does background work in small transactions, until `step` answers that there is no more, or the store is closed.
async fn in_steps<F>(writer: &WeakWriter, step: F) -> Result<(), StoreError>
where
    F: for<'t> Fn(&'t mut Tx, usize) -> BoxFuture<'t, Result<bool>> + Copy + Send + 'static,
{
    for number in 0.. {
        let Some(writer) = writer.upgrade() else { break };
        if !writer.write(move |tx| step(tx, number)).await? {
            break;
        }
        drop(writer);
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Takes the data folder for this process.
async fn lock(path: &Path) -> Result<File, StoreError> {
    let folder = path.display();
    std::fs::create_dir_all(path).map_err(|error| unwritable(path, &error))?;
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock")).map_err(|error| unwritable(path, &error))?;
    let until = tokio::time::Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < until => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(TryLockError::WouldBlock) => {
                return Err(unavailable(format!(
                    "the data folder {folder} is in use by another sid process; stop it, talk to its server instead, or choose another folder"
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unwritable(path, &error)),
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> StoreError {
    let folder = path.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full { store: crate::error::STORE },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::Invalid(format!(
            "the data folder {folder} cannot be written ({error}): give this user the right to write there, or choose another folder"
        )),
        _ => StoreError::Invalid(format!("the data folder {folder} cannot be used ({error}): check the path, or choose another folder")),
    }
}

/// What opening the database failed with, in words for a person.
fn opening(path: &Path, error: sqlx::Error) -> StoreError {
    const CANNOT_OPEN: i32 = 14;
    const READ_ONLY: i32 = 8;
    let file = path.join(FILE);
    match crate::error::sqlite_code(&error) {
        Some(CANNOT_OPEN | READ_ONLY) => StoreError::Invalid(format!(
            "{} cannot be opened for writing ({error}): give this user the right to write the data folder and its files, or choose another folder",
            file.display()
        )),
        Some(11 | 26) => damaged(format!("{} is not a database that SQLite can read ({error})", file.display())),
        _ => Fault::Sql(error).into(),
    }
}

/// The folder serves one process, so whoever held a lease before is gone: its work may be taken up at once.
async fn release_dead_leases(conn: &mut SqliteConnection) -> Result<()> {
    sqlx::query("UPDATE conversations SET expires_at = 0 WHERE head IS NOT NULL AND holder IS NOT NULL").execute(conn).await?;
    Ok(())
}

async fn last_numbers(conn: &mut SqliteConnection) -> Result<Last> {
    let row = sqlx::query(
        "SELECT max(ifnull((SELECT max(rid) FROM messages), 0), ifnull((SELECT max(rid) FROM passages), 0),
            ifnull((SELECT max(rid) FROM diary), 0)), ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'runs'), 0)",
    )
    .fetch_one(conn)
    .await?;
    Ok(Last { rid: row.int(0)?, run: row.int(1)? })
}
