//! Blocks, passages, search, diary, export.

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::House;

#[tokio::test]
async fn blocks_are_edited_with_history_conflict_and_undo() {
    let house = House::new().await;
    let client = &house.operator;
    client.post("/api/v1/users", json!({"handle": "uma"})).await.ok();
    let owner = json!({"type": "user", "user": "@uma"});
    let made = client.post("/api/v1/blocks", json!({"owner": owner, "label": "likes", "value": "tea", "limit_chars": 20})).await;
    assert_eq!((made.status.as_u16(), made.header("etag")), (201, "\"1\""));
    let path = format!("/api/v1/blocks/{}", made.json()["id"].as_str().expect("an id"));
    let edit = async |body: Value| client.patch(&path, body).await;
    assert_eq!(edit(json!({"op": "append", "text": "cake"})).await.ok()["value"], "tea\ncake");
    assert_eq!(edit(json!({"op": "replace", "old": "cake", "new": "pie"})).await.ok()["value"], "tea\npie");
    assert_eq!(edit(json!({"op": "replace", "old": "soup", "new": ""})).await.problem(), (422, "SID-STORE-INVALID".into()));
    assert_eq!(edit(json!({"op": "set", "value": "x".repeat(21)})).await.problem(), (422, "SID-STORE-TOO-LARGE".into()));
    assert_eq!(edit(json!({"op": "set", "value": "x", "text": "y"})).await.problem().0, 400);
    assert_eq!(edit(json!({"op": "burn"})).await.problem().0, 400);
    let stale = client.with("if-match", "\"1\"").patch(&path, json!({"op": "set", "value": "x"})).await;
    assert_eq!(stale.problem(), (412, "SID-STORE-CONFLICT".into()));
    let fresh = client.with("if-match", "3").patch(&path, json!({"op": "set", "value": "milk"})).await;
    assert_eq!((fresh.ok()["version"].as_u64(), fresh.header("etag")), (Some(4), "\"4\""));
    assert_eq!(client.with("if-match", "three").patch(&path, json!({"op": "set", "value": "x"})).await.problem().0, 400);
    let undo = async |body: Value| client.post(&format!("{path}/undo"), body).await;
    assert_eq!(undo(json!({})).await.ok()["value"], "tea\npie");
    assert_eq!(undo(json!({"to_version": 1})).await.ok()["value"], "tea");
    assert_eq!(undo(json!({"to_version": 99})).await.problem().0, 404);
    let history = client.get(&format!("{path}/history")).await.ok();
    let versions = history["items"].as_array().expect("a list");
    assert_eq!(versions.iter().map(|v| v["version"].as_u64().expect("a number")).collect::<Vec<_>>(), [6, 5, 4, 3, 2, 1]);
    assert_eq!((&versions[0]["provenance"]["channel"], &versions[2]["edit"]["op"]), (&json!("undo"), &json!("set")));
    let listed = client.get("/api/v1/blocks?owner_type=user&user=@uma").await.ok();
    assert_eq!(listed["items"][0]["label"], "likes");
    assert_eq!(client.get("/api/v1/blocks?owner_type=user").await.problem().0, 400);
    assert_eq!(client.get("/api/v1/blocks?owner_type=tenant&user=@uma").await.problem().0, 400);
    // Undo of a block that was never edited.
    let young = client.post("/api/v1/blocks", json!({"owner": {"type": "tenant"}, "label": "young"})).await.ok();
    let path = format!("/api/v1/blocks/{}/undo", young["id"].as_str().expect("an id"));
    assert_eq!(client.raw(Method::POST, &path, "").await.problem(), (422, "SID-STORE-INVALID".into()));
}

#[tokio::test]
async fn blocks_are_linked_to_other_agents() {
    let house = House::new().await;
    let client = &house.operator;
    let anna = client.post("/api/v1/agents", json!({"name": "anna"})).await.ok()["id"].clone();
    client.post("/api/v1/agents", json!({"name": "bert"})).await.ok();
    let block = client.post("/api/v1/blocks", json!({"owner": {"type": "agent", "agent": anna}, "label": "shared"})).await.ok();
    let link = format!("/api/v1/blocks/{}/links/@bert", block["id"].as_str().expect("an id"));
    let put = client.put(&link, json!({"access": "write"})).await;
    assert!(put.status == 204 || put.problem().0 == 422, "{put:?}");
    assert_eq!(client.put(&link, json!({"access": "own"})).await.problem().0, 400);
    assert_eq!(client.delete(&link).await.status, 204);
}

#[tokio::test]
async fn passages_and_messages_are_found_by_whom_they_belong_to() {
    let house = House::new().await;
    let tenant = house.tenant("acme").await;
    let conversation = tenant.conversation("anna", "uma").await;
    let uma = tenant.user("uma").await;
    let ben = tenant.user("ben").await;
    let messages = json!([
        {"role": "user", "text": "My sister Clara pickles cucumbers every autumn", "at": "2026-01-02T03:04:05Z", "id": "slack-1"},
        {"role": "assistant", "text": "That sounds delicious.", "speaker": "Anna"},
    ]);
    let import = format!("/api/v1/conversations/{conversation}/import");
    let first = tenant.post(&import, json!({"messages": messages})).await.ok();
    assert_eq!(first["messages"].as_array().expect("a list").iter().map(|m| m["seq"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2)]);
    let keyed = tenant.with("idempotency-key", "i-1");
    let third = json!({"messages": [{"role": "user", "text": "third"}]});
    assert_eq!(keyed.post(&import, third.clone()).await.ok(), keyed.post(&import, third).await.ok());
    assert_eq!(keyed.post(&import, json!({"messages": [{"role": "user", "text": "other"}]})).await.problem().0, 422);
    let again = tenant.post(&import, json!({"messages": [messages[0]]})).await.ok();
    assert_eq!(again["messages"][0], first["messages"][0], "the same name again changes nothing");
    assert_eq!(tenant.post(&import, json!({"messages": []})).await.problem().0, 400);
    assert_eq!(tenant.post(&import, json!({"messages": [{"role": "tool", "text": "x"}]})).await.problem().0, 400);

    let passage =
        json!({"owner": {"type": "user", "user": "@uma"}, "text": "Clara's recipe needs dill and mustard seed", "tags": ["food"]});
    let passage = uma.post("/api/v1/passages", passage).await.ok();
    assert_eq!(ben.get(&format!("/api/v1/passages/{}", passage["id"].as_str().expect("an id"))).await.problem().0, 404);
    let query = json!({"query": "who pickles cucumbers with dill", "wait_for_index_ms": 5000});
    let seen = uma.post("/api/v1/search", query.clone()).await.ok();
    let kinds: Vec<&str> = seen["hits"].as_array().expect("hits").iter().map(|h| h["kind"].as_str().expect("a kind")).collect();
    assert!(kinds.contains(&"message") && kinds.contains(&"passage"), "{seen}");
    assert!(seen["hits"][0]["channels"]["bm25"].as_f64().expect("a score") > 0.0);
    assert_eq!(seen["index"]["pending"], 0);
    assert!(ben.post("/api/v1/search", query.clone()).await.ok()["hits"].as_array().expect("hits").is_empty());
    let filtered = json!({"query": "Clara", "agent": "@anna", "user": "@uma", "kinds": ["message"], "role": "user", "k": 1});
    let hits = tenant.post("/api/v1/search", filtered).await.ok();
    assert_eq!(hits["hits"][0]["seq"], 1);
    assert_eq!(hits["hits"][0]["at"], "2026-01-02T03:04:05Z");
    for bad in [json!({"query": " "}), json!({"query": "x", "k": 0}), json!({"query": "x", "kinds": ["blob"]})] {
        assert_eq!(uma.post("/api/v1/search", bad).await.problem().0, 400);
    }
    let through_ben = json!({"query": "Clara", "user": "@ben"});
    assert_eq!(uma.post("/api/v1/search", through_ben).await.problem().0, 404);

    let path = format!("/api/v1/passages/{}", passage["id"].as_str().expect("an id"));
    assert_eq!(tenant.get("/api/v1/passages?owner_type=user&user=@uma").await.ok()["items"][0]["tags"], json!(["food"]));
    assert_eq!(uma.delete(&path).await.status, 204);
    assert_eq!(uma.delete(&path).await.problem().0, 404);
    assert_eq!(tenant.get("/api/v1/diary?agent=@anna&user=@uma").await.ok()["items"], json!([]));
    assert_eq!(tenant.get("/api/v1/diary").await.problem().0, 400);
}

#[tokio::test]
async fn an_export_holds_all_of_a_user_and_nothing_of_others() {
    let house = House::new().await;
    let tenant = house.tenant("acme").await;
    let mut conversations = Vec::new();
    for user in ["uma", "ben"] {
        let id = tenant.conversation("anna", user).await;
        let text = format!("canary of {user}");
        tenant.post(&format!("/api/v1/conversations/{id}/messages"), json!({"text": text})).await.ok();
        let owner = json!({"type": "pair", "agent": "@anna", "user": format!("@{user}")});
        tenant.post("/api/v1/passages", json!({"owner": owner, "text": text})).await.ok();
        conversations.push(id);
    }
    let lines = |body: &[u8]| -> Vec<Value> {
        std::str::from_utf8(body).expect("text").lines().map(|l| serde_json::from_str(l).expect("JSON")).collect()
    };
    let all = lines(&tenant.get("/api/v1/export").await.body);
    let count = |lines: &[Value], kind: &str| lines.iter().filter(|l| l["kind"] == kind).count();
    assert_eq!((count(&all, "user"), count(&all, "agent"), count(&all, "conversation"), count(&all, "passage")), (2, 1, 2, 2));
    assert_eq!(count(&all, "message"), 4);
    assert_eq!(count(&all, "block"), 4, "persona and human of each pair");
    let last = all.last().expect("an end");
    assert_eq!((&last["kind"], last["lines"].as_u64()), (&json!("end"), Some(all.len() as u64 - 1)));
    let uma = tenant.user("uma").await;
    for answer in [uma.get("/api/v1/export").await, tenant.get("/api/v1/export?user=@uma").await] {
        assert_eq!(answer.header("content-type"), "application/x-ndjson");
        let text = String::from_utf8_lossy(&answer.body);
        assert!(text.contains("canary of uma") && !text.contains("canary of ben"));
        let own = lines(&answer.body);
        assert_eq!((count(&own, "user"), count(&own, "conversation"), count(&own, "message")), (1, 1, 2));
    }
    assert_eq!(uma.get("/api/v1/export?user=@ben").await.problem().0, 404);
}
