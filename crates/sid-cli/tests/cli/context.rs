//! What assistants keep: the overview, items, hand-offs, secrets, proposals.

use serde_json::Value;

use crate::world::{Said, World};

/// A user with two assistants, and another user; all of them in one team.
async fn world() -> World {
    let world = World::start().await;
    for user in ["ada", "bob"] {
        world.sid(&["user", "create", user]).await.ok();
    }
    for agent in ["editor", "phone"] {
        world.sid(&["agent", "create", agent]).await.ok();
    }
    world.sid(&["team", "create", "crew"]).await.ok();
    for user in ["ada", "bob"] {
        world.sid(&["team", "add", "crew", user]).await.ok();
    }
    world
}

/// `sid context …` as a user.
async fn of(world: &World, user: &str, arguments: &[&str]) -> Said {
    world.sid(&[&["context"], arguments, &["--user", user]].concat()).await
}

/// The same as one of Ada's assistants.
async fn by(world: &World, agent: &str, arguments: &[&str]) -> Said {
    of(world, "ada", &[arguments, &["--agent", agent]].concat()).await
}

fn id(item: &Value) -> String {
    item["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_added_found_changed_shared_and_deleted() {
    let world = world().await;
    let note = ["context", "add", "note", "How to address me", "--body", "-", "--tags", "name,style", "--user", "ada"];
    let said = world.sid_reads(&note, "As Ada.\n").await.ok();
    assert!(said.starts_with("added item_") && said.ends_with("(note)\n"), "{said}");
    let project = of(&world, "ada", &["add", "project", "Garden", "--json"]).await.json();
    let garden = id(&project);
    of(&world, "ada", &["add", "section", "Beds", "--parent", &garden, "--body", "Three of them."]).await.ok();

    let overview = of(&world, "ada", &[]).await.ok();
    for words in ["\nnote\n", "How to address me", "    As Ada.\n", "\nproject\n", "Garden (planning)", " of 2000 tokens"] {
        assert!(overview.contains(words), "{words}: {overview}");
    }
    assert_eq!(of(&world, "ada", &["--json", "--budget", "500"]).await.json()["budget_tokens"], 500);
    let list = of(&world, "ada", &["list", "--kind", "note"]).await.ok();
    assert!(list.contains("name, style") && list.contains("How to address me") && !list.contains("Garden"), "{list}");
    assert_eq!(of(&world, "ada", &["list", "--tree", &garden, "--json"]).await.json()["items"].as_array().expect("items").len(), 2);
    let found = of(&world, "ada", &["search", "three", "beds"]).await.ok();
    assert!(found.contains("Three of them."), "{found}");
    assert_eq!(of(&world, "ada", &["show", &garden, "--document"]).await.ok(), "# Garden\n\n*planning*\n\n## Beds\n\nThree of them.\n");

    let edited = of(&world, "ada", &["edit", &garden, "--state", "active", "--tags", "outside", "--if-version", "1"]).await.ok();
    assert_eq!(edited, format!("changed {garden} (version 2)\n"));
    let stale = of(&world, "ada", &["edit", &garden, "--title", "x", "--if-version", "1"]).await.fails(1);
    assert!(stale.contains("[SID-STORE-CONFLICT]"), "{stale}");
    assert!(of(&world, "ada", &["edit", &garden]).await.fails(2).contains("nothing to change"));
    let shown = of(&world, "ada", &["show", &garden]).await.ok();
    assert!(shown.contains("active") && shown.contains("outside") && shown.contains("2 of "), "{shown}");

    assert!(of(&world, "bob", &["show", &garden]).await.fails(1).contains("[SID-STORE-NOT-FOUND]"));
    of(&world, "ada", &["share", &garden, "--with", "bob", "--level", "edit"]).await.ok();
    assert!(of(&world, "ada", &["share", &garden]).await.ok().contains("edit"));
    of(&world, "bob", &["edit", &garden, "--title", "Orchard"]).await.ok();
    assert!(of(&world, "bob", &["list", "--shared"]).await.ok().contains("Orchard"));
    of(&world, "ada", &["unshare", &garden, "--with", "bob"]).await.ok();
    of(&world, "bob", &["show", &garden]).await.fails(1);
    assert!(of(&world, "ada", &["unshare", &garden]).await.fails(2).contains("--with"));
    assert!(of(&world, "ada", &["share", &garden]).await.err.contains("shared with nobody"));

    assert!(of(&world, "ada", &["delete", &garden]).await.fails(2).contains("--yes"));
    of(&world, "ada", &["delete", &garden, "--yes"]).await.ok();
    of(&world, "ada", &["show", &garden]).await.fails(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assistant_asks_and_the_user_decides() {
    let world = world().await;
    let memory = id(&by(&world, "editor", &["add", "memory", "Likes pickles", "--json"]).await.json());
    let asked = by(&world, "editor", &["edit", &memory, "--title", "Hates pickles"]).await.ok();
    assert!(asked.starts_with("proposed as item_"), "{asked}");
    let waiting = of(&world, "ada", &["proposals", "list"]).await.ok();
    assert!(waiting.contains(&memory) && waiting.contains("Hates pickles"), "{waiting}");
    assert!(of(&world, "ada", &[]).await.ok().contains("wait for a decision: 1 "));
    let wish = id(&of(&world, "ada", &["proposals", "list", "--json"]).await.json()["items"][0]);
    by(&world, "editor", &["proposals", "approve", &wish]).await.fails(4);
    assert!(of(&world, "ada", &["show", &wish]).await.ok().contains("Hates pickles"));
    assert_eq!(of(&world, "ada", &["proposals", "approve", &wish]).await.ok(), format!("approved {memory} (version 2)\n"));

    by(&world, "editor", &["delete", &memory, "--yes"]).await.ok();
    let wish = id(&of(&world, "ada", &["proposals", "list", "--json"]).await.json()["items"][0]);
    of(&world, "ada", &["proposals", "reject", &wish]).await.ok();
    assert!(of(&world, "ada", &["proposals", "list"]).await.err.contains("no proposal waits"));
    assert!(of(&world, "ada", &["show", &memory]).await.ok().contains("Hates pickles"));
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_handed_over_once() {
    let world = world().await;
    let left = by(&world, "editor", &["handoff", "leave", "Order seeds", "--body", "cucumbers", "--to", "phone", "--json"]).await.json();
    let work = id(&left);
    assert!(by(&world, "phone", &["handoff", "list"]).await.ok().contains("Order seeds"));
    by(&world, "editor", &["handoff", "claim", &work]).await.fails(1);
    let claimed = by(&world, "phone", &["handoff", "claim", &work]).await.ok();
    assert!(claimed.contains("claimed by") && claimed.contains("cucumbers"), "{claimed}");
    by(&world, "phone", &["handoff", "return", &work]).await.ok();
    by(&world, "phone", &["handoff", "claim", &work]).await.ok();
    let done = by(&world, "phone", &["handoff", "finish", &work, "--result", "ordered"]).await.ok();
    assert!(done.contains("ordered") && done.contains("done"), "{done}");
    assert!(by(&world, "phone", &["handoff", "list"]).await.err.contains("nothing waits"));
    let other = id(&by(&world, "editor", &["handoff", "leave", "Never mind", "--json"]).await.json());
    assert!(by(&world, "editor", &["handoff", "withdraw", &other]).await.ok().contains("withdrawn"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_read_from_standard_input_and_shown_when_it_is_asked_for() {
    let world = world().await;
    let set = ["context", "secret", "set", "mail", "--description", "the mailbox", "--user", "ada"];
    assert_eq!(world.sid_reads(&set, "hunter2 \n").await.ok(), "kept mail (version 1)\n");
    let list = of(&world, "ada", &["secret", "list"]).await.ok();
    assert!(list.contains("the mailbox") && !list.contains("hunter2"), "{list}");
    // The blank is its own, the end of the line is not.
    assert_eq!(of(&world, "ada", &["secret", "reveal", "mail"]).await.ok(), "hunter2 \n");
    assert_eq!(of(&world, "ada", &["secret", "reveal", "mail", "--json"]).await.json()["value"], "hunter2 ");
    by(&world, "editor", &["secret", "reveal", "mail"]).await.fails(4);
    of(&world, "bob", &["secret", "reveal", "mail"]).await.fails(1);
    // A value is no argument.
    assert!(!of(&world, "ada", &["secret", "set", "mail", "hunter3"]).await.fails(2).contains("kept"));

    let set = ["context", "secret", "set", "door", "--of-tenant", "--user", "ada"];
    let said = world.sid_reads(&set, "4711").await;
    assert!(said.code == 4 && !said.err.contains("4711"), "a user does not write what is the tenant's: {}", said.err);
    let stale = of(&world, "ada", &["secret", "delete", "mail", "--if-version", "7"]).await.fails(1);
    assert!(stale.contains("[SID-STORE-CONFLICT]"), "{stale}");
    of(&world, "ada", &["secret", "delete", "mail"]).await.ok();
    assert!(of(&world, "ada", &["secret", "list"]).await.err.contains("there are no secrets"));
}
