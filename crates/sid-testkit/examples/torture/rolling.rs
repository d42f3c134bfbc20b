//! Rolling restarts, as of a deployment.

use std::time::{Duration, Instant};

use anyhow::Result;
use sid_testkit::checker::{Event, check};
use sid_testkit::rig::check::{Depth, dump, settled};
use sid_testkit::rig::{Load, LoadPlan, percentile};

use crate::{Context, Sheet};

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let (time, every) = context.size((24, 6), (150, 8));
    let mut plan = context.fleet().replicas(3);
    // Half a second of words: at each moment many are in the middle of a step.
    (plan.model.delay, plan.model.chunk_delay) = (Duration::from_millis(100), Duration::from_millis(50));
    let mut fleet = plan.start().await?;
    let api = fleet.api().make_tenant("torture").await?;
    let conversations = api.make_conversations(24, 6).await?;
    let ledger = fleet.ledger()?;
    let plan = LoadPlan { waits: 0.7, tools: 0.3, pause_ms: 0..300, ..LoadPlan::new(conversations.clone(), context.seed) };
    let load = Load::start(&plan, &api, &ledger);
    let began = Instant::now();
    let (mut exits, mut codes) = (Vec::new(), Vec::new());
    let mut at = 0;
    while began.elapsed() < Duration::from_secs(time) {
        tokio::time::sleep(Duration::from_secs(every)).await;
        let server = &mut fleet.servers[at % 3];
        let (status, took) = server.stop(Duration::from_secs(40)).await?;
        exits.push(took.as_secs_f64());
        if !status.success() {
            codes.push(format!("{} ended with {status}", server.plan.name));
        }
        server.start().await?;
        at += 1;
    }
    let mut tally = load.stop().await;
    settled(&api, &conversations, Duration::from_secs(30)).await?;
    let all = dump(&api, &conversations, ledger.entries(), Depth { runs: 1_000, ..Depth::default() }).await?;
    let runs = all.conversations.iter().flat_map(|c| &c.runs);
    let again: Vec<String> =
        runs.clone().filter(|r| r.events.as_ref().is_some_and(|e| is_torn(e))).map(|r| format!("{} was torn", r.id)).collect();
    let handed = runs.clone().filter(|r| r.events.iter().flatten().filter(|e| e.event == "started").count() > 1).count();
    sheet.fact("restarts", exits.len());
    sheet.fact("acknowledged messages, runs", format!("{}, {}", ledger.len(), runs.count()));
    sheet.nothing("requests that failed after the ordinary retry", &tally.wrong);
    sheet.fact("failures that were repeated", tally.shown());
    sheet.nothing("steps that were begun and begun anew elsewhere", &again);
    sheet.fact("runs that changed servers between two steps", handed);
    sheet.at_most("slowest exit after SIGTERM", 30.0, percentile(&mut exits, 1.0), "s");
    sheet.nothing("exits with another status than 0", &codes);
    sheet.fact(
        "answer p50, p99",
        format!("{:.0} ms, {:.0} ms", percentile(&mut tally.answer_ms, 0.5), percentile(&mut tally.answer_ms, 0.99)),
    );
    sheet.invariants(&check(&all));
    Ok(())
}

/// Whether a step had said something already when somebody began it anew.
fn is_torn(events: &[Event]) -> bool {
    let mut has_spoken = false;
    for event in events {
        match event.event.as_str() {
            "text_delta" | "reasoning_delta" => has_spoken = true,
            "step" | "message" | "tool_call" => has_spoken = false,
            "started" if has_spoken => return true,
            _ => {}
        }
    }
    false
}
