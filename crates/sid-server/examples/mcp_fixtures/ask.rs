//! What the fixture tools say to the client, and ask of it, while they work.

use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{CallToolResult, ClientResult, ContentBlock, ServerNotification, ServerRequest};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::{Value, json};

/// Between two things that a tool says.
const BREATH: Duration = Duration::from_millis(50);

/// Three lines of a log.
pub(crate) async fn log(context: &RequestContext<RoleServer>) -> Result<CallToolResult, ErrorData> {
    for line in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
        notify(context, json!({ "method": "notifications/message", "params": { "level": "info", "data": line } })).await?;
        tokio::time::sleep(BREATH).await;
    }
    Ok(text("Three lines were logged."))
}

/// Progress, if the client wants to hear of it.
pub(crate) async fn progress(context: &RequestContext<RoleServer>) -> Result<CallToolResult, ErrorData> {
    for progress in [0, 50, 100] {
        if let Some(token) = context.meta.get_progress_token() {
            let params = json!({ "progressToken": token, "progress": progress, "total": 100 });
            notify(context, json!({ "method": "notifications/progress", "params": params })).await?;
        }
        tokio::time::sleep(BREATH).await;
    }
    Ok(text("All is done."))
}

/// A word of the client's model.
pub(crate) async fn model(context: &RequestContext<RoleServer>, prompt: &Value) -> Result<CallToolResult, ErrorData> {
    let message = json!({ "role": "user", "content": { "type": "text", "text": prompt } });
    let answer = ask(context, json!({ "method": "sampling/createMessage", "params": { "messages": [message], "maxTokens": 100 } })).await?;
    Ok(text(&format!("LLM response: {}", answer["content"]["text"].as_str().unwrap_or_default())))
}

/// A form that the client's user fills in.
pub(crate) async fn user(context: &RequestContext<RoleServer>, message: &Value, form: &Value) -> Result<CallToolResult, ErrorData> {
    let params = json!({ "mode": "form", "message": message, "requestedSchema": form });
    let answer = ask(context, json!({ "method": "elicitation/create", "params": params })).await?;
    Ok(text(&format!("Elicitation completed: action={}, content={}", answer["action"].as_str().unwrap_or_default(), answer["content"])))
}

/// A result of one text.
pub(crate) fn text(words: &str) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(words)])
}

/// Messages are written as the protocol has them, and read by the library.
pub(crate) fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, ErrorData> {
    T::deserialize(value).map_err(broken)
}

async fn notify(context: &RequestContext<RoleServer>, message: Value) -> Result<(), ErrorData> {
    context.peer.send_notification(read::<ServerNotification>(&message)?).await.map_err(broken)
}

async fn ask(context: &RequestContext<RoleServer>, message: Value) -> Result<Value, ErrorData> {
    let answer: ClientResult = context.peer.send_request(read::<ServerRequest>(&message)?).await.map_err(broken)?;
    serde_json::to_value(answer).map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}
