//! Tools of who works on a task: plan, update, complete, fail, ask, wait, hand on.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use sid_tools::{ToolContext, ToolOutcome};
use sid_types::PlanStepState;

use super::super::change;
use super::super::desk::{self, NotChanged};
use super::super::open_parts;
use super::talk::{new_task, not_made, worker};
use super::{Desk, TaskTool, failed, moment, number, text, texts, turn};

pub(super) fn tools(desk: &Desk) -> Vec<TaskTool> {
    let string = || json!({"type": "string"});
    let check = json!({"type": "object", "properties": {"met": {"type": "boolean"}, "how": string()}, "required": ["met", "how"]});
    vec![
        TaskTool::new(
            desk,
            "plan_task",
            "Set the steps of your task.",
            json!({"steps": {"type": "array", "items": string()}}),
            &["steps"],
            plan,
        ),
        TaskTool::new(
            desk,
            "update_task",
            "Record how far a step or the whole is.",
            json!({
                "step": {"type": "integer", "minimum": 1}, "state": {"type": "string", "enum": PlanStepState::ALL.map(PlanStepState::as_str)},
                "note": string(), "progress": string(), "report": {"type": "boolean", "description": "Tell the user."},
            }),
            &[],
            update,
        ),
        TaskTool::new(
            desk,
            "complete_task",
            "Your task is done. Answer each of its checks, in order.",
            json!({"result": string(), "how": {"type": "string", "description": "How its acceptance is met."}, "checks": {"type": "array", "items": check}}),
            &["result"],
            complete,
        ),
        TaskTool::new(desk, "fail_task", "Your task cannot be done.", json!({"reason": string()}), &["reason"], give_up),
        TaskTool::new(
            desk,
            "ask_user",
            "Ask what you cannot decide. The answer wakes you.",
            json!({"question": string()}),
            &["question"],
            ask,
        ),
        TaskTool::new(
            desk,
            "wait_until",
            "Rest until a moment, or until what you handed on is over.",
            json!({"at": {"type": "string", "description": "RFC 3339; left out: until news comes."}}),
            &[],
            wait,
        ),
    ]
}

pub(super) fn delegate(desk: &Desk) -> TaskTool {
    let texts = || json!({"type": "array", "items": {"type": "string"}});
    let parameters = json!({
        "agent": {"type": "string"}, "title": {"type": "string"}, "objective": {"type": "string"}, "acceptance": {"type": "string"},
        "checks": texts(), "max_steps": {"type": "integer", "minimum": 1, "description": "Out of your own; half, if left out."},
    });
    TaskTool::new(
        desk,
        "delegate_task",
        "Hand a part of your task to another agent. Its questions and its result come to you; wait_until rests until then.",
        parameters,
        &["agent", "title", "objective"],
        hand_on,
    )
}

fn plan<'c>(desk: &'c Desk, context: &'c ToolContext, arguments: Map<String, Value>) -> BoxFuture<'c, ToolOutcome> {
    async move {
        let task = match desk.own(context).await {
            Ok(task) => task,
            Err(outcome) => return outcome,
        };
        let steps = texts(&arguments, "steps");
        let done = format!("The plan has {} steps, counted from 1.", steps.len());
        desk.change(context, task.id, done, &|task| change::plan(task, steps.clone())).await
    }
    .boxed()
}

fn update<'c>(desk: &'c Desk, context: &'c ToolContext, arguments: Map<String, Value>) -> BoxFuture<'c, ToolOutcome> {
    async move {
        let task = match desk.own(context).await {
            Ok(task) => task,
            Err(outcome) => return outcome,
        };
        let state = PlanStepState::ALL.into_iter().find(|s| s.as_str() == text(&arguments, "state")).unwrap_or(PlanStepState::Done);
        let step = number(&arguments, "step").map(|n| (n as usize, state));
        let (note, progress) = (text(&arguments, "note"), text(&arguments, "progress"));
        let is_report = arguments.get("report").and_then(Value::as_bool).unwrap_or(false);
        if step.is_none() && progress.is_empty() {
            return ToolOutcome::error("Say which `step` is how far, or the `progress`.");
        }
        desk.change(context, task.id, "Recorded.", &|task| change::update(task, step, note, progress, is_report)).await
    }
    .boxed()
}

fn complete<'c>(desk: &'c Desk, context: &'c ToolContext, arguments: Map<String, Value>) -> BoxFuture<'c, ToolOutcome> {
    async move {
        let task = match desk.own(context).await {
            Ok(task) => task,
            Err(outcome) => return outcome,
        };
        let answer = |v: &Value| {
            let how = v.get("how").and_then(Value::as_str).unwrap_or_default().trim().to_owned();
            (v.get("met").and_then(Value::as_bool).unwrap_or(false), how)
        };
        let answers: Vec<_> = arguments.get("checks").and_then(Value::as_array).into_iter().flatten().map(answer).collect();
        let (result, how) = (text(&arguments, "result"), text(&arguments, "how"));
        desk.change(context, task.id, "The task is done, and its result is on its way to the user.", &|task| {
            change::complete(task, result, how, answers.clone())
        })
        .await
    }
    .boxed()
}

fn give_up<'c>(desk: &'c Desk, context: &'c ToolContext, arguments: Map<String, Value>) -> BoxFuture<'c, ToolOutcome> {
    async move {
        let task = match desk.own(context).await {
            Ok(task) => task,
            Err(outcome) => return outcome,
        };
        let reason = text(&arguments, "reason");
        desk.change(context, task.id, "The task has failed, and the user is told.", &|task| change::give_up(task, reason)).await
    }
    .boxed()
}

fn ask<'c>(desk: &'c Desk, context: &'c ToolContext, arguments: Map<String, Value>) -> BoxFuture<'c, ToolOutcome> {
    async move {
        let task = match desk.own(context).await {
            Ok(task) => task,
            Err(outcome) => return outcome,
        };
        let question = text(&arguments, "question");
        desk.change(context, task.id, "Asked. End your turn now: the answer wakes you.", &|task| change::ask(task, question)).await
    }
    .boxed()
}

fn wait<'c>(desk: &'c Desk, context: &'c ToolContext, arguments: Map<String, Value>) -> BoxFuture<'c, ToolOutcome> {
    async move {
        let (task, at) = match (desk.own(context).await, moment(&arguments, "at")) {
            (Ok(task), Ok(at)) => (task, at),
            (Err(outcome), _) | (_, Err(outcome)) => return outcome,
        };
        if at.is_none() {
            match open_parts(&*desk.store, &context.scope, task.id).await {
                Ok(parts) if parts.is_empty() => return ToolOutcome::error("Nothing that you handed on is under way: say `at`."),
                Ok(_) => {}
                Err(error) => return failed(&error),
            }
        }
        let now = context.now;
        desk.change(context, task.id, "You rest. End your turn now.", &|task| change::wait(task, at, now)).await
    }
    .boxed()
}

fn hand_on<'c>(desk: &'c Desk, context: &'c ToolContext, arguments: Map<String, Value>) -> BoxFuture<'c, ToolOutcome> {
    async move {
        let Some((me, _)) = turn(&context.scope) else { return ToolOutcome::error("This is no agent's turn.") };
        let handed = async {
            let own = desk.own(context).await?;
            if own.state.is_over() {
                return Err(ToolOutcome::error("The task is over: nothing more is to be done."));
            }
            let depth = desk::depth(&*desk.store, &context.scope, &own).await.map_err(|e| failed(&e))?;
            if !desk::may_hand_on(depth) {
                return Err(ToolOutcome::error("This task was handed on too often already: do it yourself, or fail_task."));
            }
            let agent = worker(desk, context, me, text(&arguments, "agent")).await?;
            let mut new = new_task(context, agent, me, &arguments)?;
            new.parent = Some(own.id);
            new.deadline = own.deadline;
            new.budget = desk::part_of_budget(&own, number(&arguments, "max_steps")).map_err(ToolOutcome::error)?;
            let made = desk::create(&*desk.store, &context.scope, new, Some(me)).await.map_err(|e| not_made(&e))?;
            // Again after a crash in between: the task is there, and what it was given is taken once.
            match desk::apply(&*desk.store, &context.scope, own.id, context.token, &context.untrusted, &|task| {
                desk::give_away(task, made.budget);
                Ok(())
            })
            .await
            {
                Ok(_) => Ok(made),
                Err(NotChanged::Refused(why)) => Err(ToolOutcome::error(why)),
                Err(NotChanged::Failed(error)) => Err(failed(&error)),
            }
        };
        match handed.await {
            Ok(task) => {
                desk.changed.notify_one();
                ToolOutcome::text(format!("Handed on: {}. Its questions and its result come to you.", task.id))
            }
            Err(outcome) => outcome,
        }
    }
    .boxed()
}
