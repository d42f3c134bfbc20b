//! Summaries ahead of time: while nobody waits, the summary that the next page-out will need is asked of a model.
//!
//! A turn never waits for a summary. At a page-out it takes the prepared one if there is one that fits, else the deterministic
//! floor; the next prepared summary then builds on that. What is prepared lives in memory only: a crash costs a model call.

use std::collections::HashMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use parking_lot::Mutex;
use sid_memory::{Item, SummaryTask};
use sid_store::crash_point;
use sid_types::{AgentSpec, ConversationId, RecursiveSummary, Seq, Tokens};

use crate::{Engine, diary};

/// Most prepared summaries that are kept; beyond it the oldest conversation's is dropped.
const MOST_KEPT: usize = 4_096;

/// A summary for a page-out that has not happened yet.
#[derive(Debug, Clone)]
pub(crate) struct PreparedSummary {
    /// What the summary that it builds on told of.
    pub(crate) base: Seq,
    /// The queue's first message after the page-out.
    pub(crate) queue_start: Seq,
    /// The summary.
    pub(crate) summary: RecursiveSummary,
}

/// Prepared summaries by conversation.
#[derive(Default)]
pub(crate) struct PreparedSummaries {
    by_conversation: Mutex<HashMap<ConversationId, Slot>>,
}

enum Slot {
    /// Being written.
    Pending,
    /// There.
    Ready(PreparedSummary),
}

impl PreparedSummaries {
    /// Claims the right to prepare one; `false` when one is there or being written.
    pub(crate) fn begin(&self, conversation: ConversationId) -> bool {
        let mut map = self.by_conversation.lock();
        if map.contains_key(&conversation) {
            return false;
        }
        if map.len() >= MOST_KEPT {
            // Conversations that went quiet right after a summary was prepared: it costs a model call to write it again.
            map.retain(|_, slot| matches!(slot, Slot::Pending));
        }
        map.insert(conversation, Slot::Pending);
        true
    }

    /// Leaves the result, or nothing after a failure.
    pub(crate) fn end(&self, conversation: ConversationId, prepared: Option<PreparedSummary>) {
        let mut map = self.by_conversation.lock();
        match prepared {
            Some(prepared) => map.insert(conversation, Slot::Ready(prepared)),
            None => map.remove(&conversation),
        };
    }

    /// Takes the summary that builds on `base`, if it is ready. One that does not fit is thrown away.
    pub(crate) fn take(&self, conversation: ConversationId, base: Seq) -> Option<PreparedSummary> {
        let mut map = self.by_conversation.lock();
        if !matches!(map.get(&conversation), Some(Slot::Ready(_))) {
            return None;
        }
        match map.remove(&conversation) {
            Some(Slot::Ready(prepared)) if prepared.base == base => Some(prepared),
            _ => None,
        }
    }

    /// Forgets what was prepared: the conversation was erased.
    pub(crate) fn forget(&self, conversation: ConversationId) {
        self.by_conversation.lock().remove(&conversation);
    }

    /// Forgets everything that was prepared: whose it was is not known here.
    pub(crate) fn forget_all(&self) {
        self.by_conversation.lock().retain(|_, slot| matches!(slot, Slot::Pending));
    }
}

/// What a summary is prepared from.
pub(crate) struct Ahead {
    pub(crate) conversation: ConversationId,
    pub(crate) agent: AgentSpec,
    pub(crate) old: RecursiveSummary,
    pub(crate) evicted: Vec<Item>,
    pub(crate) through: Seq,
    pub(crate) queue_start: Seq,
    pub(crate) cap: Tokens,
    pub(crate) zone: TimeZone,
}

/// Prepares the summary of the next page-out, once the talk has paused for a moment.
pub(crate) fn prepare_ahead(engine: &Engine, ahead: Ahead) {
    if !engine.inner.prepared.begin(ahead.conversation) {
        return;
    }
    let engine = engine.clone();
    tokio::spawn(async move {
        let inner = &engine.inner;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            tokio::time::sleep(inner.config.idle / 5).await;
            if inner.active.len() == 0 || tokio::time::Instant::now() > deadline || engine.is_draining() {
                break;
            }
        }
        if engine.is_draining() {
            return;
        }
        let task = SummaryTask::queue(&ahead.old.text, &ahead.evicted, ahead.cap, &ahead.zone);
        crash_point!("summary.before");
        let (text, is_floor) = diary::summarize(inner, &ahead.agent, &task).await;
        let summary = RecursiveSummary { text, through: ahead.through, is_floor, untrusted: Vec::new() };
        let prepared = (!is_floor).then_some(PreparedSummary { base: ahead.old.through, queue_start: ahead.queue_start, summary });
        inner.prepared.end(ahead.conversation, prepared);
        crash_point!("summary.after");
    });
}
