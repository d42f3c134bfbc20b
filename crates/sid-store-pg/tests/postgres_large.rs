//! Large histories: what is older than memory is found, and forgotten when it must be.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Home, config, database, finish, now};
use sid_store::{
    ArchivalStore, Below, EraseTarget, Eraser, ItemFilter, ItemStore, ItemWrite, MemorySearch, NewItem, Order, PageRequest, RecallStore,
    SearchQuery, StateStore, TakeDeliveries, TimeRange, WebhookStore, Whose,
};
use sid_store_pg::{PgConfig, PgStore};
use sid_testkit::postgres::Database;
use sid_types::{
    ConversationId, ItemKind, ManualClock, NewMessage, NewPassage, Owner, PassageId, Provenance, Seq, Webhook, WebhookId, WebhookState,
};

/// Everyday words, different in each message and never rare.
fn chatter(i: usize) -> String {
    const WORDS: [&str; 12] =
        ["weather", "garden", "train", "coffee", "music", "window", "river", "friend", "letter", "winter", "bread", "story"];
    format!("{} {} and {} again", WORDS[i % 12], WORDS[(i / 3) % 12], WORDS[(i / 7) % 12])
}

async fn import(store: &PgStore, home: &Home, talk: ConversationId, range: std::ops::Range<usize>, text: impl Fn(usize) -> String) {
    let said = |i: usize| {
        let at = now() + jiff::SignedDuration::from_mins(i as i64 - 600_000);
        if i.is_multiple_of(2) { NewMessage::user(text(i), at) } else { NewMessage::assistant(text(i), at) }
    };
    for start in range.clone().step_by(1_000) {
        let messages: Vec<NewMessage> = (start..(start + 1_000).min(range.end)).map(said).collect();
        store.append(&home.scope, talk, messages).await.expect("imported");
    }
}

async fn open(database: &Database) -> PgStore {
    let small = PgConfig { index_capacity: 1_000, word_lists_from: 500, ..config(database) };
    PgStore::open_with_test_clock(small, Arc::new(ManualClock::new(now()))).await.expect("opens")
}

async fn finds(store: &PgStore, home: &Home, query: &SearchQuery, detail: &str) -> bool {
    let found = store.search(&home.scope, query).await.expect("a search");
    assert!(found.items.len() < 2_500, "bounded: {}", found.items.len());
    found.items.iter().any(|c| c.record.text().contains(detail) && c.channels.bm25 > 0.0)
}

/// Waits until the background has written the lists.
async fn until_found(store: &PgStore, home: &Home, words: &str) {
    let (begun, query) = (Instant::now(), SearchQuery::new(words));
    while !finds(store, home, &query, words).await {
        assert!(begun.elapsed() < Duration::from_secs(120), "`{words}` is not found");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detail_older_than_memory_is_found_and_forgotten() {
    let database = database().await;
    let store = open(&database).await;
    let home = Home::build(&store, "ours").await;
    let text = |i: usize| match i {
        100 => "my dog is called Zebulon".to_owned(),
        700 => "the violin stands in the attic".to_owned(),
        _ => chatter(i),
    };
    import(&store, &home, home.talk.id, 0..3_000, text).await;
    let second = Home::open(&store, &home.scope, home.agent, home.user).await;
    import(&store, &home, second.id, 3_000..5_000, |i| if i == 3_100 { "Hastings is where we met".to_owned() } else { chatter(i) }).await;
    let passage = PassageId::new();
    let pair = Owner::Pair { agent: home.agent, user: home.user };
    let keep =
        |text: &str| NewPassage { id: passage, owner: pair, text: text.into(), tags: vec![], at: now(), provenance: Provenance::default() };
    store.upsert(&home.scope, vec![keep("a quixotic plan")]).await.expect("stored");
    import(&store, &home, second.id, 5_000..7_000, chatter).await;

    for word in ["Zebulon", "violin", "Hastings", "quixotic"] {
        until_found(&store, &home, word).await;
    }
    // Common alone, rare together; and neighbours come from the database, too.
    let candidates = store.search(&home.scope, &SearchQuery::new("Zebulon")).await.expect("a search");
    let best = candidates.items.iter().max_by(|a, b| a.channels.bm25.total_cmp(&b.channels.bm25)).expect("a hit");
    assert!(best.record.text().contains("Zebulon") && best.neighbours.0.is_some() && best.neighbours.1.is_some());
    // Not through somebody else's eyes.
    let stranger = home.scope.turn(sid_types::AgentId::new(), Some(home.user));
    assert!(store.search(&stranger, &SearchQuery::new("Zebulon")).await.expect("a search").items.is_empty());
    // Filters hold there as well.
    let mut query = SearchQuery::new("Zebulon");
    let ago = |mins: i64| now() - jiff::SignedDuration::from_mins(mins);
    query.within = Some(TimeRange { from: ago(1_440), to: now() });
    assert!(!finds(&store, &home, &query, "Zebulon").await);
    query.within = Some(TimeRange { from: ago(600_000), to: ago(599_800) });
    assert!(finds(&store, &home, &query, "Zebulon").await);
    query.in_prompt = Some((home.talk.id, Seq(50)));
    assert!(!finds(&store, &home, &query, "Zebulon").await);
    // Another process, with nothing in memory yet.
    assert!(finds(&open(&database).await, &home, &SearchQuery::new("violin"), "violin").await);

    // Replaced and erased records leave no trace in the lists.
    store.upsert(&home.scope, vec![keep("a sober plan")]).await.expect("replaced");
    assert!(!finds(&store, &home, &SearchQuery::new("quixotic"), "quixotic").await);
    let stale = "SELECT count(*) FROM sid.postings w, unnest(w.rids) r WHERE NOT EXISTS (SELECT FROM sid.messages m WHERE m.rid = r)
        AND NOT EXISTS (SELECT FROM sid.passages p WHERE p.rid = r)";
    assert_eq!(database.sql(stale), "0");
    store.erase(&home.scope, EraseTarget::Conversation(home.talk.id)).await.expect("erased");
    assert_eq!(database.sql(stale), "0");
    assert!(!finds(&store, &home, &SearchQuery::new("Zebulon"), "Zebulon").await);
    until_found(&store, &home, "Hastings").await;
    assert_eq!(database.sql(stale), "0");
}

/// A turn and a page cost the same however long the history is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_reads_none_of_the_history() {
    let database = database().await;
    let store = open(&database).await;
    let home = Home::build(&store, "ours").await;
    import(&store, &home, home.talk.id, 0..4_000, chatter).await;
    let _ = database.sql("ANALYZE");
    let reads = || {
        // What this session has reported so far.
        let rows = "SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_user_tables WHERE relname ~ '^messages_[0-9]+$'";
        database.sql(&format!("SELECT pg_stat_clear_snapshot(); {rows}")).lines().last().and_then(|n| n.parse::<i64>().ok()).unwrap_or(0)
    };
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let before = reads();
    for i in 0..5 {
        let lease = home.begin(&store, &format!("turn {i}")).await;
        assert!(store.load(&lease).await.expect("held").queue.len() <= 10);
        store.commit(&lease, finish(1, "ok")).await.expect("committed");
    }
    for from in [None, Some(Seq(3_500)), Some(Seq(20))] {
        store.page(&home.scope, home.talk.id, from, Order::Descending, 10).await.expect("a page");
    }
    store.close().await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let read = reads() - before;
    assert!(read < 400, "{read} messages were read for five turns and three pages");
}

/// The heads that a context call shows cost what it shows, of 5,000 items as of 500, and no body is read for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_cost_the_page() {
    let database = database().await;
    let store = open(&database).await;
    let home = Home::build(&store, "ours").await;
    let kinds = [ItemKind::Session, ItemKind::Proposal, ItemKind::Secret, ItemKind::DataKey];
    for batch in 0..10 {
        let new = |n: usize| {
            let owner =
                if n.is_multiple_of(2) { Owner::User { user: home.user } } else { Owner::Pair { agent: home.agent, user: home.user } };
            // So long, and so little alike, that each lies apart from its row.
            let body = (0..600).map(|k| format!("{:x}", (batch * 500 + n) * 7_919 + k * k * 104_729)).collect();
            ItemWrite::Make(Box::new(NewItem { body, ..NewItem::new(kinds[n % 4], owner, format!("{batch} {n}")) }))
        };
        store.write_items(&home.scope, (0..500).map(new).collect()).await.expect("written");
    }
    // What its sessions have written they report when they end, at the latest.
    store.close().await;
    let store = open(&database).await;
    let _ = database.sql("VACUUM ANALYZE sid.items");
    let reads = || {
        let rows = "SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_user_tables WHERE relname = 'items'";
        let toast = "SELECT sum(toast_blks_read + toast_blks_hit) FROM pg_statio_user_tables WHERE relname = 'items'";
        let told = database.sql(&format!("SELECT pg_stat_clear_snapshot(); SELECT ({rows}) || ' ' || ({toast})"));
        let numbers: Vec<i64> = told.lines().last().map(|l| l.split(' ').filter_map(|n| n.parse().ok()).collect()).unwrap_or_default();
        (numbers[0], numbers[1])
    };
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let before = reads();
    let filter = kinds[..3].iter().fold(ItemFilter::of(Whose::User(home.user)), |filter, kind| filter.kind(*kind));
    let tops = ItemFilter { below: Some(Below::Tops), ..filter.clone() };
    let mut after = None;
    for _ in 0..5 {
        after = store.items(&home.scope, &filter, PageRequest { after, limit: 200 }).await.expect("a page").next;
        assert_eq!(store.items(&home.scope, &tops, PageRequest { after: None, limit: 200 }).await.expect("a page").items.len(), 200);
    }
    store.close().await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (rows, toast) = reads();
    // Twice at most: three kinds, each to its newest 201, and the rows of the 201 that are shown.
    assert!(rows - before.0 < 10 * (3 * 201 + 201 + 50), "{} rows were read for ten lists of 200", rows - before.0);
    assert_eq!(toast - before.1, 0, "bodies were read for heads");
}

/// However much waits for an endpoint that is down, who looks for what is due reads a part of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_an_endpoint_is_not_read_at_each_look() {
    let database = database().await;
    let store = open(&database).await;
    let home = Home::build(&store, "ours").await;
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
    store.create_webhook(&home.scope, hook, 1).await.expect("made");
    // Ten of each conversation, which all but the first wait for.
    let _ = database.sql(
        "INSERT INTO sid.deliveries (tenant, id, webhook, event, subject, conv, facts, at, next_at)
         SELECT w.tenant, gen_random_uuid(), w.id, 'run.completed', w.id, md5((g % 4000)::text)::uuid, '{}', w.created_at, w.created_at
         FROM sid.webhooks w, generate_series(1, 40000) g; ANALYZE sid.deliveries",
    );
    let reads = || {
        let rows = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'deliveries'";
        database.sql(&format!("SELECT pg_stat_clear_snapshot(); {rows}")).lines().last().and_then(|n| n.parse::<i64>().ok()).unwrap_or(0)
    };
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let before = reads();
    for _ in 0..10 {
        let take = TakeDeliveries { want: 64, per_webhook: 100, hold: Duration::from_secs(60), patience: 3 };
        store.take_deliveries(take).await.expect("a look");
    }
    store.close().await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let read = reads() - before;
    assert!(read < 10 * 5_000, "{read} deliveries were read for ten looks");
}
