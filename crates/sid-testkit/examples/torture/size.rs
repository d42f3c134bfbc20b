//! A very long conversation, beside a short one, in a very full store.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use sid_testkit::rig::{Api, percentile};

use crate::{Context, Sheet};

/// Messages of one import.
const PART: usize = 1_000;
const PAGE: usize = 20;
/// Turns that are measured in each conversation.
const TURNS: usize = 100;

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let (long, agents) = context.size((40_000, 5_000), (1_000_000, 100_000));
    // Without vectors, as `cargo xtask bench turn` measures it: scanning them is the vector store's subject.
    let mut plan = context.fleet().set("embedder.kind", "none");
    plan.model.delay = Duration::ZERO;
    let mut fleet = plan.start().await?;
    let api = fleet.api().make_tenant("torture").await?;
    let talks = api.make_conversations(2, 2).await?;
    let began = Instant::now();
    fill(&api, &talks[0], 1_000).await?;
    fill(&api, &talks[1], long).await?;
    // Rows like the one that the API makes: a hundred thousand requests would say no more.
    let copied = fleet.sql(&format!(
        "INSERT INTO sid.agents SELECT tenant, gen_random_uuid(), 'copy-' || n, spec, teams, created_at, updated_at
         FROM sid.agents, generate_series(1, {agents}) n WHERE name = 'agent0'; ANALYZE; SELECT count(*) FROM sid.agents"
    ))?;
    sheet.fact(
        "messages in the long conversation, agents, time to fill",
        format!("{long}, {copied}, {:.0} s", began.elapsed().as_secs_f64()),
    );
    // The first turn brings the partition into memory; the word lists are written in the background.
    for talk in &talks {
        turn(&api, talk, "warm up").await?;
    }
    let began = Instant::now();
    while api.get::<Value>("/index?wait_ms=5000").await?["pending"] != 0 && began.elapsed() < Duration::from_secs(300) {}
    sheet.fact("indexing went on for", format!("{:.0} s", began.elapsed().as_secs_f64()));
    let mut times = [Vec::new(), Vec::new()];
    for n in 0..TURNS + 20 {
        for (talk, times) in talks.iter().zip(&mut times) {
            let took = turn(&api, talk, &format!("turn {n} about {}", words(n))).await?;
            if n >= 20 {
                times.push(took);
            }
        }
    }
    let p = |times: &mut Vec<f64>| (percentile(times, 0.5), percentile(times, 0.99));
    let ((short_p50, short_p99), (long_p50, long_p99)) = (p(&mut times[0]), p(&mut times[1]));
    sheet.fact("a turn at 1,000 messages: p50, p99", format!("{short_p50:.1} ms, {short_p99:.1} ms"));
    sheet.fact("a turn in the long conversation: p50, p99", format!("{long_p50:.1} ms, {long_p99:.1} ms"));
    sheet.goal("p50, long to short", 1.2, long_p50 / short_p50, "");
    sheet.goal("p99, long to short", 1.2, long_p99 / short_p99, "");
    let last = long / PAGE;
    for number in [1, last] {
        let mut times = Vec::new();
        for _ in 0..50 {
            let began = Instant::now();
            let page: Value = api.get(&format!("/conversations/{}/messages?from={}&limit={PAGE}", talks[1], (number - 1) * PAGE)).await?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
            anyhow::ensure!(page["items"].as_array().map(Vec::len) == Some(PAGE), "page {number} is not whole");
        }
        sheet.goal(&format!("page {number} of {PAGE} messages, median"), 20.0, percentile(&mut times, 0.5), "ms");
    }
    sheet.at_most("the server's memory", 300.0, fleet.servers[0].memory_mb(), "MB");
    sheet.none("servers that ended", fleet.fallen() as u64);
    Ok(())
}

async fn fill(api: &Api, talk: &str, count: usize) -> Result<()> {
    let parts = (0..count / PART).map(|part| async move {
        let message = |i: usize| {
            let n = part * PART + i;
            json!({"role": if n.is_multiple_of(2) { "user" } else { "assistant" }, "text": format!("message {n} about {}", words(n)), "at": "2025-01-01T00:00:00Z"})
        };
        let messages: Vec<Value> = (0..PART).map(message).collect();
        api.post(&format!("/conversations/{talk}/import"), &json!({"messages": messages})).await.map(drop)
    });
    futures::stream::iter(parts).buffered(2).try_collect().await
}

/// A dozen words out of a thousand.
fn words(n: usize) -> String {
    (0..12_usize).map(|i| format!("word{} ", (n * 31 + i * i * 17) % 1_000)).collect()
}

async fn turn(api: &Api, talk: &str, text: &str) -> Result<f64> {
    let began = Instant::now();
    let (run, _) = api.ask(talk, text, &format!("{talk} {text}")).await?;
    anyhow::ensure!(run.status == "completed", "a turn ended as {}", run.status);
    Ok(began.elapsed().as_secs_f64() * 1e3)
}
