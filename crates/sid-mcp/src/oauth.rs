//! OAuth without a person: client credentials. Source: RFC 6749, section 4.4; RFC 8707 for `resource`.
//!
//! The token's URL is what whoever added the server says. It is not discovered: a server could else name the place that a secret is sent to.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sid_fetch::{Fetcher, Request};
use sid_tools::http::Secret;
use tokio::time::Instant;

/// A token is asked for anew so long before it ends.
const EARLY: Duration = Duration::from_secs(30);
/// For a token that does not say when it ends.
const USUAL: Duration = Duration::from_secs(300);
const MOST_BYTES: usize = 64 << 10;

/// How a token is come by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    /// Where it is asked for.
    pub token_url: String,
    /// Who asks.
    pub client_id: String,
    /// The name of the secret that says so.
    pub client_secret: String,
    /// What it is asked for; the server's usual without.
    pub scope: Option<String>,
}

pub(crate) struct Token {
    /// What it was asked for with: another secret, another token.
    secret: Secret,
    value: Secret,
    until: Instant,
}

impl Token {
    pub(crate) fn is_good_for(&self, secret: &Secret) -> bool {
        self.secret.reveal() == secret.reveal() && Instant::now() < self.until
    }

    pub(crate) fn value(&self) -> Secret {
        Secret::new(self.value.reveal())
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

impl ClientCredentials {
    /// Errors: in words, without the secret.
    pub(crate) async fn ask(&self, fetcher: &Fetcher, resource: &str, secret: Secret) -> Result<Token, String> {
        let failed = |problem: String| format!("no token from {}: {problem}", self.token_url);
        let mut fields = vec![("grant_type", "client_credentials"), ("resource", resource)];
        fields.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        // Section 2.3.1: both as in a form.
        let encoded = |text: &str| {
            let form = Request::post("").form(&[("", text)]);
            String::from_utf8_lossy(form.body().unwrap_or_default()).trim_start_matches('=').to_owned()
        };
        let basic = STANDARD.encode(format!("{}:{}", encoded(&self.client_id), encoded(secret.reveal())));
        let request = Request::post(&self.token_url).form(&fields).at_most(MOST_BYTES);
        let request = request.header("accept", "application/json").and_then(|r| r.secret("authorization", &format!("Basic {basic}")));
        let sent = async { fetcher.send(request?).await };
        let response = sent.await.map_err(|e| failed(e.to_string()))?;
        if !response.status.is_success() {
            return Err(failed(format!("it answers {}", response.status)));
        }
        let Answer { access_token, expires_in } =
            serde_json::from_slice(&response.body).map_err(|_| failed("its answer has no `access_token`".into()))?;
        let lasts = expires_in.map_or(USUAL, Duration::from_secs).min(Duration::from_secs(86_400)).saturating_sub(EARLY);
        Ok(Token { secret, value: Secret::new(access_token), until: Instant::now() + lasts })
    }
}
