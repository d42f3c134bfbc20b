//! Which routes there are, and behind what.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use rmcp::transport::StreamableHttpServerConfig;
use tower::Service;

use super::App;
use crate::access::{self, Gate};
use crate::auth::Trusted;
use crate::error::{ApiCode, ApiError};
use crate::mcp::{self, McpServer};
use crate::{api, health, layers, openai, toolbox, well_known};

impl App {
    /// All routes, behind authentication: for [`axum::serve()`], or to be driven in process without a port.
    pub fn router(&self) -> Router {
        if self.config().mcp.enabled { self.router_with_mcp(mcp::endpoint) } else { self.inner_router() }
    }

    /// The same, with `/mcp` as `endpoint` makes it of Sid's own MCP server and its settings: for programs that put tools of their own
    /// around it. Nobody reaches it without a key.
    pub fn router_with_mcp<E>(&self, endpoint: impl FnOnce(McpServer, StreamableHttpServerConfig) -> E) -> Router
    where
        E: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
        E::Response: IntoResponse + 'static,
        E::Future: Send + 'static,
    {
        let (server, settings) = mcp::server(self);
        self.routes(Router::new().route_service(mcp::PATH, endpoint(server, settings)))
    }

    /// The same without MCP: what MCP's calls go through. It holds the server, so the server must not hold it.
    pub(crate) fn inner_router(&self) -> Router {
        self.routes(Router::new())
    }

    fn routes(&self, more: Router<Self>) -> Router {
        let (routes, document) = api_router().split_for_parts();
        self.inner.gate.get_or_init(|| Gate::new(&document));
        self.inner.openapi.get_or_init(|| api::finish(document).to_json().unwrap_or_default().into());
        routes
            .merge(health::router())
            .merge(more)
            .route("/", axum::routing::get(mcp::home))
            .route(toolbox::login::CALLBACK, axum::routing::get(api::logins::came_back))
            .route(well_known::PATH, axum::routing::get(well_known::protected_resource))
            .route(well_known::MCP_PATH, axum::routing::get(well_known::protected_resource))
            .fallback(no_route)
            .method_not_allowed_fallback(wrong_method)
            // Bodies are read by one extractor, which has its own limit and its own words for it.
            .layer(axum::extract::DefaultBodyLimit::disable())
            .layer(axum::middleware::from_fn_with_state(self.clone(), layers::guard))
            .layer(axum::middleware::from_fn_with_state(self.clone(), layers::observe))
            .with_state(self.clone())
    }

    /// The same routes for the process itself: without a key, each request is an operator's (`X-Sid-Tenant` and `X-Sid-User` narrow
    /// it). Whoever can open the data folder owns it. Never serve this on a port.
    pub fn trusted_router(&self) -> Router {
        self.router().layer(axum::Extension(Trusted))
    }
}

/// All documented routes.
fn api_router() -> utoipa_axum::router::OpenApiRouter<App> {
    utoipa_axum::router::OpenApiRouter::with_openapi(api::blank()).nest("/api/v1", api::router()).merge(openai::router())
}

/// What the routes say of themselves.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    api_router().into_openapi()
}

/// The OpenAPI document, as served at `/openapi.json`; needs no store.
#[must_use]
pub fn openapi_json() -> String {
    api::finish(document()).to_pretty_json().unwrap_or_default()
}

/// Who may do what, as Markdown: what `docs/access.md` holds; needs no store.
#[must_use]
pub fn access_markdown() -> String {
    access::page(&document())
}

async fn no_route(request: axum::extract::Request) -> ApiError {
    ApiError::new(ApiCode::NoRoute, format!("there is no route {}: see /openapi.json", request.uri().path())).openai("unknown_url", None)
}

async fn wrong_method(request: axum::extract::Request) -> ApiError {
    ApiError::new(ApiCode::Method, format!("{} is not a method of {}", request.method(), request.uri().path()))
}
