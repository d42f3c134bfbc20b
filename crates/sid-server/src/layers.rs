//! What every request passes, from the outside in: observation (id, log, metrics, errors' bodies, panics), then the guard (load,
//! who it is, limits, the access table, the audit log). The guard is around the whole router: a route is open only if [`is_public`]
//! lists it.

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::{FutureExt as _, StreamExt as _};
use sid_store::AuditEntry;
use sid_types::{KeyId, TenantId};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

use crate::App;
use crate::access::Rule;
use crate::auth::{Caller, Identity, Refusal, Trusted};
use crate::error::{ApiCode, ApiError};
use crate::mcp::Inherited;
use crate::rates::Standing;
use crate::{audit, metrics, rates, well_known};

/// The id that a request is logged under.
#[derive(Clone)]
struct RequestId(String);

/// Gives the request its id, logs and counts it, writes errors' bodies, and turns panics into 500s.
pub(crate) async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
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

/// Counts the request against the limits, and lets nobody in who may not do what is asked.
pub(crate) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    if is_public(&app, &request) {
        return next.run(request).await;
    }
    let Ok(permit) = app.admit() else {
        let detail = format!("{} requests are under way, the limit of this server: try again soon", app.config().server.max_requests);
        return ApiError::new(ApiCode::Overloaded, detail).retry_after(1).into_response();
    };
    let (mut parts, body) = request.into_parts();
    if let Some(Inherited(caller)) = parts.extensions.remove::<Inherited>() {
        // Counted, limited and authenticated with the request that it is a part of.
        let caller = caller.in_request(request_id_of(&parts));
        return match app.gate().rule(&parts.method, parts.extensions.get::<MatchedPath>()) {
            Ok(rule) => pass(&app, parts, body, next, caller, rule, permit).await,
            Err(refusal) => refusal.into_response(),
        };
    }
    let trusted = parts.extensions.get::<Trusted>().copied();
    let identity = match app.auth().identify(&parts.headers, trusted).await {
        Ok(identity) => identity,
        Err(refusal) => return turned_away(&app, &parts, refusal).await,
    };
    let challenge = well_known::challenge(&app, &parts);
    let mut standings = Vec::new();
    let mut response = match admitted(&app, &parts, &identity, &mut standings).await {
        Ok((caller, rule)) => pass(&app, parts, body, next, caller, rule, permit).await,
        Err(refusal) => refusal.into_response(),
    };
    response.headers_mut().extend(rates::headers(&standings));
    well_known::complete(challenge, &mut response);
    response
}

/// Runs the request if its caller may make it, and writes down that it was made.
async fn pass(
    app: &App,
    mut parts: Parts,
    body: Body,
    next: Next,
    caller: Caller,
    rule: Option<&'static Rule>,
    permit: Arc<OwnedSemaphorePermit>,
) -> Response {
    let pending = rule.and_then(|rule| {
        // Outside all tenants there is no log; what operators do there is in the server's own.
        let entry = entry(app, &parts, rule.operation, caller.tenant().ok()?, caller.key);
        let entry = AuditEntry { user: caller.user(), agent: caller.agent(), ..entry };
        Some(app.audit().open(entry, &caller, rule.is_audited()))
    });
    let response = match rule.map_or(Ok(()), |rule| rule.admit(&caller)) {
        Ok(()) => {
            parts.extensions.insert(caller);
            hold(next.run(Request::from_parts(parts, body)).await, permit)
        }
        Err(refusal) => refusal.into_response(),
    };
    if let Some(pending) = pending {
        pending.answered(response.status().as_u16()).await;
    }
    response
}

/// What limits of keys and of tenants are called in headers.
const KEY: &str = "key";
const TENANT: &str = "tenant";

/// As whom a request is meant, and what it needs, unless a limit is reached. Says where it stands with each limit that it has.
async fn admitted(
    app: &App,
    parts: &Parts,
    identity: &Identity,
    standings: &mut Vec<(&'static str, Standing)>,
) -> Result<(Caller, Option<&'static Rule>), ApiError> {
    if let Some(standing) = app.auth().standing(identity) {
        standings.push((KEY, standing));
        standing.admit(KEY)?;
    }
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
    let caller = app.auth().narrow(identity, &parts.headers, peer).await?;
    if let Some(tenant) = caller.limited_tenant() {
        let limits = app.engine().limits_of(tenant).await?;
        if let Some(standing) = app.rates().take(tenant, limits.requests_per_second.unwrap_or(0)) {
            standings.push((TENANT, standing));
            standing.admit(TENANT)?;
        }
    }
    let rule = app.gate().rule(&parts.method, parts.extensions.get::<MatchedPath>())?;
    Ok((caller.in_request(request_id_of(parts)), rule))
}

/// Answers who shows no valid credential. One that is over is known, and its use is logged.
async fn turned_away(app: &App, parts: &Parts, refusal: Refusal) -> Response {
    let mut response = refusal.error.into_response();
    if let Some((key, role)) = refusal.key
        && let Some(tenant) = role.tenant()
    {
        let rule = app.gate().rule(&parts.method, parts.extensions.get::<MatchedPath>()).ok().flatten();
        let operation = rule.map_or("none", |rule| rule.operation);
        let entry = entry(app, parts, operation, tenant, key);
        let status = response.status().as_u16();
        app.audit().put(AuditEntry { user: role.user(), agent: role.agent(), status, ..entry }).await;
    }
    well_known::complete(well_known::challenge(app, parts), &mut response);
    response
}

/// What the audit log is to say of a request, but for who it was for and how it ended.
fn entry(app: &App, parts: &Parts, operation: &str, tenant: TenantId, key: KeyId) -> AuditEntry {
    let path = parts.extensions.get::<MatchedPath>();
    AuditEntry {
        tenant,
        at: app.now(),
        key,
        user: None,
        agent: None,
        operation: operation.to_owned(),
        subject: None,
        resource: path.and_then(|path| audit::resource(path.as_str(), parts.uri.path())),
        status: 0,
        request: request_id_of(parts),
    }
}

fn request_id_of(parts: &Parts) -> Option<String> {
    parts.extensions.get::<RequestId>().map(|id| id.0.clone())
}

/// Keeps a stream's place among the requests under way until its last byte.
fn hold(response: Response, permit: Arc<OwnedSemaphorePermit>) -> Response {
    let is_stream = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(b"text/event-stream") || t.as_bytes().starts_with(b"application/x-ndjson"));
    if !is_stream {
        return response;
    }
    response.map(|body| {
        Body::from_stream(body.into_data_stream().inspect(move |_| {
            let _held = &permit;
        }))
    })
}

/// The only routes without a key.
fn is_public(app: &App, request: &Request) -> bool {
    match request.uri().path() {
        "/" | "/health" | "/health/live" | "/health/ready" | "/livez" | "/readyz" | "/openapi.json" | crate::toolbox::login::CALLBACK => {
            true
        }
        well_known::PATH | well_known::MCP_PATH => !app.auth().issuers().is_empty(),
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
