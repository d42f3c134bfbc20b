//! One search for all tools: query vector, candidates, ranking.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use jiff::tz::TimeZone;
use sid_llm::Embedder;
use sid_store::{MemorySearch, QueryVector, Record, RecordId, RecordKinds, SearchQuery, StoreError};
use sid_tools::ToolContext;

use crate::ranking::{Candidates, RankQuery, named_times, rank, snippet};
use crate::recall::query_vector;
use crate::render;

/// Searches and ranks on behalf of a turn.
#[derive(Clone)]
pub struct Finder {
    search: Arc<dyn MemorySearch>,
    embedder: Option<Arc<dyn Embedder>>,
}

/// A found record and the part of its text that answers the query best.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The record.
    pub record: Record,
    /// Byte ranges of its text, in order.
    pub excerpt: Vec<Range<usize>>,
}

impl Found {
    /// `[2025-03-03 Mon] user: text`, and whether that is the whole text.
    #[must_use]
    pub fn line(&self, zone: &TimeZone) -> (String, bool) {
        let text = self.record.text();
        let is_whole = self.excerpt.iter().map(Range::len).sum::<usize>() >= text.trim().len();
        (snippet(&self.record, &self.excerpt).render(zone), is_whole)
    }
}

impl Finder {
    /// A finder over this store; without an embedder it compares words only.
    #[must_use]
    pub fn new(search: Arc<dyn MemorySearch>, embedder: Option<Arc<dyn Embedder>>) -> Self {
        Self { search, embedder }
    }

    /// What the turn may see and is not in its prompt already, best first, at most 50.
    pub async fn find(&self, context: &ToolContext, text: &str, kinds: RecordKinds) -> Result<Vec<Found>, StoreError> {
        let now = context.now.to_zoned(render::zone(&context.timezone));
        let mut query = SearchQuery::new(text);
        query.kinds = kinds;
        query.in_prompt = Some((context.conversation, context.queue_start));
        query.named_times = named_times(text, Some(&now)).into_iter().map(Into::into).collect();
        query.vector = self.vector(text).await;
        let mut found = match self.search.search(&context.scope, &query).await {
            // A vector of the wrong length: somebody changed the model behind a generation's name. Words still find.
            Err(StoreError::Invalid(_)) if query.vector.take().is_some() => self.search.search(&context.scope, &query).await?,
            other => other?,
        };
        keep_related(&mut found);
        let mut asked = RankQuery::new(text, Some(now));
        // About a third of a page each: a page of one long hit helps less than one of three.
        asked.excerpt_bytes = (context.result_budget.0 as usize * 4 / 3).clamp(120, 700);
        let ranked = rank(&asked, &Candidates::from(&found));
        Ok(ranked.into_iter().map(|r| Found { record: found.items[r.index].record.clone(), excerpt: r.excerpt }).collect())
    }

    /// The query's vector; `None` without an embedder, and when it fails: words alone still find most things.
    async fn vector(&self, text: &str) -> Option<QueryVector> {
        let embedder = self.embedder.as_ref()?;
        query_vector(&**embedder, text).await.ok()?
    }
}

/// Leaves out what the store brings along as the neighbour of a neighbour: ranking wants it as context, a reader of the list does not.
fn keep_related(found: &mut sid_store::Candidates) {
    let near: HashSet<RecordId> = found
        .items
        .iter()
        .filter(|c| c.channels.bm25 > 0.0 || c.channels.dense > 0.0)
        .flat_map(|c| [c.neighbours.0, c.neighbours.1])
        .flatten()
        .collect();
    found.items.retain(|c| c.channels != sid_store::Channels::default() || near.contains(&c.record.id()));
}
