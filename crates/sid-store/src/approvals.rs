//! Approvals: calls that wait for somebody's word, and what becomes of it.

use std::time::Duration;

use async_trait::async_trait;
use sid_types::{
    Approval, ApprovalId, ApprovalState, ApprovedCall, Body, ConversationId, NewApproval, NewMessage, Principal, Priority, Run, RunId,
    RunLimits, Scope, Timestamp, WorkerId,
};

use crate::{Accept, Lease, OnBusy, Page, PageRequest, StoreError};

/// Most characters of what whoever decides says to it.
pub const MOST_NOTE_CHARS: usize = 1_000;

/// Which approvals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApprovalFilter {
    /// Only these.
    pub state: Option<ApprovalState>,
    /// Only of this conversation.
    pub conversation: Option<ConversationId>,
}

/// What somebody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The call may be made.
    Approve,
    /// It may not.
    Deny,
    /// Nobody has said anything in time.
    Expire,
}

impl Verdict {
    /// The state that it leads to.
    #[must_use]
    pub const fn state(self) -> ApprovalState {
        match self {
            Self::Approve => ApprovalState::Approved,
            Self::Deny => ApprovalState::Denied,
            Self::Expire => ApprovalState::Expired,
        }
    }
}

/// A decision, and the run that it wakes the agent with.
#[derive(Debug, Clone)]
pub struct Decide {
    /// Which question.
    pub approval: ApprovalId,
    /// The answer.
    pub verdict: Verdict,
    /// What whoever decides says to it: at most [`MOST_NOTE_CHARS`].
    pub note: Option<String>,
    /// The run's id, made by the caller.
    pub run: RunId,
    /// What the run may use up.
    pub limits: RunLimits,
    /// Most runs that may wait in the conversation.
    pub queue_depth: usize,
    /// Claim the conversation in the same transaction if it is idle.
    pub claim_for: Option<(WorkerId, Duration)>,
}

/// What became of a [`Decide`].
#[derive(Debug, Clone)]
pub struct DecidedApproval {
    /// The question as it is now.
    pub approval: Approval,
    /// The run, unless the same had been decided before.
    pub run: Option<Run>,
    /// The lease, if the conversation was idle and `claim_for` was given.
    pub lease: Option<Lease>,
}

/// Questions whether a call may be made. They are asked by [`Effect::AskApproval`](crate::Effect) and go with their conversation.
#[async_trait]
pub trait ApprovalStore: Send + Sync {
    /// Approvals of the conversations that the scope sees, newest first. Errors: `NotFound` (a conversation that the filter names), `Invalid`
    /// (a cursor).
    async fn approvals(&self, scope: &Scope, filter: &ApprovalFilter, page: PageRequest) -> Result<Page<Approval>, StoreError>;

    /// One of them. Errors: `NotFound`.
    async fn approval(&self, scope: &Scope, approval: ApprovalId) -> Result<Approval, StoreError>;

    /// Decides, and accepts a run in the conversation that tells the agent, in one transaction. An approved run begins with the call: its
    /// note carries it ([`NewMessage::approved`]).
    ///
    /// The same decision again changes nothing and answers what is there. A question that expires meanwhile cannot be approved.
    ///
    /// Errors: `NotFound`; `Forbidden` for an agent's turn; `Decided` when something else was decided, or its time is over; `Invalid` for a
    /// note that is too long, and for an expiry before its time; `QueueFull`.
    async fn decide(&self, scope: &Scope, decide: Decide) -> Result<DecidedApproval, StoreError>;

    /// Questions whose time is over and that nobody has decided, the longest over first, `most` at most, each with a scope to decide it by.
    /// The engine's own call: it spans tenants.
    async fn expired_approvals(&self, most: usize) -> Result<Vec<(Scope, ApprovalId)>, StoreError>;
}

/// A question as it is asked: all that the lease knows and the asker does not say.
#[must_use]
pub fn asked(new: NewApproval, lease: &Lease, now: Timestamp) -> Option<Approval> {
    let Principal::Turn { agent, user } = lease.scope.principal() else { return None };
    let expires_in = jiff::SignedDuration::from_millis(i64::try_from(new.expires_in_ms).unwrap_or(i64::MAX));
    Some(Approval {
        id: new.id,
        conversation: lease.conversation,
        agent,
        user,
        run: lease.run,
        call: new.call,
        reason: new.reason,
        state: ApprovalState::Pending,
        asked_at: now,
        expires_at: now.checked_add(expires_in).unwrap_or(Timestamp::MAX),
        decided_at: None,
        decided_by: None,
        note: None,
        answered_by: None,
    })
}

/// Checks a decision about a question that the scope sees, and tells the question as it is then with what is to be accepted. `None`: the same
/// was decided before.
///
/// Errors: as [`ApprovalStore::decide`].
pub fn decided(scope: &Scope, approval: &Approval, decide: &Decide, now: Timestamp) -> Result<Option<(Approval, Accept)>, StoreError> {
    if matches!(scope.principal(), Principal::Turn { .. }) {
        return Err(StoreError::Forbidden { what: "approval", why: "a person decides, not an assistant" });
    }
    if decide.note.as_ref().is_some_and(|note| note.chars().count() > MOST_NOTE_CHARS) {
        return Err(StoreError::Invalid(format!("a note has at most {MOST_NOTE_CHARS} characters")));
    }
    let state = decide.verdict.state();
    if approval.state == state {
        return Ok(None);
    }
    if approval.state != ApprovalState::Pending {
        return Err(StoreError::Decided { what: "approval", how: approval.state.name() });
    }
    let is_over = now >= approval.expires_at;
    match (decide.verdict, is_over) {
        (Verdict::Expire, false) => return Err(StoreError::Invalid("its time is not over yet".into())),
        (Verdict::Approve | Verdict::Deny, true) => return Err(StoreError::Decided { what: "approval", how: "expired" }),
        _ => {}
    }
    let approval = Approval {
        state,
        decided_at: Some(now),
        decided_by: (decide.verdict != Verdict::Expire).then(|| scope.principal()),
        note: decide.note.clone(),
        answered_by: Some(decide.run),
        ..approval.clone()
    };
    let accept = Accept {
        run: decide.run,
        conversation: approval.conversation,
        messages: vec![stimulus(&approval, now)],
        idempotency: None,
        limits: decide.limits,
        // Nobody has asked at the moment at which a question expires.
        priority: if decide.verdict == Verdict::Expire { Priority::Timer } else { Priority::User },
        on_busy: OnBusy::Queue,
        queue_depth: decide.queue_depth,
        claim_for: decide.claim_for,
        client_tools: Vec::new(),
        only_after: None,
    };
    Ok(Some((approval, accept)))
}

/// What the agent is told.
fn stimulus(approval: &Approval, now: Timestamp) -> NewMessage {
    let (id, tool) = (approval.id, &approval.call.name);
    let said = approval.note.as_ref().filter(|note| !note.trim().is_empty());
    let said = said.map(|note| format!(" They said: {note}")).unwrap_or_default();
    let by = match approval.decided_by {
        Some(Principal::User { .. }) => "the user",
        _ => "the application",
    };
    let text = match approval.state {
        ApprovalState::Approved => {
            format!("Your call of `{tool}` ({id}) was approved by {by}.{said} It is being made now; tell the user what came of it.")
        }
        ApprovalState::Denied => {
            format!(
                "Your call of `{tool}` ({id}) was denied by {by}.{said} Nothing was done. Do not call it again for this; tell the user."
            )
        }
        ApprovalState::Expired | ApprovalState::Pending => {
            format!(
                "Your call of `{tool}` ({id}) was not approved in time. Nothing was done. Tell the user; ask again only if it still matters."
            )
        }
    };
    let mut message = NewMessage::of(Body::Note { text }, now);
    if approval.state == ApprovalState::Approved {
        message.approved = Some(Box::new(ApprovedCall { approval: id, call: approval.call.clone() }));
    }
    message
}
