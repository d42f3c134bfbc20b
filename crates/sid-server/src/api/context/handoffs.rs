//! Hand-offs: work that one assistant leaves for another.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use sid_store::SeenItem;
use sid_types::{ItemId, ShareLevel};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::names::{Names, check_text};
use super::super::wire::{List, parse_id};
use super::user_of;
use super::wire::{ItemJson, answer, check_words};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path};
use crate::idempotency;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(make_handoff, list_handoffs))
        .routes(routes!(claim_handoff))
        .routes(routes!(finish_handoff))
        .routes(routes!(return_handoff))
        .routes(routes!(withdraw_handoff))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MakeHandoff {
    /// One line.
    title: String,
    /// All that the other assistant needs to know.
    #[serde(default)]
    body: String,
    /// Id or `@name` of the assistant that it is for; left out: whichever comes first.
    #[serde(default)]
    recipient: Option<String>,
}

/// Leaves work for another of the user's assistants.
#[utoipa::path(post, path = "/context/handoffs", tag = "context", params(("Idempotency-Key" = Option<String>, Header)), request_body = MakeHandoff, responses((status = 201, description = "Left", body = ItemJson)))]
async fn make_handoff(State(app): State<App>, caller: Caller, headers: HeaderMap, body: Json<MakeHandoff>) -> Result<Response, ApiError> {
    let MakeHandoff { title, body, recipient } = body.value;
    check_words(Some(&title), Some(&body), None)?;
    // Assistants know each other by name; who is asked for is looked up as the user.
    let as_user = caller.scope_of_user(user_of(&caller)?)?;
    let recipient = match recipient {
        Some(name) => {
            let id = Names::new(app.store(), &as_user).agent(&name).await?;
            Some(app.store().agent(&as_user, id).await?.id)
        }
        None => None,
    };
    let id = idempotency::derived_id(&headers, &caller, "handoff")?.map(ItemId::from_uuid);
    let scope = caller.scope()?;
    if let Some(id) = id
        && let Ok(SeenItem { item, .. }) = app.context().item(&scope, id).await
    {
        return if item.title == title {
            Ok(answer(StatusCode::CREATED, item, ShareLevel::Full))
        } else {
            Err(sid_store::StoreError::KeyReused.into())
        };
    }
    let item = app.context().hand_off(&scope, id, recipient, title, body, Vec::new()).await?;
    app.engine().memory_changed();
    Ok(answer(StatusCode::CREATED, item, ShareLevel::Full))
}

/// Hand-offs that the caller may pick up, the last changed first.
#[utoipa::path(get, path = "/context/handoffs", tag = "context", responses((status = 200, description = "What waits", body = List<ItemJson>)))]
async fn list_handoffs(State(app): State<App>, caller: Caller) -> Result<axum::Json<List<ItemJson>>, ApiError> {
    user_of(&caller)?;
    let waiting = app.context().waiting_handoffs(&caller.scope()?, 100).await?;
    let seen = waiting.into_iter().map(|item| ItemJson::head(SeenItem { item, level: ShareLevel::Full }));
    Ok(axum::Json(List { items: seen.collect(), next: None }))
}

/// Picks a hand-off up: it is kept for the caller for 15 minutes (`context.claim_s`), and picked up by nobody else. Again prolongs it.
#[utoipa::path(post, path = "/context/handoffs/{id}/claim", tag = "context", params(("id" = String, Path)), responses((status = 200, description = "It is the caller's", body = ItemJson), (status = 409, description = "Somebody else has it, or it is over")))]
async fn claim_handoff(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, ApiError> {
    let item = app.context().claim(&caller.scope()?, parse_id(&id, "hand-off")?).await?;
    Ok(answer(StatusCode::OK, item, ShareLevel::Full))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct FinishHandoff {
    /// What came of it.
    #[serde(default)]
    result: Option<String>,
}

/// Ends a hand-off that the caller has claimed.
#[utoipa::path(post, path = "/context/handoffs/{id}/finish", tag = "context", params(("id" = String, Path)), request_body = FinishHandoff, responses((status = 200, description = "It is done", body = ItemJson)))]
async fn finish_handoff(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: Json<FinishHandoff>,
) -> Result<Response, ApiError> {
    let result = body.value.result;
    check_text("result", result.as_deref().unwrap_or_default(), 60_000)?;
    let item = app.context().finish_handoff(&caller.scope()?, parse_id(&id, "hand-off")?, result, &[]).await?;
    Ok(answer(StatusCode::OK, item, ShareLevel::Full))
}

/// Gives a claimed hand-off back: others may pick it up.
#[utoipa::path(post, path = "/context/handoffs/{id}/return", tag = "context", params(("id" = String, Path)), responses((status = 200, description = "It is open again", body = ItemJson)))]
async fn return_handoff(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, ApiError> {
    let item = app.context().give_back(&caller.scope()?, parse_id(&id, "hand-off")?).await?;
    Ok(answer(StatusCode::OK, item, ShareLevel::Full))
}

/// Takes a hand-off back that nobody has finished: who left it, and the user.
#[utoipa::path(post, path = "/context/handoffs/{id}/withdraw", tag = "context", params(("id" = String, Path)), responses((status = 200, description = "It is withdrawn", body = ItemJson)))]
async fn withdraw_handoff(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, ApiError> {
    let item = app.context().withdraw(&caller.scope()?, parse_id(&id, "hand-off")?).await?;
    Ok(answer(StatusCode::OK, item, ShareLevel::Full))
}
