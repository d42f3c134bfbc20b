//! `TimerStore`.

use std::time::Duration;

use async_trait::async_trait;
use sid_types::{Owner, Scope, Timer, TimerId, TimerState, Timestamp};

use super::directory::paged;
use super::journal::after;
use super::room::Room;
use super::{InProcess, missing};
use crate::timers::{next_timer, too_many_timers};
use crate::{
    Accept, Accepted, DueTimer, DueTimers, Firing, NO_TIMER, Order, Page, PageRequest, PairFilter, Right, StoreError, TimerStore, Told,
    check_timer, may_change_timers,
};

/// A timer, and until when somebody answers what is due of it.
pub(super) struct TimerRow {
    pub(super) timer: Timer,
    pub(super) held_until: Option<Timestamp>,
}

impl TimerRow {
    /// From when on it may be taken.
    fn free_at(&self) -> Option<Timestamp> {
        self.timer.looked_at().map(|at| self.held_until.map_or(at, |held| held.max(at)))
    }
}

#[async_trait]
impl TimerStore for InProcess {
    async fn create_timer(&self, scope: &Scope, timer: Timer, most: u64) -> Result<Timer, StoreError> {
        check_timer(&timer)?;
        self.write(|state, now| {
            let room = state.room_mut(scope, "agent")?;
            room.check_timer_owner(scope, &timer)?;
            if let Some(known) = room.timers.get(&timer.id) {
                let is_own = (known.timer.agent, known.timer.user) == (timer.agent, timer.user);
                return if is_own {
                    Ok(known.timer.clone())
                } else {
                    Err(StoreError::Exists { what: "timer", name: timer.id.to_string() })
                };
            }
            let is_counted = |t: &Timer| (t.agent, t.user) == (timer.agent, timer.user) && t.state != TimerState::Done;
            if room.timers.values().filter(|row| is_counted(&row.timer)).count() as u64 >= most {
                return Err(too_many_timers(most));
            }
            let timer = Timer { version: 1, created_at: now, updated_at: now, ..timer };
            room.timers.insert(timer.id, TimerRow { timer: timer.clone(), held_until: None });
            Ok(timer)
        })
    }

    async fn timer(&self, scope: &Scope, timer: TimerId) -> Result<Timer, StoreError> {
        Ok(self.read().room(scope, "timer")?.seen_timer(scope, timer)?.timer.clone())
    }

    async fn timers(&self, scope: &Scope, filter: &PairFilter, page: PageRequest) -> Result<Page<Timer>, StoreError> {
        let state = self.read();
        let timers = state.room(scope, "tenant")?.timers.values().map(|row| &row.timer);
        let is_asked = |t: &&Timer| Right::to_conversation(scope, t.agent, t.user) && filter.takes(t.agent, t.user, t.conversation);
        paged(timers.filter(is_asked), Order::Descending, &page, |t| (t.created_at, t.id))
    }

    async fn put_timer(&self, scope: &Scope, timer: Timer) -> Result<Timer, StoreError> {
        check_timer(&timer)?;
        self.write(|state, now| {
            let row = state.room_mut(scope, "timer")?.own_timer(scope, timer.id)?;
            row.timer = next_timer(&row.timer, timer, now)?;
            row.held_until = None;
            Ok(row.timer.clone())
        })
    }

    async fn drop_timer(&self, scope: &Scope, timer: TimerId) -> Result<(), StoreError> {
        self.write(|state, _| {
            let room = state.room_mut(scope, "timer")?;
            room.own_timer(scope, timer)?;
            room.timers.remove(&timer);
            Ok(())
        })
    }

    async fn take_timers(&self, want: usize, hold: Duration) -> Result<DueTimers, StoreError> {
        self.write(|state, now| {
            let mut due = Vec::new();
            for (tenant, room) in &state.rooms {
                let mut own: Vec<_> = room.timers.values().filter(|row| row.free_at().is_some_and(|at| at <= now)).collect();
                own.sort_by_key(|row| (row.timer.looked_at(), row.timer.id));
                due.extend(own.iter().enumerate().map(|(turn, row)| (turn, row.timer.looked_at(), *tenant, row.timer.id)));
            }
            due.sort_unstable();
            due.truncate(want);
            let mut timers = Vec::new();
            for (_, _, tenant, id) in due {
                let Some(room) = state.rooms.get_mut(&tenant) else { continue };
                let scope = room.engine_scope(Owner::Tenant);
                let Some(row) = room.timers.get_mut(&id) else { continue };
                row.held_until = Some(after(now, hold));
                timers.push(DueTimer { scope: scope.turn(row.timer.agent, row.timer.user), timer: row.timer.clone() });
            }
            let next = state.rooms.values().flat_map(|room| room.timers.values().filter_map(TimerRow::free_at)).min();
            Ok(DueTimers { now, timers, next })
        })
    }

    async fn fire_timer(&self, scope: &Scope, Firing { timer, accept }: Firing) -> Result<Option<Accepted>, StoreError> {
        check_timer(&timer)?;
        self.write(|state, now| {
            let room = state.room_mut(scope, "timer")?;
            let next = next_timer(&room.own_timer(scope, timer.id)?.timer, timer, now)?;
            let accepted = accept.map(|accept: Accept| room.accept_checked(scope, accept, now)).transpose()?;
            let row = room.own_timer(scope, next.id)?;
            let before = row.timer.last_run;
            row.timer = next.clone();
            row.held_until = None;
            if let Some(told) = Told::of_timer(&next, before) {
                room.hooks.tell(&told, now);
            }
            Ok(accepted)
        })
    }
}

impl Room {
    fn seen_timer(&self, scope: &Scope, timer: TimerId) -> Result<&TimerRow, StoreError> {
        self.timers.get(&timer).filter(|row| Right::to_conversation(scope, row.timer.agent, row.timer.user)).ok_or(NO_TIMER)
    }

    fn own_timer(&mut self, scope: &Scope, timer: TimerId) -> Result<&mut TimerRow, StoreError> {
        self.timers.get_mut(&timer).filter(|row| may_change_timers(scope, row.timer.agent, row.timer.user)).ok_or(NO_TIMER)
    }

    /// Whether the timer's agent, human and conversation are there, belong together, and are the scope's.
    fn check_timer_owner(&self, scope: &Scope, timer: &Timer) -> Result<(), StoreError> {
        if !may_change_timers(scope, timer.agent, timer.user) || !self.agents.contains_key(&timer.agent) {
            return Err(missing("agent"));
        }
        if timer.user.is_some_and(|user| !self.users.contains_key(&user)) {
            return Err(missing("user"));
        }
        let Some(conversation) = timer.conversation else { return Ok(()) };
        let of = &self.thread(scope, conversation)?.conversation;
        if (of.agent, of.user) == (timer.agent, timer.user) { Ok(()) } else { Err(missing("conversation")) }
    }
}
