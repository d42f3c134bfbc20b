//! The face of a tool, as models and registries see it.

use serde::{Deserialize, Serialize};

/// A tool as it is described to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// 1 to 64 characters of `[a-zA-Z0-9_-]`.
    pub name: String,
    /// One or two sentences for the model.
    pub description: String,
    /// JSON Schema (2020-12) of the arguments; always of type `object`.
    pub parameters: serde_json::Value,
}
