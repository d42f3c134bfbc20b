//! Queues as this process has read and written them: a run loads what is new, not the window that it has just filled.
//!
//! Nothing rests on this being true. A queue is kept with the revision that it is of; loading names that revision, and the database tells
//! the queue anew if the conversation is of another by then. Whatever changes a message of a living conversation changes its revision.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sid_types::{ConversationId, Message};

/// Most bytes that are kept. Who comes beyond that begins anew.
const MOST: usize = 32 << 20;
/// What a message takes beside its text.
const FRAME: usize = 300;

/// How long a queue is kept that nobody asks for.
const AGE: Duration = Duration::from_secs(300);

/// A queue, the revision of its conversation, and when it was last written.
struct Kept {
    rev: i64,
    queue: Arc<Vec<Message>>,
    at: Instant,
}

/// The queues of conversations.
#[derive(Default)]
pub(crate) struct Queues(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    all: HashMap<ConversationId, Kept>,
    bytes: usize,
    swept: Option<Instant>,
}

impl Queues {
    /// The queue with its revision.
    pub(crate) fn get(&self, conversation: ConversationId) -> Option<(i64, Arc<Vec<Message>>)> {
        self.0.lock().all.get(&conversation).map(|kept| (kept.rev, Arc::clone(&kept.queue)))
    }

    pub(crate) fn keep(&self, conversation: ConversationId, rev: i64, queue: Arc<Vec<Message>>) {
        let mut inner = self.0.lock();
        inner.remove(conversation);
        inner.insert(conversation, rev, queue);
    }

    /// A write that was made on `rev`: these messages came, and the queue begins at `start`.
    pub(crate) fn follow(&self, conversation: ConversationId, rev: i64, placed: Vec<Message>, start: u64) {
        let mut inner = self.0.lock();
        if let Some(Kept { mut queue, .. }) = inner.remove(conversation).filter(|kept| kept.rev == rev) {
            let messages = Arc::make_mut(&mut queue);
            messages.extend(placed);
            messages.retain(|m| m.seq.0 >= start);
            inner.insert(conversation, rev + 1, queue);
        }
    }

    pub(crate) fn forget(&self, conversation: ConversationId) {
        self.0.lock().remove(conversation);
    }

    /// Lets go of what is old. To be called now and then.
    pub(crate) fn sweep(&self) {
        let mut inner = self.0.lock();
        if inner.swept.is_none_or(|at| at.elapsed() > AGE / 5) {
            inner.swept = Some(Instant::now());
            inner.all.retain(|_, kept| kept.at.elapsed() < AGE);
            inner.bytes = inner.all.values().map(|kept| bytes(&kept.queue)).sum();
        }
    }
}

impl Inner {
    fn remove(&mut self, conversation: ConversationId) -> Option<Kept> {
        let kept = self.all.remove(&conversation)?;
        self.bytes = self.bytes.saturating_sub(bytes(&kept.queue));
        Some(kept)
    }

    fn insert(&mut self, conversation: ConversationId, rev: i64, queue: Arc<Vec<Message>>) {
        self.bytes += bytes(&queue);
        self.all.insert(conversation, Kept { rev, queue, at: Instant::now() });
        if self.bytes > MOST {
            self.all.clear();
            self.bytes = 0;
        }
    }
}

fn bytes(queue: &[Message]) -> usize {
    queue.iter().map(|m| m.body.text().len() + FRAME).sum()
}

#[cfg(test)]
mod tests {
    use sid_types::{NewMessage, Seq, Timestamp};

    use super::*;

    fn message(conversation: ConversationId, seq: u64) -> Message {
        NewMessage::user("hello", Timestamp::UNIX_EPOCH).placed(conversation, Seq(seq), None)
    }

    #[test]
    fn a_queue_follows_writes_that_it_has_seen_and_no_others() {
        let (queues, id) = (Queues::default(), ConversationId::new());
        queues.keep(id, 7, Arc::new(vec![message(id, 1), message(id, 2)]));
        queues.follow(id, 7, vec![message(id, 3)], 2);
        let (rev, queue) = queues.get(id).expect("kept");
        assert_eq!((rev, queue.iter().map(|m| m.seq.0).collect::<Vec<_>>()), (8, vec![2, 3]));
        queues.follow(id, 9, vec![message(id, 5)], 2);
        assert!(queues.get(id).is_none(), "a write in between was not seen");
        assert_eq!(queues.0.lock().bytes, 0);
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let queues = Queues::default();
        for _ in 0..3 {
            let id = ConversationId::new();
            let large = NewMessage::user("x".repeat(MOST / 2), Timestamp::UNIX_EPOCH).placed(id, Seq(1), None);
            queues.keep(id, 1, Arc::new(vec![large]));
        }
        assert!(queues.0.lock().bytes <= MOST);
    }
}
