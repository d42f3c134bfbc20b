//! Sharing trees with people and teams.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use sid_types::{ItemId, Scope, Share, Sharee, Timestamp};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::names::Names;
use super::super::wire::{List, parse_id};
use super::wire::ShareLevelJson;
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_shares, share_item, unshare_item))
}

/// One sharing.
#[derive(Debug, Serialize, ToSchema)]
struct ShareJson {
    /// The person, if it is one.
    user: Option<String>,
    /// The team, if it is one.
    team: Option<String>,
    level: ShareLevelJson,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Share> for ShareJson {
    fn from(share: Share) -> Self {
        let (user, team) = match share.with {
            Sharee::User { user } => (Some(user.to_string()), None),
            Sharee::Team { team } => (None, Some(team.to_string())),
        };
        Self { user, team, level: share.level.into(), created_at: share.created_at }
    }
}

/// With whom a tree is shared, oldest first. For its owner.
#[utoipa::path(get, path = "/context/items/{id}/shares", tag = "context", params(("id" = String, Path)), responses((status = 200, description = "All of them", body = List<ShareJson>)))]
async fn list_shares(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<List<ShareJson>>, ApiError> {
    let item: ItemId = parse_id(&id, "item")?;
    Ok(axum::Json(List::whole(app.store().shares(&caller.scope()?, item).await?)))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ShareItem {
    /// Id or `@handle` of a person who is in a team with the owner.
    #[serde(default)]
    user: Option<String>,
    /// Id or `@name` of a team; everybody who is in it.
    #[serde(default)]
    team: Option<String>,
    level: ShareLevelJson,
}

/// Shares a tree, or changes the level. Only its owner may, and no assistant.
#[utoipa::path(put, path = "/context/items/{id}/shares", tag = "context", params(("id" = String, Path)), request_body = ShareItem, responses((status = 204, description = "Shared")))]
async fn share_item(State(app): State<App>, caller: Caller, Path(id): Path<String>, body: Json<ShareItem>) -> Result<StatusCode, ApiError> {
    let scope = caller.scope()?;
    let ShareItem { user, team, level } = body.value;
    let with = sharee(&app, &scope, user.as_deref(), team.as_deref()).await?;
    app.store().share_item(&scope, parse_id(&id, "item")?, with, Some(level.into())).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct With {
    /// Id or `@handle` of the person.
    user: Option<String>,
    /// Id or `@name` of the team.
    team: Option<String>,
}

/// Ends a sharing, at once.
#[utoipa::path(delete, path = "/context/items/{id}/shares", tag = "context", params(("id" = String, Path), With), responses((status = 204, description = "Shared no longer")))]
async fn unshare_item(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(with): Query<With>,
) -> Result<StatusCode, ApiError> {
    let scope = caller.scope()?;
    let with = sharee(&app, &scope, with.user.as_deref(), with.team.as_deref()).await?;
    app.store().share_item(&scope, parse_id(&id, "item")?, with, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn sharee(app: &App, scope: &Scope, user: Option<&str>, team: Option<&str>) -> Result<Sharee, ApiError> {
    let names = Names::new(app.store(), scope);
    match (user, team) {
        (Some(user), None) => Ok(Sharee::User { user: names.user(user).await? }),
        (None, Some(team)) => Ok(Sharee::Team { team: names.team(team).await? }),
        _ => Err(ApiError::bad_request("name one `user` or one `team`")),
    }
}
