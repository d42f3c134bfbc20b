//! Images: kept with their bytes, seen by their people, counted, and gone with their conversation.

use sid_store::{EraseTarget, ImageCaps, PageRequest, PairFilter, StoreError};
use sid_types::{Conversation, Image, ImageFormat, ImageId, Scope, Timestamp, User, UserId};

use super::World;
use super::world::assert_error;

const ALL: PageRequest = PageRequest { after: None, limit: 100 };
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\x00\xff bytes that are no text";

/// An image as a tool puts it; whose it is, is what the store has to find out.
fn image(w: &World, talk: &Conversation) -> Image {
    Image {
        id: ImageId::new(),
        agent: w.theirs.agent.id,
        user: None,
        conversation: talk.id,
        prompt: "a bear with a sandwich\u{0} \u{10FFFF}0 ü 😀".into(),
        model: "painter".into(),
        format: ImageFormat::Png,
        bytes: 0,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

async fn made(w: &World, talk: &Conversation) -> Image {
    w.store.put_image(&w.ours.scope, image(w, talk), PNG.to_vec()).await.expect("kept")
}

async fn listed(w: &World, scope: &Scope, filter: PairFilter) -> Vec<ImageId> {
    w.store.images(scope, &filter, ALL).await.expect("listed").items.into_iter().map(|i| i.id).collect()
}

/// What is put is read as it was, with its owner, size and time from the store; the same id again changes nothing.
pub async fn images_are_kept_as_they_were_made(w: World) {
    let (s, scope) = (&*w.store, &w.ours.scope);
    let talk = w.talk(&w.ours.ann).await;
    let new = image(&w, &talk);
    let kept = s.put_image(scope, new.clone(), PNG.to_vec()).await.expect("kept");
    let bytes = PNG.len() as u64;
    assert_eq!(kept, Image { agent: w.ours.agent.id, user: Some(w.ours.ann.id), bytes, created_at: w.now(), ..new.clone() });
    w.wait(1);
    let again = Image { prompt: "another".into(), ..new.clone() };
    assert_eq!(s.put_image(scope, again, PNG.to_vec()).await.expect("a repetition"), kept);
    assert_eq!(s.image(scope, kept.id).await.expect("there"), kept);
    assert_eq!(s.image_bytes(scope, kept.id).await.expect("there"), PNG);
    let other = w.talk(&w.ours.bob).await;
    let taken = Image { conversation: other.id, ..new };
    assert_error!(s.put_image(scope, taken, PNG.to_vec()).await, StoreError::Exists { .. });

    let next = made(&w, &other).await;
    let page = |limit, after| PageRequest { after, limit };
    let first = s.images(scope, &PairFilter::default(), page(1, None)).await.expect("a page");
    assert_eq!(first.items, std::slice::from_ref(&next));
    let second = s.images(scope, &PairFilter::default(), page(1, first.next)).await.expect("a page");
    assert_eq!((second.items, second.next), (vec![kept.clone()], None));
    for (filter, found) in [
        (PairFilter { user: Some(w.ours.ann.id), ..PairFilter::default() }, vec![kept.id]),
        (PairFilter { conversation: Some(other.id), ..PairFilter::default() }, vec![next.id]),
        (PairFilter { agent: Some(w.ours.agent.id), ..PairFilter::default() }, vec![next.id, kept.id]),
        (PairFilter { agent: Some(w.ours.other_agent.id), ..PairFilter::default() }, vec![]),
        (PairFilter { user: Some(UserId::new()), ..PairFilter::default() }, vec![]),
    ] {
        assert_eq!(listed(&w, scope, filter).await, found, "{filter:?}");
    }
    s.drop_image(scope, kept.id).await.expect("dropped");
    assert_error!(s.image(scope, kept.id).await, StoreError::NotFound { .. });
    assert_error!(s.image_bytes(scope, kept.id).await, StoreError::NotFound { .. });
    assert_error!(s.drop_image(scope, kept.id).await, StoreError::NotFound { .. });
}

/// What is no image of its format is not kept.
pub async fn images_are_what_they_say(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    for bytes in [&b"<svg onload='alert(1)'/>"[..], b"", b"\xff\xd8\xff\xe0 a JPEG"] {
        assert_error!(w.store.put_image(&w.ours.scope, image(&w, &talk), bytes.to_vec()).await, StoreError::Invalid(_));
    }
    let mut huge = PNG.to_vec();
    huge.resize(sid_store::MOST_IMAGE_BYTES + 1, 0);
    assert_error!(w.store.put_image(&w.ours.scope, image(&w, &talk), huge).await, StoreError::TooLarge { .. });
    assert_eq!(listed(&w, &w.ours.scope, PairFilter::default()).await, []);
}

/// Whoever sees the conversation sees its images, and nobody else; a turn makes them for its own pair only, and deletes none.
pub async fn images_are_seen_by_their_people(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let (anns_talk, bobs_talk) = (w.talk(&o.ann).await, w.talk(&o.bob).await);
    let turn = o.as_turn(&o.agent, Some(&o.ann));
    let anns = s.put_image(&turn, image(&w, &anns_talk), PNG.to_vec()).await.expect("kept").id;
    assert_error!(s.put_image(&turn, image(&w, &bobs_talk), PNG.to_vec()).await, StoreError::NotFound { .. });
    let stranger = o.as_turn(&o.other_agent, Some(&o.ann));
    assert_error!(s.put_image(&stranger, image(&w, &anns_talk), PNG.to_vec()).await, StoreError::NotFound { .. });
    let bobs = made(&w, &bobs_talk).await.id;
    let (ann, theirs) = (o.as_user(&o.ann), w.theirs.scope);
    for (scope, visible) in [
        (&o.scope, vec![bobs, anns]),
        (&ann, vec![anns]),
        (&turn, vec![anns]),
        (&stranger, vec![]),
        (&o.as_turn(&o.agent, None), vec![]),
        (&theirs, vec![]),
    ] {
        assert_eq!(listed(&w, scope, PairFilter::default()).await, visible, "{scope:?}");
        for id in [anns, bobs] {
            let (seen, bytes) = (s.image(scope, id).await, s.image_bytes(scope, id).await);
            if visible.contains(&id) {
                assert!(seen.is_ok() && bytes.is_ok(), "{scope:?}");
            } else {
                assert_error!(seen, StoreError::NotFound { .. });
                assert_error!(bytes, StoreError::NotFound { .. });
                assert_error!(s.drop_image(scope, id).await, StoreError::NotFound { .. });
            }
        }
    }
    assert_error!(s.drop_image(&turn, anns).await, StoreError::NotFound { .. });
    s.drop_image(&ann, anns).await.expect("her own");
}

/// No more are counted in a day than the caps say, for a user and for all of a tenant; what fails counts nothing.
pub async fn images_of_a_day_have_a_limit(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let caps = ImageCaps { user: 3, tenant: 5 };
    let turn = |user: Option<&User>| o.as_turn(&o.agent, user);
    let (ann, bob, alone) = (turn(Some(&o.ann)), turn(Some(&o.bob)), turn(None));
    s.count_images(&ann, 2, caps).await.expect("counted");
    assert_error!(s.count_images(&ann, 2, caps).await, StoreError::Invalid(_));
    s.count_images(&ann, 1, caps).await.expect("what failed was not counted");
    s.count_images(&bob, 1, caps).await.expect("counted");
    assert_error!(s.count_images(&bob, 2, caps).await, StoreError::Invalid(_));
    s.count_images(&alone, 1, caps).await.expect("counted for the tenant");
    assert_error!(s.count_images(&alone, 1, caps).await, StoreError::Invalid(_));
    s.count_images(&ann, -1, caps).await.expect("given back");
    s.count_images(&bob, 1, caps).await.expect("there is room again");
    let theirs = w.theirs.as_turn(&w.theirs.agent, Some(&w.theirs.ann));
    s.count_images(&theirs, 3, caps).await.expect("another tenant's");
    // To lower caps nothing is owed: giving back is always heard.
    s.count_images(&bob, -1, ImageCaps { user: 0, tenant: 0 }).await.expect("given back");
    w.wait(24 * 3600);
    s.count_images(&ann, 3, caps).await.expect("another day");
    let nobody = w.ours.as_turn(&o.agent, Some(&w.theirs.ann));
    assert_error!(s.count_images(&nobody, 1, caps).await, StoreError::NotFound { .. });
}

/// Two that count at once do not both take the last one.
pub async fn the_last_image_of_a_day_is_one(w: World) {
    let caps = ImageCaps { user: 10, tenant: 4 };
    let (ann, bob) = (w.ours.as_turn(&w.ours.agent, Some(&w.ours.ann)), w.ours.as_turn(&w.ours.agent, Some(&w.ours.bob)));
    let counts = (0..10).map(|n| {
        let (store, scope) = (w.store.clone(), if n % 2 == 0 { ann } else { bob });
        async move { store.count_images(&scope, 1, caps).await.is_ok() }
    });
    let counted = futures::future::join_all(counts).await;
    assert_eq!(counted.into_iter().filter(|is_ok| *is_ok).count(), 4);
}

/// They go with their conversation, and so with its user and its agent.
pub async fn images_go_with_their_conversation(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let (first, second, bobs) = (w.talk(&o.ann).await, w.talk(&o.ann).await, w.talk(&o.bob).await);
    let (one, two, three) = (made(&w, &first).await.id, made(&w, &second).await.id, made(&w, &bobs).await.id);
    s.erase(&o.scope, EraseTarget::Conversation(first.id)).await.expect("erased");
    assert_error!(s.image_bytes(&o.scope, one).await, StoreError::NotFound { .. });
    assert_eq!(listed(&w, &o.scope, PairFilter::default()).await, [three, two]);
    s.erase(&o.scope, EraseTarget::User(o.ann.id)).await.expect("erased");
    assert_eq!(listed(&w, &o.scope, PairFilter::default()).await, [three]);
    s.erase(&o.scope, EraseTarget::Agent(o.agent.id)).await.expect("erased");
    assert_eq!(listed(&w, &o.scope, PairFilter::default()).await, []);
}
