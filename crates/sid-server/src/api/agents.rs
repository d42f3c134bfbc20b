//! Agents of a tenant.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use sid_core::CoreError;
use sid_store::EraseTarget;
use sid_types::{Agent, AgentId, AgentSpec, Approvals, Ask, BlockTemplate, Scope, TeamId, Timestamp, Tokens};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::colleagues::meant;
use super::erase::ReceiptJson;
use super::initiative::{self, CapsJson, HeartrateJson};
use super::names::{Names, check_name, check_text};
use super::tool_rules::{self, ToolRuleJson};
use super::users::present;
use super::wire::{List, Metadata, Paging};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::idempotency;

const DEFAULT_BLOCK_LIMIT: u32 = 2_000;
/// Most rules of when to ask.
const MOST_RULES: usize = 200;
/// How long a question may wait, in milliseconds.
const TTLS: std::ops::RangeInclusive<u64> = 60_000..=34_560_000_000;
/// Most tags.
const MOST_TAGS: usize = 20;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create_agent, list_agents)).routes(routes!(get_agent, update_agent, erase_agent))
}

/// A block that each (agent, user) pair gets a copy of at first contact.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TemplateJson {
    /// The name the model uses.
    label: String,
    /// What the block is for; shown to the model.
    #[serde(default)]
    description: String,
    /// The first value.
    #[serde(default)]
    value: String,
    /// Most characters of the value. Default 2000.
    #[serde(default = "default_block_limit")]
    limit_chars: u32,
}

const fn default_block_limit() -> u32 {
    DEFAULT_BLOCK_LIMIT
}

/// When a call needs somebody's word before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AskJson {
    /// Each time.
    Always,
    /// Never, whatever the run has read.
    Never,
    /// When the run has read text from outside.
    Tainted,
}

impl From<Ask> for AskJson {
    fn from(ask: Ask) -> Self {
        match ask {
            Ask::Always => Self::Always,
            Ask::Never => Self::Never,
            Ask::Tainted => Self::Tainted,
        }
    }
}

impl From<AskJson> for Ask {
    fn from(ask: AskJson) -> Self {
        match ask {
            AskJson::Always => Self::Always,
            AskJson::Never => Self::Never,
            AskJson::Tainted => Self::Tainted,
        }
    }
}

impl From<BlockTemplate> for TemplateJson {
    fn from(b: BlockTemplate) -> Self {
        Self { label: b.label, description: b.description, value: b.value, limit_chars: b.limit_chars }
    }
}

/// An agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentJson {
    #[schema(value_type = String)]
    pub(crate) id: AgentId,
    /// Unique inside the tenant; also its model name at the OpenAI door.
    pub(crate) name: String,
    /// Persona and rules, given to the model as system instructions.
    instructions: String,
    /// The name of a configured model.
    model: String,
    /// Window to use, in tokens; the model's own when `null`.
    context_window: Option<u32>,
    /// Most tokens of one answer; a share of the window when `null`.
    max_output: Option<u32>,
    temperature: Option<f32>,
    /// Blocks that each user's pair with this agent starts with.
    blocks: Vec<TemplateJson>,
    /// Names of the tools that are offered; `null` = all memory tools.
    tools: Option<Vec<String>>,
    /// Whether it works on tasks.
    tasks: bool,
    /// Agents that it may hand work to.
    #[schema(value_type = Vec<String>)]
    reaches: Vec<AgentId>,
    /// Agents that it may speak with: ids of agents and teams, and `tag:NAME`s.
    colleagues: Vec<String>,
    /// Agents whose words are no text from outside for it.
    trusts: Vec<String>,
    /// What others call it by in their `colleagues` and `trusts`.
    tags: Vec<String>,
    /// When tools may be called, and when they must.
    tool_rules: Vec<ToolRuleJson>,
    /// Teams whose shared memory it may read for users who are members.
    #[schema(value_type = Vec<String>)]
    teams: Vec<TeamId>,
    /// When its calls need somebody's word: name of a tool, or pattern with `*` -> `always`, `never` or `tainted` (when the run has read text
    /// from outside). What no rule names goes by what the tool says; what says nothing is `tainted` where it has effects outside.
    approvals: BTreeMap<String, AskJson>,
    /// How long such a question waits for an answer, in milliseconds; as long as the server's settings say when `null`.
    approval_ttl_ms: Option<u64>,
    /// The configured model that summarises and consolidates for it in the background; the one that its model's configuration names when `null`.
    background_model: Option<String>,
    /// How often it wakes by itself, for each user that it has had a run with; never when `null`.
    heartrate: Option<HeartrateJson>,
    /// Quiet hours of users who have said nothing of theirs, such as `22:00-07:00`.
    quiet_hours: Option<String>,
    /// Most of what it begins by itself.
    caps: CapsJson,
    /// Free text pairs for the application; never shown to a model.
    metadata: Metadata,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Agent> for AgentJson {
    fn from(a: Agent) -> Self {
        Self {
            id: a.id,
            name: a.spec.name,
            instructions: a.spec.instructions,
            model: a.spec.model,
            context_window: a.spec.context_window.map(|t| t.0),
            max_output: a.spec.max_output.map(|t| t.0),
            temperature: a.spec.temperature,
            blocks: a.spec.blocks.into_iter().map(Into::into).collect(),
            tools: a.spec.tools,
            tasks: a.spec.tasks,
            reaches: a.spec.reaches,
            colleagues: a.spec.colleagues.iter().map(ToString::to_string).collect(),
            trusts: a.spec.trusts.iter().map(ToString::to_string).collect(),
            tags: a.spec.tags,
            tool_rules: a.spec.tool_rules.into_iter().map(Into::into).collect(),
            teams: a.teams,
            approvals: a.spec.approvals.0.into_iter().map(|(tool, ask)| (tool, ask.into())).collect(),
            approval_ttl_ms: a.spec.approval_ttl_ms,
            background_model: a.spec.background_model,
            heartrate: a.spec.heartrate.map(Into::into),
            quiet_hours: a.spec.quiet_hours.map(|hours| hours.to_string()),
            caps: a.spec.caps.into(),
            metadata: a.spec.metadata,
            created_at: a.created_at,
            updated_at: a.updated_at,
        }
    }
}

/// All that may be set, each field on its own; `null` takes a value back where it may be missing.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AgentPatch {
    #[serde(default)]
    name: Option<String>,
    /// Persona and rules.
    #[serde(default)]
    instructions: Option<String>,
    /// The name of a configured model; the server's default when left out.
    #[serde(default)]
    model: Option<String>,
    /// Window to use, in tokens.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    context_window: Option<Option<u32>>,
    /// Most tokens of one answer.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    max_output: Option<Option<u32>>,
    /// Sampling temperature, 0 to 2.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<f32>)]
    temperature: Option<Option<f32>>,
    /// Blocks for pairs that have not met yet; `persona` and `human` when left out at creation.
    #[serde(default)]
    blocks: Option<Vec<TemplateJson>>,
    /// Names of tools; `null` = all memory tools.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    tools: Option<Option<Vec<String>>>,
    /// Whether it works on tasks: its prompts have the task tools then. Default `false`.
    #[serde(default)]
    tasks: Option<bool>,
    /// Ids or `@name`s of agents that it may hand work to. Default none.
    #[serde(default)]
    reaches: Option<Vec<String>>,
    /// Agents that it may ask and send messages to: ids or `@name`s of agents, ids of teams or `team:@name`s (all agents that may read the team), and
    /// `tag:NAME`s; at most 100. Default none.
    #[serde(default)]
    colleagues: Option<Vec<String>>,
    /// Agents, named in the same way, whose words are no text from outside for it. Default none.
    #[serde(default)]
    trusts: Option<Vec<String>>,
    /// What others call it by in their `colleagues` and `trusts`; at most 20.
    #[serde(default)]
    tags: Option<Vec<String>>,
    /// When tools may be called, and when they must; at most 100.
    #[serde(default)]
    tool_rules: Option<Vec<ToolRuleJson>>,
    /// Ids or `@name`s of teams.
    #[serde(default)]
    teams: Option<Vec<String>>,
    /// When calls need somebody's word: name of a tool, or pattern with `*` -> `always`, `never` or `tainted`. All rules at once.
    #[serde(default)]
    approvals: Option<BTreeMap<String, AskJson>>,
    /// How long such a question waits for an answer, in milliseconds: a minute to 400 days.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u64>)]
    approval_ttl_ms: Option<Option<u64>>,
    /// The name of a configured model for work in the background: summaries, diary, consolidation.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    background_model: Option<Option<String>>,
    /// How often it wakes by itself, for each user that it has a run with from now on.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<HeartrateJson>)]
    heartrate: Option<Option<HeartrateJson>>,
    /// Quiet hours of users who have said nothing of theirs, such as `22:00-07:00`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    quiet_hours: Option<Option<String>>,
    /// Most of what it begins by itself. All caps at once.
    #[serde(default)]
    caps: Option<CapsJson>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

impl AgentPatch {
    async fn apply(
        self,
        app: &App,
        scope: &Scope,
        names: &Names<'_>,
        spec: &mut AgentSpec,
        teams: &mut Vec<TeamId>,
    ) -> Result<(), ApiError> {
        if let Some(name) = self.name {
            check_name("name", &name, 255)?;
            // People call both by their names.
            if app.store().egos(scope).await?.iter().any(|ego| ego.name == name) {
                return Err(ApiError::bad_request(format!("there is an ego `{name}` already: choose another name")));
            }
            spec.name = name;
        }
        if let Some(text) = self.instructions {
            check_text("instructions", &text, 100_000)?;
            spec.instructions = text;
        }
        if let Some(model) = self.model {
            if !app.config().models.contains_key(&model) {
                return Err(CoreError::UnknownModel { agent: spec.name.clone(), model }.into());
            }
            spec.model = model;
        }
        if let Some(model) = self.background_model {
            if let Some(unknown) = model.as_ref().filter(|model| !app.config().models.contains_key(*model)) {
                return Err(CoreError::UnknownModel { agent: spec.name.clone(), model: unknown.clone() }.into());
            }
            spec.background_model = model;
        }
        if let Some(rate) = self.heartrate.map(|rate| rate.map(Into::into)) {
            rate.map_or(Ok(()), |rate| app.engine().check_heartrate(rate))?;
            spec.heartrate = rate;
        }
        if let Some(hours) = self.quiet_hours {
            spec.quiet_hours = initiative::quiet_hours(hours.as_deref())?;
        }
        if let Some(caps) = self.caps {
            spec.caps = caps.into();
        }
        if let Some(window) = self.context_window {
            if window.is_some_and(|w| w < 512) {
                return Err(ApiError::bad_request("`context_window` must be at least 512 tokens"));
            }
            spec.context_window = window.map(Tokens);
        }
        if let Some(most) = self.max_output {
            if most == Some(0) {
                return Err(ApiError::bad_request("`max_output` must be at least 1"));
            }
            spec.max_output = most.map(Tokens);
        }
        if let Some(temperature) = self.temperature {
            if temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
                return Err(ApiError::bad_request("`temperature` must be 0 to 2"));
            }
            spec.temperature = temperature;
        }
        if let Some(blocks) = self.blocks {
            spec.blocks = checked_templates(blocks)?;
        }
        let mut has_new_tools = self.tools.is_some();
        if let Some(tools) = self.tools {
            for name in tools.iter().flatten() {
                check_name("tools", name, 64)?;
            }
            spec.tools = tools;
        }
        if let Some(approvals) = self.approvals {
            if approvals.len() > MOST_RULES {
                return Err(ApiError::bad_request(format!("`approvals` has at most {MOST_RULES} rules")));
            }
            for pattern in approvals.keys() {
                check_name("approvals", pattern, 64)?;
            }
            spec.approvals = Approvals(approvals.into_iter().map(|(tool, ask)| (tool, ask.into())).collect());
        }
        if let Some(ttl) = self.approval_ttl_ms {
            if ttl.is_some_and(|ttl| !TTLS.contains(&ttl)) {
                return Err(ApiError::bad_request("`approval_ttl_ms` must be 60000 (a minute) to 34560000000 (400 days)"));
            }
            spec.approval_ttl_ms = ttl;
        }
        if let Some(tasks) = self.tasks {
            spec.tasks = tasks;
        }
        if let Some(wanted) = self.reaches {
            let mut reached = Vec::with_capacity(wanted.len());
            for agent in wanted {
                let id = names.agent(&agent).await?;
                // One that is not there is refused, not kept.
                app.store().agent(scope, id).await?;
                reached.push(id);
            }
            spec.reaches = reached;
        }
        if let Some(wanted) = self.colleagues {
            spec.colleagues = meant(app, names, "colleagues", wanted).await?;
        }
        if let Some(wanted) = self.trusts {
            spec.trusts = meant(app, names, "trusts", wanted).await?;
        }
        if let Some(tags) = self.tags {
            if tags.len() > MOST_TAGS {
                return Err(ApiError::bad_request(format!("`tags` has at most {MOST_TAGS} names")));
            }
            for tag in &tags {
                check_name("tags", tag, 64)?;
            }
            spec.tags = tags;
        }
        if let Some(rules) = self.tool_rules {
            spec.tool_rules = rules.into_iter().map(Into::into).collect();
            has_new_tools = true;
        }
        if has_new_tools {
            tool_rules::check(app, names.scope(), spec).await?;
        }
        if let Some(metadata) = self.metadata {
            for (key, value) in &metadata {
                check_text("metadata", key, 255)?;
                check_text("metadata", value, 10_000)?;
            }
            spec.metadata = metadata;
        }
        if let Some(wanted) = self.teams {
            let mut resolved = Vec::with_capacity(wanted.len());
            for team in wanted {
                resolved.push(names.team(&team).await?);
            }
            *teams = resolved;
        }
        Ok(())
    }
}

/// Templates of blocks, each label once.
pub(super) fn checked_templates(blocks: Vec<TemplateJson>) -> Result<Vec<BlockTemplate>, ApiError> {
    let blocks: Vec<BlockTemplate> = blocks.into_iter().map(checked_template).collect::<Result<_, _>>()?;
    let mut labels: Vec<&str> = blocks.iter().map(|b| b.label.as_str()).collect();
    labels.sort_unstable();
    if labels.windows(2).any(|w| w[0] == w[1]) {
        return Err(ApiError::bad_request("`blocks` has the same label twice"));
    }
    Ok(blocks)
}

fn checked_template(t: TemplateJson) -> Result<BlockTemplate, ApiError> {
    check_name("blocks.label", &t.label, 64)?;
    check_text("blocks.description", &t.description, 2_000)?;
    check_text("blocks.value", &t.value, 1_000_000)?;
    if t.value.chars().count() > t.limit_chars as usize {
        return Err(ApiError::bad_request(format!("block `{}` has a value longer than its limit_chars of {}", t.label, t.limit_chars)));
    }
    Ok(BlockTemplate { label: t.label, description: t.description, value: t.value, limit_chars: t.limit_chars })
}

/// Makes an agent.
#[utoipa::path(post, path = "/agents", tag = "agents", params(("Idempotency-Key" = Option<String>, Header)), request_body(content = AgentPatch, description = "`name` is required"), responses((status = 201, description = "Made", body = AgentJson)))]
async fn create_agent(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Json<AgentPatch>,
) -> Result<(StatusCode, axum::Json<AgentJson>), ApiError> {
    let scope = caller.tenant_scope()?;
    let name = body.value.name.clone().ok_or_else(|| ApiError::bad_request("missing field `name`"))?;
    let mut spec = AgentSpec::new(name, app.config().default_model());
    let mut teams = Vec::new();
    body.value.apply(&app, &scope, &Names::new(app.store(), &scope), &mut spec, &mut teams).await?;
    let derived = idempotency::derived_id(&headers, &caller, "agent")?;
    let id = derived.map_or_else(AgentId::new, AgentId::from_uuid);
    let name = spec.name.clone();
    let make = app.store().create_agent(&scope, id, spec, teams);
    let agent = idempotency::once(derived, || app.store().agent(&scope, id), |a| a.spec.name == name, make).await?;
    Ok((StatusCode::CREATED, axum::Json(agent.into())))
}

/// Agents, oldest first.
#[utoipa::path(get, path = "/agents", tag = "agents", params(Paging), responses((status = 200, description = "A page of agents", body = List<AgentJson>)))]
async fn list_agents(
    State(app): State<App>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<axum::Json<List<AgentJson>>, ApiError> {
    Ok(axum::Json(List::of(app.store().agents(&caller.scope()?, paging.request()?).await?)))
}

/// One agent.
#[utoipa::path(get, path = "/agents/{id}", tag = "agents", params(("id" = String, Path, description = "Id or `@name`")), responses((status = 200, description = "The agent", body = AgentJson)))]
async fn get_agent(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<AgentJson>, ApiError> {
    let scope = caller.scope()?;
    let id = Names::new(app.store(), &scope).agent(&id).await?;
    Ok(axum::Json(app.store().agent(&scope, id).await?.into()))
}

/// Changes an agent; in force from the next turn on.
#[utoipa::path(patch, path = "/agents/{id}", tag = "agents", params(("id" = String, Path, description = "Id or `@name`")), request_body = AgentPatch, responses((status = 200, description = "Changed", body = AgentJson)))]
async fn update_agent(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: Json<AgentPatch>,
) -> Result<axum::Json<AgentJson>, ApiError> {
    let scope = caller.tenant_scope()?;
    let names = Names::new(app.store(), &scope);
    let agent = app.store().agent(&scope, names.agent(&id).await?).await?;
    let (mut spec, mut teams) = (agent.spec, agent.teams);
    body.value.apply(&app, &scope, &names, &mut spec, &mut teams).await?;
    Ok(axum::Json(app.store().update_agent(&scope, agent.id, spec, teams).await?.into()))
}

/// Erases an agent with all its conversations and memory; answers the receipt.
#[utoipa::path(delete, path = "/agents/{id}", tag = "agents", params(("id" = String, Path, description = "Id or `@name`")), responses((status = 200, description = "Erased", body = ReceiptJson)))]
async fn erase_agent(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<ReceiptJson>, ApiError> {
    let scope = caller.tenant_scope()?;
    let id = Names::new(app.store(), &scope).agent(&id).await?;
    // The log of erasures is to name nothing that the caller may not erase.
    app.store().agent(&scope, id).await?;
    Ok(axum::Json(app.erase(&scope, EraseTarget::Agent(id)).await?.into()))
}
