//! A copy of a store at work, opened elsewhere; what was erased; a conversation carried to another server.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use sid_testkit::rig::check::{Depth, examine, settled};
use sid_testkit::rig::{Api, DATABASE, Fleet, FleetPlan, Load, LoadPlan, Server, StoreKind};

use crate::{Context, Sheet};

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let mut fleet = context.fleet().start().await?;
    let operator = fleet.api();
    let api = operator.make_tenant("torture").await?;
    let conversations = api.make_conversations(8, 2).await?;
    let ledger = fleet.ledger()?;
    let load = Load::start(&LoadPlan { senders: 2, pause_ms: 0..50, ..LoadPlan::new(conversations.clone(), context.seed) }, &api, &ledger);
    tokio::time::sleep(Duration::from_secs(context.size(4, 15))).await;
    // One user is forgotten while the others talk.
    let erased = api.make_conversation("agent0", "erased").await?;
    api.ask(&erased, "my secret is xyzzy-plugh", "secret").await?;
    api.patiently(Method::DELETE, "/users/@erased", None, None, Duration::from_secs(30)).await?;
    // What is acknowledged now is in the copy; what comes later may be.
    let before = ledger.entries();
    let copy = copy(&fleet, &operator).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let tally = load.stop().await;
    settled(&api, &conversations, Duration::from_secs(30)).await?;
    sheet.nothing("wrong answers while the copy was made", &tally.wrong);
    sheet.fact("acknowledged before the copy, in all", format!("{}, {}", before.len(), ledger.len()));

    let mut restored = restored(&fleet, &copy)?;
    restored.start().await?;
    let there = api.at(vec![restored.url()]);
    // Runs that were under way when the copy was made go on.
    settled(&there, &conversations, Duration::from_secs(30)).await?;
    let found = examine(&there, &conversations, before, Depth::default()).await?;
    sheet.invariants(&found);
    let export = export(&there).await?;
    sheet.none("words of the erased user in the restored store", export.matches("xyzzy-plugh").count() as u64);
    let gone = there.once(Method::GET, "/users/@erased", None, None).await.err().and_then(|e| e.status());
    sheet.exactly("the erased user is answered", 404, gone.unwrap_or_default().into());

    // A second copy, of the restored store at rest, is the same to the last byte of its export.
    let again = restored.stop(Duration::from_secs(40)).await?.0;
    ensure!(again.success(), "the restored server ended with {again}");
    restored.start().await?;
    sheet.exactly("bytes of the export, after a restart", export.len() as u64, self::export(&there).await?.len() as u64);

    // One conversation, as a chat log, into a new store.
    let (carried, wrong) = carry(context, &export, &conversations[0]).await?;
    sheet.fact("messages carried to another server by export and import", carried);
    sheet.nothing("messages that differ after export and import", &wrong);
    sheet.none("servers that ended", fleet.fallen() as u64);
    Ok(())
}

/// An online copy: the server's own for the embedded store, `pg_dump` for Postgres.
async fn copy(fleet: &Fleet, operator: &Api) -> Result<std::path::PathBuf> {
    let path = fleet.folder().join("copy");
    match &fleet.postgres {
        None => {
            let answer = operator.request(Method::POST, "/backup").send().await?.error_for_status()?;
            std::fs::write(&path, answer.bytes().await?)?;
        }
        Some(cluster) => {
            let mut dump = cluster.program("pg_dump");
            dump.args(["-U", sid_testkit::postgres::ADMIN, "-Fc", "-f"]).arg(&path).arg(DATABASE);
            done(&mut dump)?;
        }
    }
    Ok(path)
}

/// A server, not yet started, on what was copied.
fn restored(fleet: &Fleet, copy: &Path) -> Result<Server> {
    let mut plan = fleet.servers[0].plan.clone();
    plan.name = "restored".into();
    plan.port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    match &fleet.postgres {
        None => {
            let data = fleet.folder().join("restored");
            std::fs::create_dir_all(&data)?;
            std::fs::copy(copy, data.join("sid.db"))?;
            plan.settings.push(("store.path".into(), data.display().to_string()));
        }
        Some(cluster) => {
            let _ = cluster.sql("postgres", "CREATE DATABASE restored")?;
            let mut restore = cluster.program("pg_restore");
            restore.args(["-U", sid_testkit::postgres::ADMIN, "--exit-on-error", "-d", "restored"]).arg(copy);
            done(&mut restore)?;
            plan.settings.push(("store.url".into(), cluster.url(sid_testkit::rig::ROLE, "restored")));
        }
    }
    Ok(Server::new(plan))
}

fn done(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// All that is held, whole.
async fn export(api: &Api) -> Result<String> {
    let text = api.patiently(Method::GET, "/export", None, None, Duration::from_secs(60)).await?;
    let last: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    ensure!(last["kind"] == "end" && last["lines"] == text.lines().count() - 1, "the export broke off: {last}");
    Ok(text)
}

/// Reads the words of one conversation out of an export into a new store, twice; answers how many there are, and what differs there.
async fn carry(context: &Context, export: &str, conversation: &str) -> Result<(usize, Vec<String>)> {
    let lines = export.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let is_word = |m: &&Value| {
        m["kind"] == "message" && m["conversation"] == conversation && (m["role"] == "user" || m["role"] == "assistant") && m["text"] != ""
    };
    let words: Vec<&Value> = lines.iter().filter(is_word).collect();
    let there = FleetPlan::new(&context.options.server, StoreKind::Sqlite).start().await?;
    let api = there.api().make_tenant("carried").await?;
    let talk = api.make_conversations(1, 1).await?.remove(0);
    for _ in 0..2 {
        for part in words.chunks(500) {
            let part: Vec<Value> =
                part.iter().map(|m| json!({"role": m["role"], "text": m["text"], "at": m["at"], "id": m["id"]})).collect();
            api.post(&format!("/conversations/{talk}/import"), &json!({"messages": part})).await?;
        }
    }
    let carried = self::export(&api).await?;
    let carried = carried.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let carried: Vec<&Value> = carried.iter().filter(|m| m["kind"] == "message").collect();
    let mut wrong = Vec::new();
    if carried.len() != words.len() {
        wrong.push(format!("{} messages became {}", words.len(), carried.len()));
    }
    for (a, b) in words.iter().zip(&carried) {
        if ["id", "role", "text", "at"].iter().any(|field| a[field] != b[field]) {
            wrong.push(format!("{a} became {b}"));
        }
    }
    Ok((words.len(), wrong))
}
