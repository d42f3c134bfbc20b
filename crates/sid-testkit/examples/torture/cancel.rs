//! Clients that hang up at any byte, on a small pool of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Method;
use serde_json::{Value, json};
use sid_testkit::rig::{Api, Fleet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Context, Sheet};

const CLIENTS: usize = 32;
const POOL: u64 = 5;
/// Imported messages that are asked for, each by its own words.
const KNOWN: u64 = 500;

#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let requests = context.size(3_000, 20_000);
    let mut fleet = context.fleet().set("store.connections", POOL).start().await?;
    let api = fleet.api().make_tenant("torture").await?;
    let conversation = {
        api.make_agent("agent").await?;
        api.make_conversation("agent", "user").await?
    };
    let known: Vec<Value> = (1..=KNOWN).map(|n| json!({"role": "user", "text": nonce(n)})).collect();
    api.post(&format!("/conversations/{conversation}/import"), &json!({"messages": known})).await?;
    let counts = Arc::new(Counts::default());
    let began = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let rng = SmallRng::seed_from_u64(context.seed.wrapping_add(client as u64));
        let one = Client {
            api: api.clone(),
            address: fleet.servers[0].plan.port,
            key: fleet.key.clone(),
            conversation: conversation.clone(),
            counts: counts.clone(),
            rng,
        };
        clients.spawn(one.run(requests / CLIENTS));
    }
    while let Some(done) = clients.join_next().await {
        done?;
    }
    let took = began.elapsed();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    sheet.fact("requests, of them hung up on", format!("{requests}, {}", count(&counts.dropped)));
    sheet.fact("answered, refused with 503", format!("{}, {}", count(&counts.answered), count(&counts.refused)));
    sheet.fact("requests per second", format!("{:.0}", requests as f64 / took.as_secs_f64()));
    sheet.nothing("answers to another request, and other wrong answers", &counts.wrong.lock());
    sheet.none(
        "open transactions 5 s later",
        open(&fleet, "state LIKE 'idle in transaction%' OR (state = 'active' AND now() - query_start > '1 s')")?,
    );
    sheet.at_most("connections of the server", POOL as f64, open(&fleet, "true")? as f64, "");
    // All of the pool can be had at once.
    let began = Instant::now();
    let all = (0..POOL).map(|_| api.once(Method::GET, "/users?limit=1", None, None));
    let failed = futures::future::join_all(all).await.into_iter().filter(Result::is_err).count();
    sheet.none("requests that find no free connection 5 s later", failed as u64);
    sheet.goal("as many requests at once as the pool has connections", 1.0, began.elapsed().as_secs_f64(), "s");
    sheet.none("servers that ended", fleet.fallen() as u64);
    Ok(())
}

fn nonce(n: u64) -> String {
    format!("nonce {n} of {KNOWN}, {}", "padding ".repeat((n % 40) as usize))
}

fn open(fleet: &Fleet, which: &str) -> Result<u64> {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = 'sid_server' AND ({which})");
    fleet.sql(&sql)?.parse().context("a count")
}

struct Client {
    api: Api,
    address: u16,
    key: String,
    conversation: String,
    counts: Arc<Counts>,
    rng: SmallRng,
}

impl Client {
    async fn run(mut self, requests: usize) {
        for _ in 0..requests {
            let n = self.rng.random_range(1..=KNOWN);
            if self.rng.random_bool(0.3) {
                self.hang_up(n).await;
            } else if self.rng.random_bool(0.2) {
                self.write(n).await;
            } else {
                self.read(n).await;
            }
        }
    }

    /// A request whose client goes away after some bytes of it, or of the answer.
    async fn hang_up(&mut self, n: u64) {
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        let (method, path, body) = if self.rng.random_bool(0.5) {
            ("POST", "/api/v1/passages".to_owned(), passage(&format!("dropped {n}")).to_string())
        } else {
            ("GET", format!("/api/v1/conversations/{}/messages?from={}&limit=1", self.conversation, n - 1), String::new())
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: sid\r\nauthorization: Bearer {}\r\nx-sid-tenant: torture\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        );
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.address)).await else { return };
        let most = self.rng.random_range(1..request.len() * 2).min(request.len());
        let _ = stream.write_all(&request.as_bytes()[..most]).await;
        if most == request.len() {
            // Anything from before the first byte of the answer to some way into it.
            let mut part = vec![0; self.rng.random_range(1..400)];
            let wait = Duration::from_micros(self.rng.random_range(0..20_000));
            let _ = tokio::time::timeout(wait, stream.read_exact(&mut part)).await;
        }
        let _ = stream.set_zero_linger();
    }

    async fn read(&self, n: u64) {
        let path = format!("/conversations/{}/messages?from={}&limit=1", self.conversation, n - 1);
        let answer = self.api.once(Method::GET, &path, None, None).await;
        self.judge(answer, &nonce(n));
    }

    async fn write(&mut self, n: u64) {
        let text = format!("written {n} {}", self.rng.random::<u64>());
        let answer = self.api.once(Method::POST, "/passages", Some(&passage(&text)), None).await;
        self.judge(answer, &text);
    }

    fn judge(&self, answer: Result<(u16, String), sid_testkit::rig::Failure>, expected: &str) {
        match answer {
            Ok((_, body)) if body.contains(&json!(expected).to_string()) => {
                self.counts.answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok((_, body)) => self.counts.wrong.lock().push(format!("`{expected}` was answered with {body}")),
            Err(failure) if failure.status() == Some(503) && failure.is_retryable() => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) => self.counts.wrong.lock().push(format!("`{expected}`: {failure}")),
        }
    }
}

fn passage(text: &str) -> Value {
    json!({"owner": {"type": "agent", "agent": "@agent"}, "text": text})
}
