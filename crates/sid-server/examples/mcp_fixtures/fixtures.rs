//! The fixtures of the suite (version 0.1.16), around Sid's own MCP server. What never changes stands in `fixtures.json`.

#![expect(deprecated, reason = "the suite asks for logging and subscriptions, which the newest revision gives up")]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::http::request::Parts;
use rmcp::ErrorData;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams, CompleteResult, ContentBlock, GetPromptRequestParams,
    GetPromptResponse, GetPromptResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ServerCapabilities, ServerConfig,
    SetLevelRequestParams, SubscribeRequestParams, UnsubscribeRequestParams,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use serde_json::{Map, Value, json};
use sid_server::McpServer;

use crate::ask::{self, read, text};
use crate::door::{self, Door};

type Context = RequestContext<RoleServer>;

static FIXTURES: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(include_str!("fixtures.json")).expect("the file is JSON"));

/// When a client whose stream was closed shall come again.
const RETRY: Duration = Duration::from_millis(500);

/// Sid's server with the fixtures.
#[derive(Clone)]
pub(crate) struct Fixtures {
    sid: McpServer,
    sessions: Option<(Arc<LocalSessionManager>, Door)>,
}

impl Fixtures {
    pub(crate) fn new(sid: McpServer, sessions: Option<(Arc<LocalSessionManager>, Door)>) -> Self {
        Self { sid, sessions }
    }

    /// One of the fixture tools.
    async fn call(&self, name: &str, arguments: &Map<String, Value>, context: &Context) -> Result<CallToolResult, ErrorData> {
        let said = |argument: &str| arguments.get(argument).cloned().unwrap_or_else(|| "Please answer.".into());
        match name {
            "test_tool_with_logging" => {
                if let (Some((_, door)), Some(session)) = (&self.sessions, session(context)) {
                    door.listens(&session).await;
                }
                ask::log(context).await
            }
            "test_tool_with_progress" => ask::progress(context).await,
            "test_reconnection" => self.closing_its_stream(context).await,
            "test_sampling" | "test_elicitation" | "test_elicitation_sep1034_defaults" | "test_elicitation_sep1330_enums"
                if self.sessions.is_none() =>
            {
                Ok(CallToolResult::error(vec![ContentBlock::text("there is no session in which the client could answer")]))
            }
            "test_sampling" => ask::model(context, &said("prompt")).await,
            _ => match (FIXTURES["forms"].get(name), FIXTURES["answers"].get(name)) {
                (Some(form), _) => ask::user(context, &said("message"), form).await,
                (None, Some(answer)) => read(answer),
                (None, None) => Err(unknown(name)),
            },
        }
    }

    /// The client has to come again for the answer.
    async fn closing_its_stream(&self, context: &Context) -> Result<CallToolResult, ErrorData> {
        if let (Some((sessions, _)), Some(session)) = (&self.sessions, session(context)) {
            let handle = sessions.sessions.read().await.get(session.as_str()).cloned();
            if let Some(handle) = handle {
                // Streams are counted per session, and handlers are not told the number: the suite calls this before anything else.
                handle.close_sse_stream(0, Some(RETRY)).await.map_err(|e| ErrorData::internal_error(e.to_string(), None))?;
            }
            tokio::time::sleep(RETRY / 5).await;
        }
        Ok(text("The stream was closed before this was said."))
    }
}

fn session(context: &Context) -> Option<String> {
    context.extensions.get::<Parts>().and_then(|parts| door::session(&parts.headers))
}

fn unknown(name: &str) -> ErrorData {
    ErrorData::invalid_params(format!("there is no `{name}`"), None)
}

fn is_fixture(name: &str) -> bool {
    FIXTURES["tools"].as_array().is_some_and(|tools| tools.iter().any(|tool| tool["name"] == name))
}

/// The messages of a prompt, with its arguments in place of their names in braces.
fn filled(messages: &Value, arguments: &Map<String, Value>) -> Value {
    match messages {
        Value::String(words) => {
            let put =
                |words: String, (name, value): (&String, &Value)| words.replace(&format!("{{{name}}}"), value.as_str().unwrap_or_default());
            Value::String(arguments.iter().fold(words.clone(), put))
        }
        Value::Array(items) => items.iter().map(|item| filled(item, arguments)).collect(),
        Value::Object(fields) => Value::Object(fields.iter().map(|(name, value)| (name.clone(), filled(value, arguments))).collect()),
        other => other.clone(),
    }
}

impl ServerHandler for Fixtures {
    fn get_info(&self) -> ServerConfig {
        let mut info = self.sid.get_info();
        info.capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_prompts()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_completions()
            .enable_logging()
            .build();
        info
    }

    async fn list_tools(&self, request: Option<PaginatedRequestParams>, context: Context) -> Result<ListToolsResult, ErrorData> {
        let mut listed = self.sid.list_tools(request, context).await?;
        listed.tools.extend(read::<Vec<_>>(&FIXTURES["tools"])?);
        Ok(listed)
    }

    async fn call_tool(&self, request: CallToolRequestParams, context: Context) -> Result<CallToolResponse, ErrorData> {
        if !is_fixture(&request.name) {
            return self.sid.call_tool(request, context).await;
        }
        Ok(self.call(&request.name, &request.arguments.unwrap_or_default(), &context).await?.into())
    }

    async fn list_prompts(&self, _: Option<PaginatedRequestParams>, _: Context) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(read(&FIXTURES["prompts"])?))
    }

    async fn get_prompt(&self, request: GetPromptRequestParams, _: Context) -> Result<GetPromptResponse, ErrorData> {
        let messages = FIXTURES["messages"].get(&request.name).ok_or_else(|| unknown(&request.name))?;
        Ok(read::<GetPromptResult>(&json!({ "messages": filled(messages, &request.arguments.unwrap_or_default()) }))?.into())
    }

    async fn list_resources(&self, _: Option<PaginatedRequestParams>, _: Context) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(read(&FIXTURES["resources"])?))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(read(&FIXTURES["templates"])?))
    }

    async fn read_resource(&self, request: ReadResourceRequestParams, _: Context) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        let made = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data")).map(|id| {
            let data = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
            json!({ "uri": uri, "mimeType": "application/json", "text": data.to_string() })
        });
        let content = made.or_else(|| FIXTURES["contents"].get(uri).cloned()).ok_or_else(|| unknown(uri))?;
        Ok(read::<ReadResourceResult>(&json!({ "contents": [content] }))?.into())
    }

    async fn subscribe(&self, request: SubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        // Nothing here ever changes.
        FIXTURES["contents"].get(&request.uri).map(|_| ()).ok_or_else(|| unknown(&request.uri))
    }

    async fn unsubscribe(&self, request: UnsubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        FIXTURES["contents"].get(&request.uri).map(|_| ()).ok_or_else(|| unknown(&request.uri))
    }

    async fn complete(&self, _: CompleteRequestParams, _: Context) -> Result<CompleteResult, ErrorData> {
        read(&json!({ "completion": { "values": ["paris", "park", "party"], "total": 3, "hasMore": false } }))
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: Context) -> Result<(), ErrorData> {
        // All that is logged here is of a level that the suite wants to hear.
        Ok(())
    }
}
