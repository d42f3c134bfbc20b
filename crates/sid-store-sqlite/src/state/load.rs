//! Loading all that a run needs: reads only, and only from the queue's start on.

use std::time::Instant;

use futures::FutureExt;
use sid_store::{Lease, Loaded, StoreError};
use sid_types::{CallState, Message};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::backend::SqliteStore;
use crate::blocks;
use crate::codec::{Columns, Id};
use crate::directory::{self, AGENT, USER};
use crate::error::{Result, missing};
use crate::journal::{AFTER_CONV, Held, RUN, fenced};
use crate::messages;
use crate::visibility::{CONV, Conv};

/// Everything that is one row: the conversation, its head run, agent and user, and when the user last said something apart from this run
/// (messages without words do not count).
async fn row(conn: &mut SqliteConnection, tenant: i64, lease: &Lease) -> Result<SqliteRow> {
    let sql = format!(
        "SELECT {CONV}, c.app_key, c.created_at, h.summary, h.prefix, {RUN}, {AGENT}, {USER},
            (SELECT m.at FROM messages m WHERE m.part = c.part AND m.role = 0 AND m.run IS NOT ?3 AND c.user IS NOT NULL
                ORDER BY m.at DESC LIMIT 1)
         FROM conversations c JOIN conversation_heads h ON h.conv = c.conv LEFT JOIN runs r ON r.run = c.head
         LEFT JOIN agents a ON a.tenant = c.tenant AND a.id = c.agent LEFT JOIN users u ON u.tenant = c.tenant AND u.id = c.user
         WHERE c.tenant = ?1 AND c.id = ?2"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(lease.conversation.blob()).bind(lease.run.blob());
    Ok(query.fetch_optional(conn).await?.ok_or(fenced(lease, None))?)
}

/// Where the columns of [`row`] begin.
const RUN_AT: usize = AFTER_CONV + 4;
const AGENT_AT: usize = RUN_AT + 18;
const USER_AT: usize = AGENT_AT + 5;
const CONTACT_AT: usize = USER_AT + 6;

pub(super) async fn load(store: &SqliteStore, lease: &Lease) -> Result<Loaded, StoreError> {
    let began = Instant::now();
    let viewer = store.viewer(&lease.scope).await?;
    let mut conn = store.reader().await?;
    let row = row(&mut conn, viewer.tenant, lease).await?;
    let Held { conv, head, is_held } = Held::read(&row, viewer.tenant, lease, RUN_AT)?;
    let Some(journal) = head.filter(|_| is_held) else { return Err(fenced(lease, Some(conv.epoch))) };
    if let (Some(user), false) = (conv.user, conv.has_met) {
        let agent = conv.agent;
        store.write(move |tx| async move { blocks::meet(tx, viewer.tenant, agent, user).await }.boxed()).await?;
    }
    let agent = if row.maybe_int(AGENT_AT + 3)?.is_some() { directory::agent_at(&row, AGENT_AT)? } else { return Err(missing("agent")) };
    let user = if row.maybe_int(USER_AT + 4)?.is_some() { Some(directory::user_at(&row, USER_AT)?) } else { None };
    let mut open_calls = journal.calls;
    open_calls.retain(|c| c.state != CallState::Done);
    Ok(Loaded {
        conversation: directory::conversation(&row, &conv)?,
        last_contact: row.maybe_time(CONTACT_AT)?,
        teams: directory::turn_teams(&mut conn, &viewer, &agent, user.as_ref()).await?,
        queue: queue(&mut conn, &conv).await?,
        blocks: blocks::of_turn(&mut conn, &viewer, conv.agent, conv.user).await?,
        run: journal.run,
        agent,
        user,
        open_calls,
        began,
    })
}

async fn queue(conn: &mut SqliteConnection, conv: &Conv) -> Result<Vec<Message>> {
    let sql = format!(
        "SELECT json_group_array({}) FROM (SELECT * FROM messages WHERE tenant = ? AND conv = ? AND seq >= ? ORDER BY seq) m",
        messages::PACKED
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(conv.tenant).bind(conv.conv).bind(conv.queue_start as i64).fetch_one(conn).await?;
    messages::unpack(&row, conv.id)
}
