//! Commits: all or nothing, once.

use sid_store::{BlockEdit, Commit, Effect, PageOut, StoreError};
use sid_types::{BlockOp, EventBody, NewMessage, Owner, RecursiveSummary, RunStatus, Seq, StopReason};

use super::World;
use super::world::{assert_error, dense, finish, provenance, seqs, texts};

/// Every reason ends the run in its status; the event says the same and is the last one.
pub async fn finishing_sets_status_reason_and_last_event(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    for reason in [
        StopReason::EndTurn,
        StopReason::MaxSteps,
        StopReason::RepeatedCalls,
        StopReason::Cancelled,
        StopReason::InvalidModelOutput,
        StopReason::ModelUnavailable,
        StopReason::Internal,
    ] {
        let lease = w.begin(&talk, "go").await;
        let error = (reason.status() == RunStatus::Failed).then(|| "it broke".to_owned());
        let events = vec![EventBody::TextDelta { text: "…".into() }];
        w.commit(&lease, vec![Effect::Events(events), Effect::Finish { reason, error: error.clone() }]).await;
        let run = w.store.run(&w.ours.scope, lease.run).await.expect("there");
        assert_eq!((run.status, run.stop_reason, &run.error), (reason.status(), Some(reason), &error));
        assert!(run.ended_at.is_some());
        let events = w.store.events(&w.ours.scope, lease.run, 0, 100).await.expect("visible");
        let done = EventBody::Done { status: reason.status(), stop_reason: reason, error, usage: run.usage };
        assert_eq!(events.last().map(|e| &e.body), Some(&done));
        assert_eq!(events.len(), 2, "one event each");
    }
}

/// Finishing hands the next waiting run to the same worker, under a new epoch.
pub async fn finishing_hands_on_the_next_run(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "one").await;
    let two = w.say(&talk, "two").await.run.id;
    w.wait(5);
    let next = w.answer(&lease, "done").await.expect("two waits");
    assert_eq!((next.run, next.worker, next.conversation, next.scope), (two, w.worker, talk.id, lease.scope));
    assert!(next.epoch > lease.epoch);
    assert_eq!(next.expires_at, w.now() + jiff::SignedDuration::from_secs(30), "as long as the lease before it");
    assert_eq!(w.load(&next).await.run.status, RunStatus::Running);
    assert!(w.claim().await.is_none(), "it is taken");
    assert!(w.answer(&next, "done").await.is_none());
    assert!(w.claim().await.is_none());
}

/// A commit number that was written before changes nothing, whatever it carries.
pub async fn a_repeated_commit_changes_nothing(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    let human = w.load(&lease).await.blocks.into_iter().find(|b| b.label == "human").expect("a template");
    let edit = BlockEdit {
        block: human.id,
        op: BlockOp::Append { text: "likes pickles".into() },
        expected_version: human.version,
        provenance: provenance("tool"),
    };
    let effects = vec![
        Effect::Append(vec![NewMessage::assistant("thinking", w.now())]),
        Effect::EditBlock(edit),
        Effect::InsertPassage(w.passage(w.ours.pair(), "pickles, forever")),
        Effect::Events(vec![EventBody::TextDelta { text: "thinking".into() }]),
    ];
    let commit = Commit { number: 1, effects };
    let first = w.store.commit(&lease, commit.clone()).await.expect("written");
    assert_eq!(seqs(&first.messages), [2]);
    for _ in 0..3 {
        let again = w.store.commit(&lease, commit.clone()).await.expect("answered again");
        assert!(again.messages.is_empty() && again.next.is_none());
    }
    let loaded = w.load(&lease).await;
    assert_eq!((loaded.run.commits, texts(&loaded.queue)), (1, vec!["hello", "thinking"]));
    let block = loaded.blocks.into_iter().find(|b| b.id == human.id).expect("there");
    assert_eq!((block.version, block.value.as_str()), (2, "likes pickles"));
    assert_eq!(w.store.block_history(&w.ours.scope, human.id, 10).await.expect("visible").len(), 2);
    assert_eq!(
        w.store.list(&w.ours.scope, w.ours.pair(), sid_store::PageRequest { after: None, limit: 10 }).await.expect("visible").items.len(),
        1
    );
    assert_eq!(w.store.events(&w.ours.scope, lease.run, 0, 10).await.expect("visible").len(), 1);
}

/// The worker that has finished a run, but has not heard so, may ask again.
pub async fn a_repeated_finish_is_answered(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    let effects = vec![Effect::Append(vec![NewMessage::assistant("bye", w.now())]), finish(StopReason::EndTurn)];
    let commit = Commit { number: 1, effects };
    w.store.commit(&lease, commit.clone()).await.expect("written");
    let again = w.store.commit(&lease, commit).await.expect("answered again");
    assert!(again.messages.is_empty());
    assert_eq!(texts(&w.messages(&talk).await), ["hello", "bye"]);
    assert_eq!(w.store.events(&w.ours.scope, lease.run, 0, 10).await.expect("visible").len(), 1, "one last event");
}

/// A number that skips, and number nought, are refused.
pub async fn commit_numbers_do_not_skip(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    for number in [0, 2, 7] {
        let effects = vec![Effect::Append(vec![NewMessage::assistant("?", w.now())])];
        assert_error!(w.store.commit(&lease, Commit { number, effects }).await, StoreError::Invalid(_));
    }
    assert_eq!(texts(&w.messages(&talk).await), ["hello"]);
    for number in 1..=3 {
        let effects = vec![Effect::Append(vec![NewMessage::assistant(format!("step {number}"), w.now())])];
        w.store.commit(&lease, Commit { number, effects }).await.expect("the next number");
    }
    assert_eq!(w.load(&lease).await.run.commits, 3);
    assert_eq!(seqs(&w.messages(&talk).await), dense(4));
}

/// A commit with one bad effect writes none of the others.
pub async fn a_refused_commit_writes_nothing(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    let human = w.load(&lease).await.blocks.into_iter().find(|b| b.label == "human").expect("a template");
    let edit = |expected_version, block| BlockEdit {
        block,
        op: BlockOp::Append { text: "x".into() },
        expected_version,
        provenance: provenance("tool"),
    };
    let with = |bad: Effect| {
        vec![
            Effect::Append(vec![NewMessage::assistant("half", w.now())]),
            Effect::EditBlock(edit(1, human.id)),
            Effect::InsertPassage(w.passage(w.ours.pair(), "half")),
            Effect::Events(vec![EventBody::TextDelta { text: "half".into() }]),
            Effect::SetPrefix(Some("half".into())),
            bad,
        ]
    };
    let conflict = with(Effect::EditBlock(edit(7, human.id)));
    assert_error!(w.try_commit(&lease, conflict).await, StoreError::Conflict { expected: 7, found: 2 });
    let unknown = with(Effect::EditBlock(edit(1, sid_types::BlockId::new())));
    assert_error!(w.try_commit(&lease, unknown).await, StoreError::NotFound { .. });
    let foreign = with(Effect::InsertPassage(w.passage(Owner::Tenant, "not mine to write")));
    assert_error!(w.try_commit(&lease, foreign).await, StoreError::NotFound { .. });
    let beyond = with(Effect::PageOut(PageOut { queue_start: Seq(9), summary: RecursiveSummary::default() }));
    assert_error!(w.try_commit(&lease, beyond).await, StoreError::Invalid(_));

    let loaded = w.load(&lease).await;
    assert_eq!((loaded.run.commits, texts(&loaded.queue), &loaded.conversation.prefix), (0, vec!["hello"], &None));
    assert!(loaded.blocks.iter().all(|b| b.version == 1 && b.value.is_empty()));
    assert!(w.store.events(&w.ours.scope, lease.run, 0, 10).await.expect("visible").is_empty());
    assert!(w.find(&w.ours.scope, "half").await.is_empty());
    assert_eq!(w.commit(&lease, vec![]).await.messages.len(), 0, "the run goes on");
}

/// What leaves the queue is no longer loaded, and stays readable and findable.
pub async fn paging_out_moves_the_queue(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    w.turn(&talk, "my cat is called Pickle", "what a name").await;
    let lease = w.begin(&talk, "and my dog Gherkin").await;
    let summary = RecursiveSummary { text: "the user has a cat".into(), through: Seq(2), is_floor: true, untrusted: Vec::new() };
    w.commit(&lease, vec![Effect::PageOut(PageOut { queue_start: Seq(3), summary: summary.clone() })]).await;
    let loaded = w.load(&lease).await;
    assert_eq!(texts(&loaded.queue), ["and my dog Gherkin"]);
    assert_eq!((loaded.conversation.queue_start, &loaded.conversation.summary), (Seq(3), &summary));
    assert_eq!(w.messages(&talk).await.len(), 3);
    assert!(!w.find(&w.ours.scope, "cat").await.is_empty());
    let back = vec![Effect::PageOut(PageOut { queue_start: Seq(2), summary: summary.clone() })];
    assert_error!(w.try_commit(&lease, back).await, StoreError::Invalid(_));
    assert_eq!(w.load(&lease).await.conversation.queue_start, Seq(3));
    // The place after a message of the same commit is the furthest that the queue can move to.
    let answer = NewMessage::assistant("nice", w.now());
    w.commit(&lease, vec![Effect::Append(vec![answer]), Effect::PageOut(PageOut { queue_start: Seq(5), summary })]).await;
    assert!(w.load(&lease).await.queue.is_empty());
}

/// The prompt's head is kept as it was set, until it is taken away.
pub async fn the_prefix_is_kept(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    assert_eq!(w.load(&lease).await.conversation.prefix, None);
    w.commit(&lease, vec![Effect::SetPrefix(Some("You are Sid.\n\u{1F952}".into()))]).await;
    w.answer(&lease, "hi").await;
    let lease = w.begin(&talk, "still there?").await;
    assert_eq!(w.load(&lease).await.conversation.prefix.as_deref(), Some("You are Sid.\n\u{1F952}"));
    w.commit(&lease, vec![Effect::SetPrefix(None)]).await;
    assert_eq!(w.load(&lease).await.conversation.prefix, None);
}

/// Order is by sequence, never by clock; the client's times are kept.
pub async fn order_is_by_sequence_not_by_clock(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let past = "2019-05-04T12:00:00.123456Z".parse().expect("a timestamp");
    w.turn(&talk, "now", "ok").await;
    let mut accept = w.stimulus(&talk, "long ago");
    accept.messages[0].at = past;
    w.store.accept(&w.ours.scope, accept).await.expect("accepted");
    let lease = w.claim().await.expect("there is work");
    w.answer(&lease, "ok").await;
    let messages = w.messages(&talk).await;
    assert_eq!(texts(&messages), ["now", "ok", "long ago", "ok"]);
    assert_eq!(messages[2].at, past, "to the microsecond");
}

/// The conversation counts its messages and knows when the last one was said.
pub async fn the_conversation_keeps_count(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    assert_eq!((talk.last_seq, talk.queue_start, talk.last_at), (Seq(0), Seq(1), None));
    w.turn(&talk, "hello", "hi").await;
    w.wait(60);
    let messages = w.turn(&talk, "again", "yes").await;
    let talk = w.reread(&talk).await;
    assert_eq!((talk.last_seq, talk.queue_start), (Seq(4), Seq(1)));
    assert_eq!(talk.last_at, Some(messages[1].at));
}

/// Conversations do not wait for each other.
pub async fn conversations_run_side_by_side(w: World) {
    let (one, two) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    let (first, second) = (w.begin(&one, "a").await, w.begin(&two, "b").await);
    w.answer(&second, "B").await;
    w.answer(&first, "A").await;
    assert_eq!(texts(&w.messages(&one).await), ["a", "A"]);
    assert_eq!(texts(&w.messages(&two).await), ["b", "B"]);
    assert_eq!((seqs(&w.messages(&one).await), seqs(&w.messages(&two).await)), (dense(2), dense(2)));
}
