//! `TaskStore`.

use async_trait::async_trait;
use sid_store::{NO_TASK, Page, PageRequest, StoreError, TaskFilter, TaskPlace, TaskStore, check_task, check_task_change, sees_task};
use sid_types::{Owner, Principal, Scope, Task, TaskId};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::backend::PgStore;
use crate::codec::{At, Columns, Id, to_json};
use crate::error::{Result, missing};
use crate::paging::Cursor;
use crate::rows::{Conv, turn_scope};
use crate::tx::Tx;
use crate::visibility::Viewer;

async fn find(tx: &mut Tx, id: TaskId, scope: &Scope, is_to_change: bool) -> Result<Option<Task>> {
    let query = if is_to_change {
        tx.query("SELECT t.doc FROM sid.tasks t WHERE t.tenant = $1 AND t.id = $2 FOR UPDATE")
    } else {
        tx.query("SELECT t.doc FROM sid.tasks t WHERE t.tenant = $1 AND t.id = $2")
    };
    let row = query.bind(tx.tenant).bind(id.uuid()).fetch_optional(tx.conn()).await?;
    let task: Option<Task> = row.map(|row| row.json(0)).transpose()?;
    Ok(task.filter(|t| sees_task(scope, t.agent, t.user, t.created_by.agent())))
}

/// Writes the task's row; `false` if there is one and this one is new.
async fn put(tx: &mut Tx, task: &Task) -> Result<bool> {
    let place = TaskPlace::of(task);
    let query = tx.query(if task.version == 1 {
        "INSERT INTO sid.tasks (tenant, id, agent_id, user_id, creator, parent, conv, report_to, state, run, is_gated, begins, due_at,
            created_at, version, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
         ON CONFLICT (tenant, id) DO NOTHING"
    } else {
        "UPDATE sid.tasks SET agent_id = $3, user_id = $4, creator = $5, parent = $6, conv = $7, report_to = $8, state = $9, run = $10,
            is_gated = $11, begins = $12, due_at = $13, created_at = $14, version = $15, doc = $16 WHERE tenant = $1 AND id = $2"
    });
    let query = query.bind(tx.tenant).bind(task.id.uuid()).bind(task.agent.uuid()).bind(task.user.map(Id::raw));
    let query = query.bind(task.created_by.agent().map(Id::raw)).bind(task.parent.map(Id::raw)).bind(task.conversation.uuid());
    let query = query.bind(task.report_to.map(Id::raw)).bind(task.state.as_str()).bind(place.run.map(Id::raw)).bind(place.is_gated);
    let query = query.bind(place.begins).bind(place.due_at.map(At)).bind(At(task.created_at)).bind(task.version as i64);
    Ok(query.bind(to_json(task)?).execute(tx.conn()).await?.rows_affected() == 1)
}

async fn create(tx: &mut Tx, viewer: &Viewer, mut task: Task) -> Result<Task> {
    if let Some(known) = find(tx, task.id, &viewer.scope, false).await? {
        return Ok(known);
    }
    let conv = Conv::get(tx, viewer, task.conversation).await?;
    if conv.owner() != Owner::of_conversation(task.agent, task.user) {
        return Err(missing("conversation").into());
    }
    // Whoever erases the conversation waits for this task, and takes it along.
    let query = tx.query("SELECT 1 FROM sid.conversations WHERE tenant = $1 AND id = $2 FOR KEY SHARE");
    query.bind(tx.tenant).bind(task.conversation.uuid()).fetch_optional(tx.conn()).await?.ok_or(missing("conversation"))?;
    (task.version, task.created_at, task.updated_at) = (1, tx.now, tx.now);
    if put(tx, &task).await? {
        return Ok(task);
    }
    // Somebody else made it at the same moment, or it is not ours to see.
    Ok(find(tx, task.id, &viewer.scope, false).await?.ok_or(NO_TASK)?)
}

async fn change(tx: &mut Tx, viewer: &Viewer, mut task: Task) -> Result<Task> {
    let known = find(tx, task.id, &viewer.scope, true).await?.ok_or(NO_TASK)?;
    check_task_change(&known, &task)?;
    task.version += 1;
    task.updated_at = tx.now;
    put(tx, &task).await?;
    Ok(task)
}

/// Forgets the tasks of a user, an agent or a conversation, with all that they handed on; answers how many.
pub(crate) async fn erase(tx: &mut Tx, of: &'static str, id: Uuid) -> Result<u64> {
    let query = tx.query("SELECT sid.drop_tasks($1, sid.tasks_of($1, $2, $3))");
    query.bind(tx.tenant).bind(of).bind(id).fetch_one(tx.conn()).await?.count(0)
}

#[async_trait]
impl TaskStore for PgStore {
    async fn create_task(&self, scope: &Scope, task: Task) -> Result<Task, StoreError> {
        check_task(&task)?;
        let mut tx = self.begin(scope.tenant()).await?;
        let outcome = create(&mut tx, &self.viewer(scope), task).await;
        tx.finish(outcome).await
    }

    async fn task(&self, scope: &Scope, task: TaskId) -> Result<Task, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        Ok(find(&mut tx, task, scope, false).await?.ok_or(NO_TASK)?)
    }

    async fn tasks(&self, scope: &Scope, filter: &TaskFilter, page: PageRequest) -> Result<Page<Task>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        self.check_tenant(&mut tx, scope.tenant(), "tenant").await?;
        let cursor = Cursor::descending::<TaskId>(&page)?;
        // Only the filters that apply: each leaves the planner one equality that an index serves.
        let mut rules = String::new();
        let mut ids: Vec<Uuid> = Vec::new();
        let mut only = |rule: &str, id: Option<Uuid>| {
            if let Some(id) = id {
                ids.push(id);
                rules.push_str(&rule.replace('#', &format!("${}", ids.len() + 5)));
            }
        };
        match scope.principal() {
            Principal::Tenant { .. } => {}
            Principal::User { user } => only(" AND t.user_id = #", Some(user.uuid())),
            Principal::Turn { agent, user } => {
                only(" AND (t.agent_id = # OR t.creator = #)", Some(agent.uuid()));
                only(" AND t.user_id = #", user.map(Id::raw));
            }
        }
        only(" AND t.user_id = #", filter.user.map(Id::raw));
        only(" AND t.agent_id = #", filter.agent.map(Id::raw));
        only(" AND t.conv = #", filter.conversation.map(Id::raw));
        only(" AND t.report_to = #", filter.report_to.map(Id::raw));
        only(" AND t.parent = #", filter.parent.map(Id::raw));
        if matches!(scope.principal(), Principal::Turn { user: None, .. }) {
            rules.push_str(" AND t.user_id IS NULL");
        }
        if filter.is_open {
            rules.push_str(" AND t.state NOT IN ('done', 'failed', 'cancelled')");
        }
        let sql = format!(
            "SELECT t.doc FROM sid.tasks t WHERE t.tenant = $1 AND (t.created_at, t.id) < ($2, $3) AND ($5::text IS NULL OR t.state = $5){rules}
             ORDER BY t.created_at DESC, t.id DESC LIMIT $4"
        );
        let query = tx.query_of(sql).bind(tx.tenant).bind(cursor.at).bind(cursor.id).bind(cursor.fetch());
        let query = ids.into_iter().fold(query.bind(filter.state.map(|s| s.as_str())), sqlx::query::Query::bind);
        let rows = query.fetch_all(tx.conn()).await.map_err(crate::error::Fault::Sql)?;
        let tasks: Vec<Task> = rows.iter().map(|row| row.json(0)).collect::<Result<_>>()?;
        Ok(cursor.page(tasks, |t| (t.created_at, t.id)))
    }

    async fn change_task(&self, scope: &Scope, task: Task) -> Result<Task, StoreError> {
        check_task(&task)?;
        let mut tx = self.begin(scope.tenant()).await?;
        let outcome = change(&mut tx, &self.viewer(scope), task).await;
        tx.finish(outcome).await
    }

    async fn due_tasks(&self, most: usize, per_tenant: usize) -> Result<Vec<(Scope, TaskId)>, StoreError> {
        let call = self.call("SELECT x.tenant, x.id, x.agent_id, x.user_id FROM sid.due_tasks($1, $2, $3) x");
        let call = call.bind(self.clock()).bind(most as i64).bind(per_tenant as i64);
        let rows = self.timely(call.fetch_all()).await?;
        let due = |row: &PgRow| Ok((turn_scope(row.id(0)?, row.id(2)?, row.maybe_id(3)?), row.id(1)?));
        Ok(rows.iter().map(due).collect::<Result<_>>()?)
    }
}
