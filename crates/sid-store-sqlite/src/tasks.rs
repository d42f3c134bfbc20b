//! `TaskStore`.

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{NO_TASK, Page, PageRequest, StoreError, TaskFilter, TaskPlace, TaskStore, Told, check_task, check_task_change, sees_task};
use sid_types::{Owner, Principal, Scope, Task, TaskId};
use sqlx::sqlite::SqliteConnection;

use crate::backend::SqliteStore;
use crate::codec::{Columns, Id, nanos, to_json};
use crate::error::{Fault, Result, missing};
use crate::paging::Cursor;
use crate::visibility::{Conv, turn_scope};
use crate::webhooks;
use crate::writer::Tx;

async fn find(conn: &mut SqliteConnection, tenant: i64, id: TaskId, scope: &Scope) -> Result<Option<Task>> {
    let row = sqlx::query("SELECT doc FROM tasks WHERE tenant = ? AND id = ?").bind(tenant).bind(id.blob()).fetch_optional(conn).await?;
    let task: Option<Task> = row.map(|row| row.json(0)).transpose()?;
    Ok(task.filter(|t| sees_task(scope, t.agent, t.user, t.created_by.agent())))
}

async fn put(tx: &mut Tx, tenant: i64, task: &Task) -> Result<()> {
    let place = TaskPlace::of(task);
    sqlx::query(
        "INSERT OR REPLACE INTO tasks (tenant, id, agent, user, creator, parent, conv, report_to, state, run, is_gated, begins, due_at,
            created_at, version, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(tenant)
    .bind(task.id.blob())
    .bind(task.agent.blob())
    .bind(task.user.map(Id::blob))
    .bind(task.created_by.agent().map(Id::blob))
    .bind(task.parent.map(Id::blob))
    .bind(task.conversation.blob())
    .bind(task.report_to.map(Id::blob))
    .bind(task.state.as_str())
    .bind(place.run.map(Id::blob))
    .bind(place.is_gated)
    .bind(place.begins)
    .bind(place.due_at.map(nanos))
    .bind(nanos(task.created_at))
    .bind(task.version as i64)
    .bind(to_json(task)?)
    .execute(&mut tx.conn)
    .await?;
    Ok(())
}

/// Forgets tasks that a condition names by an id, with all that they handed on; answers how many.
pub(crate) async fn erase(tx: &mut Tx, tenant: i64, which: &'static str, id: Vec<u8>) -> Result<u64> {
    let sql = format!(
        "WITH RECURSIVE gone (id) AS (
            SELECT id FROM tasks WHERE tenant = ?1 AND ({which})
            UNION SELECT b.id FROM gone g JOIN tasks b ON b.tenant = ?1 AND b.parent = g.id)
         DELETE FROM tasks WHERE tenant = ?1 AND id IN (SELECT id FROM gone)"
    );
    Ok(sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(id).execute(&mut tx.conn).await?.rows_affected())
}

#[async_trait]
impl TaskStore for SqliteStore {
    async fn create_task(&self, scope: &Scope, mut task: Task) -> Result<Task, StoreError> {
        check_task(&task)?;
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| {
            async move {
                if let Some(known) = find(&mut tx.conn, viewer.tenant, task.id, &viewer.scope).await? {
                    return Ok(known);
                }
                let conv = Conv::get(&mut tx.conn, &viewer, task.conversation).await?;
                if conv.owner() != Owner::of_conversation(task.agent, task.user) {
                    return Err(missing("conversation").into());
                }
                (task.version, task.created_at, task.updated_at) = (1, tx.now, tx.now);
                put(tx, viewer.tenant, &task).await?;
                Ok(task)
            }
            .boxed()
        })
        .await
    }

    async fn task(&self, scope: &Scope, task: TaskId) -> Result<Task, StoreError> {
        let viewer = self.viewer(scope).await?;
        Ok(find(&mut *self.reader().await?, viewer.tenant, task, scope).await?.ok_or(NO_TASK)?)
    }

    async fn tasks(&self, scope: &Scope, filter: &TaskFilter, page: PageRequest) -> Result<Page<Task>, StoreError> {
        let viewer = self.viewer(scope).await?;
        if viewer.tenant < 0 {
            return Err(missing("tenant"));
        }
        let cursor = Cursor::descending::<TaskId>(&page)?;
        let (of_user, of_agent, is_alone) = match scope.principal() {
            Principal::Tenant { .. } => (None, None, false),
            Principal::User { user } => (Some(user), None, false),
            Principal::Turn { agent, user } => (user, Some(agent), user.is_none()),
        };
        let rows = sqlx::query(
            "SELECT doc FROM tasks WHERE tenant = ?1 AND (created_at, id) < (?2, ?3) AND (?4 IS NULL OR user = ?4) AND (NOT ?5 OR user IS NULL)
                AND (?6 IS NULL OR agent = ?6 OR creator = ?6) AND (?7 IS NULL OR user = ?7) AND (?8 IS NULL OR agent = ?8)
                AND (?9 IS NULL OR state = ?9) AND (NOT ?10 OR state NOT IN ('done', 'failed', 'cancelled')) AND (?11 IS NULL OR conv = ?11)
                AND (?12 IS NULL OR report_to = ?12) AND (?13 IS NULL OR parent = ?13)
             ORDER BY created_at DESC, id DESC LIMIT ?14",
        )
        .bind(viewer.tenant)
        .bind(cursor.at)
        .bind(cursor.id.clone())
        .bind(of_user.map(Id::blob))
        .bind(is_alone)
        .bind(of_agent.map(Id::blob))
        .bind(filter.user.map(Id::blob))
        .bind(filter.agent.map(Id::blob))
        .bind(filter.state.map(|s| s.as_str()))
        .bind(filter.is_open)
        .bind(filter.conversation.map(Id::blob))
        .bind(filter.report_to.map(Id::blob))
        .bind(filter.parent.map(Id::blob))
        .bind(cursor.fetch())
        .fetch_all(&mut *self.reader().await?)
        .await
        .map_err(Fault::Sql)?;
        let tasks: Vec<Task> = rows.iter().map(|row| row.json(0)).collect::<Result<_>>()?;
        Ok(cursor.page(tasks, |t| (t.created_at, t.id)))
    }

    async fn change_task(&self, scope: &Scope, mut task: Task) -> Result<Task, StoreError> {
        check_task(&task)?;
        let viewer = self.viewer(scope).await?;
        self.write(move |tx| {
            async move {
                let known = find(&mut tx.conn, viewer.tenant, task.id, &viewer.scope).await?.ok_or(NO_TASK)?;
                check_task_change(&known, &task)?;
                task.version += 1;
                task.updated_at = tx.now;
                put(tx, viewer.tenant, &task).await?;
                if let Some(told) = Told::of_task(&task, known.state) {
                    webhooks::tell(tx, viewer.tenant, &told)?;
                }
                Ok(task)
            }
            .boxed()
        })
        .await
    }

    async fn due_tasks(&self, most: usize, per_tenant: usize) -> Result<Vec<(Scope, TaskId)>, StoreError> {
        let rows = sqlx::query(
            "WITH due AS (
                SELECT t.tenant, t.id, t.agent, t.user, t.due_at, t.begins,
                    row_number() OVER (PARTITION BY t.tenant, t.begins ORDER BY t.due_at, t.id) AS place
                FROM tasks t
                WHERE t.due_at <= ?1
                    AND NOT (t.is_gated AND EXISTS (SELECT 1 FROM runs r WHERE r.tenant = t.tenant AND r.id = t.run AND r.status < 2))),
             living AS (
                SELECT o.tenant, count(*) AS runs FROM tasks o JOIN runs r ON r.tenant = o.tenant AND r.id = o.run AND r.status < 2
                WHERE o.run IS NOT NULL GROUP BY o.tenant)
             SELECT x.id, d.id, d.agent, d.user FROM due d JOIN tenants x ON x.tenant = d.tenant LEFT JOIN living l ON l.tenant = d.tenant
             WHERE NOT d.begins OR d.place + ifnull(l.runs, 0) <= ?2
             ORDER BY d.place, d.due_at, d.id LIMIT ?3",
        )
        .bind(nanos(self.now()))
        .bind(per_tenant as i64)
        .bind(most as i64)
        .fetch_all(&mut *self.reader().await?)
        .await
        .map_err(Fault::Sql)?;
        Ok(rows.iter().map(|row| Ok((turn_scope(row.id(0)?, row.id(2)?, row.maybe_id(3)?), row.id(1)?))).collect::<Result<_>>()?)
    }
}
