//! Tokens of OpenID Connect issuers: whose user somebody is, with which role, and in which teams.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, header};
use jsonwebtoken::Algorithm;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use sid_store::{Store, StoreError};
use sid_types::{AccessRole, Clock, KeyId, KeyRole, Permission, Scope, TeamRole, TenantId, Timestamp, User};
use uuid::Uuid;

use super::caller::{Identity, house_right};
use super::jwks::Jwks;
use super::jwt::{Expected, Fault, Token};
use super::permissions::Permissions;
use super::{MAX_REMEMBERED, Tenants, ensure_user, signatures, unauthenticated};
use crate::config::{self, ConfigError};
use crate::error::{ApiCode, ApiError};

/// How long it is remembered whose a token is; then it is verified and the user looked up again.
const REMEMBERED: Duration = Duration::from_secs(30);
/// What scopes of Sid begin with in a token.
const SCOPE_PREFIX: &str = "sid:";

/// An issuer, ready to verify.
struct Issuer {
    settings: config::Issuer,
    algorithms: Vec<Algorithm>,
    roles: Vec<(String, AccessRole)>,
    jwks: Arc<Jwks>,
}

/// What a token was found to be.
#[derive(Clone)]
struct Remembered {
    identity: Identity,
    /// Its own end, leeway included.
    until: Timestamp,
    at: Instant,
}

/// All configured issuers.
pub(super) struct Oidc {
    issuers: Vec<Issuer>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    tenants: Tenants,
    /// By the token's SHA-256.
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
}

impl Oidc {
    /// `None` where no issuer is configured.
    pub(super) fn new(
        issuers: &BTreeMap<String, config::Issuer>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        tenants: Tenants,
    ) -> Result<Option<Self>, ConfigError> {
        if issuers.is_empty() {
            return Ok(None);
        }
        signatures::install();
        let ready = |(name, settings): (&String, &config::Issuer)| -> Result<Issuer, ConfigError> {
            let bad =
                |field: &str, problem: String| ConfigError::BadValue { key: format!("auth.oidc.{name}.{field}"), problem, place: None };
            let algorithm =
                |name: &String| name.parse::<Algorithm>().map_err(|_| bad("algorithms", format!("`{name}` is no kind of signature")));
            Ok(Issuer {
                algorithms: settings.algorithms.iter().map(algorithm).collect::<Result<_, _>>()?,
                roles: settings.roles().map_err(|problem| bad("roles", problem))?,
                jwks: Arc::new(Jwks::new(settings.url(), settings.jwks_url.as_deref()).map_err(|e| bad("issuer", e.to_string()))?),
                settings: settings.clone(),
            })
        };
        let issuers = issuers.iter().map(ready).collect::<Result<_, _>>()?;
        Ok(Some(Self { issuers, store, clock, tenants, remembered: Mutex::default() }))
    }

    /// The issuers' URLs.
    pub(super) fn issuers(&self) -> Vec<&str> {
        self.issuers.iter().map(|i| i.settings.url()).collect()
    }

    /// Whose token it is.
    pub(super) async fn identity(&self, text: &str) -> Result<Identity, ApiError> {
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let known = self.remembered.lock().get(&hash).cloned();
        if let Some(known) = known.filter(|known| known.at.elapsed() < REMEMBERED && self.clock.now() < known.until) {
            return Ok(known.identity);
        }
        let token = Token::read(text).map_err(refused)?;
        let issuer = self.issuers.iter().find(|i| Some(i.settings.url()) == token.issuer()).ok_or_else(|| refused(Fault::Issuer))?;
        let claims = issuer.claims(&token, self.clock.now()).await?;
        let (identity, until) = (self.resolve(issuer, &claims).await?, issuer.end(&claims));
        let mut remembered = self.remembered.lock();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(hash, Remembered { identity: identity.clone(), until, at: Instant::now() });
        Ok(identity)
    }

    pub(super) fn forget(&self) {
        self.remembered.lock().clear();
    }

    /// The user whom verified claims name: looked up, or made.
    async fn resolve(&self, issuer: &Issuer, claims: &Map<String, Value>) -> Result<Identity, ApiError> {
        let settings = &issuer.settings;
        let access = issuer.role(claims).ok_or_else(|| ApiError::forbidden("the token names no role that is known here"))?;
        let handle = issuer.handle(claims)?;
        let tenant = self.tenant(settings, claims).await?;
        let scope = house_right().enter(tenant, KeyId::from_uuid(Uuid::nil()));
        let user = if settings.create_users {
            ensure_user(&*self.store, &*self.clock, &scope, &handle, text(claims, &settings.name_claim)).await?
        } else {
            match self.store.user_by_handle(&scope, &handle).await {
                Err(StoreError::NotFound { .. }) => {
                    return Err(ApiError::forbidden("nobody here is known by the name that the token gives"));
                }
                found => found?,
            }
        };
        if let (true, Some(name)) = (settings.sync_teams, &settings.teams_claim)
            && let Some(value) = claim(claims, name)
        {
            self.follow_teams(&scope, &user, &texts(value)).await?;
        }
        let role = KeyRole::User { tenant, user: user.id };
        // Stands for the person at the issuer: what is counted and logged by key is by person.
        let subject = text(claims, "sub").unwrap_or(&handle);
        let key = KeyId::from_uuid(Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{}\0{subject}", settings.url()).as_bytes()));
        Ok(Identity { key, role, permissions: Permissions::new(&role, access, issuer.scopes(claims).as_deref()) })
    }

    async fn tenant(&self, settings: &config::Issuer, claims: &Map<String, Value>) -> Result<TenantId, ApiError> {
        let unknown = || ApiError::forbidden("the token belongs to no tenant of this server");
        let named = match (&settings.tenant, &settings.tenant_claim) {
            (Some(fixed), _) => fixed.as_str(),
            (None, Some(name)) => text(claims, name).ok_or_else(unknown)?,
            (None, None) => return Err(unknown()),
        };
        self.tenants.find(&*self.store, named.trim_start_matches('@')).await?.ok_or_else(unknown)
    }

    /// Puts a user into the teams of these names that there are, and takes it out of all others.
    async fn follow_teams(&self, scope: &Scope, user: &User, names: &[&str]) -> Result<(), ApiError> {
        let direct: Vec<_> = self.store.user_teams(scope, user.id).await?.into_iter().filter(|m| m.is_direct).map(|m| m.team).collect();
        for team in direct.iter().filter(|team| !names.contains(&team.name.as_str())) {
            self.store.set_team_member(scope, team.id, user.id, None).await?;
        }
        if names.iter().all(|name| direct.iter().any(|team| team.name == *name)) {
            return Ok(());
        }
        for team in self.store.teams(scope).await? {
            if names.contains(&team.name.as_str()) && direct.iter().all(|d| d.id != team.id) {
                self.store.set_team_member(scope, team.id, user.id, Some(TeamRole::Member)).await?;
            }
        }
        Ok(())
    }
}

impl Issuer {
    /// The claims of a token, if all holds.
    async fn claims(&self, token: &Token<'_>, now: Timestamp) -> Result<Map<String, Value>, ApiError> {
        let expected = Expected {
            issuer: self.settings.url(),
            audience: &self.settings.audience,
            algorithms: &self.algorithms,
            leeway_s: self.settings.leeway_s,
            now,
        };
        let keys = self.jwks.keys().await.map_err(|problem| {
            tracing::warn!(issuer = self.settings.url(), "cannot verify tokens: {problem}");
            let detail = "the keys of the token's issuer cannot be had; the server's log says more";
            ApiError::new(ApiCode::IssuerUnavailable, detail).retry_after(5)
        })?;
        match token.verify(&keys, &expected) {
            Err(Fault::UnknownKey) => match self.jwks.others(&keys).await {
                Some(keys) => token.verify(&keys, &expected).map_err(refused),
                None => Err(refused(Fault::UnknownKey)),
            },
            verified => verified.map_err(refused),
        }
    }

    /// When a token with these claims ends, leeway included.
    fn end(&self, claims: &Map<String, Value>) -> Timestamp {
        let exp = claims.get("exp").and_then(Value::as_f64).unwrap_or_default();
        Timestamp::from_second(exp as i64 + self.settings.leeway_s as i64).unwrap_or(Timestamp::MAX)
    }

    fn handle(&self, claims: &Map<String, Value>) -> Result<String, ApiError> {
        let name = &self.settings.user_claim;
        let named = text(claims, name).map(str::trim).filter(|t| !t.is_empty());
        let named = named.ok_or_else(|| ApiError::forbidden(format!("the token has no claim `{name}`, which names its user")))?;
        // Whoever may write any address into a profile would be whom they like.
        if name == "email" && claims.get("email_verified") == Some(&Value::Bool(false)) {
            return Err(ApiError::forbidden("the token's `email` is not verified"));
        }
        Ok(format!("{}{named}", self.settings.user_prefix))
    }

    /// The first configured role that the token has; the usual one where nothing is said.
    fn role(&self, claims: &Map<String, Value>) -> Option<AccessRole> {
        let values = self.settings.role_claim.as_ref().and_then(|name| claim(claims, name)).map(texts).unwrap_or_default();
        let named = self.roles.iter().find(|(value, _)| values.contains(&value.as_str())).map(|(_, role)| *role);
        named.or_else(|| config::role(&self.settings.default_role))
    }

    /// What the token's scopes leave; `None` = all.
    fn scopes(&self, claims: &Map<String, Value>) -> Option<Vec<Permission>> {
        let values = claim(claims, &self.settings.scope_claim).map(texts).unwrap_or_default();
        let mut words = values.iter().flat_map(|v| v.split_whitespace()).filter_map(|w| w.strip_prefix(SCOPE_PREFIX)).peekable();
        if words.peek().is_none() && !self.settings.require_scopes {
            return None;
        }
        Some(words.filter_map(|w| Permission::ALL.into_iter().find(|p| p.as_str() == w)).collect())
    }
}

/// The claim of this name; where there is none, `a.b` is the claim `b` inside the claim `a`.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (outer, inner) = name.split_once('.')?;
        claim(claims.get(outer)?.as_object()?, inner)
    })
}

/// A claim that is one text.
fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claim(claims, name).and_then(Value::as_str)
}

/// The texts of a claim that is one, or a list of them.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn refused(fault: Fault) -> ApiError {
    let error = unauthenticated().reworded(fault.words().to_owned());
    let challenge = format!("Bearer realm=\"sid\", error=\"invalid_token\", error_description=\"{}\"", fault.words());
    match HeaderValue::from_str(&challenge) {
        Ok(value) => error.header(header::WWW_AUTHENTICATE, value),
        Err(_) => error,
    }
}

#[cfg(test)]
mod tests;
