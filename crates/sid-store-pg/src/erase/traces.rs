//! What runs were shown of something erased: quotes in tool results, recalled snippets in steps and events.

use std::collections::HashSet;

use sid_store::RecordId;
use sid_types::{Body, EventBody, Message, MessageId};

use super::REDACTED;
use crate::codec::{Columns, to_json};
use crate::error::Result;
use crate::recall::MESSAGE;
use crate::rows::{Conv, MessageRow, extra};
use crate::tx::Tx;

/// Redacts tool results in other conversations that quote messages of this one; answers how many.
pub(super) async fn redact_quotes(tx: &mut Tx, conv: &Conv) -> Result<u64> {
    let query = tx.query_of(format!(
        "SELECT {MESSAGE}, k.part FROM sid.message_ids k
         JOIN sid.messages m ON m.tenant = k.tenant AND m.part = k.part AND m.conv = k.conv AND m.seq = k.seq
         WHERE k.tenant = $1 AND k.conv <> $3 AND k.id IN (
            SELECT q.quoting FROM sid.messages e JOIN sid.quotes q ON q.tenant = e.tenant AND q.quoted = e.id
            WHERE e.tenant = $1 AND e.part = $2 AND e.conv = $3)"
    ));
    let rows = query.bind(tx.tenant).bind(conv.part).bind(conv.id.uuid()).fetch_all(tx.conn()).await?;
    for row in &rows {
        let mut message = row.json::<MessageRow>(0)?.message()?;
        redact(tx, conv, &mut message, row.int(1)?).await?;
    }
    // Inside this conversation everything goes, quotes of it too.
    let query = tx.query(
        "DELETE FROM sid.quotes q USING sid.messages m WHERE q.tenant = $1 AND m.tenant = $1 AND m.part = $2 AND m.conv = $3 AND q.quoted = m.id",
    );
    query.bind(tx.tenant).bind(conv.part).bind(conv.id.uuid()).execute(tx.conn()).await?;
    Ok(rows.len() as u64)
}

async fn redact(tx: &mut Tx, conv: &Conv, message: &mut Message, part: i64) -> Result<()> {
    let Body::Tool { text, quotes, .. } = &mut message.body else { return Ok(()) };
    REDACTED.clone_into(text);
    let asked: Vec<uuid::Uuid> = quotes.iter().map(|id| id.uuid()).collect();
    let query = tx.query("SELECT id FROM sid.message_ids WHERE tenant = $1 AND id = ANY ($2) AND conv = $3");
    let rows = query.bind(tx.tenant).bind(asked).bind(conv.id.uuid()).fetch_all(tx.conn()).await?;
    let gone: HashSet<MessageId> = rows.iter().map(|row| row.id(0)).collect::<Result<_>>()?;
    quotes.retain(|id| !gone.contains(id));
    let query = tx.query("UPDATE sid.messages SET text = $5, extra = $6 WHERE tenant = $1 AND part = $2 AND conv = $3 AND seq = $4");
    let query = query.bind(tx.tenant).bind(part).bind(message.conversation.uuid()).bind(message.seq.0 as i64);
    query.bind(REDACTED).bind(extra(message)?).execute(tx.conn()).await?;
    // Nobody goes on with the queue as it was.
    let query = tx.query("UPDATE sid.conversations SET rev = rev + 1 WHERE tenant = $1 AND id = $2");
    query.bind(tx.tenant).bind(message.conversation.uuid()).execute(tx.conn()).await?;
    redact_event(tx, message).await
}

/// The event that told of a message, as the message is now.
async fn redact_event(tx: &mut Tx, message: &Message) -> Result<()> {
    let Some(run) = message.run else { return Ok(()) };
    let query =
        tx.query("SELECT seq, body FROM sid.events WHERE tenant = $1 AND run = $2 AND kind = 'message' AND position($3 IN body) > 0");
    for row in query.bind(tx.tenant).bind(run.uuid()).bind(message.id.to_string()).fetch_all(tx.conn()).await? {
        if let EventBody::Message { message: told } = row.json(1)?
            && told.id == message.id
        {
            let body = EventBody::Message { message: Box::new(Message { body: message.body.clone(), ..*told }) };
            let query = tx.query("UPDATE sid.events SET body = $4 WHERE tenant = $1 AND run = $2 AND seq = $3");
            query.bind(tx.tenant).bind(run.uuid()).bind(row.int(0)?).bind(to_json(&body)?).execute(tx.conn()).await?;
        }
    }
    Ok(())
}

/// What the runs of all conversations of the same agent and user were shown: any of it may quote what is erased. Events keep their
/// numbers.
pub(super) async fn forget_pair(tx: &mut Tx, conv: &Conv) -> Result<()> {
    const RUNS: &str = "SELECT r.id FROM sid.conversations c JOIN sid.runs r ON r.tenant = c.tenant AND r.conv = c.id
        WHERE c.tenant = $1 AND c.part = $2";
    let query = tx.query_of(format!("UPDATE sid.steps SET tail = NULL, recalled = '[]' WHERE tenant = $1 AND run IN ({RUNS})"));
    query.bind(tx.tenant).bind(conv.part).execute(tx.conn()).await?;
    let query = tx.query_of(format!("SELECT run, seq, body FROM sid.events WHERE tenant = $1 AND kind = 'recalled' AND run IN ({RUNS})"));
    let rows = query.bind(tx.tenant).bind(conv.part).fetch_all(tx.conn()).await?;
    for row in &rows {
        if let EventBody::Recalled { prompt_tokens, window_tokens, .. } = row.json(2)? {
            rewrite(tx, row, &EventBody::Recalled { items: Vec::new(), prompt_tokens, window_tokens }).await?;
        }
    }
    Ok(())
}

/// What any run of the tenant was shown of these records. Looks through all of the tenant's steps: rare, and complete.
pub(super) async fn forget_named(tx: &mut Tx, gone: &[RecordId]) -> Result<()> {
    for id in gone {
        let name = id.to_string();
        let query = tx.query("UPDATE sid.steps SET tail = NULL, recalled = '[]' WHERE tenant = $1 AND position($2 IN recalled) > 0");
        query.bind(tx.tenant).bind(name.clone()).execute(tx.conn()).await?;
        let query = tx.query("SELECT run, seq, body FROM sid.events WHERE tenant = $1 AND kind = 'recalled' AND position($2 IN body) > 0");
        for row in query.bind(tx.tenant).bind(name.clone()).fetch_all(tx.conn()).await? {
            if let EventBody::Recalled { mut items, prompt_tokens, window_tokens } = row.json(2)? {
                items.retain(|shown| shown.id != name);
                rewrite(tx, &row, &EventBody::Recalled { items, prompt_tokens, window_tokens }).await?;
            }
        }
    }
    Ok(())
}

/// Puts another body into an event's row of `run, seq, body`.
async fn rewrite(tx: &mut Tx, row: &sqlx::postgres::PgRow, body: &EventBody) -> Result<()> {
    let run: sid_types::RunId = row.id(0)?;
    let query = tx.query("UPDATE sid.events SET body = $4 WHERE tenant = $1 AND run = $2 AND seq = $3");
    query.bind(tx.tenant).bind(run.uuid()).bind(row.int(1)?).bind(to_json(body)?).execute(tx.conn()).await?;
    Ok(())
}
