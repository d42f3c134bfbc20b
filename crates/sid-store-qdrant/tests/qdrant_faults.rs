//! A Qdrant that is down, slow, wiped, behind, wrong or lied to: nothing is lost, nothing that is gone comes back.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use common::postgres::{Home, database, now};
use common::{Collections, open, open_from, patient};
use sid_store::{
    ArchivalStore, Candidates, Chunk, EmbeddingIndex, EraseTarget, Eraser, GenerationId, MemorySearch, NewVectors, PointCursor,
    PointFilter, PointPage, QueryVector, SearchQuery, StoreError, VectorHit, VectorIndex, VectorPoint, VectorQuery,
};
use sid_store_pg::{Indexer, PgStore};
use sid_store_qdrant::{QdrantConfig, QdrantIndex};
use sid_testkit::postgres::Database;
use sid_testkit::qdrant::Engine;
use sid_types::{ManualClock, NewPassage, Owner, PassageId, Provenance, TenantId};

fn generation() -> GenerationId {
    GenerationId("test/colours/3".into())
}

/// Green things point one way, everything else another.
fn embed(text: &str) -> Vec<f32> {
    if text.contains("green") { vec![1.0, 0.0, 0.0] } else { vec![0.0, 1.0, 0.0] }
}

/// A query that no word of fits, with a green vector.
fn green() -> SearchQuery {
    SearchQuery { vector: Some(QueryVector { generation: generation(), values: embed("green") }), ..SearchQuery::new("xyzzy") }
}

struct Room {
    _database: Database,
    store: PgStore,
    home: Home,
    index: Arc<dyn VectorIndex>,
}

impl Room {
    async fn build(index: Arc<dyn VectorIndex>) -> Self {
        let database = database().await;
        let store = open(&database, &Arc::new(ManualClock::new(now())), Arc::clone(&index)).await;
        let home = Home::build(&store, "ours").await;
        Self { _database: database, store, home, index }
    }

    fn indexer(&self) -> Indexer {
        Indexer::new(&self.store).expect("it has an index")
    }

    async fn keep(&self, texts: &[&str]) -> Vec<PassageId> {
        keep(&self.store, &self.home, texts).await
    }

    async fn found(&self, query: &SearchQuery) -> Candidates {
        self.store.search(&self.home.scope, query).await.expect("a search answers")
    }

    /// Texts that are found by their vector.
    async fn near(&self) -> BTreeSet<String> {
        let found = self.found(&green()).await;
        found.items.iter().filter(|c| c.channels.dense > 0.9).map(|c| c.record.text().to_owned()).collect()
    }

    async fn waiting(&self) -> (u64, u64) {
        let status = self.store.vector_status().await.expect("told").expect("it has an index");
        (status.waiting, status.removals)
    }

    /// Every point of the first partition, whatever the database says of it.
    async fn points(&self) -> u64 {
        let part = self.part();
        self.index.count(&generation(), &PointFilter::partition(self.home.scope.tenant(), part)).await.expect("counted")
    }

    /// The tenant's own partition.
    fn part(&self) -> i64 {
        let sql = format!("SELECT part FROM sid.partitions WHERE tenant = '{}' AND kind = 0", self.home.scope.tenant().uuid());
        self._database.sql(&sql).parse().expect("a number")
    }
}

async fn keep(store: &PgStore, home: &Home, texts: &[&str]) -> Vec<PassageId> {
    let passage = |text: &&str| NewPassage {
        id: PassageId::new(),
        owner: Owner::Tenant,
        text: (*text).to_owned(),
        tags: vec![],
        at: now(),
        provenance: Provenance::default(),
    };
    let kept = store.upsert(&home.scope, texts.iter().map(passage).collect()).await.expect("stored");
    embed_all(store).await;
    kept.iter().map(|p| p.id).collect()
}

async fn embed_all(store: &PgStore) {
    loop {
        let jobs = store.pending(&generation(), 100).await.expect("listed");
        if jobs.is_empty() {
            return;
        }
        let vectors = jobs.iter().map(|job| {
            let chunk = Chunk { start: 0, end: job.text.len(), vector: embed(&job.text) };
            NewVectors { scope: job.scope, record: job.record, chunks: vec![chunk] }
        });
        store.put_vectors(&generation(), vectors.collect()).await.expect("stored");
    }
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(ToString::to_string).collect()
}

/// Waits for what the background does.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_it_is_down() {
    let mut engine = Engine::start().unwrap_or_else(|why| panic!("{why}"));
    let room = Room::build(Arc::new(QdrantIndex::new(patient(&engine.url())).expect("good"))).await;
    room.keep(&["green tea", "brown bread"]).await;
    room.indexer().catch_up().await.expect("fed");
    assert_eq!(room.near().await, set(&["green tea"]));
    assert!(room.store.vector_status().await.expect("told").expect("there").is_answering);

    engine.kill();
    assert_eq!(room.near().await, set(&["green tea"]), "a small partition is compared in memory");
    room.keep(&["green grass"]).await;
    assert_eq!(room.near().await, set(&["green tea", "green grass"]), "what was just written, too");
    assert!(!room.found(&green()).await.is_partial);
    let status = room.store.vector_status().await.expect("told").expect("there");
    assert!(status.fallbacks > 0 && !status.is_answering && status.waiting == 1 && status.waits_since.is_some(), "{status:?}");
    assert!(matches!(room.indexer().catch_up().await, Err(StoreError::Unavailable { .. })));

    engine.restart().expect("it starts again");
    room.indexer().catch_up().await.expect("fed");
    assert_eq!(room.waiting().await, (0, 0));
    let drift = room.indexer().compare().await.expect("compared");
    assert!(drift.is_none() && drift.points == 3, "{drift:?}");
    until("it is asked again", async || {
        room.near().await.len() == 2 && room.store.vector_status().await.expect("told").expect("there").is_answering
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_partition_says_that_it_was_not_wholly_compared() {
    let mut engine = Engine::start().unwrap_or_else(|why| panic!("{why}"));
    let (database, clock) = (database().await, Arc::new(ManualClock::new(now())));
    let config = sid_store_pg::PgConfig { vector_index_from: 2, word_lists_from: 2, ..common::postgres::config(&database) };
    let store = PgStore::open_with_test_clock(config, clock).await.expect("opens");
    let index: Arc<dyn VectorIndex> = Arc::new(QdrantIndex::new(patient(&engine.url())).expect("good"));
    let store = store.with_vector_index(Arc::clone(&index));
    let home = Home::build(&store, "ours").await;
    let room = Room { _database: database, store, home, index };
    room.keep(&["green tea", "green walls", "brown bread"]).await;
    room.indexer().catch_up().await.expect("fed");
    assert_eq!(room.near().await, set(&["green tea", "green walls"]));
    engine.kill();
    room.keep(&["green grass"]).await;
    let found = room.found(&SearchQuery { text: "walls".into(), ..green() }).await;
    assert!(found.is_partial);
    let near: BTreeSet<&str> = found.items.iter().filter(|c| c.channels.dense > 0.9).map(|c| c.record.text()).collect();
    assert!(near.contains("green walls"), "what words find is compared: {near:?}");
    assert!(near.contains("green grass"), "and what is new: {near:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_one_does_not_hold_searches_up() {
    // Takes connections and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("http://{}", silent.local_addr().expect("bound"));
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = silent.accept().await {
            held.push(connection);
        }
    });
    let config = QdrantConfig { timeout: Duration::from_millis(300), search_timeout: Duration::from_millis(100), ..QdrantConfig::new(url) };
    let collections = Collections::new();
    let database = database().await;
    let clock = Arc::new(ManualClock::new(now()));
    let fast = open(&database, &clock, Arc::new(collections.index())).await;
    let home = Home::build(&fast, "ours").await;
    keep(&fast, &home, &["green tea", "brown bread"]).await;
    Indexer::new(&fast).expect("there").catch_up().await.expect("fed");
    // Another process, which reaches only the silent one.
    let slow = open(&database, &clock, Arc::new(QdrantIndex::new(config).expect("good"))).await;
    for _ in 0..3 {
        let found = slow.search(&home.scope, &green()).await.expect("a search answers");
        assert!(found.items.iter().any(|c| c.channels.dense > 0.9 && c.record.text() == "green tea"));
    }
    let status = slow.vector_status().await.expect("told").expect("there");
    assert_eq!(status.fallbacks, 3);
    assert!(matches!(Indexer::new(&slow).expect("there").catch_up().await, Err(StoreError::Unavailable { .. })));
    held.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_one_is_made_whole_again() {
    let mut engine = Engine::start().unwrap_or_else(|why| panic!("{why}"));
    let room = Room::build(Arc::new(QdrantIndex::new(patient(&engine.url())).expect("good"))).await;
    room.keep(&["green tea", "green grass", "brown bread"]).await;
    room.indexer().catch_up().await.expect("fed");
    assert_eq!(room.points().await, 3);

    engine.wipe();
    engine.restart().expect("it starts again");
    assert_eq!(room.near().await, set(&["green tea", "green grass"]), "empty, and nothing is lost");
    room.indexer().catch_up().await.expect("fed again");
    assert_eq!(room.points().await, 3);

    // Once more, and nobody does anything but the background.
    engine.wipe();
    engine.restart().expect("it starts again");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(room.indexer().run(async { drop(stopped.await) }));
    until("nothing is missing", async || room.index.dimensions(&generation()).await.is_ok_and(|d| d.is_some()) && room.points().await == 3)
        .await;
    until("nothing waits", async || room.waiting().await == (0, 0)).await;
    assert!(room.indexer().compare().await.expect("compared").is_none());
    stop.send(()).expect("it runs");
    running.await.expect("it ends when it is told to");

    // Part of it lost, behind everybody's back: told by the next comparison, mended by one repair.
    let lost = PointFilter { records: Some(vec![]), ..PointFilter::partition(room.home.scope.tenant(), room.part()) };
    let page = room.index.scroll(&generation(), &PointFilter { records: None, ..lost.clone() }, None, 10).await.expect("a page");
    let some = PointFilter { records: Some(vec![page.keys[0].record]), ..lost };
    room.index.delete(&generation(), &some).await.expect("deleted");
    let drift = room.indexer().repair().await.expect("repaired");
    assert_eq!((drift.missing, drift.surplus, drift.points), (1, 0, 2));
    assert!(room.indexer().compare().await.expect("compared").is_none());
    assert_eq!(room.points().await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_is_never_found_again() {
    let mut engine = Engine::start().unwrap_or_else(|why| panic!("{why}"));
    let room = Room::build(Arc::new(QdrantIndex::new(patient(&engine.url())).expect("good"))).await;
    let ids = room.keep(&["green tea", "green grass", "green door"]).await;
    room.indexer().catch_up().await.expect("fed");
    // Its point is still there, and nothing but the database says that the passage is not.
    room.store.delete(&room.home.scope, &ids[..1]).await.expect("deleted");
    assert_eq!(room.points().await, 3);
    assert_eq!(room.near().await, set(&["green grass", "green door"]));
    // Replaced: the text of the old point is gone as well.
    let new = NewPassage {
        id: ids[1],
        owner: Owner::Tenant,
        text: "brown grass".into(),
        tags: vec![],
        at: now(),
        provenance: Provenance::default(),
    };
    room.store.upsert(&room.home.scope, vec![new]).await.expect("replaced");
    assert_eq!(room.near().await, set(&["green door"]));
    engine.kill();
    room.store.delete(&room.home.scope, &ids[2..]).await.expect("deleted");
    assert!(room.near().await.is_empty());
    engine.restart().expect("it starts again");
    assert!(room.near().await.is_empty());
    embed_all(&room.store).await;
    room.indexer().catch_up().await.expect("fed");
    assert_eq!((room.points().await, room.waiting().await), (1, (0, 0)));
    assert!(room.near().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_is_final_when_nothing_is_left() {
    let mut engine = Engine::start().unwrap_or_else(|why| panic!("{why}"));
    let room = Room::build(Arc::new(QdrantIndex::new(patient(&engine.url())).expect("good"))).await;
    room.home.turn(&room.store, "I like green tea", "Noted.").await;
    let second = Home::open(&room.store, &room.home.scope, room.home.agent, room.home.user).await;
    room.store.append_all(&room.home, second.id, &["green grass"]).await;
    embed_all(&room.store).await;
    room.indexer().catch_up().await.expect("fed");
    let receipt = room.store.erase(&room.home.scope, EraseTarget::Conversation(room.home.talk.id)).await.expect("erased");
    assert_eq!((receipt.vectors, receipt.pending), (2, 0), "verified at once while it answers");
    let drift = room.indexer().compare().await.expect("compared");
    assert!(drift.is_none() && drift.points == 1, "{drift:?}");

    engine.kill();
    let receipt = room.store.erase(&room.home.scope, EraseTarget::User(room.home.user)).await.expect("erased all the same");
    assert!(receipt.vectors == 1 && receipt.pending > 0, "{receipt:?}");
    assert!(room.indexer().catch_up().await.is_err());
    assert!(room.waiting().await.1 > 0, "still pending");
    engine.restart().expect("it starts again");
    room.indexer().catch_up().await.expect("verified");
    assert_eq!(room.waiting().await, (0, 0));
    let parts = room._database.sql("SELECT count(*) FROM sid.index_marks");
    assert_eq!(parts, "0", "a partition that is no more has no mark");
}

trait Say {
    async fn append_all(&self, home: &Home, talk: sid_types::ConversationId, texts: &[&str]);
}

impl Say for PgStore {
    async fn append_all(&self, home: &Home, talk: sid_types::ConversationId, texts: &[&str]) {
        let messages = texts.iter().map(|text| sid_types::NewMessage::user(*text, now())).collect();
        sid_store::RecallStore::append(self, &home.scope, talk, messages).await.expect("imported");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_dimensions_are_told_and_harm_nothing() {
    let collections = Collections::new();
    let index = collections.index();
    index.make_generation(&generation(), 5).await.expect("made");
    let room = Room::build(Arc::new(index)).await;
    room.keep(&["green tea"]).await;
    match room.indexer().catch_up().await {
        Err(StoreError::Setup(why)) => assert!(why.contains("5 dimensions") && why.contains("with 3"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(room.near().await, set(&["green tea"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_indexers_at_once_feed_everything_once() {
    let collections = Collections::new();
    let room = Room::build(Arc::new(collections.index())).await;
    let texts: Vec<String> = (0..600).map(|i| format!("green thing {i}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let clock = Arc::new(ManualClock::new(now()));
    let others = [
        open_from(&room._database, &clock, Arc::new(collections.index()), 0).await,
        open_from(&room._database, &clock, Arc::new(collections.index()), 0).await,
    ];
    let running: Vec<_> = others.iter().map(|s| tokio::spawn(Indexer::new(s).expect("there").run(std::future::pending()))).collect();
    for chunk in texts.chunks(60) {
        let ids = room.keep(chunk).await;
        room.store.delete(&room.home.scope, &ids[..10]).await.expect("deleted");
        // Nothing is missed at any moment.
        assert!(room.found(&green()).await.items.iter().filter(|c| c.channels.dense > 0.9).count() >= 50);
    }
    until("nothing waits", async || room.waiting().await == (0, 0)).await;
    running.iter().for_each(tokio::task::JoinHandle::abort);
    let drift = room.indexer().compare().await.expect("compared");
    assert!(drift.is_none() && drift.points == 500, "{drift:?}");
    assert_eq!(room.points().await, 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_points_are_never_believed() {
    let collections = Collections::new();
    let room = Room::build(Arc::new(collections.index())).await;
    room.keep(&["brown bread", "green tea"]).await;
    let theirs = Home::build(&room.store, "theirs").await;
    keep(&room.store, &theirs, &["green secret"]).await;
    room.indexer().catch_up().await.expect("fed");
    let tenant = room.home.scope.tenant();
    let secret = keys(&room, theirs.scope.tenant()).await[0];
    let bread = bread(&room).await;
    // As if somebody had written into the collection: theirs as ours, ours as nearer than they are, and what never was.
    let forged = [
        sid_store::PointKey { tenant, partition: room.part(), ..secret },
        sid_store::PointKey { tenant, ..secret },
        sid_store::PointKey { version: bread.version + 4, ..bread },
        sid_store::PointKey { record: bread.record + 400_000, ..bread },
    ];
    let point = |key| VectorPoint { key, kind: sid_store::RecordKind::Passage, said: None, at: now(), vector: embed("green") };
    room.index.upsert(&generation(), forged.map(point).to_vec()).await.expect("planted");
    assert_eq!(room.near().await, set(&["green tea"]));
    let found = room.found(&green()).await;
    assert!(found.items.iter().all(|c| !c.record.text().contains("secret")));
    let drift = room.indexer().compare().await.expect("compared");
    assert_eq!((drift.surplus, drift.missing), (3, 0), "one is in a partition that ours has not");
    room.indexer().repair().await.expect("repaired");
    assert!(room.indexer().compare().await.expect("compared").is_none());
    assert_eq!(room.points().await, 2);
}

async fn keys(room: &Room, tenant: TenantId) -> Vec<sid_store::PointKey> {
    let part = room._database.sql(&format!("SELECT part FROM sid.partitions WHERE tenant = '{}' AND kind = 0", tenant.uuid()));
    let which = PointFilter::partition(tenant, part.parse().expect("a number"));
    room.index.scroll(&generation(), &which, None, 10).await.expect("a page").keys
}

/// The point of the brown bread: the first that was written.
async fn bread(room: &Room) -> sid_store::PointKey {
    let keys = keys(room, room.home.scope.tenant()).await;
    keys.into_iter().min_by_key(|key| key.record).expect("a point")
}

/// An index that answers with what it is told to, whatever it is asked.
#[derive(Debug)]
struct Liar(QdrantIndex, parking_lot::Mutex<Vec<VectorHit>>);

#[async_trait]
impl VectorIndex for Liar {
    async fn health(&self) -> Result<(), StoreError> {
        self.0.health().await
    }
    async fn dimensions(&self, generation: &GenerationId) -> Result<Option<usize>, StoreError> {
        self.0.dimensions(generation).await
    }
    async fn make_generation(&self, generation: &GenerationId, dimensions: usize) -> Result<(), StoreError> {
        self.0.make_generation(generation, dimensions).await
    }
    async fn drop_generation(&self, generation: &GenerationId) -> Result<(), StoreError> {
        self.0.drop_generation(generation).await
    }
    async fn upsert(&self, generation: &GenerationId, points: Vec<VectorPoint>) -> Result<(), StoreError> {
        self.0.upsert(generation, points).await
    }
    async fn search(&self, _: &GenerationId, _: &VectorQuery<'_>) -> Result<Vec<VectorHit>, StoreError> {
        Ok(self.1.lock().clone())
    }
    async fn delete(&self, generation: &GenerationId, which: &PointFilter) -> Result<(), StoreError> {
        self.0.delete(generation, which).await
    }
    async fn count(&self, generation: &GenerationId, which: &PointFilter) -> Result<u64, StoreError> {
        self.0.count(generation, which).await
    }
    async fn scroll(
        &self,
        generation: &GenerationId,
        which: &PointFilter,
        after: Option<PointCursor>,
        limit: usize,
    ) -> Result<PointPage, StoreError> {
        self.0.scroll(generation, which, after, limit).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_lies_is_not_believed() {
    let collections = Collections::new();
    let liar = Arc::new(Liar(collections.index(), parking_lot::Mutex::default()));
    let room = Room::build(Arc::clone(&liar) as _).await;
    room.keep(&["brown bread", "green tea"]).await;
    let theirs = Home::build(&room.store, "theirs").await;
    keep(&room.store, &theirs, &["green secret"]).await;
    room.indexer().catch_up().await.expect("fed");
    let (secret, bread) = (keys(&room, theirs.scope.tenant()).await[0], bread(&room).await);
    let hit = |key| VectorHit { key, score: 1.0 };
    let stale = sid_store::PointKey { version: bread.version - 4, ..bread };
    *liar.1.lock() = vec![hit(secret), hit(sid_store::PointKey { tenant: room.home.scope.tenant(), ..secret }), hit(stale)];
    // No word fits, so whatever is found was believed.
    assert_eq!(room.found(&green()).await.items, []);
    *liar.1.lock() = vec![hit(bread)];
    let found = room.found(&green()).await;
    assert_eq!(found.items.len(), 1);
    assert!(found.items[0].channels.dense.abs() < 1e-6, "its score is not believed either");
}
