//! Conversations: one agent with one human, or with none.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use sid_core::ContextOf;
use sid_store::{EraseTarget, NewConversation};
use sid_types::{AgentId, Conversation, ConversationId, Timestamp, UserId};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::erase::ReceiptJson;
use super::names::{Names, check_key};
use super::wire::{List, Paging, RecalledJson, parse_id};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::idempotency;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(open_conversation, list_conversations))
        .routes(routes!(get_conversation, erase_conversation))
        .routes(routes!(get_context))
}

/// A conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConversationJson {
    #[schema(value_type = String)]
    pub(crate) id: ConversationId,
    #[schema(value_type = String)]
    agent: AgentId,
    /// The human; `null` for autonomous work.
    #[schema(value_type = Option<String>)]
    user: Option<UserId>,
    /// The application's own name for it.
    key: Option<String>,
    /// Messages are dense in `1..=last_seq`.
    last_seq: u64,
    /// The first message that is still in the prompt's queue; what is before it was paged out.
    queue_start: u64,
    /// The summary of what was paged out.
    summary: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the last message was said.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_at: Option<Timestamp>,
}

impl From<Conversation> for ConversationJson {
    fn from(c: Conversation) -> Self {
        Self {
            id: c.id,
            agent: c.agent,
            user: c.user,
            key: c.key,
            last_seq: c.last_seq.0,
            queue_start: c.queue_start.0,
            summary: c.summary.text,
            created_at: c.created_at,
            last_at: c.last_at,
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OpenConversation {
    /// Id or `@name`. Either this or `ego`.
    #[serde(default)]
    agent: Option<String>,
    /// An ego's name: the conversation is with its spokesperson, who speaks for it there. It has a user.
    #[serde(default)]
    ego: Option<String>,
    /// Id or `@handle`; the caller itself for user keys. Left out by a tenant key: a conversation without a human.
    #[serde(default)]
    user: Option<String>,
    /// The application's own name for it, unique for this agent and user: the same key again answers the same conversation.
    #[serde(default)]
    key: Option<String>,
}

/// Opens a conversation, or answers the one with this key.
#[utoipa::path(post, path = "/conversations", tag = "conversations", params(("Idempotency-Key" = Option<String>, Header)), request_body = OpenConversation, responses((status = 201, description = "Opened", body = ConversationJson), (status = 200, description = "The one with this key", body = ConversationJson)))]
async fn open_conversation(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Json<OpenConversation>,
) -> Result<(StatusCode, axum::Json<ConversationJson>), ApiError> {
    let scope = caller.scope()?;
    let names = Names::new(app.store(), &scope);
    let user = match &body.value.user {
        Some(user) => Some(names.user(user).await?),
        None => caller.user(),
    };
    caller.about(user);
    if let Some(key) = &body.value.key {
        check_key(key)?;
    }
    let agent = match (&body.value.agent, &body.value.ego) {
        (Some(agent), None) => names.agent(agent).await?,
        (None, Some(ego)) => {
            let user = user.ok_or_else(|| ApiError::bad_request("an ego speaks with people: name the `user`"))?;
            let ego = app.store().ego(&scope, ego).await?;
            let key = body.value.key.as_deref().unwrap_or("default");
            let (conversation, is_new) = app.engine().open_ego(&scope, &ego, user, key).await?;
            let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            return Ok((status, axum::Json(conversation.into())));
        }
        _ => return Err(ApiError::bad_request("name either the `agent` or the `ego`")),
    };
    let new = NewConversation { agent, user, key: body.value.key };
    let derived = idempotency::derived_id(&headers, &caller, "conversation")?.map(ConversationId::from_uuid);
    let id = derived.unwrap_or_else(ConversationId::new);
    if derived.is_some() {
        let is_same = |c: &Conversation| c.agent == new.agent && c.user == new.user && c.key == new.key;
        if let Some(known) = idempotency::replayed(app.store().conversation(&scope, id).await, is_same)? {
            return Ok((StatusCode::CREATED, axum::Json(known.into())));
        }
    }
    let (conversation, is_new) = app.store().open_conversation(&scope, id, new).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(conversation.into())))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ConversationFilter {
    /// Only of this agent (id or `@name`).
    agent: Option<String>,
    /// Only of this user (id or `@handle`).
    user: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// Most items, 1 to 1000. Default 50.
    limit: Option<usize>,
}

/// Conversations, newest first.
#[utoipa::path(get, path = "/conversations", tag = "conversations", params(ConversationFilter), responses((status = 200, description = "A page of conversations", body = List<ConversationJson>)))]
async fn list_conversations(
    State(app): State<App>,
    caller: Caller,
    Query(filter): Query<ConversationFilter>,
) -> Result<axum::Json<List<ConversationJson>>, ApiError> {
    let scope = caller.scope()?;
    let names = Names::new(app.store(), &scope);
    let agent = match &filter.agent {
        Some(agent) => Some(names.agent(agent).await?),
        None => None,
    };
    let user = match &filter.user {
        Some(user) => Some(names.user(user).await?),
        None => None,
    };
    caller.about(user);
    let page = Paging { after: filter.after, limit: filter.limit }.request()?;
    Ok(axum::Json(List::of(app.store().conversations(&scope, agent, user, page).await?)))
}

/// One conversation.
#[utoipa::path(get, path = "/conversations/{id}", tag = "conversations", params(("id" = String, Path)), responses((status = 200, description = "The conversation", body = ConversationJson)))]
async fn get_conversation(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<ConversationJson>, ApiError> {
    let id = parse_id(&id, "conversation")?;
    Ok(axum::Json(app.store().conversation(&caller.scope()?, id).await?.into()))
}

/// Erases a conversation with all that derives from it; answers the receipt.
#[utoipa::path(delete, path = "/conversations/{id}", tag = "conversations", params(("id" = String, Path)), responses((status = 200, description = "Erased", body = ReceiptJson)))]
async fn erase_conversation(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<ReceiptJson>, ApiError> {
    let id = parse_id(&id, "conversation")?;
    let scope = caller.scope()?;
    // Afterwards nobody can tell any more whose it was.
    caller.about(app.store().conversation(&scope, id).await?.user);
    Ok(axum::Json(app.erase(&scope, EraseTarget::Conversation(id)).await?.into()))
}

/// Which prompt.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Which {
    /// The one that would be sent if the user now said `text`.
    #[default]
    Next,
    /// The one of the last step that was committed.
    Last,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ContextQuery {
    /// Which prompt. Default `next`.
    #[serde(default)]
    #[param(inline)]
    which: Which,
    /// For `next`: what the user would say.
    #[serde(default)]
    text: String,
}

/// One segment of a prompt.
#[derive(Debug, Serialize, ToSchema)]
struct SegmentJson {
    /// `instructions`, `tools`, `blocks`, `diary`, `summary`, `queue`, `recalled`, `clock`, `warning`, `stimulus`, `reserve`.
    name: &'static str,
    tokens: u32,
    /// The most it may have; `null` = what is left.
    cap: Option<u32>,
    /// The exact text.
    text: String,
}

/// A prompt, part by part.
#[derive(Debug, Serialize, ToSchema)]
struct ContextJson {
    /// The run, for `last`.
    run: Option<String>,
    model: String,
    window_tokens: u32,
    prompt_tokens: u32,
    /// Room reserved for the answer.
    reserved_tokens: u32,
    segments: Vec<SegmentJson>,
    recalled: Vec<RecalledJson>,
    /// The messages as they are sent, in order: `{role, text, tool_calls?, call_id?, name?}`.
    #[schema(value_type = Vec<Object>)]
    messages: Vec<serde_json::Value>,
    /// The tools as they are sent: `{name, description, parameters}`.
    #[schema(value_type = Vec<Object>)]
    tools: Vec<serde_json::Value>,
}

/// The exact prompt, with what was recalled and why. Calls no chat model and changes nothing.
#[utoipa::path(get, path = "/conversations/{id}/context", tag = "conversations", params(("id" = String, Path), ContextQuery), responses((status = 200, description = "The prompt", body = ContextJson)))]
async fn get_context(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<ContextQuery>,
) -> Result<axum::Json<ContextJson>, ApiError> {
    let id = parse_id(&id, "conversation")?;
    let which = match query.which {
        Which::Next => ContextOf::Next { text: query.text },
        Which::Last => ContextOf::Last,
    };
    let view = app.engine().context(&caller.scope()?, id, which).await?;
    let json = |value: serde_json::Result<serde_json::Value>| value.unwrap_or_default();
    Ok(axum::Json(ContextJson {
        run: view.run.map(|r| r.to_string()),
        model: view.model,
        window_tokens: view.window.0,
        prompt_tokens: view.prompt_tokens.0,
        reserved_tokens: view.reserved.0,
        segments: view
            .segments
            .into_iter()
            .map(|s| SegmentJson { name: s.name, tokens: s.tokens.0, cap: s.cap.map(|c| c.0), text: s.text })
            .collect(),
        recalled: view.recalled.into_iter().map(Into::into).collect(),
        messages: view.messages.iter().map(|m| json(serde_json::to_value(m))).collect(),
        tools: view.tools.iter().map(|t| json(serde_json::to_value(t))).collect(),
    }))
}
