//! The background's part: feeds the index, deletes from it, and makes it whole again.

use std::time::Duration;

use sid_store::StoreError;

use super::feed::{self, Live};
use super::{Drift, erasures};
use crate::backend::PgStore;
use crate::error::{Fault, Result};

/// Rows of the outbox that one round looks at.
const ROUND: i64 = 1_000;
/// The pause after a round that had nothing to do.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause while the index does not answer; it begins with [`PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often it is looked whether the index still has all generations.
const LOOK: Duration = Duration::from_secs(5);

/// Keeps a store's vector index up to date. Any number of processes may run one: each partition is fed by one at a time, and whatever one of
/// them leaves undone the others do.
///
/// ```no_run
/// # async fn run(store: sid_store_pg::PgStore) {
/// use sid_store_pg::Indexer;
/// // Until the server is told to stop:
/// if let Some(indexer) = Indexer::new(&store) {
///     indexer.run(async { drop(tokio::signal::ctrl_c().await) }).await;
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Indexer {
    pub(super) store: PgStore,
    reconcile_every: Duration,
}

/// Keeps a failure that concerns one thing alone for later; one that concerns everything ends the round.
fn alone<T>(outcome: Result<T>, failed: &mut Option<StoreError>) -> Result<Option<T>, StoreError> {
    match outcome.map_err(StoreError::from) {
        Ok(value) => Ok(Some(value)),
        Err(error @ StoreError::Unavailable { .. }) => Err(error),
        Err(error) => {
            failed.get_or_insert(error);
            Ok(None)
        }
    }
}

/// What one round has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Round {
    did: usize,
    left: usize,
}

impl Indexer {
    /// `None` if the store has no vector index.
    #[must_use]
    pub fn new(store: &PgStore) -> Option<Self> {
        store.vectors()?;
        Some(Self { store: store.clone(), reconcile_every: Duration::from_secs(3_600) })
    }

    /// How often [`run`](Self::run) compares the index with the database, and repairs it. Default 1 h.
    #[must_use]
    pub const fn reconciling_every(mut self, period: Duration) -> Self {
        self.reconcile_every = period;
        self
    }

    /// Runs until `stop` is ready; what is under way then is given up, and done again by the next one. Failures are told and tried again.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let work = async {
            let (mut pause, mut looked, mut reconciled) = (PAUSE, None, None);
            loop {
                let is_due = |last: Option<tokio::time::Instant>, period| last.is_none_or(|last| last.elapsed() >= period);
                let outcome = async {
                    let mut failed = None;
                    if is_due(looked, LOOK) {
                        failed = self.ensure_all().await?;
                        looked = Some(tokio::time::Instant::now());
                    }
                    if is_due(reconciled, self.reconcile_every) {
                        match self.repair().await {
                            Ok(drift) if !drift.is_none() => {
                                tracing::warn!(?drift, "the vector index differed from the database and was repaired");
                            }
                            Err(error) if error.is_transient() => return Err(error),
                            _ => {}
                        }
                        reconciled = Some(tokio::time::Instant::now());
                    }
                    // Of several things that are wrong, the first is the cause.
                    let round = self.round().await;
                    failed.map_or(round, Err)
                };
                pause = match outcome.await {
                    Ok(Round { did: 0, .. }) => PAUSE,
                    Ok(_) => Duration::ZERO,
                    Err(error) => {
                        tracing::warn!(%error, code = error.code(), "the vector index cannot be fed; it is tried again");
                        looked = None;
                        (pause * 2).clamp(PAUSE, LONGEST_PAUSE)
                    }
                };
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = stop => {}
        }
    }

    /// Feeds and deletes until nothing waits, or only what other processes are at.
    ///
    /// Errors: those of the store and of the index; what was done until then stays done.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        let failed = self.ensure_all().await?;
        loop {
            let round = match self.round().await {
                // Of several things that are wrong, the first is the cause.
                Err(error) if !error.is_transient() => return Err(failed.unwrap_or(error)),
                other => other?,
            };
            match round {
                Round { did: 0, left: 0 } => return failed.map_or(Ok(()), Err),
                Round { did: 0, .. } => tokio::time::sleep(PAUSE / 10).await,
                Round { .. } => {}
            }
        }
    }

    /// Looks whether the index has all generations that were fed into it, and makes those that it lacks. Answers what is wrong with one of
    /// them, if that does not concern the others.
    async fn ensure_all(&self) -> Result<Option<StoreError>, StoreError> {
        let mut failed = None;
        if let Some(vectors) = self.store.vectors() {
            for live in feed::generations(&self.store).await? {
                alone(feed::ensure(&self.store, &**vectors.index(), &live).await, &mut failed)?;
            }
        }
        Ok(failed)
    }

    /// Errors: what concerns one partition or generation alone is told when all others were looked at.
    async fn round(&self) -> Result<Round, StoreError> {
        let Some(vectors) = self.store.vectors() else { return Ok(Round::default()) };
        let live = feed::generations(&self.store).await?;
        let (mut round, mut failed) = (Round::default(), None);
        for (tenant, part) in erasures::due(&self.store, ROUND).await? {
            let left = alone(erasures::sweep(&self.store, &live, tenant, part).await, &mut failed)?.unwrap_or(1);
            round.left += usize::from(left > 0);
            round.did += usize::from(left == 0);
        }
        for (tenant, part, upto) in feed::work(&self.store, ROUND).await? {
            let mut is_done = true;
            for live in &live {
                is_done &= alone(self.feed(&**vectors.index(), live, tenant, part).await, &mut failed)?.unwrap_or(false);
            }
            if is_done {
                feed::done(&self.store, tenant, part, upto).await?;
            }
            round.left += usize::from(!is_done);
            round.did += usize::from(is_done);
        }
        failed.map_or(Ok(round), Err)
    }

    async fn feed(&self, index: &dyn sid_store::VectorIndex, live: &Live, tenant: sid_types::TenantId, part: i64) -> Result<bool> {
        match feed::feed(&self.store, index, live, tenant, part).await {
            // It was made a moment ago, or lost since it was last looked for.
            Err(Fault::Store(StoreError::NotFound { .. })) => {
                feed::ensure(&self.store, index, live).await?;
                feed::feed(&self.store, index, live, tenant, part).await
            }
            other => other,
        }
    }

    /// Compares what the index holds with what it should, partition by partition, and changes nothing.
    pub async fn compare(&self) -> Result<Drift, StoreError> {
        Ok(super::reconcile::reconcile(self, false).await?)
    }

    /// Makes the index hold what it should, from the database: what is missing is fed, what is too much is deleted. Afterwards
    /// [`compare`](Self::compare) finds no drift. Answers what differed.
    pub async fn repair(&self) -> Result<Drift, StoreError> {
        self.ensure_all().await?;
        let call = self.store.call("SELECT sid.index_enlist($1)").bind(self.store.config().vector_index_from as i64);
        call.fetch_one().await.map_err(Fault::Sql)?;
        let drift = super::reconcile::reconcile(self, true).await?;
        self.catch_up().await?;
        Ok(drift)
    }
}
