//! Tools that come with the server.

use std::sync::Arc;

use sid_fetch::Fetcher;
use sid_tools::Tool;

use crate::config::Builtin;

/// Those that are switched on.
pub(crate) fn builtin(config: &Builtin, fetcher: &Fetcher) -> Vec<Arc<dyn Tool>> {
    let mut tools = Vec::new();
    if config.calendar {
        tools.extend(sid_assistant::calendar());
    }
    if config.calculator {
        tools.extend(sid_assistant::calculator());
    }
    if config.read_page {
        tools.extend(sid_assistant::pages(fetcher.clone()));
    }
    tools
}
