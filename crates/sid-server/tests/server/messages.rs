//! Saying something: waiting, not waiting, streaming, resuming, repeating.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use sid_testkit::model_server::{Behaviour, Fault, ServerOptions};
use sid_types::ManualClock;

use crate::harness::House;

#[tokio::test]
async fn a_message_waits_for_its_answer() {
    let house = House::new().await;
    let client = &house.operator;
    let id = client.conversation("anna", "uma").await;
    house.model.script([Behaviour::Text("Hello Uma!".into())]);
    let turn = client.post(&format!("/api/v1/conversations/{id}/messages"), json!({"text": "Hi", "at": "2026-05-01T10:00:00Z"})).await.ok();
    assert_eq!(turn["reply"], "Hello Uma!");
    assert_eq!((&turn["run"]["status"], &turn["run"]["stop_reason"]), (&json!("completed"), &json!("end_turn")));
    let messages = turn["messages"].as_array().expect("a list");
    assert_eq!(messages.iter().map(|m| m["role"].as_str()).collect::<Vec<_>>(), [Some("user"), Some("assistant")]);
    assert_eq!(messages[0]["at"], "2026-05-01T10:00:00Z");
    let listed = client.get(&format!("/api/v1/conversations/{id}/messages")).await.ok();
    assert_eq!(listed["items"], turn["messages"]);
    let newest = client.get(&format!("/api/v1/conversations/{id}/messages?order=desc&limit=1")).await.ok();
    assert_eq!((&newest["items"][0]["seq"], &newest["next"]), (&json!(2), &json!("2")));
    let rest = client.get(&format!("/api/v1/conversations/{id}/messages?order=desc&limit=1&after=2")).await.ok();
    assert_eq!((&rest["items"][0]["seq"], &rest["next"]), (&json!(1), &Value::Null));
    let run = turn["run"]["id"].as_str().expect("an id");
    assert_eq!(client.get(&format!("/api/v1/runs/{run}")).await.ok(), turn["run"]);
    assert_eq!(client.get(&format!("/api/v1/runs/{run}/steps")).await.ok()["items"][0]["number"], 1);
    assert_eq!(client.get(&format!("/api/v1/conversations/{id}/runs")).await.ok()["items"][0]["id"], run);
    let context = client.get(&format!("/api/v1/conversations/{id}/context?which=next&text=Hello")).await.ok();
    assert!(context["segments"].as_array().expect("segments").iter().any(|s| s["name"] == "queue"), "{context}");
    assert!(context["prompt_tokens"].as_u64() <= context["window_tokens"].as_u64());
    assert_eq!(client.get(&format!("/api/v1/conversations/{id}/context?which=last")).await.ok()["run"], run);
}

#[tokio::test]
async fn odd_messages_are_refused_and_large_ones_are_not() {
    let house = House::with(&[("models.default.context_window", "4096")], ServerOptions::default()).await;
    let client = &house.operator;
    let id = client.conversation("anna", "uma").await;
    let path = format!("/api/v1/conversations/{id}/messages");
    for (body, words) in [
        (json!({"text": " \n"}), "must not be empty"),
        (json!({"text": "a\u{0}b"}), "NUL"),
        (json!({"text": "x", "on_busy": "panic"}), "unknown variant"),
        (json!({"text": "x", "at": "yesterday"}), "at line"),
        (json!({"text": "x", "limits": {"max_steps": 0}}), "at least 1"),
    ] {
        let answer = client.post(&path, body).await;
        assert_eq!(answer.problem().0, 400);
        assert!(answer.json()["detail"].as_str().expect("detail").contains(words), "{}", answer.json());
    }
    // Ten times the window: stored whole, shown to the model shortened.
    let large = "pickles and more pickles ".repeat(6_600);
    let turn = client.post(&path, json!({"text": large})).await.ok();
    assert_eq!(turn["run"]["status"], "completed", "{}", turn["run"]);
    assert_eq!(turn["messages"][0]["text"].as_str().map(str::len), Some(large.len()));
}

#[tokio::test]
async fn a_failed_run_is_an_answer_and_the_message_is_kept() {
    let house = House::new().await;
    let client = &house.operator;
    let id = client.conversation("anna", "uma").await;
    let path = format!("/api/v1/conversations/{id}/messages");
    house.model.script([Behaviour::Fault(Fault::Unauthorized)]);
    let turn = client.post(&path, json!({"text": "Hi"})).await.ok();
    assert_eq!((&turn["run"]["status"], &turn["run"]["stop_reason"]), (&json!("failed"), &json!("model_refused")));
    assert!(turn["run"]["error"].as_str().expect("an error").contains("api_key"), "{turn}");
    assert_eq!((&turn["reply"], &turn["messages"][0]["text"]), (&json!(""), &json!("Hi")));
    assert_eq!(client.post(&path, json!({"text": "Again"})).await.ok()["run"]["status"], "completed");
}

#[tokio::test]
async fn work_goes_on_without_the_connection() {
    let house = House::with(&[], ServerOptions { delay: Duration::from_millis(150), ..ServerOptions::default() }).await;
    let client = &house.operator;
    let id = client.conversation("anna", "uma").await;
    let path = format!("/api/v1/conversations/{id}/messages");
    let accepted = client.post(&path, json!({"text": "Hi", "wait": false})).await;
    assert_eq!(accepted.status, 202);
    let run = accepted.json()["run"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(accepted.header("location"), format!("/api/v1/runs/{run}"));
    assert!(accepted.json().get("reply").is_none());
    // A client that hangs up in the middle.
    let gone = tokio::time::timeout(Duration::from_millis(50), client.post(&path, json!({"text": "Bye"}))).await;
    assert!(gone.is_err(), "the model takes longer than that");
    let done = client.stream_of(&run, 0, usize::MAX).await;
    assert_eq!(done.last().expect("events").event, "done");
    tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let runs = client.get(&format!("/api/v1/conversations/{id}/runs")).await.ok();
            if runs["items"].as_array().expect("runs").iter().filter(|r| r["status"] == "completed").count() == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("both runs end");
}

#[tokio::test]
async fn a_stream_is_resumed_from_any_event_without_gap_or_repetition() {
    let house = House::with(&[], ServerOptions { chunk_delay: Duration::from_millis(40), ..ServerOptions::default() }).await;
    let client = &house.operator;
    let id = client.conversation("anna", "uma").await;
    house.model.script([Behaviour::Text("one two three four five six seven".into())]);
    let path = format!("/api/v1/conversations/{id}/messages");
    let cut = client.stream(Method::POST, &path, json!({"text": "Count", "stream": true}), 2).await;
    let run = cut[0].json()["run"].as_str().expect("a run").to_owned();
    let rest = client.stream_of(&run, 2, usize::MAX).await;
    let whole = client.stream_of(&run, 0, usize::MAX).await;
    let ids: Vec<u64> = whole.iter().map(|e| e.id.parse().expect("a number")).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    assert_eq!(cut[..2], whole[..2]);
    assert_eq!(rest, whole[2..]);
    let done = whole.last().expect("events");
    assert_eq!((done.event.as_str(), &done.json()["stop_reason"]), ("done", &json!("end_turn")));
    let words: String =
        whole.iter().filter(|e| e.event == "text_delta").map(|e| e.json()["text"].as_str().expect("text").to_owned()).collect();
    // What came shortly before the end is in the committed message only.
    assert!(!words.is_empty() && "one two three four five six seven".starts_with(&words), "{words}");
    let message = whole.iter().find(|e| e.event == "message").expect("a message").json();
    assert_eq!(message["message"]["text"], "one two three four five six seven");
    for after in 0..=ids.len() {
        assert_eq!(client.stream_of(&run, after as u64, usize::MAX).await, whole[after..], "after {after}");
    }
    // Followed live, from the first event to the last.
    house.model.script([Behaviour::Text("eight nine ten eleven twelve thirteen fourteen".into())]);
    let live = client.stream(Method::POST, &path, json!({"text": "Go on", "stream": true}), usize::MAX).await;
    let live_ids: Vec<u64> = live.iter().map(|e| e.id.parse().expect("a number")).collect();
    assert_eq!(live_ids, (1..=live.len() as u64).collect::<Vec<_>>());
    assert_eq!(live.last().expect("events").event, "done");
    // The same as JSON, in pages.
    let page = client.get(&format!("/api/v1/runs/{run}/events?limit=2&after=1")).await.ok();
    assert_eq!(page["items"], json!([whole[1].json(), whole[2].json()]));
    assert_eq!(page["next"], "3");
    let odd = client.with("accept", "text/event-stream").with("last-event-id", "x").get(&format!("/api/v1/runs/{run}/events")).await;
    assert_eq!(odd.problem().0, 400);
    // Access is checked at every attach.
    let stranger = client.user("ben").await.with("accept", "text/event-stream");
    assert_eq!(stranger.get(&format!("/api/v1/runs/{run}/events")).await.problem().0, 404);
}

#[tokio::test]
async fn the_accept_header_asks_for_a_stream_too() {
    let house = House::new().await;
    let id = house.operator.conversation("anna", "uma").await;
    let client = house.operator.with("accept", "text/event-stream");
    let events = client.stream(Method::POST, &format!("/api/v1/conversations/{id}/messages"), json!({"text": "Hi"}), usize::MAX).await;
    assert_eq!(events.last().expect("events").event, "done");
}

#[tokio::test]
async fn a_repeated_message_has_one_effect() {
    let house = House::new().await;
    let id = house.operator.conversation("anna", "uma").await;
    let client = house.operator.with("idempotency-key", "m-1");
    let path = format!("/api/v1/conversations/{id}/messages");
    let body = json!({"text": "Once"});
    let (a, b, c) = tokio::join!(client.post(&path, body.clone()), client.post(&path, body.clone()), client.post(&path, body.clone()));
    assert_eq!(a.ok(), b.ok());
    assert_eq!(b.ok(), c.ok());
    assert_eq!(client.post(&path, json!({"text": "Twice"})).await.problem(), (422, "SID-STORE-KEY-REUSED".into()));
    assert_eq!(client.get(&format!("/api/v1/conversations/{id}")).await.ok()["last_seq"], 2);
    assert_eq!(house.model.chats().len(), 1);
}

#[tokio::test]
async fn a_busy_conversation_queues_rejects_or_is_interrupted() {
    let options = ServerOptions { delay: Duration::from_millis(300), ..ServerOptions::default() };
    let house = House::with(&[("server.queue_depth", "2")], options).await;
    let client = &house.operator;
    let id = client.conversation("anna", "uma").await;
    let path = format!("/api/v1/conversations/{id}/messages");
    let send = async |text: &str, on_busy: &str| client.post(&path, json!({"text": text, "on_busy": on_busy, "wait": false})).await;
    let first = send("one", "queue").await.ok();
    assert_eq!(send("no", "reject").await.problem(), (409, "SID-STORE-BUSY".into()));
    send("two", "queue").await.ok();
    send("three", "queue").await.ok();
    let full = send("four", "queue").await;
    assert_eq!(full.problem(), (429, "SID-STORE-QUEUE-FULL".into()));
    assert!(!full.header("retry-after").is_empty());
    let run = first["run"]["id"].as_str().expect("an id");
    let cancelled = client.post(&format!("/api/v1/runs/{run}/cancel"), json!({})).await.ok();
    assert_eq!(cancelled["cancel_requested"], true);
    let events = client.stream_of(run, 0, usize::MAX).await;
    assert_eq!(events.last().expect("events").json()["stop_reason"], "cancelled");
    assert_eq!(client.post(&path, json!({"text": "five"})).await.ok()["run"]["status"], "completed");
    let texts: Vec<Value> = client.get(&format!("{path}?limit=100")).await.ok()["items"].as_array().expect("a list").clone();
    let said: Vec<&str> = texts.iter().filter(|m| m["role"] == "user").map(|m| m["text"].as_str().expect("text")).collect();
    assert_eq!(said, ["one", "two", "three", "five"]);
}

impl crate::harness::Client {
    async fn stream_of(&self, run: &str, after: u64, most: usize) -> Vec<crate::harness::Sse> {
        let client = self.with("accept", "text/event-stream").with("last-event-id", &after.to_string());
        client.stream(Method::GET, &format!("/api/v1/runs/{run}/events"), Value::Null, most).await
    }
}

#[tokio::test]
async fn a_stream_of_a_run_whose_events_have_gone_tells_its_end() {
    let clock = Arc::new(ManualClock::new("2026-05-01T10:00:00Z".parse().expect("a time")));
    let house = House::at(clock.clone(), &[], ServerOptions::default()).await;
    let client = &house.operator;
    let id = client.conversation("anna", "uma").await;
    let turn = client.post(&format!("/api/v1/conversations/{id}/messages"), json!({"text": "Hi"})).await.ok();
    let run = turn["run"]["id"].as_str().expect("an id");
    let whole = client.stream_of(run, 0, usize::MAX).await;
    assert!(whole.len() > 2, "{whole:?}");
    clock.advance(jiff::SignedDuration::from_hours(8 * 24));
    while house.app.store().maintain().await.expect("maintained") {}
    let rest = client.stream_of(run, 0, usize::MAX).await;
    assert_eq!(rest.iter().map(|e| e.event.as_str()).collect::<Vec<_>>(), ["done"], "{rest:?}");
    let (end, before) = (rest[0].json(), whole.last().expect("an end").json());
    assert_eq!((&end["status"], &end["stop_reason"]), (&before["status"], &before["stop_reason"]));
}
