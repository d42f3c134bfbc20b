//! `VectorIndex` inside the database, where it has the extension pgvector.

use std::sync::Arc;

use async_trait::async_trait;
use sid_store::{
    GenerationId, PointCursor, PointFilter, PointKey, PointPage, StoreError, VectorHit, VectorIndex, VectorPoint, VectorQuery,
};
use sid_types::TenantId;
use sqlx::postgres::{PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::feed::kind_number;
use crate::backend::options;
use crate::codec::{At, Columns, Id, clean, limit, role_number};
use crate::config::PgConfig;
use crate::connections::Connections;
use crate::error::{Fault, Result, missing};
use crate::tx::{Opening, Statement, Tx};

/// What is asked for when a generation is not there.
const GENERATION: &str = "embedding generation in the vector index";
/// Up to so many points are compared one by one; a graph over all tenants would walk past most of them.
const EXACT: i64 = 20_000;

/// pgvector in the store's own database as a vector index: an HNSW graph per embedding generation, exact where few points can match. Cheap to
/// clone; its connections are its own, so that a search that holds one of the store's never waits for another.
#[derive(Clone)]
pub struct PgVectors {
    connections: Arc<Connections>,
    /// Where the extension's types and operators are.
    schema: String,
    opening: Opening,
}

impl std::fmt::Debug for PgVectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgVectors").field("schema", &self.schema).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
struct Generation {
    number: i32,
    dimensions: usize,
}

impl PgVectors {
    /// The index in this database. It takes a quarter of [`PgConfig::connections`] on top, at least two.
    ///
    /// Errors: `Setup` (no pgvector, one before 0.8, or a database that was not migrated since it has it; the text says what to run),
    /// `Unavailable`.
    pub async fn open(config: &PgConfig) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new()
            .max_connections((config.connections / 4).max(2))
            .min_connections(0)
            .acquire_timeout(config.acquire_timeout)
            .test_before_acquire(false)
            .connect_lazy_with(options(&config.url)?);
        let connections = Connections::new(pool);
        let sql = "SELECT n.nspname, e.extversion, to_regclass('sid_vectors.points') IS NOT NULL
            FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'";
        let found = connections.fetch_all(sqlx::query(sql).persistent(config.prepared_statements)).await.map_err(Fault::Sql)?;
        let Some(row) = found.first() else {
            return Err(StoreError::Setup(
                "the database has no pgvector: install it on the server (Debian: postgresql-<version>-pgvector), run `CREATE EXTENSION vector` as a superuser, then `sid-server migrate`; or set vectors to \"memory\""
                    .into(),
            ));
        };
        let (schema, version) = (row.text(0)?, row.text(1)?);
        let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or_default());
        if (numbers.next(), numbers.next()) < (Some(0), Some(8)) {
            return Err(StoreError::Setup(format!(
                "the database has pgvector {version}, Sid needs 0.8 or newer: update the package, then run `ALTER EXTENSION vector UPDATE`"
            )));
        }
        if !row.flag(2)? {
            return Err(StoreError::Setup("the database got pgvector after it was migrated: run `sid-server migrate` once more".into()));
        }
        let opening = Opening {
            clock: None,
            statement_ms: config.statement_timeout.as_millis(),
            lock_ms: config.lock_timeout.as_millis(),
            is_reading: false,
            is_persistent: config.prepared_statements,
        };
        Ok(Self { connections: Arc::new(connections), schema: quoted(&schema), opening })
    }

    fn call(&self, sql: String) -> Statement {
        sqlx::query(AssertSqlSafe(sql)).persistent(self.opening.is_persistent)
    }

    async fn begin(&self, tenant: TenantId, is_reading: bool) -> Result<Tx> {
        Tx::begin(&self.connections, tenant.uuid(), &Opening { is_reading, ..self.opening.clone() }).await
    }

    async fn find(&self, generation: &GenerationId) -> Result<Option<Generation>> {
        let sql = "SELECT id, dimensions FROM sid_vectors.generations WHERE name = $1".to_owned();
        let rows = self.connections.fetch_all(self.call(sql).bind(clean(&generation.0).into_owned())).await?;
        rows.first()
            .map(|row| Ok(Generation { number: row.number(0)?, dimensions: usize::try_from(row.number(1)?).unwrap_or_default() }))
            .transpose()
    }

    async fn get(&self, generation: &GenerationId) -> Result<Generation> {
        Ok(self.find(generation).await?.ok_or(missing(GENERATION))?)
    }

    async fn store(&self, generation: Generation, tenant: TenantId, points: &[&VectorPoint]) -> Result<()> {
        let mut tx = self.begin(tenant, false).await?;
        let sql = format!(
            "INSERT INTO sid_vectors.points (tenant, generation, part, rid, chunk, version, kind, conv, seq, role, at, embedding)
             SELECT $1, $2, x.part, x.rid, x.chunk, x.version, x.kind, x.conv, x.seq, x.role, x.at, x.embedding::{}.halfvec
             FROM unnest($3::bigint[], $4::bigint[], $5::int[], $6::bigint[], $7::smallint[], $8::uuid[], $9::bigint[], $10::smallint[],
                $11::timestamptz[], $12::text[]) AS x(part, rid, chunk, version, kind, conv, seq, role, at, embedding)
             ON CONFLICT DO NOTHING",
            self.schema
        );
        fn column<T>(points: &[&VectorPoint], value: impl Fn(&VectorPoint) -> T) -> Vec<T> {
            points.iter().map(|p| value(p)).collect()
        }
        let query = tx.query_of(sql).bind(tx.tenant).bind(generation.number);
        let query = query.bind(column(points, |p| p.key.partition)).bind(column(points, |p| p.key.record));
        let query = query.bind(column(points, |p| p.key.chunk)).bind(column(points, |p| p.key.version));
        let query = query.bind(column(points, |p| kind_number(p.kind))).bind(column(points, |p| p.said.map(|(c, ..)| c.raw())));
        let query = query.bind(column(points, |p| p.said.map(|(_, seq, _)| seq.0 as i64)));
        let query = query.bind(column(points, |p| p.said.map(|(.., role)| role_number(role))));
        let query = query.bind(column(points, |p| At(p.at))).bind(column(points, |p| literal(&p.vector)));
        query.execute(tx.conn()).await?;
        tx.commit().await
    }

    async fn nearest(&self, generation: Generation, asked: &VectorQuery<'_>, vector: &[f32]) -> Result<Vec<VectorHit>> {
        let query = asked.query;
        let mut tx = self.begin(asked.tenant, true).await?;
        let (schema, Generation { number, dimensions }) = (&self.schema, generation);
        let few =
            "SELECT count(*) FROM (SELECT 1 FROM sid_vectors.points WHERE tenant = $1 AND generation = $2 AND part = ANY ($3) LIMIT $4) x";
        let row = tx.query(few).bind(tx.tenant).bind(number).bind(asked.partitions.to_vec()).bind(EXACT + 1).fetch_one(tx.conn()).await?;
        let is_exact = row.int(0)? <= EXACT;
        // The number is part of the text: a partial index is found by nothing else.
        let matching = format!(
            "SELECT part, rid, chunk, version, embedding FROM sid_vectors.points p WHERE p.tenant = $1 AND p.generation = {number}
             AND p.part = ANY ($2) AND p.kind = ANY ($3) AND ($4::uuid IS NULL OR p.conv = $4) AND ($5::smallint IS NULL OR p.role = $5)
             AND ($6::timestamptz IS NULL OR p.at >= $6) AND ($7::timestamptz IS NULL OR p.at < $7)
             AND ($8::uuid IS NULL OR p.conv IS DISTINCT FROM $8 OR p.seq < $9)"
        );
        let distance = format!("(p.embedding::{schema}.halfvec({dimensions})) OPERATOR({schema}.<=>) $10::{schema}.halfvec({dimensions})");
        let sql = if is_exact {
            // Materialised, so that the planner does not walk the graph for them all the same.
            format!(
                "WITH p AS MATERIALIZED ({matching}) SELECT part, rid, chunk, version, 1 - ({distance}) FROM p ORDER BY {distance}, rid LIMIT $11"
            )
        } else {
            let scan = "SELECT set_config('hnsw.iterative_scan', 'strict_order', true), set_config('hnsw.ef_search', $1::text, true),
                set_config('hnsw.max_scan_tuples', '200000', true)";
            let depth = asked.limit.clamp(100, 1_000).to_string();
            tx.query(scan).bind(depth).execute(tx.conn()).await?;
            let columns = matching.replace("version, embedding FROM", &format!("version, 1 - ({distance}) FROM"));
            format!("{columns} ORDER BY {distance} LIMIT $11")
        };
        let kinds: Vec<i16> = query.kinds.asked().map(kind_number).collect();
        let (prompt, from) = query.in_prompt.map_or((None, 0), |(conversation, seq)| (Some(conversation.raw()), seq.0 as i64));
        let statement = tx.query_of(sql).bind(tx.tenant).bind(asked.partitions.to_vec()).bind(kinds);
        let statement = statement.bind(query.conversation.map(Id::raw)).bind(query.role.map(role_number));
        let statement = statement.bind(query.within.map(|w| At(w.from))).bind(query.within.map(|w| At(w.to)));
        let statement = statement.bind(prompt).bind(from).bind(literal(vector)).bind(limit(asked.limit));
        let hit = |row: &PgRow| {
            let score: f64 = row.try_get_unchecked(4)?;
            Ok(VectorHit { key: key(row, asked.tenant)?, score: score as f32 })
        };
        statement.fetch_all(tx.conn()).await?.iter().map(hit).collect()
    }
}

/// A row of `part, rid, chunk, version`.
fn key(row: &PgRow, tenant: TenantId) -> Result<PointKey> {
    Ok(PointKey { tenant, partition: row.int(0)?, record: row.int(1)?, chunk: row.number(2)?, version: row.int(3)? })
}

/// A name as SQL writes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A vector as pgvector reads it.
fn literal(vector: &[f32]) -> String {
    let mut text = String::with_capacity(vector.len() * 12 + 2);
    text.push('[');
    for (i, value) in vector.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        text.push_str(&value.to_string());
    }
    text.push(']');
    text
}

/// The points of a filter; `$1` to `$6`.
const WHICH: &str =
    "FROM sid_vectors.points p WHERE p.tenant = $1 AND p.generation = $2 AND p.part = $3 AND ($4::uuid IS NULL OR p.conv = $4)
    AND ($5::bigint[] IS NULL OR p.rid = ANY ($5)) AND ($6::bigint IS NULL OR p.version < $6)";

fn bound(statement: Statement, generation: Generation, which: &PointFilter) -> Statement {
    let statement = statement.bind(which.tenant.uuid()).bind(generation.number).bind(which.partition);
    statement.bind(which.conversation.map(Id::raw)).bind(which.records.clone()).bind(which.before)
}

#[async_trait]
impl VectorIndex for PgVectors {
    async fn health(&self) -> Result<(), StoreError> {
        self.connections.fetch_all(self.call("SELECT 1".to_owned())).await.map_err(Fault::Sql)?;
        Ok(())
    }

    async fn dimensions(&self, generation: &GenerationId) -> Result<Option<usize>, StoreError> {
        Ok(self.find(generation).await?.map(|g| g.dimensions))
    }

    async fn make_generation(&self, generation: &GenerationId, dimensions: usize) -> Result<(), StoreError> {
        let call = self.call("SELECT sid_vectors.make($1, $2)".to_owned()).bind(clean(&generation.0).into_owned());
        let rows = self.connections.fetch_all(call.bind(i32::try_from(dimensions).unwrap_or(i32::MAX))).await.map_err(Fault::Sql)?;
        let found = rows.first().ok_or(Fault::Sql(sqlx::Error::RowNotFound))?.number(0)?;
        if usize::try_from(found).unwrap_or_default() != dimensions {
            return Err(StoreError::Invalid(format!("the vector index has `{}` with {found} dimensions, not {dimensions}", generation.0)));
        }
        Ok(())
    }

    async fn drop_generation(&self, generation: &GenerationId) -> Result<(), StoreError> {
        let call = self.call("SELECT sid_vectors.drop_generation($1)".to_owned()).bind(clean(&generation.0).into_owned());
        self.connections.fetch_all(call).await.map_err(Fault::Sql)?;
        Ok(())
    }

    async fn upsert(&self, generation: &GenerationId, points: Vec<VectorPoint>) -> Result<(), StoreError> {
        let known = self.get(generation).await?;
        if let Some(found) = points.iter().map(|p| p.vector.len()).find(|found| *found != known.dimensions) {
            return Err(StoreError::Invalid(format!("`{}` has {} dimensions, a vector {found}", generation.0, known.dimensions)));
        }
        let tenants: std::collections::BTreeSet<TenantId> = points.iter().map(|p| p.key.tenant).collect();
        for tenant in tenants {
            let of: Vec<&VectorPoint> = points.iter().filter(|p| p.key.tenant == tenant).collect();
            self.store(known, tenant, &of).await?;
        }
        Ok(())
    }

    async fn search(&self, generation: &GenerationId, asked: &VectorQuery<'_>) -> Result<Vec<VectorHit>, StoreError> {
        let Some(vector) = &asked.query.vector else { return Ok(Vec::new()) };
        let known = self.get(generation).await?;
        Ok(self.nearest(known, asked, &vector.values).await?)
    }

    async fn delete(&self, generation: &GenerationId, which: &PointFilter) -> Result<(), StoreError> {
        let known = self.get(generation).await?;
        let mut tx = self.begin(which.tenant, false).await?;
        let outcome = bound(tx.query_of(format!("DELETE {WHICH}")), known, which).execute(tx.conn()).await;
        tx.finish(outcome.map(drop).map_err(Fault::Sql)).await
    }

    async fn count(&self, generation: &GenerationId, which: &PointFilter) -> Result<u64, StoreError> {
        let known = self.get(generation).await?;
        let mut tx = self.begin(which.tenant, true).await?;
        let row = bound(tx.query_of(format!("SELECT count(*) {WHICH}")), known, which).fetch_one(tx.conn()).await.map_err(Fault::Sql)?;
        Ok(row.count(0)?)
    }

    async fn scroll(
        &self,
        generation: &GenerationId,
        which: &PointFilter,
        after: Option<PointCursor>,
        most: usize,
    ) -> Result<PointPage, StoreError> {
        let known = self.get(generation).await?;
        let mut tx = self.begin(which.tenant, true).await?;
        let mut last = after.iter().flat_map(|PointCursor(text)| text.split('/')).map(|n| n.parse::<i64>().unwrap_or(i64::MAX));
        let after = [last.next().unwrap_or(-1), last.next().unwrap_or(-1), last.next().unwrap_or(-1)];
        let sql = format!(
            "SELECT p.part, p.rid, p.chunk, p.version {WHICH} AND (p.rid, p.chunk, p.version) > ($7, $8, $9)
             ORDER BY p.rid, p.chunk, p.version LIMIT $10"
        );
        let statement = bound(tx.query_of(sql), known, which).bind(after[0]).bind(after[1]).bind(after[2]).bind(limit(most));
        let rows = statement.fetch_all(tx.conn()).await.map_err(Fault::Sql)?;
        let keys: Vec<PointKey> = rows.iter().map(|row| key(row, which.tenant)).collect::<Result<_>>()?;
        let next = keys.last().filter(|_| keys.len() == most).map(|k| PointCursor(format!("{}/{}/{}", k.record, k.chunk, k.version)));
        Ok(PointPage { keys, next })
    }
}
