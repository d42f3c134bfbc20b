//! Recall memory (every message ever) and archival memory (passages written on purpose).

use async_trait::async_trait;
use sid_types::{ConversationId, Message, MessageId, NewMessage, NewPassage, Owner, Passage, PassageId, Scope, Seq};

use crate::{Page, PageRequest, StoreError};

/// Which way a page runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

/// Every message ever, readable in order.
#[async_trait]
pub trait RecallStore: Send + Sync {
    /// Adds messages that were said elsewhere (imports), without a run, at the next sequence numbers. A message whose id is
    /// there already (or waits with a run) is left out of the answer and changes nothing.
    ///
    /// Imported messages never enter the FIFO queue of a running turn: they are paged out from the start, by moving the queue's start
    /// past them. Only when messages of earlier runs are still in the queue, which cannot have a hole, does the queue stay as it is,
    /// and the imported ones are a part of it.
    ///
    /// Errors: `NotFound` (conversation), `Busy` (a run is under way), `Invalid` (a tool message).
    async fn append(&self, scope: &Scope, conversation: ConversationId, messages: Vec<NewMessage>) -> Result<Vec<Message>, StoreError>;

    /// Messages of a conversation next to `from` (exclusive; `None` = from the end that `order` starts at), at most `limit`.
    /// Cost does not depend on how far into the conversation the page lies.
    async fn page(
        &self,
        scope: &Scope,
        conversation: ConversationId,
        from: Option<Seq>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError>;

    /// One message.
    async fn message(&self, scope: &Scope, message: MessageId) -> Result<Message, StoreError>;
}

/// Passages written on purpose.
#[async_trait]
pub trait ArchivalStore: Send + Sync {
    /// Stores passages; one whose id is there already is replaced. All or none.
    ///
    /// Who may write: a tenant principal any owner of its tenant; a user principal `User` (itself), `Pair` (itself) and the teams
    /// it is in; a turn its conversation's owner (`Pair`, or `Agent` where the agent is alone), and nothing else. Anything else is `NotFound`, as if the owner did not exist.
    async fn upsert(&self, scope: &Scope, passages: Vec<NewPassage>) -> Result<Vec<Passage>, StoreError>;

    /// Stores a passage; of several with the same id, at any time and in any process, one is stored. Who may: as for `upsert`.
    ///
    /// Errors: `Exists` when one with its id is there.
    async fn insert(&self, scope: &Scope, passage: NewPassage) -> Result<Passage, StoreError>;

    /// Passages of one owner, newest first.
    async fn list(&self, scope: &Scope, owner: Owner, page: PageRequest) -> Result<Page<Passage>, StoreError>;

    /// One passage.
    async fn passage(&self, scope: &Scope, passage: PassageId) -> Result<Passage, StoreError>;

    /// Removes passages with their vectors; answers how many were there. One that the scope may not write counts as not there.
    async fn delete(&self, scope: &Scope, passages: &[PassageId]) -> Result<u64, StoreError>;
}
