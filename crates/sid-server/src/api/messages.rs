//! Messages: saying something, importing what was said elsewhere, reading it all.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sid_core::{RunEnd, Submit};
use sid_store::OnBusy;
use sid_types::{Body, Channel, ConversationId, MessageId, NewMessage, RunId, RunLimits, Scope, Seq, Source, StopReason, Timestamp};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::client_calls::{CallResult, ClientTool, calls_of};
use super::names::{check_name, check_text};
use super::wire::{List, MAX_LIMIT, MessageJson, RunJson, ToolCallJson, limit_of, parse_id};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::{events, idempotency, turns};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(send_message, list_messages)).routes(routes!(import_messages))
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Direction {
    /// Oldest first.
    #[default]
    Asc,
    /// Newest first.
    Desc,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MessageRange {
    /// Read on from this sequence number, which is not part of the answer.
    from: Option<u64>,
    /// `next` of the page before; the same as `from`.
    after: Option<u64>,
    /// Default `asc`.
    #[serde(default)]
    #[param(inline)]
    order: Direction,
    /// Most items, 1 to 1000. Default 50.
    limit: Option<usize>,
}

/// Messages by sequence number. Every page costs the same, however far into the conversation it lies.
#[utoipa::path(get, path = "/conversations/{id}/messages", tag = "messages", params(("id" = String, Path), MessageRange), responses((status = 200, description = "A page of messages", body = List<MessageJson>)))]
async fn list_messages(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(range): Query<MessageRange>,
) -> Result<axum::Json<List<MessageJson>>, ApiError> {
    let id = parse_id(&id, "conversation")?;
    let limit = limit_of(range.limit)?;
    let order = match range.order {
        Direction::Asc => sid_store::Order::Ascending,
        Direction::Desc => sid_store::Order::Descending,
    };
    let mut page = app.store().page(&caller.scope()?, id, range.after.or(range.from).map(Seq), order, limit + 1).await?;
    let more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| more).map(|m| m.seq.0.to_string());
    Ok(axum::Json(List { items: page.into_iter().map(Into::into).collect(), next }))
}

/// When a run is under way in the conversation.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OnBusyJson {
    /// Wait in the order of arrival.
    #[default]
    Queue,
    /// Answer 409.
    Reject,
    /// Stop the run under way, then go on.
    Interrupt,
}

/// What the run may use up; each at most what the server is configured to.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LimitsPatch {
    /// Most model calls.
    #[serde(default)]
    max_steps: Option<u32>,
    /// Most tokens, prompts and answers together.
    #[serde(default)]
    max_tokens: Option<u64>,
    /// Longest run in milliseconds.
    #[serde(default)]
    max_time_ms: Option<u64>,
}

impl LimitsPatch {
    fn over(self, base: RunLimits) -> Result<RunLimits, ApiError> {
        if self.max_steps == Some(0) || self.max_tokens == Some(0) || self.max_time_ms == Some(0) {
            return Err(ApiError::bad_request("`limits` must be at least 1 each"));
        }
        Ok(RunLimits {
            max_steps: self.max_steps.map_or(base.max_steps, |n| n.min(base.max_steps)),
            max_tokens: self.max_tokens.map_or(base.max_tokens, |n| n.min(base.max_tokens)),
            max_time_ms: self.max_time_ms.map_or(base.max_time_ms, |n| n.min(base.max_time_ms)),
            max_repeats: base.max_repeats,
        })
    }
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SendMessage {
    /// What the user says. May be larger than the model's window: it is stored whole and shown to the model shortened. May be left out only
    /// beside `results`.
    #[serde(default)]
    text: Option<String>,
    /// Answers to the calls that the last run ended with (`stop_reason` `client_calls`): to all of them. What the user says comes after
    /// them. Without them, those calls are passed over.
    #[serde(default)]
    results: Vec<CallResult>,
    /// Tools that the caller carries out, at most 128. Default: none; beside `results` those of the run that called.
    #[serde(default)]
    tools: Option<Vec<ClientTool>>,
    /// When it was said; now when left out. Order never depends on it.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// Whether the words are not the agent's to follow, as those of a stranger: it asks before it acts on them. Default `false`.
    #[serde(default)]
    untrusted: bool,
    /// Default `queue`.
    #[serde(default)]
    on_busy: OnBusyJson,
    #[serde(default)]
    limits: LimitsPatch,
    /// `false`: answer 202 at once. Default `true`.
    #[serde(default = "yes")]
    wait: bool,
    /// `true`: answer the run's events as SSE. Default `false`.
    #[serde(default)]
    stream: bool,
}

/// A run, and once it has ended, what was said.
#[derive(Debug, Serialize, ToSchema)]
struct TurnJson {
    run: RunJson,
    /// What the agent said; empty when it said nothing. Left out while the run goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<String>,
    /// All messages of the run, in order. Left out while the run goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<MessageJson>>,
    /// Calls that wait for the caller's `results`; left out unless the run ended with some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    calls: Vec<ToolCallJson>,
}

/// Says something. The message is stored before anything is answered; closing the connection does not stop the run.
///
/// Waits for the end (200), or answers at once with `wait: false` (202), or streams the run's events with `stream: true` or
/// `Accept: text/event-stream`. A run that failed is a 200 as well: `run.status` and `run.error` say what happened, and the message
/// is stored. A run that calls `tools` of the request ends with `stop_reason` `client_calls` and its `calls`; a request with their `results`
/// goes on. A wait longer than `server.wait_limit_ms` is answered 202. `Idempotency-Key` is honoured.
#[utoipa::path(post, path = "/conversations/{id}/messages", tag = "messages", params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = SendMessage, responses((status = 200, description = "The run has ended", body = TurnJson), (status = 202, description = "The run goes on", body = TurnJson)))]
async fn send_message(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<SendMessage>,
) -> Result<Response, ApiError> {
    let scope = caller.scope()?;
    let conversation: ConversationId = parse_id(&id, "conversation")?;
    let Json { value, raw } = body;
    if value.text.as_deref().map_or(value.results.is_empty(), |text| text.trim().is_empty()) {
        return Err(ApiError::bad_request("`text` must not be empty"));
    }
    let said_at = value.at.unwrap_or_else(|| app.now());
    let mut messages = Vec::new();
    if let Some(text) = value.text {
        check_text("text", &text, usize::MAX)?;
        messages.push(turns::said(&caller, text, said_at, value.untrusted));
    }
    let answers = value.results.into_iter().enumerate().map(|(i, result)| result.answer(&caller, i)).collect::<Result<_, _>>()?;
    let key = idempotency::journal_key(&headers, &[b"POST messages", conversation.to_string().as_bytes(), &raw])?;
    let submit = Submit {
        conversation,
        messages,
        answers,
        client_tools: value.tools.map(|tools| tools.into_iter().map(Into::into).collect()),
        idempotency: key,
        limits: Some(value.limits.over(app.run_limits())?),
        on_busy: match value.on_busy {
            OnBusyJson::Queue => OnBusy::Queue,
            OnBusyJson::Reject => OnBusy::Reject,
            OnBusyJson::Interrupt => OnBusy::Interrupt,
        },
    };
    let turn = turns::submit(&app, scope, submit).await?;
    if value.stream || events::wants_stream(&headers) {
        return Ok(events::sse(app, scope, turn.submitted.run.id, 0));
    }
    if !value.wait {
        return Ok(accepted(turn.submitted.run.into()));
    }
    let end = turn.end(&app).await?;
    let run = end.run.clone();
    if !run.status.is_terminal() {
        return Ok(accepted(run.into()));
    }
    Ok(axum::Json(ended(&app, &scope, end).await?).into_response())
}

/// What was said in a run that has ended.
async fn ended(app: &App, scope: &Scope, end: RunEnd) -> Result<TurnJson, ApiError> {
    let run = end.run.clone();
    let messages = turns::messages_of(app, scope, end).await?;
    let reply = Some(turns::reply_of(&messages));
    let is_waiting = run.stop_reason == Some(StopReason::ClientCalls);
    let calls = calls_of(&messages).filter(|_| is_waiting).cloned().map(Into::into).collect();
    let messages = Some(messages.into_iter().map(Into::into).collect());
    Ok(TurnJson { run: run.into(), reply, messages, calls })
}

/// A run that follows on what the caller has asked, as [`send_message`] answers: for doors that go on in the same call.
pub(crate) async fn turn_of(app: &App, scope: &Scope, run: RunId) -> Result<Value, ApiError> {
    let limit = std::time::Duration::from_millis(app.config().server.wait_limit_ms);
    let run = app.engine().wait(scope, run, limit).await?;
    let turn = if run.status.is_terminal() {
        ended(app, scope, RunEnd { run, messages: None }).await?
    } else {
        TurnJson { run: run.into(), reply: None, messages: None, calls: Vec::new() }
    };
    serde_json::to_value(turn).map_err(|e| ApiError::bad_request(e.to_string()))
}

fn accepted(run: RunJson) -> Response {
    let place = format!("/api/v1/runs/{}", run.id);
    let headers = [(header::LOCATION, place), (HeaderName::from_static("x-sid-run"), run.id.to_string())];
    (StatusCode::ACCEPTED, headers, axum::Json(TurnJson { run, reply: None, messages: None, calls: Vec::new() })).into_response()
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ImportRole {
    User,
    Assistant,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ImportedMessage {
    role: ImportRole,
    text: String,
    /// Who spoke, where the role does not tell.
    #[serde(default)]
    speaker: Option<String>,
    /// When it was said; now when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// A `msg_` id, or any name that is unique in this conversation: importing it again changes nothing.
    #[serde(default)]
    id: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Import {
    /// 1 to 1000, oldest first.
    messages: Vec<ImportedMessage>,
    /// Where they come from: the name that `POST /sources/undo` knows them by. Default `import`.
    #[serde(default)]
    source: Option<String>,
    /// Whether what they say may be followed; only a tenant key may say so. Default `false`: they are told to the agent as text from outside.
    #[serde(default)]
    trusted: bool,
}

/// Where an imported message is.
#[derive(Debug, Serialize, ToSchema)]
struct ImportedPlace {
    #[schema(value_type = String)]
    id: MessageId,
    seq: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Imported {
    /// As many as were sent, in the same order.
    messages: Vec<ImportedPlace>,
}

/// Adds messages that were said elsewhere. Runs no agent; they are in recall memory, not in the prompt's queue.
///
/// Repeating it is safe for messages with an `id`, and for all of them with `Idempotency-Key`.
#[utoipa::path(post, path = "/conversations/{id}/import", tag = "messages", params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = Import, responses((status = 200, description = "All are stored", body = Imported)))]
async fn import_messages(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Import>,
) -> Result<axum::Json<Imported>, ApiError> {
    let scope = caller.scope()?;
    let conversation: ConversationId = parse_id(&id, "conversation")?;
    let key = idempotency::text(&headers)?;
    let Import { messages: given, source, trusted } = body.value;
    if trusted && !scope.is_tenant_wide() {
        return Err(ApiError::forbidden("only a tenant key may say that an import is trusted"));
    }
    let source = source.unwrap_or_else(|| "import".into());
    check_name("source", &source, 255)?;
    let untrusted: Vec<Source> = (!trusted).then(|| Source::new(Channel::Import, source)).into_iter().collect();
    if given.is_empty() || given.len() > MAX_LIMIT {
        return Err(ApiError::bad_request(format!("`messages` must have 1 to {MAX_LIMIT} items, not {}", given.len())));
    }
    let now = app.now();
    let mut messages = Vec::with_capacity(given.len());
    for (index, message) in given.into_iter().enumerate() {
        let place = format!("messages[{index}]");
        if message.text.trim().is_empty() {
            return Err(ApiError::bad_request(format!("`{place}.text` must not be empty")));
        }
        check_text(&format!("{place}.text"), &message.text, usize::MAX)?;
        if let Some(speaker) = &message.speaker {
            check_name(&format!("{place}.speaker"), speaker, 255)?;
        }
        let id = match (&message.id, &key) {
            (Some(id), _) => id.parse().unwrap_or_else(|_| derived(conversation, &format!("id/{id}"))),
            (None, Some(key)) => derived(conversation, &format!("key/{key}/{index}")),
            (None, None) => MessageId::new(),
        };
        let body = match message.role {
            ImportRole::User => Body::User { text: message.text },
            ImportRole::Assistant => Body::Assistant { text: message.text, reasoning: None, tool_calls: Vec::new() },
        };
        messages.push(NewMessage {
            id,
            body,
            speaker: message.speaker,
            at: message.at.unwrap_or(now),
            tokens: None,
            untrusted: untrusted.clone(),
            approved: None,
            sender: None,
        });
    }
    let wanted: Vec<(MessageId, Body)> = messages.iter().map(|m| (m.id, m.body.clone())).collect();
    let stored = app.store().append(&scope, conversation, messages).await?;
    app.engine().memory_changed();
    let mut new = stored.into_iter().peekable();
    let mut places = Vec::with_capacity(wanted.len());
    for (id, body) in wanted {
        // What was there already is left out of the store's answer: look it up, so that a repetition answers the same.
        let message = match new.next_if(|m| m.id == id) {
            Some(message) => message,
            None => app.store().message(&scope, id).await?,
        };
        if message.body != body || message.conversation != conversation {
            return Err(sid_store::StoreError::KeyReused.into());
        }
        places.push(ImportedPlace { id, seq: message.seq.0 });
    }
    Ok(axum::Json(Imported { messages: places }))
}

fn derived(conversation: ConversationId, name: &str) -> MessageId {
    MessageId::from_uuid(Uuid::new_v5(&conversation.uuid(), name.as_bytes()))
}
