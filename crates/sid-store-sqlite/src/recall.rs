//! `RecallStore`: every message ever.

use std::collections::HashSet;

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{Order, RecallStore, StoreError};
use sid_types::{ConversationId, Message, MessageId, NewMessage, Role, Scope, Seq};

use crate::backend::SqliteStore;
use crate::codec::{Columns, Id};
use crate::error::{Fault, Result, missing};
use crate::messages;
use crate::visibility::{Conv, Viewer};
use crate::writer::Tx;

#[async_trait]
impl RecallStore for SqliteStore {
    async fn append(&self, scope: &Scope, conversation: ConversationId, messages: Vec<NewMessage>) -> Result<Vec<Message>, StoreError> {
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| append(tx, viewer, conversation, messages).boxed()).await
    }

    async fn page(
        &self,
        scope: &Scope,
        conversation: ConversationId,
        from: Option<Seq>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Message>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let mut conn = self.reader().await?;
        let conv = Conv::get(&mut conn, &viewer, conversation).await?;
        let (rule, from) = match order {
            Order::Ascending => ("seq > ? ORDER BY seq", from.map_or(0, |s| s.0)),
            Order::Descending => ("seq < ? ORDER BY seq DESC", from.map_or(u64::MAX, |s| s.0)),
        };
        let sql = format!(
            "SELECT json_group_array({}) FROM (SELECT * FROM messages WHERE tenant = ? AND conv = ? AND {rule} LIMIT ?) m",
            messages::PACKED
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(viewer.tenant)
            .bind(conv.conv)
            .bind(i64::try_from(from).unwrap_or(i64::MAX))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_one(&mut *conn)
            .await
            .map_err(Fault::Sql)?;
        Ok(messages::unpack(&row, conversation)?)
    }

    async fn message(&self, scope: &Scope, message: MessageId) -> Result<Message, StoreError> {
        let viewer = self.viewer(scope).await?;
        let sql = format!(
            "SELECT {}, c.id, c.agent, c.user FROM messages m JOIN conversations c ON c.conv = m.conv WHERE m.tenant = ? AND m.id = ?",
            messages::COLUMNS
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(viewer.tenant)
            .bind(message.blob())
            .fetch_optional(&mut *self.reader().await?)
            .await
            .map_err(Fault::Sql)?
            .ok_or(missing("message"))?;
        if !viewer.sees_conversation(row.id(10)?, row.maybe_id(11)?) {
            return Err(missing("message"));
        }
        Ok(messages::read(&row, row.id(9)?)?)
    }
}

async fn append(tx: &mut Tx, viewer: Viewer, conversation: ConversationId, messages: Vec<NewMessage>) -> Result<Vec<Message>> {
    let mut conv = Conv::get(&mut tx.conn, &viewer, conversation).await?;
    if messages.iter().any(|m| m.body.role() == Role::Tool) {
        return Err(StoreError::Invalid("a tool message answers a call of a run and cannot be imported".into()).into());
    }
    if let Some(head) = conv.head {
        let running = sqlx::query("SELECT 1 FROM runs WHERE run = ? AND status = 1").bind(head).fetch_optional(&mut tx.conn).await?;
        if running.is_some() {
            return Err(StoreError::Busy.into());
        }
    }
    // A queue that holds a turn keeps it: only a queue of nothing but imports is paged out whole.
    let has_runs = sqlx::query("SELECT 1 FROM messages WHERE tenant = ? AND conv = ? AND seq >= ? AND run IS NOT NULL LIMIT 1")
        .bind(conv.tenant)
        .bind(conv.conv)
        .bind(conv.queue_start as i64)
        .fetch_optional(&mut tx.conn)
        .await?
        .is_some();
    let mut seen: HashSet<MessageId> = messages::known(&mut tx.conn, conv.tenant, &messages).await?.into_iter().collect();
    let fresh: Vec<NewMessage> = messages.into_iter().filter(|m| seen.insert(m.id)).collect();
    let placed = messages::place(tx, &mut conv, None, fresh).await?;
    if !has_runs {
        conv.queue_start = conv.last_seq + 1;
    }
    conv.save(tx);
    Ok(placed)
}
