//! Toolsets: functions that a tenant gives its agents.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sid_tools::{EffectClass, Tool};
use sid_types::{Timestamp, Toolset};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::wire::{List, if_match, precondition};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path};
use crate::toolbox::Made;
use crate::toolbox::source::{Effect, Source};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_toolsets)).routes(routes!(get_toolset, put_toolset, drop_toolset))
}

/// A function, as models are told of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FunctionJson {
    name: String,
    description: String,
    /// JSON Schema of its arguments.
    #[schema(value_type = Object)]
    parameters: Value,
    effect: Effect,
}

impl From<&dyn Tool> for FunctionJson {
    fn from(tool: &dyn Tool) -> Self {
        let spec = tool.spec();
        let effect = match tool.declaration().effect {
            EffectClass::Read | EffectClass::Memory => Effect::Read,
            EffectClass::External { idempotent: true } => Effect::Idempotent,
            EffectClass::External { idempotent: false } => Effect::Once,
        };
        Self { name: spec.name, description: spec.description, parameters: spec.parameters, effect }
    }
}

/// Something that is no function, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LeftOutJson {
    name: String,
    why: String,
}

/// A toolset and what came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToolsetJson {
    /// Unique inside the tenant.
    name: String,
    /// Whether agents have its functions that name no tools of their own.
    default: bool,
    /// Counts the puts, from 1; the `ETag` of the answer.
    version: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    functions: Vec<FunctionJson>,
    /// What cannot be a function.
    left_out: Vec<LeftOutJson>,
    /// Why it cannot be used now; runs go on without its functions.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// What it was made from; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
}

impl ToolsetJson {
    fn of(toolset: Toolset, made: Result<Made, String>, has_source: bool) -> Self {
        let source = Source::of(&toolset.spec).ok().filter(|_| has_source);
        let (functions, left_out, problem) = match made {
            Ok(Made { tools, left_out, problem }) => (tools, left_out, problem),
            Err(problem) => (Vec::new(), Vec::new(), Some(problem)),
        };
        Self {
            functions: functions.iter().map(|tool| FunctionJson::from(&**tool)).collect(),
            left_out: left_out.into_iter().map(|(name, why)| LeftOutJson { name, why }).collect(),
            problem,
            source,
            name: toolset.name,
            default: toolset.spec.is_default,
            version: toolset.version,
            created_at: toolset.created_at,
            updated_at: toolset.updated_at,
        }
    }

    fn answer(self, status: StatusCode) -> Response {
        (status, [(header::ETAG, format!("\"{}\"", self.version))], axum::Json(self)).into_response()
    }
}

/// What to make a toolset from.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutToolset {
    source: Source,
    /// Whether agents have its functions that name no tools of their own. Default: yes.
    #[serde(default = "yes")]
    default: bool,
}

const fn yes() -> bool {
    true
}

/// All toolsets of the tenant, by name.
#[utoipa::path(get, path = "/tools", tag = "tools", responses((status = 200, description = "All toolsets, without their sources", body = List<ToolsetJson>)))]
async fn list_toolsets(State(app): State<App>, caller: Caller) -> Result<axum::Json<List<ToolsetJson>>, ApiError> {
    let scope = caller.scope()?;
    let toolsets = app.store().toolsets(&scope).await?;
    let mut told = Vec::with_capacity(toolsets.len());
    for toolset in toolsets {
        let made = app.toolbox().make(&scope, &toolset.name, &toolset.spec).await;
        told.push(ToolsetJson::of(toolset, made, false));
    }
    Ok(axum::Json(List::whole(told)))
}

/// One toolset.
#[utoipa::path(get, path = "/tools/{toolset}", tag = "tools", params(("toolset" = String, Path, description = "Name")), responses((status = 200, description = "The toolset; its version is the `ETag`", body = ToolsetJson)))]
async fn get_toolset(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Result<Response, ApiError> {
    let scope = caller.scope()?;
    let toolset = app.store().toolset(&scope, &name).await?;
    let made = app.toolbox().make(&scope, &toolset.name, &toolset.spec).await;
    Ok(ToolsetJson::of(toolset, made, true).answer(StatusCode::OK))
}

/// Makes a toolset, or puts this one in its place. Agents have its functions from their next run on; other servers learn of it within two
/// seconds. Values of secrets stand nowhere in it: headers name them.
#[utoipa::path(put, path = "/tools/{toolset}", tag = "tools", params(("toolset" = String, Path, description = "Name: 1 to 64 characters of a-z, A-Z, 0-9, _ and -"), ("If-Match" = Option<String>, Header, description = "The version that was read, or 0 for none")), request_body = PutToolset, responses((status = 200, description = "Put", body = ToolsetJson), (status = 201, description = "Made", body = ToolsetJson)))]
async fn put_toolset(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Json<PutToolset>,
) -> Result<Response, ApiError> {
    let scope = caller.scope()?;
    let expected = if_match(&headers)?;
    let PutToolset { source, default } = body.value;
    sid_store::check_toolset(&name, &source.clone().into_spec(default))?;
    let (source, left_out) = app.toolbox().described(&scope, &name, source).await.map_err(ApiError::bad_request)?;
    let spec = source.into_spec(default);
    let mut made = app.toolbox().make(&scope, &name, &spec).await.map_err(ApiError::bad_request)?;
    made.left_out.extend(left_out);
    let waits_for_login = matches!(Source::of(&spec), Ok(Source::Mcp(source)) if source.login.is_some());
    if made.tools.is_empty() && !waits_for_login {
        let why: Vec<String> = made.left_out.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        return Err(ApiError::bad_request(format!("`source` has no function. {}", why.join("; "))));
    }
    check_names(&app, &scope, &name, &made).await?;
    let toolset = precondition(app.store().put_toolset(&scope, &name, spec, expected).await, expected)?;
    app.toolbox().forget(scope.tenant());
    let status = if toolset.version == 1 { StatusCode::CREATED } else { StatusCode::OK };
    Ok(ToolsetJson::of(toolset, Ok(made), true).answer(status))
}

/// A function's name is the tenant's once: a model calls it by that.
async fn check_names(app: &App, scope: &sid_types::Scope, toolset: &str, made: &Made) -> Result<(), ApiError> {
    let names = made.names();
    if let Some(own) = names.iter().find(|name| app.engine().has_tool(name)) {
        return Err(ApiError::bad_request(format!("every agent has a function `{own}` already: choose another name, or a `prefix`")));
    }
    for other in app.store().toolsets(scope).await?.into_iter().filter(|t| t.name != toolset) {
        let Ok(theirs) = app.toolbox().make(scope, &other.name, &other.spec).await else { continue };
        if let Some(taken) = theirs.names().into_iter().find(|name| names.contains(name)) {
            return Err(ApiError::bad_request(format!(
                "toolset `{}` has a function `{taken}` already: choose another name, or a `prefix`",
                other.name
            )));
        }
    }
    Ok(())
}

/// Takes a toolset away. Agents have its functions until their next run.
#[utoipa::path(delete, path = "/tools/{toolset}", tag = "tools", params(("toolset" = String, Path, description = "Name"), ("If-Match" = Option<String>, Header, description = "The version that was read")), responses((status = 204, description = "Gone")))]
async fn drop_toolset(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let scope = caller.scope()?;
    let expected = if_match(&headers)?;
    precondition(app.store().drop_toolset(&scope, &name, expected).await, expected)?;
    app.toolbox().forget(scope.tenant());
    Ok(StatusCode::NO_CONTENT)
}
