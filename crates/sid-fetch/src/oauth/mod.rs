//! OAuth with a person in a browser: authorization code with PKCE, and what has to be found out before.
//!
//! Sources: RFC 6749, 7636 (PKCE), 8414 and 9728 (metadata), 7591 (registration), 8707 (`resource`), 9207 (`iss`).
//!
//! Whoever names a protected resource names, through its metadata, where people are sent and where codes and tokens go. So each address is
//! fetched as a stranger's; what is secret goes to the host of the token endpoint and is not carried on by redirects; and a client secret
//! that was configured is for an issuer that was configured with it, never for one that was found.

mod grant;
mod metadata;
mod pkce;
mod register;

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{FetchError, Fetcher, HostPattern, Request, Url};

pub use grant::{Grant, Tokens};
pub use metadata::{AuthorizationServer, Challenge, ProtectedResource, authorization_server, protected_resource};
pub use pkce::{Pkce, random, random_text};
pub use register::{ClientAuth, OAuthClient, register};

/// Bytes of a document or an answer.
const MOST_BYTES: usize = 64 << 10;

/// What went wrong, by what can be done about it. No text has a value of a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OAuthError {
    /// The other side says no; asking again the same way is in vain.
    #[error("it is refused: {error}{}{description}", if .description.is_empty() { "" } else { ": " })]
    Refused {
        /// Its code, such as `invalid_grant`.
        error: String,
        /// Its words.
        description: String,
    },
    /// What is there cannot be used, or not safely.
    #[error("{0}")]
    Unusable(String),
    /// It could not be asked, or did not answer in time.
    #[error("{0}")]
    Unreachable(#[from] FetchError),
}

impl OAuthError {
    /// Whether the token that was shown is of no use any more: only a new login helps.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Refused { error, .. } if error == "invalid_grant")
    }
}

/// A value that is not shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Hidden(String);

impl Hidden {
    /// Takes a value in.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

/// An error as RFC 6749, section 5.2, and RFC 7591, section 3.2.2, have it.
#[derive(Deserialize)]
struct Told {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// The host of a URL, as what a request may go to.
fn only_host(url: &Url) -> Result<Vec<HostPattern>, OAuthError> {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    Ok(vec![host.parse().map_err(|_| OAuthError::Unusable(format!("`{host}` is no host")))?])
}

/// A document of metadata; `None` where there is none.
async fn document<T: DeserializeOwned>(fetcher: &Fetcher, url: &str) -> Result<Option<T>, OAuthError> {
    let request = Request::get(url).at_most(MOST_BYTES).header("accept", "application/json")?;
    let answer = fetcher.send(request).await?;
    if answer.status.is_client_error() {
        return Ok(None);
    }
    if !answer.status.is_success() {
        return Err(OAuthError::Unusable(format!("{url} answers {}", answer.status)));
    }
    let document = serde_json::from_slice(&answer.body);
    document.map(Some).map_err(|e| OAuthError::Unusable(format!("{url} is not the document that it should be: {e}")))
}

/// Posts what is secret to this host and no other.
async fn post<T: DeserializeOwned>(
    fetcher: &Fetcher,
    url: &str,
    fill: impl FnOnce(Request) -> Result<Request, FetchError>,
) -> Result<T, OAuthError> {
    let target = fetcher.policy().target(url)?;
    let request = fill(Request::post(url).only(only_host(target.url())?).at_most(MOST_BYTES))?.header("accept", "application/json")?;
    let answer = fetcher.send(request).await?;
    if answer.status.is_success() {
        let host = target.url().host_str().unwrap_or_default();
        // Not the parser's words: they may quote a token.
        return serde_json::from_slice(&answer.body).map_err(|_| OAuthError::Unusable(format!("{host} does not answer as it should")));
    }
    match serde_json::from_slice::<Told>(&answer.body) {
        Ok(told) => Err(OAuthError::Refused { error: printable(&told.error), description: printable(&told.error_description) }),
        Err(_) => Err(OAuthError::Unusable(format!("{} answers {}", target.url().host_str().unwrap_or_default(), answer.status))),
    }
}

/// What a stranger says, on one short line.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
