//! Configured models, and what they can.

use std::time::Duration;

use axum::extract::State;
use serde::Serialize;
use sid_llm::{ChatModel as _, Verdict, probe};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::wire::List;
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::Path;
use crate::models::{Discovery, LiveModel};

/// How long each question of a probe may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_configured_models)).routes(routes!(probe_model))
}

/// A configured model.
#[derive(Debug, Serialize, ToSchema)]
struct ModelJson {
    /// What agents call it by.
    name: String,
    /// The name that the endpoint knows.
    model: String,
    /// Whether agents that name none have it.
    is_default: bool,
    /// `vllm`, `llama_cpp`, `ollama` or `generic`.
    engine: String,
    /// The window in tokens; `null` = nobody knows it, and 8192 is assumed.
    context_window: Option<u32>,
    /// `native`, `structured`, `text` or `none`.
    tool_mode: &'static str,
    /// Whether answers can be bound to a JSON schema.
    json_schema: bool,
    /// The configured model that summarises for it; itself when `null`.
    summarizer: Option<String>,
    /// `pending`, `done`, or `failed` (it is asked again).
    discovery: &'static str,
    /// What failed. For operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Where it is. For operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
}

fn show(app: &App, model: &LiveModel, for_operator: bool) -> ModelJson {
    let info = model.info();
    let (discovery, problem) = match model.discovery() {
        Discovery::Pending => ("pending", None),
        Discovery::Done => ("done", None),
        Discovery::Failed(e) => ("failed", Some(e.to_string())),
    };
    let engine = serde_json::to_value(info.profile.engine).ok().and_then(|v| v.as_str().map(ToOwned::to_owned));
    ModelJson {
        name: model.name().to_owned(),
        model: info.model,
        is_default: model.name() == app.config().default_model(),
        engine: engine.unwrap_or_default(),
        context_window: info.profile.context_window.map(|w| w.0),
        tool_mode: info.profile.tool_mode.name(),
        json_schema: info.profile.json_schema,
        summarizer: model.settings().summarizer.clone(),
        discovery,
        problem: problem.filter(|_| for_operator),
        base_url: Some(model.settings().base_url.clone()).filter(|_| for_operator),
    }
}

/// Configured models, by name.
#[utoipa::path(get, path = "/models", operation_id = "list_configured_models", tag = "models", responses((status = 200, description = "All models", body = List<ModelJson>)))]
async fn list_configured_models(State(app): State<App>, caller: Caller) -> axum::Json<List<ModelJson>> {
    let for_operator = caller.operator().is_ok();
    axum::Json(List { items: app.models().iter().map(|m| show(&app, m, for_operator)).collect(), next: None })
}

/// What a trial of one capability showed.
#[derive(Debug, Serialize, ToSchema)]
struct VerdictJson {
    /// `reachable`, `auth`, `model`, `chat`, `streaming`, `usage`, `tool_call`, `json_schema`, `context_window`, `embeddings`.
    capability: &'static str,
    ok: bool,
    /// What was seen, or what to do about it.
    detail: String,
    ms: u64,
}

impl From<Verdict> for VerdictJson {
    fn from(v: Verdict) -> Self {
        Self { capability: v.capability, ok: v.ok, detail: v.detail, ms: v.ms }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct ProbeJson {
    model: ModelJson,
    verdicts: Vec<VerdictJson>,
}

/// Tries what a model's endpoint can, with a few short requests, and the embedder too. Operators only.
#[utoipa::path(post, path = "/models/{name}/probe", operation_id = "probe_model", tag = "models", params(("name" = String, Path)), responses((status = 200, description = "A verdict per capability", body = ProbeJson)))]
async fn probe_model(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Result<axum::Json<ProbeJson>, ApiError> {
    caller.operator()?;
    let model = app.models().get(&name).ok_or_else(|| ApiError::not_found("model"))?;
    let embedder = app.engine().embedder();
    let verdicts = probe(model.endpoint(), &model.overrides(), embedder.as_deref(), PATIENCE).await;
    let verdicts = verdicts.into_iter().map(Into::into).collect();
    Ok(axum::Json(ProbeJson { model: show(&app, model, true), verdicts }))
}
