//! Schema: made once, checked at each start.

mod common;

use std::time::Duration;

use common::{SERVER, config, database};
use sid_store::StoreError;
use sid_store_pg::{PgConfig, PgStore, Step};
use sid_testkit::postgres::{ADMIN, Cluster, Database};
use sqlx::{Connection, Executor, PgConnection};

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
    let version = database.sql("SELECT max(version) FROM sid.schema_version");
    for _ in 0..2 {
        assert_eq!(PgStore::migrate(&database.url(ADMIN)).await.expect("nothing to do").to_string(), version);
    }
    assert_eq!(database.sql(dump), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_migrate_at_once_make_one_schema() {
    let cluster = Cluster::shared().unwrap_or_else(|why| panic!("{why}"));
    let empty = cluster.database("empty", async |_| ()).await;
    let url = empty.url(ADMIN);
    let (a, b, c) = futures::join!(PgStore::migrate(&url), PgStore::migrate(&url), PgStore::migrate(&url));
    let version = a.expect("made");
    assert_eq!([b.expect("there"), c.expect("there")], [version, version]);
    assert_eq!(empty.sql("SELECT count(*) FROM sid.schema_version"), version.to_string(), "each step once");
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
    let _ = database.sql("DELETE FROM sid.schema_version WHERE version > 1");
    let why = refusal(config(&database)).await;
    assert!(why.contains("run `sid-server migrate`"), "an older one: {why}");
    let _ = database.sql("DELETE FROM sid.schema_version");
    let why = refusal(config(&database)).await;
    assert!(why.contains("no schema of Sid's"), "{why}");
}

/// A database that belongs to an owner who is no superuser; migrated by it.
async fn owned() -> (Database, String) {
    let cluster = Cluster::shared().unwrap_or_else(|why| panic!("{why}"));
    let _ = database().await;
    let empty = cluster.database("empty", async |_| ()).await;
    let _ = empty.sql(
        "DO $$ BEGIN CREATE ROLE sid_test_owner LOGIN CREATEROLE; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
         GRANT sid_engine TO sid_test_owner WITH ADMIN OPTION",
    );
    let _ = empty.sql(&format!("ALTER DATABASE {} OWNER TO sid_test_owner", empty.name()));
    let owner = empty.url("sid_test_owner");
    PgStore::migrate(&owner).await.expect("the owner makes the schema");
    (empty, owner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_who_is_no_superuser_may_migrate() {
    let (database, owner) = owned().await;
    PgStore::open(config(&database)).await.expect("servers open it");
    assert!(refusal(PgConfig::new(owner)).await.contains("owner"));
}

/// What a next release might bring: a column of a large table, an index for the search of rows that lack it, its values, an end.
const NEXT: [Step; 4] = [
    Step::once(&[
        "ALTER TABLE sid.messages ADD COLUMN words int",
        "CREATE POLICY of_owner ON sid.messages TO CURRENT_USER USING (true) WITH CHECK (true)",
    ])
    .for_programs_from(2),
    Step::index("without_words", "messages", "(tenant, part) WHERE words IS NULL").for_programs_from(2),
    Step::batches(
        "UPDATE sid.messages SET words = 1 WHERE (tenant, part, conv, seq) IN
            (SELECT tenant, part, conv, seq FROM sid.messages WHERE words IS NULL LIMIT 7)",
    )
    .for_programs_from(2),
    Step::once(&[
        "DROP INDEX sid.without_words; DROP POLICY of_owner ON sid.messages; ALTER TABLE sid.messages ALTER COLUMN words SET NOT NULL",
    ]),
];

/// Thirty messages, in all parts of their table.
fn fill(database: &Database) {
    let _ = database.sql(
        "INSERT INTO sid.messages (tenant, part, conv, seq, id, role, text, at, written_at)
         SELECT gen_random_uuid(), n, gen_random_uuid(), 1, gen_random_uuid(), 0, 'hello', now(), now() FROM generate_series(1, 30) n",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_of_each_kind_expand_fill_and_contract() {
    let (database, owner) = owned().await;
    fill(&database);
    let before: u32 = database.sql("SELECT max(version) FROM sid.schema_version").parse().expect("a number");
    PgStore::migrate_with(&owner, &NEXT[..1]).await.expect("expanded");
    // As somebody leaves it behind who is killed while it is built.
    let _ = database.sql("CREATE INDEX messages_3_without_words ON sid.messages_3 (seq)");
    let _ = database.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'sid.messages_3_without_words'::regclass");
    PgStore::migrate_with(&owner, &NEXT[..2]).await.expect("indexed");
    let valid =
        "SELECT count(*) || ',' || count(*) FILTER (WHERE indisvalid AND pg_get_indexdef(indexrelid) LIKE '%(words IS NULL)') FROM pg_index
        JOIN pg_class c ON c.oid = indexrelid WHERE c.relname LIKE '%without_words'";
    assert_eq!(database.sql(valid), "17,17", "sixteen parts and the whole");
    // As somebody leaves it behind who is killed between two batches.
    let _ = database.sql("UPDATE sid.messages SET words = 2 WHERE part <= 10");
    assert_eq!(PgStore::migrate_with(&owner, &NEXT[..3]).await.expect("filled"), before + 3);
    let filled = "SELECT count(*) FILTER (WHERE words = 1) || ',' || count(DISTINCT xmin::text) FILTER (WHERE words = 1) FROM sid.messages";
    assert_eq!(database.sql(filled), "20,3", "what was left, seven at a time");

    PgStore::open(config(&database)).await.expect("this program can live with what was added");
    assert_eq!(PgStore::migrate(&owner).await.expect("nothing to do"), before + 3, "nor is there anything for it to do");
    assert_eq!(PgStore::migrate_with(&owner, &NEXT).await.expect("contracted"), before + 4);
    let why = refusal(config(&database)).await;
    assert!(why.contains("newer Sid"), "the last step is for programs that know it: {why}");
    assert!(matches!(PgStore::migrate(&owner).await, Err(StoreError::Setup(why)) if why.contains("newer Sid")));
    assert_eq!(PgStore::migrate_with(&owner, &NEXT).await.expect("nothing to do"), before + 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_in_the_way_of_a_migration_stops_nobody_else() {
    let database = database().await;
    let admin = database.url(ADMIN);
    let mut long = PgConnection::connect(&admin).await.expect("connects");
    long.execute("BEGIN; SELECT count(*) FROM sid.messages").await.expect("reads, and goes on");
    let migration = tokio::spawn(async move { PgStore::migrate_with(&admin, &NEXT[..1]).await });
    let mut other = PgConnection::connect(&database.url(ADMIN)).await.expect("connects");
    other.execute("SET lock_timeout = '15s'").await.expect("set");
    // Until the migration has asked for its lock, and given up, three times: one that stays in the queue fails these reads.
    let began = "SELECT count(*) FROM pg_locks WHERE relation = 'sid.messages'::regclass AND NOT granted";
    for _ in 0..3 {
        while database.sql(began) == "0" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        other.execute("SELECT count(*) FROM sid.messages").await.expect("others pass");
    }
    assert!(!migration.is_finished(), "the long transaction is still there");
    long.execute("COMMIT").await.expect("ends");
    migration.await.expect("no panic").expect("the migration has its turn");
}
