//! The one store, with a watch over who writes, and with a bug if one is planted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use sid_store::{
    Accept, Accepted, Candidates, Capability, Commit, Committed, EventLog, InProcess, Lease, Loaded, MemorySearch, Order, RecallStore,
    Renewed, SearchQuery, StateStore, StoreError,
};
use sid_types::{
    AgentId, ConversationId, Event, EventBody, Message, MessageId, NewMessage, Run, RunId, RunStatus, Scope, Seq, Step, Timestamp, Usage,
    WorkerId,
};

use super::dice::Dice;
use super::people::People;
use crate::checker;

/// A bug to be planted in the store: the simulation must find each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A sound store.
    None,
    /// A commit ignores the epoch.
    DropsTheFence,
    /// Some messages are acknowledged although their write was dropped.
    AcknowledgesBeforeTheCommit,
    /// Reads ignore the tenant.
    SkipsTheTenant,
    /// Events are read again from before the number that the reader has seen.
    RepeatsEventsOnResume,
    /// Idempotency keys are not stored.
    ForgetsIdempotencyKeys,
}

impl Bug {
    /// All that can be planted.
    pub const ALL: [Self; 5] = [
        Self::DropsTheFence,
        Self::AcknowledgesBeforeTheCommit,
        Self::SkipsTheTenant,
        Self::RepeatsEventsOnResume,
        Self::ForgetsIdempotencyKeys,
    ];
}

/// The reference store behind a watch.
pub(super) struct Watched {
    bug: Bug,
    truth: Arc<InProcess>,
    dice: Dice,
    tenants: Vec<Scope>,
    /// The newest lease of each conversation.
    leases: Mutex<HashMap<ConversationId, Lease>>,
    writes: Mutex<Vec<checker::Write>>,
}

crate::delegate_store!(Watched, truth: ArchivalStore, EmbeddingIndex, BlockStore, ItemStore, TimerStore, ToolsetStore, EgoStore, TaskStore, ImageStore, ApprovalStore, WebhookStore, DiaryStore, Directory, DocumentStore, AuditLog, Eraser, UsageStore, Duties, Generations, Maintenance);

impl Watched {
    pub(super) fn new(bug: Bug, truth: Arc<InProcess>, dice: Dice, people: &People) -> Self {
        let tenants = people.tenants.iter().map(|t| t.scope).collect();
        Self { bug, truth, dice, tenants, leases: Mutex::default(), writes: Mutex::default() }
    }

    /// The store as it is, without the bug.
    pub(super) fn truth(&self) -> &InProcess {
        &self.truth
    }

    /// Writes that changed something, in order.
    pub(super) fn writes(&self) -> Vec<checker::Write> {
        self.writes.lock().clone()
    }

    fn wrote(&self, lease: &Lease) {
        self.writes.lock().push(checker::Write { conversation: lease.conversation.to_string(), epoch: lease.epoch });
    }

    /// A conversation was claimed: what an older epoch writes from now on is wrong.
    fn claimed<'a>(&self, leases: impl IntoIterator<Item = &'a Lease>) {
        for lease in leases {
            self.wrote(lease);
            self.leases.lock().insert(lease.conversation, lease.clone());
        }
    }

    /// The lease as the store takes it.
    fn taken(&self, lease: &Lease) -> Lease {
        let newest = self.leases.lock().get(&lease.conversation).filter(|newest| newest.run == lease.run).cloned();
        newest.filter(|_| self.bug == Bug::DropsTheFence).unwrap_or_else(|| lease.clone())
    }

    /// The scopes that a read looks in.
    fn scopes(&self, scope: &Scope) -> Vec<Scope> {
        let others = self.tenants.iter().filter(|_| self.bug == Bug::SkipsTheTenant).filter(|t| t.tenant() != scope.tenant());
        std::iter::once(*scope).chain(others.copied()).collect()
    }
}

#[async_trait]
impl StateStore for Watched {
    async fn accept(&self, scope: &Scope, mut accept: Accept) -> Result<Accepted, StoreError> {
        if self.bug == Bug::AcknowledgesBeforeTheCommit && self.dice.chance(0.05) {
            return Ok(promised(&accept));
        }
        if self.bug == Bug::ForgetsIdempotencyKeys {
            accept.idempotency = None;
        }
        let accepted = self.truth.accept(scope, accept).await?;
        self.claimed(&accepted.lease);
        Ok(accepted)
    }

    async fn claim(&self, worker: WorkerId, want: usize, per_tenant: usize, ttl: Duration) -> Result<Vec<Lease>, StoreError> {
        let leases = self.truth.claim(worker, want, per_tenant, ttl).await?;
        self.claimed(&leases);
        Ok(leases)
    }

    async fn renew(&self, leases: &[Lease], ttl: Duration) -> Result<Vec<Renewed>, StoreError> {
        self.truth.renew(leases, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.truth.release(lease).await
    }

    async fn load(&self, lease: &Lease) -> Result<Loaded, StoreError> {
        self.truth.load(&self.taken(lease)).await
    }

    async fn commit(&self, lease: &Lease, commit: Commit) -> Result<Committed, StoreError> {
        // A repetition writes nothing. Nobody comes between the two looks: the reference store never waits.
        let commits = async || self.truth.run(&lease.scope, lease.run).await.map_or(0, |run| run.commits);
        let before = commits().await;
        let committed = self.truth.commit(&self.taken(lease), commit).await?;
        if commits().await > before {
            self.wrote(lease);
            self.claimed(&committed.next);
        }
        Ok(committed)
    }

    async fn run(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError> {
        self.truth.run(scope, run).await
    }

    async fn runs(&self, scope: &Scope, conversation: ConversationId, limit: usize) -> Result<Vec<Run>, StoreError> {
        self.truth.runs(scope, conversation, limit).await
    }

    async fn steps(&self, scope: &Scope, run: RunId) -> Result<Vec<Step>, StoreError> {
        self.truth.steps(scope, run).await
    }

    async fn cancel(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError> {
        self.truth.cancel(scope, run).await
    }

    async fn is_cancel_requested(&self, lease: &Lease) -> Result<bool, StoreError> {
        self.truth.is_cancel_requested(&self.taken(lease)).await
    }

    async fn waiting_messages(&self, scope: &Scope, run: RunId) -> Result<Vec<MessageId>, StoreError> {
        self.truth.waiting_messages(scope, run).await
    }
}

#[async_trait]
impl EventLog for Watched {
    async fn append_events(&self, lease: &Lease, events: Vec<EventBody>) -> Result<Vec<Event>, StoreError> {
        let written = self.truth.append_events(&self.taken(lease), events).await?;
        self.wrote(lease);
        Ok(written)
    }

    async fn events(&self, scope: &Scope, run: RunId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let after = if self.bug == Bug::RepeatsEventsOnResume { after.saturating_sub(1) } else { after };
        self.truth.events(scope, run, after, limit).await
    }

    async fn follow(&self, scope: &Scope, run: RunId, after: u64, wait: Duration) -> Result<Vec<Event>, StoreError> {
        self.truth.follow(scope, run, after, wait).await
    }
}

#[async_trait]
impl MemorySearch for Watched {
    fn capability(&self) -> Capability {
        self.truth.capability()
    }

    async fn search(&self, scope: &Scope, query: &SearchQuery) -> Result<Candidates, StoreError> {
        let mut found = Candidates::default();
        for scope in self.scopes(scope) {
            let part = self.truth.search(&scope, query).await?;
            let items = [found.items, part.items].concat();
            found = Candidates { items, searched: found.searched + part.searched, ..part };
        }
        Ok(found)
    }
}

#[async_trait]
impl RecallStore for Watched {
    async fn append(&self, scope: &Scope, conversation: ConversationId, messages: Vec<NewMessage>) -> Result<Vec<Message>, StoreError> {
        self.truth.append(scope, conversation, messages).await
    }

    async fn page(
        &self,
        scope: &Scope,
        conversation: ConversationId,
        from: Option<Seq>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        let mut page = Err(StoreError::NotFound { what: "conversation" });
        for scope in self.scopes(scope) {
            page = self.truth.page(&scope, conversation, from, order, limit).await;
            if page.is_ok() {
                break;
            }
        }
        page
    }

    async fn message(&self, scope: &Scope, message: MessageId) -> Result<Message, StoreError> {
        self.truth.message(scope, message).await
    }
}

/// What a store says that has not written anything.
fn promised(accept: &Accept) -> Accepted {
    let run = Run {
        id: accept.run,
        conversation: accept.conversation,
        agent: AgentId::new(),
        status: RunStatus::Queued,
        stop_reason: None,
        error: None,
        limits: accept.limits,
        priority: accept.priority,
        client_tools: accept.client_tools.clone(),
        steps: 0,
        usage: Usage::default(),
        commits: 0,
        cancel_requested: false,
        stimulus: accept.messages.iter().map(|m| m.id).collect(),
        created_at: Timestamp::UNIX_EPOCH,
        started_at: None,
        ended_at: None,
    };
    Accepted { run, replayed: false, lease: None }
}
