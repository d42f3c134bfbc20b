//! Why a document cannot be read.

use serde::{Deserialize, Serialize};

/// A document that cannot be read, in words for the person whose it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Unreadable {
    /// Its bytes are no text in UTF-8.
    #[error("it is not text in UTF-8: the byte at {at} cannot be read; save it as UTF-8")]
    NotUtf8 {
        /// The first byte that is none.
        at: usize,
    },
    /// There is nothing to read.
    #[error("it has no text; a scan must go through text recognition (OCR) first")]
    NoText,
    /// It is larger than it may be.
    #[error("it has {found} {what}, and {limit} are the most: split it")]
    TooLarge {
        /// What there is too much of.
        what: String,
        /// How much there is.
        found: u64,
        /// How much there may be.
        limit: u64,
    },
    /// Its elements stand too deeply in each other.
    #[error("its elements are nested too deeply to be read")]
    TooDeep,
    /// A password is needed.
    #[error("it is encrypted: save it without a password")]
    Encrypted,
    /// It is not what its format promises.
    #[error("it cannot be read as {format}: {problem}")]
    Broken {
        /// The format.
        format: String,
        /// What is wrong.
        problem: String,
    },
    /// Nobody here reads this format.
    #[error("this server does not read {format}")]
    Unsupported {
        /// The format.
        format: String,
    },
    /// Reading it took too long, or more memory than it may: it is broken, or made to do harm.
    #[error("reading it took more {what} than a document may: it is too large, or broken")]
    UsedUp {
        /// What was used up.
        what: String,
    },
    /// The reader could not be started; the document may be fine.
    #[error("the reader could not be started: {problem}")]
    NoReader {
        /// What went wrong.
        problem: String,
    },
}

impl Unreadable {
    /// Whether another try may read it.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::NoReader { .. })
    }
}
