//! How often each step of a turn talks with the database: counted on the wire.

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Home, SERVER, TTL, database, finish, now};
use sid_store::{Candidates, Commit, Directory as _, Effect, EventLog, MemorySearch, PageRequest, Record, SearchQuery, StateStore};
use sid_store_pg::{PgConfig, PgStore};
use sid_testkit::postgres::Database;
use sid_types::{EventBody, NewMessage, Step, StepId, Usage, WorkerId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

const PAGE: PageRequest = PageRequest { after: None, limit: 10 };

/// A socket in between that counts the statements which pass, and the questions whether a connection still works.
struct Counter {
    statements: Arc<AtomicUsize>,
    questions: Arc<AtomicUsize>,
    url: String,
    _folder: tempfile::TempDir,
}

impl Counter {
    fn before(database: &Database) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).expect("a socket");
        let url = database.url(SERVER);
        let (_, rest) = url.split_once('@').expect("a host");
        let (socket, name) = rest.split_once('/').expect("a database");
        let server = PathBuf::from(socket.replace("%2F", "/")).join(".s.PGSQL.5432");
        let (statements, questions) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, asked) = (Arc::clone(&statements), Arc::clone(&questions));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&server).await.expect("the cluster answers");
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                let (count, asked) = (Arc::clone(&count), Arc::clone(&asked));
                tokio::spawn(async move {
                    let (mut is_started, mut is_empty) = (false, true);
                    let mut buffer: Vec<u8> = Vec::new();
                    let mut chunk = [0_u8; 16_384];
                    while let Ok(read @ 1..) = from_client.read(&mut chunk).await {
                        buffer.extend(&chunk[..read]);
                        while let Some(size) = message(&buffer, is_started) {
                            // A simple query, or the execution of a prepared statement. What was only read is rolled back in the
                            // background, sooner or later.
                            if is_started && matches!(buffer[0], b'Q' | b'E') && !buffer[5..].starts_with(b"ROLLBACK") {
                                count.fetch_add(1, Ordering::SeqCst);
                            }
                            // A `Sync` with nothing before it.
                            if is_started && buffer[0] == b'S' && is_empty {
                                asked.fetch_add(1, Ordering::SeqCst);
                            }
                            is_empty = !is_started || matches!(buffer[0], b'S' | b'Q');
                            // A question about TLS comes before the start, and has no type either.
                            is_started |= buffer.get(4..8) != Some(&80_877_103_u32.to_be_bytes());
                            buffer.drain(..size);
                        }
                        if to_server.write_all(&chunk[..read]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        let url = format!("postgres://{SERVER}@{}/{name}", folder.path().display().to_string().replace('/', "%2F"));
        Self { statements, questions, url, _folder: folder }
    }

    /// How many statements `call` takes; what it leaves to the background, such as rollbacks of what was only read, is not waited for.
    async fn of<T>(&self, call: impl Future<Output = T>) -> (usize, T) {
        // Rollbacks of earlier calls.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let before = self.statements.load(Ordering::SeqCst);
        let value = call.await;
        (self.statements.load(Ordering::SeqCst) - before, value)
    }
}

/// The size of the message that `buffer` begins with, if it is there as a whole. The first one has no type.
fn message(buffer: &[u8], is_started: bool) -> Option<usize> {
    let head = usize::from(is_started);
    let size: [u8; 4] = buffer.get(head..head + 4)?.try_into().ok()?;
    let size = head + u32::from_be_bytes(size) as usize;
    (buffer.len() >= size).then_some(size)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_takes_few_round_trips() {
    let database = database().await;
    let counter = Counter::before(&database);
    let config = PgConfig { connections: 4, ..PgConfig::new(counter.url.clone()) };
    let store = PgStore::open(config).await.expect("opens");
    let home = Home::build(&store, "ours").await;
    // The first turn makes the blocks.
    let lease = home.begin(&store, "hello").await;
    store.load(&lease).await.expect("loaded");
    store.commit(&lease, finish(1, "hi")).await.expect("committed");

    let (accept, accepted) = counter.of(store.accept(&home.scope, home.stimulus("and now?"))).await;
    let lease = accepted.expect("accepted").lease.expect("idle");
    let (load, loaded) = counter.of(store.load(&lease)).await;
    assert_eq!(loaded.expect("held").queue.len(), 3);
    let (anew, loaded) = counter.of(store.load(&lease)).await;
    assert_eq!((anew, loaded.expect("held").queue.len()), (1, 3), "what was read ahead is for one load");
    let step = Step {
        id: StepId::new(),
        run: lease.run,
        number: 1,
        usage: Usage::default(),
        rung: "native".into(),
        first_token_ms: 1,
        total_ms: 2,
        tail: Some("tail".into()),
        queue: (1, 3),
        recalled: vec![],
        at: now(),
    };
    let effects = vec![
        Effect::Append(vec![NewMessage::assistant("let me see", now())]),
        Effect::RecordStep(Box::new(step)),
        Effect::Events(vec![EventBody::TextDelta { text: "let".into() }]),
    ];
    let (record, committed) = counter.of(store.commit(&lease, Commit { number: 1, effects })).await;
    assert_eq!(committed.expect("committed").messages.len(), 1);
    let (end, committed) = counter.of(store.commit(&lease, finish(2, "done"))).await;
    committed.expect("committed");
    assert_eq!(
        (accept, load, record, end),
        (1, 0, 1, 1),
        "accept with claim and what loads, record, finish, by the process that wrote last"
    );

    // Accepted for anybody, claimed by a worker.
    let (accept, accepted) = counter.of(store.accept(&home.scope, sid_store::Accept { claim_for: None, ..home.stimulus("later") })).await;
    accepted.expect("accepted");
    let (claim, leases) = counter.of(store.claim(WorkerId::new(), 1, usize::MAX, TTL)).await;
    let lease = leases.expect("claimed").remove(0);
    assert_eq!((accept, claim), (1, 3));
    let (renew, held) = counter.of(store.renew(std::slice::from_ref(&lease), TTL)).await;
    assert_eq!((renew, held.expect("held").len()), (1, 1), "all leases of a process in one");
    let (asked, answer) = counter.of(store.is_cancel_requested(&lease)).await;
    assert_eq!((asked, answer.expect("held")), (1, false));
    let deltas = vec![EventBody::TextDelta { text: "a".into() }];
    let (append, events) = counter.of(store.append_events(&lease, deltas)).await;
    assert_eq!((append, events.expect("held").len()), (1, 1));
    let (in_vain, none) = counter.of(store.claim(WorkerId::new(), 8, usize::MAX, TTL)).await;
    assert_eq!((in_vain, none.expect("asked").len()), (1, 0));

    // The first search reads the partition, the next only looks whether anything is new. What was said here is known.
    let turn = home.scope.turn(home.agent, Some(home.user));
    let query = SearchQuery::new("what about now");
    let (first, found) = counter.of(store.search(&turn, &query)).await;
    assert!(!found.expect("found").items.is_empty());
    let (again, _) = counter.of(store.search(&turn, &query)).await;
    home_turns_on(&store, &lease).await;
    let (after_a_turn, _) = counter.of(store.search(&turn, &query)).await;
    assert_eq!((first, again, after_a_turn), (5, 1, 1));
    let began = Instant::now();
    let (one, _) = counter.of(store.search(&turn, &query)).await;
    let (two, _) = counter.of(store.search(&turn, &SearchQuery { follows: Some(began), ..query })).await;
    assert_eq!((one, two), (1, 0), "the second search of a turn");

    // A turn's first search follows the look that came with its loading, and finds what this process has said without reading it.
    let said = home.stimulus("pickles it is");
    let lease = store.accept(&home.scope, said).await.expect("accepted").lease.expect("idle");
    let (load, loaded) = counter.of(store.load(&lease)).await;
    let query = SearchQuery { follows: Some(loaded.expect("held").began), ..SearchQuery::new("pickles") };
    let (search, found) = counter.of(store.search(&turn, &query)).await;
    assert_eq!(with_pickles(&found.expect("found")), 1, "what was accepted in the same statement");
    assert_eq!((load, search), (0, 0), "of a run that this process has begun");
    home_turns_on(&store, &lease).await;
    store.accept(&home.scope, sid_store::Accept { claim_for: None, ..home.stimulus("no pickles") }).await.expect("accepted");
    let lease = store.claim(WorkerId::new(), 1, usize::MAX, TTL).await.expect("claimed").remove(0);
    let (load, loaded) = counter.of(store.load(&lease)).await;
    let query = SearchQuery { follows: Some(loaded.expect("held").began), ..query };
    let (search, found) = counter.of(store.search(&turn, &query)).await;
    assert_eq!(with_pickles(&found.expect("found")), 2);
    assert_eq!((load, search), (1, 0), "of a run that was claimed");
}

fn with_pickles(found: &Candidates) -> usize {
    found.items.iter().filter(|c| matches!(&c.record, Record::Message(m) if m.body.text().contains("pickles"))).count()
}

async fn home_turns_on(store: &PgStore, lease: &sid_store::Lease) {
    store.commit(lease, finish(1, "so")).await.expect("committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_passed_on_without_a_question() {
    let database = database().await;
    let counter = Counter::before(&database);
    let store = PgStore::open(PgConfig { connections: 4, ..PgConfig::new(counter.url.clone()) }).await.expect("opens");
    let home = Home::build(&store, "ours").await;
    for _ in 0..5 {
        home.turn(&store, "hello", "hi").await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    let before = counter.questions.load(Ordering::SeqCst);
    for _ in 0..20 {
        home.turn(&store, "hello", "hi").await;
        store.user(&home.scope, home.user).await.expect("there");
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(counter.questions.load(Ordering::SeqCst) - before, 0);
}

/// Calls and transactions share few connections: nobody waits for one that nobody uses, and what was broken off does no harm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_connection_is_enough_for_all() {
    let database = database().await;
    let store = PgStore::open(PgConfig { connections: 1, ..common::config(&database) }).await.expect("opens");
    let home = Home::build(&store, "ours").await;
    let all = (0..40_u64).map(async |i| match i % 4 {
        0 => drop(store.accept(&home.scope, home.stimulus("hello")).await.expect("accepted")),
        1 => assert_eq!(store.user(&home.scope, home.user).await.expect("there").id, home.user),
        2 => assert!(store.claim(WorkerId::new(), 0, 1, TTL).await.is_ok()),
        _ => drop(tokio::time::timeout(Duration::from_micros(i * 50), store.agents(&home.scope, PAGE)).await),
    });
    futures::future::join_all(all).await;
    assert_eq!(store.agents(&home.scope, PAGE).await.expect("listed").items.len(), 1);
    let backends =
        database.sql(&format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{SERVER}' AND datname = current_database()"));
    assert_eq!(backends.trim(), "1");
    tokio::time::timeout(Duration::from_secs(10), store.close()).await.expect("closed");
}

#[test]
fn a_store_may_outlive_its_runtime() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (store, database) = runtime.block_on(async {
        let database = database().await;
        let store = PgStore::open(common::config(&database)).await.expect("opens");
        Home::build(&store, "ours").await.turn(&store, "hello", "hi").await;
        (store, database)
    });
    drop(runtime);
    drop(store);
    drop(database);
}
