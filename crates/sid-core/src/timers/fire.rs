//! Firing: what is due is taken a few at a time, by any replica, and each occurrence becomes one run.

use std::time::Duration;

use jiff::Timestamp;
use sid_store::{Accept, DueTimer, Firing, NewConversation, OnBusy, StoreError, crash_point};
use sid_types::{Agent, Body, ConversationId, Held, HeldBy, InQuietHours, NewMessage, Scope, Timer, TimerKind, When};
use tracing::{debug, warn};

use super::{AUTONOMOUS_KEY, Calendar, Plan, plan};
use crate::engine::Inner;
use crate::{CoreError, Engine, metrics, perpetual};

/// Most timers that are taken at once.
const AT_ONCE: usize = 16;
/// So long others leave alone what was taken. Whoever takes and dies delays a timer by that much, so it is shorter than anybody's patience.
const HOLD: Duration = Duration::from_secs(1);

/// Looks for timers that are due, and sleeps until the next one is.
pub(crate) async fn poll(engine: Engine) {
    let inner = &engine.inner;
    while !engine.is_draining() {
        crash_point!("timers.before");
        let rest = match inner.store.take_timers(AT_ONCE, HOLD).await {
            Ok(due) => {
                crash_point!("timers.after");
                if !due.timers.is_empty() {
                    futures::future::join_all(due.timers.into_iter().map(|timer| answer(&engine, timer, due.now))).await;
                    continue;
                }
                due.next.map_or(inner.config.poll, |next| until(due.now, next).min(inner.config.poll))
            }
            Err(error) => {
                warn!(%error, "could not look for timers");
                inner.config.poll
            }
        };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = inner.timers.changed.notified() => {}
        }
    }
}

fn until(now: Timestamp, next: Timestamp) -> Duration {
    // Never at once: a clock that stands still would be asked without end.
    Duration::try_from(next.duration_since(now)).unwrap_or_default().max(Duration::from_millis(1))
}

/// Answers one timer. What fails stays due, and is taken again when nobody holds it any more.
async fn answer(engine: &Engine, due: DueTimer, now: Timestamp) {
    let id = due.timer.id;
    match fire(engine, due, now).await {
        Ok(()) => {}
        // Somebody has fired or changed it, or it is gone.
        Err(CoreError::Store(error @ (StoreError::Conflict { .. } | StoreError::NotFound { .. }))) => {
            debug!(timer = %id, %error, "a timer was not fired");
        }
        Err(CoreError::Store(error @ StoreError::QueueFull { .. })) => debug!(timer = %id, %error, "a timer waits"),
        Err(error) => warn!(timer = %id, %error, "a timer could not be fired; it is tried again"),
    }
}

async fn fire(engine: &Engine, DueTimer { scope, timer }: DueTimer, now: Timestamp) -> Result<(), CoreError> {
    let inner = &engine.inner;
    if engine.is_draining() {
        return Ok(());
    }
    let agent = inner.store.agent(&scope, timer.agent).await?;
    let Some(timer) = in_force(inner, &scope, timer, &agent).await? else { return Ok(()) };
    let calendar = Calendar::new(&timer.spec.when)?;
    let Some(plan) = plan(&timer, &calendar, now, inner.config.timer_patience) else { return Ok(()) };
    let leave_out = async |by| {
        let next = plan.left_out_by(&timer, by, now);
        metrics::timer_left_out(next.skipped - timer.skipped);
        inner.store.fire_timer(&scope, Firing { timer: next, accept: None }).await.map(drop)
    };
    let Some(due) = plan.run else { return Ok(leave_out(HeldBy::Late).await?) };
    match held(inner, &scope, &timer, &agent, now).await? {
        Some(Held { by, until: None, .. }) => return Ok(leave_out(by).await?),
        Some(held) => {
            debug!(timer = %timer.id, by = held.by.as_str(), until = ?held.until, "a timer waits");
            inner.store.put_timer(&scope, Timer { held: Some(held), ..timer }).await?;
            return Ok(());
        }
        None => {}
    }
    let next = plan.applied(&timer);
    let stimulus = match timer.spec.kind {
        TimerKind::Heartbeat => perpetual::note(inner, &scope, &timer, now).await?,
        TimerKind::Reminder | TimerKind::Sleep => {
            let text = note(&timer, &plan, due, now);
            NewMessage { untrusted: timer.untrusted.clone(), ..NewMessage::of(Body::Note { text }, now) }
        }
    };
    let conversation = match timer.conversation {
        Some(conversation) => conversation,
        None => {
            let own = NewConversation { agent: timer.agent, user: timer.user, key: Some(AUTONOMOUS_KEY.into()) };
            inner.store.open_conversation(&scope, ConversationId::new(), own).await?.0.id
        }
    };
    let place = inner.active.place(scope.tenant(), inner.room());
    let accept = Accept {
        run: Timer::run_for(timer.id, due),
        conversation,
        messages: vec![stimulus],
        idempotency: None,
        limits: inner.config.limits,
        priority: timer.spec.kind.priority(),
        client_tools: Vec::new(),
        only_after: None,
        on_busy: OnBusy::Queue,
        queue_depth: inner.config.queue_depth,
        claim_for: place.as_ref().map(|_| (inner.config.worker, inner.config.lease_ttl)),
    };
    crash_point!("fire.before");
    let accepted = inner.store.fire_timer(&scope, Firing { timer: next, accept: Some(accept) }).await?;
    crash_point!("fire.after");
    metrics::timer_fired(now.duration_since(due));
    match accepted.map(|accepted| (accepted.lease, place)) {
        Some((Some(lease), _)) => engine.spawn_run(lease),
        Some((None, None)) => inner.active.wait_for_place(scope.tenant(), inner.room()),
        Some((None, Some(_))) | None => {}
    }
    Ok(())
}

/// The timer as it is in force: a heartbeat follows its agent's heartrate. `None`: it is no more.
async fn in_force(inner: &Inner, scope: &Scope, timer: Timer, agent: &Agent) -> Result<Option<Timer>, CoreError> {
    if timer.spec.kind != TimerKind::Heartbeat {
        return Ok(Some(timer));
    }
    match perpetual::spec_in_force(&timer, agent) {
        Some(spec) => Ok(Some(Timer { spec, ..timer })),
        None => {
            inner.store.drop_timer(scope, timer.id).await?;
            Ok(None)
        }
    }
}

/// Why what is due does not begin now: left out, or until when it waits.
async fn held(inner: &Inner, scope: &Scope, timer: &Timer, agent: &Agent, now: Timestamp) -> Result<Option<Held>, CoreError> {
    let left_out = |by| Held { by, at: now, until: None };
    if timer.spec.kind == TimerKind::Sleep && perpetual::was_woken(inner, scope, timer.agent, timer.user, timer.created_at).await? {
        return Ok(Some(left_out(HeldBy::StillAwake)));
    }
    let is_waiting = timer.spec.in_quiet_hours == InQuietHours::Wait;
    let is_beat = timer.spec.kind == TimerKind::Heartbeat;
    match perpetual::held_back(inner, scope, agent, timer.user, is_waiting, now).await? {
        // There will be another heartbeat; what somebody has set must not get lost.
        Some(held) if is_beat && held.by != HeldBy::QuietHours => Ok(Some(left_out(held.by))),
        Some(held) => Ok(Some(held)),
        None if is_beat => Ok(perpetual::veto(inner, scope, timer, now).await?.map(left_out)),
        None => Ok(None),
    }
}

/// What the agent is told: what is due, when it was due, and how late it is.
fn note(timer: &Timer, plan: &Plan, due: Timestamp, now: Timestamp) -> String {
    let zone = match &timer.spec.when {
        When::Cron { timezone, .. } => timezone.as_str(),
        When::At { .. } | When::Every { .. } => "UTC",
    };
    let when = due.in_tz(zone).map_or_else(|_| due.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%S %:z").to_string());
    let mut text = format!("Timer \"{}\" ({}) is due. It was set for {when} ({zone}).", timer.spec.name, timer.id);
    let late = now.duration_since(due);
    if late.as_secs() > 0 {
        text += &format!(" It is {:#} late.", jiff::SignedDuration::from_secs(late.as_secs()));
    }
    if let Some(Held { by, .. }) = timer.held {
        text += match by {
            HeldBy::QuietHours => " It waited until the quiet hours were over.",
            _ => " It waited because you had begun too much by yourself.",
        };
    }
    if plan.left_out > 0 {
        text += &format!(" {} earlier ones were missed and are left out.", plan.left_out);
    }
    if plan.next.is_none() {
        text += " It will not come again.";
    }
    text + "\n\n" + &timer.spec.stimulus
}
