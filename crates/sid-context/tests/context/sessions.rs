//! Sessions and the gaps between them.

use crate::world::World;

#[tokio::test]
async fn an_assistant_learns_how_long_ago_the_last_contact_was() {
    let world = World::new().await;
    let (first, time) = world.context.begin_session(&world.in_editor).await.expect("a session");
    assert_eq!((time.last_contact, time.weekday.as_str()), (None, "Monday"));
    assert_eq!(time.local, "2026-03-02T10:00:00+01:00");
    world.pass(600);
    let (same, _) = world.context.begin_session(&world.in_editor).await.expect("a session");
    assert_eq!(same.id, first.id);
    world.pass(9 * 86_400);
    let (next, time) = world.context.begin_session(&world.on_phone).await.expect("a session");
    assert_ne!(next.id, first.id);
    let last = time.last_contact.expect("there was one");
    assert_eq!((last.agent, last.gap.as_str(), last.gap_s), (Some(world.editor), "9 days", 9 * 86_400));
    assert!(time.words.ends_with("The last contact was 9 days ago."), "{}", time.words);
}

#[tokio::test]
async fn nobody_learns_of_others_contacts() {
    let world = World::new().await;
    world.context.begin_session(&world.in_editor).await.expect("a session");
    assert_eq!(world.context.grounding(&world.bobs_editor).await.expect("the time").last_contact, None);
}
