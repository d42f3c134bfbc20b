//! Runs under way in this process: who may be told to stop, and who waits for an end.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use sid_store::Lease;
use sid_types::{Message, Run, RunId, TenantId};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

/// A run that has ended, or not yet when whoever waited lost patience.
#[derive(Debug, Clone)]
pub struct RunEnd {
    /// The run.
    pub run: Run,
    /// All its messages in order, if they were at hand: it ended in this process.
    pub messages: Option<Vec<Message>>,
}

struct Active {
    lease: Lease,
    stop: CancellationToken,
    /// Somebody works on it.
    is_taken_up: bool,
    /// Answers of other agents that it waits for: meanwhile it has no place.
    rests: usize,
}

/// A run that waits for another one; dropped, it has its place again, whether there is one or not.
pub(crate) struct Resting<'t> {
    table: &'t ActiveRuns,
    run: RunId,
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        if let Some(active) = self.table.runs.lock().get_mut(&self.run) {
            active.rests = active.rests.saturating_sub(1);
        }
    }
}

/// A place that is kept for a run on its way into the table.
pub(crate) struct Place<'t> {
    table: &'t ActiveRuns,
    tenant: TenantId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queue = self.table.queue.lock();
        if let Some(n) = queue.arriving.get_mut(&self.tenant) {
            *n -= 1;
            if *n == 0 {
                queue.arriving.remove(&self.tenant);
            }
        }
    }
}

/// How many runs may be under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// In all.
    pub(crate) all: usize,
    /// Of one tenant.
    pub(crate) per_tenant: usize,
}

/// Who is on the way into the table.
#[derive(Default)]
struct Queue {
    /// Runs that were promised a place and have not entered yet.
    arriving: HashMap<TenantId, usize>,
    /// Tenants whose work was left in the store because there was no place for it, and how often that happened.
    waiting: HashMap<TenantId, u64>,
}

/// The table of runs under way.
#[derive(Default)]
pub(crate) struct ActiveRuns {
    /// Locked before `runs` where both are.
    queue: Mutex<Queue>,
    /// Told when a place becomes free that somebody waits for.
    room_made: Notify,
    /// In the order of their ids, so that what is done for each is done in the same order in every process.
    runs: Mutex<BTreeMap<RunId, Active>>,
    waiters: Mutex<HashMap<RunId, Vec<oneshot::Sender<RunEnd>>>>,
}

impl ActiveRuns {
    /// Enters a run. Again under the same lease changes nothing.
    pub(crate) fn enter(&self, lease: &Lease) {
        let mut runs = self.runs.lock();
        if runs.get(&lease.run).is_none_or(|active| active.lease.epoch != lease.epoch) {
            runs.insert(lease.run, Active { lease: lease.clone(), stop: CancellationToken::new(), is_taken_up: false, rests: 0 });
        }
    }

    /// Enters a run for whoever works on it; the token ends its model call. `None`: somebody works on it already, under the same lease. One
    /// lease may come twice: to who has accepted or claimed a run, and, when the answer to the commit that ended the run before was lost, to
    /// who repeats that commit.
    pub(crate) fn take_up(&self, lease: &Lease) -> Option<CancellationToken> {
        self.enter(lease);
        let mut runs = self.runs.lock();
        let active = runs.get_mut(&lease.run)?;
        let is_first = !std::mem::replace(&mut active.is_taken_up, true);
        is_first.then(|| active.stop.clone())
    }

    /// A place for a run of this tenant. `None`: there is none, or others of its tenant wait for one; then the run waits behind them.
    pub(crate) fn place(&self, tenant: TenantId, room: Room) -> Option<Place<'_>> {
        let mut queue = self.queue.lock();
        if queue.waiting.contains_key(&tenant) || self.is_full(&queue, tenant, room) {
            *queue.waiting.entry(tenant).or_default() += 1;
            return None;
        }
        *queue.arriving.entry(tenant).or_default() += 1;
        Some(Place { table: self, tenant })
    }

    fn is_full(&self, queue: &Queue, tenant: TenantId, room: Room) -> bool {
        let runs = self.runs.lock();
        let placed = || runs.values().filter(|a| a.rests == 0);
        let all = placed().count() + queue.arriving.values().sum::<usize>();
        let own = placed().filter(|a| a.lease.scope.tenant() == tenant).count() + queue.arriving.get(&tenant).copied().unwrap_or(0);
        all >= room.all || own >= room.per_tenant
    }

    /// Work of this tenant is in the store and waits for a place. If there is one by now, whoever looks for work is told.
    pub(crate) fn wait_for_place(&self, tenant: TenantId, room: Room) {
        let mut queue = self.queue.lock();
        *queue.waiting.entry(tenant).or_default() += 1;
        if !self.is_full(&queue, tenant, room) {
            self.room_made.notify_one();
        }
    }

    /// A look at the store for waiting work begins: who waits now is looked for.
    pub(crate) fn begin_look(&self) -> HashMap<TenantId, u64> {
        self.queue.lock().waiting.clone()
    }

    /// The look has ended: who was looked for and could have been given a place waits no more, unless there was more than could be
    /// taken, or something came while it was looked.
    pub(crate) fn end_look(&self, looked_for: HashMap<TenantId, u64>, is_more: bool, room: Room) {
        let mut queue = self.queue.lock();
        for (tenant, times) in looked_for {
            if !is_more && queue.waiting.get(&tenant) == Some(&times) && !self.is_full(&queue, tenant, room) {
                queue.waiting.remove(&tenant);
            }
        }
    }

    /// A place may have become free: tells whoever looks for work, if there is some.
    pub(crate) fn wake_if_waiting(&self) {
        if !self.queue.lock().waiting.is_empty() {
            self.room_made.notify_one();
        }
    }

    /// Ready when a place has become free that somebody waits for.
    pub(crate) async fn room_made(&self) {
        self.room_made.notified().await;
    }

    /// Whether the run is under way here: it has not ended, or whoever waits for its end is still to be told.
    pub(crate) fn contains(&self, run: RunId) -> bool {
        self.runs.lock().contains_key(&run)
    }

    /// Takes a run out, unless it was entered again under a newer lease.
    pub(crate) fn leave(&self, lease: &Lease) {
        let mut runs = self.runs.lock();
        if runs.get(&lease.run).is_some_and(|active| active.lease.epoch == lease.epoch) {
            runs.remove(&lease.run);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.runs.lock().len()
    }

    /// How many places are taken.
    pub(crate) fn taken(&self) -> usize {
        self.runs.lock().values().filter(|a| a.rests == 0).count()
    }

    /// Most runs of one tenant that wait for others: the store counts their leases all the same, so a look for work asks for so many more.
    pub(crate) fn most_resting(&self) -> usize {
        let mut resting: HashMap<TenantId, usize> = HashMap::new();
        for active in self.runs.lock().values().filter(|a| a.rests > 0) {
            *resting.entry(active.lease.scope.tenant()).or_default() += 1;
        }
        resting.into_values().max().unwrap_or_default()
    }

    /// Tells a run to look up: it was cancelled, or its lease is gone.
    pub(crate) fn stop(&self, run: RunId) {
        if let Some(active) = self.runs.lock().get(&run) {
            active.stop.cancel();
        }
    }

    /// A run waits for another one, and leaves its place to others meanwhile: those that it waits for need one.
    pub(crate) fn rest(&self, run: RunId) -> Resting<'_> {
        if let Some(active) = self.runs.lock().get_mut(&run) {
            active.rests += 1;
        }
        Resting { table: self, run }
    }

    /// The lease of a run that is under way here, and what tells it to stop.
    pub(crate) fn lease(&self, run: RunId) -> Option<(Lease, CancellationToken)> {
        self.runs.lock().get(&run).map(|active| (active.lease.clone(), active.stop.clone()))
    }

    /// All leases, for the renewal in one batch.
    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.runs.lock().values().map(|a| a.lease.clone()).collect()
    }

    /// Waits for the end of a run in this process.
    pub(crate) fn subscribe(&self, run: RunId) -> oneshot::Receiver<RunEnd> {
        let (tx, rx) = oneshot::channel();
        let mut waiters = self.waiters.lock();
        let list = waiters.entry(run).or_default();
        list.retain(|w| !w.is_closed());
        list.push(tx);
        rx
    }

    /// Whether anybody waits for the end of this run.
    pub(crate) fn has_waiters(&self, run: RunId) -> bool {
        self.waiters.lock().contains_key(&run)
    }

    /// Forgets waiters that have gone.
    pub(crate) fn unsubscribe(&self, run: RunId) {
        let mut waiters = self.waiters.lock();
        if let Some(list) = waiters.get_mut(&run) {
            list.retain(|w| !w.is_closed());
            if list.is_empty() {
                waiters.remove(&run);
            }
        }
    }

    /// Tells everybody who waits that a run has ended.
    pub(crate) fn finished(&self, end: &RunEnd) {
        for waiter in self.waiters.lock().remove(&end.run.id).into_iter().flatten() {
            let _ = waiter.send(end.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use sid_types::{AgentId, ConversationId, Principal, Scope, Timestamp, WorkerId};

    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "tests are one of the two places that may make scopes")]
    fn one_lease_is_worked_on_once() {
        let active = ActiveRuns::default();
        let principal = Principal::Turn { agent: AgentId::new(), user: None };
        let lease = Lease {
            scope: Scope::grant(TenantId::new(), principal),
            conversation: ConversationId::new(),
            run: RunId::new(),
            worker: WorkerId::new(),
            epoch: 2,
            expires_at: Timestamp::MAX,
        };
        active.enter(&lease);
        let first = active.take_up(&lease).expect("nobody works on it");
        assert!(active.take_up(&lease).is_none(), "the same lease, from a repeated commit");
        let newer = active.take_up(&Lease { epoch: 3, ..lease.clone() }).expect("a newer lease is another matter");
        active.stop(lease.run);
        assert!(newer.is_cancelled() && !first.is_cancelled());
        active.leave(&lease);
        assert!(active.contains(lease.run), "it is the newer one's");
        active.leave(&Lease { epoch: 3, ..lease.clone() });
        assert!(active.take_up(&lease).is_some());
    }
}
