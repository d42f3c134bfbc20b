//! Sid over HTTP: the REST API, the OpenAI front door, authentication and operations, as a library and as the program `sid-server`.
//!
//! ```text
//! request → layers::observe (id, log, metrics, errors' bodies) → layers::guard (load, key or token → Caller, access table, audit log)
//!         → api/* or openai/* (JSON ↔ types, Caller → Scope) → sid-core's Engine and sid-store's Store
//! ```
//!
//! - [`config`]: defaults < TOML < `SID_*` environment < flags, one table for parser, check and reference.
//! - `auth`: the one way in, for keys and for tokens; nothing else makes a scope. Every route is closed unless it is listed as open.
//! - `access`: what each operation needs, as one table; a route without a row is closed. `audit`: who read or wrote whose memory.
//! - `api`: one module per resource of `/api/v1`; the wire's JSON types are its own.
//! - `openai`: agents as models under `/v1`.
//! - `turns`, `events`: one user message from the door to the answer, and the stream of what happens meanwhile. Work never hangs on
//!   a connection.
//!
//! What this crate is *not*: the agent loop ([`sid_core`]), a store, or a model provider. It alone knows Sid's wire format; it alone
//! (with `sid-cli`) reads environment and files.
//!
//! A server in one's own program, driven without a port:
//!
//! ```
//! use axum::body::Body;
//! use axum::http::Request;
//! use sid_server::App;
//! use sid_server::config::{Config, Sources};
//! use tower::ServiceExt as _;
//!
//! # let runtime = tokio::runtime::Runtime::new().unwrap();
//! # runtime.block_on(async {
//! let flags = vec![("store.kind".to_owned(), "in-process".to_owned())];
//! let config = Config::load(Sources { flags, ..Sources::default() })?;
//! let app = App::open(config).await?;
//! let key = app.first_key().expect("a new store has one").to_owned();
//!
//! let request = Request::get("/api/v1/agents").header("authorization", format!("Bearer {key}")).body(Body::empty())?;
//! assert_eq!(app.router().oneshot(request).await?.status(), 200);
//! let nameless = Request::get("/api/v1/agents").body(Body::empty())?;
//! assert_eq!(app.router().oneshot(nameless).await?.status(), 401);
//! app.shutdown().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod access;
mod api;
mod app;
mod audit;
mod auth;
mod backend;
pub mod config;
mod drive;
mod embedding;
mod erasures;
mod error;
mod events;
mod extract;
mod health;
mod idempotency;
mod layers;
mod log;
mod mcp;
mod metrics;
mod models;
mod open_error;
mod openai;
mod rates;
mod toolbox;
mod turns;
mod webhooks;
mod well_known;

pub use app::{App, access_markdown, create_operator_key, migrate, openapi_json};
pub use error::ApiCode;
pub use log::may_be_logged;
pub use mcp::McpServer;
pub use open_error::OpenError;

/// Becomes a function's process, or a local MCP server's, if this program was started for that. Programs that embed the server call it first
/// in `main`.
pub fn launch_if_asked() {
    sid_documents::launch_if_asked();
    sid_python::launch_if_asked();
    sid_mcp::launch_if_asked();
}
