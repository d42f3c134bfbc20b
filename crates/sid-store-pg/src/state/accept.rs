//! Accepting a stimulus: two round trips when nobody else writes to the conversation at the same moment, and one when this process was the
//! last to write to it.

use sid_store::{Accept, Accepted, IdempotencyKey, OnBusy, StoreError};
use sid_types::{MessageId, Principal, Run, RunStatus, Scope, Seq, Usage};

use super::ttl_micros;
use crate::backend::PgStore;
use crate::codec::Id;
use crate::error::{Result, missing};
use crate::journal::{Draft, Origin, Peek, Question, hex, lost};
use crate::rows::Journal;
use crate::tx::Tx;
use crate::visibility::Viewer;

/// What there is to do.
enum Decision {
    /// An earlier request had done it.
    Replay(Box<Accepted>),
    Write(Box<(Draft, Accepted)>),
}

/// Tries with the lock, after the one without it.
const TRIES: usize = 3;

pub(super) async fn accept(store: &PgStore, scope: &Scope, accept: Accept) -> Result<Accepted> {
    let viewer = store.viewer(scope);
    let principal = principal(scope);
    let question = question(&principal, &accept);
    if let Some(peek) = store.recall_peek(viewer.tenant(), &question)
        && let Ok(Decision::Write(write)) = decide(store, &viewer, &principal, peek, &accept)
        && let Ok(true) = store.put(None, write.0).await
    {
        return Ok(write.1);
    }
    let peek = store.peek(None, viewer.tenant(), &question).await?;
    match decide(store, &viewer, &principal, peek, &accept)? {
        Decision::Replay(accepted) => return Ok(*accepted),
        Decision::Write(write) => match store.put(None, write.0).await {
            Ok(true) => return Ok(write.1),
            // Somebody else was first, here or with one of the ids: look again.
            Ok(false) => {}
            Err(fault) if fault.broken_rule().is_some() || fault.is_collision() => {}
            Err(fault) => return Err(fault),
        },
    }
    let mut last = lost();
    for _ in 0..TRIES {
        match accept_locked(store, &viewer, &principal, &question, &accept).await {
            Err(fault) if fault.broken_rule().is_some() || fault.is_collision() => last = fault,
            answer => return answer,
        }
    }
    Err(match accept.messages.first() {
        Some(first) if last.broken_rule().is_some() => there_already(first.id).into(),
        _ => last,
    })
}

async fn accept_locked(store: &PgStore, viewer: &Viewer, principal: &[u8], question: &Question, accept: &Accept) -> Result<Accepted> {
    let mut tx = store.begin(viewer.tenant()).await?;
    let accepted = accept_locked_in(store, &mut tx, viewer, principal, question, accept).await?;
    if !accepted.replayed {
        tx.commit().await?;
    }
    Ok(accepted)
}

/// Accepts inside a transaction that does more; from here on it holds the conversation.
pub(crate) async fn accept_in(store: &PgStore, tx: &mut Tx, scope: &Scope, accept: &Accept) -> Result<Accepted> {
    let principal = principal(scope);
    let question = question(&principal, accept);
    accept_locked_in(store, tx, &store.viewer(scope), &principal, &question, accept).await
}

async fn accept_locked_in(
    store: &PgStore,
    tx: &mut Tx,
    viewer: &Viewer,
    principal: &[u8],
    question: &Question,
    accept: &Accept,
) -> Result<Accepted> {
    let peek = store.peek(Some(&mut *tx), viewer.tenant(), question).await?;
    match decide(store, viewer, principal, peek, accept)? {
        Decision::Replay(accepted) => Ok(*accepted),
        Decision::Write(write) => {
            if !store.put(Some(tx), write.0).await? {
                return Err(lost());
            }
            Ok(write.1)
        }
    }
}

fn question(principal: &[u8], accept: &Accept) -> Question {
    Question {
        conversation: Some(accept.conversation),
        run: Some(accept.run),
        ids: accept.messages.iter().map(|m| m.id.uuid()).collect(),
        key: accept.idempotency.as_ref().map(|k| (principal.to_vec(), k.key.clone())),
    }
}

fn decide(store: &PgStore, viewer: &Viewer, principal: &[u8], mut peek: Peek, accept: &Accept) -> Result<Decision> {
    let Some(conv) = peek.conv.as_ref().filter(|c| viewer.sees_conversation(c.agent, c.user)) else {
        return Err(missing("conversation").into());
    };
    let agent = conv.agent;
    let replay = |journal: Journal| Ok(Decision::Replay(Box::new(Accepted { run: journal.run, replayed: true, lease: None })));
    if let Some(IdempotencyKey { key, fingerprint }) = &accept.idempotency {
        if key.is_empty() || key.chars().count() > 255 {
            return Err(StoreError::Invalid("an idempotency key has 1 to 255 characters".into()).into());
        }
        if let Some(used) = peek.used.take() {
            if used.fingerprint != hex(fingerprint) {
                return Err(StoreError::KeyReused.into());
            }
            return replay(used.run.ok_or(missing("run"))?);
        }
    }
    if let Some(run) = peek.run.take() {
        if run.run.conversation != conv.id {
            return Err(StoreError::Exists { what: "run", name: accept.run.to_string() }.into());
        }
        return replay(run);
    }
    check(&peek, accept)?;
    let was_idle = conv.head.is_none();
    accept.check_place(Seq(conv.last_seq), was_idle)?;
    let depth = peek.depth;
    if !was_idle && accept.on_busy == OnBusy::Reject {
        return Err(StoreError::Busy.into());
    }
    let claim_for = accept.claim_for.filter(|_| was_idle);
    if claim_for.is_none() && depth >= accept.queue_depth {
        return Err(StoreError::QueueFull { depth }.into());
    }
    let Some((mut draft, head)) = Draft::new(store, peek)? else { return Err(missing("conversation").into()) };
    if let (OnBusy::Interrupt, Some(head)) = (accept.on_busy, head)
        && head.run.status == RunStatus::Running
    {
        draft.cancel(head.run.id);
    }
    let run = Run {
        id: accept.run,
        conversation: draft.conv.id,
        agent,
        status: if claim_for.is_some() { RunStatus::Running } else { RunStatus::Queued },
        stop_reason: None,
        error: None,
        limits: accept.limits,
        priority: accept.priority,
        client_tools: accept.client_tools.clone(),
        steps: 0,
        usage: Usage::default(),
        commits: 0,
        cancel_requested: false,
        stimulus: accept.messages.iter().map(|m| m.id).collect(),
        created_at: draft.now,
        started_at: claim_for.map(|_| draft.now),
        ended_at: None,
    };
    draft.insert_run(&run, claim_for.is_none().then_some(&accept.messages[..]))?;
    let mut lease = None;
    if let Some((worker, ttl)) = claim_for {
        draft.place(Some(run.id), accept.messages.clone(), Origin::New)?;
        lease = Some(draft.grant(run.id, worker, ttl_micros(ttl)));
    } else {
        draft.reserve(&accept.messages);
    }
    if let Some(IdempotencyKey { key, fingerprint }) = &accept.idempotency {
        draft.use_key(principal, key, fingerprint, run.id);
    }
    Ok(Decision::Write(Box::new((draft, Accepted { run, replayed: false, lease }))))
}

fn check(peek: &Peek, accept: &Accept) -> Result<(), StoreError> {
    accept.check()?;
    let is_twice = |(i, id): (usize, MessageId)| accept.messages[..i].iter().any(|m| m.id == id);
    let taken = accept.messages.iter().map(|m| m.id).enumerate().find(|(i, id)| peek.known.contains(&id.uuid()) || is_twice((*i, *id)));
    taken.map_or(Ok(()), |(_, id)| Err(there_already(id)))
}

/// A message's id is there already.
fn there_already(id: MessageId) -> StoreError {
    StoreError::Exists { what: "message", name: id.to_string() }
}

/// Who uses a key.
fn principal(scope: &Scope) -> Vec<u8> {
    let mut out = Vec::with_capacity(33);
    match scope.principal() {
        Principal::Tenant { key } => {
            out.push(b't');
            out.extend(key.uuid().as_bytes());
        }
        Principal::User { user } => out.extend(user_principal(user)),
        Principal::Turn { agent, user } => {
            out.push(b'a');
            out.extend(agent.uuid().as_bytes());
            out.extend(user.map(|u| u.raw().into_bytes()).unwrap_or_default());
        }
    }
    out
}

/// A user, as the one who uses a key.
pub(crate) fn user_principal(user: sid_types::UserId) -> Vec<u8> {
    let mut out = vec![b'u'];
    out.extend(user.uuid().as_bytes());
    out
}
