//! Recall: what a turn is reminded of, whether it asks or not.

use std::sync::Arc;

use sid_memory::Count;
use sid_memory::ranking::{Snippet, plan_recall};
use sid_memory::recall::{RecallHit, RecallOptions, Recalled, query_vector, recall};
use sid_store::{QueryVector, SearchQuery, StoreError};
use sid_types::{Recollection, Scope, Source, Tokens};
use tracing::warn;

use crate::CoreError;
use crate::engine::Inner;
use crate::machine::RunMachine;
use crate::taint;

/// Hits that a turn looks at, and candidates per channel; as many as fit the largest budget.
const TURN_HITS: usize = 60;
/// Size of a turn's excerpts: short, so that many memories fit; a fact is a sentence, and the tools read on.
const TURN_EXCERPT_BYTES: usize = 200;

/// A memory that a turn is reminded of.
#[derive(Debug, Clone)]
pub(crate) struct Reminder {
    pub(crate) shown: Recollection,
    /// Its place among the reminders by time, oldest first.
    pub(crate) order: usize,
    /// Sources that are not trusted, of which it tells.
    pub(crate) untrusted: Vec<Source>,
}

/// Searches and ranks, with the query's vector if it can be had in time.
pub(crate) async fn find(inner: &Inner, scope: &Scope, mut query: SearchQuery, options: &RecallOptions) -> Result<Recalled, StoreError> {
    query.vector = vector(inner, &query.text).await;
    recall(&*inner.store, None, scope, query, options).await
}

/// The query's vector; `None` when there is no embedder, or it fails or dawdles: words alone still find most things.
async fn vector(inner: &Inner, text: &str) -> Option<QueryVector> {
    let embedder = inner.embedder.as_ref()?;
    match tokio::time::timeout(inner.config.embed_wait, query_vector(&**embedder, text)).await {
        Ok(Ok(vector)) => vector,
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
    let said: Vec<&str> = machine.stimulus().iter().map(|m| m.body.text()).collect();
    let mut query = SearchQuery::new(said.join("\n"));
    if query.text.trim().is_empty() {
        return Ok(Vec::new());
    }
    query.per_channel = TURN_HITS;
    query.follows = Some(state.began);
    query.in_prompt = Some((state.conversation.id, state.conversation.queue_start));
    let zone = sid_memory::render::zone(state.user.as_ref().and_then(|u| u.timezone.as_deref()).unwrap_or("UTC"));
    let now = machine.now().to_zoned(zone.clone());
    let options = RecallOptions {
        now: Some(now),
        limit: TURN_HITS,
        excerpt_bytes: TURN_EXCERPT_BYTES,
        associative: true,
        ..RecallOptions::default()
    };
    let hits = find(inner, scope, query, &options).await?.hits;
    let snippets: Vec<Snippet> = hits.iter().map(RecallHit::snippet).collect();
    let plan = plan_recall(&snippets, cap.0, &zone, |text| count(text).0);
    // The plan is in order of time; what is dropped first under pressure is the least of rank.
    let mut lines: Vec<(usize, (usize, String))> = plan.lines.into_iter().enumerate().collect();
    lines.sort_by_key(|(_, (i, _))| *i);
    Ok(lines
        .into_iter()
        .map(|(order, (i, text))| {
            let hit = &hits[i];
            let why = hit
                .parts
                .iter()
                .filter(|(_, value)| value.abs() >= 0.001)
                .map(|(name, value)| ((*name).to_owned(), short(*value)))
                .collect();
            Reminder {
                shown: Recollection { id: hit.found.record.id().to_string(), score: short(hit.score), why, text },
                order,
                untrusted: taint::of_record(&hit.found.record).to_vec(),
            }
        })
        .collect())
}

/// To three decimals: enough for people, and short in the event log.
fn short(value: f32) -> f32 {
    (value * 1_000.0).round() / 1_000.0
}
