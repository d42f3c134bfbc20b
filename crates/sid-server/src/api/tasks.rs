//! Tasks of agents.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use sid_core::NewTask;
use sid_store::TaskFilter;
use sid_types::{Acceptance, RunId, Task, TaskBudget, TaskCreator, TaskId, TaskState, Timestamp};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::names::{Names, check_name, check_text};
use super::wire::{List, Paging, SourceJson, parse_id, trust_of};
use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::idempotency;

const LONGEST: usize = 32_000;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_task, list_tasks))
        .routes(routes!(get_task))
        .routes(routes!(plan_task))
        .routes(routes!(answer_task))
        .routes(routes!(cancel_task))
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum StateJson {
    Planned,
    Working,
    WaitingUser,
    WaitingTime,
    Done,
    Failed,
    Cancelled,
}

impl From<TaskState> for StateJson {
    fn from(state: TaskState) -> Self {
        match state {
            TaskState::Planned => Self::Planned,
            TaskState::Working => Self::Working,
            TaskState::WaitingUser => Self::WaitingUser,
            TaskState::WaitingTime => Self::WaitingTime,
            TaskState::Done => Self::Done,
            TaskState::Failed => Self::Failed,
            TaskState::Cancelled => Self::Cancelled,
        }
    }
}

impl From<StateJson> for TaskState {
    fn from(state: StateJson) -> Self {
        match state {
            StateJson::Planned => Self::Planned,
            StateJson::Working => Self::Working,
            StateJson::WaitingUser => Self::WaitingUser,
            StateJson::WaitingTime => Self::WaitingTime,
            StateJson::Done => Self::Done,
            StateJson::Failed => Self::Failed,
            StateJson::Cancelled => Self::Cancelled,
        }
    }
}

/// What a task may use up, in all its runs together.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BudgetJson {
    /// Most model calls. Default 200.
    #[serde(default = "max_steps")]
    max_steps: u32,
    /// Most tokens. Default 2,000,000.
    #[serde(default = "max_tokens")]
    max_tokens: u64,
    /// Most money, in millionths of the currency of the models' prices.
    #[serde(default)]
    max_cost_micros: Option<u64>,
    /// Most time that its runs take, in milliseconds. Default a day.
    #[serde(default = "max_time")]
    max_time_ms: u64,
}

fn max_steps() -> u32 {
    TaskBudget::default().max_steps
}

fn max_tokens() -> u64 {
    TaskBudget::default().max_tokens
}

fn max_time() -> u64 {
    TaskBudget::default().max_time_ms
}

impl From<TaskBudget> for BudgetJson {
    fn from(b: TaskBudget) -> Self {
        Self { max_steps: b.max_steps, max_tokens: b.max_tokens, max_cost_micros: b.max_cost_micros, max_time_ms: b.max_time_ms }
    }
}

/// One step of a plan.
#[derive(Debug, Serialize, ToSchema)]
struct PlanStepJson {
    text: String,
    /// `open`, `doing`, `done` or `dropped`.
    state: &'static str,
    note: String,
}

/// How one check came out.
#[derive(Debug, Serialize, ToSchema)]
struct CheckJson {
    check: String,
    how: String,
}

/// What came of a task that is done.
#[derive(Debug, Serialize, ToSchema)]
struct ResultJson {
    text: String,
    /// How the acceptance is met.
    how: String,
    checks: Vec<CheckJson>,
}

/// What a task has used up.
#[derive(Debug, Serialize, ToSchema)]
struct UsedJson {
    runs: u32,
    steps: u32,
    tokens: u64,
    cost_micros: u64,
    time_ms: u64,
}

/// Who made a task.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum CreatorJson {
    User,
    Agent,
    Api,
}

/// A task.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskJson {
    id: String,
    /// Who works on it.
    agent: String,
    /// Whose it is; `null` = the tenant's.
    user: Option<String>,
    title: String,
    objective: String,
    /// What must hold in the end, in words.
    acceptance: String,
    /// What the result is checked for, point by point.
    checks: Vec<String>,
    budget: BudgetJson,
    used: UsedJson,
    #[schema(value_type = Option<String>, format = DateTime)]
    deadline: Option<Timestamp>,
    plan: Vec<PlanStepJson>,
    state: StateJson,
    progress: String,
    result: Option<ResultJson>,
    /// Why it failed or was cancelled.
    failure: Option<String>,
    /// What it asks.
    question: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    wake_at: Option<Timestamp>,
    /// The task that handed it on.
    parent: Option<String>,
    /// Where it is worked on.
    conversation: String,
    /// Where its questions and reports go.
    report_to: Option<String>,
    /// Its run that is under way.
    #[schema(value_type = Option<String>)]
    run: Option<RunId>,
    created_by: CreatorJson,
    /// `trusted`, or `untrusted` where whoever wrote in it had read one of `untrusted`.
    trust: &'static str,
    /// Sources that are not trusted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    untrusted: Vec<SourceJson>,
    version: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Task> for TaskJson {
    fn from(t: Task) -> Self {
        let step = |s: sid_types::PlanStep| PlanStepJson { text: s.text, state: s.state.as_str(), note: s.note };
        let check = |c: sid_types::CheckAnswer| CheckJson { check: c.check, how: c.how };
        Self {
            id: t.id.to_string(),
            agent: t.agent.to_string(),
            user: t.user.map(|u| u.to_string()),
            title: t.title,
            objective: t.objective,
            acceptance: t.acceptance.text,
            checks: t.acceptance.checks,
            budget: t.budget.into(),
            used: UsedJson {
                runs: t.used.runs,
                steps: t.used.steps,
                tokens: t.used.tokens,
                cost_micros: t.used.cost_micros,
                time_ms: t.used.time_ms,
            },
            deadline: t.deadline,
            plan: t.plan.into_iter().map(step).collect(),
            state: t.state.into(),
            progress: t.progress,
            result: t.result.map(|r| ResultJson { text: r.text, how: r.how, checks: r.checks.into_iter().map(check).collect() }),
            failure: t.failure,
            question: t.question,
            wake_at: t.wake_at,
            parent: t.parent.map(|p| p.to_string()),
            conversation: t.conversation.to_string(),
            report_to: t.report_to.map(|c| c.to_string()),
            run: t.work.run,
            trust: trust_of(&t.untrusted),
            untrusted: t.untrusted.into_iter().map(Into::into).collect(),
            created_by: match t.created_by {
                TaskCreator::User => CreatorJson::User,
                TaskCreator::Agent { .. } => CreatorJson::Agent,
                TaskCreator::Api => CreatorJson::Api,
            },
            version: t.version,
            created_at: t.created_at,
            updated_at: t.updated_at,
        }
    }
}

/// A task to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateTask {
    /// Id or `@name` of the agent that is to work on it; it has `tasks`.
    agent: String,
    /// Id or `@handle` of whose it is; the caller's user when left out.
    #[serde(default)]
    user: Option<String>,
    /// One line.
    title: String,
    /// What is to be reached.
    #[serde(default)]
    objective: String,
    /// What must hold in the end.
    #[serde(default)]
    acceptance: String,
    /// What the result is checked for, point by point.
    #[serde(default)]
    checks: Vec<String>,
    /// Steps, in order.
    #[serde(default)]
    plan: Vec<String>,
    #[serde(default)]
    budget: Option<BudgetJson>,
    /// It fails if it is not done by then.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    deadline: Option<Timestamp>,
    /// The conversation that its questions and reports go to: one of the same user.
    #[serde(default)]
    report_to: Option<String>,
}

/// Makes a task; its agent begins as soon as there is room.
#[utoipa::path(post, path = "/tasks", tag = "tasks", params(("Idempotency-Key" = Option<String>, Header)), request_body = CreateTask, responses((status = 201, description = "Made", body = TaskJson)))]
async fn create_task(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Json<CreateTask>,
) -> Result<(StatusCode, axum::Json<TaskJson>), ApiError> {
    let scope = caller.scope()?;
    let names = Names::new(app.store(), &scope);
    let body = body.value;
    let agent = names.agent(&body.agent).await?;
    let user = match &body.user {
        Some(user) => Some(names.user(user).await?),
        None => caller.user(),
    };
    caller.about(user);
    check_name("title", &body.title, Task::TITLE_CHARS)?;
    for text in [&body.objective, &body.acceptance].into_iter().chain(&body.checks).chain(&body.plan) {
        check_text("text", text, LONGEST)?;
    }
    let mut new = NewTask::new(agent, user, body.title);
    let derived = idempotency::derived_id(&headers, &caller, "task")?.map(TaskId::from_uuid);
    if let Some(id) = derived {
        let is_same = |t: &Task| t.title == new.title && t.agent == new.agent && t.user == new.user;
        if let Some(known) = idempotency::replayed(app.store().task(&scope, id).await, is_same)? {
            return Ok((StatusCode::CREATED, axum::Json(known.into())));
        }
        new.id = id;
    }
    new.objective = body.objective;
    new.acceptance = Acceptance { text: body.acceptance, checks: body.checks };
    new.plan = body.plan;
    new.deadline = body.deadline;
    if let Some(b) = body.budget {
        let BudgetJson { max_steps, max_tokens, max_cost_micros, max_time_ms } = b;
        new.budget = TaskBudget { max_steps, max_tokens, max_cost_micros, max_time_ms };
    }
    new.report_to = body.report_to.map(|to| parse_id(&to, "conversation")).transpose()?;
    new.created_by = if caller.user().is_some() { TaskCreator::User } else { TaskCreator::Api };
    new.untrusted = caller.sources();
    Ok((StatusCode::CREATED, axum::Json(app.engine().create_task(&scope, new).await?.into())))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TasksQuery {
    /// Only of this agent (id or `@name`).
    agent: Option<String>,
    /// Only of this user (id or `@handle`).
    user: Option<String>,
    /// Only in this state.
    #[param(inline)]
    state: Option<StateJson>,
    /// Only those that are not over.
    #[serde(default)]
    open: bool,
    /// `next` of the page before.
    after: Option<String>,
    /// Most items, 1 to 1000. Default 50.
    limit: Option<usize>,
}

/// Tasks, newest first.
#[utoipa::path(get, path = "/tasks", tag = "tasks", params(TasksQuery), responses((status = 200, description = "A page of tasks", body = List<TaskJson>)))]
async fn list_tasks(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<TasksQuery>,
) -> Result<axum::Json<List<TaskJson>>, ApiError> {
    let scope = caller.scope()?;
    let names = Names::new(app.store(), &scope);
    let mut filter = TaskFilter { state: query.state.map(Into::into), is_open: query.open, ..TaskFilter::default() };
    if let Some(agent) = &query.agent {
        filter.agent = Some(names.agent(agent).await?);
    }
    if let Some(user) = &query.user {
        filter.user = Some(names.user(user).await?);
    }
    caller.about(filter.user);
    let page = Paging { after: query.after, limit: query.limit }.request()?;
    Ok(axum::Json(List::of(app.store().tasks(&scope, &filter, page).await?)))
}

/// One task, if the caller sees it; from then on the request is about its user.
async fn seen(app: &App, caller: &Caller, id: &str) -> Result<Task, ApiError> {
    let id: TaskId = parse_id(id, "task")?;
    let task = app.store().task(&caller.scope()?, id).await?;
    caller.about(task.user);
    Ok(task)
}

/// One task.
#[utoipa::path(get, path = "/tasks/{id}", tag = "tasks", params(("id" = String, Path)), responses((status = 200, description = "The task", body = TaskJson)))]
async fn get_task(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<TaskJson>, ApiError> {
    Ok(axum::Json(seen(&app, &caller, &id).await?.into()))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PlanTask {
    /// The steps, in order; those with the words of a step that is there keep where it stands.
    steps: Vec<String>,
}

/// Sets the plan of a task that is not over.
#[utoipa::path(put, path = "/tasks/{id}/plan", tag = "tasks", params(("id" = String, Path)), request_body = PlanTask, responses((status = 200, description = "Set", body = TaskJson)))]
async fn plan_task(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: Json<PlanTask>,
) -> Result<axum::Json<TaskJson>, ApiError> {
    let task = seen(&app, &caller, &id).await?;
    for step in &body.value.steps {
        check_text("steps", step, LONGEST)?;
    }
    Ok(axum::Json(app.engine().plan_task(&caller.scope()?, task.id, &body.value.steps, &caller.sources()).await?.into()))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AnswerTask {
    /// The answer to its question.
    answer: String,
}

/// Answers the question of a task that waits for its user.
#[utoipa::path(post, path = "/tasks/{id}/answer", tag = "tasks", params(("id" = String, Path)), request_body = AnswerTask, responses((status = 200, description = "It goes on", body = TaskJson)))]
async fn answer_task(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: Json<AnswerTask>,
) -> Result<axum::Json<TaskJson>, ApiError> {
    let task = seen(&app, &caller, &id).await?;
    check_text("answer", &body.value.answer, LONGEST)?;
    Ok(axum::Json(app.engine().answer_task(&caller.scope()?, task.id, &body.value.answer, &caller.sources()).await?.into()))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CancelTask {
    /// Why; told where it reports.
    #[serde(default)]
    reason: String,
}

/// Calls a task off, and stops its run.
#[utoipa::path(post, path = "/tasks/{id}/cancel", tag = "tasks", params(("id" = String, Path)), request_body = CancelTask, responses((status = 200, description = "Called off", body = TaskJson)))]
async fn cancel_task(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: Json<CancelTask>,
) -> Result<axum::Json<TaskJson>, ApiError> {
    let task = seen(&app, &caller, &id).await?;
    check_text("reason", &body.value.reason, LONGEST)?;
    let reason = if body.value.reason.trim().is_empty() { "called off" } else { body.value.reason.trim() };
    Ok(axum::Json(app.engine().cancel_task(&caller.scope()?, task.id, reason, &caller.sources()).await?.into()))
}
