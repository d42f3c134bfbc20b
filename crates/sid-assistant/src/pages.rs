//! Pages of the web.

use std::sync::Arc;

use sid_fetch::Fetcher;
use sid_tools::Tool;
use sid_tools::http::ReadPage;

/// Reads public web pages through this client.
#[must_use]
pub fn pages(fetcher: Fetcher) -> Vec<Arc<dyn Tool>> {
    vec![Arc::new(ReadPage::new(fetcher))]
}
