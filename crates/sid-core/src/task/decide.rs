//! What becomes of a task next: pure, from its record and the time.

use jiff::{SignedDuration, Timestamp};
use sid_types::{Held, Run, RunLimits, RunStatus, StopReason, Task, TaskState};

use super::{change, words};

/// Runs that fail in a row until a task fails.
const MOST_FAILURES: u32 = 6;
/// Runs in a row in which the agent calls nothing until a task fails.
const MOST_IDLE: u32 = 5;
/// How long a letter rests that could not be delivered.
pub(super) const LETTER_REST: SignedDuration = SignedDuration::from_secs(10);
/// How long a task rests when its tenant's tokens are used up.
const BUDGET_REST: SignedDuration = SignedDuration::from_mins(10);

/// How long a task rests whose agent has nothing to do but to wait for what it handed on, unless there is news of that.
const PARTS_REST: SignedDuration = SignedDuration::from_hours(24);

/// The task after its run has ended: what it used is counted, and a failure makes it rest, longer each time. `waits_for_parts`: others work on
/// something that it handed on.
pub(super) fn settle(mut task: Task, run: &Run, cost_micros: u64, waits_for_parts: bool, now: Timestamp) -> Task {
    task.used.add(run, cost_micros);
    task.work.run = None;
    task.work.brief.clear();
    task.work.not_before = None;
    let later = |rest: SignedDuration| now.checked_add(rest).ok();
    match run.status {
        RunStatus::Failed if run.stop_reason == Some(StopReason::Budget) => task.work.not_before = later(BUDGET_REST),
        RunStatus::Failed => {
            task.work.failures += 1;
            let seconds = 5 << task.work.failures.min(7);
            task.work.not_before = later(SignedDuration::from_secs(seconds));
            if task.work.failures >= MOST_FAILURES && task.state == TaskState::Working {
                let error = run.error.clone().unwrap_or_default();
                change::fail(&mut task, &format!("its runs fail: {error}"));
            }
        }
        _ => {
            task.work.failures = 0;
            let has_news = !task.work.inbox.is_empty();
            // As if its agent had called `wait_until`.
            if is_idle(run) && waits_for_parts && !has_news && change::wait(&mut task, later(PARTS_REST), now).is_ok() {
                return task;
            }
            task.work.idle = if is_idle(run) { task.work.idle + 1 } else { 0 };
            if task.work.idle >= MOST_IDLE && task.state == TaskState::Working {
                change::fail(&mut task, &format!("no progress: its agent did nothing in {MOST_IDLE} runs in a row"));
            }
        }
    }
    task
}

/// Whether the agent called nothing.
pub(super) fn is_idle(run: &Run) -> bool {
    run.steps <= 1
}

/// The task as it goes on: with a new run, woken, or failed; `None` when there is nothing to do.
pub(super) fn next(mut task: Task, parent_is_over: bool, now: Timestamp) -> Option<Task> {
    if task.state.is_over() {
        return None;
    }
    if parent_is_over {
        change::end(&mut task, TaskState::Cancelled, "the task that handed it on is over");
        return Some(task);
    }
    if task.deadline.is_some_and(|at| at <= now) {
        change::fail(&mut task, "deadline");
        return Some(task);
    }
    match task.state {
        TaskState::WaitingTime if task.wake_at.is_some_and(|at| at <= now) => {
            change::wake(&mut task, "The time that you waited for has come.".into());
            Some(task)
        }
        TaskState::Planned | TaskState::Working if task.work.not_before.is_none_or(|at| at <= now) => {
            if let Some(what) = used_up(&task) {
                change::fail(&mut task, &format!("budget: its {what} are used up"));
                return Some(task);
            }
            task.work.turn += 1;
            task.state = TaskState::Working;
            task.work.not_before = None;
            task.work.held = task.work.held.filter(|_| !task.work.kept_back.is_empty());
            task.work.brief = words::brief(&task);
            task.work.inbox.clear();
            task.work.run = Some(task.run_of_turn(task.work.turn));
            Some(task)
        }
        _ => None,
    }
}

/// The task whose next run waits.
pub(super) fn rest(mut task: Task, held: Held) -> Task {
    task.work.not_before = held.until;
    task.work.held = Some(held);
    task
}

/// The task whose letters wait. It goes on meanwhile.
pub(super) fn keep_back(mut task: Task, held: Held) -> Task {
    task.work.kept_back.append(&mut task.work.outbox);
    task.work.kept_until = held.until;
    task.work.held = Some(held);
    task.work.not_before = None;
    task
}

/// The task whose letters have waited long enough.
pub(super) fn let_go(mut task: Task) -> Task {
    task.work.outbox = std::mem::take(&mut task.work.kept_back);
    task.work.kept_until = None;
    task
}

/// What of the budget is used up, if anything is.
fn used_up(task: &Task) -> Option<&'static str> {
    let (budget, used) = (&task.budget, &task.used);
    [
        (used.steps >= budget.max_steps, "steps"),
        (used.tokens >= budget.max_tokens, "tokens"),
        (budget.max_cost_micros.is_some_and(|most| used.cost_micros >= most), "costs"),
        (used.time_ms >= budget.max_time_ms, "hours"),
    ]
    .into_iter()
    .find_map(|(is_over, what)| is_over.then_some(what))
}

/// What the next run may use up: the usual, but no more than what is left.
pub(super) fn limits(task: &Task, usual: RunLimits, now: Timestamp) -> RunLimits {
    let (budget, used) = (&task.budget, &task.used);
    let until_deadline = task.deadline.map_or(u64::MAX, |at| u64::try_from(at.duration_since(now).as_millis()).unwrap_or(0));
    // The price of what was used so far tells how far the rest of the money goes.
    let affordable = match budget.max_cost_micros {
        Some(most) if used.cost_micros > 0 => {
            let left = most.saturating_sub(used.cost_micros);
            let tokens = u128::from(left) * u128::from(used.tokens) / u128::from(used.cost_micros);
            u64::try_from(tokens).unwrap_or(u64::MAX)
        }
        _ => u64::MAX,
    };
    RunLimits {
        max_steps: usual.max_steps.min(budget.max_steps.saturating_sub(used.steps)).max(1),
        max_tokens: usual.max_tokens.min(budget.max_tokens.saturating_sub(used.tokens)).min(affordable).max(1),
        max_time_ms: usual.max_time_ms.min(budget.max_time_ms.saturating_sub(used.time_ms)).min(until_deadline).max(1),
        max_repeats: usual.max_repeats,
    }
}

#[cfg(test)]
mod tests {
    use sid_types::{AgentId, ConversationId, Priority, RunId, TaskBudget, TaskId, Usage};

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn task() -> Task {
        let conversation = ConversationId::new();
        let mut task = Task::new(TaskId::new(), AgentId::new(), None, conversation, "Find a venue");
        (task.report_to, task.work.report_agent) = (Some(ConversationId::new()), Some(task.agent));
        task.budget = TaskBudget { max_steps: 10, max_tokens: 1_000, max_cost_micros: Some(500), max_time_ms: 60_000 };
        task
    }

    fn run(task: &Task, status: RunStatus, steps: u32, tokens: u64) -> Run {
        let usage = Usage { prompt_tokens: tokens, ..Usage::default() };
        let later = NOW.checked_add(SignedDuration::from_secs(2)).expect("a time");
        Run {
            id: task.work.run.unwrap_or_else(RunId::new),
            conversation: task.conversation,
            agent: task.agent,
            status,
            stop_reason: None,
            error: Some("no model".into()),
            limits: RunLimits::default(),
            priority: Priority::Task,
            steps,
            usage,
            commits: 1,
            cancel_requested: false,
            stimulus: Vec::new(),
            client_tools: Vec::new(),
            created_at: NOW,
            started_at: Some(NOW),
            ended_at: Some(later),
        }
    }

    #[test]
    fn a_task_goes_from_turn_to_turn_with_a_run_for_each() {
        let first = next(task(), false, NOW).expect("it begins");
        assert_eq!((first.state, first.work.turn, first.work.run), (TaskState::Working, 1, Some(first.run_of_turn(1))));
        let ended = run(&first, RunStatus::Completed, 3, 100);
        let settled = settle(first, &ended, 50, false, NOW);
        assert_eq!((settled.used.runs, settled.used.steps, settled.used.tokens, settled.used.cost_micros), (1, 3, 100, 50));
        assert_eq!((settled.used.time_ms, settled.work.run), (2_000, None));
        let left = limits(&settled, RunLimits::default(), NOW);
        assert_eq!((left.max_steps, left.max_tokens, left.max_time_ms), (7, 900, 58_000));
        let second = next(settled, false, NOW).expect("it goes on");
        assert_eq!(second.work.run, Some(second.run_of_turn(2)));
    }

    #[test]
    fn a_task_over_its_budget_or_deadline_ends_with_a_letter() {
        let spend: [fn(&mut Task); 4] =
            [|t| t.used.steps = 10, |t| t.used.tokens = 1_000, |t| t.used.cost_micros = 500, |t| t.used.time_ms = 60_000];
        for edit in spend {
            let mut task = task();
            task.state = TaskState::Working;
            edit(&mut task);
            let ended = next(task, false, NOW).expect("it ends");
            assert_eq!((ended.state, ended.work.outbox.len()), (TaskState::Failed, 1));
            assert!(ended.failure.as_deref().is_some_and(|f| f.starts_with("budget")), "{:?}", ended.failure);
        }
        for state in [TaskState::Planned, TaskState::Working, TaskState::WaitingUser, TaskState::WaitingTime] {
            let ended = next(Task { state, deadline: Some(NOW), ..task() }, false, NOW).expect("it ends");
            assert_eq!((ended.state, ended.failure.as_deref(), ended.work.outbox.len()), (TaskState::Failed, Some("deadline"), 1));
        }
    }

    #[test]
    fn a_task_that_waits_is_left_alone_until_its_time() {
        let later = NOW.checked_add(SignedDuration::from_secs(60)).expect("a time");
        assert!(next(Task { state: TaskState::WaitingUser, ..task() }, false, NOW).is_none());
        assert!(next(Task { state: TaskState::WaitingTime, wake_at: Some(later), ..task() }, false, NOW).is_none());
        let woken = next(Task { state: TaskState::WaitingTime, wake_at: Some(later), ..task() }, false, later).expect("it wakes");
        assert_eq!((woken.state, woken.wake_at, woken.work.run), (TaskState::Working, None, None));
        assert!(next(Task { state: TaskState::Done, deadline: Some(NOW), ..task() }, false, NOW).is_none());
    }

    #[test]
    fn runs_that_fail_make_a_task_rest_and_then_fail() {
        let mut task = Task { state: TaskState::Working, ..task() };
        let mut rests = Vec::new();
        while task.state == TaskState::Working {
            let ended = run(&task, RunStatus::Failed, 0, 0);
            task = settle(task, &ended, 0, false, NOW);
            rests.push(task.work.not_before.map(|at| at.duration_since(NOW).as_secs()));
            assert!(task.state != TaskState::Working || next(task.clone(), false, NOW).is_none(), "it rests");
        }
        assert_eq!(rests.len(), 6);
        assert!(rests.windows(2).all(|w| w[0] < w[1]), "{rests:?}");
        assert_eq!((task.state, task.work.outbox.len()), (TaskState::Failed, 1));
    }

    #[test]
    fn an_agent_that_does_nothing_run_after_run_ends_its_task() {
        let mut task = Task { state: TaskState::Working, ..task() };
        for _ in 0..MOST_IDLE {
            assert_eq!(task.state, TaskState::Working);
            let ended = run(&task, RunStatus::Completed, 1, 1);
            task = settle(task, &ended, 0, false, NOW);
        }
        assert_eq!((task.state, task.work.outbox.len()), (TaskState::Failed, 1));
    }

    #[test]
    fn an_agent_that_waits_for_what_it_handed_on_is_not_woken_until_there_is_news() {
        let working = || Task { state: TaskState::Working, ..task() };
        let idle = run(&working(), RunStatus::Completed, 1, 1);
        let resting = settle(working(), &idle, 0, true, NOW);
        assert_eq!((resting.state, resting.work.idle), (TaskState::WaitingTime, 0));
        assert!(next(resting.clone(), false, NOW).is_none());
        let mut told = resting.clone();
        change::wake(&mut told, "It is done.".into());
        assert!(next(told, false, NOW).expect("it goes on").work.brief.contains("It is done."));
        let much_later = NOW.checked_add(PARTS_REST).expect("a time");
        assert_eq!(next(resting, false, much_later).expect("it looks after it").state, TaskState::Working);
        // Not when the agent did something, nor when the news came while it was running.
        let busy = run(&working(), RunStatus::Completed, 2, 1);
        assert_eq!(settle(working(), &busy, 0, true, NOW).state, TaskState::Working);
        let mut told = working();
        change::wake(&mut told, "It is done.".into());
        assert_eq!(settle(told, &idle, 0, true, NOW).state, TaskState::Working);
    }
}
