//! The pure part of search below what is in memory: which words to look up, which records are worth reading, and how they score.
//!
//! A store that keeps lists of where words stand asks for them in two rounds: each word alone, then the rarest in pairs. A word that is rare
//! among the older records brings all of them, two words together bring theirs; the best of these are read and scored in a small index
//! made for them. So a detail is found by its rare word however old it is, and a search costs the same however much there is. Words that
//! are everywhere bring nothing alone: among the older records they tell nothing apart that the newer ones do not have, too.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Document, IndexHits, PartitionIndex, terms};
use crate::{Chunk, Record, RecordId, RecordKinds, SearchQuery};

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

/// A query's words among the records before a number.
///
/// Records have numbers in the order of writing; the two lowest bits say the kind: 0 a message, 1 a passage, 2 a page of the diary.
///
/// ```
/// use sid_store::index::OlderWords;
/// let mut words = OlderWords::of("Where is the violin?", 10_000, 9_000);
/// let lists: Vec<Vec<i64>> = words.singles().iter().map(|stems| if *stems == ["violin"] { vec![400] } else { vec![] }).collect();
/// words.take_singles(&lists);
/// assert!(words.pairs().is_empty(), "what a rare word alone brings need not be brought again");
/// assert_eq!(words.best(sid_store::RecordKinds::ALL, false), [400]);
/// ```
#[derive(Debug)]
pub struct OlderWords {
    stems: Vec<String>,
    /// In about how many records each word stands; words that are nowhere are left out.
    frequency: HashMap<String, f32>,
    /// Records that were found, with the weight of what they were found by.
    found: HashMap<i64, f32>,
    size: f32,
    below: i64,
}

/// Two words to look up together, and the weight of what they bring.
#[derive(Debug, Clone, PartialEq)]
pub struct WordPair<'a> {
    /// The stems.
    pub stems: Vec<&'a str>,
    weight: f32,
}

impl OlderWords {
    /// Newest records that a list brings at most.
    pub const PER_LIST: usize = PER_LIST;

    /// The words of `text`, in a partition of `records`, among the records before `below` (`i64::MAX`: among all).
    #[must_use]
    pub fn of(text: &str, records: u64, below: i64) -> Self {
        let stems = terms(text).into_iter().collect::<BTreeSet<_>>().into_iter().take(WORDS).collect();
        Self { stems, frequency: HashMap::new(), found: HashMap::new(), size: records as f32, below }
    }

    /// The first round: lists of one word each.
    #[must_use]
    pub fn singles(&self) -> Vec<Vec<&str>> {
        self.stems.iter().map(|stem| vec![stem.as_str()]).collect()
    }

    /// Takes in the lists of the first round, in its order: records newest first.
    pub fn take_singles(&mut self, lists: &[Vec<i64>]) {
        for (stem, list) in self.stems.iter().zip(lists) {
            let frequency = estimate(list, self.below, self.size);
            if frequency > 0.0 {
                self.frequency.insert(stem.clone(), frequency);
                // While nothing is in memory, the newest records of a common word are not known otherwise.
                if list.len() < PER_LIST || self.below == i64::MAX {
                    add(&mut self.found, list, idf(self.size, frequency));
                }
            }
        }
    }

    /// The second round: the rarest words in pairs.
    #[must_use]
    pub fn pairs(&self) -> Vec<WordPair<'_>> {
        let mut rarest: Vec<(&str, f32)> = self.frequency.iter().map(|(stem, f)| (stem.as_str(), *f)).collect();
        rarest.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(b.0)));
        rarest.truncate(PAIRED);
        let pair = |a: &(&'_ str, f32), b: &(&'_ str, f32)| idf(self.size, a.1) + idf(self.size, b.1);
        rarest
            .iter()
            .enumerate()
            // What a rare word alone brings it need not bring again.
            .filter(|(_, (_, f))| *f >= PER_LIST as f32 && *f <= LONGEST_WALK)
            .flat_map(|(i, a)| rarest.iter().skip(i + 1).map(move |b| WordPair { stems: vec![a.0, b.0], weight: pair(a, b) }))
            .collect()
    }

    /// Takes in the lists of the second round: `weights` are those of its pairs, in order.
    pub fn take_pairs(&mut self, weights: &[f32], lists: &[Vec<i64>]) {
        for (list, weight) in lists.iter().zip(weights) {
            add(&mut self.found, list, *weight);
        }
    }

    /// The records with the most weight, the newer first among equals. `is_filtered`: a filter may refuse most of them.
    #[must_use]
    pub fn best(&self, kinds: RecordKinds, is_filtered: bool) -> Vec<i64> {
        let is_asked = |rid: i64| match rid & 3 {
            0 => kinds.messages,
            1 => kinds.passages,
            _ => kinds.diary,
        };
        let count = if is_filtered || self.below == i64::MAX { BEST_OF_MANY } else { BEST };
        let mut found: Vec<(i64, f32)> = self.found.iter().map(|(rid, w)| (*rid, *w)).filter(|(rid, _)| is_asked(*rid)).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
        found.into_iter().take(count).map(|(rid, _)| rid).collect()
    }

    /// Scores records that were read, as far as the query's filters let them through. `searched` counts the whole partition: its lists were
    /// looked through.
    #[must_use]
    pub fn score(&self, query: &SearchQuery, records: &[(i64, Record)], vectors: &[(i64, Vec<Chunk>)]) -> IndexHits {
        let mut index = PartitionIndex::new();
        for document in records.iter().filter_map(|(_, record)| Document::of(record)) {
            index.insert(&document);
        }
        if let Some(vector) = &query.vector {
            let ids: HashMap<i64, RecordId> = records.iter().map(|(rid, record)| (*rid, record.id())).collect();
            for (id, chunks) in vectors.iter().filter_map(|(rid, chunks)| Some((ids.get(rid)?, chunks))) {
                index.set_vectors(*id, &vector.generation, chunks);
            }
        }
        let mut hits = index.search(query);
        let scale = Scale::new(records, self);
        let (mut own_max, mut context_max) = (0.0_f32, 0.0_f32);
        for hit in &mut hits.items {
            let factor = scale.of(hit.id);
            hit.channels.bm25 *= factor;
            hit.channels.context_bm25 *= factor;
            own_max = own_max.max(hit.channels.bm25);
            context_max = context_max.max(hit.channels.context_bm25);
        }
        // Records that were not looked at have none of the rare words: they count as zeros in the lexical means.
        let share = hits.searched as f32 / self.size.max(1.0);
        (hits.bm25.max, hits.context_bm25.max) = (own_max, context_max);
        hits.bm25.mean *= share.min(1.0);
        hits.context_bm25.mean *= share.min(1.0);
        hits.searched = hits.searched.max(self.size as u64);
        hits
    }
}

impl WordPair<'_> {
    /// For [`OlderWords::take_pairs`].
    #[must_use]
    pub const fn weight(&self) -> f32 {
        self.weight
    }
}

fn add(found: &mut HashMap<i64, f32>, list: &[i64], weight: f32) {
    for rid in list {
        *found.entry(*rid).or_default() += weight;
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

/// BM25 in the small index knows only its own records; this brings the weights of the words back to the whole partition's.
struct Scale {
    factors: HashMap<RecordId, f32>,
    mean: f32,
}

impl Scale {
    fn new(records: &[(i64, Record)], asked: &OlderWords) -> Self {
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
