//! Several engines over one store: what is to be done once is done by one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sid_core::{Engine, EngineConfig, Models};
use sid_llm::{EmbedInput, Embedder, EmbeddingGeneration, LlmError};
use sid_store::{DiaryQuery, DiaryStore, InProcess};
use sid_types::{Owner, SystemClock, Timestamp};

use crate::support::{House, Say, Scripted, at};

/// Counts the texts that it embeds.
#[derive(Default)]
struct Counting(AtomicUsize);

#[async_trait]
impl Embedder for Counting {
    fn generation(&self) -> EmbeddingGeneration {
        EmbeddingGeneration { id: "counting/2/c1".into(), dimensions: 2, chunk_bytes: 1_000, is_semantic: false }
    }

    async fn embed(&self, input: EmbedInput, texts: &[String]) -> Result<Vec<Vec<f32>>, LlmError> {
        if input == EmbedInput::Document {
            self.0.fetch_add(texts.len(), Ordering::SeqCst);
        }
        // Long enough for another engine to take the same records, if nothing keeps it from them.
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(vec![vec![1.0, 0.0]; texts.len()])
    }
}

/// An engine that embeds and runs nothing.
fn replica(store: &Arc<InProcess>, lease_ttl: Duration) -> (Engine, Arc<Counting>) {
    let embedder = Arc::new(Counting::default());
    let config = EngineConfig { max_runs: 0, diary: false, lease_ttl, ..EngineConfig::default() };
    let engine = Engine::new(store.clone(), Models::new(), Some(embedder.clone()), Arc::new(SystemClock), config);
    engine.start();
    (engine, embedder)
}

async fn embedded(house: &House, engine: &Engine) -> u64 {
    let report = engine.index(&house.tenant, Duration::from_secs(60)).await.expect("a report");
    assert_eq!(report.pending, 0, "{report:?}");
    report.indexed
}

#[tokio::test]
async fn one_replica_embeds_and_another_takes_over() {
    let house = House::open(Scripted::new(8_192, vec![])).await;
    let replicas: Vec<(Engine, Arc<Counting>)> = (0..3).map(|_| replica(&house.store, Duration::from_secs(6))).collect();
    for _ in 0..5 {
        house.say("The pickles are in the cellar.").await;
    }
    let records = embedded(&house, &replicas[0].0).await;
    let counts = || replicas.iter().map(|(_, e)| e.0.load(Ordering::SeqCst)).collect::<Vec<usize>>();
    let first = counts();
    assert_eq!(first.iter().sum::<usize>() as u64, records, "each record once: {first:?}");
    assert_eq!(first.iter().filter(|n| **n > 0).count(), 1, "by one replica: {first:?}");

    // The one that did it goes in good order: another is told by the store at its next question.
    let holder = first.iter().position(|n| *n > 0).expect("one of them");
    replicas[holder].0.drain(Duration::from_secs(10)).await;
    replicas[holder].0.leave_duties().await;
    house.say("The cellar is under the house.").await;
    let other = &replicas[(holder + 1) % 3].0;
    let records = embedded(&house, other).await;
    let second = counts();
    assert_eq!(second[holder], first[holder], "a drained replica does nothing: {second:?}");
    assert_eq!(second.iter().sum::<usize>() as u64, records, "each record once: {second:?}");
}

#[tokio::test]
async fn a_replica_that_is_never_idle_writes_its_diary_all_the_same() {
    let yesterday = Timestamp::now() - jiff::SignedDuration::from_hours(72);
    let model = Scripted::new(8_192, vec![Say::Text("hi"), Say::Hang]);
    let config = EngineConfig {
        poll: Duration::from_millis(20),
        idle: Duration::from_secs(3_600),
        diary_patience: Duration::from_millis(100),
        ..EngineConfig::default()
    };
    let house = House::open_with(model, config).await;
    house.say_at("The pickles are in the cellar.", yesterday).await;
    // From now on a run is always under way.
    let run = house.submit("And now?", at("2026-03-02T09:00:00Z"), None).await;
    let pair = Owner::Pair { agent: house.agent.id, user: house.user.id };
    let turn = house.tenant.turn(house.agent.id, Some(house.user.id));
    let query = DiaryQuery { limit: 10, ..DiaryQuery::default() };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        if !house.store.diary(&turn, pair, &query).await.expect("the diary").is_empty() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "no page was written");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(house.engine.active_runs(), 1, "the run went on meanwhile");
    house.engine.cancel(&house.scope, run.id).await.expect("cancelled");
}
