//! Errors for whoever runs the server or adds a module. What goes wrong in a call is a [`Failure`](crate::Failure).

use std::io;

/// Why Python functions cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PythonError {
    /// The interpreter is not there, too old, or broken.
    #[error("python `{python}` cannot be used: {problem}")]
    Interpreter {
        /// What was started.
        python: String,
        /// What it said.
        problem: String,
    },
    /// The system lacks a part of the sandbox, and [`PythonConfig::allow_unconfined`](crate::PythonConfig::allow_unconfined) is off.
    #[error("functions cannot be confined here: {0}")]
    Unconfined(String),
    /// A line of the requirements is none that is taken.
    #[error("requirements, line {line}: {problem}")]
    Requirements {
        /// From 1.
        line: usize,
        /// What is wrong, and what to write.
        problem: String,
    },
    /// The packages could not be installed.
    #[error("the packages could not be installed: {0}")]
    Install(String),
    /// The module cannot be loaded.
    #[error("the module cannot be loaded: {0}")]
    Module(String),
    /// A folder or a process failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl PythonError {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// Whether the same may work later, with nothing changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Install(_))
    }
}
