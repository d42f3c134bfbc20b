//! Rows as the journal's functions tell them: JSON, by the names of the columns.

use serde::{Deserialize, Deserializer, Serialize};
use sid_store::{RunTerms, StoreError};
use sid_types::{
    Agent, AgentId, ApprovedCall, Block, BlockAccess, BlockId, Body, Conversation, ConversationId, Membership, Message, MessageId,
    NewMessage, Owner, PlannedCall, Principal, QuietHours, Run, RunId, Scope, Sender, Seq, Source, Team, TeamId, TeamRole, TenantId,
    Timestamp, Tokens, ToolCall, User, UserId, WorkerId,
};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::codec::{Columns, Id, clean, from_word, original, status, to_json};
use crate::error::{Result, damaged};
use crate::visibility::owner_of;

fn raw<'de, D: Deserializer<'de>, T: Id>(from: D) -> Result<T, D::Error> {
    Uuid::deserialize(from).map(T::of)
}

fn maybe_raw<'de, D: Deserializer<'de>, T: Id>(from: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Uuid>::deserialize(from)?.map(T::of))
}

fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    String::deserialize(from).map(original)
}

fn maybe_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(original))
}

/// A list, where "none" is told as null.
pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(from)?.unwrap_or_default())
}

/// A conversation: what writes to it need, and what readers see.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Conv {
    #[serde(deserialize_with = "raw")]
    pub(crate) tenant: TenantId,
    #[serde(deserialize_with = "raw")]
    pub(crate) id: ConversationId,
    pub(crate) part: i64,
    #[serde(rename = "agent_id", deserialize_with = "raw")]
    pub(crate) agent: AgentId,
    #[serde(rename = "user_id", deserialize_with = "maybe_raw")]
    pub(crate) user: Option<UserId>,
    #[serde(deserialize_with = "maybe_text")]
    pub(crate) app_key: Option<String>,
    pub(crate) last_seq: u64,
    pub(crate) queue_start: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) last_at: Option<Timestamp>,
    pub(crate) rev: i64,
    pub(crate) epoch: u64,
    #[serde(deserialize_with = "maybe_raw")]
    pub(crate) holder: Option<WorkerId>,
    pub(crate) expires_at: Option<Timestamp>,
    /// How long a lease lasts, as its worker asked.
    pub(crate) ttl_us: Option<i64>,
    /// The oldest run that has not ended.
    #[serde(deserialize_with = "maybe_raw")]
    pub(crate) head: Option<RunId>,
    /// The user's time zone.
    #[serde(default, deserialize_with = "maybe_text")]
    pub(crate) zone: Option<String>,
    /// Whether the pair has its copies of the agent's block templates.
    #[serde(default)]
    pub(crate) has_met: bool,
    #[serde(default)]
    summary: Option<String>,
    #[serde(default, deserialize_with = "maybe_text")]
    prefix: Option<String>,
}

/// Conversations as [`Conv`] reads them, with their heads; a `WHERE` on `c` follows.
pub(crate) const CONV: &str = "SELECT c.*, u.timezone AS zone, p.has_met, h.summary, h.prefix FROM sid.conversations c
    JOIN sid.partitions p ON p.tenant = c.tenant AND p.part = c.part
    JOIN sid.conversation_heads h ON h.tenant = c.tenant AND h.conv = c.id
    LEFT JOIN sid.users u ON u.tenant = c.tenant AND u.id = c.user_id";

impl Conv {
    /// Whose memory its messages are.
    pub(crate) const fn owner(&self) -> Owner {
        Owner::of_conversation(self.agent, self.user)
    }

    /// The scope of a turn in it.
    pub(crate) fn turn_scope(&self) -> Scope {
        turn_scope(self.tenant, self.agent, self.user)
    }

    pub(crate) fn conversation(self) -> Result<Conversation> {
        let summary = self.summary.as_deref().map_or_else(|| Ok(sid_types::RecursiveSummary::default()), serde_json::from_str)?;
        Ok(Conversation {
            id: self.id,
            agent: self.agent,
            user: self.user,
            key: self.app_key,
            last_seq: Seq(self.last_seq),
            queue_start: Seq(self.queue_start),
            summary,
            prefix: self.prefix,
            created_at: self.created_at,
            last_at: self.last_at,
        })
    }
}

/// The scope of a turn of this agent with this user.
pub(crate) fn turn_scope(tenant: TenantId, agent: AgentId, user: Option<UserId>) -> Scope {
    #[allow(clippy::disallowed_methods, reason = "the store states what a lease's turn may see: its own agent and user")]
    Scope::grant(tenant, Principal::Turn { agent, user })
}

/// A run's row.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RunRow {
    #[serde(deserialize_with = "raw")]
    pub(crate) id: RunId,
    #[serde(deserialize_with = "raw")]
    pub(crate) conv: ConversationId,
    status: i16,
    stop_reason: Option<String>,
    #[serde(deserialize_with = "maybe_text")]
    error: Option<String>,
    limits: String,
    steps: u32,
    usage: String,
    commits: u64,
    commit_epoch: u64,
    cancel: bool,
    stimulus: Vec<Uuid>,
    waiting: Option<String>,
    calls: Option<String>,
    events: u64,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

/// A run with what its journal keeps beside it.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    pub(crate) run: Run,
    pub(crate) commit_epoch: u64,
    /// Events so far.
    pub(crate) events: u64,
    /// Messages that wait for the first claim.
    pub(crate) waiting: Vec<NewMessage>,
    pub(crate) calls: Vec<PlannedCall>,
}

impl RunRow {
    pub(crate) fn journal(self, agent: AgentId) -> Result<Journal> {
        let waiting = self.waiting.map_or_else(|| Ok(Vec::new()), |w| serde_json::from_str(&w))?;
        let calls = self.calls.map_or_else(|| Ok(Vec::new()), |c| serde_json::from_str(&c))?;
        let terms: RunTerms = serde_json::from_str(&self.limits)?;
        let run = Run {
            id: self.id,
            conversation: self.conv,
            agent,
            status: status(self.status)?,
            stop_reason: self.stop_reason.map(|w| from_word(&w)).transpose()?,
            error: self.error,
            limits: terms.limits,
            priority: terms.priority,
            client_tools: terms.client_tools,
            steps: self.steps,
            usage: serde_json::from_str(&self.usage)?,
            commits: self.commits,
            cancel_requested: self.cancel,
            stimulus: self.stimulus.into_iter().map(MessageId::from_uuid).collect(),
            created_at: self.created_at,
            started_at: self.started_at,
            ended_at: self.ended_at,
        };
        Ok(Journal { run, commit_epoch: self.commit_epoch, events: self.events, waiting, calls })
    }
}

/// What a body has beside its text.
#[derive(Default, Serialize, Deserialize)]
struct Extra {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_error: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    quotes: Vec<MessageId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    untrusted: Vec<Source>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    approved: Option<Box<ApprovedCall>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sender: Option<Box<Sender>>,
}

/// The `extra` column of a message.
pub(crate) fn extra(message: &Message) -> Result<Option<String>> {
    let is_plain = message.untrusted.is_empty() && message.approved.is_none() && message.sender.is_none();
    let mut extra = match &message.body {
        Body::User { .. } | Body::Note { .. } if is_plain => return Ok(None),
        Body::User { .. } | Body::Note { .. } => Extra::default(),
        Body::Assistant { reasoning: None, tool_calls, .. } if tool_calls.is_empty() && is_plain => return Ok(None),
        Body::Assistant { reasoning, tool_calls, .. } => {
            Extra { reasoning: reasoning.clone(), tool_calls: tool_calls.clone(), ..Extra::default() }
        }
        Body::Tool { call_id, name, is_error, quotes, .. } => Extra {
            call_id: Some(call_id.clone()),
            name: Some(name.clone()),
            is_error: *is_error,
            quotes: quotes.clone(),
            ..Extra::default()
        },
    };
    extra.untrusted.clone_from(&message.untrusted);
    extra.approved.clone_from(&message.approved);
    extra.sender.clone_from(&message.sender);
    to_json(&extra).map(Some)
}

fn read_extra(extra: Option<&str>) -> Result<Extra> {
    Ok(extra.map_or_else(|| Ok(Extra::default()), serde_json::from_str)?)
}

fn body(role: i16, text: String, extra: Extra) -> Result<Body> {
    Ok(match role {
        0 => Body::User { text },
        1 => Body::Assistant { text, reasoning: extra.reasoning, tool_calls: extra.tool_calls },
        2 => Body::Tool {
            call_id: extra.call_id.unwrap_or_default(),
            name: extra.name.unwrap_or_default(),
            text,
            is_error: extra.is_error,
            quotes: extra.quotes,
        },
        3 => Body::Note { text },
        other => return Err(damaged(format!("a message has role {other}")).into()),
    })
}

/// A message's row.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct MessageRow {
    #[serde(deserialize_with = "raw")]
    pub(crate) id: MessageId,
    #[serde(deserialize_with = "raw")]
    pub(crate) conv: ConversationId,
    pub(crate) seq: u64,
    #[serde(deserialize_with = "maybe_raw")]
    pub(crate) run: Option<RunId>,
    pub(crate) role: i16,
    #[serde(deserialize_with = "text")]
    pub(crate) text: String,
    pub(crate) extra: Option<String>,
    #[serde(deserialize_with = "maybe_text")]
    pub(crate) speaker: Option<String>,
    pub(crate) at: Timestamp,
    pub(crate) tokens: Option<u32>,
}

impl MessageRow {
    /// From columns in the order of the fields.
    pub(crate) fn read(row: &PgRow) -> Result<Self> {
        Ok(Self {
            id: row.id(0)?,
            conv: row.id(1)?,
            seq: row.count(2)?,
            run: row.maybe_id(3)?,
            role: row.small(4)?,
            text: row.text(5)?,
            extra: sqlx::Row::try_get_unchecked(row, 6)?,
            speaker: row.maybe_text(7)?,
            at: row.time(8)?,
            tokens: row.maybe_int(9)?.and_then(|n| u32::try_from(n).ok()),
        })
    }

    pub(crate) fn message(self) -> Result<Message> {
        let mut extra = read_extra(self.extra.as_deref())?;
        let (untrusted, approved, sender) = (std::mem::take(&mut extra.untrusted), extra.approved.take(), extra.sender.take());
        Ok(Message {
            id: self.id,
            conversation: self.conv,
            seq: Seq(self.seq),
            run: self.run,
            body: body(self.role, self.text, extra)?,
            speaker: self.speaker,
            at: self.at,
            tokens: self.tokens.map(Tokens),
            untrusted,
            approved,
            sender,
        })
    }
}

/// An agent's row.
#[derive(Debug, Deserialize)]
pub(crate) struct AgentRow {
    #[serde(deserialize_with = "raw")]
    id: AgentId,
    spec: String,
    teams: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl AgentRow {
    pub(crate) fn agent(self) -> Result<Agent> {
        let (spec, teams) = (serde_json::from_str(&self.spec)?, serde_json::from_str(&self.teams)?);
        Ok(Agent { id: self.id, spec, teams, created_at: self.created_at, updated_at: self.updated_at })
    }
}

/// A user's row.
#[derive(Debug, Deserialize)]
pub(crate) struct UserRow {
    #[serde(deserialize_with = "raw")]
    id: UserId,
    #[serde(deserialize_with = "text")]
    handle: String,
    #[serde(deserialize_with = "text")]
    display_name: String,
    #[serde(deserialize_with = "maybe_text")]
    timezone: Option<String>,
    #[serde(default)]
    quiet_hours: Option<QuietHours>,
    created_at: Timestamp,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        let UserRow { id, handle, display_name, timezone, quiet_hours, created_at } = row;
        Self { id, handle, display_name, timezone, quiet_hours, created_at }
    }
}

/// A team's row.
#[derive(Debug, Deserialize)]
pub(crate) struct TeamRow {
    #[serde(deserialize_with = "raw")]
    id: TeamId,
    #[serde(deserialize_with = "text")]
    name: String,
    created_at: Timestamp,
    #[serde(deserialize_with = "maybe_raw")]
    parent: Option<TeamId>,
}

/// A team's row, with what the user of a turn is in it.
#[derive(Debug, Deserialize)]
pub(crate) struct MemberRow {
    #[serde(flatten)]
    team: TeamRow,
    role: i16,
    is_direct: bool,
}

impl MemberRow {
    pub(crate) fn membership(self, user: &User) -> Result<Membership> {
        Ok(Membership { team: self.team.into(), user: user.clone(), role: team_role(self.role)?, is_direct: self.is_direct })
    }
}

pub(crate) fn team_role(number: i16) -> Result<TeamRole> {
    match number {
        0 => Ok(TeamRole::Member),
        1 => Ok(TeamRole::Lead),
        other => Err(damaged(format!("a user is in a team with role {other}")).into()),
    }
}

impl From<TeamRow> for Team {
    fn from(row: TeamRow) -> Self {
        Self { id: row.id, name: row.name, parent: row.parent, created_at: row.created_at }
    }
}

/// A block's row, with its owner and, for a turn, what a link says.
#[derive(Debug, Deserialize)]
pub(crate) struct BlockRow {
    #[serde(deserialize_with = "raw")]
    id: BlockId,
    pub(crate) kind: i16,
    pub(crate) a: Uuid,
    pub(crate) b: Uuid,
    #[serde(deserialize_with = "text")]
    label: String,
    #[serde(deserialize_with = "text")]
    description: String,
    #[serde(deserialize_with = "text")]
    value: String,
    limit_chars: u32,
    version: u64,
    updated_at: Timestamp,
    #[serde(default)]
    pub(crate) link: Option<i16>,
}

impl BlockRow {
    pub(crate) fn block(self) -> Result<Block, StoreError> {
        Ok(Block {
            id: self.id,
            owner: owner_of(self.kind, self.a, self.b)?,
            label: self.label,
            description: self.description,
            value: self.value,
            limit_chars: self.limit_chars,
            access: BlockAccess::Write,
            version: self.version,
            updated_at: self.updated_at,
        })
    }

    /// What a link to the reading agent says.
    pub(crate) fn linked(&self) -> Option<BlockAccess> {
        self.link.map(|access| if access == 0 { BlockAccess::Read } else { BlockAccess::Write })
    }
}

/// A text for a JSON payload.
pub(crate) fn told(text: &str) -> String {
    clean(text).into_owned()
}
