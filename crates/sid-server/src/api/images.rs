//! Images that agents had made, for those whose they are.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use sid_store::PairFilter;
use sid_types::{AgentId, ConversationId, Image, ImageId, Timestamp, UserId};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::names::Names;
use super::wire::{List, Paging, parse_id};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Path, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_images)).routes(routes!(get_image, delete_image))
}

/// An image that an agent had made, without its bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImageJson {
    #[schema(value_type = String)]
    id: ImageId,
    #[schema(value_type = String)]
    agent: AgentId,
    /// Whose it is.
    #[schema(value_type = Option<String>)]
    user: Option<UserId>,
    /// Where it was made; it goes with it.
    #[schema(value_type = String)]
    conversation: ConversationId,
    /// What was asked for.
    prompt: String,
    /// The model that made it.
    model: String,
    /// `image/png`, `image/jpeg` or `image/webp`.
    content_type: String,
    bytes: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Image> for ImageJson {
    fn from(image: Image) -> Self {
        let Image { id, agent, user, conversation, prompt, model, format, bytes, created_at } = image;
        Self { id, agent, user, conversation, prompt, model, content_type: format.mime().into(), bytes, created_at }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ImageQuery {
    /// Only of this agent: id or `@name`.
    agent: Option<String>,
    /// Only of this user: id or `@handle`.
    user: Option<String>,
    /// Only from this conversation.
    conversation: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// Most items, 1 to 1000. Default 50.
    limit: Option<usize>,
}

/// Images that agents had made, newest first: of the conversations that the caller sees.
#[utoipa::path(get, path = "/images", tag = "images", params(ImageQuery), responses((status = 200, description = "A page of images", body = List<ImageJson>)))]
async fn list_images(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ImageQuery>,
) -> Result<axum::Json<List<ImageJson>>, ApiError> {
    let scope = caller.scope()?;
    let names = Names::new(app.store(), &scope);
    let agent = match &query.agent {
        Some(agent) => Some(names.agent(agent).await?),
        None => None,
    };
    let user = match &query.user {
        Some(user) => Some(names.user(user).await?),
        None => None,
    };
    let conversation = query.conversation.map(|id| parse_id(&id, "conversation")).transpose()?;
    let page = Paging { after: query.after, limit: query.limit }.request()?;
    Ok(axum::Json(List::of(app.store().images(&scope, &PairFilter { agent, user, conversation }, page).await?)))
}

/// The image itself. Only its user, the agent in a turn with them, and the tenant's application are given it.
#[utoipa::path(get, path = "/images/{id}", tag = "images", params(("id" = String, Path)), responses((status = 200, description = "The image", content((Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp")))))]
async fn get_image(State(app): State<App>, caller: Caller, headers: HeaderMap, Path(id): Path<String>) -> Result<Response, ApiError> {
    let id: ImageId = parse_id(&id, "image")?;
    let scope = caller.scope()?;
    let image = app.store().image(&scope, id).await?;
    // An id has the same bytes for ever.
    let tag = format!("\"{id}\"");
    let named = format!("inline; filename=\"{id}.{}\"", image.format.as_str());
    let common = [
        (header::CONTENT_TYPE, image.format.mime()),
        (header::CONTENT_DISPOSITION, named.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Whatever a browser takes it for, nothing in it runs.
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        // No cache that others share, and none after it was erased without asking here.
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::ETAG, tag.as_str()),
    ];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, common, Body::empty()).into_response());
    }
    let bytes = app.store().image_bytes(&scope, id).await?;
    Ok((StatusCode::OK, common, bytes).into_response())
}

/// Forgets an image. What was said about it stays in the conversation; it still counts for the day. For people, not for assistants.
#[utoipa::path(delete, path = "/images/{id}", tag = "images", params(("id" = String, Path)), responses((status = 204, description = "It is gone")))]
async fn delete_image(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let id = parse_id(&id, "image")?;
    let scope = caller.scope()?;
    // Afterwards nobody can tell any more whose it was.
    caller.about(app.store().image(&scope, id).await?.user);
    app.store().drop_image(&scope, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
