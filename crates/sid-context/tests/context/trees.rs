//! Trees as documents, and hints made compact.

use sid_context::{ContextError, Draft, Edit};
use sid_store::{Below, ItemFilter, PageRequest, Whose};
use sid_types::ItemKind;

use crate::world::{World, done, is_forbidden, titled};

#[tokio::test]
async fn a_project_reads_as_one_document_in_its_order() {
    let world = World::new().await;
    let project =
        world.context.make(&world.as_ann, ItemKind::Project, Draft { body: "Behind the house.".into(), ..titled("Garden") }).await;
    let project = project.expect("a project");
    let part = async |parent, position, title: &str, body: &str| {
        let draft = Draft { parent: Some(parent), position, body: body.into(), ..titled(title) };
        world.context.make(&world.in_editor, ItemKind::Section, draft).await.expect(title).id
    };
    part(project.id, 2, "Shed", "").await;
    let beds = part(project.id, 1, "Beds", "Three of them.").await;
    part(beds, 0, "Cucumbers", "For pickles.").await;
    let text = world.context.document(&world.on_phone, project.id).await.expect("a document");
    let expected = "# Garden\n\n*planning*\n\nBehind the house.\n\n## Beds\n\nThree of them.\n\n### Cucumbers\n\nFor pickles.\n\n## Shed\n";
    assert_eq!(text, expected);
    assert!(world.context.document(&world.as_bob, project.id).await.is_err());
}

#[tokio::test]
async fn hints_become_one_and_nothing_is_lost() {
    let world = World::new().await;
    let category = world.make(&world.as_ann, ItemKind::Hint, "The build").await;
    for (title, body) in [("Use nextest", "It is faster.\nRun fmt first."), ("Two cores", "run  FMT first.")] {
        let draft = Draft { parent: Some(category.id), body: body.into(), ..titled(title) };
        world.context.make(&world.in_editor, ItemKind::Hint, draft).await.expect(title);
        world.pass(1);
    }
    let one = world.context.compact_hints(&world.on_phone, category.id, None).await.expect("one hint");
    assert_eq!(one.body, "Two cores\nrun  FMT first.\nUse nextest\nIt is faster.\n");
    let filter = ItemFilter { below: Some(Below::Parent(category.id)), ..ItemFilter::of(Whose::User(world.ann)) };
    let left = world.context.items(&world.as_ann, filter, PageRequest { after: None, limit: 10 }).await.expect("a list").items;
    assert_eq!(left.iter().map(|seen| seen.item.id).collect::<Vec<_>>(), [one.id]);
    let said =
        world.context.compact_hints(&world.on_phone, category.id, Some("Two cores; fmt, then nextest.".into())).await.expect("one hint");
    assert_eq!(said.body, "Two cores; fmt, then nextest.");
}

#[tokio::test]
async fn only_categories_of_hints_become_compact() {
    let world = World::new().await;
    let project = world.make(&world.as_ann, ItemKind::Project, "Garden").await;
    let refused = world.context.compact_hints(&world.as_ann, project.id, None).await;
    assert!(matches!(refused, Err(ContextError::Invalid(_))), "{refused:?}");
    let empty = world.make(&world.as_ann, ItemKind::Hint, "Nothing").await;
    let refused = world.context.compact_hints(&world.as_ann, empty.id, None).await;
    assert!(matches!(refused, Err(ContextError::Invalid(_))), "{refused:?}");
    let with = sid_types::Sharee::User { user: world.bob };
    sid_store::ItemStore::share_item(&*world.store, &world.as_ann, empty.id, with, Some(sid_types::ShareLevel::Edit))
        .await
        .expect("shared");
    is_forbidden(world.context.compact_hints(&world.as_bob, empty.id, None).await);
    done(world.context.change(&world.as_bob, empty.id, None, Edit { body: Some("x".into()), ..Edit::default() }).await.expect("changed"));
}
