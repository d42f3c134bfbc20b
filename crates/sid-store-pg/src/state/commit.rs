//! Committing a step: all effects or none, fenced by the lease's epoch.
//!
//! Effects that only concern the conversation take two round trips. Those that look at blocks and passages run in a transaction.

use sid_store::{Commit, Committed, Effect, Lease, PageOut, StoreError};
use sid_types::{CallState, EventBody, PlannedCall, Principal, Seq};
use uuid::Uuid;

use crate::approvals;
use crate::archival;
use crate::backend::PgStore;
use crate::blocks;
use crate::error::{Fault, Result, missing};
use crate::journal::{Draft, Origin, Peek, Question, fenced, lost};
use crate::rows::Journal;
use crate::tx::Tx;
use crate::visibility::Viewer;

/// What there is to do.
enum Decision {
    /// The commit was made before.
    Repeated(Box<Committed>),
    Write(Box<(Draft, Committed)>),
}

pub(super) async fn commit(store: &PgStore, lease: &Lease, commit: Commit) -> Result<Committed> {
    let question = Question { conversation: Some(lease.conversation), run: Some(lease.run), ..Question::default() };
    let tenant = lease.scope.tenant();
    let is_plain = !commit.effects.iter().any(|e| matches!(e, Effect::EditBlock(_) | Effect::InsertPassage(_) | Effect::AskApproval(_)));
    if is_plain {
        if let Some(peek) = store.recall_peek(tenant, &question)
            && let Ok(Decision::Write(write)) = decide(store, lease, peek, commit.clone(), None).await
            && let Ok(true) = store.put(None, write.0).await
        {
            return Ok(write.1);
        }
        let peek = store.peek(None, tenant, &question).await?;
        match decide(store, lease, peek, commit.clone(), None).await? {
            Decision::Repeated(committed) => return Ok(*committed),
            Decision::Write(write) => match store.put(None, write.0).await.map_err(taken) {
                Ok(true) => return Ok(write.1),
                Ok(false) => {}
                Err(fault) if fault.is_collision() => {}
                Err(fault) => return Err(fault),
            },
        }
    }
    // Somebody accepted or cancelled meanwhile, or there is more to look at.
    for _ in 0..COLLISIONS {
        match commit_locked(store, lease, &question, commit.clone()).await.map_err(taken) {
            Err(fault) if fault.is_collision() => {}
            answer => return answer,
        }
    }
    commit_locked(store, lease, &question, commit).await.map_err(taken)
}

/// How often a commit that met another transaction in an unlucky order tries again at once.
const COLLISIONS: usize = 3;

async fn commit_locked(store: &PgStore, lease: &Lease, question: &Question, commit: Commit) -> Result<Committed> {
    let mut tx = store.begin(lease.scope.tenant()).await?;
    let peek = store.peek(Some(&mut tx), lease.scope.tenant(), question).await?;
    match decide(store, lease, peek, commit, Some(&mut tx)).await? {
        Decision::Repeated(committed) => Ok(*committed),
        Decision::Write(write) => {
            if !store.put(Some(&mut tx), write.0).await? {
                return Err(lost());
            }
            tx.commit().await?;
            Ok(write.1)
        }
    }
}

/// A unique rule was broken: an id of this commit is there already.
fn taken(fault: Fault) -> Fault {
    match fault.broken_rule() {
        Some(_) => Fault::Store(StoreError::Invalid("a message of this commit is there already".into())),
        None => fault,
    }
}

async fn decide(store: &PgStore, lease: &Lease, mut peek: Peek, commit: Commit, mut tx: Option<&mut Tx>) -> Result<Decision> {
    let run = peek.run.take();
    let Some((mut draft, head)) = Draft::new(store, peek)? else { return Err(fenced(lease, None).into()) };
    let is_held = draft.holds(lease);
    let epoch = draft.conv.epoch;
    let run = run.filter(|r| r.run.conversation == draft.conv.id);
    let Some(mut journal) = run else { return Err(fenced(lease, Some(epoch)).into()) };
    if (1..=journal.run.commits).contains(&commit.number) {
        // The answer to a commit may get lost, and with it the news that the lease has ended.
        let is_own = is_held || journal.commit_epoch == lease.epoch;
        return if is_own {
            Ok(Decision::Repeated(Box::new(repeated(&draft, head.as_ref(), lease))))
        } else {
            Err(fenced(lease, Some(epoch)).into())
        };
    }
    if !is_held {
        return Err(fenced(lease, Some(epoch)).into());
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
        match (effect, tx.as_deref_mut()) {
            (Effect::Finish { reason, error }, _) => finish = Some((reason, error)),
            (Effect::EditBlock(edit), Some(tx)) => {
                let Principal::Turn { agent, user } = lease.scope.principal() else { return Err(missing("block").into()) };
                blocks::edit_in_turn(tx, &Viewer { scope: lease.scope }, agent, user, edit).await?;
            }
            (Effect::AskApproval(new), Some(tx)) => approvals::ask(tx, lease, *new).await?,
            (Effect::InsertPassage(passage), Some(tx)) => {
                archival::put(store, tx, &Viewer { scope: lease.scope }, passage).await?;
            }
            (other, _) => apply(&mut draft, &mut journal, other, &mut committed)?,
        }
    }
    if let Some((reason, error)) = finish {
        let holder = draft.conv.holder.zip(draft.conv.ttl_us);
        draft.end(&mut journal, reason, error)?;
        committed.ended = Some(journal.run);
        if let Some((worker, ttl)) = holder {
            committed.next = draft.take_next(worker, ttl)?;
        }
    } else {
        draft.save(&journal)?;
    }
    Ok(Decision::Write(Box::new((draft, committed))))
}

/// The answer to a repeated commit: nothing is new, but the next run may be under way already.
fn repeated(draft: &Draft, head: Option<&Journal>, lease: &Lease) -> Committed {
    let conv = &draft.conv;
    let next = match (conv.holder, conv.expires_at, head) {
        (Some(worker), Some(expires_at), Some(head)) if worker == lease.worker && conv.epoch == lease.epoch + 1 => {
            Some(Lease { scope: conv.turn_scope(), conversation: conv.id, run: head.run.id, worker, epoch: conv.epoch, expires_at })
        }
        _ => None,
    };
    Committed { messages: Vec::new(), next, ended: None }
}

fn apply(draft: &mut Draft, journal: &mut Journal, effect: Effect, committed: &mut Committed) -> Result<()> {
    match effect {
        Effect::Append(new) => {
            let run = journal.run.id;
            committed.messages.extend(draft.place(Some(run), new, Origin::New)?);
        }
        Effect::Plan(planned) => plan(&mut journal.calls, planned)?,
        Effect::StartCall(token) => mark(&mut journal.calls, token, CallState::Started)?,
        Effect::FinishCall(token) => mark(&mut journal.calls, token, CallState::Done)?,
        Effect::SetPrefix(prefix) => draft.set_prefix(prefix.as_deref()),
        Effect::PageOut(page_out) => page_out_of(draft, &page_out)?,
        Effect::RecordStep(step) => draft.record(journal, *step)?,
        Effect::Events(events) => {
            if events.iter().any(|e| matches!(e, EventBody::Done { .. })) {
                return Err(StoreError::Invalid("the last event comes with `Effect::Finish`".into()).into());
            }
            draft.log(journal, events)?;
        }
        // The others were seen to before; what the contract may get later is refused rather than lost.
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

fn page_out_of(draft: &mut Draft, page_out: &PageOut) -> Result<()> {
    let (start, end) = (draft.conv.queue_start, Seq(draft.conv.last_seq).next().0);
    let asked = page_out.queue_start.0;
    if asked < start || asked > end {
        return Err(StoreError::Invalid(format!("the queue cannot start at {asked}: it moves on in {start}..={end}")).into());
    }
    draft.conv.queue_start = asked;
    draft.set_summary(&page_out.summary)
}
