//! API keys: shown once, kept as hashes.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use sid_store::StoreError;
use sid_types::{ApiKey, KeyId, KeyRole, OperatorScope, TenantId, Timestamp, UserId};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::names::{Names, check_name};
use super::wire::{List, parse_id};
use crate::App;
use crate::auth::{Caller, new_key};
use crate::error::ApiError;
use crate::extract::{Json, Path};
use crate::idempotency;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create_key, list_keys)).routes(routes!(revoke_key))
}

/// What a key may do.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum RoleJson {
    /// Manages tenants and keys, and may act inside every tenant.
    Operator,
    /// Acts for a whole tenant.
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
}

impl From<KeyRole> for RoleJson {
    fn from(role: KeyRole) -> Self {
        match role {
            KeyRole::Operator => Self::Operator,
            KeyRole::Tenant { tenant } => Self::Tenant { tenant: Some(tenant.to_string()) },
            KeyRole::User { tenant, user } => Self::User { tenant: Some(tenant.to_string()), user: user.to_string() },
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// A note for humans; 1 to 255 characters.
    name: String,
    role: RoleJson,
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

/// Makes a key and shows it once. Operators make any; a tenant key makes keys of its own users.
///
/// A repetition with the same `Idempotency-Key` is answered 409: the secret cannot be shown again.
#[utoipa::path(post, path = "/keys", tag = "keys", params(("Idempotency-Key" = Option<String>, Header)), request_body = NewKey, responses((status = 201, description = "Made; `key` is shown this once", body = KeyJson)))]
async fn create_key(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Json<NewKey>,
) -> Result<(StatusCode, axum::Json<KeyJson>), ApiError> {
    let NewKey { name, role, expires_at } = body.value;
    check_name("name", &name, 255)?;
    let role = match role {
        RoleJson::Operator => KeyRole::Operator,
        RoleJson::Tenant { tenant } => KeyRole::Tenant { tenant: tenant_of(&app, &caller, tenant.as_deref()).await? },
        RoleJson::User { tenant, user } => {
            let tenant = tenant_of(&app, &caller, tenant.as_deref()).await?;
            let scope = match caller.operator() {
                Ok(operator) => operator.enter(tenant, caller.key),
                Err(_) => caller.tenant_scope()?,
            };
            let user: UserId = Names::new(app.store(), &scope).user(&user).await?;
            app.store().user(&scope, user).await?;
            KeyRole::User { tenant, user }
        }
    };
    let operator = caller.may_manage(&role)?;
    let now = app.now();
    if expires_at.is_some_and(|at| at <= now) {
        return Err(ApiError::bad_request("expires_at lies in the past"));
    }
    let derived = idempotency::derived_id(&headers, &caller, "key")?.map(KeyId::from_uuid);
    if let Some(id) = derived
        && app.store().keys(&operator, None).await?.iter().any(|k| k.id == id)
    {
        return Err(StoreError::Exists { what: "key with this Idempotency-Key", name: id.to_string() }.into());
    }
    let (key, text) = new_key(derived.unwrap_or_else(KeyId::new), name, role, now, expires_at);
    app.store().put_key(&operator, key.clone()).await?;
    Ok((StatusCode::CREATED, axum::Json(KeyJson { key: Some(text), ..key.into() })))
}

async fn visible_keys(app: &App, caller: &Caller) -> Result<(OperatorScope, Vec<ApiKey>), ApiError> {
    let (right, tenant) = caller.key_list()?;
    let mut keys = app.store().keys(&right, tenant).await?;
    keys.retain(|key| caller.may_manage(&key.role).is_ok());
    Ok((right, keys))
}

/// Keys, oldest first, revoked ones too. A tenant key sees those of its users.
#[utoipa::path(get, path = "/keys", tag = "keys", responses((status = 200, description = "Keys, without their secrets", body = List<KeyJson>)))]
async fn list_keys(State(app): State<App>, caller: Caller) -> Result<axum::Json<List<KeyJson>>, ApiError> {
    Ok(axum::Json(List::whole(visible_keys(&app, &caller).await?.1)))
}

/// Revokes a key; in force at once on this process, within two seconds on others.
#[utoipa::path(delete, path = "/keys/{id}", tag = "keys", params(("id" = String, Path)), responses((status = 200, description = "Revoked", body = KeyJson)))]
async fn revoke_key(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<KeyJson>, ApiError> {
    let id: KeyId = parse_id(&id, "key")?;
    let (operator, keys) = visible_keys(&app, &caller).await?;
    if !keys.iter().any(|k| k.id == id) {
        return Err(ApiError::not_found("key"));
    }
    let key = app.store().revoke_key(&operator, id).await?;
    app.keyring().forget();
    Ok(axum::Json(key.into()))
}
