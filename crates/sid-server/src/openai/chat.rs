//! `POST /v1/chat/completions`.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sid_core::{RunEnd, Submit};
use sid_store::OnBusy;
use sid_types::{ConversationId, NewMessage, RunId, StopReason, Usage};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::models::find_agent;
use super::{conversation, stream};
use crate::App;
use crate::auth::Caller;
use crate::error::{ApiCode, ApiError};
use crate::extract::Json;
use crate::{idempotency, turns};

/// Tells the official clients not to repeat a request whose message was stored.
const NO_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(chat_completions))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

/// What is read of a request. Everything else that OpenAI clients send is accepted and ignored: sampling, tools and formats are
/// the agent's.
#[derive(Debug, Deserialize, ToSchema)]
struct ChatRequest {
    /// The agent's name.
    model: String,
    /// The chat; only the user messages after the last assistant message are new.
    #[schema(value_type = Vec<Object>)]
    messages: Vec<Value>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    /// The handle of the user; made at first use.
    #[serde(default)]
    user: Option<String>,
    /// `conversation` or `conversation_id`: the conversation's name or id.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// At most 1.
    #[serde(default)]
    n: Option<u32>,
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
    content: String,
    refusal: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Choice {
    index: u32,
    message: OpenAiMessage,
    logprobs: Option<Value>,
    /// `stop`, or `length` when the run reached one of its limits.
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
        Some(StopReason::MaxSteps | StopReason::MaxTokens | StopReason::MaxTime | StopReason::RepeatedCalls) => Ok("length"),
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
    let texts = conversation::new_messages(&request.messages)?;
    // The agent first: a wrong model must not make a user.
    let agent = find_agent(&app, &caller.scope()?, &request.model).await?;
    let scope = conversation::user_scope(&app, &caller, request.user.as_deref()).await?;
    let conversation = conversation::find(&app, &scope, &agent, &headers, request.metadata.as_ref()).await?.id;
    let now = app.now();
    let submit = Submit {
        conversation,
        messages: texts.into_iter().map(|text| NewMessage::user(text, now)).collect(),
        idempotency: idempotency::journal_key(&headers, &[b"POST chat/completions", conversation.to_string().as_bytes(), &raw])?,
        limits: Some(app.run_limits()),
        on_busy: OnBusy::Queue,
    };
    let turn = turns::submit(&app, scope, submit).await?;
    let run = turn.submitted.run.id;
    if request.stream.unwrap_or(false) {
        let with_usage = request.stream_options.and_then(|o| o.include_usage).unwrap_or(false);
        let chunks = stream::Chunks::new(completion_id(run), agent.spec.name, now.as_second(), with_usage);
        return Ok((trail(conversation, run), stream::respond(app, scope, run, chunks)).into_response());
    }
    let end = turn.end(&app).await?;
    Ok((trail(conversation, end.run.id), Answer(completion(&app, &scope, agent.spec.name, end).await?)).into_response())
}

async fn completion(app: &App, scope: &sid_types::Scope, model: String, end: RunEnd) -> Result<ChatCompletion, ApiError> {
    let run = end.run.clone();
    let finish_reason = finish_reason(run.stop_reason, run.error.as_deref())?;
    let messages = turns::messages_of(app, scope, end).await?;
    let message = OpenAiMessage { role: "assistant", content: turns::reply_of(&messages), refusal: None };
    Ok(ChatCompletion {
        id: completion_id(run.id),
        object: "chat.completion",
        created: run.created_at.as_second(),
        model,
        choices: vec![Choice { index: 0, message, logprobs: None, finish_reason }],
        usage: run.usage.into(),
    })
}
