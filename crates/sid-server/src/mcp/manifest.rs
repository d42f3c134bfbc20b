//! `GET /`: what this server can do, as JSON for programs and as a page for people.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use crate::App;

/// The manifest; a page where the client asks for HTML, as browsers do.
pub(crate) async fn home(State(app): State<App>, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let wants_page = accepts.split(',').map(|t| t.split(';').next().unwrap_or_default().trim()).any(|t| t == "text/html");
    let mut response = if wants_page { Html(page(&app)).into_response() } else { axum::Json(manifest(&app)).into_response() };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    if wants_page {
        // Nothing on the page runs or is fetched.
        let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn manifest(app: &App) -> Value {
    let operations: Vec<Value> = app
        .operations()
        .iter()
        .map(|o| {
            json!({
                "id": o.id, "method": o.method.as_str(), "path": o.path, "group": o.tag, "about": o.about,
                "read_only": o.is_read_only(), "destructive": o.is_destructive(), "idempotent": o.is_idempotent(),
            })
        })
        .collect();
    json!({
        "name": "sid",
        "version": env!("CARGO_PKG_VERSION"),
        "openapi": "/openapi.json",
        "mcp": app.config().mcp.enabled.then_some("/mcp"),
        "openai": "/v1",
        "health": "/health",
        "operations": operations,
    })
}

fn page(app: &App) -> String {
    let mut rows = String::new();
    let mut group = String::new();
    for o in app.operations().iter() {
        if o.tag != group {
            group.clone_from(&o.tag);
            let _ = write!(rows, "<tr><th colspan=\"3\" scope=\"colgroup\">{}</th></tr>", escaped(&group));
        }
        let _ = write!(rows, "<tr><td>{}</td><td><code>{}</code></td><td>{}</td></tr>", o.method, escaped(&o.path), escaped(&o.about));
    }
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Sid</title><style>body{{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}}\
         table{{border-collapse:collapse;width:100%}}td,th{{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0;\
         border-bottom:1px solid #8884}}code{{word-break:break-all}}</style></head><body><h1>Sid {version}</h1>\
         <p>Perpetual agents with paged memory. Every operation below needs a key: <code>Authorization: Bearer sid_…</code>.</p>\
         <ul><li><a href=\"/openapi.json\">OpenAPI document</a></li><li>MCP: <code>/mcp</code> (every operation as a tool: \
         <code>/mcp?tools=all</code>)</li><li>OpenAI-compatible: <code>/v1</code></li><li><a href=\"/health\">Health</a></li></ul>\
         <h2>Operations</h2><table>{rows}</table></body></html>"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
