//! Probes, metrics, a real port, and the way down.

use std::time::Duration;

use serde_json::json;
use sid_testkit::model_server::ServerOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::House;

#[tokio::test]
async fn probes_need_no_key_and_follow_the_drain() {
    let house = House::new().await;
    let nobody = house.operator.nobody();
    for path in ["/health/live", "/livez", "/health/ready", "/readyz", "/health"] {
        assert_eq!(nobody.get(path).await.status, 200, "{path}");
    }
    assert_eq!(nobody.get("/health/ready").await.ok()["embedder"], "lexical");
    house.app.shutdown().await;
    assert_eq!(nobody.get("/health/live").await.status, 200);
    let refused = nobody.get("/health/ready").await;
    assert_eq!(refused.problem(), (503, "SID-API-NOT-READY".into()));
    let id = house.operator.conversation("anna", "uma").await;
    let message = house.operator.post(&format!("/api/v1/conversations/{id}/messages"), json!({"text": "Hi"})).await;
    assert_eq!(message.problem(), (503, "SID-CORE-DRAINING".into()));
    assert!(!message.header("retry-after").is_empty());
}

async fn http(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    answer
}

#[tokio::test]
async fn a_server_on_a_port_drains_its_runs_before_it_ends() {
    let house = House::with(&[], ServerOptions { delay: Duration::from_millis(400), ..ServerOptions::default() }).await;
    let id = house.operator.conversation("anna", "uma").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let app = house.app.clone();
    let serving = tokio::spawn(async move { app.serve(listener, async { drop(stopped.await) }).await });

    let metrics = http(address, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(metrics.contains("sid_http_requests_total") && metrics.contains("sid_process_resident_bytes"), "{metrics}");
    let proxied = http(address, "GET /metrics HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 9.9.9.9\r\nconnection: close\r\n\r\n").await;
    assert!(proxied.starts_with("HTTP/1.1 401"), "a proxy on this machine is not this machine");

    let key = house.app.first_key().expect("new").to_owned();
    let body = json!({"text": "Hi"}).to_string();
    let request = format!(
        "POST /api/v1/conversations/{id}/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let waiting = tokio::spawn(async move { http(address, &request).await });
    tokio::time::sleep(Duration::from_millis(150)).await;
    stop.send(()).expect("the server runs");
    let answer = waiting.await.expect("no panic");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"completed\""), "{answer}");
    tokio::time::timeout(Duration::from_secs(10), serving).await.expect("ends").expect("no panic").expect("no error");
    assert!(TcpStream::connect(address).await.is_err(), "the port is free again");
}

#[tokio::test]
async fn the_store_is_open_until_the_last_connection_has_ended() {
    let house = House::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let app = house.app.clone();
    let serving = tokio::spawn(async move { app.serve(listener, async { drop(stopped.await) }).await });
    let mut slow = TcpStream::connect(address).await.expect("connects");
    slow.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n").await.expect("written");
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.send(()).expect("the server runs");
    let app = house.app.clone();
    let mut closed = tokio::spawn(async move { app.shutdown().await });
    assert!(tokio::time::timeout(Duration::from_millis(700), &mut closed).await.is_err(), "closed under a request that was on its way");
    slow.write_all(b"\r\n").await.expect("written");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.expect("read");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    tokio::time::timeout(Duration::from_secs(5), closed).await.expect("ends").expect("no panic");
    tokio::time::timeout(Duration::from_secs(5), serving).await.expect("ends").expect("no panic").expect("no error");
}

#[tokio::test]
async fn requests_are_counted_where_they_have_no_limit_too() {
    let options = ServerOptions { delay: Duration::from_millis(300), ..ServerOptions::default() };
    let house = House::with(&[("server.max_requests", "0")], options).await;
    let id = house.operator.conversation("anna", "uma").await;
    let in_flight = async || {
        let metrics = house.operator.get("/metrics").await;
        let text = String::from_utf8(metrics.body.to_vec()).expect("text");
        let line = text.lines().find(|l| l.starts_with("sid_http_requests_in_flight ")).expect("a gauge").to_owned();
        line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number")
    };
    let before = in_flight().await;
    let client = house.operator.clone();
    let path = format!("/api/v1/conversations/{id}/messages");
    let asking = tokio::spawn(async move { client.post(&path, json!({"text": "Hi"})).await });
    let mut seen = before;
    while !asking.is_finished() {
        seen = in_flight().await.max(seen);
    }
    assert_eq!(asking.await.expect("no panic").status, 200);
    assert!((seen - before - 1.0).abs() < f64::EPSILON, "{before}, then {seen}");
}

#[tokio::test]
async fn an_open_stream_does_not_hold_the_server_up() {
    let house =
        House::with(&[("server.drain_timeout_ms", "300")], ServerOptions { delay: Duration::from_secs(30), ..ServerOptions::default() })
            .await;
    let id = house.operator.conversation("anna", "uma").await;
    let path = format!("/api/v1/conversations/{id}/messages");
    let client = house.operator.clone();
    let stream =
        tokio::spawn(
            async move { client.stream(axum::http::Method::POST, &path, json!({"text": "Hi", "stream": true}), usize::MAX).await },
        );
    let client = house.operator.conversation("anna", "ben").await;
    let waiting = house.operator.clone();
    let waiting =
        tokio::spawn(async move { waiting.post(&format!("/api/v1/conversations/{client}/messages"), json!({"text": "Hi"})).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    tokio::time::timeout(Duration::from_secs(5), house.app.shutdown()).await.expect("a bounded drain");
    let events = tokio::time::timeout(Duration::from_secs(5), stream).await.expect("ends").expect("no panic");
    assert!(events.iter().all(|e| e.event != "done") || events.last().is_some_and(|e| e.event == "done"));
    let answer = tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("ends").expect("no panic");
    assert!(answer.status == 202 || answer.status == 200, "{answer:?}");
}

#[tokio::test]
async fn models_are_listed_discovered_and_probed() {
    let options = ServerOptions { flavour: sid_testkit::model_server::Flavour::Vllm, window: Some(16_384), ..ServerOptions::default() };
    let house = House::with(&[], options).await;
    let model = async |client: &crate::harness::Client| client.get("/api/v1/models").await.ok()["items"][0].clone();
    tokio::time::timeout(Duration::from_secs(5), async {
        while model(&house.operator).await["discovery"] != "done" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("discovered");
    let found = model(&house.operator).await;
    assert_eq!((&found["engine"], &found["context_window"], &found["is_default"]), (&json!("vllm"), &json!(16_384), &json!(true)));
    assert!(found["base_url"].as_str().is_some());
    let tenant = house.tenant("acme").await;
    assert!(model(&tenant).await.get("base_url").is_none(), "where models are is the operator's business");
    let probed = house.operator.post("/api/v1/models/default/probe", json!({})).await.ok();
    let verdicts = probed["verdicts"].as_array().expect("verdicts");
    assert!(verdicts.iter().any(|v| v["capability"] == "chat" && v["ok"] == true), "{probed}");
    assert_eq!(house.operator.post("/api/v1/models/none/probe", json!({})).await.problem().0, 404);
}
