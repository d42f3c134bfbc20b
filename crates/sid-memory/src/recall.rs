//! Recall over a store: one search or two, ranked. What automatic recall, the search tools and the search API share.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Instant;

use jiff::Zoned;
use sid_llm::{EmbedInput, Embedder, LlmError};
use sid_store::{Candidate, GenerationId, MemorySearch, QueryVector, RecordId, SearchQuery, StoreError};
use sid_types::Scope;

use crate::ranking::{Candidates, EXCERPT_BYTES, RankQuery, Ranked, Snippet, merge_hops, named_times, rank, second_hop_query, snippet};

/// Only the beginning of a long query is searched for: its words would fit everything.
const QUERY_BYTES: usize = 1_200;

/// Candidates per channel of the second search: only its best few are followed.
const FOLLOWED_PER_CHANNEL: usize = 20;

/// How to recall.
#[derive(Debug, Clone)]
pub struct RecallOptions {
    /// The moment that "yesterday" is counted from, in the user's zone. `None` = relative dates mean nothing.
    pub now: Option<Zoned>,
    /// Most hits. Default 50.
    pub limit: usize,
    /// Whether to search a second time for the names that the first search has found. Default true. Costs a lexical search.
    pub follow: bool,
    /// See [`RankQuery::excerpt_bytes`].
    pub excerpt_bytes: usize,
    /// See [`RankQuery::associative`]. Default false.
    pub associative: bool,
}

impl Default for RecallOptions {
    fn default() -> Self {
        Self { now: None, limit: 50, follow: true, excerpt_bytes: EXCERPT_BYTES, associative: false }
    }
}

/// A found memory in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct RecallHit {
    /// The record, its owner and its raw scores.
    pub found: Candidate,
    /// The fused score; comparable inside one answer only.
    pub score: f32,
    /// What each signal has added to it.
    pub parts: Vec<(&'static str, f32)>,
    /// The part of the text that a prompt should carry: byte ranges in order.
    pub excerpt: Vec<Range<usize>>,
    /// 1 for hits of the query itself, 2 for those that only the second search has found.
    pub hop: u8,
}

impl RecallHit {
    /// What a prompt shows of it.
    #[must_use]
    pub fn snippet(&self) -> Snippet {
        snippet(&self.found.record, &self.excerpt)
    }
}

/// What was recalled.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recalled {
    /// Best first.
    pub hits: Vec<RecallHit>,
    /// How many records the first search has looked at.
    pub searched: u64,
    /// Whether meanings were compared, not words alone: there is an embedder, it answered, and its vectors fit the store's.
    pub compared_vectors: bool,
}

/// Searches, ranks, follows names to a second search, and merges.
///
/// `query` brings text and filters; its vector is made here unless it has one, and its named times are read off its text. An embedder
/// that fails, or whose vectors do not fit, costs the dense channel and nothing else. Errors: those of [`MemorySearch::search`].
pub async fn recall(
    search: &dyn MemorySearch,
    embedder: Option<&dyn Embedder>,
    scope: &Scope,
    mut query: SearchQuery,
    options: &RecallOptions,
) -> Result<Recalled, StoreError> {
    query.text.truncate(query.text.floor_char_boundary(QUERY_BYTES));
    if query.vector.is_none()
        && let Some(embedder) = embedder
    {
        // An embedder that fails costs the dense channel and nothing else.
        query.vector = query_vector(embedder, &query.text).await.ok().flatten();
    }
    query.named_times = named_times(&query.text, options.now.as_ref()).into_iter().map(|t| t.told().into()).collect();
    let began = query.follows.unwrap_or_else(Instant::now);
    let found = match search.search(scope, &query).await {
        // A vector of the wrong length: somebody changed the model behind a generation's name. Words still find.
        Err(StoreError::Invalid(_)) if query.vector.take().is_some() => search.search(scope, &query).await?,
        other => other?,
    };
    let (searched, compared_vectors) = (found.searched, query.vector.is_some());
    let text = query.text.clone();
    let asked = RankQuery {
        limit: options.limit,
        excerpt_bytes: options.excerpt_bytes,
        associative: options.associative,
        ..RankQuery::new(&text, options.now.clone())
    };
    let candidates = Candidates::from(&found);
    let mut ranked = rank(&asked, &candidates);
    let next = options.follow.then(|| second_hop_query(&asked, &candidates, &ranked)).flatten();
    let mut records: HashMap<RecordId, Candidate> = HashMap::new();
    if let Some(next) = next {
        let again = SearchQuery {
            text: next.clone(),
            vector: None,
            named_times: Vec::new(),
            per_channel: FOLLOWED_PER_CHANNEL,
            follows: Some(began),
            ..query
        };
        let second = search.search(scope, &again).await?;
        let hits = rank(&RankQuery { text: &next, now: None, associative: false, ..asked }, &Candidates::from(&second));
        ranked = merge_hops(ranked, hits);
        ranked.truncate(options.limit);
        records.extend(second.items.into_iter().map(|c| (c.record.id(), c)));
    }
    // Scores of the first search are the ones to show where both have found a record.
    records.extend(found.items.into_iter().map(|c| (c.record.id(), c)));
    let hits = ranked.into_iter().filter_map(|r| hit(r, &mut records)).collect();
    Ok(Recalled { hits, searched, compared_vectors })
}

fn hit(ranked: Ranked<RecordId>, records: &mut HashMap<RecordId, Candidate>) -> Option<RecallHit> {
    let found = records.remove(&ranked.id)?;
    Some(RecallHit { found, score: ranked.score, parts: ranked.parts, excerpt: ranked.excerpt, hop: ranked.hop })
}

/// The vector of a query's beginning, as far as it is searched for; `None` for a text without words. Errors: the embedder's.
pub async fn query_vector(embedder: &dyn Embedder, text: &str) -> Result<Option<QueryVector>, LlmError> {
    let text = &text[..text.floor_char_boundary(QUERY_BYTES)];
    if text.trim().is_empty() {
        return Ok(None);
    }
    let generation = embedder.generation().id;
    let values = embedder.embed(EmbedInput::Query, &[text.to_owned()]).await?.pop();
    // An embedder that changed its generation meanwhile may have made a vector of either.
    let is_settled = embedder.generation().id == generation;
    Ok(values.filter(|_| is_settled).map(|values| QueryVector { generation: GenerationId(generation), values }))
}
