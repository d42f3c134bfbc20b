//! What only the embedded store has: it outlives the process, is backed up, and can fail to open.

use serde_json::{Value, json};
use sid_server::config::{Config, Sources};
use sid_server::{App, OpenError, create_operator_key};

use crate::harness::{Client, flags};

fn config(folder: &std::path::Path) -> Config {
    let path = folder.display().to_string();
    let flags = flags(&[("store.path", &path), ("server.log_requests", "false"), ("engine.diary", "false")]);
    Config::load(Sources { flags, ..Sources::default() }).expect("good")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_is_shown_once_and_data_outlives_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let app = App::open(config(folder.path())).await.expect("opens");
    let key = app.first_key().expect("a new store").to_owned();
    Client::new(app.router(), &key).post("/api/v1/users", json!({"handle": "uma"})).await.ok();
    app.shutdown().await;
    drop(app);
    let app = reopen(folder.path()).await;
    assert_eq!(app.first_key(), None);
    let client = Client::new(app.router(), &key);
    assert_eq!(client.get("/api/v1/users").await.ok()["items"][0]["handle"], "uma");

    // A second one on the same folder is refused, in words.
    let refused = App::open(config(folder.path())).await.err().expect("locked");
    assert!(matches!(refused, OpenError::Store { .. }), "{refused:?}");
    assert!(refused.code().starts_with("SID-STORE-") && refused.to_string().contains(&folder.path().display().to_string()), "{refused}");

    // An online copy is a store of its own.
    let copy = client.post("/api/v1/backup", json!({})).await;
    assert_eq!(copy.status, 200);
    assert!(copy.body.starts_with(b"SQLite format 3\0"));
    let other = tempfile::tempdir().expect("a folder");
    std::fs::write(other.path().join("sid.db"), &copy.body).expect("written");
    let restored = App::open(config(other.path())).await.expect("opens");
    assert_eq!(Client::new(restored.router(), &key).get("/api/v1/users").await.ok()["items"][0]["handle"], "uma");
    assert!(
        std::fs::read_dir(folder.path()).expect("read").all(|e| !e.expect("entry").file_name().to_string_lossy().starts_with("backup-"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_fails_makes_no_key_that_nobody_has_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display().to_string();
    let bad = flags(&[("store.path", &path), ("tools.open", "nowhere at all")]);
    let failed = App::open(Config::load(Sources { flags: bad, ..Sources::default() }).expect("read")).await.err().expect("refused");
    assert!(failed.to_string().contains("tools.open"), "{failed}");
    let app = reopen(folder.path()).await;
    let key = app.first_key().expect("shown at the first start that succeeds");
    Client::new(app.router(), key).get("/api/v1/users").await.ok();
}

/// The old process's threads may take a moment to let the folder go.
async fn reopen(folder: &std::path::Path) -> App {
    for _ in 0..100 {
        match App::open(config(folder)).await {
            Ok(app) => return app,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
    App::open(config(folder)).await.expect("the folder is free again")
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_keys_are_replaced_on_the_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = create_operator_key(&config(folder.path()), "rescue").await.expect("made");
    let app = reopen(folder.path()).await;
    assert_eq!(app.first_key(), None, "there is a key already");
    assert_eq!(Client::new(app.router(), &key).get("/api/v1/keys").await.ok()["items"][0]["name"], "rescue");
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_cannot_be_used_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("sid.db"), b"this is no database at all, but long enough to be one").expect("written");
    let refused = App::open(config(folder.path())).await.err().expect("no database");
    assert_eq!(refused.code(), "SID-STORE-CORRUPT", "{refused}");
    assert!(!refused.to_string().contains('\n'), "one line: {refused}");
    let file = folder.path().join("file");
    std::fs::write(&file, b"x").expect("written");
    let refused = App::open(config(&file)).await.err().expect("no folder");
    assert!(refused.code().starts_with("SID-STORE-"), "{refused}");
}

/// Repeats that overtake each other all look in vain before one of them makes it; the others must not be told that it exists.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_at_the_same_time_makes_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let app = App::open(config(folder.path())).await.expect("opens");
    let operator = Client::new(app.router(), app.first_key().expect("a new store"));
    for round in 0..5 {
        for (path, body) in [
            ("/api/v1/users", json!({"handle": format!("user{round}")})),
            ("/api/v1/teams", json!({"name": format!("team{round}")})),
            ("/api/v1/agents", json!({"name": format!("agent{round}")})),
            ("/api/v1/blocks", json!({"owner": {"type": "tenant"}, "label": format!("block{round}")})),
            ("/api/v1/passages", json!({"owner": {"type": "tenant"}, "text": format!("passage{round}")})),
        ] {
            let copies = (0..8).map(|_| {
                let (client, body) = (operator.with("idempotency-key", &format!("{path} {round}")), body.clone());
                tokio::spawn(async move { client.post(path, body).await })
            });
            let answers = futures::future::join_all(copies).await;
            let answers: Vec<Value> = answers.into_iter().map(|a| a.expect("no panic").ok()).collect();
            assert!(answers.iter().all(|a| *a == answers[0]), "{path}: {answers:#?}");
        }
    }
}
