//! What the planner is told of the tables: how many rows there are, soon; what people said, never.

mod common;

use std::time::{Duration, Instant};

use common::{Home, config, database};
use sid_store::Maintenance;
use sid_store_pg::PgStore;
use sid_testkit::postgres::Database;

const WORDS: [&str; 3] = ["gherkin", "cornichon", "pickle"];

fn number(database: &Database, sql: &str) -> i64 {
    database.sql(sql).parse().unwrap_or_else(|_| panic!("a number: {sql}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn analyze_copies_nothing_that_people_said() {
    let database = database().await;
    let store = PgStore::open(config(&database)).await.expect("opens");
    let home = Home::build(&store, WORDS[0]).await;
    // As often as makes a common value, and as different as makes bounds.
    for i in 0..12 {
        home.turn(&store, WORDS[1], &format!("{} {i}", WORDS[2])).await;
    }
    // Parts of the event log that are made later are no exception.
    while store.maintain().await.expect("maintained") {}
    let sampled = "SELECT n.nspname || '.' || t.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid
         JOIN pg_namespace n ON n.oid = t.relnamespace
         WHERE n.nspname IN ('sid', 'sid_events') AND t.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
         AND a.atttypid IN ('text'::regtype, 'text[]'::regtype, 'bytea'::regtype, 'json'::regtype, 'jsonb'::regtype)
         AND a.attstattarget IS DISTINCT FROM 0 AND a.attname NOT IN ('state', 'kind', 'event', 'topic', 'stop_reason') ORDER BY 1";
    assert_eq!(database.sql(sampled), "", "columns that ANALYZE would copy words of");
    let noted = |word: &str| {
        number(
            &database,
            &format!(
                "SELECT count(*) FROM pg_statistic s WHERE concat(s.stavalues1, s.stavalues2, s.stavalues3, s.stavalues4, s.stavalues5)
                 LIKE '%{word}%'"
            ),
        )
    };
    let _ = database.sql("ANALYZE");
    assert!(noted(&home.scope.tenant().uuid().to_string()) > 0, "other columns are sampled");
    for word in WORDS {
        assert_eq!(noted(word), 0, "{word}");
    }
    // What was sampled by a database of before is taken away.
    let before = "ALTER TABLE sid.message_ids ADD COLUMN word text DEFAULT 'gherkin'; ANALYZE sid.message_ids";
    let _ = database.sql(before);
    assert!(noted(WORDS[0]) > 0, "a column that nobody excepted is sampled");
    let _ = database.sql("SELECT sid.take_no_samples()");
    assert_eq!(noted(WORDS[0]), 0);
}

const COUNTED: &str = "SELECT min(reltuples)::bigint FROM pg_class WHERE oid IN ('sid.runs'::regclass, 'sid.conversations'::regclass)";
const LOOKS: &str = "SELECT sum(idx_scan)::bigint FROM pg_stat_user_indexes WHERE relname = 'runs'";

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_counted_while_the_tables_are_young_and_a_row_is_found_by_its_key() {
    let database = database().await;
    let store = PgStore::open(config(&database)).await.expect("opens");
    let mut home = Home::build(&store, "ours").await;
    for talk in home.open_for_others(&store, 60).await {
        home.talk = talk;
        for _ in 0..6 {
            home.turn(&store, "hello", "hi").await;
        }
    }
    until("rows are counted", || number(&database, COUNTED) > 0).await;
    // A connection tells what it has read when it ends.
    store.close().await;
    let _ = database.sql("SELECT pg_stat_reset()");
    let store = PgStore::open(config(&database)).await.expect("opens");
    for _ in 0..40 {
        home.turn(&store, "hello", "hi").await;
    }
    store.close().await;
    until("what was read is told", || number(&database, LOOKS) >= 40).await;
    let read = database.sql(
        "SELECT indexrelname, idx_scan, idx_tup_fetch FROM pg_stat_user_indexes
         WHERE relname IN ('runs', 'conversations') AND idx_scan > 0 AND idx_tup_fetch > 5 * idx_scan",
    );
    assert_eq!(read, "", "indexes of which a look fetches many rows");
}
