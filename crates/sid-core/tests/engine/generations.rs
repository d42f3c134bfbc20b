//! Changing the embedding model while everything goes on: the old generation answers until the new one is complete.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sid_core::{Engine, EngineConfig, GenerationReport, Models, SearchRequest};
use sid_llm::{EmbedInput, Embedder, EmbeddingGeneration, LlmError};
use sid_store::InProcess;
use sid_types::SystemClock;
use tokio::sync::Semaphore;

use crate::support::{House, Scripted};

/// An embedder that counts, and embeds as many documents as it is let; one that is closed fails.
struct Slow {
    name: &'static str,
    dimensions: usize,
    allowed: Semaphore,
    queries: AtomicUsize,
}

impl Slow {
    fn new(name: &'static str, dimensions: usize, allowed: usize) -> Arc<Self> {
        Arc::new(Self { name, dimensions, allowed: Semaphore::new(allowed), queries: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.queries.swap(0, Ordering::SeqCst)
    }
}

#[async_trait]
impl Embedder for Slow {
    fn generation(&self) -> EmbeddingGeneration {
        EmbeddingGeneration { id: self.name.into(), dimensions: self.dimensions, chunk_bytes: 1_000, is_semantic: true }
    }

    async fn embed(&self, input: EmbedInput, texts: &[String]) -> Result<Vec<Vec<f32>>, LlmError> {
        if input == EmbedInput::Query {
            self.queries.fetch_add(1, Ordering::SeqCst);
        } else {
            let gone = |_| LlmError::Interrupted { detail: "it is gone".into() };
            self.allowed.acquire().await.map_err(gone)?.forget();
        }
        let mut vector = vec![0.0; self.dimensions];
        vector[0] = 1.0;
        Ok(vec![vector; texts.len()])
    }
}

fn engine(store: &Arc<InProcess>, current: &Arc<Slow>, next: Option<&Arc<Slow>>) -> Engine {
    let config = EngineConfig { max_runs: 0, diary: false, lease_ttl: Duration::from_millis(300), ..EngineConfig::default() };
    let next = next.map(|next| Arc::clone(next) as Arc<dyn Embedder>);
    let builder = Engine::builder(store.clone(), Models::new(), Some(current.clone()), Arc::new(SystemClock), config);
    let engine = builder.next_embedder(next).build().expect("the memory tools fit");
    engine.start();
    engine
}

async fn until(engine: &Engine, what: &str, is_so: impl Fn(&[GenerationReport]) -> bool) -> Vec<GenerationReport> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        let now = engine.generations().await.expect("a report");
        assert!(now.iter().filter(|g| g.is_active).count() <= 1, "{now:?}");
        if is_so(&now) {
            return now;
        }
        assert!(tokio::time::Instant::now() < deadline, "not {what}: {now:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_active(name: &'static str) -> impl Fn(&[GenerationReport]) -> bool {
    move |now| now.iter().any(|g| g.id == name && g.is_active && g.pending == 0)
}

/// Searches; answers which of the two embedders was asked for the query's vector.
async fn searched(house: &House, engine: &Engine, old: &Slow, new: &Slow) -> (usize, usize) {
    let request = SearchRequest::new("something without any word in common");
    let found = engine.search(&house.scope, &request).await.expect("an answer");
    assert!(!found.hits.is_empty(), "its vector finds what words do not: the generations match");
    (old.asked(), new.asked())
}

#[tokio::test]
async fn the_next_generation_takes_over_when_it_is_complete() {
    let house = House::open(Scripted::new(8_192, vec![])).await;
    for _ in 0..20 {
        house.say("The pickles are in the cellar.").await;
    }
    let (old, new) = (Slow::new("old/2/c1", 2, 10_000), Slow::new("new/3/c1", 3, 34));
    let first = engine(&house.store, &old, None);
    until(&first, "built", is_active("old/2/c1")).await;
    first.drain(Duration::from_secs(10)).await;
    first.leave_duties().await;

    // Two replicas with the next embedder, which gets no further than one batch of 32 and a bit.
    let replicas = [engine(&house.store, &old, Some(&new)), engine(&house.store, &old, Some(&new))];
    let now = until(&replicas[0], "begun", |now| now.iter().any(|g| g.id == "new/3/c1" && !g.is_active && g.is_wanted)).await;
    assert!(is_active("old/2/c1")(&now), "{now:?}");
    until(&replicas[0], "half done", |now| now.iter().any(|g| g.id == "new/3/c1" && g.indexed == 32)).await;
    for replica in &replicas {
        assert_eq!(searched(&house, replica, &old, &new).await, (1, 0), "the old one answers");
    }
    // What is new meanwhile is embedded in the old one, too, and is found by it.
    house.say("The cellar is under the house.").await;

    // Killed in the middle: the next process goes on where the store is.
    for replica in replicas {
        replica.drain(Duration::from_millis(300)).await;
        replica.leave_duties().await;
    }
    let second = engine(&house.store, &old, Some(&new));
    let third = engine(&house.store, &old, Some(&new));
    assert_eq!(searched(&house, &second, &old, &new).await, (1, 0));
    new.allowed.add_permits(10_000);
    let now = until(&second, "switched", is_active("new/3/c1")).await;
    let done = now.iter().find(|g| g.id == "new/3/c1").expect("listed");
    assert_eq!(done.indexed, 42, "21 turns");
    // Each replica sees it at its next look, and asks the new one from then on.
    for replica in [&second, &third] {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while searched(&house, replica, &old, &new).await != (0, 1) {
            assert!(tokio::time::Instant::now() < deadline, "it never sees the switch");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    // The old one is configured: it stays. Without it, it goes.
    let patience = Duration::from_secs(60);
    assert_eq!(second.drop_old_generations(patience).await.expect("asked"), 0);
    assert_eq!(second.generations().await.expect("a report").len(), 2);
    let last = engine(&house.store, &new, None);
    assert_eq!(last.drop_old_generations(patience).await.expect("dropped"), 0);
    let left = last.generations().await.expect("a report");
    assert_eq!(left.iter().map(|g| (g.id.as_str(), g.is_active)).collect::<Vec<_>>(), [("new/3/c1", true)]);
}

/// As in a rolling restart: one replica has the next embedder, one has not, and each may have the duty at some time.
#[tokio::test]
async fn a_replica_with_an_older_configuration_does_not_switch_back() {
    let house = House::open(Scripted::new(8_192, vec![])).await;
    house.say("The pickles are in the cellar.").await;
    let (old, new) = (Slow::new("old/2/c1", 2, 10_000), Slow::new("new/3/c1", 3, 10_000));
    let behind = engine(&house.store, &old, None);
    until(&behind, "built", is_active("old/2/c1")).await;
    let ahead = engine(&house.store, &old, Some(&new));
    // The older one has the duty: let the newer one have its turn.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    while !is_active("new/3/c1")(&ahead.generations().await.expect("a report")) {
        assert!(tokio::time::Instant::now() < deadline, "it never gets the duty");
        behind.leave_duties().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ahead.drain(Duration::from_secs(10)).await;
    ahead.leave_duties().await;
    // Now the older one does the work again. It says that it does not know the active generation, and leaves it.
    house.say("The cellar is under the house.").await;
    until(&behind, "embedded", |now| now.iter().any(|g| g.id == "old/2/c1" && g.pending == 0 && g.indexed == 4)).await;
    for _ in 0..20 {
        let now = behind.generations().await.expect("a report");
        assert!(now.iter().any(|g| g.id == "new/3/c1" && g.is_active && !g.is_configured), "{now:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(searched(&house, &behind, &old, &new).await, (1, 0), "it goes on with what it has");
}

/// Whoever changes the embedder because the old one is gone for ever gets there.
#[tokio::test]
async fn an_embedder_that_fails_does_not_keep_the_next_one_back() {
    let house = House::open(Scripted::new(8_192, vec![])).await;
    house.say("The pickles are in the cellar.").await;
    let (gone, new) = (Slow::new("gone/2/c1", 2, 0), Slow::new("new/3/c1", 3, 10_000));
    gone.allowed.close();
    let engine = engine(&house.store, &gone, Some(&new));
    let now = until(&engine, "switched", is_active("new/3/c1")).await;
    assert!(now.iter().any(|g| g.id == "gone/2/c1" && g.pending == 2), "{now:?}");
    assert_eq!(searched(&house, &engine, &gone, &new).await, (0, 1));
}
