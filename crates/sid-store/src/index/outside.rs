//! Dense scores of vectors that a partition does not keep in memory.

use std::collections::HashMap;

use crate::{Chunk, RecordId};

/// Cosines of some records of a partition, from vectors that were found elsewhere: for [`PartitionIndex::search_given`](super::PartitionIndex::search_given).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DenseHits {
    pub(super) scores: HashMap<RecordId, Near>,
    /// How many records of the partition have a vector.
    pub(super) embedded: u64,
    /// The mean cosine over those, as near as it is known.
    pub(super) mean: f32,
}

/// A record's best chunk: its cosine, and its bytes if there are several.
pub(super) type Near = (f32, Option<(usize, usize)>);

impl DenseHits {
    /// Nothing yet, of a partition with so many vectors and this mean.
    #[must_use]
    pub fn of(embedded: u64, mean: f32) -> Self {
        Self { embedded, mean, ..Self::default() }
    }

    /// Compares a record with the query's vector.
    ///
    /// ```
    /// use sid_store::index::DenseHits;
    /// use sid_store::{Chunk, RecordId};
    /// use sid_types::PassageId;
    ///
    /// let mut hits = DenseHits::default();
    /// hits.add(RecordId::Passage(PassageId::new()), &[1.0, 0.0], &[Chunk { start: 0, end: 7, vector: vec![0.6, 0.8] }]);
    /// assert!((hits.best() - 0.6).abs() < 1e-6);
    /// ```
    pub fn add(&mut self, id: RecordId, query: &[f32], chunks: &[Chunk]) {
        let fitting = chunks.iter().filter(|c| c.vector.len() == query.len());
        let scored = fitting.map(|c| (cosine(query, &c.vector), (chunks.len() > 1).then_some((c.start, c.end))));
        if let Some(best) = scored.max_by(|a, b| a.0.total_cmp(&b.0)) {
            self.scores.insert(id, best);
        }
    }

    /// The best cosine; 0 when there is none.
    #[must_use]
    pub fn best(&self) -> f32 {
        self.scores.values().map(|(score, _)| *score).max_by(f32::total_cmp).unwrap_or_default()
    }
}

/// Of unit vectors of one length.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
