//! From schema 1 to this version's, with data and under way.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Home, config, database, finish, open};
use sid_store::{Commit, Effect, EventLog, Maintenance, StateStore, StoreError};
use sid_store_pg::PgStore;
use sid_testkit::postgres::{ADMIN, Cluster, Database};
use sid_types::{Event, EventBody, ManualClock, RunId, Scope, Timestamp};
use sqlx::{Connection, Executor, PgConnection};

/// A database of schema 1 with what two tenants have said in it, and what the events were.
struct Old {
    database: Database,
    clock: Arc<ManualClock>,
    runs: Vec<(Scope, RunId, Vec<Event>)>,
}

impl Old {
    /// `owner`: who migrates.
    async fn build(owner: &str) -> Self {
        let cluster = Cluster::shared().unwrap_or_else(|why| panic!("{why}"));
        let source = database().await;
        let old = cluster.database("empty", async |_| ()).await;
        if owner != ADMIN {
            let _ = old.sql(&format!(
                "DO $$ BEGIN CREATE ROLE {owner} LOGIN CREATEROLE; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
                 GRANT sid_engine TO {owner} WITH ADMIN OPTION"
            ));
            let _ = old.sql(&format!("ALTER DATABASE {} OWNER TO {owner}", old.name()));
        }
        assert_eq!(PgStore::migrate_to(&old.url(owner), 1).await.expect("schema 1 is made"), 1);

        let clock = Arc::new(ManualClock::new(Timestamp::now()));
        let store = open(&source, &clock).await;
        let mut runs = Vec::new();
        for name in ["ours", "theirs"] {
            let home = Home::build(&store, name).await;
            for said in ["one", "two", "three"] {
                let lease = home.begin(&store, said).await;
                let deltas = (0..20).map(|n| EventBody::TextDelta { text: format!("{said} {n} ") }).collect();
                store.commit(&lease, Commit { number: 1, effects: vec![Effect::Events(deltas)] }).await.expect("held");
                store.commit(&lease, finish(2, said)).await.expect("held");
                let events = store.events(&home.scope, lease.run, 0, 1_000).await.expect("visible");
                assert!(events.len() > 20);
                runs.push((home.scope, lease.run, events));
            }
        }
        copy(&source, &old);
        Self { database: old, clock, runs }
    }

    async fn check(&self) {
        let store = open(&self.database, &self.clock).await;
        for (scope, run, events) in &self.runs {
            assert_eq!(&store.events(scope, *run, 0, 1_000).await.expect("visible"), events);
            assert_eq!(&store.events(scope, *run, 5, 3).await.expect("visible"), &events[5..8]);
        }
        assert!(store.events(&self.runs[0].0, self.runs[5].1, 0, 10).await.is_err(), "another tenant's");
    }

    fn version(&self) -> String {
        self.database.sql("SELECT max(version) FROM sid.schema_version")
    }

    fn events(&self) -> String {
        self.database.sql("SELECT count(*) FROM sid.events")
    }
}

/// All rows of the tables that schema 1 has.
fn copy(from: &Database, to: &Database) {
    let tables =
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'sid'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND c.relname <> 'schema_version'";
    for table in to.sql(tables).lines() {
        let rows = from.sql(&format!("SELECT coalesce(json_agg(t), '[]') FROM sid.{table} t"));
        let _ = to.sql(&format!(
            "INSERT INTO sid.{table} OVERRIDING SYSTEM VALUE SELECT * FROM json_populate_recordset(NULL::sid.{table}, $rows${rows}$rows$)"
        ));
    }
}

async fn keeps_all_events(owner: &str) {
    let old = Old::build(owner).await;
    let before = old.events();
    assert!(before.parse::<u32>().expect("a number") > 120, "{before}");
    // An id that was not made of the time lies beyond every bound.
    let tenant = old.runs[0].0.tenant().uuid();
    let strange =
        format!("INSERT INTO sid.events VALUES ('{tenant}', 'ffffffff-ffff-4fff-bfff-ffffffffffff', 1, now(), 'text_delta', '{{}}')");
    let _ = old.database.sql(&strange);
    match PgStore::open(config(&old.database)).await {
        Err(StoreError::Setup(why)) => assert!(why.contains("schema 1") && why.contains("`sid-server migrate`"), "{why}"),
        other => panic!("an old schema was opened: {other:?}"),
    }
    PgStore::migrate(&old.database.url(owner)).await.expect("migrated");
    assert_eq!(old.version(), "2");
    assert_eq!(old.events().parse::<u32>().ok(), before.parse::<u32>().ok().map(|n| n + 1));
    assert_eq!(old.database.sql("SELECT count(*) FROM sid_events.rest"), "1", "the strange one");
    old.check().await;

    // What schema 1 left is locked like all parts, belongs to the engine, and goes when its time has come.
    let open_parts = "SELECT c.relname FROM pg_class c WHERE c.relnamespace IN ('sid'::regnamespace, 'sid_events'::regnamespace)
        AND c.relname ~ 'event|until|day|rest' AND c.relkind IN ('r', 'p')
        AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND pg_get_userbyid(c.relowner) = 'sid_engine')";
    assert_eq!(old.database.sql(open_parts), "");
    let store = open(&old.database, &old.clock).await;
    old.clock.advance(jiff::SignedDuration::from_hours(24 * 12));
    while store.maintain().await.expect("maintained") {}
    assert_eq!(old.events(), "0");
    for (scope, run, _) in &old.runs {
        assert!(store.events(scope, *run, 0, 10).await.expect("visible").is_empty());
        assert!(store.run(scope, *run).await.expect("known").status.is_terminal());
    }
    assert_eq!(old.database.sql("SELECT count(*) FROM pg_class WHERE relname LIKE 'until%' OR relname ~ 'events_[0-7]$'"), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrating_keeps_all_events() {
    keeps_all_events(ADMIN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_who_is_no_superuser_keeps_them_too() {
    let _ = database().await;
    keeps_all_events("sid_test_old_owner").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_is_killed_leaves_schema_1_whole() {
    let old = Old::build(ADMIN).await;
    let before = old.events();
    for _ in 0..3 {
        // A reader keeps the migration in the middle of its step: it has made its functions and waits for the event log.
        let mut reader = PgConnection::connect(&old.database.url(ADMIN)).await.expect("connects");
        let mut reading = reader.begin().await.expect("a transaction");
        reading.execute("SELECT count(*) FROM sid.events").await.expect("read");
        let url = old.database.url(ADMIN);
        let migration = tokio::spawn(async move { PgStore::migrate(&url).await });
        let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'relation'";
        while old.database.sql(kill) == "0" {
            assert!(!migration.is_finished(), "it waits for the reader");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        migration.await.expect("no panic").expect_err("its connection was cut");
        drop(reading);
        assert_eq!((old.version(), old.events()), ("1".into(), before.clone()));
        assert_eq!(old.database.sql("SELECT to_regnamespace('sid_events') IS NULL AND to_regclass('sid.duties') IS NULL"), "t");
    }
    PgStore::migrate(&old.database.url(ADMIN)).await.expect("the next one comes through");
    assert_eq!((old.version(), old.events()), ("2".into(), before));
    old.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_in_use_is_waited_for() {
    let old = Old::build(ADMIN).await;
    let mut reader = PgConnection::connect(&old.database.url(ADMIN)).await.expect("connects");
    let mut reading = reader.begin().await.expect("a transaction");
    reading.execute("SELECT count(*) FROM sid.events").await.expect("read");
    let url = old.database.url(ADMIN);
    let migration = tokio::spawn(async move { PgStore::migrate(&url).await });
    // Longer than the migration waits for a lock: others come by in between.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(old.version(), "1");
    drop(reading);
    drop(reader);
    assert_eq!(migration.await.expect("no panic").expect("migrated"), 2);
    old.check().await;
}
