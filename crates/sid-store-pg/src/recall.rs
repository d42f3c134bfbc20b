//! `RecallStore`: every message ever.

use async_trait::async_trait;
use sid_store::{Order, RecallStore, StoreError};
use sid_types::{ConversationId, Message, MessageId, NewMessage, Role, RunStatus, Scope, Seq};

use crate::backend::PgStore;
use crate::codec::{Columns, limit};
use crate::error::{Fault, Result, missing};
use crate::journal::{Draft, Origin, Question, lost};
use crate::rows::{Conv, MessageRow};
use crate::tx::Tx;
use crate::visibility::Viewer;

/// A message as [`MessageRow`] reads it, of a table `m`.
pub(crate) const MESSAGE: &str = "json_build_object('id', m.id, 'conv', m.conv, 'seq', m.seq, 'run', m.run, 'role', m.role, 'text', m.text,
    'extra', m.extra, 'speaker', m.speaker, 'at', m.at, 'tokens', m.tokens)::text";

#[async_trait]
impl RecallStore for PgStore {
    async fn append(&self, scope: &Scope, conversation: ConversationId, messages: Vec<NewMessage>) -> Result<Vec<Message>, StoreError> {
        let mut tx = self.begin_long(scope.tenant()).await?;
        let outcome = append(self, &mut tx, &self.viewer(scope), conversation, messages).await;
        tx.finish(outcome).await
    }

    async fn page(
        &self,
        scope: &Scope,
        conversation: ConversationId,
        from: Option<Seq>,
        order: Order,
        most: usize,
    ) -> Result<Vec<Message>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        let conv = Conv::get(&mut tx, &self.viewer(scope), conversation).await?;
        let (rule, from) = match order {
            Order::Ascending => ("m.seq > $4 ORDER BY m.seq", from.map_or(0, |s| s.0)),
            Order::Descending => ("m.seq < $4 ORDER BY m.seq DESC", from.map_or(u64::MAX, |s| s.0)),
        };
        let sql = format!("SELECT {MESSAGE} FROM sid.messages m WHERE m.tenant = $1 AND m.part = $2 AND m.conv = $3 AND {rule} LIMIT $5");
        let query = tx.query_of(sql).bind(tx.tenant).bind(conv.part).bind(conv.id.uuid());
        let query = query.bind(i64::try_from(from).unwrap_or(i64::MAX)).bind(limit(most));
        let rows = query.fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let messages: Result<Vec<Message>> = rows.iter().map(|row| row.json::<MessageRow>(0)?.message()).collect();
        Ok(messages?)
    }

    async fn message(&self, scope: &Scope, message: MessageId) -> Result<Message, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        let sql = format!(
            "SELECT {MESSAGE}, c.agent_id, c.user_id FROM sid.message_ids k
             JOIN sid.messages m ON m.tenant = k.tenant AND m.part = k.part AND m.conv = k.conv AND m.seq = k.seq
             JOIN sid.conversations c ON c.tenant = k.tenant AND c.id = k.conv WHERE k.tenant = $1 AND k.id = $2"
        );
        let query = tx.query_of(sql).bind(tx.tenant).bind(message.uuid());
        let row = query.fetch_optional(tx.conn()).await.map_err(Fault::Sql)?.ok_or(missing("message"))?;
        if !self.viewer(scope).sees_conversation(row.id(1)?, row.maybe_id(2)?) {
            return Err(missing("message"));
        }
        Ok(row.json::<MessageRow>(0)?.message()?)
    }
}

async fn append(
    store: &PgStore,
    tx: &mut Tx,
    viewer: &Viewer,
    conversation: ConversationId,
    messages: Vec<NewMessage>,
) -> Result<Vec<Message>> {
    let ids = messages.iter().map(|m| m.id.uuid()).collect();
    let question = Question { conversation: Some(conversation), ids, ..Question::default() };
    let peek = store.peek(Some(&mut *tx), viewer.tenant(), &question).await?;
    if peek.conv.as_ref().is_none_or(|c| !viewer.sees_conversation(c.agent, c.user)) {
        return Err(missing("conversation").into());
    }
    if messages.iter().any(|m| m.body.role() == Role::Tool) {
        return Err(StoreError::Invalid("a tool message answers a call of a run and cannot be imported".into()).into());
    }
    let mut seen: std::collections::HashSet<_> = peek.known.iter().copied().collect();
    let Some((mut draft, head)) = Draft::new(store, peek)? else { return Err(missing("conversation").into()) };
    if head.is_some_and(|h| h.run.status == RunStatus::Running) {
        return Err(StoreError::Busy.into());
    }
    // A queue that holds a turn keeps it: only a queue of nothing but imports is paged out whole.
    let query =
        tx.query("SELECT 1 FROM sid.messages WHERE tenant = $1 AND part = $2 AND conv = $3 AND seq >= $4 AND run IS NOT NULL LIMIT 1");
    let query = query.bind(tx.tenant).bind(draft.conv.part).bind(conversation.uuid()).bind(draft.conv.queue_start as i64);
    let has_runs = query.fetch_optional(tx.conn()).await?.is_some();
    let fresh: Vec<NewMessage> = messages.into_iter().filter(|m| seen.insert(m.id.uuid())).collect();
    let placed = draft.place(None, fresh, Origin::New)?;
    if !has_runs {
        draft.conv.queue_start = draft.conv.last_seq + 1;
    }
    if !store.put(Some(tx), draft).await? {
        return Err(lost());
    }
    Ok(placed)
}
