//! Writes to several conversations of a tenant that wait at the same time: one statement and one commit (ADR 0035).
//!
//! A write for which a lane is free goes at once, alone, and as cancellable as any call. While all lanes are taken, writes wait together;
//! the lane that is free next takes them all. A conversation is in a batch once, so that each write is refused or done by its own revision.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use sid_store::StoreError;
use sid_types::TenantId;
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::backend::PgStore;
use crate::begin::begin;
use crate::call::Call;
use crate::codec::to_json;
use crate::error::{Fault, Result, code, unavailable};
use crate::payload::Payload;

/// Statements of a tenant that are under way at the same time: one that waits for the disk leaves the processor to the other.
const LANES: usize = 2;
/// Most writes of a batch.
const MOST: usize = 32;
/// Most bytes of text of a batch; a larger write goes alone.
const MOST_BYTES: usize = 256 << 10;
/// A write that takes longer than this waits for somebody's lock: those behind it go on without it.
const PATIENCE: Duration = Duration::from_millis(50);

const WRITE: &str = "SELECT sid.write_all($1, $2, $3::jsonb, $4)";

/// A write that waits for a lane.
struct Waiting {
    payload: Payload,
    answer: oneshot::Sender<Result<bool>>,
}

/// A tenant with writes under way.
#[derive(Default)]
struct Queue {
    lanes: usize,
    waiting: VecDeque<Waiting>,
}

/// Writes under way and those that wait, by tenant.
#[derive(Default)]
pub(crate) struct Writes(Mutex<HashMap<TenantId, Queue>>);

impl Writes {
    /// Takes a lane for a write; without a free one it waits. The answer is then sent to it.
    fn enter(&self, tenant: TenantId, payload: Payload) -> std::result::Result<Payload, oneshot::Receiver<Result<bool>>> {
        let mut all = self.0.lock();
        let queue = all.entry(tenant).or_default();
        if queue.lanes < LANES {
            queue.lanes += 1;
            return Ok(payload);
        }
        let (answer, answered) = oneshot::channel();
        queue.waiting.push_back(Waiting { payload, answer });
        Err(answered)
    }

    /// What a lane does next; when nothing waits, it is free.
    fn next(&self, tenant: TenantId) -> Vec<Waiting> {
        let mut all = self.0.lock();
        let Some(queue) = all.get_mut(&tenant) else { return Vec::new() };
        let batch = take_batch(&mut queue.waiting);
        if batch.is_empty() {
            queue.lanes -= 1;
            if queue.lanes == 0 {
                all.remove(&tenant);
            }
        }
        batch
    }
}

/// The writes that go together, the oldest first: no conversation twice.
fn take_batch(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let (mut batch, mut left) = (Vec::new(), VecDeque::new());
    let (mut here, mut bytes) = (HashSet::new(), 0);
    while let Some(next) = waiting.pop_front() {
        if next.answer.is_closed() {
            continue;
        }
        let size = next.payload.bytes();
        let has_room = batch.len() < MOST && (batch.is_empty() || bytes + size <= MOST_BYTES);
        let is_new = next.payload.convs.iter().all(|c| !here.contains(&c.conv));
        // What is left out keeps its place before later writes to its conversation.
        here.extend(next.payload.convs.iter().map(|c| c.conv));
        if has_room && is_new {
            bytes += size;
            batch.push(next);
        } else {
            left.push_back(next);
        }
    }
    *waiting = left;
    batch
}

/// A lane that is taken. Dropped, it goes on with those who wait.
struct Lane {
    store: PgStore,
    tenant: TenantId,
}

impl Drop for Lane {
    fn drop(&mut self) {
        let batch = self.store.writes().next(self.tenant);
        if batch.is_empty() {
            return;
        }
        let next = Self { store: self.store.clone(), tenant: self.tenant };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(serve(next, batch))),
            // Nobody runs any more: those who wait learn that, by their answers being dropped.
            Err(_) => drop(batch),
        }
    }
}

impl Lane {
    /// Waits for what the lane is taken for; should it take long, the lane is free meanwhile.
    async fn during<T>(self, write: impl Future<Output = T>) -> T {
        let mut write = std::pin::pin!(write);
        match tokio::time::timeout(PATIENCE, &mut write).await {
            Ok(written) => written,
            Err(_) => {
                drop(self);
                write.await
            }
        }
    }
}

impl PgStore {
    /// Writes to one conversation, with others of its tenant if it has to wait. `false`: the conversation is not as it was read.
    pub(crate) async fn write_together(&self, tenant: TenantId, payload: Payload) -> Result<bool> {
        self.note_write();
        match self.writes().enter(tenant, payload) {
            Ok(payload) => {
                let lane = Lane { store: self.clone(), tenant };
                Ok(!lane.during(written(self, tenant, &payload)).await?.is_empty())
            }
            Err(answered) => answered.await.map_err(|_| unavailable("the server is about to end"))?,
        }
    }

    /// The call that writes; its answer is read by [`done`].
    pub(crate) fn write_all(&self, tenant: TenantId, clock: Option<String>, payload: &Payload) -> Result<Call> {
        Ok(self.call(WRITE).bind(tenant.uuid()).bind(clock).bind(to_json(payload)?).bind(payload.texts.clone()))
    }
}

/// The conversations that were written.
pub(crate) fn done(row: &PgRow) -> Result<Vec<Uuid>> {
    Ok(row.try_get_unchecked(0)?)
}

async fn written(store: &PgStore, tenant: TenantId, payload: &Payload) -> Result<Vec<Uuid>> {
    let Some(start) = &payload.starts else {
        return done(&store.timely(store.write_all(tenant, store.clock(), payload)?.fetch_one()).await?);
    };
    let begun = begin(store, tenant, start, Some(payload)).await?;
    let is_done = begun.is_some();
    begun.into_iter().for_each(|begun| store.ahead().keep(start.run, begun.began, store.test_time(), begun));
    Ok(is_done.then_some(start.conv).into_iter().collect())
}

async fn serve(lane: Lane, batch: Vec<Waiting>) {
    let (store, tenant) = (lane.store.clone(), lane.tenant);
    let mut all = Payload::default();
    for write in &batch {
        all.append(write.payload.clone());
    }
    match lane.during(written(&store, tenant, &all)).await {
        Ok(done) => {
            for Waiting { payload, answer } in batch {
                let is_written = payload.convs.iter().all(|c| done.contains(&c.conv));
                // Who no longer waits has what anybody has whose answer was lost.
                let _ = answer.send(Ok(is_written));
            }
        }
        Err(fault) => alone(&store, tenant, batch, fault),
    }
}

/// After a batch has failed. What the database has refused was rolled back, and each is written alone, so that one does not fail its
/// neighbours; of anything else nobody knows what came of it.
fn alone(store: &PgStore, tenant: TenantId, mut batch: Vec<Waiting>, fault: Fault) {
    if batch.len() == 1
        && let Some(only) = batch.pop()
    {
        let _ = only.answer.send(Err(fault));
        return;
    }
    let is_refused = matches!(&fault, Fault::Sql(error) if code(error).is_some());
    let why = StoreError::from(fault).to_string();
    for Waiting { payload, answer } in batch {
        if !is_refused {
            let _ = answer.send(Err(unavailable(why.clone()).into()));
            continue;
        }
        let store = store.clone();
        tokio::spawn(async move {
            let is_written = written(&store, tenant, &payload).await.map(|done| !done.is_empty());
            let _ = answer.send(is_written);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{ConvWrite, EventWrite, StepWrite};

    fn write(conv: Uuid, bytes: usize) -> (Waiting, oneshot::Receiver<Result<bool>>) {
        let conversation = ConvWrite {
            conv,
            rev: 1,
            last_seq: 0,
            queue_start: 1,
            last_at: None,
            head: None,
            new_run: None,
            lease: false,
            epoch: 0,
            holder: None,
            expires_at: None,
            ttl_us: None,
        };
        let (run, at) = (Uuid::nil(), sid_types::Timestamp::UNIX_EPOCH);
        let event = EventWrite { conv, run, seq: 1, at, kind: "done", body: 1 };
        let (answer, answered) = oneshot::channel();
        let texts = vec!["x".repeat(bytes)];
        let payload = Payload { convs: vec![conversation], events: vec![event], texts, ..Payload::default() };
        (Waiting { payload, answer }, answered)
    }

    /// Takes batches until nothing waits; tells for each which writes, by their number, were in it.
    fn batches(writes: &[(u128, usize)]) -> Vec<Vec<usize>> {
        let (all, _answered): (Vec<_>, Vec<_>) = writes.iter().map(|(conv, bytes)| write(Uuid::from_u128(*conv), *bytes)).unzip();
        let mut waiting = VecDeque::new();
        for (number, mut write) in all.into_iter().enumerate() {
            write.payload.events[0].seq = number as u64;
            waiting.push_back(write);
        }
        let mut out = Vec::new();
        while !waiting.is_empty() {
            out.push(take_batch(&mut waiting).iter().map(|w| w.payload.events[0].seq as usize).collect());
        }
        out
    }

    #[test]
    fn a_conversation_is_in_a_batch_once_and_its_writes_keep_their_order() {
        assert_eq!(batches(&[(1, 1), (2, 1), (1, 1), (3, 1), (1, 1)]), [vec![0, 1, 3], vec![2], vec![4]]);
        // The first is too large for the batch; the second of its conversation does not go before it.
        assert_eq!(batches(&[(1, 1), (2, MOST_BYTES), (2, 1), (3, 1)]), [vec![0, 3], vec![1], vec![2]]);
    }

    #[test]
    fn a_batch_has_a_limit_and_what_is_larger_goes_alone() {
        let many: Vec<(u128, usize)> = (0..MOST as u128 + 3).map(|conv| (conv, 1)).collect();
        assert_eq!(batches(&many).iter().map(Vec::len).collect::<Vec<_>>(), [MOST, 3]);
        assert_eq!(batches(&[(1, MOST_BYTES * 2), (2, 1)]), [vec![0], vec![1]]);
    }

    #[test]
    fn who_has_gone_is_not_written_for() {
        let (gone, answered) = write(Uuid::from_u128(1), 1);
        drop(answered);
        let (here, _answered) = write(Uuid::from_u128(2), 1);
        let batch = take_batch(&mut VecDeque::from([gone, here]));
        assert_eq!(batch.iter().map(|w| w.payload.convs[0].conv).collect::<Vec<_>>(), [Uuid::from_u128(2)]);
    }

    #[test]
    fn new_runs_keep_their_numbers_in_a_batch() {
        let (mut one, mut two) = (Payload::default(), Payload::default());
        for payload in [&mut one, &mut two] {
            let (mut waiting, _answered) = write(Uuid::nil(), 1);
            waiting.payload.convs[0].new_run = Some(1);
            waiting.payload.new_runs.push(crate::payload::NewRun {
                conv: Uuid::nil(),
                id: Uuid::nil(),
                new_run: 1,
                status: 0,
                limits: String::new(),
                usage: String::new(),
                stimulus: Vec::new(),
                waiting: None,
                priority: 0,
                patience_us: 0,
                at: sid_types::Timestamp::UNIX_EPOCH,
            });
            *payload = waiting.payload;
        }
        one.append(two);
        assert_eq!(one.convs.iter().map(|c| c.new_run).collect::<Vec<_>>(), [Some(1), Some(2)]);
        assert_eq!(one.new_runs.iter().map(|r| r.new_run).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn rows_keep_their_texts_in_a_batch() {
        let step = |tail, recalled| StepWrite { conv: Uuid::nil(), run: Uuid::nil(), number: 1, doc: String::new(), tail, recalled };
        let (mut all, mut wanted) = (Payload::default(), Vec::new());
        for (number, tail) in [Some("what it saw"), None].into_iter().enumerate() {
            let (waiting, _answered) = write(Uuid::nil(), number + 1);
            let mut payload = waiting.payload;
            let tail = tail.map(|tail| payload.text(tail.to_owned()));
            let recalled = payload.text(format!("recalled {number}"));
            payload.steps.push(step(tail, recalled));
            all.append(payload);
            wanted.push(("x".repeat(number + 1), format!("recalled {number}")));
        }
        let text = |place: usize| all.texts[place - 1].clone();
        let rows = all.events.iter().zip(&all.steps);
        assert_eq!(rows.map(|(event, step)| (text(event.body), text(step.recalled))).collect::<Vec<_>>(), wanted);
        assert_eq!(all.steps.iter().map(|step| step.tail.map(text)).collect::<Vec<_>>(), [Some("what it saw".to_owned()), None]);
    }
}
