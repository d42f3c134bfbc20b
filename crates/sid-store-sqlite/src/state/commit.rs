//! Committing a step: all effects or none, fenced by the lease's epoch.

use sid_store::{Commit, Committed, Effect, Lease, PageOut, StoreError};
use sid_types::{CallState, EventBody, PlannedCall, Principal, Seq, Step};
use uuid::Uuid;

use crate::approvals;
use crate::archival;
use crate::blocks;
use crate::codec::to_json;
use crate::error::{Fault, Result, missing};
use crate::journal::{Held, Journal, fenced, grant, take};
use crate::messages;
use crate::usage;
use crate::visibility::{Conv, Viewer};
use crate::writer::Tx;

pub(super) async fn commit(tx: &mut Tx, viewer: Viewer, lease: Lease, commit: Commit) -> Result<Committed> {
    write(tx, viewer, lease, commit).await.map_err(|fault| match fault {
        f if f.is_unique_violation() => Fault::Store(StoreError::Invalid("a message of this commit is there already".into())),
        other => other,
    })
}

async fn write(tx: &mut Tx, viewer: Viewer, lease: Lease, commit: Commit) -> Result<Committed> {
    let Some(Held { mut conv, head, is_held }) = Held::find(&mut tx.conn, viewer.tenant, &lease).await? else {
        return Err(fenced(&lease, None).into());
    };
    let mut journal = match head {
        Some(head) if head.run.id == lease.run => head,
        _ => match Journal::find(&mut tx.conn, &viewer, lease.run).await? {
            Some((of, journal)) if of.conv == conv.conv => journal,
            _ => return Err(fenced(&lease, Some(conv.epoch)).into()),
        },
    };
    if (1..=journal.run.commits).contains(&commit.number) {
        // The answer to a commit may get lost, and with it the news that the lease has ended.
        let is_own = is_held || journal.commit_epoch == lease.epoch;
        return if is_own { repeated(tx, &conv, &lease).await } else { Err(fenced(&lease, Some(conv.epoch)).into()) };
    }
    if !is_held {
        return Err(fenced(&lease, Some(conv.epoch)).into());
    }
    if commit.number != journal.run.commits + 1 {
        let (asked, done) = (commit.number, journal.run.commits);
        return Err(StoreError::Invalid(format!("commit {asked} does not follow {done}: load the run again")).into());
    }
    journal.run.commits = commit.number;
    journal.commit_epoch = lease.epoch;
    let mut committed = Committed::default();
    let mut finish = None;
    for effect in commit.effects {
        if finish.is_some() {
            return Err(StoreError::Invalid("`Effect::Finish` is the last effect".into()).into());
        }
        match effect {
            Effect::Finish { reason, error } => finish = Some((reason, error)),
            other => apply(tx, &viewer, &lease, &mut conv, &mut journal, other, &mut committed).await?,
        }
    }
    if let Some((reason, error)) = finish {
        let holder = conv.holder.zip(conv.ttl);
        journal.end(tx, &mut conv, reason, error).await?;
        journal.save(tx)?;
        committed.ended = Some(journal.run.clone());
        if let (Some((worker, ttl)), true) = (holder, conv.head.is_some()) {
            committed.next = take(tx, &mut conv, worker, ttl).await?;
        }
    } else {
        journal.save(tx)?;
    }
    conv.save(tx);
    tx.flush().await?;
    Ok(committed)
}

/// The answer to a repeated commit: nothing is new, but the next run may be under way already.
async fn repeated(tx: &mut Tx, conv: &Conv, lease: &Lease) -> Result<Committed> {
    let mut next = None;
    if let (Some(worker), Some(head)) = (conv.holder, conv.head)
        && worker == lease.worker
        && conv.epoch == lease.epoch + 1
    {
        let row = sqlx::query("SELECT id FROM runs WHERE run = ?").bind(head).fetch_one(&mut tx.conn).await?;
        let mut before = Conv { epoch: lease.epoch, ..conv.clone() };
        let granted = grant(tx, &mut before, crate::codec::Columns::id(&row, 0)?, worker, 0);
        let expires_at = conv.expires_at.map_or(granted.expires_at, crate::codec::time);
        next = Some(Lease { expires_at, ..granted });
    }
    Ok(Committed { messages: Vec::new(), next, ended: None })
}

async fn apply(
    tx: &mut Tx,
    viewer: &Viewer,
    lease: &Lease,
    conv: &mut Conv,
    journal: &mut Journal,
    effect: Effect,
    committed: &mut Committed,
) -> Result<()> {
    match effect {
        Effect::Append(new) => {
            committed.messages.extend(messages::place(tx, conv, Some(lease.run), new).await?);
        }
        Effect::Plan(planned) => plan(&mut journal.calls, planned)?,
        Effect::StartCall(token) => mark(&mut journal.calls, token, CallState::Started)?,
        Effect::FinishCall(token) => mark(&mut journal.calls, token, CallState::Done)?,
        Effect::EditBlock(edit) => {
            let Principal::Turn { agent, user } = lease.scope.principal() else { return Err(missing("block").into()) };
            blocks::edit_in_turn(tx, viewer, agent, user, edit).await?;
        }
        Effect::AskApproval(new) => approvals::ask(tx, conv, lease, *new)?,
        Effect::InsertPassage(passage) => {
            archival::put(tx, viewer, passage).await?;
        }
        Effect::SetPrefix(prefix) => {
            tx.later("UPDATE conversation_heads SET prefix = ? WHERE conv = ?").bind(prefix).bind(conv.conv);
        }
        Effect::PageOut(page_out) => page_out_of(tx, conv, page_out)?,
        Effect::RecordStep(step) => record(tx, conv, journal, &step)?,
        Effect::Events(events) => {
            if events.iter().any(|e| matches!(e, EventBody::Done { .. })) {
                return Err(StoreError::Invalid("the last event comes with `Effect::Finish`".into()).into());
            }
            journal.log(tx, conv, events)?;
        }
        // `Finish` is kept for the end; what the contract may get later is refused rather than lost.
        other => return Err(StoreError::Invalid(format!("this store does not know the effect {other:?}: upgrade it")).into()),
    }
    Ok(())
}

fn plan(calls: &mut Vec<PlannedCall>, planned: Vec<PlannedCall>) -> Result<()> {
    for call in &planned {
        let times = planned.iter().chain(calls.iter()).filter(|c| c.token == call.token).count();
        if times > 1 {
            return Err(StoreError::Invalid(format!("call {} is planned already", call.token)).into());
        }
    }
    calls.retain(|call| call.state != CallState::Done);
    calls.extend(planned);
    Ok(())
}

fn mark(calls: &mut [PlannedCall], token: Uuid, state: CallState) -> Result<()> {
    let call = calls.iter_mut().find(|c| c.token == token);
    call.ok_or_else(|| StoreError::Invalid(format!("call {token} was not planned")))?.state = state;
    Ok(())
}

fn page_out_of(tx: &mut Tx, conv: &mut Conv, page_out: PageOut) -> Result<()> {
    let (start, end) = (conv.queue_start, Seq(conv.last_seq).next().0);
    let asked = page_out.queue_start.0;
    if asked < start || asked > end {
        return Err(StoreError::Invalid(format!("the queue cannot start at {asked}: it moves on in {start}..={end}")).into());
    }
    conv.queue_start = asked;
    tx.later("UPDATE conversation_heads SET summary = ? WHERE conv = ?").bind(to_json(&page_out.summary)?).bind(conv.conv);
    Ok(())
}

fn record(tx: &mut Tx, conv: &Conv, journal: &mut Journal, step: &Step) -> Result<()> {
    journal.run.steps += 1;
    journal.run.usage += step.usage;
    tx.later("INSERT OR REPLACE INTO steps (tenant, run, number, doc) VALUES (?, ?, ?, ?)")
        .bind(conv.tenant)
        .bind(journal.number)
        .bind(i64::from(step.number))
        .bind(to_json(step)?);
    usage::settle(tx, conv, journal.run.id, step.usage);
    if journal.run.priority.is_self_begun() {
        usage::use_by_self(tx, conv, step.usage);
    }
    Ok(())
}
