//! Archival memory: passages written on purpose.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use sid_types::{NewPassage, Passage, PassageId, Provenance, Timestamp};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::names::{Names, check_name, check_text};
use super::wire::{List, OwnerJson, OwnerType, Paging, ProvenanceJson, parse_id};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::idempotency;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create_passage, list_passages)).routes(routes!(get_passage, delete_passage))
}

/// A passage of archival memory.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PassageJson {
    #[schema(value_type = String)]
    id: PassageId,
    owner: OwnerJson,
    text: String,
    tags: Vec<String>,
    /// When it was said or became true.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    provenance: ProvenanceJson,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Passage> for PassageJson {
    fn from(p: Passage) -> Self {
        Self {
            id: p.id,
            owner: p.owner.into(),
            text: p.text,
            tags: p.tags,
            at: p.at,
            provenance: p.provenance.into(),
            created_at: p.created_at,
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreatePassage {
    owner: OwnerJson,
    text: String,
    #[serde(default)]
    tags: Vec<String>,
    /// When it was said or became true; now when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
}

/// Stores a passage. Who may: a tenant key for any owner; a user for itself, its pairs and its teams.
#[utoipa::path(post, path = "/passages", tag = "passages", params(("Idempotency-Key" = Option<String>, Header)), request_body = CreatePassage, responses((status = 201, description = "Stored", body = PassageJson)))]
async fn create_passage(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Json<CreatePassage>,
) -> Result<(StatusCode, axum::Json<PassageJson>), ApiError> {
    let scope = caller.scope()?;
    let CreatePassage { owner, text, tags, at } = body.value;
    if text.trim().is_empty() {
        return Err(ApiError::bad_request("`text` must not be empty"));
    }
    check_text("text", &text, usize::MAX)?;
    if tags.len() > 100 {
        return Err(ApiError::bad_request("`tags` may have at most 100 items"));
    }
    for tag in &tags {
        check_name("tags", tag, 100)?;
    }
    let owner = owner.resolve(&Names::new(app.store(), &scope)).await?;
    caller.about(owner.user());
    let derived = idempotency::derived_id(&headers, &caller, "passage")?;
    let id = derived.map_or_else(PassageId::new, PassageId::from_uuid);
    let is_same = |p: &Passage| p.owner == owner && p.text == text && p.tags == tags;
    let provenance = Provenance { user: caller.user(), channel: "api".into(), untrusted: caller.sources(), ..Provenance::default() };
    let (text, tags) = (text.clone(), tags.clone());
    let new = NewPassage { id, owner, text, tags, at: at.unwrap_or_else(|| app.now()), provenance };
    let passage = idempotency::once(derived, || app.store().passage(&scope, id), is_same, app.store().insert(&scope, new)).await?;
    app.engine().memory_changed();
    Ok((StatusCode::CREATED, axum::Json(passage.into())))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PassageQuery {
    /// `tenant`, `team`, `user`, `agent` or `pair`.
    #[param(inline)]
    owner_type: OwnerType,
    /// For `team`: id or `@name`.
    team: Option<String>,
    /// For `user` and `pair`: id or `@handle`.
    user: Option<String>,
    /// For `agent` and `pair`: id or `@name`.
    agent: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// Most items, 1 to 1000. Default 50.
    limit: Option<usize>,
}

/// Passages of one owner, newest first.
#[utoipa::path(get, path = "/passages", tag = "passages", params(PassageQuery), responses((status = 200, description = "A page of passages", body = List<PassageJson>)))]
async fn list_passages(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PassageQuery>,
) -> Result<axum::Json<List<PassageJson>>, ApiError> {
    let scope = caller.scope()?;
    let owner = OwnerJson { r#type: query.owner_type, team: query.team, user: query.user, agent: query.agent };
    let owner = owner.resolve(&Names::new(app.store(), &scope)).await?;
    caller.about(owner.user());
    let page = Paging { after: query.after, limit: query.limit }.request()?;
    Ok(axum::Json(List::of(app.store().list(&scope, owner, page).await?)))
}

/// One passage.
#[utoipa::path(get, path = "/passages/{id}", tag = "passages", params(("id" = String, Path)), responses((status = 200, description = "The passage", body = PassageJson)))]
async fn get_passage(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<PassageJson>, ApiError> {
    let id = parse_id(&id, "passage")?;
    Ok(axum::Json(app.store().passage(&caller.scope()?, id).await?.into()))
}

/// Removes a passage with its vectors.
#[utoipa::path(delete, path = "/passages/{id}", tag = "passages", params(("id" = String, Path)), responses((status = 204, description = "Removed")))]
async fn delete_passage(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let id = parse_id(&id, "passage")?;
    match app.engine().delete_passage(&caller.scope()?, id).await? {
        false => Err(ApiError::not_found("passage")),
        true => Ok(StatusCode::NO_CONTENT),
    }
}
