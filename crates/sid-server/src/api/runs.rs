//! Runs, their steps and their events.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sid_types::RunId;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::wire::{EventJson, List, RunJson, StepJson, limit_of, parse_id};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::events;
use crate::extract::{Path, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_runs))
        .routes(routes!(get_run))
        .routes(routes!(list_steps))
        .routes(routes!(cancel_run))
        .routes(routes!(run_events))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RunLimit {
    /// Most items, 1 to 1000. Default 50.
    limit: Option<usize>,
}

/// Runs of a conversation, newest first.
#[utoipa::path(get, path = "/conversations/{id}/runs", tag = "runs", params(("id" = String, Path), RunLimit), responses((status = 200, description = "The newest runs", body = List<RunJson>)))]
async fn list_runs(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<RunLimit>,
) -> Result<axum::Json<List<RunJson>>, ApiError> {
    let id = parse_id(&id, "conversation")?;
    Ok(axum::Json(List::whole(app.store().runs(&caller.scope()?, id, limit_of(query.limit)?).await?)))
}

/// One run.
#[utoipa::path(get, path = "/runs/{id}", tag = "runs", params(("id" = String, Path)), responses((status = 200, description = "The run", body = RunJson)))]
async fn get_run(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<RunJson>, ApiError> {
    let id = parse_id(&id, "run")?;
    Ok(axum::Json(app.store().run(&caller.scope()?, id).await?.into()))
}

/// Steps of a run, in order.
#[utoipa::path(get, path = "/runs/{id}/steps", operation_id = "list_run_steps", tag = "runs", params(("id" = String, Path)), responses((status = 200, description = "All steps", body = List<StepJson>)))]
async fn list_steps(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<List<StepJson>>, ApiError> {
    let id = parse_id(&id, "run")?;
    Ok(axum::Json(List::whole(app.store().steps(&caller.scope()?, id).await?)))
}

/// Asks a run to stop: at its next step, or while its model answers. A run that has ended stays as it is.
#[utoipa::path(post, path = "/runs/{id}/cancel", tag = "runs", params(("id" = String, Path)), responses((status = 200, description = "The run as it is now", body = RunJson)))]
async fn cancel_run(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<RunJson>, ApiError> {
    let id = parse_id(&id, "run")?;
    Ok(axum::Json(app.engine().cancel(&caller.scope()?, id).await?.into()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventRange {
    /// Only events after this number.
    after: Option<u64>,
    /// For JSON: most items, 1 to 1000. Default 50.
    limit: Option<usize>,
}

/// Events of a run: as JSON, or with `Accept: text/event-stream` as SSE until `done`. Resume with `Last-Event-ID` or `after`.
#[utoipa::path(get, path = "/runs/{id}/events", operation_id = "get_run_events", tag = "runs", params(("id" = String, Path), EventRange, ("Last-Event-ID" = Option<u64>, Header, description = "For SSE: the number of the last event that was seen")), responses((status = 200, description = "Events, in order", body = List<EventJson>)))]
async fn run_events(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(range): Query<EventRange>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let scope = caller.scope()?;
    let run: RunId = parse_id(&id, "run")?;
    if events::wants_stream(&headers) {
        let last = match headers.get("last-event-id").map(|v| v.to_str().map(str::trim)) {
            None | Some(Ok("")) => None,
            Some(text) => Some(
                text.ok()
                    .and_then(|t| t.parse::<u64>().ok())
                    .ok_or_else(|| ApiError::bad_request("Last-Event-ID must be the number of an event"))?,
            ),
        };
        // Asked first, so that a foreign run is a 404 and not an empty stream.
        app.store().run(&scope, run).await?;
        return Ok(events::sse(app, scope, run, last.or(range.after).unwrap_or(0)));
    }
    let limit = limit_of(range.limit)?;
    let mut found = app.store().events(&scope, run, range.after.unwrap_or(0), limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|e| e.seq.to_string());
    let items: Vec<EventJson> = found.into_iter().map(Into::into).collect();
    Ok(axum::Json(List { items, next }).into_response())
}
