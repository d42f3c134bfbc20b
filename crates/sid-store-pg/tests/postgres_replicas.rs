//! Several processes over one memory: what one writes, the others find, and nobody writes for somebody else.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Home, TTL, config, database, finish, now, open};
use sid_store::{
    Accept, ArchivalStore, Chunk, Commit, Effect, EmbeddingIndex, EraseTarget, Eraser, EventLog, GenerationId, IdempotencyKey,
    MemorySearch, NewVectors, Order, QueryVector, RecallStore, SearchQuery, StateStore, StoreError,
};
use sid_store_pg::{PgConfig, PgStore};
use sid_types::{EventBody, ManualClock, NewMessage, NewPassage, Owner, PassageId, Provenance, RunId, Scope, StopReason, WorkerId};
use sqlx::{Connection, Row};

fn passage(id: PassageId, text: &str) -> NewPassage {
    NewPassage { id, owner: Owner::Tenant, text: text.into(), tags: vec![], at: now(), provenance: Provenance::default() }
}

async fn texts(store: &PgStore, scope: &Scope, query: &SearchQuery) -> BTreeSet<String> {
    let found = store.search(scope, query).await.expect("a search");
    found.items.into_iter().map(|c| c.record.text().to_owned()).collect()
}

async fn find(store: &PgStore, scope: &Scope, words: &str) -> BTreeSet<String> {
    texts(store, scope, &SearchQuery::new(words)).await
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_writes_the_other_finds_at_once() {
    let database = database().await;
    let clock = Arc::new(ManualClock::new(now()));
    let (a, b) = (open(&database, &clock).await, open(&database, &clock).await);
    let home = Home::build(&a, "ours").await;
    let scope = &home.scope;
    assert!(find(&b, scope, "pickles").await.is_empty());

    home.turn(&a, "I love pickles", "noted").await;
    assert_eq!(find(&b, scope, "pickles").await, set(&["I love pickles", "noted"]), "both have it in memory now");
    let kept = PassageId::new();
    b.upsert(scope, vec![passage(kept, "pickles are sour")]).await.expect("stored");
    assert!(find(&a, scope, "sour").await.contains("pickles are sour"));
    b.upsert(scope, vec![passage(kept, "gherkins are sour")]).await.expect("replaced");
    assert_eq!(find(&a, scope, "sour").await, set(&["gherkins are sour"]));

    let generation = GenerationId("test/2".into());
    let jobs = a.pending(&generation, 10).await.expect("listed");
    assert_eq!(jobs.len(), 3);
    let vector = |text: &str| if text.contains("gherkins") { vec![1.0, 0.0] } else { vec![0.0, 1.0] };
    let vectors = jobs.iter().map(|j| NewVectors {
        scope: j.scope,
        record: j.record,
        chunks: vec![Chunk { start: 0, end: j.text.len(), vector: vector(&j.text) }],
    });
    let near = SearchQuery {
        vector: Some(QueryVector { generation: generation.clone(), values: vec![1.0, 0.0] }),
        per_channel: 1,
        ..SearchQuery::new("xyzzy")
    };
    assert!(texts(&b, scope, &near).await.is_empty());
    a.put_vectors(&generation, vectors.collect()).await.expect("stored");
    assert!(texts(&b, scope, &near).await.contains("gherkins are sour"));
    assert!(b.pending(&generation, 10).await.expect("listed").is_empty());

    a.upsert(scope, vec![passage(PassageId::new(), "brine is salty")]).await.expect("stored");
    assert!(find(&b, scope, "brine").await.contains("brine is salty"));
    assert_eq!(a.delete(scope, &[kept]).await.expect("deleted"), 1);
    assert!(find(&b, scope, "sour").await.is_empty() && !texts(&b, scope, &near).await.contains("gherkins are sour"));
    assert_eq!(b.search(scope, &SearchQuery::new("pickles")).await.expect("a search").searched, 3, "nothing dead is looked at");
    b.erase(scope, EraseTarget::Conversation(home.talk.id)).await.expect("erased");
    assert!(find(&a, scope, "pickles").await.is_empty() && find(&b, scope, "pickles").await.is_empty());
}

/// The second search of a turn sees at least what the first one saw, which began after the turn's question was asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_that_follows_misses_nothing_from_before_the_one_that_it_follows() {
    let database = database().await;
    let (a, b) = (PgStore::open(config(&database)).await.expect("opens"), PgStore::open(config(&database)).await.expect("opens"));
    let home = Home::build(&a, "ours").await;
    let scope = &home.scope;
    home.turn(&a, "I love pickles", "noted").await;
    find(&b, scope, "pickles").await;
    for round in 0..20 {
        let word = format!("pickle{round}");
        home.turn(&a, &word, "noted").await;
        let began = Instant::now();
        if round % 2 == 0 {
            find(&b, scope, "noted").await;
        }
        let query = SearchQuery { follows: Some(began), ..SearchQuery::new(&word) };
        assert!(texts(&b, scope, &query).await.contains(&word), "round {round}: acknowledged before the first search began");
        // Another one, of another turn: what came meanwhile is seen by whoever asks anew.
        home.turn(&a, &format!("later{round}"), "noted").await;
        assert!(find(&b, scope, &format!("later{round}")).await.contains(&format!("later{round}")));
    }
}

/// Writers on one side, a reader on the other: at every moment the reader finds all that was acknowledged before it asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_missed_while_others_write() {
    let database = database().await;
    let clock = Arc::new(ManualClock::new(now()));
    let (writer, reader) = (open(&database, &clock).await, open(&database, &clock).await);
    let home = Arc::new(Home::build(&writer, "ours").await);
    let acknowledged = Arc::new(parking_lot::Mutex::new(BTreeSet::new()));
    let tasks: Vec<_> = (0..3)
        .map(|t| {
            let (writer, home, acknowledged) = (writer.clone(), Arc::clone(&home), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for i in 0..25 {
                    let text = format!("pickle number {t}x{i}");
                    writer.upsert(&home.scope, vec![passage(PassageId::new(), &text)]).await.expect("stored");
                    acknowledged.lock().insert(text);
                }
            })
        })
        .collect();
    let mut looks = 0;
    while looks < 5 || tasks.iter().any(|t| !t.is_finished()) {
        let before = acknowledged.lock().clone();
        let query = SearchQuery { per_channel: 1_000, ..SearchQuery::new("pickle") };
        let found = texts(&reader, &home.scope, &query).await;
        let missed: Vec<_> = before.difference(&found).collect();
        assert!(missed.is_empty(), "{missed:?}");
        looks += 1;
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(find(&reader, &home.scope, "pickle").await.len(), 75);
}

/// A worker that stood still while another took over writes nothing, in whatever way it tries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_epoch_writes_nothing() {
    let database = database().await;
    let clock = Arc::new(ManualClock::new(now()));
    let (a, b) = (open(&database, &clock).await, open(&database, &clock).await);
    let home = Home::build(&a, "ours").await;
    let old = home.begin(&a, "hello").await;
    let block = a.load(&old).await.expect("held").blocks.remove(0);
    clock.advance(jiff::SignedDuration::from_secs(31));
    let new = b.claim(WorkerId::new(), 1, usize::MAX, TTL).await.expect("claimed").remove(0);
    assert_eq!((new.run, new.epoch), (old.run, old.epoch + 1));

    let rows = "SELECT (SELECT count(*) FROM sid.messages) || '/' || (SELECT count(*) FROM sid.events) || '/' || (SELECT count(*) FROM sid.passages)
        || '/' || (SELECT count(*) FROM sid.block_versions) || '/' || (SELECT string_agg(epoch || ':' || rev || ':' || last_seq, ',')
        FROM sid.conversations) || '/' || (SELECT string_agg(status || ':' || commits, ',') FROM sid.runs)";
    let before = database.sql(rows);
    let edit = sid_store::BlockEdit {
        block: block.id,
        op: sid_types::BlockOp::Append { text: "x".into() },
        expected_version: block.version,
        provenance: Provenance::default(),
    };
    let own = passage(PassageId::new(), "from the grave");
    let own = NewPassage { owner: Owner::Pair { agent: home.agent, user: home.user }, ..own };
    for effects in [
        vec![Effect::Append(vec![NewMessage::assistant("from the grave", now())])],
        vec![Effect::EditBlock(edit)],
        vec![Effect::InsertPassage(own)],
        vec![Effect::Events(vec![EventBody::TextDelta { text: "x".into() }])],
        vec![Effect::Finish { reason: StopReason::EndTurn, error: None }],
    ] {
        let late = a.commit(&old, Commit { number: 1, effects }).await;
        assert!(matches!(late, Err(StoreError::Fenced { held: 1, current: 2 })), "{late:?}");
    }
    assert!(matches!(a.release(&old).await, Err(StoreError::Fenced { .. })));
    assert!(a.renew(std::slice::from_ref(&old), TTL).await.expect("asked").is_empty());
    assert_eq!(database.sql(rows), before);
    b.commit(&new, finish(1, "from the living")).await.expect("committed");
}

/// Many senders at one conversation, over two processes: everything is stored once, in order, and answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_one_conversation_loses_nothing() {
    let database = database().await;
    let (a, b) = (PgStore::open(config(&database)).await.expect("opens"), PgStore::open(config(&database)).await.expect("opens"));
    let home = Arc::new(Home::build(&a, "ours").await);
    let send = |n: usize| {
        let (store, home) = (if n.is_multiple_of(2) { a.clone() } else { b.clone() }, Arc::clone(&home));
        tokio::spawn(async move {
            for i in 0..5 {
                let key = Some(IdempotencyKey { key: format!("{n}-{i}"), fingerprint: [7; 32] });
                let accept = Accept { idempotency: key, claim_for: None, ..home.stimulus(&format!("{n}-{i}")) };
                let first = store.accept(&home.scope, accept.clone()).await.expect("accepted").run.id;
                // The answer got lost: the same request with another run's id.
                let again = store.accept(&home.scope, Accept { run: RunId::new(), ..accept }).await.expect("answered again");
                assert!(again.replayed && again.run.id == first);
            }
        })
    };
    let senders: Vec<_> = (0..8).map(send).collect();
    let work = |store: PgStore| {
        tokio::spawn(async move {
            let (worker, mut answered, mut idle) = (WorkerId::new(), 0, 0);
            while idle < 30 {
                let mut leases = store.claim(worker, 1, usize::MAX, TTL).await.expect("asked");
                idle = if leases.is_empty() { idle + 1 } else { 0 };
                while let Some(lease) = leases.pop() {
                    store.load(&lease).await.expect("held");
                    leases.extend(store.commit(&lease, finish(1, "ok")).await.expect("committed").next);
                    answered += 1;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            answered
        })
    };
    let workers = [work(a.clone()), work(b.clone())];
    for sender in senders {
        sender.await.expect("no panic");
    }
    let mut answered = 0;
    for worker in workers {
        answered += worker.await.expect("no panic");
    }
    assert_eq!(answered, 40);
    let messages = a.page(&home.scope, home.talk.id, None, Order::Ascending, 1_000).await.expect("read");
    assert_eq!(messages.iter().map(|m| m.seq.0).collect::<Vec<_>>(), (1..=80).collect::<Vec<_>>());
    let said: BTreeSet<&str> = messages.iter().map(|m| m.body.text()).filter(|t| *t != "ok").collect();
    assert_eq!(said.len(), 40, "each once");
    // Nobody answered in between: a turn's messages stand together.
    assert!(messages.chunks(2).all(|turn| turn[0].run == turn[1].run));
}

/// One tenant's backlog does not keep the others waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claiming_is_fair_between_tenants() {
    let database = database().await;
    let clock = Arc::new(ManualClock::new(now()));
    let store = open(&database, &clock).await;
    let (whale, minnow) = (Home::build(&store, "whale").await, Home::build(&store, "minnow").await);
    for i in 0..60 {
        let talk = Home::open(&store, &whale.scope, whale.agent, whale.user).await;
        let accept = Accept { conversation: talk.id, claim_for: None, ..whale.stimulus(&format!("{i}")) };
        store.accept(&whale.scope, accept).await.expect("accepted");
    }
    store.accept(&minnow.scope, Accept { claim_for: None, ..minnow.stimulus("just one") }).await.expect("accepted");
    let first = store.claim(WorkerId::new(), 2, usize::MAX, TTL).await.expect("claimed");
    assert!(first.iter().any(|l| l.scope.tenant() == minnow.scope.tenant()), "the newest of all, and the only one of its tenant");
    assert_eq!(store.claim(WorkerId::new(), 100, usize::MAX, TTL).await.expect("claimed").len(), 59);
}

/// Those who follow a run hear of what another process writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_hear_of_other_processes() {
    let database = database().await;
    let clock = Arc::new(ManualClock::new(now()));
    let quick = PgConfig { poll: Duration::from_millis(100), ..config(&database) };
    let (a, b) = (open(&database, &clock).await, PgStore::open_with_test_clock(quick, Arc::clone(&clock) as _).await.expect("opens"));
    let home = Home::build(&a, "ours").await;
    let lease = home.begin(&a, "hello").await;
    let (scope, run) = (home.scope, lease.run);
    let follower = tokio::spawn(async move { b.follow(&scope, run, 0, Duration::from_secs(20)).await });
    tokio::time::sleep(Duration::from_millis(150)).await;
    a.append_events(&lease, vec![EventBody::TextDelta { text: "hm".into() }]).await.expect("held");
    let heard = tokio::time::timeout(Duration::from_secs(5), follower).await.expect("in time").expect("no panic").expect("visible");
    assert_eq!(heard.len(), 1);
}

/// Without a test's clock, time is the database's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_is_the_databases() {
    let database = database().await;
    let store = PgStore::open(config(&database)).await.expect("opens");
    let home = Home::build(&store, "ours").await;
    let lease = home.begin(&store, "hello").await;
    let stored = "SELECT extract(epoch FROM expires_at - clock_timestamp()) BETWEEN 20 AND 30 FROM sid.conversations";
    assert_eq!(database.sql(stored), "t");
    assert!(store.claim(WorkerId::new(), 1, usize::MAX, TTL).await.expect("asked").is_empty(), "it holds");
    let _ = database.sql("UPDATE sid.conversations SET expires_at = clock_timestamp() - interval '1 ms'");
    let taken = store.claim(WorkerId::new(), 1, usize::MAX, TTL).await.expect("asked").remove(0);
    assert_eq!((taken.run, taken.epoch), (lease.run, lease.epoch + 1));
}

/// A record whose transaction was slow is not passed by: numbers are drawn before they are committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_transactions_record_is_embedded_too() {
    let database = database().await;
    let store = open(&database, &Arc::new(ManualClock::new(now()))).await;
    let home = Home::build(&store, "ours").await;
    let slow = passage(PassageId::new(), "the slow one");
    store.upsert(&home.scope, vec![passage(PassageId::new(), "the first")]).await.expect("stored");
    // As `upsert` does it, in a transaction that takes its time, and in another partition.
    let mut conn = sqlx::PgConnection::connect(&database.url(common::SERVER)).await.expect("connects");
    let mut tx = conn.begin().await.expect("begins");
    let tenant = home.scope.tenant().uuid();
    sqlx::query("SELECT sid.enter($1, NULL)").bind(tenant).execute(&mut *tx).await.expect("entered");
    let part = "INSERT INTO sid.partitions (tenant, kind, a, b) VALUES ($1, 2, $2, '00000000-0000-0000-0000-000000000000') RETURNING part";
    let part: i64 = sqlx::query(part).bind(tenant).bind(home.user.uuid()).fetch_one(&mut *tx).await.expect("made").get(0);
    sqlx::query("SELECT sid.put_passage($1, $2, $3, 'the slow one', '[]', now(), '{\"channel\":\"api\"}', NULL, now())")
        .bind(tenant)
        .bind(part)
        .bind(slow.id.uuid())
        .execute(&mut *tx)
        .await
        .expect("written");

    let generation = GenerationId("test/slow".into());
    for text in ["the second", "the third", "the fourth"] {
        store.upsert(&home.scope, vec![passage(PassageId::new(), text)]).await.expect("stored");
        let jobs = store.pending(&generation, 10).await.expect("listed");
        let done = jobs.into_iter().map(|j| NewVectors { scope: j.scope, record: j.record, chunks: vec![] }).collect();
        store.put_vectors(&generation, done).await.expect("stored");
    }
    assert!(store.pending(&generation, 10).await.expect("listed").is_empty());
    tx.commit().await.expect("at last");
    let jobs = store.pending(&generation, 10).await.expect("listed");
    assert_eq!(jobs.iter().map(|j| j.text.as_str()).collect::<Vec<_>>(), ["the slow one"]);
    // Once everything older is over (in the whole cluster: other tests run, too), what is done is passed by for good.
    let passed = "SELECT done_to >= (SELECT max(rid) FROM sid.passages) FROM sid.generations";
    for _ in 0..600 {
        let done = jobs.iter().map(|j| NewVectors { scope: j.scope, record: j.record, chunks: vec![] }).collect();
        store.put_vectors(&generation, done).await.expect("stored");
        if database.sql(passed) == "t" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the mark does not move on");
}

/// What the outbox tells is written with the change, and stays until it was dealt with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outbox_tells_of_changes() {
    let database = database().await;
    let clock = Arc::new(ManualClock::new(now()));
    let telling = PgConfig { outbox: true, ..config(&database) };
    let store = PgStore::open_with_test_clock(telling, clock).await.expect("opens");
    let home = Home::build(&store, "ours").await;
    home.turn(&store, "hello", "hi").await;
    let kept = PassageId::new();
    store.upsert(&home.scope, vec![passage(kept, "pickles")]).await.expect("stored");
    store.delete(&home.scope, &[kept]).await.expect("deleted");
    // What is refused is not told.
    store.upsert(&home.scope, vec![passage(kept, "pickles"), passage(PassageId::new(), " ")]).await.expect_err("refused");
    store.erase(&home.scope, EraseTarget::Conversation(home.talk.id)).await.expect("erased");
    let told = store.read_outbox(10).await.expect("read");
    let topics: Vec<&str> = told.iter().map(|t| t.topic.as_str()).collect();
    assert_eq!(topics, ["run.done", "record.gone", "conversation.gone"]);
    assert!(told.iter().all(|t| t.tenant == home.scope.tenant() && t.at == now()));
    assert_eq!((told[1].subject, told[2].subject), (kept.uuid(), home.talk.id.uuid()));
    assert_eq!(store.drop_outbox(&[told[0].id, told[1].id]).await.expect("dropped"), 2);
    assert_eq!(store.read_outbox(10).await.expect("read"), told[2..]);
}

/// A commit and a renewal at the same moment: the lease is as long as the renewal has said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_undoes_no_renewal() {
    let database = database().await;
    let clock = Arc::new(ManualClock::new(now()));
    let store = open(&database, &clock).await;
    let home = Home::build(&store, "ours").await;
    let lease = home.begin(&store, "hello").await;
    let seconds = "SELECT extract(epoch FROM expires_at)::bigint FROM sid.conversations";
    for number in 1..=60 {
        clock.advance(jiff::SignedDuration::from_secs(1));
        let effects = vec![Effect::Events(vec![EventBody::TextDelta { text: "x".into() }])];
        let renewal = async {
            // At another moment of the commit each time.
            tokio::time::sleep(Duration::from_micros(number * 60)).await;
            store.renew(std::slice::from_ref(&lease), TTL).await
        };
        let (committed, renewed) = tokio::join!(store.commit(&lease, Commit { number, effects }), renewal);
        committed.expect("held");
        let until = renewed.expect("held")[0].lease.expires_at;
        assert_eq!(database.sql(seconds), until.as_second().to_string(), "after commit {number}");
    }
}

/// A row that somebody else holds for too long is waited for in vain, but not for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_lock_for_ever() {
    let database = database().await;
    let hasty = PgConfig { lock_timeout: Duration::from_millis(300), ..config(&database) };
    let store = PgStore::open(hasty).await.expect("opens");
    let home = Home::build(&store, "ours").await;
    let mut conn = sqlx::PgConnection::connect(&database.url(sid_testkit::postgres::ADMIN)).await.expect("connects");
    let mut tx = conn.begin().await.expect("begins");
    sqlx::query("SELECT 1 FROM sid.conversations FOR UPDATE").execute(&mut *tx).await.expect("locked");
    let refused = store.accept(&home.scope, home.stimulus("hello")).await.expect_err("locked");
    assert!(refused.is_transient(), "{refused:?}");
    tx.rollback().await.expect("given back");
    home.turn(&store, "hello", "hi").await;
}
