//! Streams that are cut at any byte and taken up on another server.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use sid_testkit::checker::{Event, Stream, check};
use sid_testkit::rig::check::{Depth, dump, settled};
use sid_testkit::rig::{Api, Faults, Proxy, percentile};

use crate::{Context, Sheet};

const CUTS: usize = 5;
const AT_ONCE: usize = 20;

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let count = context.size(60, 200);
    let mut plan = context.fleet().replicas(context.size(2, 3));
    plan.model.chunk_delay = Duration::from_millis(40);
    let mut fleet = plan.start().await?;
    let api = fleet.api().make_tenant("torture").await?;
    let mut proxies = Vec::new();
    for (at, server) in fleet.servers.iter().enumerate() {
        let proxy = Proxy::start(([127, 0, 0, 1], server.plan.port).into(), context.seed + at as u64).await?;
        // The answer's head alone is some 300 bytes, an event some 150.
        proxy.set(Faults { cut_after: Some(200..1_200), ..Faults::default() });
        proxies.push(proxy);
    }
    let cutting = api.at(proxies.iter().map(Proxy::url).collect());
    let conversations = api.make_conversations(count, 4).await?;
    let each = conversations.iter().enumerate().map(|(at, conversation)| {
        let rng = SmallRng::seed_from_u64(context.seed.wrapping_add(at as u64));
        one(at, conversation, &api, &cutting, rng)
    });
    let read: Vec<Read> = futures::stream::iter(each).buffer_unordered(AT_ONCE).try_collect().await?;
    settled(&api, &conversations, Duration::from_secs(30)).await?;
    let mut all = dump(&api, &conversations, Vec::new(), Depth { runs: 1, index_wait: Duration::from_secs(30) }).await?;
    let cuts: usize = read.iter().map(|r| r.cuts).sum();
    let mut first_byte: Vec<f64> = read.iter().flat_map(|r| r.first_byte_ms.iter().copied()).collect();
    let events: usize = read.iter().map(|r| r.stream.events.len()).sum();
    all.streams = read.into_iter().map(|r| r.stream).collect();
    sheet.fact("servers", fleet.servers.len());
    sheet.fact("streams, and events in them", format!("{count}, {events}"));
    sheet.exactly("cuts that were survived", (count * CUTS) as u64, cuts as u64);
    sheet.nothing("streams with a gap or a repeat, and other violations", &check(&all).iter().map(ToString::to_string).collect::<Vec<_>>());
    sheet.goal("first byte after a resume, p99", 300.0, percentile(&mut first_byte, 0.99), "ms");
    sheet.fact("first byte after a resume, p50", format!("{:.1} ms", percentile(&mut first_byte, 0.5)));
    sheet.none("servers that ended", fleet.fallen() as u64);
    Ok(())
}

struct Read {
    stream: Stream,
    cuts: usize,
    first_byte_ms: Vec<f64>,
}

async fn one(at: usize, conversation: &str, api: &Api, cutting: &Api, mut rng: SmallRng) -> Result<Read> {
    let text = format!("stream {at}\n#say:{}", (0..40).map(|i| format!("word{i}-{at} ")).collect::<String>());
    let run = api.say(conversation, &text, &format!("stream {at}")).await?;
    let (mut events, mut cuts, mut first_byte_ms): (Vec<Event>, usize, Vec<f64>) = (Vec::new(), 0, Vec::new());
    let mut server = rng.random_range(0..api.servers());
    while events.last().is_none_or(|e| e.event != "done") {
        let after = events.last().map_or(0, |e| e.seq);
        let through = if cuts < CUTS { cutting } else { api };
        let began = Instant::now();
        match through.only(server).stream(&run, after).await {
            Ok(mut stream) => {
                if after > 0 {
                    first_byte_ms.push(began.elapsed().as_secs_f64() * 1e3);
                }
                loop {
                    match stream.next().await {
                        // The end of a stream that was to be cut some more is seen again, byte for byte.
                        Ok(Some(event)) if event.event == "done" && cuts < CUTS => break,
                        Ok(Some(event)) => events.push(event),
                        Ok(None) => break,
                        Err(_) => {
                            cuts += 1;
                            break;
                        }
                    }
                }
            }
            Err(failure) if failure.is_retryable() => cuts += 1,
            Err(failure) => return Err(failure.into()),
        }
        server += 1;
    }
    Ok(Read { stream: Stream { run, after: 0, events, is_whole: true }, cuts, first_byte_ms })
}
