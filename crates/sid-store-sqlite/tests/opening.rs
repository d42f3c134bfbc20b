//! Opening a data folder that is not as it should be: each a clear error that says what to do.

mod common;

use std::fs;
use std::path::Path;

use common::{Home, open, open_at, turn};
use sid_store::{Directory, Order, RecallStore, StoreError, ToolsetStore};
use sid_store_sqlite::SqliteConfig;
use sid_types::{AccessRole, AgentSpec, KeyId, KeyRole, OperatorScope, TeamId, TeamRole, TenantId, ToolsetKind, ToolsetSpec, UserId};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor};

async fn failure(path: &Path) -> StoreError {
    open(SqliteConfig::new(path)).await.expect_err("it does not open")
}

fn check(error: &StoreError, code: &str, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.code(), code, "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

async fn execute(path: &Path, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut conn = options.connect().await.expect("a connection");
    conn.execute(sql).await.expect(sql);
    conn.close().await.expect("closed");
}

#[tokio::test]
async fn a_folder_serves_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = open_at(folder.path()).await;
    check(&failure(folder.path()).await, "SID-STORE-UNAVAILABLE", &["in use by another sid process", &folder.path().display().to_string()]);
    first.close().await;
    open_at(folder.path()).await;
}

#[tokio::test]
async fn a_clone_keeps_the_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = open_at(folder.path()).await;
    let clone = first.clone();
    first.close().await;
    check(&failure(folder.path()).await, "SID-STORE-UNAVAILABLE", &["in use"]);
    assert!(clone.tenants(&OperatorScope::grant()).await.expect("it serves").is_empty());
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    open_at(folder.path()).await.close().await;
    execute(&folder.path().join("sid.db"), "PRAGMA user_version = 99").await;
    check(&failure(folder.path()).await, "SID-STORE-INVALID", &["newer Sid", "schema 99", "upgrade"]);
}

#[tokio::test]
async fn another_programs_database_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    execute(&folder.path().join("sid.db"), "CREATE TABLE theirs (x)").await;
    check(&failure(folder.path()).await, "SID-STORE-CORRUPT", &["another program's", "choose another folder"]);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("sid.db"), "not a database at all, but long enough to have a header ".repeat(20)).expect("written");
    check(&failure(folder.path()).await, "SID-STORE-CORRUPT", &["not a database", "sid.db", "restore", "backup"]);
    // Refused, not repaired: the file is as it was.
    assert!(fs::read_to_string(folder.path().join("sid.db")).expect("text").starts_with("not a database"));
}

#[tokio::test]
async fn a_damaged_page_is_reported_when_it_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open_at(folder.path()).await;
    let home = Home::build(&store).await;
    for i in 0..300 {
        turn(&store, &home, &format!("message {i} {}", "words ".repeat(50)), "yes").await.expect("a turn");
    }
    store.close().await;
    let file = folder.path().join("sid.db");
    let mut bytes = fs::read(&file).expect("the database");
    // The schema's pages stay, all others become noise.
    let pages = bytes.len() / 4096;
    for page in pages / 2..pages {
        bytes[page * 4096..page * 4096 + 64].fill(0x55);
    }
    fs::write(&file, bytes).expect("written");
    let store = match open(SqliteConfig::new(folder.path())).await {
        Ok(store) => store,
        Err(error) => return check(&error, "SID-STORE-CORRUPT", &["restore", "backup"]),
    };
    let error = store.page(&home.scope, home.conversation.id, None, Order::Ascending, 1_000).await.expect_err("damaged");
    check(&error, "SID-STORE-CORRUPT", &["restore", "backup"]);
    assert!(!store.check().await.map_or(true, |found| found.is_empty()));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("data");
    fs::create_dir(&place).expect("made");
    let mut rights = fs::metadata(&place).expect("rights").permissions();
    rights.set_readonly(true);
    fs::set_permissions(&place, rights).expect("set");
    if fs::write(place.join("probe"), "").is_ok() {
        // Root may write everywhere but into the kernel's own folders.
        let error = failure(Path::new("/proc/sid")).await;
        check(&error, "SID-STORE-INVALID", &["/proc/sid", "choose another folder"]);
    } else {
        check(&failure(&place).await, "SID-STORE-INVALID", &["cannot be written", "choose another folder"]);
    }
}

#[tokio::test]
async fn a_file_in_the_place_of_the_folder_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("data");
    fs::write(&place, "a file").expect("written");
    check(&failure(&place).await, "SID-STORE-INVALID", &["cannot be used", "check the path"]);
}

/// Who was in a team and what keys could do before schema 3, they are and can after it.
#[tokio::test]
async fn a_folder_of_schema_2_is_brought_on() {
    const BEFORE: &str = concat!(
        include_str!("../migrations/0001_foundation.sql"),
        ";",
        include_str!("../migrations/0002_limits.sql"),
        ";",
        include_str!("../migrations/0002_generations.sql"),
        "; PRAGMA application_id = 0x53696431; PRAGMA user_version = 2"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sid.db");
    execute(&file, BEFORE).await;
    let (tenant, user, team) = (TenantId::new(), UserId::new(), TeamId::new());
    let role = KeyRole::User { tenant, user };
    let options = SqliteConnectOptions::new().filename(&file);
    let mut conn = options.connect().await.expect("a connection");
    let hex = |id: uuid::Uuid| format!("x'{}'", id.simple());
    let (tenant_id, user_id, team_id) = (hex(tenant.uuid()), hex(user.uuid()), hex(team.uuid()));
    let role = serde_json::to_string(&role).expect("JSON");
    let written = format!(
        "INSERT INTO tenants (tenant, id, name, created_at) VALUES (1, {tenant_id}, 'acme', 1);
         INSERT INTO users (tenant, id, handle, display_name, created_at) VALUES (1, {user_id}, 'ann', 'Ann', 1);
         INSERT INTO teams (tenant, id, name, created_at) VALUES (1, {team_id}, 'crew', 1);
         INSERT INTO team_members (tenant, user, team) VALUES (1, {user_id}, {team_id});
         INSERT INTO api_keys (id, hash, name, role, tenant_id, user_id, created_at) VALUES ({user_id}, 'h', 'k', '{role}', {tenant_id}, {user_id}, 1)"
    );
    conn.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(written))).await.expect("written");
    conn.close().await.expect("closed");
    let store = open_at(folder.path()).await;
    let scope = OperatorScope::grant().enter(tenant, KeyId::new());
    let teams = store.user_teams(&scope, user).await.expect("listed");
    assert_eq!(teams.iter().map(|m| (m.team.id, m.role, m.is_direct)).collect::<Vec<_>>(), [(team, TeamRole::Member, true)]);
    let key = store.key_by_hash("h").await.expect("asked").expect("known");
    assert_eq!((key.access, key.scopes), (AccessRole::Member, None), "the usual role, all of it");
    store.set_team_member(&scope, team, user, None).await.expect("left");
    assert!(store.user_teams(&scope, user).await.expect("listed").is_empty());
}

#[tokio::test]
async fn opening_again_is_quick() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open_at(folder.path()).await;
    let home = Home::build(&store).await;
    turn(&store, &home, "hello", "hello").await.expect("a turn");
    store.close().await;
    let mut times = Vec::new();
    for _ in 0..5 {
        let begun = std::time::Instant::now();
        let store = open_at(folder.path()).await;
        times.push(begun.elapsed());
        store.close().await;
    }
    times.sort();
    // Far below the 150 ms of the whole server, even unoptimised on a busy machine.
    assert!(times[2].as_millis() < 150, "{times:?}");
}

#[tokio::test]
async fn a_checkpoint_leaves_an_empty_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open_at(folder.path()).await;
    let home = Home::build(&store).await;
    turn(&store, &home, "said", "answered").await.expect("a turn");
    let log = || fs::metadata(folder.path().join("sid.db-wal")).map_or(0, |m| m.len());
    assert!(log() > 0, "the log holds what was written");
    store.checkpoint().await.expect("done");
    assert_eq!(log(), 0);
    turn(&store, &home, "said", "it goes on").await.expect("a turn");
}

#[tokio::test]
async fn what_a_newer_program_has_put_is_no_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open_at(folder.path()).await;
    let home = Home::build(&store).await;
    let spec = ToolsetSpec { kind: ToolsetKind::Http, source: serde_json::Map::new(), is_default: true };
    store.put_toolset(&home.scope, "odd", spec.clone(), None).await.expect("put");
    store.put_toolset(&home.scope, "plain", spec, None).await.expect("put");
    store.close().await;
    execute(&folder.path().join("sid.db"), "UPDATE toolsets SET kind = 'telepathy' WHERE name = 'odd'").await;
    execute(&folder.path().join("sid.db"), "UPDATE agents SET spec = json_set(spec, '$.mood', 7)").await;
    let store = open_at(folder.path()).await;
    let kinds: Vec<_> = store.toolsets(&home.scope).await.expect("listed").into_iter().map(|t| t.spec.kind).collect();
    assert_eq!(kinds, [ToolsetKind::Unknown, ToolsetKind::Http]);
    let agent = store.agent(&home.scope, home.agent).await.expect("there");
    let spec = AgentSpec { tasks: true, ..agent.spec };
    let agent = store.update_agent(&home.scope, home.agent, spec, vec![]).await.expect("changed");
    assert_eq!(store.agent(&home.scope, home.agent).await.expect("there").spec.rest["mood"], 7);
    assert!(agent.spec.tasks);
}
