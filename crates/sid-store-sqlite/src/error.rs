//! From SQLite's errors to the contract's, sorted by what the caller can do.

use sid_store::StoreError;

/// The store's name in errors.
pub(crate) const STORE: &str = "the embedded store";

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
    /// Whether a `UNIQUE` rule was broken.
    pub(crate) fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Database(e)) if e.is_unique_violation())
    }
}

/// There is no such thing, or the scope may not see it.
pub(crate) const fn missing(what: &'static str) -> StoreError {
    StoreError::NotFound { what }
}

/// The stored data makes no sense.
pub(crate) fn damaged(detail: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { store: STORE, detail: format!("{detail}; stop Sid and restore the data folder from a backup (`sid backup`)") }
}

/// Another failure, told in words.
pub(crate) fn unavailable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable { store: STORE, source: why.into() }
}

/// SQLite's primary result code.
pub(crate) fn sqlite_code(error: &sqlx::Error) -> Option<i32> {
    let sqlx::Error::Database(error) = error else { return None };
    let code: i32 = error.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// `SQLITE_FULL`, and the two codes that say that the file is not what it should be.
const FULL: i32 = 13;
const CORRUPT: i32 = 11;
const NOT_A_DATABASE: i32 = 26;
/// The disk failed; a quota or a size limit of the file system looks like this, too.
const IO: i32 = 10;
const READ_ONLY: i32 = 8;

fn from_sql(error: sqlx::Error) -> StoreError {
    match sqlite_code(&error) {
        Some(FULL) => StoreError::Full { store: STORE },
        Some(CORRUPT | NOT_A_DATABASE) => damaged(error),
        Some(READ_ONLY) => unavailable(format!("its files cannot be written, make the data folder writable for this user: {error}")),
        Some(IO) => unavailable(format!("reading or writing its files failed, look at the disk: {error}")),
        _ if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => damaged(error),
        _ => unavailable(error),
    }
}
