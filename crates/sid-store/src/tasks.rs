//! Tasks: work over many runs, and which of it is due.

use async_trait::async_trait;
use sid_types::{AgentId, ConversationId, Principal, RunId, Scope, Task, TaskId, TaskState, Timestamp, UserId};

use crate::{Page, PageRequest, StoreError};

/// What a store answers who may not see a task, and when there is none.
pub const NO_TASK: StoreError = StoreError::NotFound { what: "task" };

/// Which tasks are listed; nothing set = all that the scope sees.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Of this user.
    pub user: Option<UserId>,
    /// Worked on by this agent.
    pub agent: Option<AgentId>,
    /// In this state.
    pub state: Option<TaskState>,
    /// Only those that are not over.
    pub is_open: bool,
    /// Worked on in this conversation.
    pub conversation: Option<ConversationId>,
    /// Reporting into this conversation.
    pub report_to: Option<ConversationId>,
    /// Handed on by this task.
    pub parent: Option<TaskId>,
}

/// Tasks, and which are due.
///
/// The tenant's application sees all of them, a person her own, a turn those of its human (or, without one, the tenant's) that its agent
/// works on or made.
#[async_trait]
pub trait TaskStore: Send + Sync {
    /// Makes a task. The scope must see the conversation that it is worked on in, which is its agent's with its user. The same id again
    /// answers the task that is there.
    ///
    /// Errors: `NotFound` (conversation); `Invalid` and `TooLarge` as [`check_task`] says.
    async fn create_task(&self, scope: &Scope, task: Task) -> Result<Task, StoreError>;

    /// One of them. Errors: `NotFound`.
    async fn task(&self, scope: &Scope, task: TaskId) -> Result<Task, StoreError>;

    /// Tasks, newest first.
    async fn tasks(&self, scope: &Scope, filter: &TaskFilter, page: PageRequest) -> Result<Page<Task>, StoreError>;

    /// Puts a changed task in the place of the one that was read: `task.version` is the version that was read, the answer has the next.
    ///
    /// Errors: `NotFound`; `Conflict` when another version is there; `Invalid` and `TooLarge` as [`check_task_change`] says.
    async fn change_task(&self, scope: &Scope, task: Task) -> Result<Task, StoreError>;

    /// Tasks that something is to be done for, as [`TaskPlace`] tells. The engine's own call: it spans tenants, and each comes with the
    /// scope of its agent's turn.
    ///
    /// Tenants take turns, the longest due comes first in each. Of those that would begin a run no more are answered than the tenant's
    /// living task runs leave of `per_tenant`.
    async fn due_tasks(&self, most: usize, per_tenant: usize) -> Result<Vec<(Scope, TaskId)>, StoreError>;
}

/// What decides whether a task is due, for implementers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskPlace {
    /// From when on; `None` = never.
    pub due_at: Option<Timestamp>,
    /// The run that is not accounted for.
    pub run: Option<RunId>,
    /// Not due while that run lives. A run that is not there does not live.
    pub is_gated: bool,
    /// What is due is a new run.
    pub begins: bool,
}

impl TaskPlace {
    /// Of a task as it is.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        let kept_until = task.work.kept_until.filter(|_| !task.work.kept_back.is_empty());
        let earlier = |at: Option<Timestamp>| [at, task.deadline, kept_until].into_iter().flatten().min();
        let (due_at, begins) = if !task.work.outbox.is_empty() || task.work.run.is_some() {
            (Some(task.work.not_before.unwrap_or(task.updated_at)), false)
        } else {
            match task.state {
                TaskState::Planned | TaskState::Working => (earlier(Some(task.work.not_before.unwrap_or(task.updated_at))), true),
                TaskState::WaitingUser => (earlier(None), false),
                TaskState::WaitingTime => (earlier(task.wake_at), false),
                TaskState::Done | TaskState::Failed | TaskState::Cancelled => (kept_until, false),
            }
        };
        Self { due_at, run: task.work.run, is_gated: task.work.run.is_some() && task.work.outbox.is_empty(), begins }
    }
}

/// Whether the scope sees a task of this user that this agent works on and that one made.
#[must_use]
pub fn sees_task(scope: &Scope, agent: AgentId, user: Option<UserId>, creator: Option<AgentId>) -> bool {
    match scope.principal() {
        Principal::Tenant { .. } => true,
        Principal::User { user: me } => user == Some(me),
        Principal::Turn { agent: me, user: human } => user == human && (agent == me || creator == Some(me)),
    }
}

/// Checks a task as it is to be stored, and tells it as JSON.
///
/// Errors: `Invalid` for a title of 0 or more than 300 characters, and for a plan or checks of more than 64; `TooLarge` for a task of more
/// than 262,144 bytes.
pub fn check_task(task: &Task) -> Result<String, StoreError> {
    if !(1..=Task::TITLE_CHARS).contains(&task.title.trim().chars().count()) {
        return Err(StoreError::Invalid(format!("a task's title has 1 to {} characters", Task::TITLE_CHARS)));
    }
    if task.plan.len() > Task::LIST || task.acceptance.checks.len() > Task::LIST {
        return Err(StoreError::Invalid(format!("a task has at most {} steps and {0} checks", Task::LIST)));
    }
    let json = serde_json::to_string(task).map_err(|error| StoreError::Invalid(format!("a task cannot be told as JSON: {error}")))?;
    if json.len() > Task::BYTES {
        return Err(StoreError::TooLarge { what: "task, in bytes,", size: json.len() as u64, limit: Task::BYTES as u64 });
    }
    Ok(json)
}

/// Checks a change.
///
/// Errors: `Conflict` for another version; `Invalid` for a change of state that there is none of ([`TaskState::may_become`]), or of what never
/// changes: whose it is, who works on it and where, who made it.
pub fn check_task_change(old: &Task, new: &Task) -> Result<(), StoreError> {
    if old.version != new.version {
        return Err(StoreError::Conflict { expected: new.version, found: old.version });
    }
    if !old.state.may_become(new.state) {
        return Err(StoreError::Invalid(format!("a task that is {} does not become {}", old.state.as_str(), new.state.as_str())));
    }
    let fixed = |t: &Task| (t.id, t.agent, t.user, t.conversation, t.parent, t.created_by, t.created_at);
    if fixed(old) != fixed(new) {
        return Err(StoreError::Invalid("a task keeps its agent, its user, its conversation and its parent".into()));
    }
    Ok(())
}
