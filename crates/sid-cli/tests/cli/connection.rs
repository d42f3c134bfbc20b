//! What happens when the other end is away, refuses, or goes away in the middle.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::{World, command, end, run};

#[tokio::test]
async fn nobody_answers() {
    let folder = tempfile::TempDir::new().unwrap();
    let said = run(folder.path(), &["agent", "list", "--server", "http://127.0.0.1:9", "--key", "k"], None).await;
    let err = said.fails(3);
    assert!(err.contains("cannot reach the server at http://127.0.0.1:9/") && err.contains("is it running"), "{err}");
    let said = run(folder.path(), &["agent", "list", "--server", "http://127.0.0.1:9", "--json"], None).await;
    let error: Value = serde_json::from_str(&said.fails(3)).expect("JSON");
    assert_eq!(error["error"]["code"], "SID-CLI-UNREACHABLE");
    let said = run(folder.path(), &["agent", "list", "--server", "127.0.0.1"], None).await;
    assert!(said.fails(2).contains("is not a URL"), "a URL without scheme");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_refused() {
    let world = World::start().await;
    for key in ["sid_abcdefgh_0123456789012345678901234567890123456789012", "nonsense"] {
        let said = run(world.folder.path(), &["agent", "list", "--server", &world.url, "--key", key], None).await;
        assert!(said.fails(4).contains("[SID-API-UNAUTHENTICATED]"));
    }
}

/// A server that cuts its stream of events after each one.
async fn flaky(State(tries): State<Arc<AtomicUsize>>, headers: HeaderMap) -> Response {
    let after: u64 = headers.get("last-event-id").map_or(0, |v| v.to_str().unwrap().parse().unwrap());
    if tries.fetch_add(1, Ordering::SeqCst) == 2 {
        return (StatusCode::SERVICE_UNAVAILABLE, axum::Json(json!({"code": "SID-API-NOT-READY", "status": 503}))).into_response();
    }
    let seq = after + 1;
    let body = match seq {
        1 => json!({"event": "started", "epoch": 1}),
        2 => json!({"event": "text_delta", "text": "hello"}),
        _ => {
            json!({"event": "done", "status": "completed", "stop_reason": "end_turn", "error": null, "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
        }
    };
    let mut event = json!({"run": "run_x", "seq": seq, "at": "2026-01-01T00:00:00Z"});
    event.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    // The second half of the next event never comes.
    let text = format!(": ping\n\nid: {seq}\ndata: {event}\n\ndata: {{\"run\":");
    ([("content-type", "text/event-stream")], Body::from(text)).into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_followed_over_broken_connections() {
    let tries = Arc::new(AtomicUsize::new(0));
    let router = Router::new().route("/api/v1/runs/{id}/events", get(flaky)).with_state(tries.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let folder = tempfile::TempDir::new().unwrap();
    let said = run(folder.path(), &["events", "run_x", "--follow", "--json", "--server", &url], None).await;
    let numbers: Vec<u64> = said.ok().lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(tries.load(Ordering::SeqCst), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn something_that_is_no_sid_server_is_told_apart() {
    let router = Router::new().fallback(|| async { (StatusCode::BAD_GATEWAY, "<h1>Bad gateway</h1>") });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let folder = tempfile::TempDir::new().unwrap();
    let err = run(folder.path(), &["agent", "list", "--server", &url], None).await.fails(1);
    assert!(err.contains("HTTP 502 Bad Gateway: <h1>Bad gateway</h1> [SID-CLI-ODD-ANSWER]"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_is_no_failure() {
    let world = World::start().await;
    for i in 0..3 {
        world.sid(&["user", "create", &format!("u{i}")]).await.ok();
    }
    let arguments = world.arguments(&["user", "list"]);
    let mut command = command(world.folder.path(), &arguments);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let said = end(child).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}
