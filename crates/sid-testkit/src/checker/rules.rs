//! One function per rule.

use std::collections::{HashMap, HashSet};

use super::records::{Conversation, Dump, Event, Message, Run, Usage};
use super::{Invariant, Violation};

/// What was found so far.
#[derive(Default)]
pub(super) struct Found {
    pub(super) list: Vec<Violation>,
}

impl Found {
    fn add(&mut self, invariant: Invariant, detail: String) {
        self.list.push(Violation { invariant, detail });
    }
}

/// I1: every acknowledged message is there once, under the run that was named, in the order of acknowledgement; nothing is there twice.
pub(super) fn ledger(dump: &Dump, found: &mut Found) {
    // (conversation, text) -> the messages that say it.
    let mut said: HashMap<(&str, &str), Vec<&Message>> = HashMap::new();
    for conversation in &dump.conversations {
        let mut texts: Vec<&str> = Vec::new();
        for message in conversation.messages.iter().filter(|m| m.role == "user") {
            let same = said.entry((&conversation.id, &message.text)).or_default();
            same.push(message);
            if same.len() == 2 {
                texts.push(&message.text);
            }
        }
        for text in texts {
            let times = said[&(conversation.id.as_str(), text)].len();
            found.add(Invariant::I1, format!("{}: `{}` is there {times} times", conversation.id, short(text)));
        }
    }
    // Per conversation: (sent, acknowledged, seq, text) of what is there.
    let mut placed: HashMap<&str, Vec<(u64, u64, u64, &str)>> = HashMap::new();
    for entry in &dump.ledger {
        let Some(message) = said.get(&(entry.conversation.as_str(), entry.text.as_str())).and_then(|same| same.first()) else {
            found.add(Invariant::I1, format!("{}: `{}` is lost", entry.conversation, short(&entry.text)));
            continue;
        };
        if entry.run.is_some() && entry.run != message.run {
            let (told, stands) = (entry.run.as_deref().unwrap_or_default(), message.run.as_deref().unwrap_or("no run"));
            let text = short(&entry.text);
            found.add(Invariant::I1, format!("{}: `{text}` was promised to {told} and belongs to {stands}", entry.conversation));
        }
        if entry.acknowledged > 0 {
            placed.entry(&entry.conversation).or_default().push((entry.sent, entry.acknowledged, message.seq, &entry.text));
        }
    }
    for (conversation, mut entries) in placed {
        entries.sort_unstable_by_key(|(_, _, seq, _)| *seq);
        // The latest sending so far; whatever stands after it must not have been acknowledged before.
        let mut latest: Option<(u64, &str)> = None;
        for (sent, acknowledged, _, text) in entries {
            if let Some((_, before)) = latest.filter(|(sent, _)| acknowledged < *sent) {
                let (text, before) = (short(text), short(before));
                let detail = format!("{conversation}: `{text}` was acknowledged before `{before}` was sent, and stands after it");
                found.add(Invariant::I1, detail);
            }
            if latest.is_none_or(|(first, _)| first < sent) {
                latest = Some((sent, text));
            }
        }
    }
}

/// I2: dense numbers from 1; a turn's messages stand together and begin with its stimulus.
pub(super) fn messages(conversation: &Conversation, found: &mut Found) {
    let id = &conversation.id;
    if let Some((at, m)) = conversation.messages.iter().enumerate().find(|(at, m)| m.seq != *at as u64 + 1) {
        found.add(Invariant::I2, format!("{id}: place {} has number {}", at + 1, m.seq));
    }
    let mut ids = HashSet::new();
    for twice in conversation.messages.iter().filter(|m| !ids.insert(&m.id)) {
        found.add(Invariant::I2, format!("{id}: {} is there twice", twice.id));
    }
    let runs: HashMap<&str, &Run> = conversation.runs.iter().map(|r| (r.id.as_str(), r)).collect();
    let mut begun: HashSet<&str> = HashSet::new();
    for turn in conversation.messages.chunk_by(|a, b| a.run == b.run) {
        let Some(run) = turn[0].run.as_deref() else { continue };
        if !begun.insert(run) {
            found.add(Invariant::I2, format!("{id}: {run} goes on at {} after another turn's messages", turn[0].seq));
            continue;
        }
        if conversation.runs.is_empty() {
            continue;
        }
        let Some(known) = runs.get(run) else {
            found.add(Invariant::I2, format!("{id}: message {} belongs to {run}, which is not a run of it", turn[0].seq));
            continue;
        };
        if !turn.iter().map(|m| &m.id).take(known.stimulus.len()).eq(&known.stimulus) {
            found.add(Invariant::I2, format!("{id}: {run} does not begin with its stimulus"));
        }
    }
    for run in conversation.runs.iter().filter(|r| is_terminal(&r.status) && !begun.contains(r.id.as_str())) {
        found.add(Invariant::I2, format!("{id}: {} ended without a message of it in the conversation", run.id));
    }
}

/// I2: each call has exactly one result, before the assistant or the user speaks again. A call for the client has one or none; one that was
/// passed over is never answered.
pub(super) fn calls(conversation: &Conversation, found: &mut Found) {
    let id = &conversation.id;
    let mut open: Vec<&str> = Vec::new();
    let mut for_client: Vec<&str> = Vec::new();
    for message in &conversation.messages {
        if message.role == "tool" {
            let call = message.call_id.as_deref().unwrap_or_default();
            let at = open.iter().position(|o| *o == call);
            let at_client = for_client.iter().position(|o| *o == call);
            match (at, at_client) {
                (Some(at), _) => drop(open.remove(at)),
                (None, Some(at)) => drop(for_client.remove(at)),
                (None, None) => found.add(Invariant::I2, format!("{id}: message {} answers `{call}`, which is not open", message.seq)),
            }
        } else {
            for call in open.drain(..) {
                found.add(Invariant::I2, format!("{id}: call `{call}` has no result before message {}", message.seq));
            }
            for_client.clear();
            let of = |is_clients: bool| message.tool_calls.iter().filter(move |c| c.for_client == is_clients).map(|c| c.id.as_str());
            open.extend(of(false));
            for_client.extend(of(true));
        }
    }
    for call in open {
        found.add(Invariant::I2, format!("{id}: call `{call}` has no result"));
    }
}

/// I3: every run is terminal; where its events are known, `done` is the last of them, once, and says the same.
pub(super) fn ends(conversation: &Conversation, found: &mut Found) {
    for run in &conversation.runs {
        if !is_terminal(&run.status) {
            found.add(Invariant::I3, format!("{}: {} is {}", conversation.id, run.id, run.status));
            continue;
        }
        let Some(events) = &run.events else { continue };
        let ends: Vec<usize> = events.iter().enumerate().filter(|(_, e)| e.event == "done").map(|(at, _)| at).collect();
        if ends != [events.len().saturating_sub(1)] {
            found.add(Invariant::I3, format!("{}: of {} events, `done` is at {ends:?} (from 0)", run.id, events.len()));
        } else if events.last().is_some_and(|done| done.status.as_ref() != Some(&run.status)) {
            found.add(Invariant::I3, format!("{}: is {}, and its log says otherwise", run.id, run.status));
        }
    }
}

/// I4: epochs never fall within a run, and each turn's is above those of the turns before it.
pub(super) fn epochs(conversation: &Conversation, found: &mut Found) {
    let runs: HashMap<&str, &Run> = conversation.runs.iter().map(|r| (r.id.as_str(), r)).collect();
    let mut highest = 0;
    let mut begun: HashSet<&str> = HashSet::new();
    for message in &conversation.messages {
        let Some(run) = message.run.as_deref().filter(|run| begun.insert(run)).and_then(|run| runs.get(run)) else { continue };
        let started = run.events.iter().flatten().filter_map(|e| e.epoch);
        let mut own = None;
        for epoch in started {
            if own.is_none() && epoch <= highest || own.is_some_and(|own| epoch < own) {
                let before = own.unwrap_or(highest);
                found.add(Invariant::I4, format!("{}: epoch {epoch} wrote after epoch {before}", run.id));
            }
            own = own.max(Some(epoch));
        }
        highest = highest.max(own.unwrap_or(0));
    }
}

/// I4, where writes were watched: once an epoch has written in a conversation, no lower one does.
pub(super) fn writes(dump: &Dump, found: &mut Found) {
    let mut highest: HashMap<&str, u64> = HashMap::new();
    for write in &dump.writes {
        let highest = highest.entry(&write.conversation).or_default();
        if write.epoch < *highest {
            found.add(Invariant::I4, format!("{}: epoch {} wrote after epoch {highest}", write.conversation, write.epoch));
        }
        *highest = (*highest).max(write.epoch);
    }
}

/// I5: the run's tokens, those of its steps, and those that its events tell are the same.
pub(super) fn usage(conversation: &Conversation, found: &mut Found) {
    let sum = |usages: &mut dyn Iterator<Item = Usage>| {
        usages.fold(Usage::default(), |mut sum, usage| {
            sum += usage;
            sum
        })
    };
    for run in &conversation.runs {
        if let Some(steps) = &run.step_records {
            if let Some((at, step)) = steps.iter().enumerate().find(|(at, step)| step.number as usize != at + 1) {
                found.add(Invariant::I5, format!("{}: step {} has number {}", run.id, at + 1, step.number));
            }
            let of_steps = sum(&mut steps.iter().map(|s| s.usage));
            if of_steps != run.usage {
                found.add(Invariant::I5, format!("{}: used {:?}, its steps {of_steps:?}", run.id, run.usage));
            }
        }
        let Some(events) = run.events.as_ref().filter(|_| is_terminal(&run.status)) else { continue };
        let of_events = sum(&mut events.iter().filter(|e| e.event == "step").filter_map(|e| e.usage));
        if of_events != run.usage {
            found.add(Invariant::I5, format!("{}: used {:?}, its events say {of_events:?}", run.id, run.usage));
        }
        if let Some(done) = events.iter().find(|e| e.event == "done").and_then(|e| e.usage).filter(|done| *done != run.usage) {
            found.add(Invariant::I5, format!("{}: used {:?}, its last event says {done:?}", run.id, run.usage));
        }
    }
}

/// I6: nothing waits, and every record has its place in the index.
pub(super) fn indexes(dump: &Dump, found: &mut Found) {
    for index in &dump.indexes {
        if index.pending != 0 || index.indexed != index.searchable {
            let (name, pending, indexed, all) = (&index.name, index.pending, index.indexed, index.searchable);
            found.add(Invariant::I6, format!("{name}: {indexed} of {all} records are indexed, {pending} wait"));
        }
    }
}

/// I7: a run's stored events are numbered densely, and its messages are told as they stand.
pub(super) fn events(conversation: &Conversation, found: &mut Found) {
    for run in &conversation.runs {
        let Some(events) = &run.events else { continue };
        if let Some((at, event)) = events.iter().enumerate().find(|(at, event)| event.seq != *at as u64 + 1) {
            found.add(Invariant::I7, format!("{}: event {} has number {}", run.id, at + 1, event.seq));
        }
        let told = events.iter().filter_map(|e| e.message.as_ref());
        let is_answer = |m: &&Message| m.run.as_deref() == Some(&run.id) && !run.stimulus.contains(&m.id);
        if !told.eq(conversation.messages.iter().filter(is_answer)) {
            found.add(Invariant::I7, format!("{}: its events tell other messages than it has", run.id));
        }
    }
}

/// I7: what a client read, over all of its connections, is what is stored.
pub(super) fn streams(dump: &Dump, found: &mut Found) {
    let runs = dump.conversations.iter().flat_map(|c| &c.runs);
    let stored: HashMap<&str, &Vec<Event>> = runs.filter_map(|r| Some((r.id.as_str(), r.events.as_ref()?))).collect();
    for stream in &dump.streams {
        let Some(events) = stored.get(stream.run.as_str()) else { continue };
        let numbers = || stream.events.iter().map(|e| e.seq).collect::<Vec<_>>();
        let expected: Vec<&Event> = events.iter().filter(|e| e.seq > stream.after).collect();
        let is_prefix = stream.events.len() <= expected.len() && stream.events.iter().zip(&expected).all(|(seen, stored)| seen == *stored);
        if !is_prefix {
            let detail = format!("{}: of {} stored events, a client after {} saw {:?}", stream.run, events.len(), stream.after, numbers());
            found.add(Invariant::I7, detail);
        } else if stream.is_whole && stream.events.len() < expected.len() {
            found.add(Invariant::I7, format!("{}: a stream ended after {:?} of {} events", stream.run, numbers(), events.len()));
        }
    }
}

/// I8: no text that a tenant was given holds another tenant's canary.
pub(super) fn tenants(dump: &Dump, found: &mut Found) {
    for answer in &dump.answers {
        for canary in dump.canaries.iter().filter(|c| c.tenant != answer.tenant && answer.text.contains(&c.text)) {
            let (tenant, by, text, whose) = (&answer.tenant, &answer.by, &canary.text, &canary.tenant);
            found.add(Invariant::I8, format!("{tenant} read `{text}` of {whose} in {by}"));
        }
    }
}

/// I9: no token came twice.
pub(super) fn effects(dump: &Dump, found: &mut Found) {
    for effect in dump.effects.iter().filter(|e| e.times > 1) {
        found.add(Invariant::I9, format!("call {} was made {} times", effect.token, effect.times));
    }
}

fn is_terminal(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "cancelled")
}

/// The beginning of a message, for people.
fn short(text: &str) -> String {
    const MOST: usize = 60;
    let start: String = text.chars().take(MOST).collect();
    if start.len() < text.len() { start + "…" } else { start }
}
