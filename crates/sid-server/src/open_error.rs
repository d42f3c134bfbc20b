//! Why a server does not start: one line that says what to do.

use std::net::SocketAddr;
use std::path::PathBuf;

use sid_llm::LlmError;
use sid_store::StoreError;

use crate::config::{Config, ConfigError, StoreKind};

/// A server that cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store cannot be opened.
    #[error("cannot open the store{}: {source}", place(folder.as_deref(), source))]
    Store {
        /// The data folder, of a store that has one.
        folder: Option<PathBuf>,
        /// Why, and what to do.
        source: StoreError,
    },
    /// A model or the embedder is set up wrongly.
    #[error("{what} is set up wrongly: {source}")]
    Model {
        /// `[models.NAME]` or `[embedder]`.
        what: String,
        /// Why, and what to do.
        source: LlmError,
    },
    /// The port cannot be had.
    #[error("cannot listen on {address}: {source}; {}", advice(source, address))]
    Listen {
        /// The wanted address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

fn advice(error: &std::io::Error, address: &SocketAddr) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program has that port: stop it, or choose another with --listen".into(),
        std::io::ErrorKind::PermissionDenied => {
            format!("port {} needs rights that this user has not: choose one from 1024 on with --listen", address.port())
        }
        std::io::ErrorKind::AddrNotAvailable => "this machine has no such address: use 127.0.0.1 or 0.0.0.0 with --listen".into(),
        _ => "choose another address with --listen".into(),
    }
}

/// The folder, unless the store's own words name it already.
fn place(folder: Option<&std::path::Path>, source: &StoreError) -> String {
    let folder = folder.map(|f| f.display().to_string()).filter(|f| !source.to_string().contains(f));
    folder.map_or_else(String::new, |f| format!(" in {f}"))
}

impl OpenError {
    /// The configured store cannot be opened.
    pub(crate) fn store(config: &Config, source: StoreError) -> Self {
        let folder = (config.store.kind == StoreKind::Sqlite).then(|| config.store.path.clone());
        Self::Store { folder, source }
    }

    /// The stable code, with a page in `docs/errors/`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Config(e) => e.code(),
            Self::Store { source, .. } => source.code(),
            Self::Model { source, .. } => source.code(),
            Self::Listen { .. } => "SID-START-LISTEN",
        }
    }
}
