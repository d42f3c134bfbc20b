//! Idempotency keys.

use std::collections::BTreeSet;
use std::sync::Arc;

use sid_store::{Accept, IdempotencyKey, StoreError};
use sid_types::{Conversation, RunStatus};

use super::World;
use super::world::{assert_error, texts};

fn keyed(w: &World, talk: &Conversation, key: &str, body: u8) -> Accept {
    let idempotency = Some(IdempotencyKey { key: key.into(), fingerprint: [body; 32] });
    Accept { idempotency, ..w.stimulus(talk, &format!("body {body}")) }
}

/// The same key and request again: the same run, no second message, in whatever state the run is by now.
pub async fn the_same_request_gets_the_same_run(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let first = w.store.accept(&w.ours.scope, keyed(&w, &talk, "k1", 1)).await.expect("accepted");
    assert!(!first.replayed);
    let again = w.store.accept(&w.ours.scope, keyed(&w, &talk, "k1", 1)).await.expect("answered again");
    assert_eq!((again.run.id, again.replayed), (first.run.id, true));
    let lease = w.claim().await.expect("one run");
    assert!(w.answer(&lease, "done").await.is_none(), "and only one");
    let again = w.store.accept(&w.ours.scope, keyed(&w, &talk, "k1", 1)).await.expect("answered again");
    assert_eq!((again.run.id, again.replayed, again.run.status), (first.run.id, true, RunStatus::Completed));
    assert_eq!(texts(&w.messages(&talk).await), ["body 1", "done"]);
}

/// The same key with another request is refused and changes nothing.
pub async fn another_request_may_not_reuse_a_key(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    w.store.accept(&w.ours.scope, keyed(&w, &talk, "k1", 1)).await.expect("accepted");
    assert_error!(w.store.accept(&w.ours.scope, keyed(&w, &talk, "k1", 2)).await, StoreError::KeyReused);
    assert_eq!(w.store.runs(&w.ours.scope, talk.id, 10).await.expect("visible").len(), 1);
    w.store.accept(&w.ours.scope, keyed(&w, &talk, "k2", 2)).await.expect("another key is another request");
}

/// Keys of two tenants, and of two principals of one tenant, have nothing to do with each other.
pub async fn keys_belong_to_their_principal(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let theirs = w.open(&w.theirs, &w.theirs.agent, Some(&w.theirs.ann)).await;
    let ours = w.store.accept(&w.ours.scope, keyed(&w, &talk, "k", 1)).await.expect("accepted");
    let foreign = w.store.accept(&w.theirs.scope, keyed(&w, &theirs, "k", 2)).await.expect("their own key");
    let user = w.store.accept(&w.ours.as_user(&w.ours.ann), keyed(&w, &talk, "k", 3)).await.expect("her own key");
    assert!(!foreign.replayed && !user.replayed);
    assert_eq!(BTreeSet::from([ours.run.id, foreign.run.id, user.run.id]).len(), 3);
}

/// Keys are kept for a day and then forgotten.
pub async fn keys_are_kept_for_a_day(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let first = w.store.accept(&w.ours.scope, keyed(&w, &talk, "k", 1)).await.expect("accepted");
    w.wait(23 * 3_600);
    let again = w.store.accept(&w.ours.scope, keyed(&w, &talk, "k", 1)).await.expect("answered again");
    assert_eq!(again.run.id, first.run.id);
    w.wait(2 * 3_600);
    let late = w.store.accept(&w.ours.scope, keyed(&w, &talk, "k", 2)).await.expect("the key is free again");
    assert!(!late.replayed);
}

/// A key has 1 to 255 characters.
pub async fn keys_have_a_length(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    for bad in ["", &"k".repeat(256)] {
        assert_error!(w.store.accept(&w.ours.scope, keyed(&w, &talk, bad, 1)).await, StoreError::Invalid(_));
    }
    w.store.accept(&w.ours.scope, keyed(&w, &talk, &"é".repeat(255), 1)).await.expect("characters, not bytes");
}

/// The same request many times at once makes one run.
pub async fn repeating_at_once_makes_one_run(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let w = Arc::new(w);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (w, accept) = (Arc::clone(&w), keyed(&w, &talk, "k", 1));
            tokio::spawn(async move { w.store.accept(&w.ours.scope, accept).await.expect("answered").run.id })
        })
        .collect();
    let mut runs = BTreeSet::new();
    for task in tasks {
        runs.insert(task.await.expect("no panic"));
    }
    assert_eq!(runs.len(), 1);
    assert_eq!(w.store.runs(&w.ours.scope, talk.id, 10).await.expect("visible").len(), 1);
}

/// A request that was refused has not used its key up.
pub async fn a_refused_request_leaves_its_key_free(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let refused = Accept { queue_depth: 0, ..keyed(&w, &talk, "k", 1) };
    assert_error!(w.store.accept(&w.ours.scope, refused).await, StoreError::QueueFull { .. });
    let accepted = w.store.accept(&w.ours.scope, keyed(&w, &talk, "k", 1)).await.expect("the key is free");
    assert!(!accepted.replayed);
}
