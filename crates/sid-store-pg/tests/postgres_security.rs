//! The second lock: row-level security, with nothing of the store in between.

mod common;

use std::sync::Arc;

use common::{SERVER, config, database, open};
use sid_store::{
    Accept, ArchivalStore, AuditEntry, AuditLog, Directory, ItemStore, ItemWrite, Maintenance, NewConversation, NewItem, OnBusy,
    StateStore, StoreError,
};
use sid_store_pg::{PgConfig, PgStore};
use sid_testkit::postgres::Database;
use sid_types::{
    AgentId, AgentSpec, ConversationId, ItemKind, KeyId, ManualClock, NewMessage, NewPassage, OperatorScope, Owner, PassageId, Priority,
    Provenance, RunId, RunLimits, Scope, ShareLevel, Sharee, Team, TeamId, TeamRole, TenantId, Timestamp, User, UserId,
};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgConnection, Row};

fn now() -> Timestamp {
    "2026-03-02T09:00:00Z".parse().expect("a time")
}

/// A tenant with something in every table that a turn writes to.
async fn fill(store: &PgStore, name: &str) -> (TenantId, Scope) {
    let tenant = store.create_tenant(&OperatorScope::grant(), name).await.expect("a tenant").id;
    let scope = OperatorScope::grant().enter(tenant, KeyId::new());
    let user =
        User { id: UserId::new(), handle: "ann".into(), display_name: "Ann".into(), timezone: None, quiet_hours: None, created_at: now() };
    let user = store.create_user(&scope, user).await.expect("a user").id;
    let agent = store.create_agent(&scope, AgentId::new(), AgentSpec::new("sid", "scripted"), Vec::new()).await.expect("an agent").id;
    let new = NewConversation { agent, user: Some(user), key: None };
    let talk = store.open_conversation(&scope, ConversationId::new(), new).await.expect("a conversation").0.id;
    let accept = Accept {
        run: RunId::new(),
        conversation: talk,
        messages: vec![NewMessage::user("hello", now())],
        idempotency: None,
        limits: RunLimits::default(),
        priority: Priority::User,
        client_tools: Vec::new(),
        only_after: None,
        on_busy: OnBusy::Queue,
        queue_depth: 9,
        claim_for: Some((sid_types::WorkerId::new(), std::time::Duration::from_secs(30))),
    };
    store.accept(&scope, accept).await.expect("accepted");
    let (id, text, tags, at) = (PassageId::new(), "pickles".to_owned(), Vec::new(), now());
    let passage = NewPassage { id, owner: Owner::Tenant, text, tags, at, provenance: Provenance::default() };
    store.upsert(&scope, vec![passage]).await.expect("a passage");
    let team = Team { id: TeamId::new(), name: "crew".into(), parent: None, created_at: now() };
    let team = store.create_team(&scope, team).await.expect("a team").id;
    store.set_team_member(&scope, team, user, Some(TeamRole::Lead)).await.expect("a member");
    let item = NewItem::new(ItemKind::Page, Owner::User { user }, "pickles");
    let id = item.id;
    store.write_items(&scope, vec![ItemWrite::Make(Box::new(item))]).await.expect("an item");
    store.share_item(&scope, id, Sharee::Team { team }, Some(ShareLevel::Read)).await.expect("a share");
    let entry = AuditEntry {
        tenant,
        at: now(),
        key: KeyId::new(),
        user: Some(user),
        agent: None,
        operation: "make_item".into(),
        subject: Some(user),
        resource: None,
        status: 201,
        request: None,
    };
    store.record(vec![entry]).await.expect("an entry");
    (tenant, scope)
}

async fn connect(database: &Database) -> PgConnection {
    PgConnection::connect(&database.url(SERVER)).await.expect("the server's role connects")
}

async fn count(conn: &mut PgConnection, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM sid.{table}");
    sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_one(conn).await.unwrap_or_else(|e| panic!("{table}: {e}")).get(0)
}

/// Tables that lead with a tenant, and may be read by servers.
fn tables(database: &Database) -> Vec<String> {
    let sql = "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant'
        WHERE c.relnamespace = 'sid'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND c.relname NOT IN ('api_keys', 'tenant_limits', 'request_counts')";
    database.sql(sql).lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_sees_its_own_tenant_and_nothing_else() {
    let database = database().await;
    let store = open(&database, &Arc::new(ManualClock::new(now()))).await;
    let (ours, _) = fill(&store, "ours").await;
    let (theirs, _) = fill(&store, "theirs").await;
    let mut conn = connect(&database).await;
    let tables = tables(&database);
    assert!(tables.len() > 20, "{tables:?}");

    // Without a tenant: before the setting was ever used in the session, and after, when it reads as an empty string.
    for _ in 0..2 {
        for table in &tables {
            assert_eq!(count(&mut conn, table).await, 0, "{table}, without a tenant");
        }
        let mut tx = conn.begin().await.expect("a transaction");
        sqlx::query("SELECT set_config('sid.tenant', $1, true)").bind(ours.uuid().to_string()).execute(&mut *tx).await.expect("set");
        for table in [
            "messages",
            "conversations",
            "runs",
            "users",
            "agents",
            "passages",
            "partitions",
            "message_ids",
            "team_members",
            "items",
            "item_shares",
            "audit",
        ] {
            assert!(count(&mut tx, table).await > 0, "{table}, with ours");
        }
        tx.rollback().await.expect("rolled back");
    }

    // With ours, whatever names theirs finds nothing, changes nothing, and cannot be written.
    let mut tx = conn.begin().await.expect("a transaction");
    sqlx::query("SELECT set_config('sid.tenant', $1, true)").bind(ours.uuid().to_string()).execute(&mut *tx).await.expect("set");
    for table in tables.iter().filter(|table| *table != "audit") {
        for sql in [format!("SELECT 1 FROM sid.{table} WHERE tenant = $1"), format!("DELETE FROM sid.{table} WHERE tenant = $1")] {
            let done = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(theirs.uuid()).execute(&mut *tx).await.expect("runs");
            assert_eq!(done.rows_affected(), 0, "{table}");
        }
    }
    let stolen = "INSERT INTO sid.teams (tenant, id, name, created_at) VALUES ($1, $2, 'x', now())";
    let stolen = sqlx::query(stolen).bind(theirs.uuid()).bind(UserId::new().uuid()).execute(&mut *tx).await;
    assert!(stolen.expect_err("refused").to_string().contains("row-level security"));
    tx.rollback().await.expect("rolled back");
    let mut tx = conn.begin().await.expect("a transaction");
    sqlx::query("SELECT set_config('sid.tenant', $1, true)").bind(ours.uuid().to_string()).execute(&mut *tx).await.expect("set");
    let seen = sqlx::query("SELECT count(*) FROM sid.audit WHERE tenant = $1").bind(theirs.uuid()).fetch_one(&mut *tx).await.expect("runs");
    assert_eq!(seen.get::<i64, _>(0), 0, "nobody reads another tenant's log");
    drop(tx);
    let left = database.sql(&format!("SELECT count(*) FROM sid.messages WHERE tenant = '{}'", theirs.uuid()));
    assert_eq!(left, "1", "theirs is untouched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_is_locked() {
    let database = database().await;
    // Parts of the event log that are made later are no exception.
    let later = Arc::new(ManualClock::new(Timestamp::now() + jiff::SignedDuration::from_hours(24 * 30)));
    let store = open(&database, &later).await;
    store.maintain().await.expect("maintained");
    let parts = database.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'sid_events'::regnamespace AND relkind = 'r'");
    assert!(parts.parse::<u32>().expect("a number") >= 9, "{parts}");
    let open = database.sql(
        "SELECT relname FROM pg_class WHERE relnamespace IN ('sid'::regnamespace, 'sid_events'::regnamespace) AND relkind IN ('r', 'p')
         AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY 1",
    );
    // Neither holds anything of a tenant.
    assert_eq!(open, "generations\nschema_version");
    let unled = database.sql(
        "SELECT c.relname FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
         WHERE c.relnamespace IN ('sid'::regnamespace, 'sid_events'::regnamespace) AND a.attname <> 'tenant'
         AND c.relname NOT IN ('tenants', 'api_keys', 'duties', 'generations', 'schema_version')",
    );
    assert_eq!(unled, "", "every primary key begins with the tenant");
    let direct = database.sql(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace IN ('sid'::regnamespace, 'sid_events'::regnamespace) AND (c.relispartition OR c.relname IN ('api_keys', 'tenant_limits', 'request_counts'))
         AND (has_table_privilege('sid_app', c.oid, 'SELECT, INSERT, UPDATE, DELETE') OR has_table_privilege('public', c.oid, 'SELECT'))",
    );
    assert_eq!(direct, "", "parts of tables, keys and limits are not reached directly");
    let foreign = database.sql(
        "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'sid'::regnamespace
         AND (p.prosecdef <> (pg_get_userbyid(p.proowner) = 'sid_engine') OR (p.prosecdef AND p.proconfig IS NULL)
            OR has_function_privilege('public', p.oid, 'EXECUTE'))",
    );
    assert_eq!(foreign, "", "functions that span tenants are the engine's, with a fixed search path, and nobody else's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_role_cannot_step_around() {
    let database = database().await;
    let mut conn = connect(&database).await;
    for sql in [
        "SET ROLE sid_engine",
        "SET row_security = off; SELECT count(*) FROM sid.messages",
        "ALTER TABLE sid.messages DISABLE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON sid.messages USING (true)",
        "DROP POLICY of_tenant ON sid.messages",
        "SELECT count(*) FROM sid.messages_0",
        "SELECT count(*) FROM sid.api_keys",
        "CREATE FUNCTION sid.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION sid.tenant() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'",
        "INSERT INTO sid.schema_version (version) VALUES (99)",
        "UPDATE sid.generations SET done_to = 0",
        // The audit log is added to by its function, and changed by nobody.
        "UPDATE sid.audit SET operation = 'nothing'",
        "DELETE FROM sid.audit",
        "TRUNCATE sid.audit",
        "INSERT INTO sid.audit (tenant, at, key, operation, status) VALUES (gen_random_uuid(), now(), gen_random_uuid(), 'x', 200)",
    ] {
        assert!(conn.execute(sqlx::raw_sql(sql)).await.is_err(), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_that_security_does_not_bind_are_refused() {
    let database = database().await;
    let refused = async |role: &str| {
        let config = PgConfig { connections: 1, ..PgConfig::new(database.url(role)) };
        match PgStore::open(config).await {
            Err(StoreError::Setup(why)) => why,
            other => panic!("{role}: {other:?}"),
        }
    };
    assert!(refused(sid_testkit::postgres::ADMIN).await.contains("superuser"));
    let make = |sql: &str| database.sql(&format!("DO $$ BEGIN {sql}; EXCEPTION WHEN duplicate_object THEN NULL; END $$"));
    let _ = make("CREATE ROLE sid_test_bypass LOGIN BYPASSRLS IN ROLE sid_app");
    assert!(refused("sid_test_bypass").await.contains("BYPASSRLS"));
    let _ = make("CREATE ROLE sid_test_stranger LOGIN");
    assert!(refused("sid_test_stranger").await.contains("GRANT sid_app"));
    PgStore::open(config(&database)).await.expect("a member of sid_app and nothing more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tenant_is_left_behind_on_a_connection() {
    let database = database().await;
    let clock = Arc::new(ManualClock::new(now()));
    let one = PgConfig { connections: 1, ..config(&database) };
    let store = PgStore::open_with_test_clock(one, clock).await.expect("opens");
    let (_, scope) = fill(&store, "ours").await;
    // A call that is given up in its middle gives the connection back without its transaction.
    for patience in 0..40 {
        let call = store.users(&scope, sid_store::PageRequest { after: None, limit: 10 });
        let _ = tokio::time::timeout(std::time::Duration::from_micros(patience * 40), call).await;
    }
    let nobody = OperatorScope::grant().enter(TenantId::new(), KeyId::new());
    assert!(matches!(store.users(&nobody, sid_store::PageRequest::default()).await, Err(StoreError::NotFound { .. })));
    assert_eq!(store.users(&scope, sid_store::PageRequest { after: None, limit: 10 }).await.expect("works").items.len(), 1);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    assert_eq!(database.sql(idle), "0");
    // The same, seen from a pool of the test's own on the same role.
    let pool = PgPoolOptions::new().max_connections(1).connect(&database.url(SERVER)).await.expect("connects");
    let row = sqlx::query("SELECT count(*) FROM sid.messages").fetch_one(&pool).await.expect("runs");
    assert_eq!(row.get::<i64, _>(0), 0);
}
