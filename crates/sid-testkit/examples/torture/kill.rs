//! SIGKILL under load.

use std::time::Duration;

use anyhow::Result;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use sid_testkit::checker::{Entry, check};
use sid_testkit::rig::check::{Depth, dump, settled};
use sid_testkit::rig::{FleetPlan, Load, LoadPlan, percentile};

use crate::{Context, Sheet};

/// A lease of 15 s, a look each second, a step.
const TERMINAL: Duration = Duration::from_secs(25);

/// Every so many kills the load rests until all runs have ended; in between the next kill comes before that.
const REST_EVERY: usize = 10;

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let (times, patient) = context.size((20, 1), (200, 5));
    let sizes = context.size((16, 4), (64, 8));
    let plan = context.fleet();
    let hasty = plan.clone().set("engine.lease_ttl_ms", 2_000).set("engine.poll_ms", 200);
    let mut ready = kills(context, sheet, &hasty, sizes, times, "lease of 2 s").await?;
    // The lease is the default's: that is what the target is about.
    ready.extend(kills(context, sheet, &plan, sizes, patient, "lease of 15 s").await?);
    sheet.at_most("slowest restart to ready", 2.0, percentile(&mut ready, 1.0), "s");
    sheet.fact("restart to ready, median", format!("{:.0} ms", percentile(&mut ready, 0.5) * 1e3));
    Ok(())
}

/// Kills a server so many times; answers how long it took to be ready again.
async fn kills(
    context: &Context,
    sheet: &mut Sheet,
    plan: &FleetPlan,
    (conversations, senders): (usize, usize),
    times: usize,
    lease: &str,
) -> Result<Vec<f64>> {
    let mut rng = SmallRng::seed_from_u64(context.seed);
    let mut fleet = plan.start().await?;
    let api = fleet.api().make_tenant("torture").await?;
    let conversations = api.make_conversations(conversations, conversations).await?;
    let ledger = fleet.ledger()?;
    let plan = LoadPlan { senders, pause_ms: 0..400, ..LoadPlan::new(conversations.clone(), context.seed) };
    let load = Load::start(&plan, &api, &ledger);
    let (mut ready, mut terminal) = (Vec::new(), Vec::new());
    for time in 1..=times {
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..1_500))).await;
        fleet.servers[0].kill();
        let rests = time % REST_EVERY == 0 || time == times;
        if rests {
            load.pause();
        }
        ready.push(fleet.servers[0].start().await?.as_secs_f64());
        if rests {
            let took = settled(&api, &conversations, TERMINAL + Duration::from_secs(35)).await?.as_secs_f64();
            println!("         {time} kills, {} acknowledged, last run terminal after {took:.1} s", ledger.len());
            terminal.push(took);
            load.resume();
        }
    }
    let tally = load.stop().await;
    settled(&api, &conversations, TERMINAL).await?;
    let mut all = dump(&api, &conversations, ledger.entries(), Depth::default()).await?;
    let found = check(&all);
    // What nobody ever sent: a checker that misses it would prove nothing.
    all.ledger.push(Entry { conversation: conversations[0].clone(), text: "forged".into(), ..Entry::default() });
    let forged = check(&all).iter().filter(|v| v.detail.ends_with("`forged` is lost")).count();
    sheet.fact(&format!("kills with a {lease}, acknowledged messages"), format!("{times}, {}", ledger.len()));
    sheet.fact("answers that were none, and were asked for again", tally.shown());
    sheet.nothing("wrong answers", &tally.wrong);
    sheet.invariants(&found);
    sheet.exactly("entries forged into the ledger that the checker reports as lost", 1, forged as u64);
    let what = format!("slowest run terminal after a restart, {lease}");
    sheet.at_most(&what, TERMINAL.as_secs_f64(), percentile(&mut terminal, 1.0), "s");
    Ok(ready)
}
