//! Probes, metrics, and the OpenAPI document.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::json;
use sid_store::{GenerationId, IndexStatus};
use sid_types::KeyId;

use crate::App;
use crate::auth::house_right;
use crate::error::{ApiCode, ApiError};
use crate::metrics;

/// A probe each second costs one look at the store, not one per probe: a restart of a database must not kill every replica.
const READY_TTL: Duration = Duration::from_secs(1);
const INDEX_TTL: Duration = Duration::from_secs(5);
/// Beyond this many tenants the index gauges are left out: they would cost more than they tell.
const MAX_GAUGED_TENANTS: usize = 100;

pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/health/live", get(live))
        .route("/livez", get(live))
        .route("/health/ready", get(ready))
        .route("/readyz", get(ready))
        .route("/health", get(ready))
        .route("/metrics", get(show_metrics))
        .route("/openapi.json", get(openapi))
}

/// What probes remember.
#[derive(Default)]
pub(crate) struct Probes {
    ready: Mutex<Option<(Result<(), String>, Instant)>>,
    index: Mutex<Option<(IndexStatus, Instant)>>,
}

/// The process answers. Touches nothing.
async fn live() -> Response {
    Json(json!({"status": "live"})).into_response()
}

/// The store answers and the server takes requests.
async fn ready(State(app): State<App>) -> Result<Response, ApiError> {
    if app.is_draining() {
        return Err(ApiError::new(ApiCode::NotReady, "the server is shutting down").retry_after(5));
    }
    let known = app.probes().ready.lock().clone().filter(|(_, at)| at.elapsed() < READY_TTL);
    let verdict = match known {
        Some((verdict, _)) => verdict,
        None => {
            let found = app.store().key_by_hash("ready").await.map(drop).map_err(|e| e.code().to_owned());
            *app.probes().ready.lock() = Some((found.clone(), Instant::now()));
            found
        }
    };
    match verdict {
        Ok(()) => Ok(Json(json!({
            "status": "ready",
            "version": env!("CARGO_PKG_VERSION"),
            "store": app.config().store.kind.name(),
            "embedder": app.embedder_status(),
        }))
        .into_response()),
        Err(code) => Err(ApiError::new(ApiCode::NotReady, format!("the store does not answer ({code})")).retry_after(2)),
    }
}

/// Prometheus text.
async fn show_metrics(State(app): State<App>) -> Result<Response, ApiError> {
    let Some(recorder) = metrics::install() else {
        return Err(ApiError::new(ApiCode::Unsupported, "the program around this server keeps its own metrics"));
    };
    let index = index_status(&app).await;
    metrics::state(app.in_flight(), app.engine().active_runs(), index);
    for model in app.models().iter() {
        metrics::endpoint(model.name(), model.guard());
    }
    if let Some(status) = app.backend().vector_status().await {
        metrics::vector_index(status);
    }
    recorder.run_upkeep();
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], recorder.render()).into_response())
}

/// Sum over all tenants, remembered for a while.
async fn index_status(app: &App) -> Option<IndexStatus> {
    let generation = GenerationId(app.engine().embedder()?.generation().id);
    if let Some((status, _)) = app.probes().index.lock().filter(|(_, at)| at.elapsed() < INDEX_TTL) {
        return Some(status);
    }
    let right = house_right();
    let tenants = app.store().tenants(&right).await.ok().filter(|t| t.len() <= MAX_GAUGED_TENANTS)?;
    let mut sum = IndexStatus::default();
    for tenant in tenants {
        let scope = right.enter(tenant.id, KeyId::from_uuid(uuid::Uuid::nil()));
        let status = app.store().index_status(&scope, &generation, None).await.ok()?;
        sum.indexed += status.indexed;
        sum.pending += status.pending;
    }
    *app.probes().index.lock() = Some((sum, Instant::now()));
    Some(sum)
}

async fn openapi(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.openapi_json()).into_response()
}
