//! A commit: everything is checked first, then everything is changed.

use std::collections::{BTreeMap, BTreeSet};

use sid_types::{BlockAccess, BlockId, BlockOp, CallState, MessageId, Principal, Timestamp};
use uuid::Uuid;

use super::missing;
use super::room::{Journal, Room};
use crate::{BlockEdit, Commit, Committed, Effect, Lease, StoreError, check_influence};

impl Room {
    pub(super) fn commit(&mut self, lease: &Lease, commit: Commit, now: Timestamp) -> Result<Committed, StoreError> {
        let held = self.check_lease(lease);
        let Some(journal) = self.runs.get(&lease.run).filter(|j| j.run.conversation == lease.conversation) else {
            return held.map(|()| Committed::default());
        };
        let done = journal.run.commits;
        if (1..=done).contains(&commit.number) {
            // The answer to a commit may get lost, and with it the news that the lease has ended.
            let is_own = held.is_ok() || journal.commit_epoch == lease.epoch;
            return if is_own { Ok(self.repeated(lease)) } else { held.map(|()| Committed::default()) };
        }
        held?;
        if commit.number != done + 1 {
            return Err(StoreError::Invalid(format!("commit {} does not follow {done}: load the run again", commit.number)));
        }
        self.check_effects(lease, &commit.effects)?;
        let mut committed = Committed::default();
        for effect in commit.effects {
            self.apply(lease, effect, &mut committed, now);
        }
        let journal = self.runs.get_mut(&lease.run).expect("a held run has its journal");
        journal.run.commits = done + 1;
        journal.commit_epoch = lease.epoch;
        committed.ended = Some(journal.run.clone()).filter(|run| run.status.is_terminal());
        Ok(committed)
    }

    /// The answer to a repeated commit: nothing is new, but the next run may be under way already.
    fn repeated(&self, lease: &Lease) -> Committed {
        let next = self.lease(lease.conversation).map(|(_, living)| living);
        Committed {
            messages: Vec::new(),
            ended: None,
            next: next.filter(|next| next.worker == lease.worker && next.epoch == lease.epoch + 1),
        }
    }

    fn check_effects(&self, lease: &Lease, effects: &[Effect]) -> Result<(), StoreError> {
        let (thread, journal) = (&self.threads[&lease.conversation], &self.runs[&lease.run]);
        let mut last_seq = thread.conversation.last_seq;
        let mut queue_start = thread.conversation.queue_start;
        let mut new_messages: BTreeSet<MessageId> = BTreeSet::new();
        let mut calls: BTreeSet<Uuid> = journal.calls.iter().map(|c| c.token).collect();
        let mut blocks: BTreeMap<BlockId, (u64, String)> = BTreeMap::new();
        for (index, effect) in effects.iter().enumerate() {
            match effect {
                Effect::Append(messages) => {
                    for message in messages {
                        if self.places.contains_key(&message.id) || !new_messages.insert(message.id) {
                            return Err(StoreError::Invalid(format!("message {} is there already", message.id)));
                        }
                        last_seq = last_seq.next();
                    }
                }
                Effect::Plan(planned) => {
                    if let Some(twice) = planned.iter().find(|call| !calls.insert(call.token)) {
                        return Err(StoreError::Invalid(format!("call {} is planned already", twice.token)));
                    }
                }
                Effect::StartCall(token) | Effect::FinishCall(token) => {
                    if !calls.contains(token) {
                        return Err(StoreError::Invalid(format!("call {token} was not planned")));
                    }
                }
                Effect::EditBlock(edit) => self.check_edit(lease, edit, &mut blocks)?,
                Effect::InsertPassage(passage) => self.check_passage(&lease.scope, passage)?,
                Effect::PageOut(page_out) => {
                    if page_out.queue_start < queue_start || page_out.queue_start > last_seq.next() {
                        let (start, end) = (queue_start, last_seq.next());
                        let asked = page_out.queue_start;
                        return Err(StoreError::Invalid(format!("the queue cannot start at {asked}: it moves on in {start}..={end}")));
                    }
                    queue_start = page_out.queue_start;
                }
                Effect::Events(events) => {
                    if events.iter().any(|e| matches!(e, sid_types::EventBody::Done { .. })) {
                        return Err(StoreError::Invalid("the last event comes with `Effect::Finish`".into()));
                    }
                }
                Effect::Finish { .. } if index + 1 < effects.len() => {
                    return Err(StoreError::Invalid("`Effect::Finish` is the last effect".into()));
                }
                Effect::Finish { .. } | Effect::SetPrefix(_) | Effect::RecordStep(_) | Effect::AskApproval(_) => {}
            }
        }
        Ok(())
    }

    /// Checks one edit after those of the same commit that come before it.
    fn check_edit(&self, lease: &Lease, edit: &BlockEdit, staged: &mut BTreeMap<BlockId, (u64, String)>) -> Result<(), StoreError> {
        let Principal::Turn { agent, user } = lease.scope.principal() else { return Err(missing("block")) };
        let row = self.blocks.get(&edit.block).ok_or(missing("block"))?;
        if self.turn_access(agent, user, row) != Some(BlockAccess::Write) {
            return Err(missing("block"));
        }
        let is_linked = self.links.keys().any(|(block, linked)| *block == edit.block && *linked != agent);
        check_influence(edit, row.block.owner, is_linked, agent, user)?;
        let (version, value) = staged.entry(edit.block).or_insert_with(|| (row.block.version, row.block.value.clone()));
        if *version != edit.expected_version {
            return Err(StoreError::Conflict { expected: edit.expected_version, found: *version });
        }
        *value = edited(&edit.op, value, row.block.limit_chars)?;
        *version += 1;
        Ok(())
    }

    /// Makes one change that was checked.
    fn apply(&mut self, lease: &Lease, effect: Effect, committed: &mut Committed, now: Timestamp) {
        match effect {
            Effect::Append(messages) => committed.messages.extend(self.place(lease.conversation, Some(lease.run), messages, now)),
            Effect::Plan(planned) => {
                let calls = &mut self.journal_of(lease).calls;
                calls.retain(|call| call.state != CallState::Done);
                calls.extend(planned);
            }
            Effect::StartCall(token) => self.mark(lease, token, CallState::Started),
            Effect::FinishCall(token) => self.mark(lease, token, CallState::Done),
            Effect::EditBlock(edit) => {
                let row = self.blocks.get_mut(&edit.block).expect("checked before");
                let value = edit.op.apply(&row.block.value).expect("checked before");
                row.write(edit.op, value, edit.provenance, now);
            }
            Effect::AskApproval(new) => self.ask(lease, *new, now),
            Effect::InsertPassage(passage) => {
                self.put_passage(passage, now);
            }
            Effect::SetPrefix(prefix) => {
                if let Some(thread) = self.threads.get_mut(&lease.conversation) {
                    thread.conversation.prefix = prefix;
                }
            }
            Effect::PageOut(page_out) => {
                if let Some(thread) = self.threads.get_mut(&lease.conversation) {
                    thread.conversation.queue_start = page_out.queue_start;
                    thread.conversation.summary = page_out.summary;
                }
            }
            Effect::RecordStep(step) => {
                let journal = self.journal_of(lease);
                let (agent, is_self_begun) = (journal.run.agent, journal.run.priority.is_self_begun());
                journal.run.steps += 1;
                journal.run.usage += step.usage;
                let usage = step.usage;
                journal.steps.push(*step);
                self.settle(lease.run, usage, now);
                if is_self_begun {
                    self.use_by_self(agent, usage, now);
                }
            }
            Effect::Events(events) => {
                for body in events {
                    self.journal_of(lease).log(body, now);
                }
            }
            Effect::Finish { reason, error } => {
                let holder = self.threads.get(&lease.conversation).and_then(|t| t.holder);
                self.end(lease.run, reason, error, now);
                committed.next = holder.and_then(|h| self.take(lease.conversation, h.worker, h.ttl, now));
            }
        }
    }

    fn journal_of(&mut self, lease: &Lease) -> &mut Journal {
        self.runs.get_mut(&lease.run).expect("a held run has its journal")
    }

    fn mark(&mut self, lease: &Lease, token: Uuid, state: CallState) {
        if let Some(call) = self.journal_of(lease).calls.iter_mut().find(|c| c.token == token) {
            call.state = state;
        }
    }
}

/// The value after an edit that fits.
pub(super) fn edited(op: &BlockOp, value: &str, limit_chars: u32) -> Result<String, StoreError> {
    let value = op.apply(value).ok_or_else(|| StoreError::Invalid("the text to be replaced is not in the block".into()))?;
    check_length(&value, limit_chars)?;
    Ok(value)
}

/// Whether a block may have this value.
pub(super) fn check_length(value: &str, limit_chars: u32) -> Result<(), StoreError> {
    let (size, limit) = (value.chars().count() as u64, u64::from(limit_chars));
    if size > limit { Err(StoreError::TooLarge { what: "block (characters)", size, limit }) } else { Ok(()) }
}
