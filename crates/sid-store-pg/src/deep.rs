//! Search below what is in memory: candidates from word lists and the time index, scored in a small index made for them.
//!
//! A word that is rare among the older records brings all of them, two words together bring theirs, named times theirs; the best of these
//! are read and scored. So a detail is found by its rare word however old it is, and a search costs the same however much there is.
//! Words that are everywhere bring nothing alone: among the older records they tell nothing apart that the newer ones do not have, too.

use std::collections::{BTreeSet, HashMap, HashSet};

use sid_store::index::{Document, IndexHits, PartitionIndex, terms};
use sid_store::{Record, RecordId, RecordKinds, SearchQuery, TimeRange};

use crate::codec::{At, Columns};
use crate::error::Result;
use crate::records;
use crate::tx::Tx;
use crate::visibility::Partition;
use crate::words::{self, STEP};

/// Words of a query that are looked up.
const WORDS: usize = 16;
/// Newest records that one word, or two words together, bring. A word that has more is not rare.
const PER_LIST: usize = 40;
/// Rare words that are looked up in pairs.
const PAIRED: usize = 4;
/// Pairs of words that both stand in more records than this are not looked up: both lists would have to be walked.
const LONGEST_WALK: f32 = 5_000.0;
/// Candidates that are read and scored; with a filter that may refuse most of them, and while nothing is in memory, more.
const BEST: usize = 32;
const BEST_OF_MANY: usize = 250;
/// Newest records that are looked at in any case while the partition is not in memory: those that no list has yet are among them.
const NEWEST: i64 = STEP as i64;
/// Records of a span that the query filters by, or names.
const PER_SPAN: i64 = 1_000;
const PER_NAMED_SPAN: i64 = 64;

/// Looks for records before `below` (`i64::MAX`: for all, the newest in any case).
pub(crate) async fn look(
    tx: &mut Tx,
    partition: &Partition,
    query: &SearchQuery,
    generation: Option<i32>,
    below: i64,
) -> Result<IndexHits> {
    let stems: Vec<String> = terms(&query.text).into_iter().collect::<BTreeSet<_>>().into_iter().take(WORDS).collect();
    let words = Words::look_up(tx, partition, &stems, below).await?;
    let is_alone = below == i64::MAX;
    let is_filtered = query.conversation.is_some() || query.role.is_some() || query.within.is_some();
    let best = if is_alone || is_filtered { BEST_OF_MANY } else { BEST };
    let mut rids: BTreeSet<i64> = words.best(query.kinds, best).into_iter().collect();
    if let Some(span) = &query.within {
        rids.extend(spanned(tx, partition.part, span, below, PER_SPAN).await?);
    }
    for span in &query.named_times {
        rids.extend(spanned(tx, partition.part, span, below, PER_NAMED_SPAN).await?);
    }
    if is_alone {
        rids.extend(newest(tx, partition.part).await?);
    }
    if rids.is_empty() {
        return Ok(IndexHits { searched: older_than(partition, 0), ..IndexHits::default() });
    }
    rids.extend(neighbours(tx, partition.part, &rids).await?);
    let rids: Vec<i64> = rids.into_iter().collect();
    score(tx, partition, query, generation, &rids, &words).await
}

/// The query's words among the older records.
struct Words {
    /// In about how many records each word stands; words that are nowhere are left out.
    frequency: HashMap<String, f32>,
    /// Records that were found, with the weight of what they were found by.
    found: HashMap<i64, f32>,
    size: f32,
}

impl Words {
    async fn look_up(tx: &mut Tx, partition: &Partition, stems: &[String], below: i64) -> Result<Self> {
        let mut words = Self { frequency: HashMap::new(), found: HashMap::new(), size: partition.records as f32 };
        let singles: Vec<Vec<&str>> = stems.iter().map(|stem| vec![stem.as_str()]).collect();
        let lists = words::find(tx, partition.part, &singles, below, PER_LIST).await?;
        for (stem, list) in stems.iter().zip(&lists) {
            let frequency = estimate(list, below, words.size);
            if frequency > 0.0 {
                words.frequency.insert(stem.clone(), frequency);
                // While nothing is in memory, the newest records of a common word are not known otherwise.
                if list.len() < PER_LIST || below == i64::MAX {
                    words.add(list, idf(words.size, frequency));
                }
            }
        }
        let mut rarest: Vec<(&str, f32)> = words.frequency.iter().map(|(stem, f)| (stem.as_str(), *f)).collect();
        rarest.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(b.0)));
        rarest.truncate(PAIRED);
        let pairs: Vec<(Vec<&str>, f32)> = rarest
            .iter()
            .enumerate()
            // What a rare word alone brings it need not bring again.
            .filter(|(_, (_, f))| *f >= PER_LIST as f32 && *f <= LONGEST_WALK)
            .flat_map(|(i, a)| rarest.iter().skip(i + 1).map(|b| (vec![a.0, b.0], idf(words.size, a.1) + idf(words.size, b.1))))
            .collect();
        let asked: Vec<Vec<&str>> = pairs.iter().map(|(stems, _)| stems.clone()).collect();
        let weights: Vec<f32> = pairs.iter().map(|(_, weight)| *weight).collect();
        let lists = words::find(tx, partition.part, &asked, below, PER_LIST).await?;
        for (list, weight) in lists.iter().zip(weights) {
            words.add(list, weight);
        }
        Ok(words)
    }

    fn add(&mut self, list: &[i64], weight: f32) {
        for rid in list {
            *self.found.entry(*rid).or_default() += weight;
        }
    }

    /// The records with the most weight, the newer first among equals.
    fn best(&self, kinds: RecordKinds, count: usize) -> Vec<i64> {
        let is_asked = |rid: i64| match rid & 3 {
            0 => kinds.messages,
            1 => kinds.passages,
            _ => kinds.diary,
        };
        let mut found: Vec<(i64, f32)> = self.found.iter().map(|(rid, w)| (*rid, *w)).filter(|(rid, _)| is_asked(*rid)).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
        found.into_iter().take(count).map(|(rid, _)| rid).collect()
    }
}

/// In about how many records a word stands: all that were found, or as dense as in those that were.
fn estimate(found: &[i64], below: i64, records: f32) -> f32 {
    let (Some(newest), Some(oldest)) = (found.first(), found.last()) else { return 0.0 };
    if found.len() < PER_LIST {
        return found.len() as f32;
    }
    let top = if below == i64::MAX { *newest } else { below };
    let share = (top - oldest).max(1) as f32 / top.max(1) as f32;
    (found.len() as f32 / share).min(records)
}

/// How many records a look below memory has looked at.
const fn older_than(partition: &Partition, at_least: u64) -> u64 {
    if partition.records > at_least { partition.records } else { at_least }
}

async fn spanned(tx: &mut Tx, part: i64, span: &TimeRange, below: i64, limit: i64) -> Result<Vec<i64>> {
    let query = tx.query(
        "(SELECT rid FROM sid.messages WHERE tenant = $1 AND part = $2 AND rid IS NOT NULL AND at >= $3 AND at < $4 AND rid < $5
            ORDER BY at DESC LIMIT $6)
         UNION ALL (SELECT rid FROM sid.passages WHERE tenant = $1 AND part = $2 AND at >= $3 AND at < $4 AND rid < $5 ORDER BY at DESC LIMIT $6)",
    );
    let query = query.bind(tx.tenant).bind(part).bind(At(span.from)).bind(At(span.to)).bind(below).bind(limit);
    query.fetch_all(tx.conn()).await?.iter().map(|row| row.int(0)).collect()
}

async fn newest(tx: &mut Tx, part: i64) -> Result<Vec<i64>> {
    let query = tx.query(
        "SELECT rid FROM (
            (SELECT rid FROM sid.messages WHERE tenant = $1 AND part = $2 AND rid IS NOT NULL ORDER BY rid DESC LIMIT $3)
            UNION ALL (SELECT rid FROM sid.passages WHERE tenant = $1 AND part = $2 ORDER BY rid DESC LIMIT $3)
            UNION ALL (SELECT rid FROM sid.diary WHERE tenant = $1 AND part = $2 ORDER BY rid DESC LIMIT $3)) x ORDER BY rid DESC LIMIT $3",
    );
    let query = query.bind(tx.tenant).bind(part).bind(NEWEST);
    query.fetch_all(tx.conn()).await?.iter().map(|row| row.int(0)).collect()
}

/// The searchable messages right before and after these.
async fn neighbours(tx: &mut Tx, part: i64, rids: &BTreeSet<i64>) -> Result<Vec<i64>> {
    let messages: Vec<i64> = rids.iter().copied().filter(|rid| rid & 3 == 0).collect();
    let query = tx.query(
        "SELECT n.rid FROM sid.messages m CROSS JOIN LATERAL (
            (SELECT b.rid FROM sid.messages b WHERE b.tenant = $1 AND b.part = $2 AND b.conv = m.conv AND b.seq < m.seq AND b.rid IS NOT NULL
                ORDER BY b.seq DESC LIMIT 1)
            UNION ALL (SELECT a.rid FROM sid.messages a WHERE a.tenant = $1 AND a.part = $2 AND a.conv = m.conv AND a.seq > m.seq
                AND a.rid IS NOT NULL ORDER BY a.seq LIMIT 1)) n
         WHERE m.tenant = $1 AND m.part = $2 AND m.rid = ANY ($3)",
    );
    let query = query.bind(tx.tenant).bind(part).bind(messages);
    query.fetch_all(tx.conn()).await?.iter().map(|row| row.int(0)).collect()
}

async fn score(
    tx: &mut Tx,
    partition: &Partition,
    query: &SearchQuery,
    generation: Option<i32>,
    rids: &[i64],
    words: &Words,
) -> Result<IndexHits> {
    let records = records::numbered(tx, partition.part, rids).await?;
    let mut index = PartitionIndex::new();
    for (_, record) in &records {
        if let Some(document) = Document::of(record) {
            index.insert(&document);
        }
    }
    if let (Some(vector), Some(generation)) = (&query.vector, generation) {
        let ids: HashMap<i64, RecordId> = records.iter().map(|(rid, record)| (*rid, record.id())).collect();
        for (rid, chunks) in records::vectors_of(tx, partition.part, generation, rids).await? {
            if let Some(id) = ids.get(&rid) {
                index.set_vectors(*id, &vector.generation, &chunks);
            }
        }
    }
    let mut hits = index.search(query);
    let scale = Scale::new(&records, words);
    let (mut own_max, mut context_max) = (0.0_f32, 0.0_f32);
    for hit in &mut hits.items {
        let factor = scale.of(hit.id);
        hit.channels.bm25 *= factor;
        hit.channels.context_bm25 *= factor;
        own_max = own_max.max(hit.channels.bm25);
        context_max = context_max.max(hit.channels.context_bm25);
    }
    // Records that were not looked at have none of the rare words: they count as zeros in the lexical means.
    let share = hits.searched as f32 / words.size.max(1.0);
    (hits.bm25.max, hits.context_bm25.max) = (own_max, context_max);
    hits.bm25.mean *= share.min(1.0);
    hits.context_bm25.mean *= share.min(1.0);
    hits.searched = older_than(partition, hits.searched);
    Ok(hits)
}

/// BM25 in the small index knows only its own records; this brings the weights of the words back to the whole partition's.
struct Scale {
    factors: HashMap<RecordId, f32>,
    mean: f32,
}

impl Scale {
    fn new(records: &[(i64, Record)], asked: &Words) -> Self {
        let mut here: HashMap<&str, f32> = HashMap::new();
        let mut words: Vec<(RecordId, HashSet<&str>)> = Vec::with_capacity(records.len());
        for (_, record) in records {
            let mut of: HashSet<&str> = HashSet::new();
            let speaker = if let Record::Message(m) = record { m.speaker.as_deref() } else { None };
            for term in terms(record.text()).into_iter().chain(speaker.map(terms).unwrap_or_default()) {
                of.extend(asked.frequency.get_key_value(&term).map(|(stem, _)| stem.as_str()));
            }
            for stem in &of {
                *here.entry(stem).or_default() += 1.0;
            }
            words.push((record.id(), of));
        }
        let weight = |stem: &str| {
            let (here, there) = (here.get(stem).copied().unwrap_or_default(), asked.frequency.get(stem).copied().unwrap_or_default());
            (idf(records.len() as f32, here), idf(asked.size.max(there), there.max(here)))
        };
        let factor = |of: &mut dyn Iterator<Item = &str>| {
            let (here, there) = of.map(weight).fold((0.0, 0.0), |(a, b), (here, there)| (a + here, b + there));
            if here > 1e-6 { there / here } else { 1.0 }
        };
        let factors = words.iter().map(|(id, w)| (*id, if w.is_empty() { 0.0 } else { factor(&mut w.iter().copied()) })).collect();
        Self { factors, mean: factor(&mut asked.frequency.keys().map(String::as_str)) }
    }

    /// A record without any of the words has its score from its neighbour's.
    fn of(&self, id: RecordId) -> f32 {
        self.factors.get(&id).copied().filter(|f| *f > 0.0).unwrap_or(self.mean)
    }
}

fn idf(documents: f32, containing: f32) -> f32 {
    (1.0 + (documents - containing + 0.5) / (containing + 0.5)).ln()
}
