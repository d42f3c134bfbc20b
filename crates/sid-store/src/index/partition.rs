//! The index of one partition.

use std::collections::{HashMap, HashSet};

use sid_types::ConversationId;

use super::Document;
use super::dense::{Dense, DenseQuery};
use super::documents::{Documents, Eligible, NONE};
use super::lexical::{Lexical, LexicalScores, WordStatistics};
use super::outside::{DenseHits, Near};
use crate::{ChannelStats, Channels, Chunk, GenerationId, RecordId, SearchQuery};

/// So many more rows than asked for are reranked: enough that the int8 scan loses none of the best.
const RERANK_MARGIN: usize = 40;
/// Neighbours come along for the best of each channel, up to this share of `per_channel`.
const NEIGHBOUR_SHARE: usize = 4;

/// One found record, by name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IndexHit {
    /// The record.
    pub id: RecordId,
    /// Its raw scores, exact in every channel.
    pub channels: Channels,
    /// Byte range *of the record's text* whose chunk gave `channels.dense`; `None` = the whole text. May reach past the end of a text
    /// that has changed: cut it to size before slicing, at character borders.
    pub best_chunk: Option<(usize, usize)>,
    /// The searchable messages right before and after it in its conversation.
    pub neighbours: (Option<RecordId>, Option<RecordId>),
}

/// What a search in one partition found, best summed score first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IndexHits {
    /// The hits, each record once.
    pub items: Vec<IndexHit>,
    /// How many records the query's filters let through: all of them were looked at.
    pub searched: u64,
    /// How many of those have a vector in the query's generation.
    pub embedded: u64,
    /// Shape of `bm25` over all that were looked at, those without any of the words too.
    pub bm25: ChannelStats,
    /// Shape of `context_bm25`, likewise.
    pub context_bm25: ChannelStats,
    /// Shape of `dense` over those that have a vector.
    pub dense: ChannelStats,
}

/// The memory of one owner, searchable. See the [module](super).
#[derive(Debug, Default)]
pub struct PartitionIndex {
    documents: Documents,
    lexical: Lexical,
    dense: HashMap<GenerationId, Dense>,
}

impl PartitionIndex {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many records are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.documents.alive()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the record is in it.
    #[must_use]
    pub fn contains(&self, id: RecordId) -> bool {
        self.documents.number(id).is_some()
    }

    /// Takes a record in, in place of the one with the same id if there is one (whose vectors are dropped).
    ///
    /// Fastest when messages of a conversation come in order of sequence; any order gives the same index.
    pub fn insert(&mut self, document: &Document<'_>) {
        self.remove(document.id);
        let doc = self.documents.push(document);
        self.lexical.push(document.named_speaker(), document.text);
        self.lexical.linked(doc, &self.documents);
    }

    /// Takes a record out with its vectors; `false` if it was not there.
    pub fn remove(&mut self, id: RecordId) -> bool {
        let Some(doc) = self.documents.number(id) else { return false };
        self.lexical.unlinked(doc, &self.documents);
        self.documents.bury(doc);
        for dense in self.dense.values_mut() {
            dense.bury(doc);
        }
        let dead = self.documents.slots() - self.documents.alive();
        if dead > 64 && dead * 4 > self.documents.slots() {
            let renumbered = self.documents.compact();
            self.lexical.compact(&renumbered);
            for dense in self.dense.values_mut() {
                dense.compact(Some(&renumbered));
            }
        }
        true
    }

    /// Takes all messages of a conversation out; answers how many.
    pub fn remove_conversation(&mut self, conversation: ConversationId) -> usize {
        let ids: Vec<RecordId> = self.documents.of_conversation(conversation).into_iter().map(|d| self.documents.id(d)).collect();
        ids.iter().filter(|id| self.remove(**id)).count()
    }

    /// Gives a record its vectors in one generation, in place of earlier ones. Chunk ranges count bytes of
    /// [`embedded_text`](super::embedded_text). Unknown records, and vectors of another length than the generation's earlier
    /// ones here, are left out.
    pub fn set_vectors(&mut self, id: RecordId, generation: &GenerationId, chunks: &[Chunk]) {
        let Some(doc) = self.documents.number(id) else { return };
        if !self.dense.contains_key(generation) {
            self.dense.insert(generation.clone(), Dense::default());
        }
        let dense = self.dense.get_mut(generation).expect("just made");
        dense.set(doc, chunks);
        if dense.wants_compaction() {
            dense.compact(None);
        }
    }

    /// Whether the record has a vector in the generation.
    #[must_use]
    pub fn has_vectors(&self, id: RecordId, generation: &GenerationId) -> bool {
        self.documents.number(id).is_some_and(|doc| self.dense.get(generation).is_some_and(|d| d.has(doc)))
    }

    /// How many records have a vector in the generation.
    #[must_use]
    pub fn embedded(&self, generation: &GenerationId) -> usize {
        self.dense.get(generation).map_or(0, Dense::documents)
    }

    /// Drops all vectors of a generation.
    pub fn drop_generation(&mut self, generation: &GenerationId) {
        self.dense.remove(generation);
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.documents.bytes() + self.lexical.bytes() + self.dense.values().map(Dense::bytes).sum::<usize>()
    }

    /// Looks for candidates: the best `per_channel` of each channel, the best `per_channel` of the named times, and the neighbours
    /// of the best quarter of each channel. `query.owners` is not looked at: the store picks the partitions.
    ///
    /// Shape: equal scores count the newer first; a lexical channel brings no record with score 0; without any word in the index and
    /// without a vector only named times are found. Cost: linear in the partition, with a cap on common words.
    #[must_use]
    pub fn search(&self, query: &SearchQuery) -> IndexHits {
        self.search_among(query, &WordStatistics::default())
    }

    /// This partition's statistics of a query's words, for [`PartitionIndex::search_among`] of the partitions beside it.
    #[must_use]
    pub fn statistics(&self, text: &str) -> WordStatistics {
        self.lexical.statistics(text, &self.documents)
    }

    /// [`PartitionIndex::search`] as one of several partitions: `others` are the statistics of the rest of them.
    #[must_use]
    pub fn search_among(&self, query: &SearchQuery, others: &WordStatistics) -> IndexHits {
        self.search_with(query, others, None)
    }

    /// [`PartitionIndex::search_among`], with cosines of vectors that are not in this index in place of its own. The other records have no
    /// dense score: [`PartitionIndex::complete`] gives it to those that words have found.
    #[must_use]
    pub fn search_given(&self, query: &SearchQuery, others: &WordStatistics, dense: &DenseHits) -> IndexHits {
        self.search_with(query, others, Some(dense))
    }

    /// Gives hits their cosines.
    pub fn complete(&self, hits: &mut IndexHits, dense: &DenseHits) {
        for hit in &mut hits.items {
            if let (Some(near), Some(doc)) = (dense.scores.get(&hit.id), self.documents.number(hit.id)) {
                (hit.channels.dense, hit.best_chunk) = self.in_text(doc, *near);
                hits.dense.max = hits.dense.max.max(hit.channels.dense);
            }
        }
    }

    fn search_with(&self, query: &SearchQuery, others: &WordStatistics, given: Option<&DenseHits>) -> IndexHits {
        let eligible = self.documents.eligible(query);
        let searched = eligible.count();
        if searched == 0 || query.per_channel == 0 {
            return IndexHits { searched: searched as u64, ..IndexHits::default() };
        }
        let mut lexical = self.lexical.scores(&query.text, &self.documents, others);
        lexical.touched.retain(|doc| eligible.holds(*doc));
        let bm25 = shape(&lexical.own, &lexical.touched, searched);
        let context_bm25 = shape(&lexical.context, &lexical.touched, searched);
        let dense = given.map_or_else(|| self.dense_scores(query, &eligible), |given| self.given_scores(given, query, &eligible));

        let mut picked = Picked::default();
        let mut best = Vec::new();
        for scores in [&lexical.own, &lexical.context] {
            best.push(best_of(scores, lexical.touched.iter().copied(), 0.0, query.per_channel));
        }
        best.push(dense.best.iter().copied().take(query.per_channel).collect());
        for docs in &best {
            picked.add(docs);
        }
        if !query.named_times.is_empty() {
            let blend = |doc: u32| {
                let i = doc as usize;
                scaled(lexical.own[i], bm25).max(scaled(lexical.context[i], context_bm25)).max(dense.scaled(doc))
            };
            picked.add(&self.best_of_times(query, &eligible, blend));
        }
        for docs in &best {
            for doc in docs.iter().take(query.per_channel.div_ceil(NEIGHBOUR_SHARE)) {
                let around = [self.documents.prev(*doc), self.documents.next(*doc)];
                picked.add(&around.into_iter().filter(|d| *d != NONE && eligible.holds(*d)).collect::<Vec<_>>());
            }
        }
        let mut items: Vec<IndexHit> = picked.docs.iter().map(|doc| self.hit(*doc, &lexical, &dense)).collect();
        let total = |h: &IndexHit| {
            scaled(h.channels.bm25, bm25) + scaled(h.channels.context_bm25, context_bm25) + scaled(h.channels.dense, dense.stats)
        };
        items.sort_by(|a, b| total(b).total_cmp(&total(a)));
        IndexHits { items, searched: searched as u64, embedded: dense.embedded as u64, bm25, context_bm25, dense: dense.stats }
    }

    fn hit(&self, doc: u32, lexical: &LexicalScores, dense: &DenseScores<'_>) -> IndexHit {
        let (cosine, best_chunk) = self.in_text(doc, dense.exact(doc, self.documents.id(doc)).unwrap_or_default());
        IndexHit {
            id: self.documents.id(doc),
            channels: Channels { bm25: lexical.own[doc as usize], context_bm25: lexical.context[doc as usize], dense: cosine },
            best_chunk,
            neighbours: self.documents.neighbours(doc),
        }
    }

    /// With bytes of the record's own text in place of those of what was embedded.
    fn in_text(&self, doc: u32, (cosine, chunk): Near) -> Near {
        let prefix = self.documents.prefix_len(doc);
        (cosine, chunk.map(|(start, end)| (start.saturating_sub(prefix), end.saturating_sub(prefix))))
    }

    fn dense_scores(&self, query: &SearchQuery, eligible: &Eligible<'_>) -> DenseScores<'_> {
        let Some((vector, dense)) = query.vector.as_ref().and_then(|v| Some((v, self.dense.get(&v.generation)?))) else {
            return DenseScores::default();
        };
        let asked = DenseQuery::new(&vector.values);
        let near = dense.scan(&asked, &eligible.mask());
        let with_vector: Vec<f32> = near.iter().copied().filter(|s| *s > f32::MIN).collect();
        let embedded = with_vector.len();
        if embedded == 0 {
            return DenseScores::default();
        }
        let mut best: Vec<(f32, u32)> = best_of(&near, 0..near.len() as u32, f32::MIN, query.per_channel + RERANK_MARGIN)
            .into_iter()
            .filter_map(|doc| dense.rerank(&asked, doc).map(|(score, _)| (score, doc)))
            .collect();
        best.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        let mean = with_vector.iter().map(|s| f64::from(*s)).sum::<f64>() / embedded as f64;
        let stats = ChannelStats { mean: mean as f32, max: best.first().map_or(0.0, |b| b.0) };
        DenseScores { source: Source::Own(dense, asked), best: best.into_iter().map(|(_, doc)| doc).collect(), near, embedded, stats }
    }

    fn given_scores<'a>(&'a self, given: &'a DenseHits, query: &SearchQuery, eligible: &Eligible<'_>) -> DenseScores<'a> {
        let mut near = vec![f32::MIN; self.documents.slots()];
        let known = given.scores.iter().filter_map(|(id, (score, _))| Some((self.documents.number(*id)?, *score)));
        for (doc, score) in known.filter(|(doc, _)| eligible.holds(*doc)) {
            near[doc as usize] = score;
        }
        let best = best_of(&near, 0..near.len() as u32, f32::MIN, query.per_channel);
        let max = best.first().map_or(0.0, |doc| near[*doc as usize]);
        let stats = if best.is_empty() { ChannelStats::default() } else { ChannelStats { mean: given.mean.min(max), max } };
        DenseScores { source: Source::Given(given), best, near, embedded: given.embedded as usize, stats }
    }

    fn best_of_times(&self, query: &SearchQuery, eligible: &Eligible<'_>, blend: impl Fn(u32) -> f32) -> Vec<u32> {
        let spans: Vec<(i64, i64)> = query.named_times.iter().map(|t| (t.from.as_microsecond(), t.to.as_microsecond())).collect();
        let slots = self.documents.slots() as u32;
        let scores: Vec<f32> = (0..slots)
            .map(|doc| {
                let at = self.documents.at_micros(doc);
                let is_named = spans.iter().any(|(from, to)| *from <= at && at < *to) && eligible.holds(doc);
                if is_named { blend(doc) } else { f32::MIN }
            })
            .collect();
        best_of(&scores, 0..slots, f32::MIN, query.per_channel)
    }
}

/// The `count` of these documents with the highest score above `floor`, best first, the newer first among equals.
fn best_of(scores: &[f32], docs: impl Iterator<Item = u32>, floor: f32, count: usize) -> Vec<u32> {
    let mut docs: Vec<u32> = docs.filter(|d| scores[*d as usize] > floor).collect();
    let order = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(b.cmp(a));
    if docs.len() > count {
        docs.select_nth_unstable_by(count, order);
        docs.truncate(count);
    }
    docs.sort_unstable_by(order);
    docs
}

/// The dense channel of one search.
#[derive(Default)]
struct DenseScores<'a> {
    source: Source<'a>,
    /// Reranked, best first.
    best: Vec<u32>,
    /// The scan's scores by slot.
    near: Vec<f32>,
    embedded: usize,
    stats: ChannelStats,
}

/// Where exact cosines come from.
#[derive(Default)]
enum Source<'a> {
    #[default]
    Nowhere,
    Own(&'a Dense, DenseQuery),
    Given(&'a DenseHits),
}

impl DenseScores<'_> {
    fn exact(&self, doc: u32, id: RecordId) -> Option<Near> {
        match &self.source {
            Source::Nowhere => None,
            Source::Own(dense, query) => dense.rerank(query, doc),
            Source::Given(given) => given.scores.get(&id).copied(),
        }
    }

    fn scaled(&self, doc: u32) -> f32 {
        self.near.get(doc as usize).filter(|s| **s > f32::MIN).map_or(0.0, |s| scaled(*s, self.stats))
    }
}

/// Documents that were picked, each once, in order.
#[derive(Default)]
struct Picked {
    docs: Vec<u32>,
    seen: HashSet<u32>,
}

impl Picked {
    fn add(&mut self, docs: &[u32]) {
        for doc in docs {
            if self.seen.insert(*doc) {
                self.docs.push(*doc);
            }
        }
    }
}

/// Mean and best of a channel over what may be looked at, of which all but `touched` have no score.
fn shape(scores: &[f32], touched: &[u32], searched: usize) -> ChannelStats {
    let (mut sum, mut max) = (0.0_f64, 0.0_f32);
    for doc in touched {
        let score = scores[*doc as usize];
        sum += f64::from(score);
        max = max.max(score);
    }
    ChannelStats { mean: (sum / searched as f64) as f32, max }
}

/// The best record becomes 1, the average one 0.
fn scaled(score: f32, stats: ChannelStats) -> f32 {
    let width = stats.max - stats.mean;
    if width > 1e-9 { (score - stats.mean) / width } else { 0.0 }
}
