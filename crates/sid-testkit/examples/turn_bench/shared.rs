//! What there is to measure where servers share a database.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sid_testkit::postgres::OwnCluster;

use crate::Options;
use crate::measures::{crowd, house, load, percentile, row, talk};
use crate::model::Model;
use crate::process::{DATABASE, Embedder, Server, Store};

/// Statements of a message, counted by the database itself.
pub(crate) async fn trips(options: &Options) -> Result<()> {
    const MESSAGES: u64 = 50;
    const WARM_UP: u64 = 300;
    let (store, _model, server) = house(options, Embedder::None).await?;
    let cluster = store.postgres.as_ref().context("there is a database")?;
    server.api.user("ann").await?;
    let conversation = server.api.conversation("helper", "ann", "k").await?;
    // Until the conversation's window is full.
    let before = Disk::of(cluster)?;
    for i in 0..WARM_UP {
        server.api.say(&conversation, &talk(i, 15)).await?;
    }
    let (turns, after) = (WARM_UP as f64, Disk::of(cluster)?);
    row(
        "disk per turn, written ahead per turn",
        "",
        &format!("{:.1} KB, {:.1} KB", (after.bytes - before.bytes) / turns / 1024.0, (after.wal - before.wal) / turns / 1024.0),
        &format!(
            "tables with their indexes; {WARM_UP} turns of two messages of fifteen words; a message alone takes {:.0} bytes; no vectors",
            (after.messages - before.messages) / turns / 2.0
        ),
    );
    let _ = cluster.sql(DATABASE, "ALTER SYSTEM SET log_min_duration_statement = 0")?;
    let _ = cluster.sql(DATABASE, "SELECT pg_reload_conf()")?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // What the server asks every second anyway is counted beside it, and taken off.
    let before = Statements::of(&cluster.log());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = Statements::of(&cluster.log());
    let idle = (after.trips() - before.trips()) as f64 / 5.0;
    let (before, began) = (after, std::time::Instant::now());
    for i in 0..MESSAGES {
        server.api.say(&conversation, &talk(1_000 + i, 15)).await?;
    }
    let after = Statements::of(&cluster.log());
    let trips = ((after.trips() - before.trips()) as f64 - idle * began.elapsed().as_secs_f64()) / MESSAGES as f64;
    let most = after.since(&before, MESSAGES as f64);
    let most: Vec<String> = most.iter().take(8).map(|(name, times, ms)| format!("{name} {times:.1} times, {ms:.2} ms")).collect();
    row(
        "SQL round trips per message",
        "<= 8",
        &format!("{trips:.1}"),
        &format!(
            "statements in the database's log, {MESSAGES} messages, window full; {idle:.1} a second without any are taken off. Those that take most: {}",
            most.join("; ")
        ),
    );
    Ok(())
}

/// What a database keeps, and has written ahead, in bytes.
struct Disk {
    bytes: f64,
    /// Of which messages and their ids.
    messages: f64,
    wal: f64,
}

impl Disk {
    fn of(cluster: &OwnCluster) -> Result<Self> {
        let sum = |which: &str| {
            let tables = "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace";
            format!(
                "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM {tables} WHERE c.relkind = 'r' AND n.nspname LIKE 'sid%' {which}"
            )
        };
        let number = |sql: &str| anyhow::Ok(cluster.sql(DATABASE, sql)?.trim().parse::<f64>()?);
        Ok(Self {
            bytes: number(&sum(""))?,
            messages: number(&sum("AND c.relname LIKE 'message%'"))?,
            wal: number("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")?,
        })
    }
}

/// What a database has logged of its statements: by name, how many and how long.
struct Statements(BTreeMap<String, (u64, f64)>);

impl Statements {
    /// Lines like `LOG:  duration: 0.123 ms  execute s_1: SELECT sid.write($1)`; parsing and binding are lines of their own, of one trip.
    fn of(log: &str) -> Self {
        let mut all: BTreeMap<String, (u64, f64)> = BTreeMap::new();
        for line in log.lines() {
            let Some((took, what)) = line.split_once("LOG:  duration: ").and_then(|(_, rest)| rest.split_once(" ms  ")) else { continue };
            let Some((kind, text)) = what.split_once(": ") else { continue };
            let name = match text.split_once("sid.") {
                Some((_, rest)) => rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default(),
                None => text.split_whitespace().next().unwrap_or_default(),
            };
            let of = all.entry(name.to_owned()).or_default();
            of.0 += u64::from(kind.starts_with("execute") || kind == "statement");
            of.1 += took.parse().unwrap_or(0.0);
        }
        Self(all)
    }

    fn trips(&self) -> u64 {
        self.0.values().map(|(count, _)| count).sum()
    }

    /// Per message, the longest first.
    fn since(&self, before: &Self, messages: f64) -> Vec<(String, f64, f64)> {
        let of = |(name, (count, ms)): (&String, &(u64, f64))| {
            let (count_then, ms_then) = before.0.get(name).copied().unwrap_or_default();
            (name.clone(), (count - count_then) as f64 / messages, (ms - ms_then) / messages)
        };
        let mut all: Vec<_> = self.0.iter().map(of).collect();
        all.sort_by(|a, b| b.2.total_cmp(&a.2));
        all
    }
}

/// One server and two on the same database, with a model that takes its time. Each works at four runs at once, so that the cores, which all of
/// them share with client, model and database, are not what is measured.
pub(crate) async fn replicas(options: &Options) -> Result<()> {
    let options = &Options { runs_at_once: 4, ..options.clone() };
    let seconds = if options.quick { 3 } else { 15 };
    let store = Store::open(options)?;
    let model = Model::start(Duration::from_millis(20)).await?;
    let first = Server::start(options, &store, &model.url, Embedder::None, None).await?;
    first.api.agent("helper").await?;
    let conversations = crowd(&first.api).await?;
    load(std::slice::from_ref(&first.api), &conversations, 3).await?;
    let mut one = load(std::slice::from_ref(&first.api), &conversations, seconds).await?;
    let second = Server::start(options, &store, &model.url, Embedder::None, Some(first.api.key.clone())).await?;
    let both = [first.api.clone(), second.api.clone()];
    load(&both, &conversations, 3).await?;
    let mut two = load(&both, &conversations, seconds).await?;
    row(
        "two servers against one",
        "> 1x",
        &format!("{:.2}x ({:.0} and {:.0} messages/s)", two.rate / one.rate, two.rate, one.rate),
        &format!(
            "a model that takes 20 ms, 64 conversations dealt out, four runs at once in each server, {seconds} s each; p50 {:.0} and {:.0} ms; client, model, servers and database share the two cores",
            percentile(&mut two.times, 0.5),
            percentile(&mut one.times, 0.5),
        ),
    );
    let conflicts = store.postgres.as_ref().context("there is a database")?.log().lines().filter(|l| l.contains("ERROR:")).count();
    row("errors in the database's log", "0", &conflicts.to_string(), "of the runs above: conflicts, deadlocks, time-outs");
    Ok(())
}
