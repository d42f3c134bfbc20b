//! Tenants, users, teams, agents: made, changed, listed, named by `@name`, repeated safely.

use serde_json::{Value, json};

use crate::harness::House;

#[tokio::test]
async fn users_are_made_changed_and_found_by_handle() {
    let house = House::new().await;
    let client = &house.operator;
    let made = client.post("/api/v1/users", json!({"handle": "uma@example.com", "timezone": "Europe/Berlin"})).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.json()["display_name"], "uma@example.com");
    let path = "/api/v1/users/@uma@example.com";
    assert_eq!(client.get(path).await.ok(), made.json());
    let changed = client.patch(path, json!({"display_name": "Uma"})).await.ok();
    assert_eq!((&changed["display_name"], &changed["timezone"]), (&json!("Uma"), &json!("Europe/Berlin")));
    assert_eq!(client.patch(path, json!({"timezone": null})).await.ok()["timezone"], Value::Null);
    let receipt = client.delete(path).await.ok();
    assert_eq!(receipt["conversations"], 0);
    assert_eq!(client.get(path).await.status, 404);
}

#[tokio::test]
async fn lists_are_read_in_pages_without_gaps() {
    let house = House::new().await;
    for n in 0..7 {
        house.operator.post("/api/v1/users", json!({"handle": format!("user-{n}")})).await.ok();
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = house.operator.get(&format!("/api/v1/users?limit=3{after}")).await.ok();
        seen.extend(page["items"].as_array().expect("a list").iter().map(|u| u["handle"].as_str().expect("a handle").to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, (0..7).map(|n| format!("user-{n}")).collect::<Vec<_>>());
    let odd = house.operator.get("/api/v1/users?after=nonsense").await;
    assert!([400, 422].contains(&odd.problem().0), "{odd:?}");
}

#[tokio::test]
async fn teams_have_members() {
    let house = House::new().await;
    let client = &house.operator;
    client.post("/api/v1/teams", json!({"name": "crew"})).await.ok();
    client.post("/api/v1/users", json!({"handle": "uma"})).await.ok();
    let members = "/api/v1/teams/@crew/members";
    for _ in 0..2 {
        assert_eq!(client.put(&format!("{members}/@uma"), json!({})).await.status, 204);
    }
    assert_eq!(client.get(members).await.ok()["items"][0]["handle"], "uma");
    assert_eq!(client.put(&format!("{members}/@ben"), json!({})).await.problem().0, 404);
    for _ in 0..2 {
        assert_eq!(client.delete(&format!("{members}/@uma")).await.status, 204);
    }
    assert_eq!(client.get(members).await.ok()["items"], json!([]));
}

#[tokio::test]
async fn agents_have_defaults_and_are_changed_field_by_field() {
    let house = House::new().await;
    let client = &house.operator;
    client.post("/api/v1/teams", json!({"name": "crew"})).await.ok();
    let spec = json!({"name": "anna", "context_window": 4096, "temperature": 0.5, "teams": ["@crew"], "metadata": {"a": "b"}});
    let made = client.post("/api/v1/agents", spec).await;
    assert_eq!(made.status, 201);
    let agent = made.json();
    assert_eq!(agent["model"], "default");
    assert_eq!(agent["blocks"].as_array().expect("blocks").iter().map(|b| &b["label"]).collect::<Vec<_>>(), ["persona", "human"]);
    assert_eq!(agent["teams"].as_array().map(Vec::len), Some(1));
    let path = "/api/v1/agents/@anna";
    let changed = client.patch(path, json!({"instructions": "Be kind.", "context_window": null, "tools": []})).await.ok();
    assert_eq!(changed["instructions"], "Be kind.");
    assert_eq!((&changed["context_window"], &changed["tools"]), (&Value::Null, &json!([])));
    assert_eq!((&changed["temperature"], &changed["metadata"]), (&json!(0.5), &json!({"a": "b"})));
    for bad in [
        json!({"temperature": 3}),
        json!({"context_window": 100}),
        json!({"max_output": 0}),
        json!({"blocks": [{"label": "a"}, {"label": "a"}]}),
        json!({"blocks": [{"label": "a", "value": "long", "limit_chars": 2}]}),
        json!({"name": ""}),
    ] {
        assert_eq!(client.patch(path, bad.clone()).await.problem().0, 400, "{bad}");
    }
    assert_eq!(client.patch(path, json!({"teams": ["@nobody"]})).await.problem().0, 404);
    assert_eq!(client.post("/api/v1/agents", json!({})).await.problem().0, 400);
    client.delete(path).await.ok();
    assert_eq!(client.get(path).await.status, 404);
}

#[tokio::test]
async fn creations_with_an_idempotency_key_happen_once() {
    let house = House::new().await;
    let client = house.operator.with("idempotency-key", "k-1");
    house.operator.post("/api/v1/agents", json!({"name": "anna"})).await.ok();
    house.operator.post("/api/v1/users", json!({"handle": "uma"})).await.ok();
    let owner = json!({"type": "user", "user": "@uma"});
    let cases = [
        ("/api/v1/users", json!({"handle": "one"}), json!({"handle": "two"})),
        ("/api/v1/teams", json!({"name": "one"}), json!({"name": "two"})),
        ("/api/v1/agents", json!({"name": "one"}), json!({"name": "two"})),
        ("/api/v1/conversations", json!({"agent": "@anna", "user": "@uma"}), json!({"agent": "@anna", "user": "@uma", "key": "k"})),
        ("/api/v1/blocks", json!({"owner": owner, "label": "one"}), json!({"owner": owner, "label": "two"})),
        ("/api/v1/passages", json!({"owner": owner, "text": "one"}), json!({"owner": owner, "text": "two"})),
    ];
    for (path, body, other) in cases {
        let first = client.post(path, body.clone()).await;
        let second = client.post(path, body.clone()).await;
        assert_eq!((first.status, first.ok()), (second.status, second.ok()), "{path}");
        assert_eq!(client.post(path, other).await.problem(), (422, "SID-STORE-KEY-REUSED".into()), "{path}");
    }
    let role = json!({"name": "n", "role": {"type": "operator"}});
    assert_eq!(client.post("/api/v1/keys", role.clone()).await.status, 201);
    assert_eq!(client.post("/api/v1/keys", role).await.problem(), (409, "SID-STORE-EXISTS".into()));
    let long = house.operator.with("idempotency-key", &"x".repeat(256));
    assert_eq!(long.post("/api/v1/teams", json!({"name": "x"})).await.problem().0, 400);
}

#[tokio::test]
async fn a_conversation_key_answers_the_same_conversation() {
    let house = House::new().await;
    let client = &house.operator;
    let id = client.conversation("anna", "uma").await;
    let again = client.post("/api/v1/conversations", json!({"agent": "@anna", "user": "@uma", "key": "main"})).await;
    assert_eq!((again.status.as_u16(), again.json()["id"].as_str()), (200, Some(id.as_str())));
    let uma = client.user("uma").await;
    let own = uma.post("/api/v1/conversations", json!({"agent": "@anna", "key": "main"})).await;
    assert_eq!(own.ok()["id"], id.as_str(), "a user's own by default");
    let nobody = client.post("/api/v1/conversations", json!({"agent": "@anna"})).await;
    assert_eq!((nobody.status.as_u16(), &nobody.json()["user"]), (201, &Value::Null));
    let listed = client.get("/api/v1/conversations?agent=@anna&user=@uma").await.ok();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(client.delete(&format!("/api/v1/conversations/{id}")).await.ok()["conversations"], 1);
    assert_eq!(client.get(&format!("/api/v1/conversations/{id}")).await.status, 404);
}
