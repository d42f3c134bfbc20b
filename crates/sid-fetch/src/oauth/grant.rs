//! From a person's yes to tokens, and to the next ones.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{AuthorizationServer, ClientAuth, Hidden, OAuthClient, OAuthError, Pkce, post};
use crate::{FetchError, Fetcher, Request, Url};

/// All that stays the same from the first request to the last refresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who makes the tokens.
    pub issuer: String,
    /// Where people are sent.
    pub authorization_endpoint: String,
    /// Where codes become tokens.
    pub token_endpoint: String,
    /// Whether answers must say whose they are.
    #[serde(default)]
    pub is_issuer_told: bool,
    /// Who asks.
    pub client: OAuthClient,
    /// Where people are sent back to.
    pub redirect_uri: String,
    /// What the tokens are for (RFC 8707).
    #[serde(default)]
    pub resource: Option<String>,
    /// What they allow; the server's usual without.
    #[serde(default)]
    pub scope: Option<String>,
    /// Further fields of the authorization request that a server wants, such as `access_type`.
    #[serde(default)]
    pub extra: Vec<(String, String)>,
}

/// Tokens as they are given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// For the resource.
    pub access_token: Hidden,
    /// For the next ones. With rotation, of use once.
    #[serde(default)]
    pub refresh_token: Option<Hidden>,
    /// How many seconds the first is good for.
    #[serde(default)]
    pub expires_in: Option<u64>,
    /// What it allows, if that is not what was asked for.
    #[serde(default)]
    pub scope: Option<String>,
}

impl Grant {
    /// What a server and a client make together.
    #[must_use]
    pub fn new(server: &AuthorizationServer, client: OAuthClient, redirect_uri: impl Into<String>) -> Self {
        Self {
            issuer: server.issuer.clone(),
            authorization_endpoint: server.authorization_endpoint.clone(),
            token_endpoint: server.token_endpoint.clone(),
            is_issuer_told: server.authorization_response_iss_parameter_supported,
            client,
            redirect_uri: redirect_uri.into(),
            resource: None,
            scope: None,
            extra: Vec::new(),
        }
    }

    /// Where the person goes.
    ///
    /// Errors: the endpoint is no URL.
    pub fn authorization_url(&self, state: &str, pkce: &Pkce) -> Result<String, OAuthError> {
        let url: Result<Url, _> = self.authorization_endpoint.parse();
        let mut url = url.map_err(|e| OAuthError::Unusable(format!("the authorization endpoint is no URL: {e}")))?;
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("response_type", "code").append_pair("client_id", &self.client.id);
            query.append_pair("redirect_uri", &self.redirect_uri).append_pair("state", state);
            query.append_pair("code_challenge", &pkce.challenge()).append_pair("code_challenge_method", "S256");
            for (name, value) in [("scope", &self.scope), ("resource", &self.resource)] {
                if let Some(value) = value {
                    query.append_pair(name, value);
                }
            }
            for (name, value) in &self.extra {
                query.append_pair(name, value);
            }
        }
        Ok(url.into())
    }

    /// Checks who has answered (RFC 9207): another server's code is not shown to this one.
    ///
    /// Errors: `Unusable`.
    pub fn check_issuer(&self, issuer: Option<&str>) -> Result<(), OAuthError> {
        match issuer {
            Some(issuer) if issuer == self.issuer => Ok(()),
            Some(_) => Err(OAuthError::Unusable("the answer is another authorization server's".into())),
            None if self.is_issuer_told => Err(OAuthError::Unusable("the answer does not say which authorization server it is of".into())),
            None => Ok(()),
        }
    }

    /// A code becomes tokens. Errors: [`OAuthError`].
    pub async fn exchange(&self, fetcher: &Fetcher, code: &str, pkce: &Pkce) -> Result<Tokens, OAuthError> {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("code_verifier", pkce.verifier()),
            ("redirect_uri", &self.redirect_uri),
        ];
        self.ask(fetcher, &fields).await
    }

    /// The next tokens. Without a new refresh token the old one stays good.
    ///
    /// Errors: [`OAuthError`]; [`OAuthError::is_over`] when only a new login helps. After [`OAuthError::Unreachable`] a server that rotates may
    /// have used the token up.
    pub async fn refresh(&self, fetcher: &Fetcher, token: &Hidden) -> Result<Tokens, OAuthError> {
        let mut tokens = self.ask(fetcher, &[("grant_type", "refresh_token"), ("refresh_token", token.reveal())]).await?;
        if tokens.refresh_token.is_none() {
            tokens.refresh_token = Some(token.clone());
        }
        Ok(tokens)
    }

    async fn ask(&self, fetcher: &Fetcher, fields: &[(&str, &str)]) -> Result<Tokens, OAuthError> {
        let mut fields = fields.to_vec();
        fields.extend(self.resource.as_deref().map(|resource| ("resource", resource)));
        let secret = self.client.secret.as_ref().map(Hidden::reveal).unwrap_or_default();
        match self.client.auth {
            ClientAuth::None => fields.push(("client_id", &self.client.id)),
            ClientAuth::Post => fields.extend([("client_id", self.client.id.as_str()), ("client_secret", secret)]),
            ClientAuth::Basic => {}
        }
        let tokens: Tokens = post(fetcher, &self.token_endpoint, |request| {
            let request = request.form(&fields);
            if self.client.auth == ClientAuth::Basic { basic(request, &self.client.id, secret) } else { Ok(request) }
        })
        .await?;
        if tokens.access_token.reveal().is_empty() {
            return Err(OAuthError::Unusable("the answer has an empty token".into()));
        }
        Ok(tokens)
    }
}

/// RFC 6749, section 2.3.1: both as in a form.
fn basic(request: Request, id: &str, secret: &str) -> Result<Request, FetchError> {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let both = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
    request.secret("authorization", &format!("Basic {both}"))
}
