//! Heartbeats: an agent wakes by itself, is told what is open and what time it is, and may do nothing.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use sid_store::{ApprovalFilter, PageRequest, PairFilter, StoreError, TaskFilter};
use sid_types::{
    Agent, AgentId, ApprovalState, Body, ConversationId, Heartrate, HeldBy, InQuietHours, Late, NewMessage, Scope, Source, Task, Timer,
    TimerKind, TimerMaker, TimerSpec, TimerState, User, UserId, When,
};
use tracing::warn;

use super::{NO_REPLY, was_woken};
use crate::engine::Inner;
use crate::tail::clock_line;
use crate::timers::NewTimer;
use crate::{CoreError, Engine};

/// The name of timers that are heartbeats.
pub const HEARTBEAT_NAME: &str = "heartbeat";
/// What such a timer says besides what is open.
const STIMULUS: &str = "This is your heartbeat: you woke by yourself, nobody has written.";
/// Most open things of a kind that are told.
const MOST_TOLD: usize = 10;

/// An agent with a heartrate has had a run with this human, or alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat {
    agent: AgentId,
    user: Option<UserId>,
    rate: Heartrate,
}

impl Beat {
    /// Of a run's agent, if it has a heartrate.
    pub(crate) fn of(agent: &Agent, user: Option<UserId>) -> Option<Self> {
        agent.spec.heartrate.map(|rate| Self { agent: agent.id, user, rate })
    }
}

fn spec_of(rate: Heartrate, from: Timestamp) -> TimerSpec {
    TimerSpec {
        name: HEARTBEAT_NAME.into(),
        stimulus: STIMULUS.into(),
        when: When::Every { every_ms: rate.every_ms, from },
        // However many were missed, the agent wakes once.
        late: Late::RunOnce,
        kind: TimerKind::Heartbeat,
        in_quiet_hours: InQuietHours::Wait,
        only_when_open: rate.only_when_open,
        until: None,
        most: None,
    }
}

fn first(now: Timestamp, rate: Heartrate) -> Timestamp {
    let every = SignedDuration::from_millis(i64::try_from(rate.every_ms).unwrap_or(i64::MAX));
    now.checked_add(every).unwrap_or(Timestamp::MAX)
}

/// Sees to it that the heartbeat is there: after a run, so that it begins with the first contact, and one that was lost comes back.
pub(crate) async fn keep(engine: &Engine, scope: &Scope, beat: Beat) {
    let Beat { agent, user, rate } = beat;
    let store = &engine.inner.store;
    let outcome = async {
        match store.timer(scope, Timer::heartbeat_of(agent, user)).await {
            Ok(_) => Ok(()),
            Err(StoreError::NotFound { .. }) => make(engine, scope, agent, user, None, rate, TimerMaker::Agent).await.map(drop),
            Err(error) => Err(error.into()),
        }
    };
    if let Err(error) = outcome.await {
        warn!(%error, %agent, "a heartbeat could not be set; it is tried again after the next run");
    }
}

async fn make(
    engine: &Engine,
    scope: &Scope,
    agent: AgentId,
    user: Option<UserId>,
    conversation: Option<ConversationId>,
    rate: Heartrate,
    made_by: TimerMaker,
) -> Result<Timer, CoreError> {
    let spec = spec_of(rate, first(engine.inner.clock.now(), rate));
    engine
        .create_timer(
            scope,
            NewTimer { id: Timer::heartbeat_of(agent, user), agent, user, conversation, spec, made_by, untrusted: Vec::new() },
        )
        .await
}

impl Engine {
    /// Sets how often an agent wakes by itself for one human, or alone, whatever its own heartrate is. The heartbeat is a timer: paused it is
    /// off, and when it is dropped the agent's own heartrate holds again. `conversation`: where it is told, if the heartbeat is new; the one
    /// with the key [`AUTONOMOUS_KEY`](crate::AUTONOMOUS_KEY) otherwise.
    ///
    /// Errors: those of making a timer.
    pub async fn set_heartrate(
        &self,
        scope: &Scope,
        agent: AgentId,
        user: Option<UserId>,
        conversation: Option<ConversationId>,
        rate: Heartrate,
        made_by: TimerMaker,
    ) -> Result<Timer, CoreError> {
        self.check_heartrate(rate)?;
        let known = match self.inner.store.timer(scope, Timer::heartbeat_of(agent, user)).await {
            Ok(known) => known,
            Err(StoreError::NotFound { .. }) => return make(self, scope, agent, user, conversation, rate, made_by).await,
            Err(error) => return Err(error.into()),
        };
        if made_by != known.made_by || (conversation.is_some() && conversation != known.conversation) {
            // Where a timer speaks, and whose it is, stays; a heartbeat that speaks elsewhere or is another's is another one.
            self.inner.store.drop_timer(scope, known.id).await?;
            return make(self, scope, agent, user, conversation.or(known.conversation), rate, made_by).await;
        }
        let now = self.inner.clock.now();
        let (spec, next_due) = (spec_of(rate, first(now, rate)), Some(first(now, rate)));
        let changed = Timer { spec, state: TimerState::Active, next_due, held: None, ..known };
        let changed = self.inner.store.put_timer(scope, changed).await?;
        self.inner.timers.changed.notify_one();
        Ok(changed)
    }

    /// Whether an agent may have this heartrate. Errors: `Invalid`.
    pub fn check_heartrate(&self, rate: Heartrate) -> Result<(), CoreError> {
        let least = self.inner.config.shortest_timer;
        if u128::from(rate.every_ms) < least.as_millis() {
            let least = SignedDuration::try_from(least).unwrap_or(SignedDuration::MAX);
            return Err(CoreError::Invalid(format!("a heartrate of {} ms is too fast: the shortest allowed is {least:#}", rate.every_ms)));
        }
        Ok(())
    }
}

/// What a heartbeat goes by now; `None` = the agent has none any more. One that follows the agent's own heartrate changes with it.
pub(crate) fn spec_in_force(timer: &Timer, agent: &Agent) -> Option<TimerSpec> {
    if timer.made_by != TimerMaker::Agent {
        return Some(timer.spec.clone());
    }
    let rate = agent.spec.heartrate?;
    let When::Every { every_ms, from } = timer.spec.when else { return Some(timer.spec.clone()) };
    Some(if every_ms == rate.every_ms { spec_of(rate, from) } else { spec_of(rate, timer.next_due.unwrap_or(from)) })
}

/// Why a heartbeat is left out, if it is.
pub(crate) async fn veto(inner: &Inner, scope: &Scope, timer: &Timer, now: Timestamp) -> Result<Option<HeldBy>, StoreError> {
    if let Some(last) = timer.last_run
        && inner.store.run(scope, last).await.is_ok_and(|run| !run.status.is_terminal())
    {
        return Ok(Some(HeldBy::StillAwake));
    }
    if is_asleep(inner, scope, timer, now).await? {
        return Ok(Some(HeldBy::Asleep));
    }
    Ok((timer.spec.only_when_open && open(inner, scope, timer).await?.0.is_empty()).then_some(HeldBy::NothingOpen))
}

async fn is_asleep(inner: &Inner, scope: &Scope, beat: &Timer, now: Timestamp) -> Result<bool, StoreError> {
    let filter = PairFilter { agent: Some(beat.agent), user: beat.user, ..PairFilter::default() };
    let timers = inner.store.timers(scope, &filter, PageRequest { after: None, limit: 1_000 }).await?.items;
    let sleeps =
        timers.iter().filter(|t| t.user == beat.user && t.spec.kind == TimerKind::Sleep && t.next_due.is_some_and(|due| due > now));
    for sleep in sleeps {
        if !was_woken(inner, scope, sleep.agent, sleep.user, sleep.created_at).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is open, a line each, and the sources that are not trusted of which the lines tell.
async fn open(inner: &Inner, scope: &Scope, beat: &Timer) -> Result<(Vec<String>, Vec<Source>), StoreError> {
    let page = PageRequest { after: None, limit: MOST_TOLD };
    let filter = TaskFilter { agent: Some(beat.agent), user: beat.user, is_open: true, ..TaskFilter::default() };
    let tasks: Vec<Task> = inner.store.tasks(scope, &filter, page.clone()).await?.items;
    let own = || tasks.iter().filter(|task| task.user == beat.user);
    let mut lines: Vec<String> = own().map(|task| format!("- Task \"{}\" ({}): {}", task.title, task.id, task.state.as_str())).collect();
    let letters: usize = own().map(|task| task.work.outbox.len() + task.work.kept_back.len()).sum();
    if letters > 0 {
        lines.push(format!("- {letters} letters of tasks were not delivered yet."));
    }
    let filter = ApprovalFilter { state: Some(ApprovalState::Pending), ..ApprovalFilter::default() };
    let asked = inner.store.approvals(scope, &filter, page).await?.items;
    lines.extend(
        asked.iter().filter(|a| a.agent == beat.agent).map(|a| format!("- Your call of `{}` waits for a yes ({}).", a.call.name, a.id)),
    );
    let mut untrusted = Vec::new();
    own().for_each(|task| Source::add(&mut untrusted, &task.untrusted));
    Ok((lines, untrusted))
}

/// What the agent is told: what is open, and the time; under the influence of what the open things are.
pub(crate) async fn note(inner: &Inner, scope: &Scope, beat: &Timer, now: Timestamp) -> Result<NewMessage, StoreError> {
    let user: Option<User> = match beat.user {
        Some(user) => Some(inner.store.user(scope, user).await?),
        None => None,
    };
    let zone = user.as_ref().and_then(|user| user.timezone.as_deref());
    let mut text = format!("{} {}", beat.spec.stimulus, clock_line(now, zone, None));
    let (open, untrusted) = open(inner, scope, beat).await?;
    if open.is_empty() {
        text += "\nNothing is open.";
    } else {
        let _ = write!(text, "\nOpen:\n{}", open.join("\n"));
    }
    let whom =
        user.map_or_else(|| "Do what is to be done.".into(), |user| format!("Do what is to be done, or write to {}.", user.display_name));
    let _ = write!(text, "\n{whom} If there is nothing, answer {NO_REPLY} and nothing else: nobody is shown that.");
    Ok(NewMessage { untrusted, ..NewMessage::of(Body::Note { text }, now) })
}
