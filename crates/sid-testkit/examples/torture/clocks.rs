//! Servers whose clocks are wrong, and are set while they run. The database's is right.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::json;
use sid_testkit::rig::api::messages_path;
use sid_testkit::rig::check::{Depth, examine, settled};
use sid_testkit::rig::{Load, LoadPlan};

use crate::{Context, Sheet};

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let library = context.options.faketime.clone().context("--faketime names libfaketime.so.1: `cargo xtask setup faketime` fetches it")?;
    let mut fleet = context.fleet().replicas(3).prepare().await?;
    let folder = fleet.folder().to_owned();
    let set = |server: usize, offset: &str| std::fs::write(folder.join(format!("clock{server}")), offset);
    for (at, offset) in ["+0", "+3600", "-3600"].into_iter().enumerate() {
        set(at, offset)?;
        let clock = folder.join(format!("clock{at}")).display().to_string();
        fleet.servers[at].plan.environment = vec![
            ("LD_PRELOAD".into(), library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE".into(), clock),
            ("FAKETIME_NO_CACHE".into(), "1".into()),
            // Timers go by the steady clock, which no administrator sets.
            ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
            ("DONT_FAKE_MONOTONIC".into(), "1".into()),
        ];
    }
    fleet.open().await?;
    let api = fleet.api().make_tenant("torture").await?;
    // It is wrong indeed: a message without a time of its own is told that of the server that took it.
    let conversations = api.make_conversations(16, 4).await?;
    let told = api.only(1).post(&messages_path(&conversations[0]), &json!({"text": "what time is it?"})).await?;
    let at: jiff::Timestamp = told["messages"][0]["at"].as_str().context("a time")?.parse()?;
    sheet.at_least("a server's clock is ahead by", 3_000.0, (at.as_second() - jiff::Timestamp::now().as_second()) as f64, "s");
    let ledger = fleet.ledger()?;
    let plan = LoadPlan { senders: 4, pause_ms: 0..100, ..LoadPlan::new(conversations.clone(), context.seed) };
    let load = Load::start(&plan, &api, &ledger);
    let steps = context.size(3, 10);
    for step in 0..steps {
        tokio::time::sleep(Duration::from_secs(2)).await;
        for (server, hour) in [(1, 3_600), (2, -3_600)] {
            let seconds = hour + if (step + server) % 2 == 0 { 300 } else { -300 };
            set(server, &format!("{seconds:+}"))?;
        }
    }
    // The one that is an hour ahead dies with leases in hand; the others see them end on time.
    fleet.servers[1].kill();
    load.pause();
    let began = Instant::now();
    let alive = api.at(vec![api.base(0), api.base(2)]);
    settled(&alive, &conversations, Duration::from_secs(60)).await?;
    let took = began.elapsed().as_secs_f64();
    fleet.servers[1].start().await?;
    load.resume();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let tally = load.stop().await;
    settled(&api, &conversations, Duration::from_secs(30)).await?;
    // The same request on servers two hours apart.
    let body = json!({"text": "once"});
    let (mut same, mut other) = (Vec::new(), Vec::new());
    for server in 0..3 {
        let api = api.only(server);
        same.push(api.once(Method::POST, &messages_path(&conversations[0]), Some(&body), Some("two hours apart")).await?.1);
        let another =
            api.once(Method::POST, &messages_path(&conversations[0]), Some(&json!({"text": "twice"})), Some("two hours apart")).await;
        other.push(another.err().and_then(|e| e.status()));
    }
    let found = examine(&api, &conversations, ledger.entries(), Depth::default()).await?;
    sheet.fact("servers' clocks", "right, an hour ahead, an hour behind; two of them set by 10 minutes every 2 s");
    sheet.fact("acknowledged messages", ledger.len());
    sheet.nothing("wrong answers", &tally.wrong);
    sheet.invariants(&found);
    sheet.at_most("last run terminal after the kill of the server that is ahead", 17.0, took, "s");
    sheet.none("repeats that were answered otherwise", same.iter().filter(|body| **body != same[0]).count() as u64);
    sheet.none("other bodies under the same key that were not 422", other.iter().filter(|status| **status != Some(422)).count() as u64);
    sheet.none("servers that ended", fleet.fallen() as u64);
    Ok(())
}
