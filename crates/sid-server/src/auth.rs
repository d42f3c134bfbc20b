//! Who calls: the one way in for all doors.
//!
//! A key is `sid_` + 8 characters that people recognise it by + `_` + 43 characters of secret (256 bits, base62). Only the SHA-256
//! of the whole text is stored. The layer in `layers.rs` asks [`Keyring::caller`] for every route that is not listed as public;
//! handlers get a [`Caller`] and make scopes of it. Nothing else in the server makes a [`Scope`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use parking_lot::Mutex;
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use sid_store::{Store, StoreError};
use sid_types::{ApiKey, Clock, KeyId, KeyRole, OperatorScope, Principal, Scope, TenantId, Timestamp, UserId};
use subtle::ConstantTimeEq as _;

use crate::error::{ApiCode, ApiError};
use crate::rates::Rates;

/// How long a looked-up key is trusted: a key that another process revoked works at most this much longer.
const KEY_TTL: Duration = Duration::from_secs(2);
const MAX_CACHED: usize = 10_000;
/// The tenant that an operator acts in when the request names none.
pub(crate) const DEFAULT_TENANT: &str = "default";

/// A fresh key: its record, and its text, which is shown once.
pub(crate) fn new_key(id: KeyId, name: String, role: KeyRole, now: Timestamp, expires_at: Option<Timestamp>) -> (ApiKey, String) {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut random = rand::rngs::ThreadRng::default();
    let secret: String = (0..43).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect();
    let label = id.to_string();
    let text = format!("sid_{}_{secret}", &label[label.len() - 8..]);
    let key = ApiKey { id, name, role, hash: hash_of(&text), created_at: now, expires_at, revoked_at: None };
    (key, text)
}

fn hash_of(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn is_well_formed(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 56
        && text.starts_with("sid_")
        && bytes[12] == b'_'
        && bytes[4..12].iter().chain(&bytes[13..]).all(u8::is_ascii_alphanumeric)
}

/// An authenticated caller, not yet a scope: handlers ask for the right that they need.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The key that was shown.
    pub(crate) key: KeyId,
    is_operator: bool,
    tenant: Option<TenantId>,
    user: Option<UserId>,
}

impl Caller {
    /// The right to manage tenants and keys.
    pub(crate) fn operator(&self) -> Result<OperatorScope, ApiError> {
        if self.is_operator && self.user.is_none() {
            return Ok(OperatorScope::grant());
        }
        Err(ApiError::forbidden("only an operator key may do this"))
    }

    /// What the caller sees of one tenant.
    pub(crate) fn scope(&self) -> Result<Scope, ApiError> {
        let tenant = self.tenant()?;
        let principal = match self.user {
            Some(user) => Principal::User { user },
            None => Principal::Tenant { key: self.key },
        };
        Ok(grant(tenant, principal))
    }

    /// Like [`Caller::scope`], for what only a tenant's application may do.
    pub(crate) fn tenant_scope(&self) -> Result<Scope, ApiError> {
        if self.user.is_some() {
            return Err(ApiError::forbidden("only a tenant or operator key may do this"));
        }
        self.scope()
    }

    /// Narrowed to one user. A caller that is a user already may name nobody else.
    pub(crate) fn scope_for(&self, user: UserId) -> Result<Scope, ApiError> {
        if self.user.is_some_and(|own| own != user) {
            return Err(ApiError::forbidden("this key belongs to another user"));
        }
        Ok(grant(self.tenant()?, Principal::User { user }))
    }

    pub(crate) fn tenant(&self) -> Result<TenantId, ApiError> {
        self.tenant.ok_or_else(|| {
            ApiError::new(ApiCode::TenantRequired, "an operator acts inside a tenant: name one in the header X-Sid-Tenant (id or name)")
        })
    }

    /// The tenant whose requests these are; `None` for operators, who look after tenants.
    pub(crate) fn limited_tenant(&self) -> Option<TenantId> {
        self.tenant.filter(|_| !self.is_operator)
    }

    /// The user that the caller is, or is narrowed to.
    pub(crate) const fn user(&self) -> Option<UserId> {
        self.user
    }

    /// The right to read a list of keys, and whose it must be cut to: all for an operator, those of its users for a tenant key.
    pub(crate) fn key_list(&self) -> Result<(OperatorScope, Option<TenantId>), ApiError> {
        match self.operator() {
            Ok(operator) => Ok((operator, None)),
            Err(_) => Ok((OperatorScope::grant(), Some(self.tenant_scope()?.tenant()))),
        }
    }

    /// Checks that the caller may give out keys with this role: an operator any, a tenant's application those of its users.
    pub(crate) fn may_manage(&self, role: &KeyRole) -> Result<OperatorScope, ApiError> {
        if let Ok(operator) = self.operator() {
            return Ok(operator);
        }
        match role {
            KeyRole::User { tenant, .. } if self.user.is_none() && self.tenant == Some(*tenant) => Ok(OperatorScope::grant()),
            _ => Err(ApiError::forbidden("only an operator key may do this; a tenant key manages the keys of its own users")),
        }
    }
}

/// The server's own right, for its first start and its gauges.
pub(crate) const fn house_right() -> OperatorScope {
    OperatorScope::grant()
}

/// The only place of the server where rights are stated.
#[allow(clippy::disallowed_methods, reason = "authentication is where scopes are made")]
const fn grant(tenant: TenantId, principal: Principal) -> Scope {
    Scope::grant(tenant, principal)
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // A route that was forgotten in the layer still refuses.
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthenticated)
    }
}

pub(crate) fn unauthenticated() -> ApiError {
    ApiError::new(
        ApiCode::Unauthenticated,
        "send a valid key as `Authorization: Bearer sid_...` or `X-Api-Key: sid_...`; this one is missing, unknown, revoked or expired",
    )
}

/// Marks requests that come from the process itself (the command line on its own data folder). No header can make one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trusted;

/// Looks keys up, with a small memory.
pub(crate) struct Keyring {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    keys: Mutex<HashMap<String, (ApiKey, Instant)>>,
    /// By name and by id. Tenants neither go nor change their names, so what was found stays true.
    tenants: Mutex<HashMap<String, TenantId>>,
    rates: Rates<KeyId>,
    rate_per_second: u32,
}

impl Keyring {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, rate_per_second: u32) -> Self {
        Self { store, clock, keys: Mutex::default(), tenants: Mutex::default(), rates: Rates::default(), rate_per_second }
    }

    /// The caller behind a request's headers.
    pub(crate) async fn caller(&self, headers: &HeaderMap, trusted: Option<Trusted>) -> Result<Caller, ApiError> {
        let (key, role) = match trusted {
            Some(Trusted) => (KeyId::from_uuid(uuid::Uuid::nil()), KeyRole::Operator),
            None => {
                let key = self.key(shown_key(headers)?).await?;
                self.rates.take(key.id, self.rate_per_second).map(|standing| standing.admitted("key")).transpose()?;
                (key.id, key.role)
            }
        };
        let wanted_tenant = header(headers, "x-sid-tenant")?;
        let wanted_user = header(headers, "x-sid-user")?;
        let (is_operator, tenant) = match role {
            KeyRole::Operator => (true, self.operators_tenant(wanted_tenant).await?),
            KeyRole::Tenant { tenant } | KeyRole::User { tenant, .. } => {
                self.check_own_tenant(tenant, wanted_tenant).await?;
                (false, Some(tenant))
            }
        };
        let mut caller = Caller { key, is_operator, tenant, user: None };
        match (role, wanted_user) {
            (KeyRole::User { user, .. }, None) => caller.user = Some(user),
            (KeyRole::User { user, .. }, Some(wanted)) => {
                caller.user = Some(user);
                let own = self.store.user(&caller.scope()?, user).await?;
                if wanted != user.to_string() && wanted.trim_start_matches('@') != own.handle {
                    return Err(ApiError::forbidden("this key belongs to another user than X-Sid-User names"));
                }
            }
            (_, Some(wanted)) => {
                let scope = caller.scope()?;
                let user = match wanted.parse::<UserId>() {
                    Ok(id) => self.store.user(&scope, id).await?,
                    Err(_) => self.store.user_by_handle(&scope, wanted.trim_start_matches('@')).await?,
                };
                caller.user = Some(user.id);
            }
            (_, None) => {}
        }
        Ok(caller)
    }

    async fn key(&self, text: &str) -> Result<ApiKey, ApiError> {
        if !is_well_formed(text) {
            return Err(unauthenticated());
        }
        let hash = hash_of(text);
        let cached = self.keys.lock().get(&hash).filter(|(_, at)| at.elapsed() < KEY_TTL).map(|(key, _)| key.clone());
        let key = match cached {
            Some(key) => key,
            None => {
                let found = self.store.key_by_hash(&hash).await?.ok_or_else(unauthenticated)?;
                if !bool::from(found.hash.as_bytes().ct_eq(hash.as_bytes())) {
                    return Err(unauthenticated());
                }
                let mut keys = self.keys.lock();
                if keys.len() >= MAX_CACHED {
                    keys.clear();
                }
                keys.insert(hash, (found.clone(), Instant::now()));
                found
            }
        };
        let now = self.clock.now();
        if key.revoked_at.is_some() || key.expires_at.is_some_and(|at| at <= now) {
            return Err(unauthenticated());
        }
        Ok(key)
    }

    /// Forgets what was looked up: after a revocation or an erasure, so that it is in force at once.
    pub(crate) fn forget(&self) {
        self.keys.lock().clear();
    }

    async fn find_tenant(&self, wanted: &str) -> Result<Option<TenantId>, StoreError> {
        let known = self.tenants.lock().get(wanted).copied();
        if known.is_some() {
            return Ok(known);
        }
        let found = self.store.find_tenant(&OperatorScope::grant(), wanted).await?.map(|t| t.id);
        if let Some(id) = found {
            let mut tenants = self.tenants.lock();
            if tenants.len() >= MAX_CACHED {
                tenants.clear();
            }
            tenants.insert(wanted.to_owned(), id);
        }
        Ok(found)
    }

    async fn operators_tenant(&self, wanted: Option<&str>) -> Result<Option<TenantId>, ApiError> {
        let Some(wanted) = wanted else { return Ok(self.find_tenant(DEFAULT_TENANT).await?) };
        let found = self.find_tenant(wanted.trim_start_matches('@')).await?;
        found.map(Some).ok_or_else(|| ApiError::not_found("tenant"))
    }

    async fn check_own_tenant(&self, own: TenantId, wanted: Option<&str>) -> Result<(), ApiError> {
        let Some(wanted) = wanted else { return Ok(()) };
        if wanted == own.to_string() || self.find_tenant(wanted.trim_start_matches('@')).await? == Some(own) {
            return Ok(());
        }
        Err(ApiError::forbidden("this key belongs to another tenant than X-Sid-Tenant names"))
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| ApiError::bad_request(format!("header {name} is not UTF-8")))?.trim();
    Ok(Some(text).filter(|t| !t.is_empty()))
}

/// The key in a request's headers; both spellings at once must agree.
fn shown_key(headers: &HeaderMap) -> Result<&str, ApiError> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    let bearer = match text("authorization") {
        Some(value) => {
            let (scheme, rest) = value.split_once(' ').ok_or_else(unauthenticated)?;
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(unauthenticated());
            }
            Some(rest.trim())
        }
        None => None,
    };
    match (bearer, text("x-api-key")) {
        (Some(a), Some(b)) if a != b => Err(unauthenticated()),
        (Some(key), _) | (None, Some(key)) => Ok(key),
        (None, None) => Err(unauthenticated()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_documented_form_and_differ() {
        let make = || new_key(KeyId::new(), "k".into(), KeyRole::Operator, Timestamp::UNIX_EPOCH, None);
        let ((key, text), (_, other)) = (make(), make());
        assert!(is_well_formed(&text), "{text}");
        assert_ne!(text, other);
        assert_eq!(key.hash.len(), 64);
        assert!(!key.hash.contains(&text[13..]));
        assert!(key.id.to_string().ends_with(&text[4..12]));
    }

    #[test]
    fn odd_credentials_are_refused_before_any_lookup() {
        for bad in ["", "sid_", "null", "Bearer", &"a".repeat(56), "sid_abcdefgh_' OR 1=1 --                               "] {
            assert!(!is_well_formed(bad), "{bad}");
        }
        let check = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("header"));
            shown_key(&headers).map(str::to_owned).map_err(|e| e.status.as_u16())
        };
        assert_eq!(check("authorization", "Bearer abc"), Ok("abc".into()));
        assert_eq!(check("authorization", "bearer  abc"), Ok("abc".into()));
        assert_eq!(check("x-api-key", "abc"), Ok("abc".into()));
        assert_eq!(check("authorization", "Basic abc"), Err(401));
        assert_eq!(check("authorization", "abc"), Err(401));
        assert_eq!(check("cookie", "sid_abc"), Err(401));
    }
}
