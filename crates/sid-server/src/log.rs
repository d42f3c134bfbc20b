//! What the log may hold.

use tracing::{Level, Metadata};

/// Whether something may be logged, whatever the filter asks for. The library that speaks MCP logs whole requests and answers, and its
/// service what it refuses: values of secrets may be in them.
#[must_use]
pub fn may_be_logged(what: &Metadata<'_>) -> bool {
    let most = match what.target() {
        target if target.starts_with("rmcp::service") => Level::ERROR,
        target if target.starts_with("rmcp") => Level::WARN,
        _ => return true,
    };
    *what.level() <= most
}
