//! Clients: they send with a key until they are answered, cancel, read streams over many connections, and look for what is not theirs.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sid_core::{CoreError, SearchRequest, Submit, Submitted};
use sid_store::{EventLog as _, IdempotencyKey, OnBusy, Order, RecallStore as _, StateStore as _, StoreError};
use sid_types::{EventBody, NewMessage, RunId};

use super::Sim;
use super::people::{Talk, canary};
use super::replica::Process;
use crate::checker::{Answer, Entry, Stream};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Everybody who talks, and everybody who snoops.
pub(super) fn all(sim: &Arc<Sim>) -> Vec<BoxFuture<'static, ()>> {
    let mut clients: Vec<BoxFuture<'static, ()>> = Vec::new();
    for talk in sim.people.talks() {
        let writers = if sim.dice.chance(0.3) { 2 } else { 1 };
        for number in 1..=writers {
            clients.push(Box::pin(write(sim.clone(), talk.clone(), number)));
        }
    }
    for tenant in 0..sim.people.tenants.len() {
        clients.push(Box::pin(snoop(sim.clone(), tenant)));
    }
    clients
}

/// Why there was no answer.
enum NoAnswer {
    /// Nobody knows whether the request had an effect.
    Lost,
    /// The server said so.
    Said(CoreError),
}

/// One request to a replica of chance: it may get lost, and so may its answer; the server goes on with what it was asked in any case.
async fn ask<T: Send + 'static>(
    sim: &Arc<Sim>,
    request: impl FnOnce(Process) -> BoxFuture<'static, Result<T, CoreError>>,
) -> Result<T, NoAnswer> {
    let is_lost = |share: f64| sim.dice.chance(share) && sim.is_stormy();
    tokio::time::sleep(sim.dice.millis(0..20)).await;
    let Some(process) = sim.dice.pick(&sim.replicas).process() else { return Err(NoAnswer::Lost) };
    if is_lost(sim.plan.request_lost) {
        tokio::time::sleep(PATIENCE / 4).await;
        return Err(NoAnswer::Lost);
    }
    let link = process.link.clone();
    let served = tokio::spawn(request(process));
    let answer = async {
        tokio::select! {
            biased;
            () = link.death() => Err(NoAnswer::Lost),
            answer = served => {
                link.running().await;
                answer.expect("a request does not panic").map_err(NoAnswer::Said)
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap_or(Err(NoAnswer::Lost));
    tokio::time::sleep(sim.dice.millis(0..20)).await;
    if is_lost(sim.plan.answer_lost) { Err(NoAnswer::Lost) } else { answer }
}

/// One who writes a few messages, each after the one before was acknowledged.
async fn write(sim: Arc<Sim>, talk: Talk, writer: u64) {
    let who = format!("{}/{writer}", talk.name);
    let mut streams = Vec::new();
    for number in 1..=sim.dice.number(1..5) {
        tokio::time::sleep(sim.dice.millis(0..1_500)).await;
        let padding = "and so on ".repeat(usize::try_from(sim.dice.number(0..60)).expect("a few"));
        let text = format!("{who} m{number}: pickles, {}, {padding}", canary(talk.tenant));
        let sent = sim.tick();
        let Some(submitted) = send_until_acknowledged(&sim, &talk, &who, number, &text).await else { return };
        let run = submitted.run.id;
        let entry =
            Entry { conversation: talk.id.to_string(), text: text.clone(), run: Some(run.to_string()), sent, acknowledged: sim.tick() };
        sim.trace.say(&who, format_args!("m{number} is acknowledged as {}", sim.trace.name(&run)));
        {
            let mut heard = sim.heard.lock();
            heard.ledger.push(entry);
            heard.tally.acknowledged += 1;
        }
        if sim.dice.chance(0.6) {
            streams.push(tokio::spawn(follow(sim.clone(), talk.clone(), run)));
        }
        if sim.dice.chance(sim.plan.cancels) {
            let scope = talk.scope;
            sim.trace.say(&who, format_args!("cancels {}", sim.trace.name(&run)));
            let _ = ask(&sim, move |p| Box::pin(async move { p.engine.cancel(&scope, run).await })).await;
        }
        if sim.dice.chance(0.15) {
            // The same request again, long after: the same run, and nothing else.
            let again = send_until_acknowledged(&sim, &talk, &who, number, &text).await;
            if let Some(other) = again.filter(|again| again.run.id != run) {
                sim.wrong(&format!("I1: {who} m{number} was acknowledged as {run} and again as {}", other.run.id));
            }
        }
        if sim.dice.chance(0.4) {
            let scope = talk.scope;
            let ended = ask(&sim, move |p| Box::pin(async move { p.engine.wait(&scope, run, PATIENCE / 2).await })).await;
            if let Ok(run) = ended {
                sim.trace.say(&who, format_args!("sees {} {:?}", sim.trace.name(&run.id), run.status));
            }
        }
    }
    for stream in streams {
        stream.await.expect("a reader does not panic");
    }
}

/// Sends with one key until somebody says that it is accepted; `None` when somebody says that it never will be.
async fn send_until_acknowledged(sim: &Arc<Sim>, talk: &Talk, who: &str, number: u64, text: &str) -> Option<Submitted> {
    let mut fingerprint = [0; 32];
    fingerprint[..8].copy_from_slice(&number.to_le_bytes());
    let on_busy = match sim.dice.share(1.0) {
        x if x < sim.plan.cancels / 2.0 => OnBusy::Interrupt,
        x if x > 0.95 => OnBusy::Reject,
        _ => OnBusy::Queue,
    };
    loop {
        let (scope, conversation, text) = (talk.scope, talk.id, text.to_owned());
        let key = IdempotencyKey { key: format!("{who} {number}"), fingerprint };
        let days = jiff::SignedDuration::from_hours(if sim.plan.diary { 72 } else { 0 });
        let said_at = sid_types::Clock::now(&sim.clock) - days;
        let answer = ask(sim, move |p| {
            let submit = Submit { idempotency: Some(key), on_busy, ..Submit::new(conversation, vec![NewMessage::user(text, said_at)]) };
            Box::pin(async move { p.engine.submit(&scope, submit).await })
        });
        match answer.await {
            Ok(submitted) => return Some(submitted),
            Err(NoAnswer::Lost) => sim.trace.say(who, format_args!("m{number}: no answer")),
            Err(NoAnswer::Said(error)) if error.is_transient() => sim.trace.say(who, format_args!("m{number}: {}", error.code())),
            Err(NoAnswer::Said(error)) => {
                sim.wrong(&format!("{who} m{number} was refused: {error}"));
                return None;
            }
        }
        tokio::time::sleep(sim.dice.millis(20..600)).await;
    }
}

/// Reads a run's events to the end, each time on another replica from the last number that was seen.
async fn follow(sim: Arc<Sim>, talk: Talk, run: RunId) {
    let mut stream = Stream { run: run.to_string(), after: *sim.dice.pick(&[0, 0, 1, 3]), ..Stream::default() };
    let mut after = stream.after;
    while !stream.is_whole {
        let scope = talk.scope;
        let read = ask(&sim, move |p| {
            Box::pin(async move {
                let stored = p.link.events(&scope, run, after, 256).await?;
                if !stored.is_empty() {
                    return Ok(Some(stored));
                }
                if p.link.run(&scope, run).await?.status.is_terminal() {
                    // The end may have been written between the two reads.
                    let rest = p.link.events(&scope, run, after, 256).await?;
                    return Ok(Some(rest).filter(|rest| !rest.is_empty()));
                }
                Ok(Some(p.link.follow(&scope, run, after, PATIENCE / 2).await?))
            })
        });
        match read.await {
            // A run may have fewer events than the reader has asked to skip.
            Ok(None) => stream.is_whole = true,
            Ok(Some(mut events)) => {
                // The connection breaks somewhere in the middle.
                if !events.is_empty() && sim.dice.chance(sim.plan.cut) {
                    events.truncate(usize::try_from(sim.dice.number(1..events.len() as u64 + 1)).expect("a few"));
                }
                for event in events {
                    after = event.seq;
                    stream.is_whole |= matches!(event.body, EventBody::Done { .. });
                    stream.events.push((&event).into());
                }
            }
            Err(NoAnswer::Said(error)) if !error.is_transient() => {
                sim.wrong(&format!("a reader of its own {run} was refused: {error}"));
                return;
            }
            Err(_) => tokio::time::sleep(sim.dice.millis(20..400)).await,
        }
    }
    let mut heard = sim.heard.lock();
    heard.tally.streamed += stream.events.len() as u64;
    heard.streams.push(stream);
}

/// A tenant's application that searches its own memory, and tries other tenants' ids.
async fn snoop(sim: Arc<Sim>, tenant: usize) {
    let (own, name) = (sim.people.tenants[tenant].scope, sim.people.tenants[tenant].name);
    let foreign: Vec<Talk> = sim.people.talks().filter(|t| t.tenant != name).cloned().collect();
    let read = |by: &str, text: String| sim.heard.lock().answers.push(Answer { tenant: name.into(), by: by.into(), text });
    while sim.is_stormy() {
        tokio::time::sleep(sim.dice.millis(300..4_000)).await;
        if sim.dice.chance(0.5) {
            let found =
                ask(&sim, move |p| Box::pin(async move { p.engine.search(&own, &SearchRequest::new("who has pickles")).await })).await;
            if let Ok(found) = found {
                sim.trace.say(name, format_args!("finds {}", found.hits.len()));
                read("a search", found.hits.iter().map(|h| h.text.as_str()).collect::<Vec<_>>().join("\n"));
            }
            continue;
        }
        let conversation = sim.dice.pick(&foreign).id;
        let page =
            ask(&sim, move |p| Box::pin(async move { Ok(p.link.page(&own, conversation, None, Order::Ascending, 100).await?) })).await;
        match page {
            Ok(messages) => read("a page", messages.iter().map(|m| m.body.text()).collect::<Vec<_>>().join("\n")),
            Err(NoAnswer::Said(CoreError::Store(StoreError::NotFound { .. }))) | Err(NoAnswer::Lost) => {}
            Err(NoAnswer::Said(error)) if error.is_transient() => {}
            Err(NoAnswer::Said(error)) => sim.wrong(&format!("I8: {name} asked for a foreign conversation and was told: {error}")),
        }
    }
}
