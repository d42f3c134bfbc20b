//! The contract of a vector index, and what is Qdrant's own.

mod common;
use common::postgres;
use common::postgres as home;
#[path = "../../sid-store-pg/tests/common/quality.rs"]
mod quality;

use std::sync::Arc;

use common::{Collections, patient};
use sid_store::{GenerationId, StoreError, VectorIndex};
use sid_store_qdrant::{QdrantConfig, QdrantIndex};
use sid_testkit::qdrant::Engine;
use sid_types::ManualClock;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds() {
    let collections = Collections::new();
    sid_testkit::vector_index::check(&collections.index()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_finds_what_the_exact_scan_finds() {
    let (collections, database) = (Collections::new(), postgres::database().await);
    let clock = Arc::new(ManualClock::new(postgres::now()));
    let indexed = common::open(&database, &clock, Arc::new(collections.index())).await;
    Box::pin(quality::check(&postgres::open(&database, &clock).await, &indexed)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_keeps_to_its_prefix() {
    let (ours, theirs) = (Collections::new(), Collections::new());
    let generation = GenerationId("test/a/3".into());
    ours.index().make_generation(&generation, 3).await.expect("made");
    theirs.index().make_generation(&generation, 4).await.expect("another database's has nothing to do with it");
    assert_eq!(ours.index().dimensions(&generation).await.expect("told"), Some(3));
    let names: Vec<String> = ["test/a/3", "test/A/3", "test/a_3"].map(|name| ours.index().collection(&GenerationId(name.into()))).into();
    assert!(names[0] != names[1] && names[1] != names[2] && names.iter().all(|n| n.starts_with(&ours.0.prefix)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_told() {
    let long = QdrantConfig { prefix: "a/b".into(), ..QdrantConfig::new("http://localhost:6334") };
    assert!(matches!(QdrantIndex::new(long), Err(StoreError::Setup(why)) if why.contains("prefix")));
    // Nobody listens there.
    let mut engine = Engine::start().unwrap_or_else(|why| panic!("{why}"));
    let index = QdrantIndex::new(patient(&engine.url())).expect("a good configuration");
    index.health().await.expect("it answers");
    engine.kill();
    match index.health().await {
        Err(error @ StoreError::Unavailable { .. }) => assert!(error.is_transient() && error.to_string().contains("Qdrant")),
        other => panic!("{other:?}"),
    }
    engine.restart().expect("it starts again");
    index.health().await.expect("it is found again without being asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_survives_a_kill() {
    let mut engine = Engine::start().unwrap_or_else(|why| panic!("{why}"));
    let index = QdrantIndex::new(patient(&engine.url())).expect("a good configuration");
    let generation = GenerationId("test/a/3".into());
    index.make_generation(&generation, 3).await.expect("made");
    engine.kill();
    engine.restart().expect("it starts again");
    assert_eq!(index.dimensions(&generation).await.expect("told"), Some(3));
    engine.wipe();
    engine.restart().expect("it starts again");
    assert_eq!(index.dimensions(&generation).await.expect("told"), None);
}
