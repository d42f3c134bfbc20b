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
    /// X
    pub x1: f32,
    /// X
    pub x2: f32,
    /// X
    pub x3: f32,
    /// X
    pub x4: f32,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            bm25: 0.375,
            context_bm25: 0.15,
            dense: 0.4,
            speaker: 0.819,
            time: 0.5,
            neighbour: 0.45,
            user: 0.5,
            question: 0.76,
            when: 0.15,
            number: 0.0,
            self_told: 0.2,
            instruction: 0.3,
            recent: 0.0,
            x1: 0.0,
            x2: 0.0,
            x3: 0.0,
            x4: 0.0,
        }
    }
}
