//! The suite can fail: each planted bug is found by the checks that are meant to find it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::civil::Date;
use parking_lot::Mutex;
use sid_store::{
    Accept, Accepted, ApprovalFilter, ApprovalStore, ArchivalStore, AuditEntry, AuditFilter, AuditLog, Candidates, Capability, Commit,
    Committed, Decide, DecidedApproval, DiaryQuery, DiaryStore, DiaryWork, Directory, DocumentFilter, DocumentStore, DueDeliveries,
    DueTimers, Effect, EgoStore, EmbeddingIndex, EraseTarget, Eraser, EventLog, FinishDelivery, Firing, GenerationId, ImageCaps,
    ImageFilter, ImageStore, InProcess, ItemFilter, ItemStore, ItemWrite, Lease, Loaded, MemorySearch, NewDocument, Order, Page,
    PageRequest, Reading, RecallStore, Receipt, Renewed, Reserve, Reserved, SearchQuery, SeenItem, SelfBegunUse, StateStore, Store,
    StoreError, TakeDeliveries, TaskFilter, TaskStore, TenantLimits, TimerFilter, TimerStore, TokenUse, ToolsetStore, UnreadDocument,
    UsageStore, WebhookStore, Written,
};
use sid_testkit::conformance::{self, Fixture};
use sid_types::{
    Agent, AgentId, Approval, ApprovalId, ConversationId, Delivery, DeliveryId, DeliveryState, DiaryEntry, Document, DocumentId, Ego,
    EgoSpec, Image, ImageId, ItemId, KeyId, ManualClock, Message, MessageId, NewMessage, NewPassage, OperatorScope, Owner, Passage,
    PassageId, Principal, Priority, Provenance, Run, RunId, Scope, Seq, Share, ShareLevel, Sharee, Step, Task, TaskId, Tenant, TenantId,
    Timer, TimerId, Timestamp, Toolset, ToolsetSpec, Webhook, WebhookEvent, WebhookId, WebhookState, WorkerId,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    IgnoresTheFence,
    SkipsTheTenantInSearch,
    SkipsTheUserInSearch,
    LosesTheLastMessageOfACommit,
    AppliesARepeatedCommitAgain,
    ForgetsIdempotencyKeys,
    AcceptsWithoutAQueue,
    AcceptsAnywhere,
    ForgetsToolsOfCallers,
    PagesIncludeTheirStart,
    InsertsOverWhatIsThere,
    DeletesNothing,
    ErasesHalf,
    MixesGenerations,
    FollowsNothing,
    TellsForeignFromRandom,
    SaysThatItIsDurable,
    GrantsAnyReservation,
    CountsStepsOfOthers,
    ClaimsBeyondTheShare,
    WritesItemsUnseen,
    WritesItemsOneByOne,
    LetsAssistantsShare,
    ListsItemsWithGaps,
    ListsBodies,
    TellsTurnsOfTheLog,
    ForgetsEntriesOfOthers,
    TellsPeopleOfToolsets,
    LetsTurnsPutEgos,
    PutsEgosOverAnyVersion,
    TellsTurnsOfThemselvesAlone,
    PutsToolsetsOverAnyVersion,
    ApprovesAgain,
    BeginsEveryTaskAtOnce,
    ChangesTasksOfAnyVersion,
    LetsAgentsApprove,
    StrandsTasksWhoseRunIsMissing,
    TellsEverybodyOfTasks,
    TellsOthersOfApprovals,
    FiresTimersOfAnyVersion,
    FiresBesideTheTimer,
    HoldsNoTimers,
    KeepsTimersOfTheErased,
    KnowsNoPriorities,
    CountsNothingThatAgentsBegin,
    TriesPagesOnce,
    ForgetsSourcesOfPages,
    ForgetsSourcesOfTimers,
    SettlesAnyVersion,
    KeepsOldParts,
    TakesWhatIsHeld,
    KeepsTheSameBytesTwice,
    TellsOthersOfDocuments,
    ShowsImagesToAnybody,
    CountsImagesBlindly,
    KeepsImagesOfTheErased,
    TellsBesideTheCommit,
    HoldsNoDeliveries,
    EndsAnyAttempt,
    ForgetsTheOrder,
    TellsOthersOfWebhooks,
    SendsToTheDisabled,
}

/// The reference store with one bug.
struct Planted {
    bug: Bug,
    inner: Arc<InProcess>,
    /// The newest lease of each conversation.
    leases: Mutex<HashMap<ConversationId, Lease>>,
    /// The bytes of every image that was kept and not dropped by its owner.
    pictures: Mutex<HashMap<ImageId, Vec<u8>>>,
}

sid_testkit::delegate_store!(Planted, inner: BlockStore, Directory, Duties, Generations, Maintenance);

/// The scope of a tenant's application.
fn whole(tenant: &Tenant) -> Scope {
    OperatorScope::grant().enter(tenant.id, KeyId::new())
}

impl Planted {
    fn new(bug: Bug, clock: Arc<ManualClock>) -> Self {
        Self { bug, inner: Arc::new(InProcess::new(clock)), leases: Mutex::default(), pictures: Mutex::default() }
    }

    fn remember<'a>(&self, leases: impl IntoIterator<Item = &'a Lease>) {
        let mut known = self.leases.lock();
        for lease in leases {
            known.insert(lease.conversation, lease.clone());
        }
    }

    /// The lease as the buggy store takes it.
    fn taken(&self, lease: &Lease) -> Lease {
        let newest = self.leases.lock().get(&lease.conversation).filter(|newest| newest.run == lease.run).cloned();
        newest.filter(|_| self.bug == Bug::IgnoresTheFence).unwrap_or_else(|| lease.clone())
    }
}

#[async_trait]
impl StateStore for Planted {
    async fn accept(&self, scope: &Scope, mut accept: Accept) -> Result<Accepted, StoreError> {
        match self.bug {
            Bug::ForgetsIdempotencyKeys => accept.idempotency = None,
            Bug::AcceptsWithoutAQueue => accept.queue_depth = usize::MAX,
            Bug::AcceptsAnywhere => {
                let talk = self.inner.conversation(scope, accept.conversation).await?;
                accept.only_after = accept.only_after.map(|_| talk.last_seq);
            }
            Bug::ForgetsToolsOfCallers => accept.client_tools.clear(),
            _ => {}
        }
        let priority = accept.priority;
        if self.bug == Bug::KnowsNoPriorities {
            accept.priority = Priority::User;
        }
        let mut accepted = self.inner.accept(scope, accept).await?;
        accepted.run.priority = priority;
        self.remember(&accepted.lease);
        Ok(accepted)
    }

    async fn claim(&self, worker: WorkerId, want: usize, per_tenant: usize, ttl: Duration) -> Result<Vec<Lease>, StoreError> {
        let per_tenant = if self.bug == Bug::ClaimsBeyondTheShare { usize::MAX } else { per_tenant };
        let leases = self.inner.claim(worker, want, per_tenant, ttl).await?;
        self.remember(&leases);
        Ok(leases)
    }

    async fn renew(&self, leases: &[Lease], ttl: Duration) -> Result<Vec<Renewed>, StoreError> {
        self.inner.renew(leases, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner.release(lease).await
    }

    async fn load(&self, lease: &Lease) -> Result<Loaded, StoreError> {
        self.inner.load(&self.taken(lease)).await
    }

    async fn commit(&self, lease: &Lease, mut commit: Commit) -> Result<Committed, StoreError> {
        let lease = self.taken(lease);
        let appended = |commit: &mut Commit, change: &dyn Fn(&mut Vec<NewMessage>)| {
            for effect in &mut commit.effects {
                if let Effect::Append(messages) = effect {
                    change(messages);
                }
            }
        };
        match self.bug {
            Bug::LosesTheLastMessageOfACommit => appended(&mut commit, &|messages| drop(messages.pop())),
            Bug::AppliesARepeatedCommitAgain => {
                let done = self.inner.run(&lease.scope, lease.run).await?.commits;
                if (1..=done).contains(&commit.number) {
                    commit.number = done + 1;
                    appended(&mut commit, &|messages| messages.iter_mut().for_each(|m| m.id = MessageId::new()));
                    commit.effects.retain(|e| matches!(e, Effect::Append(_) | Effect::Events(_)));
                }
            }
            _ => {}
        }
        // A transaction of its own for what is told: it stays when the commit fails.
        if self.bug == Bug::TellsBesideTheCommit && commit.effects.iter().any(|e| matches!(e, Effect::Finish { .. })) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            let scope = tenants.iter().find(|tenant| tenant.id == lease.scope.tenant()).map_or(lease.scope, whole);
            for webhook in self.inner.webhooks(&scope).await?.iter().filter(|w| w.hears(WebhookEvent::RunCompleted)) {
                self.inner.test_webhook(&scope, webhook.id, DeliveryId::new()).await?;
            }
        }
        let committed = self.inner.commit(&lease, commit).await?;
        self.remember(&committed.next);
        Ok(committed)
    }

    async fn run(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError> {
        self.inner.run(scope, run).await
    }

    async fn runs(&self, scope: &Scope, conversation: ConversationId, limit: usize) -> Result<Vec<Run>, StoreError> {
        self.inner.runs(scope, conversation, limit).await
    }

    async fn steps(&self, scope: &Scope, run: RunId) -> Result<Vec<Step>, StoreError> {
        self.inner.steps(scope, run).await
    }

    async fn cancel(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError> {
        self.inner.cancel(scope, run).await
    }

    async fn is_cancel_requested(&self, lease: &Lease) -> Result<bool, StoreError> {
        self.inner.is_cancel_requested(lease).await
    }

    async fn waiting_messages(&self, scope: &Scope, run: RunId) -> Result<Vec<MessageId>, StoreError> {
        self.inner.waiting_messages(scope, run).await
    }
}

#[async_trait]
impl MemorySearch for Planted {
    fn capability(&self) -> Capability {
        let durable = self.bug == Bug::SaysThatItIsDurable;
        Capability { durable, ..self.inner.capability() }
    }

    async fn search(&self, scope: &Scope, query: &SearchQuery) -> Result<Candidates, StoreError> {
        let mut query = query.clone();
        if let (Bug::MixesGenerations, Some(vector)) = (self.bug, &mut query.vector) {
            vector.generation = GenerationId("the one and only".into());
        }
        let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
        let scopes: Vec<Scope> = match self.bug {
            Bug::SkipsTheTenantInSearch => tenants.iter().map(whole).collect(),
            Bug::SkipsTheUserInSearch => tenants.iter().filter(|t| t.id == scope.tenant()).map(whole).collect(),
            _ => vec![*scope],
        };
        let mut found = Candidates::default();
        for scope in scopes {
            let part = self.inner.search(&scope, &query).await?;
            let items = [found.items, part.items].concat();
            found = Candidates { items, searched: found.searched + part.searched, ..part };
        }
        Ok(found)
    }
}

#[async_trait]
impl EmbeddingIndex for Planted {
    async fn pending(&self, generation: &GenerationId, limit: usize) -> Result<Vec<sid_store::EmbedJob>, StoreError> {
        self.inner.pending(&self.generation(generation), limit).await
    }

    async fn put_vectors(&self, generation: &GenerationId, vectors: Vec<sid_store::NewVectors>) -> Result<(), StoreError> {
        self.inner.put_vectors(&self.generation(generation), vectors).await
    }

    async fn index_status(
        &self,
        scope: &Scope,
        generation: &GenerationId,
        owner: Option<Owner>,
    ) -> Result<sid_store::IndexStatus, StoreError> {
        self.inner.index_status(scope, &self.generation(generation), owner).await
    }
}

impl Planted {
    fn generation(&self, asked: &GenerationId) -> GenerationId {
        if self.bug == Bug::MixesGenerations { GenerationId("the one and only".into()) } else { asked.clone() }
    }
}

#[async_trait]
impl RecallStore for Planted {
    async fn append(&self, scope: &Scope, conversation: ConversationId, messages: Vec<NewMessage>) -> Result<Vec<Message>, StoreError> {
        self.inner.append(scope, conversation, messages).await
    }

    async fn page(
        &self,
        scope: &Scope,
        conversation: ConversationId,
        from: Option<Seq>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        let from = if self.bug == Bug::PagesIncludeTheirStart && order == Order::Descending { from.map(Seq::next) } else { from };
        let page = self.inner.page(scope, conversation, from, order, limit).await;
        if self.bug == Bug::TellsForeignFromRandom && page.is_err() {
            for tenant in self.inner.tenants(&OperatorScope::grant()).await? {
                if self.inner.conversation(&whole(&tenant), conversation).await.is_ok() {
                    return Err(StoreError::Invalid("you may not read this".into()));
                }
            }
        }
        page
    }

    async fn message(&self, scope: &Scope, message: MessageId) -> Result<Message, StoreError> {
        self.inner.message(scope, message).await
    }
}

#[async_trait]
impl ArchivalStore for Planted {
    async fn upsert(&self, scope: &Scope, passages: Vec<NewPassage>) -> Result<Vec<Passage>, StoreError> {
        self.inner.upsert(scope, passages).await
    }

    async fn insert(&self, scope: &Scope, passage: NewPassage) -> Result<Passage, StoreError> {
        match self.inner.insert(scope, passage.clone()).await {
            Err(StoreError::Exists { .. }) if self.bug == Bug::InsertsOverWhatIsThere => {
                self.inner.upsert(scope, vec![passage]).await.map(|mut stored| stored.remove(0))
            }
            done => done,
        }
    }

    async fn list(&self, scope: &Scope, owner: Owner, page: PageRequest) -> Result<Page<Passage>, StoreError> {
        self.inner.list(scope, owner, page).await
    }

    async fn passage(&self, scope: &Scope, passage: PassageId) -> Result<Passage, StoreError> {
        self.inner.passage(scope, passage).await
    }

    async fn delete(&self, scope: &Scope, passages: &[PassageId]) -> Result<u64, StoreError> {
        if self.bug == Bug::DeletesNothing { Ok(passages.len() as u64) } else { self.inner.delete(scope, passages).await }
    }
}

#[async_trait]
impl Eraser for Planted {
    async fn erase(&self, scope: &Scope, target: EraseTarget) -> Result<Receipt, StoreError> {
        let kept = if self.bug == Bug::ErasesHalf && scope.is_tenant_wide() {
            self.inner.list(scope, Owner::Tenant, PageRequest { after: None, limit: 100 }).await?.items
        } else {
            Vec::new()
        };
        let mut timers = Vec::new();
        if self.bug == Bug::KeepsTimersOfTheErased {
            timers = self.inner.timers(scope, &TimerFilter::default(), PageRequest { after: None, limit: 100 }).await?.items;
        }
        let receipt = self.inner.erase(scope, target).await?;
        for timer in timers.into_iter().rev() {
            // What is still there is not made again, and whose person is gone cannot be.
            let _ = self.inner.create_timer(scope, Timer { conversation: None, ..timer }, 100).await;
        }
        let again = |p: Passage| NewPassage { id: p.id, owner: p.owner, text: p.text, tags: p.tags, at: p.at, provenance: p.provenance };
        self.inner.upsert(scope, kept.into_iter().map(again).collect()).await?;
        Ok(receipt)
    }
}

#[async_trait]
impl UsageStore for Planted {
    async fn limits(&self, tenant: TenantId) -> Result<TenantLimits, StoreError> {
        self.inner.limits(tenant).await
    }

    async fn set_limits(&self, operator: &OperatorScope, tenant: TenantId, limits: TenantLimits) -> Result<(), StoreError> {
        self.inner.set_limits(operator, tenant, limits).await
    }

    async fn add_requests(&self, requests: &[(TenantId, u64)]) -> Result<Vec<u64>, StoreError> {
        self.inner.add_requests(requests).await
    }

    async fn reserve(&self, lease: &Lease, reserve: Reserve) -> Result<Reserved, StoreError> {
        let no_limit = Reserve { per_day: 0, per_month: 0, ..reserve };
        self.inner.reserve(lease, if self.bug == Bug::GrantsAnyReservation { no_limit } else { reserve }).await
    }

    async fn unreserve(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner.unreserve(lease).await
    }

    async fn self_begun(&self, scope: &Scope, agent: AgentId) -> Result<SelfBegunUse, StoreError> {
        let used = self.inner.self_begun(scope, agent).await?;
        let nothing = SelfBegunUse { now: used.now, ..SelfBegunUse::default() };
        Ok(if self.bug == Bug::CountsNothingThatAgentsBegin { nothing } else { used })
    }

    async fn token_use(&self, operator: &OperatorScope, tenant: TenantId) -> Result<TokenUse, StoreError> {
        let mut sum = self.inner.token_use(operator, tenant).await?;
        if self.bug == Bug::CountsStepsOfOthers {
            for other in self.inner.tenants(operator).await?.iter().filter(|t| t.id != tenant) {
                sum.day += self.inner.token_use(operator, other.id).await?.day;
            }
        }
        Ok(sum)
    }
}

#[async_trait]
impl EventLog for Planted {
    async fn append_events(&self, lease: &Lease, events: Vec<sid_types::EventBody>) -> Result<Vec<sid_types::Event>, StoreError> {
        self.inner.append_events(&self.taken(lease), events).await
    }

    async fn events(&self, scope: &Scope, run: RunId, after: u64, limit: usize) -> Result<Vec<sid_types::Event>, StoreError> {
        self.inner.events(scope, run, after, limit).await
    }

    async fn follow(&self, scope: &Scope, run: RunId, after: u64, wait: Duration) -> Result<Vec<sid_types::Event>, StoreError> {
        let wait = if self.bug == Bug::FollowsNothing { Duration::ZERO } else { wait };
        self.inner.follow(scope, run, after, wait).await
    }
}

#[async_trait]
impl ItemStore for Planted {
    async fn write_items(&self, scope: &Scope, mut writes: Vec<ItemWrite>) -> Result<Vec<Written>, StoreError> {
        if self.bug == Bug::WritesItemsUnseen {
            for write in &mut writes {
                if let ItemWrite::Change { expected_version, .. } | ItemWrite::Delete { expected_version, .. } = write {
                    *expected_version = None;
                }
            }
        }
        if self.bug == Bug::WritesItemsOneByOne {
            let mut written = Vec::new();
            for write in writes {
                written.extend(self.inner.write_items(scope, vec![write]).await?);
            }
            return Ok(written);
        }
        self.inner.write_items(scope, writes).await
    }

    async fn item(&self, scope: &Scope, item: ItemId) -> Result<SeenItem, StoreError> {
        self.inner.item(scope, item).await
    }

    async fn items(&self, scope: &Scope, filter: &ItemFilter, page: PageRequest) -> Result<Page<SeenItem>, StoreError> {
        let bodies = filter.bodies || self.bug == Bug::ListsBodies;
        let mut found = self.inner.items(scope, &ItemFilter { bodies, ..filter.clone() }, page).await?;
        if self.bug == Bug::ListsItemsWithGaps && found.next.is_some() && found.items.len() > 1 {
            found.items.swap_remove(0);
        }
        Ok(found)
    }

    async fn share_item(&self, scope: &Scope, item: ItemId, with: Sharee, level: Option<ShareLevel>) -> Result<(), StoreError> {
        let mut scope = *scope;
        if let (Bug::LetsAssistantsShare, Principal::Turn { .. }) = (self.bug, scope.principal()) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        self.inner.share_item(&scope, item, with, level).await
    }

    async fn shares(&self, scope: &Scope, item: ItemId) -> Result<Vec<Share>, StoreError> {
        self.inner.shares(scope, item).await
    }
}

#[async_trait]
impl ToolsetStore for Planted {
    async fn put_toolset(&self, scope: &Scope, name: &str, spec: ToolsetSpec, expected: Option<u64>) -> Result<Toolset, StoreError> {
        let expected = expected.filter(|_| self.bug != Bug::PutsToolsetsOverAnyVersion);
        self.inner.put_toolset(scope, name, spec, expected).await
    }

    async fn toolset(&self, scope: &Scope, name: &str) -> Result<Toolset, StoreError> {
        self.inner.toolset(scope, name).await
    }

    async fn toolsets(&self, scope: &Scope) -> Result<Vec<Toolset>, StoreError> {
        let mut scope = *scope;
        if let (Bug::TellsPeopleOfToolsets, Principal::User { .. }) = (self.bug, scope.principal()) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        self.inner.toolsets(&scope).await
    }

    async fn drop_toolset(&self, scope: &Scope, name: &str, expected: Option<u64>) -> Result<(), StoreError> {
        self.inner.drop_toolset(scope, name, expected).await
    }
}

#[async_trait]
impl EgoStore for Planted {
    async fn put_ego(&self, scope: &Scope, name: &str, spec: EgoSpec, expected: Option<u64>) -> Result<Ego, StoreError> {
        let expected = expected.filter(|_| self.bug != Bug::PutsEgosOverAnyVersion);
        let mut scope = *scope;
        if let (Bug::LetsTurnsPutEgos, Principal::Turn { .. }) = (self.bug, scope.principal()) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        self.inner.put_ego(&scope, name, spec, expected).await
    }

    async fn ego(&self, scope: &Scope, name: &str) -> Result<Ego, StoreError> {
        self.inner.ego(scope, name).await
    }

    async fn egos(&self, scope: &Scope) -> Result<Vec<Ego>, StoreError> {
        self.inner.egos(scope).await
    }

    async fn drop_ego(&self, scope: &Scope, name: &str, expected: Option<u64>) -> Result<(), StoreError> {
        self.inner.drop_ego(scope, name, expected).await
    }

    async fn roster(&self, scope: &Scope) -> Result<Vec<Agent>, StoreError> {
        let mut agents = self.inner.roster(scope).await?;
        if let (Bug::TellsTurnsOfThemselvesAlone, Principal::Turn { agent, .. }) = (self.bug, scope.principal()) {
            agents.retain(|a| a.id == agent);
        }
        Ok(agents)
    }
}

#[async_trait]
impl TaskStore for Planted {
    async fn create_task(&self, scope: &Scope, task: Task) -> Result<Task, StoreError> {
        self.inner.create_task(scope, task).await
    }

    async fn task(&self, scope: &Scope, task: TaskId) -> Result<Task, StoreError> {
        let mut scope = *scope;
        if self.bug == Bug::TellsEverybodyOfTasks {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        self.inner.task(&scope, task).await
    }

    async fn tasks(&self, scope: &Scope, filter: &TaskFilter, page: PageRequest) -> Result<Page<Task>, StoreError> {
        self.inner.tasks(scope, filter, page).await
    }

    async fn change_task(&self, scope: &Scope, mut task: Task) -> Result<Task, StoreError> {
        if self.bug == Bug::ChangesTasksOfAnyVersion {
            task.version = self.inner.task(scope, task.id).await?.version;
        }
        self.inner.change_task(scope, task).await
    }

    async fn due_tasks(&self, most: usize, per_tenant: usize) -> Result<Vec<(Scope, TaskId)>, StoreError> {
        let per_tenant = if self.bug == Bug::BeginsEveryTaskAtOnce { usize::MAX } else { per_tenant };
        let mut due = self.inner.due_tasks(most, per_tenant).await?;
        if self.bug == Bug::StrandsTasksWhoseRunIsMissing {
            let mut there = Vec::new();
            for (scope, id) in due {
                let run = self.inner.task(&scope, id).await?.work.run;
                if run.is_none() || self.inner.run(&scope, run.unwrap_or_else(RunId::new)).await.is_ok() {
                    there.push((scope, id));
                }
            }
            due = there;
        }
        Ok(due)
    }
}

#[async_trait]
impl DiaryStore for Planted {
    async fn diary(&self, scope: &Scope, owner: Owner, query: &DiaryQuery) -> Result<Vec<DiaryEntry>, StoreError> {
        self.inner.diary(scope, owner, query).await
    }

    async fn diary_work(&self, now: Timestamp, limit: usize) -> Result<Vec<DiaryWork>, StoreError> {
        self.inner.diary_work(now, limit).await
    }

    async fn redo_diary(&self, work: &DiaryWork, not_before: Timestamp) -> Result<(), StoreError> {
        if self.bug == Bug::TriesPagesOnce { Ok(()) } else { self.inner.redo_diary(work, not_before).await }
    }

    async fn day_messages(&self, scope: &Scope, owner: Owner, day: Date) -> Result<Vec<Message>, StoreError> {
        self.inner.day_messages(scope, owner, day).await
    }

    async fn put_diary(&self, scope: &Scope, mut entry: DiaryEntry) -> Result<(), StoreError> {
        if self.bug == Bug::ForgetsSourcesOfPages {
            entry.untrusted.clear();
        }
        self.inner.put_diary(scope, entry).await
    }
}

#[async_trait]
#[async_trait]
impl DocumentStore for Planted {
    async fn put_document(&self, scope: &Scope, mut new: NewDocument, most: u64) -> Result<Document, StoreError> {
        if self.bug == Bug::KeepsTheSameBytesTwice {
            new.digest = new.id.to_string();
        }
        self.inner.put_document(scope, new, most).await
    }

    async fn document(&self, scope: &Scope, document: DocumentId) -> Result<Document, StoreError> {
        let whole = whole_of(scope);
        self.inner.document(if self.bug == Bug::TellsOthersOfDocuments { &whole } else { scope }, document).await
    }

    async fn documents(&self, scope: &Scope, filter: &DocumentFilter, page: PageRequest) -> Result<Page<Document>, StoreError> {
        let whole = whole_of(scope);
        self.inner.documents(if self.bug == Bug::TellsOthersOfDocuments { &whole } else { scope }, filter, page).await
    }

    async fn document_content(&self, scope: &Scope, document: DocumentId) -> Result<Vec<u8>, StoreError> {
        self.inner.document_content(scope, document).await
    }

    async fn drop_document(&self, scope: &Scope, document: DocumentId) -> Result<(), StoreError> {
        self.inner.drop_document(scope, document).await
    }

    async fn take_documents(&self, want: usize, hold: Duration) -> Result<Vec<UnreadDocument>, StoreError> {
        self.inner.take_documents(want, if self.bug == Bug::TakesWhatIsHeld { Duration::ZERO } else { hold }).await
    }

    async fn settle_document(&self, scope: &Scope, document: DocumentId, version: u64, reading: Reading) -> Result<Document, StoreError> {
        let known = self.inner.document(scope, document).await?;
        if self.bug == Bug::SettlesAnyVersion && version != known.version {
            return Ok(known);
        }
        let old = if self.bug == Bug::KeepsOldParts { known.part_ids().collect() } else { Vec::new() };
        let mut kept = Vec::new();
        for part in old {
            kept.extend(self.inner.passage(scope, part).await.ok());
        }
        let settled = self.inner.settle_document(scope, document, version, reading).await?;
        let again = |p: Passage| {
            let provenance = Provenance { channel: "api".into(), ..p.provenance };
            NewPassage { id: PassageId::new(), owner: p.owner, text: p.text, tags: p.tags, at: p.at, provenance }
        };
        self.inner.upsert(scope, kept.into_iter().map(again).collect()).await?;
        Ok(settled)
    }
}

/// The scope of the application whose tenant it is.
fn whole_of(scope: &Scope) -> Scope {
    OperatorScope::grant().enter(scope.tenant(), KeyId::new())
}

#[async_trait]
impl TimerStore for Planted {
    async fn create_timer(&self, scope: &Scope, timer: Timer, most: u64) -> Result<Timer, StoreError> {
        let untrusted = if self.bug == Bug::ForgetsSourcesOfTimers { Vec::new() } else { timer.untrusted.clone() };
        self.inner.create_timer(scope, Timer { untrusted, ..timer }, most).await
    }

    async fn timer(&self, scope: &Scope, timer: TimerId) -> Result<Timer, StoreError> {
        self.inner.timer(scope, timer).await
    }

    async fn timers(&self, scope: &Scope, filter: &TimerFilter, page: PageRequest) -> Result<Page<Timer>, StoreError> {
        self.inner.timers(scope, filter, page).await
    }

    async fn put_timer(&self, scope: &Scope, timer: Timer) -> Result<Timer, StoreError> {
        self.inner.put_timer(scope, timer).await
    }

    async fn drop_timer(&self, scope: &Scope, timer: TimerId) -> Result<(), StoreError> {
        self.inner.drop_timer(scope, timer).await
    }

    async fn take_timers(&self, want: usize, hold: Duration) -> Result<DueTimers, StoreError> {
        let hold = if self.bug == Bug::HoldsNoTimers { Duration::ZERO } else { hold };
        self.inner.take_timers(want, hold).await
    }

    async fn fire_timer(&self, scope: &Scope, mut firing: Firing) -> Result<Option<Accepted>, StoreError> {
        match self.bug {
            Bug::FiresTimersOfAnyVersion => {
                let there = self.inner.timer(scope, firing.timer.id).await?;
                firing.timer.version = there.version;
                if let Some(accept) = &mut firing.accept {
                    accept.run = RunId::new();
                }
            }
            // The run in a transaction of its own, after the timer.
            Bug::FiresBesideTheTimer => {
                let accept = firing.accept.take();
                self.inner.fire_timer(scope, firing).await?;
                return match accept {
                    Some(accept) => self.inner.accept(scope, accept).await.map(Some),
                    None => Ok(None),
                };
            }
            _ => {}
        }
        self.inner.fire_timer(scope, firing).await
    }
}

#[async_trait]
impl ImageStore for Planted {
    async fn put_image(&self, scope: &Scope, image: Image, bytes: Vec<u8>) -> Result<Image, StoreError> {
        let kept = self.inner.put_image(scope, image, bytes.clone()).await?;
        self.pictures.lock().insert(kept.id, bytes);
        Ok(kept)
    }

    async fn image(&self, scope: &Scope, image: ImageId) -> Result<Image, StoreError> {
        self.inner.image(scope, image).await
    }

    async fn image_bytes(&self, scope: &Scope, image: ImageId) -> Result<Vec<u8>, StoreError> {
        let there = self.inner.image_bytes(scope, image).await;
        let is_open = match self.bug {
            Bug::ShowsImagesToAnybody => true,
            Bug::KeepsImagesOfTheErased => scope.is_tenant_wide(),
            _ => false,
        };
        let known = self.pictures.lock().get(&image).cloned();
        if is_open { there.or_else(|error| known.ok_or(error)) } else { there }
    }

    async fn images(&self, scope: &Scope, filter: &ImageFilter, page: PageRequest) -> Result<Page<Image>, StoreError> {
        self.inner.images(scope, filter, page).await
    }

    async fn drop_image(&self, scope: &Scope, image: ImageId) -> Result<(), StoreError> {
        self.inner.drop_image(scope, image).await?;
        self.pictures.lock().remove(&image);
        Ok(())
    }

    async fn count_images(&self, scope: &Scope, images: i64, caps: ImageCaps) -> Result<(), StoreError> {
        let most = ImageCaps { user: u64::MAX, tenant: u64::MAX };
        self.inner.count_images(scope, images, if self.bug == Bug::CountsImagesBlindly { most } else { caps }).await
    }
}

#[async_trait]
impl ApprovalStore for Planted {
    async fn approvals(&self, scope: &Scope, filter: &ApprovalFilter, page: PageRequest) -> Result<Page<Approval>, StoreError> {
        let mut scope = *scope;
        if let (Bug::TellsOthersOfApprovals, Principal::User { .. }) = (self.bug, scope.principal()) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        self.inner.approvals(&scope, filter, page).await
    }

    async fn approval(&self, scope: &Scope, approval: ApprovalId) -> Result<Approval, StoreError> {
        self.inner.approval(scope, approval).await
    }

    async fn decide(&self, scope: &Scope, decide: Decide) -> Result<DecidedApproval, StoreError> {
        let mut scope = *scope;
        if let (Bug::LetsAgentsApprove, Principal::Turn { .. }) = (self.bug, scope.principal()) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        let again = decide.clone();
        let decided = self.inner.decide(&scope, decide).await?;
        if let (Bug::ApprovesAgain, None) = (self.bug, &decided.run) {
            let messages = vec![NewMessage::user("Approved.", decided.approval.asked_at)];
            let accept = Accept {
                run: again.run,
                conversation: decided.approval.conversation,
                messages,
                idempotency: None,
                limits: again.limits,
                priority: Priority::User,
                on_busy: sid_store::OnBusy::Queue,
                queue_depth: 256,
                claim_for: None,
                client_tools: Vec::new(),
                only_after: None,
            };
            self.inner.accept(&scope, accept).await?;
        }
        Ok(decided)
    }

    async fn expired_approvals(&self, most: usize) -> Result<Vec<(Scope, ApprovalId)>, StoreError> {
        self.inner.expired_approvals(most).await
    }
}

#[async_trait]
impl WebhookStore for Planted {
    async fn create_webhook(&self, scope: &Scope, webhook: Webhook, most: u64) -> Result<Webhook, StoreError> {
        self.inner.create_webhook(scope, webhook, most).await
    }

    async fn webhook(&self, scope: &Scope, webhook: WebhookId) -> Result<Webhook, StoreError> {
        let mut scope = *scope;
        if let (Bug::TellsOthersOfWebhooks, Principal::User { .. }) = (self.bug, scope.principal()) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        self.inner.webhook(&scope, webhook).await
    }

    async fn webhooks(&self, scope: &Scope) -> Result<Vec<Webhook>, StoreError> {
        self.inner.webhooks(scope).await
    }

    async fn put_webhook(&self, scope: &Scope, webhook: Webhook) -> Result<Webhook, StoreError> {
        let put = self.inner.put_webhook(scope, webhook).await?;
        // What waits for one that is disabled stays due.
        if self.bug == Bug::SendsToTheDisabled && put.state == WebhookState::Disabled {
            return self.inner.put_webhook(scope, Webhook { state: WebhookState::Enabled, ..put }).await;
        }
        Ok(put)
    }

    async fn drop_webhook(&self, scope: &Scope, webhook: WebhookId) -> Result<(), StoreError> {
        self.inner.drop_webhook(scope, webhook).await
    }

    async fn test_webhook(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError> {
        self.inner.test_webhook(scope, webhook, delivery).await
    }

    async fn deliveries(
        &self,
        scope: &Scope,
        webhook: WebhookId,
        state: Option<DeliveryState>,
        page: PageRequest,
    ) -> Result<Page<Delivery>, StoreError> {
        self.inner.deliveries(scope, webhook, state, page).await
    }

    async fn delivery(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError> {
        self.inner.delivery(scope, webhook, delivery).await
    }

    async fn redeliver(&self, scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Result<Delivery, StoreError> {
        self.inner.redeliver(scope, webhook, delivery).await
    }

    async fn take_deliveries(&self, mut take: TakeDeliveries) -> Result<DueDeliveries, StoreError> {
        match self.bug {
            Bug::HoldsNoDeliveries => take.hold = Duration::ZERO,
            Bug::ForgetsTheOrder => take.patience = 0,
            _ => {}
        }
        self.inner.take_deliveries(take).await
    }

    async fn finish_delivery(&self, scope: &Scope, mut finish: FinishDelivery) -> Result<(), StoreError> {
        if self.bug == Bug::EndsAnyAttempt {
            for webhook in self.inner.webhooks(scope).await? {
                if let Ok(delivery) = self.inner.delivery(scope, webhook.id, finish.delivery).await {
                    finish.attempt.number = delivery.attempts;
                }
            }
        }
        self.inner.finish_delivery(scope, finish).await
    }

    async fn forget_deliveries(&self, keep: Duration) -> Result<u64, StoreError> {
        self.inner.forget_deliveries(keep).await
    }
}

#[async_trait]
impl AuditLog for Planted {
    async fn record(&self, mut entries: Vec<AuditEntry>) -> Result<(), StoreError> {
        if self.bug == Bug::ForgetsEntriesOfOthers {
            let first = entries.first().and_then(|entry| entry.user);
            entries.retain(|entry| entry.user == first);
        }
        self.inner.record(entries).await
    }

    async fn audit(&self, scope: &Scope, filter: &AuditFilter, page: PageRequest) -> Result<Page<AuditEntry>, StoreError> {
        let mut scope = *scope;
        if let (Bug::TellsTurnsOfTheLog, Principal::Turn { .. }) = (self.bug, scope.principal()) {
            let tenants = self.inner.tenants(&OperatorScope::grant()).await?;
            scope = tenants.iter().find(|tenant| tenant.id == scope.tenant()).map_or(scope, whole);
        }
        self.inner.audit(&scope, filter, page).await
    }
}

/// Which of these checks fail.
fn failing(bug: Bug, names: &[&str]) -> Vec<String> {
    let mut failing = Vec::new();
    for name in names {
        let all = conformance::checks();
        let (_, _, check) = all.into_iter().find(|(_, check, _)| check == name).unwrap_or_else(|| panic!("there is no check `{name}`"));
        let open = async |clock: Arc<ManualClock>| {
            let planted = move || Arc::new(Planted::new(bug, Arc::clone(&clock)));
            Fixture::new(planted()).reopened_by(move |_| std::future::ready(planted() as Arc<dyn Store>))
        };
        if catch_unwind(AssertUnwindSafe(|| conformance::run(open, check))).is_err() {
            failing.push((*name).to_owned());
        }
    }
    failing
}

/// Asserts that each of these checks finds the bug, and that it is the bug that they find.
fn found_by(bug: Bug, names: &[&str]) {
    assert_eq!(failing(bug, names), names, "{bug:?} is not found");
    assert!(failing(Bug::None, names).is_empty(), "the wrapper itself is sound");
}

#[test]
fn a_store_without_priorities() {
    let names = ["users_go_before_what_agents_begin", "nothing_waits_for_ever", "work_is_claimed_by_its_turn"];
    found_by(Bug::KnowsNoPriorities, &names);
}

#[test]
fn a_store_that_does_not_count_what_agents_begin() {
    found_by(Bug::CountsNothingThatAgentsBegin, &["what_agents_begin_by_themselves_is_counted"]);
}

#[test]
fn a_store_that_tries_pages_once() {
    found_by(Bug::TriesPagesOnce, &["a_page_that_failed_is_made_again"]);
}

#[test]
fn a_store_that_ignores_the_fence() {
    found_by(Bug::IgnoresTheFence, &["a_replaced_worker_is_fenced_off", "a_replaced_worker_is_not_told_that_it_has_written"]);
    found_by(Bug::IgnoresTheFence, &["random_walks_keep_the_invariants"]);
}

#[test]
fn a_store_that_skips_the_tenant_in_search() {
    let names = ["another_tenant_gets_nothing", "everybody_sees_their_own_and_no_more", "random_walks_keep_the_invariants"];
    found_by(Bug::SkipsTheTenantInSearch, &names);
}

#[test]
fn a_store_that_skips_the_user_in_search() {
    let names = ["another_user_gets_nothing", "membership_is_in_force_at_once", "recall_belongs_to_the_pair"];
    found_by(Bug::SkipsTheUserInSearch, &names);
}

#[test]
fn a_store_that_loses_the_last_message_of_a_commit() {
    found_by(Bug::LosesTheLastMessageOfACommit, &["a_turns_messages_stay_together", "random_walks_keep_the_invariants"]);
}

#[test]
fn a_store_that_applies_a_repeated_commit_again() {
    found_by(Bug::AppliesARepeatedCommitAgain, &["a_repeated_commit_changes_nothing", "random_walks_keep_the_invariants"]);
}

#[test]
fn a_store_that_forgets_idempotency_keys() {
    let names = ["the_same_request_gets_the_same_run", "another_request_may_not_reuse_a_key", "repeating_at_once_makes_one_run"];
    found_by(Bug::ForgetsIdempotencyKeys, &names);
}

#[test]
fn a_store_without_a_queue_depth() {
    found_by(Bug::AcceptsWithoutAQueue, &["a_queue_has_a_depth"]);
}

#[test]
fn a_store_that_accepts_answers_anywhere() {
    found_by(Bug::AcceptsAnywhere, &["what_goes_on_after_a_message_is_accepted_once"]);
}

#[test]
fn a_store_that_forgets_tools_of_callers() {
    found_by(Bug::ForgetsToolsOfCallers, &["tools_of_a_caller_are_kept_with_the_run"]);
}

#[test]
fn a_store_whose_pages_include_their_start() {
    found_by(Bug::PagesIncludeTheirStart, &["pages_run_both_ways_from_any_place"]);
}

#[test]
fn a_store_that_deletes_nothing() {
    found_by(Bug::DeletesNothing, &["deleted_passages_are_gone", "deleted_vectors_are_not_compared"]);
}

#[test]
fn a_store_that_inserts_over_what_is_there() {
    found_by(Bug::InsertsOverWhatIsThere, &["inserting_at_once_stores_one"]);
}

#[test]
fn a_store_that_erases_half() {
    found_by(Bug::ErasesHalf, &["an_erased_conversation_is_gone"]);
}

#[test]
fn a_store_that_mixes_generations() {
    found_by(Bug::MixesGenerations, &["generations_never_mix"]);
}

#[test]
fn a_store_that_does_not_wait() {
    found_by(Bug::FollowsNothing, &["following_wakes_up"]);
}

#[test]
fn a_store_that_tells_foreign_from_random() {
    found_by(Bug::TellsForeignFromRandom, &["another_tenant_gets_nothing", "another_user_gets_nothing", "another_turn_gets_nothing"]);
}

#[test]
fn a_store_that_says_that_it_is_durable() {
    found_by(Bug::SaysThatItIsDurable, &["what_was_acknowledged_survives", "a_run_survives_the_process"]);
}

#[test]
fn a_store_that_grants_any_reservation() {
    let names = ["reservations_stop_at_the_limit", "reservations_expire", "reserving_at_once_spends_nothing_twice"];
    found_by(Bug::GrantsAnyReservation, &names);
}

#[test]
fn a_store_that_counts_the_steps_of_others() {
    found_by(Bug::CountsStepsOfOthers, &["the_token_ledger_is_the_sum_of_all_steps"]);
}

#[test]
fn a_store_that_claims_beyond_the_share() {
    found_by(Bug::ClaimsBeyondTheShare, &["no_tenant_takes_more_than_its_share"]);
}

#[test]
fn a_store_that_writes_items_whatever_was_read() {
    let names = ["changes_count_versions", "of_several_who_change_one_version_one_does", "writes_are_all_or_none"];
    found_by(Bug::WritesItemsUnseen, &names);
}

#[test]
fn a_store_that_writes_items_one_by_one() {
    found_by(Bug::WritesItemsOneByOne, &["writes_are_all_or_none"]);
}

#[test]
fn a_store_that_lets_assistants_share() {
    found_by(Bug::LetsAssistantsShare, &["only_the_owner_shares"]);
}

#[test]
fn a_store_that_lists_items_with_gaps() {
    found_by(Bug::ListsItemsWithGaps, &["items_are_listed_in_pages"]);
}

#[test]
fn a_store_that_lists_bodies() {
    found_by(Bug::ListsBodies, &["lists_filter"]);
}

#[test]
fn a_store_that_tells_turns_of_the_log() {
    found_by(Bug::TellsTurnsOfTheLog, &["everybody_reads_their_part_of_the_log"]);
}

#[test]
fn a_store_that_forgets_entries() {
    found_by(Bug::ForgetsEntriesOfOthers, &["entries_come_back_as_they_were"]);
}

#[test]
fn a_store_that_tells_people_of_toolsets() {
    found_by(Bug::TellsPeopleOfToolsets, &["toolsets_are_the_tenants"]);
}

#[test]
fn a_store_in_which_turns_put_egos() {
    found_by(Bug::LetsTurnsPutEgos, &["egos_are_the_tenants"]);
}

#[test]
fn a_store_that_puts_egos_over_any_version() {
    found_by(Bug::PutsEgosOverAnyVersion, &["egos_change_by_version"]);
}

#[test]
fn a_store_that_tells_turns_of_themselves_alone() {
    found_by(Bug::TellsTurnsOfThemselvesAlone, &["the_roster_is_the_tenants"]);
}

#[test]
fn a_store_in_which_agents_approve() {
    found_by(Bug::LetsAgentsApprove, &["an_agent_approves_nothing"]);
}

#[test]
fn a_store_that_approves_again() {
    found_by(Bug::ApprovesAgain, &["an_approval_is_decided_once"]);
}

#[test]
fn a_store_that_tells_others_of_approvals() {
    found_by(Bug::TellsOthersOfApprovals, &["approvals_are_seen_by_those_of_the_conversation"]);
}

#[test]
fn a_store_that_changes_tasks_of_any_version() {
    found_by(Bug::ChangesTasksOfAnyVersion, &["tasks_change_by_version_and_state"]);
}

#[test]
fn a_store_that_tells_everybody_of_tasks() {
    found_by(Bug::TellsEverybodyOfTasks, &["tasks_are_seen_by_those_whose_they_are"]);
}

#[test]
fn a_store_that_strands_tasks_whose_run_is_missing() {
    found_by(Bug::StrandsTasksWhoseRunIsMissing, &["tasks_are_due_when_something_is_to_be_done"]);
}

#[test]
fn a_store_that_begins_every_task_at_once() {
    found_by(Bug::BeginsEveryTaskAtOnce, &["due_tasks_are_fair"]);
}

#[test]
fn a_store_that_puts_toolsets_over_any_version() {
    found_by(Bug::PutsToolsetsOverAnyVersion, &["toolsets_change_by_version"]);
}

#[test]
fn a_store_that_fires_timers_of_any_version() {
    found_by(Bug::FiresTimersOfAnyVersion, &["a_firing_is_one_change", "an_occurrence_has_one_run"]);
}

#[test]
fn a_store_that_fires_beside_the_timer() {
    found_by(Bug::FiresBesideTheTimer, &["a_firing_is_one_change"]);
}

#[test]
fn a_store_that_holds_no_timers() {
    found_by(Bug::HoldsNoTimers, &["due_timers_are_taken_and_held", "due_timers_are_taken_by_one"]);
}

#[test]
fn a_store_that_keeps_timers_of_the_erased() {
    found_by(Bug::KeepsTimersOfTheErased, &["timers_go_with_their_people"]);
}

#[test]
fn a_store_that_forgets_where_pages_come_from() {
    found_by(Bug::ForgetsSourcesOfPages, &["a_period_has_one_page", "pages_are_found"]);
}

#[test]
fn a_store_that_forgets_where_timers_come_from() {
    found_by(Bug::ForgetsSourcesOfTimers, &["timers_are_kept_as_they_were_made"]);
}

#[test]
fn a_store_that_settles_any_version_of_a_document() {
    found_by(Bug::SettlesAnyVersion, &["a_document_is_found_when_it_was_read"]);
}

#[test]
fn a_store_that_keeps_parts_of_the_version_before() {
    found_by(Bug::KeepsOldParts, &["a_document_is_found_when_it_was_read"]);
}

#[test]
fn a_store_that_takes_documents_that_are_held() {
    found_by(Bug::TakesWhatIsHeld, &["unread_documents_are_taken_and_held"]);
}

#[test]
fn a_store_that_keeps_the_same_bytes_twice() {
    found_by(Bug::KeepsTheSameBytesTwice, &["the_same_bytes_are_one_document"]);
}

#[test]
fn a_store_that_tells_others_of_documents() {
    found_by(Bug::TellsOthersOfDocuments, &["documents_are_seen_by_their_people"]);
}

#[test]
fn a_store_that_shows_images_to_anybody() {
    found_by(Bug::ShowsImagesToAnybody, &["images_are_seen_by_their_people"]);
}

#[test]
fn a_store_that_counts_images_blindly() {
    found_by(Bug::CountsImagesBlindly, &["images_of_a_day_have_a_limit", "the_last_image_of_a_day_is_one"]);
}

#[test]
fn a_store_that_keeps_images_of_the_erased() {
    found_by(Bug::KeepsImagesOfTheErased, &["images_go_with_their_conversation"]);
}

#[test]
fn a_store_that_tells_webhooks_beside_the_commit() {
    found_by(Bug::TellsBesideTheCommit, &["ended_runs_are_told_with_their_commit"]);
}

#[test]
fn a_store_that_holds_no_deliveries() {
    found_by(
        Bug::HoldsNoDeliveries,
        &["deliveries_are_taken_and_held", "deliveries_are_taken_by_one", "what_is_asked_for_again_is_tried_by_one"],
    );
}

#[test]
fn a_store_that_ends_any_attempt() {
    found_by(Bug::EndsAnyAttempt, &["an_attempt_ends_once"]);
}

#[test]
fn a_store_that_forgets_the_order_of_deliveries() {
    found_by(Bug::ForgetsTheOrder, &["conversations_are_told_in_order"]);
}

#[test]
fn a_store_that_tells_others_of_webhooks() {
    found_by(Bug::TellsOthersOfWebhooks, &["webhooks_are_the_tenants"]);
}

#[test]
fn a_store_that_sends_to_the_disabled() {
    found_by(Bug::SendsToTheDisabled, &["disabled_webhooks_wait", "ended_runs_are_told_with_their_commit"]);
}
