//! Many senders, several servers, one conversation.

use std::time::Duration;

use anyhow::Result;
use sid_testkit::rig::check::{Depth, examine, settled};
use sid_testkit::rig::{Load, LoadPlan, percentile};

use crate::{Context, Sheet};

pub(crate) const SENDERS: usize = 64;
pub(crate) const EACH: usize = 20;

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let mut plan = context.fleet().replicas(context.size(2, 3));
    plan.model.delay = Duration::from_millis(5);
    let mut fleet = plan.set("server.queue_depth", SENDERS * EACH).start().await?;
    storm(context, sheet, &mut fleet).await
}

/// The storm itself, on a fleet that is there.
pub(crate) async fn storm(context: &Context, sheet: &mut Sheet, fleet: &mut sid_testkit::rig::Fleet) -> Result<()> {
    let api = fleet.api().make_tenant("torture").await?;
    let conversations = api.make_conversations(1, 1).await?;
    let ledger = fleet.ledger()?;
    let plan =
        LoadPlan { senders: SENDERS, messages: Some(EACH), waits: 0.0, tools: 0.02, ..LoadPlan::new(conversations.clone(), context.seed) };
    let mut tally = Load::start(&plan, &api, &ledger).done().await;
    let end = settled(&api, &conversations, Duration::from_secs(300)).await?;
    let found = examine(&api, &conversations, ledger.entries(), Depth { runs: 200, ..Depth::default() }).await?;
    let messages = api.messages(&conversations[0]).await?;
    let said = messages.iter().filter(|m| m.role == "user").count();
    sheet.fact("servers", fleet.servers.len());
    sheet.exactly("messages stored once", (SENDERS * EACH) as u64, said as u64);
    sheet.invariants(&found);
    sheet.none("answers 409", tally.count("409"));
    sheet.none("answers 5xx", tally.failures.iter().filter(|(kind, _)| kind.starts_with('5')).map(|(_, n)| n).sum());
    sheet.nothing("wrong answers", &tally.wrong);
    sheet.fact("failures that were repeated", tally.shown());
    sheet.goal("accept p99", 250.0, percentile(&mut tally.accept_ms, 0.99), "ms");
    sheet.fact("accept p50", format!("{:.0} ms", percentile(&mut tally.accept_ms, 0.5)));
    sheet.fact("last run terminal after the last acknowledgement", format!("{:.1} s", end.as_secs_f64()));
    sheet.none("servers that ended", fleet.fallen() as u64);
    Ok(())
}
