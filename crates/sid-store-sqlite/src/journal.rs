//! Runs in their conversations: rows, leases, ends, events.

use std::time::Duration;

use sid_store::{Lease, RunTerms, StoreError};
use sid_types::{
    AgentId, ConversationId, Event, EventBody, MessageId, NewMessage, PlannedCall, Run, RunId, RunStatus, StopReason, WorkerId,
};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use uuid::Uuid;

use crate::codec::{Columns, Id, from_word, nanos, status, status_number, to_json, word};
use crate::error::{Result, missing};
use crate::messages;
use crate::visibility::{CONV, Conv, Viewer};
use crate::writer::{After, Tx};

/// A run's row.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    /// The row's number: the run's place in the order of acceptance, across conversations.
    pub(crate) number: i64,
    pub(crate) run: Run,
    pub(crate) commit_epoch: u64,
    /// Events so far.
    pub(crate) events: u64,
    /// Messages that wait for the first claim.
    pub(crate) waiting: Vec<NewMessage>,
    pub(crate) calls: Vec<PlannedCall>,
}

/// The columns of [`Journal::read`], of a table `r`.
pub(crate) const RUN: &str =
    "r.run, r.id, r.status, r.stop_reason, r.error, r.limits, r.steps, r.usage, r.commits, r.commit_epoch, r.cancel,
    r.stimulus, r.waiting, r.calls, r.events, r.created_at, r.started_at, r.ended_at";

impl Journal {
    /// A run from the columns from `at` on.
    pub(crate) fn read(row: &SqliteRow, at: usize, conversation: ConversationId, agent: AgentId) -> Result<Self> {
        let stimulus = row.bytes(at + 11)?;
        let stimulus = stimulus.chunks_exact(16).filter_map(|b| Uuid::from_slice(b).ok()).map(MessageId::from_uuid).collect();
        let waiting = row.maybe_text(at + 12)?.map_or_else(|| Ok(Vec::new()), |w| serde_json::from_str(&w))?;
        let calls = row.maybe_text(at + 13)?.map_or_else(|| Ok(Vec::new()), |c| serde_json::from_str(&c))?;
        let terms: RunTerms = row.json(at + 5)?;
        let run = Run {
            id: row.id(at + 1)?,
            conversation,
            agent,
            status: status(row.int(at + 2)?)?,
            stop_reason: row.maybe_text(at + 3)?.map(|w| from_word(&w)).transpose()?,
            error: row.maybe_text(at + 4)?,
            limits: terms.limits,
            priority: terms.priority,
            client_tools: terms.client_tools,
            steps: u32::try_from(row.int(at + 6)?).unwrap_or(u32::MAX),
            usage: row.json(at + 7)?,
            commits: row.count(at + 8)?,
            cancel_requested: row.flag(at + 10)?,
            stimulus,
            created_at: row.time(at + 15)?,
            started_at: row.maybe_time(at + 16)?,
            ended_at: row.maybe_time(at + 17)?,
        };
        Ok(Self { number: row.int(at)?, run, commit_epoch: row.count(at + 9)?, events: row.count(at + 14)?, waiting, calls })
    }

    /// The run with its conversation, if it is there; nobody has checked who may see it.
    pub(crate) async fn find(conn: &mut SqliteConnection, viewer: &Viewer, id: RunId) -> Result<Option<(Conv, Self)>> {
        let sql = format!("SELECT {CONV}, {RUN} FROM runs r JOIN conversations c ON c.conv = r.conv WHERE r.tenant = ? AND r.id = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(viewer.tenant).bind(id.blob()).fetch_optional(conn).await?;
        let Some(row) = row else { return Ok(None) };
        let conv = Conv::read(&row, viewer.tenant, viewer.tenant_id())?;
        let journal = Self::read(&row, AFTER_CONV, conv.id, conv.agent)?;
        Ok(Some((conv, journal)))
    }

    /// The run, if the scope may see its conversation.
    pub(crate) async fn get(conn: &mut SqliteConnection, viewer: &Viewer, id: RunId) -> Result<(Conv, Self)> {
        let found = Self::find(conn, viewer, id).await?;
        Ok(found.filter(|(c, _)| viewer.sees_conversation(c.agent, c.user)).ok_or(missing("run"))?)
    }

    async fn numbered(conn: &mut SqliteConnection, number: i64, conv: &Conv) -> Result<Option<Self>> {
        let sql = format!("SELECT {RUN} FROM runs r WHERE r.run = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(number).fetch_optional(conn).await?;
        row.map(|r| Self::read(&r, 0, conv.id, conv.agent)).transpose()
    }

    /// Writes back what a commit has changed of it.
    pub(crate) fn save(&self, tx: &mut Tx) -> Result<()> {
        tx.later(
            "UPDATE runs SET status = ?, stop_reason = ?, error = ?, steps = ?, usage = ?, commits = ?, commit_epoch = ?, calls = ?,
             events = ?, started_at = ?, ended_at = ?, waiting = NULL WHERE run = ?",
        )
        .bind(status_number(self.run.status))
        .bind(self.run.stop_reason.map(|r| word(&r)).transpose()?)
        .bind(self.run.error.as_deref())
        .bind(i64::from(self.run.steps))
        .bind(to_json(&self.run.usage)?)
        .bind(self.run.commits as i64)
        .bind(self.commit_epoch as i64)
        .bind(if self.calls.is_empty() { None } else { Some(to_json(&self.calls)?) })
        .bind(self.events as i64)
        .bind(self.run.started_at.map(nanos))
        .bind(self.run.ended_at.map(nanos))
        .bind(self.number);
        Ok(())
    }

    /// Numbers and writes events. The caller saves the journal.
    pub(crate) fn log(&mut self, tx: &mut Tx, conv: &Conv, bodies: Vec<EventBody>) -> Result<Vec<Event>> {
        let mut events = Vec::with_capacity(bodies.len());
        for body in bodies {
            self.events += 1;
            events.push(Event { run: self.run.id, seq: self.events, body, at: tx.now });
        }
        for chunk in events.chunks(8) {
            let sql = format!("INSERT INTO events (tenant, run, seq, at, body) VALUES {}", vec!["(?,?,?,?,?)"; chunk.len()].join(","));
            let mut later = tx.later(&sql);
            for event in chunk {
                let body = to_json(&event.body)?;
                later = later.bind(conv.tenant).bind(self.number).bind(event.seq as i64).bind(nanos(event.at)).bind(body);
            }
        }
        if !events.is_empty() {
            tx.then(After::Events(conv.tenant_id, self.run.id));
        }
        Ok(events)
    }

    /// Ends the run: last event, lease released, the waiting run whose turn is next becomes the conversation's head. The caller saves both.
    pub(crate) async fn end(&mut self, tx: &mut Tx, conv: &mut Conv, reason: StopReason, error: Option<String>) -> Result<()> {
        self.run.status = reason.status();
        self.run.stop_reason = Some(reason);
        self.run.error.clone_from(&error);
        self.run.ended_at = Some(tx.now);
        let done = EventBody::Done { status: reason.status(), stop_reason: reason, error, usage: self.run.usage };
        self.log(tx, conv, vec![done])?;
        (conv.holder, conv.expires_at, conv.ttl) = (None, None, None);
        let next =
            sqlx::query("SELECT run FROM runs WHERE conv = ? AND status = 0 AND run <> ? ORDER BY ifnull(turn, created_at), run LIMIT 1")
                .bind(conv.conv)
                .bind(self.number)
                .fetch_optional(&mut tx.conn)
                .await?;
        conv.head = next.map(|row| row.int(0)).transpose()?;
        Ok(())
    }
}

/// The first column after those of a conversation.
pub(crate) const AFTER_CONV: usize = 17;

/// Hands the conversation's next work to `worker`: the run that was given up, or the first that waits. Runs that were cancelled while
/// they waited bring their messages and end here. `None` when nothing is left to do. The caller saves `conv`.
pub(crate) async fn take(tx: &mut Tx, conv: &mut Conv, worker: WorkerId, ttl: i64) -> Result<Option<Lease>> {
    loop {
        let Some(head) = conv.head else { return Ok(None) };
        let Some(mut journal) = Journal::numbered(&mut tx.conn, head, conv).await? else {
            conv.head = None;
            return Ok(None);
        };
        if journal.run.status == RunStatus::Queued {
            journal.run.status = RunStatus::Running;
            journal.run.started_at = Some(tx.now);
            // An id that was used while the run waited must not stop the conversation for ever.
            let mut waiting = std::mem::take(&mut journal.waiting);
            messages::unreserve(tx, journal.number);
            tx.flush().await?;
            let known = messages::known(&mut tx.conn, conv.tenant, &waiting).await?;
            waiting.retain(|m| !known.contains(&m.id));
            messages::place(tx, conv, Some(journal.run.id), waiting).await?;
            if journal.run.cancel_requested {
                journal.end(tx, conv, StopReason::Cancelled, None).await?;
                journal.save(tx)?;
                continue;
            }
            journal.save(tx)?;
        }
        return Ok(Some(grant(tx, conv, journal.run.id, worker, ttl)));
    }
}

/// A new lease of the conversation. The caller saves `conv`.
pub(crate) fn grant(tx: &Tx, conv: &mut Conv, run: RunId, worker: WorkerId, ttl: i64) -> Lease {
    conv.epoch += 1;
    conv.holder = Some(worker);
    conv.ttl = Some(ttl);
    let expires_at = tx.now.checked_add(jiff::SignedDuration::from_nanos(ttl)).unwrap_or(jiff::Timestamp::MAX);
    conv.expires_at = Some(nanos(expires_at));
    Lease { scope: conv.turn_scope(), conversation: conv.id, run, worker, epoch: conv.epoch, expires_at }
}

/// Nanoseconds of a time to live.
pub(crate) fn ttl_nanos(ttl: Duration) -> i64 {
    // Half of what a time can hold: now + ttl stays in range.
    i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX / 2).min(i64::MAX / 2)
}

/// A lease's conversation and run as they are now.
pub(crate) struct Held {
    pub(crate) conv: Conv,
    /// The conversation's head run, claimed or waiting.
    pub(crate) head: Option<Journal>,
    pub(crate) is_held: bool,
}

impl Held {
    pub(crate) async fn find(conn: &mut SqliteConnection, tenant: i64, lease: &Lease) -> Result<Option<Self>> {
        let sql = format!("SELECT {CONV}, {RUN} FROM conversations c LEFT JOIN runs r ON r.run = c.head WHERE c.tenant = ? AND c.id = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant).bind(lease.conversation.blob()).fetch_optional(conn).await?;
        row.map(|row| Self::read(&row, tenant, lease, AFTER_CONV)).transpose()
    }

    /// From a row of a conversation and, from `run_at` on, its head run.
    pub(crate) fn read(row: &SqliteRow, tenant: i64, lease: &Lease, run_at: usize) -> Result<Self> {
        let conv = Conv::read(row, tenant, lease.scope.tenant())?;
        let head = if row.maybe_int(run_at)?.is_some() { Some(Journal::read(row, run_at, conv.id, conv.agent)?) } else { None };
        // The epoch decides, not the clock: a worker that was late, but whom nobody has replaced, goes on.
        let is_held = conv.holder.is_some() && conv.epoch == lease.epoch && head.as_ref().is_some_and(|h| h.run.id == lease.run);
        Ok(Self { conv, head, is_held })
    }

    /// The conversation and run of a lease that holds.
    pub(crate) async fn get(conn: &mut SqliteConnection, tenant: i64, lease: &Lease) -> Result<(Conv, Journal)> {
        match Self::find(conn, tenant, lease).await? {
            Some(Self { conv, head: Some(head), is_held: true }) => Ok((conv, head)),
            other => Err(fenced(lease, other.map(|h| h.conv.epoch)).into()),
        }
    }
}

/// The lease does not hold. An ended or erased one has no successor whose epoch could be named.
pub(crate) fn fenced(lease: &Lease, current: Option<u64>) -> StoreError {
    StoreError::Fenced { held: lease.epoch, current: current.unwrap_or(0).max(lease.epoch + 1) }
}
