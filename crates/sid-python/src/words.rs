//! What went wrong in a call, in words that a model can act on.

use serde::Deserialize;

/// How a call failed. `Display` is for the model: what happened, what to do, nothing of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The function raised.
    Raised(Raised),
    /// The arguments do not fit the types.
    Arguments(String),
    /// The result cannot be sent.
    Result(String),
    /// It took longer than it may.
    TimedOut {
        /// Milliseconds that it had.
        timeout_ms: u64,
        /// The end of what it printed.
        printed: String,
    },
    /// It used more than it may, or broke a rule: what it did.
    Stopped {
        /// Like `printed more than 16 MiB`.
        did: String,
        /// The end of what it printed.
        printed: String,
    },
    /// The process ended without an answer.
    Died {
        /// Like `ended itself with exit code 3`.
        how: String,
        /// The end of what it printed.
        printed: String,
    },
    /// It could not be tried: too many calls, packages that are still being installed, a fault of the server.
    Unavailable(String),
}

/// An exception, as the module sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Raised {
    /// The class of the exception; empty for none.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its words.
    pub message: String,
    /// The last lines of the module that it passed, innermost last.
    pub trace: Vec<Frame>,
    /// The sandbox may have been in the way.
    pub refused: bool,
    /// The end of what was printed.
    pub printed: String,
}

/// A line of the module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Frame {
    /// From 1.
    pub line: u32,
    /// The function.
    #[serde(rename = "in")]
    pub function: String,
    /// The text of the line.
    pub code: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Raised(raised) => raised.fmt(f),
            Self::Arguments(problem) => write!(f, "Bad arguments: {problem}. Call it again with corrected arguments."),
            Self::Result(problem) => write!(f, "The function ran, but {problem}."),
            Self::TimedOut { timeout_ms, printed } => {
                let seconds = *timeout_ms as f64 / 1_000.0;
                write!(f, "The function was stopped: it took longer than {seconds} s. Ask it for less at once.{}", Printed(printed))
            }
            Self::Stopped { did, printed } => write!(f, "The function was stopped: it {did}.{}", Printed(printed)),
            Self::Died { how, printed } => write!(f, "The function ended without a result: it {how}.{}", Printed(printed)),
            Self::Unavailable(problem) => write!(f, "The function was not run: {problem}."),
        }
    }
}

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let colon = if self.kind.is_empty() || self.message.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.kind, self.message)?;
        for Frame { line, function, code } in &self.trace {
            write!(f, "\n  line {line}, in {function}: {code}")?;
        }
        if self.refused {
            f.write_str(
                "\nFunctions run without network, without other programs, and with files in their working folder only, unless more was granted.",
            )?;
        }
        if self.kind == "MemoryError" {
            f.write_str("\nThe function needed more memory than it may use. Ask it for less at once.")?;
        }
        write!(f, "{}", Printed(&self.printed))
    }
}

/// The end of what was printed, where there is something.
struct Printed<'t>(&'t str);

impl std::fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.0.trim();
        if text.is_empty() { Ok(()) } else { write!(f, "\nIt printed, at the end:\n{text}") }
    }
}
