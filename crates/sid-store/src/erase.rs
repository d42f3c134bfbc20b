//! Forgetting: a conversation, a user, an agent, with all that derives from them.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sid_types::{AgentId, ConversationId, Scope, Timestamp, UserId};

use crate::StoreError;

/// What to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EraseTarget {
    /// One conversation: its messages, vectors, runs, steps, events and summary; passages, items and block edits made in it (the blocks'
    /// other edits are replayed, and a write by who has read the old value is a conflict); tool results elsewhere that quote it
    /// (redacted, in events too); tasks that are worked on in it or report into it, with those that they handed on; the diary days that told of it, and the weeks and months above them (written anew from what is
    /// left); what other runs were shown of it (step tails, `Recalled` events: emptied, events keep their numbers).
    Conversation(ConversationId),
    /// The same, if nobody has spoken in it since then and nothing is under way in it; else `NotFound`.
    Idle {
        /// Which.
        conversation: ConversationId,
        /// From when on nobody has spoken.
        since: Timestamp,
    },
    /// A user: all conversations, memory owned by the user or by a pair with the user, memberships, keys, and the user itself.
    User(UserId),
    /// An agent: all conversations, memory owned by the agent or by a pair with it, block links, and the agent itself.
    Agent(AgentId),
}

/// What was forgotten, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Conversations.
    pub conversations: u64,
    /// Messages, waiting ones too.
    pub messages: u64,
    /// Passages.
    pub passages: u64,
    /// Blocks, or versions of blocks that were taken back.
    pub block_versions: u64,
    /// Items of the context service.
    #[serde(default)]
    pub items: u64,
    /// Tasks.
    #[serde(default)]
    pub tasks: u64,
    /// Diary pages.
    pub diary_entries: u64,
    /// Vectors.
    pub vectors: u64,
    /// Runs, with their steps and events.
    pub runs: u64,
    /// Tool results elsewhere that quoted something erased.
    pub redacted: u64,
    /// Deletions in a vector index outside the store that no count has verified yet; none of it can be found any more, and they are done
    /// again until they are. 0: the receipt is final.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pending: u64,
}

impl std::ops::AddAssign for Receipt {
    fn add_assign(&mut self, more: Self) {
        self.conversations += more.conversations;
        self.messages += more.messages;
        self.passages += more.passages;
        self.block_versions += more.block_versions;
        self.items += more.items;
        self.tasks += more.tasks;
        self.diary_entries += more.diary_entries;
        self.vectors += more.vectors;
        self.runs += more.runs;
        self.redacted += more.redacted;
        self.pending += more.pending;
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Forgets.
#[async_trait]
pub trait Eraser: Send + Sync {
    /// Erases in one transaction; a run that is under way is fenced off. Answers what was erased. Afterwards nothing of it is
    /// found by any method. A user principal may erase its own conversations only; a turn nothing.
    async fn erase(&self, scope: &Scope, target: EraseTarget) -> Result<Receipt, StoreError>;
}
