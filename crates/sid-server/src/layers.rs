//! What every request passes, from the outside in: observation (id, log, metrics, errors' bodies, panics), then the guard (load,
//! key). The guard is around the whole router: a route is open only if [`is_public`] lists it.

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

use crate::App;
use crate::auth::{Caller, Trusted};
use crate::error::{ApiCode, ApiError};
use crate::metrics;
use crate::rates::Standing;

/// Gives the request its id, logs and counts it, writes errors' bodies, and turns panics into 500s.
pub(crate) async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "unmatched".to_owned(), |m| m.as_str().to_owned());
    let method = method_name(request.method());
    let is_openai = is_openai_door(request.uri().path());
    let span = tracing::info_span!("sid.http", method, route, request_id = id);
    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await {
        Ok(response) => response,
        Err(panic) => {
            let what = panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
            tracing::error!(parent: &span, "a handler panicked: {}", what.unwrap_or_default());
            ApiError::new(ApiCode::Internal, "a fault of the server; its log says more under this request's id").into_response()
        }
    };
    let mut code = None;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        code = Some(error.code);
        let body = if is_openai {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            serde_json::to_vec(&error.openai_body())
        } else {
            serde_json::to_vec(&error.problem(&id))
        };
        *response.body_mut() = Body::from(body.unwrap_or_default());
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    let (status, took) = (response.status().as_u16(), started.elapsed());
    if app.config().server.log_requests && !is_probe(&route) {
        let took_ms = took.as_secs_f64() * 1_000.0;
        span.in_scope(|| match status {
            500.. => tracing::warn!(status, code, took_ms, "request"),
            _ => tracing::info!(status, code, took_ms, "request"),
        });
    }
    metrics::request(method, route, status, took);
    response
}

/// Counts the request against the limit, and lets nobody in without a key.
pub(crate) async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if is_public(&app, &request) {
        return next.run(request).await;
    }
    let Ok(permit) = app.admit() else {
        let detail = format!("{} requests are under way, the limit of this server: try again soon", app.config().server.max_requests);
        return ApiError::new(ApiCode::Overloaded, detail).retry_after(1).into_response();
    };
    let trusted = request.extensions().get::<Trusted>().copied();
    match app.keyring().caller(request.headers(), trusted).await {
        Ok(caller) => {
            let standing = match tenants_standing(&app, &caller).await {
                Ok(standing) => standing,
                Err(refusal) => return refusal.into_response(),
            };
            request.extensions_mut().insert(caller);
            let mut response = hold(next.run(request).await, permit);
            response.headers_mut().extend(standing.iter().flat_map(|standing| standing.headers(TENANT)));
            response
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// What limits of tenants are called in headers.
const TENANT: &str = "tenant";

/// Counts the request against its tenant's limit; `None` = there is none.
async fn tenants_standing(app: &App, caller: &Caller) -> Result<Option<Standing>, ApiError> {
    let Some(tenant) = caller.limited_tenant() else { return Ok(None) };
    let limits = app.engine().limits_of(tenant).await?;
    app.rates().take(tenant, limits.requests_per_second.unwrap_or(0)).map(|standing| standing.admitted(TENANT)).transpose()
}

/// Keeps a stream's place among the requests under way until its last byte.
fn hold(response: Response, permit: Option<Arc<OwnedSemaphorePermit>>) -> Response {
    let is_stream = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(b"text/event-stream") || t.as_bytes().starts_with(b"application/x-ndjson"));
    let Some(permit) = permit.filter(|_| is_stream) else { return response };
    response.map(|body| {
        Body::from_stream(body.into_data_stream().inspect(move |_| {
            let _held = &permit;
        }))
    })
}

/// The only routes without a key.
fn is_public(app: &App, request: &Request) -> bool {
    match request.uri().path() {
        "/health" | "/health/live" | "/health/ready" | "/livez" | "/readyz" | "/openapi.json" => true,
        "/metrics" => app.config().server.public_metrics || is_local(request),
        _ => false,
    }
}

/// Whether the request comes from this machine, and from no proxy on it.
fn is_local(request: &Request) -> bool {
    let forwarded = ["forwarded", "x-forwarded-for", "x-real-ip"].iter().any(|h| request.headers().contains_key(*h));
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip().to_canonical());
    let is_trusted = request.extensions().get::<Trusted>().is_some();
    is_trusted || (!forwarded && peer.is_some_and(|ip: IpAddr| ip.is_loopback()))
}

fn is_openai_door(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

fn is_probe(route: &str) -> bool {
    matches!(route, "/health" | "/health/live" | "/health/ready" | "/livez" | "/readyz" | "/metrics")
}

/// The client's own id for the request, if it is harmless, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|v| v.to_str().ok());
    match given {
        Some(id) if (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) => id.to_owned(),
        _ => format!("req_{}", uuid::Uuid::now_v7().simple()),
    }
}

/// A label of few values, whatever clients invent.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
