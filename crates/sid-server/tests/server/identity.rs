//! Roles, scopes, rotation, assistants, the access table at the door, and the audit log.

use axum::http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, House};

async fn key(maker: &Client, body: Value) -> Value {
    let mut body = body;
    body["name"] = json!("test");
    maker.post("/api/v1/keys", body).await.ok()
}

async fn client(maker: &Client, body: Value) -> Client {
    maker.with_key(key(maker, body).await["key"].as_str().expect("shown once"))
}

fn statuses(answer: &Answer) -> u16 {
    answer.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_what_its_row_says() {
    let house = House::new().await;
    let acme = house.tenant("acme").await;
    let talk = acme.conversation("anna", "uma").await;
    // In the order of the operations below: may it?
    let roles: [(&str, &str, [bool; 7]); 9] = [
        ("tenant", "owner", [true, true, true, true, true, true, true]),
        ("tenant", "admin", [true, true, true, false, true, true, true]),
        ("tenant", "member", [true, true, false, false, true, true, true]),
        ("tenant", "agent", [true, true, false, false, false, false, true]),
        ("tenant", "read-only", [false, true, false, false, false, false, false]),
        ("user", "owner", [true, true, false, true, true, true, true]),
        ("user", "member", [true, true, false, false, true, true, true]),
        ("agent", "agent", [true, true, false, false, false, false, false]),
        ("agent", "owner", [true, true, false, false, false, false, false]),
    ];
    for (kind, access, may) in roles {
        let role = match kind {
            "tenant" => json!({"type": kind}),
            "user" => json!({"type": kind, "user": "@uma"}),
            _ => json!({"type": kind, "user": "@uma", "agent": "@anna"}),
        };
        let caller = client(&acme, json!({"role": role, "access": access})).await;
        let import = json!({"messages": [{"role": "user", "text": "said before"}]});
        let answers = [
            caller.post(&format!("/api/v1/conversations/{talk}/messages"), json!({"text": "hi"})).await,
            caller.get(&format!("/api/v1/conversations/{talk}/messages")).await,
            caller.post("/api/v1/teams", json!({"name": format!("{kind}-{access}")})).await,
            caller.get("/api/v1/keys").await,
            caller.get("/api/v1/export").await,
            caller.get("/api/v1/audit").await,
            caller.post(&format!("/api/v1/conversations/{talk}/import"), import).await,
        ];
        for (i, (answer, may)) in answers.iter().zip(may).enumerate() {
            let status = statuses(answer);
            assert!(if may { (200..300).contains(&status) } else { status == 403 }, "{kind} {access} operation {i}: {status}");
        }
    }
}

#[tokio::test]
async fn scopes_cut_a_key_and_a_refusal_says_what_is_missing() {
    let house = House::new().await;
    let acme = house.tenant("acme").await;
    acme.conversation("anna", "uma").await;
    let cut = client(&acme, json!({"role": {"type": "tenant"}, "scopes": ["memory-read", "directory-read"]})).await;
    assert_eq!(statuses(&cut.get("/api/v1/users").await), 200);
    let refused = cut.post("/api/v1/users", json!({"handle": "x"})).await;
    assert_eq!(refused.problem(), (403, "SID-API-FORBIDDEN".into()));
    assert!(refused.json()["detail"].as_str().expect("text").contains("directory-write"));
    let challenge = refused.header("www-authenticate");
    assert!(challenge.contains("insufficient_scope") && challenge.contains("sid:directory-write"), "{challenge}");
    for bad in [json!(["everything"]), json!("memory-read"), json!([7])] {
        let answer = acme.post("/api/v1/keys", json!({"name": "x", "role": {"type": "tenant"}, "scopes": bad})).await;
        assert_eq!(answer.problem().0, 400);
    }
    let nothing = client(&acme, json!({"role": {"type": "tenant"}, "scopes": []})).await;
    assert_eq!(statuses(&nothing.get("/api/v1/users").await), 403);
}

#[tokio::test]
async fn nobody_gives_out_more_than_it_has() {
    let house = House::new().await;
    let acme = house.tenant("acme").await;
    acme.conversation("anna", "uma").await;
    let maker = client(&acme, json!({"role": {"type": "tenant"}, "scopes": ["keys-manage", "memory-read"]})).await;
    let ask = async |maker: &Client, body: Value| {
        let mut body = body;
        body["name"] = json!("x");
        statuses(&maker.post("/api/v1/keys", body).await)
    };
    assert_eq!(ask(&maker, json!({"role": {"type": "tenant"}})).await, 403, "an owner");
    assert_eq!(ask(&maker, json!({"role": {"type": "user", "user": "@uma"}})).await, 403, "a member");
    assert_eq!(ask(&maker, json!({"role": {"type": "tenant"}, "scopes": ["memory-read", "chat"]})).await, 403);
    assert_eq!(ask(&maker, json!({"role": {"type": "tenant"}, "scopes": ["memory-read"]})).await, 201);
    assert_eq!(ask(&maker, json!({"role": {"type": "operator"}, "access": "read-only", "scopes": ["memory-read"]})).await, 403, "reach");
    // It neither sees nor ends nor rotates keys that can do more.
    let owner = acme.get("/api/v1/keys").await.ok()["items"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(maker.delete(&format!("/api/v1/keys/{owner}")).await.problem().0, 404);
    assert_eq!(maker.post(&format!("/api/v1/keys/{owner}/rotate"), json!({})).await.problem().0, 404);
    let seen = maker.get("/api/v1/keys").await.ok();
    assert!(seen["items"].as_array().expect("a list").iter().all(|k| k["id"] != json!(owner)), "{seen}");
    // A user who may make keys makes its own and its assistants', of no other user.
    acme.user("ben").await;
    let uma = client(&acme, json!({"role": {"type": "user", "user": "@uma"}, "access": "owner"})).await;
    assert_eq!(ask(&uma, json!({"role": {"type": "user", "user": "@uma"}})).await, 201);
    assert_eq!(ask(&uma, json!({"role": {"type": "agent", "user": "@uma", "agent": "@anna"}})).await, 201);
    assert_eq!(ask(&uma, json!({"role": {"type": "tenant"}, "scopes": []})).await, 403);
    assert_eq!(ask(&uma, json!({"role": {"type": "user", "user": "@ben"}})).await, 404);
    // An application that acts for a person has what a member has, however much its key has.
    assert_eq!(acme.with("x-sid-user", "uma").get("/api/v1/keys").await.problem().0, 403);
    let listed = uma.get("/api/v1/keys").await.ok();
    assert!(listed["items"].as_array().expect("a list").iter().all(|k| k["role"]["type"] != "tenant"), "{listed}");
}

#[tokio::test]
async fn a_rotated_key_goes_on_for_the_overlap() {
    let house = House::new().await;
    let acme = house.tenant("acme").await;
    let old = key(&acme, json!({"role": {"type": "tenant"}, "access": "admin", "scopes": ["directory-read"]})).await;
    let path = format!("/api/v1/keys/{}/rotate", old["id"].as_str().expect("an id"));
    let new = acme.post(&path, json!({})).await;
    assert_eq!(new.status, 201);
    let new = new.ok();
    assert_ne!((&new["id"], &new["key"]), (&old["id"], &old["key"]));
    for field in ["name", "role", "access", "scopes", "expires_at"] {
        assert_eq!(new[field], old[field], "{field}");
    }
    let both = [&old, &new].map(|k| acme.with_key(k["key"].as_str().expect("a key")));
    for one in &both {
        assert_eq!(one.get("/api/v1/users").await.status, 200);
    }
    let listed = acme.get("/api/v1/keys").await.ok();
    let ends = listed["items"].as_array().expect("a list").iter().find(|k| k["id"] == old["id"]).expect("there")["expires_at"].clone();
    let ends: jiff::Timestamp = ends.as_str().expect("an end").parse().expect("a moment");
    let left = ends.as_second() - jiff::Timestamp::now().as_second();
    assert!((86_390..=86_400).contains(&left), "{left}");
    // Again with no overlap: over at once. The end never moves back.
    assert_eq!(acme.post(&path, json!({"overlap_s": 30 * 86_400})).await.status, 201);
    let listed = acme.get("/api/v1/keys").await.ok();
    let found = listed["items"].as_array().expect("a list").iter().find(|k| k["id"] == old["id"]).expect("there").clone();
    assert_eq!(found["expires_at"].as_str().expect("an end").parse::<jiff::Timestamp>().expect("a moment"), ends);
    assert_eq!(acme.post(&path, json!({"overlap_s": 0})).await.status, 201);
    assert_eq!(both[0].get("/api/v1/users").await.status, 401);
    assert_eq!(both[1].get("/api/v1/users").await.status, 200);
    assert_eq!(acme.post(&path, json!({})).await.problem(), (422, "SID-STORE-INVALID".into()), "it is over");
    let path = format!("/api/v1/keys/{}/rotate", new["id"].as_str().expect("an id"));
    for bad in [json!({"overlap_s": 30 * 86_400 + 1}), json!({"overlap_s": -1}), json!({"expires_at": "2001-01-01T00:00:00Z"})] {
        assert_eq!(acme.post(&path, bad).await.problem().0, 400);
    }
    // A key that was made for an hour is followed by one for an hour.
    let soon = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3_600)).to_string();
    let short = key(&acme, json!({"role": {"type": "tenant"}, "expires_at": soon})).await;
    let next = acme.post(&format!("/api/v1/keys/{}/rotate", short["id"].as_str().expect("an id")), json!({})).await.ok();
    let ends: jiff::Timestamp = next["expires_at"].as_str().expect("an end").parse().expect("a moment");
    assert!((3_590..=3_600).contains(&(ends.as_second() - jiff::Timestamp::now().as_second())));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assistants_key_sees_what_its_turns_see() {
    let house = House::new().await;
    let acme = house.tenant("acme").await;
    let mine = acme.conversation("anna", "uma").await;
    let other_agents = acme.conversation("bert", "uma").await;
    let other_users = acme.conversation("anna", "ben").await;
    let role = json!({"type": "agent", "user": "@uma", "agent": "@anna"});
    let agent = client(&acme, json!({"role": role})).await;
    let narrowed = acme.with("x-sid-user", "uma").with("x-sid-agent", "anna");
    let of_user = acme.user("uma").await.with("x-sid-agent", "@anna");
    for caller in [&agent, &narrowed, &of_user] {
        assert_eq!(statuses(&caller.get(&format!("/api/v1/conversations/{mine}")).await), 200);
        for foreign in [&other_agents, &other_users] {
            assert_eq!(caller.get(&format!("/api/v1/conversations/{foreign}/messages")).await.problem().0, 404);
            assert_eq!(caller.post(&format!("/api/v1/conversations/{foreign}/messages"), json!({"text": "x"})).await.problem().0, 404);
        }
        assert_eq!(statuses(&caller.post("/api/v1/search", json!({"query": "x", "agent": "@anna"})).await), 200);
        let through_others = caller.post("/api/v1/search", json!({"query": "x", "agent": "@bert"})).await;
        assert!(matches!(statuses(&through_others), 403 | 404), "{}", through_others.status);
        assert_eq!(caller.delete(&format!("/api/v1/conversations/{mine}")).await.problem().0, 403, "assistants erase nothing");
        assert_eq!(statuses(&caller.post("/api/v1/keys", json!({"name": "x", "role": role})).await), 403);
        let passage = json!({"owner": {"type": "user", "user": "@uma"}, "text": "x"});
        assert!(matches!(statuses(&caller.post("/api/v1/passages", passage).await), 403 | 404), "not the user's own memory");
        let passage = json!({"owner": {"type": "pair", "user": "@uma", "agent": "@anna"}, "text": "x"});
        assert_eq!(statuses(&caller.post("/api/v1/passages", passage).await), 201);
    }
    // Narrowed, it has at most what assistants have, whatever its key has: a person may ask for a secret, an assistant may not.
    let reveal = "/api/v1/context/secrets/door/reveal";
    for caller in [&agent, &narrowed, &of_user] {
        assert_eq!(caller.post(reveal, json!({})).await.problem(), (403, "SID-API-FORBIDDEN".into()));
    }
    assert_ne!(statuses(&acme.user("uma").await.post(reveal, json!({})).await), 403);
    // It may name itself and nobody else.
    assert_eq!(statuses(&agent.with("x-sid-agent", "anna").with("x-sid-user", "uma").get("/api/v1/agents").await), 200);
    assert_eq!(agent.with("x-sid-agent", "bert").get("/api/v1/agents").await.problem().0, 403);
    assert_eq!(agent.with("x-sid-agent", "nobody").get("/api/v1/agents").await.problem().0, 403);
    assert_eq!(agent.with("x-sid-user", "ben").get("/api/v1/agents").await.problem().0, 403);
    // An assistant acts for somebody.
    assert_eq!(acme.with("x-sid-agent", "anna").get("/api/v1/agents").await.problem().0, 400);
    assert_eq!(narrowed.with("x-sid-agent", "anna").get("/api/v1/agents").await.problem().0, 400, "twice");
    assert_eq!(acme.with("x-sid-user", "uma").with("x-sid-agent", "zeno").get("/api/v1/agents").await.problem().0, 404);
    // The OpenAI door is the same door.
    let say = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(statuses(&agent.post("/v1/chat/completions", say("anna")).await), 200);
    assert_eq!(statuses(&agent.post("/v1/chat/completions", say("bert")).await), 404);
}

#[tokio::test]
async fn methods_that_no_route_has_are_refused_at_the_gate() {
    let house = House::new().await;
    let answer = house.operator.raw(Method::DELETE, "/api/v1/users", "").await;
    assert_eq!(answer.problem(), (405, "SID-API-METHOD".into()));
    assert!(answer.header("allow").contains("GET") && answer.header("allow").contains("POST"), "{}", answer.header("allow"));
    assert_eq!(house.operator.raw(Method::HEAD, "/api/v1/users", "").await.status, 200);
    assert_eq!(house.operator.get("/api/v1/nothing").await.problem(), (404, "SID-API-NO-ROUTE".into()));
    assert_eq!(house.operator.get("/metrics").await.status, 200);
    assert_eq!(house.operator.get("/.well-known/oauth-protected-resource").await.problem().0, 404, "no issuer is configured");
}

async fn log(reader: &Client, query: &str) -> Vec<Value> {
    reader.get(&format!("/api/v1/audit{query}")).await.ok()["items"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_says_who_did_what_and_holds_no_text() {
    let house = House::new().await;
    let acme = house.tenant("acme").await;
    let uma = acme.user("uma").await;
    let talk = acme.conversation("anna", "uma").await;
    let id = |v: &Value| v["id"].as_str().expect("an id").to_owned();
    let user = id(&acme.get("/api/v1/users/@uma").await.ok());
    let send = format!("/api/v1/conversations/{talk}/messages");
    uma.with("x-request-id", "req-1").post(&send, json!({"text": "the canary sings"})).await.ok();
    acme.get(&send).await.ok();
    acme.post("/api/v1/search", json!({"query": "canary", "user": "@uma"})).await.ok();
    acme.user("ben").await.get(&send).await;
    let refused = uma.post("/api/v1/users", json!({"handle": "canary"})).await;
    assert_eq!(refused.status, 403);
    let entries = log(&acme, "").await;
    let find = |operation: &str| entries.iter().filter(|e| e["operation"] == operation).collect::<Vec<_>>();
    let sent = find("send_message");
    assert_eq!(sent.len(), 1, "{entries:?}");
    assert_eq!((&sent[0]["user"], &sent[0]["subject"], &sent[0]["status"]), (&json!(user), &json!(user), &json!(200)));
    assert_eq!((&sent[0]["resource"], &sent[0]["request"]), (&json!(talk), &json!("req-1")));
    // What a tenant reads is found to be the user's, whose conversation it is.
    let read = find("list_messages");
    assert_eq!(read.len(), 2);
    let by_tenant = read.iter().find(|e| e["user"].is_null()).expect("the tenant's");
    assert_eq!((&by_tenant["subject"], &by_tenant["status"]), (&json!(user), &json!(200)));
    let by_other = read.iter().find(|e| !e["user"].is_null()).expect("ben's");
    assert_eq!(by_other["status"], 404);
    assert_eq!(find("search_memory")[0]["subject"], json!(user));
    assert_eq!((find("create_user").len(), &find("create_user")[0]["status"]), (1, &json!(403)), "refusals only");
    assert!(find("list_users").is_empty() && find("get_user").is_empty(), "names are no memory");
    assert!(!serde_json::to_string(&entries).expect("JSON").contains("canary"), "{entries:?}");
    // A user reads what concerns it; the filters cut.
    let own = log(&uma, "").await;
    assert!(own.len() >= 3 && own.iter().all(|e| e["user"] == json!(user) || e["subject"] == json!(user)), "{own:?}");
    assert_eq!(log(&acme, "?about=@uma&operation=search_memory").await.len(), 1);
    assert_eq!(log(&acme, "?since=2100-01-01T00:00:00Z").await.len(), 0);
    assert_eq!(acme.get("/api/v1/audit?about=@nobody").await.problem().0, 404);
    assert_eq!(log(&acme, "?limit=2").await.len(), 2);
    // Other tenants have logs of their own.
    assert!(log(&house.tenant("other").await, "").await.iter().all(|e| e["operation"] == "list_audit"));
}

#[tokio::test]
async fn the_use_of_a_key_that_is_over_is_in_the_log() {
    let house = House::new().await;
    let acme = house.tenant("acme").await;
    let old = key(&acme, json!({"role": {"type": "tenant"}})).await;
    let gone = acme.with_key(old["key"].as_str().expect("a key"));
    acme.delete(&format!("/api/v1/keys/{}", old["id"].as_str().expect("an id"))).await.ok();
    assert_eq!(gone.get("/api/v1/users").await.status, 401);
    assert_eq!(gone.get("/api/v1/nothing").await.status, 401);
    let entries = log(&acme, "").await;
    let made: Vec<&Value> = entries.iter().filter(|e| e["operation"] == "create_key").collect();
    assert_eq!((made.len(), &made[0]["status"]), (1, &json!(201)), "who opened the way is there too");
    let refused: Vec<&Value> = entries.iter().filter(|e| e["status"] == 401).collect();
    assert_eq!(refused.len(), 2, "{entries:?}");
    assert!(refused.iter().all(|e| e["key"] == old["id"]));
    assert_eq!(refused.iter().map(|e| e["operation"].as_str().expect("text")).collect::<Vec<_>>(), ["none", "list_users"]);
    // Who shows no key that ever was is nobody.
    house.operator.nobody().get("/api/v1/users").await;
    assert_eq!(log(&acme, "").await.iter().filter(|e| e["status"] == 401).count(), 2);
}

#[tokio::test]
async fn a_shutdown_leaves_nothing_unwritten() {
    let house = House::new().await;
    let acme = house.tenant("acme").await;
    let talk = acme.conversation("anna", "uma").await;
    for _ in 0..20 {
        acme.get(&format!("/api/v1/conversations/{talk}")).await.ok();
    }
    house.app.shutdown().await;
    let right = sid_types::OperatorScope::grant();
    let tenant = house.app.store().find_tenant(&right, "acme").await.expect("answers").expect("there").id;
    let scope = right.enter(tenant, sid_types::KeyId::new());
    let page = sid_store::PageRequest { after: None, limit: 1_000 };
    let filter = sid_store::AuditFilter { operation: Some("get_conversation".into()), ..Default::default() };
    assert_eq!(house.app.store().audit(&scope, &filter, page).await.expect("answers").items.len(), 20);
}

#[tokio::test]
async fn limits_of_key_and_tenant_are_shown_together() {
    let house = House::with(&[("server.rate_limit_per_second", "50"), ("limits.requests_per_second", "3")], Default::default()).await;
    let acme = house.tenant("acme").await;
    let first = acme.get("/v1/models").await;
    assert_eq!(first.header("ratelimit-policy"), "\"key\";q=50;w=1, \"tenant\";q=3;w=1");
    assert!(first.header("ratelimit").starts_with("\"key\";r=99;t=1, \"tenant\";r="), "{}", first.header("ratelimit"));
    assert_eq!(first.header("x-ratelimit-limit-requests"), "3", "the tighter one");
    // On refusals too.
    let refused = acme.get("/api/v1/tenants").await;
    assert_eq!((refused.status.as_u16(), refused.header("ratelimit").is_empty()), (403, false));
    let refused = acme.with("x-sid-user", "nobody").get("/api/v1/users").await;
    assert_eq!((refused.status.as_u16(), refused.header("ratelimit").is_empty()), (404, false));
}
