//! The background: orphaned work, lease renewal, embedding, the diary, dropping what is old. Nothing here stands in the way of a turn.

use std::time::Duration;

use sid_llm::{EmbedInput, Embedder};
use sid_memory::ranking::chunk;
use sid_store::{Chunk, EmbedJob, EraseTarget, Lease, NewVectors, Overdue, StoreError, crash_point};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::duty::{self, Duty};
use crate::engine::Inner;
use crate::{CoreError, Engine, diary, embedders, metrics};

/// Most records that one round of embedding takes from the store.
const EMBED_BATCH: usize = 32;

/// Looks for conversations that have work and no living lease: left behind by a crash, or beyond this process's room.
pub(crate) async fn poll(engine: Engine) {
    let inner = &engine.inner;
    while !engine.is_draining() {
        let room = inner.room();
        let want = room.all.saturating_sub(inner.active.taken()).min(64);
        if want > 0 {
            crash_point!("claim.before");
            let waiting = inner.active.begin_look();
            let per_tenant = room.per_tenant.saturating_add(inner.active.most_resting());
            match inner.store.claim(inner.config.worker, want, per_tenant, inner.config.lease_ttl).await {
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
                let is_held = |l: &Lease| held.iter().any(|h| h.lease.run == l.run && h.lease.epoch == l.epoch);
                for lost in leases.iter().filter(|l| !is_held(l)) {
                    // A run that has just ended is missing too; stopping it does nothing.
                    inner.active.stop(lost.run);
                }
                // A cancel that another replica accepted.
                for asked in held.iter().filter(|h| h.is_cancel_requested) {
                    inner.active.stop(asked.lease.run);
                }
            }
            Err(error) => warn!(%error, "could not renew leases"),
        }
    }
}

/// Gives vectors to records that have none, oldest first; one replica does it for all. The generation that is searched goes first, the next
/// one is built beside it, and takes over when it is complete. One whose embedder fails keeps the other from nothing: it may be the reason
/// for the change.
pub(crate) async fn embed(engine: Engine) {
    let inner = &engine.inner;
    let Some(embedders) = inner.embedder.clone() else { return };
    let mut pause = Duration::from_millis(200);
    while !engine.is_draining() {
        if !engine.has_duty(Duty::Embed).await {
            sleep(&engine, duty::period(&engine)).await;
            continue;
        }
        let wanted = embedders.wanted();
        let (mut has_worked, mut is_complete, mut rest) = (false, false, None);
        for embedder in embedders.in_order() {
            match embed_some(inner, &*embedder).await {
                Embedded::Some => {
                    has_worked = true;
                    break;
                }
                Embedded::Nothing => is_complete |= embedders::id(&*embedder) == wanted,
                Embedded::Failed(for_long) => rest = Some(for_long),
            }
        }
        if has_worked {
            pause = Duration::from_millis(200);
            continue;
        }
        if is_complete {
            embedders.switch(inner).await;
        }
        if let Some(rest) = rest {
            sleep(&engine, rest).await;
            continue;
        }
        let woken = inner.new_memory.notified();
        let _ = tokio::time::timeout(pause, woken).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// What became of a batch.
enum Embedded {
    Nothing,
    Some,
    /// To be tried again after a rest.
    Failed(Duration),
}

async fn embed_some(inner: &Inner, embedder: &dyn Embedder) -> Embedded {
    let id = embedders::id(embedder);
    let jobs = match inner.store.pending(&id, EMBED_BATCH).await {
        Ok(jobs) if jobs.is_empty() => return Embedded::Nothing,
        Ok(jobs) => jobs,
        Err(error) => {
            warn!(%error, "could not read what waits for vectors");
            return Embedded::Failed(Duration::from_secs(1));
        }
    };
    match vectors_of(embedder, embedder.generation().chunk_bytes, &jobs).await {
        Ok(vectors) => {
            crash_point!("vectors.before");
            let stored = inner.store.put_vectors(&id, vectors).await;
            crash_point!("vectors.after");
            match stored {
                Ok(()) => Embedded::Some,
                Err(error) => {
                    warn!(%error, "could not store vectors");
                    Embedded::Failed(Duration::from_secs(1))
                }
            }
        }
        Err(error) => {
            warn!(%error, generation = id.0, "the embedder failed; memory is searched lexically meanwhile");
            Embedded::Failed(Duration::from_secs(2))
        }
    }
}

/// Sees when another replica has switched to the next generation.
pub(crate) async fn watch_generation(engine: Engine) {
    let Some(embedders) = engine.inner.embedder.clone() else { return };
    let mut strange = None;
    while !engine.is_draining() {
        match embedders.look(&engine.inner).await {
            Ok(active) => {
                let unknown = active.filter(|active| !embedders.makes(active));
                if let Some(active) = unknown.as_ref().filter(|_| unknown != strange) {
                    embedders.complain(active);
                }
                strange = unknown;
            }
            Err(error) => debug!(%error, "could not look for the active embedding generation"),
        }
        sleep(&engine, duty::period(&engine)).await;
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

/// Writes diary pages, one at a time; one replica does it for all. While runs are under way here it leaves that to an idle replica: a laptop
/// has one model for everything. Where no pause ever comes it writes a page between times all the same.
pub(crate) async fn diary(engine: Engine) {
    let inner = &engine.inner;
    let (idle, patience) = (inner.config.idle, inner.config.diary_patience);
    let mut idle_since = Instant::now();
    let mut overdue_at = Instant::now() + patience;
    while !engine.is_draining() {
        sleep(&engine, Duration::from_secs(1)).await;
        if inner.active.len() > 0 {
            idle_since = Instant::now();
        }
        let is_idle = idle_since.elapsed() >= idle;
        if !is_idle && Instant::now() < overdue_at {
            engine.leave_duty(Duty::Diary).await;
            continue;
        }
        if !engine.has_duty(Duty::Diary).await {
            continue;
        }
        let written = write_pages(&engine, if is_idle { 8 } else { 1 }, is_idle).await;
        // A page that was overdue is followed by the next one soon, but not at once.
        overdue_at = Instant::now() + if is_idle || written == 0 { patience } else { idle };
    }
}

/// Writes up to `most` pages that are due; answers how many. `gives_way`: only until a run begins.
async fn write_pages(engine: &Engine, most: usize, gives_way: bool) -> usize {
    let inner = &engine.inner;
    let mut written = 0;
    match inner.store.diary_work(inner.clock.now(), most).await {
        Ok(work) => {
            for item in work {
                if gives_way && inner.active.len() > 0 || engine.is_draining() {
                    break;
                }
                match diary::write_page(inner, &item).await {
                    Ok(()) => written += 1,
                    Err(error) => warn!(%error, "could not write a diary page"),
                }
            }
        }
        Err(error) => warn!(%error, "could not look for diary work"),
    }
    written
}

/// Lets questions expire that nobody answers. Any replica does: of two at once one finds that it is done.
pub(crate) async fn expire(engine: Engine) {
    while !engine.is_draining() {
        sleep(&engine, engine.inner.config.expire).await;
        while !engine.is_draining() && engine.expire_approvals().await {}
    }
}

/// Lets the store drop what is old, piece by piece; one replica at a time.
pub(crate) async fn maintain(engine: Engine) {
    let inner = &engine.inner;
    while !engine.is_draining() {
        while engine.has_duty(Duty::Maintain).await {
            match inner.store.maintain().await {
                Ok(true) => {
                    metrics::maintained(true);
                    sleep(&engine, Duration::from_millis(20)).await;
                }
                Ok(false) => {
                    metrics::maintenance_is_complete(inner.clock.now());
                    break;
                }
                Err(error) => {
                    metrics::maintained(false);
                    warn!(%error, "could not drop what is old");
                    break;
                }
            }
        }
        while engine.has_duty(Duty::Maintain).await && erase_overdue(&engine).await {}
        engine.leave_duty(Duty::Maintain).await;
        sleep(&engine, inner.config.maintain).await;
    }
}

/// Erases conversations that their tenants keep no longer; answers whether there may be more.
async fn erase_overdue(engine: &Engine) -> bool {
    const AT_ONCE: usize = 32;
    let overdue = match engine.inner.store.overdue(AT_ONCE).await {
        Ok(overdue) => overdue,
        Err(error) => {
            warn!(%error, "could not look for conversations that are kept no longer");
            return false;
        }
    };
    let mut erased = 0;
    for Overdue { scope, conversation, since } in &overdue {
        match engine.erase(scope, EraseTarget::Idle { conversation: *conversation, since: *since }).await {
            Ok(receipt) => {
                erased += 1;
                info!(tenant = %scope.tenant(), %conversation, messages = receipt.messages, "erased a conversation that is kept no longer");
            }
            // Somebody has spoken in it, or erased it.
            Err(CoreError::Store(StoreError::NotFound { .. })) => {}
            Err(error) => warn!(%error, %conversation, "could not erase a conversation that is kept no longer"),
        }
    }
    erased == AT_ONCE
}

/// Sleeps until a drain begins at most.
pub(crate) async fn sleep(engine: &Engine, duration: Duration) {
    nap(duration, || engine.is_draining()).await;
}

/// Sleeps in short naps, so that it is soon noticed that there is nothing more to do.
async fn nap(duration: Duration, is_over: impl Fn() -> bool) {
    let end = Instant::now() + duration;
    while !is_over() && Instant::now() < end {
        tokio::time::sleep_until(end.min(Instant::now() + Duration::from_millis(250))).await;
    }
}
