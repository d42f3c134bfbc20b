//! Tools of who speaks with the user: make, list, answer, cancel.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use sid_store::{PageRequest, TaskFilter};
use sid_tools::{ToolContext, ToolOutcome};
use sid_types::{Acceptance, AgentId, Source, TaskBudget, TaskCreator, TaskId};

use super::super::desk::{self, NewTask};
use super::super::{change, words};
use super::{Desk, TaskTool, failed, moment, number, reached, task_id, text, texts, turn};
use crate::CoreError;

/// Most tasks that a list shows.
const MOST_LISTED: usize = 20;

/// Those that make tasks and call them off.
pub(super) fn making(desk: &Desk) -> Vec<TaskTool> {
    let texts = || json!({"type": "array", "items": {"type": "string"}});
    let parameters = json!({
        "title": {"type": "string", "description": "One line."},
        "objective": {"type": "string", "description": "All that must be known to work on it."},
        "acceptance": {"type": "string", "description": "When it is done."},
        "checks": texts(), "plan": texts(),
        "deadline": {"type": "string", "description": "RFC 3339."},
        "max_steps": {"type": "integer", "minimum": 1},
        "agent": {"type": "string", "description": "Who works on it; you, if left out."},
    });
    vec![
        TaskTool::new(
            desk,
            "create_task",
            "Begin work that takes long, beside this talk. It reports here.",
            parameters,
            &["title", "objective"],
            create,
        ),
        TaskTool::new(
            desk,
            "cancel_task",
            "Call a task off.",
            json!({"task": {"type": "string"}, "reason": {"type": "string"}}),
            &["task"],
            cancel,
        ),
    ]
}

/// Those of everybody whom tasks may ask.
pub(super) fn asked(desk: &Desk) -> Vec<TaskTool> {
    let answered = json!({"task": {"type": "string"}, "answer": {"type": "string"}});
    vec![
        TaskTool::new(desk, "answer_task", "Pass on the answer to a task's question.", answered, &["task", "answer"], answer),
        TaskTool::new(
            desk,
            "list_tasks",
            "Tasks and how far they are.",
            json!({"all": {"type": "boolean", "description": "Those that are over, too."}}),
            &[],
            list,
        ),
    ]
}

/// Who is to work on a task: an agent that this one reaches, by name; itself where none is named.
pub(super) async fn worker(desk: &Desk, context: &ToolContext, me: AgentId, name: &str) -> Result<AgentId, ToolOutcome> {
    if name.is_empty() {
        return Ok(me);
    }
    let others = reached(&*desk.store, context, me).await.map_err(|e| failed(&e))?;
    let found = others.iter().find(|a| a.spec.name == name).map(|a| a.id);
    found.ok_or_else(|| {
        let names: Vec<&str> = others.iter().map(|a| a.spec.name.as_str()).collect();
        let names = if names.is_empty() { "nobody".into() } else { names.join(", ") };
        ToolOutcome::error(format!("You cannot hand work to `{name}`. You reach: {names}."))
    })
}

/// What the arguments say of a new task.
pub(super) fn new_task(context: &ToolContext, agent: AgentId, me: AgentId, arguments: &Map<String, Value>) -> Result<NewTask, ToolOutcome> {
    let mut new = NewTask::new(agent, context.scope.user(), text(arguments, "title"));
    // The call's own token: the same call made again makes the same task.
    new.id = TaskId::from_uuid(context.token);
    new.objective = text(arguments, "objective").to_owned();
    new.acceptance = Acceptance { text: text(arguments, "acceptance").to_owned(), checks: texts(arguments, "checks") };
    new.plan = texts(arguments, "plan");
    new.deadline = moment(arguments, "deadline")?;
    new.report_to = Some(context.conversation);
    new.created_by = TaskCreator::Agent { agent: me };
    new.untrusted.clone_from(&context.untrusted);
    Ok(new)
}

pub(super) fn not_made(error: &CoreError) -> ToolOutcome {
    ToolOutcome::error(format!("The task was not made: {error}"))
}

fn create<'c>(desk: &'c Desk, context: &'c ToolContext, arguments: Map<String, Value>) -> BoxFuture<'c, ToolOutcome> {
    async move {
        let Some((me, _)) = turn(&context.scope) else { return ToolOutcome::error("This is no agent's turn.") };
        let made = async {
            let agent = worker(desk, context, me, text(&arguments, "agent")).await?;
            let mut new = new_task(context, agent, me, &arguments)?;
            if let Some(max_steps) = number(&arguments, "max_steps") {
                new.budget = TaskBudget { max_steps, ..new.budget };
            }
            desk::create(&*desk.store, &context.scope, new, Some(me)).await.map_err(|e| not_made(&e))
        };
        match made.await {
            Ok(task) => {
                desk.changed.notify_one();
                ToolOutcome::text(format!("Begun: {}. Its questions and reports arrive here.", task.id))
            }
            Err(outcome) => outcome,
        }
    }
    .boxed()
}

fn answer<'c>(desk: &'c Desk, context: &'c ToolContext, arguments: Map<String, Value>) -> BoxFuture<'c, ToolOutcome> {
    async move {
        let words = text(&arguments, "answer").to_owned();
        match task_id(&arguments) {
            Ok(task) => desk.change(context, task, "The task goes on.", &|task| change::answer(task, &words)).await,
            Err(outcome) => outcome,
        }
    }
    .boxed()
}

fn cancel<'c>(desk: &'c Desk, context: &'c ToolContext, arguments: Map<String, Value>) -> BoxFuture<'c, ToolOutcome> {
    async move {
        let reason = Some(text(&arguments, "reason")).filter(|r| !r.is_empty()).unwrap_or("called off in talk").to_owned();
        let task = match task_id(&arguments) {
            Ok(task) => task,
            Err(outcome) => return outcome,
        };
        let outcome = desk.change(context, task, "It is called off.", &|task| change::cancel(task, &reason)).await;
        // Its run ends at its next step; a run that has ended stays as it is.
        if !outcome.is_error
            && let Ok(task) = desk.store.task(&context.scope, task).await
            && let Some(run) = task.work.run
        {
            let _ = desk.store.cancel(&context.scope.turn(task.agent, task.user), run).await;
        }
        outcome
    }
    .boxed()
}

fn list<'c>(desk: &'c Desk, context: &'c ToolContext, arguments: Map<String, Value>) -> BoxFuture<'c, ToolOutcome> {
    async move {
        let with_old = arguments.get("all").and_then(Value::as_bool).unwrap_or(false);
        let filter = TaskFilter { is_open: !with_old, ..TaskFilter::default() };
        match desk.store.tasks(&context.scope, &filter, PageRequest { after: None, limit: MOST_LISTED }).await {
            Ok(page) if page.items.is_empty() => ToolOutcome::text("There are no tasks."),
            Ok(page) => {
                let mut sources = Vec::new();
                page.items.iter().for_each(|task| Source::add(&mut sources, &task.untrusted));
                ToolOutcome { sources, ..ToolOutcome::text(page.items.iter().map(words::line).collect::<Vec<_>>().join("\n")) }
            }
            Err(error) => failed(&error),
        }
    }
    .boxed()
}
