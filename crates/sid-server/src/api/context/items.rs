//! Items: making, reading, changing, deleting, trees.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sid_context::{ContextError, Draft};
use sid_store::{Below, ItemFilter, StoreError, Whose};
use sid_types::{Item, ItemId, ItemKind, ShareLevel};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::names::{Names, check_text};
use super::super::wire::{List, OwnerJson, OwnerType, Paging, if_match, parse_id, precondition};
use super::user_of;
use super::wire::{ItemEditJson, ItemJson, ItemKindJson, OutcomeJson, answer, check_words, outcome};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::idempotency;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(make_item, list_items))
        .routes(routes!(get_item, change_item, delete_item))
        .routes(routes!(get_document))
        .routes(routes!(compact_hints))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MakeItem {
    /// `note`, `memory`, `preference`, `hint`, `project`, `section` or `page`; the others have calls of their own.
    kind: ItemKindJson,
    /// One line, 1 to 300 characters.
    title: String,
    #[serde(default)]
    body: String,
    /// What it is a part of: a section of a project or section; notes, preferences, hints and pages of their like.
    #[serde(default)]
    parent: Option<String>,
    /// Whose; left out: the assistant's for its user (`note`, `memory`, `preference`), else the user's.
    #[serde(default)]
    owner: Option<OwnerJson>,
    #[serde(default)]
    tags: Vec<String>,
    /// Of projects: `planning` (when left out), `active`, `on_hold`, `evolving`, `complete` or `archived`.
    #[serde(default)]
    state: Option<String>,
    /// Order among the parts of one parent. Default 0.
    #[serde(default)]
    position: i32,
}

/// Adds an item. Assistants add freely.
#[utoipa::path(post, path = "/context/items", tag = "context", params(("Idempotency-Key" = Option<String>, Header)), request_body = MakeItem, responses((status = 201, description = "Made", body = ItemJson)))]
async fn make_item(State(app): State<App>, caller: Caller, headers: HeaderMap, body: Json<MakeItem>) -> Result<Response, ApiError> {
    let scope = caller.scope()?;
    let MakeItem { kind, title, body, parent, owner, tags, state, position } = body.value;
    check_words(Some(&title), Some(&body), Some(&tags))?;
    let owner = match owner {
        Some(owner) => {
            let owner = owner.resolve(&Names::new(app.store(), &scope)).await?;
            caller.about(owner.user());
            Some(owner)
        }
        None => None,
    };
    let parent = parent.as_deref().map(|id| parse_id(id, "item")).transpose()?;
    let derived = idempotency::derived_id(&headers, &caller, "item")?;
    let kind = ItemKind::from(kind);
    let is_same = |item: &Item| item.kind == kind && item.title == title;
    let draft = Draft { id: derived.map(ItemId::from_uuid), owner, parent, position, title: title.clone(), body, tags, state };
    let find = async || match app.context().item(&scope, ItemId::from_uuid(derived.unwrap_or_default())).await {
        Ok(seen) => Ok(seen.item),
        Err(ContextError::Store(error)) => Err(error),
        Err(_) => Err(StoreError::NotFound { what: "item" }),
    };
    if derived.is_some()
        && let Some(known) = idempotency::replayed(find().await, is_same)?
    {
        return Ok(answer(StatusCode::CREATED, known, ShareLevel::Full));
    }
    let item = match app.context().make(&scope, kind, draft).await {
        // A request with the same key was faster.
        Err(ContextError::Store(error @ StoreError::Exists { .. })) if derived.is_some() => {
            idempotency::replayed(find().await, is_same)?.ok_or(error)?
        }
        made => made?,
    };
    app.engine().memory_changed();
    Ok(answer(StatusCode::CREATED, item, ShareLevel::Full))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ItemQuery {
    /// Only this kind.
    #[param(inline)]
    kind: Option<ItemKindJson>,
    /// Only direct parts of this item.
    parent: Option<String>,
    /// All of the tree that this item is in.
    tree: Option<String>,
    /// Only tops of trees.
    #[serde(default)]
    tops: bool,
    /// Only items with this tag.
    tag: Option<String>,
    /// Only items in this state.
    state: Option<String>,
    /// Those that others share with the user, in place of the user's own.
    #[serde(default)]
    shared: bool,
    /// Items of another owner: `tenant`, `team`, `user`, `agent` or `pair`.
    #[param(inline)]
    owner_type: Option<OwnerType>,
    /// For an owner of type `team`: id or `@name`.
    team: Option<String>,
    /// For owners of type `user` and `pair`: id or `@handle`.
    user: Option<String>,
    /// For owners of type `agent` and `pair`: id or `@name`.
    agent: Option<String>,
    /// With their bodies.
    #[serde(default)]
    bodies: bool,
    /// `next` of the page before.
    after: Option<String>,
    /// Most items, 1 to 1000. Default 50.
    limit: Option<usize>,
}

/// Items, the last changed first: the user's own, unless something else is asked for.
#[utoipa::path(get, path = "/context/items", tag = "context", params(ItemQuery), responses((status = 200, description = "A page of items", body = List<ItemJson>)))]
async fn list_items(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ItemQuery>,
) -> Result<axum::Json<List<ItemJson>>, ApiError> {
    let scope = caller.scope()?;
    let id = |id: &Option<String>| id.as_deref().map(|id| parse_id::<ItemId>(id, "item")).transpose();
    let below = match (id(&query.parent)?, id(&query.tree)?, query.tops) {
        (None, None, false) => None,
        (None, None, true) => Some(Below::Tops),
        (Some(parent), None, false) => Some(Below::Parent(parent)),
        (None, Some(tree), false) => Some(Below::Tree(tree)),
        _ => return Err(ApiError::bad_request("give one of `parent`, `tree` and `tops`")),
    };
    let whose = match (query.owner_type, query.shared) {
        (Some(_), true) => return Err(ApiError::bad_request("give one of `owner_type` and `shared`")),
        (Some(r#type), false) => {
            let owner = OwnerJson { r#type, team: query.team, user: query.user, agent: query.agent };
            let owner = owner.resolve(&Names::new(app.store(), &scope)).await?;
            caller.about(owner.user());
            Whose::Owner(owner)
        }
        (None, true) => Whose::SharedWith(user_of(&caller)?),
        (None, false) => Whose::User(user_of(&caller)?),
    };
    check_text("tag", query.tag.as_deref().unwrap_or_default(), 1_000)?;
    check_text("state", query.state.as_deref().unwrap_or_default(), 1_000)?;
    let filter = ItemFilter {
        whose,
        kinds: query.kind.map(Into::into).into_iter().collect(),
        below,
        tag: query.tag,
        states: query.state.into_iter().collect(),
        recipient: None,
        bodies: query.bodies,
    };
    let page = app.context().items(&scope, filter, Paging { after: query.after, limit: query.limit }.request()?).await?;
    let shown = if query.bodies { ItemJson::from } else { ItemJson::head };
    Ok(axum::Json(List { items: page.items.into_iter().map(shown).collect(), next: page.next }))
}

/// One item, whole.
#[utoipa::path(get, path = "/context/items/{id}", tag = "context", params(("id" = String, Path)), responses((status = 200, description = "The item", body = ItemJson)))]
async fn get_item(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, ApiError> {
    let seen = app.context().item(&caller.scope()?, parse_id(&id, "item")?).await?;
    Ok(answer(StatusCode::OK, seen.item, seen.level))
}

/// Changes an item. With `If-Match: <version>` only if nobody was faster; else 412. What an assistant may not decide alone becomes a proposal (202).
#[utoipa::path(patch, path = "/context/items/{id}", tag = "context", params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The version that was read")), request_body = ItemEditJson, responses((status = 200, description = "Changed", body = OutcomeJson), (status = 202, description = "It waits for the user's consent", body = OutcomeJson)))]
async fn change_item(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<ItemEditJson>,
) -> Result<Response, ApiError> {
    let (id, expected) = (parse_id(&id, "item")?, if_match(&headers)?);
    let done = app.context().change(&caller.scope()?, id, expected, body.value.read()?).await;
    app.engine().memory_changed();
    Ok(outcome(precondition(done, expected)?))
}

/// Deletes an item with all that is below it. With `If-Match: <version>` only if nobody was faster; else 412. What an assistant may not decide alone becomes a proposal (202).
#[utoipa::path(delete, path = "/context/items/{id}", tag = "context", params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The version that was read")), responses((status = 200, description = "Deleted", body = OutcomeJson), (status = 202, description = "It waits for the user's consent", body = OutcomeJson)))]
async fn delete_item(State(app): State<App>, caller: Caller, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let (id, expected) = (parse_id(&id, "item")?, if_match(&headers)?);
    let done = app.context().delete(&caller.scope()?, id, expected).await;
    Ok(outcome(precondition(done, expected)?))
}

/// A tree as one text.
#[derive(Debug, Serialize, ToSchema)]
struct TreeJson {
    /// Markdown: titles as headings, bodies below them, parts in their order.
    markdown: String,
}

/// A project, a page or any other tree as one document, from this item down.
#[utoipa::path(get, path = "/context/items/{id}/document", tag = "context", params(("id" = String, Path)), responses((status = 200, description = "The document", body = TreeJson)))]
async fn get_document(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<TreeJson>, ApiError> {
    let markdown = app.context().document(&caller.scope()?, parse_id(&id, "item")?).await?;
    Ok(axum::Json(TreeJson { markdown }))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Compact {
    /// The text of the one hint that takes their place. Left out: their lines, each once.
    #[serde(default)]
    text: Option<String>,
}

/// Makes a category of hints compact: what is directly below it becomes one hint.
#[utoipa::path(post, path = "/context/items/{id}/compact", tag = "context", params(("id" = String, Path)), request_body = Compact, responses((status = 200, description = "The one hint", body = ItemJson)))]
async fn compact_hints(State(app): State<App>, caller: Caller, Path(id): Path<String>, body: Json<Compact>) -> Result<Response, ApiError> {
    let text = body.value.text;
    check_text("text", text.as_deref().unwrap_or_default(), usize::MAX)?;
    let hint = app.context().compact_hints(&caller.scope()?, parse_id(&id, "item")?, text).await?;
    app.engine().memory_changed();
    Ok(answer(StatusCode::OK, hint, ShareLevel::Full))
}
