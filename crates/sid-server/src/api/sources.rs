//! Sources that are not trusted: how much they wrote, and undoing it.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sid_core::{SourceUse, UndoReceipt};
use sid_types::{BlockId, Channel, Source, Timestamp};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::names::check_name;
use super::wire::{List, SourceJson};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::Json;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_sources)).routes(routes!(undo_source))
}

/// The way by which text came in.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ChannelJson {
    /// A person whose word is not the agent's to follow.
    User,
    /// The result of a tool.
    Tool,
    /// Brought in from elsewhere.
    Import,
    /// Another agent.
    Agent,
    /// A page of the web.
    Web,
    /// The application.
    Api,
}

impl From<ChannelJson> for Channel {
    fn from(channel: ChannelJson) -> Self {
        match channel {
            ChannelJson::User => Self::User,
            ChannelJson::Tool => Self::Tool,
            ChannelJson::Import => Self::Import,
            ChannelJson::Agent => Self::Agent,
            ChannelJson::Web => Self::Web,
            ChannelJson::Api => Self::Api,
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NamedSource {
    channel: ChannelJson,
    /// Which one; `*` = all of the channel.
    name: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UndoSource {
    source: NamedSource,
    /// Only what was written from this moment on.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

/// An edit that was made on top of what the source wrote, and went with it.
#[derive(Debug, Serialize, ToSchema)]
struct LeftOutEdit {
    #[schema(value_type = String)]
    block: BlockId,
    /// The version that the edit had led to; it stays in the block's history.
    version: u64,
    why: &'static str,
}

/// What was undone.
#[derive(Debug, Serialize, ToSchema)]
struct UndoJson {
    /// Blocks that changed.
    blocks: u64,
    /// Passages that are gone.
    passages: u64,
    /// Edits that could not be kept.
    left_out: Vec<LeftOutEdit>,
}

impl From<UndoReceipt> for UndoJson {
    fn from(r: UndoReceipt) -> Self {
        let left_out = r.left_out.into_iter().map(|l| LeftOutEdit { block: l.block, version: l.version, why: l.why });
        Self { blocks: r.blocks, passages: r.passages, left_out: left_out.collect() }
    }
}

/// How much stands under the influence of a source: what came from it, and what was written by who had read it.
#[derive(Debug, Serialize, ToSchema)]
struct SourceUseJson {
    source: SourceJson,
    messages: u64,
    /// Passages, facts aside.
    passages: u64,
    /// Facts that were drawn from what users said.
    facts: u64,
    /// Lines of blocks.
    block_lines: u64,
    /// Pages of the diary.
    diary_pages: u64,
    timers: u64,
    tasks: u64,
    /// The moment of the oldest of them.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

impl From<SourceUse> for SourceUseJson {
    fn from(used: SourceUse) -> Self {
        let SourceUse { source, messages, passages, facts, block_lines, diary_pages, timers, tasks, since } = used;
        Self { source: source.into(), messages, passages, facts, block_lines, diary_pages, timers, tasks, since }
    }
}

/// Sources that are not trusted, by channel and name, and how much stands under the influence of each. Looks through all memory of the tenant:
/// it takes a while where there is much.
#[utoipa::path(get, path = "/sources", operation_id = "list_sources", tag = "approvals", responses((status = 200, description = "All of them", body = List<SourceUseJson>)))]
async fn list_sources(State(app): State<App>, caller: Caller) -> Result<axum::Json<List<SourceUseJson>>, ApiError> {
    Ok(axum::Json(List::whole(app.engine().sources(&caller.tenant_scope()?).await?)))
}

/// Undoes what agents wrote after reading from a source: their edits of blocks are taken back, later ones are made again without them, and
/// their passages are removed. Messages stay as they were said. Again it changes nothing.
#[utoipa::path(post, path = "/sources/undo", operation_id = "undo_source", tag = "approvals", request_body = UndoSource, responses((status = 200, description = "What was undone", body = UndoJson)))]
async fn undo_source(State(app): State<App>, caller: Caller, body: Json<UndoSource>) -> Result<axum::Json<UndoJson>, ApiError> {
    let UndoSource { source: NamedSource { channel, name }, since } = body.value;
    check_name("source.name", &name, 255)?;
    let receipt = app.engine().undo_source(&caller.tenant_scope()?, &Source::new(channel.into(), name), since).await?;
    Ok(axum::Json(receipt.into()))
}
