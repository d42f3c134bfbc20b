//! pgvector as the vector index: its contract, what it finds, and what is told when it is not there.

mod common;
#[path = "common/quality.rs"]
mod quality;
use common as home;

use std::sync::Arc;

use common::{SERVER, config, database, now, open};
use sid_store::{
    Chunk, EmbeddingIndex, GenerationId, Generations, NewVectors, PointKey, QueryVector, RecallStore, RecordKind, SearchQuery, StoreError,
    VectorIndex, VectorPoint, VectorQuery,
};
use sid_store_pg::{Indexer, PgConfig, PgStore, PgVectors};
use sid_testkit::postgres::{ADMIN, Cluster};
use sid_types::{ManualClock, NewMessage, TenantId};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds() {
    let database = database().await;
    sid_testkit::vector_index::check(&PgVectors::open(&config(&database)).await.expect("opens")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_finds_what_the_exact_scan_finds() {
    let database = database().await;
    let clock = Arc::new(ManualClock::new(now()));
    let from_one = PgConfig { vector_index_from: 0, ..config(&database) };
    let index = PgVectors::open(&from_one).await.expect("opens");
    let indexed = PgStore::open_with_test_clock(from_one, Arc::clone(&clock) as _).await.expect("opens");
    Box::pin(quality::check(&open(&database, &clock).await, &indexed.with_vector_index(Arc::new(index)))).await;
}

/// Beyond what is compared one by one the graph is walked, and still only one tenant's partition is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_partitions_are_searched_through_the_graph() {
    const POINTS: i64 = 21_000;
    let database = database().await;
    let index = PgVectors::open(&config(&database)).await.expect("opens");
    let values = |i: i64| quality::embed::<16>(i.unsigned_abs());
    let generation = GenerationId("test/graph/16".into());
    index.make_generation(&generation, 16).await.expect("made");
    let (ours, theirs) = (TenantId::new(), TenantId::new());
    let point = |tenant, i: i64| VectorPoint {
        key: PointKey { tenant, partition: 1, record: i * 4 + 1, chunk: 0, version: 4 },
        kind: RecordKind::Passage,
        said: None,
        at: now(),
        vector: values(i),
    };
    for start in (0..POINTS).step_by(3_000) {
        index.upsert(&generation, (start..start + 3_000).map(|i| point(ours, i)).collect()).await.expect("stored");
    }
    index.upsert(&generation, (0..100).map(|i| point(theirs, i)).collect()).await.expect("stored");
    let _ = database.sql("ANALYZE sid_vectors.points");
    let asked = values(-1_000_000);
    let query = SearchQuery { vector: Some(QueryVector { generation: generation.clone(), values: asked.clone() }), ..SearchQuery::new("") };
    let of = |tenant| VectorQuery { tenant, partitions: &[1], query: &query, limit: 50 };
    let found = index.search(&generation, &of(ours)).await.expect("found");
    assert!(found.len() == 50 && found.iter().all(|hit| hit.key.tenant == ours));
    let cosine = |i: i64| values(i).iter().zip(&asked).map(|(a, b)| a * b).sum::<f32>();
    let mut all: Vec<(f32, i64)> = (0..POINTS).map(|i| (cosine(i), i * 4 + 1)).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near = all.iter().take(50).filter(|(_, record)| found.iter().any(|hit| hit.key.record == *record)).count();
    assert!(near >= 45, "{near} of the 50 nearest");
    assert_eq!(index.search(&generation, &of(theirs)).await.expect("found").len(), 50, "few are compared one by one");
    let walks = || {
        database.sql(
            "SELECT pg_stat_force_next_flush(); SELECT sum(idx_scan) > 0 FROM pg_stat_user_indexes WHERE indexrelname LIKE 'points_near_%'",
        )
    };
    let begun = std::time::Instant::now();
    while !walks().ends_with('t') {
        assert!(begun.elapsed().as_secs() < 60, "the graph was not used");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        index.search(&generation, &of(ours)).await.expect("found");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_generation_leaves_the_index_too() {
    let database = database().await;
    let clock = Arc::new(ManualClock::new(now()));
    let from_one = PgConfig { vector_index_from: 0, ..config(&database) };
    let index = Arc::new(PgVectors::open(&from_one).await.expect("opens"));
    let store = PgStore::open_with_test_clock(from_one, Arc::clone(&clock) as _).await.expect("opens").with_vector_index(index.clone());
    let home = common::Home::build(&store, "ours").await;
    store.append(&home.scope, home.talk.id, vec![NewMessage::user("hello", now())]).await.expect("stored");
    let (old, new) = (GenerationId("old/2".into()), GenerationId("new/3".into()));
    for (generation, vector) in [(&old, vec![1.0, 0.0]), (&new, vec![1.0, 0.0, 0.0])] {
        for job in store.pending(generation, 10).await.expect("listed") {
            let chunks = vec![Chunk { start: 0, end: job.text.len(), vector: vector.clone() }];
            store.put_vectors(generation, vec![NewVectors { scope: job.scope, record: job.record, chunks }]).await.expect("stored");
        }
    }
    let indexer = Indexer::new(&store).expect("it has an index");
    indexer.catch_up().await.expect("fed");
    assert!(store.activate(None, &new).await.expect("asked"));
    assert!(store.drop_generation(&new).await.is_err(), "it is searched");
    assert_eq!(index.dimensions(&new).await.expect("told"), Some(3), "and stays in the index");
    while store.drop_generation(&old).await.expect("dropped") {
        // Whoever feeds the index in between does not bring it back.
        indexer.repair().await.expect("repaired");
    }
    assert_eq!(index.dimensions(&old).await.expect("told"), None);
    let left = "SELECT (SELECT count(*) FROM sid.vectors) || ' ' || (SELECT count(*) FROM sid.index_marks) || ' ' || (SELECT string_agg(name, ' ') FROM sid.generations)";
    assert_eq!(database.sql(left), "1 1 new/3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_tables_are_locked_as_all_others_are() {
    let database = database().await;
    let open = database.sql(
        "SELECT relname FROM pg_class WHERE relnamespace = 'sid_vectors'::regnamespace AND relkind = 'r'
         AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY 1",
    );
    assert_eq!(open, "generations", "it holds nothing of a tenant");
    let foreign = database.sql(
        "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'sid_vectors'::regnamespace
         AND (NOT p.prosecdef OR pg_get_userbyid(p.proowner) <> 'sid_engine' OR p.proconfig IS NULL
            OR has_function_privilege('public', p.oid, 'EXECUTE'))",
    );
    assert_eq!(foreign, "");
    assert_eq!(database.sql(&format!("SELECT has_schema_privilege('{SERVER}', 'sid_vectors', 'CREATE')")), "f");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_it_says_what_to_run() {
    let cluster = Cluster::shared().unwrap_or_else(|why| panic!("{why}"));
    let _ = database().await;
    let without = cluster.database("empty", async |_| ()).await;
    PgStore::migrate(&without.url(ADMIN)).await.expect("migrated");
    let _ = without.sql("DROP SCHEMA sid_vectors CASCADE; DROP EXTENSION vector CASCADE");
    PgStore::open(config(&without)).await.expect("nothing needs it that does not ask for it");
    let refused = async || match PgVectors::open(&config(&without)).await {
        Err(StoreError::Setup(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused().await.contains("CREATE EXTENSION vector"));
    let _ = without.sql("CREATE EXTENSION vector");
    assert!(refused().await.contains("sid-server migrate"));
    PgStore::migrate(&without.url(ADMIN)).await.expect("migrated once more");
    PgVectors::open(&config(&without)).await.expect("opens");
}
