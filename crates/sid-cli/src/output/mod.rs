//! What people and programs see: tables, bars, diffs, JSON.

pub mod bar;
pub mod diff;
pub mod file;
mod paint;
pub mod progress;
pub mod table;
pub mod text;

use std::io::{self, IsTerminal as _, Write as _};

pub use paint::Paint;
use serde_json::Value;

use crate::error::CliError;

/// Where output goes, and how it looks there.
#[derive(Debug, Clone)]
pub struct Output {
    /// Machine-readable output only.
    pub json: bool,
    /// Colours on standard output.
    pub paint: Paint,
    /// Colours on standard error.
    pub error_paint: Paint,
    /// Long text is not cut.
    pub full: bool,
    /// The terminal's columns; `None` when standard output is no terminal (then nothing is cut).
    pub columns: Option<usize>,
    /// Whether standard output is a terminal.
    pub is_terminal: bool,
}

impl Output {
    /// Looks at the environment: `NO_COLOR`, `TERM=dumb`, `COLUMNS`, and whether the streams are terminals.
    #[must_use]
    pub fn new(json: bool, no_color: bool, full: bool) -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let may_paint = !no_color && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        let is_terminal = io::stdout().is_terminal();
        let told = std::env::var("COLUMNS").ok().and_then(|c| c.parse::<usize>().ok()).filter(|c| *c > 0);
        let seen = is_terminal.then(|| console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns))).flatten();
        Self {
            json,
            paint: Paint::new(may_paint && is_terminal && !json),
            error_paint: Paint::new(may_paint && io::stderr().is_terminal()),
            full,
            columns: told.or(seen).or(is_terminal.then_some(80)),
            is_terminal,
        }
    }

    /// Columns to cut to; `None` = do not cut.
    #[must_use]
    pub fn cut_to(&self) -> Option<usize> {
        self.columns.filter(|_| !self.full)
    }

    /// Columns for bars and wrapped text.
    #[must_use]
    pub fn width(&self) -> usize {
        self.columns.unwrap_or(100)
    }

    /// Writes text to standard output as it is.
    pub fn text(&self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| CliError::output(&e))
    }

    /// Writes a line to standard output.
    pub fn line(&self, text: &str) -> Result<(), CliError> {
        self.text(&format!("{text}\n"))
    }

    /// Writes a value: on several lines for a terminal, else on one.
    pub fn value(&self, value: &Value) -> Result<(), CliError> {
        let text = if self.is_terminal { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        self.line(&text.map_err(|e| CliError::odd_answer("the output", e))?)
    }

    /// Writes a table, or what to say when it is empty.
    pub fn table(&self, table: &table::Table, when_empty: &str) -> Result<(), CliError> {
        if table.is_empty() {
            return self.note(when_empty);
        }
        self.text(&table.render(self.cut_to(), self.paint))
    }

    /// Tells people something that is not part of the output (on standard error); silent with `--json`.
    pub fn note(&self, text: &str) -> Result<(), CliError> {
        if self.json || text.is_empty() {
            return Ok(());
        }
        self.error_line(&self.error_paint.dim(text))
    }

    /// Warns people, on standard error, with `--json` too.
    pub fn warn(&self, text: &str) -> Result<(), CliError> {
        self.error_line(&format!("{} {text}", self.error_paint.yellow("warning:")))
    }

    /// A line on standard error. A reader that went away is no failure here.
    pub fn error_line(&self, text: &str) -> Result<(), CliError> {
        let _ = writeln!(io::stderr().lock(), "{text}");
        Ok(())
    }

    /// Shows an error in the form that was asked for.
    pub fn error(&self, error: &CliError) {
        let text = if self.json { error.to_json().to_string() } else { error.render(self.error_paint) };
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Asks a yes-or-no question. Without a terminal to ask on, it is an error that names the flag that answers it.
    pub fn confirm(&self, question: &str, is_yes: bool) -> Result<bool, CliError> {
        if is_yes {
            return Ok(true);
        }
        if self.json || !io::stdin().is_terminal() {
            return Err(CliError::Usage(format!("{question} Nobody can be asked here: add --yes")));
        }
        let mut err = io::stderr().lock();
        write!(err, "{question} [y/N] ").and_then(|()| err.flush()).map_err(|e| CliError::output(&e))?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map_err(|e| CliError::output(&e))?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }
}
