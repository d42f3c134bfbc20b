//! Core memory blocks: values, history, undo, and which other agents see them.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sid_store::{BlockWrite, NewBlock, StoreError};
use sid_types::{Block, BlockAccess, BlockId, BlockOp, BlockVersion, Provenance, Timestamp};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::names::{Names, check_name, check_text};
use super::wire::{List, OwnerJson, OwnerType, ProvenanceJson, if_match, limit_of, parse_id, precondition};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::idempotency;

/// Most versions that undo looks back.
const UNDO_DEPTH: usize = 1_000;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_block, list_blocks))
        .routes(routes!(get_block, edit_block))
        .routes(routes!(block_history))
        .routes(routes!(undo_block))
        .routes(routes!(link_block, unlink_block))
}

/// What an agent may do with a block.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AccessJson {
    /// The model sees it.
    Read,
    /// The model sees and edits it.
    Write,
}

impl From<BlockAccess> for AccessJson {
    fn from(a: BlockAccess) -> Self {
        match a {
            BlockAccess::Read => Self::Read,
            BlockAccess::Write => Self::Write,
        }
    }
}

/// A labelled piece of core memory.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BlockJson {
    #[schema(value_type = String)]
    pub(crate) id: BlockId,
    owner: OwnerJson,
    /// The name the model uses; unique among the blocks of one owner.
    label: String,
    description: String,
    value: String,
    limit_chars: u32,
    access: AccessJson,
    /// Counts edits, from 1; the `ETag` of the answer.
    version: u64,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Block> for BlockJson {
    fn from(b: Block) -> Self {
        Self {
            id: b.id,
            owner: b.owner.into(),
            label: b.label,
            description: b.description,
            value: b.value,
            limit_chars: b.limit_chars,
            access: b.access.into(),
            version: b.version,
            updated_at: b.updated_at,
        }
    }
}

fn answer(status: StatusCode, block: Block) -> Response {
    let tag = format!("\"{}\"", block.version);
    (status, [(header::ETAG, tag)], axum::Json(BlockJson::from(block))).into_response()
}

fn by_api(caller: &Caller, channel: &str) -> Provenance {
    Provenance { user: caller.user(), channel: channel.into(), ..Provenance::default() }
}

const fn default_limit() -> u32 {
    2_000
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateBlock {
    owner: OwnerJson,
    /// Unique among the owner's blocks; 1 to 64 characters.
    label: String,
    /// What it is for; shown to the model.
    #[serde(default)]
    description: String,
    #[serde(default)]
    value: String,
    /// Most characters of the value. Default 2000.
    #[serde(default = "default_limit")]
    limit_chars: u32,
}

/// Makes a block.
#[utoipa::path(post, path = "/blocks", tag = "blocks", params(("Idempotency-Key" = Option<String>, Header)), request_body = CreateBlock, responses((status = 201, description = "Made", body = BlockJson)))]
async fn create_block(State(app): State<App>, caller: Caller, headers: HeaderMap, body: Json<CreateBlock>) -> Result<Response, ApiError> {
    let scope = caller.scope()?;
    let CreateBlock { owner, label, description, value, limit_chars } = body.value;
    check_name("label", &label, 64)?;
    check_text("description", &description, 2_000)?;
    check_text("value", &value, usize::MAX)?;
    let owner = owner.resolve(&Names::new(app.store(), &scope)).await?;
    caller.about(owner.user());
    let derived = idempotency::derived_id(&headers, &caller, "block")?;
    let id = derived.map_or_else(BlockId::new, BlockId::from_uuid);
    let new = NewBlock { id, owner, label: label.clone(), description, value, limit_chars, provenance: by_api(&caller, "api") };
    let is_same = |b: &Block| b.owner == owner && b.label == label;
    let make = app.store().create_block(&scope, new);
    let block = idempotency::once(derived, || app.store().block(&scope, id), is_same, make).await?;
    Ok(answer(StatusCode::CREATED, block))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OwnerQuery {
    /// `tenant`, `team`, `user`, `agent` or `pair`.
    #[param(inline)]
    owner_type: OwnerType,
    /// For `team`: id or `@name`.
    team: Option<String>,
    /// For `user` and `pair`: id or `@handle`.
    user: Option<String>,
    /// For `agent` and `pair`: id or `@name`.
    agent: Option<String>,
}

/// Blocks of one owner, by label. A pair that has never met gets the agent's blocks first.
#[utoipa::path(get, path = "/blocks", tag = "blocks", params(OwnerQuery), responses((status = 200, description = "All blocks of the owner", body = List<BlockJson>)))]
async fn list_blocks(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<OwnerQuery>,
) -> Result<axum::Json<List<BlockJson>>, ApiError> {
    let scope = caller.scope()?;
    let owner = OwnerJson { r#type: query.owner_type, team: query.team, user: query.user, agent: query.agent };
    let owner = owner.resolve(&Names::new(app.store(), &scope)).await?;
    caller.about(owner.user());
    Ok(axum::Json(List::whole(app.store().blocks(&scope, owner).await?)))
}

/// One block.
#[utoipa::path(get, path = "/blocks/{id}", tag = "blocks", params(("id" = String, Path)), responses((status = 200, description = "The block", body = BlockJson)))]
async fn get_block(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Response, ApiError> {
    let id = parse_id(&id, "block")?;
    Ok(answer(StatusCode::OK, app.store().block(&caller.scope()?, id).await?))
}

/// An edit.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum EditJson {
    /// The whole value is set.
    Set { value: String },
    /// A line is added at the end.
    Append { text: String },
    /// The first occurrence of `old` becomes `new`; empty = removed.
    Replace { old: String, new: String },
}

impl From<EditJson> for BlockOp {
    fn from(e: EditJson) -> Self {
        match e {
            EditJson::Set { value } => Self::Set { value },
            EditJson::Append { text } => Self::Append { text },
            EditJson::Replace { old, new } => Self::Replace { old, new },
        }
    }
}

impl From<BlockOp> for EditJson {
    fn from(op: BlockOp) -> Self {
        match op {
            BlockOp::Set { value } => Self::Set { value },
            BlockOp::Append { text } => Self::Append { text },
            BlockOp::Replace { old, new } => Self::Replace { old, new },
        }
    }
}

/// Edits a block. With `If-Match: <version>` only if nobody was faster; else 412.
#[utoipa::path(patch, path = "/blocks/{id}", tag = "blocks", params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The version that was read")), request_body = EditJson, responses((status = 200, description = "Edited", body = BlockJson)))]
async fn edit_block(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<EditJson>,
) -> Result<Response, ApiError> {
    let id = parse_id(&id, "block")?;
    let expected_version = if_match(&headers)?;
    match &body.value {
        EditJson::Set { value: text } | EditJson::Append { text } | EditJson::Replace { new: text, .. } => {
            check_text("value", text, usize::MAX)?
        }
    }
    let provenance = Provenance { untrusted: caller.sources(), ..by_api(&caller, "api") };
    let write = BlockWrite { op: BlockOp::from(body.value).marked(&provenance.untrusted), expected_version, provenance };
    let block = precondition(app.store().write_block(&caller.scope()?, id, write).await, expected_version)?;
    Ok(answer(StatusCode::OK, block))
}

/// One version of a block.
#[derive(Debug, Serialize, ToSchema)]
struct VersionJson {
    version: u64,
    /// The edit that led here.
    edit: EditJson,
    value_after: String,
    provenance: ProvenanceJson,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

impl From<BlockVersion> for VersionJson {
    fn from(v: BlockVersion) -> Self {
        Self { version: v.version, edit: v.edit.into(), value_after: v.value_after, provenance: v.provenance.into(), at: v.at }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryLimit {
    /// Most items, 1 to 1000. Default 50.
    limit: Option<usize>,
}

/// Versions, newest first: who changed what, when, and where it came from.
#[utoipa::path(get, path = "/blocks/{id}/history", operation_id = "get_block_history", tag = "blocks", params(("id" = String, Path), HistoryLimit), responses((status = 200, description = "The newest versions", body = List<VersionJson>)))]
async fn block_history(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<HistoryLimit>,
) -> Result<axum::Json<List<VersionJson>>, ApiError> {
    let id = parse_id(&id, "block")?;
    Ok(axum::Json(List::whole(app.store().block_history(&caller.scope()?, id, limit_of(query.limit)?).await?)))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Undo {
    /// Go back to this version; the one before the present one when left out.
    #[serde(default)]
    to_version: Option<u64>,
}

/// Sets a block back to an earlier value. That is an edit like any other: it can be undone too.
#[utoipa::path(post, path = "/blocks/{id}/undo", tag = "blocks", params(("id" = String, Path)), request_body = Undo, responses((status = 200, description = "Set back", body = BlockJson)))]
async fn undo_block(State(app): State<App>, caller: Caller, Path(id): Path<String>, body: Json<Undo>) -> Result<Response, ApiError> {
    let id = parse_id(&id, "block")?;
    let scope = caller.scope()?;
    let history = app.store().block_history(&scope, id, UNDO_DEPTH).await?;
    let present = history.first().map_or(0, |v| v.version);
    let wanted = match body.value.to_version {
        Some(version) => history.iter().find(|v| v.version == version).ok_or_else(|| ApiError::not_found("block version"))?,
        None => history.get(1).ok_or_else(|| StoreError::Invalid("this is the block's first version: there is nothing to undo".into()))?,
    };
    let write = BlockWrite {
        op: BlockOp::Set { value: wanted.value_after.clone() },
        expected_version: Some(present),
        provenance: by_api(&caller, "undo"),
    };
    Ok(answer(StatusCode::OK, app.store().write_block(&scope, id, write).await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Link {
    access: AccessJson,
}

async fn set_link(app: &App, caller: &Caller, block: &str, agent: &str, access: Option<BlockAccess>) -> Result<StatusCode, ApiError> {
    let scope = caller.scope()?;
    let block = parse_id(block, "block")?;
    let agent = Names::new(app.store(), &scope).agent(agent).await?;
    app.store().link_block(&scope, block, agent, access).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets another agent see (`read`) or edit (`write`) a block.
#[utoipa::path(put, path = "/blocks/{id}/links/{agent}", tag = "blocks", params(("id" = String, Path), ("agent" = String, Path, description = "Id or `@name`")), request_body = Link, responses((status = 204, description = "Linked")))]
async fn link_block(
    State(app): State<App>,
    caller: Caller,
    Path((block, agent)): Path<(String, String)>,
    body: Json<Link>,
) -> Result<StatusCode, ApiError> {
    let access = match body.value.access {
        AccessJson::Read => BlockAccess::Read,
        AccessJson::Write => BlockAccess::Write,
    };
    set_link(&app, &caller, &block, &agent, Some(access)).await
}

/// The agent sees the block no longer.
#[utoipa::path(delete, path = "/blocks/{id}/links/{agent}", tag = "blocks", params(("id" = String, Path), ("agent" = String, Path, description = "Id or `@name`")), responses((status = 204, description = "Not linked")))]
async fn unlink_block(
    State(app): State<App>,
    caller: Caller,
    Path((block, agent)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    set_link(&app, &caller, &block, &agent, None).await
}
