//! MCP: the operations of the REST API as tools, over Streamable HTTP at `/mcp` (`sid mcp` brings it to standard input and output).
//!
//! One registry for both doors: tools are made from the OpenAPI document, and a call is the same request that REST would have made, through
//! the same router, as the caller that the connection's `Authorization` header proved. So a tool can do nothing that its caller may not,
//! and an operation that is added to REST is a tool the same day.
//!
//! Identity comes from headers alone: no tool has an argument for it, and no URL. Requests are stateless; clients of older revisions of the
//! protocol, which begin with `initialize`, are served likewise.
//!
//! `examples/mcp_fixtures` puts tools of its own around [`McpServer`], behind the same guard: the public conformance suite asks for them.

mod call;
mod elicit;
mod groups;
mod handler;
mod manifest;
mod operations;
mod tools;

use std::sync::Arc;

use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

pub(crate) use call::Inherited;
pub use handler::McpServer;
pub(crate) use manifest::home;
pub(crate) use operations::Operations;

use crate::App;

/// Where MCP is served.
pub(crate) const PATH: &str = "/mcp";

/// Sid's own server and the settings of its endpoint.
pub(crate) fn server(app: &App) -> (McpServer, StreamableHttpServerConfig) {
    (McpServer { app: app.clone(), router: app.inner_router() }, settings(app))
}

/// The endpoint: every request by itself.
pub(crate) fn endpoint(server: McpServer, settings: StreamableHttpServerConfig) -> StreamableHttpService<McpServer, NeverSessionManager> {
    StreamableHttpService::new(move || Ok(server.clone()), Arc::new(NeverSessionManager::default()), settings)
}

/// Which hosts and origins are let in: the server's own, and those that are configured. A page in a browser sends its origin; with a name
/// of its own that points here (DNS rebinding), it still sends that name as the host.
fn settings(app: &App) -> StreamableHttpServerConfig {
    let mcp = &app.config().mcp;
    let named = |text: &str| text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if let Ok(listen) = app.config().server.listen.parse::<std::net::SocketAddr>()
        && !listen.ip().is_unspecified()
    {
        hosts.push(listen.ip().to_string());
    }
    hosts.extend(named(&mcp.hosts));
    StreamableHttpServerConfig::default()
        .with_allowed_hosts(hosts)
        .with_allowed_origins(named(&mcp.origins))
        // An empty list would else let every page in.
        .enforce_origin_validation()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(app.config().server.body_limit_bytes)
        .with_cancellation_token(app.closing().clone())
}
