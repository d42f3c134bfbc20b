//! What can go wrong in a store, sorted by what the caller can do about it.

/// A store's failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such thing, or the scope may not see it: the two are never told apart.
    #[error("{what} not found")]
    NotFound {
        /// `agent`, `conversation`, …
        what: &'static str,
    },
    /// The scope may see it, and may not do this with it.
    #[error("{what} may not be changed: {why}")]
    Forbidden {
        /// `item`, …
        what: &'static str,
        /// Who may.
        why: &'static str,
    },
    /// A name or key is taken.
    #[error("{what} `{name}` already exists")]
    Exists {
        /// `tenant`, `agent`, …
        what: &'static str,
        /// The taken name.
        name: String,
    },
    /// Somebody has decided otherwise, or the time to decide is over.
    #[error("{what} was decided already: it is {how}")]
    Decided {
        /// `approval`, …
        what: &'static str,
        /// How it was decided.
        how: &'static str,
    },
    /// Another writer was first. Reload and try again.
    #[error("write conflict: expected version {expected}, found {found}")]
    Conflict {
        /// What the caller had read.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// The lease was lost: another worker has taken over. Drop the work.
    #[error("lease lost: epoch {held} was fenced off by epoch {current}")]
    Fenced {
        /// The epoch of the lease that was shown.
        held: u64,
        /// The epoch that holds now.
        current: u64,
    },
    /// The idempotency key was used before, for a different request.
    #[error("idempotency key was used before with a different request")]
    KeyReused,
    /// Too many runs wait in this conversation.
    #[error("conversation queue is full: {depth} runs wait")]
    QueueFull {
        /// How many wait.
        depth: usize,
    },
    /// The conversation is busy and the caller asked not to wait.
    #[error("conversation is busy")]
    Busy,
    /// The request makes no sense to the store; the text says why and what to do.
    #[error("{0}")]
    Invalid(String),
    /// The store cannot be opened as it is set up: a wrong address, a schema of another version, too few or too many rights. The text says
    /// what to do.
    #[error("{0}")]
    Setup(String),
    /// The value is larger than its limit.
    #[error("{what} is too large: {size} of {limit}")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// No space is left to write.
    #[error("{store} has no space left to write: free some and try again; what was acknowledged is safe")]
    Full {
        /// Which store.
        store: &'static str,
    },
    /// The stored data cannot be read.
    #[error("{store} is damaged: {detail}")]
    Corrupt {
        /// Which store.
        store: &'static str,
        /// What was found, and what to do.
        detail: String,
    },
    /// The store cannot be reached or did not answer in time.
    #[error("{store} is unavailable: {source}")]
    Unavailable {
        /// Which store.
        store: &'static str,
        /// The driver's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether the same call may succeed a little later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Conflict { .. } | Self::QueueFull { .. } | Self::Busy | Self::Full { .. })
    }

    /// The stable code, with a page in `docs/errors/`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "SID-STORE-NOT-FOUND",
            Self::Forbidden { .. } => "SID-STORE-FORBIDDEN",
            Self::Exists { .. } => "SID-STORE-EXISTS",
            Self::Decided { .. } => "SID-STORE-DECIDED",
            Self::Conflict { .. } => "SID-STORE-CONFLICT",
            Self::Fenced { .. } => "SID-STORE-FENCED",
            Self::KeyReused => "SID-STORE-KEY-REUSED",
            Self::QueueFull { .. } => "SID-STORE-QUEUE-FULL",
            Self::Busy => "SID-STORE-BUSY",
            Self::Invalid(_) => "SID-STORE-INVALID",
            Self::Setup(_) => "SID-STORE-SETUP",
            Self::TooLarge { .. } => "SID-STORE-TOO-LARGE",
            Self::Full { .. } => "SID-STORE-FULL",
            Self::Corrupt { .. } => "SID-STORE-CORRUPT",
            Self::Unavailable { .. } => "SID-STORE-UNAVAILABLE",
        }
    }
}
