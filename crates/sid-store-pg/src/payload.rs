//! What `sid.write_all` is told, as JSON: the names are those that the function reads. Every row names its conversation. Long texts go beside
//! the JSON, so that neither side has to escape them; rows name their places.

use jiff::civil::Date;
use serde::Serialize;
use sid_types::{RunId, Timestamp};
use uuid::Uuid;

use crate::glance::Inquiry;

/// What will be written to some conversations of a tenant, each of which is here once.
#[derive(Default, Clone, Serialize)]
pub(crate) struct Payload {
    pub(crate) convs: Vec<ConvWrite>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) new_runs: Vec<NewRun>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) used: Vec<UsedWrite>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cancel: Vec<CancelWrite>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) runs: Vec<RunWrite>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ids: Vec<PlaceWrite>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) placed: Vec<PlaceWrite>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) messages: Vec<MessageWrite>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) quotes: Vec<QuoteWrite>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) days: Vec<DayWrite>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<StepWrite>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) self_begun: Vec<SelfBegunWrite>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) events: Vec<EventWrite>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) heads: Vec<HeadWrite>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) outbox: Vec<OutboxWrite>,
    /// Long texts.
    #[serde(skip)]
    pub(crate) texts: Vec<String>,
    /// The run that begins with this write: it is loaded with it, if the write goes alone (`begin.rs`).
    #[serde(skip)]
    pub(crate) starts: Option<Start>,
}

impl Payload {
    /// Adds what is written to other conversations.
    pub(crate) fn append(&mut self, other: Self) {
        let drawn = self.new_runs.len();
        let Self {
            mut convs,
            mut new_runs,
            used,
            cancel,
            runs,
            ids,
            placed,
            messages,
            quotes,
            days,
            mut steps,
            self_begun,
            mut events,
            heads,
            outbox,
            texts,
            starts: _,
        } = other;
        for place in convs.iter_mut().filter_map(|c| c.new_run.as_mut()).chain(new_runs.iter_mut().map(|r| &mut r.new_run)) {
            *place += drawn;
        }
        let kept = self.texts.len();
        let of_steps = steps.iter_mut().flat_map(|s| s.tail.as_mut().into_iter().chain([&mut s.recalled]));
        for place in of_steps.chain(events.iter_mut().map(|e| &mut e.body)) {
            *place += kept;
        }
        self.convs.extend(convs);
        self.new_runs.extend(new_runs);
        self.used.extend(used);
        self.cancel.extend(cancel);
        self.runs.extend(runs);
        self.ids.extend(ids);
        self.placed.extend(placed);
        self.messages.extend(messages);
        self.quotes.extend(quotes);
        self.days.extend(days);
        self.steps.extend(steps);
        self.self_begun.extend(self_begun);
        self.events.extend(events);
        self.heads.extend(heads);
        self.outbox.extend(outbox);
        self.texts.extend(texts);
    }

    /// Puts a long text beside the rows; answers its place, from 1 on.
    pub(crate) fn text(&mut self, text: String) -> usize {
        self.texts.push(text);
        self.texts.len()
    }

    /// About how long its texts are.
    pub(crate) fn bytes(&self) -> usize {
        let messages = self.messages.iter().map(|m| m.text.len() + m.extra.as_ref().map_or(0, String::len));
        messages.chain(self.steps.iter().map(|s| s.doc.len())).chain(self.texts.iter().map(String::len)).sum()
    }
}

/// A run that a worker of this process begins.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) conv: Uuid,
    pub(crate) run: RunId,
    /// The revision after the write, if the queue is known here.
    pub(crate) rev: Option<i64>,
    /// What its first search will ask.
    pub(crate) look: Option<Inquiry>,
}

#[derive(Clone, Serialize)]
pub(crate) struct ConvWrite {
    pub(crate) conv: Uuid,
    pub(crate) rev: i64,
    pub(crate) last_seq: u64,
    pub(crate) queue_start: u64,
    pub(crate) last_at: Option<Timestamp>,
    pub(crate) head: Option<Uuid>,
    /// Which of the new runs is its own, from 1 on.
    pub(crate) new_run: Option<usize>,
    /// Whether the four that follow are written: renewals must not be undone by a commit that knows nothing of them.
    pub(crate) lease: bool,
    pub(crate) epoch: u64,
    pub(crate) holder: Option<Uuid>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) ttl_us: Option<i64>,
}

#[derive(Clone, Serialize)]
pub(crate) struct NewRun {
    pub(crate) conv: Uuid,
    pub(crate) id: Uuid,
    /// Which of the new runs it is, from 1 on.
    pub(crate) new_run: usize,
    pub(crate) status: i16,
    pub(crate) limits: String,
    pub(crate) usage: String,
    pub(crate) stimulus: Vec<Uuid>,
    pub(crate) waiting: Option<String>,
    pub(crate) priority: i16,
    /// So much later than it is accepted it is the run's turn.
    pub(crate) patience_us: i64,
    pub(crate) at: Timestamp,
}

#[derive(Clone, Serialize)]
pub(crate) struct UsedWrite {
    pub(crate) conv: Uuid,
    pub(crate) principal: String,
    pub(crate) key: String,
    pub(crate) fingerprint: String,
    pub(crate) run: Uuid,
    pub(crate) at: Timestamp,
}

#[derive(Clone, Serialize)]
pub(crate) struct CancelWrite {
    pub(crate) conv: Uuid,
    pub(crate) run: Uuid,
}

#[derive(Clone, Serialize)]
pub(crate) struct RunWrite {
    pub(crate) conv: Uuid,
    pub(crate) id: Uuid,
    pub(crate) status: i16,
    pub(crate) stop_reason: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) steps: u32,
    pub(crate) usage: String,
    pub(crate) commits: u64,
    pub(crate) commit_epoch: u64,
    pub(crate) calls: Option<String>,
    pub(crate) events: u64,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
}

#[derive(Clone, Serialize)]
pub(crate) struct PlaceWrite {
    pub(crate) conv: Uuid,
    pub(crate) part: i64,
    pub(crate) id: Uuid,
    pub(crate) seq: Option<u64>,
}

#[derive(Clone, Serialize)]
pub(crate) struct MessageWrite {
    pub(crate) conv: Uuid,
    pub(crate) part: i64,
    pub(crate) seq: u64,
    pub(crate) id: Uuid,
    pub(crate) searchable: bool,
    pub(crate) run: Option<Uuid>,
    pub(crate) role: i16,
    pub(crate) text: String,
    pub(crate) extra: Option<String>,
    pub(crate) speaker: Option<String>,
    pub(crate) at: Timestamp,
    pub(crate) written_at: Timestamp,
    pub(crate) tokens: Option<u32>,
}

#[derive(Clone, Serialize)]
pub(crate) struct QuoteWrite {
    pub(crate) conv: Uuid,
    pub(crate) quoted: Uuid,
    pub(crate) quoting: Uuid,
}

#[derive(Clone, Serialize)]
pub(crate) struct DayWrite {
    pub(crate) conv: Uuid,
    pub(crate) part: i64,
    pub(crate) day: Date,
    pub(crate) at: Timestamp,
}

#[derive(Clone, Serialize)]
pub(crate) struct StepWrite {
    pub(crate) conv: Uuid,
    pub(crate) run: Uuid,
    pub(crate) number: u32,
    pub(crate) doc: String,
    /// The place of its text.
    pub(crate) tail: Option<usize>,
    /// The place of its text.
    pub(crate) recalled: usize,
}

/// Runs that nobody asked for at that moment, and tokens of their steps.
#[derive(Clone, Serialize)]
pub(crate) struct SelfBegunWrite {
    pub(crate) conv: Uuid,
    pub(crate) runs: u64,
    pub(crate) tokens: u64,
}

#[derive(Clone, Serialize)]
pub(crate) struct EventWrite {
    pub(crate) conv: Uuid,
    pub(crate) run: Uuid,
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) kind: &'static str,
    /// The place of its text.
    pub(crate) body: usize,
}

#[derive(Clone, Serialize)]
pub(crate) struct HeadWrite {
    pub(crate) conv: Uuid,
    /// `None`: as it is.
    pub(crate) summary: Option<String>,
    pub(crate) sets_prefix: bool,
    pub(crate) prefix: Option<String>,
}

#[derive(Clone, Serialize)]
pub(crate) struct OutboxWrite {
    pub(crate) conv: Uuid,
    pub(crate) part: i64,
    pub(crate) at: Timestamp,
    pub(crate) topic: &'static str,
    pub(crate) subject: Uuid,
}
