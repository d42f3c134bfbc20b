//! The words of Sid as plain data: ids, scopes, owners, messages, blocks, passages, runs and events.
//!
//! Every other crate speaks in these types. They hold no async code and do no IO; JSON bodies, SQL rows and provider
//! payloads are converted to and from them at the edges.
//!
//! What this crate is *not*: a wire format. The types derive `serde` so that stores can keep them as documents, and the
//! server's public API is versioned apart from them.
//!
//! ```
//! use sid_types::{AgentId, Owner, UserId};
//! let agent: AgentId = AgentId::new();
//! assert!(agent.to_string().starts_with("agent_"));
//! assert_eq!(agent.to_string().parse::<AgentId>().unwrap(), agent);
//! let pair = Owner::Pair { agent, user: UserId::new() };
//! assert!(pair.is_private_to_a_user());
//! ```
#![warn(missing_docs)]

#[macro_use]
mod named;

mod access;
mod approval;
mod block;
mod clock;
mod colleague;
mod document;
mod ego;
mod event;
mod id;
mod image;
mod item;
mod message;
mod owner;
mod passage;
mod perpetual;
mod priority;
mod quiet;
mod run;
mod scope;
mod source;
mod summary;
mod task;
mod tenancy;
mod timer;
mod tool;
mod toolset;
mod unit;
mod webhook;

pub use access::{AccessRole, Permission};
pub use approval::{Approval, ApprovalState, Approvals, ApprovedCall, Ask, NewApproval};
pub use block::{Block, BlockAccess, BlockOp, BlockVersion, Provenance};
pub use clock::{Clock, ManualClock, SystemClock};
pub use colleague::{AgentMatch, ChainBudget, Sender};
pub use document::{Citation, Document, DocumentFormat, DocumentParts, DocumentStatus, Place};
pub use ego::{Ego, EgoMemory, EgoSpec};
pub use event::{Event, EventBody, Recollection};
pub use id::{
    AgentId, ApprovalId, BlockId, ConversationId, DeliveryId, DocumentId, IdError, ImageId, ItemId, KeyId, MessageId, PassageId, RunId,
    StepId, SummaryId, TaskId, TeamId, TenantId, TimerId, UserId, WebhookId, WorkerId,
};
pub use image::{Image, ImageFormat};
pub use item::{Item, ItemKind, Share, ShareLevel, Sharee};
pub use jiff::Timestamp;
pub use message::{Body, Message, NewMessage, Role, ToolCall};
pub use owner::Owner;
pub use passage::{NewPassage, Passage};
pub use perpetual::{Caps, Heartrate, Held, HeldBy};
pub use priority::Priority;
pub use quiet::{NoQuietHours, QuietHours};
pub use run::{CallState, PlannedCall, Run, RunLimits, RunStatus, Step, StopReason, Usage};
pub use scope::{OperatorScope, Principal, Scope};
pub use source::{Channel, Source};
pub use summary::{DiaryEntry, DiaryLevel, RecursiveSummary};
pub use task::{
    Acceptance, CheckAnswer, Letter, PlanStep, PlanStepState, Task, TaskBudget, TaskCreator, TaskResult, TaskState, TaskUsage, TaskWork,
};
pub use tenancy::{Agent, AgentSpec, ApiKey, BlockTemplate, Conversation, KeyRole, Membership, Team, TeamRole, Tenant, User};
pub use timer::{InQuietHours, Late, Timer, TimerKind, TimerMaker, TimerSpec, TimerState, When};
pub use tool::{ClientTool, ToolRule, ToolSpec};
pub use toolset::{Toolset, ToolsetKind, ToolsetSpec};
pub use unit::{Seq, Tokens};
pub use webhook::{Attempt, Delivery, DeliveryState, SealedSecret, Webhook, WebhookEvent, WebhookState};
