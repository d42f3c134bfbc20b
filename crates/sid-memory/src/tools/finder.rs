//! One search for all tools: query vector, candidates, order.

use std::sync::Arc;

use sid_llm::{EmbedInput, Embedder};
use sid_store::{Candidate, Candidates, GenerationId, MemorySearch, QueryVector, RecordKinds, SearchQuery, StoreError};
use sid_tools::ToolContext;

/// Most candidates that a search tool lists; deeper ones are noise.
const MOST: usize = 60;

/// Searches and ranks on behalf of a turn.
#[derive(Clone)]
pub struct Finder {
    search: Arc<dyn MemorySearch>,
    embedder: Option<Arc<dyn Embedder>>,
}

impl Finder {
    /// A finder over this store; without an embedder it compares words only.
    #[must_use]
    pub fn new(search: Arc<dyn MemorySearch>, embedder: Option<Arc<dyn Embedder>>) -> Self {
        Self { search, embedder }
    }

    /// What the turn may see and is not in its prompt already, best first, at most 60.
    pub async fn find(&self, context: &ToolContext, text: &str, kinds: RecordKinds) -> Result<Vec<Candidate>, StoreError> {
        let mut query = SearchQuery::new(text);
        query.kinds = kinds;
        query.in_prompt = Some((context.conversation, context.queue_start));
        query.vector = self.vector(text).await;
        let candidates = match self.search.search(&context.scope, &query).await {
            // A vector of the wrong length: somebody changed the model behind a generation's name. Words still find.
            Err(StoreError::Invalid(_)) if query.vector.take().is_some() => self.search.search(&context.scope, &query).await?,
            other => other?,
        };
        Ok(order(candidates))
    }

    /// The query's vector; `None` without an embedder, and when it fails: words alone still find most things.
    async fn vector(&self, text: &str) -> Option<QueryVector> {
        let embedder = self.embedder.as_ref()?;
        let values = embedder.embed(EmbedInput::Query, &[text.to_owned()]).await.ok()?.pop()?;
        Some(QueryVector { generation: GenerationId(embedder.generation().id), values })
    }
}

/// Best first, each channel on the scale of its best.
fn order(candidates: Candidates) -> Vec<Candidate> {
    let scale = |value: f32, mean: f32, max: f32| if max > mean { ((value - mean) / (max - mean)).max(0.0) } else { 0.0 };
    let (bm25, context, dense) = (candidates.bm25, candidates.context_bm25, candidates.dense);
    let score = |c: &Candidate| {
        scale(c.channels.bm25, 0.0, bm25.max)
            + 0.5 * scale(c.channels.context_bm25, 0.0, context.max)
            + scale(c.channels.dense, dense.mean, dense.max)
    };
    let mut scored: Vec<(f32, Candidate)> = candidates.items.into_iter().map(|c| (score(&c), c)).filter(|(s, _)| *s > 0.0).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.record.at().cmp(&a.1.record.at())).then(a.1.record.id().cmp(&b.1.record.id())));
    scored.into_iter().take(MOST).map(|(_, c)| c).collect()
}
