//! The background: orphaned work, lease renewal, embedding, the diary. Nothing here stands in the way of a turn.

use std::time::Duration;

use sid_llm::EmbedInput;
use sid_memory::ranking::chunk;
use sid_store::{Chunk, EmbedJob, GenerationId, NewVectors, crash_point};
use tracing::{debug, warn};

use crate::{Engine, diary};

/// Most records that one round of embedding takes from the store.
const EMBED_BATCH: usize = 32;

/// Looks for conversations that have work and no living lease: left behind by a crash, or beyond this process's room.
pub(crate) async fn poll(engine: Engine) {
    let inner = &engine.inner;
    while !engine.is_draining() {
        let room = inner.room();
        let want = room.all.saturating_sub(inner.active.len()).min(64);
        if want > 0 {
            crash_point!("claim.before");
            let waiting = inner.active.begin_look();
            match inner.store.claim(inner.config.worker, want, room.per_tenant, inner.config.lease_ttl).await {
                Ok(leases) => {
                    let is_more = leases.len() == want;
                    for lease in leases {
                        crash_point!("claim.after");
                        debug!(run = %lease.run, epoch = lease.epoch, "took up waiting work");
                        engine.spawn_run(lease);
                    }
                    inner.active.end_look(waiting, is_more, room);
                    if is_more {
                        continue;
                    }
                }
                Err(error) => {
                    inner.active.end_look(waiting, true, room);
                    warn!(%error, "could not look for waiting work");
                }
            }
        }
        // A run that ends makes room for work that waits for it: at once, not at the next look.
        tokio::select! {
            () = sleep(&engine, inner.config.poll) => {}
            () = inner.active.room_made() => {}
        }
    }
}

/// Renews all leases in one batch, three times per time-to-live; a run whose lease is gone is told to stop.
pub(crate) async fn renew(engine: Engine) {
    let inner = &engine.inner;
    let period = inner.config.lease_ttl / 3;
    let is_over = || engine.is_draining() && inner.active.len() == 0;
    while !is_over() {
        nap(period.min(Duration::from_secs(5)), is_over).await;
        let leases = inner.active.leases();
        if leases.is_empty() {
            continue;
        }
        crash_point!("renew.before");
        match inner.store.renew(&leases, inner.config.lease_ttl).await {
            Ok(held) => {
                crash_point!("renew.after");
                for lost in leases.iter().filter(|l| !held.iter().any(|h| h.run == l.run && h.epoch == l.epoch)) {
                    // A run that has just ended is missing too; stopping it does nothing.
                    inner.active.stop(lost.run);
                }
                // A cancel that another replica accepted.
                for lease in &held {
                    if inner.store.is_cancel_requested(lease).await.unwrap_or(false) {
                        inner.active.stop(lease.run);
                    }
                }
            }
            Err(error) => warn!(%error, "could not renew leases"),
        }
    }
}

/// Gives vectors to records that have none, oldest first.
pub(crate) async fn embed(engine: Engine) {
    let inner = &engine.inner;
    let Some(embedder) = inner.embedder.clone() else { return };
    let mut pause = Duration::from_millis(200);
    while !engine.is_draining() {
        let generation = embedder.generation();
        let id = GenerationId(generation.id.clone());
        let jobs = match inner.store.pending(&id, EMBED_BATCH).await {
            Ok(jobs) => jobs,
            Err(error) => {
                warn!(%error, "could not read what waits for vectors");
                Vec::new()
            }
        };
        if jobs.is_empty() {
            let woken = inner.new_memory.notified();
            let _ = tokio::time::timeout(pause, woken).await;
            pause = (pause * 2).min(Duration::from_secs(2));
            continue;
        }
        pause = Duration::from_millis(200);
        match vectors_of(&*embedder, generation.chunk_bytes, &jobs).await {
            Ok(vectors) => {
                crash_point!("vectors.before");
                let stored = inner.store.put_vectors(&id, vectors).await;
                crash_point!("vectors.after");
                if let Err(error) = stored {
                    warn!(%error, "could not store vectors");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            Err(error) => {
                warn!(%error, "the embedder failed; memory is searched lexically meanwhile");
                sleep(&engine, Duration::from_secs(2)).await;
            }
        }
    }
}

/// One record after the other, so that a query waits for one record's chunks at most.
async fn vectors_of(embedder: &dyn sid_llm::Embedder, chunk_bytes: usize, jobs: &[EmbedJob]) -> Result<Vec<NewVectors>, sid_llm::LlmError> {
    let mut out = Vec::with_capacity(jobs.len());
    for job in jobs {
        let ranges = chunk(&job.text, chunk_bytes);
        let texts: Vec<String> = ranges.iter().map(|r| job.text[r.clone()].to_owned()).collect();
        let vectors = if texts.is_empty() { Vec::new() } else { embedder.embed(EmbedInput::Document, &texts).await? };
        let chunks = ranges.into_iter().zip(vectors).map(|(r, vector)| Chunk { start: r.start, end: r.end, vector }).collect();
        out.push(NewVectors { scope: job.scope, record: job.record, chunks });
    }
    Ok(out)
}

/// Writes diary pages, one at a time, while nobody talks.
pub(crate) async fn diary(engine: Engine) {
    let inner = &engine.inner;
    let mut idle_since = tokio::time::Instant::now();
    while !engine.is_draining() {
        sleep(&engine, Duration::from_secs(1)).await;
        if inner.active.len() > 0 {
            idle_since = tokio::time::Instant::now();
            continue;
        }
        if idle_since.elapsed() < inner.config.idle {
            continue;
        }
        match inner.store.diary_work(inner.clock.now(), 8).await {
            Ok(work) => {
                for item in work {
                    if inner.active.len() > 0 || engine.is_draining() {
                        break;
                    }
                    if let Err(error) = diary::write_page(inner, &item).await {
                        warn!(%error, "could not write a diary page");
                    }
                }
            }
            Err(error) => warn!(%error, "could not look for diary work"),
        }
    }
}

/// Sleeps until a drain begins at most.
async fn sleep(engine: &Engine, duration: Duration) {
    nap(duration, || engine.is_draining()).await;
}

/// Sleeps in short naps, so that it is soon noticed that there is nothing more to do.
async fn nap(duration: Duration, is_over: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + duration;
    while !is_over() && tokio::time::Instant::now() < end {
        tokio::time::sleep_until(end.min(tokio::time::Instant::now() + Duration::from_millis(250))).await;
    }
}
