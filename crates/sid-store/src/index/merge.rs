//! Hits of several partitions as one set.

use sid_types::Owner;

use super::{IndexHit, IndexHits, PartitionIndex, WordStatistics};
use crate::{ChannelStats, SearchQuery};

/// What the partitions that a scope sees have found together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MergedHits {
    /// Each hit with the partition that it comes from.
    pub items: Vec<(Owner, IndexHit)>,
    /// How many records were looked at, over all partitions.
    pub searched: u64,
    /// Shape of `bm25` over all of them.
    pub bm25: ChannelStats,
    /// Shape of `context_bm25`.
    pub context_bm25: ChannelStats,
    /// Shape of `dense`.
    pub dense: ChannelStats,
}

/// Puts partitions together: means are weighted by how many records each one looked at (for `dense`: how many have a vector),
/// the best score is the best of all.
///
/// Raw BM25 scores are comparable when each partition was searched by [`PartitionIndex::search_among`](super::PartitionIndex::search_among)
/// with the statistics of the others.
#[must_use]
pub fn merge(parts: Vec<(Owner, IndexHits)>) -> MergedHits {
    let mut merged = MergedHits::default();
    let (mut lexical, mut dense) = (0.0_f64, 0.0_f64);
    for (owner, hits) in parts {
        merged.bm25 = combined(merged.bm25, lexical, hits.bm25, hits.searched as f64);
        merged.context_bm25 = combined(merged.context_bm25, lexical, hits.context_bm25, hits.searched as f64);
        merged.dense = combined(merged.dense, dense, hits.dense, hits.embedded as f64);
        lexical += hits.searched as f64;
        dense += hits.embedded as f64;
        merged.searched += hits.searched;
        merged.items.extend(hits.items.into_iter().map(|hit| (owner, hit)));
    }
    merged
}

/// Searches partitions as one: words are as rare as they are in all of them together. Hits are in the order of the partitions.
pub fn search_together<'a>(parts: impl Iterator<Item = &'a PartitionIndex>, query: &SearchQuery) -> Vec<IndexHits> {
    let parts: Vec<(&PartitionIndex, WordStatistics)> = parts.map(|p| (p, p.statistics(&query.text))).collect();
    let mut all = WordStatistics::default();
    for (_, own) in &parts {
        all.add(own);
    }
    parts.iter().map(|(part, own)| part.search_among(query, &all.without(own))).collect()
}

fn combined(a: ChannelStats, weight_a: f64, b: ChannelStats, weight_b: f64) -> ChannelStats {
    if weight_b == 0.0 {
        return a;
    }
    if weight_a == 0.0 {
        return b;
    }
    let mean = (f64::from(a.mean) * weight_a + f64::from(b.mean) * weight_b) / (weight_a + weight_b);
    ChannelStats { mean: mean as f32, max: a.max.max(b.max) }
}
