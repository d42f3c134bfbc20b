//! One transaction in one tenant. No session state: the tenant is a setting of the transaction, so a pooler may stand in between.

use sid_store::{StoreError, crash_point};
use sid_types::Timestamp;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres};
use uuid::Uuid;

use crate::connections::{Connections, Taken};
use crate::error::Result;

/// A statement that is being put together.
pub(crate) type Statement = Query<'static, Postgres, PgArguments>;

/// What every transaction begins with.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    /// The time of a test suite's clock; `None` = the database's.
    pub(crate) clock: Option<Timestamp>,
    pub(crate) statement_ms: u128,
    pub(crate) lock_ms: u128,
    /// One snapshot for all that is read, and nothing is written.
    pub(crate) is_reading: bool,
    pub(crate) is_persistent: bool,
}

/// A transaction. Dropped without [`commit`](Self::commit), it is rolled back in the background.
pub(crate) struct Tx {
    /// Always there until the transaction is dropped.
    conn: Option<Taken>,
    /// The store's clock when the transaction began.
    pub(crate) now: Timestamp,
    pub(crate) tenant: Uuid,
    pub(crate) clock: Option<Timestamp>,
    is_persistent: bool,
    is_over: bool,
}

impl Tx {
    /// One round trip, beside getting a connection.
    pub(crate) async fn begin(connections: &Connections, tenant: Uuid, opening: &Opening) -> Result<Self> {
        let Opening { clock, statement_ms, lock_ms, is_reading, is_persistent } = opening.clone();
        let conn = connections.take().await?;
        // From here on whatever happens, a cancelled call too, ends in a rollback.
        let mut tx = Self { conn: Some(conn), now: Timestamp::UNIX_EPOCH, tenant, clock, is_persistent, is_over: false };
        let mode = if is_reading { " ISOLATION LEVEL REPEATABLE READ READ ONLY" } else { "" };
        // Nothing but numbers, an id and a time is written into the text.
        let sql = format!(
            "BEGIN{mode}; SELECT set_config('sid.tenant', '{tenant}', true), set_config('sid.now', '{}', true),
             set_config('lock_timeout', '{lock_ms}', true), set_config('statement_timeout', '{statement_ms}', true),
             set_config('idle_in_transaction_session_timeout', '{}', true)",
            clock.map(|at| at.to_string()).unwrap_or_default(),
            statement_ms.saturating_mul(2),
        );
        let clock_sql = "; SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint::text AS micros";
        let rows = sqlx::raw_sql(AssertSqlSafe(sql + clock_sql)).fetch_all(tx.conn()).await?;
        let micros = rows.last().map(|row| sqlx::Row::try_get_unchecked::<String, _>(row, 0)).transpose()?;
        let told = micros.and_then(|m| Timestamp::from_microsecond(m.parse().ok()?).ok());
        crash_point!("pg.begin.after");
        tx.now = clock.or(told).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(tx)
    }

    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        self.conn.as_mut().expect("a transaction has its connection until it is dropped")
    }

    pub(crate) fn query(&self, sql: &'static str) -> Statement {
        sqlx::query(sql).persistent(self.is_persistent)
    }

    /// A statement that was put together from fixed parts: values are always bound.
    pub(crate) fn query_of(&self, sql: String) -> Statement {
        sqlx::query(AssertSqlSafe(sql)).persistent(self.is_persistent)
    }

    /// [`query_of`](Self::query_of) with its values.
    pub(crate) fn query_with(&self, sql: String, values: PgArguments) -> Statement {
        sqlx::query_with(AssertSqlSafe(sql), values).persistent(self.is_persistent)
    }

    pub(crate) async fn commit(mut self) -> Result<()> {
        crash_point!("pg.commit.before");
        sqlx::raw_sql("COMMIT").execute(self.conn()).await?;
        crash_point!("pg.commit.after");
        self.is_over = true;
        Ok(())
    }

    /// Commits what worked; what failed is rolled back.
    pub(crate) async fn finish<T>(self, outcome: Result<T>) -> Result<T, StoreError> {
        let value = outcome.map_err(StoreError::from)?;
        self.commit().await?;
        Ok(value)
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let Some(mut conn) = self.conn.take() else { return };
        if self.is_over {
            return conn.pass_on();
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            conn.close_on_drop();
            return;
        };
        runtime.spawn(async move {
            // Waits for the answer to whatever was under way, then ends the transaction.
            match sqlx::raw_sql("ROLLBACK").execute(&mut *conn).await {
                Ok(_) => conn.pass_on(),
                Err(error) => {
                    tracing::debug!(%error, "a connection was lost with its transaction");
                    conn.close_on_drop();
                }
            }
        });
    }
}
