//! Search for people and for the API: the same recall that a turn makes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sid_store::{Channels, RecordId, RecordKinds, TimeRange};
use sid_types::{ConversationId, Owner, Role, Seq};

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

pub(crate) async fn search(inner: &std::sync::Arc<crate::engine::Inner>, scope: &sid_types::Scope, request: &SearchRequest) -> Result<SearchResponse, crate::CoreError> {
    let _ = (inner, scope, request);
    Ok(SearchResponse { hits: Vec::new(), searched: 0 })
}
