//! From the store's candidates to the ranking's.

use sid_store::{ChannelStats, Record, RecordId, TimeRange};
use sid_types::{Role, Seq};

use super::{Candidate, Candidates, Channels, NamedTime, Shape, Snippet, render_excerpt};

impl<'a> From<&'a sid_store::Candidates> for Candidates<'a, RecordId> {
    fn from(found: &'a sid_store::Candidates) -> Self {
        Self {
            items: found.items.iter().map(candidate).collect(),
            bm25: shape(found.bm25),
            context_bm25: shape(found.context_bm25),
            dense: shape(found.dense),
        }
    }
}

impl From<NamedTime> for TimeRange {
    fn from(time: NamedTime) -> Self {
        Self { from: time.from, to: time.to }
    }
}

fn shape(stats: ChannelStats) -> Shape {
    Shape { mean: stats.mean, max: stats.max }
}

fn candidate(found: &sid_store::Candidate) -> Candidate<'_, RecordId> {
    let message = match &found.record {
        Record::Message(m) => Some(m),
        Record::Passage(_) | Record::Diary(_) => None,
    };
    Candidate {
        id: found.record.id(),
        text: found.record.text(),
        speaker: message
            .and_then(|m| m.speaker.as_deref())
            .filter(|s| !matches!(s.to_ascii_lowercase().as_str(), "user" | "assistant" | "")),
        role: message.map(|m| m.body.role()),
        at: found.record.at(),
        place: message.map(|m| (m.conversation, m.seq)),
        channels: Channels { bm25: found.channels.bm25, context_bm25: found.channels.context_bm25, dense: found.channels.dense },
        best_chunk: found.best_chunk.map(|(start, end)| start..end),
        neighbours: found.neighbours,
    }
}

/// The line that a prompt shows of a found record.
#[must_use]
pub fn snippet(record: &Record, excerpt: &[std::ops::Range<usize>]) -> Snippet {
    let cited = match record {
        Record::Passage(p) => p.provenance.citation.as_ref().map(ToString::to_string).unwrap_or_default(),
        Record::Message(_) | Record::Diary(_) => String::new(),
    };
    let (who, seq) = match record {
        Record::Message(m) => {
            let role = match m.body.role() {
                Role::User => "user",
                Role::Assistant => "assistant",
                Role::Tool => "tool",
                Role::Note => "note",
            };
            (m.speaker.as_deref().unwrap_or(role), m.seq)
        }
        // What a document says is shown as it is to be cited.
        Record::Passage(p) => (p.provenance.citation.as_ref().map_or("note", |_| cited.as_str()), Seq(0)),
        Record::Diary(_) => ("diary", Seq(0)),
    };
    Snippet { at: record.at(), seq: seq.0, who: who.to_owned(), text: render_excerpt(record.text(), excerpt) }
}
