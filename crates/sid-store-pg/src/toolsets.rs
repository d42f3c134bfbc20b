//! `ToolsetStore`.

use async_trait::async_trait;
use sid_store::{MOST_TOOLSETS, NO_TOOLSET, StoreError, ToolsetStore, check_toolset, check_toolset_version, too_many_toolsets};
use sid_types::{Principal, Scope, Timestamp, Toolset, ToolsetSpec};
use sqlx::postgres::PgRow;

use crate::backend::PgStore;
use crate::codec::{At, Columns, clean, from_word, word};
use crate::error::{Fault, Result};
use crate::tx::Tx;

const COLUMNS: &str = "x.name, x.kind, x.source, x.is_default, x.version, x.created_at, x.updated_at";

fn toolset(row: &PgRow) -> Result<Toolset> {
    let spec = ToolsetSpec { kind: from_word(&row.text(1)?)?, source: row.json(2)?, is_default: row.flag(3)? };
    Ok(Toolset { name: row.text(0)?, spec, version: row.count(4)?, created_at: row.time(5)?, updated_at: row.time(6)? })
}

async fn find(tx: &mut Tx, name: &str) -> Result<Option<Toolset>> {
    let query = tx.query_of(format!("SELECT {COLUMNS} FROM sid.toolsets x WHERE x.tenant = $1 AND x.name = $2"));
    let row = query.bind(tx.tenant).bind(clean(name).into_owned()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(toolset).transpose()
}

/// The toolset as it is, and nobody else changes toolsets of the tenant before the transaction ends.
async fn find_to_change(tx: &mut Tx, name: &str, expected: Option<u64>) -> Result<Option<Toolset>> {
    let query = tx.query("SELECT pg_advisory_xact_lock(hashtextextended('sid.toolsets ' || $1::uuid::text, 0))");
    query.bind(tx.tenant).execute(tx.conn()).await?;
    let known = find(tx, name).await?;
    check_toolset_version(expected, known.as_ref().map_or(0, |t| t.version))?;
    Ok(known)
}

async fn put(tx: &mut Tx, name: &str, spec: ToolsetSpec, source: String, expected: Option<u64>) -> Result<Toolset> {
    let known = find_to_change(tx, name, expected).await?;
    if known.is_none() {
        let count = tx.query("SELECT count(*) FROM sid.toolsets WHERE tenant = $1").bind(tx.tenant).fetch_one(tx.conn()).await?;
        if count.count(0)? >= MOST_TOOLSETS {
            return Err(too_many_toolsets().into());
        }
    }
    let (version, created_at): (u64, Timestamp) = known.map_or((1, tx.now), |t| (t.version + 1, t.created_at));
    let toolset = Toolset { name: name.to_owned(), spec, version, created_at, updated_at: tx.now };
    let query = tx.query(
        "INSERT INTO sid.toolsets (tenant, name, kind, source, is_default, version, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (tenant, name) DO UPDATE SET kind = excluded.kind, source = excluded.source,
            is_default = excluded.is_default, version = excluded.version, updated_at = excluded.updated_at",
    );
    let query = query.bind(tx.tenant).bind(name).bind(word(&toolset.spec.kind)?).bind(source);
    let query = query.bind(toolset.spec.is_default).bind(version as i64).bind(At(created_at)).bind(At(tx.now));
    query.execute(tx.conn()).await?;
    Ok(toolset)
}

#[async_trait]
impl ToolsetStore for PgStore {
    async fn put_toolset(&self, scope: &Scope, name: &str, spec: ToolsetSpec, expected: Option<u64>) -> Result<Toolset, StoreError> {
        let source = check_toolset(name, &spec)?;
        let (mut tx, _) = self.administrate(scope, "toolset").await?;
        let outcome = put(&mut tx, name, spec, source, expected).await;
        tx.finish(outcome).await
    }

    async fn toolset(&self, scope: &Scope, name: &str) -> Result<Toolset, StoreError> {
        if matches!(scope.principal(), Principal::User { .. }) {
            return Err(NO_TOOLSET);
        }
        let mut tx = self.read(scope.tenant()).await?;
        Ok(find(&mut tx, name).await?.ok_or(NO_TOOLSET)?)
    }

    async fn toolsets(&self, scope: &Scope) -> Result<Vec<Toolset>, StoreError> {
        if matches!(scope.principal(), Principal::User { .. }) {
            return Ok(Vec::new());
        }
        let mut tx = self.read(scope.tenant()).await?;
        let query = tx.query_of(format!("SELECT {COLUMNS} FROM sid.toolsets x WHERE x.tenant = $1"));
        let rows = query.bind(tx.tenant).fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let mut toolsets: Vec<Toolset> = rows.iter().map(toolset).collect::<Result<_>>()?;
        toolsets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(toolsets)
    }

    async fn drop_toolset(&self, scope: &Scope, name: &str, expected: Option<u64>) -> Result<(), StoreError> {
        let (mut tx, _) = self.administrate(scope, "toolset").await?;
        let outcome = async {
            let known = find_to_change(&mut tx, name, None).await?.ok_or(NO_TOOLSET)?;
            check_toolset_version(expected, known.version)?;
            let query = tx.query("DELETE FROM sid.toolsets WHERE tenant = $1 AND name = $2");
            query.bind(tx.tenant).bind(name).execute(tx.conn()).await?;
            Ok(())
        }
        .await;
        tx.finish(outcome).await
    }
}
