//! Conversations: opened once per key, listed newest first.

use sid_store::{NewConversation, Page, PageRequest, StoreError};
use sid_types::{AgentId, Conversation, ConversationId, Owner, Principal, RecursiveSummary, Scope, Seq, UserId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::rows::{find_agent, find_user};
use super::{sees_agent, sees_user};
use crate::backend::SqliteStore;
use crate::codec::{Columns, Id, nanos, to_json};
use crate::error::{Fault, Result, missing};
use crate::paging::Cursor;
use crate::visibility::{CONV, Conv, Partition, Viewer};
use crate::writer::Tx;

pub(super) async fn list(
    store: &SqliteStore,
    scope: &Scope,
    agent: Option<AgentId>,
    user: Option<UserId>,
    page: &PageRequest,
) -> Result<Page<Conversation>, StoreError> {
    let viewer = store.viewer(scope).await?;
    if viewer.tenant < 0 {
        return Err(missing("tenant"));
    }
    let cursor = Cursor::descending::<ConversationId>(page)?;
    // What the scope sees, as further filters.
    let (scope_agent, scope_user, with_alone) = match scope.principal() {
        Principal::Tenant { .. } => (None, None, false),
        Principal::User { user } => (None, Some(user), false),
        Principal::Turn { agent, user } => (Some(agent), user, true),
    };
    let is_foreign = |asked: Option<AgentId>| asked.is_some() && scope_agent.is_some() && asked != scope_agent;
    if is_foreign(agent) {
        return Ok(Page { items: Vec::new(), next: None });
    }
    let agent = agent.or(scope_agent);
    // One equality that an index serves where there is one; the rest filters.
    let by = match (agent, user.or(scope_user.filter(|_| !with_alone))) {
        (Some(_), _) => "AND c.agent = ?2",
        (None, Some(_)) => "AND c.user = ?3",
        (None, None) => "",
    };
    let sql = format!(
        "SELECT {CONV}, c.app_key, c.created_at, h.summary, h.prefix FROM conversations c JOIN conversation_heads h ON h.conv = c.conv
         WHERE c.tenant = ?1 {by} AND (c.created_at, c.id) < (?4, ?5) AND (?3 IS NULL OR c.user = ?3)
         AND (?6 IS NULL OR c.user = ?6 OR (?7 AND c.user IS NULL)) AND (NOT ?8 OR c.user IS NULL)
         ORDER BY c.created_at DESC, c.id DESC LIMIT ?9"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(viewer.tenant)
        .bind(agent.map(Id::blob))
        .bind(user.or(scope_user.filter(|_| !with_alone)).map(Id::blob))
        .bind(cursor.at)
        .bind(cursor.id.clone())
        .bind(scope_user.map(Id::blob))
        .bind(with_alone)
        // A turn without a human sees conversations without a human only.
        .bind(with_alone && scope_user.is_none())
        .bind(cursor.fetch())
        .fetch_all(&mut *store.reader().await?)
        .await
        .map_err(Fault::Sql)?;
    let read = |row: &SqliteRow| conversation(row, &Conv::read(row, viewer.tenant, viewer.tenant_id())?);
    let conversations: Vec<Conversation> = rows.iter().map(read).collect::<Result<_>>()?;
    Ok(cursor.page(conversations, |c| (c.created_at, c.id)))
}

pub(super) async fn open(tx: &mut Tx, viewer: Viewer, id: ConversationId, new: NewConversation) -> Result<(Conversation, bool)> {
    let scope = viewer.scope;
    let NewConversation { agent, user, key } = new;
    find_agent(&mut tx.conn, viewer.tenant, agent).await?.filter(|a| sees_agent(&scope, a.id)).ok_or(missing("agent"))?;
    let may = match user {
        None => !matches!(scope.principal(), Principal::User { .. }),
        Some(user) => sees_user(&scope, user) && find_user(&mut tx.conn, viewer.tenant, user).await?.is_some(),
    };
    if !may || matches!(scope.principal(), Principal::Turn { user: human, .. } if human != user) {
        return Err(missing("user").into());
    }
    // The order of the columns of the index matters less than that every one is named.
    let sql = format!(
        "SELECT {CONV}, c.app_key, c.created_at, h.summary, h.prefix FROM conversations c JOIN conversation_heads h ON h.conv = c.conv
         WHERE c.tenant = ?1 AND c.id = ?2
         UNION ALL SELECT {CONV}, c.app_key, c.created_at, h.summary, h.prefix FROM conversations c
         JOIN conversation_heads h ON h.conv = c.conv
         WHERE c.tenant = ?1 AND c.agent = ?3 AND ifnull(c.user, x'') = ?4 AND c.app_key = ?5 AND c.app_key IS NOT NULL LIMIT 1"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(viewer.tenant)
        .bind(id.blob())
        .bind(agent.blob())
        .bind(user.map(Id::blob).unwrap_or_default())
        .bind(key.as_deref())
        .fetch_optional(&mut tx.conn)
        .await?;
    if let Some(row) = row {
        let known = conversation(&row, &Conv::read(&row, viewer.tenant, viewer.tenant_id())?)?;
        let is_repetition = known.agent == agent && known.user == user && known.key == key;
        return if is_repetition {
            Ok((known, false))
        } else {
            Err(StoreError::Exists { what: "conversation", name: id.to_string() }.into())
        };
    }
    let part = Partition::open(tx, viewer.tenant, Owner::of_conversation(agent, user)).await?.part;
    let conversation = Conversation {
        id,
        agent,
        user,
        key,
        last_seq: Seq(0),
        queue_start: Seq(1),
        summary: RecursiveSummary::default(),
        prefix: None,
        created_at: tx.now,
        last_at: None,
    };
    let row = sqlx::query("INSERT INTO conversations (tenant, id, part, agent, user, app_key, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)")
        .bind(viewer.tenant)
        .bind(id.blob())
        .bind(part)
        .bind(agent.blob())
        .bind(user.map(Id::blob))
        .bind(conversation.key.as_deref())
        .bind(nanos(tx.now))
        .execute(&mut tx.conn)
        .await?;
    sqlx::query("INSERT INTO conversation_heads (conv, summary) VALUES (?, ?)")
        .bind(row.last_insert_rowid())
        .bind(to_json(&conversation.summary)?)
        .execute(&mut tx.conn)
        .await?;
    Ok((conversation, true))
}

/// A conversation from a row of [`CONV`], `app_key`, `created_at`, `summary`, `prefix`.
pub(crate) fn conversation(row: &SqliteRow, conv: &Conv) -> Result<Conversation> {
    let at = crate::journal::AFTER_CONV;
    Ok(Conversation {
        id: conv.id,
        agent: conv.agent,
        user: conv.user,
        key: row.maybe_text(at)?,
        last_seq: Seq(conv.last_seq),
        queue_start: Seq(conv.queue_start),
        summary: row.json(at + 2)?,
        prefix: row.maybe_text(at + 3)?,
        created_at: row.time(at + 1)?,
        last_at: conv.last_at.map(crate::codec::time),
    })
}

/// All of a conversation that was found before.
pub(super) async fn find(conn: &mut SqliteConnection, conv: &Conv) -> Result<Option<Conversation>> {
    let sql = format!(
        "SELECT {CONV}, c.app_key, c.created_at, h.summary, h.prefix FROM conversations c JOIN conversation_heads h ON h.conv = c.conv
         WHERE c.conv = ?"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(conv.conv).fetch_optional(conn).await?;
    row.map(|r| conversation(&r, &Conv::read(&r, conv.tenant, conv.tenant_id)?)).transpose()
}
