//! `Eraser`: forgetting, with all that derives from what is forgotten. One transaction each.

mod blocks;
mod files;
mod pages;
mod traces;

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{EraseTarget, Eraser, Receipt, RecordId, StoreError, Told};
use sid_types::{AgentId, ConversationId, NewMessage, Principal, Scope, UserId};

use crate::archival::{Known, remove};
use crate::backend::SqliteStore;
use crate::codec::{Columns, Id, nanos};
use crate::directory;
use crate::documents;
use crate::error::{Result, missing};
use crate::images;
use crate::items::erase_items;
use crate::partitions::IndexChange;
use crate::tasks;
use crate::visibility::{Conv, Partition, Viewer, owner, render_anew};
use crate::webhooks;
use crate::writer::{After, Tx};

#[async_trait]
impl Eraser for SqliteStore {
    async fn erase(&self, scope: &Scope, target: EraseTarget) -> Result<Receipt, StoreError> {
        let viewer = self.viewer(scope).await?;
        let receipt = self.write(move |tx| erase(tx, viewer, target).boxed()).await?;
        // It is forgotten, whatever becomes of this: no query finds what is left in unused parts of the files.
        if let Err(error) = files::clean(self, !matches!(target, EraseTarget::Conversation(_))).await {
            tracing::warn!(%error, "bytes of what was erased may stay in unused parts of the store's files until a later erasure or stop");
        }
        Ok(receipt)
    }
}

async fn erase(tx: &mut Tx, viewer: Viewer, target: EraseTarget) -> Result<Receipt> {
    let mut receipt = Receipt::default();
    match target {
        EraseTarget::Conversation(id) => {
            let conv = Conv::get(&mut tx.conn, &viewer, id).await?;
            if matches!(viewer.scope.principal(), Principal::Turn { .. }) {
                return Err(missing("conversation").into());
            }
            erase_conversation(tx, &viewer, &conv, &mut receipt).await?;
        }
        EraseTarget::Idle { conversation, since } => {
            let conv = Conv::get(&mut tx.conn, &viewer, conversation).await?;
            let query = sqlx::query("SELECT 1 FROM conversations WHERE conv = ? AND head IS NULL AND ifnull(last_at, created_at) < ?");
            let idle = query.bind(conv.conv).bind(nanos(since)).fetch_optional(&mut tx.conn).await?;
            if idle.is_none() || matches!(viewer.scope.principal(), Principal::Turn { .. }) {
                return Err(missing("conversation").into());
            }
            erase_conversation(tx, &viewer, &conv, &mut receipt).await?;
        }
        EraseTarget::User(user) => {
            if !viewer.scope.is_tenant_wide() || directory::find_user(&mut tx.conn, viewer.tenant, user).await?.is_none() {
                return Err(missing("user").into());
            }
            erase_user(tx, &viewer, user, &mut receipt).await?;
            webhooks::tell(tx, viewer.tenant, &Told::of_erased(user))?;
        }
        EraseTarget::Agent(agent) => {
            if !viewer.scope.is_tenant_wide() || directory::find_agent(&mut tx.conn, viewer.tenant, agent).await?.is_none() {
                return Err(missing("agent").into());
            }
            erase_agent(tx, &viewer, agent, &mut receipt).await?;
        }
    }
    Ok(receipt)
}

async fn erase_user(tx: &mut Tx, viewer: &Viewer, user: UserId, receipt: &mut Receipt) -> Result<()> {
    erase_conversations(tx, viewer, "SELECT id FROM conversations WHERE tenant = ? AND user = ?", user.blob(), receipt).await?;
    let whose = "SELECT part, kind, a, b FROM partitions WHERE tenant = ?1 AND kind = 2 AND a = ?2
                 UNION ALL SELECT part, kind, a, b FROM partitions INDEXED BY partitions_by_user WHERE tenant = ?1 AND kind = 4 AND b = ?2";
    erase_owners(tx, viewer, whose, user.blob(), receipt).await?;
    receipt.items += erase_items(tx, viewer.tenant, "SELECT id FROM items WHERE tenant = ?1 AND of_user = ?2", user.blob()).await?;
    forget_names(tx, viewer.tenant, user).await?;
    let mut principal = vec![b'u'];
    principal.extend(user.blob());
    receipt.tasks += tasks::erase(tx, viewer.tenant, "user = ?2", user.blob()).await?;
    sqlx::query(
        "DELETE FROM team_members WHERE tenant = ?1 AND user = ?2;
         DELETE FROM item_shares WHERE tenant = ?1 AND with_kind = 0 AND with_id = ?2;
         DELETE FROM idempotency WHERE tenant = ?1 AND principal = ?3;
         DELETE FROM api_keys WHERE tenant_id = ?4 AND user_id = ?2;
         DELETE FROM timers WHERE tenant = ?1 AND user = ?2;
         DELETE FROM documents WHERE tenant = ?1 AND (owner_kind = 2 AND a = ?2 OR owner_kind = 4 AND b = ?2);
         DELETE FROM image_use WHERE tenant = ?1 AND who = ?2;
         DELETE FROM deliveries WHERE tenant = ?1 AND user = ?2;
         DELETE FROM users WHERE tenant = ?1 AND id = ?2",
    )
    .bind(viewer.tenant)
    .bind(user.blob())
    .bind(principal)
    .bind(viewer.tenant_id().blob())
    .execute(&mut tx.conn)
    .await?;
    Ok(())
}

/// Takes names out of the audit log that were the person's: the handle, and what the person has called things. Who did what with whose
/// memory stays, by ids.
async fn forget_names(tx: &mut Tx, tenant: i64, user: UserId) -> Result<()> {
    sqlx::query(
        "UPDATE audit SET resource = NULL WHERE tenant = ?1 AND (user = ?2 OR subject = ?2)
            AND NOT (length(resource) = instr(resource, '_') + 26 AND substr(resource, 1, instr(resource, '_') - 1)
                IN ('agent', 'blk', 'conv', 'item', 'key', 'psg', 'run', 'team', 'user'));
         UPDATE audit SET resource = NULL WHERE tenant = ?1
            AND instr('/' || resource || '/', '/@' || (SELECT handle FROM users WHERE tenant = ?1 AND id = ?2) || '/') > 0",
    )
    .bind(tenant)
    .bind(user.blob())
    .execute(&mut tx.conn)
    .await?;
    Ok(())
}

async fn erase_agent(tx: &mut Tx, viewer: &Viewer, agent: AgentId, receipt: &mut Receipt) -> Result<()> {
    erase_conversations(tx, viewer, "SELECT id FROM conversations WHERE tenant = ? AND agent = ?", agent.blob(), receipt).await?;
    let whose = "SELECT part, kind, a, b FROM partitions WHERE tenant = ?1 AND kind IN (3, 4) AND a = ?2";
    erase_owners(tx, viewer, whose, agent.blob(), receipt).await?;
    let items = "SELECT id FROM items WHERE tenant = ?1 AND owner_kind IN (3, 4) AND a = ?2";
    receipt.items += erase_items(tx, viewer.tenant, items, agent.blob()).await?;
    receipt.tasks += tasks::erase(tx, viewer.tenant, "agent = ?2 OR creator = ?2", agent.blob()).await?;
    sqlx::query(
        "DELETE FROM block_links WHERE tenant = ?1 AND agent = ?2;
         DELETE FROM agent_teams WHERE tenant = ?1 AND agent = ?2;
         DELETE FROM api_keys WHERE tenant_id = ?3 AND agent_id = ?2;
         DELETE FROM timers WHERE tenant = ?1 AND agent = ?2;
         DELETE FROM documents WHERE tenant = ?1 AND owner_kind IN (3, 4) AND a = ?2;
         DELETE FROM deliveries WHERE tenant = ?1 AND agent = ?2;
         DELETE FROM agents WHERE tenant = ?1 AND id = ?2",
    )
    .bind(viewer.tenant)
    .bind(agent.blob())
    .bind(viewer.tenant_id().blob())
    .execute(&mut tx.conn)
    .await?;
    Ok(())
}

async fn erase_conversations(tx: &mut Tx, viewer: &Viewer, which: &'static str, id: Vec<u8>, receipt: &mut Receipt) -> Result<()> {
    let rows = sqlx::query(which).bind(viewer.tenant).bind(id).fetch_all(&mut tx.conn).await?;
    for row in &rows {
        let id: ConversationId = row.id(0)?;
        if let Some(conv) = Conv::find(&mut tx.conn, viewer.tenant, viewer.tenant_id(), id).await? {
            erase_conversation(tx, viewer, &conv, receipt).await?;
        }
    }
    Ok(())
}

async fn erase_conversation(tx: &mut Tx, viewer: &Viewer, conv: &Conv, receipt: &mut Receipt) -> Result<()> {
    receipt.conversations += 1;
    receipt.tasks += tasks::erase(tx, conv.tenant, "conv = ?2 OR report_to = ?2", conv.id.blob()).await?;
    let redacted = traces::redact_quotes(tx, conv).await?;
    receipt.redacted += redacted;
    let passages = erase_passages_of(tx, conv, receipt).await?;
    let items = "SELECT id FROM items WHERE tenant = ?1 AND source_conv = ?2";
    receipt.items += erase_items(tx, conv.tenant, items, conv.id.blob()).await?;
    documents::erase_of_conversation(tx, conv.tenant, conv.id.blob()).await?;
    pages::erase_telling(tx, conv, receipt).await?;
    receipt.block_versions += blocks::take_back(tx, viewer, conv.id).await?;
    traces::forget_pair(tx, conv).await?;
    traces::forget_named(tx, conv.tenant, &passages).await?;
    images::erase(tx, conv.tenant, conv.id).await?;
    erase_runs(tx, conv, receipt).await?;
    erase_messages(tx, conv, receipt).await?;
    sqlx::query(
        "DELETE FROM timers WHERE tenant = ?2 AND conv = ?3; DELETE FROM deliveries WHERE tenant = ?2 AND conv = ?3;
         DELETE FROM conversation_heads WHERE conv = ?1;
         DELETE FROM conversations WHERE conv = ?1",
    )
    .bind(conv.conv)
    .bind(conv.tenant)
    .bind(conv.id.blob())
    .execute(&mut tx.conn)
    .await?;
    pages::look_again(tx, conv).await?;
    render_anew(tx, conv.tenant, conv.owner()).await
}

/// Passages that were written in the conversation; answers those that other owners' turns may have been shown.
async fn erase_passages_of(tx: &mut Tx, conv: &Conv, receipt: &mut Receipt) -> Result<Vec<RecordId>> {
    let rows = sqlx::query(
        "SELECT p.rid, p.part, p.created_at, p.id, o.kind, o.a, o.b, p.provenance FROM passages p JOIN partitions o ON o.part = p.part
         WHERE p.tenant = ? AND p.source_conv = ?",
    )
    .bind(conv.tenant)
    .bind(conv.id.blob())
    .fetch_all(&mut tx.conn)
    .await?;
    let mut elsewhere = Vec::new();
    for row in &rows {
        let (rid, part, created_at) = (row.int(0)?, row.int(1)?, row.int(2)?);
        let known = Known { rid, part, created_at, id: row.id(3)?, owner: owner(row, 4)?, provenance: row.json(7)? };
        receipt.vectors += remove(tx, &known).await?;
        receipt.passages += 1;
        if known.owner != conv.owner() {
            elsewhere.push(RecordId::Passage(known.id));
        }
    }
    Ok(elsewhere)
}

async fn erase_runs(tx: &mut Tx, conv: &Conv, receipt: &mut Receipt) -> Result<()> {
    let rows = sqlx::query("SELECT id, waiting FROM runs WHERE tenant = ? AND conv = ?")
        .bind(conv.tenant)
        .bind(conv.conv)
        .fetch_all(&mut tx.conn)
        .await?;
    for row in &rows {
        receipt.runs += 1;
        if let Some(waiting) = row.maybe_text(1)? {
            receipt.messages += serde_json::from_str::<Vec<NewMessage>>(&waiting)?.len() as u64;
        }
        // Those who follow it learn that it is gone.
        tx.then(After::Events(conv.tenant_id, row.id(0)?));
    }
    sqlx::query(
        "DELETE FROM events WHERE tenant = ?1 AND run IN (SELECT run FROM runs WHERE tenant = ?1 AND conv = ?2);
         DELETE FROM waiting_messages WHERE run IN (SELECT run FROM runs WHERE tenant = ?1 AND conv = ?2);
         DELETE FROM steps WHERE tenant = ?1 AND run IN (SELECT run FROM runs WHERE tenant = ?1 AND conv = ?2);
         DELETE FROM idempotency WHERE tenant = ?1 AND run IN (SELECT id FROM runs WHERE tenant = ?1 AND conv = ?2);
         DELETE FROM approvals WHERE conv = ?2;
         DELETE FROM runs WHERE tenant = ?1 AND conv = ?2",
    )
    .bind(conv.tenant)
    .bind(conv.conv)
    .execute(&mut tx.conn)
    .await?;
    Ok(())
}

async fn erase_messages(tx: &mut Tx, conv: &Conv, receipt: &mut Receipt) -> Result<()> {
    const OF: &str = "SELECT rid FROM messages WHERE tenant = ?1 AND conv = ?2";
    let counts = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT count(*), count(part), (SELECT count(*) FROM vectors WHERE rid IN ({OF}) AND length(vector) > 0)
         FROM messages WHERE tenant = ?1 AND conv = ?2"
    )))
    .bind(conv.tenant)
    .bind(conv.conv)
    .fetch_one(&mut tx.conn)
    .await?;
    receipt.messages += counts.count(0)?;
    receipt.vectors += counts.count(2)?;
    let state = sqlx::query("UPDATE partitions SET records = records - ? WHERE part = ? RETURNING is_full_text")
        .bind(counts.int(1)?)
        .bind(conv.part)
        .fetch_one(&mut tx.conn)
        .await?;
    let full_text = if state.flag(0)? { format!("DELETE FROM full_text WHERE rowid IN ({OF});") } else { String::new() };
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "{full_text} DELETE FROM vectors WHERE rid IN ({OF}); DELETE FROM quotes WHERE quoting IN ({OF});
         DELETE FROM messages WHERE tenant = ?1 AND conv = ?2"
    )))
    .bind(conv.tenant)
    .bind(conv.conv)
    .execute(&mut tx.conn)
    .await?;
    tx.then(After::Index { part: conv.part, change: IndexChange::RemoveConversation(conv.id) });
    Ok(())
}

/// Everything that the owners have beside conversations, and the owners' partitions.
async fn erase_owners(tx: &mut Tx, viewer: &Viewer, which: &'static str, id: Vec<u8>, receipt: &mut Receipt) -> Result<()> {
    let rows = sqlx::query(which).bind(viewer.tenant).bind(id).fetch_all(&mut tx.conn).await?;
    for row in &rows {
        let partition = Partition { part: row.int(0)?, owner: owner(row, 1)?, records: 0, is_full_text: true };
        erase_partition(tx, viewer, &partition, receipt).await?;
    }
    Ok(())
}

async fn erase_partition(tx: &mut Tx, viewer: &Viewer, partition: &Partition, receipt: &mut Receipt) -> Result<()> {
    const RECORDS: &str = "SELECT rid FROM passages WHERE part = ?1 UNION ALL SELECT rid FROM diary WHERE part = ?1";
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT (SELECT count(*) FROM passages WHERE part = ?1), (SELECT count(*) FROM diary WHERE part = ?1),
            (SELECT count(*) FROM vectors WHERE rid IN ({RECORDS}) AND length(vector) > 0),
            (SELECT count(*) FROM blocks b CROSS JOIN block_versions v ON v.tenant = b.tenant AND v.block = b.block
                WHERE b.tenant = ?2 AND b.part = ?1)"
    )))
    .bind(partition.part)
    .bind(viewer.tenant)
    .fetch_one(&mut tx.conn)
    .await?;
    receipt.passages += row.count(0)?;
    receipt.diary_entries += row.count(1)?;
    receipt.vectors += row.count(2)?;
    receipt.block_versions += row.count(3)?;
    // Turns of other agents may have been shown this owner's blocks through links.
    sqlx::query(
        "UPDATE conversation_heads SET prefix = NULL WHERE prefix IS NOT NULL AND conv IN (
            SELECT c.conv FROM blocks b CROSS JOIN block_links l ON l.block = b.block CROSS JOIN conversations c ON c.tenant = l.tenant AND c.agent = l.agent
            WHERE b.tenant = ?1 AND b.part = ?2)",
    )
    .bind(viewer.tenant)
    .bind(partition.part)
    .execute(&mut tx.conn)
    .await?;
    render_anew(tx, viewer.tenant, partition.owner).await?;
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "DELETE FROM full_text WHERE rowid IN ({RECORDS}) AND (SELECT is_full_text FROM partitions WHERE part = ?1);
         DELETE FROM vectors WHERE rid IN ({RECORDS});
         DELETE FROM passages WHERE part = ?1;
         DELETE FROM diary WHERE part = ?1;
         DELETE FROM diary_dirty WHERE tenant = ?2 AND part = ?1;
         DELETE FROM block_links WHERE block IN (SELECT block FROM blocks WHERE tenant = ?2 AND part = ?1);
         DELETE FROM block_versions WHERE tenant = ?2 AND block IN (SELECT block FROM blocks WHERE tenant = ?2 AND part = ?1);
         DELETE FROM blocks WHERE tenant = ?2 AND part = ?1;
         DELETE FROM partitions WHERE part = ?1"
    )))
    .bind(partition.part)
    .bind(viewer.tenant)
    .execute(&mut tx.conn)
    .await?;
    tx.then(After::Index { part: partition.part, change: IndexChange::Forget });
    Ok(())
}

/// What is left of a text that quoted something erased.
const REDACTED: &str = "[erased]";
