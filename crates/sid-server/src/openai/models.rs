//! `/v1/models`: agents as models.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sid_store::PageRequest;
use sid_types::{Agent, AgentId, Scope};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::Path;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_models)).routes(routes!(get_model))
}

/// An agent as OpenAI clients see it.
#[derive(Debug, Serialize, ToSchema)]
struct OpenAiModel {
    /// The agent's name.
    id: String,
    object: &'static str,
    /// Seconds since 1970.
    created: i64,
    owned_by: &'static str,
}

impl From<Agent> for OpenAiModel {
    fn from(a: Agent) -> Self {
        Self { id: a.spec.name, object: "model", created: a.created_at.as_second(), owned_by: "sid" }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct OpenAiModels {
    object: &'static str,
    data: Vec<OpenAiModel>,
}

/// The agent that a client calls by `model`: its name, `@name` or id.
pub(super) async fn find_agent(app: &App, scope: &Scope, model: &str) -> Result<Agent, ApiError> {
    let found = match model.parse::<AgentId>() {
        Ok(id) => app.store().agent(scope, id).await,
        Err(_) => app.store().agent_by_name(scope, model.strip_prefix('@').unwrap_or(model)).await,
    };
    found.map_err(|e| match e {
        sid_store::StoreError::NotFound { .. } => {
            let shown: String = model.chars().take(100).collect();
            let detail = format!("The model `{shown}` does not exist: there is no agent of this name that your key may use.");
            ApiError::from(e).openai("model_not_found", Some("model")).reworded(detail)
        }
        e => e.into(),
    })
}

/// Agents as models.
#[utoipa::path(get, path = "/v1/models", operation_id = "openai_list_models", tag = "openai", responses((status = 200, description = "All agents", body = OpenAiModels)))]
async fn list_models(State(app): State<App>, caller: Caller) -> Result<Json<OpenAiModels>, ApiError> {
    let scope = caller.scope()?;
    let mut data = Vec::new();
    let mut after = None;
    loop {
        let page = app.store().agents(&scope, PageRequest { after, limit: 1_000 }).await?;
        data.extend(page.items.into_iter().map(OpenAiModel::from));
        after = page.next;
        if after.is_none() {
            return Ok(Json(OpenAiModels { object: "list", data }));
        }
    }
}

/// One agent as a model.
#[utoipa::path(get, path = "/v1/models/{id}", operation_id = "openai_get_model", tag = "openai", params(("id" = String, Path, description = "The agent's name")), responses((status = 200, description = "The agent", body = OpenAiModel)))]
async fn get_model(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<OpenAiModel>, ApiError> {
    Ok(Json(find_agent(&app, &caller.scope()?, &id).await?.into()))
}
