//! The FIFO queue: the recent messages that the model sees as they were said.

use std::collections::VecDeque;

use jiff::tz::TimeZone;
use sid_types::{Body, Message, MessageId, Seq, Timestamp, Tokens, ToolCall};

use crate::EvictionPlan;
use crate::render;
use crate::text::{CALL_OVERHEAD, Count, MESSAGE_OVERHEAD, count_bytes, size};
use crate::view::cut_with_marker;

/// Most tokens of a tool's result that a prompt shows: its first page. The whole is in its message, and `conversation_search` reads on.
const RESULT_PAGE: Tokens = Tokens(2_000);

/// One message of a queue: the part of it that a prompt needs. Made from a [`Message`], or by hand from one's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its place in the conversation; grows along the queue, with or without gaps.
    pub seq: Seq,
    /// What it carries.
    pub body: Body,
    /// Who spoke, where the role does not tell.
    pub speaker: Option<String>,
    /// When it was said.
    pub at: Timestamp,
    /// Whether it is what the present run reacts to: never evicted, never left out of the prompt.
    pub is_stimulus: bool,
}

impl Item {
    /// An item with this body.
    #[must_use]
    pub fn new(seq: Seq, at: Timestamp, body: Body) -> Self {
        Self { seq, body, speaker: None, at, is_stimulus: false }
    }

    /// A human's message.
    #[must_use]
    pub fn user(seq: u64, at: Timestamp, text: impl Into<String>) -> Self {
        Self::new(Seq(seq), at, Body::User { text: text.into() })
    }

    /// A model's plain answer.
    #[must_use]
    pub fn assistant(seq: u64, at: Timestamp, text: impl Into<String>) -> Self {
        Self::new(Seq(seq), at, Body::Assistant { text: text.into(), reasoning: None, tool_calls: Vec::new() })
    }

    /// A model's calls.
    #[must_use]
    pub fn calls(seq: u64, at: Timestamp, calls: Vec<ToolCall>) -> Self {
        Self::new(Seq(seq), at, Body::Assistant { text: String::new(), reasoning: None, tool_calls: calls })
    }

    /// The answer to a call.
    #[must_use]
    pub fn tool_result(seq: u64, at: Timestamp, call_id: impl Into<String>, name: impl Into<String>, text: impl Into<String>) -> Self {
        let body = Body::Tool { call_id: call_id.into(), name: name.into(), text: text.into(), is_error: false, quotes: Vec::new() };
        Self::new(Seq(seq), at, body)
    }

    /// A note by the system.
    #[must_use]
    pub fn note(seq: u64, at: Timestamp, text: impl Into<String>) -> Self {
        Self::new(Seq(seq), at, Body::Note { text: text.into() })
    }

    /// This item as what the present run reacts to.
    #[must_use]
    pub fn stimulus(mut self) -> Self {
        self.is_stimulus = true;
        self
    }
}

impl From<&Message> for Item {
    fn from(message: &Message) -> Self {
        let mut body = message.body.clone();
        // Reasoning is never sent back to a model and may be long.
        if let Body::Assistant { reasoning, .. } = &mut body {
            *reasoning = None;
        }
        Self { seq: message.seq, body, speaker: message.speaker.clone(), at: message.at, is_stimulus: false }
    }
}

/// An item with the text that the prompt shows and its size.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) item: Item,
    /// With date marker and speaker for a human's message; the words otherwise.
    pub(crate) shown: String,
    /// Whole size in a prompt, overhead and calls included, before any cut.
    pub(crate) tokens: Tokens,
}

/// The recent messages of a conversation, oldest first.
///
/// Invariants: sequence numbers grow; messages leave at the front only, by [`FifoQueue::page_out`]; what a message looks like in
/// the prompt depends on what is before it in the queue alone, so appending never changes the bytes that were sent before.
/// Any history is taken as it is; [`valid_view`](crate::valid_view) makes a prompt of it.
///
/// ```
/// use sid_memory::{FifoQueue, Item, count_bytes};
/// let mut queue = FifoQueue::default();
/// queue.push(Item::user(1, "2025-03-10T09:00:00Z".parse().unwrap(), "I am Ann."), &count_bytes);
/// queue.push(Item::assistant(2, "2025-03-10T09:00:05Z".parse().unwrap(), "Hello Ann."), &count_bytes);
/// assert_eq!(queue.len(), 2);
/// assert!(queue.tokens().0 > 10);
/// ```
#[derive(Debug, Clone)]
pub struct FifoQueue {
    pub(crate) entries: VecDeque<Entry>,
    zone: TimeZone,
}

impl Default for FifoQueue {
    fn default() -> Self {
        Self::in_zone(TimeZone::UTC)
    }
}

impl FifoQueue {
    /// An empty queue whose date markers are in the given zone (the user's). [`FifoQueue::default`] is in UTC.
    #[must_use]
    pub fn in_zone(zone: TimeZone) -> Self {
        Self { entries: VecDeque::new(), zone }
    }

    /// The queue of a loaded conversation. Messages whose id is in `stimulus` are what the present run reacts to.
    #[must_use]
    pub fn load(messages: &[Message], stimulus: &[MessageId], zone: TimeZone, count: &Count<'_>) -> Self {
        let mut queue = Self::in_zone(zone);
        for message in messages {
            let mut item = Item::from(message);
            item.is_stimulus = stimulus.contains(&message.id);
            queue.push(item, count);
        }
        queue
    }

    /// Adds a message at the end. One that is not after the last changes nothing and answers `false`.
    pub fn push(&mut self, item: Item, count: &Count<'_>) -> bool {
        let last = self.entries.back();
        if last.is_some_and(|last| last.item.seq >= item.seq) {
            return false;
        }
        // The first human's message always shows its date, so that the queue says when it begins.
        let is_first_user = !self.has_user() && matches!(item.body, Body::User { .. });
        let previous = last.map(|last| last.item.at).filter(|_| !is_first_user);
        let entry = Entry::new(item, previous, &self.zone, count);
        self.entries.push_back(entry);
        true
    }

    /// Removes what the plan says and answers it, oldest first. The first human's message that stays is
    /// rendered anew, with its date.
    pub fn page_out(&mut self, plan: &EvictionPlan, count: &Count<'_>) -> Vec<Item> {
        let leaving = self.entries.iter().take_while(|e| e.item.seq <= plan.last).count();
        let evicted: Vec<Item> = self.entries.drain(..leaving).map(|e| e.item).collect();
        if let Some(first) = self.entries.iter_mut().find(|e| matches!(e.item.body, Body::User { .. })) {
            *first = Entry::new(first.item.clone(), None, &self.zone, count);
        }
        evicted
    }

    fn has_user(&self) -> bool {
        self.entries.iter().any(|e| matches!(e.item.body, Body::User { .. }))
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The messages, oldest first.
    pub fn items(&self) -> impl DoubleEndedIterator<Item = &Item> + ExactSizeIterator {
        self.entries.iter().map(|e| &e.item)
    }

    /// The size of all messages as they were said, before anything is cut.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        self.entries.iter().map(|e| e.tokens).sum()
    }

    /// The size in a prompt where no message may be larger than `cap`.
    #[must_use]
    pub fn tokens_capped(&self, cap: Tokens) -> Tokens {
        self.entries.iter().map(|e| e.tokens.min(cap)).sum()
    }

    /// The place of the first message.
    #[must_use]
    pub fn first_seq(&self) -> Option<Seq> {
        self.entries.front().map(|e| e.item.seq)
    }

    /// The place of the last message.
    #[must_use]
    pub fn last_seq(&self) -> Option<Seq> {
        self.entries.back().map(|e| e.item.seq)
    }

    /// The zone of the date markers.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }
}

impl Entry {
    fn new(item: Item, previous: Option<Timestamp>, zone: &TimeZone, count: &Count<'_>) -> Self {
        let shown = match &item.body {
            Body::User { text } => render::user_text(text, item.speaker.as_deref(), previous, item.at, zone),
            // By bytes: the learning counter would cut it elsewhere the next time.
            Body::Tool { text, .. } if count_bytes(text) > RESULT_PAGE => cut_with_marker(text, Some(item.seq), RESULT_PAGE, &count_bytes),
            other => other.text().to_owned(),
        };
        let calls: Tokens = item.body.tool_calls().iter().map(|call| call_tokens(call, count)).sum();
        let tokens = MESSAGE_OVERHEAD + size(&shown, count) + calls;
        Self { item, shown, tokens }
    }
}

/// The size of a call in a prompt.
pub(crate) fn call_tokens(call: &ToolCall, count: &Count<'_>) -> Tokens {
    let arguments = serde_json::to_string(&call.arguments).unwrap_or_default();
    CALL_OVERHEAD + size(&call.name, count) + size(&call.id, count) + size(&arguments, count)
}
