//! The database goes away and comes back, in every way that it does.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use sid_testkit::postgres::Stop;
use sid_testkit::rig::check::{Depth, examine, settled};
use sid_testkit::rig::{Fleet, Load, LoadPlan, percentile};

use crate::{Context, Sheet};

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let mut ways = vec![Stop::Kill; context.size(2, 10)];
    ways.extend(vec![Stop::Fast; context.size(1, 5)]);
    ways.extend(vec![Stop::Immediate; context.size(1, 5)]);
    let mut rng = SmallRng::seed_from_u64(context.seed);
    ways.shuffle(&mut rng);
    let mut fleet = context.fleet().replicas(2).start().await?;
    let api = fleet.api().make_tenant("torture").await?;
    let conversations = api.make_conversations(16, 4).await?;
    let ledger = fleet.ledger()?;
    let plan = LoadPlan { senders: 2, pause_ms: 0..200, ..LoadPlan::new(conversations.clone(), context.seed) };
    let load = Load::start(&plan, &api, &ledger);
    let mut back = Vec::new();
    for how in &ways {
        tokio::time::sleep(Duration::from_millis(rng.random_range(1_000..3_000))).await;
        postgres(&fleet)?.stop(*how);
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..5_000))).await;
        postgres(&fleet)?.resume()?;
        back.push(first_success(&load).await?);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    postgres(&fleet)?.freeze();
    tokio::time::sleep(Duration::from_secs(10)).await;
    postgres(&fleet)?.thaw();
    let after_freeze = first_success(&load).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ended = fleet.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'sid_server'")?;
    let after_terminate = first_success(&load).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let tally = load.stop().await;
    settled(&api, &conversations, Duration::from_secs(60)).await?;
    let found = examine(&api, &conversations, ledger.entries(), Depth::default()).await?;
    sheet.fact("restarts (kill -9, fast, immediate)", ways.len());
    sheet.fact("acknowledged messages", ledger.len());
    sheet.fact("failures that were repeated", tally.shown());
    sheet.nothing("answers other than 2xx, 429 and 503 with Retry-After", &tally.wrong);
    sheet.none("connections that were cut", tally.count("cut"));
    sheet.invariants(&found);
    sheet.at_most("slowest first success after it accepts again", 5.0, percentile(&mut back, 1.0), "s");
    sheet.at_most("first success after 10 s of SIGSTOP", 5.0, after_freeze, "s");
    sheet.at_most(&format!("first success after all {ended} connections were ended"), 5.0, after_terminate, "s");
    sheet.none("servers that ended", fleet.fallen() as u64);
    Ok(())
}

fn postgres(fleet: &Fleet) -> Result<&sid_testkit::postgres::OwnCluster> {
    fleet.postgres.as_ref().context("the store is a Postgres")
}

/// Seconds until a message is acknowledged that was sent after now.
pub(crate) async fn first_success(load: &Load) -> Result<f64> {
    let began = Instant::now();
    while load.tally().last.is_none_or(|last| last < began) {
        if began.elapsed() > Duration::from_secs(60) {
            bail!("nothing was acknowledged for a minute after the database was back: {}", load.tally().shown());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(began.elapsed().as_secs_f64())
}
