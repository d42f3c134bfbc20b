//! The queue as a prompt shows it: valid for the strictest chat template, and never larger than its room.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};
use sid_types::{Body, Seq, Tokens, ToolCall};

use crate::eviction::answers;
use crate::queue::{Entry, call_tokens};
use crate::text::{Count, MESSAGE_OVERHEAD, cut_to, size};
use crate::{Budget, FifoQueue};

/// What stands in for the result of a call that has none.
pub const OUTCOME_UNKNOWN: &str = "Outcome unknown: the call was interrupted before its result was recorded. It may or may not have taken effect; check before repeating it.";

/// What stands in for the result of a call that the client was asked to answer and did not.
pub const NO_CLIENT_ANSWER: &str = "The client gave no answer.";

/// Longest name or id of a call that is sent to a model, in bytes; nonsense may be longer.
const NAME_BYTES: usize = 64;

/// One message of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewMessage {
    /// The message it shows; `None` for what was put in (a missing result, a note about what is left out).
    pub seq: Option<Seq>,
    /// What is shown. Call ids are unique in the view, arguments are objects, reasoning is left out, date markers are in the text.
    pub body: Body,
    /// Its size with overhead.
    pub tokens: Tokens,
    /// Whether it is what the present run reacts to.
    pub is_stimulus: bool,
}

/// A queue as a prompt shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The messages, oldest first.
    pub messages: Vec<ViewMessage>,
    /// Their size.
    pub tokens: Tokens,
    /// Messages that are shown cut; their text names how to read on.
    pub cut: Vec<Seq>,
    /// Messages that have no place in a valid prompt: orphan results, answers without words and calls.
    pub dropped: Vec<Seq>,
    /// Messages that were left out because not even a page-out could make room (they are in recall memory).
    pub left_out: Vec<Seq>,
}

impl View {
    /// What a strict engine would refuse in it, or `Ok`. The invariants of [`valid_view`], for tests and for one's own assembly.
    pub fn check(&self) -> Result<(), String> {
        let mut open: Vec<&str> = Vec::new();
        let mut used: HashSet<&str> = HashSet::new();
        for (place, message) in self.messages.iter().enumerate() {
            match &message.body {
                Body::Tool { call_id, text, .. } => {
                    let Some(at) = open.iter().position(|id| *id == call_id) else {
                        return Err(format!("message {place} answers call `{call_id}`, which is not open"));
                    };
                    open.remove(at);
                    if text.trim().is_empty() {
                        return Err(format!("message {place} is an empty result"));
                    }
                    continue;
                }
                _ if !open.is_empty() => return Err(format!("message {place} comes before the result of call `{}`", open[0])),
                Body::Assistant { text, tool_calls, reasoning } => {
                    if text.trim().is_empty() && tool_calls.is_empty() {
                        return Err(format!("message {place} is an empty assistant message"));
                    }
                    if reasoning.is_some() {
                        return Err(format!("message {place} carries reasoning"));
                    }
                    for call in tool_calls {
                        if call.id.is_empty() || !used.insert(&call.id) {
                            return Err(format!("message {place} has call id `{}` twice or empty", call.id));
                        }
                        open.push(&call.id);
                    }
                }
                Body::User { text } | Body::Note { text } => {
                    if text.trim().is_empty() {
                        return Err(format!("message {place} is empty"));
                    }
                }
            }
        }
        match open.first() {
            Some(id) => Err(format!("call `{id}` is never answered")),
            None => Ok(()),
        }
    }
}

/// Messages that stand and fall together: an assistant's with the results of its calls, or any other alone.
struct Group {
    messages: Vec<ViewMessage>,
    tokens: Tokens,
    is_stimulus: bool,
}

/// Makes a valid prompt of any history.
///
/// Shape: each result follows the assistant message that called it, each call is answered exactly once (a missing result becomes
/// [`OUTCOME_UNKNOWN`], or [`NO_CLIENT_ANSWER`] where the client was asked), orphan results and empty answers are dropped, doubled call ids are renamed. No message is larger than
/// [`Budget::message`]: a longer one is cut and ends with a marker that names its number and how to read on. The whole is never
/// larger than `budget.queue` from 96 tokens on; where page-outs could not achieve that (a run of many steps), the oldest messages
/// other than the stimulus are left out, half of the room at a time, so that the beginning stands still between two such steps.
///
/// The same queue and budget give the same bytes; appending a message changes nothing before it, but for the result of a call that
/// had none. Pure.
#[must_use]
pub fn valid_view(queue: &FifoQueue, budget: &Budget, count: &Count<'_>) -> View {
    let mut view = View::default();
    let mut groups = groups(queue, &mut view.dropped, count);
    let stimuli = groups.iter().filter(|g| g.is_stimulus).count();
    let stimulus_cap = Tokens(budget.stimulus().0 / u32::try_from(stimuli.max(1)).unwrap_or(u32::MAX));
    for group in &mut groups {
        let cap = if group.is_stimulus { stimulus_cap } else { budget.message() };
        if group.tokens > cap {
            view.cut.extend(group.messages.iter().filter_map(|m| m.seq));
            shrink(group, cap, count);
        }
    }
    leave_out(&mut groups, budget.queue, &mut view.left_out, count);
    view.cut.retain(|seq| !view.left_out.contains(seq));
    view.tokens = groups.iter().map(|g| g.tokens).sum();
    view.messages = groups.into_iter().flat_map(|g| g.messages).collect();
    view
}

fn text_message(entry: &Entry, body: Body) -> ViewMessage {
    ViewMessage { seq: Some(entry.item.seq), body, tokens: entry.tokens, is_stimulus: entry.item.is_stimulus }
}

/// Sorts a queue into groups that are valid by themselves.
fn groups(queue: &FifoQueue, dropped: &mut Vec<Seq>, count: &Count<'_>) -> Vec<Group> {
    let answers = answers(queue);
    let mut results: HashMap<(usize, usize), usize> = HashMap::new();
    for (place, answer) in answers.iter().enumerate() {
        if let Some(call) = answer {
            results.insert(*call, place);
        }
    }
    let mut used: HashSet<String> = HashSet::new();
    let mut groups = Vec::new();
    for (place, entry) in queue.entries.iter().enumerate() {
        let messages = match &entry.item.body {
            Body::User { .. } => vec![text_message(entry, Body::User { text: entry.shown.clone() })],
            Body::Note { text } if !text.trim().is_empty() => vec![text_message(entry, entry.item.body.clone())],
            Body::Assistant { text, tool_calls, .. } if tool_calls.is_empty() && !text.trim().is_empty() => {
                vec![text_message(entry, Body::Assistant { text: text.clone(), reasoning: None, tool_calls: Vec::new() })]
            }
            Body::Assistant { text, tool_calls, .. } if !tool_calls.is_empty() => {
                let mut calls = Vec::with_capacity(tool_calls.len());
                let mut answered = Vec::with_capacity(tool_calls.len());
                for (number, call) in tool_calls.iter().enumerate() {
                    let call = clean(call, entry.item.seq, number, &mut used);
                    let result = results.get(&(place, number)).map(|at| &queue.entries[*at]);
                    answered.push(result_message(result, &call, count));
                    calls.push(call);
                }
                let mut whole = vec![assistant_message(entry, text.clone(), calls, count)];
                whole.append(&mut answered);
                whole
            }
            Body::Tool { .. } if answers[place].is_some() => continue,
            _ => {
                dropped.push(entry.item.seq);
                continue;
            }
        };
        let tokens = messages.iter().map(|m| m.tokens).sum();
        let is_stimulus = messages.iter().any(|m| m.is_stimulus);
        groups.push(Group { messages, tokens, is_stimulus });
    }
    groups
}

/// The call with a name and an id that engines accept and that is unique in the view.
fn clean(call: &ToolCall, seq: Seq, number: usize, used: &mut HashSet<String>) -> ToolCall {
    let prefix = |text: &str| text[..text.floor_char_boundary(NAME_BYTES)].to_owned();
    let name = if call.name.trim().is_empty() { "unknown".to_owned() } else { prefix(&call.name) };
    let mut id = prefix(&call.id);
    if id.is_empty() || used.contains(&id) {
        // By place, not by a count: the name must not change when earlier messages leave. A seq is in a view only once.
        id = format!("call_{seq}_{number}");
        while used.contains(&id) {
            id.push('x');
        }
    }
    used.insert(id.clone());
    ToolCall { id, name, arguments: call.arguments.clone(), for_client: call.for_client }
}

fn assistant_message(entry: &Entry, text: String, calls: Vec<ToolCall>, count: &Count<'_>) -> ViewMessage {
    let tokens = MESSAGE_OVERHEAD + size(&text, count) + calls.iter().map(|c| call_tokens(c, count)).sum();
    let body = Body::Assistant { text, reasoning: None, tool_calls: calls };
    ViewMessage { seq: Some(entry.item.seq), body, tokens, is_stimulus: entry.item.is_stimulus }
}

fn result_message(entry: Option<&Entry>, call: &ToolCall, count: &Count<'_>) -> ViewMessage {
    let (seq, text, is_error, is_stimulus) = match entry.map(|e| (&e.item, e)) {
        Some((item, entry)) => {
            let is_error = matches!(item.body, Body::Tool { is_error: true, .. });
            let text = if entry.shown.trim().is_empty() { "(no output)".to_owned() } else { entry.shown.clone() };
            (Some(item.seq), text, is_error, item.is_stimulus)
        }
        None => (None, if call.for_client { NO_CLIENT_ANSWER } else { OUTCOME_UNKNOWN }.to_owned(), true, false),
    };
    let tokens = result_tokens(&call.id, &call.name, &text, count);
    let body = Body::Tool { call_id: call.id.clone(), name: call.name.clone(), text, is_error, quotes: Vec::new() };
    ViewMessage { seq, body, tokens, is_stimulus }
}

fn result_tokens(id: &str, name: &str, text: &str, count: &Count<'_>) -> Tokens {
    MESSAGE_OVERHEAD + size(id, count) + size(name, count) + size(text, count)
}

/// Cuts a text and says so: what is left of it plus the marker count at most `limit`, if the marker fits at all.
///
/// The marker names the message's number, which `conversation_search` takes as a query (`#17`) to read the whole page by page.
pub(crate) fn cut_with_marker(text: &str, seq: Option<Seq>, limit: Tokens, count: &Count<'_>) -> String {
    if size(text, count) <= limit {
        return text.to_owned();
    }
    let marker = match seq {
        Some(seq) => format!(" […cut, {} characters in all; read on: conversation_search \"#{seq}\"]", text.chars().count()),
        None => " […cut]".to_owned(),
    };
    for marker in [marker.as_str(), " […cut]", "…"] {
        let room = limit.saturating_sub(count(marker));
        // A marker longer than what it marks helps nobody.
        if room.0 * 2 < limit.0 && marker != "…" {
            continue;
        }
        let mut room = room;
        while room.0 > 0 {
            let out = format!("{}{marker}", cut_to(text, room, count));
            if count(&out) <= limit {
                return out;
            }
            room = room.saturating_sub(Tokens(1 + room.0 / 16));
        }
    }
    let bare = cut_to(text, limit, count);
    if bare.is_empty() { "…".to_owned() } else { bare.to_owned() }
}

/// Makes a group fit `cap`.
fn shrink(group: &mut Group, cap: Tokens, count: &Count<'_>) {
    let calls = group.messages[0].body.tool_calls().len();
    if calls == 0 {
        let message = &mut group.messages[0];
        let seq = message.seq;
        let (Body::User { text } | Body::Note { text } | Body::Assistant { text, .. } | Body::Tool { text, .. }) = &mut message.body;
        *text = cut_with_marker(text, seq, cap.saturating_sub(MESSAGE_OVERHEAD), count);
        message.tokens = MESSAGE_OVERHEAD + size(text, count);
        group.tokens = message.tokens;
        return;
    }
    // As many calls as have room for themselves and a short result; the others are left out with their results.
    let mut keep = calls.min((cap.0 as usize / 40).max(1));
    loop {
        shrink_calls(group, keep, cap, count);
        group.tokens = group.messages.iter().map(|m| m.tokens).sum();
        if group.tokens <= cap || keep == 1 {
            break;
        }
        keep = keep.div_ceil(2).min(keep - 1);
    }
}

/// Keeps the first `keep` calls of a group and cuts words, arguments and results to equal shares.
fn shrink_calls(group: &mut Group, keep: usize, cap: Tokens, count: &Count<'_>) {
    group.messages.truncate(1 + keep);
    let (head, results) = group.messages.split_at_mut(1);
    let head = &mut head[0];
    let Body::Assistant { text, tool_calls, .. } = &mut head.body else { return };
    tool_calls.truncate(keep);
    *text = match cap.0 / 4 {
        quarter if quarter >= 8 && !text.trim().is_empty() => cut_with_marker(text, head.seq, Tokens(quarter), count),
        _ => String::new(),
    };
    let said = MESSAGE_OVERHEAD + size(text, count);
    let share = Tokens(cap.saturating_sub(said).0 / u32::try_from(keep).unwrap_or(u32::MAX));
    head.tokens = said;
    for (call, result) in tool_calls.iter_mut().zip(results) {
        cut_arguments(call, share.share(2, 5), count);
        let call_size = call_tokens(call, count);
        head.tokens += call_size;
        let around = result_tokens(&call.id, &call.name, "", count);
        let room = share.saturating_sub(call_size).saturating_sub(around);
        let seq = result.seq;
        if let Body::Tool { text, .. } = &mut result.body {
            *text = cut_with_marker(text, seq, room, count);
            result.tokens = result_tokens(&call.id, &call.name, text, count);
        }
    }
}

/// Cuts long strings in a call's arguments; arguments that are still too large become an object that says so.
fn cut_arguments(call: &mut ToolCall, cap: Tokens, count: &Count<'_>) {
    if call_tokens(call, count) <= cap {
        return;
    }
    for limit in [400_usize, 100, 30] {
        for value in call.arguments.values_mut() {
            match value {
                Value::String(text) if text.len() > limit => {
                    text.truncate(text.floor_char_boundary(limit));
                    text.push('…');
                }
                Value::Array(_) | Value::Object(_) if value.to_string().len() > limit => *value = Value::String("…".into()),
                _ => {}
            }
        }
        if call_tokens(call, count) <= cap {
            return;
        }
    }
    call.arguments = Map::new();
}

/// Leaves out the oldest groups that are not the stimulus, so that the rest fits `room`.
fn leave_out(groups: &mut Vec<Group>, room: Tokens, left_out: &mut Vec<Seq>, count: &Count<'_>) {
    let total: Tokens = groups.iter().map(|g| g.tokens).sum();
    if total <= room {
        return;
    }
    let note = |n: usize| format!("({n} earlier messages are left out here for lack of room; conversation_search finds them.)");
    let note_tokens = MESSAGE_OVERHEAD + count(&note(usize::MAX));
    let mut gone = vec![false; groups.len()];

    // Stimuli first claim their half; of very many, the last ones.
    let mut pinned = Tokens(0);
    for (place, group) in groups.iter().enumerate().rev().filter(|(_, g)| g.is_stimulus) {
        if pinned + group.tokens <= room.share(1, 2) || pinned.0 == 0 && group.tokens <= room {
            pinned += group.tokens;
        } else {
            gone[place] = true;
        }
    }
    let mut free = room.saturating_sub(pinned);
    let has_note = note_tokens.0 * 4 <= free.0;
    if has_note {
        free = free.saturating_sub(note_tokens);
    }
    // Replayed from the start, so that the place where it begins depends on what came before only: it stands still until the
    // next overflow.
    let others: Vec<usize> = (0..groups.len()).filter(|i| !groups[*i].is_stimulus).collect();
    let (mut first, mut held) = (0, Tokens(0));
    for (n, place) in others.iter().enumerate() {
        held += groups[*place].tokens;
        if held > free {
            while first < n && held > free.share(1, 2) {
                held = held - groups[others[first]].tokens;
                first += 1;
            }
            if held > free {
                held = Tokens(0);
                first = n + 1;
            }
        }
    }
    for place in &others[..first] {
        gone[*place] = true;
    }
    let messages_gone = others[..first].iter().map(|i| groups[*i].messages.len()).sum::<usize>();
    let at = others.first().copied().filter(|_| first > 0);
    let mut kept = Vec::with_capacity(groups.len());
    for (place, group) in groups.drain(..).enumerate() {
        if Some(place) == at && has_note {
            let text = note(messages_gone);
            let tokens = MESSAGE_OVERHEAD + count(&text);
            let body = Body::Note { text };
            let message = ViewMessage { seq: None, body, tokens, is_stimulus: false };
            kept.push(Group { messages: vec![message], tokens, is_stimulus: false });
        }
        if gone[place] {
            left_out.extend(group.messages.iter().filter_map(|m| m.seq));
        } else {
            kept.push(group);
        }
    }
    *groups = kept;
}
