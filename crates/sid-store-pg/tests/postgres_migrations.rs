//! Schema: made once, checked at each start.

mod common;

use common::{SERVER, config, database};
use sid_store::StoreError;
use sid_store_pg::{PgConfig, PgStore};
use sid_testkit::postgres::{ADMIN, Cluster};

async fn refusal(config: PgConfig) -> String {
    match PgStore::open(config).await {
        Err(StoreError::Setup(why)) => why,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrating_again_changes_nothing() {
    let database = database().await;
    let dump = "SELECT string_agg(c.relname || c.relkind::text, ',' ORDER BY c.relname) || (SELECT count(*) FROM pg_proc
        WHERE pronamespace = 'sid'::regnamespace) || (SELECT string_agg(version || '@' || applied_at, ',') FROM sid.schema_version)
        FROM pg_class c WHERE c.relnamespace = 'sid'::regnamespace";
    let before = database.sql(dump);
    for _ in 0..2 {
        assert_eq!(PgStore::migrate(&database.url(ADMIN)).await.expect("nothing to do"), 2);
    }
    assert_eq!(database.sql(dump), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_migrate_at_once_make_one_schema() {
    let cluster = Cluster::shared().unwrap_or_else(|why| panic!("{why}"));
    let empty = cluster.database("empty", async |_| ()).await;
    let url = empty.url(ADMIN);
    let (a, b, c) = futures::join!(PgStore::migrate(&url), PgStore::migrate(&url), PgStore::migrate(&url));
    assert_eq!([a.expect("made"), b.expect("there"), c.expect("there")], [2, 2, 2]);
    assert_eq!(empty.sql("SELECT count(*) FROM sid.schema_version"), "2");
    PgStore::open(config(&empty)).await.expect("it is whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_says_what_is_wrong() {
    let cluster = Cluster::shared().unwrap_or_else(|why| panic!("{why}"));
    let _ = database().await;
    let empty = cluster.database("empty", async |_| ()).await;
    assert!(refusal(config(&empty)).await.contains("no schema of Sid's"));
    assert!(refusal(PgConfig::new("http://somewhere")).await.contains("not the URL of a Postgres database"));
    assert!(refusal(PgConfig::new(cluster.url(SERVER, "not_there"))).await.contains("no such database"));
    assert!(refusal(PgConfig::new(cluster.url("nobody_of_this_name", "postgres"))).await.contains("check user and password"));
    let silent = PgConfig { acquire_timeout: std::time::Duration::from_millis(300), ..PgConfig::new("postgres://x@%2Fnot%2Fthere/sid") };
    assert!(matches!(PgStore::open(silent).await, Err(StoreError::Unavailable { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_versions_are_told_apart() {
    let database = database().await;
    let _ = database.sql("INSERT INTO sid.schema_version (version) VALUES (99)");
    assert!(refusal(config(&database)).await.contains("written by a newer Sid (schema 99"));
    assert!(matches!(PgStore::migrate(&database.url(ADMIN)).await, Err(StoreError::Setup(why)) if why.contains("newer Sid")));
    let _ = database.sql("UPDATE sid.schema_version SET version = -version; DELETE FROM sid.schema_version WHERE version = -99");
    let why = refusal(config(&database)).await;
    assert!(why.contains("no schema of Sid's"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_who_is_no_superuser_may_migrate() {
    let cluster = Cluster::shared().unwrap_or_else(|why| panic!("{why}"));
    let _ = database().await;
    let empty = cluster.database("empty", async |_| ()).await;
    let _ = empty.sql(
        "DO $$ BEGIN CREATE ROLE sid_test_owner LOGIN CREATEROLE; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
         GRANT sid_engine TO sid_test_owner WITH ADMIN OPTION",
    );
    let _ = empty.sql(&format!("ALTER DATABASE {} OWNER TO sid_test_owner", empty.name()));
    PgStore::migrate(&empty.url("sid_test_owner")).await.expect("the owner makes the schema");
    PgStore::open(config(&empty)).await.expect("servers open it");
    assert!(refusal(PgConfig::new(empty.url("sid_test_owner"))).await.contains("owner"));
}
