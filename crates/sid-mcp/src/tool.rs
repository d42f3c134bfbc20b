//! A remote tool as one of the agent's.

use async_trait::async_trait;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use sid_tools::{Declaration, EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::ToolSpec;

use crate::{McpServer, RemoteTool};

/// Longest name of a function, in bytes.
const LONGEST: usize = 64;

/// A tool of an MCP server's.
pub struct McpTool {
    server: McpServer,
    remote: RemoteTool,
    name: String,
    effect: EffectClass,
}

impl McpTool {
    /// The tool under a name that models can use: see [`function_name`]. The effect is what the caller says, not what the server does.
    #[must_use]
    pub fn new(server: &McpServer, remote: RemoteTool, prefix: &str, effect: EffectClass) -> Self {
        Self { server: server.clone(), name: function_name(prefix, &remote.name), remote, effect }
    }
}

/// What models call a remote tool: prefix and name, with `_` for what may not stand in a name. What is longer than 64 characters ends in a
/// number made from the whole, so that two long names stay two.
///
/// ```
/// assert_eq!(sid_mcp::function_name("files_", "read/file"), "files_read_file");
/// ```
#[must_use]
pub fn function_name(prefix: &str, remote: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let name: String = prefix.chars().chain(remote.chars()).map(fits).collect();
    if name.len() <= LONGEST {
        return name;
    }
    let number = hex::encode(&Sha256::digest(format!("{prefix}{remote}"))[..4]);
    format!("{}_{number}", &name[..LONGEST - 9])
}

#[async_trait]
impl Tool for McpTool {
    fn spec(&self) -> ToolSpec {
        let RemoteTool { description, parameters, .. } = &self.remote;
        ToolSpec { name: self.name.clone(), description: description.clone(), parameters: Value::Object(parameters.clone()) }
    }

    fn declaration(&self) -> Declaration {
        Declaration {
            timeout: self.server.longest_call(),
            secrets: self.server.secret_names(),
            hosts: self.server.hosts(),
            // Whatever a server says is somebody else's word, a receipt as well: nothing but its own claim tells the two apart.
            untrusted: true,
            ..Declaration::new(self.effect)
        }
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        self.server.call(context, &self.remote.name, arguments, self.effect).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_models_and_stay_apart() {
        let a = function_name("weather_", &("x".repeat(80) + "a"));
        let b = function_name("weather_", &("x".repeat(80) + "b"));
        assert!(a != b && a.len() == LONGEST && b.len() == LONGEST, "{a} {b}");
        assert_eq!(function_name("", "größe.lesen"), "gr__e_lesen");
    }
}
