//! The protocol's side: which tools there are, and calling them.

use axum::Router;
use axum::http::request::Parts;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, ErrorData, Implementation, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, RoleServer};

use super::call::{self, failed};
use super::elicit;
use super::tools::{self, ToolSet};
use crate::App;
use crate::auth::Caller;

/// How long clients may keep the list of tools, in milliseconds: it changes with the server's version only.
const LIST_TTL_MS: u64 = 3_600_000;

/// The operation whose call may end with a question of an agent.
const SAYS: &str = "send_message";

const INSTRUCTIONS: &str = "Persistent memory for the user whom you serve. Read `context` first. Add what is worth keeping with `keep`; \
changes and deletions of notes, memories and preferences wait for the user's consent. Look things up with `find` (what assistants keep) and \
`recall` (what was said in conversations). Leave work for other assistants with `handoffs`.";

/// Sid's MCP server. Who calls, and which tools it wants, stand with each request: the guard of [`App`]'s router has put them there.
#[derive(Clone)]
pub struct McpServer {
    pub(super) app: App,
    /// What calls go through.
    pub(super) router: Router,
}

/// Who calls: the guard has put it there.
fn caller(context: &RequestContext<RoleServer>) -> Result<Caller, ErrorData> {
    let parts = context.extensions.get::<Parts>();
    // The guard lets nobody in without one; this is for a door that is added and forgets it.
    parts.and_then(|parts| parts.extensions.get::<Caller>().cloned()).ok_or_else(|| ErrorData::invalid_request("no key", None))
}

fn wanted(context: &RequestContext<RoleServer>) -> ToolSet {
    let query = context.extensions.get::<Parts>().and_then(|parts| parts.uri.query()).unwrap_or_default();
    if query.split('&').any(|pair| pair == "tools=all") { ToolSet::All } else { ToolSet::Grouped }
}

impl ServerHandler for McpServer {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        info.server_info = Implementation::new("sid", env!("CARGO_PKG_VERSION"));
        info.instructions = Some(INSTRUCTIONS.into());
        info
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = tools::tools(self.app.operations(), wanted(&context));
        // The same for everybody: what a caller may not do is refused when it is called.
        Ok(ListToolsResult::with_all_items(tools).with_ttl_ms(LIST_TTL_MS).with_cache_scope(CacheScope::Public))
    }

    async fn call_tool(&self, request: CallToolRequestParams, context: RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
        let caller = caller(&context)?;
        let can_ask = elicit::can_ask(&context, &caller);
        if can_ask && let Some(answer) = elicit::answered(&self.app, &caller, &request).await {
            return Ok(answer);
        }
        let arguments = request.arguments.unwrap_or_default();
        let found = tools::operation_of(self.app.operations(), wanted(&context), &request.name, arguments);
        let result = match found {
            Ok(Some((operation, arguments))) => {
                let result = call::call(self.router.clone(), caller.clone(), operation, arguments).await;
                if can_ask
                    && operation.id == SAYS
                    && let Some(question) = elicit::question(&self.app, &caller, &result).await
                {
                    return Ok(question.into());
                }
                result
            }
            Ok(None) => return Err(ErrorData::invalid_params(format!("there is no tool `{}`", request.name), None)),
            Err(problem) => failed(&problem),
        };
        Ok(result.into())
    }
}
