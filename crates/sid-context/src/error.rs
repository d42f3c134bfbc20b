//! What can go wrong here, beside what goes wrong in a store.

use sid_store::StoreError;

/// A failure of the context service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The request makes no sense; the text says why and what to do.
    #[error("{0}")]
    Invalid(String),
    /// Only a person may do this.
    #[error("{0}")]
    NotForAssistants(&'static str),
    /// Somebody else was first: the hand-off is claimed or over, the proposal decided.
    #[error("this is {state}: {detail}")]
    Taken {
        /// Its state.
        state: String,
        /// By whom, until when.
        detail: String,
    },
    /// What a proposal wants to change has changed since.
    #[error("the item was changed or deleted since this was proposed: read it, and decide anew")]
    Stale,
    /// There is no key that values are sealed with.
    #[error("this server has no key for secrets: set `secrets.keys_file` or `secrets.keys`")]
    NoKey,
    /// A sealed value does not open: it was moved, changed, or its key is gone.
    #[error("a sealed value cannot be opened: {0}")]
    Sealed(&'static str),
}

impl ContextError {
    /// The stable code, with a page in `docs/errors/`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Invalid(_) => "SID-CONTEXT-INVALID",
            Self::NotForAssistants(_) => "SID-CONTEXT-NOT-FOR-ASSISTANTS",
            Self::Taken { .. } => "SID-CONTEXT-TAKEN",
            Self::Stale => "SID-CONTEXT-STALE",
            Self::NoKey => "SID-CONTEXT-NO-KEY",
            Self::Sealed(_) => "SID-CONTEXT-SEALED",
        }
    }
}

/// Short for results of this crate.
pub type Result<T, E = ContextError> = std::result::Result<T, E>;
