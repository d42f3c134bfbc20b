//! SIGKILL under load.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use sid_testkit::rig::check::{Depth, examine, settled};
use sid_testkit::rig::{FleetPlan, Load, LoadPlan, percentile};

use crate::{Context, Sheet};

/// A lease of 15 s, a look each second, a step.
const TERMINAL: Duration = Duration::from_secs(25);

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let times = context.size(20, 200);
    let (conversations, senders) = context.size((16, 4), (64, 8));
    let mut rng = SmallRng::seed_from_u64(context.seed);
    // The lease is the default's: that is what the target is about.
    let mut fleet = FleetPlan::new(&context.options.server, context.store).start().await?;
    let api = fleet.api().make_tenant("torture").await?;
    let conversations = api.make_conversations(conversations, conversations).await?;
    let ledger = fleet.ledger()?;
    let plan = LoadPlan { senders, pause_ms: 0..400, ..LoadPlan::new(conversations.clone(), context.seed) };
    let load = Load::start(&plan, &api, &ledger);
    let (mut ready, mut terminal) = (Vec::new(), Vec::new());
    for time in 1..=times {
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..1_500))).await;
        fleet.servers[0].kill();
        load.pause();
        ready.push(fleet.servers[0].start().await?.as_secs_f64());
        let began = Instant::now();
        settled(&api, &conversations, TERMINAL + Duration::from_secs(35)).await?;
        terminal.push(began.elapsed().as_secs_f64());
        load.resume();
        if time % 20 == 0 {
            println!("         {time} kills, {} acknowledged, last run terminal after {:.1} s", ledger.len(), terminal[time - 1]);
        }
    }
    let tally = load.stop().await;
    settled(&api, &conversations, TERMINAL).await?;
    let found = examine(&api, &conversations, ledger.entries(), Depth::default()).await?;
    sheet.fact("kills", times);
    sheet.fact("acknowledged messages", ledger.len());
    sheet.fact("answers that were none, and were asked for again", tally.shown());
    sheet.nothing("wrong answers", &tally.wrong);
    sheet.invariants(&found);
    sheet.at_most("slowest restart to ready", 2.0, percentile(&mut ready, 1.0), "s");
    sheet.fact("restart to ready, median", format!("{:.0} ms", percentile(&mut ready, 0.5) * 1e3));
    sheet.at_most("slowest run terminal after a restart", TERMINAL.as_secs_f64(), percentile(&mut terminal, 1.0), "s");
    Ok(())
}
