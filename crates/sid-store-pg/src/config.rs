//! Options of the Postgres store.

use std::time::Duration;

/// Options of [`PgStore`](crate::PgStore).
///
/// ```
/// use sid_store_pg::PgConfig;
/// let config = PgConfig::new("postgres://sid_server@localhost/sid");
/// assert_eq!(config.connections, 16);
/// assert!(config.prepared_statements);
/// ```
#[derive(Clone)]
pub struct PgConfig {
    /// The database, as `postgres://user:password@host:port/database`. The role is a member of `sid_app` and nothing more.
    pub url: String,
    /// Most connections of this process. Default 16.
    pub connections: u32,
    /// How long a call waits for a free connection before it is `Unavailable`. Default 2 s.
    pub acquire_timeout: Duration,
    /// How long one statement may take. Default 5 s; erasing and first loads of large partitions have ten times as long.
    pub statement_timeout: Duration,
    /// How long a statement waits for a lock. Default 2 s.
    pub lock_timeout: Duration,
    /// Whether statements stay prepared on their connection. Default `true`; `false` behind a PgBouncer before 1.21 in transaction mode
    /// (one more round trip per statement, and three for those that are a transaction of their own).
    pub prepared_statements: bool,
    /// Records of one partition that search keeps in memory, the newest. Default 131,072. Older ones are found through word lists in the
    /// database.
    pub index_capacity: usize,
    /// Bytes that all partitions in memory may take together; the least recently used ones go. Default 128 MiB.
    pub index_bytes: usize,
    /// A partition with so many records gets word lists of its older records. Default 4,096, and never more than half of `index_capacity`.
    pub word_lists_from: usize,
    /// How long a search waits for a large partition to be loaded into memory before it answers from the word lists. Default 150 ms.
    pub load_patience: Duration,
    /// A partition with so many records takes its vectors from the vector index, if the store was given one
    /// ([`PgStore::with_vector_index`](crate::PgStore::with_vector_index)); smaller ones are compared exactly, in memory. Default 4,096.
    pub vector_index_from: usize,
    /// Whether changes are also written to the outbox, for another system to follow. Default `false`: nobody would empty it.
    pub outbox: bool,
    /// How long events stay, from the making of their run on, by whole days in UTC; those of a run under way stay in any case. Default 7 days.
    pub keep_events: Duration,
    /// How long the audit log is kept. Default 400 days.
    pub keep_audit: Duration,
    /// The longest pause between two looks at the runs that somebody follows. Default 1 s; it begins with a tenth of it.
    pub poll: Duration,
}

impl PgConfig {
    /// The defaults, on this database.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections: 16,
            acquire_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(2),
            prepared_statements: true,
            index_capacity: 131_072,
            index_bytes: 128 << 20,
            word_lists_from: 4_096,
            load_patience: Duration::from_millis(150),
            vector_index_from: 4_096,
            outbox: false,
            keep_events: Duration::from_secs(7 * 24 * 3_600),
            keep_audit: Duration::from_secs(400 * 24 * 3_600),
            poll: Duration::from_secs(1),
        }
    }

    /// From how many records on a partition has word lists.
    pub(crate) fn word_lists_threshold(&self) -> u64 {
        self.word_lists_from.min(self.index_capacity / 2).max(1) as u64
    }
}

impl std::fmt::Debug for PgConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL carries a password.
        f.debug_struct("PgConfig")
            .field("connections", &self.connections)
            .field("prepared_statements", &self.prepared_statements)
            .finish_non_exhaustive()
    }
}
