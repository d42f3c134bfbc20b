//! What runs were shown of something erased: quotes in tool results, recalled snippets in steps and events.

use std::collections::HashSet;

use sid_store::RecordId;
use sid_types::{Body, ConversationId, EventBody, Message, MessageId};

use super::REDACTED;
use crate::codec::{Columns, Id, to_json};
use crate::error::Result;
use crate::messages;
use crate::visibility::Conv;
use crate::writer::Tx;

/// Redacts tool results in other conversations that quote messages of this one; answers how many.
pub(super) async fn redact_quotes(tx: &mut Tx, conv: &Conv) -> Result<u64> {
    let sql = format!(
        "SELECT {}, c.id, m.rid FROM messages m JOIN conversations c ON c.conv = m.conv WHERE m.conv <> ?2 AND m.rid IN (
            SELECT q.quoting FROM messages e CROSS JOIN quotes q ON q.tenant = e.tenant AND q.quoted = e.id WHERE e.tenant = ?1 AND e.conv = ?2)",
        messages::COLUMNS
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(conv.tenant).bind(conv.conv).fetch_all(&mut tx.conn).await?;
    for row in &rows {
        let (conversation, rid): (ConversationId, i64) = (row.id(9)?, row.int(10)?);
        let mut message = messages::read(row, conversation)?;
        redact(tx, conv, &mut message, rid).await?;
    }
    // Inside this conversation everything goes, quotes of it too.
    sqlx::query("DELETE FROM quotes WHERE tenant = ?1 AND quoted IN (SELECT id FROM messages WHERE tenant = ?1 AND conv = ?2)")
        .bind(conv.tenant)
        .bind(conv.conv)
        .execute(&mut tx.conn)
        .await?;
    Ok(rows.len() as u64)
}

async fn redact(tx: &mut Tx, conv: &Conv, message: &mut Message, rid: i64) -> Result<()> {
    let Body::Tool { text, quotes, .. } = &mut message.body else { return Ok(()) };
    REDACTED.clone_into(text);
    let marks: Vec<String> = quotes.iter().map(|id| id.uuid().simple().to_string()).collect();
    let gone =
        sqlx::query("SELECT m.id FROM json_each(?) j CROSS JOIN messages m ON m.tenant = ? AND m.id = unhex(j.value) WHERE m.conv = ?")
            .bind(to_json(&marks)?)
            .bind(conv.tenant)
            .bind(conv.conv)
            .fetch_all(&mut tx.conn)
            .await?;
    let gone: HashSet<MessageId> = gone.iter().map(|row| row.id(0)).collect::<Result<_>>()?;
    quotes.retain(|id| !gone.contains(id));
    sqlx::query("UPDATE messages SET text = ?, extra = ? WHERE rid = ?")
        .bind(REDACTED)
        .bind(messages::extra(message)?)
        .bind(rid)
        .execute(&mut tx.conn)
        .await?;
    redact_event(tx, conv.tenant, message).await
}

/// The event that told of a message, as the message is now.
async fn redact_event(tx: &mut Tx, tenant: i64, message: &Message) -> Result<()> {
    let Some(run) = message.run else { return Ok(()) };
    let rows = sqlx::query(
        "SELECT e.run, e.seq, e.body FROM runs r CROSS JOIN events e ON e.tenant = r.tenant AND e.run = r.run
         WHERE r.tenant = ? AND r.id = ? AND instr(e.body, ?) > 0",
    )
    .bind(tenant)
    .bind(run.blob())
    .bind(message.id.to_string())
    .fetch_all(&mut tx.conn)
    .await?;
    for row in &rows {
        if let EventBody::Message { message: told } = row.json(2)?
            && told.id == message.id
        {
            let body = EventBody::Message { message: Box::new(Message { body: message.body.clone(), ..*told }) };
            sqlx::query("UPDATE events SET body = ? WHERE tenant = ? AND run = ? AND seq = ?")
                .bind(to_json(&body)?)
                .bind(tenant)
                .bind(row.int(0)?)
                .bind(row.int(1)?)
                .execute(&mut tx.conn)
                .await?;
        }
    }
    Ok(())
}

/// What the runs of all conversations of the same agent and user were shown: any of it may quote what is erased. Events keep their
/// numbers.
pub(super) async fn forget_pair(tx: &mut Tx, conv: &Conv) -> Result<()> {
    const RUNS: &str = "SELECT r.run FROM conversations c CROSS JOIN runs r ON r.tenant = c.tenant AND r.conv = c.conv WHERE c.tenant = ?1 AND c.part = ?2";
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "UPDATE steps SET doc = json_set(doc, '$.tail', NULL, '$.recalled', json('[]')) WHERE tenant = ?1 AND run IN ({RUNS});
         UPDATE events SET body = json_set(body, '$.items', json('[]'))
            WHERE tenant = ?1 AND run IN ({RUNS}) AND json_extract(body, '$.event') = 'recalled'"
    )))
    .bind(conv.tenant)
    .bind(conv.part)
    .execute(&mut tx.conn)
    .await?;
    Ok(())
}

/// What any run of the tenant was shown of these records. Looks through all of the tenant's steps: rare, and complete.
pub(super) async fn forget_named(tx: &mut Tx, tenant: i64, gone: &[RecordId]) -> Result<()> {
    for id in gone {
        sqlx::query(
            "UPDATE steps SET doc = json_set(doc, '$.tail', NULL, '$.recalled', json('[]')) WHERE tenant = ?1 AND instr(doc, ?2) > 0",
        )
        .bind(tenant)
        .bind(id.to_string())
        .execute(&mut tx.conn)
        .await?;
        let rows = sqlx::query("SELECT run, seq, body FROM events WHERE tenant = ? AND instr(body, ?) > 0")
            .bind(tenant)
            .bind(id.to_string())
            .fetch_all(&mut tx.conn)
            .await?;
        for row in &rows {
            if let EventBody::Recalled { mut items, prompt_tokens, window_tokens } = row.json(2)? {
                items.retain(|shown| shown.id != id.to_string());
                let body = EventBody::Recalled { items, prompt_tokens, window_tokens };
                sqlx::query("UPDATE events SET body = ? WHERE tenant = ? AND run = ? AND seq = ?")
                    .bind(to_json(&body)?)
                    .bind(tenant)
                    .bind(row.int(0)?)
                    .bind(row.int(1)?)
                    .execute(&mut tx.conn)
                    .await?;
            }
        }
    }
    Ok(())
}
