//! Messages that searches have found lately: the same ones are found again and again, and they never change.
//!
//! Asked only for what the index has just found at a version that the database has confirmed, so nothing that is gone is told. What is
//! removed from an index here is dropped at once; what another process has erased goes with its age.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sid_types::{Message, MessageId};

/// Most bytes of one half; what was not asked for while the other filled up is dropped.
const HALF: usize = 8 << 20;
/// A half that is not full grows no older than this.
const AGE: Duration = Duration::from_secs(300);
/// What a message takes beside its text.
const FRAME: usize = 300;

pub(crate) struct RecentMessages(Mutex<Halves>);

struct Halves {
    young: HashMap<MessageId, Arc<Message>>,
    old: HashMap<MessageId, Arc<Message>>,
    bytes: usize,
    since: Instant,
}

impl Default for RecentMessages {
    fn default() -> Self {
        Self(Mutex::new(Halves { young: HashMap::new(), old: HashMap::new(), bytes: 0, since: Instant::now() }))
    }
}

impl RecentMessages {
    /// Takes those that are known out of `ids` and answers them.
    pub(crate) fn take(&self, ids: &mut Vec<MessageId>) -> Vec<Arc<Message>> {
        let mut halves = self.0.lock();
        let mut found = Vec::with_capacity(ids.len());
        ids.retain(|id| {
            let known = halves.young.get(id).cloned().or_else(|| {
                let message = halves.old.remove(id)?;
                halves.insert(Arc::clone(&message));
                Some(message)
            });
            let is_new = known.is_none();
            found.extend(known);
            is_new
        });
        found
    }

    pub(crate) fn keep(&self, message: Message) {
        self.0.lock().insert(Arc::new(message));
    }

    pub(crate) fn forget(&self, id: MessageId) {
        let mut halves = self.0.lock();
        halves.young.remove(&id);
        halves.old.remove(&id);
    }

    /// Lets go of what is old. To be called now and then.
    pub(crate) fn sweep(&self) {
        let mut halves = self.0.lock();
        if halves.since.elapsed() > AGE {
            halves.turn();
        }
    }
}

impl Halves {
    fn insert(&mut self, message: Arc<Message>) {
        self.bytes += message.body.text().len() + FRAME;
        self.young.insert(message.id, message);
        if self.bytes > HALF {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.old = std::mem::take(&mut self.young);
        (self.bytes, self.since) = (0, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use sid_types::{ConversationId, NewMessage, Seq, Timestamp};

    use super::*;

    fn message(text: &str) -> Message {
        NewMessage::user(text, Timestamp::UNIX_EPOCH).placed(ConversationId::new(), Seq(1), None)
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let recent = RecentMessages::default();
        let (asked, left) = (message("pickles"), message("violin"));
        recent.keep(asked.clone());
        recent.keep(left.clone());
        let large = "x".repeat(HALF);
        for _ in 0..3 {
            recent.keep(message(&large));
            assert_eq!(recent.take(&mut vec![asked.id]).len(), 1);
        }
        let mut ids = vec![asked.id, left.id];
        assert_eq!(recent.take(&mut ids).iter().map(|m| m.id).collect::<Vec<_>>(), [asked.id]);
        assert_eq!(ids, [left.id], "this one is to be read");
        recent.forget(asked.id);
        assert!(recent.take(&mut vec![asked.id]).is_empty());
    }
}
