//! `EgoStore`.

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{EgoStore, MOST_EGOS, NO_EGO, StoreError, check_ego, check_toolset_version, too_many_egos};
use sid_types::{Agent, Ego, EgoSpec, Scope, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::backend::SqliteStore;
use crate::codec::{Columns, nanos};
use crate::directory::{AGENT, agent_at, find_agent};
use crate::error::{Fault, Result, missing};

const COLUMNS: &str = "name, doc, version, created_at, updated_at";

fn ego(row: &SqliteRow) -> Result<Ego> {
    Ok(Ego { name: row.text(0)?, spec: row.json(1)?, version: row.count(2)?, created_at: row.time(3)?, updated_at: row.time(4)? })
}

async fn find(conn: &mut SqliteConnection, tenant: i64, name: &str) -> Result<Option<Ego>> {
    let sql = format!("SELECT {COLUMNS} FROM egos WHERE tenant = ? AND name = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(name).fetch_optional(conn).await?;
    row.as_ref().map(ego).transpose()
}

#[async_trait]
impl EgoStore for SqliteStore {
    async fn put_ego(&self, scope: &Scope, name: &str, spec: EgoSpec, expected: Option<u64>) -> Result<Ego, StoreError> {
        let doc = check_ego(name, &spec)?;
        let tenant = self.administrator(scope, "ego").await?.tenant;
        let name = name.to_owned();
        self.write(move |tx| {
            async move {
                for id in spec.agents() {
                    find_agent(&mut tx.conn, tenant, id).await?.ok_or(missing("agent"))?;
                }
                let known = find(&mut tx.conn, tenant, &name).await?;
                check_toolset_version(expected, known.as_ref().map_or(0, |e| e.version))?;
                if known.is_none() {
                    let count = sqlx::query("SELECT count(*) FROM egos WHERE tenant = ?").bind(tenant).fetch_one(&mut tx.conn).await?;
                    if count.count(0)? >= MOST_EGOS {
                        return Err(too_many_egos().into());
                    }
                }
                let (version, created_at): (u64, Timestamp) = known.map_or((1, tx.now), |e| (e.version + 1, e.created_at));
                let ego = Ego { name, spec, version, created_at, updated_at: tx.now };
                sqlx::query("INSERT OR REPLACE INTO egos (tenant, name, doc, version, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)")
                    .bind(tenant)
                    .bind(ego.name.as_str())
                    .bind(doc)
                    .bind(version as i64)
                    .bind(nanos(created_at))
                    .bind(nanos(tx.now))
                    .execute(&mut tx.conn)
                    .await?;
                Ok(ego)
            }
            .boxed()
        })
        .await
    }

    async fn ego(&self, scope: &Scope, name: &str) -> Result<Ego, StoreError> {
        let viewer = self.viewer(scope).await?;
        Ok(find(&mut *self.reader().await?, viewer.tenant, name).await?.ok_or(NO_EGO)?)
    }

    async fn egos(&self, scope: &Scope) -> Result<Vec<Ego>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let sql = format!("SELECT {COLUMNS} FROM egos WHERE tenant = ? ORDER BY name");
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(viewer.tenant);
        let rows = query.fetch_all(&mut *self.reader().await?).await.map_err(Fault::Sql)?;
        Ok(rows.iter().map(ego).collect::<Result<_>>()?)
    }

    async fn drop_ego(&self, scope: &Scope, name: &str, expected: Option<u64>) -> Result<(), StoreError> {
        let tenant = self.administrator(scope, "ego").await?.tenant;
        let name = name.to_owned();
        self.write(move |tx| {
            async move {
                let known = find(&mut tx.conn, tenant, &name).await?.ok_or(NO_EGO)?;
                check_toolset_version(expected, known.version)?;
                sqlx::query("DELETE FROM egos WHERE tenant = ? AND name = ?").bind(tenant).bind(name).execute(&mut tx.conn).await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn roster(&self, scope: &Scope) -> Result<Vec<Agent>, StoreError> {
        let viewer = self.viewer(scope).await?;
        let sql = format!("SELECT {AGENT} FROM agents a WHERE a.tenant = ? ORDER BY a.name");
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(viewer.tenant);
        let rows = query.fetch_all(&mut *self.reader().await?).await.map_err(Fault::Sql)?;
        Ok(rows.iter().map(|row| agent_at(row, 0)).collect::<Result<_>>()?)
    }
}
