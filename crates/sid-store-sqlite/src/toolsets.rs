//! `ToolsetStore`.

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{MOST_TOOLSETS, NO_TOOLSET, StoreError, ToolsetStore, check_toolset, check_toolset_version, too_many_toolsets};
use sid_types::{Principal, Scope, Timestamp, Toolset, ToolsetSpec};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::backend::SqliteStore;
use crate::codec::{Columns, from_word, nanos, word};
use crate::error::{Fault, Result};

const COLUMNS: &str = "name, kind, source, is_default, version, created_at, updated_at";

fn toolset(row: &SqliteRow) -> Result<Toolset> {
    let spec = ToolsetSpec { kind: from_word(&row.text(1)?)?, source: row.json(2)?, is_default: row.flag(3)? };
    Ok(Toolset { name: row.text(0)?, spec, version: row.count(4)?, created_at: row.time(5)?, updated_at: row.time(6)? })
}

async fn find(conn: &mut SqliteConnection, tenant: i64, name: &str) -> Result<Option<Toolset>> {
    let sql = format!("SELECT {COLUMNS} FROM toolsets WHERE tenant = ? AND name = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(name).fetch_optional(conn).await?;
    row.as_ref().map(toolset).transpose()
}

#[async_trait]
impl ToolsetStore for SqliteStore {
    async fn put_toolset(&self, scope: &Scope, name: &str, spec: ToolsetSpec, expected: Option<u64>) -> Result<Toolset, StoreError> {
        let source = check_toolset(name, &spec)?;
        let tenant = self.administrator(scope, "toolset").await?.tenant;
        let name = name.to_owned();
        self.write(move |tx| {
            async move {
                let known = find(&mut tx.conn, tenant, &name).await?;
                check_toolset_version(expected, known.as_ref().map_or(0, |t| t.version))?;
                if known.is_none() {
                    let count = sqlx::query("SELECT count(*) FROM toolsets WHERE tenant = ?").bind(tenant).fetch_one(&mut tx.conn).await?;
                    if count.count(0)? >= MOST_TOOLSETS {
                        return Err(too_many_toolsets().into());
                    }
                }
                let (version, created_at): (u64, Timestamp) = known.map_or((1, tx.now), |t| (t.version + 1, t.created_at));
                let toolset = Toolset { name, spec, version, created_at, updated_at: tx.now };
                sqlx::query(
                    "INSERT OR REPLACE INTO toolsets (tenant, name, kind, source, is_default, version, created_at, updated_at)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                )
                .bind(tenant)
                .bind(toolset.name.as_str())
                .bind(word(&toolset.spec.kind)?)
                .bind(source)
                .bind(toolset.spec.is_default)
                .bind(version as i64)
                .bind(nanos(created_at))
                .bind(nanos(tx.now))
                .execute(&mut tx.conn)
                .await?;
                Ok(toolset)
            }
            .boxed()
        })
        .await
    }

    async fn toolset(&self, scope: &Scope, name: &str) -> Result<Toolset, StoreError> {
        let viewer = self.viewer(scope).await?;
        if matches!(scope.principal(), Principal::User { .. }) {
            return Err(NO_TOOLSET);
        }
        Ok(find(&mut *self.reader().await?, viewer.tenant, name).await?.ok_or(NO_TOOLSET)?)
    }

    async fn toolsets(&self, scope: &Scope) -> Result<Vec<Toolset>, StoreError> {
        let viewer = self.viewer(scope).await?;
        if matches!(scope.principal(), Principal::User { .. }) {
            return Ok(Vec::new());
        }
        let sql = format!("SELECT {COLUMNS} FROM toolsets WHERE tenant = ? ORDER BY name");
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(viewer.tenant);
        let rows = query.fetch_all(&mut *self.reader().await?).await.map_err(Fault::Sql)?;
        Ok(rows.iter().map(toolset).collect::<Result<_>>()?)
    }

    async fn drop_toolset(&self, scope: &Scope, name: &str, expected: Option<u64>) -> Result<(), StoreError> {
        let tenant = self.administrator(scope, "toolset").await?.tenant;
        let name = name.to_owned();
        self.write(move |tx| {
            async move {
                let known = find(&mut tx.conn, tenant, &name).await?.ok_or(NO_TOOLSET)?;
                check_toolset_version(expected, known.version)?;
                sqlx::query("DELETE FROM toolsets WHERE tenant = ? AND name = ?").bind(tenant).bind(name).execute(&mut tx.conn).await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }
}
