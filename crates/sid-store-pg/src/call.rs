//! A call of one of the schema's functions: a transaction of its own.

use std::sync::Arc;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection as _, Encode, Postgres, Type};

use crate::connections::Connections;
use crate::tx::Statement;

/// A call that is being put together.
///
/// With statements that stay prepared it is one round trip. Without, the driver parses and executes it in two, and a pooler in transaction
/// mode may send each to another connection, where an unnamed statement of somebody else answers: an explicit transaction holds them
/// together.
pub(crate) struct Call {
    statement: Statement,
    connections: Arc<Connections>,
    is_prepared: bool,
}

impl Call {
    pub(crate) fn new(sql: &'static str, connections: &Arc<Connections>, is_prepared: bool) -> Self {
        Self { statement: sqlx::query(sql).persistent(is_prepared), connections: connections.clone(), is_prepared }
    }

    pub(crate) fn bind<'t, T: Encode<'t, Postgres> + Type<Postgres>>(mut self, value: T) -> Self {
        self.statement = self.statement.bind(value);
        self
    }

    pub(crate) async fn fetch_all(self) -> Result<Vec<PgRow>, sqlx::Error> {
        if self.is_prepared {
            return self.connections.fetch_all(self.statement).await;
        }
        Box::pin(self.fetch_all_together()).await
    }

    async fn fetch_all_together(self) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut taken = self.connections.take().await?;
        let mut tx = taken.begin().await?;
        let rows = self.statement.fetch_all(&mut *tx).await?;
        tx.commit().await?;
        taken.pass_on();
        Ok(rows)
    }

    pub(crate) async fn fetch_optional(self) -> Result<Option<PgRow>, sqlx::Error> {
        Ok(self.fetch_all().await?.into_iter().next())
    }

    pub(crate) async fn fetch_one(self) -> Result<PgRow, sqlx::Error> {
        self.fetch_optional().await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// The same inside a transaction that is there already.
    pub(crate) async fn fetch_one_in(self, conn: &mut PgConnection) -> Result<PgRow, sqlx::Error> {
        self.statement.fetch_one(conn).await
    }
}
