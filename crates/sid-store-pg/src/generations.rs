//! `Generations`: which embedding generation is searched.

use async_trait::async_trait;
use sid_store::{Generation, GenerationId, Generations, IndexStatus, StoreError};

use crate::backend::PgStore;
use crate::codec::{Columns, clean};
use crate::error::{Fault, Result};

/// Most vectors that go in one statement.
const MOST_DROPPED: i64 = 2_000;

#[async_trait]
impl Generations for PgStore {
    async fn generations(&self) -> Result<Vec<Generation>, StoreError> {
        let call = self.call("SELECT name, active FROM sid.generations ORDER BY name COLLATE \"C\"");
        let rows = self.timely(call.fetch_all()).await?;
        let read: Result<Vec<Generation>> = rows
            .iter()
            .map(|row| Ok(Generation { id: GenerationId(row.text(0)?), is_active: sqlx::Row::try_get_unchecked(row, 1)? }))
            .collect();
        Ok(read?)
    }

    async fn activate(&self, from: Option<&GenerationId>, to: &GenerationId) -> Result<bool, StoreError> {
        let call = self
            .call("SELECT sid.activate_generation($1, $2)")
            .bind(from.map(|from| clean(&from.0).into_owned()))
            .bind(clean(&to.0).into_owned());
        let row = self.timely(call.fetch_one()).await?;
        Ok(sqlx::Row::try_get_unchecked(&row, 0).map_err(Fault::Sql)?)
    }

    async fn generation_status(&self, generation: &GenerationId) -> Result<IndexStatus, StoreError> {
        let call = self.call("SELECT o_records, o_pending FROM sid.generation_status($1)").bind(clean(&generation.0).into_owned());
        let row = call.fetch_one().await.map_err(Fault::Sql)?;
        let (records, pending) = (row.count(0)?, row.count(1)?);
        Ok(IndexStatus { indexed: records.saturating_sub(pending), pending })
    }

    async fn drop_generation(&self, generation: &GenerationId) -> Result<bool, StoreError> {
        // Before each piece, the last one included: once the database does not know the generation, nobody looks for it in the index.
        if let Some(vectors) = self.vectors()
            && !self.generations().await?.iter().any(|g| g.is_active && g.id == *generation)
        {
            vectors.index().drop_generation(generation).await?;
        }
        let call = self.call("SELECT sid.drop_generation($1, $2)").bind(clean(&generation.0).into_owned()).bind(MOST_DROPPED);
        let row = call.fetch_one().await.map_err(Fault::Sql)?;
        let more: Option<bool> = sqlx::Row::try_get_unchecked(&row, 0).map_err(Fault::Sql)?;
        more.ok_or_else(|| StoreError::Invalid(format!("`{}` is the generation that is searched: it cannot be dropped", generation.0)))
    }
}
