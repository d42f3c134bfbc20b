//! Teams and their members.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use sid_types::{Membership, Team, TeamId, TeamRole, Timestamp};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::names::{Names, check_name};
use super::users::UserJson;
use super::wire::List;
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path};
use crate::idempotency;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_team, list_teams))
        .routes(routes!(get_team))
        .routes(routes!(list_members))
        .routes(routes!(add_member, remove_member))
}

/// A group of users that shares memory.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TeamJson {
    #[schema(value_type = String)]
    id: TeamId,
    name: String,
    /// The team that it is a part of: who is in this one is in that one, too.
    #[schema(value_type = Option<String>)]
    parent: Option<TeamId>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Team> for TeamJson {
    fn from(t: Team) -> Self {
        Self { id: t.id, name: t.name, parent: t.parent, created_at: t.created_at }
    }
}

/// What somebody is in a team.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TeamRoleJson {
    /// One of its members.
    #[default]
    Member,
    /// Leads it.
    Lead,
}

impl From<TeamRole> for TeamRoleJson {
    fn from(role: TeamRole) -> Self {
        match role {
            TeamRole::Member => Self::Member,
            TeamRole::Lead => Self::Lead,
        }
    }
}

impl From<TeamRoleJson> for TeamRole {
    fn from(role: TeamRoleJson) -> Self {
        match role {
            TeamRoleJson::Member => Self::Member,
            TeamRoleJson::Lead => Self::Lead,
        }
    }
}

/// A user in a team.
#[derive(Debug, Serialize, ToSchema)]
struct MemberJson {
    #[serde(flatten)]
    user: UserJson,
    /// The highest that was given, here or in a part of the team.
    role: TeamRoleJson,
    /// Whether it was given here, and not only in a part of the team.
    is_direct: bool,
}

impl From<Membership> for MemberJson {
    fn from(m: Membership) -> Self {
        Self { user: m.user.into(), role: m.role.into(), is_direct: m.is_direct }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTeam {
    /// Unique inside the tenant; 1 to 255 characters.
    name: String,
    /// Id or `@name` of the team that it is a part of, for good.
    #[serde(default)]
    parent: Option<String>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewMember {
    /// Default `member`.
    #[serde(default)]
    role: TeamRoleJson,
}

/// Makes a team.
#[utoipa::path(post, path = "/teams", tag = "teams", params(("Idempotency-Key" = Option<String>, Header)), request_body = NewTeam, responses((status = 201, description = "Made", body = TeamJson)))]
async fn create_team(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Json<NewTeam>,
) -> Result<(StatusCode, axum::Json<TeamJson>), ApiError> {
    let scope = caller.tenant_scope()?;
    let NewTeam { name, parent } = body.value;
    check_name("name", &name, 255)?;
    let parent = match parent {
        Some(parent) => Some(Names::new(app.store(), &scope).team(&parent).await?),
        None => None,
    };
    let derived = idempotency::derived_id(&headers, &caller, "team")?;
    let id = derived.map_or_else(TeamId::new, TeamId::from_uuid);
    let make = app.store().create_team(&scope, Team { id, name: name.clone(), parent, created_at: app.now() });
    let team = idempotency::once(derived, || app.store().team(&scope, id), |t| t.name == name && t.parent == parent, make).await?;
    Ok((StatusCode::CREATED, axum::Json(team.into())))
}

/// Teams that the caller sees, by name.
#[utoipa::path(get, path = "/teams", tag = "teams", responses((status = 200, description = "All teams", body = List<TeamJson>)))]
async fn list_teams(State(app): State<App>, caller: Caller) -> Result<axum::Json<List<TeamJson>>, ApiError> {
    Ok(axum::Json(List::whole(app.store().teams(&caller.scope()?).await?)))
}

/// One team.
#[utoipa::path(get, path = "/teams/{id}", tag = "teams", params(("id" = String, Path, description = "Id or `@name`")), responses((status = 200, description = "The team", body = TeamJson)))]
async fn get_team(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<TeamJson>, ApiError> {
    let scope = caller.scope()?;
    let id = Names::new(app.store(), &scope).team(&id).await?;
    Ok(axum::Json(app.store().team(&scope, id).await?.into()))
}

/// Members of a team and of its parts, by handle.
#[utoipa::path(get, path = "/teams/{id}/members", operation_id = "list_team_members", tag = "teams", params(("id" = String, Path, description = "Id or `@name`")), responses((status = 200, description = "All members", body = List<MemberJson>)))]
async fn list_members(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<List<MemberJson>>, ApiError> {
    let scope = caller.scope()?;
    let id = Names::new(app.store(), &scope).team(&id).await?;
    Ok(axum::Json(List::whole(app.store().team_members(&scope, id).await?)))
}

async fn set_member(app: &App, caller: &Caller, team: &str, user: &str, role: Option<TeamRole>) -> Result<StatusCode, ApiError> {
    let scope = caller.tenant_scope()?;
    let names = Names::new(app.store(), &scope);
    let (team, user) = (names.team(team).await?, names.user(user).await?);
    app.store().set_team_member(&scope, team, user, role).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds a user to a team, or changes what the user is there; again changes nothing.
#[utoipa::path(put, path = "/teams/{id}/members/{user}", operation_id = "add_team_member", tag = "teams", params(("id" = String, Path, description = "Id or `@name`"), ("user" = String, Path, description = "Id or `@handle`")), request_body = NewMember, responses((status = 204, description = "Is a member")))]
async fn add_member(
    State(app): State<App>,
    caller: Caller,
    Path((team, user)): Path<(String, String)>,
    body: Json<NewMember>,
) -> Result<StatusCode, ApiError> {
    set_member(&app, &caller, &team, &user, Some(body.value.role.into())).await
}

/// Takes a user out of a team; again changes nothing. Who is in a part of the team stays in it through that part.
#[utoipa::path(delete, path = "/teams/{id}/members/{user}", operation_id = "remove_team_member", tag = "teams", params(("id" = String, Path, description = "Id or `@name`"), ("user" = String, Path, description = "Id or `@handle`")), responses((status = 204, description = "Is no member")))]
async fn remove_member(State(app): State<App>, caller: Caller, Path((team, user)): Path<(String, String)>) -> Result<StatusCode, ApiError> {
    set_member(&app, &caller, &team, &user, None).await
}
