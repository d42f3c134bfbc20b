//! Logins in a browser: from the first look at a server to tokens that are refreshed (ADR 0034).
//!
//! Tokens are secrets of whoever has logged in: sealed, erased with their user, shown in lists by name. Whoever comes back from the browser has no
//! key, so the page shows a code, and only who began the login can give it: a link that was passed on logs nobody else in.

mod place;
mod refresh;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sid_context::ContextError;
use sid_context::secrets::{SecretValue, Vault};
use sid_fetch::oauth::{
    AuthorizationServer, Challenge, ClientAuth, Grant, Hidden, OAuthClient, OAuthError, Pkce, Tokens, authorization_server,
    protected_resource, random, register,
};
use sid_fetch::{Fetcher, Request, Url};
use sid_store::{Store, StoreError};
use sid_types::{Clock, Owner, Timestamp};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use super::secrets::VaultSecrets;
use crate::config::Config;

pub(crate) use place::Place;
use place::{place_of, state_of};
pub(super) use refresh::ToolsetLogin;

/// Where browsers come back to.
pub(crate) const CALLBACK: &str = "/oauth/callback";
/// Names of secrets that are logins begin so; no header of a toolset can name them.
pub(super) const PREFIX: &str = "login/";
/// A person has so long from the first step to the last.
const PATIENCE: Duration = Duration::from_secs(900);
/// Wrong codes until a login is dropped.
const MOST_TRIES: u32 = 5;
/// A token is refreshed so long before it ends.
const EARLY: Duration = Duration::from_secs(30);
/// For a token that does not say when it ends: until the server refuses it.
const LONG: Duration = Duration::from_secs(30 * 86_400);

/// A login in a browser (OAuth's authorization code with PKCE).
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct McpLogin {
    /// The authorization server. Found by the server's metadata when left out; needed with `client_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// The client's id there; one is registered for each login when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    /// The name of the tenant's secret that is the client's, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret: Option<String>,
    /// What is asked for; what the server says that it needs when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    /// Whether users who have not logged in are served by the tenant's login. Default: no, each logs in.
    #[serde(default)]
    pub(crate) shared: bool,
}

impl McpLogin {
    /// Errors: what does not fit, in words for who put it.
    pub(super) fn check(&self) -> Result<(), String> {
        // The MCP server could else name the place that the client's secret and its users' codes are sent to.
        if self.client_id.is_some() && self.issuer.is_none() || self.client_secret.is_some() && self.client_id.is_none() {
            return Err("`login.client_secret` needs `client_id`, and that needs `issuer`, the authorization server that knows them".into());
        }
        Ok(())
    }
}

/// Where a login stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LoginState {
    /// Nobody has logged in.
    None,
    /// A browser was sent away and has not come back.
    Waiting,
    /// It came back: the code that it shows has to be given.
    Unconfirmed,
    /// Tokens are there.
    LoggedIn,
    /// They were, and are no longer good: only another login helps.
    Ended,
}

/// What is kept of a login.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The MCP server's: a toolset that is put with another one does not get these tokens.
    url: String,
    grant: Grant,
    tokens: Tokens,
    until: Timestamp,
    #[serde(default)]
    is_over: bool,
}

impl Kept {
    /// Whether its token is good now, and not the one that the server has refused.
    fn is_good(&self, now: Timestamp, refused: Option<&Hidden>) -> bool {
        self.until > now && refused != Some(&self.tokens.access_token)
    }
}

/// A login on its way.
#[derive(Serialize, Deserialize)]
struct Pending {
    url: String,
    nonce: String,
    pkce: Pkce,
    grant: Grant,
    until: Timestamp,
    #[serde(default)]
    came: Option<Came>,
}

/// What the browser brought.
#[derive(Serialize, Deserialize)]
struct Came {
    tokens: Tokens,
    at: Timestamp,
    /// Of the code that the page shows.
    code: String,
    tries: u32,
}

/// Why a login does not go on.
#[derive(Debug)]
pub(crate) enum LoginError {
    /// What to do, for who asked.
    Refused(String),
    /// It is the store's or the vault's.
    Context(ContextError),
}

impl From<ContextError> for LoginError {
    fn from(error: ContextError) -> Self {
        Self::Context(error)
    }
}

fn refused(problem: impl Into<String>) -> LoginError {
    LoginError::Refused(problem.into())
}

fn hashed(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

fn is_same(known: &str, shown: &str) -> bool {
    known.as_bytes().ct_eq(shown.as_bytes()).into()
}

/// All logins.
pub(crate) struct Logins {
    vault: Option<Vault>,
    secrets: Arc<VaultSecrets>,
    store: Arc<dyn Store>,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    /// How browsers reach this server.
    home: Option<String>,
}

impl Logins {
    pub(super) fn new(
        vault: Option<Vault>,
        secrets: Arc<VaultSecrets>,
        store: Arc<dyn Store>,
        fetcher: Fetcher,
        clock: Arc<dyn Clock>,
        config: &Config,
    ) -> Self {
        let home = config.server.public_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
        Self { vault, secrets, store, fetcher, clock, home }
    }

    fn vault(&self) -> Result<&Vault, LoginError> {
        self.vault
            .as_ref()
            .ok_or_else(|| refused("this server keeps no secrets, so it can keep no login: its operator has to set `secrets.keys`"))
    }

    async fn read<T: for<'de> Deserialize<'de>>(&self, place: &Place, name: &str) -> Result<Option<T>, LoginError> {
        match self.vault()?.reveal(&place.scope(), place.owner(), name).await {
            Ok(value) => Ok(serde_json::from_str(value.reveal()).ok()),
            Err(ContextError::Store(StoreError::NotFound { .. })) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn write<T: Serialize + Sync>(&self, place: &Place, name: &str, about: &str, value: &T) -> Result<(), LoginError> {
        let value = serde_json::to_string(value).map_err(|e| refused(e.to_string()))?;
        self.vault()?.put(&place.scope(), place.owner(), name, about, &SecretValue::new(value), None).await?;
        Ok(())
    }

    async fn remove(&self, place: &Place, name: &str) -> Result<bool, LoginError> {
        match self.vault()?.delete(&place.scope(), place.owner(), name, None).await {
            Ok(()) => Ok(true),
            Err(ContextError::Store(StoreError::NotFound { .. })) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Begins a login. Answers where the person goes, and until when.
    pub(crate) async fn begin(&self, place: &Place, url: &str, login: &McpLogin) -> Result<(String, Timestamp), LoginError> {
        let home = self.home.as_ref();
        let home = home.ok_or_else(|| refused("browsers could not come back: the operator has to set `server.public_url`"))?;
        let redirect_uri = format!("{home}{CALLBACK}");
        let failed = |error: OAuthError| refused(format!("no login at {url}: {error}"));
        let parsed = self.fetcher.policy().target(url).map_err(|e| failed(e.into()))?.url().clone();
        let challenge = self.challenge(url).await;
        let found = protected_resource(&self.fetcher, &parsed, &challenge).await.map_err(failed)?;
        // Servers from before there was such metadata are their own authorization server.
        let origin = parsed.origin().ascii_serialization();
        let (resource, issuers, scopes) = match found {
            Some(found) => (found.resource, found.authorization_servers, found.scopes_supported),
            None => (canonical(&parsed), vec![origin], Vec::new()),
        };
        let issuer = match &login.issuer {
            Some(wanted) => issuers
                .iter()
                .find(|i| i.trim_end_matches('/') == wanted.trim_end_matches('/'))
                .ok_or_else(|| refused(format!("{url} takes tokens of {}, and `login.issuer` is another", issuers.join(", "))))?,
            None => issuers.first().ok_or_else(|| refused(format!("{url} does not say where tokens are made")))?,
        };
        let server = authorization_server(&self.fetcher, issuer).await.map_err(failed)?;
        let client = self.client(place, login, &server, &redirect_uri).await?;
        let mut grant = Grant::new(&server, client, redirect_uri);
        grant.resource = Some(resource);
        grant.scope = login.scope.clone().or(challenge.scope).or_else(|| (!scopes.is_empty()).then(|| scopes.join(" ")));
        let nonce = random::<32>();
        let until = self.clock.now().checked_add(PATIENCE).unwrap_or(Timestamp::MAX);
        let pending =
            Pending { url: url.to_owned(), nonce: hex::encode(Sha256::digest(nonce)), pkce: Pkce::random(), grant, until, came: None };
        let to = pending.grant.authorization_url(&state_of(place, &nonce), &pending.pkce).map_err(failed)?;
        self.write(place, &place.pending(), "A login on its way", &pending).await?;
        Ok((to, until))
    }

    /// What the server says to who comes without a token.
    async fn challenge(&self, url: &str) -> Challenge {
        let ping = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_vec();
        let Ok(request) = Request::post(url).json(ping).at_most(64 << 10).header("accept", "application/json, text/event-stream") else {
            return Challenge::default();
        };
        match self.fetcher.send(request).await {
            Ok(answer) => {
                let said = answer.headers.get("www-authenticate").and_then(|v| v.to_str().ok());
                said.map(Challenge::read).unwrap_or_default()
            }
            Err(_) => Challenge::default(),
        }
    }

    async fn client(
        &self,
        place: &Place,
        login: &McpLogin,
        server: &AuthorizationServer,
        redirect_uri: &str,
    ) -> Result<OAuthClient, LoginError> {
        if let Some(id) = &login.client_id {
            let secret = match &login.client_secret {
                Some(name) => {
                    let value = self.vault()?.reveal(&place.scope(), Owner::Tenant, name).await;
                    Some(Hidden::new(value.map_err(|_| refused(format!("the tenant has no secret `{name}`")))?.reveal()))
                }
                None => None,
            };
            let auth = if secret.is_some() { ClientAuth::with_secret(server) } else { ClientAuth::None };
            return Ok(OAuthClient { id: id.clone(), secret, auth });
        }
        let before: Option<Kept> = self.read(place, &place.kept()).await?;
        if let Some(before) = before.filter(|b| !b.is_over && b.grant.issuer == server.issuer && b.grant.redirect_uri == redirect_uri) {
            return Ok(before.grant.client);
        }
        register(&self.fetcher, server, "Sid", redirect_uri).await.map_err(|e| refused(format!("no client could be registered: {e}")))
    }

    /// A browser comes back. Answers the code that it shows.
    pub(crate) async fn came_back(&self, state: &str, code: Result<&str, &str>, issuer: Option<&str>) -> Result<String, LoginError> {
        let unknown = || refused("This login is not known, or it took too long. Begin again.");
        let (place, nonce) = place_of(state).ok_or_else(unknown)?;
        let pending: Option<Pending> = self.read(&place, &place.pending()).await.map_err(|_| unknown())?;
        let mut pending = pending.filter(|p| is_same(&p.nonce, &hex::encode(Sha256::digest(nonce)))).ok_or_else(unknown)?;
        if pending.until <= self.clock.now() || pending.came.is_some() {
            return Err(unknown());
        }
        let failed = |error: OAuthError| refused(format!("The login did not work: {error}. Begin again."));
        pending.grant.check_issuer(issuer).map_err(failed)?;
        let tokens = match code {
            Ok(code) => pending.grant.exchange(&self.fetcher, code, &pending.pkce).await.map_err(failed),
            Err(error) => Err(refused(format!("The login was not granted ({error}). Begin again to try once more."))),
        };
        let tokens = match tokens {
            Ok(tokens) => tokens,
            // A code is of use once.
            Err(error) => {
                self.remove(&place, &place.pending()).await?;
                return Err(error);
            }
        };
        let code = spoken(random());
        pending.came = Some(Came { tokens, at: self.clock.now(), code: hashed(&code), tries: 0 });
        self.write(&place, &place.pending(), "A login that waits for its code", &pending).await?;
        Ok(code)
    }

    /// Who began the login gives the code that the browser shows.
    pub(crate) async fn confirm(&self, place: &Place, code: &str) -> Result<(), LoginError> {
        let pending: Option<Pending> = self.read(place, &place.pending()).await?;
        let Some(mut pending) = pending.filter(|p| p.until > self.clock.now()) else {
            return Err(refused("no login is on its way: begin one"));
        };
        let Some(came) = &mut pending.came else { return Err(refused("the browser has not come back yet")) };
        let code: String = code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
        if !is_same(&came.code, &hashed(&code)) {
            came.tries += 1;
            if came.tries >= MOST_TRIES {
                self.remove(place, &place.pending()).await?;
                return Err(refused("this is not the code, too often: begin again"));
            }
            self.write(place, &place.pending(), "A login that waits for its code", &pending).await?;
            return Err(refused("this is not the code that the browser shows"));
        }
        let Some(Came { tokens, at, .. }) = pending.came.take() else { return Err(refused("the browser has not come back yet")) };
        let kept = Kept { url: pending.url, until: ends(&tokens, at), grant: pending.grant, tokens, is_over: false };
        self.keep(place, &kept).await?;
        self.remove(place, &place.pending()).await?;
        Ok(())
    }

    async fn keep(&self, place: &Place, kept: &Kept) -> Result<(), LoginError> {
        self.write(place, &place.kept(), &format!("Login of toolset {} at {}", place.toolset, kept.grant.issuer), kept).await
    }

    /// Where the login stands, and at whom.
    pub(crate) async fn state(&self, place: &Place, url: &str) -> Result<(LoginState, Option<String>), LoginError> {
        let now = self.clock.now();
        let pending: Option<Pending> = self.read(place, &place.pending()).await?;
        let kept: Option<Kept> = self.read(place, &place.kept()).await?;
        Ok(match (pending.filter(|p| p.until > now), kept.filter(|k| k.url == url)) {
            (Some(pending), _) if pending.came.is_some() => (LoginState::Unconfirmed, Some(pending.grant.issuer)),
            (_, Some(kept)) if !kept.is_over => (LoginState::LoggedIn, Some(kept.grant.issuer)),
            (Some(pending), _) => (LoginState::Waiting, Some(pending.grant.issuer)),
            (None, Some(kept)) => (LoginState::Ended, Some(kept.grant.issuer)),
            (None, None) => (LoginState::None, None),
        })
    }

    /// Forgets the login and one that is on its way. Answers whether there was any.
    pub(crate) async fn forget(&self, place: &Place) -> Result<bool, LoginError> {
        let was_on_its_way = self.remove(place, &place.pending()).await?;
        Ok(self.remove(place, &place.kept()).await? || was_on_its_way)
    }
}

fn ends(tokens: &Tokens, from: Timestamp) -> Timestamp {
    let lasts = tokens.expires_in.map_or(LONG, Duration::from_secs).min(LONG).saturating_sub(EARLY);
    from.checked_add(lasts).unwrap_or(Timestamp::MAX)
}

/// A resource's own name for itself, where it does not say.
fn canonical(url: &Url) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    url.as_str().trim_end_matches('/').to_owned()
}

/// Forty bits that a person can read out.
fn spoken(bytes: [u8; 5]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (0..8).rev().map(|digit| char::from(DIGITS[(number >> (digit * 5) & 31) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::spoken;

    #[test]
    fn a_code_has_eight_digits_that_are_not_mistaken() {
        assert_eq!(spoken([0; 5]), "00000000");
        assert_eq!(spoken([0xff; 5]), "ZZZZZZZZ");
        assert_eq!(spoken([0, 0, 0, 0, 33]), "00000011");
    }
}
