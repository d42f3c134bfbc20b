//! `BlockStore`, and the blocks that a turn edits.

use async_trait::async_trait;
use sid_store::{BlockEdit, BlockStore, BlockWrite, NewBlock, StoreError, check_influence};
use sid_types::{AgentId, Block, BlockAccess, BlockId, BlockOp, BlockTemplate, BlockVersion, Owner, Principal, Provenance, Scope, UserId};
use sqlx::postgres::PgRow;

use crate::backend::PgStore;
use crate::codec::{At, Columns, Id, clean, limit, to_json};
use crate::directory;
use crate::error::{Fault, Result, missing};
use crate::rows::BlockRow;
use crate::tx::Tx;
use crate::visibility::{Partition, Viewer, render_anew};

/// A block as [`BlockRow`] reads it.
const BLOCK: &str =
    "SELECT row_to_json(x)::text FROM (SELECT b.id, o.kind, o.a, o.b, b.label, b.description, b.value, b.limit_chars, b.version,
    b.updated_at FROM sid.blocks b JOIN sid.partitions o ON o.tenant = b.tenant AND o.part = b.part";

pub(crate) async fn find(tx: &mut Tx, id: BlockId, is_written: bool) -> Result<Option<Block>> {
    let lock = if is_written { " FOR UPDATE OF b" } else { "" };
    let query = tx.query_of(format!("{BLOCK} WHERE b.tenant = $1 AND b.id = $2{lock}) x"));
    let row = query.bind(tx.tenant).bind(id.uuid()).fetch_optional(tx.conn()).await?;
    row.map(|r| Ok(r.json::<BlockRow>(0)?.block()?)).transpose()
}

/// The block as the scope sees it, if it does.
async fn shown(tx: &mut Tx, viewer: &Viewer, mut block: Block) -> Result<Option<Block>> {
    let access = match viewer.scope.principal() {
        Principal::Turn { agent, user } => turn_access(tx, viewer, agent, user, &block).await?,
        _ if !viewer.sees(tx, block.owner).await? => None,
        _ if viewer.writes(tx, block.owner).await? => Some(BlockAccess::Write),
        _ => Some(BlockAccess::Read),
    };
    Ok(access.map(|access| {
        block.access = access;
        block
    }))
}

async fn visible(tx: &mut Tx, viewer: &Viewer, id: BlockId) -> Result<Block> {
    match find(tx, id, false).await? {
        Some(block) => Ok(shown(tx, viewer, block).await?.ok_or(missing("block"))?),
        None => Err(missing("block").into()),
    }
}

/// The block, locked, if the scope may write it.
async fn writable(tx: &mut Tx, viewer: &Viewer, id: BlockId) -> Result<Block> {
    let block = find(tx, id, true).await?.ok_or(missing("block"))?;
    if viewer.writes(tx, block.owner).await? { Ok(block) } else { Err(missing("block").into()) }
}

#[async_trait]
impl BlockStore for PgStore {
    async fn create_block(&self, scope: &Scope, block: NewBlock) -> Result<Block, StoreError> {
        let mut tx = self.begin(scope.tenant()).await?;
        let viewer = self.viewer(scope);
        let outcome = create(&mut tx, &viewer, block).await;
        tx.finish(outcome).await
    }

    async fn blocks(&self, scope: &Scope, owner: Owner) -> Result<Vec<Block>, StoreError> {
        let viewer = self.viewer(scope);
        let mut tx = self.read(scope.tenant()).await?;
        if !viewer.sees(&mut tx, owner).await? {
            return Err(missing("owner"));
        }
        if let Owner::Pair { agent, user } = owner
            && !have_met(&mut tx, owner).await?
        {
            drop(tx);
            let mut first = self.begin(scope.tenant()).await?;
            meet(&mut first, agent, user).await?;
            first.commit().await?;
            tx = self.read(scope.tenant()).await?;
        }
        let Some(partition) = Partition::find(&mut tx, owner).await? else { return Ok(Vec::new()) };
        let mut blocks = Vec::new();
        for block in of_part(&mut tx, partition.part).await? {
            blocks.extend(shown(&mut tx, &viewer, block).await?);
        }
        Ok(blocks)
    }

    async fn block(&self, scope: &Scope, block: BlockId) -> Result<Block, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        Ok(visible(&mut tx, &self.viewer(scope), block).await?)
    }

    async fn write_block(&self, scope: &Scope, block: BlockId, write: BlockWrite) -> Result<Block, StoreError> {
        let mut tx = self.begin(scope.tenant()).await?;
        let viewer = self.viewer(scope);
        let outcome = async {
            let mut block = writable(&mut tx, &viewer, block).await?;
            if let Some(expected) = write.expected_version.filter(|v| *v != block.version) {
                return Err(StoreError::Conflict { expected, found: block.version }.into());
            }
            let value = edited(&write.op, &block.value, block.limit_chars)?;
            store_version(&mut tx, &mut block, write.op, value, &write.provenance).await?;
            render_block_anew(&mut tx, &block).await?;
            Ok(block)
        }
        .await;
        tx.finish(outcome).await
    }

    async fn block_history(&self, scope: &Scope, block: BlockId, most: usize) -> Result<Vec<BlockVersion>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        visible(&mut tx, &self.viewer(scope), block).await?;
        let query = tx.query(
            "SELECT version, edit, value_after, provenance, at FROM sid.block_versions WHERE tenant = $1 AND block = $2
             ORDER BY version DESC LIMIT $3",
        );
        let rows = query.bind(tx.tenant).bind(block.uuid()).bind(limit(most)).fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let versions: Result<Vec<BlockVersion>> = rows.iter().map(|row| version(row, block)).collect();
        Ok(versions?)
    }

    async fn link_block(&self, scope: &Scope, block: BlockId, agent: AgentId, access: Option<BlockAccess>) -> Result<(), StoreError> {
        let mut tx = self.begin(scope.tenant()).await?;
        let viewer = self.viewer(scope);
        let outcome = async {
            let block = writable(&mut tx, &viewer, block).await?;
            directory::find_agent(&mut tx, agent).await?.ok_or(missing("agent"))?;
            if let Owner::Team { team } = block.owner {
                // Its own teams, and those that they are parts of.
                let query = tx.query("SELECT 1 FROM sid.agent_teams WHERE tenant = $1 AND agent_id = $2 AND team_id = $3");
                let query = query.bind(tx.tenant).bind(agent.uuid()).bind(team.uuid());
                query.fetch_optional(tx.conn()).await?.ok_or(missing("agent"))?;
            }
            // Before as well as after: those who lose sight of it render anew, too.
            render_block_anew(&mut tx, &block).await?;
            let sql = match access {
                Some(_) => {
                    "INSERT INTO sid.block_links (tenant, agent_id, block, access) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (tenant, agent_id, block) DO UPDATE SET access = excluded.access"
                }
                None => "DELETE FROM sid.block_links WHERE tenant = $1 AND agent_id = $2 AND block = $3 AND $4::smallint IS NULL",
            };
            let query = tx.query(sql).bind(tx.tenant).bind(agent.uuid()).bind(block.id.uuid()).bind(access.map(access_number));
            query.execute(tx.conn()).await?;
            render_block_anew(&mut tx, &block).await
        }
        .await;
        tx.finish(outcome).await
    }
}

async fn create(tx: &mut Tx, viewer: &Viewer, block: NewBlock) -> Result<Block> {
    if !viewer.writes(tx, block.owner).await? {
        return Err(missing("owner").into());
    }
    check_length(&block.value, block.limit_chars)?;
    if let Owner::Pair { agent, user } = block.owner {
        meet(tx, agent, user).await?;
    }
    let part = Partition::open(tx, block.owner).await?;
    let known = of_part(tx, part).await?.into_iter().find(|b| b.label == block.label);
    if let Some(known) = known {
        let name = block.label;
        return if known.id == block.id { Ok(known) } else { Err(StoreError::Exists { what: "block", name }.into()) };
    }
    let owner = block.owner;
    let created = insert(tx, part, block).await?;
    render_anew(tx, owner).await?;
    Ok(created)
}

/// One version, from a row of `version, edit, value_after, provenance, at`.
pub(crate) fn version(row: &PgRow, block: BlockId) -> Result<BlockVersion> {
    Ok(BlockVersion {
        block,
        version: row.count(0)?,
        edit: row.json(1)?,
        value_after: row.text(2)?,
        provenance: row.json(3)?,
        at: row.time(4)?,
    })
}

const fn access_number(access: BlockAccess) -> i16 {
    match access {
        BlockAccess::Read => 0,
        BlockAccess::Write => 1,
    }
}

/// A partition's blocks, by label.
async fn of_part(tx: &mut Tx, part: i64) -> Result<Vec<Block>> {
    let query = tx.query_of(format!("{BLOCK} WHERE b.tenant = $1 AND b.part = $2) x"));
    let rows = query.bind(tx.tenant).bind(part).fetch_all(tx.conn()).await?;
    let mut blocks: Vec<Block> = rows.iter().map(|row| Ok(row.json::<BlockRow>(0)?.block()?)).collect::<Result<_>>()?;
    // Not left to the database: its collation is not ours.
    blocks.sort_by(|a, b| a.label.cmp(&b.label));
    Ok(blocks)
}

/// Whether a pair has its copies of the agent's block templates.
async fn have_met(tx: &mut Tx, owner: Owner) -> Result<bool> {
    let (kind, a, b) = crate::visibility::columns(owner);
    let query = tx.query("SELECT has_met FROM sid.partitions WHERE tenant = $1 AND kind = $2 AND a = $3 AND b = $4");
    let row = query.bind(tx.tenant).bind(kind).bind(a).bind(b).fetch_optional(tx.conn()).await?;
    row.map_or(Ok(false), |r| r.flag(0))
}

/// Makes a pair's copies of the agent's block templates, if the two have never met.
pub(crate) async fn meet(tx: &mut Tx, agent: AgentId, user: UserId) -> Result<()> {
    let Some(known) = directory::find_agent(tx, agent).await? else { return Ok(()) };
    let owner = Owner::Pair { agent, user };
    let part = Partition::open(tx, owner).await?;
    // Two who come at once: the second waits here for the first, and finds that there is nothing left to do.
    let query = tx.query("UPDATE sid.partitions SET has_met = true WHERE tenant = $1 AND part = $2 AND NOT has_met");
    if query.bind(tx.tenant).bind(part).execute(tx.conn()).await?.rows_affected() == 0 {
        return Ok(());
    }
    for template in known.spec.blocks {
        let BlockTemplate { label, description, value, limit_chars } = template;
        let provenance = Provenance { user: Some(user), channel: "template".into(), ..Provenance::default() };
        let new = NewBlock { id: BlockId::new(), owner, label, description, value, limit_chars, provenance };
        insert(tx, part, new).await?;
    }
    Ok(())
}

async fn insert(tx: &mut Tx, part: i64, new: NewBlock) -> Result<Block> {
    let NewBlock { id, owner, label, description, value, limit_chars, provenance } = new;
    let block = Block { id, owner, label, description, value, limit_chars, access: BlockAccess::Write, version: 1, updated_at: tx.now };
    let query = tx.query(
        "INSERT INTO sid.blocks (tenant, id, part, label, description, value, limit_chars, version, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8)",
    );
    query
        .bind(tx.tenant)
        .bind(id.uuid())
        .bind(part)
        .bind(clean(&block.label).into_owned())
        .bind(clean(&block.description).into_owned())
        .bind(clean(&block.value).into_owned())
        .bind(i64::from(limit_chars))
        .bind(At(tx.now))
        .execute(tx.conn())
        .await
        .map_err(|error| directory::taken(error, "block", &block.label))?;
    let edit = BlockOp::Set { value: block.value.clone() };
    insert_version(tx, &block, &edit, &provenance).await?;
    Ok(block)
}

async fn insert_version(tx: &mut Tx, block: &Block, edit: &BlockOp, provenance: &Provenance) -> Result<()> {
    let query = tx.query(
        "INSERT INTO sid.block_versions (tenant, block, version, edit, value_after, provenance, source_conv, source_user, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    );
    query
        .bind(tx.tenant)
        .bind(block.id.uuid())
        .bind(block.version as i64)
        .bind(to_json(edit)?)
        .bind(clean(&block.value).into_owned())
        .bind(to_json(provenance)?)
        .bind(provenance.conversation.map(Id::raw))
        .bind(provenance.user.map(Id::raw))
        .bind(At(tx.now))
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Stores the next version of a locked block, whose value was checked.
async fn store_version(tx: &mut Tx, block: &mut Block, op: BlockOp, value: String, provenance: &Provenance) -> Result<()> {
    (block.value, block.version, block.updated_at) = (value, block.version + 1, tx.now);
    let query = tx.query("UPDATE sid.blocks SET value = $3, version = $4, updated_at = $5 WHERE tenant = $1 AND id = $2");
    query
        .bind(tx.tenant)
        .bind(block.id.uuid())
        .bind(clean(&block.value).into_owned())
        .bind(block.version as i64)
        .bind(At(tx.now))
        .execute(tx.conn())
        .await?;
    insert_version(tx, block, &op, provenance).await
}

/// An edit that a turn makes in its commit.
pub(crate) async fn edit_in_turn(tx: &mut Tx, viewer: &Viewer, agent: AgentId, user: Option<UserId>, edit: BlockEdit) -> Result<()> {
    let mut block = find(tx, edit.block, true).await?.ok_or(missing("block"))?;
    if turn_access(tx, viewer, agent, user, &block).await? != Some(BlockAccess::Write) {
        return Err(missing("block").into());
    }
    if !edit.provenance.untrusted.is_empty() {
        let query = tx.query("SELECT 1 FROM sid.block_links WHERE tenant = $1 AND block = $2 AND agent_id <> $3");
        let linked = query.bind(tx.tenant).bind(block.id.uuid()).bind(agent.uuid()).fetch_optional(tx.conn()).await?;
        check_influence(&edit, block.owner, linked.is_some(), agent, user)?;
    }
    if block.version != edit.expected_version {
        return Err(StoreError::Conflict { expected: edit.expected_version, found: block.version }.into());
    }
    let value = edited(&edit.op, &block.value, block.limit_chars)?;
    store_version(tx, &mut block, edit.op, value, &edit.provenance).await
}

/// What a turn may do with a block, if it sees it at all: the rules of `sid.turn_blocks`, for one.
async fn turn_access(tx: &mut Tx, viewer: &Viewer, agent: AgentId, user: Option<UserId>, block: &Block) -> Result<Option<BlockAccess>> {
    let query = tx.query("SELECT access FROM sid.block_links WHERE tenant = $1 AND agent_id = $2 AND block = $3");
    let link = query.bind(tx.tenant).bind(agent.uuid()).bind(block.id.uuid()).fetch_optional(tx.conn()).await?;
    let linked = link.map(|r| r.small(0)).transpose()?.map(|a| if a == 0 { BlockAccess::Read } else { BlockAccess::Write });
    let turn = Viewer { scope: viewer.scope.turn(agent, user) };
    Ok(match block.owner {
        Owner::Pair { agent: a, user: u } if a == agent && Some(u) == user => Some(BlockAccess::Write),
        Owner::Agent { agent: a } if a == agent && user.is_none() => Some(BlockAccess::Write),
        Owner::Pair { user: u, .. } => linked.filter(|_| Some(u) == user),
        Owner::Agent { agent: a } if a != agent => linked,
        Owner::User { user: u } if Some(u) != user => None,
        owner @ Owner::Team { .. } if !turn.sees(tx, owner).await? => None,
        Owner::Agent { .. } | Owner::User { .. } | Owner::Team { .. } | Owner::Tenant => Some(linked.unwrap_or(BlockAccess::Read)),
    })
}

/// Conversations whose turns see the block render their prompt's head anew.
pub(crate) async fn render_block_anew(tx: &mut Tx, block: &Block) -> Result<()> {
    render_anew(tx, block.owner).await?;
    let query = tx.query(
        "UPDATE sid.conversation_heads SET prefix = NULL WHERE tenant = $1 AND prefix IS NOT NULL AND conv IN (
            SELECT c.id FROM sid.block_links l JOIN sid.conversations c ON c.tenant = l.tenant AND c.agent_id = l.agent_id
            WHERE l.tenant = $1 AND l.block = $2 AND ($3::uuid IS NULL OR c.user_id = $3))",
    );
    query.bind(tx.tenant).bind(block.id.uuid()).bind(block.owner.user().map(Id::raw)).execute(tx.conn()).await?;
    Ok(())
}

/// The value after an edit that fits.
fn edited(op: &BlockOp, value: &str, limit_chars: u32) -> Result<String, StoreError> {
    let value = op.apply(value).ok_or_else(|| StoreError::Invalid("the text to be replaced is not in the block".into()))?;
    check_length(&value, limit_chars)?;
    Ok(value)
}

/// Whether a block may have this value.
fn check_length(value: &str, limit_chars: u32) -> Result<(), StoreError> {
    let (size, limit) = (value.chars().count() as u64, u64::from(limit_chars));
    if size > limit { Err(StoreError::TooLarge { what: "block (characters)", size, limit }) } else { Ok(()) }
}
