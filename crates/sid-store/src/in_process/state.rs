//! `StateStore`: accept, claim, load, commit.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sid_types::{CallState, ConversationId, MessageId, Run, RunId, RunStatus, Scope, Seq, Step, Timestamp, Usage, WorkerId};

use super::journal::after;
use super::room::{Journal, Room, UsedKey};
use super::{InProcess, missing};
use crate::{Accept, Accepted, Commit, Committed, IdempotencyKey, Lease, Loaded, OnBusy, Renewed, StateStore, StoreError};

/// How long an idempotency key is remembered.
pub(super) const KEY_LIFE: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

#[async_trait]
impl StateStore for InProcess {
    async fn accept(&self, scope: &Scope, accept: Accept) -> Result<Accepted, StoreError> {
        self.write(|state, now| state.room_mut(scope, "conversation")?.accept_checked(scope, accept, now))
    }

    async fn claim(&self, worker: WorkerId, want: usize, per_tenant: usize, ttl: Duration) -> Result<Vec<Lease>, StoreError> {
        self.write(|state, now| {
            let mut work = Vec::new();
            for (tenant, room) in &state.rooms {
                let mut own: Vec<_> = room.claimable(now).collect();
                own.sort_unstable();
                let (held, held_by_worker) = room.held_leases(worker, now);
                let room_left = per_tenant.saturating_sub(held_by_worker);
                work.extend(own.into_iter().take(room_left).enumerate().map(|(i, (age, id))| (held + i, age, *tenant, id)));
            }
            work.sort_unstable();
            let mut leases = Vec::new();
            for (_, _, tenant, id) in work {
                if leases.len() == want {
                    break;
                }
                leases.extend(state.rooms.get_mut(&tenant).and_then(|room| room.take(id, worker, ttl, now)));
            }
            Ok(leases)
        })
    }

    async fn renew(&self, leases: &[Lease], ttl: Duration) -> Result<Vec<Renewed>, StoreError> {
        self.write(|state, now| {
            let mut held = Vec::new();
            for lease in leases {
                let Some(room) = state.rooms.get_mut(&lease.scope.tenant()) else { continue };
                if room.check_lease(lease).is_err() {
                    continue;
                }
                let is_cancel_requested = room.runs.get(&lease.run).is_some_and(|j| j.run.cancel_requested);
                if let Some(holder) = room.threads.get_mut(&lease.conversation).and_then(|t| t.holder.as_mut()) {
                    (holder.ttl, holder.expires_at) = (ttl, after(now, ttl));
                    held.push(Renewed { lease: Lease { expires_at: holder.expires_at, ..lease.clone() }, is_cancel_requested });
                }
            }
            Ok(held)
        })
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.write(|state, _| {
            let room = state.room_mut(&lease.scope, "lease")?;
            room.check_lease(lease)?;
            if let Some(thread) = room.threads.get_mut(&lease.conversation) {
                thread.holder = None;
            }
            Ok(())
        })
    }

    async fn load(&self, lease: &Lease) -> Result<Loaded, StoreError> {
        self.write(|state, now| {
            let room = state.room_mut(&lease.scope, "lease")?;
            room.check_lease(lease)?;
            let thread = &room.threads[&lease.conversation];
            let (agent, user) = (thread.conversation.agent, thread.conversation.user);
            if let Some(user) = user {
                room.meet(agent, user, now);
            }
            let (room, thread, journal) = (&*room, &room.threads[&lease.conversation], &room.runs[&lease.run]);
            let teams = room.turn_teams(agent, user);
            Ok(Loaded {
                run: journal.run.clone(),
                agent: room.agents.get(&agent).cloned().ok_or(missing("agent"))?,
                user: user.and_then(|user| room.users.get(&user).cloned()),
                teams: user.into_iter().flat_map(|user| teams.iter().filter_map(move |team| room.membership(*team, user))).collect(),
                conversation: thread.conversation.clone(),
                queue: thread.queue().cloned().collect(),
                blocks: room.turn_blocks(agent, user),
                open_calls: journal.calls.iter().filter(|c| c.state != CallState::Done).cloned().collect(),
                last_contact: room.last_contact(thread, lease.run),
                began: Instant::now(),
            })
        })
    }

    async fn commit(&self, lease: &Lease, commit: Commit) -> Result<Committed, StoreError> {
        self.write(|state, now| {
            let gone = StoreError::Fenced { held: lease.epoch, current: lease.epoch + 1 };
            state.rooms.get_mut(&lease.scope.tenant()).ok_or(gone)?.commit(lease, commit, now)
        })
    }

    async fn run(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError> {
        Ok(self.read().room(scope, "run")?.journal(scope, run)?.run.clone())
    }

    async fn runs(&self, scope: &Scope, conversation: ConversationId, limit: usize) -> Result<Vec<Run>, StoreError> {
        let state = self.read();
        let room = state.room(scope, "conversation")?;
        room.thread(scope, conversation)?;
        let mut journals: Vec<&Journal> = room.runs.values().filter(|j| j.run.conversation == conversation).collect();
        journals.sort_unstable_by_key(|j| std::cmp::Reverse(j.ordinal));
        Ok(journals.into_iter().take(limit).map(|j| j.run.clone()).collect())
    }

    async fn steps(&self, scope: &Scope, run: RunId) -> Result<Vec<Step>, StoreError> {
        Ok(self.read().room(scope, "run")?.journal(scope, run)?.steps.clone())
    }

    async fn cancel(&self, scope: &Scope, run: RunId) -> Result<Run, StoreError> {
        self.write(|state, _| {
            let room = state.room_mut(scope, "run")?;
            room.journal(scope, run)?;
            let run = &mut room.runs.get_mut(&run).ok_or(missing("run"))?.run;
            run.cancel_requested |= !run.status.is_terminal();
            Ok(run.clone())
        })
    }

    async fn is_cancel_requested(&self, lease: &Lease) -> Result<bool, StoreError> {
        let state = self.read();
        let room = state.room(&lease.scope, "lease")?;
        room.check_lease(lease)?;
        Ok(room.runs.get(&lease.run).is_some_and(|j| j.run.cancel_requested))
    }

    async fn waiting_messages(&self, scope: &Scope, run: RunId) -> Result<Vec<MessageId>, StoreError> {
        Ok(self.read().room(scope, "run")?.journal(scope, run)?.waiting.iter().map(|m| m.id).collect())
    }
}

impl Room {
    /// [`StateStore::accept`]; changes nothing when it fails.
    pub(super) fn accept_checked(&mut self, scope: &Scope, accept: Accept, now: Timestamp) -> Result<Accepted, StoreError> {
        self.thread(scope, accept.conversation)?;
        if let Some(run) = self.accepted_before(scope, &accept, now)? {
            return Ok(Accepted { run, replayed: true, lease: None });
        }
        self.check_accept(&accept)?;
        Ok(self.accept(scope, accept, now))
    }

    /// The run that an earlier request with the same idempotency key, or the same run id, has made.
    fn accepted_before(&mut self, scope: &Scope, accept: &Accept, now: Timestamp) -> Result<Option<Run>, StoreError> {
        if let Some(IdempotencyKey { key, fingerprint }) = &accept.idempotency {
            if key.is_empty() || key.chars().count() > 255 {
                return Err(StoreError::Invalid("an idempotency key has 1 to 255 characters".into()));
            }
            self.idempotency.retain(|_, used| now.duration_since(used.at) < KEY_LIFE);
            if let Some(used) = self.idempotency.get(&(scope.principal(), key.clone())) {
                return if used.fingerprint == *fingerprint {
                    Ok(self.runs.get(&used.run).map(|j| j.run.clone()))
                } else {
                    Err(StoreError::KeyReused)
                };
            }
        }
        match self.runs.get(&accept.run) {
            Some(journal) if journal.run.conversation == accept.conversation => Ok(Some(journal.run.clone())),
            Some(_) => Err(StoreError::Exists { what: "run", name: accept.run.to_string() }),
            None => Ok(None),
        }
    }

    pub(super) fn check_accept(&self, accept: &Accept) -> Result<(), StoreError> {
        accept.check()?;
        let mut ids = BTreeSet::new();
        if let Some(known) = accept.messages.iter().find(|m| self.places.contains_key(&m.id) || !ids.insert(m.id)) {
            return Err(StoreError::Exists { what: "message", name: known.id.to_string() });
        }
        let thread = &self.threads[&accept.conversation];
        let is_idle = thread.active.is_none() && thread.waiting.is_empty();
        accept.check_place(thread.conversation.last_seq, is_idle)?;
        if !is_idle && accept.on_busy == OnBusy::Reject {
            return Err(StoreError::Busy);
        }
        let waits = !is_idle || accept.claim_for.is_none();
        if waits && thread.waiting.len() >= accept.queue_depth {
            return Err(StoreError::QueueFull { depth: thread.waiting.len() });
        }
        Ok(())
    }

    pub(super) fn accept(&mut self, scope: &Scope, accept: Accept, now: Timestamp) -> Accepted {
        let thread = self.threads.get_mut(&accept.conversation).expect("checked by the caller");
        let was_idle = thread.active.is_none() && thread.waiting.is_empty();
        let agent = thread.conversation.agent;
        let run = Run {
            id: accept.run,
            conversation: accept.conversation,
            agent,
            status: RunStatus::Queued,
            stop_reason: None,
            error: None,
            limits: accept.limits,
            priority: accept.priority,
            client_tools: accept.client_tools,
            steps: 0,
            usage: Usage::default(),
            commits: 0,
            cancel_requested: false,
            stimulus: accept.messages.iter().map(|m| m.id).collect(),
            created_at: now,
            started_at: None,
            ended_at: None,
        };
        let turn = self.queue_up(accept.conversation, accept.run, accept.priority, now);
        if accept.priority.is_self_begun() {
            self.begin_by_self(agent, now);
        }
        let thread = self.threads.get_mut(&accept.conversation).expect("checked by the caller");
        if let (OnBusy::Interrupt, Some(active)) = (accept.on_busy, thread.active) {
            self.runs.get_mut(&active).expect("an active run has its journal").run.cancel_requested = true;
        }
        self.places.extend(accept.messages.iter().map(|m| (m.id, (accept.conversation, Seq(0)))));
        let journal = Journal {
            run,
            ordinal: self.ordinals.next(),
            turn,
            waiting: accept.messages,
            steps: Vec::new(),
            calls: Vec::new(),
            events: Vec::new(),
            commit_epoch: 0,
        };
        self.runs.insert(accept.run, journal);
        if let Some(IdempotencyKey { key, fingerprint }) = accept.idempotency {
            self.idempotency.insert((scope.principal(), key), UsedKey { fingerprint, run: accept.run, at: now });
        }
        let claim = accept.claim_for.filter(|_| was_idle);
        let lease = claim.and_then(|(worker, ttl)| self.take(accept.conversation, worker, ttl, now));
        Accepted { run: self.runs[&accept.run].run.clone(), replayed: false, lease }
    }
}
