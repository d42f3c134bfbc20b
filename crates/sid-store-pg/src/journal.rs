//! Writes to a conversation: read once, decided in memory, written once.
//!
//! A write reads what it must know with `sid.peek`, decides here without any IO, and hands the outcome to `sid.write_all`, which refuses it if
//! the conversation has changed since. So an ordinary write costs two round trips and holds no transaction in between. Who is refused
//! tries again inside a transaction that has locked the conversation first.

use std::collections::VecDeque;

use jiff::tz::TimeZone;
use serde::Deserialize;
use sid_store::{Lease, RunTerms, StoreError};
use sid_types::{
    Body, ConversationId, Event, EventBody, Message, NewMessage, Run, RunId, RunStatus, Seq, Step, StopReason, TenantId, Timestamp,
    WorkerId,
};
use uuid::Uuid;

use crate::backend::PgStore;
use crate::codec::{Columns, Id, kept, role_number, status_number, to_json, word};
use crate::error::{Fault, Result, damaged};
use crate::glance::Inquiry;
use crate::known::{Known, Seen};
use crate::payload::{
    CancelWrite, ConvWrite, DayWrite, EventWrite, HeadWrite, MessageWrite, NewRun, OutboxWrite, Payload, PlaceWrite, QuoteWrite, RunWrite,
    SelfBegunWrite, Start, StepWrite, UsedWrite,
};
use crate::rows::{Conv, Journal, RunRow, extra, list, told};
use crate::state::ttl_micros;
use crate::tx::Tx;
use crate::writes::done;

/// What to look for beside the conversation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    /// `None`: the conversation of `run`.
    pub(crate) conversation: Option<ConversationId>,
    pub(crate) run: Option<RunId>,
    /// Which of these messages' ids are taken.
    pub(crate) ids: Vec<Uuid>,
    /// Who used which idempotency key.
    pub(crate) key: Option<(Vec<u8>, String)>,
}

/// A conversation as it was in one moment.
pub(crate) struct Peek {
    pub(crate) now: Timestamp,
    /// What `now` follows from.
    pub(crate) seen: Seen,
    pub(crate) conv: Option<Conv>,
    /// The oldest run that has not ended.
    pub(crate) head: Option<Journal>,
    /// The first few runs that wait behind it.
    pub(crate) queue: Vec<Journal>,
    /// How many runs wait in all, a waiting head too.
    pub(crate) depth: usize,
    /// The run that was asked for.
    pub(crate) run: Option<Journal>,
    pub(crate) known: Vec<Uuid>,
    pub(crate) used: Option<Used>,
}

/// An idempotency key that was used.
pub(crate) struct Used {
    pub(crate) fingerprint: String,
    pub(crate) run: Option<Journal>,
}

/// A [`Peek`] as the database tells it.
#[derive(Deserialize)]
struct PeekRow {
    now: Timestamp,
    conv: Option<Conv>,
    head: Option<RunRow>,
    #[serde(deserialize_with = "list")]
    queue: Vec<RunRow>,
    depth: usize,
    run: Option<RunRow>,
    #[serde(deserialize_with = "list")]
    known: Vec<Uuid>,
    used: Option<UsedRow>,
}

#[derive(Deserialize)]
struct UsedRow {
    fingerprint: String,
    run: Option<RunRow>,
}

impl PeekRow {
    fn peek(self) -> Result<Peek> {
        let Self { now, conv, head, queue, depth, run, known, used } = self;
        let seen = Seen::new(now);
        // Without a conversation there are no runs either.
        let Some(agent) = conv.as_ref().map(|c| c.agent) else {
            return Ok(Peek { now, seen, conv, head: None, queue: Vec::new(), depth, run: None, known, used: None });
        };
        let one = |row: Option<RunRow>| row.map(|row| row.journal(agent)).transpose();
        let used = match used {
            Some(UsedRow { fingerprint, run }) => Some(Used { fingerprint, run: one(run)? }),
            None => None,
        };
        let queue = queue.into_iter().map(|row| row.journal(agent)).collect::<Result<_>>()?;
        Ok(Peek { now, seen, conv, head: one(head)?, queue, depth, run: one(run)?, known, used })
    }
}

const PEEK: &str = "SELECT sid.peek($1, $2, $3, $4, $5, $6, $7, $8)";

impl PgStore {
    /// Looks at a conversation: one round trip. In a transaction it is locked first.
    pub(crate) async fn peek(&self, tx: Option<&mut Tx>, tenant: TenantId, question: &Question) -> Result<Peek> {
        let Question { conversation, run, ids, key } = question.clone();
        let is_locked = tx.is_some();
        let (principal, key) = key.map_or((None, None), |(p, k)| (Some(p), Some(told(&k))));
        let query = self
            .call(PEEK)
            .bind(tenant.uuid())
            .bind(tx.as_ref().map_or_else(|| self.clock(), |tx| tx.clock.map(|at| at.to_string())))
            .bind(conversation.map(Id::raw))
            .bind(run.map(Id::raw))
            .bind(ids)
            .bind(principal)
            .bind(key)
            .bind(is_locked);
        let row = match tx {
            Some(tx) => query.fetch_one_in(tx.conn()).await?,
            None => self.timely(query.fetch_one()).await?,
        };
        row.json::<PeekRow>(0)?.peek()
    }

    /// The conversation as this process has left it, without a look at the database. It may have changed since, so this is only good for a write,
    /// which finds that out, and never for an answer or a refusal.
    pub(crate) fn recall_peek(&self, tenant: TenantId, question: &Question) -> Option<Peek> {
        let peek = self.known().recall(question.conversation?, question.run, self.test_time())?;
        Some(peek).filter(|p| p.conv.as_ref().is_some_and(|c| c.tenant == tenant))
    }

    /// Writes a draft: one round trip. `false`: the conversation is not as it was read, and nothing was written.
    pub(crate) async fn put(&self, tx: Option<&mut Tx>, mut draft: Draft) -> Result<bool> {
        let conversation = draft.conv.id;
        // Whatever happens, this is not how it is left.
        self.known().forget(conversation);
        let is_own = tx.is_none();
        let after = if is_own { draft.after() } else { None };
        let (rev, start, placed) = (draft.rev, draft.conv.queue_start, std::mem::take(&mut draft.placed));
        let is_written = Box::pin(self.write(tx, draft)).await?;
        if is_own && is_written {
            // It will soon be found.
            placed.iter().filter(|m| m.body.is_searchable()).for_each(|m| self.recent().keep(m.clone()));
            self.queues().follow(conversation, rev, placed, start);
            after.into_iter().for_each(|after| self.known().learn(after));
        } else {
            // A transaction may yet be rolled back.
            self.queues().forget(conversation);
        }
        Ok(is_written)
    }

    async fn write(&self, tx: Option<&mut Tx>, draft: Draft) -> Result<bool> {
        let tenant = draft.conv.tenant;
        let runs: Vec<RunId> = draft.payload.events.iter().map(|e| RunId::from_uuid(e.run)).collect();
        let starts = draft.starts(self).filter(|_| tx.is_none());
        let payload = Payload { starts, ..draft.payload() };
        let is_written = match tx {
            Some(tx) => {
                let told = tx.clock.map(|at| at.to_string());
                !done(&self.write_all(tenant, told, &payload)?.fetch_one_in(tx.conn()).await?)?.is_empty()
            }
            None => self.write_together(tenant, payload).await?,
        };
        if is_written {
            // Whoever follows in this process looks at once; in a transaction this is a little early, and the poll makes up for it.
            for run in runs {
                self.watchers().wake(tenant, run);
            }
        }
        Ok(is_written)
    }
}

/// Where messages come from that get their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Their ids were taken when their run was accepted.
    Waiting,
    /// Their ids are new.
    New,
}

/// A conversation as it will be, and what is written on the way there.
pub(crate) struct Draft {
    pub(crate) now: Timestamp,
    seen: Seen,
    pub(crate) conv: Conv,
    rev: i64,
    lease_changed: bool,
    has_outbox: bool,
    /// Runs that wait behind the head, in the order of their turns.
    queue: VecDeque<Journal>,
    /// Whether more wait than are known here.
    has_more: bool,
    /// The head's journal as it will be; `None` when there is no head, or nobody here knows it.
    head: Option<Journal>,
    /// Messages that get their places.
    placed: Vec<Message>,
    payload: Payload,
}

impl Draft {
    /// The head's journal comes along, if there is a head.
    pub(crate) fn new(store: &PgStore, peek: Peek) -> Result<Option<(Self, Option<Journal>)>> {
        let Some(conv) = peek.conv else { return Ok(None) };
        let head = peek.head;
        let queue: VecDeque<Journal> = peek.queue.into();
        let waiting = queue.len() + usize::from(head.as_ref().is_some_and(|h| h.run.status == RunStatus::Queued));
        let draft = Self {
            now: peek.now,
            seen: peek.seen,
            rev: conv.rev,
            conv,
            lease_changed: false,
            has_outbox: store.config().outbox,
            queue,
            has_more: peek.depth > waiting,
            head: None,
            placed: Vec::new(),
            payload: Payload::default(),
        };
        Ok(Some((draft, head)))
    }

    /// The run that is accepted into an idle conversation and handed to a worker of this process. Where others wait, nothing is read under their lock.
    fn starts(&self, store: &PgStore) -> Option<Start> {
        let new = self.payload.new_runs.first().map(|new| RunId::from_uuid(new.id));
        let run = self.conv.head.filter(|head| Some(*head) == new && self.conv.holder.is_some())?;
        let kept = store.queues().get(self.conv.id).filter(|(rev, _)| *rev == self.rev);
        let look = Inquiry::foreseen(store, &self.conv.turn_scope());
        Some(Start { conv: self.conv.id.uuid(), run, rev: kept.map(|_| self.rev + 1), look })
    }

    fn payload(mut self) -> Payload {
        let c = &self.conv;
        self.payload.convs.push(ConvWrite {
            conv: c.id.uuid(),
            rev: self.rev,
            last_seq: c.last_seq,
            queue_start: c.queue_start,
            last_at: c.last_at,
            head: c.head.map(Id::raw),
            new_run: self.payload.new_runs.first().map(|run| run.new_run),
            lease: self.lease_changed,
            epoch: c.epoch,
            holder: c.holder.map(Id::raw),
            expires_at: c.expires_at,
            ttl_us: c.ttl_us,
        });
        self.payload
    }

    /// Puts messages at the next places of the conversation.
    pub(crate) fn place(&mut self, run: Option<RunId>, messages: Vec<NewMessage>, origin: Origin) -> Result<Vec<Message>> {
        let zone = zone(self.conv.zone.as_deref());
        let (conv, part) = (self.conv.id.uuid(), self.conv.part);
        let mut placed = Vec::with_capacity(messages.len());
        for mut new in messages {
            new.at = kept(new.at);
            self.conv.last_seq += 1;
            self.conv.last_at = Some(new.at);
            let m = new.placed(self.conv.id, Seq(self.conv.last_seq), run);
            let place = PlaceWrite { conv, part, id: m.id.uuid(), seq: Some(m.seq.0) };
            match origin {
                Origin::Waiting => self.payload.placed.push(place),
                Origin::New => self.payload.ids.push(place),
            }
            let searchable = m.body.is_searchable();
            if searchable {
                let day = m.at.to_zoned(zone.clone()).date();
                if !self.payload.days.iter().any(|d| d.day == day) {
                    self.payload.days.push(DayWrite { conv, part, day, at: self.now });
                }
            }
            if let Body::Tool { quotes, .. } = &m.body {
                let quoting = m.id.uuid();
                self.payload.quotes.extend(quotes.iter().map(|quoted| QuoteWrite { conv, quoted: quoted.uuid(), quoting }));
            }
            self.payload.messages.push(MessageWrite {
                conv,
                part,
                seq: m.seq.0,
                id: m.id.uuid(),
                searchable,
                run: m.run.map(Id::raw),
                role: role_number(m.body.role()),
                text: told(m.body.text()),
                extra: extra(&m)?,
                speaker: m.speaker.as_deref().map(told),
                at: m.at,
                written_at: self.now,
                tokens: m.tokens.map(|t| t.0),
            });
            placed.push(m);
        }
        self.placed.extend_from_slice(&placed);
        Ok(placed)
    }

    /// Takes ids for messages that wait with a run.
    pub(crate) fn reserve(&mut self, messages: &[NewMessage]) {
        let (conv, part) = (self.conv.id.uuid(), self.conv.part);
        self.payload.ids.extend(messages.iter().map(|m| PlaceWrite { conv, part, id: m.id.uuid(), seq: None }));
    }

    /// A run that was accepted. Behind others it waits; alone it is the head.
    pub(crate) fn insert_run(&mut self, run: &Run, waiting: Option<&[NewMessage]>) -> Result<()> {
        self.payload.new_runs.push(NewRun {
            conv: self.conv.id.uuid(),
            id: run.id.uuid(),
            new_run: 1,
            status: status_number(run.status),
            limits: to_json(&RunTerms::of(run))?,
            usage: to_json(&run.usage)?,
            stimulus: run.stimulus.iter().map(|id| id.uuid()).collect(),
            waiting: waiting.map(to_json).transpose()?,
            priority: run.priority.number(),
            patience_us: ttl_micros(run.priority.patience()),
            at: self.now,
        });
        if run.priority.is_self_begun() {
            self.payload.self_begun.push(SelfBegunWrite { conv: self.conv.id.uuid(), runs: 1, tokens: 0 });
        }
        if self.conv.head.is_none() {
            self.conv.head = Some(run.id);
            let is_running = run.status == RunStatus::Running;
            self.head =
                is_running.then(|| Journal { run: run.clone(), commit_epoch: 0, events: 0, waiting: Vec::new(), calls: Vec::new() });
        } else {
            self.has_more = true;
        }
        Ok(())
    }

    pub(crate) fn use_key(&mut self, principal: &[u8], key: &str, fingerprint: &[u8], run: RunId) {
        self.payload.used.push(UsedWrite {
            conv: self.conv.id.uuid(),
            principal: hex(principal),
            key: told(key),
            fingerprint: hex(fingerprint),
            run: run.uuid(),
            at: self.now,
        });
    }

    /// Asks a run to stop.
    pub(crate) fn cancel(&mut self, run: RunId) {
        self.payload.cancel.push(CancelWrite { conv: self.conv.id.uuid(), run: run.uuid() });
    }

    /// Numbers and writes events. The caller saves the journal.
    pub(crate) fn log(&mut self, journal: &mut Journal, bodies: Vec<EventBody>) -> Result<Vec<Event>> {
        let mut events = Vec::with_capacity(bodies.len());
        for body in bodies {
            journal.events += 1;
            let (run, seq) = (journal.run.id, journal.events);
            let (conv, at) = (self.conv.id.uuid(), self.now);
            let text = self.payload.text(to_json(&body)?);
            self.payload.events.push(EventWrite { conv, run: run.uuid(), seq, at, kind: body.name(), body: text });
            events.push(Event { run, seq, body, at: self.now });
        }
        Ok(events)
    }

    pub(crate) fn record(&mut self, journal: &mut Journal, mut step: Step) -> Result<()> {
        journal.run.steps += 1;
        journal.run.usage += step.usage;
        if journal.run.priority.is_self_begun() {
            let tokens = step.usage.prompt_tokens + step.usage.completion_tokens;
            self.payload.self_begun.push(SelfBegunWrite { conv: self.conv.id.uuid(), runs: 0, tokens });
        }
        // What erasure takes away stands in columns of its own.
        let (tail, recalled) = (step.tail.take(), std::mem::take(&mut step.recalled));
        let tail = tail.map(|tail| self.payload.text(told(&tail)));
        let recalled = self.payload.text(to_json(&recalled)?);
        self.payload.steps.push(StepWrite {
            conv: self.conv.id.uuid(),
            run: journal.run.id.uuid(),
            number: step.number,
            doc: to_json(&step)?,
            tail,
            recalled,
        });
        Ok(())
    }

    pub(crate) fn set_prefix(&mut self, prefix: Option<&str>) {
        let head = self.head_write();
        (head.sets_prefix, head.prefix) = (true, prefix.map(told));
    }

    pub(crate) fn set_summary(&mut self, summary: &sid_types::RecursiveSummary) -> Result<()> {
        self.head_write().summary = Some(to_json(summary)?);
        Ok(())
    }

    fn head_write(&mut self) -> &mut HeadWrite {
        let heads = &mut self.payload.heads;
        if heads.is_empty() {
            heads.push(HeadWrite { conv: self.conv.id.uuid(), summary: None, sets_prefix: false, prefix: None });
        }
        &mut heads[0]
    }

    /// How this process leaves the conversation, if all of it is known: nobody waits in it.
    fn after(&self) -> Option<Known> {
        let is_known = self.queue.is_empty() && !self.has_more && self.head.as_ref().map(|h| h.run.id) == self.conv.head;
        is_known.then(|| {
            let mut conv = self.conv.clone();
            conv.rev = self.rev + 1;
            Known { conv, head: self.head.clone(), seen: self.seen }
        })
    }

    /// Writes back what has changed of a run.
    pub(crate) fn save(&mut self, journal: &Journal) -> Result<()> {
        self.head = (!journal.run.status.is_terminal()).then(|| journal.clone());
        let run = &journal.run;
        self.payload.runs.push(RunWrite {
            conv: self.conv.id.uuid(),
            id: run.id.uuid(),
            status: status_number(run.status),
            stop_reason: run.stop_reason.map(|r| word(&r)).transpose()?,
            error: run.error.as_deref().map(told),
            steps: run.steps,
            usage: to_json(&run.usage)?,
            commits: run.commits,
            commit_epoch: journal.commit_epoch,
            calls: if journal.calls.is_empty() { None } else { Some(to_json(&journal.calls)?) },
            events: journal.events,
            started_at: run.started_at,
            ended_at: run.ended_at,
        });
        Ok(())
    }

    /// Ends the head run: last event, lease released, the next waiting run becomes the head. Saves the journal.
    pub(crate) fn end(&mut self, journal: &mut Journal, reason: StopReason, error: Option<String>) -> Result<()> {
        let run = &mut journal.run;
        run.status = reason.status();
        run.stop_reason = Some(reason);
        run.error.clone_from(&error);
        run.ended_at = Some(self.now);
        let done = EventBody::Done { status: reason.status(), stop_reason: reason, error, usage: run.usage };
        self.log(journal, vec![done])?;
        self.save(journal)?;
        if self.has_outbox {
            let (conv, part, at) = (self.conv.id.uuid(), self.conv.part, self.now);
            self.payload.outbox.push(OutboxWrite { conv, part, at, topic: "run.done", subject: journal.run.id.uuid() });
        }
        self.release();
        self.conv.head = self.queue.front().map(|next| next.run.id);
        Ok(())
    }

    /// The lease is given back.
    pub(crate) fn release(&mut self) {
        (self.conv.holder, self.conv.expires_at, self.conv.ttl_us) = (None, None, None);
        self.lease_changed = true;
    }

    /// Hands the run that waits at the head to `worker`. Runs that were cancelled while they waited bring their messages and end here.
    /// `None` when nothing is left to do, or when nobody here knows what comes next: a later claim finds it.
    pub(crate) fn take_next(&mut self, worker: WorkerId, ttl_us: i64) -> Result<Option<Lease>> {
        while let Some(journal) = self.queue.front() {
            if journal.run.cancel_requested && self.queue.len() == 1 && self.has_more {
                break;
            }
            let Some(mut journal) = self.queue.pop_front() else { break };
            if self.start(&mut journal)? {
                return Ok(Some(self.grant(journal.run.id, worker, ttl_us)));
            }
        }
        Ok(None)
    }

    /// The first claim of a run: it is running, its messages get their places. `false`: it was cancelled while it waited, and ended here.
    pub(crate) fn start(&mut self, journal: &mut Journal) -> Result<bool> {
        journal.run.status = RunStatus::Running;
        journal.run.started_at = Some(self.now);
        let waiting = std::mem::take(&mut journal.waiting);
        self.place(Some(journal.run.id), waiting, Origin::Waiting)?;
        if journal.run.cancel_requested {
            self.end(journal, StopReason::Cancelled, None)?;
            return Ok(false);
        }
        self.save(journal)?;
        Ok(true)
    }

    /// A new lease of the conversation.
    pub(crate) fn grant(&mut self, run: RunId, worker: WorkerId, ttl_us: i64) -> Lease {
        self.lease_changed = true;
        self.conv.epoch += 1;
        self.conv.holder = Some(worker);
        self.conv.ttl_us = Some(ttl_us);
        let expires_at = self.now.checked_add(jiff::SignedDuration::from_micros(ttl_us)).unwrap_or(Timestamp::MAX);
        self.conv.expires_at = Some(expires_at);
        Lease { scope: self.conv.turn_scope(), conversation: self.conv.id, run, worker, epoch: self.conv.epoch, expires_at }
    }

    /// Whether this very lease holds. The epoch decides, not the clock: a worker that was late, but whom nobody has replaced, goes on.
    pub(crate) fn holds(&self, lease: &Lease) -> bool {
        self.conv.holder.is_some() && self.conv.epoch == lease.epoch && self.conv.head == Some(lease.run)
    }
}

/// The conversation and run of a lease that holds.
pub(crate) fn held(store: &PgStore, peek: Peek, lease: &Lease) -> Result<(Draft, Journal)> {
    match Draft::new(store, peek)? {
        Some((draft, Some(head))) if draft.holds(lease) => Ok((draft, head)),
        Some((draft, _)) => Err(fenced(lease, Some(draft.conv.epoch)).into()),
        None => Err(fenced(lease, None).into()),
    }
}

/// The lease does not hold. An ended or erased one has no successor whose epoch could be named.
pub(crate) fn fenced(lease: &Lease, current: Option<u64>) -> StoreError {
    StoreError::Fenced { held: lease.epoch, current: current.unwrap_or(0).max(lease.epoch + 1) }
}

/// The zone in which a user's days are told; UTC without one.
pub(crate) fn zone(name: Option<&str>) -> TimeZone {
    name.and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC)
}

/// Bytes as JSON carries them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// A write that lost its race although it had locked what it writes to: somebody else writes around the lock.
pub(crate) fn lost() -> Fault {
    damaged("a locked conversation has changed").into()
}
