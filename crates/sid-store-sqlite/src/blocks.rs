//! `BlockStore`, and the blocks that a turn sees.

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{BlockEdit, BlockStore, BlockWrite, NewBlock, StoreError, check_influence};
use sid_types::{AgentId, Block, BlockAccess, BlockId, BlockOp, BlockTemplate, BlockVersion, Owner, Principal, Provenance, Scope, UserId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::backend::SqliteStore;
use crate::codec::{Columns, Id, nanos, to_json};
use crate::directory;
use crate::error::{Fault, Result, missing};
use crate::visibility::{Partition, Viewer, owner, render_anew};
use crate::writer::Tx;

/// The columns of [`Row::read`], of tables `b` (blocks) and `o` (partitions).
const COLUMNS: &str = "b.block, b.id, o.kind, o.a, o.b, b.label, b.description, b.value, b.limit_chars, b.version, b.updated_at";

/// A block's row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) number: i64,
    pub(crate) block: Block,
}

impl Row {
    fn read(row: &SqliteRow) -> Result<Self> {
        let block = Block {
            id: row.id(1)?,
            owner: owner(row, 2)?,
            label: row.text(5)?,
            description: row.text(6)?,
            value: row.text(7)?,
            limit_chars: u32::try_from(row.int(8)?).unwrap_or(u32::MAX),
            access: BlockAccess::Write,
            version: row.count(9)?,
            updated_at: row.time(10)?,
        };
        Ok(Self { number: row.int(0)?, block })
    }

    pub(crate) async fn find(conn: &mut SqliteConnection, tenant: i64, id: BlockId) -> Result<Option<Self>> {
        let sql = format!("SELECT {COLUMNS} FROM blocks b JOIN partitions o ON o.part = b.part WHERE b.tenant = ? AND b.id = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(id.blob()).fetch_optional(conn).await?;
        row.as_ref().map(Self::read).transpose()
    }

    /// The block as the scope sees it, if it does.
    async fn shown(conn: &mut SqliteConnection, viewer: &Viewer, mut row: Self) -> Result<Option<Self>> {
        let access = match viewer.scope.principal() {
            Principal::Turn { agent, user } => turn_access(conn, viewer, agent, user, &row).await?,
            _ if !viewer.sees(conn, row.block.owner).await? => None,
            _ if viewer.writes(conn, row.block.owner).await? => Some(BlockAccess::Write),
            _ => Some(BlockAccess::Read),
        };
        Ok(access.map(|access| {
            row.block.access = access;
            row
        }))
    }

    async fn visible(conn: &mut SqliteConnection, viewer: &Viewer, id: BlockId) -> Result<Self> {
        match Self::find(conn, viewer.tenant, id).await? {
            Some(row) => Ok(Self::shown(conn, viewer, row).await?.ok_or(missing("block"))?),
            None => Err(missing("block").into()),
        }
    }

    async fn writable(conn: &mut SqliteConnection, viewer: &Viewer, id: BlockId) -> Result<Self> {
        let row = Self::find(conn, viewer.tenant, id).await?.ok_or(missing("block"))?;
        if viewer.writes(conn, row.block.owner).await? { Ok(row) } else { Err(missing("block").into()) }
    }
}

#[async_trait]
impl BlockStore for SqliteStore {
    async fn create_block(&self, scope: &Scope, block: NewBlock) -> Result<Block, StoreError> {
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| {
            async move {
                if !viewer.writes(&mut tx.conn, block.owner).await? {
                    return Err(missing("owner").into());
                }
                check_length(&block.value, block.limit_chars)?;
                if let Owner::Pair { agent, user } = block.owner {
                    meet(tx, viewer.tenant, agent, user).await?;
                }
                let part = Partition::open(tx, viewer.tenant, block.owner).await?.part;
                let known = of_part(&mut tx.conn, part).await?.into_iter().find(|r| r.block.label == block.label);
                if let Some(row) = known {
                    let name = block.label;
                    return if row.block.id == block.id { Ok(row.block) } else { Err(StoreError::Exists { what: "block", name }.into()) };
                }
                let owner = block.owner;
                let created = insert(tx, viewer.tenant, part, block).await?;
                render_anew(tx, viewer.tenant, owner).await?;
                Ok(created)
            }
            .boxed()
        })
        .await
    }

    async fn blocks(&self, scope: &Scope, owner: Owner) -> Result<Vec<Block>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        if !viewer.sees(&mut conn, owner).await? {
            return Err(missing("owner"));
        }
        if let Owner::Pair { agent, user } = owner {
            let partition = Partition::find(&mut conn, viewer.tenant, owner).await?;
            let met = match partition {
                Some(partition) => have_met(&mut conn, partition.part).await?,
                None => false,
            };
            if !met {
                self.write(move |tx| async move { meet(tx, viewer.tenant, agent, user).await }.boxed()).await?;
            }
        }
        let Some(partition) = Partition::find(&mut conn, viewer.tenant, owner).await? else { return Ok(Vec::new()) };
        let mut shown = Vec::new();
        for row in of_part(&mut conn, partition.part).await? {
            shown.extend(Row::shown(&mut conn, &viewer, row).await?.map(|r| r.block));
        }
        Ok(shown)
    }

    async fn block(&self, scope: &Scope, block: BlockId) -> Result<Block, StoreError> {
        let viewer = self.viewer(scope).await?;
        Ok(Row::visible(&mut *self.reader().await?, &viewer, block).await?.block)
    }

    async fn write_block(&self, scope: &Scope, block: BlockId, write: BlockWrite) -> Result<Block, StoreError> {
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| {
            async move {
                let mut row = Row::writable(&mut tx.conn, &viewer, block).await?;
                if let Some(expected) = write.expected_version.filter(|v| *v != row.block.version) {
                    return Err(StoreError::Conflict { expected, found: row.block.version }.into());
                }
                let value = edited(&write.op, &row.block.value, row.block.limit_chars)?;
                store_version(tx, viewer.tenant, &mut row, write.op, value, &write.provenance).await?;
                render_block_anew(tx, viewer.tenant, &row).await?;
                Ok(row.block)
            }
            .boxed()
        })
        .await
    }

    async fn block_history(&self, scope: &Scope, block: BlockId, limit: usize) -> Result<Vec<BlockVersion>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        let row = Row::visible(&mut conn, &viewer, block).await?;
        let rows = sqlx::query(
            "SELECT version, edit, value_after, provenance, at FROM block_versions WHERE tenant = ? AND block = ?
             ORDER BY version DESC LIMIT ?",
        )
        .bind(viewer.tenant)
        .bind(row.number)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *conn)
        .await
        .map_err(Fault::Sql)?;
        let versions: Result<Vec<BlockVersion>> = rows.iter().map(|row| version(row, block)).collect();
        Ok(versions?)
    }

    async fn link_block(&self, scope: &Scope, block: BlockId, agent: AgentId, access: Option<BlockAccess>) -> Result<(), StoreError> {
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| {
            async move {
                let row = Row::writable(&mut tx.conn, &viewer, block).await?;
                directory::find_agent(&mut tx.conn, viewer.tenant, agent).await?.ok_or(missing("agent"))?;
                if let Owner::Team { team } = row.block.owner {
                    // Its own teams, and those that they are parts of.
                    let query = sqlx::query("SELECT 1 FROM agent_teams WHERE tenant = ? AND agent = ? AND team = ?");
                    let query = query.bind(viewer.tenant).bind(agent.blob()).bind(team.blob());
                    query.fetch_optional(&mut tx.conn).await?.ok_or(missing("agent"))?;
                }
                // Before as well as after: those who lose sight of it render anew, too.
                render_block_anew(tx, viewer.tenant, &row).await?;
                let sql = match access {
                    Some(_) => "INSERT OR REPLACE INTO block_links (tenant, agent, block, access) VALUES (?1, ?2, ?3, ?4)",
                    None => "DELETE FROM block_links WHERE tenant = ?1 AND agent = ?2 AND block = ?3",
                };
                sqlx::query(sql)
                    .bind(viewer.tenant)
                    .bind(agent.blob())
                    .bind(row.number)
                    .bind(access.map(access_number))
                    .execute(&mut tx.conn)
                    .await?;
                render_block_anew(tx, viewer.tenant, &row).await
            }
            .boxed()
        })
        .await
    }
}

/// One version, from a row of `version, edit, value_after, provenance, at`.
pub(crate) fn version(row: &SqliteRow, block: BlockId) -> Result<BlockVersion> {
    Ok(BlockVersion {
        block,
        version: row.count(0)?,
        edit: row.json(1)?,
        value_after: row.text(2)?,
        provenance: row.json(3)?,
        at: row.time(4)?,
    })
}

const fn access_number(access: BlockAccess) -> i64 {
    match access {
        BlockAccess::Read => 0,
        BlockAccess::Write => 1,
    }
}

const fn access(number: i64) -> BlockAccess {
    if number == 0 { BlockAccess::Read } else { BlockAccess::Write }
}

/// A partition's blocks, by label.
async fn of_part(conn: &mut SqliteConnection, part: i64) -> Result<Vec<Row>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM blocks b JOIN partitions o ON o.part = b.part
         WHERE b.part = ?1 AND b.tenant = (SELECT tenant FROM partitions WHERE part = ?1) ORDER BY b.label"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(part).fetch_all(conn).await?;
    rows.iter().map(Row::read).collect()
}

/// Whether a pair has its copies of the agent's block templates.
pub(crate) async fn have_met(conn: &mut SqliteConnection, part: i64) -> Result<bool> {
    let row = sqlx::query("SELECT has_met FROM partitions WHERE part = ?").bind(part).fetch_optional(conn).await?;
    row.map_or(Ok(false), |r| r.flag(0))
}

/// Makes a pair's copies of the agent's block templates, if the two have never met.
pub(crate) async fn meet(tx: &mut Tx, tenant: i64, agent: AgentId, user: UserId) -> Result<()> {
    let Some(known) = directory::find_agent(&mut tx.conn, tenant, agent).await? else { return Ok(()) };
    let owner = Owner::Pair { agent, user };
    let part = Partition::open(tx, tenant, owner).await?.part;
    let first = sqlx::query("UPDATE partitions SET has_met = 1 WHERE part = ? AND has_met = 0").bind(part).execute(&mut tx.conn).await?;
    if first.rows_affected() == 0 {
        return Ok(());
    }
    for template in known.spec.blocks {
        let BlockTemplate { label, description, value, limit_chars } = template;
        let provenance = Provenance { user: Some(user), channel: "template".into(), ..Provenance::default() };
        let new = NewBlock { id: BlockId::new(), owner, label, description, value, limit_chars, provenance };
        insert(tx, tenant, part, new).await?;
    }
    Ok(())
}

async fn insert(tx: &mut Tx, tenant: i64, part: i64, new: NewBlock) -> Result<Block> {
    let NewBlock { id, owner, label, description, value, limit_chars, provenance } = new;
    let block = Block { id, owner, label, description, value, limit_chars, access: BlockAccess::Write, version: 1, updated_at: tx.now };
    let done = sqlx::query(
        "INSERT INTO blocks (tenant, id, part, label, description, value, limit_chars, version, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?)",
    )
    .bind(tenant)
    .bind(id.blob())
    .bind(part)
    .bind(block.label.as_str())
    .bind(block.description.as_str())
    .bind(block.value.as_str())
    .bind(i64::from(limit_chars))
    .bind(nanos(tx.now))
    .execute(&mut tx.conn)
    .await
    .map_err(|error| match Fault::Sql(error) {
        f if f.is_unique_violation() => StoreError::Exists { what: "block", name: block.label.clone() }.into(),
        other => other,
    })?;
    let edit = BlockOp::Set { value: block.value.clone() };
    insert_version(tx, tenant, done.last_insert_rowid(), &block, edit, &provenance).await?;
    Ok(block)
}

async fn insert_version(tx: &mut Tx, tenant: i64, number: i64, block: &Block, edit: BlockOp, provenance: &Provenance) -> Result<()> {
    sqlx::query(
        "INSERT INTO block_versions (tenant, block, version, edit, value_after, provenance, source_conv, source_user, at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(tenant)
    .bind(number)
    .bind(block.version as i64)
    .bind(to_json(&edit)?)
    .bind(block.value.as_str())
    .bind(to_json(provenance)?)
    .bind(provenance.conversation.map(Id::blob))
    .bind(provenance.user.map(Id::blob))
    .bind(nanos(tx.now))
    .execute(&mut tx.conn)
    .await?;
    Ok(())
}

/// Stores the next version, whose value was checked.
async fn store_version(tx: &mut Tx, tenant: i64, row: &mut Row, op: BlockOp, value: String, provenance: &Provenance) -> Result<()> {
    let block = &mut row.block;
    (block.value, block.version, block.updated_at) = (value, block.version + 1, tx.now);
    sqlx::query("UPDATE blocks SET value = ?, version = ?, updated_at = ? WHERE block = ?")
        .bind(block.value.as_str())
        .bind(block.version as i64)
        .bind(nanos(tx.now))
        .bind(row.number)
        .execute(&mut tx.conn)
        .await?;
    insert_version(tx, tenant, row.number, &row.block, op, provenance).await
}

/// An edit that a turn makes in its commit.
pub(crate) async fn edit_in_turn(tx: &mut Tx, viewer: &Viewer, agent: AgentId, user: Option<UserId>, edit: BlockEdit) -> Result<()> {
    let mut row = Row::find(&mut tx.conn, viewer.tenant, edit.block).await?.ok_or(missing("block"))?;
    if turn_access(&mut tx.conn, viewer, agent, user, &row).await? != Some(BlockAccess::Write) {
        return Err(missing("block").into());
    }
    if !edit.provenance.untrusted.is_empty() {
        let linked = sqlx::query("SELECT 1 FROM block_links WHERE tenant = ? AND block = ? AND agent <> ?");
        let linked = linked.bind(viewer.tenant).bind(row.number).bind(agent.blob()).fetch_optional(&mut tx.conn).await?;
        check_influence(&edit, row.block.owner, linked.is_some(), agent, user)?;
    }
    if row.block.version != edit.expected_version {
        return Err(StoreError::Conflict { expected: edit.expected_version, found: row.block.version }.into());
    }
    let value = edited(&edit.op, &row.block.value, row.block.limit_chars)?;
    store_version(tx, viewer.tenant, &mut row, edit.op, value, &edit.provenance).await
}

/// What a turn may do with a block, if it sees it at all.
///
/// Pairs write their own blocks, an agent alone the agent's; both read the others that they see. A link to the agent raises that to what it says, and shows blocks of
/// *other* agents; but what belongs to a user or a team is never shown to a turn of somebody else.
async fn turn_access(
    conn: &mut SqliteConnection,
    viewer: &Viewer,
    agent: AgentId,
    user: Option<UserId>,
    row: &Row,
) -> Result<Option<BlockAccess>> {
    let link = sqlx::query("SELECT access FROM block_links WHERE tenant = ? AND agent = ? AND block = ?")
        .bind(viewer.tenant)
        .bind(agent.blob())
        .bind(row.number)
        .fetch_optional(&mut *conn)
        .await?;
    let linked = link.map(|r| r.int(0)).transpose()?.map(access);
    let turn = Viewer { tenant: viewer.tenant, scope: viewer.scope.turn(agent, user) };
    Ok(match row.block.owner {
        Owner::Pair { agent: a, user: u } if a == agent && Some(u) == user => Some(BlockAccess::Write),
        Owner::Agent { agent: a } if a == agent && user.is_none() => Some(BlockAccess::Write),
        Owner::Pair { user: u, .. } => linked.filter(|_| Some(u) == user),
        Owner::Agent { agent: a } if a != agent => linked,
        Owner::User { user: u } if Some(u) != user => None,
        owner @ Owner::Team { .. } if !turn.sees(conn, owner).await? => None,
        Owner::Agent { .. } | Owner::User { .. } | Owner::Team { .. } | Owner::Tenant => Some(linked.unwrap_or(BlockAccess::Read)),
    })
}

/// Core memory of a turn, ordered by label, then id. The same rules as [`turn_access`], for all blocks in one statement.
pub(crate) async fn of_turn(conn: &mut SqliteConnection, viewer: &Viewer, agent: AgentId, user: Option<UserId>) -> Result<Vec<Block>> {
    let sql = format!(
        "WITH seen (part) AS (
            SELECT part FROM partitions WHERE tenant = ?1 AND kind = 0
            UNION ALL SELECT part FROM partitions WHERE tenant = ?1 AND kind = 2 AND a = ?3
            UNION ALL SELECT part FROM partitions WHERE tenant = ?1 AND kind = 3 AND a = ?2
            UNION ALL SELECT part FROM partitions WHERE tenant = ?1 AND kind = 4 AND a = ?2 AND b = ?3
            UNION ALL SELECT p.part FROM team_members m CROSS JOIN agent_teams g ON g.tenant = ?1 AND g.agent = ?2 AND g.team = m.team
                CROSS JOIN partitions p ON p.tenant = ?1 AND p.kind = 1 AND p.a = m.team WHERE m.tenant = ?1 AND m.user = ?3)
         SELECT {COLUMNS}, l.access FROM seen s CROSS JOIN blocks b ON b.tenant = ?1 AND b.part = s.part CROSS JOIN partitions o ON o.part = b.part
            LEFT JOIN block_links l ON l.tenant = ?1 AND l.agent = ?2 AND l.block = b.block
         UNION ALL
         SELECT {COLUMNS}, l.access FROM block_links l CROSS JOIN blocks b ON b.block = l.block CROSS JOIN partitions o ON o.part = b.part
            WHERE l.tenant = ?1 AND l.agent = ?2 AND o.a <> ?2 AND (o.kind = 3 OR (o.kind = 4 AND o.b = ?3))"
    );
    let rows =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(viewer.tenant).bind(agent.blob()).bind(user.map(Id::blob)).fetch_all(conn).await?;
    let mut blocks = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut block = Row::read(row)?.block;
        let linked = row.maybe_int(11)?.map(access);
        let is_own = block.owner == Owner::of_conversation(agent, user);
        block.access = if is_own { BlockAccess::Write } else { linked.unwrap_or(BlockAccess::Read) };
        blocks.push(block);
    }
    blocks.sort_by(|a, b| a.label.cmp(&b.label).then(a.id.cmp(&b.id)));
    Ok(blocks)
}

/// Conversations whose turns see the block render their prompt's head anew.
pub(crate) async fn render_block_anew(tx: &mut Tx, tenant: i64, row: &Row) -> Result<()> {
    render_anew(tx, tenant, row.block.owner).await?;
    sqlx::query(
        "UPDATE conversation_heads SET prefix = NULL WHERE prefix IS NOT NULL AND conv IN (
            SELECT c.conv FROM block_links l CROSS JOIN conversations c ON c.tenant = l.tenant AND c.agent = l.agent
            WHERE l.block = ?1 AND (?2 IS NULL OR c.user = ?2))",
    )
    .bind(row.number)
    .bind(row.block.owner.user().map(Id::blob))
    .execute(&mut tx.conn)
    .await?;
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
