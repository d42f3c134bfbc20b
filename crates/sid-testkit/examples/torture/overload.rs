//! Four times what the servers can do, most of it one tenant's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use parking_lot::Mutex;
use sid_testkit::rig::check::{is_terminal, settled};
use sid_testkit::rig::{Api, percentile};
use tokio::task::JoinSet;

use crate::{Context, Sheet};

/// Senders that the servers can just serve.
const CAPACITY: usize = 64;
const OTHERS: usize = 4;

/// Answers of one group of senders.
#[derive(Debug, Default)]
struct Answers {
    ms: Mutex<Vec<f64>>,
    refused: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

pub(crate) async fn run(context: &Context, sheet: &mut Sheet) -> Result<()> {
    let (calm, storm) = context.size((6, 12), (15, 60));
    let (calm, storm) = (Duration::from_secs(calm), Duration::from_secs(storm));
    let mut fleet = context.fleet().set("server.max_runs", CAPACITY * 2).start().await?;
    let operator = fleet.api();
    let loud = operator.make_tenant("loud").await?;
    let loud_talks = loud.make_conversations(CAPACITY * 4, 8).await?;
    let mut quiet = Vec::new();
    for i in 0..OTHERS {
        let api = operator.make_tenant(&format!("quiet{i}")).await?;
        let talks = api.make_conversations(1, 1).await?;
        quiet.push((api, talks[0].clone()));
    }
    // What they can do: as many senders as there are runs at once, none of them refused.
    let peak = busy(&loud, &loud_talks[..CAPACITY], "peak", calm).await;
    let peak_rate = peak.ms.lock().len() as f64 / calm.as_secs_f64();
    let idle = polite(&quiet, "idle", calm).await;
    let mut idle_ms = std::mem::take(&mut *idle.ms.lock());
    let before = fleet.servers[0].memory_mb();
    let (loud_answers, quiet_answers) = tokio::join!(busy(&loud, &loud_talks, "storm", storm), polite(&quiet, "storm", storm));
    let during = fleet.servers[0].memory_mb();
    let drained = settled(&loud, &loud_talks, Duration::from_secs(60)).await?;
    let good = loud_answers.ms.lock().len() + quiet_answers.ms.lock().len();
    let rate = good as f64 / storm.as_secs_f64();
    let mut quiet_ms = std::mem::take(&mut *quiet_answers.ms.lock());
    let refused = |a: &Answers| a.refused.load(Ordering::Relaxed);
    let wrong: Vec<String> = [&peak, &idle, &loud_answers, &quiet_answers].iter().flat_map(|a| a.wrong.lock().clone()).collect();
    sheet.fact("peak", format!("{peak_rate:.0} messages/s with {CAPACITY} senders"));
    sheet.at_least("goodput under 4 times as many senders", (peak_rate * 0.8).round(), rate, "messages/s");
    sheet.fact(
        "refused with 429 or 503: the loud tenant, the quiet ones",
        format!("{}, {}", refused(&loud_answers), refused(&quiet_answers)),
    );
    sheet.nothing("answers other than 2xx, 429 and 503 with Retry-After", &wrong);
    let idle_p99 = percentile(&mut idle_ms, 0.99);
    sheet.fact("quiet tenants, idle: p50, p99", format!("{:.0} ms, {idle_p99:.0} ms", percentile(&mut idle_ms, 0.5)));
    sheet.fact("quiet tenants, in the storm: p50", format!("{:.0} ms", percentile(&mut quiet_ms, 0.5)));
    sheet.goal("quiet tenants, in the storm: p99", (idle_p99 * 2.0).round(), percentile(&mut quiet_ms, 0.99), "ms");
    sheet.at_most("the server's memory grows by", 64.0, during - before, "MB");
    sheet.at_most("the queue is empty after", 30.0, drained.as_secs_f64(), "s");
    sheet.none("servers that ended", fleet.fallen() as u64);
    Ok(())
}

/// One sender per conversation, each sending the next message as soon as the last is answered.
async fn busy(api: &Api, conversations: &[String], name: &str, time: Duration) -> Arc<Answers> {
    let talks: Vec<(Api, String)> = conversations.iter().map(|c| (api.clone(), c.clone())).collect();
    senders(&talks, name, time, Duration::ZERO).await
}

/// One sender per tenant, five messages a second at most.
async fn polite(talks: &[(Api, String)], name: &str, time: Duration) -> Arc<Answers> {
    senders(talks, name, time, Duration::from_millis(200)).await
}

async fn senders(talks: &[(Api, String)], name: &str, time: Duration, pause: Duration) -> Arc<Answers> {
    let answers: Arc<Answers> = Arc::default();
    let is_over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for (api, conversation) in talks {
        let (api, conversation) = (api.clone(), conversation.clone());
        let (answers, is_over, name) = (Arc::clone(&answers), Arc::clone(&is_over), name.to_owned());
        tasks.spawn(async move {
            for n in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let key = format!("{name} {n} {conversation}");
                let began = Instant::now();
                match api.ask(&conversation, &format!("{name} {n}"), &key).await {
                    // Answers that come after the end are no goodput of this time.
                    Ok((run, _)) if run.status == "completed" && !is_over.load(Ordering::Relaxed) => {
                        answers.ms.lock().push(began.elapsed().as_secs_f64() * 1e3);
                    }
                    Ok((run, _)) if is_terminal(&run) && run.status != "completed" => {
                        answers.wrong.lock().push(format!("{key} ended as {}", run.status));
                    }
                    Ok(_) => {}
                    Err(failure) if failure.status().is_some() && failure.is_retryable() => {
                        answers.refused.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    Err(failure) => answers.wrong.lock().push(format!("{key}: {failure}")),
                }
                tokio::time::sleep(pause).await;
            }
        });
    }
    tokio::time::sleep(time).await;
    is_over.store(true, Ordering::Relaxed);
    while tasks.join_next().await.is_some() {}
    answers
}
