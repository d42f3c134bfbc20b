//! Wrapping a store: whole contract traits handed on to a field.

/// Implements contract traits for a type by handing every call on to one of its fields.
///
/// For wrappers that change a few traits by hand and pass on the rest: fault injection, counting, recording. A method that is added to
/// a contract is added here, so that no wrapper loses it in silence.
///
/// ```
/// use std::sync::Arc;
/// use sid_store::{InProcess, Store};
///
/// struct Wrapped {
///     inner: Arc<InProcess>,
/// }
///
/// sid_testkit::delegate_store!(Wrapped, inner: StateStore, EventLog, RecallStore, ArchivalStore, MemorySearch, EmbeddingIndex,
///     BlockStore, ItemStore, TimerStore, ToolsetStore, EgoStore, TaskStore, ImageStore, ApprovalStore, WebhookStore, DiaryStore, Directory, DocumentStore, AuditLog, Eraser, UsageStore, Duties, Generations, Maintenance);
///
/// let store: Arc<dyn Store> = Arc::new(Wrapped { inner: Arc::default() });
/// # drop(store);
/// ```
///
/// With `through` every call goes through one method, which gets the call's name and its future, not polled yet: what it does before
/// it awaits the future comes before the call, what it does afterwards comes after the effect.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use sid_store::{InProcess, StoreError};
///
/// struct Counted {
///     inner: Arc<InProcess>,
///     calls: AtomicU64,
/// }
///
/// impl Counted {
///     async fn count<T>(&self, _name: &'static str, call: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
///         self.calls.fetch_add(1, Ordering::Relaxed);
///         call.await
///     }
/// }
///
/// sid_testkit::delegate_store!(Counted, inner through count: StateStore, EventLog, RecallStore, ArchivalStore, MemorySearch,
///     EmbeddingIndex, BlockStore, ItemStore, TimerStore, ToolsetStore, EgoStore, TaskStore, ImageStore, ApprovalStore, WebhookStore, DiaryStore, Directory, DocumentStore, AuditLog, Eraser, UsageStore, Duties, Generations, Maintenance);
/// ```
#[macro_export]
macro_rules! delegate_store {
    ($type:ident, $field:ident: $($contract:ident),+ $(,)?) => {
        $($crate::__delegate! { $contract $type $field () })+
    };
    ($type:ident, $field:ident through $method:ident: $($contract:ident),+ $(,)?) => {
        $($crate::__delegate! { $contract $type $field ($method) })+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __delegate {
    (@call () $self:ident $name:ident $call:expr) => { $call.await };
    (@call ($method:ident) $self:ident $name:ident $call:expr) => { $self.$method(stringify!($name), $call).await };
    (@impl $contract:ident $type:ident $field:ident $via:tt { $(fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $answer:ty;)* }) => {
        const _: () = {
            use $crate::reexport::*;
            #[async_trait]
            impl $contract for $type {
                $(
                    async fn $name(&self, $($arg: $ty),*) -> Result<$answer, StoreError> {
                        $crate::__delegate!(@call $via self $name self.$field.$name($($arg),*))
                    }
                )*
            }
        };
    };
    (StateStore $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl StateStore $type $field $via {
            fn accept(scope: &Scope, accept: Accept) -> Accepted;
            fn claim(worker: WorkerId, want: usize, per_tenant: usize, ttl: Duration) -> Vec<Lease>;
            fn renew(leases: &[Lease], ttl: Duration) -> Vec<Renewed>;
            fn release(lease: &Lease) -> ();
            fn load(lease: &Lease) -> Loaded;
            fn commit(lease: &Lease, commit: Commit) -> Committed;
            fn run(scope: &Scope, run: RunId) -> Run;
            fn runs(scope: &Scope, conversation: ConversationId, limit: usize) -> Vec<Run>;
            fn steps(scope: &Scope, run: RunId) -> Vec<Step>;
            fn cancel(scope: &Scope, run: RunId) -> Run;
            fn is_cancel_requested(lease: &Lease) -> bool;
            fn waiting_messages(scope: &Scope, run: RunId) -> Vec<MessageId>;
        } }
    };
    (EventLog $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl EventLog $type $field $via {
            fn append_events(lease: &Lease, events: Vec<EventBody>) -> Vec<Event>;
            fn events(scope: &Scope, run: RunId, after: u64, limit: usize) -> Vec<Event>;
            fn follow(scope: &Scope, run: RunId, after: u64, wait: Duration) -> Vec<Event>;
        } }
    };
    (RecallStore $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl RecallStore $type $field $via {
            fn append(scope: &Scope, conversation: ConversationId, messages: Vec<NewMessage>) -> Vec<Message>;
            fn page(scope: &Scope, conversation: ConversationId, from: Option<Seq>, order: Order, limit: usize) -> Vec<Message>;
            fn message(scope: &Scope, message: MessageId) -> Message;
        } }
    };
    (ArchivalStore $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl ArchivalStore $type $field $via {
            fn upsert(scope: &Scope, passages: Vec<NewPassage>) -> Vec<Passage>;
            fn insert(scope: &Scope, passage: NewPassage) -> Passage;
            fn list(scope: &Scope, owner: Owner, page: PageRequest) -> Page<Passage>;
            fn passage(scope: &Scope, passage: PassageId) -> Passage;
            fn delete(scope: &Scope, passages: &[PassageId]) -> u64;
        } }
    };
    (MemorySearch $type:ident $field:ident $via:tt) => {
        const _: () = {
            use $crate::reexport::*;
            #[async_trait]
            impl MemorySearch for $type {
                fn capability(&self) -> Capability {
                    self.$field.capability()
                }

                async fn search(&self, scope: &Scope, query: &SearchQuery) -> Result<Candidates, StoreError> {
                    $crate::__delegate!(@call $via self search self.$field.search(scope, query))
                }
            }
        };
    };
    (EmbeddingIndex $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl EmbeddingIndex $type $field $via {
            fn pending(generation: &GenerationId, limit: usize) -> Vec<EmbedJob>;
            fn put_vectors(generation: &GenerationId, vectors: Vec<NewVectors>) -> ();
            fn index_status(scope: &Scope, generation: &GenerationId, owner: Option<Owner>) -> IndexStatus;
        } }
    };
    (BlockStore $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl BlockStore $type $field $via {
            fn create_block(scope: &Scope, block: NewBlock) -> Block;
            fn blocks(scope: &Scope, owner: Owner) -> Vec<Block>;
            fn block(scope: &Scope, block: BlockId) -> Block;
            fn write_block(scope: &Scope, block: BlockId, write: BlockWrite) -> Block;
            fn block_history(scope: &Scope, block: BlockId, limit: usize) -> Vec<BlockVersion>;
            fn link_block(scope: &Scope, block: BlockId, agent: AgentId, access: Option<BlockAccess>) -> ();
        } }
    };
    (ItemStore $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl ItemStore $type $field $via {
            fn write_items(scope: &Scope, writes: Vec<ItemWrite>) -> Vec<Written>;
            fn item(scope: &Scope, item: ItemId) -> SeenItem;
            fn items(scope: &Scope, filter: &ItemFilter, page: PageRequest) -> Page<SeenItem>;
            fn share_item(scope: &Scope, item: ItemId, with: Sharee, level: Option<ShareLevel>) -> ();
            fn shares(scope: &Scope, item: ItemId) -> Vec<Share>;
        } }
    };
    (TaskStore $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl TaskStore $type $field $via {
            fn create_task(scope: &Scope, task: Task) -> Task;
            fn task(scope: &Scope, task: TaskId) -> Task;
            fn tasks(scope: &Scope, filter: &TaskFilter, page: PageRequest) -> Page<Task>;
            fn change_task(scope: &Scope, task: Task) -> Task;
            fn due_tasks(most: usize, per_tenant: usize) -> Vec<(Scope, TaskId)>;
        }}
    };
    (DocumentStore $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl DocumentStore $type $field $via {
            fn put_document(scope: &Scope, new: NewDocument, most: u64) -> Document;
            fn document(scope: &Scope, document: DocumentId) -> Document;
            fn documents(scope: &Scope, filter: &DocumentFilter, page: PageRequest) -> Page<Document>;
            fn document_content(scope: &Scope, document: DocumentId) -> Vec<u8>;
            fn drop_document(scope: &Scope, document: DocumentId) -> ();
            fn take_documents(want: usize, hold: Duration) -> Vec<UnreadDocument>;
            fn settle_document(scope: &Scope, document: DocumentId, version: u64, reading: Reading) -> Document;
        }}
    };
    (TimerStore $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl TimerStore $type $field $via {
            fn create_timer(scope: &Scope, timer: Timer, most: u64) -> Timer;
            fn timer(scope: &Scope, timer: TimerId) -> Timer;
            fn timers(scope: &Scope, filter: &PairFilter, page: PageRequest) -> Page<Timer>;
            fn put_timer(scope: &Scope, timer: Timer) -> Timer;
            fn drop_timer(scope: &Scope, timer: TimerId) -> ();
            fn take_timers(want: usize, hold: Duration) -> DueTimers;
            fn fire_timer(scope: &Scope, firing: Firing) -> Option<Accepted>;
        } }
    };
    (ImageStore $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl ImageStore $type $field $via {
            fn put_image(scope: &Scope, image: Image, bytes: Vec<u8>) -> Image;
            fn image(scope: &Scope, image: ImageId) -> Image;
            fn image_bytes(scope: &Scope, image: ImageId) -> Vec<u8>;
            fn images(scope: &Scope, filter: &PairFilter, page: PageRequest) -> Page<Image>;
            fn drop_image(scope: &Scope, image: ImageId) -> ();
            fn count_images(scope: &Scope, images: i64, caps: ImageCaps) -> ();
        } }
    };
    (ToolsetStore $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl ToolsetStore $type $field $via {
            fn put_toolset(scope: &Scope, name: &str, spec: ToolsetSpec, expected: Option<u64>) -> Toolset;
            fn toolset(scope: &Scope, name: &str) -> Toolset;
            fn toolsets(scope: &Scope) -> Vec<Toolset>;
            fn drop_toolset(scope: &Scope, name: &str, expected: Option<u64>) -> ();
        } }
    };
    (EgoStore $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl EgoStore $type $field $via {
            fn put_ego(scope: &Scope, name: &str, spec: EgoSpec, expected: Option<u64>) -> Ego;
            fn ego(scope: &Scope, name: &str) -> Ego;
            fn egos(scope: &Scope) -> Vec<Ego>;
            fn drop_ego(scope: &Scope, name: &str, expected: Option<u64>) -> ();
            fn roster(scope: &Scope) -> Vec<Agent>;
        } }
    };
    (ApprovalStore $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl ApprovalStore $type $field $via {
            fn approvals(scope: &Scope, filter: &ApprovalFilter, page: PageRequest) -> Page<Approval>;
            fn approval(scope: &Scope, approval: ApprovalId) -> Approval;
            fn decide(scope: &Scope, decide: Decide) -> DecidedApproval;
            fn expired_approvals(most: usize) -> Vec<(Scope, ApprovalId)>;
        } }
    };
    (WebhookStore $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl WebhookStore $type $field $via {
            fn create_webhook(scope: &Scope, webhook: Webhook, most: u64) -> Webhook;
            fn webhook(scope: &Scope, webhook: WebhookId) -> Webhook;
            fn webhooks(scope: &Scope) -> Vec<Webhook>;
            fn put_webhook(scope: &Scope, webhook: Webhook) -> Webhook;
            fn drop_webhook(scope: &Scope, webhook: WebhookId) -> ();
            fn test_webhook(scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Delivery;
            fn deliveries(scope: &Scope, webhook: WebhookId, state: Option<DeliveryState>, page: PageRequest) -> Page<Delivery>;
            fn delivery(scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Delivery;
            fn redeliver(scope: &Scope, webhook: WebhookId, delivery: DeliveryId) -> Delivery;
            fn take_deliveries(take: TakeDeliveries) -> DueDeliveries;
            fn finish_delivery(scope: &Scope, finish: FinishDelivery) -> ();
            fn forget_deliveries(keep: Duration) -> u64;
        } }
    };
    (AuditLog $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl AuditLog $type $field $via {
            fn record(entries: Vec<AuditEntry>) -> ();
            fn audit(scope: &Scope, filter: &AuditFilter, page: PageRequest) -> Page<AuditEntry>;
        } }
    };
    (DiaryStore $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl DiaryStore $type $field $via {
            fn diary(scope: &Scope, owner: Owner, query: &DiaryQuery) -> Vec<DiaryEntry>;
            fn diary_work(now: Timestamp, limit: usize) -> Vec<DiaryWork>;
            fn day_messages(scope: &Scope, owner: Owner, day: Date) -> Vec<Message>;
            fn redo_diary(work: &DiaryWork, not_before: Timestamp) -> ();
            fn put_diary(scope: &Scope, entry: DiaryEntry) -> ();
        } }
    };
    (Directory $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl Directory $type $field $via {
            fn create_tenant(operator: &OperatorScope, name: &str) -> Tenant;
            fn tenants(operator: &OperatorScope) -> Vec<Tenant>;
            fn find_tenant(operator: &OperatorScope, name_or_id: &str) -> Option<Tenant>;
            fn put_key(operator: &OperatorScope, key: ApiKey) -> ();
            fn key_by_hash(hash: &str) -> Option<ApiKey>;
            fn keys(operator: &OperatorScope, tenant: Option<TenantId>) -> Vec<ApiKey>;
            fn expire_key(operator: &OperatorScope, key: KeyId, at: Timestamp) -> ApiKey;
            fn revoke_key(operator: &OperatorScope, key: KeyId) -> ApiKey;
            fn create_user(scope: &Scope, user: User) -> User;
            fn update_user(scope: &Scope, user: User) -> User;
            fn user(scope: &Scope, user: UserId) -> User;
            fn user_by_handle(scope: &Scope, handle: &str) -> User;
            fn users(scope: &Scope, page: PageRequest) -> Page<User>;
            fn create_team(scope: &Scope, team: Team) -> Team;
            fn team(scope: &Scope, team: TeamId) -> Team;
            fn teams(scope: &Scope) -> Vec<Team>;
            fn team_members(scope: &Scope, team: TeamId) -> Vec<Membership>;
            fn user_teams(scope: &Scope, user: UserId) -> Vec<Membership>;
            fn set_team_member(scope: &Scope, team: TeamId, user: UserId, role: Option<TeamRole>) -> ();
            fn create_agent(scope: &Scope, id: AgentId, spec: AgentSpec, teams: Vec<TeamId>) -> Agent;
            fn update_agent(scope: &Scope, agent: AgentId, spec: AgentSpec, teams: Vec<TeamId>) -> Agent;
            fn agent(scope: &Scope, agent: AgentId) -> Agent;
            fn agent_by_name(scope: &Scope, name: &str) -> Agent;
            fn agents(scope: &Scope, page: PageRequest) -> Page<Agent>;
            fn open_conversation(scope: &Scope, id: ConversationId, new: NewConversation) -> (Conversation, bool);
            fn conversation(scope: &Scope, conversation: ConversationId) -> Conversation;
            fn conversations(scope: &Scope, agent: Option<AgentId>, user: Option<UserId>, page: PageRequest) -> Page<Conversation>;
        } }
    };
    (Eraser $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl Eraser $type $field $via {
            fn erase(scope: &Scope, target: EraseTarget) -> Receipt;
        } }
    };
    (UsageStore $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl UsageStore $type $field $via {
            fn limits(tenant: TenantId) -> TenantLimits;
            fn set_limits(operator: &OperatorScope, tenant: TenantId, limits: TenantLimits) -> ();
            fn add_requests(requests: &[(TenantId, u64)]) -> Vec<u64>;
            fn reserve(lease: &Lease, reserve: Reserve) -> Reserved;
            fn unreserve(lease: &Lease) -> ();
            fn self_begun(scope: &Scope, agent: AgentId) -> SelfBegunUse;
            fn token_use(operator: &OperatorScope, tenant: TenantId) -> TokenUse;
        } }
    };
    (Generations $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl Generations $type $field $via {
            fn generations() -> Vec<Generation>;
            fn activate(from: Option<&GenerationId>, to: &GenerationId) -> bool;
            fn generation_status(generation: &GenerationId) -> IndexStatus;
            fn drop_generation(generation: &GenerationId) -> bool;
        } }
    };
    (Maintenance $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl Maintenance $type $field $via {
            fn maintain() -> bool;
            fn overdue(most: usize) -> Vec<Overdue>;
        } }
    };
    (Duties $type:ident $field:ident $via:tt) => {
        $crate::__delegate! { @impl Duties $type $field $via {
            fn take_duty(duty: &str, worker: WorkerId, ttl: Duration) -> bool;
            fn leave_duty(duty: &str, worker: WorkerId) -> ();
        } }
    };
}
