//! What is said of a task: to who works on it, and where it reports.

use std::fmt::Write as _;

use sid_types::{PlanStepState, Task};

fn list(out: &mut String, head: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.enumerate().map(|(i, line)| format!("{}. {line}", i + 1)).collect();
    if !lines.is_empty() {
        let _ = write!(out, "\n{head}\n{}", lines.join("\n"));
    }
}

fn plan(out: &mut String, task: &Task) {
    let step = |s: &sid_types::PlanStep| {
        let note = if s.note.is_empty() { String::new() } else { format!(" ({})", s.note) };
        format!("[{}] {}{note}", s.state.as_str(), s.text)
    };
    list(out, "Plan:", task.plan.iter().map(step));
}

/// What a run of the task is told: all that it needs, whatever has left its queue by then.
pub(super) fn brief(task: &Task) -> String {
    let mut out = format!("[Task {}, turn {}] {}", task.id, task.work.turn, task.title);
    if !task.objective.is_empty() {
        let _ = write!(out, "\nObjective: {}", task.objective);
    }
    if !task.acceptance.text.is_empty() {
        let _ = write!(out, "\nIt is done when: {}", task.acceptance.text);
    }
    list(&mut out, "Checks:", task.acceptance.checks.iter().cloned());
    plan(&mut out, task);
    if task.plan.is_empty() {
        out.push_str("\nThere is no plan yet: if it takes several steps, make one with plan_task.");
    }
    if !task.progress.is_empty() {
        let _ = write!(out, "\nProgress so far: {}", task.progress);
    }
    for news in &task.work.inbox {
        let _ = write!(out, "\n{news}");
    }
    let (budget, used) = (&task.budget, &task.used);
    let steps = budget.max_steps.saturating_sub(used.steps);
    let _ = write!(out, "\nLeft: {steps} steps, {} tokens.", budget.max_tokens.saturating_sub(used.tokens));
    if let Some(deadline) = task.deadline {
        let _ = write!(out, " Deadline: {deadline}.");
    }
    out.push_str(
        "\nWork on it now. Record what you did with update_task. If you need the user, ask_user. When it is done, complete_task; \
         if it cannot be done, fail_task. If you stop before that, you are woken to go on.",
    );
    out
}

fn head(task: &Task, what: &str) -> String {
    format!("[Task \"{}\" ({}) {what}]", task.title, task.id)
}

fn used(task: &Task) -> String {
    let used = &task.used;
    format!("\nUsed: {} runs, {} steps, {} tokens.", used.runs, used.steps, used.tokens)
}

/// A question on its way to who can answer it.
pub(super) fn question(task: &Task, question: &str) -> String {
    format!(
        "{} {question}\nAsk this now, in your own words. Pass the answer on with answer_task (task: \"{}\") as soon as you have it.",
        head(task, "asks"),
        task.id
    )
}

/// Progress, told by choice.
pub(super) fn report(task: &Task) -> String {
    let done = task.plan.iter().filter(|s| s.state == PlanStepState::Done).count();
    let steps = if task.plan.is_empty() { String::new() } else { format!(" ({done} of {} steps)", task.plan.len()) };
    format!("{} {}{steps}\nTell the user.", head(task, "reports"), task.progress)
}

/// The result.
pub(super) fn done(task: &Task) -> String {
    let mut out = head(task, "is done");
    if let Some(result) = &task.result {
        let _ = write!(out, " {}", result.text);
        if !result.how.is_empty() {
            let _ = write!(out, "\nAcceptance: {}", result.how);
        }
        list(&mut out, "Checks:", result.checks.iter().map(|c| format!("{}: {}", c.check, c.how)));
    }
    out.push_str("\nTell the user.");
    out
}

/// The report of a task that ended without its acceptance: made from the record, without any model.
pub(super) fn ended(task: &Task) -> String {
    let mut out = head(task, task.state.as_str());
    let _ = write!(out, " Why: {}.", task.failure.as_deref().unwrap_or("unknown"));
    plan(&mut out, task);
    if !task.progress.is_empty() {
        let _ = write!(out, "\nProgress: {}", task.progress);
    }
    out.push_str(&used(task));
    out.push_str("\nTell the user what was reached and what was not.");
    out
}

/// One line of a list.
pub(super) fn line(task: &Task) -> String {
    let mut line = format!("{} \"{}\": {}", task.id, task.title, task.state.as_str());
    if let Some(question) = &task.question {
        let short: String = question.chars().take(300).collect();
        let _ = write!(line, ", asks: {short}");
    } else if let Some(failure) = &task.failure {
        let _ = write!(line, ", {failure}");
    } else if !task.progress.is_empty() {
        let _ = write!(line, ", {}", task.progress);
    }
    line
}
