//! Tenants: the operator's.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use sid_store::{TenantLimits, TokenUse};
use sid_types::{OperatorScope, Tenant, TenantId, Timestamp};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::initiative::CapsJson;
use super::names::check_name;
use super::wire::List;
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create_tenant, list_tenants)).routes(routes!(show_limits, set_limits))
}

/// A customer organisation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantJson {
    #[schema(value_type = String)]
    pub(crate) id: TenantId,
    pub(crate) name: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Tenant> for TenantJson {
    fn from(t: Tenant) -> Self {
        Self { id: t.id, name: t.name, created_at: t.created_at }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    /// Unique; 1 to 255 characters.
    name: String,
}

/// Makes a tenant. Operators only.
#[utoipa::path(post, path = "/tenants", tag = "tenants", request_body = NewTenant, responses((status = 201, description = "Made", body = TenantJson)))]
async fn create_tenant(
    State(app): State<App>,
    caller: Caller,
    body: Json<NewTenant>,
) -> Result<(StatusCode, axum::Json<TenantJson>), ApiError> {
    let operator = caller.operator()?;
    check_name("name", &body.value.name, 255)?;
    let tenant = app.store().create_tenant(&operator, &body.value.name).await?;
    app.auth().forget();
    Ok((StatusCode::CREATED, axum::Json(tenant.into())))
}

/// All tenants, oldest first. Operators only.
#[utoipa::path(get, path = "/tenants", tag = "tenants", responses((status = 200, description = "All tenants", body = List<TenantJson>)))]
async fn list_tenants(State(app): State<App>, caller: Caller) -> Result<axum::Json<List<TenantJson>>, ApiError> {
    let operator = caller.operator()?;
    Ok(axum::Json(List::whole(app.store().tenants(&operator).await?)))
}

/// What a tenant may use up and keep. What is left out or null is as configured under `[limits]`, and kept for good; 0 = no limit.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TenantLimitsJson {
    /// Requests per second, over all servers.
    #[serde(default)]
    requests_per_second: Option<u32>,
    /// Tokens per day (UTC), prompts and answers together.
    #[serde(default)]
    tokens_per_day: Option<u64>,
    /// Tokens per month (UTC), prompts and answers together.
    #[serde(default)]
    tokens_per_month: Option<u64>,
    /// Days after its last message that a conversation is kept; then it is erased with all that derives from it.
    #[serde(default)]
    keep_conversations_days: Option<u32>,
    /// Most of what its agents begin by themselves, all together.
    #[serde(default)]
    caps: CapsJson,
}

impl From<TenantLimits> for TenantLimitsJson {
    fn from(l: TenantLimits) -> Self {
        let TenantLimits { requests_per_second, tokens_per_day, tokens_per_month, keep_conversations_days, caps } = l;
        Self { requests_per_second, tokens_per_day, tokens_per_month, keep_conversations_days, caps: caps.into() }
    }
}

impl From<TenantLimitsJson> for TenantLimits {
    fn from(l: TenantLimitsJson) -> Self {
        let TenantLimitsJson { requests_per_second, tokens_per_day, tokens_per_month, keep_conversations_days, caps } = l;
        Self { requests_per_second, tokens_per_day, tokens_per_month, keep_conversations_days, caps: caps.into() }
    }
}

/// A tenant's limits, and what it has used.
#[derive(Debug, Serialize, ToSchema)]
struct TenantUseJson {
    /// What was set for this tenant.
    set: TenantLimitsJson,
    /// What is in force.
    limits: TenantLimitsJson,
    /// Tokens of the steps of this day (UTC).
    tokens_today: u64,
    /// Tokens of the steps of this month (UTC).
    tokens_this_month: u64,
    /// Tokens that steps under way have reserved.
    tokens_reserved: u64,
}

async fn find(app: &App, operator: &OperatorScope, text: &str) -> Result<TenantId, ApiError> {
    let found = app.store().find_tenant(operator, text.trim_start_matches('@')).await?;
    found.map(|tenant| tenant.id).ok_or_else(|| ApiError::not_found("tenant"))
}

async fn limits(app: &App, operator: &OperatorScope, tenant: TenantId) -> Result<axum::Json<TenantUseJson>, ApiError> {
    let TokenUse { day, month, reserved } = app.store().token_use(operator, tenant).await?;
    Ok(axum::Json(TenantUseJson {
        set: app.store().limits(tenant).await?.into(),
        limits: app.engine().limits_of(tenant).await?.into(),
        tokens_today: day,
        tokens_this_month: month,
        tokens_reserved: reserved,
    }))
}

/// A tenant's limits, and what it has used. Operators only.
#[utoipa::path(get, path = "/tenants/{tenant}/limits", operation_id = "get_tenant_limits", tag = "tenants", params(("tenant" = String, Path, description = "Id or `@name`")), responses((status = 200, description = "Limits and use", body = TenantUseJson)))]
async fn show_limits(State(app): State<App>, caller: Caller, Path(tenant): Path<String>) -> Result<axum::Json<TenantUseJson>, ApiError> {
    let operator = caller.operator()?;
    let tenant = find(&app, &operator, &tenant).await?;
    limits(&app, &operator, tenant).await
}

/// Sets all limits of a tenant. In force at once here, and after 2 s on other servers. Operators only.
#[utoipa::path(put, path = "/tenants/{tenant}/limits", operation_id = "set_tenant_limits", tag = "tenants", params(("tenant" = String, Path, description = "Id or `@name`")), request_body = TenantLimitsJson, responses((status = 200, description = "Limits and use", body = TenantUseJson)))]
async fn set_limits(
    State(app): State<App>,
    caller: Caller,
    Path(tenant): Path<String>,
    body: Json<TenantLimitsJson>,
) -> Result<axum::Json<TenantUseJson>, ApiError> {
    let operator = caller.operator()?;
    let tenant = find(&app, &operator, &tenant).await?;
    app.store().set_limits(&operator, tenant, body.value.into()).await?;
    app.engine().forget_limits(tenant);
    limits(&app, &operator, tenant).await
}
