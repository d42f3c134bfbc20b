//! Retention: events lie in parts by day, which are made ahead and dropped whole.

mod common;

use std::sync::Arc;

use common::{Home, SERVER, TTL, database, finish, open};
use jiff::SignedDuration;
use sid_store::{Accept, Commit, Effect, EventLog, Maintenance, Order, RecallStore, StateStore, WebhookStore};
use sid_store_pg::PgStore;
use sid_testkit::postgres::Database;
use sid_types::{Clock, EventBody, ManualClock, RunId, RunStatus, StopReason, Timestamp, WorkerId};
use sqlx::{Connection, PgConnection, Row};

/// The id of a run that is made at this moment.
fn run_at(at: Timestamp) -> RunId {
    let low = RunId::new().uuid().as_u128() & ((1 << 80) - 1);
    let millis = u128::try_from(at.as_millisecond()).expect("after 1970");
    RunId::from_uuid(uuid::Uuid::from_u128(millis << 80 | low))
}

fn day(at: Timestamp) -> String {
    at.strftime("day_%Y%m%d").to_string()
}

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

fn go_to(clock: &ManualClock, at: Timestamp) {
    clock.advance(at.duration_since(clock.now()));
}

async fn maintain(store: &PgStore) {
    let mut rounds = 0;
    while store.maintain().await.expect("maintained") {
        rounds += 1;
        assert!(rounds < 1_000, "it comes to an end");
    }
}

fn parts(database: &Database) -> Vec<String> {
    let sql =
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'sid.events'::regclass ORDER BY 1";
    database.sql(sql).lines().map(str::to_owned).collect()
}

/// In which parts a run's events are.
fn parts_of(database: &Database, run: RunId) -> String {
    database.sql(&format!("SELECT DISTINCT tableoid::regclass FROM sid.events WHERE run = '{}'", run.uuid()))
}

fn deltas(texts: &[&str]) -> Effect {
    Effect::Events(texts.iter().map(|text| EventBody::TextDelta { text: (*text).into() }).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_made_ahead_and_old_ones_go() {
    let database = database().await;
    let start = Timestamp::now();
    let clock = Arc::new(ManualClock::new(start));
    let store = open(&database, &clock).await;
    let home = Home::build(&store, "ours").await;
    let mut expected: Vec<String> = (0..=7).map(|n| day(start + days(n))).collect();
    expected.push("rest".into());
    assert_eq!(parts(&database), expected, "the migration has made the first days");

    let run = home.begin(&store, "hello").await;
    store.commit(&run, finish(1, "hi")).await.expect("committed");
    let written = store.events(&home.scope, run.run, 0, 100).await.expect("visible");
    assert!(!written.is_empty());
    assert_eq!(parts_of(&database, run.run), format!("sid_events.{}", day(start)));

    // Before their time nothing goes; parts for the days ahead are made all the time.
    for n in 1..=7 {
        go_to(&clock, start + days(n));
        maintain(&store).await;
        assert!(parts(&database).contains(&day(start + days(n + 7))));
    }
    assert_eq!(store.events(&home.scope, run.run, 0, 100).await.expect("visible"), written);

    // The day after it is gone, as a table; what happened is still known.
    go_to(&clock, start + days(8));
    maintain(&store).await;
    assert!(!parts(&database).contains(&day(start)) && parts(&database).contains(&day(start + days(1))));
    assert!(store.events(&home.scope, run.run, 0, 100).await.expect("visible").is_empty());
    let ended = store.run(&home.scope, run.run).await.expect("it is known");
    assert_eq!((ended.status, ended.stop_reason), (RunStatus::Completed, Some(StopReason::EndTurn)));
    let said = store.page(&home.scope, home.talk.id, None, Order::Ascending, 10).await.expect("a page");
    assert_eq!(said.len(), 2, "messages are never dropped");
    let before = parts(&database);
    maintain(&store).await;
    assert_eq!(parts(&database), before, "there is nothing to do twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_run_stay_together_across_midnight() {
    let database = database().await;
    let now = Timestamp::now();
    let midnight = Timestamp::from_second((now.as_second() / 86_400 + 1) * 86_400).expect("tomorrow");
    let clock = Arc::new(ManualClock::new(midnight - SignedDuration::from_millis(500)));
    let store = open(&database, &clock).await;
    let home = Home::build(&store, "ours").await;
    let accept = Accept { run: run_at(clock.now()), ..home.stimulus("late") };
    let lease = store.accept(&home.scope, accept).await.expect("accepted").lease.expect("idle");
    store.commit(&lease, Commit { number: 1, effects: vec![deltas(&["a", "b"])] }).await.expect("held");
    clock.advance(SignedDuration::from_secs(1));
    store.commit(&lease, Commit { number: 2, effects: vec![deltas(&["c"])] }).await.expect("held");
    store.commit(&lease, finish(3, "done")).await.expect("held");
    let events = store.events(&home.scope, lease.run, 0, 100).await.expect("visible");
    assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), (1..=events.len() as u64).collect::<Vec<_>>());
    assert!(events.first().expect("some").at < midnight && events.last().expect("some").at >= midnight);
    assert_eq!(parts_of(&database, lease.run), format!("sid_events.{}", day(now)), "one part, the first day's");
    // A look by run goes to that part alone; the next run lies in the next day's.
    let plan = database.sql(&format!("EXPLAIN SELECT * FROM sid.events WHERE run = '{}'", lease.run.uuid()));
    assert!(plan.contains(&day(now)) && !plan.contains(&day(midnight)) && !plan.contains("rest"), "{plan}");
    let accept = Accept { run: run_at(clock.now()), ..home.stimulus("early") };
    let next = store.accept(&home.scope, accept).await.expect("accepted").lease.expect("idle");
    store.commit(&next, finish(1, "morning")).await.expect("held");
    assert_eq!(parts_of(&database, next.run), format!("sid_events.{}", day(midnight)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_under_way_keeps_its_part() {
    let database = database().await;
    let start = Timestamp::now();
    let clock = Arc::new(ManualClock::new(start));
    let store = open(&database, &clock).await;
    let home = Home::build(&store, "ours").await;
    let lease = home.begin(&store, "this takes weeks").await;
    store.commit(&lease, Commit { number: 1, effects: vec![deltas(&["a"])] }).await.expect("held");
    clock.advance(days(30));
    maintain(&store).await;
    assert_eq!(store.events(&home.scope, lease.run, 0, 10).await.expect("visible").len(), 1);
    let taken = store.claim(WorkerId::new(), 1, usize::MAX, TTL).await.expect("claimed").remove(0);
    store.commit(&taken, finish(2, "done")).await.expect("held");
    maintain(&store).await;
    assert!(store.events(&home.scope, lease.run, 0, 10).await.expect("visible").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_without_a_part_of_their_own_go_by_their_age() {
    let database = database().await;
    let start = Timestamp::now();
    let clock = Arc::new(ManualClock::new(start));
    let store = open(&database, &clock).await;
    let home = Home::build(&store, "ours").await;
    // An id that was not made of the time, and one of a day that nobody made a part for.
    let strange = [RunId::from_uuid(uuid::Uuid::from_u128(u128::MAX - 7)), run_at(start + days(20))];
    for run in strange {
        let accept = Accept { run, ..home.stimulus("hello") };
        let lease = store.accept(&home.scope, accept).await.expect("accepted").lease.expect("idle");
        store.commit(&lease, finish(1, "hi")).await.expect("committed");
        assert_eq!(parts_of(&database, run), "sid_events.rest");
    }
    go_to(&clock, start + days(6));
    maintain(&store).await;
    // The day's part cannot be made any more: its events are elsewhere. That stops nothing.
    go_to(&clock, start + days(14));
    let _ = database.sql("UPDATE sid_events.rest SET at = at + interval '8 days'");
    maintain(&store).await;
    assert!(!parts(&database).contains(&day(start + days(20))));
    for run in strange {
        assert!(!store.events(&home.scope, run, 0, 10).await.expect("visible").is_empty());
    }
    go_to(&clock, start + days(16));
    maintain(&store).await;
    for run in strange {
        assert!(store.events(&home.scope, run, 0, 10).await.expect("visible").is_empty());
        assert!(store.run(&home.scope, run).await.expect("known").status.is_terminal());
    }
    maintain(&store).await;
    assert!(parts(&database).contains(&day(start + days(20))), "now there is room for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tenant_sees_anothers_events_in_later_parts() {
    let database = database().await;
    let start = Timestamp::now();
    let clock = Arc::new(ManualClock::new(start + days(40)));
    let store = open(&database, &clock).await;
    maintain(&store).await;
    let (ours, theirs) = (Home::build(&store, "ours").await, Home::build(&store, "theirs").await);
    let mut runs = Vec::new();
    for home in [&ours, &theirs] {
        let accept = Accept { run: run_at(clock.now()), ..home.stimulus("secret") };
        let lease = store.accept(&home.scope, accept).await.expect("accepted").lease.expect("idle");
        store.commit(&lease, finish(1, "hi")).await.expect("committed");
        assert_eq!(parts_of(&database, lease.run), format!("sid_events.{}", day(clock.now())));
        runs.push(lease.run);
    }
    assert!(store.events(&ours.scope, runs[1], 0, 10).await.is_err());
    let mut conn = PgConnection::connect(&database.url(SERVER)).await.expect("connects");
    let count = "SELECT count(*) FROM sid.events";
    let without: i64 = sqlx::query(count).fetch_one(&mut conn).await.expect("allowed").get(0);
    assert_eq!(without, 0, "without a tenant");
    let mut tx = conn.begin().await.expect("a transaction");
    let tenant = ours.scope.tenant().uuid().to_string();
    sqlx::query("SELECT set_config('sid.tenant', $1, true)").bind(tenant).execute(&mut *tx).await.expect("set");
    let seen = "SELECT count(*) FILTER (WHERE run = $1), count(*) FILTER (WHERE run = $2) FROM sid.events";
    let row = sqlx::query(seen).bind(runs[0].uuid()).bind(runs[1].uuid()).fetch_one(&mut *tx).await.expect("allowed");
    assert!(row.get::<i64, _>(0) > 0);
    assert_eq!(row.get::<i64, _>(1), 0, "with ours");
    drop(tx);
    for part in parts(&database) {
        let direct = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM sid_events.{part}"))).execute(&mut conn).await;
        assert!(direct.expect_err("refused").to_string().contains("permission denied"), "{part}");
    }
    for sql in ["SELECT sid.make_event_day('2031-01-01')", "DROP TABLE sid_events.rest", "CREATE TABLE sid_events.mine (x int)"] {
        assert!(sqlx::raw_sql(sql).execute(&mut conn).await.is_err(), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_idempotency_keys_go_with_everybodys() {
    let database = database().await;
    let clock = Arc::new(ManualClock::new(Timestamp::now()));
    let store = open(&database, &clock).await;
    for name in ["ours", "theirs"] {
        let home = Home::build(&store, name).await;
        let idempotency = Some(sid_store::IdempotencyKey { key: "k".into(), fingerprint: [7; 32] });
        store.accept(&home.scope, Accept { idempotency, ..home.stimulus("hello") }).await.expect("accepted");
    }
    let keys = || database.sql("SELECT count(*) FROM sid.idempotency");
    clock.advance(SignedDuration::from_hours(23));
    maintain(&store).await;
    assert_eq!(keys(), "2");
    clock.advance(SignedDuration::from_hours(2));
    maintain(&store).await;
    assert_eq!(keys(), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn used_tokens_go_when_the_next_month_is_over() {
    let database = database().await;
    let clock = Arc::new(ManualClock::new("2031-03-15T00:00:00Z".parse().expect("a time")));
    let store = open(&database, &clock).await;
    let home = Home::build(&store, "ours").await;
    let tenant = home.scope.tenant().uuid();
    let _ = database.sql(&format!(
        "INSERT INTO sid.token_ledger (tenant, day, slot, tokens) SELECT '{tenant}', d, 0, 1 FROM unnest('{{2030-12-31,2031-01-31,2031-02-01,2031-03-15}}'::date[]) d;
         INSERT INTO sid.token_reservations VALUES ('{tenant}', gen_random_uuid(), 1, '2031-03-14'), ('{tenant}', gen_random_uuid(), 1, '2031-03-16')"
    ));
    maintain(&store).await;
    assert_eq!(database.sql("SELECT string_agg(day::text, ' ' ORDER BY day) FROM sid.token_ledger"), "2031-02-01 2031-03-15");
    assert_eq!(database.sql("SELECT string_agg(expires_at::date::text, ' ') FROM sid.token_reservations"), "2031-03-16");
}

/// Who ends a run while somebody deletes a webhook may leave a delivery to it. Nobody takes it, and it goes by its age.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_to_a_webhook_that_is_gone_is_forgotten() {
    let database = database().await;
    let clock = Arc::new(ManualClock::new(Timestamp::now()));
    let store = open(&database, &clock).await;
    Home::build(&store, "ours").await;
    let _ = database.sql(
        "INSERT INTO sid.deliveries (tenant, id, webhook, event, subject, facts, at, next_at)
         SELECT t.id, gen_random_uuid(), gen_random_uuid(), 'run.completed', t.id, '{}', now(), now() FROM sid.tenants t",
    );
    let week = std::time::Duration::from_secs(7 * 86_400);
    clock.advance(days(6));
    assert_eq!(store.forget_deliveries(week).await.expect("forgotten"), 0);
    clock.advance(days(2));
    assert_eq!(store.forget_deliveries(week).await.expect("forgotten"), 1);
    assert_eq!(database.sql("SELECT count(*) FROM sid.deliveries"), "0");
}
