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

/// A tool that a caller brings, and carries out itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientTool {
    /// How it is described.
    #[serde(flatten)]
    pub spec: ToolSpec,
    /// Whether its answers are not to be trusted: the caller passes on what others have written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
}

impl From<ToolSpec> for ClientTool {
    fn from(spec: ToolSpec) -> Self {
        Self { spec, untrusted: false }
    }
}

/// When an agent may call a tool, and when it must. Names of tools that are not there mean nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum ToolRule {
    /// Each run calls it before any other tool and before it answers.
    RunFirst {
        /// The tool.
        tool: String,
    },
    /// No run ends by itself without a call of it that came off.
    RequiredBeforeExit {
        /// The tool.
        tool: String,
    },
    /// It may be called only after calls of all of these came off, in earlier steps of the same run.
    OnlyAfter {
        /// The tool.
        tool: String,
        /// The others.
        after: Vec<String>,
    },
    /// It is called at most so often in one run.
    AtMost {
        /// The tool.
        tool: String,
        /// How often; at least 1.
        times: u32,
    },
    /// A call of it that came off ends the run.
    EndsRun {
        /// The tool.
        tool: String,
    },
}

impl ToolRule {
    /// The tool that it is about.
    #[must_use]
    pub fn tool(&self) -> &str {
        match self {
            Self::RunFirst { tool }
            | Self::RequiredBeforeExit { tool }
            | Self::OnlyAfter { tool, .. }
            | Self::AtMost { tool, .. }
            | Self::EndsRun { tool } => tool,
        }
    }

    /// All tools that it names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let after: &[String] = if let Self::OnlyAfter { after, .. } = self { after } else { &[] };
        std::iter::once(self.tool()).chain(after.iter().map(String::as_str))
    }
}
