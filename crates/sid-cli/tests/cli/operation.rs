//! Runs, events, import, export, backup, erasure, doctor.

use serde_json::{Value, json};
use sid_testkit::model_server::{ModelServer, ServerOptions};

use crate::world::{World, run};

#[tokio::test(flavor = "multi_thread")]
async fn runs_and_their_events_can_be_read() {
    let world = World::start().await;
    let turn = world.says("hello").await;
    let id = turn["run"].as_str().unwrap();
    let list = world.sid(&["run", "list", "--agent", "sid", "--user", "ada"]).await.ok();
    assert!(list.contains(id) && list.contains("completed") && list.contains("end_turn"), "{list}");
    let show = world.sid(&["run", "show", id]).await.ok();
    assert!(show.contains("status        completed\n") && show.contains("step  prompt"), "{show}");
    assert_eq!(world.sid(&["run", "cancel", id, "--json"]).await.json()["status"], "completed");

    let events = world.sid(&["events", id]).await.ok();
    assert!(
        events.contains("started") && events.contains("message assistant #2: Understood.") && events.contains("done completed, end_turn"),
        "{events}"
    );
    let followed = world.sid(&["events", id, "--follow", "--json"]).await.ok();
    let numbers: Vec<u64> = followed.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["seq"].as_u64().unwrap()).collect();
    assert!(numbers.iter().enumerate().all(|(i, n)| *n == i as u64 + 1), "{numbers:?}");
    let rest = world.sid(&["events", id, "--follow", "--json", "--after", "2"]).await.ok();
    assert!(rest.starts_with(followed.lines().nth(2).unwrap()), "{rest}");
    assert!(world.sid(&["events", "run_01jd0000000000000000000000"]).await.fails(1).contains("[SID-STORE-NOT-FOUND]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_log_is_imported_once_and_exported_whole() {
    let world = World::start().await;
    let lines: Vec<String> = (0..450)
        .map(|i| json!({"role": if i % 2 == 0 { "user" } else { "assistant" }, "content": format!("line {i}"), "timestamp": 1_700_000_000 + i * 60}).to_string())
        .collect();
    std::fs::write(world.path("log.ndjson"), lines.join("\n")).unwrap();
    let dry = world.sid(&["import", "log.ndjson", "--dry-run"]).await.ok();
    assert_eq!(dry, "450 messages could be imported\n");
    let done = world.sid(&["import", "log.ndjson", "--json"]).await.json();
    assert_eq!((&done["messages"], &done["first_seq"], &done["last_seq"]), (&json!(450), &json!(1), &json!(450)));
    let again = world.sid(&["import", "log.ndjson", "--json"]).await.json();
    assert_eq!((&again["first_seq"], &again["last_seq"]), (&json!(1), &json!(450)));
    let found = world.sid(&["memory", "search", "line 123", "-k", "1", "--json"]).await.json();
    assert_eq!(found["hits"][0]["at"], "2023-11-15T00:16:20Z", "{found}");

    std::fs::write(world.path("bad.ndjson"), "{\"role\": \"user\", \"text\": \"a\"}\noops\n").unwrap();
    let bad = world.sid(&["import", "bad.ndjson"]).await.fails(1);
    assert!(bad.contains("line 2:") && bad.contains("[SID-CLI-BAD-LOG]"), "{bad}");
    assert!(world.sid(&["import", "none.ndjson"]).await.fails(1).contains("check the path"));

    world.sid(&["export", "all.ndjson"]).await.ok();
    let text = std::fs::read_to_string(world.path("all.ndjson")).unwrap();
    assert!(text.contains("line 449") && text.lines().last().unwrap().contains("\"end\""), "{}", text.len());
    assert!(world.sid(&["export", "all.ndjson"]).await.fails(1).contains("--force"));
    let piped = world.sid(&["export", "-", "--user", "ada"]).await.ok();
    assert_eq!(piped.lines().filter(|l| l.contains("\"kind\":\"message\"")).count(), 450);

    let receipt = world.sid(&["erase", "user", "ada", "--yes", "--json"]).await.json();
    assert_eq!(receipt["messages"], 450);
    assert!(world.sid(&["erase", "user", "ada", "--yes"]).await.fails(1).contains("[SID-STORE-NOT-FOUND]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_backup_says_so_and_leaves_no_file() {
    let world = World::start().await;
    let said = world.sid(&["backup", "copy.db"]).await.fails(1);
    assert!(said.contains("[SID-API-UNSUPPORTED]"), "{said}");
    assert_eq!(std::fs::read_dir(world.folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_what_works_and_what_to_do() {
    let world = World::start().await;
    let said = world.sid(&["doctor"]).await;
    let text = said.ok();
    assert!(text.contains("memory\n") && text.contains("model default\n"), "{text}");
    assert!(text.contains("recall is LEXICAL ONLY"), "{text}");
    assert!(text.lines().any(|l| l.starts_with("good  reachable")), "{text}");
    let unknown = world.sid(&["doctor", "--model", "gpt"]).await.fails(1);
    assert!(unknown.contains("configured: default"), "{unknown}");

    // An endpoint that is not configured, and needs a key.
    let locked = ModelServer::start_with(ServerOptions { api_key: Some("secret".into()), ..ServerOptions::default() }).await.unwrap();
    let url = locked.base_url();
    let refused = run(world.folder.path(), &["doctor", "--url", &url], None).await;
    assert!(refused.out.contains("BAD   auth") && refused.out.contains("→ auth: set api_key"), "{}", refused.out);
    assert!(refused.fails(1).contains("[SID-CLI-UNWELL]"));
    let fine = run(world.folder.path(), &["doctor", "--url", &url, "--model-key", "secret", "--json"], None).await.json();
    let verdicts = fine["checked"][0]["verdicts"].as_array().unwrap();
    assert!(verdicts.iter().any(|v| v["capability"] == "chat" && v["grade"] == "good"), "{fine}");
    let away = run(world.folder.path(), &["doctor", "--url", "http://127.0.0.1:9"], None).await;
    assert!(away.out.contains("BAD  reachable"), "{}", away.out);
    // None of it made a data folder.
    assert_eq!(std::fs::read_dir(world.folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn reindex_tells_how_far_the_vectors_are() {
    let world = World::start().await;
    world.says("The pickles are in the cellar.").await;
    let done = world.sid(&["reindex", "--json"]).await.json();
    let only = &done["items"][0];
    assert_eq!((&only["id"], &only["is_active"], &only["pending"]), (&json!("lexical-hash/384/c1"), &json!(true), &json!(0)), "{done}");
    assert!(only["indexed"].as_u64() >= Some(2), "{done}");
    let table = world.sid(&["reindex", "--status"]).await.ok();
    assert!(table.contains("generation") && table.contains("lexical-hash/384/c1") && table.contains("yes"), "{table}");
    assert!(world.sid(&["reindex", "--status", "--drop-old"]).await.fails(2).contains("--drop-old"));
}
