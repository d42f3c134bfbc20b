//! Secrets: kept sealed, listed by name, revealed to who may.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sid_context::secrets::{SecretInfo, SecretValue};
use sid_store::Whose;
use sid_types::{Owner, Scope, Timestamp};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::names::{Names, check_text};
use super::super::wire::{List, OwnerJson, OwnerType, if_match, precondition};
use super::user_of;
use crate::App;
use crate::access::Level;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Confidential, Path, Query};
use crate::toolbox::secrets::is_of_logins;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_secrets))
        .routes(routes!(put_secret, delete_secret))
        .routes(routes!(reveal_secret))
        .routes(routes!(rewrap_secrets))
}

/// What may be known of a secret; never its value.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretJson {
    id: String,
    owner: OwnerJson,
    /// Unique for its owner; a tool's arguments name it as `{{secret:NAME}}`.
    name: String,
    description: String,
    /// Counts changes, from 1; the `ETag` of the answer.
    version: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<SecretInfo> for SecretJson {
    fn from(info: SecretInfo) -> Self {
        let SecretInfo { id, owner, name, description, version, created_at, updated_at } = info;
        Self { id: id.to_string(), owner: owner.into(), name, description, version, created_at, updated_at }
    }
}

/// Whose secret; the user's when left out.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SecretOwner {
    /// `tenant`, `team` or `user`.
    #[param(inline)]
    owner_type: Option<OwnerType>,
    /// For `team`: id or `@name`.
    team: Option<String>,
    /// For `user`: id or `@handle`.
    user: Option<String>,
}

impl SecretOwner {
    async fn resolve(self, app: &App, caller: &Caller, scope: &Scope) -> Result<Owner, ApiError> {
        let owner = match self.owner_type {
            None if self.team.is_some() || self.user.is_some() => return Err(ApiError::bad_request("give `owner_type`, too")),
            None => Owner::User { user: user_of(caller)? },
            Some(OwnerType::Agent | OwnerType::Pair) => {
                return Err(ApiError::bad_request("secrets belong to a user, a team or the tenant"));
            }
            Some(r#type) => {
                let owner = OwnerJson { r#type, team: self.team, user: self.user, agent: None };
                owner.resolve(&Names::new(app.store(), scope)).await?
            }
        };
        caller.about(owner.user());
        Ok(owner)
    }
}

/// Secrets by name, the last changed first; never their values.
#[utoipa::path(get, path = "/context/secrets", tag = "context", params(SecretOwner), responses((status = 200, description = "All of the owner's", body = List<SecretJson>)))]
async fn list_secrets(
    State(app): State<App>,
    caller: Caller,
    Query(owner): Query<SecretOwner>,
) -> Result<axum::Json<List<SecretJson>>, ApiError> {
    let scope = caller.scope()?;
    let owner = owner.resolve(&app, &caller, &scope).await?;
    Ok(axum::Json(List::whole(app.vault()?.list(&scope, Whose::Owner(owner)).await?)))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutSecret {
    /// At most 32,768 bytes. Sealed before it is stored, and shown by `reveal` only.
    #[schema(format = Password)]
    value: String,
    /// What it is for; assistants read this.
    #[serde(default)]
    description: String,
}

/// Keeps a secret under a name, in place of the one that is there. With `If-Match: <version>` only in place of that one; else 412.
#[utoipa::path(put, path = "/context/secrets/{name}", tag = "context", params(("name" = String, Path), SecretOwner, ("If-Match" = Option<String>, Header, description = "The version that was read")), request_body = PutSecret, responses((status = 200, description = "Kept", body = SecretJson)))]
async fn put_secret(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(owner): Query<SecretOwner>,
    headers: HeaderMap,
    Confidential(PutSecret { value, description }): Confidential<PutSecret>,
) -> Result<Response, ApiError> {
    let value = SecretValue::new(value);
    check_by_hand(&name)?;
    check_text("description", &description, 2_000)?;
    let (scope, expected) = (caller.scope()?, if_match(&headers)?);
    let owner = owner.resolve(&app, &caller, &scope).await?;
    let put = app.vault()?.put(&scope, owner, &name, &description, &value, expected).await;
    let info = precondition(put, expected)?;
    let tag = format!("\"{}\"", info.version);
    Ok(([(header::ETAG, tag)], axum::Json(SecretJson::from(info))).into_response())
}

/// Deletes a secret.
#[utoipa::path(delete, path = "/context/secrets/{name}", tag = "context", params(("name" = String, Path), SecretOwner, ("If-Match" = Option<String>, Header, description = "The version that was read")), responses((status = 204, description = "Deleted")))]
async fn delete_secret(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(owner): Query<SecretOwner>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    if caller.level() < Level::User {
        check_by_hand(&name)?;
    }
    let (scope, expected) = (caller.scope()?, if_match(&headers)?);
    let owner = owner.resolve(&app, &caller, &scope).await?;
    precondition(app.vault()?.delete(&scope, owner, &name, expected).await, expected)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Errors: these are tokens of a login.
fn check_by_hand(name: &str) -> Result<(), ApiError> {
    if is_of_logins(name) {
        return Err(ApiError::forbidden(format!(
            "`{name}` is a login's: people log in with `sid tools login`, or connect their Drive, and nobody else sees the tokens"
        )));
    }
    Ok(())
}

/// A secret's value.
#[derive(Serialize, ToSchema)]
struct RevealedJson {
    name: String,
    #[schema(format = Password)]
    value: String,
}

/// Reveals a value. Who asked is written to the audit log before it is answered.
#[utoipa::path(post, path = "/context/secrets/{name}/reveal", tag = "context", params(("name" = String, Path), SecretOwner), responses((status = 200, description = "The value", body = RevealedJson)))]
async fn reveal_secret(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(owner): Query<SecretOwner>,
) -> Result<Response, ApiError> {
    check_by_hand(&name)?;
    let scope = caller.scope()?;
    let owner = owner.resolve(&app, &caller, &scope).await?;
    let value = app.vault()?.reveal(&scope, owner, &name).await?;
    app.audit_now(&caller, "reveal_secret", owner.user(), &name).await?;
    let body = RevealedJson { name, value: value.reveal().to_owned() };
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response())
}

/// What was sealed anew.
#[derive(Debug, Serialize, ToSchema)]
struct RewrappedJson {
    /// Data keys that are sealed with the current key now and were not before. 0: the older keys may be taken away.
    rewrapped: u64,
}

/// Seals all of a tenant's data keys with the current key of `secrets.keys`, while reads and writes go on.
#[utoipa::path(post, path = "/secrets/rewrap", tag = "operations", responses((status = 200, description = "Done", body = RewrappedJson)))]
async fn rewrap_secrets(State(app): State<App>, caller: Caller) -> Result<axum::Json<RewrappedJson>, ApiError> {
    caller.operator()?;
    let rewrapped = app.vault()?.rewrap(&caller.tenant_scope()?).await?;
    Ok(axum::Json(RewrappedJson { rewrapped }))
}
