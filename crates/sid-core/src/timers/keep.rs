//! Making and changing timers: the rules that stores leave to the engine.

use std::sync::Arc;

use jiff::SignedDuration;
use sid_store::Store;
use sid_types::{
    AgentId, Clock, ConversationId, Scope, Source, Timer, TimerId, TimerMaker, TimerSpec, TimerState, Timestamp, UserId, When,
};
use tokio::sync::Notify;

use super::Calendar;
use crate::{CoreError, Engine, EngineConfig};

/// The key of the conversation in which an agent is told what nobody asked in.
pub const AUTONOMOUS_KEY: &str = "autonomous";

/// A timer to be made.
#[derive(Debug, Clone)]
pub struct NewTimer {
    /// Its id, made by the caller: the same again is a repetition.
    pub id: TimerId,
    /// Whom it wakes.
    pub agent: AgentId,
    /// The human whose conversation it is.
    pub user: Option<UserId>,
    /// Where; `None` = in the conversation with the key [`AUTONOMOUS_KEY`], which is made when it is needed.
    pub conversation: Option<ConversationId>,
    /// The rest.
    pub spec: TimerSpec,
    /// Who makes it.
    pub made_by: TimerMaker,
    /// Sources that are not trusted, of what its maker had read.
    pub untrusted: Vec<Source>,
}

/// A change of a timer.
#[derive(Debug, Clone, Default)]
pub struct TimerChange {
    /// What is set from now on.
    pub spec: Option<TimerSpec>,
    /// Whether that changes when it is due: then it begins anew, and one that was done is active again.
    pub is_rescheduled: bool,
    /// Whether it waits. What would have been due while it waited is left out.
    pub is_paused: Option<bool>,
    /// Sources that are not trusted, of what whoever changes it had read; those that it has already stay.
    pub untrusted: Vec<Source>,
    /// The version that was read.
    pub expected: Option<u64>,
}

/// Makes and changes timers: for the engine, and for agents that have the tools.
#[derive(Clone)]
pub(crate) struct Keeper {
    pub(super) store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    per_pair: u64,
    shortest: SignedDuration,
    patience: SignedDuration,
    /// Wakes whoever waits for the next timer when one is made or changed here.
    pub(crate) changed: Arc<Notify>,
}

impl Keeper {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, config: &EngineConfig) -> Self {
        let signed = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        let (shortest, patience) = (signed(config.shortest_timer), signed(config.timer_patience));
        Self { store, clock, per_pair: config.timers_per_pair, shortest, patience, changed: Arc::default() }
    }

    pub(super) async fn create(&self, scope: &Scope, new: NewTimer) -> Result<Timer, CoreError> {
        let NewTimer { id, agent, user, conversation, spec, made_by, untrusted } = new;
        let next_due = Some(self.first_due(&spec)?);
        let timer = Timer {
            id,
            agent,
            user,
            conversation,
            spec,
            state: TimerState::Active,
            next_due,
            fired: 0,
            skipped: 0,
            last_run: None,
            held: None,
            made_by,
            untrusted,
            version: 0,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        };
        let made = self.store.create_timer(scope, timer, self.per_pair).await?;
        self.changed.notify_one();
        Ok(made)
    }

    async fn change(&self, scope: &Scope, timer: TimerId, change: TimerChange) -> Result<Timer, CoreError> {
        let mut known = self.store.timer(scope, timer).await?;
        Source::add(&mut known.untrusted, &change.untrusted);
        let is_paused = change.is_paused.unwrap_or(known.state == TimerState::Paused);
        let is_new = change.spec.is_some() && change.is_rescheduled;
        let spec = change.spec.unwrap_or_else(|| known.spec.clone());
        let (state, next_due) = match known.state {
            TimerState::Done if !is_new => (TimerState::Done, None),
            // What is active and stays so keeps what is due, be it late.
            TimerState::Active if !is_paused && !is_new => (TimerState::Active, known.next_due),
            TimerState::Active | TimerState::Paused if is_paused && !is_new => (TimerState::Paused, None),
            _ => {
                let due = self.first_due(&spec)?;
                if is_paused { (TimerState::Paused, None) } else { (TimerState::Active, Some(due)) }
            }
        };
        let version = change.expected.unwrap_or(known.version);
        let changed = self.store.put_timer(scope, Timer { spec, state, next_due, held: None, version, ..known }).await?;
        self.changed.notify_one();
        Ok(changed)
    }

    /// When it is due first.
    fn first_due(&self, spec: &TimerSpec) -> Result<Timestamp, CoreError> {
        let calendar = Calendar::new(&spec.when)?;
        let now = self.clock.now();
        // Somebody may say `now`, and mean it, a moment ago.
        let from = match &spec.when {
            When::At { .. } => now.checked_sub(self.patience).unwrap_or(Timestamp::MIN),
            When::Every { .. } | When::Cron { .. } => now,
        };
        let never = || CoreError::Invalid("this timer would never be due: its time is over".into());
        let due = calendar.next_after(from).filter(|due| spec.until.is_none_or(|until| *due <= until)).ok_or_else(never)?;
        if spec.most == Some(0) {
            return Err(never());
        }
        if let Some(period) = calendar.shortest(now).filter(|period| *period < self.shortest && spec.most != Some(1)) {
            let least = self.shortest;
            return Err(CoreError::Invalid(format!("this timer would be due every {period:#}; the shortest allowed is {least:#}")));
        }
        // As stores keep it.
        Ok(Timestamp::from_microsecond(due.as_microsecond()).unwrap_or(due))
    }
}

impl Engine {
    /// Makes a timer. Errors: `Invalid` for one that is never due, or too often; those of
    /// [`TimerStore::create_timer`](sid_store::TimerStore::create_timer).
    pub async fn create_timer(&self, scope: &Scope, new: NewTimer) -> Result<Timer, CoreError> {
        self.inner.timers.create(scope, new).await
    }

    /// Changes a timer; what it has counted stays. Errors: as for making one, and `Conflict`.
    pub async fn change_timer(&self, scope: &Scope, timer: TimerId, change: TimerChange) -> Result<Timer, CoreError> {
        self.inner.timers.change(scope, timer, change).await
    }
}
