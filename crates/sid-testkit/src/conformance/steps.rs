//! Steps, planned calls, and what a worker is given to go on with.

use sid_store::{Commit, Effect, StoreError};
use sid_types::{CallState, NewMessage, PlannedCall, Step, StepId, StopReason, Usage};
use uuid::Uuid;

use super::World;
use super::world::{TTL, assert_error, call, calling, finish, result, texts};

/// A step of 100 + 10 tokens.
pub(super) fn step(w: &World, run: sid_types::RunId, number: u32) -> Step {
    let usage = Usage { prompt_tokens: 100, completion_tokens: 10, cached_tokens: 50, is_estimated: false };
    Step {
        id: StepId::new(),
        run,
        number,
        usage,
        rung: "native".into(),
        first_token_ms: 12,
        total_ms: 34,
        tail: Some("it is Monday".into()),
        queue: (1, 2),
        recalled: vec![("msg_x".into(), 0.5)],
        at: w.now(),
    }
}

/// Steps are kept in order; the run counts them and adds up their tokens.
pub async fn steps_are_recorded_and_counted(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    let steps = [step(&w, lease.run, 1), step(&w, lease.run, 2)];
    for step in &steps {
        w.commit(&lease, vec![Effect::RecordStep(Box::new(step.clone()))]).await;
    }
    assert_eq!(w.store.steps(&w.ours.scope, lease.run).await.expect("visible"), steps);
    w.commit(&lease, vec![finish(StopReason::EndTurn)]).await;
    let run = w.store.run(&w.ours.scope, lease.run).await.expect("there");
    assert_eq!(run.steps, 2);
    assert_eq!(run.usage, Usage { prompt_tokens: 200, completion_tokens: 20, cached_tokens: 100, is_estimated: false });
}

/// A planned call is open until its result is there.
pub async fn planned_calls_are_open_until_finished(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "look it up").await;
    let calls = [call("c1", "conversation_search"), call("c2", "web")];
    let plan = |n: usize| PlannedCall { call: calls[n].clone(), token: PlannedCall::token_for(lease.run, 1, n), state: CallState::Planned };
    let (one, two) = (plan(0), plan(1));
    w.commit(&lease, vec![Effect::Append(vec![calling(&calls[0], w.now())]), Effect::Plan(vec![one.clone(), two.clone()])]).await;
    assert_eq!(w.load(&lease).await.open_calls, [one.clone(), two.clone()]);
    w.commit(&lease, vec![Effect::StartCall(two.token)]).await;
    let started = PlannedCall { state: CallState::Started, ..two.clone() };
    assert_eq!(w.load(&lease).await.open_calls, [one.clone(), started.clone()]);
    let found = result(&calls[0], "found", &[], w.now());
    w.commit(&lease, vec![Effect::Append(vec![found]), Effect::FinishCall(one.token)]).await;
    assert_eq!(w.load(&lease).await.open_calls, [started]);
    let found = result(&calls[1], "found", &[], w.now());
    w.commit(&lease, vec![Effect::Append(vec![found]), Effect::FinishCall(two.token)]).await;
    assert!(w.load(&lease).await.open_calls.is_empty());
    // A later reply plans anew.
    let three = PlannedCall { token: PlannedCall::token_for(lease.run, 2, 0), ..plan(0) };
    w.commit(&lease, vec![Effect::Plan(vec![three.clone()])]).await;
    assert_eq!(w.load(&lease).await.open_calls, [three]);
}

/// A call that was never planned can be neither started nor finished.
pub async fn unknown_calls_are_invalid(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    for effect in [Effect::StartCall(Uuid::now_v7()), Effect::FinishCall(Uuid::now_v7())] {
        let effects = vec![Effect::Append(vec![NewMessage::assistant("half", w.now())]), effect];
        assert_error!(w.try_commit(&lease, effects).await, StoreError::Invalid(_));
    }
    assert_eq!(texts(&w.messages(&talk).await), ["hello"]);
}

/// A worker dies after it has sent a call out: the next one finds the call, its token and its state.
pub async fn a_crash_leaves_open_calls_behind(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "buy pickles").await;
    let buy = call("c1", "buy");
    let planned = PlannedCall { call: buy.clone(), token: PlannedCall::token_for(lease.run, 1, 0), state: CallState::Planned };
    w.commit(&lease, vec![Effect::Append(vec![calling(&buy, w.now())]), Effect::Plan(vec![planned.clone()])]).await;
    w.commit(&lease, vec![Effect::StartCall(planned.token)]).await;
    w.wait(31);
    let other = sid_types::WorkerId::new();
    let resumed = w.store.claim(other, 1, usize::MAX, TTL).await.expect("claiming works").pop().expect("the lease has expired");
    assert_eq!((resumed.run, resumed.worker), (lease.run, other));
    let loaded = w.load(&resumed).await;
    assert_eq!(loaded.open_calls, [PlannedCall { state: CallState::Started, ..planned.clone() }]);
    assert_eq!((loaded.run.commits, loaded.queue.len()), (2, 2));
    let unknown = result(&buy, "outcome unknown", &[], w.now());
    let effects = vec![Effect::Append(vec![unknown]), Effect::FinishCall(planned.token), finish(StopReason::EndTurn)];
    w.store.commit(&resumed, Commit { number: 3, effects }).await.expect("it goes on where the other one stopped");
    assert_eq!(texts(&w.messages(&talk).await), ["buy pickles", "", "outcome unknown"]);
}

/// A worker is given the agent, the human, the shared teams and the pair's blocks, ordered by label.
pub async fn loading_gives_all_that_a_turn_needs(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    let loaded = w.load(&lease).await;
    assert_eq!(loaded.run.id, lease.run);
    assert_eq!((&loaded.agent, loaded.user.as_ref()), (&w.ours.agent, Some(&w.ours.ann)));
    assert_eq!(loaded.teams.iter().map(|m| &m.team).collect::<Vec<_>>(), [&w.ours.team]);
    assert_eq!(loaded.conversation.id, talk.id);
    assert_eq!(loaded.blocks.iter().map(|b| b.label.as_str()).collect::<Vec<_>>(), ["human", "persona"]);

    let bobs = w.talk(&w.ours.bob).await;
    assert!(w.load(&w.begin(&bobs, "hello").await).await.teams.is_empty(), "bob is in no team");
    let anns = w.open(&w.ours, &w.ours.other_agent, Some(&w.ours.ann)).await;
    assert!(w.load(&w.begin(&anns, "hello").await).await.teams.is_empty(), "this agent may read no team");
    let alone = w.open(&w.ours, &w.ours.agent, None).await;
    let loaded = w.load(&w.begin(&alone, "work").await).await;
    assert_eq!((loaded.user, loaded.teams.len(), loaded.last_contact), (None, 0, None));
}

/// When the human last wrote to this agent, in any conversation, before this run.
pub async fn the_last_contact_is_known(w: World) {
    let (one, two) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    let lease = w.begin(&one, "first").await;
    assert_eq!(w.load(&lease).await.last_contact, None, "this very message does not count");
    let first = w.now();
    w.answer(&lease, "hi").await;
    w.wait(3_600);
    let lease = w.begin(&two, "second").await;
    assert_eq!(w.load(&lease).await.last_contact, Some(first), "the answer does not count, another conversation does");
    let second = w.now();
    w.answer(&lease, "hi").await;
    w.wait(3_600);
    let bobs = w.talk(&w.ours.bob).await;
    assert_eq!(w.load(&w.begin(&bobs, "hello").await).await.last_contact, None, "somebody else's talk does not count");
    let others = w.open(&w.ours, &w.ours.other_agent, Some(&w.ours.ann)).await;
    assert_eq!(w.load(&w.begin(&others, "hello").await).await.last_contact, None, "another agent's talk does not count");
    assert_eq!(w.load(&w.begin(&one, "third").await).await.last_contact, Some(second));
}
