//! `EgoStore`.

use async_trait::async_trait;
use sid_store::{EgoStore, MOST_EGOS, NO_EGO, StoreError, check_ego, check_toolset_version, too_many_egos};
use sid_types::{Agent, AgentId, Ego, EgoSpec, Scope, Timestamp};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::backend::PgStore;
use crate::codec::{At, Columns, clean};
use crate::directory::{AGENT, agent};
use crate::error::{Fault, Result, missing};
use crate::tx::Tx;

const COLUMNS: &str = "x.name, x.doc, x.version, x.created_at, x.updated_at";

fn ego(row: &PgRow) -> Result<Ego> {
    Ok(Ego { name: row.text(0)?, spec: row.json(1)?, version: row.count(2)?, created_at: row.time(3)?, updated_at: row.time(4)? })
}

async fn find(tx: &mut Tx, name: &str) -> Result<Option<Ego>> {
    let query = tx.query_of(format!("SELECT {COLUMNS} FROM sid.egos x WHERE x.tenant = $1 AND x.name = $2"));
    let row = query.bind(tx.tenant).bind(clean(name).into_owned()).fetch_optional(tx.conn()).await?;
    row.as_ref().map(ego).transpose()
}

/// The ego as it is, and nobody else changes egos of the tenant before the transaction ends.
async fn find_to_change(tx: &mut Tx, name: &str) -> Result<Option<Ego>> {
    let query = tx.query("SELECT pg_advisory_xact_lock(hashtextextended('sid.egos ' || $1::uuid::text, 0))");
    query.bind(tx.tenant).execute(tx.conn()).await?;
    find(tx, name).await
}

async fn put(tx: &mut Tx, name: &str, spec: EgoSpec, doc: String, expected: Option<u64>) -> Result<Ego> {
    let known = find_to_change(tx, name).await?;
    check_toolset_version(expected, known.as_ref().map_or(0, |e| e.version))?;
    let agents: Vec<Uuid> = spec.agents().map(AgentId::uuid).collect();
    let query = tx.query("SELECT count(*) FROM sid.agents a WHERE a.tenant = $1 AND a.id = ANY ($2)");
    if query.bind(tx.tenant).bind(agents.clone()).fetch_one(tx.conn()).await?.count(0)? != agents.len() as u64 {
        return Err(missing("agent").into());
    }
    if known.is_none() {
        let count = tx.query("SELECT count(*) FROM sid.egos WHERE tenant = $1").bind(tx.tenant).fetch_one(tx.conn()).await?;
        if count.count(0)? >= MOST_EGOS {
            return Err(too_many_egos().into());
        }
    }
    let (version, created_at): (u64, Timestamp) = known.map_or((1, tx.now), |e| (e.version + 1, e.created_at));
    let ego = Ego { name: name.to_owned(), spec, version, created_at, updated_at: tx.now };
    let query = tx.query(
        "INSERT INTO sid.egos (tenant, name, doc, version, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (tenant, name) DO UPDATE SET doc = excluded.doc, version = excluded.version, updated_at = excluded.updated_at",
    );
    let query = query.bind(tx.tenant).bind(name).bind(doc).bind(version as i64).bind(At(created_at)).bind(At(tx.now));
    query.execute(tx.conn()).await?;
    Ok(ego)
}

#[async_trait]
impl EgoStore for PgStore {
    async fn put_ego(&self, scope: &Scope, name: &str, spec: EgoSpec, expected: Option<u64>) -> Result<Ego, StoreError> {
        let doc = check_ego(name, &spec)?;
        let (mut tx, _) = self.administrate(scope, "ego").await?;
        let outcome = put(&mut tx, name, spec, doc, expected).await;
        tx.finish(outcome).await
    }

    async fn ego(&self, scope: &Scope, name: &str) -> Result<Ego, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        Ok(find(&mut tx, name).await?.ok_or(NO_EGO)?)
    }

    async fn egos(&self, scope: &Scope) -> Result<Vec<Ego>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        let query = tx.query_of(format!("SELECT {COLUMNS} FROM sid.egos x WHERE x.tenant = $1"));
        let rows = query.bind(tx.tenant).fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let mut egos: Vec<Ego> = rows.iter().map(ego).collect::<Result<_>>()?;
        egos.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(egos)
    }

    async fn drop_ego(&self, scope: &Scope, name: &str, expected: Option<u64>) -> Result<(), StoreError> {
        let (mut tx, _) = self.administrate(scope, "ego").await?;
        let outcome = async {
            let known = find_to_change(&mut tx, name).await?.ok_or(NO_EGO)?;
            check_toolset_version(expected, known.version)?;
            let query = tx.query("DELETE FROM sid.egos WHERE tenant = $1 AND name = $2");
            query.bind(tx.tenant).bind(name).execute(tx.conn()).await?;
            Ok(())
        }
        .await;
        tx.finish(outcome).await
    }

    async fn roster(&self, scope: &Scope) -> Result<Vec<Agent>, StoreError> {
        let mut tx = self.read(scope.tenant()).await?;
        let query = tx.query_of(format!("SELECT {AGENT} FROM sid.agents a WHERE a.tenant = $1"));
        let rows = query.bind(tx.tenant).fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let mut agents: Vec<Agent> = rows.iter().map(agent).collect::<Result<_>>()?;
        agents.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        Ok(agents)
    }
}
