//! A server that stands still in the middle of a step, and comes back after another has taken its place.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sid_testkit::checker::{Event, Stream, check};
use sid_testkit::rig::check::{Depth, dump, settled};
use sid_testkit::rig::{Api, Fleet, answer_to, percentile};

use crate::{Context, Sheet};

/// Runs under way on the server that is frozen.
const AT_ONCE: usize = 4;

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let (short, long) = context.size((6, 1), (50, 3));
    let plan = |ttl: u64, poll: u64| {
        let mut plan = context.fleet().replicas(2);
        plan.model.chunk_delay = Duration::from_millis(100);
        plan.set("engine.lease_ttl_ms", ttl).set("engine.poll_ms", poll)
    };
    let mut all = Outcome::default();
    let mut fleet = plan(2_000, 200).start().await?;
    rounds(&mut fleet, short, Duration::from_secs(2), &mut all).await?;
    let mut fast = std::mem::take(&mut all.takeover);
    sheet.fact("freezes with a lease of 2 s", short);
    sheet.at_most("slowest takeover, lease of 2 s", 6.0, percentile(&mut fast, 1.0), "s");
    sheet.fact("median takeover, lease of 2 s", format!("{:.1} s", percentile(&mut fast, 0.5)));
    drop(fleet);
    let mut fleet = plan(15_000, 1_000).start().await?;
    rounds(&mut fleet, long, Duration::from_secs(15), &mut all).await?;
    sheet.fact("freezes with a lease of 15 s", long);
    sheet.at_most("slowest takeover, lease of 15 s", 17.0, percentile(&mut all.takeover, 1.0), "s");
    sheet.none("freezes that came too late, and proved nothing", all.missed);
    sheet.nothing("streams with a gap, a repeat or no end", &all.streams);
    sheet.nothing("rows written after the thaw, or under an old epoch", &all.stale);
    Ok(())
}

#[derive(Default)]
struct Outcome {
    /// Seconds from the freeze until the other server began each run.
    takeover: Vec<f64>,
    /// Runs that had ended before the freeze.
    missed: u64,
    streams: Vec<String>,
    stale: Vec<String>,
}

async fn rounds(fleet: &mut Fleet, count: usize, ttl: Duration, all: &mut Outcome) -> Result<()> {
    let api = fleet.api().make_tenant("torture").await?;
    let conversations = api.make_conversations(AT_ONCE, 1).await?;
    let ledger = fleet.ledger()?;
    for round in 0..count {
        let (owner, other) = (api.only(round % 2), api.only(round + 1));
        let mut readers = tokio::task::JoinSet::new();
        let (frozen_at, frozen) = tokio::sync::watch::channel(None::<Instant>);
        let mut begun = Vec::new();
        for conversation in &conversations {
            let name = format!("round {round} of {conversation}");
            // Some thirty pieces: three seconds.
            let text = format!("{name}\n#say:{} {}", answer_to(&name), "word ".repeat(30));
            let run = owner.say(conversation, &text, &name).await?;
            let entry = sid_testkit::checker::Entry {
                conversation: conversation.clone(),
                text,
                run: Some(run.clone()),
                sent: ledger.moment(),
                ..Default::default()
            };
            ledger.add(entry).await;
            let (begins, has_begun) = tokio::sync::oneshot::channel();
            begun.push(has_begun);
            readers.spawn(read(other.clone(), run, frozen.clone(), begins));
        }
        for has_begun in begun {
            let _ = has_begun.await;
        }
        fleet.servers[round % 2].freeze();
        frozen_at.send_replace(Some(Instant::now()));
        // Back while the other is at work, and long after its own lease is over.
        tokio::time::sleep(ttl + Duration::from_millis(1_500)).await;
        fleet.servers[round % 2].thaw();
        let mut streams = Vec::new();
        while let Some(read) = readers.join_next().await {
            let (stream, takeover) = read??;
            match takeover {
                Some(takeover) => all.takeover.push(takeover.as_secs_f64()),
                None => all.missed += 1,
            }
            streams.push(stream);
        }
        settled(&api, &conversations, Duration::from_secs(30)).await?;
        // Time for the one that was frozen to write what it must not.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let depth = Depth { runs: 1, index_wait: Duration::ZERO };
        let mut now = dump(&api, &conversations, ledger.entries(), depth).await?;
        now.indexes.clear();
        now.streams = streams;
        let found = check(&now).into_iter().map(|v| format!("round {round}: {v}"));
        for violation in found {
            if violation.contains("I7") { all.streams.push(violation) } else { all.stale.push(violation) }
        }
    }
    Ok(())
}

/// Follows a run on the server that does not run it, to the end; answers what it saw, and how long after the freeze the run began anew.
async fn read(
    api: Api,
    run: String,
    frozen: tokio::sync::watch::Receiver<Option<Instant>>,
    begins: tokio::sync::oneshot::Sender<()>,
) -> Result<(Stream, Option<Duration>)> {
    let mut stream = api.stream(&run, 0).await?;
    let mut begins = Some(begins);
    let mut events: Vec<Event> = Vec::new();
    let mut takeover = None;
    while let Some(event) = stream.next().await? {
        if event.event == "text_delta"
            && let Some(begins) = begins.take()
        {
            let _ = begins.send(());
        }
        if event.event == "started" && !events.is_empty() {
            let at = *frozen.borrow();
            takeover = takeover.or(at.map(|at| at.elapsed()));
        }
        events.push(event);
    }
    events.last().filter(|e| e.event == "done").with_context(|| format!("the stream of {run} ended before its end"))?;
    Ok((Stream { run, after: 0, events, is_whole: true }, takeover))
}
