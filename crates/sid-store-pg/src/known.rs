//! Conversations as this process has left them: what spares a write the look before it.
//!
//! Nothing rests on this being true. Every write names the revision that it builds on, and the database refuses it when another process was
//! there meanwhile; then there is a look after all. No request is refused, and none is answered, on the strength of it. What is kept is
//! small, and kept for a minute from the last look.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use parking_lot::Mutex;
use sid_types::{ConversationId, RunId, Timestamp};

use crate::journal::Peek;
use crate::rows::{Conv, Journal};

/// How long something is believed: a user's time zone, for one, changes without a new revision.
const BELIEF: Duration = Duration::from_secs(60);
/// Most conversations that are kept.
const MOST: usize = 4_096;

/// A conversation in which nobody waits, after a write.
pub(crate) struct Known {
    pub(crate) conv: Conv,
    /// The run under way.
    pub(crate) head: Option<Journal>,
    /// The clock, and all else that was read and not written: the last look, however many writes came after it.
    pub(crate) seen: Seen,
}

/// What the database's clock said when it was looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    now: Timestamp,
    at: Instant,
}

impl Seen {
    /// Just now.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { now, at: Instant::now() }
    }

    /// What it says now: a little less, by the time that the answer took. Leases end sooner for it, never later.
    fn now(self) -> Option<Timestamp> {
        self.now.checked_add(SignedDuration::try_from(self.at.elapsed()).ok()?).ok()
    }

    fn is_good(self) -> bool {
        self.at.elapsed() < BELIEF
    }
}

/// What is known of conversations.
#[derive(Default)]
pub(crate) struct KnownConversations(Mutex<HashMap<ConversationId, Known>>);

impl KnownConversations {
    pub(crate) fn learn(&self, known: Known) {
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.retain(|_, known| known.seen.at.elapsed() < BELIEF / 2);
            if all.len() >= MOST {
                all.clear();
            }
        }
        all.insert(known.conv.id, known);
    }

    pub(crate) fn forget(&self, conversation: ConversationId) {
        self.0.lock().remove(&conversation);
    }

    /// The answer to a question about the conversation, as far as it is known here. Ids and keys that are taken are not: the database's
    /// unique rules find them. `time` is a test suite's clock.
    pub(crate) fn recall(&self, conversation: ConversationId, run: Option<RunId>, time: Option<Timestamp>) -> Option<Peek> {
        let all = self.0.lock();
        let known = all.get(&conversation).filter(|known| known.seen.is_good())?;
        Some(Peek {
            now: time.or_else(|| known.seen.now()).map(crate::codec::kept)?,
            seen: known.seen,
            conv: Some(known.conv.clone()),
            head: known.head.clone(),
            queue: Vec::new(),
            depth: 0,
            run: known.head.clone().filter(|head| Some(head.run.id) == run),
            known: Vec::new(),
            used: None,
        })
    }
}
