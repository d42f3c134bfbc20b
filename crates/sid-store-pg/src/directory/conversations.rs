//! Conversations: opened once per key, listed newest first.

use sid_store::{NewConversation, Page, PageRequest, StoreError};
use sid_types::{AgentId, Conversation, ConversationId, Owner, Principal, RecursiveSummary, Scope, Seq, UserId};
use uuid::Uuid;

use super::rows::{find_agent, find_user};
use super::{sees_agent, sees_user};
use crate::backend::PgStore;
use crate::codec::{At, Columns, Id, clean, to_json};
use crate::error::{Result, missing};
use crate::paging::Cursor;
use crate::rows::{CONV, Conv};
use crate::tx::Tx;
use crate::visibility::{Partition, Viewer};

pub(super) async fn list(
    store: &PgStore,
    scope: &Scope,
    agent: Option<AgentId>,
    user: Option<UserId>,
    page: &PageRequest,
) -> Result<Page<Conversation>> {
    let mut tx = store.read(scope.tenant()).await?;
    store.check_tenant(&mut tx, scope.tenant(), "tenant").await?;
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
    // Only the filters that apply: each leaves the planner one equality that an index serves.
    let mut rules = String::new();
    let mut ids: Vec<Uuid> = Vec::new();
    let mut only = |rule: &str, id: Uuid| {
        ids.push(id);
        rules.push_str(&rule.replace('#', &format!("${}", ids.len() + 4)));
    };
    if let Some(agent) = agent.or(scope_agent) {
        only(" AND c.agent_id = #", agent.uuid());
    }
    if let Some(user) = user {
        only(" AND c.user_id = #", user.uuid());
    }
    match (scope_user, with_alone) {
        (Some(me), false) => only(" AND c.user_id = #", me.uuid()),
        (Some(me), true) => only(" AND (c.user_id = # OR c.user_id IS NULL)", me.uuid()),
        // A turn without a human sees conversations without a human only.
        (None, true) => rules.push_str(" AND c.user_id IS NULL"),
        (None, false) => {}
    }
    let sql = format!(
        "SELECT row_to_json(x)::text FROM ({CONV} WHERE c.tenant = $1 AND (c.created_at, c.id) < ($2, $3){rules}
         ORDER BY c.created_at DESC, c.id DESC LIMIT $4) x"
    );
    let mut query = tx.query_of(sql).bind(tx.tenant).bind(cursor.at).bind(cursor.id).bind(cursor.fetch());
    for id in ids {
        query = query.bind(id);
    }
    let rows = query.fetch_all(tx.conn()).await?;
    let conversations: Result<Vec<Conversation>> = rows.iter().map(|row| row.json::<Conv>(0)?.conversation()).collect();
    Ok(cursor.page(conversations?, |c| (c.created_at, c.id)))
}

pub(super) async fn open(tx: &mut Tx, viewer: &Viewer, id: ConversationId, new: NewConversation) -> Result<(Conversation, bool)> {
    let scope = viewer.scope;
    let NewConversation { agent, user, key } = new;
    find_agent(tx, agent).await?.filter(|a| sees_agent(&scope, a.id)).ok_or(missing("agent"))?;
    let may = match user {
        None => !matches!(scope.principal(), Principal::User { .. }),
        Some(user) => sees_user(&scope, user) && find_user(tx, user).await?.is_some(),
    };
    if !may || matches!(scope.principal(), Principal::Turn { user: human, .. } if human != user) {
        return Err(missing("user").into());
    }
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
    if let Some(known) = find_same(tx, &conversation).await? {
        return repetition(known, &conversation);
    }
    let part = Partition::open(tx, Owner::of_conversation(agent, user)).await?;
    let query = tx.query(
        "INSERT INTO sid.conversations (tenant, id, part, agent_id, user_id, app_key, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT DO NOTHING",
    );
    let done = query
        .bind(tx.tenant)
        .bind(id.uuid())
        .bind(part)
        .bind(agent.uuid())
        .bind(user.map(Id::raw))
        .bind(conversation.key.as_deref().map(|k| clean(k).into_owned()))
        .bind(At(tx.now))
        .execute(tx.conn())
        .await?;
    if done.rows_affected() == 0 {
        // Somebody else opened it at the same moment.
        let known = find_same(tx, &conversation).await?.ok_or(missing("conversation"))?;
        return repetition(known, &conversation);
    }
    let query = tx.query("INSERT INTO sid.conversation_heads (tenant, conv, summary) VALUES ($1, $2, $3)");
    query.bind(tx.tenant).bind(id.uuid()).bind(to_json(&conversation.summary)?).execute(tx.conn()).await?;
    Ok((conversation, true))
}

/// The conversation with this id, or with this key of the same agent and user.
async fn find_same(tx: &mut Tx, new: &Conversation) -> Result<Option<Conversation>> {
    let sql = format!(
        "SELECT row_to_json(x)::text FROM (
            SELECT * FROM ({CONV} WHERE c.tenant = $1 AND c.id = $2) y
            UNION ALL SELECT * FROM ({CONV} WHERE c.tenant = $1 AND c.agent_id = $3
                AND coalesce(c.user_id, '00000000-0000-0000-0000-000000000000'::uuid) = $4 AND c.app_key = $5) z) x LIMIT 1"
    );
    let query = tx.query_of(sql).bind(tx.tenant).bind(new.id.uuid()).bind(new.agent.uuid());
    let query = query.bind(new.user.map_or(Uuid::nil(), Id::raw)).bind(new.key.as_deref().map(|k| clean(k).into_owned()));
    let row = query.fetch_optional(tx.conn()).await?;
    row.map(|row| row.json::<Conv>(0)?.conversation()).transpose()
}

fn repetition(known: Conversation, asked: &Conversation) -> Result<(Conversation, bool)> {
    if known.agent == asked.agent && known.user == asked.user && known.key == asked.key {
        Ok((known, false))
    } else {
        Err(StoreError::Exists { what: "conversation", name: asked.id.to_string() }.into())
    }
}
