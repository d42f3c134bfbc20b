//! Assistants add freely; the user decides what is changed and deleted.

use sid_context::{ContextError, Edit, Policy, Proposed};
use sid_types::ItemKind;

use crate::world::{World, done, is_hidden, proposed};

fn body(text: &str) -> Edit {
    Edit { body: Some(text.into()), ..Edit::default() }
}

#[tokio::test]
async fn a_change_waits_for_the_user_and_is_made_when_the_user_says_yes() {
    let world = World::new().await;
    let memory = world.make(&world.in_editor, ItemKind::Memory, "Pickles").await;
    let wish = proposed(world.context.change(&world.in_editor, memory.id, Some(1), body("loves them")).await.expect("proposed"));
    assert_eq!(Proposed::read(&wish).expect("a proposal").item, memory.id);
    assert_eq!(world.context.item(&world.as_ann, memory.id).await.expect("read").item, memory);
    let by_assistant = world.context.approve(&world.in_editor, wish.id).await;
    assert!(matches!(by_assistant, Err(ContextError::NotForAssistants(_))), "{by_assistant:?}");
    is_hidden(world.context.approve(&world.as_bob, wish.id).await);
    let changed = world.context.approve(&world.as_ann, wish.id).await.expect("approved").expect("an item");
    assert_eq!((changed.body.as_str(), changed.version), ("loves them", 2));
    let again = world.context.approve(&world.as_ann, wish.id).await;
    assert!(matches!(again, Err(ContextError::Taken { .. })), "{again:?}");
}

#[tokio::test]
async fn a_deletion_waits_likewise_and_no_is_no() {
    let world = World::new().await;
    let memory = world.make(&world.in_editor, ItemKind::Memory, "Pickles").await;
    let wish = proposed(world.context.delete(&world.in_editor, memory.id, None).await.expect("proposed"));
    world.context.reject(&world.as_ann, wish.id).await.expect("rejected");
    assert_eq!(world.context.item(&world.as_ann, memory.id).await.expect("read").item, memory);
    let wish = proposed(world.context.delete(&world.in_editor, memory.id, None).await.expect("proposed"));
    assert_eq!(world.context.approve(&world.as_ann, wish.id).await.expect("approved"), None);
    is_hidden(world.context.item(&world.as_ann, memory.id).await);
}

#[tokio::test]
async fn what_has_changed_meanwhile_is_not_overwritten() {
    let world = World::new().await;
    let memory = world.make(&world.in_editor, ItemKind::Memory, "Pickles").await;
    let wish = proposed(world.context.change(&world.in_editor, memory.id, None, body("old news")).await.expect("proposed"));
    done(world.context.change(&world.as_ann, memory.id, None, body("the user's own words")).await.expect("changed"));
    let late = world.context.approve(&world.as_ann, wish.id).await;
    assert!(matches!(late, Err(ContextError::Stale)), "{late:?}");
    assert_eq!(world.context.item(&world.as_ann, memory.id).await.expect("read").item.body, "the user's own words");
    assert_eq!(world.context.item(&world.as_ann, wish.id).await.expect("read").item.state, "stale");
}

#[tokio::test]
async fn two_who_decide_at_once_decide_once() {
    let world = World::new().await;
    let memory = world.make(&world.in_editor, ItemKind::Memory, "Pickles").await;
    let wish = proposed(world.context.change(&world.in_editor, memory.id, None, body("x")).await.expect("proposed"));
    let (a, b) = tokio::join!(world.context.approve(&world.as_ann, wish.id), world.context.reject(&world.as_ann, wish.id));
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
}

#[tokio::test]
async fn the_policy_says_for_which_kinds() {
    let world = World::with(Policy { needs_approval: Vec::new(), ..Policy::default() }).await;
    let memory = world.make(&world.in_editor, ItemKind::Memory, "Pickles").await;
    done(world.context.change(&world.in_editor, memory.id, None, body("x")).await.expect("changed"));
    let world = World::new().await;
    let project = world.make(&world.in_editor, ItemKind::Project, "Garden").await;
    done(world.context.change(&world.in_editor, project.id, None, body("x")).await.expect("changed"));
}
