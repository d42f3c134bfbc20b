//! Tasks: kept by version, seen by those whose they are, due when something is to be done for them.

use sid_store::{EraseTarget, Page, PageRequest, StoreError, TaskFilter};
use sid_types::{Conversation, PlanStep, PlanStepState, RunId, Scope, StopReason, Task, TaskCreator, TaskId, TaskState};

use super::World;
use super::world::{assert_error, finish};

impl World {
    /// A task of our agent in a conversation, made by the application.
    async fn task_in(&self, talk: &Conversation, title: &str) -> Task {
        let task = Task::new(TaskId::new(), talk.agent, talk.user, talk.id, title);
        self.store.create_task(&self.ours.scope, task).await.expect("a task is made")
    }

    async fn amend(&self, mut task: Task, edit: impl FnOnce(&mut Task)) -> Task {
        edit(&mut task);
        self.store.change_task(&self.ours.scope, task).await.expect("a task is changed")
    }

    async fn listed_tasks(&self, scope: &Scope, filter: TaskFilter) -> Vec<TaskId> {
        let page = PageRequest { after: None, limit: 100 };
        self.store.tasks(scope, &filter, page).await.expect("listed").items.iter().map(|t| t.id).collect()
    }

    async fn due_now(&self, per_tenant: usize) -> Vec<TaskId> {
        self.store.due_tasks(100, per_tenant).await.expect("looked for").into_iter().map(|(_, id)| id).collect()
    }
}

/// A task is read as it was made and changed, whatever stands in it; the same id again makes no second one.
pub async fn tasks_are_kept_as_they_were_written(w: World) {
    let (s, scope) = (&*w.store, &w.ours.scope);
    let talk = w.talk(&w.ours.ann).await;
    let mut task = Task::new(TaskId::new(), talk.agent, talk.user, talk.id, "Find a venue");
    task.objective = "odd: \u{0} \u{fffd} \u{10FFFF} ü 😀 \\u0000 '\"".into();
    task.acceptance.checks = vec!["seats 40".into()];
    task.created_by = TaskCreator::Agent { agent: talk.agent };
    task.report_to = Some(talk.id);
    let made = s.create_task(scope, task.clone()).await.expect("made");
    assert_eq!((made.version, &made.objective, made.state), (1, &task.objective, TaskState::Planned));
    assert_eq!(s.task(scope, task.id).await.expect("there"), made);
    w.wait(60);
    let step = PlanStep { text: "ask around".into(), state: PlanStepState::Doing, note: String::new() };
    let changed = w.amend(made.clone(), |t| (t.state, t.plan) = (TaskState::Working, vec![step])).await;
    assert_eq!((changed.version, changed.created_at), (2, made.created_at));
    assert!(changed.updated_at > made.updated_at);
    assert_eq!(s.task(scope, task.id).await.expect("there"), changed);
    assert_eq!(s.create_task(scope, task).await.expect("made already"), changed);
    assert_eq!(w.listed_tasks(scope, TaskFilter::default()).await, [changed.id]);
}

/// Who has read another version changes nothing, and of two at once one wins; a state changes as states may, and what never changes stays.
pub async fn tasks_change_by_version_and_state(w: World) {
    let (s, scope) = (&*w.store, &w.ours.scope);
    let talk = w.talk(&w.ours.ann).await;
    let made = w.task_in(&talk, "t").await;
    let with = |edit: &dyn Fn(&mut Task)| {
        let mut task = made.clone();
        edit(&mut task);
        s.change_task(scope, task)
    };
    assert_error!(with(&|t| t.version = 2).await, StoreError::Conflict { expected: 2, found: 1 });
    assert_error!(with(&|t| t.state = TaskState::Done).await, StoreError::Invalid(_));
    assert_error!(with(&|t| t.user = Some(w.ours.bob.id)).await, StoreError::NotFound { .. } | StoreError::Invalid(_));
    assert_error!(with(&|t| t.agent = w.ours.other_agent.id).await, StoreError::Invalid(_));
    assert_error!(with(&|t| t.title = " ".into()).await, StoreError::Invalid(_));
    assert_error!(with(&|t| t.objective = "x".repeat(Task::BYTES)).await, StoreError::TooLarge { .. });
    let words: Vec<String> = (0..8).map(|i| format!("writer {i}")).collect();
    let written = futures::future::join_all(words.iter().map(|word| {
        let mut task = made.clone();
        (task.state, task.progress) = (TaskState::Working, word.clone());
        s.change_task(scope, task)
    }))
    .await;
    assert_eq!(written.iter().filter(|r| r.is_ok()).count(), 1, "{written:?}");
    let done = w.amend(s.task(scope, made.id).await.expect("there"), |t| t.state = TaskState::Done).await;
    let mut again = done;
    again.state = TaskState::Working;
    assert_error!(s.change_task(scope, again).await, StoreError::Invalid(_));
    assert_error!(s.change_task(scope, Task { id: TaskId::new(), ..made.clone() }).await, StoreError::NotFound { .. });
}

/// A person sees her own, a turn those of its human that its agent works on or made, nobody another tenant's.
pub async fn tasks_are_seen_by_those_whose_they_are(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let mut made = Vec::new();
    for (agent, user) in [(&o.agent, Some(&o.ann)), (&o.agent, Some(&o.bob)), (&o.other_agent, Some(&o.ann)), (&o.agent, None)] {
        let talk = w.open(o, agent, user).await;
        made.push(w.task_in(&talk, "t").await.id);
        w.wait(1);
    }
    // The other agent's task that ours made for ann.
    let talk = w.open(o, &o.other_agent, Some(&o.ann)).await;
    let mut handed = Task::new(TaskId::new(), talk.agent, talk.user, talk.id, "handed on");
    handed.created_by = TaskCreator::Agent { agent: o.agent.id };
    made.push(s.create_task(&o.as_turn(&o.other_agent, Some(&o.ann)), handed).await.expect("made").id);
    let cases = [
        (o.scope, vec![0, 1, 2, 3, 4]),
        (o.as_user(&o.ann), vec![0, 2, 4]),
        (o.as_user(&o.bob), vec![1]),
        (o.as_turn(&o.agent, Some(&o.ann)), vec![0, 4]),
        (o.as_turn(&o.other_agent, Some(&o.ann)), vec![2, 4]),
        (o.as_turn(&o.other_agent, Some(&o.bob)), vec![]),
        (o.as_turn(&o.agent, None), vec![3]),
        (w.theirs.scope, vec![]),
    ];
    for (scope, seen) in cases {
        let expected: Vec<TaskId> = seen.iter().rev().map(|i| made[*i]).collect();
        assert_eq!(w.listed_tasks(&scope, TaskFilter::default()).await, expected, "{scope:?}");
        for (i, id) in made.iter().enumerate() {
            let found = s.task(&scope, *id).await;
            assert_eq!(found.is_ok(), seen.contains(&i), "{scope:?} {i}");
            let task = s.task(&o.scope, *id).await.expect("there");
            assert_eq!(s.change_task(&scope, task).await.is_ok(), seen.contains(&i), "{scope:?} {i}");
        }
    }
    let anns = w.talk(&o.ann).await;
    let task = || Task::new(TaskId::new(), o.agent.id, Some(o.ann.id), anns.id, "t");
    for scope in [&w.theirs.scope, &o.as_user(&o.bob), &o.as_turn(&o.other_agent, Some(&o.ann))] {
        assert_error!(s.create_task(scope, task()).await, StoreError::NotFound { .. });
    }
    let elsewhere = Task { agent: o.other_agent.id, ..task() };
    assert_error!(s.create_task(&o.scope, elsewhere).await, StoreError::NotFound { .. });
}

/// Lists filter, and come in pages, newest first.
pub async fn tasks_are_listed_in_pages(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let (anns, bobs) = (w.talk(&o.ann).await, w.talk(&o.bob).await);
    let first = w.task_in(&anns, "a").await;
    w.wait(1);
    let second = w.task_in(&bobs, "b").await;
    w.wait(1);
    let mut third = Task::new(TaskId::new(), anns.agent, anns.user, anns.id, "c");
    (third.parent, third.report_to) = (Some(first.id), Some(bobs.id));
    let third = s.create_task(&o.scope, third).await.expect("made");
    w.amend(second.clone(), |t| t.state = TaskState::Cancelled).await;
    let all = TaskFilter::default;
    let cases = [
        (all(), vec![third.id, second.id, first.id]),
        (TaskFilter { user: Some(o.ann.id), ..all() }, vec![third.id, first.id]),
        (TaskFilter { agent: Some(o.other_agent.id), ..all() }, vec![]),
        (TaskFilter { state: Some(TaskState::Cancelled), ..all() }, vec![second.id]),
        (TaskFilter { is_open: true, ..all() }, vec![third.id, first.id]),
        (TaskFilter { conversation: Some(bobs.id), ..all() }, vec![second.id]),
        (TaskFilter { report_to: Some(bobs.id), ..all() }, vec![third.id]),
        (TaskFilter { parent: Some(first.id), ..all() }, vec![third.id]),
    ];
    for (filter, expected) in cases {
        assert_eq!(w.listed_tasks(&o.scope, filter.clone()).await, expected, "{filter:?}");
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let Page { items, next } = s.tasks(&o.scope, &all(), PageRequest { after, limit: 2 }).await.expect("listed");
        seen.extend(items.iter().map(|t| t.id));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, [third.id, second.id, first.id]);
}

/// A task is due when something is to be done for it, and not while its run lives; a run that is not there does not live.
pub async fn tasks_are_due_when_something_is_to_be_done(w: World) {
    let s = &*w.store;
    let talk = w.talk(&w.ours.ann).await;
    let task = w.task_in(&talk, "t").await;
    let turn = w.ours.as_turn(&w.ours.agent, Some(&w.ours.ann));
    assert_eq!(s.due_tasks(10, 10).await.expect("looked for"), [(turn, task.id)], "new, with the scope of its agent's turn");
    let soon = w.now() + jiff::SignedDuration::from_secs(100);
    let task = w.amend(task, |t| (t.state, t.work.not_before) = (TaskState::Working, Some(soon))).await;
    assert!(w.due_now(10).await.is_empty(), "not before its time");
    w.wait(200);
    assert_eq!(w.due_now(10).await, [task.id]);
    let run = RunId::new();
    let task = w.amend(task, |t| (t.work.run, t.work.not_before) = (Some(run), None)).await;
    assert_eq!(w.due_now(10).await, [task.id], "its run was never accepted");
    let accept = sid_store::Accept { run, ..w.stimulus(&talk, "go on") };
    s.accept(&w.ours.scope, accept).await.expect("accepted");
    assert!(w.due_now(10).await.is_empty(), "its run waits");
    let lease = w.claim().await.expect("work");
    assert!(w.due_now(10).await.is_empty(), "its run is under way");
    w.commit(&lease, vec![finish(StopReason::EndTurn)]).await;
    assert_eq!(w.due_now(10).await, [task.id], "its run has ended");
    let task = w
        .amend(task, |t| {
            (t.state, t.work.run, t.wake_at) = (TaskState::WaitingTime, None, Some(w.now() + jiff::SignedDuration::from_secs(50)))
        })
        .await;
    assert!(w.due_now(10).await.is_empty(), "it waits for a time");
    w.wait(60);
    assert_eq!(w.due_now(10).await, [task.id]);
    let task = w.amend(task, |t| t.state = TaskState::Working).await;
    let deadline = w.now() + jiff::SignedDuration::from_secs(500);
    let task = w.amend(task, |t| (t.state, t.deadline) = (TaskState::WaitingUser, Some(deadline))).await;
    assert!(w.due_now(10).await.is_empty(), "it waits for an answer");
    w.wait(600);
    assert_eq!(w.due_now(10).await, [task.id], "its deadline is over");
    let task = w.amend(task, |t| t.state = TaskState::Failed).await;
    assert!(w.due_now(10).await.is_empty(), "it is over");
    let task =
        w.amend(task, |t| (t.report_to, t.work.outbox) = (Some(talk.id), vec![sid_types::Letter { number: 1, text: "x".into() }])).await;
    assert_eq!(w.due_now(10).await, [task.id], "but for its last letter");
}

/// Tenants take turns, and of one tenant's tasks no more begin than it has room for.
pub async fn due_tasks_are_fair(w: World) {
    let (ours, theirs) = (w.talk(&w.ours.ann).await, w.open(&w.theirs, &w.theirs.agent, Some(&w.theirs.ann)).await);
    let mut made = Vec::new();
    for i in 0..5 {
        made.push(w.task_in(&ours, &format!("t{i}")).await);
        w.wait(1);
    }
    let other = Task::new(TaskId::new(), theirs.agent, theirs.user, theirs.id, "theirs");
    let other = w.store.create_task(&w.theirs.scope, other).await.expect("made").id;
    w.wait(1);
    let ids: Vec<TaskId> = made.iter().map(|t| t.id).collect();
    let first = w.store.due_tasks(2, 10).await.expect("looked for");
    assert_eq!(first.iter().map(|(_, id)| *id).collect::<Vec<_>>(), [ids[0], other], "each tenant's first");
    assert_eq!(w.due_now(2).await, [ids[0], other, ids[1]], "two of ours at once");
    // One of ours is under way: one place is left.
    let run = RunId::new();
    let first = w.amend(made.remove(0), |t| (t.state, t.work.run) = (TaskState::Working, Some(run))).await;
    w.store.accept(&w.ours.scope, sid_store::Accept { run, ..w.stimulus(&ours, "go on") }).await.expect("accepted");
    assert_eq!(w.due_now(2).await, [ids[1], other]);
    // A letter is no beginning, and needs no place.
    w.amend(first, |t| (t.report_to, t.work.outbox) = (Some(ours.id), vec![sid_types::Letter { number: 1, text: "x".into() }])).await;
    assert!(w.due_now(0).await.contains(&ids[0]), "letters go though there is no room for runs");
}

/// With a user, an agent or a conversation go its tasks, those that report there, and what they handed on; others stay.
pub async fn erasing_takes_tasks_along(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let all = TaskFilter::default;
    let (work, report, bobs) = (w.talk(&o.ann).await, w.talk(&o.ann).await, w.talk(&o.bob).await);
    let make = async |talk: &Conversation, edit: &dyn Fn(&mut Task)| {
        let mut task = Task::new(TaskId::new(), talk.agent, talk.user, talk.id, "t");
        edit(&mut task);
        w.wait(1);
        s.create_task(&o.scope, task).await.expect("made").id
    };
    let kept = make(&bobs, &|_| {}).await;
    let worked = make(&work, &|_| {}).await;
    let reporting = make(&bobs, &|t| t.report_to = Some(report.id)).await;
    make(&bobs, &|t| t.parent = Some(reporting)).await;
    let receipt = s.erase(&o.scope, EraseTarget::Conversation(report.id)).await.expect("erased");
    assert_eq!((receipt.tasks, w.listed_tasks(&o.scope, all()).await), (2, vec![worked, kept]));
    assert_eq!(s.erase(&o.scope, EraseTarget::Conversation(work.id)).await.expect("erased").tasks, 1);
    let anns = w.open(o, &o.other_agent, Some(&o.ann)).await;
    make(&anns, &|_| {}).await;
    assert_eq!(s.erase(&o.scope, EraseTarget::User(o.ann.id)).await.expect("erased").tasks, 1);
    make(&bobs, &|t| t.created_by = TaskCreator::Agent { agent: o.other_agent.id }).await;
    assert_eq!(s.erase(&o.scope, EraseTarget::Agent(o.other_agent.id)).await.expect("erased").tasks, 1);
    assert_eq!(w.listed_tasks(&o.scope, all()).await, [kept]);
    assert_eq!(s.erase(&o.scope, EraseTarget::Agent(o.agent.id)).await.expect("erased").tasks, 1);
    assert!(w.listed_tasks(&o.scope, all()).await.is_empty());
}
