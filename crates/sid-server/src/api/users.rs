//! Users of a tenant.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};
use sid_store::EraseTarget;
use sid_types::{Timestamp, User, UserId};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::erase::ReceiptJson;
use super::initiative;
use super::names::{Names, check_name, check_text};
use super::wire::{List, Paging};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::idempotency;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create_user, list_users)).routes(routes!(get_user, update_user, erase_user))
}

/// A person inside a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserJson {
    #[schema(value_type = String)]
    pub(crate) id: UserId,
    /// The application's own name for the user.
    handle: String,
    /// What the agent calls the user.
    display_name: String,
    /// IANA time zone; UTC when `null`.
    timezone: Option<String>,
    /// When agents begin nothing by themselves, in this zone, such as `22:00-07:00`; what the agent says when `null`.
    quiet_hours: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<User> for UserJson {
    fn from(u: User) -> Self {
        Self {
            id: u.id,
            handle: u.handle,
            display_name: u.display_name,
            timezone: u.timezone,
            quiet_hours: u.quiet_hours.map(|hours| hours.to_string()),
            created_at: u.created_at,
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// Unique inside the tenant; 1 to 255 characters, no `@` in front.
    handle: String,
    /// What the agent calls the user; the handle when left out.
    #[serde(default)]
    display_name: Option<String>,
    /// IANA time zone, such as `Europe/Berlin`.
    #[serde(default)]
    timezone: Option<String>,
    /// When agents begin nothing by themselves, such as `22:00-07:00`; from a time to the same time is never.
    #[serde(default)]
    quiet_hours: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserPatch {
    #[serde(default)]
    display_name: Option<String>,
    /// `null` = UTC.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    timezone: Option<Option<String>>,
    /// `null` = what the agent says.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    quiet_hours: Option<Option<String>>,
}

/// Tells "left out" (`None`) from `null` (`Some(None)`).
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(d).map(Some)
}

fn check_timezone(zone: Option<&str>) -> Result<(), ApiError> {
    match zone {
        Some(zone) if jiff::tz::TimeZone::get(zone).is_err() => {
            Err(ApiError::bad_request(format!("`timezone` must be an IANA name such as Europe/Berlin, not `{zone}`")))
        }
        _ => Ok(()),
    }
}

/// Makes a user.
#[utoipa::path(post, path = "/users", tag = "users", params(("Idempotency-Key" = Option<String>, Header)), request_body = NewUser, responses((status = 201, description = "Made", body = UserJson)))]
async fn create_user(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Json<NewUser>,
) -> Result<(StatusCode, axum::Json<UserJson>), ApiError> {
    let scope = caller.tenant_scope()?;
    let derived = idempotency::derived_id(&headers, &caller, "user")?;
    let NewUser { handle, display_name, timezone, quiet_hours } = body.value;
    check_name("handle", &handle, 255)?;
    let display_name = display_name.unwrap_or_else(|| handle.clone());
    check_text("display_name", &display_name, 1_000)?;
    check_timezone(timezone.as_deref())?;
    let quiet_hours = initiative::quiet_hours(quiet_hours.as_deref())?;
    let id = derived.map_or_else(UserId::new, UserId::from_uuid);
    let user = User { id, handle: handle.clone(), display_name, timezone, quiet_hours, created_at: app.now() };
    let make = app.store().create_user(&scope, user);
    let user = idempotency::once(derived, || app.store().user(&scope, id), |u| u.handle == handle, make).await?;
    Ok((StatusCode::CREATED, axum::Json(user.into())))
}

/// Users, oldest first.
#[utoipa::path(get, path = "/users", tag = "users", params(Paging), responses((status = 200, description = "A page of users", body = List<UserJson>)))]
async fn list_users(State(app): State<App>, caller: Caller, Query(paging): Query<Paging>) -> Result<axum::Json<List<UserJson>>, ApiError> {
    let page = app.store().users(&caller.scope()?, paging.request()?).await?;
    Ok(axum::Json(List::of(page)))
}

/// One user.
#[utoipa::path(get, path = "/users/{id}", tag = "users", params(("id" = String, Path, description = "Id or `@handle`")), responses((status = 200, description = "The user", body = UserJson)))]
async fn get_user(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<UserJson>, ApiError> {
    let scope = caller.scope()?;
    let id = Names::new(app.store(), &scope).user(&id).await?;
    Ok(axum::Json(app.store().user(&scope, id).await?.into()))
}

/// Changes display name, time zone and quiet hours.
#[utoipa::path(patch, path = "/users/{id}", tag = "users", params(("id" = String, Path, description = "Id or `@handle`")), request_body = UserPatch, responses((status = 200, description = "Changed", body = UserJson)))]
async fn update_user(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: Json<UserPatch>,
) -> Result<axum::Json<UserJson>, ApiError> {
    let scope = caller.tenant_scope()?;
    let id = Names::new(app.store(), &scope).user(&id).await?;
    let mut user = app.store().user(&scope, id).await?;
    if let Some(name) = body.value.display_name {
        check_text("display_name", &name, 1_000)?;
        user.display_name = name;
    }
    if let Some(zone) = body.value.timezone {
        check_timezone(zone.as_deref())?;
        user.timezone = zone;
    }
    if let Some(hours) = body.value.quiet_hours {
        user.quiet_hours = initiative::quiet_hours(hours.as_deref())?;
    }
    Ok(axum::Json(app.store().update_user(&scope, user).await?.into()))
}

/// Erases a user with all conversations, memory, keys and what derives from them; answers the receipt.
#[utoipa::path(delete, path = "/users/{id}", tag = "users", params(("id" = String, Path, description = "Id or `@handle`")), responses((status = 200, description = "Erased", body = ReceiptJson)))]
async fn erase_user(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<ReceiptJson>, ApiError> {
    let scope = caller.tenant_scope()?;
    let id = Names::new(app.store(), &scope).user(&id).await?;
    caller.about(Some(id));
    // The log of erasures is to name nothing that the caller may not erase.
    app.store().user(&scope, id).await?;
    // While there is a handle that the log can forget with her.
    app.audit_now(&caller, "erase_user", Some(id), &id.to_string()).await?;
    let receipt = app.erase(&scope, EraseTarget::User(id)).await?;
    app.auth().forget();
    Ok(axum::Json(receipt.into()))
}
