//! Functions that a tenant gave its agents, beside those that every agent has.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Timestamp;

named! {
    /// Where a toolset's functions run.
    ToolsetKind {
        /// Functions of a Python module, each call in a process of its own.
        Python = "python",
        /// One function that is an HTTP request.
        Http = "http",
        /// The operations of an OpenAPI document, as HTTP requests.
        OpenApi = "openapi",
        /// The tools of an MCP server.
        Mcp = "mcp",
        /// E-mail from one account.
        Email = "email",
        /// Images from one service.
        Images = "images",
        /// A kind that a newer program has put, and this one knows nothing of. Nobody puts it.
        #[serde(other)]
        Unknown = "unknown",
    }
}

/// A toolset as it is put.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolsetSpec {
    /// Where its functions run.
    pub kind: ToolsetKind,
    /// All that is needed to make the functions; its shape is the kind's. Secrets stand in it by name only.
    pub source: Map<String, Value>,
    /// Whether agents have its functions that name no tools of their own ([`AgentSpec::tools`](crate::AgentSpec)).
    pub is_default: bool,
}

/// A toolset of a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Toolset {
    /// Unique inside the tenant.
    pub name: String,
    /// What was put.
    #[serde(flatten)]
    pub spec: ToolsetSpec,
    /// Counts the puts, from 1.
    pub version: u64,
    /// When it was first put.
    pub created_at: Timestamp,
    /// When it was last put.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_a_newer_program_is_unknown_and_no_fault() {
        let spec = serde_json::json!({"kind": "telepathy", "source": {}, "is_default": true});
        let spec: ToolsetSpec = serde_json::from_value(spec).expect("it is read");
        assert_eq!(spec.kind, ToolsetKind::Unknown);
        for kind in ToolsetKind::ALL {
            let word = serde_json::to_value(kind).expect("a word");
            assert_eq!((word.as_str(), serde_json::from_value(word.clone()).ok()), (Some(kind.as_str()), Some(kind)));
        }
    }
}
