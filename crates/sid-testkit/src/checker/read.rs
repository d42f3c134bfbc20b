//! A conversation's records, straight from a store.

use sid_store::{Order, Store, StoreError};
use sid_types::{ConversationId, Scope, Seq};

use super::records::{Conversation, Run};

/// Records of one read.
const PAGE: usize = 1_000;

/// Reads a conversation with all of its messages and its newest 1,000 runs, each with its steps and events.
///
/// Errors: those of the store.
pub async fn read_conversation(store: &dyn Store, scope: &Scope, id: ConversationId) -> Result<Conversation, StoreError> {
    let mut messages = Vec::new();
    loop {
        let from = messages.last().map(|m: &sid_types::Message| m.seq).filter(|seq| *seq > Seq(0));
        let page = store.page(scope, id, from, Order::Ascending, PAGE).await?;
        let is_last = page.len() < PAGE;
        messages.extend(page);
        if is_last {
            break;
        }
    }
    let mut runs = Vec::new();
    for run in store.runs(scope, id, PAGE).await? {
        let mut record = Run::from(&run);
        record.step_records = Some(store.steps(scope, run.id).await?.iter().map(Into::into).collect());
        record.events = Some(store.events(scope, run.id, 0, usize::MAX).await?.iter().map(Into::into).collect());
        runs.push(record);
    }
    Ok(Conversation { id: id.to_string(), messages: messages.iter().map(Into::into).collect(), runs })
}
