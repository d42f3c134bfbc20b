//! What the ranking takes in: candidates with their raw scores, as plain borrowed data.

use std::ops::Range;

use jiff::Zoned;
use sid_types::{ConversationId, Role, Seq, Timestamp};

/// The question that candidates are ranked for.
#[derive(Debug, Clone)]
pub struct RankQuery<'a> {
    /// The words.
    pub text: &'a str,
    /// The turn's own time in the user's zone; relative dates and recency count from it. `None` = unknown.
    pub now: Option<Zoned>,
    /// Most hits. Default 50.
    pub limit: usize,
    /// Texts up to this size come back whole; of longer ones, the best part of this size. Default [`EXCERPT_BYTES`](super::EXCERPT_BYTES).
    pub excerpt_bytes: usize,
    /// For automatic recall, where nobody phrases a question for a search: "order me a sandwich" should bring up the love of pickles.
    /// Every third hit is then the next best by meaning alone, whatever words, names and dates say. Default false.
    pub associative: bool,
}

impl<'a> RankQuery<'a> {
    /// A query with the usual limits.
    #[must_use]
    pub const fn new(text: &'a str, now: Option<Zoned>) -> Self {
        Self { text, now, limit: 50, excerpt_bytes: super::EXCERPT_BYTES, associative: false }
    }
}

/// A candidate's raw score in each channel; 0 where the channel has nothing to say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Channels {
    /// BM25 of speaker and text.
    pub bm25: f32,
    /// BM25 of the text together with the message before it.
    pub context_bm25: f32,
    /// Cosine of the best chunk; exactly 0 = there is no vector.
    pub dense: f32,
}

/// Mean and best of a channel over everything that was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Shape {
    /// The mean score.
    pub mean: f32,
    /// The best score.
    pub max: f32,
}

impl Shape {
    /// Puts a score on the common scale: the best record has 1, the average one 0. Without any spread everything has 0.
    #[must_use]
    pub fn scale(self, score: f32) -> f32 {
        let width = self.max - self.mean;
        if width > 1e-9 { (score - self.mean) / width } else { 0.0 }
    }
}

/// One candidate. `K` names records in the caller's house.
#[derive(Debug, Clone)]
pub struct Candidate<'a, K> {
    /// The record.
    pub id: K,
    /// Its words.
    pub text: &'a str,
    /// Messages: the speaker's name, if one was given.
    pub speaker: Option<&'a str>,
    /// Messages: who speaks. `None` for passages and pages of the diary.
    pub role: Option<Role>,
    /// When it was said.
    pub at: Timestamp,
    /// Messages: where and at which place it was said.
    pub place: Option<(ConversationId, Seq)>,
    /// Its scores.
    pub channels: Channels,
    /// Bytes of `text` whose vector gave `channels.dense`; `None` = all of it.
    pub best_chunk: Option<Range<usize>>,
    /// Messages: the searchable messages right before and after it in its conversation.
    pub neighbours: (Option<K>, Option<K>),
}

/// The candidates of one search, each record once.
#[derive(Debug, Clone)]
pub struct Candidates<'a, K> {
    /// The candidates, in any order.
    pub items: Vec<Candidate<'a, K>>,
    /// Shape of `bm25`.
    pub bm25: Shape,
    /// Shape of `context_bm25`.
    pub context_bm25: Shape,
    /// Shape of `dense`.
    pub dense: Shape,
}
