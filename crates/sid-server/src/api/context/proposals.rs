//! Changes that assistants propose and the user decides on. They are listed as items of kind `proposal`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use sid_context::Outcome;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::wire::parse_id;
use super::wire::{OutcomeJson, outcome};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::Path;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(approve_proposal)).routes(routes!(reject_proposal))
}

/// Says yes: the change is made, if the item is still as the assistant had read it; else 409, and the proposal is closed.
#[utoipa::path(post, path = "/context/proposals/{id}/approve", tag = "context", params(("id" = String, Path)), responses((status = 200, description = "The item as it is now; `null` where it was deleted", body = OutcomeJson), (status = 409, description = "The item has changed since, or it was decided already")))]
async fn approve_proposal(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, ApiError> {
    let item = app.context().approve(&caller.scope()?, parse_id(&id, "proposal")?).await?;
    app.engine().memory_changed();
    Ok(outcome(Outcome::Done(item.map(Box::new))))
}

/// Says no: the item stays as it is.
#[utoipa::path(post, path = "/context/proposals/{id}/reject", tag = "context", params(("id" = String, Path)), responses((status = 204, description = "Rejected"), (status = 409, description = "It was decided already")))]
async fn reject_proposal(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    app.context().reject(&caller.scope()?, parse_id(&id, "proposal")?).await?;
    Ok(StatusCode::NO_CONTENT)
}
