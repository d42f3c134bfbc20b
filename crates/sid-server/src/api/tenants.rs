//! Tenants: the operator's.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use sid_types::{Tenant, TenantId, Timestamp};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::names::check_name;
use super::wire::List;
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::Json;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create_tenant, list_tenants))
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
    app.keyring().forget();
    Ok((StatusCode::CREATED, axum::Json(tenant.into())))
}

/// All tenants, oldest first. Operators only.
#[utoipa::path(get, path = "/tenants", tag = "tenants", responses((status = 200, description = "All tenants", body = List<TenantJson>)))]
async fn list_tenants(State(app): State<App>, caller: Caller) -> Result<axum::Json<List<TenantJson>>, ApiError> {
    let operator = caller.operator()?;
    Ok(axum::Json(List::whole(app.store().tenants(&operator).await?)))
}
