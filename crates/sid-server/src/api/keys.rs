//! API keys: shown once, kept as hashes, given out with no more than their maker has.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use sid_store::StoreError;
use sid_types::{AccessRole, AgentId, ApiKey, KeyId, KeyRole, OperatorScope, Permission, Scope, TenantId, Timestamp, UserId};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::names::{Names, check_name};
use super::wire::{List, parse_id};
use crate::App;
use crate::auth::{Caller, KeySpec, Permissions, new_key};
use crate::error::ApiError;
use crate::extract::{Json, Path};
use crate::idempotency;

/// How long a rotated key goes on, in seconds, unless it is said.
const USUAL_OVERLAP_S: u64 = 24 * 3_600;
const LONGEST_OVERLAP_S: u64 = 30 * 24 * 3_600;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create_key, list_keys)).routes(routes!(rotate_key)).routes(routes!(revoke_key))
}

/// As whom a key acts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum RoleJson {
    /// Manages tenants and keys, and may act inside every tenant.
    Operator,
    /// Acts for a whole tenant: an application's back end, a service account.
    Tenant {
        /// Id or `@name`; the caller's own tenant when left out.
        #[serde(default)]
        tenant: Option<String>,
    },
    /// Acts as one user.
    User {
        /// Id or `@name`; the caller's own tenant when left out.
        #[serde(default)]
        tenant: Option<String>,
        /// Id or `@handle`.
        user: String,
    },
    /// Acts as an assistant of one user.
    Agent {
        /// Id or `@name`; the caller's own tenant when left out.
        #[serde(default)]
        tenant: Option<String>,
        /// Id or `@handle`.
        user: String,
        /// Id or `@name`.
        agent: String,
    },
}

impl From<KeyRole> for RoleJson {
    fn from(role: KeyRole) -> Self {
        let tenant = role.tenant().map(|t| t.to_string());
        match role {
            KeyRole::Operator => Self::Operator,
            KeyRole::Tenant { .. } => Self::Tenant { tenant },
            KeyRole::User { user, .. } => Self::User { tenant, user: user.to_string() },
            KeyRole::Agent { user, agent, .. } => Self::Agent { tenant, user: user.to_string(), agent: agent.to_string() },
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// A note for humans; 1 to 255 characters.
    name: String,
    role: RoleJson,
    /// What it may do there: `owner`, `admin`, `member`, `agent` or `read-only`; the usual of its role when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    access: Option<AccessRole>,
    /// Only these of the role's permissions, such as `memory-read`; all of them when left out.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Option<Vec<Permission>>,
    /// After this the key is refused.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A key; never its secret, but for the answer that made it.
#[derive(Debug, Serialize, ToSchema)]
struct KeyJson {
    #[schema(value_type = String)]
    id: KeyId,
    name: String,
    role: RoleJson,
    /// What it may do there.
    #[schema(value_type = String)]
    access: AccessRole,
    /// Only these of the role's permissions; `null` = all of them.
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Option<Vec<Permission>>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// The key itself: shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl From<ApiKey> for KeyJson {
    fn from(k: ApiKey) -> Self {
        Self {
            id: k.id,
            name: k.name,
            role: k.role.into(),
            access: k.access,
            scopes: k.scopes,
            created_at: k.created_at,
            expires_at: k.expires_at,
            revoked_at: k.revoked_at,
            key: None,
        }
    }
}

/// The tenant that a role names, as far as the caller may know of it.
async fn tenant_of(app: &App, caller: &Caller, text: Option<&str>) -> Result<TenantId, ApiError> {
    let Some(text) = text else { return caller.tenant() };
    let Ok(operator) = caller.operator() else {
        // Nobody but an operator knows of other tenants: the own id or nothing.
        let own = caller.tenant()?;
        return if text == own.to_string() { Ok(own) } else { Err(ApiError::not_found("tenant")) };
    };
    let all = app.store().tenants(&operator).await?;
    let found = all.iter().find(|t| text.strip_prefix('@').map_or_else(|| t.id.to_string() == text, |name| t.name == name));
    found.map(|t| t.id).ok_or_else(|| ApiError::not_found("tenant"))
}

/// A user of the tenant, and the scope that sees it.
async fn user_of(app: &App, caller: &Caller, tenant: TenantId, user: &str) -> Result<(Scope, UserId), ApiError> {
    let scope = match caller.operator() {
        Ok(operator) => operator.enter(tenant, caller.key),
        Err(_) => caller.scope()?,
    };
    let user = Names::new(app.store(), &scope).user(user).await?;
    app.store().user(&scope, user).await?;
    Ok((scope, user))
}

async fn resolved(app: &App, caller: &Caller, role: RoleJson) -> Result<KeyRole, ApiError> {
    Ok(match role {
        RoleJson::Operator => KeyRole::Operator,
        RoleJson::Tenant { tenant } => KeyRole::Tenant { tenant: tenant_of(app, caller, tenant.as_deref()).await? },
        RoleJson::User { tenant, user } => {
            let tenant = tenant_of(app, caller, tenant.as_deref()).await?;
            KeyRole::User { tenant, user: user_of(app, caller, tenant, &user).await?.1 }
        }
        RoleJson::Agent { tenant, user, agent } => {
            let tenant = tenant_of(app, caller, tenant.as_deref()).await?;
            let (scope, user) = user_of(app, caller, tenant, &user).await?;
            let agent: AgentId = Names::new(app.store(), &scope).agent(&agent).await?;
            app.store().agent(&scope, agent).await?;
            KeyRole::Agent { tenant, user, agent }
        }
    })
}

/// Stores a new key; a repetition with the same `Idempotency-Key` is refused, as the secret cannot be shown again.
async fn make(app: &App, caller: &Caller, headers: &HeaderMap, operator: OperatorScope, spec: KeySpec) -> Result<KeyJson, ApiError> {
    let derived = idempotency::derived_id(headers, caller, "key")?.map(KeyId::from_uuid);
    if let Some(id) = derived
        && app.store().keys(&operator, None).await?.iter().any(|k| k.id == id)
    {
        return Err(StoreError::Exists { what: "key with this Idempotency-Key", name: id.to_string() }.into());
    }
    let (key, text) = new_key(derived.unwrap_or_else(KeyId::new), spec, app.now());
    app.store().put_key(&operator, key.clone()).await?;
    Ok(KeyJson { key: Some(text), ..key.into() })
}

fn check_end(app: &App, expires_at: Option<Timestamp>) -> Result<(), ApiError> {
    if expires_at.is_some_and(|at| at <= app.now()) {
        return Err(ApiError::bad_request("expires_at lies in the past"));
    }
    Ok(())
}

/// Makes a key and shows it once. Nobody gives out more than it has: operators make any key, a tenant key those of its tenant, a user those of
/// itself and its assistants, each with permissions that the maker has.
///
/// A repetition with the same `Idempotency-Key` is answered 409: the secret cannot be shown again.
#[utoipa::path(post, path = "/keys", tag = "keys", params(("Idempotency-Key" = Option<String>, Header)), request_body = NewKey, responses((status = 201, description = "Made; `key` is shown this once", body = KeyJson)))]
async fn create_key(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Json<NewKey>,
) -> Result<(StatusCode, axum::Json<KeyJson>), ApiError> {
    let NewKey { name, role, access, scopes, expires_at } = body.value;
    check_name("name", &name, 255)?;
    let role = resolved(&app, &caller, role).await?;
    let access = access.unwrap_or(role.usual_access());
    let operator = caller.may_manage(&role, Permissions::new(&role, access, scopes.as_deref()))?;
    check_end(&app, expires_at)?;
    let made = make(&app, &caller, &headers, operator, KeySpec { name, role, access, scopes, expires_at }).await?;
    Ok((StatusCode::CREATED, axum::Json(made)))
}

async fn visible_keys(app: &App, caller: &Caller) -> Result<(OperatorScope, Vec<ApiKey>), ApiError> {
    let (right, tenant) = caller.key_list()?;
    let mut keys = app.store().keys(&right, tenant).await?;
    keys.retain(|key| caller.may_manage(&key.role, Permissions::of_key(key)).is_ok());
    Ok((right, keys))
}

/// The key with this id, if the caller may manage it.
async fn manageable(app: &App, caller: &Caller, id: &str) -> Result<(OperatorScope, ApiKey), ApiError> {
    let id: KeyId = parse_id(id, "key")?;
    let (operator, keys) = visible_keys(app, caller).await?;
    let key = keys.into_iter().find(|k| k.id == id).ok_or_else(|| ApiError::not_found("key"))?;
    Ok((operator, key))
}

/// Keys that the caller may manage, oldest first, revoked ones too.
#[utoipa::path(get, path = "/keys", tag = "keys", responses((status = 200, description = "Keys, without their secrets", body = List<KeyJson>)))]
async fn list_keys(State(app): State<App>, caller: Caller) -> Result<axum::Json<List<KeyJson>>, ApiError> {
    Ok(axum::Json(List::whole(visible_keys(&app, &caller).await?.1)))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// How long the old key goes on, in seconds: at most 2592000 (30 days). Default 86400 (a day).
    #[serde(default)]
    overlap_s: Option<u64>,
    /// When the new key ends. Left out: it lives for as long as the old one was made for.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Makes a new key with the same rights and shows it once; the old one ends after the overlap.
///
/// A repetition with the same `Idempotency-Key` is answered 409: the secret cannot be shown again.
#[utoipa::path(post, path = "/keys/{id}/rotate", tag = "keys", params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = Rotation, responses((status = 201, description = "The new key; `key` is shown this once", body = KeyJson)))]
async fn rotate_key(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Rotation>,
) -> Result<(StatusCode, axum::Json<KeyJson>), ApiError> {
    let (operator, old) = manageable(&app, &caller, &id).await?;
    let now = app.now();
    if old.revoked_at.is_some() || old.expires_at.is_some_and(|at| at <= now) {
        return Err(StoreError::Invalid("the key is over: make a new one".into()).into());
    }
    let overlap_s = body.value.overlap_s.unwrap_or(USUAL_OVERLAP_S);
    if overlap_s > LONGEST_OVERLAP_S {
        return Err(ApiError::bad_request(format!("`overlap_s` must be at most {LONGEST_OVERLAP_S} (30 days), not {overlap_s}")));
    }
    check_end(&app, body.value.expires_at)?;
    let as_long = || old.expires_at.and_then(|end| now.checked_add(end.duration_since(old.created_at)).ok());
    let expires_at = body.value.expires_at.or_else(as_long);
    let spec = KeySpec { name: old.name, role: old.role, access: old.access, scopes: old.scopes, expires_at };
    // The new one first: were the old one to end and the new one not to be, nobody could get in.
    let made = make(&app, &caller, &headers, operator, spec).await?;
    let overlap = jiff::SignedDuration::from_secs(overlap_s as i64);
    app.store().expire_key(&operator, old.id, now.checked_add(overlap).unwrap_or(Timestamp::MAX)).await?;
    app.auth().forget();
    Ok((StatusCode::CREATED, axum::Json(made)))
}

/// Revokes a key; in force at once on this process, within two seconds on others.
#[utoipa::path(delete, path = "/keys/{id}", tag = "keys", params(("id" = String, Path)), responses((status = 200, description = "Revoked", body = KeyJson)))]
async fn revoke_key(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<KeyJson>, ApiError> {
    let (operator, key) = manageable(&app, &caller, &id).await?;
    let key = app.store().revoke_key(&operator, key.id).await?;
    app.auth().forget();
    Ok(axum::Json(key.into()))
}
