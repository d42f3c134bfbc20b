//! Who may do what: every route of the OpenAPI document, with no key, odd keys, and keys of others.

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, House};

/// Every operation: method and path with its parameters left in.
async fn operations(client: &Client) -> Vec<(Method, String)> {
    let document = client.nobody().get("/openapi.json").await.ok();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("an item").keys() {
            all.push((method.to_ascii_uppercase().parse().expect("a method"), path.clone()));
        }
    }
    assert!(all.len() > 50, "{}", all.len());
    all
}

fn fill(path: &str, id: &str) -> String {
    let mut filled = String::new();
    for piece in path.split('/') {
        filled.push('/');
        filled.push_str(if piece.starts_with('{') { id } else { piece });
    }
    filled.trim_start_matches('/').to_owned()
}

#[tokio::test]
async fn without_a_key_every_route_answers_401() {
    let house = House::new().await;
    let key = house.app.first_key().expect("new").to_owned();
    let mut cut = key.clone();
    cut.pop();
    let mut other = key.clone();
    other.replace_range(55..56, if key.ends_with('0') { "1" } else { "0" });
    let nobody = house.operator.nobody();
    let strangers = [
        nobody.clone(),
        nobody.with("authorization", "Bearer []"),
        nobody.with("authorization", &format!("Bearer [\"{key}\"]")),
        nobody.with("authorization", "Bearer {}"),
        nobody.with("authorization", "Bearer true"),
        nobody.with("authorization", "Bearer 0"),
        nobody.with("authorization", "Bearer undefined"),
        nobody.with("authorization", "Bearer eyJhbGciOiJub25lIn0.e30."),
        nobody.with("x-api-key", ""),
        // The same spelling twice.
        nobody.with("authorization", &format!("Bearer {key}")).with("authorization", &format!("Bearer {key}")),
        nobody.with("authorization", ""),
        nobody.with("authorization", "Bearer "),
        nobody.with("authorization", "Bearer null"),
        nobody.with("authorization", &format!("Basic {key}")),
        nobody.with("authorization", &format!("Bearer {cut}")),
        nobody.with("authorization", &format!("Bearer {other}")),
        nobody.with("x-api-key", &other),
        nobody.with("x-api-key", "' OR 1=1 --"),
        nobody.with("cookie", &format!("key={key}")),
        // Two spellings that disagree.
        nobody.with("authorization", &format!("Bearer {key}")).with("x-api-key", &other),
    ];
    for (method, path) in operations(&house.operator).await {
        let path = format!("/{}", fill(&path, "x"));
        for stranger in &strangers {
            let answer = stranger.raw(method.clone(), &path, "{}").await;
            assert_eq!(answer.status, 401, "{method} {path}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
            if path.starts_with("/v1/") {
                assert_eq!(answer.json()["error"]["type"], "authentication_error");
            } else {
                assert_eq!(answer.problem().1, "SID-API-UNAUTHENTICATED");
            }
        }
    }
    // Routes that do not exist tell strangers nothing either.
    assert_eq!(nobody.get("/api/v1/nothing").await.status, 401);
    assert_eq!(nobody.get("/metrics").await.status, 401, "no peer address, so not known to be local");
    assert_eq!(nobody.get("/api/v1/users?key=x").await.status, 401, "keys in query strings do not count");
}

#[tokio::test]
async fn both_spellings_of_the_key_work() {
    let house = House::new().await;
    let key = house.app.first_key().expect("new");
    let nobody = house.operator.nobody();
    assert_eq!(nobody.with("x-api-key", key).get("/api/v1/users").await.status, 200);
    assert_eq!(nobody.with("authorization", &format!("bearer {key}")).get("/api/v1/users").await.status, 200);
    assert_eq!(nobody.with("x-api-key", key).with("authorization", &format!("Bearer {key}")).get("/api/v1/users").await.status, 200);
}

/// One of everything in a tenant, by the name of its path parameter's resource.
async fn things(client: &Client) -> Vec<(&'static str, String)> {
    let id = |v: &Value| v["id"].as_str().expect("an id").to_owned();
    let conversation = client.conversation("anna", "uma").await;
    let turn = client.post(&format!("/api/v1/conversations/{conversation}/messages"), json!({"text": "hello canary"})).await.ok();
    let user = id(&client.get("/api/v1/users/@uma").await.ok());
    let agent = id(&client.get("/api/v1/agents/@anna").await.ok());
    let team = id(&client.post("/api/v1/teams", json!({"name": "crew"})).await.ok());
    let block = json!({"owner": {"type": "user", "user": user}, "label": "b", "value": "canary"});
    let block = id(&client.post("/api/v1/blocks", block).await.ok());
    let passage = json!({"owner": {"type": "user", "user": user}, "text": "canary"});
    let passage = id(&client.post("/api/v1/passages", passage).await.ok());
    let run = id(&turn["run"]);
    vec![
        ("users", user),
        ("agents", agent),
        ("teams", team),
        ("conversations", conversation),
        ("runs", run),
        ("blocks", block),
        ("passages", passage),
    ]
}

/// A body that each operation would take.
fn body_for(path: &str, things: &[(&str, String)]) -> Value {
    let of = |kind: &str| things.iter().find(|(k, _)| *k == kind).map(|(_, id)| id.clone());
    match path.rsplit('/').next().unwrap_or_default() {
        "messages" => json!({"text": "x"}),
        "import" => json!({"messages": [{"role": "user", "text": "x"}]}),
        "conversations" => json!({"agent": of("agents"), "user": of("users")}),
        "search" => json!({"query": "canary", "agent": of("agents"), "user": of("users")}),
        "passages" => json!({"owner": {"type": "user", "user": of("users")}, "text": "x"}),
        "blocks" => json!({"owner": {"type": "user", "user": of("users")}, "label": "x"}),
        "heartrate" => json!({"every_ms": 3_600_000}),
        _ if path.contains("/links/") => json!({"access": "read"}),
        _ if path.contains("/blocks/") => json!({"op": "append", "text": "x"}),
        _ => json!({}),
    }
}

#[tokio::test]
async fn foreign_ids_answer_like_random_ones() {
    let house = House::new().await;
    let ours = house.tenant("ours").await;
    let theirs = house.tenant("theirs").await;
    let things = things(&ours).await;
    // Of the same kinds, but never made.
    let random: Vec<(&str, String)> = things
        .iter()
        .map(|(kind, id)| {
            let (prefix, _) = id.split_once('_').expect("a prefix");
            (*kind, format!("{prefix}_01890000000000000000000000"))
        })
        .collect();
    let stranger = theirs.user("mallory").await;
    let mut tried = 0;
    for (method, path) in operations(&ours).await {
        let Some(kind) = path.strip_prefix("/api/v1/").and_then(|p| p.split('/').next()) else { continue };
        let has_own_id = path.contains("{id}") && things.iter().any(|(k, _)| *k == kind);
        let has_body_ids = matches!(path.as_str(), "/api/v1/conversations" | "/api/v1/search" | "/api/v1/passages" | "/api/v1/blocks");
        if !(has_own_id || has_body_ids && method == Method::POST) {
            continue;
        }
        let fill = |of: &[(&str, String)]| {
            let id = |kind: &str| of.iter().find(|(k, _)| *k == kind).map(|(_, id)| id.clone()).unwrap_or_default();
            path.replace("{id}", &id(kind)).replace("{user}", &id("users")).replace("{agent}", &id("agents"))
        };
        let undo = path.ends_with("/undo");
        let body = |of: &[(&str, String)]| if undo { json!({}) } else { body_for(&path, of) };
        for client in [&theirs, &stranger] {
            let foreign = client.raw(method.clone(), &fill(&things), body(&things).to_string()).await;
            let unknown = client.raw(method.clone(), &fill(&random), body(&random).to_string()).await;
            let expected: &[u16] = if std::ptr::eq(client, &theirs) { &[404] } else { &[404, 403] };
            assert!(expected.contains(&foreign.status.as_u16()), "{method} {path}: {} {:?}", foreign.status, foreign.body);
            let without_request = |v: Value| (v["code"].clone(), v["detail"].clone(), v["status"].clone());
            assert_eq!(without_request(foreign.json()), without_request(unknown.json()), "{method} {path}");
            assert!(!String::from_utf8_lossy(&foreign.body).contains("canary"), "{method} {path}");
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried}");
    // Nothing of it was written, and lists are empty.
    assert_eq!(theirs.get("/api/v1/conversations").await.ok()["items"], json!([]));
    for list in ["agents", "teams"] {
        assert_eq!(theirs.get(&format!("/api/v1/{list}")).await.ok()["items"], json!([]));
    }
    let things_of_user = |kind: &str| things.iter().find(|(k, _)| *k == kind).map(|(_, id)| id.clone()).expect("made");
    let filtered = theirs.get(&format!("/api/v1/conversations?user={}", things_of_user("users"))).await;
    assert!(filtered.status == 404 || filtered.ok()["items"] == json!([]));
    let history = ours.get(&format!("/api/v1/blocks/{}/history", things_of_user("blocks"))).await.ok();
    assert_eq!(history["items"].as_array().expect("a list").len(), 1);
}

#[tokio::test]
async fn roles_are_kept_apart() {
    let house = House::new().await;
    let tenant = house.tenant("acme").await;
    let uma = tenant.user("uma").await;
    tenant.user("ben").await;
    let forbidden = async |client: &Client, method: Method, path: &str, body: Value| {
        assert_eq!(
            client.raw(method.clone(), path, body.to_string()).await.problem(),
            (403, "SID-API-FORBIDDEN".into()),
            "{method} {path}"
        );
    };
    for client in [&tenant, &uma] {
        forbidden(client, Method::POST, "/api/v1/tenants", json!({"name": "x"})).await;
        forbidden(client, Method::GET, "/api/v1/tenants", json!({})).await;
        forbidden(client, Method::POST, "/api/v1/backup", json!({})).await;
        forbidden(client, Method::POST, "/api/v1/models/default/probe", json!({})).await;
        forbidden(client, Method::POST, "/api/v1/keys", json!({"name": "x", "role": {"type": "operator"}})).await;
    }
    forbidden(&uma, Method::POST, "/api/v1/keys", json!({"name": "x", "role": {"type": "tenant"}})).await;
    forbidden(&uma, Method::POST, "/api/v1/users", json!({"handle": "x"})).await;
    forbidden(&uma, Method::POST, "/api/v1/agents", json!({"name": "x"})).await;
    forbidden(&uma, Method::POST, "/api/v1/teams", json!({"name": "x"})).await;
    forbidden(&uma, Method::GET, "/api/v1/keys", json!({})).await;
    forbidden(&uma, Method::DELETE, "/api/v1/users/@uma", json!({})).await;
    // A user sees itself and nobody else.
    assert_eq!(uma.get("/api/v1/users/@uma").await.status, 200);
    assert_eq!(uma.get("/api/v1/users/@ben").await.status, 404);
    assert_eq!(uma.get("/api/v1/users").await.ok()["items"].as_array().expect("a list").len(), 1);
    // A tenant key narrowed to a user has a user's rights.
    let narrowed = tenant.with("x-sid-user", "uma");
    assert_eq!(narrowed.get("/api/v1/users/@ben").await.status, 404);
    forbidden(&narrowed, Method::POST, "/api/v1/users", json!({"handle": "x"})).await;
    assert_eq!(tenant.with("x-sid-user", "nobody").get("/api/v1/users").await.status, 404);
    // A user key may name itself, and nobody else.
    assert_eq!(uma.with("x-sid-user", "uma").get("/api/v1/users").await.status, 200);
    assert_eq!(uma.with("x-sid-user", "ben").get("/api/v1/users").await.status, 403);
    assert_eq!(uma.with("x-sid-tenant", "acme").get("/api/v1/users").await.status, 200);
    // Another tenant's name and one that nobody has answer the same.
    let other = tenant.with("x-sid-tenant", "default").get("/api/v1/users").await;
    let none = tenant.with("x-sid-tenant", "nothing").get("/api/v1/users").await;
    assert_eq!((other.problem(), &other.json()["detail"]), (none.problem(), &none.json()["detail"]));
    // Headers that others trust mean nothing.
    let spoofed = uma.with("x-openwebui-user-id", "ben").with("x-openwebui-user-role", "admin").get("/api/v1/users").await.ok();
    assert_eq!(spoofed["items"][0]["handle"], "uma");
}

#[tokio::test]
async fn an_operator_acts_in_the_tenant_that_it_names() {
    let house = House::new().await;
    house.tenant("acme").await;
    let acme = house.operator.with("x-sid-tenant", "acme");
    acme.post("/api/v1/users", json!({"handle": "in-acme"})).await.ok();
    house.operator.post("/api/v1/users", json!({"handle": "in-default"})).await.ok();
    assert_eq!(acme.get("/api/v1/users").await.ok()["items"][0]["handle"], "in-acme");
    assert_eq!(house.operator.get("/api/v1/users").await.ok()["items"][0]["handle"], "in-default");
    assert_eq!(house.operator.with("x-sid-tenant", "nothing").get("/api/v1/users").await.problem().0, 404);
    // Narrowed to a user, an operator is a user.
    assert_eq!(house.operator.with("x-sid-user", "in-default").get("/api/v1/tenants").await.status, 403);
}

#[tokio::test]
async fn keys_end_by_revocation_and_by_time() {
    let house = House::new().await;
    let tenant = house.tenant("acme").await;
    tenant.post("/api/v1/users", json!({"handle": "uma"})).await.ok();
    let role = json!({"type": "user", "user": "@uma"});
    let made = tenant.post("/api/v1/keys", json!({"name": "phone", "role": role})).await.ok();
    let (id, text) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));
    let uma = tenant.with_key(text);
    assert_eq!(uma.get("/api/v1/users").await.status, 200);
    let listed = tenant.get("/api/v1/keys").await;
    assert!(!String::from_utf8_lossy(&listed.body).contains(text), "shown once");
    assert_eq!(listed.ok()["items"].as_array().expect("a list").len(), 2, "its own, and its users'");
    assert_eq!(tenant.delete(&format!("/api/v1/keys/{id}")).await.status, 200);
    assert_eq!(uma.get("/api/v1/users").await.status, 401, "at once on this process");
    // Erasing a user takes its keys along.
    let uma = tenant.user("uma").await;
    assert_eq!(uma.get("/api/v1/users").await.status, 200);
    tenant.delete("/api/v1/users/@uma").await.ok();
    assert_eq!(uma.get("/api/v1/users").await.status, 401);
    // Time.
    let past = json!({"name": "x", "role": {"type": "tenant"}, "expires_at": "2001-01-01T00:00:00Z"});
    assert_eq!(house.operator.post("/api/v1/keys", past).await.problem().0, 400);
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(300);
    let short = json!({"name": "x", "role": {"type": "tenant"}, "expires_at": soon.to_string()});
    let short = house.operator.post("/api/v1/keys", short).await.ok();
    let short = house.operator.with_key(short["key"].as_str().expect("a key"));
    assert_eq!(short.get("/api/v1/users").await.status, 200);
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert_eq!(short.get("/api/v1/users").await.status, 401, "a cached key expires too");
}

#[tokio::test]
async fn a_tenant_cannot_touch_keys_of_others() {
    let house = House::new().await;
    let acme = house.tenant("acme").await;
    let other = house.tenant("other").await;
    other.user("olga").await;
    let all = house.operator.get("/api/v1/keys").await.ok();
    let own = acme.get("/api/v1/keys").await.ok()["items"].as_array().expect("a list").clone();
    for key in all["items"].as_array().expect("a list").iter().filter(|key| !own.contains(key)) {
        let path = format!("/api/v1/keys/{}", key["id"].as_str().expect("an id"));
        assert_eq!(acme.delete(&path).await.problem().0, 404, "{key}");
    }
    let olga = other.get("/api/v1/users/@olga").await.ok()["id"].clone();
    for role in [json!({"type": "user", "user": olga}), json!({"type": "user", "tenant": "@other", "user": olga})] {
        assert_eq!(acme.post("/api/v1/keys", json!({"name": "x", "role": role})).await.problem().0, 404);
    }
    assert_eq!(house.operator.get("/api/v1/keys").await.ok(), all);
}
