//! Items: whose they are, who reads and writes them, what each kind may be.

use sid_context::{ContextError, Draft, Edit};
use sid_store::{ItemFilter, ItemStore, PageRequest, StoreError, Whose};
use sid_types::{ItemId, ItemKind, Owner, ShareLevel, Sharee};

use crate::world::{World, done, is_forbidden, is_hidden, titled};

fn retitled(title: &str) -> Edit {
    Edit { title: Some(title.into()), ..Edit::default() }
}

#[tokio::test]
async fn what_an_assistant_keeps_is_read_by_the_others_and_written_by_none_of_them() {
    let world = World::new().await;
    let memory = world.make(&world.in_editor, ItemKind::Memory, "Likes pickles").await;
    assert_eq!(memory.owner, Owner::Pair { agent: world.editor, user: world.ann });
    assert_eq!(world.context.item(&world.on_phone, memory.id).await.expect("read").level, ShareLevel::Read);
    is_forbidden(world.context.change(&world.on_phone, memory.id, None, retitled("x")).await);
    is_forbidden(world.context.delete(&world.on_phone, memory.id, None).await);
    for stranger in [&world.as_bob, &world.bobs_editor] {
        is_hidden(world.context.item(stranger, memory.id).await);
        is_hidden(world.context.change(stranger, memory.id, None, retitled("x")).await);
        is_hidden(world.context.delete(stranger, memory.id, None).await);
    }
}

#[tokio::test]
async fn a_users_projects_are_written_by_all_of_the_users_assistants() {
    let world = World::new().await;
    let project = world.make(&world.in_editor, ItemKind::Project, "Garden").await;
    assert_eq!((project.owner, project.state.as_str()), (Owner::User { user: world.ann }, "planning"));
    let edit = Edit { state: Some("active".into()), ..Edit::default() };
    let changed = done(world.context.change(&world.on_phone, project.id, Some(1), edit).await.expect("changed")).expect("an item");
    assert_eq!((changed.state.as_str(), changed.version, changed.written_by), ("active", 2, Some(world.phone)));
    is_hidden(world.context.item(&world.bobs_editor, project.id).await);
}

#[tokio::test]
async fn what_a_person_notes_is_for_all_of_the_persons_assistants() {
    let world = World::new().await;
    let note = world.make(&world.as_ann, ItemKind::Note, "Call me Ann").await;
    assert_eq!(note.owner, Owner::User { user: world.ann });
    assert_eq!(world.context.item(&world.in_editor, note.id).await.expect("read").item, note);
}

#[tokio::test]
async fn each_kind_has_its_places_and_states() {
    let world = World::new().await;
    let project = world.make(&world.as_ann, ItemKind::Project, "Garden").await;
    let invalid = async |kind: ItemKind, draft: Draft| {
        let made = world.context.make(&world.as_ann, kind, draft).await;
        assert!(matches!(made, Err(ContextError::Invalid(_))), "{kind}: {made:?}");
    };
    invalid(ItemKind::Section, titled("Beds")).await;
    invalid(ItemKind::Memory, Draft { parent: Some(project.id), ..titled("Beds") }).await;
    invalid(ItemKind::Project, Draft { state: Some("done".into()), ..titled("Shed") }).await;
    invalid(ItemKind::Note, Draft { state: Some("active".into()), ..titled("Shed") }).await;
    for kind in [ItemKind::Secret, ItemKind::DataKey, ItemKind::Handoff, ItemKind::Proposal, ItemKind::Session] {
        invalid(kind, titled("x")).await;
    }
    let section = world.context.make(&world.in_editor, ItemKind::Section, Draft { parent: Some(project.id), ..titled("Beds") }).await;
    let section = section.expect("a section");
    assert_eq!((section.owner, section.root), (project.owner, project.id));
    let moved = Edit { parent: Some(ItemId::new()), ..Edit::default() };
    is_hidden(world.context.change(&world.as_ann, section.id, None, moved).await);
}

#[tokio::test]
async fn somebody_who_was_faster_is_noticed() {
    let world = World::new().await;
    let project = world.make(&world.as_ann, ItemKind::Project, "Garden").await;
    done(world.context.change(&world.in_editor, project.id, Some(1), retitled("Orchard")).await.expect("changed"));
    let late = world.context.change(&world.on_phone, project.id, Some(1), retitled("Meadow")).await;
    assert!(matches!(late, Err(ContextError::Store(StoreError::Conflict { expected: 1, found: 2 }))), "{late:?}");
    let late = world.context.delete(&world.on_phone, project.id, Some(1)).await;
    assert!(matches!(late, Err(ContextError::Store(StoreError::Conflict { .. }))), "{late:?}");
    assert_eq!(world.context.item(&world.as_ann, project.id).await.expect("read").item.title, "Orchard");
}

#[tokio::test]
async fn a_shared_project_is_seen_and_written_as_its_owner_says() {
    let world = World::new().await;
    let project = world.make(&world.as_ann, ItemKind::Project, "Garden").await;
    let with = Sharee::User { user: world.bob };
    let share = async |level| world.store.share_item(&world.as_ann, project.id, with, level).await.expect("shared");
    share(Some(ShareLevel::Read)).await;
    assert_eq!(world.context.item(&world.bobs_editor, project.id).await.expect("read").level, ShareLevel::Read);
    is_forbidden(world.context.change(&world.bobs_editor, project.id, None, retitled("x")).await);
    share(Some(ShareLevel::Edit)).await;
    done(world.context.change(&world.bobs_editor, project.id, None, retitled("Orchard")).await.expect("changed"));
    let section = Draft { parent: Some(project.id), ..titled("Trees") };
    let section = world.context.make(&world.bobs_editor, ItemKind::Section, section).await.expect("added");
    assert_eq!(section.owner, Owner::User { user: world.ann });
    is_forbidden(world.context.delete(&world.as_bob, section.id, None).await);
    share(Some(ShareLevel::Full)).await;
    done(world.context.delete(&world.as_bob, section.id, None).await.expect("deleted"));
    // The top stays its owner's.
    is_forbidden(world.context.delete(&world.as_bob, project.id, None).await);
    share(None).await;
    is_hidden(world.context.item(&world.bobs_editor, project.id).await);
}

#[tokio::test]
async fn assistants_and_strangers_share_nothing() {
    let world = World::new().await;
    let project = world.make(&world.as_ann, ItemKind::Project, "Garden").await;
    let with = Sharee::User { user: world.bob };
    let by_assistant = world.store.share_item(&world.in_editor, project.id, with, Some(ShareLevel::Read)).await;
    assert!(matches!(by_assistant, Err(StoreError::Forbidden { .. })), "{by_assistant:?}");
    let by_stranger = world.store.share_item(&world.as_bob, project.id, with, Some(ShareLevel::Read)).await;
    assert!(matches!(by_stranger, Err(StoreError::NotFound { .. })), "{by_stranger:?}");
    is_hidden(world.context.item(&world.as_bob, project.id).await);
}

#[tokio::test]
async fn keys_and_secrets_are_in_no_list() {
    let world = World::new().await;
    let vault = crate::secrets::vault(&world, "one");
    let secret = crate::secrets::put(&vault, &world.as_ann, "mail", "hunter2").await;
    is_hidden(world.context.item(&world.as_ann, secret.id).await);
    for kinds in [vec![], vec![ItemKind::Secret], vec![ItemKind::DataKey]] {
        let filter = ItemFilter { kinds, ..ItemFilter::of(Whose::User(world.ann)) };
        let page = world.context.items(&world.as_ann, filter, PageRequest { after: None, limit: 100 }).await.expect("a list");
        assert!(page.items.is_empty(), "{page:?}");
    }
}
