//! The primary is lost, a standby takes its place.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sid_testkit::postgres::{OwnCluster, Stop};
use sid_testkit::rig::check::{Depth, examine, settled};
use sid_testkit::rig::{DATABASE, Fleet, Load, LoadPlan, Proxy, ROLE, percentile};

use crate::database::first_success;
use crate::{Context, Sheet};

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let times = context.size(1, 5);
    let mut rto = Vec::new();
    let synchronous = failovers(context, sheet, times, true, &mut rto).await?;
    sheet.fact("failovers to a synchronous standby", times);
    sheet.invariants(&synchronous);
    sheet.at_most("slowest time without service", 15.0, percentile(&mut rto, 1.0), "s");
    // The other way round: where acknowledgements do not wait for the standby, the ledger must show what is gone.
    let asynchronous = failovers(context, sheet, 1, false, &mut Vec::new()).await?;
    let lost = asynchronous.iter().filter(|v| v.detail.ends_with("is lost")).count();
    sheet.at_least("lost with an asynchronous standby: the checker sees it", 1.0, lost as f64, "messages");
    Ok(())
}

async fn failovers(
    context: &Context,
    sheet: &mut Sheet,
    times: usize,
    is_synchronous: bool,
    rto: &mut Vec<f64>,
) -> Result<Vec<sid_testkit::checker::Violation>> {
    let mut fleet = context.fleet().replicas(2).prepare().await?;
    let primary = fleet.postgres.as_ref().context("the store is a Postgres")?;
    let proxy = Proxy::start(primary.address(), context.seed).await?;
    let url = primary.url_at(proxy.address(), ROLE, DATABASE);
    for server in &mut fleet.servers {
        server.plan.settings.push(("store.url".into(), url.clone()));
    }
    fleet.open().await?;
    let api = fleet.api().make_tenant("torture").await?;
    let conversations = api.make_conversations(16, 4).await?;
    let ledger = fleet.ledger()?;
    let plan = LoadPlan { senders: 2, pause_ms: 0..100, ..LoadPlan::new(conversations.clone(), context.seed) };
    let mut standby = follow(&fleet, is_synchronous).await?;
    let load = Load::start(&plan, &api, &ledger);
    for time in 0..times {
        tokio::time::sleep(Duration::from_secs(2)).await;
        if !is_synchronous {
            // It falls behind, as standbys do.
            standby.sql("postgres", "ALTER SYSTEM SET primary_conninfo = ''")?;
            standby.sql("postgres", "SELECT pg_reload_conf()")?;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let began = Instant::now();
        let old = fleet.postgres.take().context("a primary")?;
        old.stop(Stop::Kill);
        standby.promote()?;
        proxy.aim(standby.address());
        proxy.cut();
        fleet.postgres = Some(standby);
        first_success(&load).await?;
        rto.push(began.elapsed().as_secs_f64());
        if time == times - 1 {
            // What is left of the old one owns the folder: it goes last.
            fleet.retired.push(old);
            break;
        }
        fleet.retired.push(old);
        standby = follow(&fleet, is_synchronous).await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let tally = load.stop().await;
    if is_synchronous {
        sheet.fact("acknowledged messages", ledger.len());
        sheet.fact("failures that were repeated", tally.shown());
        sheet.nothing("wrong answers", &tally.wrong);
        sheet.none("servers that ended", fleet.fallen() as u64);
    }
    settled(&api, &conversations, Duration::from_secs(60)).await?;
    examine(&api, &conversations, ledger.entries(), Depth::default()).await
}

/// A standby of the fleet's primary, which waits for it from now on if it is to.
async fn follow(fleet: &Fleet, is_synchronous: bool) -> Result<OwnCluster> {
    let primary = fleet.postgres.as_ref().context("a primary")?;
    let standby = primary.standby("standby")?;
    if is_synchronous {
        primary.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'standby'")?;
        primary.sql("postgres", "SELECT pg_reload_conf()")?;
    }
    let wanted = if is_synchronous { "sync" } else { "async" };
    let began = Instant::now();
    while primary.sql("postgres", "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'")? != wanted {
        anyhow::ensure!(began.elapsed() < Duration::from_secs(30), "the standby does not stream");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(standby)
}
