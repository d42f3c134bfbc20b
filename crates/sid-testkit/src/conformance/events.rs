//! The event log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sid_store::{Effect, StoreError};
use sid_types::{EventBody, NewMessage, StopReason};

use super::World;
use super::world::{assert_error, dense, finish, recollection};

fn delta(text: &str) -> EventBody {
    EventBody::TextDelta { text: text.into() }
}

/// Events of commits and those between commits share one dense numbering.
pub async fn events_are_dense_and_in_order(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    let numbered = w.store.append_events(&lease, vec![EventBody::Started { epoch: 1 }, delta("a")]).await.expect("held");
    assert_eq!(numbered.iter().map(|e| e.seq).collect::<Vec<_>>(), dense(2));
    w.commit(&lease, vec![Effect::Events(vec![delta("b")])]).await;
    let numbered = w.store.append_events(&lease, vec![delta("c")]).await.expect("held");
    assert_eq!((numbered[0].seq, numbered[0].run), (4, lease.run));
    w.commit(&lease, vec![Effect::Events(vec![delta("d")]), finish(StopReason::EndTurn)]).await;
    let events = w.store.events(&w.ours.scope, lease.run, 0, 100).await.expect("visible");
    assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), dense(6));
    assert_eq!(
        events[..5].iter().map(|e| e.body.clone()).collect::<Vec<_>>(),
        [EventBody::Started { epoch: 1 }, delta("a"), delta("b"), delta("c"), delta("d")]
    );
    assert_eq!(events[5].body.name(), "done");
}

/// A client that has seen some reads on after them.
pub async fn events_are_read_on_from_any_number(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    w.store.append_events(&lease, (0..10).map(|n| delta(&n.to_string())).collect()).await.expect("held");
    let read = async |after, limit| {
        let events = w.store.events(&w.ours.scope, lease.run, after, limit).await.expect("visible");
        events.iter().map(|e| e.seq).collect::<Vec<_>>()
    };
    assert_eq!(read(0, 3).await, [1, 2, 3]);
    assert_eq!(read(3, 3).await, [4, 5, 6]);
    assert_eq!(read(9, 3).await, [10]);
    assert!(read(10, 3).await.is_empty());
    assert!(read(1_000_000, 3).await.is_empty());
    let other = w.begin(&w.talk(&w.ours.bob).await, "hello").await;
    assert_eq!(w.store.append_events(&other, vec![delta("x")]).await.expect("held")[0].seq, 1, "each run counts for itself");
}

/// Every kind of event comes back as it was written.
pub async fn events_come_back_as_they_were(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    let message = w.commit(&lease, vec![Effect::Append(vec![NewMessage::assistant("hi", w.now())])]).await.messages.remove(0);
    let bodies = vec![
        EventBody::Recalled { items: vec![recollection("msg_1", "a snippet")], prompt_tokens: 12, window_tokens: 4_096 },
        EventBody::ReasoningDelta { text: "hm\u{0}\u{1F952}".replace('\u{0}', "") },
        EventBody::ToolCall { call: super::world::call("c1", "look") },
        EventBody::Message { message: Box::new(message) },
        EventBody::PageOut { messages: 3, queue_start: 4, is_floor: false },
        EventBody::Step { number: 1, usage: sid_types::Usage::default(), rung: "native".into() },
    ];
    w.store.append_events(&lease, bodies.clone()).await.expect("held");
    let events = w.store.events(&w.ours.scope, lease.run, 0, 100).await.expect("visible");
    assert_eq!(events.iter().map(|e| e.body.clone()).collect::<Vec<_>>(), bodies);
    assert!(events.iter().all(|e| e.at == w.now()));
}

/// Appended messages make no events by themselves.
pub async fn messages_are_not_events_by_themselves(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    w.commit(&lease, vec![Effect::Append(vec![NewMessage::assistant("hi", w.now())])]).await;
    assert!(w.store.events(&w.ours.scope, lease.run, 0, 100).await.expect("visible").is_empty());
}

/// Following answers at once what is there already.
pub async fn following_answers_what_is_there(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    w.store.append_events(&lease, vec![delta("a"), delta("b")]).await.expect("held");
    let started = Instant::now();
    let events = w.store.follow(&w.ours.scope, lease.run, 1, Duration::from_secs(30)).await.expect("visible");
    assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), [2]);
    assert!(started.elapsed() < Duration::from_secs(10));
}

/// Following wakes up when something is written, by whichever call.
pub async fn following_wakes_up(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    let w = Arc::new(w);
    for after in 0..2 {
        let follower = {
            let (w, run) = (Arc::clone(&w), lease.run);
            tokio::spawn(async move { w.store.follow(&w.ours.scope, run, after, Duration::from_secs(30)).await.expect("visible") })
        };
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!follower.is_finished(), "there is nothing to tell yet");
        if after == 0 {
            w.store.append_events(&lease, vec![delta("a")]).await.expect("held");
        } else {
            w.commit(&lease, vec![finish(StopReason::EndTurn)]).await;
        }
        let events = tokio::time::timeout(Duration::from_secs(10), follower).await.expect("it wakes up").expect("no panic");
        assert_eq!(events.first().map(|e| e.seq), Some(after + 1));
    }
}

/// Following gives up when its time is over, with nothing and without an error.
pub async fn following_gives_up(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    let events = w.store.follow(&w.ours.scope, lease.run, 0, Duration::from_millis(30)).await.expect("visible");
    assert!(events.is_empty());
}

/// Only the end of a run writes the last event.
pub async fn nobody_writes_a_last_event_by_hand(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    let (status, stop_reason) = (sid_types::RunStatus::Completed, StopReason::EndTurn);
    let done = EventBody::Done { status, stop_reason, error: None, usage: sid_types::Usage::default() };
    assert_error!(w.store.append_events(&lease, vec![done]).await, StoreError::Invalid(_));
    assert!(w.store.events(&w.ours.scope, lease.run, 0, 10).await.expect("visible").is_empty());
}
