//! `sid chat`.

use std::time::Duration;

use serde_json::json;
use sid_testkit::model_server::{Behaviour, Fault, ServerOptions};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use crate::world::{World, command, end};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_message_makes_user_agent_and_conversation() {
    let world = World::start().await;
    world.model.script([Behaviour::Text("Good morning, Ada!".into())]);
    let said = world.sid(&["chat", "-m", "good morning"]).await;
    assert!(said.err.contains("there was no user `ada` yet: made it"), "{}", said.err);
    assert!(said.err.contains("there was no agent `sid` yet: made it, with the model `default`"), "{}", said.err);
    assert_eq!(said.ok(), "Good morning, Ada!\n");

    let again = world.sid(&["chat", "-m", "again"]).await;
    assert_eq!(again.err, "");
    assert_eq!(again.ok(), "Understood.\n");
    let list = world.sid(&["conversation", "list", "--user", "ada", "--json"]).await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["key"], "cli");
    assert_eq!(list["items"][0]["last_seq"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn piped_input_is_one_message_a_line_and_commands_work() {
    let world = World::start().await;
    let input = "My pickles are in the cellar.\n\nwhere are they?\n/search pickles\n/blocks\n/prompt what now\n/recalled\n/help\n/dance\n";
    let said = world.sid_reads(&["chat"], input).await;
    assert_eq!(said.code, 2, "an unknown command ends a script: {}", said.err);
    assert!(said.err.contains("there is no /dance"), "{}", said.err);
    assert!(said.out.starts_with("Understood.\nUnderstood.\n"), "{}", said.out);
    assert!(said.out.contains("My pickles are in the cellar."), "{}", said.out);
    assert!(said.out.contains("persona") && said.out.contains("human"), "{}", said.out);
    assert!(said.out.contains("next prompt of scripted"), "{}", said.out);
    assert!(said.out.contains("/recalled         what was recalled"), "{}", said.out);
    assert_eq!(world.model.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_gives_one_object_a_turn() {
    let world = World::start().await;
    let said = world.sid_reads(&["chat", "--json"], "one\ntwo\n").await;
    let lines: Vec<serde_json::Value> = said.ok().lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["reply"], "Understood.");
    assert_eq!(lines[1]["status"], "completed");
    assert_eq!(lines[1]["stop_reason"], "end_turn");
    assert!(lines[1]["run"].as_str().unwrap().starts_with("run_"));
    assert!(lines[1]["prompt_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_in_trouble_is_told_with_what_to_do() {
    let world = World::start().await;
    world.model.script([Behaviour::Fault(Fault::Unauthorized)]);
    let said = world.sid(&["chat", "-m", "hello"]).await;
    let err = said.fails(1);
    assert!(err.contains("error: no answer: ") && err.contains("[SID-CLI-RUN-FAILED]"), "{err}");
    assert!(err.contains("`sid doctor`"), "{err}");
    // The message is stored, and the next one works.
    assert_eq!(world.sid(&["chat", "-m", "and now"]).await.ok(), "Understood.\n");
    // In a script the others are still said, and the end tells of the failure.
    world.model.script([Behaviour::Text("Fine.".into()), Behaviour::Fault(Fault::Unauthorized), Behaviour::Text("Fine again.".into())]);
    let said = world.sid_reads(&["chat"], "one\ntwo\nthree\n").await;
    assert_eq!(said.out, "Fine.\nFine again.\n");
    assert!(said.fails(1).contains("no answer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_used_and_blocks_change() {
    let world = World::start().await;
    let call = ("core_memory_append".to_owned(), json!({"label": "human", "text": "Likes pickles."}));
    world.model.script([Behaviour::Calls(vec![call]), Behaviour::Text("Noted.".into())]);
    let answer = world.says("I like pickles").await;
    assert_eq!(answer["reply"], "Noted.", "{answer}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_the_answer() {
    let options = ServerOptions { default_text: "word ".repeat(200), chunk_delay: Duration::from_millis(100), ..ServerOptions::default() };
    let world = World::start_with(options).await;
    let arguments = world.arguments(&["chat", "-m", "tell me a long story"]);
    let mut child = command(world.folder.path(), &arguments).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut first = [0; 4];
    out.read_exact(&mut first).await.unwrap();
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let said = end(child).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("stopping"), "{}", said.err);
    let runs = world.sid(&["run", "list", "--agent", "sid", "--user", "ada", "--json"]).await.json();
    assert_eq!(runs["items"][0]["status"], "cancelled", "{runs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_streams() {
    let options =
        ServerOptions { default_text: "one two three four".into(), chunk_delay: Duration::from_millis(400), ..ServerOptions::default() };
    let world = World::start_with(options).await;
    let arguments = world.arguments(&["chat", "-m", "count"]);
    let mut child = command(world.folder.path(), &arguments).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = [0; 3];
    out.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"one");
    // The rest is still to come.
    assert!(child.try_wait().unwrap().is_none());
    let mut rest = String::new();
    out.read_line(&mut rest).await.unwrap();
    assert_eq!(rest, " two three four\n");
    assert_eq!(end(child).await.code, 0);
}
