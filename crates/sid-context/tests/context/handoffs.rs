//! Hand-offs: picked up once.

use sid_context::{ContextError, HandoffState};
use sid_types::{Item, Scope};

use crate::world::{World, is_forbidden, is_hidden};

async fn leave(world: &World, by: &Scope, recipient: Option<sid_types::AgentId>) -> Item {
    world.context.hand_off(by, None, recipient, "Order a sandwich".into(), "extra pickles".into(), Vec::new()).await.expect("left")
}

#[track_caller]
fn is_taken<T: std::fmt::Debug>(result: Result<T, ContextError>) {
    assert!(matches!(result, Err(ContextError::Taken { .. })), "{result:?}");
}

#[tokio::test]
async fn one_of_many_picks_it_up() {
    let world = World::new().await;
    let left = leave(&world, &world.as_ann, None).await;
    let claims = futures_of(&world, &left).await;
    assert_eq!(claims.iter().filter(|won| **won).count(), 1, "{claims:?}");
}

/// Whether each of several assistants at once got it.
async fn futures_of(world: &World, left: &Item) -> Vec<bool> {
    let mut tasks = Vec::new();
    for i in 0..8 {
        let (context, id) = (world.context.clone(), left.id);
        let scope = if i % 2 == 0 { world.in_editor } else { world.on_phone };
        tasks.push(tokio::spawn(async move { (i % 2, context.claim(&scope, id).await.is_ok()) }));
    }
    let mut won = [false; 2];
    for task in tasks {
        let (who, got_it) = task.await.expect("a task");
        won[who] |= got_it;
    }
    won.to_vec()
}

#[tokio::test]
async fn it_is_for_whom_it_was_left() {
    let world = World::new().await;
    let left = leave(&world, &world.in_editor, Some(world.phone)).await;
    assert_eq!(HandoffState::read(&left).from, Some(world.editor));
    is_taken(world.context.claim(&world.in_editor, left.id).await);
    is_hidden(world.context.claim(&world.bobs_editor, left.id).await);
    assert!(world.context.waiting_handoffs(&world.in_editor, 10).await.expect("a list").is_empty());
    let waiting = world.context.waiting_handoffs(&world.on_phone, 10).await.expect("a list");
    assert_eq!(waiting.iter().map(|item| item.id).collect::<Vec<_>>(), [left.id]);
    let claimed = world.context.claim(&world.on_phone, left.id).await.expect("claimed");
    assert_eq!((claimed.state.as_str(), HandoffState::read(&claimed).claimed_by), ("claimed", Some(world.phone)));
    let done = world.context.finish_handoff(&world.on_phone, left.id, Some("ordered".into()), &[]).await.expect("finished");
    assert_eq!((done.state.as_str(), HandoffState::read(&done).result.as_deref()), ("done", Some("ordered")));
    is_taken(world.context.claim(&world.on_phone, left.id).await);
}

#[tokio::test]
async fn a_claim_runs_out_and_may_be_prolonged_or_given_back() {
    let world = World::new().await;
    let left = leave(&world, &world.as_ann, None).await;
    world.context.claim(&world.in_editor, left.id).await.expect("claimed");
    world.pass(600);
    world.context.claim(&world.in_editor, left.id).await.expect("prolonged");
    world.pass(600);
    is_taken(world.context.claim(&world.on_phone, left.id).await);
    world.pass(301);
    world.context.claim(&world.on_phone, left.id).await.expect("the claim had run out");
    is_taken(world.context.finish_handoff(&world.in_editor, left.id, None, &[]).await);
    is_taken(world.context.give_back(&world.in_editor, left.id).await);
    world.context.give_back(&world.on_phone, left.id).await.expect("given back");
    world.context.claim(&world.in_editor, left.id).await.expect("it is open again");
    world.pass(1_000);
    is_taken(world.context.finish_handoff(&world.in_editor, left.id, None, &[]).await);
}

#[tokio::test]
async fn who_left_it_takes_it_back() {
    let world = World::new().await;
    let left = leave(&world, &world.in_editor, None).await;
    is_forbidden(world.context.withdraw(&world.on_phone, left.id).await);
    world.context.withdraw(&world.in_editor, left.id).await.expect("withdrawn");
    is_taken(world.context.claim(&world.on_phone, left.id).await);
}
