//! What `sid.write` is told, as JSON: the names are those that the function reads.

use jiff::civil::Date;
use serde::Serialize;
use sid_types::Timestamp;
use uuid::Uuid;

/// What will be written.
#[derive(Default, Serialize)]
pub(crate) struct Payload {
    pub(crate) at: Timestamp,
    pub(crate) conv: Option<ConvWrite>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) new_run: Option<NewRun>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) used: Option<UsedWrite>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cancel: Option<Uuid>,
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
    pub(crate) days: Vec<Date>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<StepWrite>,
    /// Of steps that nobody asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) self_begun_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) events: Vec<EventWrite>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prefix: Option<Option<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) outbox: Vec<OutboxWrite>,
}

#[derive(Serialize)]
pub(crate) struct ConvWrite {
    pub(crate) id: Uuid,
    pub(crate) part: i64,
    pub(crate) rev: i64,
    pub(crate) last_seq: u64,
    pub(crate) queue_start: u64,
    pub(crate) last_at: Option<Timestamp>,
    pub(crate) head: Option<Uuid>,
    /// Whether the four that follow are written: renewals must not be undone by a commit that knows nothing of them.
    pub(crate) lease: bool,
    pub(crate) epoch: u64,
    pub(crate) holder: Option<Uuid>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) ttl_us: Option<i64>,
}

#[derive(Serialize)]
pub(crate) struct NewRun {
    pub(crate) id: Uuid,
    pub(crate) status: i16,
    pub(crate) limits: String,
    pub(crate) usage: String,
    pub(crate) stimulus: Vec<Uuid>,
    pub(crate) waiting: Option<String>,
    pub(crate) priority: i16,
    /// So much later than it is accepted it is the run's turn.
    pub(crate) patience_us: i64,
}

#[derive(Serialize)]
pub(crate) struct UsedWrite {
    pub(crate) principal: String,
    pub(crate) key: String,
    pub(crate) fingerprint: String,
    pub(crate) run: Uuid,
}

#[derive(Serialize)]
pub(crate) struct RunWrite {
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

#[derive(Serialize)]
pub(crate) struct PlaceWrite {
    pub(crate) id: Uuid,
    pub(crate) seq: Option<u64>,
}

#[derive(Serialize)]
pub(crate) struct MessageWrite {
    pub(crate) seq: u64,
    pub(crate) id: Uuid,
    pub(crate) searchable: bool,
    pub(crate) run: Option<Uuid>,
    pub(crate) role: i16,
    pub(crate) text: String,
    pub(crate) extra: Option<String>,
    pub(crate) speaker: Option<String>,
    pub(crate) at: Timestamp,
    pub(crate) tokens: Option<u32>,
}

#[derive(Serialize)]
pub(crate) struct QuoteWrite {
    pub(crate) quoted: Uuid,
    pub(crate) quoting: Uuid,
}

#[derive(Serialize)]
pub(crate) struct StepWrite {
    pub(crate) run: Uuid,
    pub(crate) number: u32,
    pub(crate) doc: String,
    pub(crate) tail: Option<String>,
    pub(crate) recalled: String,
}

#[derive(Serialize)]
pub(crate) struct EventWrite {
    pub(crate) run: Uuid,
    pub(crate) seq: u64,
    pub(crate) kind: &'static str,
    pub(crate) body: String,
}

#[derive(Serialize)]
pub(crate) struct OutboxWrite {
    pub(crate) topic: &'static str,
    pub(crate) subject: Uuid,
}
