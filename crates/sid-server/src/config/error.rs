//! What can be wrong with a configuration.

use std::path::PathBuf;

/// A wrong configuration. The message says where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {problem}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The file is not TOML.
    #[error("{} is not valid TOML: {problem}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with line and column.
        problem: String,
    },
    /// Nobody knows this key.
    #[error("unknown configuration key `{key}` in {place}{}", nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    UnknownKey {
        /// The key as it would stand in the file.
        key: String,
        /// Where it was found.
        place: String,
        /// The nearest key that exists.
        nearest: Option<String>,
    },
    /// The value does not fit.
    #[error("configuration key `{key}`{}: {problem}", place.as_ref().map(|p| format!(" in {p}")).unwrap_or_default())]
    BadValue {
        /// Which key.
        key: String,
        /// What is wrong, and what is expected.
        problem: String,
        /// Where the value was found; `None` = the values do not fit together.
        place: Option<String>,
    },
}

impl ConfigError {
    /// The stable code, with a page in `docs/errors/`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "SID-CONFIG-UNREADABLE",
            Self::Malformed { .. } => "SID-CONFIG-MALFORMED",
            Self::UnknownKey { .. } => "SID-CONFIG-UNKNOWN-KEY",
            Self::BadValue { .. } => "SID-CONFIG-BAD-VALUE",
        }
    }
}
