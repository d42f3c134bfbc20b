//! How a client without a token finds out where to get one: the challenge of a 401, and the document that it points to (RFC 9728).

use axum::Json;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use serde_json::{Value, json};
use sid_types::Permission;

use crate::App;
use crate::error::{ApiCode, ApiError};

/// Where the document about the whole server is.
pub(crate) const PATH: &str = "/.well-known/oauth-protected-resource";
/// Where the one about the MCP door is: clients of MCP compare its `resource` with the address that they were given.
pub(crate) const MCP_PATH: &str = "/.well-known/oauth-protected-resource/mcp";

/// How clients reach this server.
fn public_url(app: &App, headers: &HeaderMap) -> String {
    if let Some(url) = &app.config().server.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let is_plain = |host: &&str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).filter(is_plain);
    format!("http://{}", host.unwrap_or(&app.config().server.listen))
}

/// What a refusal points to, where tokens are taken.
pub(crate) fn challenge(app: &App, parts: &Parts) -> Option<String> {
    let document = if parts.uri.path() == "/mcp" { MCP_PATH } else { PATH };
    (!app.auth().issuers().is_empty()).then(|| format!("resource_metadata=\"{}{document}\"", public_url(app, &parts.headers)))
}

/// Adds the pointer to the challenge of a refusal that has one.
pub(crate) fn complete(pointer: Option<String>, response: &mut Response) {
    let (true, Some(pointer)) = (matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), pointer) else { return };
    let Some(value) = response.headers().get(header::WWW_AUTHENTICATE).and_then(|v| v.to_str().ok()) else { return };
    if let Ok(value) = HeaderValue::from_str(&format!("{value}, {pointer}")) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
}

/// Who issues tokens for this server, and which scopes there are.
pub(crate) async fn protected_resource(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let issuers = app.auth().issuers();
    if issuers.is_empty() {
        return Err(ApiError::new(ApiCode::NoRoute, "this server takes keys only: no issuer of tokens is configured"));
    }
    let scopes: Vec<String> =
        Permission::ALL.iter().filter(|p| **p != Permission::Operate).map(|p| format!("sid:{}", p.as_str())).collect();
    Ok(Json(json!({
        "resource": format!("{}{}", public_url(&app, &headers), uri.path().strip_prefix(PATH).unwrap_or_default()),
        "resource_name": "Sid",
        "authorization_servers": issuers,
        "scopes_supported": scopes,
        "bearer_methods_supported": ["header"],
    })))
}
