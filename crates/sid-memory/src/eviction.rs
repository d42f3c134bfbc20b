//! What leaves the queue, and when.

use std::collections::HashMap;

use sid_types::{Body, Seq, Tokens};

use crate::{Budget, FifoQueue, Pressure};

/// Which messages leave the queue: a prefix of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvictionPlan {
    /// How many messages leave.
    pub count: usize,
    /// The first that leaves.
    pub first: Seq,
    /// The last that leaves.
    pub last: Seq,
    /// The first that stays (`last + 1` when nothing does): the conversation's new `queue_start`.
    pub queue_start: Seq,
    /// The room that becomes free.
    pub freed: Tokens,
}

/// How full the queue is in this budget.
#[must_use]
pub fn pressure(queue: &FifoQueue, budget: &Budget) -> Pressure {
    budget.pressure(queue.tokens_capped(budget.message()))
}

/// Plans which messages leave the FIFO queue so that it fits the budget again.
///
/// Shape: evicted messages are a prefix of `queue`, oldest first; a call and its results leave together; the stimulus of the present
/// run and what came after it stay. At least half of what is in the queue leaves in one step (as far as those rules allow), so that
/// the prompt's beginning stands still for long. `None` below the flush mark, or when only the present run is left.
/// Messages larger than [`Budget::message`] count as cut to it: [`valid_view`](crate::valid_view) shows them so.
/// Units: tokens. Pure: touches no store, calls no model.
/// Source: MemGPT (arXiv:2310.08560), queue manager; it evicts half of the window, this half of the queue.
///
/// ```
/// # use sid_memory::{Budget, FifoQueue, plan_eviction};
/// # use sid_types::Tokens;
/// assert!(plan_eviction(&FifoQueue::default(), &Budget::for_window(Tokens(8_192))).is_none());
/// ```
#[must_use]
pub fn plan_eviction(queue: &FifoQueue, budget: &Budget) -> Option<EvictionPlan> {
    match pressure(queue, budget) {
        Pressure::Flush => plan_half(queue, budget),
        Pressure::None | Pressure::Warning => None,
    }
}

/// Plans a page-out of half of the queue whatever its size: for the engine that says "too large" although the count said it fits,
/// and for an agent that asks for it. `None` when only the present run is left.
#[must_use]
pub fn plan_half(queue: &FifoQueue, budget: &Budget) -> Option<EvictionPlan> {
    let cap = budget.message();
    let sizes: Vec<Tokens> = queue.entries.iter().map(|e| e.tokens.min(cap)).collect();
    let total: Tokens = sizes.iter().copied().sum();
    let may_cut = boundaries(queue);
    let stimulus = queue.entries.iter().position(|e| e.item.is_stimulus);
    // Without a stimulus (work between turns) everything may leave but the last message.
    let end = stimulus.unwrap_or(queue.len().saturating_sub(1));

    // Half of what is there; of what there is room for, when the window has shrunk under a long queue.
    let target = total.min(budget.queue).share(1, 2);

    let mut freed = Tokens(0);
    let mut best: Option<(usize, Tokens)> = None;
    for at in 1..=end {
        freed += sizes[at - 1];
        if !may_cut[at] {
            continue;
        }
        best = Some((at, freed));
        let stays = total - freed;
        let is_half = stays <= target;
        // A queue that begins with a human's message reads better and suits strict templates; look a little further for one.
        let begins_well = queue.entries.get(at).is_none_or(|e| matches!(e.item.body, Body::User { .. }));
        let is_far = stays <= target.share(2, 3);
        if is_half && (begins_well || is_far) {
            break;
        }
    }
    let (count, freed) = best?;
    let last = queue.entries[count - 1].item.seq;
    Some(EvictionPlan {
        count,
        first: queue.entries[0].item.seq,
        last,
        queue_start: queue.entries.get(count).map_or(last.next(), |e| e.item.seq),
        freed,
    })
}

/// Which result answers which call, by place in the queue.
///
/// A result answers an open call with its id of the last assistant message that says or calls anything; the first one does, a
/// second is an orphan. Shape: `answers[i]` is `Some((place, number of the call))` for a result that counts.
pub(crate) fn answers(queue: &FifoQueue) -> Vec<Option<(usize, usize)>> {
    let mut answers = vec![None; queue.len()];
    let mut caller = 0;
    let mut open: HashMap<&str, VecDequeOfCalls> = HashMap::new();
    for (place, entry) in queue.entries.iter().enumerate() {
        match &entry.item.body {
            Body::Assistant { text, tool_calls, .. } if !text.trim().is_empty() || !tool_calls.is_empty() => {
                open.clear();
                caller = place;
                for (number, call) in tool_calls.iter().enumerate() {
                    open.entry(call.id.as_str()).or_default().push_back(number);
                }
            }
            Body::Tool { call_id, .. } => {
                if let Some(number) = open.get_mut(call_id.as_str()).and_then(VecDequeOfCalls::pop_front) {
                    answers[place] = Some((caller, number));
                }
            }
            _ => {}
        }
    }
    answers
}

type VecDequeOfCalls = std::collections::VecDeque<usize>;

/// Where the queue may be cut: `out[i]` = a cut before message `i` parts no call from its result.
fn boundaries(queue: &FifoQueue) -> Vec<bool> {
    let mut may_cut = vec![true; queue.len() + 1];
    for (place, answer) in answers(queue).into_iter().enumerate() {
        if let Some((caller, _)) = answer {
            may_cut[caller + 1..=place].fill(false);
        }
    }
    may_cut
}
