//! From Postgres's errors to the contract's, sorted by what the caller can do.

use sid_store::StoreError;

/// The store's name in errors.
pub(crate) const STORE: &str = "the Postgres store";

/// What goes wrong inside this crate: an answer of the contract, or a failure of the driver.
#[derive(Debug)]
pub(crate) enum Fault {
    /// An answer of the contract.
    Store(StoreError),
    /// A failure of the driver.
    Sql(sqlx::Error),
}

pub(crate) type Result<T, E = Fault> = std::result::Result<T, E>;

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Store(damaged(format!("a stored document cannot be read: {error}")))
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Store(error) => error,
            Fault::Sql(error) => from_sql(error),
        }
    }
}

impl Fault {
    /// Which unique rule was broken, if one was.
    pub(crate) fn broken_rule(&self) -> Option<&str> {
        match self {
            Self::Sql(sqlx::Error::Database(e)) if e.is_unique_violation() => Some(e.constraint().unwrap_or_default()),
            _ => None,
        }
    }

    /// Whether a lock was not had in time.
    pub(crate) fn is_lock_missed(&self) -> bool {
        const LOCK_NOT_AVAILABLE: &str = "55P03";
        matches!(self, Self::Sql(error) if code(error).as_deref() == Some(LOCK_NOT_AVAILABLE))
    }

    /// Whether the same transaction may succeed at once: it met another one in an unlucky order.
    pub(crate) fn is_collision(&self) -> bool {
        const SERIALIZATION: &str = "40001";
        const DEADLOCK: &str = "40P01";
        matches!(self, Self::Sql(error) if matches!(code(error).as_deref(), Some(SERIALIZATION | DEADLOCK)))
    }
}

/// There is no such thing, or the scope may not see it.
pub(crate) const fn missing(what: &'static str) -> StoreError {
    StoreError::NotFound { what }
}

/// The stored data makes no sense.
pub(crate) fn damaged(detail: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { store: STORE, detail: format!("{detail}; restore the database from a backup") }
}

/// Another failure, told in words.
pub(crate) fn unavailable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable { store: STORE, source: why.into() }
}

/// SQLSTATE.
pub(crate) fn code(error: &sqlx::Error) -> Option<String> {
    match error {
        sqlx::Error::Database(error) => error.code().map(std::borrow::Cow::into_owned),
        _ => None,
    }
}

fn from_sql(error: sqlx::Error) -> StoreError {
    match code(&error).as_deref() {
        // disk_full, and too many of something that is configured.
        Some("53100") => StoreError::Full { store: STORE },
        // data_corrupted, index_corrupted.
        Some("XX001" | "XX002") => damaged(error),
        Some("42501") => StoreError::Setup(format!(
            "the database refused the store its own tables ({error}): connect as a member of the role `sid_app`, after `sid-server migrate`"
        )),
        Some("42P01" | "42703" | "42883" | "3F000") => {
            StoreError::Setup(format!("the database is not as this version of Sid left it ({error}): run `sid-server migrate`"))
        }
        _ if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => damaged(error),
        _ => unavailable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_the_driver_are_transient_and_wrong_documents_are_not() {
        let closed = StoreError::from(Fault::Sql(sqlx::Error::PoolClosed));
        assert!(closed.is_transient() && closed.to_string().starts_with("the Postgres store is unavailable"));
        let document = Fault::from(serde_json::from_str::<u8>("x").expect_err("no number"));
        assert!(matches!(StoreError::from(document), StoreError::Corrupt { .. }));
        assert!(Fault::Sql(sqlx::Error::PoolTimedOut).broken_rule().is_none());
        assert!(!Fault::Sql(sqlx::Error::PoolTimedOut).is_collision());
    }
}
