//! Lists of what belongs to an agent, perhaps to one human, and to a conversation: timers, images.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use sid_store::{Page, PageRequest, PairFilter};
use sid_types::{Principal, Scope, Timestamp};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::backend::PgStore;
use crate::codec::{Columns, Id};
use crate::error::Result;
use crate::paging::Cursor;

/// A page of the documents of a table, newest first.
pub(crate) async fn listed<I, T>(
    store: &PgStore,
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
    let mut tx = store.read(scope.tenant()).await?;
    store.check_tenant(&mut tx, scope.tenant(), "tenant").await?;
    let cursor = Cursor::descending::<I>(page)?;
    // Only the filters that apply: each leaves the planner one equality that an index serves.
    let mut rules = String::new();
    let mut ids: Vec<Uuid> = Vec::new();
    let mut only = |rule: &str, id: Option<Uuid>| {
        ids.extend(id);
        rules.push_str(&rule.replace('#', &format!("${}", ids.len() + 4)));
    };
    for (rule, id) in [
        (" AND agent_id = #", filter.agent.map(Id::raw)),
        (" AND user_id = #", filter.user.map(Id::raw)),
        (" AND conv = #", filter.conversation.map(Id::raw)),
    ] {
        if id.is_some() {
            only(rule, id);
        }
    }
    match scope.principal() {
        Principal::Tenant { .. } => {}
        Principal::User { user } => only(" AND user_id = #", Some(user.raw())),
        Principal::Turn { agent, user } => {
            only(" AND agent_id = #", Some(agent.raw()));
            only(if user.is_some() { " AND (user_id = # OR user_id IS NULL)" } else { " AND user_id IS NULL" }, user.map(Id::raw));
        }
    }
    let sql = format!(
        "SELECT doc FROM sid.{table} WHERE tenant = $1 AND (created_at, id) < ($2, $3){rules} ORDER BY created_at DESC, id DESC LIMIT $4"
    );
    let mut query = tx.query_of(sql).bind(tx.tenant).bind(cursor.at).bind(cursor.id).bind(cursor.fetch());
    for id in ids {
        query = query.bind(id);
    }
    let rows = query.fetch_all(tx.conn()).await?;
    let documents: Vec<T> = rows.iter().map(|row: &PgRow| row.json(0)).collect::<Result<_>>()?;
    Ok(cursor.page(documents, key))
}
