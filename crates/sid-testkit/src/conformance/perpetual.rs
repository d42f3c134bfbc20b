//! What agents begin by themselves: whose turn it is, what is counted, what waits.

use sid_store::{Accept, DiaryQuery, DiaryWork, Effect, SelfBegun, StoreError};
use sid_types::{Conversation, DiaryLevel, NewMessage, Priority, RunId, StopReason, Timestamp, User};

use super::World;
use super::steps::step;
use super::world::{TTL, assert_error, finish};

impl World {
    /// Accepts a stimulus that waits for a worker.
    async fn wakes(&self, talk: &Conversation, priority: Priority) -> RunId {
        let accept = Accept { priority, ..self.stimulus(talk, priority.as_str()) };
        let run = self.store.accept(&self.ours.scope, accept).await.expect("accepted").run;
        assert_eq!(run.priority, priority);
        run.id
    }

    /// Claims, and ends, one run after the other; answers them in their order.
    async fn all_runs(&self) -> Vec<RunId> {
        let mut order = Vec::new();
        while let Some(lease) = self.claim().await {
            let mut next = Some(lease);
            while let Some(lease) = next {
                order.push(lease.run);
                next = self.answer(&lease, "done").await;
            }
        }
        order
    }
}

/// Of what waits in a conversation a user goes first, then tasks, timers, heartbeats; those of one kind in commit order.
pub async fn users_go_before_what_agents_begin(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let mut accepted = Vec::new();
    for priority in
        [Priority::Heartbeat, Priority::Timer, Priority::Task, Priority::User, Priority::Heartbeat, Priority::User, Priority::Task]
    {
        accepted.push((priority, w.wakes(&talk, priority).await));
    }
    let mut expected = accepted.clone();
    expected.sort_by_key(|(priority, _)| *priority);
    assert_eq!(w.all_runs().await, expected.iter().map(|(_, run)| *run).collect::<Vec<_>>());
    let stored = w.store.runs(&w.ours.scope, talk.id, 10).await.expect("listed");
    assert!(stored.iter().all(|run| accepted.contains(&(run.priority, run.id))), "the priority is kept");
}

/// A run is overtaken by nothing that was accepted later than its patience lasts.
pub async fn nothing_waits_for_ever(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    for priority in [Priority::Task, Priority::Timer, Priority::Heartbeat] {
        let patient = w.wakes(&talk, priority).await;
        let patience = i64::try_from(priority.patience().as_secs()).expect("minutes");
        w.wait(patience - 1);
        let before = w.wakes(&talk, Priority::User).await;
        w.wait(2);
        let after = w.wakes(&talk, Priority::User).await;
        assert_eq!(w.all_runs().await, [before, patient, after], "{priority:?}");
    }
}

/// What is under way is not put aside, and what was claimed keeps its place when its worker is gone.
pub async fn a_run_under_way_is_not_overtaken(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let beat = w.wakes(&talk, Priority::Heartbeat).await;
    let lease = w.claim().await.expect("claimed");
    let user = w.wakes(&talk, Priority::User).await;
    assert_eq!(lease.run, beat);
    w.wait(i64::try_from(TTL.as_secs()).expect("seconds") + 1);
    let again = w.claim().await.expect("claimed again");
    assert_eq!((again.run, again.epoch > lease.epoch), (beat, true));
    w.store.release(&again).await.expect("released");
    let once_more = w.claim().await.expect("claimed once more");
    assert_eq!(once_more.run, beat);
    assert_eq!(w.answer(&once_more, "done").await.expect("the next one").run, user);
}

/// Among the conversations of a tenant as well the earliest turn goes first, and tenants take turns all the same.
pub async fn work_is_claimed_by_its_turn(w: World) {
    let mut beats = Vec::new();
    for _ in 0..3 {
        beats.push(w.wakes(&w.talk(&w.ours.ann).await, Priority::Heartbeat).await);
    }
    let busy = w.talk(&w.ours.bob).await;
    let timer = w.wakes(&busy, Priority::Timer).await;
    let user = w.wakes(&w.talk(&w.ours.bob).await, Priority::User).await;
    let theirs = w.open(&w.theirs, &w.theirs.agent, Some(&w.theirs.ann)).await;
    let theirs = Accept { priority: Priority::Heartbeat, ..w.stimulus(&theirs, "theirs") };
    let theirs = w.store.accept(&w.theirs.scope, theirs).await.expect("accepted").run.id;
    let taken: Vec<RunId> = w.store.claim(w.worker, 3, usize::MAX, TTL).await.expect("claimed").iter().map(|l| l.run).collect();
    assert_eq!(taken, [user, theirs, timer], "a heartbeat of one tenant goes before the second run of another");
    let rest: Vec<RunId> = w.store.claim(w.worker, 9, usize::MAX, TTL).await.expect("claimed").iter().map(|l| l.run).collect();
    assert_eq!(rest, beats);
}

/// What nobody asked for is counted by agent and tenant, in hours and days: runs when they are accepted, tokens with their steps.
pub async fn what_agents_begin_by_themselves_is_counted(w: World) {
    let now: Timestamp = w.now();
    let used = async || w.store.self_begun(&w.ours.scope, w.ours.agent.id).await.expect("read");
    assert_eq!((used().await.agent, used().await.tenant, used().await.now), (SelfBegun::default(), SelfBegun::default(), now));
    let talk = w.talk(&w.ours.ann).await;
    let others = w.open(&w.ours, &w.ours.other_agent, Some(&w.ours.ann)).await;
    w.wakes(&talk, Priority::User).await;
    w.wakes(&others, Priority::Heartbeat).await;
    let again = Accept { priority: Priority::Timer, ..w.stimulus(&talk, "twice") };
    for _ in 0..2 {
        w.store.accept(&w.ours.scope, again.clone()).await.expect("accepted once");
    }
    let mut next = w.store.claim(w.worker, 9, usize::MAX, TTL).await.expect("claimed");
    while let Some(lease) = next.pop() {
        let recorded = Effect::RecordStep(Box::new(step(&w, lease.run, 1)));
        let said = Effect::Append(vec![NewMessage::assistant("done", now)]);
        next.extend(w.commit(&lease, vec![said, recorded, finish(StopReason::EndTurn)]).await.next);
    }
    let (one, two) = (
        SelfBegun { runs_this_hour: 1, runs_today: 1, tokens_today: 110 },
        SelfBegun { runs_this_hour: 2, runs_today: 2, tokens_today: 220 },
    );
    assert_eq!((used().await.agent, used().await.tenant), (one, two));
    let theirs = w.store.self_begun(&w.theirs.scope, w.theirs.agent.id).await.expect("read");
    assert_eq!((theirs.agent, theirs.tenant), (SelfBegun::default(), SelfBegun::default()), "another tenant has begun nothing");
    w.wait(3_600);
    assert_eq!(used().await.agent, SelfBegun { runs_this_hour: 0, ..one }, "the next hour");
    w.store.erase(&w.ours.scope, sid_store::EraseTarget::Conversation(talk.id)).await.expect("erased");
    assert_eq!(used().await.agent.runs_today, 1, "what was begun stays begun");
    w.wait(86_400);
    assert_eq!((used().await.agent, used().await.tenant), (SelfBegun::default(), SelfBegun::default()), "the next day");
}

/// A user's quiet hours are kept with the user.
pub async fn quiet_hours_are_kept(w: World) {
    let quiet_hours = Some("22:00-07:00".parse().expect("hours"));
    let ann = w.store.update_user(&w.ours.scope, User { quiet_hours, ..w.ours.ann.clone() }).await.expect("changed");
    assert_eq!(ann, User { quiet_hours, ..w.ours.ann.clone() });
    assert_eq!(w.store.user(&w.ours.scope, ann.id).await.expect("there"), ann);
    assert_eq!(w.load(&w.begin(&w.talk(&ann).await, "hello").await).await.user, Some(ann.clone()), "a turn sees them");
    w.store.update_user(&w.ours.scope, w.ours.ann.clone()).await.expect("changed back");
    assert_eq!(w.store.user(&w.ours.scope, ann.id).await.expect("there").quiet_hours, None);
}

/// A page whose model failed is due again, but not before its time; the page that stands in keeps nothing above it waiting.
pub async fn a_page_that_failed_is_made_again(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let then: Timestamp = "2026-02-10T10:00:00Z".parse().expect("a time");
    w.store.append(&w.ours.scope, talk.id, vec![NewMessage::user("told", then)]).await.expect("imported");
    let due = async || w.store.diary_work(w.now(), 10).await.expect("listed");
    let first = due().await.remove(0);
    assert_eq!((first.level, first.tries), (DiaryLevel::Day, 0));
    let not_before = w.now() + jiff::SignedDuration::from_mins(10);
    w.store.redo_diary(&DiaryWork { tries: 1, ..first.clone() }, not_before).await.expect("marked");
    w.write_page(&first, "a page that stands in").await;
    let above = due().await;
    assert_eq!(above.iter().map(|d| d.level).collect::<Vec<_>>(), [DiaryLevel::Week], "the day waits, and the week does not");
    w.write_page(&above[0], "a week").await;
    w.wait(601);
    let again = due().await.into_iter().find(|d| d.level == DiaryLevel::Day).expect("it is due again");
    assert_eq!(again, DiaryWork { tries: 1, ..first.clone() });
    w.write_page(&again, "a page by the model").await;
    assert!(due().await.iter().all(|d| d.level != DiaryLevel::Day), "it is done");
    assert!(due().await.iter().any(|d| d.level == DiaryLevel::Week), "and the week is older than its day");
    let days = DiaryQuery { level: Some(DiaryLevel::Day), from: None, to: None, limit: 10 };
    let pages = w.store.diary(&w.ours.scope, w.ours.pair(), &days).await.expect("read");
    assert_eq!(pages.iter().map(|p| p.text.as_str()).collect::<Vec<_>>(), ["a page by the model"]);
    let wrong = DiaryWork { level: DiaryLevel::Week, start: jiff::civil::date(2026, 2, 10), ..first.clone() };
    assert_error!(w.store.redo_diary(&wrong, not_before).await, StoreError::Invalid(_));
    let foreign = DiaryWork { scope: w.theirs.scope, ..first };
    assert_error!(w.store.redo_diary(&foreign, not_before).await, StoreError::NotFound { .. });
}
