//! Agents, users, teams, keys, tenants, conversations.

use crate::world::{World, run};

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_made_changed_listed_and_erased() {
    let world = World::start().await;
    assert!(world.sid(&["agent", "list"]).await.err.contains("make one: sid agent create NAME"));
    let make = [
        "agent",
        "create",
        "cook",
        "--instructions",
        "You cook.",
        "--context-window",
        "4096",
        "--block",
        "recipes:500=What was cooked",
        "--temperature",
        "0.5",
        "--metadata",
        "a=b",
    ];
    let text = world.sid(&make).await.ok();
    assert!(text.contains("name          cook\n") && text.contains("window        4,096\n"), "{text}");
    assert!(text.contains("recipes (to 500 characters) What was cooked"), "{text}");

    let changed = world.sid(&["agent", "update", "cook", "--context-window", "auto", "--tools", "diary_read", "--json"]).await.json();
    assert_eq!(changed["context_window"], serde_json::Value::Null);
    assert_eq!(changed["tools"], serde_json::json!(["diary_read"]));
    assert_eq!(changed["instructions"], "You cook.");
    let nothing = world.sid(&["agent", "update", "cook"]).await.fails(2);
    assert!(nothing.contains("[SID-CLI-USAGE]"), "{nothing}");

    let table = world.sid(&["agent", "list"]).await.ok();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("name  model    window  id"), "{table}");
    assert!(lines[1].starts_with("cook  default    auto  agent_"), "{table}");

    let id = changed["id"].as_str().unwrap();
    assert_eq!(world.sid(&["agent", "show", id, "--json"]).await.json()["name"], "cook");
    assert!(world.sid(&["agent", "delete", "cook"]).await.fails(2).contains("add --yes"));
    assert!(world.sid(&["agent", "delete", "cook", "--yes"]).await.ok().starts_with("erased:\n"));
    let gone = world.sid(&["agent", "show", "cook"]).await.fails(1);
    assert!(gone.contains("[SID-STORE-NOT-FOUND]") && gone.lines().count() == 2, "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_wake_by_themselves_within_quiet_hours_and_caps() {
    let world = World::start().await;
    world.sid(&["agent", "create", "cook"]).await.ok();
    world.sid(&["user", "create", "bea"]).await.ok();
    let update = [
        "agent",
        "update",
        "cook",
        "--heartrate",
        "30m",
        "--heartrate-when-open",
        "--quiet-hours",
        "22:00-07:00",
        "--cap",
        "runs_per_day=9",
    ];
    let text = world.sid(&update).await.ok();
    assert!(text.contains("every 30m, while something is open") && text.contains("22:00-07:00") && text.contains("9 runs a day"), "{text}");
    let changed = world.sid(&["user", "update", "bea", "--quiet-hours", "23:00-06:00", "--json"]).await.json();
    assert_eq!(changed["quiet_hours"], "23:00-06:00");
    assert!(world.sid(&["user", "update", "bea", "--quiet-hours", "late"]).await.fails(1).contains("two times of a day"));
    let beat = world.sid(&["agent", "heartrate", "cook", "2h", "--user", "bea", "--json"]).await.json();
    assert_eq!((beat["kind"].as_str(), beat["when"]["every_ms"].as_u64()), (Some("heartbeat"), Some(7_200_000)));
    let none =
        world.sid(&["agent", "update", "cook", "--heartrate", "none", "--quiet-hours", "none", "--cap", "none", "--json"]).await.json();
    assert!(none["heartrate"].is_null() && none["quiet_hours"].is_null() && none["caps"]["runs_per_day"].is_null(), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_read_on_where_the_page_before_ended() {
    let world = World::start().await;
    for i in 0..5 {
        world.sid(&["user", "create", &format!("u{i}")]).await.ok();
    }
    let first = world.sid(&["user", "list", "--limit", "2", "--json"]).await.json();
    let handles = |list: &serde_json::Value| {
        list["items"].as_array().unwrap().iter().map(|u| u["handle"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(handles(&first), ["u0", "u1"]);
    let next = first["next"].as_str().unwrap();
    let second = world.sid(&["user", "list", "--limit", "2", "--after", next, "--json"]).await.json();
    assert_eq!(handles(&second), ["u2", "u3"]);
    assert_eq!(handles(&world.sid(&["user", "list", "--all", "--json"]).await.json()).len(), 5);
    let said = world.sid(&["user", "list", "--limit", "2"]).await;
    assert!(said.err.contains("there is more: --after "), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn teams_have_members() {
    let world = World::start().await;
    for user in ["ada", "bob"] {
        world.sid(&["user", "create", user, "--timezone", "Europe/Berlin"]).await.ok();
    }
    world.sid(&["team", "create", "crew"]).await.ok();
    assert_eq!(world.sid(&["team", "add", "crew", "ada", "bob"]).await.ok(), "ada is in crew\nbob is in crew\n");
    world.sid(&["team", "remove", "crew", "bob"]).await.ok();
    let members = world.sid(&["team", "members", "crew", "--json"]).await.json();
    assert_eq!(members["items"].as_array().unwrap().len(), 1);
    assert_eq!(members["items"][0]["timezone"], "Europe/Berlin");
    let wrong = world.sid(&["user", "update", "ada", "--timezone", "Nowhere/Land"]).await.fails(1);
    assert!(wrong.contains("[SID-API-BAD-REQUEST]"), "{wrong}");
    assert_eq!(world.sid(&["user", "update", "ada", "--timezone", "none", "--json"]).await.json()["timezone"], serde_json::Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_once_and_can_be_revoked() {
    let world = World::start().await;
    world.sid(&["user", "create", "bob"]).await.ok();
    let made = world.sid(&["key", "create", "for bob", "--user", "bob", "--expires", "30d", "--json"]).await.json();
    assert_eq!(made["role"]["type"], "user");
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let list = world.sid(&["key", "list"]).await.ok();
    assert!(list.contains(id) && !list.contains(key), "{list}");

    // Bob's own key needs no --user, and may not do the tenant's work.
    let as_bob = |arguments: &[&str]| {
        let arguments: Vec<String> =
            arguments.iter().map(ToString::to_string).chain(["--server".into(), world.url.clone(), "--key".into(), key.into()]).collect();
        let folder = world.folder.path().to_owned();
        async move { run(&folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), None).await }
    };
    world.sid(&["agent", "create", "sid"]).await.ok();
    assert_eq!(as_bob(&["chat", "-m", "hello"]).await.ok(), "Understood.\n");
    let list = world.sid(&["conversation", "list", "--user", "bob", "--json"]).await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert!(as_bob(&["agent", "create", "mine"]).await.fails(4).contains("[SID-API-FORBIDDEN]"));

    // A new one takes its place, and the old one goes on for a while.
    let next = world.sid(&["key", "rotate", id, "--overlap", "1h", "--json"]).await.json();
    assert_ne!(next["key"], made["key"]);
    assert_eq!((&next["role"], &next["access"]), (&made["role"], &serde_json::json!("member")));
    assert!(as_bob(&["agent", "list"]).await.ok().contains("sid"));

    assert!(world.sid(&["key", "revoke", id]).await.ok().contains("is refused from now on"));
    let refused = as_bob(&["agent", "list"]).await.fails(4);
    assert!(refused.contains("[SID-API-UNAUTHENTICATED]") && refused.contains("--key"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_cut_to_a_role_and_scopes() {
    let world = World::start().await;
    world.sid(&["user", "create", "bob"]).await.ok();
    world.sid(&["agent", "create", "sid"]).await.ok();
    let arguments = ["key", "create", "robot", "--access", "read-only", "--scope", "memory-read", "--scope", "directory-read", "--json"];
    let made = world.sid(&arguments).await.json();
    assert_eq!((&made["role"]["type"], &made["access"]), (&serde_json::json!("tenant"), &serde_json::json!("read-only")));
    assert_eq!(made["scopes"], serde_json::json!(["memory-read", "directory-read"]));
    let made = world.sid(&["key", "create", "helper", "--user", "bob", "--agent", "sid", "--json"]).await.json();
    assert_eq!((&made["role"]["type"], &made["access"]), (&serde_json::json!("agent"), &serde_json::json!("agent")));
    assert!(world.sid(&["key", "create", "helper", "--agent", "sid"]).await.fails(2).contains("--user"));
    assert!(world.sid(&["key", "list"]).await.ok().contains("read-only, cut"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_acts_in_the_tenant_that_is_named() {
    let world = World::start().await;
    world.sid(&["tenant", "create", "acme"]).await.ok();
    let names = world.sid(&["tenant", "list"]).await.ok();
    assert!(names.contains("default") && names.contains("acme"), "{names}");
    world.sid(&["user", "create", "wile", "--tenant", "acme"]).await.ok();
    assert_eq!(world.sid(&["user", "list", "--tenant", "acme", "--json"]).await.json()["items"][0]["handle"], "wile");
    assert_eq!(world.sid(&["user", "list", "--json"]).await.json()["items"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_are_shown_with_their_newest_messages() {
    let world = World::start().await;
    for text in ["first", "second", "third"] {
        world.says(text).await;
    }
    let table = world.sid(&["conversation", "list"]).await.ok();
    let row = table.lines().nth(1).unwrap();
    assert!(row.contains("sid") && row.contains("ada") && row.contains("cli") && row.contains('6'), "{table}");
    let id = row.split_whitespace().next().unwrap();
    let text = world.sid(&["conversation", "show", id, "-n", "2"]).await.ok();
    assert!(text.contains("#5 user") && text.contains("third") && text.contains("#6 assistant") && !text.contains("second"), "{text}");
    let from = world.sid(&["conversation", "show", id, "--from", "3", "-n", "1", "--json"]).await.json();
    assert_eq!(from["messages"][0]["text"], "second");
    assert_eq!(from["messages"].as_array().unwrap().len(), 1);
    let receipt = world.sid(&["conversation", "delete", id, "--yes", "--json"]).await.json();
    assert_eq!(receipt["messages"], 6);
}
