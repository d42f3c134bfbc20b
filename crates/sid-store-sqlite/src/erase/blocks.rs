//! Block edits made in an erased conversation: taken back, the others replayed.

use std::collections::HashMap;

use sid_types::{BlockId, BlockOp, BlockVersion, ConversationId};

use crate::blocks::{Row, render_block_anew, version};
use crate::codec::{Columns, Id, nanos, to_json};
use crate::error::Result;
use crate::visibility::Viewer;
use crate::writer::Tx;

/// Removes the versions that were made in the conversation; answers how many.
pub(super) async fn take_back(tx: &mut Tx, viewer: &Viewer, conversation: ConversationId) -> Result<u64> {
    let rows = sqlx::query(
        "SELECT DISTINCT b.id FROM block_versions v JOIN blocks b ON b.block = v.block WHERE v.tenant = ? AND v.source_conv = ?",
    )
    .bind(viewer.tenant)
    .bind(conversation.blob())
    .fetch_all(&mut tx.conn)
    .await?;
    let mut removed = 0;
    for row in &rows {
        let id: BlockId = row.id(0)?;
        if let Some(block) = Row::find(&mut tx.conn, viewer.tenant, id).await? {
            removed += replay(tx, viewer.tenant, block, conversation).await?;
        }
    }
    Ok(removed)
}

/// The kept versions keep their numbers, and the block's own number grows by one, so that a write by somebody who has read the erased
/// text is a conflict. An edit that no longer fits is passed over. A version that set an earlier value again (undo) sets what is left
/// of that value.
async fn replay(tx: &mut Tx, tenant: i64, row: Row, conversation: ConversationId) -> Result<u64> {
    let rows = sqlx::query(
        "SELECT version, edit, value_after, provenance, at FROM block_versions WHERE tenant = ? AND block = ? ORDER BY version",
    )
    .bind(tenant)
    .bind(row.number)
    .fetch_all(&mut tx.conn)
    .await?;
    let mut history: Vec<BlockVersion> = rows.iter().map(|r| version(r, row.block.id)).collect::<Result<_>>()?;
    let is_erased = |v: &BlockVersion| v.provenance.conversation == Some(conversation);
    let mut value = String::new();
    let mut left_of: HashMap<String, String> = HashMap::new();
    for version in &mut history {
        let before = version.value_after.clone();
        if !is_erased(version) {
            if let BlockOp::Set { value } = &mut version.edit
                && let Some(left) = left_of.get(value)
            {
                value.clone_from(left);
            }
            value = version.edit.apply(&value).unwrap_or(value);
            version.value_after.clone_from(&value);
        }
        left_of.insert(before, value.clone());
    }
    let removed = history.iter().filter(|v| is_erased(v)).count() as u64;
    render_block_anew(tx, tenant, &row).await?;
    sqlx::query("DELETE FROM block_versions WHERE tenant = ? AND block = ? AND source_conv = ?")
        .bind(tenant)
        .bind(row.number)
        .bind(conversation.blob())
        .execute(&mut tx.conn)
        .await?;
    if history.iter().all(is_erased) {
        // A block that was made in the conversation goes with it.
        sqlx::query("DELETE FROM block_links WHERE block = ?1; DELETE FROM blocks WHERE block = ?1")
            .bind(row.number)
            .execute(&mut tx.conn)
            .await?;
        return Ok(removed);
    }
    for version in history.iter().filter(|v| !is_erased(v)) {
        sqlx::query("UPDATE block_versions SET edit = ?, value_after = ? WHERE tenant = ? AND block = ? AND version = ?")
            .bind(to_json(&version.edit)?)
            .bind(version.value_after.as_str())
            .bind(tenant)
            .bind(row.number)
            .bind(version.version as i64)
            .execute(&mut tx.conn)
            .await?;
    }
    sqlx::query("UPDATE blocks SET value = ?, version = version + 1, updated_at = ? WHERE block = ?")
        .bind(value)
        .bind(nanos(row.block.updated_at))
        .bind(row.number)
        .execute(&mut tx.conn)
        .await?;
    Ok(removed)
}
