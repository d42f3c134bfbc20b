//! What Sid asks of a store: the journal of runs, recall and archival memory, blocks, the diary, and the directory of tenants.
//!
//! The contracts are small object-safe traits; [`Store`] is their sum, which the server holds as `Arc<dyn Store>`. A backend
//! implements them and runs the conformance suite of `sid-testkit`. [`InProcess`] is the reference: the whole contract in plain
//! collections behind one lock, for tests and for reading.
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

mod blocks;
mod diary;
mod directory;
mod embedding;
mod erase;
mod error;
mod events;
mod in_process;
pub mod index;
mod memory;
mod search;
mod state;
mod store;

pub use blocks::{BlockStore, BlockWrite, NewBlock};
pub use diary::{DiaryQuery, DiaryStore, DiaryWork};
pub use directory::{ConversationKey, Directory, NewConversation, Page, PageRequest};
pub use embedding::{Chunk, EmbedJob, EmbeddingIndex, GenerationId, IndexStatus, NewVectors};
pub use erase::{EraseTarget, Eraser, Receipt};
pub use error::StoreError;
pub use events::EventLog;
pub use in_process::InProcess;
pub use memory::{ArchivalStore, Order, RecallStore};
pub use search::{
    Candidate, Candidates, Capability, ChannelStats, Channels, MemorySearch, QueryVector, Record, RecordId, RecordKinds, SearchQuery,
    TimeRange,
};
pub use state::{
    Accept, Accepted, BlockEdit, Commit, Committed, Effect, Fingerprint, IdempotencyKey, Lease, Loaded, OnBusy, PageOut, StateStore,
};
pub use store::Store;
