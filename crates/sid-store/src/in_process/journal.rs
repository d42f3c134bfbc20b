//! Runs in their conversations: placing messages, leases, ends.

use sid_types::{
    ConversationId, EventBody, Message, NewMessage, Principal, Priority, RunId, RunStatus, Scope, Seq, StopReason, Timestamp, WorkerId,
};

use std::time::Duration;

use super::room::{Holder, Journal, Placed, Room, Thread};
use crate::{Lease, RecordId, StoreError};

impl Room {
    /// Puts messages at the next sequence numbers.
    pub(super) fn place(&mut self, id: ConversationId, run: Option<RunId>, messages: Vec<NewMessage>, now: Timestamp) -> Vec<Message> {
        let Some(thread) = self.threads.get_mut(&id) else { return Vec::new() };
        let mut placed = Vec::with_capacity(messages.len());
        for new in messages {
            let seq = thread.conversation.last_seq.next();
            let message = new.placed(id, seq, run);
            thread.conversation.last_seq = seq;
            thread.conversation.last_at = Some(message.at);
            thread.messages.push(Placed { message: message.clone(), at: now });
            self.places.insert(message.id, (id, seq));
            placed.push(message);
        }
        for message in placed.iter().filter(|m| m.body.is_searchable()) {
            self.shelve(RecordId::Message(message.id));
        }
        placed
    }

    /// Lets a run wait in its conversation; answers its turn.
    pub(super) fn queue_up(&mut self, id: ConversationId, run: RunId, priority: Priority, now: Timestamp) -> Timestamp {
        let Some(thread) = self.threads.get_mut(&id) else { return now };
        let journals = &self.runs;
        let waiting = || thread.waiting.iter().filter_map(|run| journals.get(run));
        let own = waiting().filter(|journal| journal.run.priority == priority).map(|journal| journal.turn).max();
        let turn = after(now, priority.patience()).max(own.unwrap_or(Timestamp::MIN));
        let place = waiting().take_while(|journal| journal.turn <= turn).count();
        thread.waiting.insert(place, run);
        turn
    }

    /// Hands the conversation's next work to `worker`: the run that was given up, or the first that waits. Runs that were cancelled
    /// while they waited bring their messages and end here. `None` when nothing is left to do.
    pub(super) fn take(&mut self, id: ConversationId, worker: WorkerId, ttl: Duration, now: Timestamp) -> Option<Lease> {
        loop {
            let thread = self.threads.get_mut(&id)?;
            let run = thread.active.or_else(|| thread.waiting.pop_front())?;
            thread.active = Some(run);
            let journal = self.runs.get_mut(&run).expect("every run in a queue has its journal");
            if journal.run.status == RunStatus::Queued {
                journal.run.status = RunStatus::Running;
                journal.run.started_at = Some(now);
                let messages = std::mem::take(&mut journal.waiting);
                let is_cancelled = journal.run.cancel_requested;
                self.place(id, Some(run), messages, now);
                if is_cancelled {
                    self.end(run, StopReason::Cancelled, None, now);
                    continue;
                }
            }
            let thread = self.threads.get_mut(&id)?;
            thread.epoch += 1;
            thread.holder = Some(Holder { worker, expires_at: after(now, ttl), ttl });
            return Some(self.lease(id)?.1);
        }
    }

    /// Ends the active run: last event, lease released.
    pub(super) fn end(&mut self, run: RunId, reason: StopReason, error: Option<String>, now: Timestamp) {
        let Some(journal) = self.runs.get_mut(&run) else { return };
        journal.run.status = reason.status();
        journal.run.stop_reason = Some(reason);
        journal.run.error.clone_from(&error);
        journal.run.ended_at = Some(now);
        let done = EventBody::Done { status: reason.status(), stop_reason: reason, error, usage: journal.run.usage };
        journal.log(done, now);
        if let Some(thread) = self.threads.get_mut(&journal.run.conversation) {
            thread.active = None;
            thread.holder = None;
        }
        self.tell_run(run, now);
    }

    /// The living lease of a conversation.
    pub(super) fn lease(&self, id: ConversationId) -> Option<(&Thread, Lease)> {
        let thread = self.threads.get(&id)?;
        let (holder, run) = (thread.holder?, thread.active?);
        let principal = Principal::Turn { agent: thread.conversation.agent, user: thread.conversation.user };
        #[allow(clippy::disallowed_methods, reason = "the store states what a lease's turn may see: its own agent and user")]
        let scope = Scope::grant(self.tenant.id, principal);
        let Holder { worker, expires_at, .. } = holder;
        Some((thread, Lease { scope, conversation: id, run, worker, epoch: thread.epoch, expires_at }))
    }

    /// Whether this very lease still holds. The epoch decides, not the clock: a worker that was late, but whom nobody has replaced,
    /// goes on.
    pub(super) fn check_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        let thread = self.threads.get(&lease.conversation);
        let holds = thread.is_some_and(|t| t.holder.is_some() && t.epoch == lease.epoch && t.active == Some(lease.run));
        // An ended or erased lease has no successor whose epoch could be named.
        let current = thread.map_or(0, |t| t.epoch).max(lease.epoch + 1);
        if holds { Ok(()) } else { Err(StoreError::Fenced { held: lease.epoch, current }) }
    }

    /// The journal of a lease that holds.
    pub(super) fn held(&mut self, lease: &Lease) -> Result<&mut Journal, StoreError> {
        self.check_lease(lease)?;
        Ok(self.runs.get_mut(&lease.run).expect("a held run has its journal"))
    }

    /// Work without a living lease, as `(turn and ordinal of the next run, conversation)`.
    pub(super) fn claimable(&self, now: Timestamp) -> impl Iterator<Item = ((Timestamp, u64), ConversationId)> {
        self.threads.iter().filter_map(move |(id, thread)| {
            let is_free = thread.holder.is_none_or(|h| h.expires_at <= now);
            let run = thread.active.or_else(|| thread.waiting.front().copied()).filter(|_| is_free)?;
            let journal = self.runs.get(&run)?;
            Some(((journal.turn, journal.ordinal), *id))
        })
    }

    /// How many living leases the tenant has, and how many of them this worker holds.
    pub(super) fn held_leases(&self, worker: WorkerId, now: Timestamp) -> (usize, usize) {
        let held = || self.threads.values().filter_map(|t| t.holder).filter(|h| h.expires_at > now);
        (held().count(), held().filter(|h| h.worker == worker).count())
    }

    /// When the conversation's human last said something to its agent in any conversation, apart from this run.
    pub(super) fn last_contact(&self, thread: &Thread, run: RunId) -> Option<Timestamp> {
        thread.conversation.user?;
        let same_pair = self.threads.values().filter(|t| t.owner() == thread.owner());
        same_pair
            .filter_map(|t| {
                let said = |m: &&Message| m.run != Some(run) && m.body.role() == sid_types::Role::User;
                t.messages.iter().rev().map(|p| &p.message).find(said).map(|m| m.at)
            })
            .max()
    }
}

/// `ttl` from `now`.
pub(super) fn after(now: Timestamp, ttl: Duration) -> Timestamp {
    let ttl = jiff::SignedDuration::try_from(ttl).unwrap_or(jiff::SignedDuration::MAX);
    now.checked_add(ttl).unwrap_or(Timestamp::MAX)
}

/// The first place after the last message.
pub(super) const fn end_of(thread: &Thread) -> Seq {
    thread.conversation.last_seq.next()
}
