//! The configured store, and what only some of them can do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sid_store::{InProcess, Store, StoreError, VectorIndex};
use sid_store_pg::{Indexer, PgConfig, PgStore, PgVectors, VectorStatus};
use sid_store_qdrant::{QdrantConfig, QdrantIndex};
use sid_store_sqlite::{SqliteConfig, SqliteStore};
use sid_types::Clock;

use crate::config::{self, Config, StoreKind, VectorsKind};

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
                let store = Arc::new(SqliteStore::open(embedded(config, &path), clock).await?);
                Ok(Self { store: store.clone(), embedded: Some((store, path)), shared: None })
            }
            // Its clock is the database's: those of many servers never agree.
            StoreKind::Postgres => {
                let options = postgres(config);
                let index = vector_index(&config.vectors, &options).await?;
                let store = PgStore::open(options).await?;
                let store = match index {
                    Some(index) => store.with_vector_index(index),
                    None => store,
                };
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

    /// Feeds the vector index, if there is one, until `stop` is ready. Any number of servers may do it at once.
    pub(crate) async fn feed_index(&self, stop: impl Future<Output = ()> + Send) {
        if let Some(indexer) = self.shared.as_ref().and_then(Indexer::new) {
            indexer.run(stop).await;
        }
    }

    /// How the vector index is doing; `None` if there is none.
    pub(crate) async fn vector_status(&self) -> Option<VectorStatus> {
        self.shared.as_ref()?.vector_status().await.ok().flatten()
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

fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 24 * 3_600)
}

fn embedded(config: &Config, path: &Path) -> SqliteConfig {
    let options = &config.store;
    SqliteConfig { keep_events: days(options.keep_events_days), keep_audit: days(options.keep_audit_days), ..SqliteConfig::new(path) }
}

fn postgres(config: &Config) -> PgConfig {
    let options = &config.store;
    PgConfig {
        vector_index_from: config.vectors.from,
        connections: options.connections,
        acquire_timeout: Duration::from_millis(options.acquire_ms),
        statement_timeout: Duration::from_millis(options.statement_ms),
        prepared_statements: options.prepared_statements,
        index_bytes: options.index_bytes,
        keep_events: days(options.keep_events_days),
        keep_audit: days(options.keep_audit_days),
        ..PgConfig::new(options.url.reveal().unwrap_or_default())
    }
}

/// The configured index, if it answers: a server that cannot search as it is told to does not start.
async fn vector_index(options: &config::Vectors, postgres: &PgConfig) -> Result<Option<Arc<dyn VectorIndex>>, StoreError> {
    let index: Arc<dyn VectorIndex> = match options.kind {
        VectorsKind::Memory => return Ok(None),
        VectorsKind::PgVector => Arc::new(PgVectors::open(postgres).await?),
        VectorsKind::Qdrant => Arc::new(QdrantIndex::new(QdrantConfig {
            api_key: options.api_key.reveal().map(str::to_owned),
            timeout: Duration::from_millis(options.timeout_ms),
            search_timeout: Duration::from_millis(options.search_timeout_ms),
            prefix: options.prefix.clone(),
            replicas: options.replicas,
            ..QdrantConfig::new(options.url.clone().unwrap_or_default())
        })?),
    };
    index.health().await?;
    Ok(Some(index))
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
