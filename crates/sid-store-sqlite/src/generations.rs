//! `Generations`: which embedding generation is searched.

use async_trait::async_trait;
use futures::FutureExt;
use sid_store::{Generation, GenerationId, Generations, IndexStatus, StoreError};

use crate::backend::SqliteStore;
use crate::codec::Columns;
use crate::error::{Fault, Result};
use crate::writer::Tx;

/// Most vectors that go in one transaction.
const MOST_DROPPED: i64 = 500;

#[async_trait]
impl Generations for SqliteStore {
    async fn generations(&self) -> Result<Vec<Generation>, StoreError> {
        let rows = sqlx::query("SELECT name, active FROM generations ORDER BY name")
            .fetch_all(&mut *self.reader().await?)
            .await
            .map_err(Fault::Sql)?;
        let read: Result<Vec<Generation>> =
            rows.iter().map(|row| Ok(Generation { id: GenerationId(row.text(0)?), is_active: row.flag(1)? })).collect();
        Ok(read?)
    }

    async fn activate(&self, from: Option<&GenerationId>, to: &GenerationId) -> Result<bool, StoreError> {
        let (from, to) = (from.cloned(), to.clone());
        self.write(move |tx| activate(tx, from, to).boxed()).await
    }

    async fn generation_status(&self, generation: &GenerationId) -> Result<IndexStatus, StoreError> {
        let row = sqlx::query(
            "WITH g AS (SELECT ifnull((SELECT generation FROM generations WHERE name = ?1), -1) AS number,
                ifnull((SELECT done_to FROM generations WHERE name = ?1), -1) AS done_to)
             SELECT (SELECT count(*) FROM messages WHERE part IS NOT NULL) + (SELECT count(*) FROM passages) + (SELECT count(*) FROM diary),
                (SELECT count(*) FROM messages m, g WHERE m.part IS NOT NULL AND m.rid > g.done_to
                    AND NOT EXISTS (SELECT 1 FROM vectors v WHERE v.rid = m.rid AND v.generation = g.number))
                + (SELECT count(*) FROM passages p, g WHERE p.rid > g.done_to
                    AND NOT EXISTS (SELECT 1 FROM vectors v WHERE v.rid = p.rid AND v.generation = g.number))
                + (SELECT count(*) FROM diary d, g WHERE d.rid > g.done_to
                    AND NOT EXISTS (SELECT 1 FROM vectors v WHERE v.rid = d.rid AND v.generation = g.number))",
        )
        .bind(generation.0.as_str())
        .fetch_one(&mut *self.reader().await?)
        .await
        .map_err(Fault::Sql)?;
        let (records, pending) = (row.count(0)?, row.count(1)?);
        Ok(IndexStatus { indexed: records.saturating_sub(pending), pending })
    }

    async fn drop_generation(&self, generation: &GenerationId) -> Result<bool, StoreError> {
        let generation = generation.clone();
        self.write(move |tx| drop_piece(tx, generation).boxed()).await
    }
}

async fn activate(tx: &mut Tx, from: Option<GenerationId>, to: GenerationId) -> Result<bool> {
    let active = sqlx::query("SELECT name FROM generations WHERE active = 1").fetch_optional(&mut tx.conn).await?;
    let active = active.map(|row| row.text(0)).transpose()?;
    if active != from.map(|from| from.0) {
        return Ok(false);
    }
    sqlx::query("UPDATE generations SET active = 0 WHERE active = 1").execute(&mut tx.conn).await?;
    sqlx::query("INSERT INTO generations (name, active) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET active = 1")
        .bind(to.0)
        .execute(&mut tx.conn)
        .await?;
    Ok(true)
}

async fn drop_piece(tx: &mut Tx, generation: GenerationId) -> Result<bool> {
    let known = sqlx::query("SELECT generation, active FROM generations WHERE name = ?").bind(generation.0.as_str());
    let Some(row) = known.fetch_optional(&mut tx.conn).await? else { return Ok(false) };
    let number = row.int(0)?;
    if row.flag(1)? {
        let why = format!("`{}` is the generation that is searched: it cannot be dropped", generation.0);
        return Err(StoreError::Invalid(why).into());
    }
    // What was dropped is no longer done: should the generation come back, it is made from the beginning.
    sqlx::query("UPDATE generations SET done_to = -1 WHERE generation = ?").bind(number).execute(&mut tx.conn).await?;
    let gone = sqlx::query("DELETE FROM vectors WHERE rowid IN (SELECT rowid FROM vectors WHERE generation = ? LIMIT ?)")
        .bind(number)
        .bind(MOST_DROPPED)
        .execute(&mut tx.conn)
        .await?;
    if gone.rows_affected() > 0 {
        return Ok(true);
    }
    sqlx::query("DELETE FROM generations WHERE generation = ?").bind(number).execute(&mut tx.conn).await?;
    Ok(false)
}
