//! A crash at every point around an external call, with a service that counts.
//!
//! A function that may be repeated is sent its `Idempotency-Key`: the service sees one effect, however often it is asked. One that may not
//! is never asked twice: where nobody knows what it did, "outcome unknown" is what the model reads and what the user is shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use sid_testkit::rig::api::messages_path;
use sid_testkit::rig::check::{Depth, examine, settled};
use sid_testkit::rig::{Api, Fleet, FleetPlan};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::crash::{arm, ends};
use crate::{Context, Sheet};

/// Where the server ends by itself, in the order of a turn; the last is while the service works.
const POINTS: [&str; 13] = [
    "model.before",
    "model.after",
    "record.before",
    "record.after",
    "start.before",
    "start.after",
    "tool.before",
    WORKING,
    "tool.after",
    "results.before",
    "results.after",
    "finish.before",
    "finish.after",
];
/// The service has had its effect and has not answered.
const WORKING: &str = "while the service works";
/// Points between the journal's word that the call leaves and its word of the result: what came of it is not known.
const UNKNOWN: [&str; 5] = ["start.after", "tool.before", WORKING, "tool.after", "results.before"];
/// Points at which the service has been asked, and nobody wrote down what it said.
const ASKED: [&str; 3] = [WORKING, "tool.after", "results.before"];
/// How long a server may take to come to its point, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the model reads, and the user sees.
const UNKNOWN_OUTCOME: &str = "Outcome unknown";

/// A service that counts what it is asked: an effect for each key, or for each request that has none.
#[derive(Default)]
struct Counts {
    /// By path: the keys, or the lack of one, in the order of the requests.
    asked: BTreeMap<String, Vec<Option<String>>>,
    /// Whether answers are held back.
    holds: bool,
}

struct Service {
    counts: Arc<Mutex<Counts>>,
    url: String,
}

impl Service {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let counts = Arc::new(Mutex::new(Counts::default()));
        let all = counts.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, all.clone()));
            }
        });
        Ok(Self { counts, url })
    }

    fn asked(&self, path: &str) -> Vec<Option<String>> {
        self.counts.lock().asked.get(path).cloned().unwrap_or_default()
    }

    fn hold(&self, holds: bool) {
        self.counts.lock().holds = holds;
    }
}

/// One connection: a request, an answer, and so on until the other side has enough.
async fn serve(stream: TcpStream, counts: Arc<Mutex<Counts>>) {
    let mut stream = BufReader::new(stream);
    while let Ok(Some((path, key))) = request(&mut stream).await {
        counts.lock().asked.entry(path).or_default().push(key);
        while counts.lock().holds {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let body = r#"{"done": true}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Path and idempotency key of the next request.
async fn request(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<(String, Option<String>)>> {
    let (mut line, mut path, mut key, mut length) = (String::new(), None, None, 0);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let text = line.trim();
        match (&path, text.split_once(':')) {
            (None, _) => path = text.split(' ').nth(1).map(str::to_owned),
            (Some(path), _) if text.is_empty() => {
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await?;
                return Ok(Some((path.clone(), key)));
            }
            (Some(_), Some((name, value))) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().unwrap_or(0),
            (Some(_), Some((name, value))) if name.eq_ignore_ascii_case("idempotency-key") => key = Some(value.trim().to_owned()),
            _ => {}
        }
    }
}

/// What was found.
#[derive(Default)]
struct Outcome {
    crashes: u64,
    missed: Vec<String>,
    repeated: Vec<String>,
    effects: Vec<String>,
    untold: Vec<String>,
    unshown: Vec<String>,
    found: Vec<sid_testkit::checker::Violation>,
}

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let mut plan = FleetPlan { keep: context.options.keep, ..FleetPlan::new(&context.options.server, context.store) };
    plan.model.record = true;
    let plan = plan.set("engine.lease_ttl_ms", 1_500).set("engine.poll_ms", 200).set("tools.open", "127.0.0.0/8:*");
    let mut fleet = plan.start().await?;
    let service = Service::start().await?;
    let mut outcome = Outcome::default();
    let wanted = |point: &&&str| context.options.point.as_ref().is_none_or(|only| point.starts_with(only.as_str()));
    for times in 1..=context.size(1, 3) {
        for point in POINTS.iter().filter(wanted) {
            for effect in ["idempotent", "once"] {
                let name = format!("{} {effect} {times}", point).replace(['.', ' '], "-");
                let scene = Scene { name, point, effect, times };
                at_point(&mut fleet, &service, &scene, &mut outcome).await.with_context(|| scene.name.clone())?;
            }
        }
    }
    sheet.fact("points, and crashes at them", format!("{}, {}", POINTS.len(), outcome.crashes));
    sheet.nothing("points that no server came to", &outcome.missed);
    sheet.nothing("with the idempotency key: calls with other than one effect", &outcome.effects);
    sheet.nothing("without: calls that were repeated", &outcome.repeated);
    sheet.nothing("outcomes that the model was not told rightly", &outcome.untold);
    sheet.nothing("outcomes that the user was not shown", &outcome.unshown);
    sheet.invariants(&outcome.found);
    Ok(())
}

/// One call and its crashes.
struct Scene {
    name: String,
    point: &'static str,
    /// Of the function: `idempotent` or `once`.
    effect: &'static str,
    /// Most crashes.
    times: u32,
}

async fn at_point(fleet: &mut Fleet, service: &Service, scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    let path = format!("/{}", scene.name);
    let tenant = fleet.api().make_tenant(&scene.name).await?;
    let source = json!({"kind": "http", "description": "Orders.", "url": format!("{}{path}", service.url), "effect": scene.effect,
        "parameters": {"type": "object", "properties": {"bread": {"type": "string"}}, "required": ["bread"]}});
    tenant.once(Method::PUT, "/tools/order", Some(&json!({"source": source})), None).await.map_err(|e| anyhow::anyhow!("{e}"))?;
    let conversations = tenant.make_conversations(1, 1).await?;
    let say = json!({"text": "Buy it. #tool:order {\"bread\": \"rye\"}", "wait": false});
    for time in 1..=scene.times {
        fleet.servers[0].kill();
        let asked_before = service.asked(&path).len();
        service.hold(scene.point == WORKING);
        arm(&mut fleet.servers[0], (scene.point != WORKING).then_some(scene.point));
        fleet.servers[0].spawn()?;
        // The key makes it one message, whichever try was accepted.
        let sent = ask(fleet, &tenant, &messages_path(&conversations[0]), &say).await;
        let is_asked = || scene.point == WORKING && service.asked(&path).len() > asked_before;
        if crashes(fleet, is_asked, &tenant, &conversations).await? {
            outcome.crashes += 1;
        } else if time == 1 {
            outcome.missed.push(format!("{} (sent: {sent})", scene.name));
        }
    }
    service.hold(false);
    fleet.servers[0].kill();
    arm(&mut fleet.servers[0], None);
    fleet.servers[0].start().await?;
    ask(fleet, &tenant, &messages_path(&conversations[0]), &say).await;
    settled(&tenant, &conversations, PATIENCE).await?;
    judge(fleet, service, scene, (&tenant, &conversations), outcome).await
}

/// Says it until it is acknowledged or the server has ended.
async fn ask(fleet: &mut Fleet, api: &Api, path: &str, say: &Value) -> bool {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if api.once(Method::POST, path, Some(say), Some("buy")).await.is_ok() {
            return true;
        }
        if fleet.servers[0].exited().is_some() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

/// Waits until the server has ended at its point, or kills it once the service is asked; `false` = the turn has ended without coming there.
async fn crashes(fleet: &mut Fleet, is_asked: impl Fn() -> bool, api: &Api, talks: &[String]) -> Result<bool> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if is_asked() {
            fleet.servers[0].kill();
            return Ok(true);
        }
        if ends(&mut fleet.servers[0], Duration::from_millis(50)).await? {
            return Ok(true);
        }
        // Nobody answers once the server has ended: that is seen above, and not waited for here.
        let rest = tokio::time::timeout(Duration::from_millis(500), settled(api, talks, Duration::ZERO));
        if rest.await.is_ok_and(|rest| rest.is_ok()) && !ends(&mut fleet.servers[0], Duration::from_secs(1)).await? {
            return Ok(false);
        }
    }
    Ok(false)
}

/// Compares what the service, the model and the user saw with what was promised.
async fn judge(
    fleet: &Fleet,
    service: &Service,
    scene: &Scene,
    (api, conversations): (&Api, &[String]),
    outcome: &mut Outcome,
) -> Result<()> {
    let name = &scene.name;
    let asked = service.asked(&format!("/{name}"));
    let keys: std::collections::BTreeSet<_> = asked.iter().flatten().collect();
    if scene.effect == "idempotent" {
        if keys.len() != 1 || asked.iter().any(Option::is_none) {
            outcome.effects.push(format!("{name}: asked with {asked:?}"));
        }
    } else if asked.len() > 1 {
        outcome.repeated.push(format!("{name}: asked {} times", asked.len()));
    }
    let messages = api.messages(&conversations[0]).await?;
    let results: Vec<&str> = messages.iter().filter(|m| m.role == "tool").map(|m| m.text.as_str()).collect();
    let is_unknown = scene.effect == "once" && UNKNOWN.contains(&scene.point);
    let expected = if is_unknown { UNKNOWN_OUTCOME } else { "done" };
    if results.len() != 1 || !results[0].contains(expected) {
        outcome.untold.push(format!("{name}: {results:?} instead of {expected}"));
    }
    if scene.effect == "once" && (asked.is_empty() && (!is_unknown || ASKED.contains(&scene.point))) {
        outcome.effects.push(format!("{name}: never asked"));
    }
    // The prompt after it, as the model read it.
    if !fleet.model.chats().iter().any(|chat| chat.to_string().contains(expected)) {
        outcome.untold.push(format!("{name}: no prompt says {expected}"));
    }
    if is_unknown {
        let run = messages.first().and_then(|m| m.run.clone()).context("a run")?;
        let events: Vec<Value> = api.all(&format!("/runs/{run}/events")).await?;
        if !events.iter().any(|e| e.to_string().contains(UNKNOWN_OUTCOME)) {
            outcome.unshown.push(format!("{name}: no event tells of it"));
        }
    }
    let depth = Depth { runs: 20, ..Depth::default() };
    outcome.found.extend(examine(api, conversations, Vec::new(), depth).await?);
    Ok(())
}
