//! Firing: what is due is taken a few at a time, by any replica, and each occurrence becomes one run.

use std::time::Duration;

use jiff::Timestamp;
use sid_store::{Accept, DueTimer, Firing, NewConversation, OnBusy, StoreError, crash_point};
use sid_types::{Body, ConversationId, NewMessage, Timer, When};
use tracing::{debug, warn};

use super::{AUTONOMOUS_KEY, Calendar, Plan, plan};
use crate::{CoreError, Engine, metrics};

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
    let calendar = Calendar::new(&timer.spec.when)?;
    let Some(plan) = plan(&timer, &calendar, now, inner.config.timer_patience) else { return Ok(()) };
    let next = plan.applied(&timer);
    let Some(due) = plan.run else {
        inner.store.fire_timer(&scope, Firing { timer: next, accept: None }).await?;
        metrics::timer_left_out(plan.left_out);
        return Ok(());
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
        messages: vec![NewMessage {
            untrusted: timer.untrusted.clone(),
            ..NewMessage::of(Body::Note { text: note(&timer, &plan, due, now) }, now)
        }],
        idempotency: None,
        limits: inner.config.limits,
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
    if plan.left_out > 0 {
        text += &format!(" {} earlier ones were missed and are left out.", plan.left_out);
    }
    if plan.next.is_none() {
        text += " It will not come again.";
    }
    text + "\n\n" + &timer.spec.stimulus
}
