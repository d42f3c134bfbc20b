//! The engine: accepts stimuli, runs conversations, and keeps the background going.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sid_llm::Embedder;
use sid_store::{Accept, Accepted, EraseTarget, IdempotencyKey, Lease, OnBusy, Receipt, Store, StoreError, crash_point};
use sid_tools::Registry;
use sid_types::{ClientTool, Clock, ConversationId, NewMessage, Priority, Run, RunId, RunLimits, Scope, Seq};
use tokio_util::task::TaskTracker;

use crate::active::{ActiveRuns, Room, RunEnd};
use crate::budget::KnownLimits;
use crate::client_tools::{self, ClientAnswer};
use crate::compaction::PreparedSummaries;
use crate::documents::{self, Library};
use crate::duty::Duties;
use crate::ego::KnownEgos;
use crate::embedders::Embedders;
use crate::provider::ToolProvider;
use crate::task::{self, TaskTools};
use crate::timers::Keeper;
use crate::tool_vectors::ToolVectors;
use crate::{
    ContextOf, CoreError, EngineConfig, Models, PromptView, SearchRequest, SearchResponse, background, colleague, context, driver, search,
    timers,
};

/// How often an answer is tried against what waits by then.
const ANSWER_TRIES: u32 = 3;
/// A place that no message has.
const NOWHERE: Seq = Seq(u64::MAX);

/// A stimulus: what a user says, or what else wakes an agent.
#[derive(Debug, Clone)]
pub struct Submit {
    /// Where.
    pub conversation: ConversationId,
    /// What is said; at least one message, unless there are answers.
    pub messages: Vec<NewMessage>,
    /// Answers to calls that wait for the caller: to all of them, or none. What is said comes after them.
    pub answers: Vec<ClientAnswer>,
    /// Tools that the caller carries out; `None` = those of the run whose calls are answered, if any are.
    pub client_tools: Option<Vec<ClientTool>>,
    /// The client's idempotency key.
    pub idempotency: Option<IdempotencyKey>,
    /// What the run may use up; the engine's defaults when `None`.
    pub limits: Option<RunLimits>,
    /// When the conversation is busy.
    pub on_busy: OnBusy,
}

impl Submit {
    /// Messages with the engine's limits; it waits if the conversation is busy.
    #[must_use]
    pub const fn new(conversation: ConversationId, messages: Vec<NewMessage>) -> Self {
        Self { conversation, messages, answers: Vec::new(), client_tools: None, idempotency: None, limits: None, on_busy: OnBusy::Queue }
    }
}

/// An accepted stimulus.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The run that reacts to it.
    pub run: Run,
    /// Whether an earlier request with the same key made it.
    pub replayed: bool,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) models: Models,
    pub(crate) embedder: Option<Arc<Embedders>>,
    /// What tools are about, for who searches them.
    pub(crate) tool_vectors: Arc<ToolVectors>,
    pub(crate) tools: Arc<Registry>,
    /// Those that an agent has which names none.
    pub(crate) offered: Vec<String>,
    pub(crate) provider: Option<Arc<dyn ToolProvider>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: EngineConfig,
    pub(crate) active: ActiveRuns,
    pub(crate) prepared: PreparedSummaries,
    pub(crate) limits: KnownLimits,
    pub(crate) duties: Duties,
    /// Wakes the embedding worker when there is something new.
    pub(crate) new_memory: tokio::sync::Notify,
    /// Wakes who looks after tasks.
    pub(crate) tasks_changed: Arc<tokio::sync::Notify>,
    pub(crate) task_tools: TaskTools,
    pub(crate) timers: Keeper,
    pub(crate) egos: KnownEgos,
    pub(crate) library: Library,
    pub(crate) tasks: TaskTracker,
    pub(crate) draining: AtomicBool,
}

impl Inner {
    /// How many runs may be under way in this process.
    pub(crate) fn room(&self) -> Room {
        Room { all: self.config.max_runs, per_tenant: self.config.max_runs_per_tenant }
    }
}

/// Runs agents over a store. Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

impl Engine {
    /// Starts the poller and the background workers on the current tokio runtime. Call once.
    pub fn start(&self) {
        self.inner.tasks.spawn(background::poll(self.clone()));
        self.inner.tasks.spawn(background::renew(self.clone()));
        self.inner.tasks.spawn(background::maintain(self.clone()));
        self.inner.tasks.spawn(background::expire(self.clone()));
        self.inner.tasks.spawn(task::look_after(self.clone()));
        self.inner.tasks.spawn(timers::poll(self.clone()));
        self.inner.tasks.spawn(documents::poll(self.clone()));
        if self.inner.embedder.is_some() {
            self.inner.tasks.spawn(background::watch_generation(self.clone()));
            self.inner.tasks.spawn(background::embed(self.clone()));
        }
        if self.inner.config.diary {
            self.inner.tasks.spawn(background::diary(self.clone()));
        }
    }

    /// Documents: to bring, to search and to open.
    #[must_use]
    pub fn library(&self) -> &Library {
        &self.inner.library
    }

    /// The embedder that memory is searched with now; `None` without one.
    #[must_use]
    pub fn embedder(&self) -> Option<Arc<dyn Embedder>> {
        self.inner.embedder.clone().map(|e| e as Arc<dyn Embedder>)
    }

    /// The models that agents may use.
    #[must_use]
    pub fn models(&self) -> &Models {
        &self.inner.models
    }

    /// Accepts a stimulus; the run goes on by itself, whether anybody waits or not.
    pub async fn submit(&self, scope: &Scope, submit: Submit) -> Result<Submitted, CoreError> {
        if self.is_draining() {
            return Err(CoreError::Draining);
        }
        client_tools::check(&self.inner, scope, submit.conversation, submit.client_tools.as_deref().unwrap_or_default()).await?;
        if submit.answers.is_empty() {
            return self.accept(scope, submit, None).await;
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let said = match client_tools::answer(&self.inner, scope, submit.conversation, &submit.answers, self.inner.clock.now()).await {
                Ok(said) => said,
                // A repetition of the request that answered is answered alike: its key is looked at before its place.
                Err(refused) if submit.idempotency.is_some() => {
                    return match self.accept(scope, submit.clone(), Some(NOWHERE)).await {
                        Err(CoreError::Store(StoreError::Conflict { .. } | StoreError::Invalid(_))) => Err(refused),
                        other => other,
                    };
                }
                Err(refused) => return Err(refused),
            };
            let mut answered = submit.clone();
            answered.messages = said.messages.into_iter().chain(answered.messages).collect();
            answered.client_tools = submit.client_tools.clone().or(Some(said.tools));
            match self.accept(scope, answered, Some(said.after)).await {
                // Somebody else was first: perhaps with the same answer, perhaps with something else to say.
                Err(CoreError::Store(StoreError::Conflict { .. })) if tries < ANSWER_TRIES => {}
                Err(CoreError::Store(StoreError::Conflict { .. })) => {
                    return Err(CoreError::CallOver { call: submit.answers[0].call_id.clone() });
                }
                other => return other,
            }
        }
    }

    async fn accept(&self, scope: &Scope, submit: Submit, only_after: Option<Seq>) -> Result<Submitted, CoreError> {
        let config = &self.inner.config;
        let accept = Accept {
            run: RunId::new(),
            conversation: submit.conversation,
            messages: submit.messages,
            idempotency: submit.idempotency,
            limits: submit.limits.unwrap_or(config.limits),
            priority: Priority::User,
            client_tools: submit.client_tools.unwrap_or_default(),
            only_after,
            on_busy: submit.on_busy,
            queue_depth: config.queue_depth,
            claim_for: None,
        };
        let accepted = self.take_in(scope, accept).await?;
        if submit.on_busy == OnBusy::Interrupt {
            for run in self.inner.store.runs(scope, accepted.run.conversation, 10).await? {
                if run.cancel_requested {
                    self.inner.active.stop(run.id);
                }
            }
        }
        Ok(Submitted { run: accepted.run, replayed: accepted.replayed })
    }

    /// Stores a stimulus. Its run begins here at once where there is a place for it.
    pub(crate) async fn take_in(&self, scope: &Scope, accept: Accept) -> Result<Accepted, StoreError> {
        let config = &self.inner.config;
        // Held until the run has entered the table, so that many that arrive at once do not all see the same free place.
        let place = self.inner.active.place(scope.tenant(), self.inner.room());
        let claim_for = place.as_ref().map(|_| (config.worker, config.lease_ttl));
        crash_point!("accept.before");
        let mut accepted = self.inner.store.accept(scope, Accept { claim_for, ..accept }).await?;
        crash_point!("accept.after");
        match (accepted.lease.take(), place) {
            (Some(lease), _) => self.spawn_run(lease),
            (None, None) => self.inner.active.wait_for_place(scope.tenant(), self.inner.room()),
            (None, Some(_)) => {}
        }
        Ok(accepted)
    }

    /// Works on a claimed conversation until nothing waits in it.
    pub(crate) fn spawn_run(&self, lease: Lease) {
        // Entered before its task begins, so that whoever waits for it need not look at the store.
        self.inner.active.enter(&lease);
        self.inner.tasks.spawn(driver::drive(self.clone(), lease));
    }

    /// Waits until the run has ended, at most `limit`; answers it as it is then.
    pub async fn wait(&self, scope: &Scope, run: RunId, limit: Duration) -> Result<Run, CoreError> {
        Ok(self.wait_until(scope, run, tokio::time::Instant::now() + limit).await?.run)
    }

    /// [`wait`](Self::wait) for what `scope` has just submitted, with the run's messages where they are at hand.
    pub async fn end_of(&self, scope: &Scope, submitted: &Submitted, limit: Duration) -> Result<RunEnd, CoreError> {
        let run = submitted.run.id;
        let deadline = tokio::time::Instant::now() + limit;
        // The scope has been checked, and a run that is under way here has not ended: no look at the store is needed.
        let ended_here = self.inner.active.subscribe(run);
        if self.inner.active.contains(run)
            && let Ok(Ok(end)) = tokio::time::timeout(limit.min(Duration::from_secs(1)), ended_here).await
        {
            return Ok(end);
        }
        self.wait_until(scope, run, deadline).await
    }

    pub(crate) async fn wait_until(&self, scope: &Scope, run: RunId, deadline: tokio::time::Instant) -> Result<RunEnd, CoreError> {
        loop {
            // Subscribed before the look at the store, so that an end in between is not missed.
            let ended_here = self.inner.active.subscribe(run);
            let now = self.inner.store.run(scope, run).await;
            if !matches!(&now, Ok(run) if !run.status.is_terminal()) {
                drop(ended_here);
                self.inner.active.unsubscribe(run);
                return Ok(RunEnd { run: now?, messages: None });
            }
            // Another replica may be the one that runs it: look again every second.
            let pause = tokio::time::sleep_until(deadline.min(tokio::time::Instant::now() + Duration::from_secs(1)));
            tokio::select! {
                biased;
                Ok(end) = ended_here => return Ok(end),
                () = pause => if tokio::time::Instant::now() >= deadline {
                    self.inner.active.unsubscribe(run);
                    return Ok(RunEnd { run: now?, messages: None });
                },
            }
        }
    }

    /// Asks a run to stop; it ends at its next step, or while its model answers.
    pub async fn cancel(&self, scope: &Scope, run: RunId) -> Result<Run, CoreError> {
        crash_point!("cancel.before");
        let run = self.inner.store.cancel(scope, run).await?;
        crash_point!("cancel.after");
        self.inner.active.stop(run.id);
        Ok(run)
    }

    /// The ranking that a turn recalls by, within what the scope sees.
    pub async fn search(&self, scope: &Scope, request: &SearchRequest) -> Result<SearchResponse, CoreError> {
        if !request.wait_for_index.is_zero() {
            self.index(scope, request.wait_for_index).await?;
        }
        search::search(&self.inner, scope, request).await
    }

    /// A prompt, part by part.
    pub async fn context(&self, scope: &Scope, conversation: ConversationId, which: ContextOf) -> Result<PromptView, CoreError> {
        context::view(&self.inner, scope, conversation, which).await
    }

    /// Whether every agent has a tool of this name.
    #[must_use]
    pub fn has_tool(&self, name: &str) -> bool {
        self.inner.tools.effect(name).is_some()
    }

    /// Forgets a conversation, a user or an agent with all that derives from it; answers what was erased.
    pub async fn erase(&self, scope: &Scope, target: EraseTarget) -> Result<Receipt, CoreError> {
        crash_point!("erase.before");
        // First what tells of what was said in it: after a crash in between it is there to be erased again. An idle one is let alone: those go idle
        // by themselves.
        let mut receipt = Receipt::default();
        if let EraseTarget::Conversation(id) = target {
            let store = &*self.inner.store;
            for work in colleague::work_for(store, scope, id).await?.into_iter().rev() {
                match store.erase(scope, EraseTarget::Conversation(work)).await {
                    Ok(erased) => receipt += erased,
                    Err(StoreError::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        // An agent leaves its egos first, too: once it is gone, nothing tells that it has to.
        if let EraseTarget::Agent(agent) = target {
            self.leave_egos(scope, agent).await?;
        }
        let known = self.before_erasure(scope, target).await?;
        receipt += self.inner.store.erase(scope, target).await?;
        crash_point!("erase.after");
        self.after_erasure(scope, known).await;
        self.inner.egos.forget_all();
        match target {
            EraseTarget::Conversation(id) | EraseTarget::Idle { conversation: id, .. } => self.inner.prepared.forget(id),
            EraseTarget::User(_) | EraseTarget::Agent(_) => self.inner.prepared.forget_all(),
        }
        Ok(receipt)
    }

    /// Tells the background that there is something to embed.
    pub fn memory_changed(&self) {
        self.inner.new_memory.notify_one();
    }

    /// Number of runs under way in this process.
    #[must_use]
    pub fn active_runs(&self) -> usize {
        self.inner.active.len()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Relaxed)
    }

    /// Stops claiming and accepting, lets runs end for at most `limit`, then hands the rest back at a step boundary.
    pub async fn drain(&self, limit: Duration) {
        crash_point!("drain.begin");
        self.inner.draining.store(true, Ordering::Relaxed);
        self.inner.new_memory.notify_waiters();
        self.inner.timers.changed.notify_one();
        self.inner.library.brought.notify_one();
        self.inner.tasks.close();
        if tokio::time::timeout(limit, self.inner.tasks.wait()).await.is_err() {
            for lease in self.inner.active.leases() {
                crash_point!("release.before");
                let _ = self.inner.store.release(&lease).await;
                crash_point!("release.after");
                self.inner.active.stop(lease.run);
            }
        }
        crash_point!("drain.end");
    }
}
