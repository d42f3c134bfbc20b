//! Vector indexes outside a store: what they are given, and what is asked of them.

use async_trait::async_trait;
use sid_types::{ConversationId, Role, Seq, TenantId, Timestamp};

use crate::{GenerationId, RecordKinds, SearchQuery, StoreError};

/// Which vector: one chunk of one record, as it was written at one time.
///
/// Numbers are the store's own. `record` is never given twice, so a record that is replaced is another one; `version` grows each time its
/// vectors are written again. A key therefore never stands for two different vectors, and writing one twice changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PointKey {
    /// Whose it is.
    pub tenant: TenantId,
    /// The memory partition.
    pub partition: i64,
    /// The record.
    pub record: i64,
    /// Which chunk of the record, from 0.
    pub chunk: i32,
    /// When the record's vectors were written.
    pub version: i64,
}

/// What kind of record a vector belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// A message of recall memory.
    Message,
    /// A passage of archival memory.
    Passage,
    /// A page of the diary.
    Diary,
}

impl RecordKinds {
    /// The kinds that are asked for.
    pub fn asked(self) -> impl Iterator<Item = RecordKind> {
        let all = [(self.messages, RecordKind::Message), (self.passages, RecordKind::Passage), (self.diary, RecordKind::Diary)];
        all.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, kind)| kind)
    }
}

/// A vector with what queries filter by. No text: that stays in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorPoint {
    /// Which vector.
    pub key: PointKey,
    /// Of what kind its record is.
    pub kind: RecordKind,
    /// Messages: where in which conversation, and in which role.
    pub said: Option<(ConversationId, Seq, Role)>,
    /// When it was said.
    pub at: Timestamp,
    /// Unit length.
    pub vector: Vec<f32>,
}

/// A search among some partitions of one tenant.
#[derive(Debug, Clone, Copy)]
pub struct VectorQuery<'q> {
    /// Whose memory.
    pub tenant: TenantId,
    /// In which partitions; others are not looked at.
    pub partitions: &'q [i64],
    /// The vector, and the filters: kinds, conversation, role, span of time, and what is in the prompt. Words and owners are not looked at.
    pub query: &'q SearchQuery,
    /// Most hits.
    pub limit: usize,
}

/// A found vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VectorHit {
    /// Which.
    pub key: PointKey,
    /// Its cosine with the query, as near as the index keeps vectors.
    pub score: f32,
}

/// Some points of one partition; all that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointFilter {
    /// Whose memory.
    pub tenant: TenantId,
    /// Which partition.
    pub partition: i64,
    /// Only messages of this conversation.
    pub conversation: Option<ConversationId>,
    /// Only these records.
    pub records: Option<Vec<i64>>,
    /// Only versions before this one.
    pub before: Option<i64>,
}

impl PointFilter {
    /// Everything of a partition.
    #[must_use]
    pub const fn partition(tenant: TenantId, partition: i64) -> Self {
        Self { tenant, partition, conversation: None, records: None, before: None }
    }
}

/// Where a [`VectorIndex::scroll`] goes on: opaque to everybody but the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointCursor(pub String);

/// One page of a [`VectorIndex::scroll`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PointPage {
    /// Each point once, in no particular order.
    pub keys: Vec<PointKey>,
    /// Where the next page begins; `None` = this was the last.
    pub next: Option<PointCursor>,
}

/// An index of vectors beside a store: fast where partitions are large, and never the truth.
///
/// The store keeps every vector itself. It feeds the index, in the background and more than once if need be; what the index finds is joined
/// back to the store, which drops what is stale, foreign or deleted. So an index may lose everything, and may hold too much, without a wrong
/// answer: it only has to say what it holds ([`count`](Self::count), [`scroll`](Self::scroll)), so that it can be repaired.
///
/// What a method has answered `Ok` to is seen by the calls after it, from every process. Errors: `Unavailable` (no answer, or none in time; the
/// call may have had its effect), `Invalid` (vectors of another length than the generation's), `Setup` (a wrong key), `NotFound` (the index
/// has no such generation).
#[async_trait]
pub trait VectorIndex: Send + Sync + std::fmt::Debug {
    /// Whether it answers.
    async fn health(&self) -> Result<(), StoreError>;

    /// How many dimensions the generation's vectors have; `None` = the index has no such generation.
    async fn dimensions(&self, generation: &GenerationId) -> Result<Option<usize>, StoreError>;

    /// Makes a generation, empty. One of the same dimensions that is there stays as it is; of others: `Invalid`.
    async fn make_generation(&self, generation: &GenerationId, dimensions: usize) -> Result<(), StoreError>;

    /// Drops a generation with all its points; one that is not there is no error.
    async fn drop_generation(&self, generation: &GenerationId) -> Result<(), StoreError>;

    /// Stores points, in place of those with the same keys.
    async fn upsert(&self, generation: &GenerationId, points: Vec<VectorPoint>) -> Result<(), StoreError>;

    /// The nearest points, best first. `query.query.vector` is of this generation.
    async fn search(&self, generation: &GenerationId, query: &VectorQuery<'_>) -> Result<Vec<VectorHit>, StoreError>;

    /// Deletes points; none that match is no error.
    async fn delete(&self, generation: &GenerationId, which: &PointFilter) -> Result<(), StoreError>;

    /// How many points match, exactly.
    async fn count(&self, generation: &GenerationId, which: &PointFilter) -> Result<u64, StoreError>;

    /// The keys of the points that match, page by page.
    async fn scroll(
        &self,
        generation: &GenerationId,
        which: &PointFilter,
        after: Option<PointCursor>,
        limit: usize,
    ) -> Result<PointPage, StoreError>;
}
