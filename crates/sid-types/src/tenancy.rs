//! Tenants, teams, users, agents, conversations and keys.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    AccessRole, AgentId, AgentMatch, Approvals, Caps, ConversationId, Heartrate, KeyId, Permission, QuietHours, RecursiveSummary, Seq,
    TeamId, TenantId, Tokens, ToolRule, UserId,
};

/// A customer organisation: the outermost boundary of all data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// A unique name, chosen by the operator.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A group of users inside a tenant that shares memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    /// Its id.
    pub id: TeamId,
    /// Unique inside the tenant.
    pub name: String,
    /// The team that it is a part of, for good: who is in this one is in that one, too.
    #[serde(default)]
    pub parent: Option<TeamId>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What somebody is in a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeamRole {
    /// One of its members.
    Member,
    /// Leads it.
    Lead,
}

/// A user in a team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The team.
    pub team: Team,
    /// The person.
    pub user: User,
    /// As what: the highest that was given, here or in a part of the team.
    pub role: TeamRole,
    /// Whether it was given here, and not only in a part of the team.
    pub is_direct: bool,
}

/// A person inside a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The application's own name for the user; unique inside the tenant.
    pub handle: String,
    /// What the agent calls the user.
    pub display_name: String,
    /// IANA time zone, such as `Europe/Berlin`; the prompt's clock is shown in it. UTC when `None`.
    pub timezone: Option<String>,
    /// When agents begin nothing by themselves, in this zone; what the agent says when `None`.
    #[serde(default)]
    pub quiet_hours: Option<QuietHours>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A block that each (agent, user) pair gets a copy of at first contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockTemplate {
    /// The name the model uses, such as `human`.
    pub label: String,
    /// What the block is for; shown to the model.
    pub description: String,
    /// The first value.
    #[serde(default)]
    pub value: String,
    /// Most characters that the value may have.
    pub limit_chars: u32,
}

/// What an agent is: everything that its maker may set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// Unique inside the tenant; also its model name at the OpenAI door.
    pub name: String,
    /// Persona and rules, given to the model as system instructions.
    pub instructions: String,
    /// The name of a configured model.
    pub model: String,
    /// Window to use, in tokens; the model's own when `None`, and never more than that.
    pub context_window: Option<Tokens>,
    /// Most tokens of one answer; a share of the window when `None`.
    pub max_output: Option<Tokens>,
    /// Sampling temperature; the engine's default when `None`.
    pub temperature: Option<f32>,
    /// Blocks that each user's pair with this agent starts with.
    pub blocks: Vec<BlockTemplate>,
    /// Names of the tools that are offered; `None` = all memory tools.
    pub tools: Option<Vec<String>>,
    /// Whether it works on tasks: its prompts have the task tools then. Default `false`.
    #[serde(default)]
    pub tasks: bool,
    /// Agents of the tenant that it may hand work to. Default none.
    #[serde(default)]
    pub reaches: Vec<AgentId>,
    /// Agents of the tenant that it may speak with. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub colleagues: Vec<AgentMatch>,
    /// Agents whose words it takes as its own side's: what they write is no text from outside. What they have read from outside stays that.
    /// Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusts: Vec<AgentMatch>,
    /// What others call it by in their `colleagues` and `trusts`. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// When tools may be called, and when they must.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_rules: Vec<ToolRule>,
    /// Free text pairs for the application; never shown to a model.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// When its calls need somebody's word.
    #[serde(default, skip_serializing_if = "Approvals::is_empty")]
    pub approvals: Approvals,
    /// How long such a question waits for an answer, in milliseconds; the engine's default when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_ttl_ms: Option<u64>,
    /// The configured model that summarises and consolidates for it in the background; the one that its model's configuration names when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background_model: Option<String>,
    /// How often it wakes by itself, for each user that it talks with. Default never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartrate: Option<Heartrate>,
    /// Quiet hours of users who have said nothing of theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
    /// Most of what it begins by itself.
    #[serde(default, skip_serializing_if = "Caps::is_empty")]
    pub caps: Caps,
    /// What a newer program has set, and this one knows nothing of: kept as it is.
    #[serde(flatten, skip_serializing_if = "BTreeMap::is_empty")]
    pub rest: BTreeMap<String, serde_json::Value>,
}

impl AgentSpec {
    /// An agent with the usual `persona` and `human` blocks and all memory tools.
    #[must_use]
    pub fn new(name: impl Into<String>, model: impl Into<String>) -> Self {
        let block = |label: &str, description: &str| BlockTemplate {
            label: label.into(),
            description: description.into(),
            value: String::new(),
            limit_chars: 2_000,
        };
        Self {
            name: name.into(),
            instructions: "You are a helpful assistant with a long memory. Be brief and concrete.".into(),
            model: model.into(),
            context_window: None,
            max_output: None,
            temperature: None,
            blocks: vec![block("persona", "How you present yourself to this user."), block("human", "What you know about this user.")],
            tools: None,
            tasks: false,
            reaches: Vec::new(),
            colleagues: Vec::new(),
            trusts: Vec::new(),
            tags: Vec::new(),
            tool_rules: Vec::new(),
            metadata: BTreeMap::new(),
            approvals: Approvals::default(),
            approval_ttl_ms: None,
            background_model: None,
            heartrate: None,
            quiet_hours: None,
            caps: Caps::default(),
            rest: BTreeMap::new(),
        }
    }
}

/// An agent of a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// What its maker set.
    #[serde(flatten)]
    pub spec: AgentSpec,
    /// Teams whose shared memory it may read for users who are members.
    pub teams: Vec<TeamId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the specification last changed.
    pub updated_at: Timestamp,
}

/// One agent with one human, or with none: the unit of order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// The agent.
    pub agent: AgentId,
    /// The human; `None` for autonomous work.
    pub user: Option<UserId>,
    /// The application's own name for it; unique for this agent and user.
    pub key: Option<String>,
    /// The last sequence number given out; messages are dense in `1..=last_seq`.
    pub last_seq: Seq,
    /// The first message that is still in the FIFO queue; everything before it was paged out.
    pub queue_start: Seq,
    /// The summary of what was paged out.
    pub summary: RecursiveSummary,
    /// The rendered, unchanging head of the prompt; `None` = render it at the next turn.
    pub prefix: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the last message was said.
    pub last_at: Option<Timestamp>,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum KeyRole {
    /// Manages tenants and keys, and may act inside every tenant.
    Operator,
    /// Acts for a whole tenant (an application's back end).
    Tenant {
        /// The tenant.
        tenant: TenantId,
    },
    /// Acts as one user.
    User {
        /// The tenant.
        tenant: TenantId,
        /// The user.
        user: UserId,
    },
    /// Acts as an assistant of one user.
    Agent {
        /// The tenant.
        tenant: TenantId,
        /// The user.
        user: UserId,
        /// The assistant.
        agent: AgentId,
    },
}

impl KeyRole {
    /// The tenant that it is bound to; `None` for operators.
    #[must_use]
    pub const fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::Operator => None,
            Self::Tenant { tenant } | Self::User { tenant, .. } | Self::Agent { tenant, .. } => Some(*tenant),
        }
    }

    /// The user that it is bound to, if it is.
    #[must_use]
    pub const fn user(&self) -> Option<UserId> {
        match self {
            Self::User { user, .. } | Self::Agent { user, .. } => Some(*user),
            Self::Operator | Self::Tenant { .. } => None,
        }
    }

    /// The assistant that it is bound to, if it is.
    #[must_use]
    pub const fn agent(&self) -> Option<AgentId> {
        match self {
            Self::Agent { agent, .. } => Some(*agent),
            Self::Operator | Self::Tenant { .. } | Self::User { .. } => None,
        }
    }

    /// The role of keys that name none.
    #[must_use]
    pub const fn usual_access(&self) -> AccessRole {
        match self {
            Self::Operator | Self::Tenant { .. } => AccessRole::Owner,
            Self::User { .. } => AccessRole::Member,
            Self::Agent { .. } => AccessRole::Agent,
        }
    }
}

/// An API key as stored: never the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// A note for humans.
    pub name: String,
    /// As whom it acts.
    pub role: KeyRole,
    /// What it may do there.
    pub access: AccessRole,
    /// Only these of the role's permissions; `None` = all of them.
    pub scopes: Option<Vec<Permission>>,
    /// SHA-256 of the whole key text, 64 lower-case hexadecimal characters.
    pub hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// After this it is refused; `None` = never.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_program_has_set_for_an_agent_is_kept() {
        let mut set = serde_json::to_value(AgentSpec::new("a", "m")).expect("JSON");
        set["mood"] = serde_json::json!({"level": 7, "of": ["a", null]});
        let agent = serde_json::json!({"id": AgentId::new(), "teams": [], "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"});
        let mut whole = agent.as_object().cloned().expect("an object");
        whole.extend(set.as_object().cloned().expect("an object"));
        for read in [serde_json::from_value::<AgentSpec>(set.clone()), serde_json::from_value::<Agent>(whole.into()).map(|a| a.spec)] {
            let mut read = read.expect("it is read");
            assert_eq!(read.rest.len(), 1, "{:?}", read.rest);
            read.tasks = true;
            let written = serde_json::to_value(read).expect("JSON");
            assert_eq!((&written["mood"], &written["tasks"]), (&set["mood"], &true.into()));
        }
    }
}
