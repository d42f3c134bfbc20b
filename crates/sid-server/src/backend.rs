//! The configured store, and what only some of them can do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sid_store::{InProcess, Store, StoreError};
use sid_store_pg::{PgConfig, PgStore};
use sid_store_sqlite::{SqliteConfig, SqliteStore};
use sid_types::Clock;

use crate::config::{self, Config, StoreKind};

/// How long calls that are under way at the end of a drain may take.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// A store behind its contract, and by its own name where that is needed.
pub(crate) struct Backend {
    store: Arc<dyn Store>,
    embedded: Option<(Arc<SqliteStore>, PathBuf)>,
    shared: Option<PgStore>,
}

impl Backend {
    pub(crate) async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        match config.store.kind {
            StoreKind::InProcess => Ok(Self { store: Arc::new(InProcess::new(clock)), embedded: None, shared: None }),
            StoreKind::Sqlite => {
                let path = config.store.path.clone();
                let store = Arc::new(
                    SqliteStore::open(SqliteConfig { keep_events: keep_events(&config.store), ..SqliteConfig::new(&path) }, clock).await?,
                );
                Ok(Self { store: store.clone(), embedded: Some((store, path)), shared: None })
            }
            // Its clock is the database's: those of many servers never agree.
            StoreKind::Postgres => {
                let store = PgStore::open(postgres(&config.store)).await?;
                Ok(Self { store: Arc::new(store.clone()), embedded: None, shared: Some(store) })
            }
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Whether several servers work on this store, so that none of them may take itself for the first.
    pub(crate) const fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Called at the end of a drain: what is in the write-ahead log goes into the database's file; connections are given back.
    pub(crate) async fn settle(&self) {
        if let Some(store) = &self.shared
            && tokio::time::timeout(LAST_CALLS, store.close()).await.is_err()
        {
            tracing::warn!("connections to the database were cut: calls on them did not end in time");
        }
        if let Some((store, _)) = &self.embedded
            && let Err(e) = store.checkpoint().await
        {
            tracing::warn!("the write-ahead log stays as it is until the next start: {e}");
        }
    }

    /// An online copy in a file that goes away with the answer; `None` = this store has none.
    pub(crate) async fn backup(&self) -> Result<Option<Copy>, StoreError> {
        let Some((store, folder)) = &self.embedded else { return Ok(None) };
        let copy = Copy(folder.join(format!("backup-{}.tmp", uuid::Uuid::now_v7().simple())));
        store.backup(&copy.0).await?;
        Ok(Some(copy))
    }
}

fn keep_events(options: &config::Store) -> Duration {
    Duration::from_secs(u64::from(options.keep_events_days) * 24 * 3_600)
}

fn postgres(options: &config::Store) -> PgConfig {
    PgConfig {
        connections: options.connections,
        acquire_timeout: Duration::from_millis(options.acquire_ms),
        statement_timeout: Duration::from_millis(options.statement_ms),
        prepared_statements: options.prepared_statements,
        index_bytes: options.index_bytes,
        keep_events: keep_events(options),
        ..PgConfig::new(options.url.reveal().unwrap_or_default())
    }
}

/// Prepares the configured Postgres database for this version, or brings it there, and lets the servers' user in; answers the schema's
/// version. Changes nothing when all of that is done.
pub(crate) async fn migrate(options: &config::Store) -> Result<u32, StoreError> {
    let admin = options.admin_url.reveal().unwrap_or_default();
    let version = PgStore::migrate(admin).await?;
    if let Some(url) = options.url.reveal() {
        PgStore::admit(admin, url).await?;
    }
    Ok(version)
}

/// A temporary file, removed when dropped.
pub(crate) struct Copy(PathBuf);

impl Copy {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_file(&self.0)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!("cannot remove {}: {e}", self.0.display());
        }
    }
}
