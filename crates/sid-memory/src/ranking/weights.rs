//! The weights of the signals: one setting for everything.

/// How much each signal counts. The channels are on one scale (best record 1, average 0); a signal that holds adds its weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// BM25 of the record.
    pub bm25: f32,
    /// BM25 with the message before it.
    pub context_bm25: f32,
    /// Cosine.
    pub dense: f32,
    /// Share of the query's words in the record and the talk around it.
    pub coverage: f32,
    /// Per pair of words that stand next to each other in query and record, at most two pairs.
    pub pair: f32,
    /// Taken off long texts, per e-fold of [`CHUNK_BYTES`](super::CHUNK_BYTES): the best of many chunks is near to anything.
    pub length: f32,
    /// Said by the one person that the query names.
    pub speaker: f32,
    /// Said when things of the named time are told.
    pub time: f32,
    /// Share of the better neighbour's score.
    pub neighbour: f32,
    /// Said by the user, in a chat with an assistant.
    pub user: f32,
    /// Taken off short texts that only ask.
    pub question: f32,
    /// Tells a time when the query asks for one.
    pub when: f32,
    /// Tells a number when the query asks for one.
    pub number: f32,
    /// The speaker tells of herself.
    pub self_told: f32,
    /// A standing instruction or preference.
    pub instruction: f32,
    /// The newest record, when the query asks for the present state; the oldest gets nothing.
    pub recent: f32,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            bm25: 0.375,
            context_bm25: 0.15,
            dense: 0.4,
            coverage: 0.4,
            pair: 0.1,
            length: 0.1,
            speaker: 0.8,
            time: 0.5,
            neighbour: 0.45,
            user: 0.5,
            question: 0.5,
            when: 0.25,
            number: 0.1,
            self_told: 0.2,
            instruction: 0.3,
            recent: 0.2,
        }
    }
}
