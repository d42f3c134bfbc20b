//! `/v1/models`: agents as models.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sid_store::PageRequest;
use sid_types::{Agent, AgentId, Ego, Scope};
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

impl From<Ego> for OpenAiModel {
    fn from(e: Ego) -> Self {
        Self { id: e.name, object: "model", created: e.created_at.as_second(), owned_by: "sid" }
    }
}

/// Whom a client calls by `model`.
pub(super) struct Called {
    /// The agent that answers.
    pub(super) agent: Agent,
    /// The ego that it speaks for.
    pub(super) ego: Option<Ego>,
}

impl Called {
    /// The name that it was called by.
    pub(super) fn name(&self) -> &str {
        self.ego.as_ref().map_or(&self.agent.spec.name, |ego| &ego.name)
    }
}

/// The agent or ego that a client calls by `model`: its name, `@name` or, of an agent, id.
pub(super) async fn find(app: &App, scope: &Scope, model: &str) -> Result<Called, ApiError> {
    match app.store().ego(scope, model.strip_prefix('@').unwrap_or(model)).await {
        Ok(ego) => Ok(Called { agent: app.store().agent(scope, ego.spec.spokesperson).await?, ego: Some(ego) }),
        Err(sid_store::StoreError::NotFound { .. }) => Ok(Called { agent: find_agent(app, scope, model).await?, ego: None }),
        Err(error) => Err(error.into()),
    }
}

async fn find_agent(app: &App, scope: &Scope, model: &str) -> Result<Agent, ApiError> {
    let found = match model.parse::<AgentId>() {
        Ok(id) => app.store().agent(scope, id).await,
        Err(_) => app.store().agent_by_name(scope, model.strip_prefix('@').unwrap_or(model)).await,
    };
    found.map_err(|e| match e {
        sid_store::StoreError::NotFound { .. } => {
            let shown: String = model.chars().take(100).collect();
            let detail = format!("The model `{shown}` does not exist: there is no agent or ego of this name that your key may use.");
            ApiError::from(e).openai("model_not_found", Some("model")).reworded(detail)
        }
        e => e.into(),
    })
}

/// Agents and egos as models.
#[utoipa::path(get, path = "/v1/models", operation_id = "openai_list_models", tag = "openai", responses((status = 200, description = "All agents and egos", body = OpenAiModels)))]
async fn list_models(State(app): State<App>, caller: Caller) -> Result<Json<OpenAiModels>, ApiError> {
    let scope = caller.scope()?;
    let mut data = Vec::new();
    let mut after = None;
    loop {
        let page = app.store().agents(&scope, PageRequest { after, limit: 1_000 }).await?;
        data.extend(page.items.into_iter().map(OpenAiModel::from));
        after = page.next;
        if after.is_none() {
            data.extend(app.store().egos(&scope).await?.into_iter().map(OpenAiModel::from));
            return Ok(Json(OpenAiModels { object: "list", data }));
        }
    }
}

/// One agent or ego as a model.
#[utoipa::path(get, path = "/v1/models/{id}", operation_id = "openai_get_model", tag = "openai", params(("id" = String, Path, description = "The agent's or ego's name")), responses((status = 200, description = "The agent or ego", body = OpenAiModel)))]
async fn get_model(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Json<OpenAiModel>, ApiError> {
    let called = find(&app, &caller.scope()?, &id).await?;
    Ok(Json(called.ego.map_or_else(|| called.agent.into(), Into::into)))
}
