//! What is kept: one room per tenant, so that nothing of another tenant is within reach of a scope.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::civil::Date;
use sid_types::{
    Agent, AgentId, ApiKey, Approval, ApprovalId, Block, BlockAccess, BlockId, BlockVersion, Conversation, ConversationId, DiaryEntry,
    DiaryLevel, Ego, Event, EventBody, ImageId, Item, ItemId, KeyId, Message, MessageId, NewMessage, Owner, Passage, PassageId,
    PlannedCall, Principal, Run, RunId, Scope, Seq, Share, Sharee, Step, Task, TaskId, Team, TeamId, TeamRole, Tenant, TenantId, TimerId,
    Timestamp, Toolset, User, UserId, WorkerId,
};

use super::documents::Documents;
use super::images::ImageRow;
use super::missing;
use super::search::Shelf;
use super::timers::TimerRow;
use super::webhooks::Hooks;
use crate::{AuditEntry, Fingerprint, GenerationId, RecordId, StoreError, TenantLimits};

/// Everything.
#[derive(Default)]
pub(super) struct State {
    pub(super) rooms: BTreeMap<TenantId, Room>,
    pub(super) keys: BTreeMap<KeyId, ApiKey>,
    /// Numbers per vector of each generation, set by its first vector.
    pub(super) dimensions: BTreeMap<GenerationId, usize>,
    /// The generation that is searched.
    pub(super) active: Option<GenerationId>,
    pub(super) ordinals: Ordinals,
    /// Requests of each tenant.
    pub(super) requests: BTreeMap<TenantId, u64>,
}

/// Numbers what is written, across tenants: the order of work and of embedding.
#[derive(Default, Clone)]
pub(super) struct Ordinals(Arc<AtomicU64>);

impl Ordinals {
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl State {
    /// The scope's tenant; `what` was looked for in it.
    pub(super) fn room(&self, scope: &Scope, what: &'static str) -> Result<&Room, StoreError> {
        self.rooms.get(&scope.tenant()).ok_or(missing(what))
    }

    pub(super) fn room_mut(&mut self, scope: &Scope, what: &'static str) -> Result<&mut Room, StoreError> {
        self.rooms.get_mut(&scope.tenant()).ok_or(missing(what))
    }
}

/// One tenant and all that it has.
pub(super) struct Room {
    pub(super) tenant: Tenant,
    pub(super) ordinals: Ordinals,
    pub(super) users: BTreeMap<UserId, User>,
    pub(super) teams: BTreeMap<TeamId, Team>,
    /// Memberships as they were given, not those that follow from them.
    pub(super) members: BTreeMap<(TeamId, UserId), TeamRole>,
    pub(super) agents: BTreeMap<AgentId, Agent>,
    pub(super) threads: BTreeMap<ConversationId, Thread>,
    pub(super) runs: BTreeMap<RunId, Journal>,
    /// Where each message is; `Seq(0)` while it waits with its run.
    pub(super) places: HashMap<MessageId, (ConversationId, Seq)>,
    pub(super) passages: BTreeMap<PassageId, Passage>,
    pub(super) blocks: BTreeMap<BlockId, BlockRow>,
    /// Pairs that have their copies of the agent's block templates.
    pub(super) met: BTreeSet<(AgentId, UserId)>,
    pub(super) links: BTreeMap<(BlockId, AgentId), BlockAccess>,
    pub(super) items: BTreeMap<ItemId, Item>,
    pub(super) shares: BTreeMap<(ItemId, Sharee), Share>,
    /// Oldest first.
    pub(super) audit: Vec<AuditEntry>,
    pub(super) diary: BTreeMap<(Owner, DiaryLevel, Date), DiaryEntry>,
    /// Pages that are to be made again: when, and how often that was tried.
    pub(super) redo: BTreeMap<(Owner, DiaryLevel, Date), (Timestamp, u32)>,
    pub(super) idempotency: HashMap<(Principal, String), UsedKey>,
    /// What search looks through, one shelf per owner.
    pub(super) shelves: BTreeMap<Owner, Shelf>,
    /// On which shelf, and at which place there, each searchable record is.
    pub(super) shelved: HashMap<RecordId, (Owner, u64)>,
    /// How many vectors each record has in each generation; 0 = it was embedded and there is nothing to compare.
    pub(super) vectors: BTreeMap<GenerationId, BTreeMap<RecordId, usize>>,
    /// What the operator has set.
    pub(super) limits: TenantLimits,
    pub(super) toolsets: BTreeMap<String, Toolset>,
    pub(super) egos: BTreeMap<String, Ego>,
    pub(super) approvals: BTreeMap<ApprovalId, Approval>,
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) timers: BTreeMap<TimerId, TimerRow>,
    pub(super) documents: Documents,
    pub(super) images: BTreeMap<ImageId, ImageRow>,
    /// Images of a day (the last that was counted), by human; `None`: by all.
    pub(super) image_use: BTreeMap<Option<UserId>, (i64, u64)>,
    pub(super) hooks: Hooks,
    /// Tokens of each day's steps.
    pub(super) ledger: BTreeMap<Date, u64>,
    /// Per hour (UTC) and agent, what was begun without anybody asking: runs, and tokens of their steps.
    pub(super) self_begun: BTreeMap<(Timestamp, AgentId), (u64, u64)>,
    /// Tokens that runs have reserved, and until when.
    pub(super) reserved: BTreeMap<RunId, (u64, Timestamp)>,
}

/// A conversation with its messages and the queue of its runs.
pub(super) struct Thread {
    pub(super) conversation: Conversation,
    /// `messages[n]` has sequence number `n + 1`.
    pub(super) messages: Vec<Placed>,
    /// The run that was claimed and has not ended.
    pub(super) active: Option<RunId>,
    /// Runs that wait, in the order of their turns.
    pub(super) waiting: VecDeque<RunId>,
    /// Counts claims.
    pub(super) epoch: u64,
    /// Who holds `active`; `None` after a release.
    pub(super) holder: Option<Holder>,
}

/// A message and when it was placed, by the store's clock: what the diary compares its pages with.
pub(super) struct Placed {
    pub(super) message: Message,
    pub(super) at: Timestamp,
}

/// The living half of a lease.
#[derive(Clone, Copy)]
pub(super) struct Holder {
    pub(super) worker: WorkerId,
    pub(super) expires_at: Timestamp,
    pub(super) ttl: Duration,
}

/// A run with its steps, calls and events.
pub(super) struct Journal {
    pub(super) run: Run,
    /// The run's place in the order of acceptance, across conversations.
    pub(super) ordinal: u64,
    /// Of runs that wait the one with the earliest turn goes first.
    pub(super) turn: Timestamp,
    /// Messages that wait for the first claim.
    pub(super) waiting: Vec<NewMessage>,
    pub(super) steps: Vec<Step>,
    pub(super) calls: Vec<PlannedCall>,
    /// `events[n]` has number `n + 1`.
    pub(super) events: Vec<Event>,
    /// The epoch that made the last commit: it alone may repeat it after its lease has ended.
    pub(super) commit_epoch: u64,
}

/// A block and its versions, oldest first.
pub(super) struct BlockRow {
    pub(super) block: Block,
    pub(super) history: Vec<BlockVersion>,
}

/// An idempotency key that was used.
pub(super) struct UsedKey {
    pub(super) fingerprint: Fingerprint,
    pub(super) run: RunId,
    pub(super) at: Timestamp,
}

impl Room {
    pub(super) fn new(tenant: Tenant, ordinals: Ordinals) -> Self {
        Self {
            tenant,
            ordinals,
            users: BTreeMap::new(),
            teams: BTreeMap::new(),
            members: BTreeMap::new(),
            agents: BTreeMap::new(),
            threads: BTreeMap::new(),
            runs: BTreeMap::new(),
            places: HashMap::new(),
            passages: BTreeMap::new(),
            blocks: BTreeMap::new(),
            met: BTreeSet::new(),
            links: BTreeMap::new(),
            items: BTreeMap::new(),
            shares: BTreeMap::new(),
            audit: Vec::new(),
            diary: BTreeMap::new(),
            redo: BTreeMap::new(),
            idempotency: HashMap::new(),
            shelves: BTreeMap::new(),
            shelved: HashMap::new(),
            vectors: BTreeMap::new(),
            limits: TenantLimits::default(),
            toolsets: BTreeMap::new(),
            egos: BTreeMap::new(),
            approvals: BTreeMap::new(),
            tasks: BTreeMap::new(),
            timers: BTreeMap::new(),
            documents: Documents::new(),
            images: BTreeMap::new(),
            image_use: BTreeMap::new(),
            hooks: Hooks::default(),
            ledger: BTreeMap::new(),
            self_begun: BTreeMap::new(),
            reserved: BTreeMap::new(),
        }
    }

    /// The conversation, if the scope may see it.
    pub(super) fn thread(&self, scope: &Scope, conversation: ConversationId) -> Result<&Thread, StoreError> {
        self.threads.get(&conversation).filter(|t| self.sees(scope, t.owner())).ok_or(missing("conversation"))
    }

    /// The run, if the scope may see its conversation.
    pub(super) fn journal(&self, scope: &Scope, run: RunId) -> Result<&Journal, StoreError> {
        self.runs.get(&run).filter(|j| self.thread(scope, j.run.conversation).is_ok()).ok_or(missing("run"))
    }

    /// Conversations whose prompt shows memory of this kind render their head anew at the next turn.
    pub(super) fn render_anew(&mut self, is_affected: impl Fn(&Conversation) -> bool) {
        for thread in self.threads.values_mut().filter(|t| is_affected(&t.conversation)) {
            thread.conversation.prefix = None;
        }
    }
}

impl Thread {
    pub(super) const fn new(conversation: Conversation) -> Self {
        Self { conversation, messages: Vec::new(), active: None, waiting: VecDeque::new(), epoch: 0, holder: None }
    }

    pub(super) const fn owner(&self) -> Owner {
        Owner::of_conversation(self.conversation.agent, self.conversation.user)
    }

    /// When something was said last; when it was made, if nothing was.
    pub(super) fn said_last(&self) -> Timestamp {
        self.conversation.last_at.unwrap_or(self.conversation.created_at)
    }

    /// Whether nothing was said since then, and nothing is under way.
    pub(super) fn is_idle_since(&self, since: Timestamp) -> bool {
        self.active.is_none() && self.waiting.is_empty() && self.said_last() < since
    }

    pub(super) fn message(&self, seq: Seq) -> Option<&Message> {
        let index = usize::try_from(seq.0).ok()?.checked_sub(1)?;
        self.messages.get(index).map(|p| &p.message)
    }

    /// Messages from `queue_start` on.
    pub(super) fn queue(&self) -> impl DoubleEndedIterator<Item = &Message> {
        let start = usize::try_from(self.conversation.queue_start.0.saturating_sub(1)).unwrap_or(usize::MAX);
        self.messages.iter().skip(start).map(|p| &p.message)
    }
}

impl Journal {
    /// Numbers and stores an event.
    pub(super) fn log(&mut self, body: EventBody, at: Timestamp) -> &Event {
        let seq = self.events.len() as u64 + 1;
        self.events.push(Event { run: self.run.id, seq, body, at });
        &self.events[self.events.len() - 1]
    }
}
