//! Accepting a stimulus: one transaction, few statements when the conversation is idle.

use sid_store::{Accept, Accepted, IdempotencyKey, OnBusy, RunTerms, StoreError};
use sid_types::{Principal, Priority, Run, RunStatus, Seq, Usage};

use crate::codec::{Columns, Id, nanos, status_number, to_json};
use crate::error::{Result, missing};
use crate::journal::{Journal, grant, ttl_nanos};
use crate::messages;
use crate::usage;
use crate::visibility::{Conv, Viewer};
use crate::writer::Tx;

/// How long an idempotency key is remembered: 24 h.
pub(crate) const KEY_LIFE: i64 = 24 * 3_600 * 1_000_000_000;

pub(crate) async fn accept(tx: &mut Tx, viewer: Viewer, accept: Accept) -> Result<Accepted> {
    let first = accept.messages.first().map(|m| m.id);
    write(tx, viewer, accept).await.map_err(|fault| match first {
        Some(first) if fault.is_unique_violation() => messages::there_already(first).into(),
        _ => fault,
    })
}

async fn write(tx: &mut Tx, viewer: Viewer, accept: Accept) -> Result<Accepted> {
    let mut conv = Conv::get(&mut tx.conn, &viewer, accept.conversation).await?;
    if let Some(replayed) = accepted_before(tx, &viewer, &conv, &accept).await? {
        return Ok(replayed);
    }
    accept.check()?;
    let was_idle = conv.head.is_none();
    accept.check_place(Seq(conv.last_seq), was_idle)?;
    if !was_idle && accept.on_busy == OnBusy::Reject {
        return Err(StoreError::Busy.into());
    }
    let claim_for = accept.claim_for.filter(|_| was_idle);
    if claim_for.is_none() {
        let row = sqlx::query("SELECT count(*) FROM runs WHERE conv = ? AND status = 0").bind(conv.conv).fetch_one(&mut tx.conn).await?;
        let depth = usize::try_from(row.int(0)?).unwrap_or(usize::MAX);
        if depth >= accept.queue_depth {
            return Err(StoreError::QueueFull { depth }.into());
        }
        // Messages that are placed at once meet the unique rule; those that wait are looked up.
        if let Some(known) = messages::known(&mut tx.conn, conv.tenant, &accept.messages).await?.first() {
            return Err(messages::there_already(*known).into());
        }
    }
    if let (OnBusy::Interrupt, Some(head)) = (accept.on_busy, conv.head) {
        tx.later("UPDATE runs SET cancel = 1 WHERE run = ? AND status = 1").bind(head);
    }

    let run = Run {
        id: accept.run,
        conversation: conv.id,
        agent: conv.agent,
        status: if claim_for.is_some() { RunStatus::Running } else { RunStatus::Queued },
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
        created_at: tx.now,
        started_at: claim_for.map(|_| tx.now),
        ended_at: None,
    };
    let waiting = if claim_for.is_some() { None } else { Some(to_json(&accept.messages)?) };
    let turn = turn_of(tx, &conv, run.priority).await?;
    let number = insert(tx, &conv, &run, waiting, turn)?;
    if run.priority.is_self_begun() {
        usage::begin_by_self(tx, &conv);
    }
    // Ids that are placed at once meet those that wait here, and those that were placed at their own table's rule.
    messages::reserve(tx, conv.tenant, number, &accept.messages);
    let mut lease = None;
    if let Some((worker, ttl)) = claim_for {
        messages::unreserve(tx, number);
        messages::place(tx, &mut conv, Some(run.id), accept.messages).await?;
        lease = Some(grant(tx, &mut conv, run.id, worker, ttl_nanos(ttl)));
    }
    if was_idle || goes_before(tx, &conv, turn).await? {
        conv.head = Some(number);
        conv.save(tx);
    }
    tx.flush().await?;
    Ok(Accepted { run, replayed: false, lease })
}

/// When it is a new run's turn, in nanoseconds: never before that of one of the same priority that waits already.
async fn turn_of(tx: &mut Tx, conv: &Conv, priority: Priority) -> Result<i64> {
    let row = sqlx::query("SELECT max(ifnull(turn, created_at)) FROM runs WHERE conv = ? AND status = 0 AND priority = ?")
        .bind(conv.conv)
        .bind(i64::from(priority.number()))
        .fetch_one(&mut tx.conn)
        .await?;
    let turn = nanos(tx.now).saturating_add(ttl_nanos(priority.patience()));
    Ok(turn.max(row.maybe_int(0)?.unwrap_or(i64::MIN)))
}

/// Whether the conversation's head waits, and a run with this turn goes before it.
async fn goes_before(tx: &mut Tx, conv: &Conv, turn: i64) -> Result<bool> {
    let Some(head) = conv.head.filter(|_| conv.holder.is_none()) else { return Ok(false) };
    let query = sqlx::query("SELECT 1 FROM runs WHERE run = ? AND status = 0 AND ifnull(turn, created_at) > ?");
    Ok(query.bind(head).bind(turn).fetch_optional(&mut tx.conn).await?.is_some())
}

/// The run that an earlier request with the same idempotency key, or the same run id, has made. Notes a new key.
async fn accepted_before(tx: &mut Tx, viewer: &Viewer, conv: &Conv, accept: &Accept) -> Result<Option<Accepted>> {
    let mut replayed = None;
    if let Some(IdempotencyKey { key, fingerprint }) = &accept.idempotency {
        if key.is_empty() || key.chars().count() > 255 {
            return Err(StoreError::Invalid("an idempotency key has 1 to 255 characters".into()).into());
        }
        let now = nanos(tx.now);
        let row = sqlx::query(
            "DELETE FROM idempotency WHERE at <= ?;
             INSERT INTO idempotency (tenant, principal, key, fingerprint, run, at) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET at = at RETURNING fingerprint, run",
        )
        .bind(now.saturating_sub(KEY_LIFE))
        .bind(conv.tenant)
        .bind(principal(viewer))
        .bind(key.as_str())
        .bind(&fingerprint[..])
        .bind(accept.run.blob())
        .bind(now)
        .fetch_one(&mut tx.conn)
        .await?;
        if row.bytes(0)? != fingerprint {
            return Err(StoreError::KeyReused.into());
        }
        let run = row.id(1)?;
        if run != accept.run {
            replayed = Some(Journal::find(&mut tx.conn, viewer, run).await?.ok_or(missing("run"))?.1);
        }
    }
    if replayed.is_none()
        && let Some((of, journal)) = Journal::find(&mut tx.conn, viewer, accept.run).await?
    {
        if of.conv != conv.conv {
            return Err(StoreError::Exists { what: "run", name: accept.run.to_string() }.into());
        }
        replayed = Some(journal);
    }
    Ok(replayed.map(|journal| Accepted { run: journal.run, replayed: true, lease: None }))
}

/// Who used a key.
fn principal(viewer: &Viewer) -> Vec<u8> {
    let mut out = Vec::with_capacity(33);
    match viewer.scope.principal() {
        Principal::Tenant { key } => {
            out.push(b't');
            out.extend(key.blob());
        }
        Principal::User { user } => {
            out.push(b'u');
            out.extend(user.blob());
        }
        Principal::Turn { agent, user } => {
            out.push(b'a');
            out.extend(agent.blob());
            out.extend(user.map(Id::blob).unwrap_or_default());
        }
    }
    out
}

fn insert(tx: &mut Tx, conv: &Conv, run: &Run, waiting: Option<String>, turn: i64) -> Result<i64> {
    let stimulus: Vec<u8> = run.stimulus.iter().flat_map(|id| id.blob()).collect();
    let number = tx.run_number();
    tx.later(
        "INSERT INTO runs (run, tenant, id, conv, status, limits, usage, stimulus, waiting, created_at, started_at, priority, turn)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(number)
    .bind(conv.tenant)
    .bind(run.id.blob())
    .bind(conv.conv)
    .bind(status_number(run.status))
    .bind(to_json(&RunTerms::of(run))?)
    .bind(to_json(&run.usage)?)
    .bind(stimulus)
    .bind(waiting)
    .bind(nanos(run.created_at))
    .bind(run.started_at.map(nanos))
    .bind(i64::from(run.priority.number()))
    .bind(turn);
    Ok(number)
}
