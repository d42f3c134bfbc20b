//! Tokens that a person got in a browser.

use async_trait::async_trait;
use sid_tools::ToolContext;
use sid_tools::http::Secret;

use crate::ClientCredentials;

/// Where tokens of logins come from: whoever keeps them refreshes them, too.
#[async_trait]
pub trait Login: Send + Sync {
    /// A token for whoever this call is made; for looking at what the server has (`looks`), nobody's in particular. `refused`: the token that the
    /// server has just not taken.
    ///
    /// Errors: there is none, and what to do about it, in words for a model and its user.
    async fn token(&self, context: &ToolContext, looks: bool, refused: Option<&Secret>) -> Result<Secret, String>;
}

/// How a server is shown who asks.
pub enum Authorization {
    /// A token for the client itself.
    Client(ClientCredentials),
    /// A token of a person's login.
    Login(std::sync::Arc<dyn Login>),
}
