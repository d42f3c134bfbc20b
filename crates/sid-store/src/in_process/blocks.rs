//! `BlockStore`, and the blocks that a turn sees.

use async_trait::async_trait;
use sid_types::{
    AgentId, Block, BlockAccess, BlockId, BlockOp, BlockTemplate, BlockVersion, Owner, Principal, Provenance, Scope, Timestamp, UserId,
};

use super::commit::{check_length, edited};
use super::room::{BlockRow, Room};
use super::{InProcess, missing};
use crate::{BlockStore, BlockWrite, NewBlock, StoreError};

#[async_trait]
impl BlockStore for InProcess {
    async fn create_block(&self, scope: &Scope, block: NewBlock) -> Result<Block, StoreError> {
        self.write(|state, now| {
            let room = state.room_mut(scope, "owner")?;
            if !room.writes(scope, block.owner) {
                return Err(missing("owner"));
            }
            check_length(&block.value, block.limit_chars)?;
            if let Owner::Pair { agent, user } = block.owner {
                room.meet(agent, user, now);
            }
            if let Some(row) = room.blocks.values().find(|r| r.block.owner == block.owner && r.block.label == block.label) {
                let name = block.label;
                return if row.block.id == block.id { Ok(row.block.clone()) } else { Err(StoreError::Exists { what: "block", name }) };
            }
            let id = block.id;
            room.blocks.insert(id, BlockRow::new(block, now));
            room.render_block_anew(id);
            Ok(room.blocks[&id].block.clone())
        })
    }

    async fn blocks(&self, scope: &Scope, owner: Owner) -> Result<Vec<Block>, StoreError> {
        self.write(|state, now| {
            let room = state.room_mut(scope, "owner")?;
            if !room.sees(scope, owner) {
                return Err(missing("owner"));
            }
            if let Owner::Pair { agent, user } = owner {
                room.meet(agent, user, now);
            }
            let mut blocks: Vec<Block> =
                room.blocks.values().filter(|r| r.block.owner == owner).filter_map(|r| room.shown(scope, r)).collect();
            blocks.sort_by(|a, b| a.label.cmp(&b.label));
            Ok(blocks)
        })
    }

    async fn block(&self, scope: &Scope, block: BlockId) -> Result<Block, StoreError> {
        let state = self.read();
        let room = state.room(scope, "block")?;
        room.blocks.get(&block).and_then(|row| room.shown(scope, row)).ok_or(missing("block"))
    }

    async fn write_block(&self, scope: &Scope, block: BlockId, write: BlockWrite) -> Result<Block, StoreError> {
        self.write(|state, now| {
            let room = state.room_mut(scope, "block")?;
            let row = room.writable_block(scope, block)?;
            if let Some(expected) = write.expected_version.filter(|v| *v != row.block.version) {
                return Err(StoreError::Conflict { expected, found: row.block.version });
            }
            let value = edited(&write.op, &row.block.value, row.block.limit_chars)?;
            let row = room.blocks.get_mut(&block).ok_or(missing("block"))?;
            row.write(write.op, value, write.provenance, now);
            let block = row.block.clone();
            room.render_block_anew(block.id);
            Ok(block)
        })
    }

    async fn block_history(&self, scope: &Scope, block: BlockId, limit: usize) -> Result<Vec<BlockVersion>, StoreError> {
        let state = self.read();
        let room = state.room(scope, "block")?;
        let row = room.blocks.get(&block).filter(|row| room.shown(scope, row).is_some()).ok_or(missing("block"))?;
        Ok(row.history.iter().rev().take(limit).cloned().collect())
    }

    async fn link_block(&self, scope: &Scope, block: BlockId, agent: AgentId, access: Option<BlockAccess>) -> Result<(), StoreError> {
        self.write(|state, _| {
            let room = state.room_mut(scope, "block")?;
            let owner = room.writable_block(scope, block)?.block.owner;
            room.agents.get(&agent).ok_or(missing("agent"))?;
            if matches!(owner, Owner::Team { team } if !room.agent_teams(agent).contains(&team)) {
                return Err(missing("agent"));
            }
            // Before as well as after: those who lose sight of it render anew, too.
            room.render_block_anew(block);
            match access {
                Some(access) => room.links.insert((block, agent), access),
                None => room.links.remove(&(block, agent)),
            };
            room.render_block_anew(block);
            Ok(())
        })
    }
}

impl BlockRow {
    pub(super) fn new(new: NewBlock, now: Timestamp) -> Self {
        let NewBlock { id, owner, label, description, value, limit_chars, provenance } = new;
        let edit = BlockOp::Set { value: value.clone() };
        let first = BlockVersion { block: id, version: 1, edit, value_after: value.clone(), provenance, at: now };
        let access = BlockAccess::Write;
        Self {
            block: Block { id, owner, label, description, value, limit_chars, access, version: 1, updated_at: now },
            history: vec![first],
        }
    }

    /// Stores the next version, whose value was checked.
    pub(super) fn write(&mut self, edit: BlockOp, value: String, provenance: Provenance, now: Timestamp) {
        let block = &mut self.block;
        (block.value, block.version, block.updated_at) = (value.clone(), block.version + 1, now);
        self.history.push(BlockVersion { block: block.id, version: block.version, edit, value_after: value, provenance, at: now });
    }
}

impl Room {
    /// Makes a pair's copies of the agent's block templates, if the two have never met.
    pub(super) fn meet(&mut self, agent: AgentId, user: UserId, now: Timestamp) {
        let Some(known) = self.agents.get(&agent) else { return };
        if !self.met.insert((agent, user)) {
            return;
        }
        for template in &known.spec.blocks {
            let BlockTemplate { label, description, value, limit_chars } = template.clone();
            let (id, owner) = (BlockId::new(), Owner::Pair { agent, user });
            let provenance = Provenance { user: Some(user), channel: "template".into(), ..Provenance::default() };
            let new = NewBlock { id, owner, label, description, value, limit_chars, provenance };
            self.blocks.insert(id, BlockRow::new(new, now));
        }
    }

    /// Core memory of a turn, ordered by label, then id.
    pub(super) fn turn_blocks(&self, agent: AgentId, user: Option<UserId>) -> Vec<Block> {
        let shown = |row: &BlockRow| Some(Block { access: self.turn_access(agent, user, row)?, ..row.block.clone() });
        let mut blocks: Vec<Block> = self.blocks.values().filter_map(shown).collect();
        blocks.sort_by(|a, b| a.label.cmp(&b.label).then(a.id.cmp(&b.id)));
        blocks
    }

    /// The block as the scope sees it, if it does.
    fn shown(&self, scope: &Scope, row: &BlockRow) -> Option<Block> {
        let access = match scope.principal() {
            Principal::Turn { agent, user } => self.turn_access(agent, user, row)?,
            _ if !self.sees(scope, row.block.owner) => return None,
            _ if self.writes(scope, row.block.owner) => BlockAccess::Write,
            _ => BlockAccess::Read,
        };
        Some(Block { access, ..row.block.clone() })
    }

    fn writable_block(&self, scope: &Scope, block: BlockId) -> Result<&BlockRow, StoreError> {
        self.blocks.get(&block).filter(|row| self.writes(scope, row.block.owner)).ok_or(missing("block"))
    }

    /// Conversations whose turns see the block render their prompt's head anew.
    pub(super) fn render_block_anew(&mut self, block: BlockId) {
        let Some(row) = self.blocks.get(&block) else { return };
        let seen_in = |c: &sid_types::Conversation| self.turn_access(c.agent, c.user, row).is_some();
        let affected: Vec<_> = self.threads.values().filter(|t| seen_in(&t.conversation)).map(|t| t.conversation.id).collect();
        for id in affected {
            if let Some(thread) = self.threads.get_mut(&id) {
                thread.conversation.prefix = None;
            }
        }
    }
}
