//! What there is to measure where servers share a database.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Options;
use crate::measures::{crowd, house, load, percentile, row, talk};
use crate::model::Model;
use crate::process::{DATABASE, Embedder, Server, Store};

/// Statements of a message, counted by the database itself.
pub(crate) async fn trips(options: &Options) -> Result<()> {
    const MESSAGES: u64 = 50;
    let (store, _model, server) = house(options, Embedder::None).await?;
    let cluster = store.postgres.as_ref().context("there is a database")?;
    server.api.user("ann").await?;
    let conversation = server.api.conversation("helper", "ann", "k").await?;
    for i in 0..30 {
        server.api.say(&conversation, &talk(i, 15)).await?;
    }
    let _ = cluster.sql(DATABASE, "ALTER SYSTEM SET log_statement = 'all'")?;
    let _ = cluster.sql(DATABASE, "SELECT pg_reload_conf()")?;
    // What the server asks every second anyway is counted beside it, and taken off.
    let statements = || cluster.log().lines().filter(|l| l.contains("LOG:  execute") || l.contains("LOG:  statement:")).count() as f64;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = statements();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle = (statements() - before) / 5.0;
    let (before, began) = (statements(), std::time::Instant::now());
    for i in 0..MESSAGES {
        server.api.say(&conversation, &talk(1_000 + i, 15)).await?;
    }
    let trips = (statements() - before - idle * began.elapsed().as_secs_f64()) / MESSAGES as f64;
    row(
        "SQL round trips per message",
        "<= 8",
        &format!("{trips:.1}"),
        &format!("statements in the database's log, {MESSAGES} messages; {idle:.1} a second without any are taken off"),
    );
    Ok(())
}

/// One server and two on the same database, with a model that takes its time.
pub(crate) async fn replicas(options: &Options) -> Result<()> {
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
            "a model that takes 20 ms, 64 conversations dealt out, {seconds} s each; p50 {:.0} and {:.0} ms; client, model, servers and database share the two cores",
            percentile(&mut two.times, 0.5),
            percentile(&mut one.times, 0.5),
        ),
    );
    let conflicts = store.postgres.as_ref().context("there is a database")?.log().lines().filter(|l| l.contains("ERROR:")).count();
    row("errors in the database's log", "0", &conflicts.to_string(), "of the runs above: conflicts, deadlocks, time-outs");
    Ok(())
}
