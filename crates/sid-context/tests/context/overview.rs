//! The overview: of a fixed size, whatever there is.

use sid_context::{Draft, USUAL_BUDGET};
use sid_memory::count_bytes;
use sid_store::ItemStore;
use sid_types::{ItemKind, ShareLevel, Sharee, Tokens};

use crate::world::{World, titled};

#[tokio::test]
async fn notes_come_whole_and_of_everything_else_the_titles() {
    let world = World::new().await;
    world.context.make(&world.as_ann, ItemKind::Note, Draft { body: "Vegetarian.".into(), ..titled("Food") }).await.expect("a note");
    world
        .context
        .make(&world.in_editor, ItemKind::Memory, Draft { body: "a secret recipe".into(), ..titled("Pickles") })
        .await
        .expect("one");
    let project = world.make(&world.as_ann, ItemKind::Project, "Garden").await;
    world.context.make(&world.as_ann, ItemKind::Section, Draft { parent: Some(project.id), ..titled("Beds") }).await.expect("a section");
    world.context.hand_off(&world.in_editor, None, None, "Order a sandwich".into(), String::new(), Vec::new()).await.expect("left");
    let seen = world.context.overview(&world.on_phone, USUAL_BUDGET, &count_bytes).await.expect("an overview");
    assert!(seen.heads.iter().all(|h| !h.is_shared));
    let heads: Vec<_> = seen.heads.iter().map(|h| (h.kind, h.title.as_str(), h.body.as_deref(), h.level)).collect();
    assert_eq!(
        heads,
        [
            (ItemKind::Note, "Food", Some("Vegetarian."), ShareLevel::Full),
            (ItemKind::Handoff, "Order a sandwich", None, ShareLevel::Full),
            (ItemKind::Project, "Garden", None, ShareLevel::Full),
            (ItemKind::Memory, "Pickles", None, ShareLevel::Read),
        ]
    );
    assert!(seen.more.is_empty() && seen.open_proposals == 0);
    // Nobody else sees any of it.
    assert!(world.context.overview(&world.bobs_editor, USUAL_BUDGET, &count_bytes).await.expect("an overview").heads.is_empty());
}

#[tokio::test]
async fn what_others_share_is_in_it_and_marked() {
    let world = World::new().await;
    let project = world.make(&world.as_ann, ItemKind::Project, "Garden").await;
    let with = Sharee::Team { team: world.team };
    world.store.share_item(&world.as_ann, project.id, with, Some(ShareLevel::Edit)).await.expect("shared");
    let seen = world.context.overview(&world.bobs_editor, USUAL_BUDGET, &count_bytes).await.expect("an overview");
    let heads: Vec<_> = seen.heads.iter().map(|h| (h.title.as_str(), h.is_shared, h.level)).collect();
    assert_eq!(heads, [("Garden", true, ShareLevel::Edit)]);
}

#[tokio::test]
async fn its_size_is_bounded_by_the_budget_and_it_says_that_there_is_more() {
    let world = World::new().await;
    for i in 0..300 {
        let title = format!("Note number {i} with a rather long title that takes some room");
        world.context.make(&world.as_ann, ItemKind::Note, Draft { body: "word ".repeat(300), ..titled(&title) }).await.expect("a note");
        world.make(&world.in_editor, ItemKind::Memory, &format!("Memory number {i} with a rather long title that takes room")).await;
    }
    for budget in [200, 2_000, 8_000] {
        let seen = world.context.overview(&world.on_phone, Tokens(budget), &count_bytes).await.expect("an overview");
        let words: usize = seen.heads.iter().map(|h| h.title.len() + h.body.as_ref().map_or(0, String::len)).sum();
        assert!(seen.tokens.0 <= budget && words / 4 <= budget as usize, "{budget}: {} tokens, {words} bytes", seen.tokens.0);
        assert!(seen.tokens.0 > budget / 2, "{budget}: only {} used", seen.tokens.0);
        assert!(seen.more.contains(&ItemKind::Memory), "{:?}", seen.more);
    }
    let seen = world.context.overview(&world.on_phone, USUAL_BUDGET, &count_bytes).await.expect("an overview");
    assert!(seen.heads.iter().any(|h| h.kind == ItemKind::Memory), "notes leave room for the others");
}
