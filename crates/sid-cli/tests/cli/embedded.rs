//! The binary alone, on a data folder.

use std::path::Path;

use serde_json::json;
use sid_testkit::model_server::{Behaviour, ModelServer};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::world::{Said, command, end, run};

struct Alone {
    model: ModelServer,
    folder: TempDir,
}

impl Alone {
    async fn start() -> Self {
        let model = ModelServer::start().await.unwrap();
        let folder = TempDir::new().unwrap();
        let config = format!("[models.local]\nbase_url = \"{}/v1\"\nmodel = \"scripted\"\nmax_tries = 1\n", model.base_url());
        std::fs::write(folder.path().join("sid.toml"), config).unwrap();
        Self { model, folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn sid(&self, arguments: &[&str]) -> Said {
        run(self.path(), arguments, None).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_is_there_at_the_next_call() {
    let alone = Alone::start().await;
    alone.model.script([Behaviour::Text("In the cellar, then.".into())]);
    let said = alone.sid(&["chat", "-m", "The pickles are in the cellar."]).await;
    assert!(said.err.contains("made the data folder sid-data") && said.err.contains("operator key, shown once: sid_"), "{}", said.err);
    assert!(said.err.contains("with the model `local`"), "{}", said.err);
    assert_eq!(said.ok(), "In the cellar, then.\n");
    assert!(alone.path().join("sid-data").is_dir());

    let said = alone.sid(&["chat", "-m", "where?", "--json"]).await;
    assert_eq!(said.err, "");
    let turn = said.json();
    assert_eq!(turn["reply"], "Understood.");
    let found = alone.sid(&["memory", "search", "pickles", "--agent", "sid", "--user", "ada", "--json"]).await.json();
    assert_eq!(found["hits"][0]["text"], "The pickles are in the cellar.", "{found}");
    let context = alone.sid(&["prompt", "--agent", "sid", "--user", "ada", "--last"]).await.ok();
    assert!(context.contains("last prompt of scripted"), "{context}");
    // The same key opens a server on the folder; another one of any kind can be made here.
    let key = alone.sid(&["key", "create", "mine", "--role", "operator", "--json"]).await.json();
    assert!(key["key"].as_str().unwrap().starts_with("sid_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_a_data_folder_again() {
    let alone = Alone::start().await;
    alone.sid(&["chat", "-m", "remember me"]).await.ok();
    let done = alone.sid(&["backup", "copy.db", "--json"]).await.json();
    assert!(done["bytes"].as_u64().unwrap() > 10_000);
    assert!(alone.sid(&["backup", "copy.db"]).await.fails(1).contains("--force"));
    std::fs::create_dir(alone.path().join("restored")).unwrap();
    std::fs::rename(alone.path().join("copy.db"), alone.path().join("restored/sid.db")).unwrap();
    let list = alone.sid(&["conversation", "list", "--data", "restored", "--json"]).await.json();
    assert_eq!(list["items"][0]["last_seq"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_configurations_are_told_with_their_place() {
    let alone = Alone::start().await;
    std::fs::write(alone.path().join("odd.toml"), "[modles.local]\nbase_url = \"http://x\"\n").unwrap();
    let err = alone.sid(&["agent", "list", "--config", "odd.toml"]).await.fails(1);
    assert!(err.contains("modles") && err.contains("[SID-CONFIG-UNKNOWN-KEY]"), "{err}");
    let err = alone.sid(&["agent", "list", "--set", "engine.poll_ms=lots"]).await.fails(1);
    assert!(err.contains("engine.poll_ms") && err.contains("[SID-CONFIG-BAD-VALUE]"), "{err}");
    std::fs::write(alone.path().join("file"), "x").unwrap();
    let said = alone.sid(&["agent", "list", "--data", "file"]).await;
    assert!(matches!(said.code, 1 | 3) && said.err.contains("data folder") && said.err.lines().count() <= 2, "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_model_is_away() {
    let alone = Alone::start().await;
    let gone = ["--set", "models.local.base_url=http://127.0.0.1:9/v1"];
    let err = alone.sid(&[&["chat", "-m", "are you there?"], &gone[..]].concat()).await.fails(1);
    assert!(err.contains("no answer") && err.contains("sid doctor"), "{err}");
    let doctor = alone.sid(&[&["doctor"], &gone[..]].concat()).await;
    assert!(doctor.out.contains("BAD   reachable"), "{}", doctor.out);
    assert_eq!(doctor.code, 1);
    alone.sid(&["chat", "-m", "and now?"]).await.ok();
    let messages = alone.model.chats()[0]["messages"].clone();
    assert!(messages.to_string().contains("are you there?"), "{messages}");
    assert_eq!(json!(alone.model.chats().len()), json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_use_says_so() {
    let alone = Alone::start().await;
    let mut chat = command(alone.path(), &["chat"]);
    let mut chat = chat.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = chat.stdin.take().unwrap();
    stdin.write_all(b"hello\n").await.unwrap();
    let mut answer = String::new();
    BufReader::new(chat.stdout.as_mut().unwrap()).read_line(&mut answer).await.unwrap();
    assert_eq!(answer, "Understood.\n");
    let err = alone.sid(&["agent", "list"]).await.fails(3);
    assert!(err.contains("in use by another sid process"), "{err}");
    drop(stdin);
    assert_eq!(end(chat).await.code, 0);
    alone.sid(&["agent", "list"]).await.ok();
}
