//! Whether search through an index finds what the exact scan finds, with the same shapes for ranking.

use std::collections::HashMap;

use sid_store::{
    Candidates, Chunk, EmbeddingIndex, GenerationId, MemorySearch, NewVectors, QueryVector, RecallStore, RecordId, SearchQuery,
};
use sid_store_pg::{Indexer, PgStore};
use sid_types::NewMessage;

use super::home::{Home, now};

const DIMENSIONS: usize = 384;
const MESSAGES: usize = 3_000;
const QUERIES: usize = 40;
const TOPICS: u64 = 60;

/// Numbers that look random, and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn vector<const D: usize>(&mut self) -> Vec<f32> {
        (0..D).map(|_| (self.next() % 2_001) as f32 / 1_000.0 - 1.0).collect()
    }
}

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|v| *v /= length);
    vector
}

/// Texts of one topic lie together, a little way from what all have in common: as sentence embeddings do.
pub(crate) fn embed<const D: usize>(seed: u64) -> Vec<f32> {
    let (mut common, mut topic, mut own) = (Numbers(1), Numbers(1_000 + seed % TOPICS), Numbers(1_000_000 + seed));
    let (common, topic, own) = (common.vector::<D>(), topic.vector::<D>(), own.vector::<D>());
    unit((0..D).map(|i| 0.4 * common[i] + topic[i] + 0.9 * own[i]).collect())
}

fn generation() -> GenerationId {
    GenerationId(format!("test/topics/{DIMENSIONS}"))
}

fn best(found: &Candidates, count: usize) -> Vec<RecordId> {
    let mut dense: Vec<(f32, RecordId)> = found.items.iter().map(|c| (c.channels.dense, c.record.id())).collect();
    dense.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    dense.into_iter().take(count).map(|(_, id)| id).collect()
}

/// Fills a memory through `indexed`, and asks it and `exact`, a store of the same database that has no index, the same questions.
pub(crate) async fn check(exact: &PgStore, indexed: &PgStore) {
    let home = Home::build(indexed, "ours").await;
    let said = |i: usize| NewMessage::user(format!("number{i} of topic{}", i as u64 % TOPICS), now());
    for start in (0..MESSAGES).step_by(1_000) {
        indexed.append(&home.scope, home.talk.id, (start..start + 1_000).map(said).collect()).await.expect("imported");
    }
    loop {
        let jobs = indexed.pending(&generation(), 500).await.expect("listed");
        if jobs.is_empty() {
            break;
        }
        let vectors = jobs.iter().map(|job| {
            let number = job.text.strip_prefix("number").and_then(|t| t.split(' ').next()).and_then(|n| n.parse().ok());
            let vector = embed::<DIMENSIONS>(number.expect("numbered"));
            NewVectors { scope: job.scope, record: job.record, chunks: vec![Chunk { start: 0, end: job.text.len(), vector }] }
        });
        indexed.put_vectors(&generation(), vectors.collect()).await.expect("stored");
    }
    Indexer::new(indexed).expect("it has an index").catch_up().await.expect("fed");
    let (mut same, mut asked) = (0, 0);
    for i in 0..QUERIES as u64 {
        let vector = Some(QueryVector { generation: generation(), values: embed::<DIMENSIONS>(5_000_000 + i) });
        let query = SearchQuery { vector, ..SearchQuery::new(format!("what of topic{}?", i % TOPICS)) };
        let (a, b) = (exact.search(&home.scope, &query).await.expect("found"), indexed.search(&home.scope, &query).await.expect("found"));
        assert!(!b.is_partial);
        let wanted = best(&a, 10);
        let found = best(&b, 10);
        same += wanted.iter().filter(|id| found.contains(id)).count();
        asked += wanted.len();
        // What ranking puts channels on one scale with.
        assert!((a.dense.max - b.dense.max).abs() < 1e-3, "best {} and {}", a.dense.max, b.dense.max);
        assert!((a.dense.mean - b.dense.mean).abs() < 0.02, "mean {} and {}", a.dense.mean, b.dense.mean);
        assert_eq!((a.bm25, a.context_bm25, a.searched), (b.bm25, b.context_bm25, b.searched));
        // Every candidate has its dense score, whichever channel has found it.
        let scores: HashMap<RecordId, f32> = a.items.iter().map(|c| (c.record.id(), c.channels.dense)).collect();
        for candidate in &b.items {
            let exact = scores.get(&candidate.record.id()).copied().unwrap_or(candidate.channels.dense);
            assert!((exact - candidate.channels.dense).abs() < 1e-3 && candidate.channels.dense != 0.0, "{exact} {:?}", candidate.channels);
        }
    }
    let status = indexed.vector_status().await.expect("told").expect("there");
    assert_eq!(status.fallbacks, 0);
    assert!(same * 100 >= asked * 98, "{same} of the {asked} nearest were found");
}
