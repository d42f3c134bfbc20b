//! Refusals: each names the place, has a stable code, and says what to do.

use axum::http::Method;
use serde_json::json;

use crate::harness::House;

#[tokio::test]
async fn every_refusal_is_a_problem_with_a_code() {
    let house = House::with(&[("server.body_limit_bytes", "20000")], Default::default()).await;
    let check = async |method: Method, path: &str, body: Vec<u8>, status: u16, code: &str, words: &str| {
        let answer = house.operator.raw(method, path, body).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{path}");
        let detail = answer.json()["detail"].as_str().expect("detail").to_owned();
        assert!(detail.contains(words), "{detail}");
    };
    let users = "/api/v1/users";
    check(Method::GET, "/api/v1/nothing", vec![], 404, "SID-API-NO-ROUTE", "/api/v1/nothing").await;
    check(Method::GET, "/", vec![], 404, "SID-API-NO-ROUTE", "openapi.json").await;
    check(Method::DELETE, users, vec![], 405, "SID-API-METHOD", "DELETE").await;
    check(Method::POST, users, b"{\"handle\": ".to_vec(), 400, "SID-API-BAD-JSON", "line 1 column").await;
    check(Method::POST, users, b"{\"handle\": \"caf\xe9\"}".to_vec(), 400, "SID-API-INVALID-UTF8", "byte at 15").await;
    check(Method::POST, users, br#"{"handle": "\ud800"}"#.to_vec(), 400, "SID-API-BAD-JSON", "hex escape").await;
    check(Method::POST, users, b"{\"handle\": \"a\", \"colour\": 1}".to_vec(), 400, "SID-API-UNKNOWN-FIELD", "`colour`").await;
    check(Method::POST, users, b"{}".to_vec(), 400, "SID-API-BAD-REQUEST", "`handle`").await;
    check(Method::POST, users, b"".to_vec(), 400, "SID-API-BAD-REQUEST", "`handle`").await;
    check(Method::POST, users, b"{\"handle\": 7}".to_vec(), 400, "SID-API-BAD-REQUEST", "expected a string").await;
    check(Method::POST, users, b"{\"handle\": \"@a\"}".to_vec(), 400, "SID-API-BAD-REQUEST", "must not begin with `@`").await;
    check(Method::POST, users, b"{\"handle\": \"a\\u0000\"}".to_vec(), 400, "SID-API-BAD-REQUEST", "control").await;
    check(Method::POST, users, vec![b' '; 20_001], 413, "SID-API-BODY-TOO-LARGE", "20000").await;
    check(Method::GET, "/api/v1/users?limt=3", vec![], 400, "SID-API-UNKNOWN-FIELD", "limt").await;
    check(Method::GET, "/api/v1/users?limit=x", vec![], 400, "SID-API-BAD-REQUEST", "query string").await;
    check(Method::GET, "/api/v1/users?limit=0", vec![], 400, "SID-API-BAD-REQUEST", "1 to 1000").await;
    check(Method::GET, "/api/v1/users/%FF", vec![], 400, "SID-API-BAD-REQUEST", "path").await;
    check(Method::GET, "/api/v1/users/nonsense", vec![], 404, "SID-STORE-NOT-FOUND", "user not found").await;
    check(Method::GET, "/api/v1/agents/@nobody", vec![], 404, "SID-STORE-NOT-FOUND", "agent not found").await;
    check(Method::POST, "/api/v1/agents", br#"{"name": "a", "model": "gpt"}"#.to_vec(), 422, "SID-CORE-UNKNOWN-MODEL", "[models.gpt]")
        .await;
    check(Method::POST, "/api/v1/users", br#"{"handle": "a", "timezone": "Mars"}"#.to_vec(), 400, "SID-API-BAD-REQUEST", "Europe/Berlin")
        .await;
    check(Method::POST, "/api/v1/backup", vec![], 501, "SID-API-UNSUPPORTED", "in-process").await;
    house.operator.post(users, json!({"handle": "twice"})).await.ok();
    check(Method::POST, users, br#"{"handle": "twice"}"#.to_vec(), 409, "SID-STORE-EXISTS", "`twice`").await;
}

#[tokio::test]
async fn a_body_of_unknown_length_is_cut_at_the_limit_too() {
    let house = House::with(&[("server.body_limit_bytes", "2000")], Default::default()).await;
    let pieces = futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>(vec![b' '; 100])));
    let answer = house.operator.raw(Method::POST, "/api/v1/users", axum::body::Body::from_stream(pieces)).await;
    assert_eq!(answer.problem(), (413, "SID-API-BODY-TOO-LARGE".to_owned()));
}

#[tokio::test]
async fn the_clients_request_id_comes_back_if_it_is_harmless() {
    let house = House::new().await;
    let echoed = house.operator.with("x-request-id", "abc-1").get("/api/v1/users").await;
    assert_eq!(echoed.header("x-request-id"), "abc-1");
    let long = "x".repeat(200);
    let replaced = house.operator.with("x-request-id", &long).get("/api/v1/users").await;
    assert!(replaced.header("x-request-id").starts_with("req_"));
}

#[tokio::test]
async fn limits_answer_with_retry_after() {
    let house = House::with(&[("server.rate_limit_per_second", "2")], Default::default()).await;
    let mut refused = None;
    for _ in 0..10 {
        let answer = house.operator.get("/api/v1/users").await;
        if !answer.status.is_success() {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("the burst is four");
    assert_eq!(refused.problem(), (429, "SID-API-RATE-LIMITED".to_owned()));
    assert_eq!(refused.header("retry-after"), "1");
}
