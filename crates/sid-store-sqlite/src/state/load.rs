//! Loading all that a run needs: reads only, and only from the queue's start on.

use futures::FutureExt;
use sid_store::{Lease, Loaded, StoreError};
use sid_types::{AgentId, CallState, Conversation, Message, RunId, Seq, Team, Timestamp, User, UserId};
use sqlx::sqlite::SqliteConnection;

use crate::backend::SqliteStore;
use crate::blocks;
use crate::codec::{Columns, Id};
use crate::directory;
use crate::error::{Fault, Result, missing};
use crate::journal::Held;
use crate::messages;
use crate::visibility::{Conv, Viewer};

pub(super) async fn load(store: &SqliteStore, lease: &Lease) -> Result<Loaded, StoreError> {
    let viewer = store.viewer(&lease.scope).await?;
    let mut conn = store.reader().await?;
    let (conv, journal) = Held::get(&mut conn, viewer.tenant, lease).await?;
    if let Some(user) = conv.user
        && !blocks::have_met(&mut conn, conv.part).await?
    {
        let agent = conv.agent;
        store.write(move |tx| async move { blocks::meet(tx, viewer.tenant, agent, user).await }.boxed()).await?;
    }
    let mut open_calls = journal.calls;
    open_calls.retain(|c| c.state != CallState::Done);
    let user = match conv.user {
        Some(user) => directory::find_user(&mut conn, viewer.tenant, user).await?,
        None => None,
    };
    Ok(Loaded {
        agent: directory::find_agent(&mut conn, viewer.tenant, conv.agent).await?.ok_or(missing("agent"))?,
        teams: turn_teams(&mut conn, &viewer, conv.agent, user.as_ref()).await?,
        conversation: conversation(&mut conn, &conv).await?,
        queue: queue(&mut conn, &conv).await?,
        blocks: blocks::of_turn(&mut conn, &viewer, conv.agent, conv.user).await?,
        last_contact: last_contact(&mut conn, &conv, conv.user, lease.run).await?,
        run: journal.run,
        user,
        open_calls,
    })
}

async fn turn_teams(conn: &mut SqliteConnection, viewer: &Viewer, agent: AgentId, user: Option<&User>) -> Result<Vec<Team>> {
    let Some(user) = user else { return Ok(Vec::new()) };
    let rows = sqlx::query(
        "SELECT t.id, t.name, t.created_at FROM team_members m
         JOIN agent_teams g ON g.tenant = m.tenant AND g.agent = ? AND g.team = m.team
         JOIN teams t ON t.tenant = m.tenant AND t.id = m.team WHERE m.tenant = ? AND m.user = ? ORDER BY t.id",
    )
    .bind(agent.blob())
    .bind(viewer.tenant)
    .bind(user.id.blob())
    .fetch_all(conn)
    .await?;
    rows.iter().map(directory::team).collect()
}

async fn conversation(conn: &mut SqliteConnection, conv: &Conv) -> Result<Conversation> {
    Ok(directory::find_conversation(conn, conv).await?.ok_or(missing("conversation"))?)
}

async fn queue(conn: &mut SqliteConnection, conv: &Conv) -> Result<Vec<Message>> {
    let sql = format!("SELECT {} FROM messages m WHERE m.tenant = ? AND m.conv = ? AND m.seq >= ? ORDER BY m.seq", messages::COLUMNS);
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(conv.tenant)
        .bind(conv.conv)
        .bind(Seq(conv.queue_start).0 as i64)
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| messages::read(row, conv.id)).collect()
}

/// When the human last said something to this agent, apart from this run. Messages without words do not count.
async fn last_contact(conn: &mut SqliteConnection, conv: &Conv, user: Option<UserId>, run: RunId) -> Result<Option<Timestamp>> {
    if user.is_none() {
        return Ok(None);
    }
    let row = sqlx::query("SELECT at FROM messages WHERE part = ? AND role = 0 AND run IS NOT ? ORDER BY at DESC LIMIT 1")
        .bind(conv.part)
        .bind(run.blob())
        .fetch_optional(conn)
        .await
        .map_err(Fault::Sql)?;
    row.map(|r| r.time(0)).transpose()
}
