//! Who calls: the one way in for all doors.
//!
//! ```text
//! headers → shown (one credential) → Keyring (sid_…) or Oidc (a token) → Identity
//!         → narrowed by X-Sid-Tenant, X-Sid-User, X-Sid-Agent, or a trusted proxy's header → Caller
//! ```
//!
//! The layer in `layers.rs` asks [`Auth`] for every route that is not listed as public; handlers get a [`Caller`] and make scopes of it.
//! Nothing else in the server makes a [`Scope`](sid_types::Scope).

mod caller;
mod jwks;
mod jwt;
mod keyring;
mod oidc;
mod permissions;
mod proxy;
mod signatures;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
pub(crate) use caller::{Caller, Identity, house_right};
pub(crate) use keyring::{KeySpec, new_key};
use parking_lot::Mutex;
pub(crate) use permissions::Permissions;
pub(crate) use proxy::{Network, percent_decoded};
use sid_store::{Store, StoreError};
use sid_types::{AgentId, Clock, KeyId, KeyRole, OperatorScope, Scope, TenantId, User, UserId};

use self::keyring::Keyring;
use self::oidc::Oidc;
use self::proxy::{Named, Proxy};
use crate::config::{self, ConfigError};
use crate::error::{ApiCode, ApiError};
use crate::rates::{Rates, Standing};

/// No memory of who somebody is has more entries than this.
const MAX_REMEMBERED: usize = 10_000;
/// The tenant that an operator acts in when the request names none.
pub(crate) const DEFAULT_TENANT: &str = "default";

/// Marks requests that come from the process itself (the command line on its own data folder). No header can make one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trusted;

pub(crate) fn unauthenticated() -> ApiError {
    ApiError::new(
        ApiCode::Unauthenticated,
        "send a valid key as `Authorization: Bearer sid_...` or `X-Api-Key: sid_...`; this one is missing, unknown, revoked or expired",
    )
}

/// Nobody is let in.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: ApiError,
    /// The key that was shown, when it is one that is over.
    pub(crate) key: Option<(KeyId, KeyRole)>,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { error, key: None }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        ApiError::from(error).into()
    }
}

/// Turns credentials into callers.
pub(crate) struct Auth {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    keyring: Keyring,
    oidc: Option<Oidc>,
    proxy: Option<Proxy>,
    /// By name and by id. Tenants neither go nor change their names, so what was found stays true.
    tenants: Tenants,
    rates: Rates<KeyId>,
    rate_per_second: u32,
}

impl Auth {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, config: &config::Config) -> Result<Self, ConfigError> {
        let tenants = Tenants(Arc::default());
        Ok(Self {
            keyring: Keyring::new(store.clone(), clock.clone()),
            oidc: Oidc::new(&config.oidc, store.clone(), clock.clone(), tenants.clone())?,
            proxy: Proxy::new(&config.trusted_proxy)?,
            tenants,
            rates: Rates::default(),
            rate_per_second: config.server.rate_limit_per_second,
            store,
            clock,
        })
    }

    /// Who the credential in the headers belongs to.
    pub(crate) async fn identify(&self, headers: &HeaderMap, trusted: Option<Trusted>) -> Result<Identity, Refusal> {
        if trusted.is_some() {
            return Ok(Identity::of_process());
        }
        match (shown(headers)?, &self.oidc) {
            (text, _) if text.starts_with(keyring::PREFIX) => Ok(Identity::of_key(&self.keyring.key(text).await?)),
            (text, Some(oidc)) => Ok(oidc.identity(text).await?),
            (_, None) => Err(unauthenticated().into()),
        }
    }

    /// Counts a request against the limit of its key; `None` = there is none.
    pub(crate) fn standing(&self, identity: &Identity) -> Option<Standing> {
        if identity.key.uuid().is_nil() {
            return None;
        }
        self.rates.take(identity.key, self.rate_per_second)
    }

    /// As whom the request is meant, within what the credential proves.
    pub(crate) async fn narrow(&self, identity: &Identity, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Caller, ApiError> {
        let wanted = |name: &str| header(headers, name);
        let tenant = match identity.role.tenant() {
            None => self.operators_tenant(wanted("x-sid-tenant")?).await?,
            Some(own) => {
                self.check_own_tenant(own, wanted("x-sid-tenant")?).await?;
                Some(own)
            }
        };
        let mut caller = Caller::new(identity, tenant);
        let named = self.proxy.as_ref().map(|proxy| proxy.named(identity, peer, headers)).transpose()?.flatten();
        match (caller.user(), wanted("x-sid-user")?, named) {
            (Some(own), Some(wanted), _) => {
                let user = self.store.user(&caller.scope()?, own).await?;
                if !is_called(wanted, &own.to_string(), &user.handle) {
                    return Err(ApiError::forbidden("this key belongs to another user than X-Sid-User names"));
                }
            }
            (None, wanted, Some(named)) => {
                let Named { handle, display_name } = named;
                let user = ensure_user(&*self.store, &*self.clock, &caller.scope()?, &handle, display_name.as_deref()).await?;
                if wanted.is_some_and(|wanted| !is_called(wanted, &user.id.to_string(), &user.handle)) {
                    return Err(ApiError::forbidden("X-Sid-User names another user than the proxy's own header"));
                }
                caller.narrow_to_user(user.id);
            }
            (None, Some(wanted), None) => {
                let scope = caller.scope()?;
                let user = match wanted.parse::<UserId>() {
                    Ok(id) => self.store.user(&scope, id).await?,
                    Err(_) => self.store.user_by_handle(&scope, wanted.trim_start_matches('@')).await?,
                };
                caller.narrow_to_user(user.id);
            }
            (_, None, _) => {}
        }
        if let Some(wanted) = wanted("x-sid-agent")? {
            self.narrow_to_agent(&mut caller, wanted).await?;
        }
        Ok(caller)
    }

    async fn narrow_to_agent(&self, caller: &mut Caller, wanted: &str) -> Result<(), ApiError> {
        if caller.user().is_none() {
            return Err(ApiError::bad_request("X-Sid-Agent needs a user: an assistant acts for one; name it in X-Sid-User"));
        }
        let own = caller.agent();
        let found = match wanted.parse::<AgentId>() {
            Ok(id) => self.store.agent(&caller.scope()?, id).await,
            Err(_) => self.store.agent_by_name(&caller.scope()?, wanted.trim_start_matches('@')).await,
        };
        match (own, found) {
            (Some(own), Ok(agent)) if agent.id == own => Ok(()),
            // Whether there is such an assistant is not for another one to know.
            (Some(_), Ok(_) | Err(StoreError::NotFound { .. })) => {
                Err(ApiError::forbidden("this key belongs to another assistant than X-Sid-Agent names"))
            }
            (_, found) => {
                caller.narrow_to_agent(found?.id);
                Ok(())
            }
        }
    }

    /// The user with this handle, made at first use.
    pub(crate) async fn ensure_user(&self, scope: &Scope, handle: &str) -> Result<User, ApiError> {
        ensure_user(&*self.store, &*self.clock, scope, handle, None).await
    }

    /// Forgets what was looked up: after a revocation or an erasure, so that it is in force at once.
    pub(crate) fn forget(&self) {
        self.keyring.forget();
        if let Some(oidc) = &self.oidc {
            oidc.forget();
        }
    }

    /// The issuers whose tokens are taken.
    pub(crate) fn issuers(&self) -> Vec<&str> {
        self.oidc.as_ref().map(Oidc::issuers).unwrap_or_default()
    }

    async fn operators_tenant(&self, wanted: Option<&str>) -> Result<Option<TenantId>, ApiError> {
        let Some(wanted) = wanted else { return Ok(self.tenants.find(&*self.store, DEFAULT_TENANT).await?) };
        let found = self.tenants.find(&*self.store, wanted.trim_start_matches('@')).await?;
        found.map(Some).ok_or_else(|| ApiError::not_found("tenant"))
    }

    async fn check_own_tenant(&self, own: TenantId, wanted: Option<&str>) -> Result<(), ApiError> {
        let Some(wanted) = wanted else { return Ok(()) };
        if wanted == own.to_string() || self.tenants.find(&*self.store, wanted.trim_start_matches('@')).await? == Some(own) {
            return Ok(());
        }
        Err(ApiError::forbidden("this key belongs to another tenant than X-Sid-Tenant names"))
    }
}

/// Tenants that were found, by name and by id.
#[derive(Clone)]
struct Tenants(Arc<Mutex<HashMap<String, TenantId>>>);

impl Tenants {
    async fn find(&self, store: &dyn Store, wanted: &str) -> Result<Option<TenantId>, StoreError> {
        let known = self.0.lock().get(wanted).copied();
        if known.is_some() {
            return Ok(known);
        }
        let found = store.find_tenant(&OperatorScope::grant(), wanted).await?.map(|t| t.id);
        if let Some(id) = found {
            let mut tenants = self.0.lock();
            if tenants.len() >= MAX_REMEMBERED {
                tenants.clear();
            }
            tenants.insert(wanted.to_owned(), id);
        }
        Ok(found)
    }
}

/// The user with this handle, made at first use.
async fn ensure_user(
    store: &dyn Store,
    clock: &dyn Clock,
    scope: &Scope,
    handle: &str,
    display_name: Option<&str>,
) -> Result<User, ApiError> {
    match store.user_by_handle(scope, handle).await {
        Err(StoreError::NotFound { .. }) => {}
        other => return Ok(other?),
    }
    crate::api::check_name("user", handle, 255)?;
    let name = display_name.map(str::trim).filter(|n| !n.is_empty() && n.len() <= 1_000 && !n.contains('\0')).unwrap_or(handle);
    let user = User {
        id: UserId::new(),
        handle: handle.into(),
        display_name: name.into(),
        timezone: None,
        quiet_hours: None,
        created_at: clock.now(),
    };
    match store.create_user(scope, user).await {
        // Another request was first.
        Err(StoreError::Exists { .. }) => Ok(store.user_by_handle(scope, handle).await?),
        other => Ok(other?),
    }
}

/// Whether a header's text means this id or name.
fn is_called(text: &str, id: &str, name: &str) -> bool {
    text == id || text.trim_start_matches('@') == name
}

/// The text of a header that may stand once; `None` without it, or when it is empty.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // Which of two is meant, is not for a server to guess: proxies and servers would guess differently.
    if values.next().is_some() {
        return Err(ApiError::bad_request(format!("header {name} stands more than once")));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| ApiError::bad_request(format!("header {name} is not UTF-8")))?.trim();
    Ok(Some(text).filter(|t| !t.is_empty()))
}

/// The credential in a request's headers; each spelling may stand once, and both at once must agree.
fn shown(headers: &HeaderMap) -> Result<&str, ApiError> {
    let text = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next().map(|v| v.to_str()), values.next()) {
            (None, _) => Ok(None),
            (Some(Ok(text)), None) => Ok(Some(text.trim())),
            _ => Err(unauthenticated()),
        }
    };
    let bearer = match text("authorization")? {
        Some(value) => {
            let (scheme, rest) = value.split_once(' ').ok_or_else(unauthenticated)?;
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(unauthenticated());
            }
            Some(rest.trim())
        }
        None => None,
    };
    match (bearer, text("x-api-key")?) {
        (Some(a), Some(b)) if a != b => Err(unauthenticated()),
        (Some(key), _) | (None, Some(key)) => Ok(key),
        (None, None) => Err(unauthenticated()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&'static str, &str)], expected: Result<&str, u16>) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("header"));
        }
        assert_eq!(shown(&headers).map_err(|e| e.status.as_u16()), expected, "{pairs:?}");
    }

    #[test]
    fn one_credential_is_found_in_either_spelling() {
        check(&[("authorization", "Bearer abc")], Ok("abc"));
        check(&[("authorization", "bearer  abc")], Ok("abc"));
        check(&[("x-api-key", "abc")], Ok("abc"));
        check(&[("x-api-key", "abc"), ("authorization", "Bearer abc")], Ok("abc"));
    }

    #[test]
    fn what_is_no_credential_or_more_than_one_is_refused() {
        check(&[], Err(401));
        check(&[("authorization", "Basic abc")], Err(401));
        check(&[("authorization", "abc")], Err(401));
        check(&[("cookie", "sid_abc")], Err(401));
        check(&[("x-api-key", "abc"), ("authorization", "Bearer xyz")], Err(401));
        check(&[("authorization", "Bearer abc"), ("authorization", "Bearer abc")], Err(401));
        check(&[("x-api-key", "abc"), ("x-api-key", "xyz")], Err(401));
    }

    #[test]
    fn headers_that_narrow_stand_once() {
        let mut headers = HeaderMap::new();
        headers.append("x-sid-user", " ann ".parse().expect("header"));
        assert_eq!(header(&headers, "x-sid-user").ok(), Some(Some("ann")));
        headers.append("x-sid-user", "bob".parse().expect("header"));
        assert_eq!(header(&headers, "x-sid-user").map_err(|e| e.status.as_u16()), Err(400));
        assert_eq!(header(&headers, "x-sid-agent").ok(), Some(None));
    }
}
