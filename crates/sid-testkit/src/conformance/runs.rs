//! Accepting, queueing, cancelling.

use std::sync::Arc;

use sid_store::{Accept, OnBusy, StoreError};
use sid_types::{ClientTool, EventBody, NewMessage, Role, RunId, RunLimits, RunStatus, Seq, StopReason, ToolSpec};

use super::World;
use super::world::{TTL, assert_error, call, calling, dense, result, seqs, texts};

/// Messages wait with their run until it is claimed, and are in no page before that.
pub async fn messages_wait_with_their_run_until_it_is_claimed(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let run = w.say(&talk, "hello").await.run;
    assert_eq!(run.status, RunStatus::Queued);
    assert_eq!((run.started_at, run.ended_at), (None, None));
    assert_eq!(w.store.waiting_messages(&w.ours.scope, run.id).await.expect("visible"), run.stimulus);
    assert!(w.messages(&talk).await.is_empty(), "a waiting message has no place yet");

    let lease = w.claim().await.expect("there is work");
    assert_eq!((lease.run, lease.conversation, lease.worker), (run.id, talk.id, w.worker));
    assert_eq!(w.messages(&talk).await.iter().map(|m| m.id).collect::<Vec<_>>(), run.stimulus, "claiming places the messages");
    assert!(w.store.waiting_messages(&w.ours.scope, run.id).await.expect("visible").is_empty());
    let loaded = w.load(&lease).await;
    assert_eq!(loaded.run.status, RunStatus::Running);
    assert!(loaded.run.started_at.is_some());
    assert_eq!(texts(&loaded.queue), ["hello"]);
}

/// The lease's scope is that of the conversation's turn.
pub async fn a_lease_carries_the_scope_of_its_turn(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    assert_eq!(lease.scope, w.ours.as_turn(&w.ours.agent, Some(&w.ours.ann)));
    let alone = w.open(&w.ours, &w.ours.agent, None).await;
    assert_eq!(w.begin(&alone, "work").await.scope, w.ours.as_turn(&w.ours.agent, None));
}

/// An idle conversation is claimed in the same transaction when that was asked for; a busy one is not.
pub async fn accepting_claims_idle_conversations_only(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "one").await;
    assert_eq!(w.load(&lease).await.run.status, RunStatus::Running);
    assert_eq!(texts(&w.messages(&talk).await), ["one"]);
    let accept = Accept { claim_for: Some((w.worker, TTL)), ..w.stimulus(&talk, "two") };
    let second = w.store.accept(&w.ours.scope, accept).await.expect("it waits");
    assert!(second.lease.is_none() && !second.replayed);
    assert_eq!(second.run.status, RunStatus::Queued);
    assert_eq!(texts(&w.messages(&talk).await), ["one"]);
}

/// A run behind a waiting one waits, too, even though nobody holds the conversation.
pub async fn accepting_never_overtakes_what_waits(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    w.say(&talk, "one").await;
    let accept = Accept { claim_for: Some((w.worker, TTL)), ..w.stimulus(&talk, "two") };
    assert!(w.store.accept(&w.ours.scope, accept).await.expect("it waits").lease.is_none());
    let lease = w.claim().await.expect("there is work");
    assert_eq!(texts(&w.load(&lease).await.queue), ["one"]);
}

/// A stimulus has at least one message, none of them an assistant's or a tool's; a refused one leaves no run.
pub async fn nonsense_is_not_accepted(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let asked = call("c1", "look");
    let at = w.now();
    for messages in [vec![], vec![NewMessage::assistant("I said", at)], vec![result(&asked, "found", &[], at)], vec![calling(&asked, at)]] {
        let accept = Accept { messages, ..w.stimulus(&talk, "") };
        assert_error!(w.store.accept(&w.ours.scope, accept).await, StoreError::Invalid(_));
    }
    assert!(w.store.runs(&w.ours.scope, talk.id, 10).await.expect("visible").is_empty());
    assert!(w.claim().await.is_none());
}

/// A stimulus may have several messages and notes; they keep their order.
pub async fn a_stimulus_may_have_several_messages(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let at = w.now();
    let note = NewMessage::of(sid_types::Body::Note { text: "a timer rang".into() }, at);
    let accept = Accept { messages: vec![note, NewMessage::user("and I am here", at)], ..w.stimulus(&talk, "") };
    w.store.accept(&w.ours.scope, accept).await.expect("accepted");
    w.claim().await.expect("there is work");
    let messages = w.messages(&talk).await;
    assert_eq!(texts(&messages), ["a timer rang", "and I am here"]);
    assert_eq!(messages[0].body.role(), Role::Note);
}

/// The same run id again changes nothing.
pub async fn the_same_run_again_is_a_repetition(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let accept = w.stimulus(&talk, "once");
    let first = w.store.accept(&w.ours.scope, accept.clone()).await.expect("accepted");
    let again = w.store.accept(&w.ours.scope, accept.clone()).await.expect("answered again");
    assert_eq!((first.run.id, first.replayed), (again.run.id, false));
    assert!(again.replayed && again.lease.is_none());
    let lease = w.claim().await.expect("one run");
    assert!(w.answer(&lease, "yes").await.is_none(), "there is no second run");
    assert_eq!(texts(&w.messages(&talk).await), ["once", "yes"]);
    assert_eq!(w.store.accept(&w.ours.scope, accept).await.expect("answered again").run.status, RunStatus::Completed);
}

/// A message is said once: its id cannot come with another run, be it waiting or in its place.
pub async fn a_message_is_accepted_once(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let first = w.stimulus(&talk, "once");
    let again = || Accept { messages: first.messages.clone(), ..w.stimulus(&talk, "") };
    w.store.accept(&w.ours.scope, first.clone()).await.expect("accepted");
    assert_error!(w.store.accept(&w.ours.scope, again()).await, StoreError::Exists { .. });
    let lease = w.claim().await.expect("there is work");
    assert_error!(w.store.accept(&w.ours.scope, again()).await, StoreError::Exists { .. });
    let twin = first.messages[0].clone();
    let twins = Accept { messages: vec![NewMessage { id: sid_types::MessageId::new(), ..twin.clone() }; 2], ..w.stimulus(&talk, "") };
    assert_error!(w.store.accept(&w.ours.scope, twins).await, StoreError::Exists { .. });
    assert!(w.try_commit(&lease, vec![sid_store::Effect::Append(vec![twin])]).await.is_err());
    w.answer(&lease, "yes").await;
    assert_eq!(texts(&w.messages(&talk).await), ["once", "yes"]);
    assert_eq!(w.store.runs(&w.ours.scope, talk.id, 10).await.expect("visible").len(), 1);
}

/// Runs come up in the order in which they were accepted, whatever their clocks say.
pub async fn runs_come_up_in_commit_order(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let mut runs = Vec::new();
    for n in 0..5_i64 {
        let said = w.now() - jiff::SignedDuration::from_secs(n * 60);
        let accept = Accept { messages: vec![NewMessage::user(format!("m{n}"), said)], ..w.stimulus(&talk, "") };
        runs.push(w.store.accept(&w.ours.scope, accept).await.expect("accepted").run.id);
    }
    let mut lease = w.claim().await;
    let mut seen = Vec::new();
    while let Some(held) = lease {
        seen.push(held.run);
        lease = w.answer(&held, "ok").await;
    }
    assert_eq!(seen, runs);
    let said: Vec<_> = w.messages(&talk).await.into_iter().filter(|m| m.body.role() == Role::User).collect();
    assert_eq!(texts(&said), ["m0", "m1", "m2", "m3", "m4"]);
    assert_eq!(w.claim().await, None);
}

/// A turn's messages are neighbours: what is accepted meanwhile comes after them.
pub async fn a_turns_messages_stay_together(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "one").await;
    w.say(&talk, "two").await;
    w.say(&talk, "three").await;
    let next = w.answer(&lease, "answer one").await.expect("two waits");
    let next = w.answer(&next, "answer two").await.expect("three waits");
    assert!(w.answer(&next, "answer three").await.is_none());
    let messages = w.messages(&talk).await;
    assert_eq!(texts(&messages), ["one", "answer one", "two", "answer two", "three", "answer three"]);
    assert_eq!(seqs(&messages), dense(6));
}

/// Many accepts at once: nothing lost, nothing doubled, dense places.
pub async fn accepting_at_once_loses_nothing(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let w = Arc::new(w);
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let (w, accept) = (Arc::clone(&w), w.stimulus(&talk, &format!("m{n}")));
            tokio::spawn(async move { w.store.accept(&w.ours.scope, accept).await.expect("accepted").run.id })
        })
        .collect();
    let mut accepted: Vec<RunId> = Vec::new();
    for task in tasks {
        accepted.push(task.await.expect("no panic"));
    }
    let mut lease = w.claim().await;
    let mut seen = Vec::new();
    while let Some(held) = lease {
        seen.push(held.run);
        lease = w.answer(&held, "ok").await;
    }
    accepted.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, accepted);
    let messages = w.messages(&talk).await;
    assert_eq!(seqs(&messages), dense(32));
    assert!(messages.chunks(2).all(|turn| turn[0].run == turn[1].run && turn[0].run.is_some()), "turns stay together");
}

/// More than `queue_depth` waiting runs are refused; the one that is under way does not count.
pub async fn a_queue_has_a_depth(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "under way").await;
    for n in 0..2 {
        let accept = Accept { queue_depth: 2, ..w.stimulus(&talk, &format!("m{n}")) };
        w.store.accept(&w.ours.scope, accept).await.expect("there is room");
    }
    let refused = Accept { queue_depth: 2, ..w.stimulus(&talk, "one too many") };
    let (id, refused) = (refused.run, w.store.accept(&w.ours.scope, refused).await);
    assert_error!(refused, StoreError::QueueFull { depth: 2 });
    assert_error!(w.store.run(&w.ours.scope, id).await, StoreError::NotFound { .. });
    w.answer(&lease, "done").await.expect("m0 is next");
    let accept = Accept { queue_depth: 2, ..w.stimulus(&talk, "room again") };
    w.store.accept(&w.ours.scope, accept).await.expect("there is room again");
}

/// `Reject` fails while a run is under way, and works when none is.
pub async fn busy_may_be_refused(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let reject = |text: &str| Accept { on_busy: OnBusy::Reject, claim_for: Some((w.worker, TTL)), ..w.stimulus(&talk, text) };
    let lease = w.store.accept(&w.ours.scope, reject("one")).await.expect("idle").lease.expect("claimed");
    assert_error!(w.store.accept(&w.ours.scope, reject("two")).await, StoreError::Busy);
    assert_eq!(w.store.runs(&w.ours.scope, talk.id, 10).await.expect("visible").len(), 1);
    w.answer(&lease, "done").await;
    w.store.accept(&w.ours.scope, reject("three")).await.expect("idle again");
}

/// `Interrupt` asks the running run to stop and waits behind it.
pub async fn busy_may_be_interrupted(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "a long story, please").await;
    let waiting = w.say(&talk, "patient").await.run.id;
    let accept = Accept { on_busy: OnBusy::Interrupt, ..w.stimulus(&talk, "stop") };
    let interrupting = w.store.accept(&w.ours.scope, accept).await.expect("accepted").run;
    assert!(!interrupting.cancel_requested);
    assert!(w.store.is_cancel_requested(&lease).await.expect("held"));
    assert!(!w.store.run(&w.ours.scope, waiting).await.expect("there").cancel_requested, "only the run under way is stopped");
    let next = w.commit(&lease, vec![super::world::finish(StopReason::Cancelled)]).await.next.expect("patient is next");
    assert_eq!(next.run, waiting);
    assert_eq!(w.store.run(&w.ours.scope, lease.run).await.expect("there").status, RunStatus::Cancelled);
    assert_eq!(w.answer(&next, "ok").await.expect("stop is next").run, interrupting.id);
}

/// A run that was cancelled while it waited brings its message, ends as cancelled, and lets the next one through.
pub async fn cancelling_a_waiting_run_keeps_its_message(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "one").await;
    let (two, three) = (w.say(&talk, "two").await.run.id, w.say(&talk, "three").await.run.id);
    let cancelled = w.store.cancel(&w.ours.scope, two).await.expect("there");
    assert!(cancelled.cancel_requested && !cancelled.status.is_terminal(), "its turn has not come yet");
    let next = w.answer(&lease, "answer one").await.expect("three waits");
    assert_eq!(next.run, three);
    let run = w.store.run(&w.ours.scope, two).await.expect("there");
    assert_eq!((run.status, run.stop_reason), (RunStatus::Cancelled, Some(StopReason::Cancelled)));
    assert!(run.ended_at.is_some());
    let events = w.store.events(&w.ours.scope, two, 0, 10).await.expect("visible");
    assert!(matches!(events.last().map(|e| &e.body), Some(EventBody::Done { status: RunStatus::Cancelled, .. })), "{events:?}");
    assert_eq!(texts(&w.messages(&talk).await), ["one", "answer one", "two", "three"]);
    assert!(w.store.waiting_messages(&w.ours.scope, two).await.expect("visible").is_empty());
}

/// The same when nobody holds the conversation: claiming ends the run and answers no lease for it.
pub async fn claiming_ends_cancelled_runs(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let run = w.say(&talk, "never mind").await.run.id;
    w.store.cancel(&w.ours.scope, run).await.expect("there");
    assert!(w.claim().await.is_none());
    assert_eq!(w.store.run(&w.ours.scope, run).await.expect("there").status, RunStatus::Cancelled);
    assert_eq!(texts(&w.messages(&talk).await), ["never mind"]);
    let lease = w.begin(&talk, "hello again").await;
    assert_eq!(texts(&w.load(&lease).await.queue), ["never mind", "hello again"]);
}

/// The worker of a running run sees that it was asked to stop; the run goes on until the worker ends it.
pub async fn cancelling_a_running_run_asks_its_worker(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    assert!(!w.store.is_cancel_requested(&lease).await.expect("held"));
    let run = w.store.cancel(&w.ours.scope, lease.run).await.expect("there");
    assert!(run.cancel_requested);
    assert_eq!(run.status, RunStatus::Running);
    assert!(w.store.is_cancel_requested(&lease).await.expect("held"));
    assert!(w.load(&lease).await.run.cancel_requested);
    w.commit(&lease, vec![super::world::finish(StopReason::Cancelled)]).await;
    assert_eq!(w.store.run(&w.ours.scope, lease.run).await.expect("there").status, RunStatus::Cancelled);
}

/// A terminal run stays as it is.
pub async fn cancelling_an_ended_run_changes_nothing(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    w.answer(&lease, "hi").await;
    let before = w.store.run(&w.ours.scope, lease.run).await.expect("there");
    assert_eq!(w.store.cancel(&w.ours.scope, lease.run).await.expect("there"), before);
    assert_eq!(w.store.run(&w.ours.scope, lease.run).await.expect("there"), before);
}

/// Runs are listed newest first, with the limits they were accepted with.
pub async fn runs_are_listed_newest_first(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let limits = RunLimits { max_steps: 3, max_tokens: 99, max_time_ms: 7, max_repeats: 2 };
    let mut ids = Vec::new();
    for n in 0..4 {
        let accept = Accept { limits, ..w.stimulus(&talk, &format!("m{n}")) };
        let run = w.store.accept(&w.ours.scope, accept).await.expect("accepted").run;
        assert_eq!((run.limits, run.conversation, run.agent, run.created_at), (limits, talk.id, w.ours.agent.id, w.now()));
        ids.insert(0, run.id);
        w.wait(1);
    }
    let listed = async |limit| w.store.runs(&w.ours.scope, talk.id, limit).await.expect("visible").iter().map(|r| r.id).collect::<Vec<_>>();
    assert_eq!(listed(10).await, ids);
    assert_eq!(listed(2).await, ids[..2]);
    assert_eq!(w.store.run(&w.ours.scope, ids[3]).await.expect("there").limits, limits);
}

/// Tools of a caller are kept with the run, for whoever works on it, beside its limits.
pub async fn tools_of_a_caller_are_kept_with_the_run(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let parameters = serde_json::json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1.5}}});
    let tool = |name: &str| {
        let description = "Looks \u{1f952}\n\"there\".".into();
        ClientTool { spec: ToolSpec { name: name.into(), description, parameters: parameters.clone() }, untrusted: name == "buy" }
    };
    let (client_tools, limits) = (vec![tool("look"), tool("buy")], RunLimits { max_steps: 7, ..RunLimits::default() });
    let accept = Accept { client_tools: client_tools.clone(), limits, ..w.stimulus(&talk, "look") };
    let run = w.store.accept(&w.ours.scope, accept).await.expect("accepted").run;
    assert_eq!(run.client_tools, client_tools);
    let lease = w.claim().await.expect("there is work");
    let loaded = w.load(&lease).await.run;
    assert_eq!((&loaded.client_tools, loaded.limits), (&client_tools, limits));
    w.answer(&lease, "seen").await;
    let ended = w.store.run(&w.ours.scope, run.id).await.expect("visible");
    assert_eq!((&ended.client_tools, ended.limits), (&client_tools, limits));
    assert!(w.say(&talk, "and now?").await.run.client_tools.is_empty(), "the next run has its own");
}

/// A stimulus that goes on after a certain message is accepted while that is the last and nobody works, and once.
pub async fn what_goes_on_after_a_message_is_accepted_once(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let asked = call("c1", "look");
    let lease = w.begin(&talk, "look").await;
    let after = |n: u64| Accept { messages: vec![result(&asked, "seen", &[], w.now())], only_after: Some(Seq(n)), ..w.stimulus(&talk, "") };
    assert_error!(w.store.accept(&w.ours.scope, after(1)).await, StoreError::Conflict { .. });
    let said = vec![
        sid_store::Effect::Append(vec![calling(&asked, w.now())]),
        sid_store::Effect::Finish { reason: StopReason::ClientCalls, error: None },
    ];
    w.store.commit(&lease, sid_store::Commit { number: 1, effects: said }).await.expect("committed");
    let ended = w.store.run(&w.ours.scope, lease.run).await.expect("visible");
    assert_eq!((ended.status, ended.stop_reason), (RunStatus::Completed, Some(StopReason::ClientCalls)));
    for wrong in [0, 1, 3, u64::MAX] {
        assert_error!(w.store.accept(&w.ours.scope, after(wrong)).await, StoreError::Conflict { .. });
    }
    let idempotency = Some(sid_store::IdempotencyKey { key: "k".into(), fingerprint: [1; 32] });
    let keyed = Accept { idempotency: idempotency.clone(), ..after(2) };
    let accepted = w.store.accept(&w.ours.scope, keyed).await.expect("it goes on");
    assert_error!(w.store.accept(&w.ours.scope, after(2)).await, StoreError::Conflict { .. });
    // A repetition is answered before its place is looked at.
    let again = w.store.accept(&w.ours.scope, Accept { idempotency, ..after(2) }).await.expect("answered alike");
    assert_eq!((again.run.id, again.replayed), (accepted.run.id, true));
    let lease = w.claim().await.expect("there is work");
    assert_eq!(texts(&w.load(&lease).await.queue), ["look", "", "seen"]);
    w.answer(&lease, "ok").await;
    assert_error!(w.store.accept(&w.ours.scope, after(2)).await, StoreError::Conflict { .. });
    assert_eq!(texts(&w.messages(&talk).await), ["look", "", "seen", "ok"]);
}
