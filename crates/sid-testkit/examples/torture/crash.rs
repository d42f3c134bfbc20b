//! A crash at every named point: once, and again on the way back.
//!
//! The server is built with the feature `failpoints`, and ends with status 137 at the point it is told. A point at which no server ends is
//! a failure: it proves nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use sid_store::crash::POINTS;
use sid_testkit::checker::Entry;
use sid_testkit::postgres::ADMIN;
use sid_testkit::rig::api::messages_path;
use sid_testkit::rig::check::{Depth, examine, settled};
use sid_testkit::rig::{Api, DATABASE, Fleet, FleetPlan, Ledger, ROLE, Server, StoreKind};

use crate::{Context, Sheet};

/// As a killed process ends.
const KILLED: i32 = 137;
/// Fleets that work through the points side by side: most of the time each waits.
const SIDE_BY_SIDE: usize = 3;
/// How long a server may take to come to its point, on any machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// Points that a server comes to when it is asked to end.
const AT_THE_END: [&str; 3] = ["drain.", "release.", "sqlite.checkpoint."];
/// Until all runs have ended after the last start: far more than it takes, so that a busy machine decides nothing.
const TERMINAL: Duration = Duration::from_secs(120);

/// What was tried.
#[derive(Debug, Default)]
struct Outcome {
    crashes: u64,
    acknowledged: u64,
    /// Points at which no server ended.
    missed: Vec<String>,
    wrong: Vec<String>,
    found: Vec<sid_testkit::checker::Violation>,
}

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let times = context.size(1, 2);
    let own = format!("{}.", if context.store == StoreKind::Sqlite { "sqlite" } else { "pg" });
    let of_other_stores = if context.store == StoreKind::Sqlite { "pg." } else { "sqlite." };
    let wanted = |point: &&str| context.options.point.as_ref().is_none_or(|only| point.starts_with(only.as_str()));
    // Nothing here leaves the house: `external` comes to those points.
    let is_elsewhere = |point: &&str| point.starts_with(of_other_stores) || point.starts_with("start.");
    let points = POINTS.iter().copied().filter(wanted).filter(|point| !is_elsewhere(point));
    let is_setup = |point: &&str| point.starts_with(&own) && (point.contains("migrate") || point.contains("open"));
    let (setup, work): (Vec<&str>, Vec<&str>) = points.partition(is_setup);
    let mut plan = FleetPlan::new(&context.options.server, context.store);
    // Slow enough for a lease to be renewed while a reply comes, small enough for page-outs.
    plan.model.chunk_delay = Duration::from_millis(25);
    let plan = plan
        .set("engine.lease_ttl_ms", 1_500)
        .set("engine.poll_ms", 200)
        .set("engine.idle_ms", 200)
        // Some work waits for room: the poller takes it up.
        .set("server.max_runs", 1)
        .set("server.drain_timeout_ms", 300)
        .set("models.default.context_window", 2_500);
    let outcome = Mutex::new(Outcome::default());
    let left = Mutex::new(work.clone());
    let workers = (0..SIDE_BY_SIDE).map(|_| async {
        let mut fleet = plan.start().await?;
        loop {
            let Some(point) = left.lock().pop() else { return anyhow::Ok(()) };
            for times in 1..=times {
                at_work(&mut fleet, point, times, &outcome).await.with_context(|| format!("{point}, {times} times"))?;
            }
        }
    });
    futures::future::try_join_all(workers).await?;
    let mut fleet = plan.prepare().await?;
    for point in &setup {
        for times in 1..=times {
            at_setup(&mut fleet, point, times, &outcome).await.with_context(|| format!("{point}, {times} times"))?;
        }
    }
    let outcome = outcome.into_inner();
    sheet.fact("named points, and crashes at them", format!("{}, {}", work.len() + setup.len(), outcome.crashes));
    sheet.fact("acknowledged messages", outcome.acknowledged);
    sheet.nothing("points that no server came to", &outcome.missed);
    sheet.nothing("wrong answers", &outcome.wrong);
    sheet.invariants(&outcome.found);
    Ok(())
}

/// Tells a server where to end from its next start on.
pub(crate) fn arm(server: &mut Server, point: Option<&str>) {
    server.plan.environment.clear();
    server.plan.environment.extend(point.map(|point| ("FAILPOINTS".to_owned(), format!("{point}=return"))));
}

/// Waits until the server has ended by itself; `false` = it had not in that time.
pub(crate) async fn ends(server: &mut Server, limit: Duration) -> Result<bool> {
    let began = Instant::now();
    while began.elapsed() < limit {
        if let Some(status) = server.exited() {
            ensure!(status.code() == Some(KILLED), "the server ended with {status}:\n{}", server.log());
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(false)
}

/// Crashes so many times at a point of a server at work, lets it come to rest, and compares.
async fn at_work(fleet: &mut Fleet, point: &str, times: usize, outcome: &Mutex<Outcome>) -> Result<()> {
    let name = format!("{point} {times}").replace('.', "-");
    let tenant = fleet.api().make_tenant(&name.replace(' ', "-")).await?;
    let conversations = tenant.make_conversations(4, 1).await?;
    let scene = Scene { name, api: tenant, conversations, ledger: fleet.ledger()?, storms: AtomicU64::new(0), tried: Mutex::default() };
    for time in 1..=times {
        fleet.servers[0].kill();
        arm(&mut fleet.servers[0], Some(point));
        fleet.servers[0].spawn()?;
        if crashes(fleet, &scene, point).await? {
            outcome.lock().crashes += 1;
        } else {
            outcome.lock().missed.push(format!("{point}, time {time} of {times}"));
        }
    }
    fleet.servers[0].kill();
    arm(&mut fleet.servers[0], None);
    fleet.servers[0].start().await?;
    let wrong = scene.send_again().await;
    settled(&scene.api, &scene.conversations, TERMINAL).await?;
    let found = examine(&scene.api, &scene.conversations, scene.ledger.entries(), Depth::default()).await?;
    let mut outcome = outcome.lock();
    outcome.acknowledged += scene.ledger.len() as u64;
    outcome.wrong.extend(wrong);
    outcome.found.extend(found.into_iter().map(|mut violation| {
        violation.detail = format!("{point}, {times} times: {}", violation.detail);
        violation
    }));
    Ok(())
}

/// Works with the server until it ends at its point; `false` = it does not.
async fn crashes(fleet: &mut Fleet, scene: &Scene, point: &str) -> Result<bool> {
    let server = &mut fleet.servers[0];
    if !ready(server, scene).await {
        return ends(server, PATIENCE).await;
    }
    if AT_THE_END.iter().any(|kind| point.starts_with(kind)) {
        scene.begin_a_long_reply().await;
        server.terminate();
        return ends_or_stays(server).await;
    }
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        tokio::select! {
            biased;
            ended = ends(server, PATIENCE) => return ended,
            () = scene.storm_and_rest() => {}
        }
        // Some things happen only while nobody talks.
        if ends(server, Duration::from_secs(3)).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether it answers; `false` = it ended on the way there.
async fn ready(server: &mut Server, scene: &Scene) -> bool {
    while scene.api.once(Method::GET, "/agents", None, None).await.is_err() {
        if server.exited().is_some() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

/// Whether a server that was asked to end ends at its point; `false` = it ended as it should.
async fn ends_or_stays(server: &mut Server) -> Result<bool> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(status) = server.exited() {
            return Ok(status.code() == Some(KILLED));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("a server that was asked to end stays:\n{}", server.log())
}

/// Crashes so many times while the store is being prepared, then starts on it as if nothing had been.
async fn at_setup(fleet: &mut Fleet, point: &str, times: usize, outcome: &Mutex<Outcome>) -> Result<()> {
    let mut server = Server::new(fleet.servers[0].plan.clone());
    let database = format!("{}_{times}", point.replace(['.', '-'], "_"));
    server.plan.name.clone_from(&database);
    match &fleet.postgres {
        None => server.plan.settings.push(("store.path".into(), fleet.folder().join(&database).display().to_string())),
        Some(cluster) => {
            let _ = cluster.sql(DATABASE, &format!("CREATE DATABASE {database}"))?;
            server.plan.settings.push(("store.url".into(), cluster.url(ROLE, &database)));
        }
    }
    let mut migrating = Server::new(server.plan.clone());
    if let Some(cluster) = &fleet.postgres {
        migrating.plan.settings.push(("store.admin_url".into(), cluster.url(ADMIN, &database)));
    }
    for time in 1..=times {
        let has_crashed = if fleet.postgres.is_some() {
            arm(&mut migrating, Some(point));
            migrating.run("migrate").is_err_and(|error| error.to_string().contains(&format!("exit status: {KILLED}")))
        } else {
            arm(&mut server, Some(point));
            server.spawn()?;
            ends(&mut server, PATIENCE).await?
        };
        if has_crashed {
            outcome.lock().crashes += 1;
        } else if !(time > 1 && point.ends_with(".after")) {
            // What is done is not done again: a second crash after it cannot be.
            outcome.lock().missed.push(format!("{point}, time {time} of {times}"));
        }
    }
    if fleet.postgres.is_some() {
        arm(&mut migrating, None);
        migrating.run("migrate")?;
    }
    server.kill();
    arm(&mut server, None);
    server.start().await?;
    if !server.log().contains("first operator key") {
        outcome.lock().wrong.push(format!("{point}: after the crash nobody is given a key"));
    }
    server.kill();
    Ok(())
}

/// A message that was sent.
struct Tried {
    conversation: usize,
    body: Value,
    key: String,
    /// When it was first sent.
    sent: u64,
}

/// What is done to a server on its way to one point.
struct Scene {
    name: String,
    api: Api,
    /// For turns with calls; for a long reply; for long messages; for an old day.
    conversations: Vec<String>,
    ledger: Arc<Ledger>,
    /// How often there was a storm: no two messages are the same.
    storms: AtomicU64,
    /// Everything that was sent, answered or not.
    tried: Mutex<Vec<Tried>>,
}

impl Scene {
    /// Everything that a server does, all at once. Nobody minds when nobody answers.
    async fn storm(&self) {
        let time = self.storms.fetch_add(1, Ordering::Relaxed) + 1;
        let calls = async {
            for number in 0..2 {
                let call = format!("remember {number} #tool:core_memory_append {{\"label\": \"human\", \"content\": \"Fact {number}.\"}}");
                self.say(0, &format!("calls {time}.{number}"), &call).await;
                self.say(0, &format!("queued {time}.{number}"), "and this waits").await;
            }
        };
        let slow = async {
            let run = self.say(1, &format!("slow {time}"), &format!("#say:{}", "word ".repeat(60))).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            // There is no room for it: it waits until the poller finds it.
            self.say(3, &format!("waiting {time}"), "there is time").await;
            tokio::time::sleep(Duration::from_millis(600)).await;
            if let Some(run) = run {
                let _ = self.api.once(Method::POST, &format!("/runs/{run}/cancel"), None, None).await;
            }
        };
        let long = async {
            for number in 0..8 {
                self.say(2, &format!("long {time}.{number}"), &"much to tell ".repeat(60)).await;
            }
        };
        let old = async {
            let (text, key) = self.words(&format!("old {time}"), "so it was");
            let at = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * (2 + i64::try_from(time).unwrap_or(0)));
            self.send(3, &json!({"text": text, "wait": false, "at": at}), &key).await;
        };
        let gone = async {
            let agent_user = json!({"agent": "@agent0", "user": "@user0", "key": format!("gone {time}")});
            if let Some(id) = self.make(&agent_user).await {
                let _ = self.api.once(Method::DELETE, &format!("/conversations/{id}"), None, None).await;
            }
        };
        // A timer that is due at once, and a task that uses up its budget with its first answer and reports that.
        let woken = async {
            let timer = json!({"agent": "@agent0", "user": "@user0", "name": "wake", "stimulus": format!("wake up {time}"),
                "when": {"type": "at", "at": jiff::Timestamp::now()}});
            let _ = self.api.once(Method::POST, "/timers", Some(&timer), None).await;
            let _ = self.api.once(Method::PATCH, "/agents/@agent0", Some(&json!({"tasks": true})), None).await;
            if let Some(reports) = self.make(&json!({"agent": "@agent0", "user": "@user0", "key": "reports"})).await {
                let task =
                    json!({"agent": "@agent0", "user": "@user0", "title": "count", "budget": {"max_steps": 1}, "report_to": reports});
                let _ = self.api.once(Method::POST, "/tasks", Some(&task), None).await;
            }
        };
        tokio::join!(calls, slow, long, old, gone, woken);
    }

    /// A conversation's id, if anybody answers.
    async fn make(&self, conversation: &Value) -> Option<String> {
        let (_, body) = self.api.once(Method::POST, "/conversations", Some(conversation), None).await.ok()?;
        Some(serde_json::from_str::<Value>(&body).ok()?["id"].as_str()?.to_owned())
    }

    /// A storm, and time until all runs of it have ended.
    async fn storm_and_rest(&self) {
        self.storm().await;
        let _ = settled(&self.api, &self.conversations, PATIENCE).await;
    }

    /// Comes back when the model has begun to answer, or nobody answers any more.
    async fn begin_a_long_reply(&self) {
        let time = self.storms.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(run) = self.say(1, &format!("late {time}"), &format!("#say:{}", "word ".repeat(100))).await else { return };
        while let Ok((_, answer)) = self.api.once(Method::GET, &format!("/runs/{run}"), None, None).await {
            if !answer.contains("\"queued\"") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every message once more under its key: what was accepted is not accepted twice, what was not is accepted now. Answers what was
    /// answered wrongly.
    async fn send_again(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let known = self.ledger.entries();
        let tried = std::mem::take(&mut *self.tried.lock());
        for Tried { conversation, body, key, sent } in tried {
            let id = &self.conversations[conversation];
            let answer = self.api.patiently(Method::POST, &messages_path(id), Some(&body), Some(&key), TERMINAL).await;
            let answer = answer.map_err(|e| e.to_string()).and_then(|a| serde_json::from_str::<Value>(&a).map_err(|e| e.to_string()));
            let (run, text) = match &answer {
                Ok(answer) => (answer["run"]["id"].as_str().map(str::to_owned), body["text"].as_str().unwrap_or_default().to_owned()),
                Err(why) => {
                    wrong.push(format!("{key}: {why}"));
                    continue;
                }
            };
            match known.iter().find(|entry| entry.text == text) {
                Some(entry) if entry.run != run => wrong.push(format!("{key}: first {:?}, then {run:?}", entry.run)),
                Some(_) => {}
                None => self.ledger.add(Entry { conversation: id.clone(), text, run, sent, ..Entry::default() }).await,
            }
        }
        wrong
    }

    fn words(&self, what: &str, text: &str) -> (String, String) {
        (format!("{what} of {}: {text}", self.name), format!("{what} of {}", self.name))
    }

    async fn say(&self, conversation: usize, what: &str, text: &str) -> Option<String> {
        let (text, key) = self.words(what, text);
        self.send(conversation, &json!({"text": text, "wait": false}), &key).await
    }

    /// One try. What is acknowledged is written down.
    async fn send(&self, conversation: usize, body: &Value, key: &str) -> Option<String> {
        let id = &self.conversations[conversation];
        let sent = self.ledger.moment();
        self.tried.lock().push(Tried { conversation, body: body.clone(), key: key.to_owned(), sent });
        let (_, answer) = self.api.once(Method::POST, &messages_path(id), Some(body), Some(key)).await.ok()?;
        let run = serde_json::from_str::<Value>(&answer).ok()?["run"]["id"].as_str()?.to_owned();
        let text = body["text"].as_str()?.to_owned();
        self.ledger.add(Entry { conversation: id.clone(), text, run: Some(run.clone()), sent, ..Entry::default() }).await;
        Some(run)
    }
}
