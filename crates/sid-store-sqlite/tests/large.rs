//! Large histories: what is old is found, and costs do not grow with it.

mod common;

use std::time::{Duration, Instant};

use common::{Home, accept, finish, now, open, open_at, turn};
use sid_store::{
    ArchivalStore, Below, BlockStore, Chunk, Directory, EmbeddingIndex, EraseTarget, Eraser, GenerationId, ItemFilter, ItemStore,
    ItemWrite, MemorySearch, NewItem, NewVectors, Order, PageRequest, QueryVector, RecallStore, RecordId, SearchQuery, StateStore,
    TakeDeliveries, TimeRange, WebhookStore, Whose,
};
use sid_store_sqlite::{SqliteConfig, SqliteStore};
use sid_types::{
    DeliveryId, ItemKind, NewMessage, NewPassage, Owner, PassageId, Provenance, Seq, User, UserId, Webhook, WebhookId, WebhookState,
};

/// Everyday words, different in each message and never rare.
fn chatter(i: usize) -> String {
    const WORDS: [&str; 12] =
        ["weather", "garden", "train", "coffee", "music", "window", "river", "friend", "letter", "winter", "bread", "story"];
    format!("{} {} and {} again", WORDS[i % 12], WORDS[(i / 3) % 12], WORDS[(i / 7) % 12])
}

async fn import(store: &SqliteStore, home: &Home, count: usize, text: impl Fn(usize) -> String) {
    let mut next = 0;
    while next < count {
        let until = (next + 2_000).min(count);
        let said = |i: usize| {
            let at = now() + jiff::SignedDuration::from_mins(i as i64 - 600_000);
            if i.is_multiple_of(2) { NewMessage::user(text(i), at) } else { NewMessage::assistant(text(i), at) }
        };
        let messages: Vec<NewMessage> = (next..until).map(said).collect();
        store.append(&home.scope, home.conversation.id, messages).await.expect("imported");
        next = until;
    }
}

async fn finds(store: &SqliteStore, home: &Home, query: &SearchQuery, detail: &str) -> bool {
    let found = store.search(&home.scope, query).await.expect("a search");
    assert!(found.items.len() < 1_500, "bounded: {}", found.items.len());
    found.items.iter().any(|c| c.record.text().contains(detail) && c.channels.bm25 > 0.0)
}

/// Waits until the background has brought older records into the full-text index.
async fn until_found(store: &SqliteStore, home: &Home, query: &SearchQuery, detail: &str) {
    let begun = Instant::now();
    while !finds(store, home, query, detail).await {
        assert!(begun.elapsed() < Duration::from_secs(60), "`{detail}` is not found");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn small(path: &std::path::Path) -> SqliteConfig {
    SqliteConfig { index_capacity: 1_000, synchronous_full: false, ..SqliteConfig::new(path) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detail_older_than_memory_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(small(folder.path())).await.expect("it opens");
    let home = Home::build(&store).await;
    let text = |i: usize| match i {
        100 => "my dog is called Zebulon".to_owned(),
        700 => "the violin stands in the attic".to_owned(),
        2_000 => "Hastings is where we met".to_owned(),
        _ => chatter(i),
    };
    import(&store, &home, 6_000, text).await;
    // The first 500 were there before the partition was large: the background brings them over.
    until_found(&store, &home, &SearchQuery::new("what is the name of the dog, Zebulon?"), "Zebulon").await;
    assert!(finds(&store, &home, &SearchQuery::new("is the violin somewhere near a window"), "violin").await);
    assert!(finds(&store, &home, &SearchQuery::new("Hastings"), "Hastings").await);
    // Two words that are common alone and rare together.
    let candidates = store.search(&home.scope, &SearchQuery::new("Zebulon")).await.expect("a search");
    let best = candidates.items.iter().max_by(|a, b| a.channels.bm25.total_cmp(&b.channels.bm25)).expect("a hit");
    assert!(best.record.text().contains("Zebulon"));
    assert!(best.neighbours.0.is_some() && best.neighbours.1.is_some(), "neighbours come from disk, too");

    // Not through somebody else's eyes.
    let stranger = home.scope.turn(sid_types::AgentId::new(), Some(home.user));
    assert!(store.search(&stranger, &SearchQuery::new("Zebulon")).await.expect("a search").items.is_empty());

    // Filters hold on disk as well.
    let mut query = SearchQuery::new("Zebulon");
    query.within = Some(TimeRange { from: now() - jiff::SignedDuration::from_hours(24), to: now() });
    assert!(!finds(&store, &home, &query, "Zebulon").await);
    query.within =
        Some(TimeRange { from: now() - jiff::SignedDuration::from_mins(600_000), to: now() - jiff::SignedDuration::from_mins(599_800) });
    assert!(finds(&store, &home, &query, "Zebulon").await);
    query.in_prompt = Some((home.conversation.id, Seq(50)));
    assert!(!finds(&store, &home, &query, "Zebulon").await);

    // After a restart, before and after the partition is in memory.
    store.close().await;
    let store = open(SqliteConfig { load_patience: Duration::ZERO, ..small(folder.path()) }).await.expect("it opens");
    assert!(finds(&store, &home, &SearchQuery::new("Zebulon"), "Zebulon").await, "while it loads");
    turn(&store, &home, "the newest is about pelicans", "indeed").await.expect("a turn");
    assert!(finds(&store, &home, &SearchQuery::new("pelicans"), "pelicans").await, "new and loading");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(finds(&store, &home, &SearchQuery::new("Zebulon"), "Zebulon").await, "when it is loaded");
    assert!(finds(&store, &home, &SearchQuery::new("pelicans"), "pelicans").await);

    // What is erased is gone from the full-text index, too.
    store.erase(&home.scope, EraseTarget::Conversation(home.conversation.id)).await.expect("erased");
    for word in ["Zebulon", "violin", "pelicans", "weather"] {
        assert!(store.search(&home.scope, &SearchQuery::new(word)).await.expect("a search").items.is_empty(), "{word}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filling_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = SqliteConfig { index_capacity: 1_000_000, full_text_from: 1_000_000, ..small(folder.path()) };
    let store = open(first).await.expect("it opens");
    let home = Home::build(&store).await;
    import(&store, &home, 3_000, |i| if i == 10 { "Zebulon the dog".into() } else { chatter(i) }).await;
    store.close().await;
    // Opened with less memory: the next message begins the full-text index, a restart takes it up.
    let store = open(small(folder.path())).await.expect("it opens");
    turn(&store, &home, "hello", "hello").await.expect("a turn");
    drop(store);
    let store = open(small(folder.path())).await.expect("it opens");
    until_found(&store, &home, &SearchQuery::new("Zebulon"), "Zebulon").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passages_and_vectors_below_memory_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(small(folder.path())).await.expect("it opens");
    let home = Home::build(&store).await;
    let owner = Owner::Pair { agent: home.agent, user: home.user };
    let passage = |i: usize| NewPassage {
        id: PassageId::new(),
        owner,
        text: if i == 600 { "the wine cellar has 40 bottles".into() } else { chatter(i) },
        tags: Vec::new(),
        at: now(),
        provenance: Provenance::default(),
    };
    let mut cellar = None;
    for batch in 0..6 {
        let passages: Vec<NewPassage> = (batch * 500..(batch + 1) * 500).map(passage).collect();
        let stored = store.upsert(&home.scope, passages).await.expect("stored");
        cellar = cellar.or_else(|| stored.iter().find(|p| p.text.contains("cellar")).map(|p| p.id));
    }
    let cellar = cellar.expect("stored");
    let generation = GenerationId("test/4".into());
    let chunk = Chunk { start: 0, end: 30, vector: vec![0.0, 1.0, 0.0, 0.0] };
    let new = NewVectors { scope: home.scope, record: RecordId::Passage(cellar), chunks: vec![chunk] };
    store.put_vectors(&generation, vec![new]).await.expect("vectors");
    let mut query = SearchQuery::new("bottles in the cellar");
    query.vector = Some(QueryVector { generation: generation.clone(), values: vec![0.0, 1.0, 0.0, 0.0] });
    let found = store.search(&home.scope, &query).await.expect("a search");
    let hit = found.items.iter().find(|c| c.record.id() == RecordId::Passage(cellar)).expect("found");
    assert!(hit.channels.dense > 0.99 && hit.channels.bm25 > 0.0, "{:?}", hit.channels);
    let waiting = store.pending(&generation, 10).await.expect("pending");
    assert_eq!(waiting.len(), 10);
    let status = store.index_status(&home.scope, &generation, Some(owner)).await.expect("status");
    assert_eq!((status.indexed, status.pending), (1, 2_999));
    assert_eq!(store.delete(&home.scope, &[cellar]).await.expect("deleted"), 1);
    let found = store.search(&home.scope, &query).await.expect("a search");
    assert!(found.items.iter().all(|c| !c.record.text().contains("cellar")));
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

async fn next_turn(store: &SqliteStore, home: &Home) -> Duration {
    let mut times = Vec::new();
    for i in 0..40 {
        let begun = Instant::now();
        let lease = accept(store, &home.scope, home.conversation.id, &chatter(i)).await.expect("accepted").lease.expect("idle");
        let loaded = store.load(&lease).await.expect("loaded");
        assert!(loaded.queue.len() < 200);
        finish(store, &lease, "yes").await.expect("finished");
        times.push(begun.elapsed());
    }
    median(times)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_costs_the_same_after_200_000_messages() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SqliteConfig { index_capacity: 8_192, synchronous_full: false, ..SqliteConfig::new(folder.path()) };
    let store = open(config).await.expect("it opens");
    let home = Home::build(&store).await;
    import(&store, &home, 1_000, chatter).await;
    let short = next_turn(&store, &home).await;
    let home = Home { conversation: common::open_conversation(&store, &home.scope, home.agent, home.user).await, ..home };
    import(&store, &home, 200_000, |i| if i == 12_345 { "Zebulon the dog".into() } else { chatter(i) }).await;
    let long = next_turn(&store, &home).await;
    // A wide margin for a busy machine; what it must not do is grow two hundred times.
    assert!(long < short * 4 + Duration::from_millis(2), "{short:?} at 1,000, {long:?} at 200,000");

    let page = |from| store.page(&home.scope, home.conversation.id, from, Order::Ascending, 50);
    let mut times = [Vec::new(), Vec::new()];
    for i in 0..20 {
        for (k, from) in [Seq(i), Seq(190_000 + i)].into_iter().enumerate() {
            let begun = Instant::now();
            assert_eq!(page(Some(from)).await.expect("a page").len(), 50);
            times[k].push(begun.elapsed());
        }
    }
    let [first, deep] = times.map(median);
    assert!(deep < first * 4 + Duration::from_millis(2), "{first:?} at the start, {deep:?} at 190,000");

    until_found(&store, &home, &SearchQuery::new("Zebulon"), "Zebulon").await;
    let mut times = Vec::new();
    for i in 0..20 {
        let begun = Instant::now();
        store.search(&home.scope, &SearchQuery::new(chatter(i))).await.expect("a search");
        times.push(begun.elapsed());
    }
    // Unoptimised: the bench has the figures.
    assert!(median(times.clone()) < Duration::from_millis(1_500), "{times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_costs_the_same_in_a_large_tenant() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(SqliteConfig { synchronous_full: false, ..SqliteConfig::new(folder.path()) }).await.expect("it opens");
    let home = Home::build(&store).await;
    let alone = next_turn(&store, &home).await;
    for i in 0..2_000 {
        let user = User {
            id: UserId::new(),
            handle: format!("user{i}"),
            display_name: "U".into(),
            timezone: None,
            quiet_hours: None,
            created_at: now(),
        };
        let user = store.create_user(&home.scope, user).await.expect("a user").id;
        let blocks = store.blocks(&home.scope, Owner::Pair { agent: home.agent, user }).await.expect("blocks");
        assert_eq!(blocks.len(), 2);
    }
    let home = Home { conversation: common::open_conversation(&store, &home.scope, home.agent, home.user).await, ..home };
    let among_many = next_turn(&store, &home).await;
    assert!(among_many < alone * 3 + Duration::from_millis(1), "{alone:?} alone, {among_many:?} among 2,000 others");
}

#[tokio::test]
async fn an_index_that_is_dropped_is_loaded_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(SqliteConfig { index_bytes: 1, ..SqliteConfig::new(folder.path()) }).await.expect("it opens");
    let home = Home::build(&store).await;
    turn(&store, &home, "pickled gherkins", "noted").await.expect("a turn");
    let passage = NewPassage {
        id: PassageId::new(),
        owner: Owner::Tenant,
        text: "gherkins are on the menu".into(),
        tags: Vec::new(),
        at: now(),
        provenance: Provenance::default(),
    };
    store.upsert(&home.scope, vec![passage]).await.expect("stored");
    for i in 0..5 {
        let found = store.search(&home.scope, &SearchQuery::new("gherkins")).await.expect("a search");
        assert_eq!(found.items.iter().filter(|c| c.channels.bm25 > 0.0).count(), 2 + i);
        turn(&store, &home, &format!("gherkins again {i}"), "yes").await.expect("a turn");
    }
    drop(store);
    drop(open_at(folder.path()).await);
}

/// The heads that a context call shows cost what it shows, however many items there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_cost_the_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(SqliteConfig { synchronous_full: false, ..SqliteConfig::new(folder.path()) }).await.expect("it opens");
    let home = Home::build(&store).await;
    let kinds = [ItemKind::Session, ItemKind::Proposal, ItemKind::Secret, ItemKind::DataKey];
    let fill = async |count: usize| {
        for batch in 0..count / 500 {
            let new = |n: usize| {
                let owner =
                    if n.is_multiple_of(2) { Owner::User { user: home.user } } else { Owner::Pair { agent: home.agent, user: home.user } };
                let body = "A page of text that nobody reads for its head. ".repeat(100);
                ItemWrite::Make(Box::new(NewItem { body, ..NewItem::new(kinds[n % 4], owner, format!("{batch} {n}")) }))
            };
            store.write_items(&home.scope, (0..500).map(new).collect()).await.expect("written");
        }
    };
    let filter = kinds[..3].iter().fold(ItemFilter::of(Whose::User(home.user)), |filter, kind| filter.kind(*kind));
    let tops = ItemFilter { below: Some(Below::Tops), ..filter.clone() };
    let heads = async || {
        let mut times = Vec::new();
        for filter in [&filter, &tops].into_iter().cycle().take(20) {
            let begun = Instant::now();
            let page = store.items(&home.scope, filter, PageRequest { after: None, limit: 200 }).await.expect("a page");
            assert!(page.items.len() == 200 && page.items.iter().all(|seen| seen.item.body.is_empty()));
            times.push(begun.elapsed());
        }
        median(times)
    };
    fill(1_000).await;
    let few = heads().await;
    fill(9_000).await;
    let many = heads().await;
    assert!(many < few * 3 + Duration::from_millis(2), "{few:?} of 1,000, {many:?} of 10,000");
}

/// However much waits for an endpoint that is down, who looks for what is due reads a part of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_an_endpoint_is_not_read_at_each_look() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(small(folder.path())).await.expect("it opens");
    let home = Home::build(&store).await;
    let hook = Webhook {
        id: WebhookId::new(),
        url: "https://example.org/".into(),
        description: String::new(),
        events: vec![],
        include_content: false,
        secrets: vec![],
        state: WebhookState::Enabled,
        disabled_because: None,
        failing_since: None,
        not_before: None,
        version: 0,
        created_at: now(),
        updated_at: now(),
    };
    let hook = store.create_webhook(&home.scope, hook, 1).await.expect("made");
    let told = (0..12_000).map(|_| store.test_webhook(&home.scope, hook.id, DeliveryId::new()));
    assert!(futures::future::join_all(told).await.iter().all(Result::is_ok));
    let begun = Instant::now();
    let take = TakeDeliveries { want: 64, per_webhook: 100, hold: Duration::from_secs(60), patience: 3 };
    assert_eq!(store.take_deliveries(take).await.expect("a look").due.len(), 64);
    assert_eq!(store.take_deliveries(take).await.expect("a look").due.len(), 36);
    assert!(begun.elapsed() < Duration::from_secs(2), "two looks took {:?}", begun.elapsed());
}
