//! `RecallStore`.

use async_trait::async_trait;
use sid_types::{ConversationId, Message, MessageId, NewMessage, Role, Scope, Seq};

use super::journal::end_of;
use super::{InProcess, missing};
use crate::{Order, RecallStore, StoreError};

#[async_trait]
impl RecallStore for InProcess {
    async fn append(&self, scope: &Scope, conversation: ConversationId, messages: Vec<NewMessage>) -> Result<Vec<Message>, StoreError> {
        self.write(|state, now| {
            let room = state.room_mut(scope, "conversation")?;
            let thread = room.thread(scope, conversation)?;
            if messages.iter().any(|m| m.body.role() == Role::Tool) {
                return Err(StoreError::Invalid("a tool message answers a call of a run and cannot be imported".into()));
            }
            if thread.active.is_some() {
                return Err(StoreError::Busy);
            }
            let has_runs = thread.queue().any(|m| m.run.is_some());
            let mut fresh: Vec<NewMessage> = Vec::new();
            for message in messages {
                if !room.places.contains_key(&message.id) && fresh.iter().all(|f| f.id != message.id) {
                    fresh.push(message);
                }
            }
            let placed = room.place(conversation, None, fresh, now);
            if let Some(thread) = room.threads.get_mut(&conversation).filter(|_| !has_runs) {
                thread.conversation.queue_start = end_of(thread);
            }
            Ok(placed)
        })
    }

    async fn page(
        &self,
        scope: &Scope,
        conversation: ConversationId,
        from: Option<Seq>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        let state = self.read();
        let thread = state.room(scope, "conversation")?.thread(scope, conversation)?;
        let place = |seq: Seq| usize::try_from(seq.0).unwrap_or(usize::MAX);
        let all = thread.messages.iter().map(|p| p.message.clone());
        Ok(match order {
            Order::Ascending => all.skip(from.map_or(0, place)).take(limit).collect(),
            Order::Descending => all.take(from.map_or(usize::MAX, |seq| place(seq).saturating_sub(1))).rev().take(limit).collect(),
        })
    }

    async fn message(&self, scope: &Scope, message: MessageId) -> Result<Message, StoreError> {
        let state = self.read();
        let room = state.room(scope, "message")?;
        let (conversation, seq) = room.places.get(&message).ok_or(missing("message"))?;
        let thread = room.thread(scope, *conversation).map_err(|_| missing("message"))?;
        thread.message(*seq).cloned().ok_or(missing("message"))
    }
}
