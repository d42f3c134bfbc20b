//! Writes to several conversations that wait at the same time go together, and none of them pays for another.

mod common;

use std::sync::Arc;

use common::{Home, config, database, finish, now};
use futures::future::join_all;
use sid_store::{Accept, Accepted, Commit, Effect, Lease, StateStore, StoreError};
use sid_store_pg::PgStore;
use sid_testkit::postgres::{ADMIN, Database};
use sid_types::{Conversation, MessageId, NewMessage, RunId, Step, StepId, Usage};
use sqlx::{Connection, Row};

const TALKS: usize = 24;

fn said(home: &Home, talk: &Conversation, message: MessageId) -> Accept {
    let message = NewMessage { id: message, ..NewMessage::user("hello", now()) };
    Accept { run: RunId::new(), conversation: talk.id, messages: vec![message], ..home.stimulus("hello") }
}

/// To all of them at the same moment.
async fn say(store: &PgStore, home: &Home, talks: &[Conversation], ids: &[MessageId]) -> Vec<Result<Accepted, StoreError>> {
    let accepts = talks.iter().zip(ids).map(|(talk, id)| store.accept(&home.scope, said(home, talk, *id)));
    join_all(accepts).await
}

async fn finish_all(store: &PgStore, leases: &[Lease]) {
    for done in join_all(leases.iter().map(|lease| store.commit(lease, finish(1, "hi")))).await {
        done.expect("committed");
    }
}

fn fresh() -> Vec<MessageId> {
    (0..TALKS).map(|_| MessageId::new()).collect()
}

fn leases(accepted: Vec<Result<Accepted, StoreError>>) -> Vec<Lease> {
    accepted.into_iter().map(|a| a.expect("accepted").lease.expect("idle")).collect()
}

async fn count(database: &Database, sql: &'static str) -> Vec<i64> {
    let mut admin = sqlx::PgConnection::connect(&database.url(ADMIN)).await.expect("the superuser");
    sqlx::query(sql).fetch_all(&mut admin).await.expect("counted").iter().map(|row| row.get(0)).collect()
}

// One thread: all writes are under way or wait before the first one's answer is read.
#[tokio::test]
async fn writes_that_wait_go_together_and_fail_alone() {
    let database = database().await;
    let (store, other) = (PgStore::open(config(&database)).await.expect("opens"), PgStore::open(config(&database)).await.expect("opens"));
    let home = Arc::new(Home::build(&store, "ours").await);
    let talks = home.open_for_others(&store, TALKS).await;
    finish_all(&store, &leases(say(&store, &home, &talks, &fresh()).await)).await;

    // This process wrote last everywhere: no write is preceded by a look. Two lanes take one write each, the others go
    // together, in one commit unless the machine is so slow that a lane goes on without the one before.
    let second = leases(say(&store, &home, &talks, &fresh()).await);
    let commits = count(&database, "SELECT count(DISTINCT xmin::text) FROM sid.runs WHERE status = 1").await;
    assert!(commits[0] <= TALKS as i64 / 3, "{commits:?} commits of {TALKS} messages");
    finish_all(&store, &second).await;

    // To one of them another process has written since: it alone is refused, and looked at again.
    let taken = count(&database, "SELECT count(*) FROM sid.messages").await[0];
    assert_eq!(taken, 4 * TALKS as i64);
    let lease = other.accept(&home.scope, said(&home, &talks[7], MessageId::new())).await.expect("accepted").lease.expect("idle");
    other.commit(&lease, finish(1, "so")).await.expect("committed");
    finish_all(&store, &leases(say(&store, &home, &talks, &fresh()).await)).await;

    // One names a message that is there.
    let mut ids = fresh();
    let mut admin = sqlx::PgConnection::connect(&database.url(ADMIN)).await.expect("the superuser");
    let row = sqlx::query("SELECT id FROM sid.message_ids LIMIT 1").fetch_one(&mut admin).await.expect("a message");
    ids[5] = MessageId::from_uuid(row.get(0));
    let mut third = say(&store, &home, &talks, &ids).await;
    let refused = third.remove(5);
    assert!(matches!(refused, Err(StoreError::Exists { what: "message", .. })), "{refused:?}");
    finish_all(&store, &leases(third)).await;

    // Two name the same new one, by a process that looked before: nothing is tried twice that would hide a neighbour's failure.
    let new = PgStore::open(config(&database)).await.expect("opens");
    let mut ids = fresh();
    ids[20] = ids[15];
    let (accepted, refused): (Vec<_>, Vec<_>) = say(&new, &home, &talks, &ids).await.into_iter().partition(Result::is_ok);
    assert!(matches!(&refused[..], [Err(StoreError::Exists { what: "message", .. })]), "{refused:?}");
    finish_all(&new, &leases(accepted)).await;

    // Every conversation has what was acknowledged, once and in order; versions of partitions are those of their last records.
    let wrong = count(
        &database,
        "SELECT count(*) FROM sid.conversations c WHERE c.last_seq <> (SELECT count(*) FROM sid.messages m WHERE m.conv = c.id)
            OR c.last_seq <> (SELECT coalesce(max(m.seq), 0) FROM sid.messages m WHERE m.conv = c.id)",
    )
    .await;
    assert_eq!(wrong, [0]);
    let behind = count(
        &database,
        "SELECT count(*) FROM sid.partitions p WHERE p.version < (SELECT max(m.rid) FROM sid.messages m WHERE m.part = p.part)
            OR p.records <> (SELECT count(*) FROM sid.messages m WHERE m.part = p.part AND m.rid IS NOT NULL)",
    )
    .await;
    assert_eq!(behind, [0]);
    let messages = count(&database, "SELECT count(*) FROM sid.messages").await[0];
    let accepted = TALKS as i64 + 2 * (TALKS as i64 - 1);
    assert_eq!(messages, taken + 2 + 2 * accepted, "the other process's two, and two for each that was accepted");
    let open = count(&database, "SELECT count(*) FROM sid.conversations WHERE head IS NOT NULL").await;
    assert_eq!(open, [0]);
}

fn with_step(lease: &Lease, prompt_tokens: u64) -> Commit {
    let step = Step {
        id: StepId::new(),
        run: lease.run,
        number: 1,
        usage: Usage { prompt_tokens, completion_tokens: 1, ..Usage::default() },
        rung: "native".into(),
        first_token_ms: 1,
        total_ms: 2,
        tail: None,
        queue: (1, 1),
        recalled: vec![],
        at: now(),
    };
    let Commit { number, mut effects } = finish(1, "hi");
    effects.insert(0, Effect::RecordStep(Box::new(step)));
    Commit { number, effects }
}

#[tokio::test]
async fn tokens_of_steps_that_are_recorded_together_are_all_counted() {
    let database = database().await;
    let store = PgStore::open(config(&database)).await.expect("opens");
    let home = Home::build(&store, "ours").await;
    let talks = home.open_for_others(&store, TALKS).await;
    for _ in 0..2 {
        let leases = leases(say(&store, &home, &talks, &fresh()).await);
        let commits = leases.iter().zip(0..).map(|(lease, i)| store.commit(lease, with_step(lease, 1 << i)));
        for done in join_all(commits).await {
            done.expect("committed");
        }
    }
    let together = count(&database, "SELECT count(DISTINCT xmin::text) FROM sid.steps").await;
    assert!(together[0] <= 2 * TALKS as i64 / 3, "{together:?} commits of {} steps", 2 * TALKS);
    // By slot: which step is in which is told by its run.
    let wrong = count(
        &database,
        "SELECT count(*) FROM sid.token_ledger l WHERE l.tokens <> (SELECT sum((s.doc::json->'usage'->>'prompt_tokens')::bigint + 1)
            FROM sid.steps s WHERE s.tenant = l.tenant AND get_byte(uuid_send(s.run), 15) & 15 = l.slot)",
    )
    .await;
    assert_eq!(wrong, [0]);
    let sum = count(&database, "SELECT sum(tokens)::bigint FROM sid.token_ledger").await;
    assert_eq!(sum, [2 * ((1 << TALKS) - 1 + TALKS as i64)]);
}

/// What this process believes of the database's clock does not fall behind, however many writes build on one another without a look, and
/// however long each waits: else leases are old when they are made.
#[tokio::test]
async fn the_clock_does_not_fall_behind_with_every_write() {
    const WAIT: std::time::Duration = std::time::Duration::from_millis(400);
    let database = database().await;
    let store = PgStore::open(config(&database)).await.expect("opens");
    let home = Home::build(&store, "ours").await;
    let talk = Home::open(&store, &home.scope, home.agent, home.user).await;
    let mut admin = sqlx::PgConnection::connect(&database.url(ADMIN)).await.expect("the superuser");
    for round in 0..6 {
        let mut lock = admin.begin().await.expect("a transaction");
        sqlx::query("SELECT 1 FROM sid.conversations FOR UPDATE").fetch_all(&mut *lock).await.expect("locked");
        let unlock = async {
            // The first one looks.
            tokio::time::sleep(if round == 0 { std::time::Duration::ZERO } else { WAIT }).await;
            lock.rollback().await.expect("unlocked");
        };
        let (accepted, ()) = tokio::join!(store.accept(&home.scope, said(&home, &talk, MessageId::new())), unlock);
        let lease = accepted.expect("accepted").lease.expect("idle");
        store.commit(&lease, finish(1, "hi")).await.expect("committed");
    }
    let behind = count(&database, "SELECT (extract(epoch FROM clock_timestamp() - max(ended_at)) * 1000)::bigint FROM sid.runs").await[0];
    assert!(behind < 3 * i64::try_from(WAIT.as_millis()).expect("short"), "{behind} ms behind");
}
