//! Conversations as this process has left them: what spares a write the look before it.
//!
//! Nothing rests on this being true. Every write names the revision that it builds on, and the database refuses it when another process was
//! there meanwhile; then there is a look after all. No request is refused, and none is answered, on the strength of it. What is kept is small, and kept for a minute.

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
    /// The database's clock at the write.
    pub(crate) now: Timestamp,
}

/// What is known of conversations.
#[derive(Default)]
pub(crate) struct KnownConversations(Mutex<HashMap<ConversationId, (Known, Instant)>>);

impl KnownConversations {
    pub(crate) fn learn(&self, known: Known) {
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.retain(|_, (_, at)| at.elapsed() < BELIEF / 2);
            if all.len() >= MOST {
                all.clear();
            }
        }
        all.insert(known.conv.id, (known, Instant::now()));
    }

    pub(crate) fn forget(&self, conversation: ConversationId) {
        self.0.lock().remove(&conversation);
    }

    /// The answer to a question about the conversation, as far as it is known here. Ids and keys that are taken are not: the database's
    /// unique rules find them. `time` is a test suite's clock.
    pub(crate) fn recall(&self, conversation: ConversationId, run: Option<RunId>, time: Option<Timestamp>) -> Option<Peek> {
        let all = self.0.lock();
        let (known, at) = all.get(&conversation).filter(|(_, at)| at.elapsed() < BELIEF)?;
        let passed = SignedDuration::try_from(at.elapsed()).ok()?;
        Some(Peek {
            // A little behind the database's clock, by the time that the answer took: leases end sooner for it, never later.
            now: time.or_else(|| known.now.checked_add(passed).ok()).map(crate::codec::kept)?,
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
