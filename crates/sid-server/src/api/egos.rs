//! Egos: agents that meet people as one.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sid_core::CoreError;
use sid_types::{AgentId, Ego, EgoMemory, EgoSpec, Timestamp};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::agents::{TemplateJson, checked_templates};
use super::names::Names;
use super::wire::{List, if_match, precondition};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_egos)).routes(routes!(get_ego, put_ego, drop_ego))
}

/// Whose memory an ego's blocks are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum EgoMemoryJson {
    /// Each user has blocks of her own.
    #[default]
    PerUser,
    /// All users share them.
    Shared,
}

/// An ego.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EgoJson {
    /// Unique inside the tenant; also its model name at the OpenAI door.
    name: String,
    /// The agent that people speak with.
    #[schema(value_type = String)]
    spokesperson: AgentId,
    /// The others, whom the spokesperson can ask, tell and give work to.
    #[schema(value_type = Vec<String>)]
    members: Vec<AgentId>,
    /// Whose memory its blocks are.
    memory: EgoMemoryJson,
    /// Blocks that the spokesperson and all members read and write.
    blocks: Vec<TemplateJson>,
    /// Counts the puts, from 1.
    version: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Ego> for EgoJson {
    fn from(ego: Ego) -> Self {
        let memory = match ego.spec.memory {
            EgoMemory::PerUser => EgoMemoryJson::PerUser,
            EgoMemory::Shared => EgoMemoryJson::Shared,
        };
        Self {
            name: ego.name,
            spokesperson: ego.spec.spokesperson,
            members: ego.spec.members,
            memory,
            blocks: ego.spec.blocks.into_iter().map(Into::into).collect(),
            version: ego.version,
            created_at: ego.created_at,
            updated_at: ego.updated_at,
        }
    }
}

impl EgoJson {
    fn answer(self, status: StatusCode) -> Response {
        (status, [(header::ETAG, format!("\"{}\"", self.version))], axum::Json(self)).into_response()
    }
}

/// What to make an ego from.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutEgo {
    /// Id or `@name` of the agent that people speak with.
    spokesperson: String,
    /// Ids or `@name`s of 1 to 32 other agents.
    members: Vec<String>,
    /// Whose memory its blocks are; `per_user` when left out.
    #[serde(default)]
    memory: EgoMemoryJson,
    /// Blocks that all of them read and write. No agent of the ego has a block of the same label.
    #[serde(default)]
    blocks: Vec<TemplateJson>,
}

/// All egos, by name.
#[utoipa::path(get, path = "/egos", tag = "agents", responses((status = 200, description = "All egos", body = List<EgoJson>)))]
async fn list_egos(State(app): State<App>, caller: Caller) -> Result<axum::Json<List<EgoJson>>, ApiError> {
    let egos = app.store().egos(&caller.scope()?).await?;
    Ok(axum::Json(List { items: egos.into_iter().map(Into::into).collect(), next: None }))
}

/// One ego.
#[utoipa::path(get, path = "/egos/{ego}", tag = "agents", params(("ego" = String, Path, description = "Name")), responses((status = 200, description = "The ego; its version is the `ETag`", body = EgoJson)))]
async fn get_ego(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Result<Response, ApiError> {
    let ego = app.store().ego(&caller.scope()?, &name).await?;
    Ok(EgoJson::from(ego).answer(StatusCode::OK))
}

/// Makes an ego, or puts this one in its place: people speak with its spokesperson by the ego's name, as with an agent, and the spokesperson asks the
/// members. Members that are left out lose sight of its blocks at once.
#[utoipa::path(put, path = "/egos/{ego}", tag = "agents", params(("ego" = String, Path, description = "Name: 1 to 64 characters of a-z, A-Z, 0-9, _ and -; no agent's"), ("If-Match" = Option<String>, Header, description = "The version that was read, or 0 for none")), request_body = PutEgo, responses((status = 200, description = "Put", body = EgoJson), (status = 201, description = "Made", body = EgoJson)))]
async fn put_ego(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Json<PutEgo>,
) -> Result<Response, ApiError> {
    let scope = caller.scope()?;
    let expected = if_match(&headers)?;
    let names = Names::new(app.store(), &scope);
    let wanted = body.value;
    let spokesperson = names.agent(&wanted.spokesperson).await?;
    let mut members = Vec::with_capacity(wanted.members.len());
    for member in &wanted.members {
        members.push(names.agent(member).await?);
    }
    let memory = match wanted.memory {
        EgoMemoryJson::PerUser => EgoMemory::PerUser,
        EgoMemoryJson::Shared => EgoMemory::Shared,
    };
    let spec = EgoSpec { spokesperson, members, memory, blocks: checked_templates(wanted.blocks)? };
    let ego = versioned(app.engine().put_ego(&scope, &name, spec, expected).await, expected)?;
    let status = if ego.version == 1 { StatusCode::CREATED } else { StatusCode::OK };
    Ok(EgoJson::from(ego).answer(status))
}

/// Takes an ego away. Its agents stay, and so do its conversations and blocks, with the spokesperson.
#[utoipa::path(delete, path = "/egos/{ego}", tag = "agents", params(("ego" = String, Path, description = "Name"), ("If-Match" = Option<String>, Header, description = "The version that was read")), responses((status = 204, description = "Gone")))]
async fn drop_ego(State(app): State<App>, caller: Caller, Path(name): Path<String>, headers: HeaderMap) -> Result<StatusCode, ApiError> {
    let scope = caller.scope()?;
    let expected = if_match(&headers)?;
    versioned(app.engine().drop_ego(&scope, &name, expected).await, expected)?;
    Ok(StatusCode::NO_CONTENT)
}

/// What came of a change that names the version it was made for.
fn versioned<T>(changed: Result<T, CoreError>, expected: Option<u64>) -> Result<T, ApiError> {
    match changed {
        Err(CoreError::Store(error)) => precondition(Err(error), expected),
        other => Ok(other?),
    }
}
