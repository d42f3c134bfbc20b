//! Block edits made in an erased conversation: taken back, the others replayed.

use std::collections::HashMap;

use sid_types::{Block, BlockId, BlockOp, BlockVersion, ConversationId};

use crate::blocks::{find, render_block_anew, version};
use crate::codec::{Columns, clean, to_json};
use crate::error::Result;
use crate::tx::Tx;

/// Removes the versions that were made in the conversation; answers how many.
pub(super) async fn take_back(tx: &mut Tx, conversation: ConversationId) -> Result<u64> {
    let query = tx.query("SELECT DISTINCT block FROM sid.block_versions WHERE tenant = $1 AND source_conv = $2 ORDER BY block");
    let mut removed = 0;
    for row in query.bind(tx.tenant).bind(conversation.uuid()).fetch_all(tx.conn()).await? {
        let id: BlockId = row.id(0)?;
        if let Some(block) = find(tx, id, true).await? {
            removed += replay(tx, &block, conversation).await?;
        }
    }
    Ok(removed)
}

/// The kept versions keep their numbers, and the block's own number grows by one, so that a write by somebody who has read the erased
/// text is a conflict. An edit that no longer fits is passed over. A version that set an earlier value again (undo) sets what is left
/// of that value.
async fn replay(tx: &mut Tx, block: &Block, conversation: ConversationId) -> Result<u64> {
    let query = tx.query(
        "SELECT version, edit, value_after, provenance, at FROM sid.block_versions WHERE tenant = $1 AND block = $2 ORDER BY version",
    );
    let rows = query.bind(tx.tenant).bind(block.id.uuid()).fetch_all(tx.conn()).await?;
    let mut history: Vec<BlockVersion> = rows.iter().map(|r| version(r, block.id)).collect::<Result<_>>()?;
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
    render_block_anew(tx, block).await?;
    let query = tx.query("DELETE FROM sid.block_versions WHERE tenant = $1 AND block = $2 AND source_conv = $3");
    query.bind(tx.tenant).bind(block.id.uuid()).bind(conversation.uuid()).execute(tx.conn()).await?;
    if history.iter().all(is_erased) {
        // A block that was made in the conversation goes with it.
        for sql in ["DELETE FROM sid.block_links WHERE tenant = $1 AND block = $2", "DELETE FROM sid.blocks WHERE tenant = $1 AND id = $2"]
        {
            tx.query(sql).bind(tx.tenant).bind(block.id.uuid()).execute(tx.conn()).await?;
        }
        return Ok(removed);
    }
    for version in history.iter().filter(|v| !is_erased(v)) {
        let query = tx.query("UPDATE sid.block_versions SET edit = $4, value_after = $5 WHERE tenant = $1 AND block = $2 AND version = $3");
        let query = query.bind(tx.tenant).bind(block.id.uuid()).bind(version.version as i64);
        query.bind(to_json(&version.edit)?).bind(clean(&version.value_after).into_owned()).execute(tx.conn()).await?;
    }
    let query = tx.query("UPDATE sid.blocks SET value = $3, version = version + 1 WHERE tenant = $1 AND id = $2");
    query.bind(tx.tenant).bind(block.id.uuid()).bind(clean(&value).into_owned()).execute(tx.conn()).await?;
    Ok(removed)
}
