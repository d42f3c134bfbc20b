//! Timers: made, taken when they are due, fired once, and whose they are.

use std::time::Duration;

use jiff::SignedDuration;
use sid_store::{DueTimers, EraseTarget, Firing, PageRequest, PairFilter, StoreError};
use sid_types::{
    AgentId, Body, Channel, Conversation, ConversationId, InQuietHours, Late, NewMessage, Run, Scope, Source, Timer, TimerId, TimerKind,
    TimerMaker, TimerSpec, TimerState, Timestamp, User, UserId, When,
};

use super::world::assert_error;
use super::{Tenancy, World};

const HOLD: Duration = Duration::from_secs(10);
const ALL: PageRequest = PageRequest { after: None, limit: 100 };

/// A timer of our agent with a person, every minute from a minute on.
pub(super) fn timer(w: &World, user: Option<&User>, conversation: Option<ConversationId>) -> Timer {
    let due = w.now().checked_add(SignedDuration::from_secs(60)).expect("soon");
    Timer {
        id: TimerId::new(),
        agent: w.ours.agent.id,
        user: user.map(|u| u.id),
        conversation,
        spec: TimerSpec {
            name: "water the plants".into(),
            stimulus: "It is time to water the plants.\u{0} \u{10FFFF}0 ü 😀".into(),
            when: When::Every { every_ms: 60_000, from: due },
            late: Late::RunOnce,
            kind: TimerKind::Reminder,
            in_quiet_hours: InQuietHours::Fire,
            only_when_open: false,
            until: None,
            most: None,
        },
        state: TimerState::Active,
        next_due: Some(due),
        fired: 0,
        skipped: 0,
        last_run: None,
        held: None,
        made_by: TimerMaker::Api,
        untrusted: vec![Source::new(Channel::Web, "plants.example")],
        version: 0,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

/// The answer to what is due: a run in the conversation, and the timer a minute later.
pub(super) fn firing(w: &World, talk: &Conversation, due: &Timer) -> Firing {
    let at = due.next_due.expect("it is active");
    let note = NewMessage::of(Body::Note { text: due.spec.stimulus.clone() }, w.now());
    let mut accept = w.stimulus(talk, "");
    (accept.run, accept.messages) = (Timer::run_for(due.id, at), vec![note]);
    let next_due = at.checked_add(SignedDuration::from_secs(60)).ok();
    Firing { timer: Timer { next_due, fired: due.fired + 1, last_run: Some(accept.run), ..due.clone() }, accept: Some(accept) }
}

async fn taken(w: &World, want: usize) -> DueTimers {
    w.store.take_timers(want, HOLD).await.expect("a look")
}

async fn runs(w: &World, talk: &Conversation) -> Vec<Run> {
    w.store.runs(&w.ours.scope, talk.id, 100).await.expect("runs")
}

/// A timer that waits is taken when the waiting is over, and not before; what it waits for is told.
pub async fn what_waits_is_taken_when_its_time_has_come(w: World) {
    let (s, scope) = (&*w.store, &w.ours.scope);
    let made = s.create_timer(scope, Timer { next_due: Some(w.now()), ..timer(&w, Some(&w.ours.ann), None) }, 100).await.expect("made");
    let until = w.now() + SignedDuration::from_secs(3_600);
    let held = Some(sid_types::Held { by: sid_types::HeldBy::QuietHours, at: w.now(), until: Some(until) });
    let put = s.put_timer(scope, Timer { held, ..made }).await.expect("put");
    assert_eq!((put.next_due, put.looked_at()), (Some(w.now()), Some(until)));
    let look = taken(&w, 10).await;
    assert_eq!((look.timers.len(), look.next), (0, Some(until)));
    w.wait(3_600);
    let look = taken(&w, 10).await;
    assert_eq!(look.timers.iter().map(|due| due.timer.clone()).collect::<Vec<_>>(), [put]);
}

/// What is made is read as it was; the same id again changes nothing; changes go by version; dropping forgets it.
pub async fn timers_are_kept_as_they_were_made(w: World) {
    let (s, scope) = (&*w.store, &w.ours.scope);
    let talk = w.talk(&w.ours.ann).await;
    let new = timer(&w, Some(&w.ours.ann), Some(talk.id));
    let made = s.create_timer(scope, new.clone(), 100).await.expect("made");
    assert_eq!(made, Timer { version: 1, created_at: w.now(), updated_at: w.now(), ..new.clone() });
    w.wait(1);
    assert_eq!(s.create_timer(scope, Timer { fired: 7, ..new }, 100).await.expect("a repetition"), made);
    assert_eq!(s.timer(scope, made.id).await.expect("there"), made);

    let more = vec![Source::new(Channel::Tool, "soil")];
    let paused = Timer { state: TimerState::Paused, next_due: None, fired: 3, agent: AgentId::new(), user: None, ..made.clone() };
    let paused = Timer { untrusted: more.clone(), ..paused };
    let put = s.put_timer(scope, paused).await.expect("put");
    let is_theirs = (put.agent, put.user, put.conversation) == (made.agent, made.user, made.conversation);
    assert!(is_theirs, "whose it is stays");
    assert_eq!(put.untrusted, [more, made.untrusted.clone()].concat(), "what it came from, too");
    assert_eq!((put.state, put.next_due, put.fired, put.version), (TimerState::Paused, None, 3, 2));
    assert_eq!((put.created_at, put.updated_at), (made.created_at, w.now()));
    assert_eq!(s.timer(scope, made.id).await.expect("there"), put);
    assert_error!(s.put_timer(scope, made.clone()).await, StoreError::Conflict { expected: 1, found: 2 });

    let alone = s.create_timer(scope, timer(&w, None, None), 100).await.expect("made");
    let page = |limit, after| PageRequest { after, limit };
    let first = s.timers(scope, &PairFilter::default(), page(1, None)).await.expect("a page");
    assert_eq!(first.items, std::slice::from_ref(&alone));
    let second = s.timers(scope, &PairFilter::default(), page(1, first.next)).await.expect("a page");
    assert_eq!((second.items, second.next), (vec![put.clone()], None));
    for (filter, found) in [
        (PairFilter { user: Some(w.ours.ann.id), ..PairFilter::default() }, vec![put.clone()]),
        (PairFilter { conversation: Some(talk.id), ..PairFilter::default() }, vec![put.clone()]),
        (PairFilter { agent: Some(made.agent), ..PairFilter::default() }, vec![alone, put]),
        (PairFilter { agent: Some(w.ours.other_agent.id), ..PairFilter::default() }, vec![]),
        (PairFilter { user: Some(UserId::new()), ..PairFilter::default() }, vec![]),
    ] {
        assert_eq!(s.timers(scope, &filter, ALL).await.expect("listed").items, found, "{filter:?}");
    }
    s.drop_timer(scope, made.id).await.expect("dropped");
    assert_error!(s.timer(scope, made.id).await, StoreError::NotFound { .. });
    assert_error!(s.drop_timer(scope, made.id).await, StoreError::NotFound { .. });
}

async fn seen(w: &World, scope: &Scope) -> Vec<TimerId> {
    w.store.timers(scope, &PairFilter::default(), ALL).await.expect("listed").items.into_iter().map(|t| t.id).collect()
}

/// Whoever sees the conversations of an agent with somebody sees their timers. A turn changes those of its own pair only.
pub async fn timers_are_seen_by_their_people(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let of = async |user: Option<&User>| s.create_timer(&o.scope, timer(&w, user, None), 100).await.expect("made").id;
    let (anns, bobs, alone) = (of(Some(&o.ann)).await, of(Some(&o.bob)).await, of(None).await);
    let (ann, turn) = (o.as_user(&o.ann), o.as_turn(&o.agent, Some(&o.ann)));
    let (by_itself, stranger) = (o.as_turn(&o.agent, None), o.as_turn(&o.other_agent, Some(&o.ann)));
    for (scope, visible) in [
        (&o.scope, vec![alone, bobs, anns]),
        (&ann, vec![anns]),
        (&turn, vec![alone, anns]),
        (&by_itself, vec![alone]),
        (&stranger, vec![]),
        (&w.theirs.scope, vec![]),
    ] {
        assert_eq!(seen(&w, scope).await, visible);
        for id in [anns, bobs, alone] {
            assert_eq!(s.timer(scope, id).await.is_ok(), visible.contains(&id));
        }
    }
    let there = s.timer(&o.scope, alone).await.expect("there");
    for scope in [&ann, &turn, &stranger, &w.theirs.scope] {
        assert_error!(s.put_timer(scope, there.clone()).await, StoreError::NotFound { .. });
        assert_error!(s.drop_timer(scope, alone).await, StoreError::NotFound { .. });
        let lost = Firing { timer: there.clone(), accept: None };
        assert_error!(s.fire_timer(scope, lost).await, StoreError::NotFound { .. });
    }
    for scope in [&o.as_user(&o.bob), &o.as_turn(&o.agent, Some(&o.bob)), &w.theirs.scope] {
        assert_error!(s.create_timer(scope, timer(&w, Some(&o.ann), None), 100).await, StoreError::NotFound { .. });
    }
    s.create_timer(&turn, timer(&w, Some(&o.ann), None), 100).await.expect("its own");
    s.drop_timer(&ann, anns).await.expect("her own");
}

/// A timer has its agent, its human and a conversation of these two, or is not made.
pub async fn timers_are_of_what_is_there(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let bobs = w.talk(&o.bob).await;
    let of_ann = timer(&w, Some(&o.ann), None);
    for wrong in [
        Timer { agent: AgentId::new(), ..of_ann.clone() },
        Timer { agent: w.theirs.agent.id, ..of_ann.clone() },
        Timer { user: Some(UserId::new()), ..of_ann.clone() },
        Timer { conversation: Some(ConversationId::new()), ..of_ann.clone() },
        Timer { conversation: Some(bobs.id), ..of_ann.clone() },
        Timer { conversation: Some(bobs.id), user: None, ..of_ann.clone() },
    ] {
        assert_error!(s.create_timer(&o.scope, wrong, 100).await, StoreError::NotFound { .. });
    }
    for wrong in [
        Timer { spec: TimerSpec { name: " ".into(), ..of_ann.spec.clone() }, ..of_ann.clone() },
        Timer { spec: TimerSpec { stimulus: "x".repeat(8_001), ..of_ann.spec.clone() }, ..of_ann.clone() },
        Timer { next_due: None, ..of_ann.clone() },
        Timer { state: TimerState::Paused, ..of_ann.clone() },
    ] {
        assert_error!(s.create_timer(&o.scope, wrong, 100).await, StoreError::Invalid(_));
    }
    assert!(seen(&w, &o.scope).await.is_empty());
}

/// So many that are not done, of an agent with one person; also when many are made at once.
pub async fn timers_have_a_limit(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let made = futures::future::join_all((0..8).map(|_| s.create_timer(&o.scope, timer(&w, Some(&o.ann), None), 3))).await;
    let made: Vec<&Timer> = made.iter().filter_map(|t| t.as_ref().ok()).collect();
    assert_eq!(made.len(), 3);
    assert_error!(s.create_timer(&o.scope, timer(&w, Some(&o.ann), None), 3).await, StoreError::Invalid(_));
    s.create_timer(&o.scope, timer(&w, Some(&o.bob), None), 3).await.expect("of somebody else");
    let done = Timer { state: TimerState::Done, next_due: None, ..made[0].clone() };
    s.put_timer(&o.scope, done).await.expect("done");
    s.create_timer(&o.scope, timer(&w, Some(&o.ann), None), 3).await.expect("there is room");
}

/// What is due by the store's clock is taken, oldest first, and by nobody else while it is held.
pub async fn due_timers_are_taken_and_held(w: World) {
    let (s, scope) = (&*w.store, &w.ours.scope);
    assert_eq!(taken(&w, 10).await, DueTimers { now: w.now(), timers: vec![], next: None });
    let later = |seconds: i64| w.now().checked_add(SignedDuration::from_secs(seconds)).expect("soon");
    let (first, second) = (later(60), later(90));
    let late = Timer { next_due: Some(second), ..timer(&w, None, None) };
    let late = s.create_timer(scope, late, 100).await.expect("made");
    let soon = s.create_timer(scope, timer(&w, Some(&w.ours.ann), None), 100).await.expect("made");
    w.wait(59);
    assert_eq!(taken(&w, 10).await, DueTimers { now: w.now(), timers: vec![], next: Some(first) });
    w.wait(1);
    let due = taken(&w, 10).await;
    assert_eq!(due.timers.iter().map(|d| &d.timer).collect::<Vec<_>>(), [&soon]);
    assert_eq!(due.timers[0].scope, w.ours.as_turn(&w.ours.agent, Some(&w.ours.ann)));
    assert_eq!(due.next, Some(w.now().checked_add(HOLD).expect("soon")), "it is held so long");
    assert!(taken(&w, 10).await.timers.is_empty());
    w.wait(30);
    assert!(taken(&w, 0).await.timers.is_empty());
    let ids = |due: &DueTimers| due.timers.iter().map(|d| d.timer.id).collect::<Vec<_>>();
    assert_eq!(ids(&taken(&w, 1).await), [soon.id], "nobody has answered: it is due again, and the older goes first");
    assert_eq!(ids(&taken(&w, 9).await), [late.id]);
    // Whoever changes it lets go of it.
    let there = s.timer(scope, late.id).await.expect("there");
    s.put_timer(scope, there).await.expect("put");
    assert_eq!(ids(&taken(&w, 9).await), [late.id]);
    let there = s.timer(scope, late.id).await.expect("there");
    s.put_timer(scope, Timer { state: TimerState::Paused, next_due: None, ..there }).await.expect("paused");
    w.wait(3_600);
    assert_eq!(ids(&taken(&w, 9).await), [soon.id], "what is paused is never due");
}

/// Takers at the same moment take different ones.
pub async fn due_timers_are_taken_by_one(w: World) {
    for _ in 0..20 {
        w.store.create_timer(&w.ours.scope, timer(&w, None, None), 100).await.expect("made");
    }
    w.wait(60);
    let looks = futures::future::join_all((0..6).map(|_| taken(&w, 4))).await;
    let mut ids: Vec<TimerId> = looks.iter().flat_map(|due| due.timers.iter().map(|d| d.timer.id)).collect();
    ids.extend(taken(&w, 100).await.timers.iter().map(|d| d.timer.id));
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((count, ids.len()), (20, 20), "each once");
}

/// A tenant with much that is due does not keep another one waiting.
pub async fn tenants_take_turns_with_timers(w: World) {
    let make = async |tenancy: &Tenancy, seconds: i64| {
        let due = w.now().checked_add(SignedDuration::from_secs(seconds)).ok();
        let new = Timer { agent: tenancy.agent.id, next_due: due, ..timer(&w, None, None) };
        w.store.create_timer(&tenancy.scope, new, 100).await.expect("made").id
    };
    let mut ours = Vec::new();
    for i in 0..10 {
        ours.push(make(&w.ours, i).await);
    }
    let theirs = make(&w.theirs, 30).await;
    w.wait(60);
    let due = taken(&w, 2).await;
    assert_eq!(due.timers.iter().map(|d| d.timer.id).collect::<Vec<_>>(), [ours[0], theirs]);
    assert_eq!(due.timers[1].scope, w.theirs.as_turn(&w.theirs.agent, None));
}

/// A firing that works accepts its run and moves the timer; one that does not does neither.
pub async fn a_firing_is_one_change(w: World) {
    let s = &*w.store;
    let talk = w.talk(&w.ours.ann).await;
    let made = s.create_timer(&w.ours.scope, timer(&w, Some(&w.ours.ann), Some(talk.id)), 100).await.expect("made");
    w.wait(61);
    let due = taken(&w, 1).await.timers.remove(0);
    // The queue is full: the timer stays as it was, and due.
    s.accept(&w.ours.scope, w.stimulus(&talk, "hello")).await.expect("accepted");
    let mut full = firing(&w, &talk, &due.timer);
    full.accept.as_mut().expect("a run").queue_depth = 1;
    assert_error!(s.fire_timer(&due.scope, full).await, StoreError::QueueFull { .. });
    assert_eq!((s.timer(&due.scope, made.id).await.expect("there"), runs(&w, &talk).await.len()), (made.clone(), 1));
    assert!(taken(&w, 1).await.timers.is_empty(), "it is held as before");

    let answer = firing(&w, &talk, &due.timer);
    let run = answer.accept.as_ref().expect("a run").run;
    let accepted = s.fire_timer(&due.scope, answer.clone()).await.expect("fired").expect("a run");
    assert_eq!((accepted.run.id, accepted.replayed, accepted.run.conversation), (run, false, talk.id));
    let moved = s.timer(&due.scope, made.id).await.expect("there");
    assert_eq!((moved.fired, moved.version, moved.last_run), (1, 2, Some(run)));
    assert_eq!(moved.next_due, made.next_due.and_then(|at| at.checked_add(SignedDuration::from_secs(60)).ok()));
    assert_eq!(runs(&w, &talk).await[0].id, run);
    // Again, by somebody who has not seen it: neither a run nor a step of the timer.
    assert_error!(s.fire_timer(&due.scope, answer).await, StoreError::Conflict { expected: 1, found: 2 });
    assert_eq!((s.timer(&due.scope, made.id).await.expect("there"), runs(&w, &talk).await.len()), (moved.clone(), 2));
    // It was let go of: what is due next is taken at once.
    w.wait(60);
    let due = taken(&w, 1).await.timers.remove(0);
    // Somebody pauses it meanwhile: no run.
    let paused = Timer { state: TimerState::Paused, next_due: None, ..moved };
    s.put_timer(&w.ours.scope, paused.clone()).await.expect("paused");
    assert_error!(s.fire_timer(&due.scope, firing(&w, &talk, &due.timer)).await, StoreError::Conflict { expected: 2, found: 3 });
    assert_eq!(runs(&w, &talk).await.len(), 2);
    // Left out: the timer moves without a run.
    let left_out = Firing { timer: Timer { version: 3, state: TimerState::Done, skipped: 1, ..paused }, accept: None };
    assert!(s.fire_timer(&due.scope, left_out).await.expect("left out").is_none());
    assert_eq!((s.timer(&due.scope, made.id).await.expect("there").skipped, runs(&w, &talk).await.len()), (1, 2));
}

/// However many answer an occurrence at the same moment, one run is made; a run that is there already is not made again.
pub async fn an_occurrence_has_one_run(w: World) {
    let s = &*w.store;
    let talk = w.talk(&w.ours.ann).await;
    s.create_timer(&w.ours.scope, timer(&w, Some(&w.ours.ann), None), 100).await.expect("made");
    w.wait(60);
    let due = taken(&w, 1).await.timers.remove(0);
    let fired = futures::future::join_all((0..6).map(|_| s.fire_timer(&due.scope, firing(&w, &talk, &due.timer)))).await;
    assert_eq!(fired.iter().filter(|f| f.is_ok()).count(), 1, "{fired:?}");
    assert_eq!(runs(&w, &talk).await.len(), 1);
    // The timer was put back, as from a backup: the same occurrence leads to the same run.
    let moved = s.timer(&due.scope, due.timer.id).await.expect("there");
    let back = s.put_timer(&w.ours.scope, Timer { version: moved.version, ..due.timer.clone() }).await.expect("put back");
    let again = s.fire_timer(&due.scope, firing(&w, &talk, &back)).await.expect("fired").expect("a run");
    assert!(again.replayed);
    assert_eq!(runs(&w, &talk).await.len(), 1);
}

/// Timers go with their person, their agent and their conversation, and those of others stay.
pub async fn timers_go_with_their_people(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let (talk, other) = (w.talk(&o.ann).await, w.talk(&o.ann).await);
    let of = async |user: Option<&User>, conversation: Option<&Conversation>, agent: AgentId| {
        let new = Timer { agent, ..timer(&w, user, conversation.map(|c| c.id)) };
        s.create_timer(&o.scope, new, 100).await.expect("made").id
    };
    let first = of(Some(&o.ann), Some(&talk), o.agent.id).await;
    let second = of(Some(&o.ann), Some(&other), o.agent.id).await;
    let third = of(Some(&o.ann), None, o.other_agent.id).await;
    let bobs = of(Some(&o.bob), None, o.agent.id).await;
    let alone = of(None, None, o.other_agent.id).await;
    assert_eq!(seen(&w, &o.scope).await, [alone, bobs, third, second, first]);
    s.erase(&o.scope, EraseTarget::Conversation(talk.id)).await.expect("erased");
    assert_eq!(seen(&w, &o.scope).await, [alone, bobs, third, second]);
    s.erase(&o.scope, EraseTarget::User(o.ann.id)).await.expect("erased");
    assert_eq!(seen(&w, &o.scope).await, [alone, bobs]);
    s.erase(&o.scope, EraseTarget::Agent(o.other_agent.id)).await.expect("erased");
    assert_eq!(seen(&w, &o.scope).await, [bobs]);
    w.wait(3_600);
    assert_eq!(taken(&w, 9).await.timers.iter().map(|d| d.timer.id).collect::<Vec<_>>(), [bobs]);
}
