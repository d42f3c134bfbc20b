//! Core memory blocks from the outside: the API's side. A turn edits them by effects of its commit.

use async_trait::async_trait;
use sid_types::{AgentId, Block, BlockAccess, BlockId, BlockOp, BlockVersion, Owner, Provenance, Scope, UserId};

use crate::{BlockEdit, StoreError};

/// A block to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBlock {
    /// Its id, made by the caller.
    pub id: BlockId,
    /// Whose it is.
    pub owner: Owner,
    /// Unique among the owner's blocks.
    pub label: String,
    /// What it is for.
    pub description: String,
    /// The first value.
    pub value: String,
    /// Most characters of the value.
    pub limit_chars: u32,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// A write from outside a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockWrite {
    /// What changes.
    pub op: BlockOp,
    /// The version that was read; `None` = whatever is there.
    pub expected_version: Option<u64>,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// Blocks, their history, and who else sees them.
///
/// Rights are those of [`ArchivalStore::upsert`](crate::ArchivalStore::upsert): who may write an owner's passages may write its blocks.
#[async_trait]
pub trait BlockStore: Send + Sync {
    /// Makes a block. Errors: `Exists` (label), `TooLarge`, `NotFound` (owner).
    async fn create_block(&self, scope: &Scope, block: NewBlock) -> Result<Block, StoreError>;

    /// Blocks of one owner, by label. For a pair that has never met, the agent's templates are made into blocks first.
    async fn blocks(&self, scope: &Scope, owner: Owner) -> Result<Vec<Block>, StoreError>;

    /// One block.
    async fn block(&self, scope: &Scope, block: BlockId) -> Result<Block, StoreError>;

    /// Edits a block; conversations that show it render their head anew. Errors: `Conflict`, `TooLarge` (characters), `Invalid` (`old`
    /// is not there).
    async fn write_block(&self, scope: &Scope, block: BlockId, write: BlockWrite) -> Result<Block, StoreError>;

    /// Its versions, newest first, at most `limit`.
    async fn block_history(&self, scope: &Scope, block: BlockId, limit: usize) -> Result<Vec<BlockVersion>, StoreError>;

    /// Lets an agent see a block, or write it (`None` = no longer more than it may anyway). The agent's turns render their head anew.
    ///
    /// A link shows blocks of *other agents*, and raises the access to those that the agent's turns see anyway. What belongs to a user
    /// or a pair is shown to turns with that user only; what belongs to a team, to turns that may read the team. Errors: `NotFound`
    /// (block, agent, an agent that may not read the block's team).
    async fn link_block(&self, scope: &Scope, block: BlockId, agent: AgentId, access: Option<BlockAccess>) -> Result<(), StoreError>;
}

/// Whether a turn may make this edit of a block that it may write: under the influence of sources that are not trusted it writes nothing that
/// others read. `is_linked`: the block is shown to other agents as well.
///
/// Errors: `Forbidden`.
pub fn check_influence(edit: &BlockEdit, owner: Owner, is_linked: bool, agent: AgentId, user: Option<UserId>) -> Result<(), StoreError> {
    if edit.provenance.untrusted.is_empty() || owner == Owner::of_conversation(agent, user) && !is_linked {
        return Ok(());
    }
    Err(StoreError::Forbidden {
        what: "block",
        why: "others read it too, and you have read text from outside: tell the user what should stand there",
    })
}
