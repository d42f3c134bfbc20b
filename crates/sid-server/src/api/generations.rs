//! Embedding generations: how far the change to another embedder is.

use std::time::Duration;

use axum::extract::State;
use serde::Serialize;
use sid_core::GenerationReport;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::wire::List;
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;

/// How long one request drops vectors.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_generations)).routes(routes!(drop_old_generations))
}

/// The vectors of one embedder.
#[derive(Debug, Serialize, ToSchema)]
struct GenerationJson {
    /// Provider, model, dimensions and chunker.
    id: String,
    /// Whether memory is searched with it, by every server whose configuration has its embedder.
    is_active: bool,
    /// Whether it is the one of this server that becomes active as soon as nothing is pending.
    is_wanted: bool,
    /// Whether this server's configuration has its embedder. Where the active one has none, search goes by words and by what `embedder` has made.
    is_configured: bool,
    /// Records with vectors, in all tenants.
    indexed: u64,
    /// Records that wait for theirs.
    pending: u64,
}

impl From<GenerationReport> for GenerationJson {
    fn from(r: GenerationReport) -> Self {
        let GenerationReport { id, is_active, is_wanted, is_configured, indexed, pending } = r;
        Self { id, is_active, is_wanted, is_configured, indexed, pending }
    }
}

/// Embedding generations by name, and how far each is. Operators only.
///
/// A server with `[next_embedder]` builds that generation beside the active one, and makes it the active one when it is complete. Counted each
/// time, over all tenants.
#[utoipa::path(get, path = "/generations", operation_id = "list_generations", tag = "operations", responses((status = 200, description = "All that have vectors or are configured", body = List<GenerationJson>)))]
async fn list_generations(State(app): State<App>, caller: Caller) -> Result<axum::Json<List<GenerationJson>>, ApiError> {
    caller.operator()?;
    let items = app.engine().generations().await?.into_iter().map(Into::into).collect();
    Ok(axum::Json(List { items, next: None }))
}

#[derive(Debug, Serialize, ToSchema)]
struct DroppedJson {
    /// Generations that still have vectors to be dropped.
    left: usize,
}

/// Drops vectors of generations that are neither active nor configured, for two seconds: call it until nothing is left. Operators only.
#[utoipa::path(post, path = "/generations/drop-old", operation_id = "drop_old_generations", tag = "operations", responses((status = 200, description = "What is left", body = DroppedJson)))]
async fn drop_old_generations(State(app): State<App>, caller: Caller) -> Result<axum::Json<DroppedJson>, ApiError> {
    caller.operator()?;
    Ok(axum::Json(DroppedJson { left: app.engine().drop_old_generations(PATIENCE).await? }))
}
