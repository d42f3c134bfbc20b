//! What is acknowledged stays: a process that dies, a disk that is full, a backup under load.

mod common;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{Home, accept, finish, open, open_at, open_conversation, turn};
use sid_store::{MemorySearch, Order, RecallStore, SearchQuery, StateStore, StoreError};
use sid_store_sqlite::{SqliteConfig, SqliteStore};
use sid_types::{RunStatus, WorkerId};

async fn texts(store: &SqliteStore, home: &Home) -> Vec<String> {
    let page = store.page(&home.scope, home.conversation.id, None, Order::Ascending, 100_000).await.expect("a page");
    assert!(page.iter().enumerate().all(|(i, m)| m.seq.0 == i as u64 + 1), "the sequence is dense");
    page.iter().map(|m| m.body.text().to_owned()).collect()
}

/// The files as a process that was killed right now would leave them.
fn as_if_killed(from: &Path, to: &Path) {
    for name in ["sid.db", "sid.db-wal"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).expect("copied");
        }
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open_at(folder.path()).await;
    let home = Home::build(&store).await;
    for i in 0..20 {
        turn(&store, &home, &format!("said {i}"), &format!("answered {i}")).await.expect("a turn");
    }
    let half_way = accept(&store, &home.scope, home.conversation.id, "in the middle").await.expect("accepted");
    let other = open_conversation(&store, &home.scope, home.agent, home.user).await;
    let elsewhere = accept(&store, &home.scope, other.id, "elsewhere").await.expect("accepted");
    let killed = tempfile::tempdir().expect("a folder");
    as_if_killed(folder.path(), killed.path());

    let again = open_at(killed.path()).await;
    let found = texts(&again, &home).await;
    assert_eq!(found.len(), 41);
    assert_eq!(found[40], "in the middle");
    let lease = half_way.lease.expect("idle");
    assert_eq!(again.run(&home.scope, half_way.run.id).await.expect("the run").status, RunStatus::Running);
    // Nobody else can hold a lease on this folder, so what was under way is taken up at once.
    let taken = again.claim(WorkerId::new(), 5, usize::MAX, Duration::from_secs(1)).await.expect("a claim");
    assert_eq!(taken.iter().map(|l| l.run).collect::<HashSet<_>>(), HashSet::from([half_way.run.id, elsewhere.run.id]));
    let other_lease = elsewhere.lease.expect("idle");
    assert!(taken.iter().all(|l| l.epoch == 1 + if l.run == lease.run { lease.epoch } else { other_lease.epoch }));
    assert!(matches!(finish(&again, &lease, "too late").await, Err(StoreError::Fenced { .. })));
    finish(&again, taken.iter().find(|l| l.run == half_way.run.id).expect("taken"), "taken up").await.expect("the new lease holds");
    assert_eq!(texts(&again, &home).await.len(), 42);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_writes_leaves_whole_turns() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open_at(folder.path()).await;
    let home = Arc::new(Home::build(&store).await);
    let (writer, of) = (store.clone(), Arc::clone(&home));
    let acknowledged = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&acknowledged);
    let load = tokio::spawn(async move {
        for i in 0..400 {
            turn(&writer, &of, &format!("said {i}"), &format!("answered {i}")).await.expect("a turn");
            count.store(i + 1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(15)).await;
        let before = acknowledged.load(std::sync::atomic::Ordering::SeqCst);
        let killed = tempfile::tempdir().expect("a folder");
        // A log that is copied after the database holds all that the database does not, as long as no checkpoint comes between.
        fs::copy(folder.path().join("sid.db"), killed.path().join("sid.db")).expect("copied");
        fs::copy(folder.path().join("sid.db-wal"), killed.path().join("sid.db-wal")).expect("copied");
        let again = open_at(killed.path()).await;
        let found = texts(&again, &home).await;
        assert!(found.len() >= before * 2, "{} of {} acknowledged turns", found.len() / 2, before);
    }
    load.await.expect("the load ends");
}

#[tokio::test]
async fn a_full_disk_refuses_and_keeps() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SqliteConfig { max_pages: Some(220), ..SqliteConfig::new(folder.path()) };
    let store = open(config).await.expect("it opens");
    let home = Home::build(&store).await;
    let mut kept: Vec<String> = Vec::new();
    let mut refused = None;
    for i in 0..2_000 {
        let said = format!("said {i} {}", "words ".repeat(40));
        match turn(&store, &home, &said, "yes").await {
            Ok(()) => kept.push(said),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.expect("the disk is full at some time");
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    assert!(refused.to_string().contains("free some"), "{refused}");
    // Reads go on, and everything that was acknowledged is there.
    let found: HashSet<String> = texts(&store, &home).await.into_iter().collect();
    assert!(kept.iter().all(|said| found.contains(said)));
    let hits = store.search(&home.scope, &SearchQuery::new("words")).await.expect("a search");
    assert!(!hits.items.is_empty());
    store.close().await;
    // With space again it goes on.
    let store = open_at(folder.path()).await;
    assert!(store.check().await.expect("a check").is_empty());
    let open_run = store.runs(&home.scope, home.conversation.id, 1).await.expect("runs");
    if open_run[0].status.is_terminal() {
        turn(&store, &home, "after", "yes").await.expect("a turn");
    }
    assert!(texts(&store, &home).await.len() >= kept.len() * 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_fails_together_what_was_written_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SqliteConfig { max_pages: Some(300), ..SqliteConfig::new(folder.path()) };
    let store = open(config).await.expect("it opens");
    let home = Home::build(&store).await;
    let mut conversations = Vec::new();
    for _ in 0..16 {
        conversations.push(open_conversation(&store, &home.scope, home.agent, home.user).await.id);
    }
    let talk = conversations.iter().map(|id| {
        let (store, scope, id) = (store.clone(), home.scope, *id);
        tokio::spawn(async move {
            let mut acknowledged = 0;
            for i in 0..500 {
                let Ok(accepted) = accept(&store, &scope, id, &format!("said {i} {}", "words ".repeat(60))).await else { break };
                acknowledged += 1;
                let Some(lease) = accepted.lease else { break };
                if finish(&store, &lease, "yes").await.is_err() {
                    break;
                }
                acknowledged += 1;
            }
            (id, acknowledged)
        })
    });
    let done = futures::future::join_all(talk).await;
    for outcome in done {
        let (id, acknowledged) = outcome.expect("no panic");
        let page = store.page(&home.scope, id, None, Order::Ascending, 100_000).await.expect("a page");
        assert!(acknowledged < 1_000, "the disk was never full");
        assert_eq!(page.len(), acknowledged, "acknowledged = stored");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open_at(folder.path()).await;
    let home = Arc::new(Home::build(&store).await);
    for i in 0..50 {
        turn(&store, &home, &format!("before {i}"), "yes").await.expect("a turn");
    }
    let (writer, of) = (store.clone(), Arc::clone(&home));
    let load = tokio::spawn(async move {
        for i in 0..150 {
            turn(&writer, &of, &format!("during {i}"), "yes").await.expect("a turn goes on");
        }
    });
    let restored = tempfile::tempdir().expect("a folder");
    store.backup(&restored.path().join("sid.db")).await.expect("a backup");
    load.await.expect("the load ends");

    let again = open_at(restored.path()).await;
    assert!(again.check().await.expect("a check").is_empty());
    let found = texts(&again, &home).await;
    assert!(found.len() >= 100 && found[0] == "before 0");
    let hits = again.search(&home.scope, &SearchQuery::new("before")).await.expect("a search");
    assert!(!hits.items.is_empty());
    let refused = store.backup(&restored.path().join("sid.db")).await.expect_err("never overwrites");
    assert_eq!(refused.code(), "SID-STORE-INVALID");
    let refused = store.backup(&restored.path().join("no/such/folder.db")).await.expect_err("no folder");
    assert!(refused.to_string().contains("not a folder"), "{refused}");
}
