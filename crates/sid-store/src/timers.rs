//! Timers: what is due, and a run for it in one transaction.

use std::time::Duration;

use async_trait::async_trait;
use sid_types::{AgentId, Principal, Scope, Source, Timer, TimerId, TimerState, Timestamp, UserId};

use crate::{Accept, Accepted, Page, PageRequest, PairFilter, Right, StoreError};

/// A timer that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTimer {
    /// The scope of the turn that it leads to.
    pub scope: Scope,
    /// The timer.
    pub timer: Timer,
}

/// What is due at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DueTimers {
    /// The moment, by the store's clock: what is late and by how much goes by it.
    pub now: Timestamp,
    /// Those that were taken.
    pub timers: Vec<DueTimer>,
    /// When to look again, if nobody makes or changes a timer before: when one is due, or a held one is free again. `None` = nothing is left.
    pub next: Option<Timestamp>,
}

/// The answer to an occurrence.
#[derive(Debug, Clone)]
pub struct Firing {
    /// The timer as it is to be; its version is the one that was read.
    pub timer: Timer,
    /// The run; `None` if the occurrence is left out.
    pub accept: Option<Accept>,
}

/// Timers by id, and by when they are due.
///
/// A timer belongs to its agent and its human, as a conversation does, and whoever sees their conversations sees it. A turn changes those of
/// its own agent and human only. The store keeps and finds; when a timer is due is not its business.
#[async_trait]
pub trait TimerStore: Send + Sync {
    /// Makes a timer, as it is but for version and times. The same id again is a repetition: it changes nothing and answers the timer that is
    /// there. `most`: how many that are not done the agent may have with this human.
    ///
    /// Errors: `NotFound` (agent, user, or a conversation that is not theirs), `Invalid` (too many; what [`check_timer`] refuses), `Exists` (the
    /// id is another's).
    async fn create_timer(&self, scope: &Scope, timer: Timer, most: u64) -> Result<Timer, StoreError>;

    /// One of them. Errors: `NotFound`.
    async fn timer(&self, scope: &Scope, timer: TimerId) -> Result<Timer, StoreError>;

    /// Timers, newest first.
    async fn timers(&self, scope: &Scope, filter: &PairFilter, page: PageRequest) -> Result<Page<Timer>, StoreError>;

    /// Puts a timer in the place of the version that was read (its own); whose it is stays, and who made it when.
    ///
    /// Errors: `NotFound`; `Conflict` when it was changed since; `Invalid`.
    async fn put_timer(&self, scope: &Scope, timer: Timer) -> Result<Timer, StoreError>;

    /// Forgets one. Runs that it has made stay. Errors: `NotFound`.
    async fn drop_timer(&self, scope: &Scope, timer: TimerId) -> Result<(), StoreError>;

    /// Takes up to `want` timers that are due by the store's clock, and keeps other takers from them for `hold`. Not bound to a tenant: it is
    /// the engine's own call. It looks at those that are due and no others.
    ///
    /// Tenants take turns among the oldest thousand that are due; inside a tenant the oldest comes first. Holding spares work and fences
    /// nothing: what makes a run come once is that [`fire_timer`](Self::fire_timer) goes by the version.
    async fn take_timers(&self, want: usize, hold: Duration) -> Result<DueTimers, StoreError>;

    /// Accepts the run, if there is one, and puts the timer in the place of the version that was read, both or neither.
    ///
    /// Errors: `Conflict` when the timer was fired or changed since; `NotFound` (timer); those of [`StateStore::accept`](crate::StateStore::accept).
    /// What fails leaves the timer due; it is held as before.
    async fn fire_timer(&self, scope: &Scope, firing: Firing) -> Result<Option<Accepted>, StoreError>;
}

/// What a store answers who may not see a timer, and when there is none.
pub const NO_TIMER: StoreError = StoreError::NotFound { what: "timer" };

/// Whether the scope may make and change timers of this agent and human; [`Right::to_conversation`] tells who sees them.
#[must_use]
pub fn may_change_timers(scope: &Scope, agent: AgentId, user: Option<UserId>) -> bool {
    match scope.principal() {
        Principal::Turn { agent: mine, user: human } => mine == agent && human == user,
        Principal::Tenant { .. } | Principal::User { .. } => Right::to_conversation(scope, agent, user),
    }
}

/// Checks what is written, for implementers.
///
/// Errors: `Invalid` for a name or a stimulus of no or too many characters, and for a timer that is active and never due, or the other way
/// round.
pub fn check_timer(timer: &Timer) -> Result<(), StoreError> {
    let has = |text: &str, most: usize| !text.trim().is_empty() && text.chars().count() <= most;
    if !has(&timer.spec.name, 200) {
        return Err(StoreError::Invalid("the name of a timer has 1 to 200 characters".into()));
    }
    if !has(&timer.spec.stimulus, 8_000) {
        return Err(StoreError::Invalid("what a timer says has 1 to 8000 characters".into()));
    }
    if (timer.state == TimerState::Active) != timer.next_due.is_some() {
        return Err(StoreError::Invalid("a timer is due at some moment if it is active, and only then".into()));
    }
    Ok(())
}

/// The timer that comes into the place of `known`, for implementers. Sources that it has stay.
///
/// Errors: `Conflict` unless it was made from that version.
pub fn next_timer(known: &Timer, timer: Timer, now: Timestamp) -> Result<Timer, StoreError> {
    if known.version != timer.version {
        return Err(StoreError::Conflict { expected: timer.version, found: known.version });
    }
    let mut untrusted = known.untrusted.clone();
    Source::add(&mut untrusted, &timer.untrusted);
    Ok(Timer {
        id: known.id,
        agent: known.agent,
        user: known.user,
        conversation: known.conversation,
        made_by: known.made_by,
        untrusted,
        created_at: known.created_at,
        version: known.version + 1,
        updated_at: now,
        ..timer
    })
}

/// What an agent with too many is told.
#[must_use]
pub fn too_many_timers(most: u64) -> StoreError {
    StoreError::Invalid(format!("an agent has at most {most} timers with one user: end one"))
}
