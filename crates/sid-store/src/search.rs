//! Search: candidates with the scores of each channel. Ranking is done above, by pure code.

use std::time::Instant;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sid_types::{ConversationId, DiaryEntry, Message, MessageId, Owner, Passage, PassageId, Role, Scope, Seq, SummaryId, Timestamp};

use crate::{GenerationId, StoreError};

/// A record that search can find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum RecordId {
    /// A message of recall memory.
    Message(MessageId),
    /// A passage of archival memory.
    Passage(PassageId),
    /// A page of the diary.
    Diary(SummaryId),
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(id) => id.fmt(f),
            Self::Passage(id) => id.fmt(f),
            Self::Diary(id) => id.fmt(f),
        }
    }
}

/// A found record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// A message of recall memory.
    Message(Message),
    /// A passage of archival memory.
    Passage(Passage),
    /// A page of the diary.
    Diary(DiaryEntry),
}

impl Record {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> RecordId {
        match self {
            Self::Message(m) => RecordId::Message(m.id),
            Self::Passage(p) => RecordId::Passage(p.id),
            Self::Diary(d) => RecordId::Diary(d.id),
        }
    }

    /// Its words.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Message(m) => m.body.text(),
            Self::Passage(p) => &p.text,
            Self::Diary(d) => &d.text,
        }
    }

    /// When it was said; for a diary page, the start of its first day in UTC.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Message(m) => m.at,
            Self::Passage(p) => p.at,
            Self::Diary(d) => d.start.to_zoned(jiff::tz::TimeZone::UTC).map_or(d.written_at, |z| z.timestamp()),
        }
    }
}

/// Which kinds of records a search looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordKinds {
    /// Recall memory.
    pub messages: bool,
    /// Archival memory.
    pub passages: bool,
    /// The diary.
    pub diary: bool,
}

impl RecordKinds {
    /// Everything.
    pub const ALL: Self = Self { messages: true, passages: true, diary: true };
    /// Recall memory only.
    pub const MESSAGES: Self = Self { messages: true, passages: false, diary: false };
    /// Archival memory only.
    pub const PASSAGES: Self = Self { messages: false, passages: true, diary: false };
}

/// A span of time, start included, end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRange {
    /// The first moment.
    pub from: Timestamp,
    /// The first moment after.
    pub to: Timestamp,
}

impl TimeRange {
    /// Whether `at` lies in it.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// The query as a vector of one embedding generation.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryVector {
    /// Which generation; vectors of others are not compared.
    pub generation: GenerationId,
    /// Unit length, as many numbers as the generation has dimensions.
    pub values: Vec<f32>,
}

/// What to look for. Only what the scope may see is looked at, whatever the query says.
#[derive(Debug, Clone)]
pub struct SearchQuery {
    /// The words.
    pub text: String,
    /// The query's vector, if there is an embedder.
    pub vector: Option<QueryVector>,
    /// Which kinds of records.
    pub kinds: RecordKinds,
    /// Only these owners (cut to those that the scope sees); `None` = all that the scope sees.
    pub owners: Option<Vec<Owner>>,
    /// Only messages of this conversation.
    pub conversation: Option<ConversationId>,
    /// Only messages with this role.
    pub role: Option<Role>,
    /// Only records said in this span.
    pub within: Option<TimeRange>,
    /// Spans that the query names ("in May"): records said in one of them are candidates even when no word fits, best lexical
    /// or dense score first. They filter nothing.
    pub named_times: Vec<TimeRange>,
    /// Leave out messages of this conversation from this place on: they are in the prompt already.
    pub in_prompt: Option<(ConversationId, Seq)>,
    /// Most candidates per channel; neighbours come on top. Default 100.
    pub per_channel: usize,
    /// When the search, or the loading of a run, began that this search follows, in the same scope: a store may answer from what it has read since
    /// then, and need not look again. `None`: everything is seen that was committed before the call.
    pub follows: Option<Instant>,
}

impl SearchQuery {
    /// A query for `text` over everything that the scope sees.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            vector: None,
            kinds: RecordKinds::ALL,
            owners: None,
            conversation: None,
            role: None,
            within: None,
            named_times: Vec::new(),
            in_prompt: None,
            per_channel: 100,
            follows: None,
        }
    }
}

/// A candidate's raw score in each channel; 0 where the channel has nothing to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Channels {
    /// BM25 of speaker and text, statistics of the record's own partition.
    pub bm25: f32,
    /// BM25 of the text together with the message before it in the same conversation.
    pub context_bm25: f32,
    /// Cosine of the best chunk; 0 for records without a vector in the query's generation.
    pub dense: f32,
}

/// The shape of one channel over *all* records that were looked at, so that ranking can put channels on one scale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ChannelStats {
    /// The mean score.
    pub mean: f32,
    /// The best score.
    pub max: f32,
}

/// One found record.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The record.
    pub record: Record,
    /// Whose it is.
    pub owner: Owner,
    /// Its scores.
    pub channels: Channels,
    /// Byte range of the text whose chunk gave `channels.dense`; `None` = the whole text.
    pub best_chunk: Option<(usize, usize)>,
    /// For messages: the searchable messages right before and after it in the same conversation (themselves candidates when
    /// this one is among the best of a channel).
    pub neighbours: (Option<RecordId>, Option<RecordId>),
}

/// What a search found, in no particular order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Candidates {
    /// The records, each once.
    pub items: Vec<Candidate>,
    /// How many records were looked at.
    pub searched: u64,
    /// Shape of `bm25`.
    pub bm25: ChannelStats,
    /// Shape of `context_bm25`.
    pub context_bm25: ChannelStats,
    /// Shape of `dense`; all zero when no vector was given.
    pub dense: ChannelStats,
    /// An index outside the store did not answer, and a partition was too large to do without: of its vectors, only those of records that
    /// words have found, and the newest ones, were compared.
    pub is_partial: bool,
}

/// What a backend can do; tested in both senses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// Survives the end of the process.
    pub durable: bool,
    /// Compares vectors.
    pub dense: bool,
    /// Several processes may share it.
    pub shared: bool,
    /// Has an online backup.
    pub backup: bool,
}

/// Finds candidates.
#[async_trait]
pub trait MemorySearch: Send + Sync {
    /// What this backend can do.
    fn capability(&self) -> Capability;

    /// Candidates from every channel: the best `per_channel` of each, those of named times, and the neighbours of the best.
    ///
    /// Shape: no duplicates; no order. A record is found lexically the moment its commit has returned. Any text is a good query.
    ///
    /// Errors: `Invalid` (a vector of another length than its generation's).
    async fn search(&self, scope: &Scope, query: &SearchQuery) -> Result<Candidates, StoreError>;
}
