//! Deliveries of webhooks: what was told, what is on its way, and what did not arrive.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sid_types::{Attempt, Delivery, DeliveryId, DeliveryState, Permission, Timestamp, WebhookId};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::wire::{List, Paging, parse_id};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Path, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_deliveries)).routes(routes!(get_delivery)).routes(routes!(redeliver))
}

/// One try to deliver.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptJson {
    /// Counts, from 1.
    number: u32,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What the endpoint answered, if it did.
    status: Option<u16>,
    error: Option<String>,
    took_ms: u64,
}

impl From<Attempt> for AttemptJson {
    fn from(Attempt { number, at, status, error, took_ms }: Attempt) -> Self {
        Self { number, at, status, error, took_ms }
    }
}

/// What a webhook is told of one event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryJson {
    /// The `webhook-id` of every attempt.
    #[schema(value_type = String)]
    id: DeliveryId,
    #[schema(value_type = String)]
    webhook: WebhookId,
    event: &'static str,
    /// Of what: a run, an approval, a task, ...
    subject: String,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `pending`, `delivered` or `failed`.
    state: &'static str,
    /// Attempts that have begun.
    attempts: u32,
    /// The status of the last one that was answered.
    status: Option<u16>,
    /// When it is tried next; `null` = never, or not until its webhook is enabled.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt: Option<Timestamp>,
    /// The last 20, oldest first.
    history: Vec<AttemptJson>,
    /// What was sent, once it was; `null` for who may not read memory.
    body: Option<String>,
}

/// Who may read what webhooks are told that ask for the words.
pub(super) fn may_read(caller: &Caller) -> bool {
    caller.may(Permission::MemoryRead) && caller.may(Permission::ContextRead)
}

/// A delivery as this caller sees it.
fn seen(caller: &Caller, delivery: Delivery) -> Delivery {
    Delivery { body: delivery.body.filter(|_| may_read(caller)), ..delivery }
}

impl From<Delivery> for DeliveryJson {
    fn from(delivery: Delivery) -> Self {
        Self {
            subject: delivery.subject_id(),
            id: delivery.id,
            webhook: delivery.webhook,
            event: delivery.event.as_str(),
            at: delivery.at,
            state: delivery.state.as_str(),
            attempts: delivery.attempts,
            status: delivery.history.iter().rev().find_map(|attempt| attempt.status),
            next_attempt: delivery.next_attempt,
            history: delivery.history.into_iter().map(AttemptJson::from).collect(),
            body: delivery.body,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeliveryQuery {
    /// Only those that are `pending`, `delivered` or `failed`.
    state: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// Most items, 1 to 1000. Default 50.
    limit: Option<usize>,
}

/// Deliveries to a webhook, newest first. They are kept for some days (`webhooks.keep_days`).
#[utoipa::path(get, path = "/webhooks/{id}/deliveries", tag = "webhooks", params(("id" = String, Path), DeliveryQuery), responses((status = 200, description = "A page of deliveries", body = List<DeliveryJson>)))]
async fn list_deliveries(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<DeliveryQuery>,
) -> Result<axum::Json<List<DeliveryJson>>, ApiError> {
    let state = match &query.state {
        None => None,
        Some(name) => Some(
            DeliveryState::ALL
                .into_iter()
                .find(|state| state.as_str() == name)
                .ok_or_else(|| ApiError::bad_request("`state` must be `pending`, `delivered` or `failed`"))?,
        ),
    };
    let page = Paging { after: query.after, limit: query.limit }.request()?;
    let scope = caller.scope()?;
    let mut found = app.store().deliveries(&scope, parse_id(&id, "webhook")?, state, page).await?;
    found.items = found.items.into_iter().map(|delivery| seen(&caller, delivery)).collect();
    Ok(axum::Json(List::of(found)))
}

/// One delivery.
#[utoipa::path(get, path = "/webhooks/{id}/deliveries/{delivery}", tag = "webhooks", params(("id" = String, Path), ("delivery" = String, Path)), responses((status = 200, description = "The delivery", body = DeliveryJson)))]
async fn get_delivery(
    State(app): State<App>,
    caller: Caller,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<axum::Json<DeliveryJson>, ApiError> {
    let (webhook, delivery) = (parse_id(&id, "webhook")?, parse_id(&delivery, "delivery")?);
    let found = app.store().delivery(&caller.scope()?, webhook, delivery).await?;
    Ok(axum::Json(seen(&caller, found).into()))
}

/// Tries a delivery now, and if need be as often as a new one: under the same id, so that a receiver that has it already knows.
#[utoipa::path(post, path = "/webhooks/{id}/deliveries/{delivery}/redeliver", tag = "webhooks", params(("id" = String, Path), ("delivery" = String, Path)), responses((status = 202, description = "The delivery, on its way", body = DeliveryJson)))]
async fn redeliver(State(app): State<App>, caller: Caller, Path((id, delivery)): Path<(String, String)>) -> Result<Response, ApiError> {
    let (webhook, delivery) = (parse_id(&id, "webhook")?, parse_id(&delivery, "delivery")?);
    let again = app.store().redeliver(&caller.scope()?, webhook, delivery).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(DeliveryJson::from(seen(&caller, again)))).into_response())
}
