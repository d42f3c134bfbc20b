//! Leases: one worker per conversation, and none that was replaced may write.

use std::collections::BTreeSet;
use std::sync::Arc;

use sid_store::{Commit, Effect, StoreError};
use sid_types::{EventBody, NewMessage, StopReason, WorkerId};

use super::World;
use super::world::{TTL, assert_error, finish, texts};

/// Claiming takes the oldest work first and no more than was asked for.
pub async fn claiming_takes_the_oldest_work_first(w: World) {
    let talks = [w.talk(&w.ours.ann).await, w.talk(&w.ours.bob).await, w.open(&w.theirs, &w.theirs.agent, Some(&w.theirs.ann)).await];
    for (talk, scope) in [(&talks[2], w.theirs.scope), (&talks[0], w.ours.scope), (&talks[1], w.ours.scope)] {
        w.store.accept(&scope, w.stimulus(talk, "hello")).await.expect("accepted");
        w.wait(1);
    }
    let first = w.store.claim(w.worker, 2, usize::MAX, TTL).await.expect("claiming works");
    let taken: BTreeSet<_> = first.iter().map(|l| l.conversation).collect();
    assert_eq!(taken, BTreeSet::from([talks[2].id, talks[0].id]), "across tenants");
    let rest = w.store.claim(w.worker, 5, usize::MAX, TTL).await.expect("claiming works");
    assert_eq!(rest.iter().map(|l| l.conversation).collect::<Vec<_>>(), [talks[1].id]);
    assert!(w.store.claim(w.worker, 5, usize::MAX, TTL).await.expect("claiming works").is_empty());
}

/// Asking for nothing gets nothing, and idle conversations are not handed out.
pub async fn idle_conversations_are_not_claimed(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    assert!(w.claim().await.is_none());
    w.turn(&talk, "hello", "hi").await;
    assert!(w.claim().await.is_none());
    w.say(&talk, "again").await;
    assert!(w.store.claim(w.worker, 0, usize::MAX, TTL).await.expect("claiming works").is_empty());
    assert!(w.claim().await.is_some());
}

/// A lease holds for its time, and is free for others after it, with a higher epoch and the same run.
pub async fn an_expired_lease_is_claimed_by_others(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    assert_eq!(lease.expires_at, w.now() + jiff::SignedDuration::from_secs(30));
    w.wait(29);
    assert!(w.claim().await.is_none(), "it is held");
    w.wait(2);
    let other = WorkerId::new();
    let taken = w.store.claim(other, 1, usize::MAX, TTL).await.expect("claiming works").pop().expect("it has expired");
    assert_eq!((taken.run, taken.worker, taken.scope), (lease.run, other, lease.scope));
    assert!(taken.epoch > lease.epoch);
    assert_eq!(texts(&w.load(&taken).await.queue), ["hello"], "its message was placed once");
    assert!(w.claim().await.is_none());
}

/// A worker that was replaced can write nothing, read nothing to go on with, and prolong nothing.
pub async fn a_replaced_worker_is_fenced_off(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let old = w.begin(&talk, "hello").await;
    w.wait(31);
    let new = w.claim().await.expect("it has expired");
    let effects = vec![Effect::Append(vec![NewMessage::assistant("from the grave", w.now())]), finish(StopReason::EndTurn)];
    let commit = Commit { number: 1, effects };
    assert_error!(w.store.commit(&old, commit).await, StoreError::Fenced { .. });
    let events = vec![EventBody::TextDelta { text: "from the grave".into() }];
    assert_error!(w.store.append_events(&old, events).await, StoreError::Fenced { .. });
    assert_error!(w.store.load(&old).await, StoreError::Fenced { .. });
    assert!(w.store.renew(std::slice::from_ref(&old), TTL).await.expect("renewing works").is_empty());
    let _ = w.store.release(&old).await;
    assert!(w.claim().await.is_none(), "the old worker cannot give away what it does not hold");
    assert_eq!(texts(&w.messages(&talk).await), ["hello"]);
    assert!(w.store.events(&w.ours.scope, new.run, 0, 10).await.expect("visible").is_empty());
    w.answer(&new, "from the living").await;
    assert_eq!(texts(&w.messages(&talk).await), ["hello", "from the living"]);
}

/// A replaced worker is told so even when its successor has used the same commit number: it must not believe that its own words
/// were written.
pub async fn a_replaced_worker_is_not_told_that_it_has_written(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let old = w.begin(&talk, "hello").await;
    w.wait(31);
    let new = w.claim().await.expect("it has expired");
    w.commit(&new, vec![Effect::Append(vec![NewMessage::assistant("mine", w.now())])]).await;
    let late = Commit { number: 1, effects: vec![Effect::Append(vec![NewMessage::assistant("mine, too", w.now())])] };
    assert_error!(w.store.commit(&old, late).await, StoreError::Fenced { .. });
    assert_eq!(texts(&w.messages(&talk).await), ["hello", "mine"]);
}

/// Renewing prolongs each lease that still holds, and leaves out the others.
pub async fn renewing_prolongs_what_holds(w: World) {
    let (one, two) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.bob).await);
    let (first, second) = (w.begin(&one, "a").await, w.begin(&two, "b").await);
    w.wait(20);
    let held = w.store.renew(std::slice::from_ref(&first), TTL).await.expect("renewing works");
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].lease.run, held[0].lease.epoch), (first.run, first.epoch));
    assert_eq!(held[0].lease.expires_at, w.now() + jiff::SignedDuration::from_secs(30));
    w.wait(20);
    let taken = w.store.claim(WorkerId::new(), 5, usize::MAX, TTL).await.expect("claiming works");
    assert_eq!(taken.iter().map(|l| l.run).collect::<Vec<_>>(), [second.run], "only the one that was not renewed is free");
    let held = w.store.renew(&[first.clone(), second], TTL).await.expect("renewing works");
    assert_eq!(held.iter().map(|r| r.lease.run).collect::<Vec<_>>(), [first.run]);
    w.answer(&first, "A").await;
    assert!(w.store.renew(&[first], TTL).await.expect("renewing works").is_empty(), "it is over");
}

/// Renewing tells whose run was asked to stop, whoever accepted the wish.
pub async fn renewing_tells_who_was_asked_to_stop(w: World) {
    let (one, two) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.bob).await);
    let leases = [w.begin(&one, "a").await, w.begin(&two, "b").await];
    let asked = async || -> Vec<bool> {
        let held = w.store.renew(&leases, TTL).await.expect("renewing works");
        assert_eq!(held.iter().map(|r| r.lease.run).collect::<Vec<_>>(), [leases[0].run, leases[1].run]);
        held.iter().map(|r| r.is_cancel_requested).collect()
    };
    assert_eq!(asked().await, [false, false]);
    w.store.cancel(&w.ours.scope, leases[1].run).await.expect("cancelled");
    assert_eq!(asked().await, [false, true]);
}

/// A run that was given back waits for any worker, at once, and goes on where it stopped.
pub async fn releasing_gives_the_run_back(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    w.commit(&lease, vec![Effect::Append(vec![NewMessage::assistant("so far", w.now())])]).await;
    w.store.release(&lease).await.expect("held");
    assert_error!(w.store.commit(&lease, Commit { number: 2, effects: vec![] }).await, StoreError::Fenced { .. });
    assert!(!w.store.run(&w.ours.scope, lease.run).await.expect("there").status.is_terminal());
    let other = WorkerId::new();
    let taken = w.store.claim(other, 1, usize::MAX, TTL).await.expect("claiming works").pop().expect("it waits");
    assert_eq!(taken.run, lease.run);
    assert!(taken.epoch > lease.epoch);
    let loaded = w.load(&taken).await;
    assert_eq!((loaded.run.commits, texts(&loaded.queue)), (1, vec!["hello", "so far"]));
}

/// After the end nothing can be written with the lease.
pub async fn an_ended_run_takes_no_more(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    w.answer(&lease, "bye").await;
    let effects = vec![Effect::Append(vec![NewMessage::assistant("one more thing", w.now())])];
    assert_error!(w.store.commit(&lease, Commit { number: 2, effects }).await, StoreError::Fenced { .. });
    let delta = vec![EventBody::TextDelta { text: "…".into() }];
    assert_error!(w.store.append_events(&lease, delta).await, StoreError::Fenced { .. });
    assert_error!(w.store.load(&lease).await, StoreError::Fenced { .. });
    assert_eq!(texts(&w.messages(&talk).await), ["hello", "bye"]);
}

/// A lease that expired while runs waited behind it: the run under way comes first.
pub async fn the_run_under_way_comes_before_those_that_wait(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "one").await;
    let two = w.say(&talk, "two").await.run.id;
    w.wait(31);
    let taken = w.claim().await.expect("it has expired");
    assert_eq!(taken.run, lease.run);
    assert_eq!(w.answer(&taken, "done").await.expect("two waits").run, two);
}

/// Many workers at once: each conversation is handed out once.
pub async fn claiming_at_once_hands_out_once(w: World) {
    let mut expected = BTreeSet::new();
    for _ in 0..12 {
        let talk = w.talk(&w.ours.ann).await;
        w.say(&talk, "hello").await;
        expected.insert(talk.id);
    }
    let w = Arc::new(w);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let w = Arc::clone(&w);
            tokio::spawn(async move { w.store.claim(WorkerId::new(), 3, usize::MAX, TTL).await.expect("claiming works") })
        })
        .collect();
    let mut taken = Vec::new();
    for task in tasks {
        taken.extend(task.await.expect("no panic").into_iter().map(|l| l.conversation));
    }
    assert_eq!(taken.len(), 12);
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), expected);
}
