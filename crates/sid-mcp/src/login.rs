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
    async fn token(&self, context: &ToolContext, looks: bool, refused: Option<&Secret>) -> Result<Secret, NoToken>;
}

/// Why there is no token, and what to do about it, in words for a model and its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoToken {
    /// Somebody has to log in. To ask again costs nothing, and they may have done it by way of another process.
    LogIn(String),
    /// It may work later.
    NotNow(String),
}

impl NoToken {
    /// The words.
    #[must_use]
    pub fn into_words(self) -> String {
        match self {
            Self::LogIn(words) | Self::NotNow(words) => words,
        }
    }
}

/// How a server is shown who asks.
pub enum Authorization {
    /// A token for the client itself.
    Client(ClientCredentials),
    /// A token of a person's login.
    Login(std::sync::Arc<dyn Login>),
}
