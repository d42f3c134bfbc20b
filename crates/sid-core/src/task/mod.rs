//! Tasks: the store says for which of them something is to be done, and each is brought one step further.
//!
//! A step is one compare-and-set of the task, or one stimulus whose run has an id made of the task and what it is for. So it may be made by
//! any replica, twice at once, or again after a crash between any two writes: a run is started once, a letter arrives once.

mod change;
mod decide;
mod desk;
mod tools;
mod words;

use std::sync::Arc;

use futures::StreamExt as _;
use jiff::Timestamp;
use sid_store::{Accept, OnBusy, PageRequest, Store, StoreError, TaskFilter, crash_point};
use sid_types::{Body, ConversationId, NewMessage, Priority, RunId, RunLimits, Scope, Task, TaskId, TaskState};
use tracing::{debug, warn};

pub use desk::NewTask;
pub(crate) use tools::{TaskSide, TaskTools};

use crate::duty::Duty;
use crate::engine::Inner;
use crate::{CoreError, Engine, background, perpetual};

/// Most tasks of one look at the store.
const AT_ONCE: usize = 64;
/// Most of them that are worked on at the same time.
const SIDE_BY_SIDE: usize = 4;

/// Looks after tasks: one replica for all of them, and any replica when something happened here.
pub(crate) async fn look_after(engine: Engine) {
    let inner = &engine.inner;
    if inner.config.task_runs_per_tenant == 0 {
        return;
    }
    let mut was_told = false;
    while !engine.is_draining() {
        if was_told || engine.has_duty(Duty::Tasks).await {
            while !engine.is_draining() && sweep(inner).await {}
        }
        was_told = tokio::select! {
            () = background::sleep(&engine, inner.config.poll) => false,
            () = inner.tasks_changed.notified() => true,
        };
    }
}

/// One look; answers whether anything was done.
async fn sweep(inner: &Arc<Inner>) -> bool {
    let due = match inner.store.due_tasks(AT_ONCE, inner.config.task_runs_per_tenant).await {
        Ok(due) => due,
        Err(error) => {
            warn!(%error, "could not look for tasks that are due");
            return false;
        }
    };
    let steps = futures::stream::iter(due).map(|(scope, id)| async move {
        match advance(inner, &scope, id).await {
            Ok(has_moved) => has_moved,
            // Somebody else was first, or it is gone.
            Err(CoreError::Store(StoreError::Conflict { .. } | StoreError::NotFound { .. })) => false,
            Err(error) => {
                warn!(%error, task = %id, "could not go on with a task");
                false
            }
        }
    });
    steps.buffer_unordered(SIDE_BY_SIDE).any(|moved| async move { moved }).await
}

/// Does what is to be done next for a task; answers whether there was anything.
pub(crate) async fn advance(inner: &Arc<Inner>, scope: &Scope, id: TaskId) -> Result<bool, CoreError> {
    let task = inner.store.task(scope, id).await?;
    let now = inner.clock.now();
    if !task.work.outbox.is_empty() {
        return deliver(inner, scope, task).await;
    }
    if !task.work.kept_back.is_empty() && task.work.kept_until.is_none_or(|until| until <= now) {
        inner.store.change_task(scope, decide::let_go(task)).await?;
        return Ok(true);
    }
    if let Some(run) = task.work.run {
        return match inner.store.run(scope, run).await {
            Err(StoreError::NotFound { .. }) => begin(inner, scope, &task, run).await,
            Ok(run) if run.status.is_terminal() => {
                let price = inner.store.agent(scope, task.agent).await.ok().and_then(|a| inner.config.prices.get(&a.spec.model).copied());
                let cost = price.map_or(0, |price| price.of(run.usage));
                // What waits for this task's own answer is not waited for.
                let waits_for_parts = decide::is_idle(&run)
                    && open_parts(&*inner.store, scope, id).await?.iter().any(|part| part.state != TaskState::WaitingUser);
                crash_point!("task.settle.before");
                inner.store.change_task(scope, decide::settle(task, &run, cost, waits_for_parts, now)).await?;
                crash_point!("task.settle.after");
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) => Err(error.into()),
        };
    }
    let parent_is_over = match task.parent {
        // A parent of another agent is not seen from here; who made this task sees it.
        Some(parent) => match task.created_by.agent() {
            Some(maker) => inner.store.task(&scope.turn(maker, task.user), parent).await.is_ok_and(|p| p.state.is_over()),
            None => false,
        },
        None => false,
    };
    let Some(next) = decide::next(task.clone(), parent_is_over, now) else { return Ok(false) };
    if next.work.run.is_some()
        && let Some(held) = perpetual::held_back(inner, scope, &inner.store.agent(scope, task.agent).await?, task.user, false, now).await?
    {
        inner.store.change_task(scope, decide::rest(task, held)).await?;
        return Ok(false);
    }
    let next = inner.store.change_task(scope, next).await?;
    crash_point!("task.turn.after");
    if let Some(run) = next.work.run {
        return begin(inner, scope, &next, run).await;
    }
    Ok(true)
}

/// Where tasks were worked on that report into a conversation, and those that they handed on.
pub(crate) async fn work_for(store: &dyn Store, scope: &Scope, conversation: ConversationId) -> Result<Vec<ConversationId>, StoreError> {
    let (mut found, mut look) = (Vec::new(), vec![conversation]);
    while let Some(into) = look.pop() {
        let filter = TaskFilter { report_to: Some(into), ..TaskFilter::default() };
        let mut page = PageRequest { after: None, limit: 100 };
        loop {
            let tasks = store.tasks(scope, &filter, page).await?;
            let new: Vec<ConversationId> = tasks.items.iter().map(|t| t.conversation).filter(|c| !found.contains(c)).collect();
            look.extend(&new);
            found.extend(new);
            match tasks.next {
                Some(next) => page = PageRequest { after: Some(next), limit: 100 },
                None => break,
            }
        }
    }
    Ok(found)
}

/// The parts that a task handed on and that are not over; a hundred at most.
async fn open_parts(store: &dyn Store, scope: &Scope, task: TaskId) -> Result<Vec<Task>, StoreError> {
    let below = TaskFilter { parent: Some(task), is_open: true, ..TaskFilter::default() };
    Ok(store.tasks(scope, &below, PageRequest { after: None, limit: 100 }).await?.items)
}

/// Starts the run of a turn. Again changes nothing: the run's id is the turn's.
async fn begin(inner: &Arc<Inner>, scope: &Scope, task: &Task, run: RunId) -> Result<bool, CoreError> {
    let limits = decide::limits(task, inner.config.limits, inner.clock.now());
    debug!(task = %task.id, turn = task.work.turn, %run, "a task goes on");
    accept(inner, scope, run, task.conversation, said(&task.work.brief, task), limits).await?;
    Ok(true)
}

/// Brings letters to where the task reports.
async fn deliver(inner: &Arc<Inner>, scope: &Scope, mut task: Task) -> Result<bool, CoreError> {
    let Some((to, agent)) = task.report_to.zip(task.work.report_agent) else {
        task.work.outbox.clear();
        inner.store.change_task(scope, task).await?;
        return Ok(true);
    };
    let there = scope.turn(agent, task.user);
    // What one task tells another disturbs nobody.
    if task.parent.is_none() {
        let now = inner.clock.now();
        let reporter = match inner.store.agent(&there, agent).await {
            Ok(reporter) => Some(reporter),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(reporter) = reporter
            && let Some(held) = perpetual::held_back(inner, &there, &reporter, task.user, true, now).await?
        {
            inner.store.change_task(scope, decide::keep_back(task, held)).await?;
            return Ok(true);
        }
    }
    while let Some(letter) = task.work.outbox.first().cloned() {
        let run = task.run_of_letter(letter.number);
        crash_point!("task.letter.before");
        let sent = match task.parent {
            Some(parent) => desk::tell_parent(inner, &there, &task, parent, run, letter.text).await,
            None => accept(inner, &there, run, to, said(&letter.text, &task), inner.config.limits).await,
        };
        crash_point!("task.letter.after");
        match sent {
            // There is nobody any more who could read it: it stays in the task's own record.
            Ok(()) | Err(CoreError::Store(StoreError::NotFound { .. })) => drop(task.work.outbox.remove(0)),
            Err(error) => {
                debug!(%error, task = %task.id, "a letter could not be delivered yet");
                task.work.not_before = Some(inner.clock.now().saturating_add(decide::LETTER_REST).unwrap_or(inner.clock.now()));
                break;
            }
        }
    }
    if task.work.outbox.is_empty() {
        task.work.not_before = None;
    }
    let is_done = task.work.outbox.is_empty();
    inner.store.change_task(scope, task).await?;
    Ok(is_done)
}

/// What a task says. Whoever reads it is under the influence of those under whose influence the task was written.
fn said(text: &str, task: &Task) -> NewMessage {
    let note = NewMessage::of(Body::Note { text: text.to_owned() }, Timestamp::UNIX_EPOCH);
    NewMessage { untrusted: task.untrusted.clone(), ..note }
}

/// Stores a stimulus without words of a person, once for each run id; whoever looks for work takes it up.
async fn accept(
    inner: &Arc<Inner>,
    scope: &Scope,
    run: RunId,
    conversation: ConversationId,
    said: NewMessage,
    limits: RunLimits,
) -> Result<(), CoreError> {
    let note = NewMessage { at: inner.clock.now(), ..said };
    let accept = Accept {
        run,
        conversation,
        messages: vec![note],
        idempotency: None,
        limits,
        priority: Priority::Task,
        on_busy: OnBusy::Queue,
        queue_depth: inner.config.queue_depth,
        claim_for: None,
        client_tools: Vec::new(),
        only_after: None,
    };
    crash_point!("task.accept.before");
    inner.store.accept(scope, accept).await?;
    crash_point!("task.accept.after");
    inner.active.wait_for_place(scope.tenant(), inner.room());
    Ok(())
}
