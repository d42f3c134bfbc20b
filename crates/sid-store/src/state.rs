//! The journal: accept, claim, record, finish. Each is one transaction.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sid_types::{
    Agent, Block, BlockId, BlockOp, ClientTool, Conversation, ConversationId, EventBody, Membership, Message, MessageId, NewApproval,
    NewMessage, NewPassage, PlannedCall, Priority, Provenance, RecursiveSummary, Role, Run, RunId, RunLimits, Scope, Seq, Step, StopReason,
    Timestamp, User, WorkerId,
};
use uuid::Uuid;

use crate::StoreError;

/// SHA-256 over method, path and body of the request that an idempotency key came with.
pub type Fingerprint = [u8; 32];

/// A client's promise that two requests are the same one. Unique per tenant and principal; kept 24 h.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// 1 to 255 characters.
    pub key: String,
    /// What the request was.
    pub fingerprint: Fingerprint,
}

/// What to do when a run is under way in the conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBusy {
    /// Wait for its turn.
    #[default]
    Queue,
    /// Fail with [`StoreError::Busy`].
    Reject,
    /// Ask the running run to stop, and wait for its turn.
    Interrupt,
}

/// A stimulus to be accepted.
#[derive(Debug, Clone)]
pub struct Accept {
    /// The run's id, made by the caller.
    pub run: RunId,
    /// Where.
    pub conversation: ConversationId,
    /// What is said, in order; at least one message, none of them an assistant's. A tool's are answers to calls that wait for the caller.
    pub messages: Vec<NewMessage>,
    /// The client's idempotency key, if it sent one.
    pub idempotency: Option<IdempotencyKey>,
    /// What the run may use up.
    pub limits: RunLimits,
    /// What wakes the agent.
    pub priority: Priority,
    /// Tools of the caller, kept with the run.
    pub client_tools: Vec<ClientTool>,
    /// Only if no run is under way or waits, and this is the place of the last message; [`StoreError::Conflict`] otherwise, with both
    /// places. So what a caller has read before holds: an answer is accepted once.
    pub only_after: Option<Seq>,
    /// When the conversation is busy.
    pub on_busy: OnBusy,
    /// Most runs that may wait in this conversation; more is [`StoreError::QueueFull`]. Default 256.
    pub queue_depth: usize,
    /// Claim the conversation in the same transaction if it is idle.
    pub claim_for: Option<(WorkerId, Duration)>,
}

impl Accept {
    /// Whether this may be the stimulus of a run at all. Errors: `Invalid`.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.messages.is_empty() {
            return Err(StoreError::Invalid("a stimulus has at least one message".into()));
        }
        if self.messages.iter().any(|m| m.body.role() == Role::Assistant) {
            return Err(StoreError::Invalid("a stimulus has no messages of an assistant".into()));
        }
        if self.only_after.is_none() && self.messages.iter().any(|m| m.body.role() == Role::Tool) {
            return Err(StoreError::Invalid("a tool's messages are accepted only right after the calls that they answer".into()));
        }
        Ok(())
    }

    /// Whether [`Accept::only_after`] holds in a conversation that ends with `last`. Errors: `Conflict`.
    pub const fn check_place(&self, last: Seq, is_idle: bool) -> Result<(), StoreError> {
        match self.only_after {
            // What waits or is under way has its place after the last message.
            Some(expected) if !is_idle => Err(StoreError::Conflict { expected: expected.0, found: last.0 + 1 }),
            Some(expected) if expected.0 != last.0 => Err(StoreError::Conflict { expected: expected.0, found: last.0 }),
            _ => Ok(()),
        }
    }
}

/// What is kept of an [`Accept`] beside its messages: one document of the run's row. A server that knows no tools of callers reads it too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTerms {
    /// What the run may use up.
    #[serde(flatten)]
    pub limits: RunLimits,
    /// What woke the agent.
    #[serde(default)]
    pub priority: Priority,
    /// Tools of the caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_tools: Vec<ClientTool>,
}

impl RunTerms {
    /// Those of a run.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        Self { limits: run.limits, priority: run.priority, client_tools: run.client_tools.clone() }
    }
}

/// What became of an [`Accept`].
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The run: the new one, or the one that the same idempotency key made before.
    pub run: Run,
    /// Whether an earlier request with the same key had made the run.
    pub replayed: bool,
    /// The lease, if the conversation was idle and `claim_for` was given.
    pub lease: Option<Lease>,
}

/// The right to run one conversation, until it expires or is fenced off. Every write carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What the turn may see: tenant, agent and user of the conversation.
    pub scope: Scope,
    /// The conversation.
    pub conversation: ConversationId,
    /// The run to work on.
    pub run: RunId,
    /// Who holds it.
    pub worker: WorkerId,
    /// Grows by one at each claim of the conversation; a write with an older one is [`StoreError::Fenced`].
    pub epoch: u64,
    /// When it ends unless renewed, by the store's clock.
    pub expires_at: Timestamp,
}

/// A lease that still holds, as a renewal leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// The lease, with its new expiry.
    pub lease: Lease,
    /// Whether anybody asked its run to stop.
    pub is_cancel_requested: bool,
}

/// All that a worker needs to go on with a run.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The run, with its limits and what it has used.
    pub run: Run,
    /// The agent.
    pub agent: Agent,
    /// The human, if there is one.
    pub user: Option<User>,
    /// Teams that the user is in and the agent may read.
    pub teams: Vec<Membership>,
    /// The conversation, with its summary and prompt prefix.
    pub conversation: Conversation,
    /// Messages from `conversation.queue_start` on, in order.
    pub queue: Vec<Message>,
    /// Core memory that this turn sees, ordered by label, then id.
    pub blocks: Vec<Block>,
    /// Calls of the last recorded reply that have no result yet.
    pub open_calls: Vec<PlannedCall>,
    /// When this human last wrote to this agent before this run, in any conversation.
    pub last_contact: Option<Timestamp>,
    /// When reading this began. The run's first search may follow it ([`SearchQuery::follows`](crate::SearchQuery::follows)).
    pub began: Instant,
}

/// Messages leave the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct PageOut {
    /// The first message that stays. Never moves back.
    pub queue_start: Seq,
    /// The summary from now on.
    pub summary: RecursiveSummary,
}

/// An edit of a block.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockEdit {
    /// Which block.
    pub block: BlockId,
    /// What changes.
    pub op: BlockOp,
    /// The version that was read; another one is [`StoreError::Conflict`].
    pub expected_version: u64,
    /// Where the edit comes from.
    pub provenance: Provenance,
}

/// One change that a step makes. A commit writes them all or none, in this order.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Effect {
    /// Messages join the conversation at the next sequence numbers.
    Append(Vec<NewMessage>),
    /// The calls of the assistant message in this commit become open.
    Plan(Vec<PlannedCall>),
    /// The call with this token is about to leave the house.
    StartCall(Uuid),
    /// The call with this token has its result among this commit's messages.
    FinishCall(Uuid),
    /// A block changes.
    EditBlock(BlockEdit),
    /// Somebody is asked whether a call may be made. The same question again changes nothing.
    AskApproval(Box<NewApproval>),
    /// A passage is stored.
    InsertPassage(NewPassage),
    /// The prompt's head was rendered anew, or must be (`None`).
    SetPrefix(Option<String>),
    /// Messages leave the queue.
    PageOut(PageOut),
    /// A step is over.
    RecordStep(Box<Step>),
    /// Things for the event log, but never [`EventBody::Done`]. Appended messages are *not* added by themselves.
    Events(Vec<EventBody>),
    /// The run is over: status from the reason, last event, lease released. Always the last effect.
    Finish {
        /// Why.
        reason: StopReason,
        /// What failed, if something did.
        error: Option<String>,
    },
}

/// All that one step changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// [`Run::commits`] + 1 as loaded, then one more each time. A number that was committed before changes nothing and answers
    /// as if it had just been written.
    pub number: u64,
    /// The changes, in order.
    pub effects: Vec<Effect>,
}

/// What a commit has made.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// The appended messages, in their places. Empty when the commit was a repetition.
    pub messages: Vec<Message>,
    /// After [`Effect::Finish`]: the lease of the next run that waited in this conversation, taken by the same worker in the same
    /// transaction. It has a new epoch.
    pub next: Option<Lease>,
    /// After [`Effect::Finish`]: the run as it ended. `None` when the commit was a repetition.
    pub ended: Option<Run>,
}

/// Runs and their conversations: the unit of order and of recovery.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// Stores a stimulus and its run; answers after the commit.
    ///
    /// The messages join the conversation when the run is claimed, so that a turn's messages stay together; until then they are
    /// kept with the run. A run whose cancellation was asked for while it waited still brings its messages into the conversation
    /// when its turn comes, and ends as cancelled then.
    ///
    /// Of the runs that wait in a conversation the one with the earliest turn goes first: the time at which it was accepted, put off by its
    /// priority's [`patience`](Priority::patience), but never before the turn of one of the same priority that was accepted earlier and waits
    /// too. So those of one priority stay in commit order, whatever the clock does.
    ///
    /// The same run id again, in the same conversation, is a repetition: it changes nothing and answers that run as replayed.
    ///
    /// Errors: `NotFound` (conversation), `QueueFull`, `Busy` (only with [`OnBusy::Reject`]), `KeyReused`, `Conflict`
    /// ([`Accept::only_after`]), `Invalid` ([`Accept::check`], a key that is empty or too long), `Exists` (a run of another conversation; a message, be it
    /// waiting or placed).
    async fn accept(&self, scope: &Scope, accept: Accept) -> Result<Accepted, StoreError>;

    /// Takes up to `want` conversations that have work and no living lease: a run that waits, or one whose worker let its lease expire.
    /// Raises each one's epoch. Not bound to a tenant: it is the engine's own call.
    ///
    /// Tenants take turns, the one with the fewest living leases first; inside a tenant the work with the earliest turn comes first (see
    /// [`accept`](Self::accept)), and of two with the same the one that was accepted first. A tenant of which
    /// `worker` holds `per_tenant` leases gets no more: its work waits.
    ///
    /// The first claim of a run marks it as running and places its messages. A run that was cancelled while it waited is ended on the
    /// way, and the conversation's next one is taken in its stead.
    async fn claim(&self, worker: WorkerId, want: usize, per_tenant: usize, ttl: Duration) -> Result<Vec<Lease>, StoreError>;

    /// Prolongs leases; answers the ones that still hold, and whose run was asked to stop. A missing one was fenced off.
    async fn renew(&self, leases: &[Lease], ttl: Duration) -> Result<Vec<Renewed>, StoreError>;

    /// Gives a lease back without finishing: the run waits for any worker, at once.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Loads all that the run needs. Errors: `Fenced`.
    async fn load(&self, lease: &Lease) -> Result<Loaded, StoreError>;

    /// Writes all effects or none, fenced by the lease's epoch.
    ///
    /// A repetition is answered even after the lease that made the commit has ended with it. A lease that was fenced off before it
    /// made the commit of this number gets `Fenced`, although the number is taken: its own words were not written.
    ///
    /// Errors: `Fenced`, `Conflict` (a block's version), `NotFound` (a block that the turn may not write, a passage's owner), `TooLarge`
    /// (a block), `Invalid` (a commit number that skips, an unknown call, a queue that moves back or past the last message, effects
    /// after [`Effect::Finish`]).
    async fn commit(&self, lease: &Lease, commit: Commit) -> Result<Committed, StoreError>;

    /// A run, if the scope may see its conversation.
    async fn run(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError>;

    /// Runs of a conversation, newest first, at most `limit`.
    async fn runs(&self, scope: &Scope, conversation: ConversationId, limit: usize) -> Result<Vec<Run>, StoreError>;

    /// Steps of a run, in order.
    async fn steps(&self, scope: &Scope, run: RunId) -> Result<Vec<Step>, StoreError>;

    /// Asks a run to stop; the worker that holds it sees it at its next commit or renewal. Answers the run as it is now; a
    /// terminal run stays as it is.
    async fn cancel(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError>;

    /// Whether anybody asked this run to stop. Cheap: asked between steps and while a model answers.
    async fn is_cancel_requested(&self, lease: &Lease) -> Result<bool, StoreError>;

    /// Messages that wait with a run that has not been claimed yet (empty afterwards).
    async fn waiting_messages(&self, scope: &Scope, run: RunId) -> Result<Vec<MessageId>, StoreError>;
}
