//! What tools a server has.

use rmcp::RoleClient;
use rmcp::model::{PaginatedRequestParams, Tool};
use rmcp::service::Peer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Pages of a list that are asked for; a list may also turn in a circle.
const MOST_PAGES: usize = 20;
/// Tools of one server that are taken.
const MOST_TOOLS: usize = 200;
/// Characters of a description that are taken.
const MOST_DESCRIPTION: usize = 4_000;
/// Bytes of a schema; a tool with a larger one is left out.
const MOST_SCHEMA: usize = 64 << 10;

/// A tool as its server describes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoteTool {
    /// The server's name for it.
    pub name: String,
    /// At most 4,000 characters.
    #[serde(default)]
    pub description: String,
    /// JSON Schema of its arguments; an object.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// The server says that it only reads (`readOnlyHint`).
    #[serde(default)]
    pub says_read_only: bool,
    /// The server says that a second call changes nothing more (`idempotentHint`).
    #[serde(default)]
    pub says_idempotent: bool,
}

/// All tools that can be taken. Errors: in words, for whoever added the server.
pub(crate) async fn tools(peer: &Peer<RoleClient>) -> Result<Vec<RemoteTool>, String> {
    let mut found: Vec<RemoteTool> = Vec::new();
    let mut cursor = None;
    for _ in 0..MOST_PAGES {
        let mut page = PaginatedRequestParams::default();
        page.cursor = cursor;
        let list = peer.list_tools(Some(page)).await.map_err(|e| format!("its list of tools cannot be read: {e}"))?;
        for tool in list.tools {
            if found.iter().any(|t| t.name == tool.name) {
                continue;
            }
            if let Some(tool) = read(tool) {
                found.push(tool);
            }
            if found.len() >= MOST_TOOLS {
                return Ok(found);
            }
        }
        cursor = list.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(found)
}

fn read(tool: Tool) -> Option<RemoteTool> {
    let mut parameters = (*tool.input_schema).clone();
    parameters.shift_remove("$schema");
    parameters.entry("type").or_insert_with(|| json!("object"));
    if parameters.get("type") == Some(&json!("object")) {
        parameters.entry("properties").or_insert_with(|| json!({}));
    }
    if serde_json::to_string(&parameters).map_or(true, |text| text.len() > MOST_SCHEMA) || tool.name.len() > 256 {
        tracing::warn!("a tool of an MCP server is left out: its name or schema is too large");
        return None;
    }
    let hints = tool.annotations.unwrap_or_default();
    let described = tool.description.map(String::from).or(tool.title).or(hints.title).unwrap_or_else(|| tool.name.to_string());
    Some(RemoteTool {
        name: tool.name.into_owned(),
        description: described.chars().take(MOST_DESCRIPTION).collect(),
        parameters,
        says_read_only: hints.read_only_hint == Some(true),
        says_idempotent: hints.idempotent_hint == Some(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(value: Value) -> Tool {
        serde_json::from_value(value).expect("a tool")
    }

    #[test]
    fn descriptions_and_schemas_are_bounded() {
        let long = tool(json!({"name": "a", "description": "x".repeat(10_000), "inputSchema": {"$schema": "http://x"}}));
        let read_one = read(long).expect("taken");
        assert_eq!(read_one.description.len(), MOST_DESCRIPTION);
        assert_eq!(Value::Object(read_one.parameters), json!({"type": "object", "properties": {}}));
        assert!(read(tool(json!({"name": "a", "inputSchema": {"type": "object", "title": "x".repeat(MOST_SCHEMA)}}))).is_none());
    }

    #[test]
    fn hints_are_kept_as_hints() {
        let hinted = read(tool(json!({"name": "a", "inputSchema": {}, "annotations": {"readOnlyHint": true, "idempotentHint": false}})));
        let hinted = hinted.expect("taken");
        assert!(hinted.says_read_only && !hinted.says_idempotent);
    }
}
