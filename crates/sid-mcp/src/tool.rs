//! A remote tool as one of the agent's.

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use sid_tools::{Declaration, EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::{Ask, ToolSpec};

use crate::question::Answers;
use crate::server::Asking;
use crate::{McpServer, RemoteTool};

/// Longest name of a function, in bytes.
const LONGEST: usize = 64;

/// A tool of an MCP server's.
pub struct McpTool {
    server: McpServer,
    remote: RemoteTool,
    name: String,
    /// What brings answers to its questions.
    answer: String,
    effect: EffectClass,
}

impl McpTool {
    /// The tool under a name that models can use: see [`function_name`]. The effect is what the caller says, not what the server does.
    #[must_use]
    pub fn new(server: &McpServer, remote: RemoteTool, prefix: &str, effect: EffectClass) -> Self {
        Self { server: server.clone(), name: function_name(prefix, &remote.name), answer: answer_name(prefix), remote, effect }
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

fn answer_name(prefix: &str) -> String {
    function_name(prefix, "answer_question")
}

/// Calls a tool of a server's again, with what the user has answered to its questions. Each time a person is asked: what goes to the server as
/// the user's word is shown to the user.
pub struct McpAnswer {
    server: McpServer,
    name: String,
    /// What models call the tools, what the server does, and what they change.
    tools: Vec<(String, String, EffectClass)>,
}

impl McpAnswer {
    /// For these tools, as they were given to [`McpTool::new`] with the same prefix.
    #[must_use]
    pub fn new(server: &McpServer, prefix: &str, tools: impl IntoIterator<Item = (String, EffectClass)>) -> Self {
        let tools = tools.into_iter().map(|(remote, effect)| (function_name(prefix, &remote), remote, effect)).collect();
        Self { server: server.clone(), name: answer_name(prefix), tools }
    }
}

#[async_trait]
impl Tool for McpAnswer {
    fn spec(&self) -> ToolSpec {
        let names: Vec<&str> = self.tools.iter().map(|(name, ..)| name.as_str()).collect();
        ToolSpec {
            name: self.name.clone(),
            description: "Call one of these tools again after its server has asked something and the user has answered. Only with answers that the user gave.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "tool": {"type": "string", "enum": names, "description": "The tool whose server asked"},
                    "arguments": {"type": "object", "description": "The same arguments as before"},
                    "answers": {"type": "object", "description": "What the user has answered, by the names of the fields"}
                },
                "required": ["tool", "arguments", "answers"],
                "additionalProperties": false
            }),
        }
    }

    fn declaration(&self) -> Declaration {
        Declaration {
            timeout: self.server.longest_call(),
            secrets: self.server.secret_names(),
            hosts: self.server.hosts(),
            untrusted: true,
            ask: Some(Ask::Always),
            stands_for: Some("tool".into()),
            ..Declaration::new(EffectClass::External { idempotent: false })
        }
    }

    async fn call(&self, context: &ToolContext, mut arguments: Map<String, Value>) -> ToolOutcome {
        let mut object = |name: &str| match arguments.remove(name) {
            Some(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        let (given, answers) = (object("arguments"), object("answers"));
        let name = arguments.get("tool").and_then(Value::as_str).unwrap_or_default();
        let Some((tool, remote, effect)) = self.tools.iter().find(|(tool, ..)| tool == name) else {
            return ToolOutcome::error(format!("There is no tool `{name}` whose server could have asked."));
        };
        let asking = Asking { answers: Answers::Given(answers), answer: &self.name, tool };
        self.server.call(context, remote, given, *effect, asking).await
    }
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
        let asking = Asking { answers: Answers::None, answer: &self.answer, tool: &self.name };
        self.server.call(context, &self.remote.name, arguments, self.effect, asking).await
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
