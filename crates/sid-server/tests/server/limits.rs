//! What tenants may use up, and what becomes of calls to a model endpoint that fails.

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, House};

async fn say(client: &Client, conversation: &str) -> Value {
    client.post(&format!("/api/v1/conversations/{conversation}/messages"), json!({"text": "Hi"})).await.ok()["run"].clone()
}

#[tokio::test]
async fn a_tenants_keys_share_its_requests_and_others_have_their_own() {
    let house = House::with(&[("limits.requests_per_second", "5")], Default::default()).await;
    let (acme, other) = (house.tenant("acme").await, house.tenant("other").await);
    let uma = acme.user("uma").await;
    let first = acme.get("/api/v1/users").await;
    assert_eq!(first.header("ratelimit-policy"), "\"tenant\";q=5;w=1");
    assert!(first.header("ratelimit").starts_with("\"tenant\";r="), "{}", first.header("ratelimit"));
    assert_eq!(first.header("x-ratelimit-limit-requests"), "5");
    assert!(!first.header("x-ratelimit-remaining-requests").is_empty());
    let mut refused = None;
    for i in 0..1_000 {
        let client = if i % 2 == 0 { &acme } else { &uma };
        let answer = client.get("/api/v1/agents").await;
        if !answer.status.is_success() {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("five a second");
    assert_eq!(refused.problem(), (429, "SID-API-RATE-LIMITED".to_owned()));
    assert_eq!((refused.header("retry-after"), refused.header("x-ratelimit-remaining-requests")), ("1", "0"));
    assert_eq!(refused.header("ratelimit"), "\"tenant\";r=0;t=1");
    other.get("/api/v1/users").await.ok();
    // Operators look after tenants and are not counted.
    for _ in 0..30 {
        assert_eq!(house.operator.with("x-sid-tenant", "acme").get("/api/v1/users").await.header("ratelimit"), "");
    }
    // The tenant's own limit takes the place of the configured one, at once.
    house.operator.put("/api/v1/tenants/@acme/limits", json!({"requests_per_second": 0})).await.ok();
    for _ in 0..30 {
        assert_eq!(acme.get("/api/v1/users").await.header("ratelimit"), "");
    }
}

#[tokio::test]
async fn keys_have_limits_of_their_own_with_the_same_headers() {
    let house = House::with(&[("server.rate_limit_per_second", "2")], Default::default()).await;
    let mut last = house.operator.get("/api/v1/tenants").await;
    for _ in 0..1_000 {
        if !last.status.is_success() {
            break;
        }
        last = house.operator.get("/api/v1/tenants").await;
    }
    assert_eq!(last.problem(), (429, "SID-API-RATE-LIMITED".to_owned()));
    assert_eq!(last.header("ratelimit-policy"), "\"key\";q=2;w=1");
}

#[tokio::test]
async fn limits_are_the_operators() {
    let house = House::with(&[("limits.tokens_per_day", "1000"), ("limits.tokens_per_month", "9000")], Default::default()).await;
    let acme = house.tenant("acme").await;
    let uma = acme.user("uma").await;
    let path = "/api/v1/tenants/@acme/limits";
    for client in [&acme, &uma] {
        for method in [Method::GET, Method::PUT] {
            let answer = client.raw(method, path, json!({"tokens_per_day": 0}).to_string()).await;
            assert_eq!(answer.problem(), (403, "SID-API-FORBIDDEN".into()));
        }
    }
    let shown = house.operator.get(path).await.ok();
    let no_caps = json!({"runs_per_hour": null, "runs_per_day": null, "tokens_per_day": null});
    let set = |tokens: Value, caps: Value| json!({"requests_per_second": null, "tokens_per_day": tokens, "tokens_per_month": null, "keep_conversations_days": null, "caps": caps});
    let in_force = |answer: &Value| {
        let mut limits = answer["limits"].clone();
        let caps = limits.as_object_mut().and_then(|l| l.remove("caps")).expect("caps");
        (limits, caps["runs_per_day"].clone())
    };
    let limits =
        |tokens: u64| json!({"requests_per_second": 0, "tokens_per_day": tokens, "tokens_per_month": 9_000, "keep_conversations_days": 0});
    assert_eq!(shown["set"], set(Value::Null, no_caps.clone()));
    assert_eq!(in_force(&shown), (limits(1_000), json!(1_000_000)));
    let put = house.operator.put(path, json!({"tokens_per_day": 5, "caps": {"runs_per_day": 7}})).await.ok();
    assert_eq!(put["set"], set(json!(5), json!({"runs_per_hour": null, "runs_per_day": 7, "tokens_per_day": null})));
    assert_eq!(in_force(&put), (limits(5), json!(7)));
    assert_eq!(house.operator.get(path).await.ok(), put);
    assert_eq!(house.operator.put(path, json!({})).await.ok()["set"], set(Value::Null, no_caps));
    for bad in [json!({"tokens": 1}), json!({"tokens_per_day": -1}), json!({"tokens_per_day": "5"})] {
        assert_eq!(house.operator.put(path, bad.clone()).await.problem().0, 400, "{bad}");
    }
    for nobody in ["@nobody", "x", "tenant_0000000000000000000000000a"] {
        let answer = house.operator.put(&format!("/api/v1/tenants/{nobody}/limits"), json!({})).await;
        assert_eq!(answer.problem(), (404, "SID-STORE-NOT-FOUND".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_without_tokens_gets_no_answer_and_keeps_its_message() {
    let house = House::with(&[], Default::default()).await;
    let acme = house.tenant("acme").await;
    let conversation = acme.conversation("anna", "uma").await;
    let run = say(&acme, &conversation).await;
    let path = "/api/v1/tenants/@acme/limits";
    let used = house.operator.get(path).await.ok()["tokens_today"].as_u64().expect("a number");
    let usage = |name: &str| run["usage"][name].as_u64().expect("a number");
    assert_eq!(used, usage("prompt_tokens") + usage("completion_tokens"));
    house.operator.put(path, json!({"tokens_per_day": used})).await.ok();
    let run = say(&acme, &conversation).await;
    assert_eq!((&run["status"], &run["stop_reason"]), (&json!("failed"), &json!("budget")), "{run}");
    assert!(run["error"].as_str().expect("says why").contains("SID-CORE-BUDGET"), "{run}");
    let answer =
        acme.post("/v1/chat/completions", json!({"model": "anna", "user": "uma", "messages": [{"role": "user", "content": "Hi"}]})).await;
    assert_eq!(answer.status, 502);
    assert!(answer.json()["error"]["message"].as_str().expect("a message").contains("tokens"), "{}", answer.json());
    let messages = acme.get(&format!("/api/v1/conversations/{conversation}/messages")).await.ok();
    let said = messages["items"].as_array().expect("items").iter().filter(|m| m["role"] == "user").count();
    assert_eq!(said, 2, "both are kept: {messages}");
    house.operator.put(path, json!({})).await.ok();
    assert_eq!(say(&acme, &conversation).await["stop_reason"], "end_turn");
    assert_eq!(house.operator.get(path).await.ok()["tokens_reserved"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_keeps_failing_is_left_alone() {
    let flags =
        [("models.default.breaker_min_calls", "3"), ("models.default.breaker_pause_ms", "600000"), ("server.public_metrics", "true")];
    let house = House::with(&flags, Default::default()).await;
    let acme = house.tenant("acme").await;
    let conversation = acme.conversation("anna", "uma").await;
    let fail = async || {
        let text = json!({"text": "#fault:server-error"});
        acme.post(&format!("/api/v1/conversations/{conversation}/messages"), text).await.ok()["run"].clone()
    };
    for _ in 0..3 {
        let run = fail().await;
        assert_eq!(run["stop_reason"], "model_unavailable");
        assert!(run["error"].as_str().expect("why").contains("status 500"), "{run}");
    }
    let run = say(&acme, &conversation).await;
    assert_eq!((&run["status"], &run["stop_reason"]), (&json!("failed"), &json!("model_unavailable")));
    assert!(run["error"].as_str().expect("why").contains("left alone"), "{run}");
    let metrics = house.operator.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    // Tests of one process share the recorder, and in it the name of the model.
    for name in [
        "sid_model_breaker_state{model=\"default\"}",
        "sid_model_breaker_opened_total{model=\"default\"}",
        "sid_model_retries_refused_total{",
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
    let messages = acme.get(&format!("/api/v1/conversations/{conversation}/messages")).await.ok();
    assert_eq!(messages["items"].as_array().expect("items").len(), 4, "every message is kept");
}
