//! The figures.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::Options;
use crate::api::Api;
use crate::host::Host;
use crate::model::Model;
use crate::process::{Embedder, Server, Store};

pub(crate) fn row(figure: &str, goal: &str, measured: &str, how: &str) {
    println!("| {figure} | {goal} | {measured} | {how} |");
}

pub(crate) fn percentile(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}

/// Small talk of about `words` words, different for each number: a vocabulary of some thousand words, as people have.
pub(crate) fn talk(number: u64, words: usize) -> String {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    let mut out = String::new();
    for _ in 0..words {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // The square makes a few words common and most rare.
        let draw = (state >> 11) as f64 / (1_u64 << 53) as f64;
        let word = (draw * draw * draw * 6_000.0) as u64;
        out.push_str(&spell(word));
        out.push(' ');
    }
    out
}

fn spell(mut n: u64) -> String {
    const ONSETS: [&str; 12] = ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t"];
    const VOWELS: [&str; 5] = ["a", "e", "i", "o", "u"];
    let mut out = String::new();
    n += 7;
    while n > 0 {
        out.push_str(ONSETS[(n % 12) as usize]);
        n /= 12;
        out.push_str(VOWELS[(n % 5) as usize]);
        n /= 5;
    }
    out
}

/// One agent, one user, one conversation on a fresh server.
pub(crate) async fn house(options: &Options, embedder: Embedder) -> Result<(Store, Model, Server)> {
    let store = Store::open(options)?;
    let model = Model::start(Duration::ZERO).await?;
    let server = Server::start(options, &store, &model.url, embedder, None).await?;
    server.api.agent("helper").await?;
    Ok((store, model, server))
}

pub(crate) async fn start_and_idle(options: &Options) -> Result<()> {
    let (store, model, server) = house(options, Embedder::None).await?;
    server.api.user("ann").await?;
    let talk_here = server.api.conversation("helper", "ann", "k").await?;
    server.api.say(&talk_here, "Hello").await?;
    let key = server.api.key.clone();
    drop(server);
    let mut ready = Vec::new();
    let mut idle = Vec::new();
    for _ in 0..5 {
        let server = Server::start(options, &store, &model.url, Embedder::None, Some(key.clone())).await?;
        ready.push(server.ready_after.as_secs_f64() * 1_000.0);
        tokio::time::sleep(Duration::from_secs(2)).await;
        idle.push(server.memory_mb()?);
    }
    row(
        "start to ready",
        "<= 150 ms",
        &format!("{:.0} ms", percentile(&mut ready, 0.5)),
        "median of 5 starts on an existing store, no embedding model",
    );
    row("idle memory", "<= 40 MB", &format!("{:.0} MB", percentile(&mut idle, 0.5)), "resident, median of 5, 2 s after the start");
    if options.minilm.is_some() {
        let server = Server::start(options, &store, &model.url, Embedder::MiniLm, Some(key)).await?;
        server.api.call(reqwest::Method::GET, "/index?wait_ms=60000", None).await?;
        server.api.say(&talk_here, "What did we talk about?").await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let ready = server.ready_after.as_secs_f64() * 1_000.0;
        row(
            "memory with MiniLM",
            "<= 250 MB",
            &format!("{:.0} MB", server.memory_mb()?),
            &format!("resident, after a turn; ready after {ready:.0} ms"),
        );
    }
    Ok(())
}

/// The processor time that a message may take, of the server and the database together.
fn cpu_goal(options: &Options) -> &'static str {
    if options.on_postgres { "<= 4 ms" } else { "<= 3 ms" }
}

pub(crate) async fn sequential(options: &Options) -> Result<()> {
    let (_folder, model, server) = house(options, Embedder::None).await?;
    server.api.user("ann").await?;
    let conversation = server.api.conversation("helper", "ann", "k").await?;
    for i in 0..30 {
        server.api.say(&conversation, &talk(i, 15)).await?;
    }
    let direct = direct_model(&model, &server).await?;
    let count = if options.quick { 60 } else { 600 };
    let mut times = Vec::new();
    let (host, cpu, own_cpu) = (Host::now()?, server.cpu()?, server.own_cpu()?);
    for i in 0..count {
        let text = talk(1_000 + i, 15);
        let began = Instant::now();
        server.api.say(&conversation, &text).await?;
        times.push(ms(began));
    }
    let cpu = (server.cpu()? - cpu) * 1_000.0 / count as f64;
    let own_cpu = (server.own_cpu()? - own_cpu) * 1_000.0 / count as f64;
    let (p50, p95) = (percentile(&mut times, 0.5), percentile(&mut times, 0.95));
    row(
        "overhead per message, p50",
        if options.on_postgres { "<= 8 ms" } else { "<= 5 ms" },
        &format!("{:.1} ms (p95 {:.1})", p50 - direct, p95 - direct),
        &format!("{count} messages one after the other in one conversation; the model's own {direct:.2} ms are taken off"),
    );
    let whose = if options.on_postgres { format!("server {own_cpu:.2} ms, Postgres the rest") } else { "the server process".into() };
    row(
        "CPU per message, one after the other",
        cpu_goal(options),
        &format!("{cpu:.2} ms"),
        &format!("{whose}; user + system, same run; {}", host.took()?),
    );
    Ok(())
}

/// What one request to the model costs without Sid: median of 100.
async fn direct_model(model: &Model, server: &Server) -> Result<f64> {
    let Some(body) = model.take().pop() else { return Ok(0.0) };
    let mut times = Vec::new();
    for _ in 0..100 {
        let began = Instant::now();
        let answer =
            server.api.client.post(format!("{}/chat/completions", model.url)).header("content-type", "application/json").body(body.clone());
        answer.send().await?.bytes().await?;
        times.push(ms(began));
    }
    model.take();
    Ok(percentile(&mut times, 0.5))
}

/// What many conversations at once came to.
pub(crate) struct Load {
    pub(crate) rate: f64,
    pub(crate) times: Vec<f64>,
}

/// A sender for each conversation, each to the end of its turn, for so long; the conversations are dealt out to `apis` in turn.
pub(crate) async fn load(apis: &[Api], conversations: &[String], seconds: u64) -> Result<Load> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let began = Instant::now();
    let mut senders = Vec::new();
    for (i, conversation) in conversations.iter().cloned().enumerate() {
        let api = apis[i % apis.len()].clone();
        senders.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let began = Instant::now();
                api.say(&conversation, &talk((i * 100_000 + times.len()) as u64, 15)).await?;
                times.push(ms(began));
            }
            anyhow::Ok(times)
        }));
    }
    let mut times = Vec::new();
    for sender in senders {
        times.extend(sender.await??);
    }
    Ok(Load { rate: times.len() as f64 / began.elapsed().as_secs_f64(), times })
}

/// Sixty-four people, each with a conversation.
pub(crate) async fn crowd(api: &Api) -> Result<Vec<String>> {
    let mut conversations = Vec::new();
    for i in 0..64 {
        let user = format!("u{i}");
        api.user(&user).await?;
        conversations.push(api.conversation("helper", &user, "k").await?);
    }
    Ok(conversations)
}

pub(crate) async fn concurrent(options: &Options) -> Result<()> {
    let (_store, model, server) = house(options, Embedder::None).await?;
    let conversations = crowd(&server.api).await?;
    let apis = std::slice::from_ref(&server.api);
    load(apis, &conversations, 3).await?;
    model.take();
    let seconds = if options.quick { 3 } else { 20 };
    let (host, cpu) = (Host::now()?, server.cpu()?);
    let Load { rate, mut times } = load(apis, &conversations, seconds).await?;
    let cpu = (server.cpu()? - cpu) * 1_000.0 / times.len() as f64;
    model.take();
    let (p50, p95) = (percentile(&mut times, 0.5), percentile(&mut times, 0.95));
    row(
        "throughput, 64 conversations",
        ">= 500 messages/s",
        &format!("{rate:.0} messages/s"),
        &format!("{seconds} s; p50 {p50:.0} ms, p95 {p95:.0} ms; client and model share the two cores"),
    );
    row("CPU per message, 64 conversations", cpu_goal(options), &format!("{cpu:.2} ms"), &format!("the same run; {}", host.took()?));
    row("memory under load", "", &format!("{:.0} MB", server.memory_mb()?), "resident, after the run above");
    Ok(())
}

pub(crate) async fn prefix(options: &Options) -> Result<()> {
    let (_folder, model, server) = house(options, Embedder::None).await?;
    server.api.user("ann").await?;
    let conversation = server.api.conversation("helper", "ann", "k").await?;
    model.take();
    for i in 0..50 {
        server.api.say(&conversation, &talk(i, 40)).await?;
    }
    let prompts: Vec<String> = model.take().iter().filter_map(|body| prompt_text(body)).collect();
    let (mut same, mut all) = (0_usize, 0_usize);
    for pair in prompts.windows(2) {
        same += pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
        all += pair[1].len();
    }
    let first = prompts.first().map_or(0, String::len);
    let last = prompts.last().map_or(0, String::len);
    row(
        "reusable prompt prefix",
        ">= 90 %",
        &format!("{:.1} %", 100.0 * same as f64 / all.max(1) as f64),
        &format!("bytes of tools and messages, 50 turns of 40 words; first prompt {first} bytes, last {last}"),
    );
    Ok(())
}

/// A request as a chat template lays it out: tools, then the messages in order.
fn prompt_text(body: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    let mut out = body.get("tools").map(Value::to_string).unwrap_or_default();
    for message in body.get("messages")?.as_array()? {
        out.push_str(&message.to_string());
        out.push('\n');
    }
    Some(out)
}

pub(crate) async fn search(options: &Options) -> Result<()> {
    for (count, goal) in [(10_000_u64, "<= 5 ms"), (100_000, "<= 20 ms")] {
        let count = if options.quick { count / 10 } else { count };
        let (_folder, _model, server) = house(options, Embedder::Lexical).await?;
        server.api.user("ann").await?;
        let conversation = server.api.conversation("helper", "ann", "k").await?;
        for part in 0..count.div_ceil(500) {
            let texts: Vec<String> = (0..500).map(|i| talk(part * 500 + i, 15)).collect();
            server.api.import(&conversation, &texts).await?;
        }
        server.api.call(reqwest::Method::GET, "/index?wait_ms=600000", None).await?;
        let mut times = Vec::new();
        let mut found = 0;
        for i in 0..110 {
            let body = json!({"query": talk(7_000_000 + i, 8), "k": 10, "agent": "@helper", "user": "@ann"});
            let began = Instant::now();
            let answer = server.api.post("/search", body).await?;
            if i >= 10 {
                times.push(ms(began));
            }
            found += answer["hits"].as_array().map_or(0, Vec::len);
        }
        let (p50, p95) = (percentile(&mut times, 0.5), percentile(&mut times, 0.95));
        row(
            &format!("hybrid search, {count} memories"),
            goal,
            &format!("{p50:.1} ms (p95 {p95:.1})"),
            &format!(
                "whole HTTP request, 384-dimensional vectors of the lexical embedder, 100 queries of 8 words, {found} hits in 110; {:.0} MB resident",
                server.memory_mb()?
            ),
        );
    }
    Ok(())
}

pub(crate) async fn history(options: &Options) -> Result<()> {
    let (_folder, _model, server) = house(options, Embedder::None).await?;
    let long = if options.quick { 20_000 } else { 1_000_000 };
    let mut conversations = Vec::new();
    for (user, count) in [("short", 1_000_u64), ("long", long)] {
        server.api.user(user).await?;
        let conversation = server.api.conversation("helper", user, "k").await?;
        for part in 0..count / 1_000 {
            let texts: Vec<String> = (0..1_000).map(|i| talk(part * 1_000 + i, 12)).collect();
            server.api.import(&conversation, &texts).await?;
        }
        conversations.push(conversation);
    }
    let mut first = Vec::new();
    for conversation in &conversations {
        let began = Instant::now();
        server.api.say(conversation, "Warm up").await?;
        first.push(ms(began));
    }
    // The full-text index of a large import is brought up in the background.
    let settled = server.settle().await?;
    let mut times = [Vec::new(), Vec::new()];
    for i in 0..120 {
        for (conversation, times) in conversations.iter().zip(&mut times) {
            let text = talk(9_000_000 + i, 12);
            let began = Instant::now();
            server.api.say(conversation, &text).await?;
            if i >= 20 {
                times.push(ms(began));
            }
        }
    }
    let (short, long_p50) = (percentile(&mut times[0], 0.5), percentile(&mut times[1], 0.5));
    row(
        &format!("next turn at {long} messages vs 1,000"),
        "<= 1.2x",
        &format!("{:.2}x ({long_p50:.1} vs {short:.1} ms)", long_p50 / short),
        &format!(
            "medians of 100 turns each, in turn, recall on; no vectors; the first turn after the import took {:.0} vs {:.0} ms; indexing went on for {:.0} s; {:.0} MB resident",
            first[1],
            first[0],
            settled.as_secs_f64(),
            server.memory_mb()?
        ),
    );
    Ok(())
}
