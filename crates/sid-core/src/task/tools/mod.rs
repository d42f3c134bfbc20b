//! The task tools. Who works on a task has those that move it, who speaks with a user those that make, list and answer; nobody has both, so
//! that a prompt has few. Agents that do not work on tasks have none.
//!
//! Each call writes to the store by itself, with its token: made again after a crash it changes nothing.

mod talk;
mod work;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Map, Value};
use sid_store::{PageRequest, Store, StoreError, TaskFilter};
use sid_tools::{EffectClass, Registry, RegistryError, Tool, ToolContext, ToolOutcome};
use sid_types::{Agent, AgentId, Conversation, Principal, Scope, Source, Task, TaskId, ToolSpec, UserId};
use tokio::sync::Notify;

use super::change::Refusal;
use super::desk::{self, NotChanged};
use crate::colleague::ego_of;

/// What all the tools share.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) store: Arc<dyn Store>,
    changed: Arc<Notify>,
}

impl Desk {
    /// The task that the call's conversation works on.
    async fn own(&self, context: &ToolContext) -> Result<Task, ToolOutcome> {
        let found = of_conversation(&*self.store, &context.scope, context.conversation).await.map_err(|e| failed(&e))?;
        found.ok_or_else(|| ToolOutcome::error("This conversation works on no task."))
    }

    /// Changes a task and says so.
    async fn change(
        &self,
        context: &ToolContext,
        task: TaskId,
        done: impl Into<String> + Send,
        edit: &(dyn Fn(&mut Task) -> Result<(), Refusal> + Send + Sync),
    ) -> ToolOutcome {
        match desk::apply(&*self.store, &context.scope, task, context.token, &context.untrusted, edit).await {
            Ok(_) => {
                self.changed.notify_one();
                ToolOutcome::text(done)
            }
            Err(NotChanged::Refused(why)) => ToolOutcome::error(why),
            Err(NotChanged::Failed(error)) => failed(&error),
        }
    }
}

fn failed(error: &StoreError) -> ToolOutcome {
    match error {
        StoreError::NotFound { .. } => ToolOutcome::error("There is no such task. list_tasks shows those that there are."),
        other => ToolOutcome::error(format!("The task could not be changed: {other}")),
    }
}

/// The agent and the human of a turn.
fn turn(scope: &Scope) -> Option<(AgentId, Option<UserId>)> {
    match scope.principal() {
        Principal::Turn { agent, user } => Some((agent, user)),
        _ => None,
    }
}

/// Agents that this one may hand work to, as they are now: those that it reaches, and the members of the ego that it speaks for here.
async fn reached(store: &dyn Store, context: &ToolContext, agent: AgentId) -> Result<Vec<Agent>, StoreError> {
    let scope = &context.scope;
    let (me, user) = (store.agent(scope, agent).await?, scope.user());
    let ego = ego_of(store, scope, &store.conversation(scope, context.conversation).await?).await?;
    let members = ego.map(|ego| ego.spec.members).unwrap_or_default();
    let mut agents: Vec<Agent> = Vec::new();
    for id in me.spec.reaches.into_iter().chain(members) {
        if agents.iter().any(|known| known.id == id) {
            continue;
        }
        match store.agent(&scope.turn(id, user), id).await {
            Ok(other) if other.spec.tasks => agents.push(other),
            Ok(_) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(agents)
}

async fn of_conversation(store: &dyn Store, scope: &Scope, conversation: sid_types::ConversationId) -> Result<Option<Task>, StoreError> {
    let filter = TaskFilter { conversation: Some(conversation), ..TaskFilter::default() };
    Ok(store.tasks(scope, &filter, PageRequest { after: None, limit: 1 }).await?.items.pop())
}

/// On which side of a task a turn is.
pub(crate) enum TaskSide {
    /// Its agent works on no tasks.
    None,
    /// It speaks with somebody.
    Talk,
    /// It works on this one.
    Work(Box<Task>),
}

impl TaskSide {
    /// Of a turn in this conversation.
    pub(crate) async fn of(store: &dyn Store, scope: &Scope, agent: &Agent, conversation: &Conversation) -> Result<Self, StoreError> {
        let is_named_so = conversation.key.as_deref().is_some_and(|key| key.starts_with("task:"));
        if is_named_so && let Some(task) = of_conversation(store, scope, conversation.id).await? {
            return Ok(Self::Work(Box::new(task)));
        }
        Ok(if agent.spec.tasks { Self::Talk } else { Self::None })
    }

    /// The tail's lines about tasks, and the sources of what they say.
    pub(crate) async fn lines(&self, store: &dyn Store, scope: &Scope) -> Result<(Vec<String>, Vec<Source>), StoreError> {
        match self {
            Self::None => Ok((Vec::new(), Vec::new())),
            Self::Talk => desk::waiting_lines(store, scope, None).await,
            Self::Work(task) => desk::waiting_lines(store, scope, Some(task)).await,
        }
    }
}

/// The tools of each side.
pub(crate) struct TaskTools {
    talk: Registry,
    work: Registry,
    hand_on: Registry,
}

impl TaskTools {
    pub(crate) fn new(store: Arc<dyn Store>, changed: Arc<Notify>) -> Result<Self, RegistryError> {
        let desk = Desk { store, changed };
        let registry = |tools: Vec<TaskTool>| {
            let mut registry = Registry::new();
            tools.into_iter().try_for_each(|tool| registry.register(Arc::new(tool)))?;
            Ok(registry)
        };
        let hand_on = [vec![work::delegate(&desk)], talk::asked(&desk)].concat();
        Ok(Self {
            talk: registry([talk::making(&desk), talk::asked(&desk)].concat())?,
            work: registry(work::tools(&desk))?,
            hand_on: registry(hand_on)?,
        })
    }

    /// What a turn on this side has besides. An agent that reaches nobody cannot hand on.
    /// `has_members`: it speaks for an ego.
    pub(crate) fn of(&self, side: &TaskSide, agent: &Agent, has_members: bool) -> Option<Registry> {
        match side {
            TaskSide::None => None,
            TaskSide::Talk => Some(self.talk.and(&Registry::new())),
            TaskSide::Work(_) if agent.spec.reaches.is_empty() && !has_members => Some(self.work.and(&Registry::new())),
            TaskSide::Work(_) => Some(self.work.and(&self.hand_on)),
        }
    }
}

type Call = for<'c> fn(&'c Desk, &'c ToolContext, Map<String, Value>) -> BoxFuture<'c, ToolOutcome>;

/// One of the tools.
#[derive(Clone)]
pub(super) struct TaskTool {
    desk: Desk,
    spec: ToolSpec,
    call: Call,
}

impl TaskTool {
    /// `parameters`: the schemas by name; `required`: the names that must be there.
    fn new(desk: &Desk, name: &str, about: &str, parameters: Value, required: &[&str], call: Call) -> Self {
        let parameters =
            serde_json::json!({"type": "object", "properties": parameters, "required": required, "additionalProperties": false});
        Self { desk: desk.clone(), spec: ToolSpec { name: name.into(), description: about.into(), parameters }, call }
    }
}

#[async_trait]
impl Tool for TaskTool {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    fn effect(&self) -> EffectClass {
        EffectClass::Memory
    }

    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        (self.call)(&self.desk, context, arguments).await
    }
}

/// A text argument without white space around it; empty when it is missing.
fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or_default().trim()
}

/// A list of texts, without empty ones.
fn texts(arguments: &Map<String, Value>, name: &str) -> Vec<String> {
    let list = arguments.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    list.map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect()
}

fn number(arguments: &Map<String, Value>, name: &str) -> Option<u32> {
    arguments.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok())
}

/// A moment, with its zone. Errors: words for the model.
fn moment(arguments: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, ToolOutcome> {
    let said = text(arguments, name);
    if said.is_empty() {
        return Ok(None);
    }
    said.parse().map(Some).map_err(|_| ToolOutcome::error(format!("`{name}` is no moment: write it like 2026-05-20T18:00:00+02:00.")))
}

fn task_id(arguments: &Map<String, Value>) -> Result<TaskId, ToolOutcome> {
    text(arguments, "task")
        .parse()
        .map_err(|_| ToolOutcome::error("`task` is no task's id: it looks like task_01h2x…; list_tasks shows them."))
}
