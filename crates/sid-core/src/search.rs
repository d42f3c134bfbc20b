//! Search for people and for the API: the ranking of a turn's recall, without its associations.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sid_memory::ranking::render_excerpt;
use sid_memory::recall::{RecallHit, RecallOptions};
use sid_store::{Channels, Record, RecordId, RecordKinds, SearchQuery, TimeRange};
use sid_types::{ConversationId, Owner, Role, Scope, Seq};

use crate::CoreError;
use crate::engine::Inner;
use crate::recall;

/// What to look for.
#[derive(Debug, Clone)]
pub struct SearchRequest {
    /// The words; natural language, dates included.
    pub query: String,
    /// Most hits. 1..=200.
    pub k: usize,
    /// Which kinds of records.
    pub kinds: RecordKinds,
    /// Only messages of this conversation.
    pub conversation: Option<ConversationId>,
    /// Only messages with this role.
    pub role: Option<Role>,
    /// Only what was said in this span.
    pub within: Option<TimeRange>,
    /// The moment that "yesterday" is counted from; the clock's when `None`.
    pub now: Option<Timestamp>,
    /// Wait this long at most until everything that was written before has its vectors.
    pub wait_for_index: std::time::Duration,
}

impl SearchRequest {
    /// Ten hits of any kind for `query`.
    #[must_use]
    pub fn new(query: impl Into<String>) -> Self {
        Self {
            query: query.into(),
            k: 10,
            kinds: RecordKinds::ALL,
            conversation: None,
            role: None,
            within: None,
            now: None,
            wait_for_index: std::time::Duration::ZERO,
        }
    }
}

/// A found memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchHit {
    /// What it is.
    #[serde(flatten)]
    pub id: RecordId,
    /// The whole text.
    pub text: String,
    /// The part that answers best; the whole text when it is short.
    pub excerpt: String,
    /// When it was said.
    pub at: Timestamp,
    /// Who said it, for messages: the speaker's name, or the role.
    pub speaker: Option<String>,
    /// The role, for messages.
    pub role: Option<Role>,
    /// The fused score: larger is better; comparable inside one answer only.
    pub score: f32,
    /// Raw scores per channel.
    pub channels: Channels,
    /// What each signal added to the score.
    pub why: Vec<(String, f32)>,
    /// Where it was said, for messages.
    pub conversation: Option<ConversationId>,
    /// Its place there.
    pub seq: Option<Seq>,
    /// Whose memory it is.
    pub owner: Owner,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchResponse {
    /// Best first.
    pub hits: Vec<SearchHit>,
    /// How many records were looked at.
    pub searched: u64,
}

/// Most hits of one search.
pub(crate) const MOST_HITS: usize = 200;

pub(crate) async fn search(inner: &Arc<Inner>, scope: &Scope, request: &SearchRequest) -> Result<SearchResponse, CoreError> {
    if request.query.trim().is_empty() {
        return Err(CoreError::Invalid("the query is empty: say what to look for".into()));
    }
    let mut query = SearchQuery::new(request.query.clone());
    query.kinds = request.kinds;
    query.conversation = request.conversation;
    query.role = request.role;
    query.within = request.within;
    let k = request.k.clamp(1, MOST_HITS);
    query.per_channel = query.per_channel.max(k);
    let timezone = match scope.user() {
        Some(user) => inner.store.user(scope, user).await.ok().and_then(|u| u.timezone),
        None => None,
    };
    let zone = sid_memory::render::zone(timezone.as_deref().unwrap_or("UTC"));
    let now = request.now.unwrap_or_else(|| inner.clock.now()).to_zoned(zone);
    // Whoever asks a question wants its answers, not what they bring to mind.
    let options = RecallOptions { now: Some(now), limit: k, follow: false, ..RecallOptions::default() };
    let found = recall::find(inner, scope, query, &options).await?;
    Ok(SearchResponse { hits: found.hits.into_iter().map(shown).collect(), searched: found.searched })
}

fn shown(hit: RecallHit) -> SearchHit {
    let record = hit.found.record;
    let message = match &record {
        Record::Message(m) => Some(m),
        Record::Passage(_) | Record::Diary(_) => None,
    };
    SearchHit {
        id: record.id(),
        text: record.text().to_owned(),
        excerpt: render_excerpt(record.text(), &hit.excerpt),
        at: record.at(),
        speaker: message.map(|m| m.speaker.clone().unwrap_or_else(|| sid_memory::render::role_name(m.body.role()).to_owned())),
        role: message.map(|m| m.body.role()),
        score: hit.score,
        channels: hit.found.channels,
        why: hit.parts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        conversation: message.map(|m| m.conversation),
        seq: message.map(|m| m.seq),
        owner: hit.found.owner,
    }
}
