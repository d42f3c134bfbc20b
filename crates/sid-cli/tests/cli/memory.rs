//! Memory search, passages, blocks and the prompt.

use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn search_shows_scores_per_channel_and_why() {
    let world = World::start().await;
    world.says("The pickles are in the cellar, behind the old stove.").await;
    world.says("The bicycle needs a new chain.").await;
    let said = world.sid(&["memory", "search", "where", "are", "the", "pickles", "--agent", "sid", "--user", "ada"]).await;
    assert!(said.err.contains("recall is lexical only"), "{}", said.err);
    let text = said.ok();
    let headings = text.lines().next().unwrap();
    for heading in ["score", "bm25", "context", "dense", "kind", "when", "who", "text"] {
        assert!(headings.contains(heading), "{text}");
    }
    assert!(text.lines().nth(1).unwrap().contains("pickles are in the cellar"), "{text}");
    assert!(text.contains("why: what each signal added to the score"), "{text}");

    let found = world.sid(&["memory", "search", "pickles", "-k", "1", "--kinds", "message", "--json"]).await.json();
    assert_eq!(found["hits"].as_array().unwrap().len(), 1);
    assert!(found["hits"][0]["channels"]["bm25"].as_f64().unwrap() > 0.0);
    assert!(world.sid(&["memory", "search", "x", "-k", "0"]).await.fails(2).contains("0 is not in 1..=200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn passages_are_stored_listed_and_removed() {
    let world = World::start().await;
    world.says("hello").await;
    let add = ["memory", "add", "The door code is 4711.", "--tag", "house", "--agent", "sid", "--user", "ada", "--json"];
    let passage = world.sid(&add).await.json();
    assert_eq!(passage["owner"]["type"], "pair");
    let id = passage["id"].as_str().unwrap();
    let list = world.sid(&["memory", "list", "--agent", "sid", "--user", "ada"]).await.ok();
    assert!(list.contains(id) && list.contains("house") && list.contains("The door code is 4711."), "{list}");
    let others = world.sid(&["memory", "list", "--user", "ada"]).await;
    assert!(others.err.contains("the user ada has no passages"), "{}", others.err);
    world.sid(&["memory", "remove", id]).await.ok();
    assert!(world.sid(&["memory", "remove", id]).await.fails(1).contains("[SID-STORE-NOT-FOUND]"));
    let diary = world.sid(&["memory", "diary", "--user", "ada"]).await;
    assert!(diary.err.contains("no pages yet"), "{}", diary.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_have_a_history_that_can_be_compared_and_undone() {
    let world = World::start().await;
    world.says("hello").await;
    let mine = ["--agent", "sid", "--user", "ada"];
    let with = |arguments: &[&'static str]| [arguments, &mine].concat();
    let set = world.sid(&with(&["block", "set", "human", "Likes tea."])).await.ok();
    assert_eq!(set, "--- human version 1\n+++ human version 2\n@@ -0,0 +1,1 @@\n+Likes tea.\n");
    let appended = world.sid_reads(&with(&["block", "append", "human", "-"]), "Allergic to nuts.\n").await.ok();
    assert!(appended.ends_with(" Likes tea.\n+Allergic to nuts.\n"), "{appended}");

    let stale = world.sid(&with(&["block", "set", "human", "x", "--if-version", "1"])).await.fails(1);
    assert!(stale.contains("[SID-STORE-CONFLICT]") && stale.contains("look again"), "{stale}");

    let list = world.sid(&with(&["block", "list"])).await.ok();
    let row = list.lines().find(|l| l.starts_with("human")).unwrap();
    assert!(row.contains("28 / 2,000") && row.contains("Likes tea. Allergic to nuts."), "{list}");
    let history = world.sid(&with(&["block", "history", "human"])).await.ok();
    let versions: Vec<&str> = history.lines().skip(1).filter_map(|l| l.split_whitespace().next()).collect();
    assert_eq!(versions, ["3", "2", "1"], "{history}");
    assert!(history.contains("append") && history.contains("api"), "{history}");

    let diff = world.sid(&with(&["block", "diff", "human", "1", "3"])).await.ok();
    assert_eq!(diff, "--- human version 1\n+++ human version 3\n@@ -0,0 +1,2 @@\n+Likes tea.\n+Allergic to nuts.\n");
    let json = world.sid(&with(&["block", "diff", "human", "--json"])).await.json();
    assert_eq!((&json["from"]["version"], &json["to"]["version"]), (&json!(2), &json!(3)));

    let asked = world.sid(&with(&["block", "undo", "human"])).await;
    assert!(asked.out.contains("-Allergic to nuts."), "shows what it would do: {}", asked.out);
    assert!(asked.fails(2).contains("--yes"));
    let undone = world.sid(&with(&["block", "undo", "human", "--yes", "--json"])).await.json();
    assert_eq!((&undone["value"], &undone["version"]), (&json!("Likes tea."), &json!(4)));
    let missing = world.sid(&with(&["block", "undo", "human", "--to", "99", "--yes"])).await.fails(1);
    assert!(missing.contains("no version 99"), "{missing}");
    let unknown = world.sid(&with(&["block", "show", "cat"])).await.fails(1);
    assert!(unknown.contains("the pair sid + ada has no block `cat`") && unknown.contains("human, persona"), "{unknown}");

    let shared = world.sid(&["block", "create", "house rules", "No shoes.", "--limit", "100", "--json"]).await.json();
    assert_eq!(shared["owner"]["type"], "tenant");
    assert!(world.sid(&["block", "show", shared["id"].as_str().unwrap()]).await.ok().ends_with("\nNo shoes.\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_context_of_the_last_and_of_the_next_turn_is_shown() {
    let world = World::start().await;
    world.says("The pickles are in the cellar.").await;
    let of = ["--agent", "sid", "--user", "ada"];
    let last = world.sid(&[&["prompt", "--last"], &of[..]].concat()).await.ok();
    assert!(last.starts_with("last prompt of scripted · window 8,192 tokens · prompt "), "{last}");
    let bar = last.lines().nth(1).unwrap();
    assert!(bar.starts_with('▕') && bar.ends_with('▏') && bar.chars().count() == 120, "{bar}");
    for segment in ["instructions", "tools", "blocks", "queue", "stimulus"] {
        assert!(last.lines().any(|l| l.contains(segment)), "{segment}: {last}");
    }
    let next = world.sid(&[&["prompt", "--next", "where are the pickles?", "--full"], &of[..]].concat()).await.ok();
    assert!(next.contains("── stimulus · ") && next.contains("where are the pickles?"), "{next}");
    let raw = world.sid(&[&["prompt", "--next", "and now?", "--raw"], &of[..]].concat()).await.json();
    assert_eq!(raw["messages"][0]["role"], "system");
    assert!(raw["tools"].as_array().is_some_and(|t| !t.is_empty()));
    let json = world.sid(&[&["prompt", "--json"], &of[..]].concat()).await.json();
    assert!(json["segments"].as_array().is_some());
    // Without a name it is the latest conversation.
    let other = world.sid(&["chat", "-m", "hello", "--conversation", "other", "--json"]).await.json();
    let said = world.sid(&["prompt"]).await;
    assert!(said.err.contains(other["conversation"].as_str().unwrap()) && said.err.contains("of sid with ada"), "{}", said.err);
    assert!(said.ok().starts_with("last prompt"));
    assert!(world.sid(&["prompt", "ada"]).await.fails(2).contains("conv_"));
    assert!(
        world
            .sid(&["prompt", "--agent", "sid", "--conversation", "third", "--user", "ada"])
            .await
            .fails(1)
            .contains("[SID-CLI-NO-CONVERSATION]")
    );
    // Only what was said asked the model.
    assert_eq!(world.model.count(), 2);
}
