//! Embedding generations: which one is searched, and the change to the next.

use std::sync::Arc;

use sid_store::{GenerationId, IndexStatus, SearchQuery, StoreError};

use super::World;
use super::world::assert_error;

fn named(name: &str) -> GenerationId {
    GenerationId(name.into())
}

async fn active(w: &World) -> Option<GenerationId> {
    let known = w.store.generations().await.expect("listed");
    assert!(known.iter().filter(|g| g.is_active).count() <= 1, "{known:?}");
    known.into_iter().find(|g| g.is_active).map(|g| g.id)
}

async fn drop_all(w: &World, generation: &GenerationId) {
    let mut pieces = 0;
    while w.store.drop_generation(generation).await.expect("dropped") {
        pieces += 1;
        assert!(pieces < 1_000, "it comes to an end");
    }
}

/// Activating compares and sets; a store tells the next process what is active.
pub async fn one_generation_is_active(w: World) {
    let mut w = w;
    let (old, new) = (named("old/2/c1"), named("new/3/c1"));
    assert_eq!(active(&w).await, None);
    assert!(!w.store.activate(Some(&old), &new).await.expect("asked"), "the old one is not active");
    assert!(w.store.activate(None, &old).await.expect("asked"));
    assert_eq!(active(&w).await, Some(old.clone()));
    assert!(!w.store.activate(None, &new).await.expect("asked"));
    assert!(w.store.activate(Some(&old), &old).await.expect("asked"), "the same again changes nothing");
    assert!(w.store.activate(Some(&old), &new).await.expect("asked"));
    assert_eq!(active(&w).await, Some(new.clone()));
    if let Some(reopen) = w.reopen.take().filter(|_| w.store.capability().durable) {
        let store = std::mem::replace(&mut w.store, Arc::new(sid_store::InProcess::default()));
        w.store = reopen(store).await;
        assert_eq!(active(&w).await, Some(new.clone()));
    }
    assert!(w.store.activate(Some(&new), &old).await.expect("asked"), "and back");
    assert_eq!(active(&w).await, Some(old));
}

/// Several replicas that find a generation complete at the same moment.
pub async fn of_two_who_activate_one_does(w: World) {
    let w = Arc::new(w);
    let mut from: Option<GenerationId> = None;
    for round in 0..4 {
        let tasks: Vec<_> = (0..6)
            .map(|n| {
                let (w, from, to) = (Arc::clone(&w), from.clone(), named(&format!("{round}/{n}")));
                tokio::spawn(async move { w.store.activate(from.as_ref(), &to).await.expect("asked").then_some(to) })
            })
            .collect();
        let mut made = Vec::new();
        for task in tasks {
            made.extend(task.await.expect("no panic"));
        }
        assert_eq!(made.len(), 1, "{made:?}");
        from = made.pop();
        assert_eq!(active(&w).await, from);
    }
}

/// The status counts the records of all tenants.
pub async fn the_status_spans_tenants(w: World) {
    let generation = named("test/2/c1");
    w.keep(&w.ours, sid_types::Owner::Tenant, "ours").await;
    w.keep(&w.theirs, sid_types::Owner::Tenant, "theirs").await;
    let status = async || w.store.generation_status(&generation).await.expect("counted");
    assert_eq!(status().await, IndexStatus { indexed: 0, pending: 2 });
    assert_eq!(w.embed_all(&generation, |_| vec![1.0, 0.0]).await, 2);
    assert_eq!(status().await, IndexStatus { indexed: 2, pending: 0 });
    let talk = w.talk(&w.ours.ann).await;
    w.turn(&talk, "hello", "hi").await;
    assert_eq!(status().await, IndexStatus { indexed: 2, pending: 2 });
}

/// What is searched stays.
pub async fn the_active_generation_is_not_dropped(w: World) {
    let generation = named("test/2/c1");
    w.keep(&w.ours, sid_types::Owner::Tenant, "pickles").await;
    w.embed_all(&generation, |_| vec![1.0, 0.0]).await;
    assert!(w.store.activate(None, &generation).await.expect("asked"));
    assert_error!(w.store.drop_generation(&generation).await, StoreError::Invalid(_));
    let vector = Some(sid_store::QueryVector { generation: generation.clone(), values: vec![1.0, 0.0] });
    let query = SearchQuery { vector, ..SearchQuery::new("nothing of this") };
    assert_eq!(w.find_with(&w.ours.scope, &query).await, ["pickles"]);
}

/// What was dropped waits for its vectors again, and other generations keep theirs.
pub async fn a_dropped_generation_is_made_anew(w: World) {
    let (old, new) = (named("old/2/c1"), named("new/3/c1"));
    for n in 0..40 {
        w.keep(&w.ours, sid_types::Owner::Tenant, &format!("passage {n}")).await;
    }
    w.embed_all(&old, |_| vec![1.0, 0.0]).await;
    w.embed_all(&new, |_| vec![0.0, 1.0, 0.0]).await;
    w.store.activate(None, &new).await.expect("asked");
    drop_all(&w, &old).await;
    assert_eq!(w.store.generation_status(&old).await.expect("counted"), IndexStatus { indexed: 0, pending: 40 });
    assert_eq!(w.store.generation_status(&new).await.expect("counted"), IndexStatus { indexed: 40, pending: 0 });
    assert_eq!(w.store.generations().await.expect("listed").len(), 1);
    drop_all(&w, &named("never there")).await;
    assert_eq!(w.embed_all(&old, |_| vec![1.0, 0.0, 0.0, 0.0]).await, 40, "even with another length");
    // Nothing of what was dropped is left anywhere that a search looks.
    for (generation, values) in [(old, vec![1.0, 0.0, 0.0, 0.0]), (new, vec![0.0, 1.0, 0.0])] {
        let query = SearchQuery { vector: Some(sid_store::QueryVector { generation, values }), ..SearchQuery::new("nothing of this") };
        assert_eq!(w.find_with(&w.ours.scope, &query).await.len(), 40);
    }
}
