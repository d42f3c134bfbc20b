//! `POST /v1/chat/completions`.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sid_core::{RunEnd, Submit, Submitted};
use sid_store::{OnBusy, StoreError, Verdict};
use sid_types::{ApprovalId, ConversationId, Permission, RunId, StopReason, Usage};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::tools::{self, OpenAiCall};
use super::{conversation, models, stream};
use crate::App;
use crate::api::client_calls::calls_of;
use crate::api::wire::parse_id;
use crate::auth::Caller;
use crate::error::{ApiCode, ApiError};
use crate::extract::Json;
use crate::{idempotency, turns};

/// Tells the official clients not to repeat a request whose message was stored.
const NO_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// What an answer to a call that was never made is refused with.
const UNKNOWN_CALL: &str = "SID-CORE-UNKNOWN-CALL";

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(chat_completions))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

/// What is read of a request. Everything else that OpenAI clients send is accepted and ignored: sampling and formats are the agent's.
#[derive(Debug, Deserialize, ToSchema)]
struct ChatRequest {
    /// The agent's or ego's name.
    model: String,
    /// The chat; only the user messages after the last assistant message are new, and tool messages there that answer its calls.
    #[schema(value_type = Vec<Object>)]
    messages: Vec<Value>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    /// The handle of the user; made at first use.
    #[serde(default)]
    user: Option<String>,
    /// `conversation` or `conversation_id`: the conversation's name or id. `approve` or `deny`: the id of an approval that waits; then no
    /// message is said, and the answer tells what came of it.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// At most 1.
    #[serde(default)]
    n: Option<u32>,
    /// Functions that the client carries out, beside the agent's own tools.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<Value>>,
    /// `auto` or `none`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    tool_choice: Option<Value>,
}

#[derive(Debug, Serialize, ToSchema)]
struct CachedTokens {
    cached_tokens: u64,
}

/// Tokens of the whole run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenAiUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: CachedTokens,
}

impl From<Usage> for OpenAiUsage {
    fn from(u: Usage) -> Self {
        Self {
            prompt_tokens: u.prompt_tokens,
            completion_tokens: u.completion_tokens,
            total_tokens: u.prompt_tokens + u.completion_tokens,
            prompt_tokens_details: CachedTokens { cached_tokens: u.cached_tokens },
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct OpenAiMessage {
    role: &'static str,
    /// `null` when there are only calls.
    content: Option<String>,
    refusal: Option<String>,
    /// Calls of the client's functions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<OpenAiCall>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Choice {
    index: u32,
    message: OpenAiMessage,
    logprobs: Option<Value>,
    /// `stop`, `tool_calls` when the client is to answer calls, or `length` when the run reached one of its limits.
    finish_reason: &'static str,
}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
struct ChatCompletion {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
    choices: Vec<Choice>,
    usage: OpenAiUsage,
}

pub(super) fn completion_id(run: RunId) -> String {
    format!("chatcmpl-{}", run.to_string().trim_start_matches("run_"))
}

/// Why the answer ended, in OpenAI's words; an error when there is none.
pub(super) fn finish_reason(stop: Option<StopReason>, error: Option<&str>) -> Result<&'static str, ApiError> {
    let failed = |what: &str| {
        let detail = error.filter(|e| !e.is_empty()).map_or_else(|| what.to_owned(), |e| format!("{what}: {e}"));
        let detail = format!("{detail} (your message is stored; do not send it again)");
        Err(ApiError::new(ApiCode::RunFailed, detail).header(NO_RETRY, HeaderValue::from_static("false")))
    };
    match stop {
        Some(StopReason::EndTurn) => Ok("stop"),
        Some(StopReason::ClientCalls) => Ok("tool_calls"),
        Some(StopReason::MaxSteps | StopReason::MaxTokens | StopReason::MaxTime | StopReason::RepeatedCalls | StopReason::RulesUnmet) => {
            Ok("length")
        }
        Some(StopReason::Cancelled) => failed("the run was cancelled"),
        Some(StopReason::InvalidModelOutput) => failed("the model answered nothing that could be used"),
        Some(StopReason::ModelUnavailable) => failed("the model cannot be reached"),
        Some(StopReason::ModelRefused) => failed("the model endpoint refused the request"),
        Some(StopReason::WindowTooSmall) => failed("the model's window is too small for the agent"),
        Some(StopReason::Budget) => failed("no tokens are left"),
        Some(StopReason::Internal) => failed("a fault of the server"),
        None => failed("the run goes on, but the server waits no longer"),
    }
}

/// Where to look when something is odd.
fn trail(conversation: ConversationId, run: RunId) -> [(HeaderName, String); 2] {
    [(HeaderName::from_static("x-sid-conversation"), conversation.to_string()), (HeaderName::from_static("x-sid-run"), run.to_string())]
}

/// Says something to an agent, in OpenAI's shape. See the tag's description for what counts.
#[utoipa::path(post, path = "/v1/chat/completions", operation_id = "openai_chat_completions", tag = "openai", params(("X-Sid-Conversation" = Option<String>, Header, description = "The conversation's name or id"), ("X-Sid-User" = Option<String>, Header, description = "Handle or id of the user"), ("Idempotency-Key" = Option<String>, Header)), request_body = ChatRequest, responses((status = 200, description = "The answer; with `stream: true` as SSE chunks that end with `[DONE]`", body = ChatCompletion)))]
async fn chat_completions(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Json<ChatRequest>,
) -> Result<Response, ApiError> {
    let Json { value: request, raw } = body;
    if request.n.is_some_and(|n| n != 1) {
        return Err(ApiError::bad_request("`n` must be 1: an agent gives one answer").openai("invalid_value", Some("n")));
    }
    let said = conversation::new_messages(&request.messages, &caller.sources())?;
    let client_tools = tools::given(request.tools.as_deref(), request.tool_choice.as_ref())?;
    // The agent first: a wrong model must not make a user.
    let called = models::find(&app, &caller.scope()?, &request.model).await?;
    let scope = conversation::user_scope(&app, &caller, request.user.as_deref()).await?;
    let conversation = conversation::find(&app, &scope, &called, &headers, request.metadata.as_ref()).await?.id;
    let now = app.now();
    if let Some((approval, verdict)) = decision(&caller, request.metadata.as_ref())? {
        let decided = app.engine().decide(&scope, approval, verdict, None).await?;
        let run = app.store().run(&scope, decided.answered_by.ok_or(StoreError::NotFound { what: "run" })?).await?;
        let turn = turns::Turn { scope, submitted: Submitted { run, replayed: false } };
        let (conversation, run) = (turn.submitted.run.conversation, turn.submitted.run.id);
        if request.stream.unwrap_or(false) {
            let with_usage = request.stream_options.and_then(|o| o.include_usage).unwrap_or(false);
            let chunks = stream::Chunks::new(completion_id(run), called.name().to_owned(), now.as_second(), with_usage);
            return Ok((trail(conversation, run), stream::respond(app, scope, run, chunks)).into_response());
        }
        let end = turn.end(&app).await?;
        return Ok((trail(conversation, run), Answer(completion(&app, &scope, called.name().to_owned(), end).await?)).into_response());
    }
    let submit = Submit {
        conversation,
        messages: said.texts.into_iter().map(|text| turns::said(&caller, text, now, false)).collect(),
        answers: said.answers,
        client_tools,
        idempotency: idempotency::journal_key(&headers, &[b"POST chat/completions", conversation.to_string().as_bytes(), &raw])?,
        limits: Some(app.run_limits()),
        on_busy: OnBusy::Queue,
    };
    let turn = match turns::submit(&app, scope, submit.clone()).await {
        // Calls of a chat that began elsewhere: the agent never made them, and what the user says now goes on without them.
        Err(error) if error.code == UNKNOWN_CALL && !submit.messages.is_empty() => {
            turns::submit(&app, scope, Submit { answers: Vec::new(), ..submit }).await?
        }
        turn => turn?,
    };
    let run = turn.submitted.run.id;
    if request.stream.unwrap_or(false) {
        let with_usage = request.stream_options.and_then(|o| o.include_usage).unwrap_or(false);
        let chunks = stream::Chunks::new(completion_id(run), called.name().to_owned(), now.as_second(), with_usage);
        return Ok((trail(conversation, run), stream::respond(app, scope, run, chunks)).into_response());
    }
    let end = turn.end(&app).await?;
    Ok((trail(conversation, end.run.id), Answer(completion(&app, &scope, called.name().to_owned(), end).await?)).into_response())
}

/// What `metadata.approve` or `metadata.deny` decides. Then the messages of the request are not said: the answer is that of the run that tells
/// the agent. A message alone decides nothing, whatever it says.
fn decision(caller: &Caller, metadata: Option<&Map<String, Value>>) -> Result<Option<(ApprovalId, Verdict)>, ApiError> {
    let named = |key: &str| metadata.and_then(|m| m.get(key)).and_then(Value::as_str);
    let (id, verdict) = match (named("approve"), named("deny")) {
        (None, None) => return Ok(None),
        (Some(id), None) => (id, Verdict::Approve),
        (None, Some(id)) => (id, Verdict::Deny),
        (Some(_), Some(_)) => return Err(ApiError::bad_request("`metadata` has both `approve` and `deny`")),
    };
    if !caller.may(Permission::ContextDecide) || caller.agent().is_some() {
        return Err(ApiError::forbidden("deciding is for people, with a key that has `context-decide`"));
    }
    Ok(Some((parse_id(id, "approval")?, verdict)))
}

async fn completion(app: &App, scope: &sid_types::Scope, model: String, end: RunEnd) -> Result<ChatCompletion, ApiError> {
    let run = end.run.clone();
    let finish_reason = finish_reason(run.stop_reason, run.error.as_deref())?;
    let messages = turns::messages_of(app, scope, end).await?;
    let is_waiting = run.stop_reason == Some(StopReason::ClientCalls);
    let tool_calls: Vec<OpenAiCall> = calls_of(&messages).filter(|_| is_waiting).map(Into::into).collect();
    let waiting = turns::waiting_of(app, scope, &run, &messages).await?;
    let content = std::iter::once(turns::reply_of(&messages)).chain(waiting).filter(|t| !t.is_empty()).collect::<Vec<_>>().join("\n\n");
    let content = Some(content).filter(|text| !text.is_empty() || tool_calls.is_empty());
    let message = OpenAiMessage { role: "assistant", content, refusal: None, tool_calls };
    Ok(ChatCompletion {
        id: completion_id(run.id),
        object: "chat.completion",
        created: run.created_at.as_second(),
        model,
        choices: vec![Choice { index: 0, message, logprobs: None, finish_reason }],
        usage: run.usage.into(),
    })
}
