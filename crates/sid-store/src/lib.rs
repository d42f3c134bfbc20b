//! What Sid asks of a store: the journal of runs, recall and archival memory, blocks, the diary, and the directory of tenants.
//!
//! The contracts are small object-safe traits; [`Store`] is their sum, which the server holds as `Arc<dyn Store>`. A backend
//! implements them and runs the conformance suite of `sid-testkit`. [`InProcess`] is the reference: the whole contract in plain
//! collections behind one lock, for tests and for reading. [`index`] is a search index for one memory partition that a backend may use.
//!
//! | contract | what it keeps |
//! | --- | --- |
//! | [`StateStore`] | the journal: accept, claim, load, commit; leases with epochs; idempotency keys |
//! | [`EventLog`] | what happened in a run, densely numbered, to replay and to follow |
//! | [`RecallStore`], [`ArchivalStore`] | every message ever; passages written on purpose |
//! | [`MemorySearch`], [`EmbeddingIndex`] | candidates with the scores of each channel; vectors per generation |
//! | [`Generations`] | which embedding generation is searched |
//! | [`BlockStore`], [`DiaryStore`] | core memory with versions and links; days, weeks and months |
//! | [`VectorIndex`] | vectors once more, outside the store, where partitions are large; what it finds is joined back |
//! | [`ItemStore`] | what assistants keep for their user beside conversations: trees of titled texts, shared with others or not |
//! | [`AuditLog`] | who read or wrote whose memory |
//! | [`Duties`], [`Maintenance`] | which worker does what is to be done once; dropping what is old |
//! | [`Directory`], [`Eraser`] | tenants, people, teams, agents, conversations, keys; forgetting |
//! | [`TimerStore`] | what wakes agents by itself; taking what is due, and its run in the same transaction |
//! | [`DocumentStore`] | documents: their bytes, what waits to be read, and their parts in archival memory |
//! | [`ToolsetStore`] | functions that a tenant gave its agents |
//! | [`EgoStore`] | agents that meet people as one, and which agents there are |
//! | [`ApprovalStore`] | calls that wait for somebody's word |
//! | [`ImageStore`] | images that agents had made, and how many in a day |
//! | [`TaskStore`] | tasks of agents, and which are due |
//! | [`WebhookStore`] | where applications hear of what happens, and what is on its way there, written with what it tells |
//! | [`UsageStore`] | what tenants may use up, and what they have |
//!
//! One turn through the journal, as a worker drives it:
//!
//! ```
//! use std::time::Duration;
//! use sid_store::{Accept, Commit, Directory, Effect, InProcess, MemorySearch, NewConversation, OnBusy, SearchQuery, StateStore};
//! use sid_types::{AgentId, AgentSpec, ConversationId, KeyId, NewMessage, OperatorScope, RunId, RunLimits, StopReason, Timestamp};
//! use sid_types::{Priority, User, UserId, WorkerId};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), sid_store::StoreError> {
//! let (store, now) = (InProcess::default(), Timestamp::now());
//! let operator = OperatorScope::grant();
//! let scope = operator.enter(store.create_tenant(&operator, "acme").await?.id, KeyId::new());
//! let ann = User { id: UserId::new(), handle: "ann".into(), display_name: "Ann".into(), timezone: None, quiet_hours: None, created_at: now };
//! let ann = store.create_user(&scope, ann).await?;
//! let agent = store.create_agent(&scope, AgentId::new(), AgentSpec::new("sid", "qwen3"), vec![]).await?;
//! let new = NewConversation { agent: agent.id, user: Some(ann.id), key: None };
//! let (talk, _) = store.open_conversation(&scope, ConversationId::new(), new).await?;
//!
//! // Accept answers when the message is safe; a worker may claim the idle conversation in the same transaction.
//! let accept = Accept {
//!     run: RunId::new(),
//!     conversation: talk.id,
//!     messages: vec![NewMessage::user("I like pickles.", now)],
//!     idempotency: None,
//!     limits: RunLimits::default(),
//!     priority: Priority::User,
//!     client_tools: Vec::new(),
//!     only_after: None,
//!     on_busy: OnBusy::Queue,
//!     queue_depth: 256,
//!     claim_for: Some((WorkerId::new(), Duration::from_secs(30))),
//! };
//! let lease = store.accept(&scope, accept).await?.lease.expect("the conversation was idle");
//! assert_eq!(store.load(&lease).await?.queue.len(), 1);
//!
//! // What a step changes is data, written once: this number again changes nothing, an older lease is fenced off.
//! let answer = NewMessage::assistant("Noted: pickles.", now);
//! let finish = Effect::Finish { reason: StopReason::EndTurn, error: None };
//! store.commit(&lease, Commit { number: 1, effects: vec![Effect::Append(vec![answer]), finish] }).await?;
//!
//! // A later turn of the two finds it; nobody else does.
//! let query = SearchQuery::new("what about a pickle?");
//! assert_eq!(store.search(&scope.turn(agent.id, Some(ann.id)), &query).await?.items.len(), 2);
//! assert!(store.search(&scope.turn(agent.id, Some(UserId::new())), &query).await?.items.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! What this crate is *not*: policy. Stores keep and find; what leaves the queue, how candidates are ranked and what a prompt
//! looks like is decided above.
//!
//! Rules that hold for every method:
//! - The first argument is a [`Scope`](sid_types::Scope), or a [`Lease`] that carries one. What the scope may not see does not exist:
//!   a foreign id answers [`StoreError::NotFound`], exactly as a random id does.
//! - A method that returns `Ok` has made its effect durable. One that returns an error has changed nothing, or (only
//!   [`StoreError::Unavailable`]) may have: repeat it with the same ids, a repeated write changes nothing.
#![warn(missing_docs)]

mod approvals;
mod audit;
mod blocks;
pub mod crash;
mod diary;
mod directory;
mod documents;
mod duties;
mod egos;
mod embedding;
mod erase;
mod error;
mod events;
mod generations;
mod images;
mod in_process;
pub mod index;
pub mod item_rules;
mod items;
mod maintenance;
mod memory;
mod pair_filter;
mod rights;
mod search;
mod state;
mod store;
mod tasks;
mod timers;
mod told;
mod toolsets;
mod usage;
mod vector_index;
mod webhooks;

pub use approvals::{ApprovalFilter, ApprovalStore, Decide, DecidedApproval, MOST_NOTE_CHARS, Verdict, asked, decided};
pub use audit::{AuditEntry, AuditFilter, AuditLog};
pub use blocks::{BlockStore, BlockWrite, NewBlock, check_influence};
pub use diary::{DiaryQuery, DiaryStore, DiaryWork, MOST_OF_A_DAY};
pub use directory::{ConversationKey, Directory, MOST_TEAM_LEVELS, NewConversation, Page, PageRequest};
pub use documents::{
    DOCUMENT_CHANNEL, DocumentFilter, DocumentStore, NO_DOCUMENT, NewDocument, Reading, UnreadDocument, check_document, is_document_of,
    is_same_place, next_document, settled_document, too_many_documents,
};
pub use duties::{Duties, DutyRoster, check_duty};
pub use egos::{EgoStore, MOST_EGO_BYTES, MOST_EGOS, MOST_MEMBERS, NO_EGO, check_ego, too_many_egos};
pub use embedding::{Chunk, EmbedJob, EmbeddingIndex, GenerationId, IndexStatus, NewVectors};
pub use erase::{EraseTarget, Eraser, Receipt};
pub use error::StoreError;
pub use events::EventLog;
pub use generations::{Generation, Generations};
pub use images::{
    ImageCaps, ImageStore, MOST_IMAGE_BYTES, MOST_PROMPT_CHARS, NO_IMAGE, check_image, image_day, may_drop_images, too_many_images,
};
pub use in_process::InProcess;
pub use items::{
    Below, ITEM_CHANNEL, ItemChange, ItemFilter, ItemStore, ItemWrite, NewItem, SeenItem, Whose, Written, check_channel, check_item,
    distinct_tags, is_shareable, item_text,
};
pub use maintenance::{Maintenance, Overdue};
pub use memory::{ArchivalStore, Order, RecallStore};
pub use pair_filter::PairFilter;
pub use rights::Right;
pub use search::{
    Candidate, Candidates, Capability, ChannelStats, Channels, MemorySearch, QueryVector, Record, RecordId, RecordKinds, SearchQuery,
    TimeRange,
};
pub use state::{
    Accept, Accepted, BlockEdit, Commit, Committed, Effect, Fingerprint, IdempotencyKey, Lease, Loaded, OnBusy, PageOut, Renewed, RunTerms,
    StateStore,
};
pub use store::Store;
pub use tasks::{NO_TASK, TaskFilter, TaskPlace, TaskStore, check_task, check_task_change, sees_task};
pub use timers::{DueTimer, DueTimers, Firing, NO_TIMER, TimerStore, check_timer, may_change_timers, next_timer, too_many_timers};
pub use told::Told;
pub use toolsets::{MOST_TOOLSET_BYTES, MOST_TOOLSETS, NO_TOOLSET, ToolsetStore, check_toolset, check_toolset_version, too_many_toolsets};
pub use usage::{Reserve, Reserved, SelfBegun, SelfBegunUse, TenantLimits, TokenUse, UsageStore, day_begins, hour_begins};
pub use vector_index::{PointCursor, PointFilter, PointKey, PointPage, RecordKind, VectorHit, VectorIndex, VectorPoint, VectorQuery};
pub use webhooks::{
    DeliveryOutcome, DueDeliveries, DueDelivery, EndpointHealth, FinishDelivery, NO_DELIVERY, NO_WEBHOOK, TakeDeliveries, WebhookStore,
    check_webhook, delivered_again, finished, is_disabled, next_webhook, too_many_webhooks, with_health,
};
