//! Streamable HTTP through the client that strangers may be given.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use rmcp::ServiceError;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, HttpStatusError, SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use sid_fetch::header::{HeaderName, HeaderValue};
use sid_fetch::{FetchError, Fetcher, HostPattern, Method, Opened, Request, StatusCode};
use sid_tools::http::Headers;
use sse_stream::{Sse, SseStream};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
/// Bytes of an error's body that are told.
const TOLD: usize = 300;

/// One session's way out: what it may reach, and as whom.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) fetcher: Fetcher,
    pub(crate) headers: Arc<Headers>,
    /// The URL's host and no other.
    pub(crate) hosts: Vec<HostPattern>,
    /// For one request, until its headers are there.
    pub(crate) time: Duration,
    /// What went wrong last, in words without secrets: the protocol's library tells less.
    pub(crate) problem: Arc<Mutex<Option<String>>>,
    /// The server has answered 401.
    pub(crate) is_refused: Arc<AtomicBool>,
}

type Failed = StreamableHttpError<FetchError>;

/// Whether this request, and not another of its session, was answered 401.
pub(crate) fn is_refused(error: &ServiceError) -> bool {
    let ServiceError::TransportSend(error) = error else { return false };
    matches!(error.error.downcast_ref::<Failed>(), Some(StreamableHttpError::AuthRequired(_)))
}
type Custom = HashMap<HeaderName, HeaderValue>;

impl Door {
    fn request(&self, method: Method, uri: &str, session: Option<&str>, custom: &Custom) -> Result<Request, FetchError> {
        let request = Request::new(method, uri).only(self.hosts.clone()).within(self.time);
        // Theirs first: what belongs to the protocol is not theirs to set.
        let mut request = self.headers.put_on(request)?.header("accept", "application/json, text/event-stream")?;
        for (name, value) in custom {
            request = request.header(name.as_str(), value.to_str().unwrap_or_default())?;
        }
        match session {
            Some(session) => request.header("mcp-session-id", session),
            None => Ok(request),
        }
    }

    fn note(&self, problem: String) {
        *self.problem.lock() = Some(self.headers.hide(problem));
    }

    async fn open(&self, request: Result<Request, FetchError>) -> Result<Opened, Failed> {
        let opened = async { self.fetcher.open(request?).await };
        opened.await.map_err(|error| {
            self.note(error.to_string());
            StreamableHttpError::Client(error)
        })
    }

    /// An answer that is no success, as an error.
    async fn refused(&self, mut answer: Opened) -> Failed {
        let status = answer.status;
        let says = match answer.rest().await {
            Ok(body) => String::from_utf8_lossy(&body).chars().take(TOLD).collect(),
            Err(_) => String::new(),
        };
        self.note(format!("it answers {status}{}{}", if says.is_empty() { "" } else { ": " }, says.trim()));
        match status {
            StatusCode::UNAUTHORIZED => {
                self.is_refused.store(true, Ordering::Relaxed);
                let challenge = answer.headers.get("www-authenticate").and_then(|v| v.to_str().ok()).unwrap_or_default();
                StreamableHttpError::AuthRequired(AuthRequiredError::new(challenge.to_owned()))
            }
            status => HttpStatusError::new(status.as_u16(), None).into(),
        }
    }
}

/// The events of an answer. All of them together are bounded as any body is.
fn events(answer: Opened) -> BoxStream<'static, Result<Sse, SseError>> {
    let parts = stream::unfold(Some(answer), |answer| async {
        let mut answer = answer?;
        match answer.chunk().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(answer))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    SseStream::from_bytes_stream(parts.boxed()).boxed()
}

impl StreamableHttpClient for Door {
    type Error = FetchError;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _: Option<String>,
        custom: Custom,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let body = serde_json::to_vec(&message)?;
        let request = self.request(Method::POST, &uri, session.as_deref(), &custom).map(|r| r.json(body));
        let mut answer = self.open(request).await?;
        let is_request = matches!(message, ClientJsonRpcMessage::Request(_));
        let status = answer.status;
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if status == StatusCode::NOT_FOUND && session.is_some() {
            return Err(StreamableHttpError::SessionExpired);
        }
        if !status.is_success() {
            return Err(self.refused(answer).await);
        }
        let given = answer.headers.get("mcp-session-id").and_then(|v| v.to_str().ok()).map(str::to_owned);
        match answer.media_type().as_str() {
            EVENTS => Ok(StreamableHttpPostResponse::Sse(events(answer), given)),
            _ if !is_request => Ok(StreamableHttpPostResponse::Accepted),
            JSON => {
                // As for the headers: a body that drips is not waited for.
                let body = tokio::time::timeout(self.time, answer.rest()).await.unwrap_or(Err(FetchError::Timeout { limit: self.time }));
                let body = body.map_err(|error| {
                    self.note(error.to_string());
                    StreamableHttpError::Client(error)
                })?;
                let message = serde_json::from_slice::<ServerJsonRpcMessage>(&body);
                let message = message.inspect_err(|e| self.note(format!("its answer is no message of the protocol: {e}")))?;
                Ok(StreamableHttpPostResponse::Json(message, given))
            }
            other => {
                self.note(format!("it answers with `{}`, which is not the protocol's", other.chars().take(60).collect::<String>()));
                Err(StreamableHttpError::UnexpectedContentType(None))
            }
        }
    }

    async fn delete_session(&self, uri: Arc<str>, session: Arc<str>, _: Option<String>, custom: Custom) -> Result<(), Failed> {
        // Whatever it answers: the session is not used again.
        self.open(self.request(Method::DELETE, &uri, Some(&session), &custom)).await.map(drop)
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        _: Option<String>,
        custom: Custom,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Failed> {
        let mut request = self.request(Method::GET, &uri, session.as_deref(), &custom);
        if let Some(last) = last_event {
            request = request.and_then(|r| r.header("last-event-id", &last));
        }
        let answer = match request {
            // Not `open`: that there is no such stream is no problem that anybody should read of.
            Ok(request) => self.fetcher.open(request).await.map_err(StreamableHttpError::Client)?,
            Err(error) => return Err(StreamableHttpError::Client(error)),
        };
        if !answer.status.is_success() || answer.media_type() != EVENTS {
            return Err(StreamableHttpError::ServerDoesNotSupportSse);
        }
        Ok(events(answer))
    }
}
