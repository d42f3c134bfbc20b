//! Collection: a block that has grown full gives its oldest lines to archival memory, so that there is always room for what is new.

use std::sync::Arc;

use sid_memory::facts::CONSOLIDATION;
use sid_memory::surplus;
use sid_store::{BlockWrite, StoreError};
use sid_types::{Block, BlockAccess, NewPassage, Owner, PassageId, Provenance, Scope};
use tracing::info;
use uuid::Uuid;

use crate::engine::Inner;

/// Versions of a block that are looked at.
const HISTORY: usize = 500;

/// Archives what is too much in the owner's blocks. A line is in archival memory before it leaves its block, under an id that follows from
/// it: a crash in between leaves it in both places until the next time.
///
/// Errors: the store's.
pub(crate) async fn collect(inner: &Arc<Inner>, scope: &Scope, owner: Owner) -> Result<(), StoreError> {
    for block in inner.store.blocks(scope, owner).await? {
        if block.access == BlockAccess::Write && block.owner == owner {
            archive(inner, scope, block).await?;
        }
    }
    Ok(())
}

async fn archive(inner: &Arc<Inner>, scope: &Scope, mut block: Block) -> Result<(), StoreError> {
    let history = inner.store.block_history(scope, block.id, HISTORY).await?;
    for line in surplus(&block, &history) {
        let provenance = Provenance { channel: CONSOLIDATION.into(), ..line.provenance };
        let passage = NewPassage {
            id: PassageId::from_uuid(Uuid::new_v5(&block.id.uuid(), line.line.as_bytes())),
            owner: block.owner,
            text: line.line,
            tags: vec![block.label.clone()],
            at: history.iter().find(|v| v.provenance.run == provenance.run).map_or_else(|| inner.clock.now(), |v| v.at),
            provenance: provenance.clone(),
        };
        match inner.store.insert(scope, passage).await {
            Ok(_) | Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(error),
        }
        // Of the conversation that brought the line: what is erased with it takes this edit along, and its line is gone all the same.
        let write = BlockWrite { op: line.edit, expected_version: Some(block.version), provenance };
        block = match inner.store.write_block(scope, block.id, write).await {
            Ok(block) => block,
            // Somebody writes in it right now; there is a next time.
            Err(StoreError::Conflict { .. } | StoreError::Invalid(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        info!(block = block.label, "a full block gave a line to archival memory");
    }
    Ok(())
}
