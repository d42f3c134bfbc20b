//! What an erasure answers.

use serde::Serialize;
use sid_store::Receipt;
use utoipa::ToSchema;

/// What was forgotten, by kind.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReceiptJson {
    conversations: u64,
    messages: u64,
    passages: u64,
    /// Blocks, or versions of blocks that were taken back.
    block_versions: u64,
    /// Items of the context service, secrets and their keys among them.
    items: u64,
    tasks: u64,
    diary_entries: u64,
    vectors: u64,
    runs: u64,
    /// Tool results elsewhere that quoted something erased.
    redacted: u64,
    /// Deletions in an index outside the store that no count has verified yet; nothing of them can be found any more. 0: this is final.
    pending: u64,
}

impl From<Receipt> for ReceiptJson {
    fn from(r: Receipt) -> Self {
        Self {
            conversations: r.conversations,
            messages: r.messages,
            passages: r.passages,
            block_versions: r.block_versions,
            items: r.items,
            tasks: r.tasks,
            diary_entries: r.diary_entries,
            vectors: r.vectors,
            runs: r.runs,
            redacted: r.redacted,
            pending: r.pending,
        }
    }
}
