//! Recall memory: imports and pages.

use sid_store::{Effect, Order, StoreError};
use sid_types::{Body, Conversation, Message, MessageId, NewMessage, Seq, Tokens};

use super::World;
use super::world::{assert_error, call, calling, dense, result, seqs, texts};

async fn import(w: &World, talk: &Conversation, texts: &[&str]) -> Vec<Message> {
    let messages = texts.iter().map(|t| NewMessage::user(*t, w.now())).collect();
    w.store.append(&w.ours.scope, talk.id, messages).await.expect("imported")
}

/// Every kind of message comes back as it was written.
pub async fn messages_come_back_as_they_were(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hé \u{1F952} 'quoted' \"twice\" \\ and\nnew lines").await;
    let mut asked = call("c1", "look");
    asked.arguments.insert("b".into(), serde_json::json!({ "deep": [1, null, "é"] }));
    asked.arguments.insert("a".into(), serde_json::json!(0.1));
    let (reasoning, tool_calls) = (Some("because".to_owned()), vec![asked.clone()]);
    let first = w.messages(&talk).await.remove(0);
    let mut said = NewMessage::of(Body::Assistant { text: "one moment".into(), reasoning, tool_calls }, w.now());
    (said.speaker, said.tokens) = (Some("Sid".into()), Some(Tokens(7)));
    let mut found = result(&asked, "", &[&first], w.now());
    if let Body::Tool { is_error, .. } = &mut found.body {
        *is_error = true;
    }
    let note = NewMessage::of(Body::Note { text: "memory is filling up".into() }, w.now());
    let new = vec![said, found, note];
    let committed = w.commit(&lease, vec![Effect::Append(new.clone())]).await.messages;
    let expected: Vec<Message> = new.into_iter().enumerate().map(|(n, m)| m.placed(talk.id, Seq(n as u64 + 2), Some(lease.run))).collect();
    assert_eq!(committed, expected);
    assert_eq!(w.messages(&talk).await[1..], expected);
    assert_eq!(w.load(&lease).await.queue[1..], expected);
    for message in &expected {
        assert_eq!(&w.store.message(&w.ours.scope, message.id).await.expect("there"), message);
    }
}

/// Imports get the next places, keep their times and speakers, and belong to no run.
pub async fn imports_get_the_next_places(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    w.turn(&talk, "hello", "hi").await;
    let mut old = NewMessage::user("I said this in 2019", "2019-01-02T03:04:05Z".parse().expect("a timestamp"));
    old.speaker = Some("Ann (phone)".into());
    let answer = NewMessage::assistant("and I this", "2019-01-02T03:05:05Z".parse().expect("a timestamp"));
    let placed = w.store.append(&w.ours.scope, talk.id, vec![old.clone(), answer]).await.expect("imported");
    assert_eq!(seqs(&placed), [3, 4]);
    assert_eq!((placed[0].run, placed[0].at, &placed[0].speaker), (None, old.at, &old.speaker));
    assert_eq!(seqs(&w.messages(&talk).await), dense(4));
    assert_eq!(w.reread(&talk).await.last_seq, Seq(4));
    assert_eq!(texts(&w.turn(&talk, "back to now", "yes").await), ["back to now", "yes"]);
    assert_eq!(seqs(&w.messages(&talk).await), dense(6));
}

/// A message that was imported before is left out and changes nothing, alone or among new ones.
pub async fn a_repeated_import_changes_nothing(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let messages: Vec<NewMessage> = ["a", "b"].map(|t| NewMessage::user(t, w.now())).into();
    w.store.append(&w.ours.scope, talk.id, messages.clone()).await.expect("imported");
    assert!(w.store.append(&w.ours.scope, talk.id, messages.clone()).await.expect("nothing new").is_empty());
    let mut changed = messages[0].clone();
    changed.body = Body::User { text: "A!".into() };
    let third = NewMessage::user("c", w.now());
    let placed = w.store.append(&w.ours.scope, talk.id, vec![changed, third.clone(), third]).await.expect("one is new");
    assert_eq!((texts(&placed), seqs(&placed)), (vec!["c"], vec![3]));
    assert_eq!(texts(&w.messages(&talk).await), ["a", "b", "c"]);
}

/// A message that waits with its run is there already: an import with its id is left out, and the run comes up unharmed.
pub async fn imports_cannot_take_a_waiting_messages_place(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let accept = w.stimulus(&talk, "mine");
    w.store.accept(&w.ours.scope, accept.clone()).await.expect("accepted");
    let twin = NewMessage { id: accept.messages[0].id, ..NewMessage::user("not mine", w.now()) };
    for import_into in [w.talk(&w.ours.bob).await, talk.clone()] {
        let placed = w.store.append(&w.ours.scope, import_into.id, vec![twin.clone()]).await.expect("left out");
        assert!(placed.is_empty(), "{placed:?}");
    }
    let lease = w.claim().await.expect("there is work");
    w.answer(&lease, "yours").await;
    assert_eq!(texts(&w.messages(&talk).await), ["mine", "yours"]);
}

/// While a run is under way nothing can be imported between its messages.
pub async fn imports_wait_for_the_run_under_way(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    let refused = w.store.append(&w.ours.scope, talk.id, vec![NewMessage::user("old", w.now())]).await;
    assert_error!(refused, StoreError::Busy);
    w.wait(60);
    let refused = w.store.append(&w.ours.scope, talk.id, vec![NewMessage::user("old", w.now())]).await;
    assert_error!(refused, StoreError::Busy);
    let lease = w.claim().await.unwrap_or(lease);
    w.answer(&lease, "hi").await;
    assert_eq!(seqs(&import(&w, &talk, &["old"]).await), [3]);
}

/// A run that only waits has no messages in the conversation yet: imports come before them.
pub async fn imports_come_before_runs_that_wait(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    w.say(&talk, "new").await;
    import(&w, &talk, &["old"]).await;
    let lease = w.claim().await.expect("there is work");
    assert_eq!(texts(&w.messages(&talk).await), ["old", "new"]);
    assert_eq!(texts(&w.load(&lease).await.queue), ["new"]);
}

/// A tool's message answers a call of a run, so it cannot be imported; nor can anything beside it.
pub async fn tool_messages_are_not_imported(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let messages = vec![NewMessage::user("before", w.now()), result(&call("c1", "look"), "found", &[], w.now())];
    assert_error!(w.store.append(&w.ours.scope, talk.id, messages).await, StoreError::Invalid(_));
    assert!(w.messages(&talk).await.is_empty());
}

/// Imports are paged out from the start: the next turn does not load them.
pub async fn imports_are_paged_out_from_the_start(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    import(&w, &talk, &["long", "ago"]).await;
    assert_eq!(w.reread(&talk).await.queue_start, Seq(3));
    import(&w, &talk, &["and", "longer", "ago"]).await;
    assert_eq!(w.reread(&talk).await.queue_start, Seq(6));
    let lease = w.begin(&talk, "now").await;
    assert_eq!(texts(&w.load(&lease).await.queue), ["now"]);
    assert_eq!(w.messages(&talk).await.len(), 6);
}

/// Behind messages of runs that are still in the queue, imports are a part of it: a queue has no holes.
pub async fn imports_behind_a_queue_belong_to_it(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    w.turn(&talk, "hello", "hi").await;
    import(&w, &talk, &["old"]).await;
    assert_eq!(w.reread(&talk).await.queue_start, Seq(1));
    let lease = w.begin(&talk, "now").await;
    assert_eq!(texts(&w.load(&lease).await.queue), ["hello", "hi", "old", "now"]);
}

/// Pages run both ways from any place, which they leave out.
pub async fn pages_run_both_ways_from_any_place(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    for n in 0..5 {
        import(&w, &talk, &[&format!("m{}", n * 2 + 1), &format!("m{}", n * 2 + 2)]).await;
    }
    let page = async |from: Option<u64>, order, limit| {
        seqs(&w.store.page(&w.ours.scope, talk.id, from.map(Seq), order, limit).await.expect("a page"))
    };
    assert_eq!(page(None, Order::Ascending, 3).await, [1, 2, 3]);
    assert_eq!(page(None, Order::Descending, 3).await, [10, 9, 8]);
    assert_eq!(page(Some(4), Order::Ascending, 3).await, [5, 6, 7]);
    assert_eq!(page(Some(4), Order::Descending, 3).await, [3, 2, 1]);
    assert_eq!(page(Some(3), Order::Descending, 9).await, [2, 1]);
    assert_eq!(page(Some(8), Order::Ascending, 9).await, [9, 10]);
    assert_eq!(page(Some(0), Order::Ascending, 1).await, [1]);
    assert_eq!(page(Some(99), Order::Descending, 2).await, [10, 9]);
    for nothing in
        [page(Some(10), Order::Ascending, 3).await, page(Some(1), Order::Descending, 3).await, page(None, Order::Ascending, 0).await]
    {
        assert!(nothing.is_empty());
    }
    for start in 0..=10 {
        let (up, down) = (page(Some(start), Order::Ascending, 99).await, page(Some(start + 1), Order::Descending, 99).await);
        assert_eq!(down.into_iter().rev().chain(up).collect::<Vec<_>>(), dense(10), "around {start}");
    }
}

/// One message is read by its id; a random one is not there.
pub async fn a_message_is_read_by_its_id(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let messages = w.turn(&talk, "hello", "hi").await;
    assert_eq!(w.store.message(&w.ours.scope, messages[1].id).await.expect("there"), messages[1]);
    assert_error!(w.store.message(&w.ours.scope, MessageId::new()).await, StoreError::NotFound { .. });
}

/// A message that waits with its run is no message of the conversation yet.
pub async fn a_waiting_message_is_not_readable(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let run = w.say(&talk, "wait for pickles").await.run;
    assert_error!(w.store.message(&w.ours.scope, run.stimulus[0]).await, StoreError::NotFound { .. });
    assert!(w.find(&w.ours.scope, "pickles").await.is_empty());
    w.claim().await.expect("there is work");
    w.store.message(&w.ours.scope, run.stimulus[0]).await.expect("it has its place");
    assert_eq!(w.find(&w.ours.scope, "pickles").await.len(), 1);
}

/// A long conversation is read in pages without a gap.
pub async fn a_long_conversation_reads_without_gaps(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let all: Vec<NewMessage> = (0..1_000).map(|n| NewMessage::user(format!("message {n}"), w.now())).collect();
    w.store.append(&w.ours.scope, talk.id, all).await.expect("imported");
    let (mut read, mut from) = (Vec::new(), None);
    loop {
        let page = w.store.page(&w.ours.scope, talk.id, from, Order::Ascending, 170).await.expect("a page");
        let Some(last) = page.last() else { break };
        from = Some(last.seq);
        read.extend(seqs(&page));
    }
    assert_eq!(read, dense(1_000));
    let asked = call("c", "look");
    let lease = w.begin(&talk, "and now").await;
    w.commit(&lease, vec![Effect::Append(vec![calling(&asked, w.now())])]).await;
    assert_eq!(w.reread(&talk).await.last_seq, Seq(1_002));
}
