//! What several resources have in common on the wire. These are Sid's public JSON: stores' and engine's types are converted by hand.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use sid_store::{PageRequest, StoreError};
use sid_types::{
    AgentId, ApprovalId, Body, ConversationId, Event, EventBody, Message, MessageId, Owner, PassageId, Provenance, Recollection, Run,
    RunId, RunLimits, RunStatus, Source, Step, StopReason, TeamId, Timestamp, ToolCall, Usage, UserId,
};
use utoipa::{IntoParams, ToSchema};

use super::names::Names;
use crate::error::ApiError;

/// Part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    /// The items.
    pub(crate) items: Vec<T>,
    /// Give it back as `after` to read on; `null` = there is nothing more.
    pub(crate) next: Option<String>,
}

impl<T> List<T> {
    pub(crate) fn of<S>(page: sid_store::Page<S>) -> Self
    where
        T: From<S>,
    {
        Self { items: page.items.into_iter().map(T::from).collect(), next: page.next }
    }

    /// A whole list, for what is never long.
    pub(crate) fn whole<S>(items: Vec<S>) -> Self
    where
        T: From<S>,
    {
        Self { items: items.into_iter().map(T::from).collect(), next: None }
    }
}

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// `next` of the page before.
    pub(crate) after: Option<String>,
    /// Most items, 1 to 1000. Default 50.
    pub(crate) limit: Option<usize>,
}

pub(crate) const DEFAULT_LIMIT: usize = 50;
pub(crate) const MAX_LIMIT: usize = 1_000;

pub(crate) fn limit_of(limit: Option<usize>) -> Result<usize, ApiError> {
    match limit {
        None => Ok(DEFAULT_LIMIT),
        Some(n) if (1..=MAX_LIMIT).contains(&n) => Ok(n),
        Some(n) => Err(ApiError::bad_request(format!("limit must be 1 to {MAX_LIMIT}, not {n}"))),
    }
}

impl Paging {
    pub(crate) fn request(self) -> Result<PageRequest, ApiError> {
        Ok(PageRequest { after: self.after, limit: limit_of(self.limit)? })
    }
}

/// What kind of owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OwnerType {
    /// Everybody in the tenant.
    Tenant,
    /// Members of `team`.
    Team,
    /// `user`, through every agent.
    User,
    /// Every user of `agent`.
    Agent,
    /// What `agent` knows of `user`.
    Pair,
}

/// Whose memory it is. `team`, `user` and `agent` are ids or `@name`s.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnerJson {
    /// What kind of owner.
    pub(crate) r#type: OwnerType,
    /// For `team`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) team: Option<String>,
    /// For `user` and `pair`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// For `agent` and `pair`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<String>,
}

impl OwnerJson {
    /// Looks the names up.
    pub(crate) async fn resolve(&self, names: &Names<'_>) -> Result<Owner, ApiError> {
        let missing = |field: &str| ApiError::bad_request(format!("an owner of this type needs `{field}`"));
        let extra = |field: &str| ApiError::bad_request(format!("an owner of this type has no `{field}`"));
        let (needs_team, needs_user, needs_agent) = match self.r#type {
            OwnerType::Tenant => (false, false, false),
            OwnerType::Team => (true, false, false),
            OwnerType::User => (false, true, false),
            OwnerType::Agent => (false, false, true),
            OwnerType::Pair => (false, true, true),
        };
        for (needed, given, field) in
            [(needs_team, &self.team, "team"), (needs_user, &self.user, "user"), (needs_agent, &self.agent, "agent")]
        {
            match (needed, given) {
                (true, None) => return Err(missing(field)),
                (false, Some(_)) => return Err(extra(field)),
                _ => {}
            }
        }
        let team = self.team.as_deref().unwrap_or_default();
        let user = self.user.as_deref().unwrap_or_default();
        let agent = self.agent.as_deref().unwrap_or_default();
        Ok(match self.r#type {
            OwnerType::Tenant => Owner::Tenant,
            OwnerType::Team => Owner::Team { team: names.team(team).await? },
            OwnerType::User => Owner::User { user: names.user(user).await? },
            OwnerType::Agent => Owner::Agent { agent: names.agent(agent).await? },
            OwnerType::Pair => Owner::Pair { agent: names.agent(agent).await?, user: names.user(user).await? },
        })
    }
}

impl From<Owner> for OwnerJson {
    fn from(owner: Owner) -> Self {
        let of = |r#type, team: Option<TeamId>, user: Option<UserId>, agent: Option<AgentId>| Self {
            r#type,
            team: team.map(|t| t.to_string()),
            user: user.map(|u| u.to_string()),
            agent: agent.map(|a| a.to_string()),
        };
        match owner {
            Owner::Tenant => of(OwnerType::Tenant, None, None, None),
            Owner::Team { team } => of(OwnerType::Team, Some(team), None, None),
            Owner::User { user } => of(OwnerType::User, None, Some(user), None),
            Owner::Agent { agent } => of(OwnerType::Agent, None, None, Some(agent)),
            Owner::Pair { agent, user } => of(OwnerType::Pair, None, Some(user), Some(agent)),
        }
    }
}

/// Where a memory came from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProvenanceJson {
    /// The conversation in which it was written.
    #[schema(value_type = Option<String>)]
    conversation: Option<ConversationId>,
    /// The run that wrote it.
    #[schema(value_type = Option<String>)]
    run: Option<RunId>,
    /// The user who wrote it, or for whom it was written.
    #[schema(value_type = Option<String>)]
    user: Option<UserId>,
    /// How it came: `tool`, `api`, `import`, `template`, `undo`, `consolidation`.
    channel: String,
    /// `trusted`, or `untrusted` where whoever wrote it had read one of `untrusted`.
    trust: &'static str,
    /// Sources that are not trusted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    untrusted: Vec<SourceJson>,
    /// The messages of the conversation that it is drawn from; empty for what was written as it is.
    #[schema(value_type = Vec<String>)]
    sources: Vec<MessageId>,
    /// The passage that has taken its place: what it says was true until then.
    #[schema(value_type = Option<String>)]
    superseded_by: Option<PassageId>,
}

impl From<Provenance> for ProvenanceJson {
    fn from(p: Provenance) -> Self {
        Self {
            conversation: p.conversation,
            run: p.run,
            user: p.user,
            channel: p.channel,
            sources: p.sources,
            superseded_by: p.superseded_by,
            trust: trust_of(&p.untrusted),
            untrusted: p.untrusted.into_iter().map(Into::into).collect(),
        }
    }
}

/// A function call that a model asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToolCallJson {
    id: String,
    name: String,
    #[schema(value_type = Object)]
    arguments: serde_json::Map<String, serde_json::Value>,
    /// Whether the caller answers it, with `results`; left out where Sid does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    for_client: bool,
}

impl From<ToolCall> for ToolCallJson {
    fn from(c: ToolCall) -> Self {
        Self { id: c.id, name: c.name, arguments: c.arguments, for_client: c.for_client }
    }
}

/// A message in its place.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessageJson {
    #[schema(value_type = String)]
    pub(crate) id: MessageId,
    #[schema(value_type = String)]
    pub(crate) conversation: ConversationId,
    /// Its place in the conversation: dense, from 1.
    pub(crate) seq: u64,
    /// The run that it belongs to; `null` for imports.
    #[schema(value_type = Option<String>)]
    pub(crate) run: Option<RunId>,
    /// `user`, `assistant`, `tool` or `note`.
    pub(crate) role: &'static str,
    pub(crate) text: String,
    /// The model's reasoning, for people who debug.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    /// An assistant's calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCallJson>,
    /// For `tool`: the call it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<String>,
    /// For `tool`: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// For `tool`: whether the call failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_error: Option<bool>,
    /// Who spoke, where the role does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    speaker: Option<String>,
    /// When it was said.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Its size in a prompt, if it was counted.
    tokens: Option<u32>,
    /// Whether what it says may be followed: not where it came from one of `untrusted`, or was written by who had read them.
    trust: &'static str,
    /// Sources that are not trusted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    untrusted: Vec<SourceJson>,
}

/// A source that is not trusted.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SourceJson {
    /// `user`, `tool`, `import`, `agent`, `web` or `api`.
    channel: String,
    /// Which one: a toolset or tool, the host of a page, the name of an import.
    name: String,
}

impl From<Source> for SourceJson {
    fn from(source: Source) -> Self {
        Self { channel: source.channel.name().to_owned(), name: source.name }
    }
}

/// `trusted` without sources.
pub(crate) const fn trust_of(sources: &[Source]) -> &'static str {
    if sources.is_empty() { "trusted" } else { "untrusted" }
}

pub(crate) const fn role_name(role: sid_types::Role) -> &'static str {
    match role {
        sid_types::Role::User => "user",
        sid_types::Role::Assistant => "assistant",
        sid_types::Role::Tool => "tool",
        sid_types::Role::Note => "note",
    }
}

impl From<Message> for MessageJson {
    fn from(m: Message) -> Self {
        let role = role_name(m.body.role());
        let mut out = Self {
            id: m.id,
            conversation: m.conversation,
            seq: m.seq.0,
            run: m.run,
            role,
            text: String::new(),
            reasoning: None,
            tool_calls: Vec::new(),
            call_id: None,
            name: None,
            is_error: None,
            speaker: m.speaker,
            at: m.at,
            tokens: m.tokens.map(|t| t.0),
            trust: trust_of(&m.untrusted),
            untrusted: m.untrusted.into_iter().map(Into::into).collect(),
        };
        match m.body {
            Body::User { text } | Body::Note { text } => out.text = text,
            Body::Assistant { text, reasoning, tool_calls } => {
                out.text = text;
                out.reasoning = reasoning;
                out.tool_calls = tool_calls.into_iter().map(Into::into).collect();
            }
            Body::Tool { call_id, name, text, is_error, .. } => {
                out.text = text;
                out.call_id = Some(call_id);
                out.name = Some(name);
                out.is_error = Some(is_error);
            }
        }
        out
    }
}

/// Tokens used.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct UsageJson {
    /// Tokens of the prompts.
    prompt_tokens: u64,
    /// Tokens of the answers, reasoning included.
    completion_tokens: u64,
    /// Prompt tokens that the engine took from its prefix cache.
    cached_tokens: u64,
    /// Whether Sid counted because the engine did not report.
    is_estimated: bool,
}

impl From<Usage> for UsageJson {
    fn from(u: Usage) -> Self {
        Self {
            prompt_tokens: u.prompt_tokens,
            completion_tokens: u.completion_tokens,
            cached_tokens: u.cached_tokens,
            is_estimated: u.is_estimated,
        }
    }
}

/// What a run may use up.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct LimitsJson {
    max_steps: u32,
    max_tokens: u64,
    max_time_ms: u64,
    max_repeats: u32,
}

impl From<RunLimits> for LimitsJson {
    fn from(l: RunLimits) -> Self {
        Self { max_steps: l.max_steps, max_tokens: l.max_tokens, max_time_ms: l.max_time_ms, max_repeats: l.max_repeats }
    }
}

pub(crate) const fn status_name(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Queued => "queued",
        RunStatus::Running => "running",
        RunStatus::Completed => "completed",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "cancelled",
    }
}

pub(crate) const fn stop_name(reason: StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn => "end_turn",
        StopReason::MaxSteps => "max_steps",
        StopReason::MaxTokens => "max_tokens",
        StopReason::MaxTime => "max_time",
        StopReason::RepeatedCalls => "repeated_calls",
        StopReason::ClientCalls => "client_calls",
        StopReason::RulesUnmet => "rules_unmet",
        StopReason::Cancelled => "cancelled",
        StopReason::InvalidModelOutput => "invalid_model_output",
        StopReason::ModelUnavailable => "model_unavailable",
        StopReason::ModelRefused => "model_refused",
        StopReason::WindowTooSmall => "window_too_small",
        StopReason::Budget => "budget",
        StopReason::Internal => "internal",
    }
}

/// The reaction to one stimulus.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunJson {
    #[schema(value_type = String)]
    pub(crate) id: RunId,
    #[schema(value_type = String)]
    conversation: ConversationId,
    #[schema(value_type = String)]
    agent: AgentId,
    /// `queued`, `running`, `completed`, `failed` or `cancelled`.
    status: &'static str,
    /// Why it ended: `end_turn`, `max_steps`, `max_tokens`, `max_time`, `repeated_calls`, `client_calls`, `rules_unmet`, `cancelled`,
    /// `invalid_model_output`, `model_unavailable`, `model_refused`, `window_too_small`, `budget`, `internal`.
    stop_reason: Option<&'static str>,
    /// What failed, in words.
    error: Option<String>,
    limits: LimitsJson,
    /// What woke the agent: `user`, `task`, `timer` or `heartbeat`. Of runs that wait, the next one is chosen by it.
    priority: &'static str,
    /// Steps that were committed.
    steps: u32,
    usage: UsageJson,
    cancel_requested: bool,
    /// The messages that it reacts to.
    #[schema(value_type = Vec<String>)]
    stimulus: Vec<MessageId>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
}

impl From<Run> for RunJson {
    fn from(r: Run) -> Self {
        Self {
            id: r.id,
            conversation: r.conversation,
            agent: r.agent,
            status: status_name(r.status),
            stop_reason: r.stop_reason.map(stop_name),
            error: r.error,
            limits: r.limits.into(),
            priority: r.priority.as_str(),
            steps: r.steps,
            usage: r.usage.into(),
            cancel_requested: r.cancel_requested,
            stimulus: r.stimulus,
            created_at: r.created_at,
            started_at: r.started_at,
            ended_at: r.ended_at,
        }
    }
}

/// A memory that was recalled for a prompt.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScoredId {
    id: String,
    score: f32,
}

/// One model call with its tool calls and its commit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepJson {
    id: String,
    /// Counts from 1 in its run.
    number: u32,
    usage: UsageJson,
    /// How tool calls were got: `native`, `salvaged`, `structured`, `text` or `none`.
    rung: String,
    first_token_ms: u64,
    total_ms: u64,
    /// The volatile end of the prompt, as it was sent.
    tail: Option<String>,
    /// The first message of the queue that was in the prompt.
    queue_from: u64,
    /// The last one.
    queue_to: u64,
    /// What was recalled, best first.
    recalled: Vec<ScoredId>,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

impl From<Step> for StepJson {
    fn from(s: Step) -> Self {
        Self {
            id: s.id.to_string(),
            number: s.number,
            usage: s.usage.into(),
            rung: s.rung,
            first_token_ms: s.first_token_ms,
            total_ms: s.total_ms,
            tail: s.tail,
            queue_from: s.queue.0,
            queue_to: s.queue.1,
            recalled: s.recalled.into_iter().map(|(id, score)| ScoredId { id, score }).collect(),
            at: s.at,
        }
    }
}

/// What one signal added to a score.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WhyJson {
    signal: String,
    score: f32,
}

impl From<(String, f32)> for WhyJson {
    fn from((signal, score): (String, f32)) -> Self {
        Self { signal, score }
    }
}

/// A memory that automatic recall put into the prompt.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecalledJson {
    /// Message, passage or diary id.
    id: String,
    /// The fused score.
    score: f32,
    /// What each signal added to the score.
    why: Vec<WhyJson>,
    /// As it stands in the prompt.
    text: String,
}

impl From<Recollection> for RecalledJson {
    fn from(r: Recollection) -> Self {
        Self { id: r.id, score: r.score, why: r.why.into_iter().map(Into::into).collect(), text: r.text }
    }
}

/// One thing that happened in a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventJson {
    #[schema(value_type = String)]
    run: RunId,
    /// Dense in its run, from 1; the `id:` of the stream.
    pub(crate) seq: u64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[serde(flatten)]
    body: EventBodyJson,
}

/// What happened; `event` is also the `event:` name of the stream.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum EventBodyJson {
    /// A worker took the run up, or asked the model anew. Said a second time in a run, text deltas of the step that was under way
    /// are void. `epoch` is that of the worker's lease.
    Started { epoch: u64 },
    /// What was recalled for this turn.
    Recalled { items: Vec<RecalledJson>, prompt_tokens: u32, window_tokens: u32 },
    /// A piece of the answer's text.
    TextDelta { text: String },
    /// A piece of the model's reasoning.
    ReasoningDelta { text: String },
    /// A call was planned.
    ToolCall { call: ToolCallJson },
    /// A message was committed: the answer, or a tool's result.
    Message { message: Box<MessageJson> },
    /// A call waits for somebody's word: `POST /approvals/{approval}`. Nothing of it has been done.
    ApprovalAsked {
        #[schema(value_type = String)]
        approval: ApprovalId,
        call: ToolCallJson,
        reason: String,
    },
    /// Messages left the queue.
    PageOut { messages: u64, queue_start: u64, is_floor: bool },
    /// A step was committed.
    Step { number: u32, usage: UsageJson, rung: String },
    /// The run ended. Always the last event.
    Done { status: &'static str, stop_reason: &'static str, error: Option<String>, usage: UsageJson },
}

impl From<Event> for EventJson {
    fn from(e: Event) -> Self {
        let body = match e.body {
            EventBody::Started { epoch } => EventBodyJson::Started { epoch },
            EventBody::Recalled { items, prompt_tokens, window_tokens } => {
                EventBodyJson::Recalled { items: items.into_iter().map(Into::into).collect(), prompt_tokens, window_tokens }
            }
            EventBody::TextDelta { text } => EventBodyJson::TextDelta { text },
            EventBody::ReasoningDelta { text } => EventBodyJson::ReasoningDelta { text },
            EventBody::ToolCall { call } => EventBodyJson::ToolCall { call: call.into() },
            EventBody::Message { message } => EventBodyJson::Message { message: Box::new((*message).into()) },
            EventBody::ApprovalAsked { approval, call, reason } => EventBodyJson::ApprovalAsked { approval, call: call.into(), reason },
            EventBody::PageOut { messages, queue_start, is_floor } => EventBodyJson::PageOut { messages, queue_start, is_floor },
            EventBody::Step { number, usage, rung } => EventBodyJson::Step { number, usage: usage.into(), rung },
            EventBody::Done { status, stop_reason, error, usage } => {
                EventBodyJson::Done { status: status_name(status), stop_reason: stop_name(stop_reason), error, usage: usage.into() }
            }
        };
        Self { run: e.run, seq: e.seq, at: e.at, body }
    }
}

/// Parses an id of a kind that has no names; anything else is as unknown as a random id.
pub(crate) fn parse_id<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, ApiError> {
    text.parse().map_err(|_| StoreError::NotFound { what }.into())
}

/// Free text pairs.
pub(crate) type Metadata = BTreeMap<String, String>;

/// `If-Match` as a version: `7`, `"7"` or `W/"7"`; `*` is any.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let digits = text.trim_start_matches("W/").trim_matches('"');
    digits.parse().map(Some).map_err(|_| ApiError::bad_request("If-Match must be a version number, such as \"7\""))
}

/// What came of a write that was to happen only if nobody was faster: 412 when somebody was. Without a version it is the ordinary 409.
pub(crate) fn precondition<T, E: Into<ApiError>>(done: Result<T, E>, expected: Option<u64>) -> Result<T, ApiError> {
    done.map_err(|error| {
        let error = error.into();
        let is_late = expected.is_some() && error.code == "SID-STORE-CONFLICT";
        if is_late { error.status(StatusCode::PRECONDITION_FAILED) } else { error }
    })
}
