//! Options of the embedded store.

use std::path::PathBuf;
use std::time::Duration;

/// Options of [`SqliteStore`](crate::SqliteStore).
///
/// ```
/// use sid_store_sqlite::SqliteConfig;
/// let config = SqliteConfig::new("data");
/// assert!(config.synchronous_full);
/// assert_eq!(config.index_capacity, 131_072);
/// ```
#[derive(Debug, Clone)]
pub struct SqliteConfig {
    /// The data folder; made if it is not there. One process at a time.
    pub path: PathBuf,
    /// Whether each commit waits for the disk. Default `true`: what was acknowledged survives a power cut. With `false` it survives
    /// the end of the process, but a power cut may take the last commits back.
    pub synchronous_full: bool,
    /// How long the writer waits for more writes before it begins a transaction. Default zero: while one transaction waits for the
    /// disk, the next writes gather anyway.
    pub group_commit_window: Duration,
    /// Most writes in one transaction. Default 128.
    pub group_commit_max: usize,
    /// Connections for reading. Default 4.
    pub readers: u32,
    /// Page cache of the writer, in KiB; each reader has a quarter of it. Default 16,384.
    pub cache_kib: u32,
    /// Records of one partition that search keeps in memory, the newest. Default 131,072. Older ones are found through the full-text
    /// index on disk.
    pub index_capacity: usize,
    /// Bytes that all partitions in memory may take together; the least recently used ones go. Default 128 MiB.
    pub index_bytes: usize,
    /// A partition with so many records goes into the full-text index, too. Default 4,096, and never more than half of
    /// `index_capacity`.
    pub full_text_from: usize,
    /// How long a search waits for a large partition to be loaded into memory before it answers from the full-text index.
    /// Default 150 ms.
    pub load_patience: Duration,
    /// How long events stay after the end of their run. Default 7 days.
    pub keep_events: Duration,
    /// How long the audit log is kept. Default 400 days.
    pub keep_audit: Duration,
    /// Most pages of 4 KiB that the database may have; `None` = as many as the disk holds.
    pub max_pages: Option<u32>,
}

impl SqliteConfig {
    /// The defaults, on this data folder.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            synchronous_full: true,
            group_commit_window: Duration::ZERO,
            group_commit_max: 128,
            readers: 4,
            cache_kib: 16 * 1024,
            index_capacity: 131_072,
            index_bytes: 128 << 20,
            full_text_from: 4_096,
            load_patience: Duration::from_millis(150),
            keep_events: Duration::from_secs(7 * 24 * 3_600),
            keep_audit: Duration::from_secs(400 * 24 * 3_600),
            max_pages: None,
        }
    }

    /// From how many records on a partition is in the full-text index.
    pub(crate) fn full_text_threshold(&self) -> u64 {
        self.full_text_from.min(self.index_capacity / 2).max(1) as u64
    }
}
