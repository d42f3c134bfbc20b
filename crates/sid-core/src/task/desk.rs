//! Where tasks are made and changed: by tools, by the API, by one another.

use std::sync::Arc;

use jiff::Timestamp;
use sid_store::{NewConversation, PageRequest, Store, StoreError, TaskFilter};
use sid_types::{
    Acceptance, AgentId, ConversationId, PlanStep, PlanStepState, RunId, Scope, Source, Task, TaskBudget, TaskCreator, TaskId, TaskState,
    UserId,
};
use uuid::Uuid;

use super::change::{self, Refusal};
use crate::engine::Inner;
use crate::{CoreError, Engine};

/// Most times that a change is tried again because somebody else was first.
const MOST_TRIES: u32 = 5;
/// Calls that a task remembers, so that one made again changes nothing.
const MOST_APPLIED: usize = 16;
/// How often a task may be handed on from task to task.
const MOST_DEPTH: u32 = 4;

/// A task to be made.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Its id: made again, the same task is answered.
    pub id: TaskId,
    /// Who is to work on it; its agent works on tasks ([`sid_types::AgentSpec::tasks`]).
    pub agent: AgentId,
    /// Whose it is; `None` = the tenant's.
    pub user: Option<UserId>,
    /// One line.
    pub title: String,
    /// What is to be reached.
    pub objective: String,
    /// What must hold in the end.
    pub acceptance: Acceptance,
    /// What it may use up.
    pub budget: TaskBudget,
    /// It fails if it is not done by then.
    pub deadline: Option<Timestamp>,
    /// What is to be done, in order; may be empty.
    pub plan: Vec<String>,
    /// Where it reports.
    pub report_to: Option<ConversationId>,
    /// The task that hands it on.
    pub parent: Option<TaskId>,
    /// Who makes it.
    pub created_by: TaskCreator,
    /// Sources that are not trusted, of what its maker had read.
    pub untrusted: Vec<Source>,
}

impl NewTask {
    /// A task with the usual budget and nothing else.
    #[must_use]
    pub fn new(agent: AgentId, user: Option<UserId>, title: impl Into<String>) -> Self {
        Self {
            id: TaskId::new(),
            agent,
            user,
            title: title.into(),
            objective: String::new(),
            acceptance: Acceptance::default(),
            budget: TaskBudget::default(),
            deadline: None,
            plan: Vec::new(),
            report_to: None,
            parent: None,
            created_by: TaskCreator::Api,
            untrusted: Vec::new(),
        }
    }
}

/// The name of a task's own conversation.
pub(super) fn key_of(task: TaskId) -> String {
    format!("task:{task}")
}

/// Makes a task with its conversation. `report_agent`: whose conversation it reports into.
pub(super) async fn create(store: &dyn Store, scope: &Scope, new: NewTask, report_agent: Option<AgentId>) -> Result<Task, CoreError> {
    let scope = scope.turn(new.agent, new.user);
    let agent = store.agent(&scope, new.agent).await?;
    if !agent.spec.tasks {
        return Err(CoreError::Invalid(format!("agent `{}` works on no tasks: set its `tasks` first", agent.spec.name)));
    }
    let own = NewConversation { agent: new.agent, user: new.user, key: Some(key_of(new.id)) };
    let (conversation, _) = store.open_conversation(&scope, ConversationId::new(), own).await?;
    let step = |text: String| PlanStep { text, state: PlanStepState::Open, note: String::new() };
    let mut task = Task::new(new.id, new.agent, new.user, conversation.id, new.title);
    task.objective = new.objective;
    task.acceptance = new.acceptance;
    task.budget = new.budget;
    task.deadline = new.deadline;
    task.plan = new.plan.into_iter().map(step).collect();
    task.report_to = new.report_to;
    task.parent = new.parent;
    task.created_by = new.created_by;
    task.untrusted = new.untrusted;
    task.work.report_agent = report_agent;
    Ok(store.create_task(&scope, task).await?)
}

/// Why a change was not made.
pub(super) enum NotChanged {
    Refused(Refusal),
    Failed(StoreError),
}

impl From<StoreError> for NotChanged {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// Changes a task, again where somebody else was first. A token that was applied before changes nothing and answers the task as it is.
/// `untrusted`: what whoever changes it had read goes on with the task.
pub(super) async fn apply(
    store: &dyn Store,
    scope: &Scope,
    id: TaskId,
    token: Uuid,
    untrusted: &[Source],
    edit: &(dyn Fn(&mut Task) -> Result<(), Refusal> + Send + Sync),
) -> Result<Task, NotChanged> {
    let mut tries = 0;
    loop {
        let mut task = store.task(scope, id).await?;
        if task.work.applied.contains(&token) {
            return Ok(task);
        }
        edit(&mut task).map_err(NotChanged::Refused)?;
        Source::add(&mut task.untrusted, untrusted);
        task.work.applied.push(token);
        let old = task.work.applied.len().saturating_sub(MOST_APPLIED);
        task.work.applied.drain(..old);
        match store.change_task(scope, task).await {
            Err(StoreError::Conflict { .. }) if tries < MOST_TRIES => tries += 1,
            Err(StoreError::Invalid(why)) => return Err(NotChanged::Refused(why)),
            Err(error @ StoreError::TooLarge { .. }) => return Err(NotChanged::Refused(error.to_string())),
            other => return Ok(other?),
        }
    }
}

/// A letter of a task that was handed on, for the one that handed it on: news for its next run, which begins now if it waited for that.
pub(super) async fn tell_parent(
    inner: &Arc<Inner>,
    scope: &Scope,
    child: &Task,
    parent: TaskId,
    letter: RunId,
    text: String,
) -> Result<(), CoreError> {
    let tell = |task: &mut Task| {
        if !task.state.is_over() {
            change::wake(task, text.clone());
        }
        Ok(())
    };
    match apply(&*inner.store, scope, parent, letter.uuid(), &child.untrusted, &tell).await {
        Ok(_) => Ok(()),
        Err(NotChanged::Failed(error)) => Err(error.into()),
        Err(NotChanged::Refused(why)) => Err(CoreError::Invalid(why)),
    }
}

/// A part of what is left of a task's budget, for one that it hands on.
pub(super) fn part_of_budget(task: &Task, wanted_steps: Option<u32>) -> Result<TaskBudget, Refusal> {
    let left = TaskBudget {
        max_steps: task.budget.max_steps.saturating_sub(task.used.steps),
        max_tokens: task.budget.max_tokens.saturating_sub(task.used.tokens),
        max_cost_micros: task.budget.max_cost_micros.map(|most| most.saturating_sub(task.used.cost_micros)),
        max_time_ms: task.budget.max_time_ms.saturating_sub(task.used.time_ms),
    };
    let steps = wanted_steps.unwrap_or(left.max_steps / 2);
    if steps == 0 || steps >= left.max_steps {
        return Err(format!("{} steps are left: hand on fewer than that, and at least one.", left.max_steps));
    }
    let part = |most: u64| u64::try_from(u128::from(most) * u128::from(steps) / u128::from(left.max_steps)).unwrap_or(most);
    Ok(TaskBudget {
        max_steps: steps,
        max_tokens: part(left.max_tokens),
        max_cost_micros: left.max_cost_micros.map(part),
        max_time_ms: part(left.max_time_ms),
    })
}

/// What was given away is not there any more; what the other task leaves of it does not come back.
pub(super) fn give_away(task: &mut Task, given: TaskBudget) {
    task.budget.max_steps = task.budget.max_steps.saturating_sub(given.max_steps);
    task.budget.max_tokens = task.budget.max_tokens.saturating_sub(given.max_tokens);
    task.budget.max_cost_micros = task.budget.max_cost_micros.map(|most| most.saturating_sub(given.max_cost_micros.unwrap_or(0)));
    task.budget.max_time_ms = task.budget.max_time_ms.saturating_sub(given.max_time_ms);
}

/// How often the task was handed on.
pub(super) async fn depth(store: &dyn Store, scope: &Scope, task: &Task) -> Result<u32, StoreError> {
    let (mut depth, mut above, mut maker) = (0, task.parent, task.created_by.agent());
    while let Some((parent, agent)) = above.zip(maker) {
        depth += 1;
        if depth >= MOST_DEPTH {
            break;
        }
        match store.task(&scope.turn(agent, task.user), parent).await {
            Ok(task) => (above, maker) = (task.parent, task.created_by.agent()),
            Err(StoreError::NotFound { .. }) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(depth)
}

/// Whether a task at this depth may hand on.
pub(super) const fn may_hand_on(depth: u32) -> bool {
    depth + 1 < MOST_DEPTH
}

impl Engine {
    /// Makes a task; its agent begins as soon as there is room.
    pub async fn create_task(&self, scope: &Scope, new: NewTask) -> Result<Task, CoreError> {
        let store = &*self.inner.store;
        let report_agent = match new.report_to {
            Some(to) => {
                let there = store.conversation(scope, to).await?;
                if there.user != new.user {
                    return Err(CoreError::Invalid("a task reports into a conversation of its own user".into()));
                }
                Some(there.agent)
            }
            None => None,
        };
        // The scope's own right comes first: a turn is narrower than who asks for it.
        store.agent(scope, new.agent).await?;
        match new.user {
            Some(user) => drop(store.user(scope, user).await?),
            None if !scope.is_tenant_wide() => return Err(StoreError::NotFound { what: "user" }.into()),
            None => {}
        }
        let task = create(store, scope, new, report_agent).await?;
        self.inner.tasks_changed.notify_one();
        Ok(task)
    }

    /// Answers a task's question.
    /// Of `untrusted` sources where whoever answers is not to be followed.
    pub async fn answer_task(&self, scope: &Scope, id: TaskId, answer: &str, untrusted: &[Source]) -> Result<Task, CoreError> {
        self.apply(scope, id, untrusted, &|task| change::answer(task, answer.trim())).await
    }

    /// Sets a task's plan.
    pub async fn plan_task(&self, scope: &Scope, id: TaskId, steps: &[String], untrusted: &[Source]) -> Result<Task, CoreError> {
        self.apply(scope, id, untrusted, &|task| change::plan(task, steps.to_vec())).await
    }

    /// Calls a task off, and stops its run.
    pub async fn cancel_task(&self, scope: &Scope, id: TaskId, reason: &str, untrusted: &[Source]) -> Result<Task, CoreError> {
        let task = self.apply(scope, id, untrusted, &|task| change::cancel(task, reason)).await?;
        if let Some(run) = task.work.run {
            match self.cancel(scope, run).await {
                Ok(_) | Err(CoreError::Store(StoreError::NotFound { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(task)
    }

    async fn apply(
        &self,
        scope: &Scope,
        id: TaskId,
        untrusted: &[Source],
        edit: &(dyn Fn(&mut Task) -> Result<(), Refusal> + Send + Sync),
    ) -> Result<Task, CoreError> {
        let changed = apply(&*self.inner.store, scope, id, Uuid::now_v7(), untrusted, edit).await;
        self.inner.tasks_changed.notify_one();
        match changed {
            Ok(task) => Ok(task),
            Err(NotChanged::Failed(error)) => Err(error.into()),
            Err(NotChanged::Refused(why)) => Err(CoreError::Invalid(why)),
        }
    }
}

/// Tasks that wait for who speaks in this conversation, as lines of its prompt's tail, and the sources of what they say.
pub(crate) async fn waiting_lines(store: &dyn Store, scope: &Scope, side: Option<&Task>) -> Result<(Vec<String>, Vec<Source>), StoreError> {
    /// Most that are shown.
    const MOST: usize = 5;
    let filter = TaskFilter { state: Some(TaskState::WaitingUser), parent: side.map(|t| t.id), ..TaskFilter::default() };
    let waiting = store.tasks(scope, &filter, PageRequest { after: None, limit: MOST }).await?;
    let is_for_here = |t: &&Task| side.is_some() || t.parent.is_none();
    let mut sources = Vec::new();
    let line = |task: &Task| {
        Source::add(&mut sources, &task.untrusted);
        super::words::line(task)
    };
    let lines = waiting.items.iter().filter(is_for_here).map(line).collect();
    Ok((lines, sources))
}
