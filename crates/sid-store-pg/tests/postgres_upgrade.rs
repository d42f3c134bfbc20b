//! From schema 1 to this version's, with data and under way.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Home, config, database, finish, open};
use sid_store::{
    Commit, Directory, Effect, EraseTarget, Eraser, EventLog, ItemFilter, ItemStore, ItemWrite, Maintenance, NewItem, PageRequest,
    StateStore, StoreError, Whose,
};
use sid_store_pg::PgStore;
use sid_testkit::postgres::{ADMIN, Cluster, Database};
use sid_types::{
    AccessRole, ApiKey, Event, EventBody, ItemKind, KeyId, KeyRole, ManualClock, OperatorScope, Owner, Permission, Provenance, RunId,
    Scope, ShareLevel, Sharee, Team, TeamId, TeamRole, Timestamp, User, UserId,
};
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
    assert_eq!(old.version(), "4");
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
    assert_eq!((old.version(), old.events()), ("4".into(), before));
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
    assert_eq!(migration.await.expect("no panic").expect("migrated"), 4);
    old.check().await;
}

/// A database of schema 2 with a tenant whose user leads nothing yet, brought to this version's.
async fn from_schema_2() -> (Database, Arc<ManualClock>, Home) {
    let cluster = Cluster::shared().unwrap_or_else(|why| panic!("{why}"));
    let _ = database().await;
    let old = cluster.database("empty", async |_| ()).await;
    assert_eq!(PgStore::migrate_to(&old.url(ADMIN), 2).await.expect("schema 2 is made"), 2);
    let clock = Arc::new(ManualClock::new(common::now()));
    // What servers of schema 2 have written.
    let (tenant, user, team, key) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7(), uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    let role = serde_json::json!({ "type": "user", "tenant": sid_types::TenantId::from_uuid(tenant), "user": UserId::from_uuid(user) });
    let _ = old.sql(&format!(
        "SELECT sid.make_tenant('{tenant}', 'before', now());
         INSERT INTO sid.users (tenant, id, handle, display_name, created_at) VALUES ('{tenant}', '{user}', 'old', 'Old', now());
         INSERT INTO sid.teams (tenant, id, name, created_at) VALUES ('{tenant}', '{team}', 'olds', now());
         INSERT INTO sid.team_members (tenant, user_id, team_id) VALUES ('{tenant}', '{user}', '{team}');
         SELECT sid.put_key('{key}', repeat('a', 64), 'old', '{role}', '{tenant}', '{user}', now(), NULL, NULL)"
    ));
    PgStore::migrate(&old.url(ADMIN)).await.expect("migrated");
    let store = open(&old, &clock).await;
    let scope = OperatorScope::grant().enter(sid_types::TenantId::from_uuid(tenant), KeyId::new());
    let teams = store.user_teams(&scope, UserId::from_uuid(user)).await.expect("listed");
    assert_eq!(teams.iter().map(|m| (m.team.name.as_str(), m.role, m.is_direct)).collect::<Vec<_>>(), [("olds", TeamRole::Member, true)]);
    let found = store.key_by_hash(&"a".repeat(64)).await.expect("asked").expect("known");
    assert_eq!((found.access, found.scopes), (AccessRole::Member, None), "the usual role, all of it");
    let home = Home::build(&store, "ours").await;
    (old, clock, home)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_schema_2_keep_memberships_right() {
    let (database, clock, home) = from_schema_2().await;
    assert_eq!(database.sql("SELECT compatible_from FROM sid.schema_version WHERE version = 3"), "2");
    let store = open(&database, &clock).await;
    let team = |name: &str, parent: Option<TeamId>| Team { id: TeamId::new(), name: name.into(), parent, created_at: common::now() };
    let whole = store.create_team(&home.scope, team("whole", None)).await.expect("made").id;
    let part = store.create_team(&home.scope, team("part", Some(whole))).await.expect("made").id;
    let inner = store.create_team(&home.scope, team("inner", Some(part))).await.expect("made").id;
    let told = async || {
        let teams = store.user_teams(&home.scope, home.user).await.expect("listed");
        teams.iter().map(|m| format!("{}{}", m.team.name, if m.is_direct { "*" } else { "" })).collect::<Vec<_>>().join(" ")
    };
    // As a server of schema 2 does it.
    let (tenant, user) = (home.scope.tenant().uuid(), home.user.uuid());
    let join = |team: TeamId| {
        database.sql(&format!(
            "INSERT INTO sid.team_members (tenant, user_id, team_id) VALUES ('{tenant}', '{user}', '{}') ON CONFLICT DO NOTHING",
            team.uuid()
        ))
    };
    let leave = |team: TeamId| {
        database
            .sql(&format!("DELETE FROM sid.team_members WHERE tenant = '{tenant}' AND user_id = '{user}' AND team_id = '{}'", team.uuid()))
    };
    let _ = join(inner);
    assert_eq!(told().await, "inner* part whole");
    let _ = leave(inner);
    assert_eq!(told().await, "");
    let _ = (join(inner), leave(part));
    assert_eq!(told().await, "inner* whole", "a row that only follows is no membership to be ended; the next change puts it right");
    store.set_team_member(&home.scope, whole, home.user, Some(TeamRole::Lead)).await.expect("set");
    assert_eq!(told().await, "inner* part whole*");
    let agent = home.agent.uuid();
    let _ = database.sql(&format!("DELETE FROM sid.agent_teams WHERE tenant = '{tenant}' AND agent_id = '{agent}'"));
    let insert = "INSERT INTO sid.agent_teams (tenant, agent_id, team_id)";
    let _ = database.sql(&format!("{insert} VALUES ('{tenant}', '{agent}', '{}') ON CONFLICT DO NOTHING", inner.uuid()));
    assert_eq!(store.teams(&home.scope.turn(home.agent, Some(home.user))).await.expect("listed").len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_schema_2_leave_no_items_behind() {
    let (database, clock, home) = from_schema_2().await;
    let store = open(&database, &clock).await;
    let bob = User {
        id: UserId::new(),
        handle: "bob".into(),
        display_name: "Bob".into(),
        timezone: None,
        quiet_hours: None,
        created_at: common::now(),
    };
    let bob = store.create_user(&home.scope, bob).await.expect("made").id;
    let make = async |new: NewItem| {
        let id = new.id;
        store.write_items(&home.scope, vec![ItemWrite::Make(Box::new(new))]).await.expect("made");
        id
    };
    let hers = Owner::User { user: home.user };
    let pairs = Owner::Pair { agent: home.agent, user: bob };
    let from = Provenance { conversation: Some(home.talk.id), ..Provenance::default() };
    let top = make(NewItem { provenance: from.clone(), ..NewItem::new(ItemKind::Project, Owner::Tenant, "of a talk") }).await;
    make(NewItem { parent: Some(top), ..NewItem::new(ItemKind::Section, Owner::Tenant, "below") }).await;
    let mine = make(NewItem::new(ItemKind::Secret, hers, "hers")).await;
    make(NewItem::new(ItemKind::Session, pairs, "of a pair")).await;
    let his = make(NewItem::new(ItemKind::Page, Owner::User { user: bob }, "his")).await;
    let _ = mine;
    store.share_item(&home.scope, his, Sharee::User { user: home.user }, Some(ShareLevel::Read)).await.expect("shared");
    let left = async || {
        let page = PageRequest { after: None, limit: 9 };
        let items = store.items(&home.scope, &ItemFilter::of(Whose::Everybody), page).await.expect("listed").items;
        let mut titles: Vec<String> = items.into_iter().map(|seen| seen.item.title).collect();
        titles.sort_unstable();
        titles.join(", ")
    };
    // The last statements of an erasure, as a server of schema 2 sends them.
    let tenant = home.scope.tenant().uuid();
    let gone = |table: &str, id: uuid::Uuid| database.sql(&format!("DELETE FROM sid.{table} WHERE tenant = '{tenant}' AND id = '{id}'"));
    let _ = gone("conversations", home.talk.id.uuid());
    assert_eq!(left().await, "hers, his, of a pair");
    let _ = gone("agents", home.agent.uuid());
    assert_eq!(left().await, "hers, his");
    let _ = gone("users", home.user.uuid());
    assert_eq!(left().await, "his");
    assert_eq!(database.sql("SELECT count(*) FROM sid.item_shares"), "0");
    let receipt = store.erase(&home.scope, EraseTarget::User(bob)).await.expect("erased");
    assert_eq!((receipt.items, left().await.as_str()), (1, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_schema_2_do_not_find_keys_that_may_do_less() {
    let (database, clock, home) = from_schema_2().await;
    let store = open(&database, &clock).await;
    let (tenant, user, agent) = (home.scope.tenant(), home.user, home.agent);
    let mut n = 0_u8;
    let mut found = async |role: KeyRole, access: AccessRole, scopes: Option<Vec<Permission>>| {
        n += 1;
        let hash = format!("{n:064x}");
        let (id, name) = (KeyId::new(), "key".to_owned());
        let key = ApiKey { id, name, role, access, scopes, hash, created_at: common::now(), expires_at: None, revoked_at: None };
        store.put_key(&OperatorScope::grant(), key.clone()).await.expect("stored");
        assert_eq!(store.key_by_hash(&key.hash).await.expect("asked").as_ref(), Some(&key));
        database.sql(&format!("SELECT count(*) FROM sid.find_keys('{}', NULL)", key.hash)) == "1"
    };
    for role in [KeyRole::Operator, KeyRole::Tenant { tenant }, KeyRole::User { tenant, user }] {
        for access in AccessRole::ALL {
            assert_eq!(found(role, access, None).await, access == role.usual_access(), "{role:?} {access:?}");
        }
        assert!(!found(role, role.usual_access(), Some(vec![Permission::Chat])).await, "{role:?}");
    }
    assert!(!found(KeyRole::Agent { tenant, user, agent }, AccessRole::Agent, None).await);
}
