//! Lists of what belongs to an agent, perhaps to one human, and to a conversation: timers, images.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use sid_store::{Page, PageRequest, PairFilter};
use sid_types::{AgentId, Principal, Scope, Timestamp, UserId};
use sqlx::sqlite::SqliteRow;

use crate::backend::SqliteStore;
use crate::codec::{Columns, Id};
use crate::error::{Result, missing};
use crate::paging::Cursor;

/// A page of the documents of a table, newest first.
pub(crate) async fn listed<I, T>(
    store: &SqliteStore,
    scope: &Scope,
    table: &'static str,
    filter: &PairFilter,
    page: &PageRequest,
    key: impl Fn(&T) -> (Timestamp, I),
) -> Result<Page<T>>
where
    I: Id + FromStr + Display,
    T: DeserializeOwned,
{
    let viewer = store.viewer(scope).await?;
    if viewer.tenant < 0 {
        return Err(missing("tenant").into());
    }
    let cursor = Cursor::descending::<I>(page)?;
    // What the scope sees, as further filters: an agent, a user, and whether what has no user is seen as well.
    let (agent, user, with_alone): (Option<AgentId>, Option<Option<UserId>>, bool) = match scope.principal() {
        Principal::Tenant { .. } => (None, None, false),
        Principal::User { user } => (None, Some(Some(user)), false),
        Principal::Turn { agent, user } => (Some(agent), Some(user), true),
    };
    let sql = format!(
        "SELECT doc FROM {table} WHERE tenant = ?1 AND (created_at, id) < (?2, ?3)
         AND (?4 IS NULL OR agent = ?4) AND (?5 IS NULL OR user = ?5) AND (?6 IS NULL OR conv = ?6)
         AND (?7 IS NULL OR agent = ?7) AND (?8 OR user IS ?9 OR (?10 AND user IS NULL))
         ORDER BY created_at DESC, id DESC LIMIT ?11"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(viewer.tenant).bind(cursor.at).bind(cursor.id.clone());
    let query = query.bind(filter.agent.map(Id::blob)).bind(filter.user.map(Id::blob)).bind(filter.conversation.map(Id::blob));
    let query = query.bind(agent.map(Id::blob)).bind(user.is_none()).bind(user.flatten().map(Id::blob)).bind(with_alone);
    let rows = query.bind(cursor.fetch()).fetch_all(&mut *store.reader().await?).await?;
    let documents: Vec<T> = rows.iter().map(|row: &SqliteRow| row.json(0)).collect::<Result<_>>()?;
    Ok(cursor.page(documents, key))
}
