//! Search below what is in memory: candidates from the full-text index and the time index, scored in a small index made for them.
//!
//! Each of the query's words brings its newest records, words together bring theirs, named times theirs; so a detail is found by its
//! rare word however old it is, and no query costs more than a few hundred looks.

use std::collections::{BTreeSet, HashMap, HashSet};

use sid_store::index::{Document, IndexHits, PartitionIndex, terms};
use sid_store::{Record, RecordId, SearchQuery, TimeRange};
use sqlx::sqlite::SqliteConnection;

use crate::codec::{Columns, nanos, to_json};
use crate::error::Result;
use crate::full_text;
use crate::records;
use crate::visibility::Partition;

/// Words of a query that are looked up.
const WORDS: usize = 16;
/// Newest records that one word brings.
const PER_WORD: usize = 100;
/// Newest records that two rare words bring together.
const PER_PAIR: usize = 50;
/// Rare words that are looked up in pairs.
const PAIRED: usize = 4;
/// Newest records that are looked at in any case while the partition is not in memory.
const NEWEST: i64 = 256;
/// Records of a span that the query filters by.
const PER_SPAN: i64 = 1_000;

/// Looks for records before `below` (`i64::MAX`: for all, the newest in any case).
pub(crate) async fn look(conn: &mut SqliteConnection, partition: &Partition, query: &SearchQuery, below: i64) -> Result<IndexHits> {
    let mut stems: Vec<String> = terms(&query.text).into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    stems.truncate(WORDS);
    let mut rids: BTreeSet<i64> = BTreeSet::new();
    let mut frequency: HashMap<String, f32> = HashMap::new();
    for stem in &stems {
        let found = full_text::find(conn, partition.part, &[stem], below, PER_WORD).await?;
        frequency.insert(stem.clone(), estimate(&found, below, partition.records));
        rids.extend(found);
    }
    let rarity = |stem: &String| frequency.get(stem).copied().unwrap_or_default();
    stems.retain(|stem| rarity(stem) > 0.0);
    stems.sort_by(|a, b| rarity(a).total_cmp(&rarity(b)));
    for (i, first) in stems.iter().take(PAIRED).enumerate() {
        for second in stems.iter().take(PAIRED).skip(i + 1) {
            rids.extend(full_text::find(conn, partition.part, &[first, second], below, PER_PAIR).await?);
        }
    }
    for span in query.named_times.iter().chain(&query.within) {
        let limit = if query.within.is_some() { PER_SPAN } else { query.per_channel as i64 };
        rids.extend(spanned(conn, partition.part, span, below, limit).await?);
    }
    if below == i64::MAX {
        rids.extend(newest(conn, partition.part).await?);
    }
    rids.extend(neighbours(conn, &rids).await?);
    let rids: Vec<i64> = rids.into_iter().collect();
    score(conn, partition, query, &rids, &stems, &frequency, below).await
}

/// In about how many records a word stands: all that were found, or as dense as in those that were.
fn estimate(found: &[i64], below: i64, records: u64) -> f32 {
    let (Some(newest), Some(oldest)) = (found.first(), found.last()) else { return 0.0 };
    if found.len() < PER_WORD {
        return found.len() as f32;
    }
    let top = if below == i64::MAX { *newest } else { below };
    let share = (top - oldest).max(1) as f32 / top.max(1) as f32;
    (found.len() as f32 / share).min(records as f32)
}

async fn spanned(conn: &mut SqliteConnection, part: i64, span: &TimeRange, below: i64, limit: i64) -> Result<Vec<i64>> {
    let rows = sqlx::query(
        "SELECT rid FROM (SELECT rid FROM messages WHERE part = ?1 AND at >= ?2 AND at < ?3 AND rid < ?4 ORDER BY at DESC LIMIT ?5)
         UNION ALL SELECT rid FROM (SELECT rid FROM passages WHERE part = ?1 AND at >= ?2 AND at < ?3 AND rid < ?4 ORDER BY rid DESC LIMIT ?5)",
    )
    .bind(part)
    .bind(nanos(span.from))
    .bind(nanos(span.to))
    .bind(below)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| row.int(0)).collect()
}

async fn newest(conn: &mut SqliteConnection, part: i64) -> Result<Vec<i64>> {
    let rows = sqlx::query(
        "SELECT rid FROM (SELECT rid FROM messages WHERE part = ?1 ORDER BY rid DESC LIMIT ?2)
         UNION ALL SELECT rid FROM (SELECT rid FROM passages WHERE part = ?1 ORDER BY rid DESC LIMIT ?2)
         UNION ALL SELECT rid FROM (SELECT rid FROM diary WHERE part = ?1 ORDER BY rid DESC LIMIT ?2)",
    )
    .bind(part)
    .bind(NEWEST)
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| row.int(0)).collect()
}

/// The searchable messages right before and after these.
async fn neighbours(conn: &mut SqliteConnection, rids: &BTreeSet<i64>) -> Result<Vec<i64>> {
    let rows = sqlx::query(
        "SELECT (SELECT n.rid FROM messages n WHERE n.tenant = m.tenant AND n.conv = m.conv AND n.seq < m.seq AND n.part IS NOT NULL
                ORDER BY n.seq DESC LIMIT 1),
            (SELECT n.rid FROM messages n WHERE n.tenant = m.tenant AND n.conv = m.conv AND n.seq > m.seq AND n.part IS NOT NULL
                ORDER BY n.seq LIMIT 1)
         FROM json_each(?) j CROSS JOIN messages m ON m.rid = j.value",
    )
    .bind(to_json(&rids.iter().filter(|rid| *rid & 3 == 0).collect::<Vec<_>>())?)
    .fetch_all(conn)
    .await?;
    let mut found = Vec::with_capacity(rows.len() * 2);
    for row in &rows {
        found.extend(row.maybe_int(0)?);
        found.extend(row.maybe_int(1)?);
    }
    Ok(found)
}

async fn score(
    conn: &mut SqliteConnection,
    partition: &Partition,
    query: &SearchQuery,
    rids: &[i64],
    stems: &[String],
    frequency: &HashMap<String, f32>,
    below: i64,
) -> Result<IndexHits> {
    let records = records::numbered(conn, rids).await?;
    let mut index = PartitionIndex::new();
    for (_, record) in &records {
        if let Some(document) = Document::of(record) {
            index.insert(&document);
        }
    }
    if let Some(vector) = &query.vector {
        let ids: HashMap<i64, RecordId> = records.iter().map(|(rid, record)| (*rid, record.id())).collect();
        for (rid, chunks) in records::vectors_of(conn, rids, &vector.generation).await? {
            if let Some(id) = ids.get(&rid) {
                index.set_vectors(*id, &vector.generation, &chunks);
            }
        }
    }
    let mut hits = index.search(query);
    let scale = Scale::new(&records, stems, frequency, partition.records);
    let (mut own_max, mut context_max) = (0.0_f32, 0.0_f32);
    for hit in &mut hits.items {
        let factor = scale.of(hit.id);
        hit.channels.bm25 *= factor;
        hit.channels.context_bm25 *= factor;
        own_max = own_max.max(hit.channels.bm25);
        context_max = context_max.max(hit.channels.context_bm25);
    }
    // Records that were not looked at have none of the rare words: they count as zeros in the lexical means.
    let share = hits.searched as f32 / (partition.records as f32).max(1.0);
    (hits.bm25.max, hits.context_bm25.max) = (own_max, context_max);
    hits.bm25.mean *= share.min(1.0);
    hits.context_bm25.mean *= share.min(1.0);
    if below == i64::MAX {
        hits.searched = hits.searched.max(partition.records);
    }
    Ok(hits)
}

/// BM25 in the small index knows only its own records; this brings the weights of the words back to the whole partition's.
struct Scale {
    factors: HashMap<RecordId, f32>,
    mean: f32,
}

impl Scale {
    fn new(records: &[(i64, Record)], stems: &[String], frequency: &HashMap<String, f32>, size: u64) -> Self {
        let asked: HashSet<&str> = stems.iter().map(String::as_str).collect();
        let words: Vec<(RecordId, HashSet<String>)> = records
            .iter()
            .map(|(_, record)| {
                let mut words: HashSet<String> = terms(record.text()).into_iter().filter(|t| asked.contains(t.as_str())).collect();
                if let Record::Message(m) = record {
                    words.extend(m.speaker.as_deref().map(terms).unwrap_or_default().into_iter().filter(|t| asked.contains(t.as_str())));
                }
                (record.id(), words)
            })
            .collect();
        let mut weight: HashMap<&str, (f32, f32)> = HashMap::new();
        for stem in stems {
            let here = words.iter().filter(|(_, w)| w.contains(stem)).count() as f32;
            let there = frequency.get(stem).copied().unwrap_or_default().max(here);
            weight.insert(stem, (idf(records.len() as f32, here), idf((size as f32).max(there), there)));
        }
        let factor = |of: &mut dyn Iterator<Item = &str>| {
            let (here, there) = of.filter_map(|s| weight.get(s)).fold((0.0, 0.0), |(a, b), (here, there)| (a + here, b + there));
            if here > 1e-6 { there / here } else { 1.0 }
        };
        let factors = words.iter().map(|(id, w)| (*id, if w.is_empty() { 0.0 } else { factor(&mut w.iter().map(String::as_str)) })).collect();
        Self { factors, mean: factor(&mut stems.iter().map(String::as_str)) }
    }

    /// A record without any of the words has its score from its neighbour's.
    fn of(&self, id: RecordId) -> f32 {
        self.factors.get(&id).copied().filter(|f| *f > 0.0).unwrap_or(self.mean)
    }
}

fn idf(documents: f32, containing: f32) -> f32 {
    (1.0 + (documents - containing + 0.5) / (containing + 0.5)).ln()
}
