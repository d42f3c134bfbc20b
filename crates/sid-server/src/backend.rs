//! The configured store, and what only some of them can do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sid_store::{InProcess, Store, StoreError};
use sid_store_sqlite::{SqliteConfig, SqliteStore};
use sid_types::Clock;

use crate::config::{Config, StoreKind};

/// A store behind its contract, and by its own name where that is needed.
pub(crate) struct Backend {
    store: Arc<dyn Store>,
    embedded: Option<(Arc<SqliteStore>, PathBuf)>,
}

impl Backend {
    pub(crate) async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        match config.store.kind {
            StoreKind::InProcess => Ok(Self { store: Arc::new(InProcess::new(clock)), embedded: None }),
            StoreKind::Sqlite => {
                let path = config.store.path.clone();
                let store = Arc::new(SqliteStore::open(SqliteConfig::new(&path), clock).await?);
                Ok(Self { store: store.clone(), embedded: Some((store, path)) })
            }
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Called at the end of a drain: what is in the write-ahead log goes into the database's file.
    pub(crate) async fn settle(&self) {
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
