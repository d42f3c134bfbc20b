//! Recall: query vector, candidates, ranking, and what of it a turn is reminded of, whether it asks or not.

use std::ops::Range;
use std::sync::Arc;

use jiff::Zoned;
use sid_llm::EmbedInput;
use sid_memory::Count;
use sid_memory::ranking::{Candidates, RankQuery, Ranked, Snippet, merge_hops, named_times, plan_recall, rank, second_hop_query, snippet};
use sid_store::{Channels, GenerationId, QueryVector, Record, RecordId, SearchQuery, TimeRange};
use sid_types::{Body, Owner, Recollection, Scope, Tokens};
use tracing::warn;

use crate::CoreError;
use crate::engine::Inner;
use crate::machine::RunMachine;

/// Only the beginning of a long message is searched for: its words would fit everything.
const QUERY_BYTES: usize = 1_200;
/// Hits that a turn looks at; far more than fit its budget.
const TURN_HITS: usize = 100;
/// Size of a turn's excerpts: short, so that many memories fit; a fact is a sentence, and the tools read on.
const TURN_EXCERPT_BYTES: usize = 200;

/// A memory that a turn is reminded of.
#[derive(Debug, Clone)]
pub(crate) struct Reminder {
    pub(crate) shown: Recollection,
    /// Its place among the reminders by time, oldest first.
    pub(crate) order: usize,
}

/// A ranked record.
pub(crate) struct Hit {
    pub(crate) record: Record,
    pub(crate) owner: Owner,
    pub(crate) channels: Channels,
    pub(crate) score: f32,
    pub(crate) why: Vec<(String, f32)>,
    pub(crate) excerpt: Vec<Range<usize>>,
}

/// Finds and ranks. With `second_hop`, names in the best hits that the query does not know are searched for too
/// ("niece" finds "my niece Saoirse", and "Saoirse" what she likes).
pub(crate) async fn find(
    inner: &Inner,
    scope: &Scope,
    mut query: SearchQuery,
    now: &Zoned,
    limit: usize,
    excerpt_bytes: usize,
    second_hop: bool,
) -> Result<(Vec<Hit>, u64), CoreError> {
    query.text.truncate(query.text.floor_char_boundary(QUERY_BYTES));
    let text = query.text.clone();
    query.named_times = named_times(&text, Some(now)).into_iter().map(|t| TimeRange::from(t.told())).collect();
    query.vector = vector(inner, &text).await;
    let first = inner.store.search(scope, &query).await?;
    let asked = RankQuery { limit, excerpt_bytes, ..RankQuery::new(&text, Some(now.clone())) };
    let candidates = Candidates::from(&first);
    let mut ranked = rank(&asked, &candidates);
    let mut second = None;
    if second_hop
        && let Some(text) = second_hop_query(&asked, &candidates, &ranked)
    {
        query.vector = vector(inner, &text).await;
        query.text = text;
        query.named_times = Vec::new();
        let found = inner.store.search(scope, &query).await?;
        let hop = rank(&RankQuery { limit, excerpt_bytes, ..RankQuery::new(&query.text, Some(now.clone())) }, &Candidates::from(&found));
        ranked = merge_hops(ranked, hop);
        ranked.truncate(limit);
        second = Some(found);
    }
    let searched = first.searched;
    let hits = ranked.into_iter().filter_map(|r| hit(r, &first, second.as_ref())).collect();
    Ok((hits, searched))
}

fn hit(ranked: Ranked<RecordId>, first: &sid_store::Candidates, second: Option<&sid_store::Candidates>) -> Option<Hit> {
    let from = if ranked.hop == 2 { second? } else { first };
    let found = from.items.get(ranked.index)?;
    Some(Hit {
        record: found.record.clone(),
        owner: found.owner,
        channels: found.channels,
        score: ranked.score,
        why: ranked.parts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        excerpt: ranked.excerpt,
    })
}

/// The query's vector; `None` when there is no embedder, or it fails or dawdles: words alone still find most things.
async fn vector(inner: &Inner, text: &str) -> Option<QueryVector> {
    let embedder = inner.embedder.as_ref()?;
    if text.trim().is_empty() {
        return None;
    }
    let texts = [text.to_owned()];
    match tokio::time::timeout(inner.config.embed_wait, embedder.embed(EmbedInput::Query, &texts)).await {
        Ok(Ok(mut vectors)) => {
            let values = vectors.pop()?;
            Some(QueryVector { generation: GenerationId(embedder.generation().id), values })
        }
        Ok(Err(error)) => {
            warn!(%error, "no vector for this query");
            None
        }
        Err(_) => {
            warn!("the embedder is busy; this query is searched lexically");
            None
        }
    }
}

/// What a turn is reminded of: the best snippets that fit `cap`, best first.
pub(crate) async fn for_turn(
    inner: &Arc<Inner>,
    scope: &Scope,
    machine: &RunMachine,
    cap: Tokens,
    count: &Count<'_>,
) -> Result<Vec<Reminder>, CoreError> {
    let state = machine.state();
    let run = machine.run_id();
    let said: Vec<&str> = state
        .queue
        .iter()
        .filter(|m| m.run == Some(run) && matches!(m.body, Body::User { .. } | Body::Note { .. }))
        .map(|m| m.body.text())
        .collect();
    let mut query = SearchQuery::new(said.join("\n"));
    if query.text.trim().is_empty() {
        return Ok(Vec::new());
    }
    query.in_prompt = Some((state.conversation.id, state.conversation.queue_start));
    let zone = sid_memory::render::zone(state.user.as_ref().and_then(|u| u.timezone.as_deref()).unwrap_or("UTC"));
    let now = machine.now().to_zoned(zone.clone());
    let (hits, _) = find(inner, scope, query, &now, TURN_HITS, TURN_EXCERPT_BYTES, true).await?;
    let snippets: Vec<Snippet> = hits.iter().map(|h| snippet(&h.record, &h.excerpt)).collect();
    let plan = plan_recall(&snippets, cap.0, &zone, |text| count(text).0);
    // The plan is in order of time; what is dropped first under pressure is the least of rank.
    let mut lines: Vec<(usize, (usize, String))> = plan.lines.into_iter().enumerate().collect();
    lines.sort_by_key(|(_, (i, _))| *i);
    Ok(lines
        .into_iter()
        .map(|(order, (i, text))| {
            let hit = &hits[i];
            let why = hit.why.iter().filter(|(_, value)| value.abs() >= 0.001).map(|(name, value)| (name.clone(), short(*value))).collect();
            Reminder { shown: Recollection { id: hit.record.id().to_string(), score: short(hit.score), why, text }, order }
        })
        .collect())
}

/// To three decimals: enough for people, and short in the event log.
fn short(value: f32) -> f32 {
    (value * 1_000.0).round() / 1_000.0
}
