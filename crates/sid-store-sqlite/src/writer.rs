//! The one writer: it owns the writing connection and groups commits.
//!
//! Writes are jobs in a queue. While a transaction waits for the disk, the next jobs gather; they run one after the other inside one
//! `BEGIN IMMEDIATE … COMMIT`, each in a savepoint, so that one that fails takes nothing else along. Replies are sent after the
//! commit. A caller that goes away does not stop its job.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use sid_store::{StoreError, crash_point};
use sid_types::{Clock, RunId, TenantId, Timestamp};
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, Connection, Encode, Executor, Sqlite, Type};
use tokio::sync::{mpsc, oneshot};

use crate::error::{Fault, Result, STORE, unavailable};
use crate::partitions::IndexChange;

/// A transaction takes in no more jobs after this long, so that nobody waits for strangers.
const LONGEST_BATCH: Duration = Duration::from_millis(20);

/// What must happen in memory once a job's transaction is committed.
#[derive(Debug)]
pub(crate) enum After {
    /// A partition has changed.
    Index { part: i64, change: IndexChange },
    /// A run has new events.
    Events(TenantId, RunId),
    /// A partition has grown so large that its records belong into the full-text index.
    FullText { part: i64 },
}

/// Does what [`After`] says.
pub(crate) trait Aftermath: Send + Sync {
    fn apply(&self, after: Vec<After>);
}

/// What a job writes through.
pub(crate) struct Tx {
    pub(crate) conn: SqliteConnection,
    /// The store's clock at the start of the job.
    pub(crate) now: Timestamp,
    pub(crate) full_text_from: u64,
    after: Vec<After>,
    last: Last,
    /// Statements whose outcome nobody waits for, sent together: each trip to SQLite's thread costs more than a small statement.
    later_sql: String,
    later_arguments: SqliteArguments,
    /// How many jobs of this transaction came before.
    pub(crate) batch: u64,
}

/// The last numbers that were given out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Last {
    pub(crate) rid: i64,
    pub(crate) run: i64,
}

/// With so many arguments statements are not kept waiting any longer.
const MOST_ARGUMENTS: usize = 400;

/// A statement that waits; binds in order of its `?`.
pub(crate) struct Later<'t>(&'t mut SqliteArguments);

impl Later<'_> {
    pub(crate) fn bind<'v, T: Encode<'v, Sqlite> + Type<Sqlite>>(self, value: T) -> Self {
        self.0.add(value).expect("numbers, texts and blobs can be bound");
        self
    }
}

/// Kinds of records, in the low bits of a `rid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Message = 0,
    Passage = 1,
    Diary = 2,
}

impl Tx {
    pub(crate) fn then(&mut self, after: After) {
        self.after.push(after);
    }

    /// A number that no record has had. Numbers of jobs that failed are never used.
    pub(crate) fn rid(&mut self, kind: Kind) -> i64 {
        self.last.rid = ((self.last.rid >> 2) + 1) << 2 | kind as i64;
        self.last.rid
    }

    /// A number past those that this job may still give out.
    pub(crate) const fn rid_horizon(&self) -> i64 {
        self.last.rid + (4_096 << 2)
    }

    /// A number that no run has had: runs are ordered by it.
    pub(crate) fn run_number(&mut self) -> i64 {
        self.last.run += 1;
        self.last.run
    }

    /// Adds a statement to those that are sent together, in order, at the end of the job or at the next [`flush`](Self::flush). It must
    /// not be read from before that.
    pub(crate) fn later(&mut self, sql: &str) -> Later<'_> {
        self.later_sql.push_str(sql);
        self.later_sql.push_str(";\n");
        Later(&mut self.later_arguments)
    }

    /// Sends what waits.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        if !self.later_sql.is_empty() {
            let (sql, arguments) = (std::mem::take(&mut self.later_sql), std::mem::take(&mut self.later_arguments));
            sqlx::query_with(sqlx::AssertSqlSafe(sql), arguments).execute(&mut self.conn).await?;
        }
        Ok(())
    }

    /// Sends what waits if it is much.
    pub(crate) async fn relieve(&mut self) -> Result<()> {
        if self.later_arguments.len() > MOST_ARGUMENTS { self.flush().await } else { Ok(()) }
    }

    fn begin(&mut self, now: Timestamp, batch: usize) {
        (self.now, self.batch) = (now, batch as u64);
        self.after.clear();
        self.later_sql.clear();
        self.later_arguments = SqliteArguments::default();
    }
}

trait Job: Send {
    /// Answers the fault's own view of whether the transaction can go on: `Ok` = keep its changes.
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, Result<(), Broken>>;
    /// Sends the reply; `failed` = the transaction as a whole was not committed.
    fn reply(self: Box<Self>, failed: Option<&Failure>);
}

/// A job failed; its changes must go back. With SQLite's own failure, if it was that.
struct Broken(Option<Failure>);

/// Why a whole transaction failed; copied into each job's reply.
#[derive(Debug, Clone)]
enum Failure {
    Full,
    Damaged(String),
    Unavailable(String),
}

impl Failure {
    fn of(error: sqlx::Error) -> Self {
        Self::from(&StoreError::from(Fault::Sql(error)))
    }

    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Full { .. } => Self::Full,
            StoreError::Corrupt { detail, .. } => Self::Damaged(detail.clone()),
            other => Self::Unavailable(other.to_string()),
        }
    }

    fn error(&self) -> StoreError {
        match self {
            Self::Full => StoreError::Full { store: STORE },
            Self::Damaged(detail) => StoreError::Corrupt { store: STORE, detail: detail.clone() },
            Self::Unavailable(why) => unavailable(why.clone()),
        }
    }
}

struct Task<T, F> {
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send,
{
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, Result<(), Broken>> {
        async move {
            let Some(work) = self.work.take() else { return Err(Broken(None)) };
            let whole = async {
                let value = work(tx).await?;
                tx.flush().await?;
                Ok(value)
            };
            let outcome = match AssertUnwindSafe(whole).catch_unwind().await {
                Ok(outcome) => outcome,
                Err(_) => Err(unavailable("a write panicked; nothing of it was kept").into()),
            };
            let (result, answer) = match outcome {
                Ok(value) => (Ok(value), Ok(())),
                Err(fault) => {
                    let is_storage = matches!(fault, Fault::Sql(_));
                    let error = StoreError::from(fault);
                    let failure = is_storage.then(|| Failure::from(&error));
                    (Err(error), Err(Broken(failure)))
                }
            };
            self.result = Some(result);
            answer
        }
        .boxed()
    }

    fn reply(mut self: Box<Self>, failed: Option<&Failure>) {
        let result = match (failed, self.result.take()) {
            // What failed by itself says so itself.
            (_, Some(Err(error))) => Err(error),
            (Some(failure), _) => Err(failure.error()),
            (None, Some(ok)) => ok,
            (None, None) => Err(unavailable("a write was not begun")),
        };
        if let Some(reply) = self.reply.take() {
            // The caller may be gone; its write stands.
            let _ = reply.send(result);
        }
    }
}

/// The writer's queue.
#[derive(Clone)]
pub(crate) struct Writer {
    jobs: mpsc::UnboundedSender<Box<dyn Job>>,
}

/// A handle that does not keep the writer going.
pub(crate) struct WeakWriter(mpsc::WeakUnboundedSender<Box<dyn Job>>);

impl WeakWriter {
    pub(crate) fn upgrade(&self) -> Option<Writer> {
        self.0.upgrade().map(|jobs| Writer { jobs })
    }
}

/// How the writer groups.
pub(crate) struct Grouping {
    pub(crate) window: Duration,
    pub(crate) most: usize,
}

impl Writer {
    /// Starts the writer's thread. It ends, and drops `keep`, when every handle is gone and the queue is empty.
    pub(crate) fn start<K: Send + 'static>(
        conn: SqliteConnection,
        clock: Arc<dyn Clock>,
        grouping: Grouping,
        full_text_from: u64,
        last: Last,
        aftermath: Arc<dyn Aftermath>,
        keep: K,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::unbounded_channel();
        let tx = Tx {
            conn,
            now: clock.now(),
            full_text_from,
            after: Vec::new(),
            last,
            later_sql: String::new(),
            later_arguments: SqliteArguments::default(),
            batch: 0,
        };
        // A thread of its own, which is woken by each answer of SQLite's thread: half the price of waking a task of the runtime.
        let runtime = tokio::runtime::Handle::current();
        let run = move || {
            let _timers = runtime.enter();
            futures::executor::block_on(work(tx, queue, clock, grouping, aftermath, keep));
        };
        std::thread::Builder::new().name("sid-writer".into()).spawn(run)?;
        Ok(Self { jobs })
    }

    pub(crate) fn downgrade(&self) -> WeakWriter {
        WeakWriter(self.jobs.downgrade())
    }

    /// Runs a job and answers after its commit.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let task = Task { work: Some(work), result: None, reply: Some(reply) };
        self.jobs.send(Box::new(task)).map_err(|_| unavailable("it was closed"))?;
        answer.await.map_err(|_| unavailable("it was closed before the write ended"))?
    }
}

async fn work<K>(
    mut tx: Tx,
    mut queue: mpsc::UnboundedReceiver<Box<dyn Job>>,
    clock: Arc<dyn Clock>,
    grouping: Grouping,
    aftermath: Arc<dyn Aftermath>,
    keep: K,
) {
    while let Some(first) = queue.recv().await {
        if !grouping.window.is_zero() {
            std::thread::sleep(grouping.window);
        }
        batch(&mut tx, first, &mut queue, &*clock, grouping.most, &*aftermath).await;
    }
    if let Err(error) = tx.conn.close().await {
        tracing::warn!(%error, "the embedded store did not close cleanly; nothing is lost");
    }
    drop(keep);
}

/// One transaction.
async fn batch(
    tx: &mut Tx,
    first: Box<dyn Job>,
    queue: &mut mpsc::UnboundedReceiver<Box<dyn Job>>,
    clock: &dyn Clock,
    most: usize,
    aftermath: &dyn Aftermath,
) {
    let begun = Instant::now();
    let mut done: Vec<Box<dyn Job>> = Vec::new();
    let mut after = Vec::new();
    let mut failure = tx.conn.execute("BEGIN IMMEDIATE").await.err().map(Failure::of);
    crash_point!("sqlite.begin.after");
    let mut is_open = failure.is_none();
    let mut next = Some(first);
    let mut has_savepoint = false;
    while let Some(mut job) = next {
        if failure.is_none() {
            tx.begin(clock.now(), done.len());
            match job.run(tx).await {
                Ok(()) => {
                    crash_point!("sqlite.job.after");
                    after.append(&mut tx.after);
                }
                Err(Broken(cause)) => {
                    // The first job has no savepoint: everything so far is its own.
                    let undo = if has_savepoint { "ROLLBACK TO job" } else { "ROLLBACK; BEGIN IMMEDIATE" };
                    if let Err(error) = tx.conn.execute(undo).await {
                        // Some failures of the disk roll everything back by themselves; then the neighbours fail with this job.
                        failure = Some(cause.unwrap_or_else(|| Failure::of(error)));
                        let _ = tx.conn.execute("ROLLBACK").await;
                        is_open = false;
                    }
                }
            }
        }
        done.push(job);
        next = if failure.is_none() && done.len() < most && begun.elapsed() < LONGEST_BATCH { queue.try_recv().ok() } else { None };
        if next.is_some() {
            let mark = if has_savepoint { "RELEASE job; SAVEPOINT job" } else { "SAVEPOINT job" };
            if let Err(error) = tx.conn.execute(mark).await {
                failure = Some(Failure::of(error));
            }
            has_savepoint = true;
        }
    }
    if is_open && failure.is_none() {
        crash_point!("sqlite.commit.before");
        failure = tx.conn.execute("COMMIT").await.err().map(Failure::of);
        crash_point!("sqlite.commit.after");
    }
    if failure.is_some() && is_open {
        // An error here means that SQLite has rolled back by itself.
        let _ = tx.conn.execute("ROLLBACK").await;
    }
    if let Some(failure) = &failure {
        tracing::error!(?failure, jobs = done.len(), "a transaction of the embedded store failed");
    } else {
        aftermath.apply(after);
    }
    crash_point!("sqlite.reply.before");
    for job in done {
        job.reply(failure.as_ref());
    }
}

#[cfg(test)]
mod tests;
