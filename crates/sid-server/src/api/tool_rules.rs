//! Rules for an agent's tools, on the wire.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sid_core::Rules;
use sid_types::{AgentSpec, Scope, ToolRule};
use utoipa::ToSchema;

use super::names::check_name;
use crate::App;
use crate::error::ApiError;

/// Most rules of an agent.
const MOST: usize = 100;

/// When an agent may call a tool, and when it must.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub(crate) enum ToolRuleJson {
    /// Each run calls it before any other tool and before it answers.
    RunFirst(OneToolJson),
    /// No run ends by itself without a call of it that came off.
    RequiredBeforeExit(OneToolJson),
    /// It may be called only after calls of all of the others came off, in earlier steps of the same run.
    OnlyAfter(OnlyAfterJson),
    /// It is called at most so often in one run.
    AtMost(AtMostJson),
    /// A call of it that came off ends the run.
    EndsRun(OneToolJson),
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneToolJson {
    /// The tool's name.
    tool: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnlyAfterJson {
    /// The tool's name.
    tool: String,
    /// Names of the others; at least one.
    after: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AtMostJson {
    /// The tool's name.
    tool: String,
    /// At least 1.
    times: u32,
}

impl From<ToolRuleJson> for ToolRule {
    fn from(rule: ToolRuleJson) -> Self {
        match rule {
            ToolRuleJson::RunFirst(OneToolJson { tool }) => Self::RunFirst { tool },
            ToolRuleJson::RequiredBeforeExit(OneToolJson { tool }) => Self::RequiredBeforeExit { tool },
            ToolRuleJson::OnlyAfter(OnlyAfterJson { tool, after }) => Self::OnlyAfter { tool, after },
            ToolRuleJson::AtMost(AtMostJson { tool, times }) => Self::AtMost { tool, times },
            ToolRuleJson::EndsRun(OneToolJson { tool }) => Self::EndsRun { tool },
        }
    }
}

impl From<ToolRule> for ToolRuleJson {
    fn from(rule: ToolRule) -> Self {
        match rule {
            ToolRule::RunFirst { tool } => Self::RunFirst(OneToolJson { tool }),
            ToolRule::RequiredBeforeExit { tool } => Self::RequiredBeforeExit(OneToolJson { tool }),
            ToolRule::OnlyAfter { tool, after } => Self::OnlyAfter(OnlyAfterJson { tool, after }),
            ToolRule::AtMost { tool, times } => Self::AtMost(AtMostJson { tool, times }),
            ToolRule::EndsRun { tool } => Self::EndsRun(OneToolJson { tool }),
        }
    }
}

/// Refuses rules about tools that the agent does not have, and rules that no run could keep together.
pub(super) async fn check(app: &App, scope: &Scope, spec: &AgentSpec) -> Result<(), ApiError> {
    let rules = &spec.tool_rules;
    if rules.len() > MOST {
        return Err(ApiError::bad_request(format!("`tool_rules` must have at most {MOST} items, not {}", rules.len())));
    }
    for rule in rules {
        for name in rule.names() {
            check_name("tool_rules", name, 64)?;
        }
        if matches!(rule, ToolRule::OnlyAfter { after, .. } if after.is_empty()) {
            return Err(ApiError::bad_request(format!("`tool_rules`: `after` of `{}` must name a tool", rule.tool())));
        }
    }
    let wanted: BTreeSet<&str> = rules.iter().flat_map(ToolRule::names).collect();
    for name in wanted {
        let is_named = spec.tools.as_ref().is_none_or(|tools| tools.iter().any(|tool| tool == name));
        if !is_named || !(app.engine().has_tool(name) || app.toolbox().has(scope, name).await?) {
            return Err(ApiError::bad_request(format!("`tool_rules`: the agent has no tool `{name}`")));
        }
    }
    Rules::check(rules).map_err(|why| ApiError::bad_request(format!("`tool_rules`: {why}")))
}
