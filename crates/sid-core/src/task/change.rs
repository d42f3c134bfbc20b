//! What a task's agent, its user and its application may do to it. Pure: a refusal is words that a model can act on.

use jiff::Timestamp;
use sid_types::{CheckAnswer, PlanStep, PlanStepState, Task, TaskResult, TaskState};

use super::words;

/// What went wrong, and what to do.
pub(super) type Refusal = String;

/// A task that is over takes no change; one that waits for an answer takes none of its agent's.
fn check_working(task: &Task) -> Result<(), Refusal> {
    match task.state {
        TaskState::Planned | TaskState::Working => Ok(()),
        TaskState::WaitingUser => {
            Err("The task waits for an answer to your question. End your turn; you are woken with the answer.".into())
        }
        TaskState::WaitingTime => Err("The task waits. End your turn; you are woken when it goes on.".into()),
        TaskState::Done | TaskState::Failed | TaskState::Cancelled => {
            Err(format!("The task is {}: nothing more is to be done.", task.state.as_str()))
        }
    }
}

/// Sets the plan. Steps of the same words keep where they stand.
pub(super) fn plan(task: &mut Task, steps: Vec<String>) -> Result<(), Refusal> {
    if task.state.is_over() {
        return check_working(task);
    }
    if steps.is_empty() || steps.len() > Task::LIST {
        return Err(format!("A plan has 1 to {} steps.", Task::LIST));
    }
    let known = |text: &str| task.plan.iter().find(|s| s.text == text).cloned();
    let step = |text: String| known(&text).unwrap_or(PlanStep { text, state: PlanStepState::Open, note: String::new() });
    task.plan = steps.into_iter().map(step).collect();
    Ok(())
}

/// Records how far a step is, the progress, or both; a report goes to where the task reports.
pub(super) fn update(
    task: &mut Task,
    step: Option<(usize, PlanStepState)>,
    note: &str,
    progress: &str,
    is_report: bool,
) -> Result<(), Refusal> {
    check_working(task)?;
    if let Some((number, state)) = step {
        let most = task.plan.len();
        let Some(step) = number.checked_sub(1).and_then(|i| task.plan.get_mut(i)) else {
            return Err(format!("There is no step {number}: the plan has {most}, counted from 1."));
        };
        step.state = state;
        if !note.is_empty() {
            step.note = note.to_owned();
        }
    }
    if !progress.is_empty() {
        task.progress = progress.to_owned();
    }
    if is_report {
        task.write_letter(words::report(task));
    }
    Ok(())
}

/// Ends the task as done. `answers`: how each check is met, in order.
pub(super) fn complete(task: &mut Task, text: &str, how: &str, answers: Vec<(bool, String)>) -> Result<(), Refusal> {
    check_working(task)?;
    if text.is_empty() {
        return Err("`result` is empty: say what came of the task.".into());
    }
    let checks = &task.acceptance.checks;
    if answers.len() != checks.len() {
        let list: Vec<String> = checks.iter().enumerate().map(|(i, check)| format!("{}. {check}", i + 1)).collect();
        return Err(format!(
            "`checks` has {} answers, but the task has {} checks: answer each, in order.\n{}",
            answers.len(),
            checks.len(),
            list.join("\n")
        ));
    }
    let unmet: Vec<&str> =
        checks.iter().zip(&answers).filter(|(_, (is_met, how))| !is_met || how.trim().is_empty()).map(|(c, _)| c.as_str()).collect();
    if !unmet.is_empty() {
        return Err(format!("The task is not done: not met, or not said how: {}. Go on, ask_user, or fail_task.", unmet.join("; ")));
    }
    if !task.acceptance.text.is_empty() && how.is_empty() {
        return Err(format!("`how` is empty: say how this is met: {}", task.acceptance.text));
    }
    if let Some(open) = task.plan.iter().find(|s| matches!(s.state, PlanStepState::Open | PlanStepState::Doing)) {
        return Err(format!("The step \"{}\" is still {}: finish or drop it with update_task first.", open.text, open.state.as_str()));
    }
    let checks = checks.iter().cloned().zip(answers).map(|(check, (_, how))| CheckAnswer { check, how }).collect();
    task.result = Some(TaskResult { text: text.to_owned(), how: how.to_owned(), checks });
    task.state = TaskState::Done;
    task.write_letter(words::done(task));
    Ok(())
}

/// Its agent gives up.
pub(super) fn give_up(task: &mut Task, reason: &str) -> Result<(), Refusal> {
    check_working(task)?;
    if reason.is_empty() {
        return Err("`reason` is empty: say why the task cannot be done.".into());
    }
    fail(task, reason);
    Ok(())
}

/// Ends the task as failed, with a report made from the record alone.
pub(super) fn fail(task: &mut Task, reason: &str) {
    end(task, TaskState::Failed, reason);
}

/// Ends a task that is not over without its acceptance.
pub(super) fn end(task: &mut Task, state: TaskState, reason: &str) {
    task.state = state;
    task.failure = Some(reason.to_owned());
    (task.question, task.wake_at) = (None, None);
    task.write_letter(words::ended(task));
}

/// Asks where the task reports.
pub(super) fn ask(task: &mut Task, question: &str) -> Result<(), Refusal> {
    check_working(task)?;
    if question.is_empty() {
        return Err("`question` is empty.".into());
    }
    if task.report_to.is_none() {
        return Err("There is nobody to ask: decide yourself, or fail_task.".into());
    }
    task.state = TaskState::WaitingUser;
    task.question = Some(question.to_owned());
    task.write_letter(words::question(task, question));
    Ok(())
}

/// The answer to the question.
pub(super) fn answer(task: &mut Task, answer: &str) -> Result<(), Refusal> {
    if answer.is_empty() {
        return Err("`answer` is empty.".into());
    }
    if task.state != TaskState::WaitingUser {
        return Err(format!("The task waits for no answer: it is {}.", task.state.as_str()));
    }
    let question = task.question.take().unwrap_or_default();
    task.state = TaskState::Working;
    task.work.idle = 0;
    task.work.inbox.push(format!("You asked: {question}\nThe answer: {answer}"));
    Ok(())
}

/// Waits until a time, or until a task that it handed on is over.
pub(super) fn wait(task: &mut Task, until: Option<Timestamp>, now: Timestamp) -> Result<(), Refusal> {
    check_working(task)?;
    if until.is_some_and(|at| at <= now) {
        return Err("That time is over: choose a later one.".into());
    }
    if until.is_none() && !task.work.inbox.is_empty() {
        return Err("News has come meanwhile: end your turn, and read it in the next one.".into());
    }
    task.state = TaskState::WaitingTime;
    task.wake_at = until;
    Ok(())
}

/// Goes on after waiting, with news.
pub(super) fn wake(task: &mut Task, news: String) {
    task.work.inbox.push(news);
    if task.state == TaskState::WaitingTime {
        (task.state, task.wake_at) = (TaskState::Working, None);
        task.work.idle = 0;
    }
}

/// Somebody calls it off.
pub(super) fn cancel(task: &mut Task, reason: &str) -> Result<(), Refusal> {
    if task.state.is_over() {
        return Err(format!("The task is {} already.", task.state.as_str()));
    }
    end(task, TaskState::Cancelled, reason);
    Ok(())
}

#[cfg(test)]
mod tests {
    use sid_types::{Acceptance, AgentId, ConversationId, TaskId};

    use super::*;

    fn working() -> Task {
        let mut task = Task::new(TaskId::new(), AgentId::new(), None, ConversationId::new(), "Find a venue");
        (task.state, task.report_to) = (TaskState::Working, Some(ConversationId::new()));
        task
    }

    #[test]
    fn a_task_is_done_only_when_each_check_is_answered_and_no_step_is_open() {
        let mut task = working();
        task.acceptance = Acceptance { text: "The user agrees.".into(), checks: vec!["seats 40".into(), "below 900 EUR".into()] };
        plan(&mut task, vec!["look".into()]).expect("a plan");
        let met = |how: &str| (true, how.to_owned());
        assert!(complete(&mut task, "Red Room", "she said yes", vec![met("44 seats")]).is_err_and(|e| e.contains("2. below 900 EUR")));
        let unmet = vec![met("44 seats"), (false, "1,000 EUR".to_owned())];
        assert!(complete(&mut task, "Red Room", "she said yes", unmet).is_err_and(|e| e.contains("below 900 EUR")));
        let all = || vec![met("44 seats"), met("800 EUR")];
        assert!(complete(&mut task, "Red Room", "", all()).is_err_and(|e| e.contains("The user agrees.")));
        assert!(complete(&mut task, "Red Room", "she said yes", all()).is_err_and(|e| e.contains("look")));
        assert_eq!((task.state, task.work.outbox.len()), (TaskState::Working, 0), "a refusal changes nothing");
        update(&mut task, Some((1, PlanStepState::Done)), "two found", "", false).expect("a step");
        complete(&mut task, "Red Room", "she said yes", all()).expect("done");
        assert_eq!((task.state, task.work.outbox.len()), (TaskState::Done, 1));
        assert!(update(&mut task, None, "", "more", false).is_err());
    }

    #[test]
    fn a_question_stops_the_work_until_it_is_answered() {
        let mut task = working();
        assert!(answer(&mut task, "yes").is_err());
        ask(&mut task, "Red or blue?").expect("asked");
        assert_eq!((task.state, task.work.outbox.len()), (TaskState::WaitingUser, 1));
        assert!(task.work.outbox[0].text.contains("Red or blue?"));
        for refused in [ask(&mut task, "again?"), complete(&mut task, "x", "", vec![]), wait(&mut task, None, Timestamp::UNIX_EPOCH)] {
            assert!(refused.is_err_and(|e| e.contains("waits for an answer")));
        }
        answer(&mut task, "blue").expect("answered");
        assert_eq!((task.state, &task.question), (TaskState::Working, &None));
        assert!(words::brief(&task).contains("The answer: blue"));
        let mut alone = Task { report_to: None, ..working() };
        assert!(ask(&mut alone, "anybody?").is_err(), "there is nobody to ask");
    }

    #[test]
    fn a_new_plan_keeps_what_was_done() {
        let mut task = working();
        plan(&mut task, vec!["a".into(), "b".into()]).expect("a plan");
        update(&mut task, Some((1, PlanStepState::Done)), "", "", false).expect("a step");
        plan(&mut task, vec!["c".into(), "a".into()]).expect("a plan");
        let states: Vec<_> = task.plan.iter().map(|s| (s.text.as_str(), s.state)).collect();
        assert_eq!(states, [("c", PlanStepState::Open), ("a", PlanStepState::Done)]);
        assert!(update(&mut task, Some((3, PlanStepState::Done)), "", "", false).is_err_and(|e| e.contains("no step 3")));
    }
}
