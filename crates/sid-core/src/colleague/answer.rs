//! Waiting for an answer. The asking run keeps its lease and gives its place among the runs of this process to others; what it waits for is a run
//! in the store, so a server that takes it up after a crash waits for the same one.

use std::sync::Arc;
use std::time::Duration;

use sid_store::{Order, StoreError};
use sid_tools::{ToolContext, ToolOutcome, fit_result};
use sid_types::{Agent, Message, Role, Run, RunStatus, Source, StopReason};
use tokio::time::Instant;

use super::reach::Reach;
use super::send::{Sent, of_agent};
use crate::active::RunEnd;
use crate::engine::{Engine, Inner};

/// How often it is looked whether this process is to close.
const LOOK: Duration = Duration::from_millis(250);
/// Most messages of a run that are read back for its words.
const MOST_READ: usize = 1_000;

/// Waits for the end of the run that a question has started, and tells its words.
pub(super) async fn wait(inner: &Arc<Inner>, reach: &Reach, context: &ToolContext, asked: &Agent, sent: Sent) -> ToolOutcome {
    let engine = Engine { inner: inner.clone() };
    let most = inner.config.ask_timeout;
    let name = &asked.spec.name;
    let end = if sent.run.status.is_terminal() {
        RunEnd { run: sent.run, messages: None }
    } else {
        let _resting = inner.active.rest(context.run);
        inner.active.wake_if_waiting();
        let waited = tokio::select! {
            end = engine.wait_until(&sent.there, sent.run.id, Instant::now() + left(inner, &sent, most)) => end,
            () = stopped(&engine, context) => {
                // Where its asker was called off, nobody waits for it any more; where this process closes, another one waits on.
                if inner.store.run(&context.scope, context.run).await.is_ok_and(|run| run.cancel_requested) {
                    let _ = engine.cancel(&sent.there, sent.run.id).await;
                }
                return ToolOutcome::error("Not answered: the run was stopped.");
            }
        };
        match waited {
            Ok(end) => end,
            Err(error) => return ToolOutcome::error(format!("`{name}` was asked, but its answer cannot be read: {error}")),
        }
    };
    if !end.run.status.is_terminal() {
        return ToolOutcome::error(format!(
            "`{name}` has not answered within {} s. Go on without it and say so; it remembers the question, and may be asked again later.",
            most.as_secs()
        ));
    }
    let run = end.run.clone();
    let messages = match messages_of(inner, &sent.there, end).await {
        Ok(messages) => messages,
        Err(error) => return ToolOutcome::error(format!("`{name}` was asked, but its answer cannot be read: {error}")),
    };
    answer(reach, asked, context, &run, &messages)
}

/// What is left of the time. A question that was asked before a crash has waited already.
fn left(inner: &Inner, sent: &Sent, most: Duration) -> Duration {
    if !sent.is_again {
        return most;
    }
    let waited = inner.clock.now().duration_since(sent.run.created_at);
    most.saturating_sub(Duration::try_from(waited).unwrap_or_default())
}

/// Ready when the run is told to stop, or this process closes: then the run is handed back, and goes on elsewhere where it was.
async fn stopped(engine: &Engine, context: &ToolContext) {
    let Some((lease, stop)) = engine.inner.active.lease(context.run) else { return std::future::pending().await };
    loop {
        if tokio::time::timeout(LOOK, stop.cancelled()).await.is_ok() {
            return;
        }
        if engine.is_draining() {
            let _ = engine.inner.store.release(&lease).await;
            engine.inner.active.stop(context.run);
            return;
        }
    }
}

async fn messages_of(inner: &Inner, there: &sid_types::Scope, end: RunEnd) -> Result<Vec<Message>, StoreError> {
    if let Some(messages) = end.messages {
        return Ok(messages);
    }
    let mut messages = inner.store.page(there, end.run.conversation, None, Order::Descending, MOST_READ).await?;
    messages.retain(|m| m.run == Some(end.run.id));
    messages.reverse();
    Ok(messages)
}

/// The words of a run that has ended, with all that their writer had read.
fn answer(reach: &Reach, asked: &Agent, context: &ToolContext, run: &Run, messages: &[Message]) -> ToolOutcome {
    let name = &asked.spec.name;
    if run.status != RunStatus::Completed {
        let why =
            run.stop_reason.and_then(|r| serde_json::to_value(r).ok()).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        return ToolOutcome::error(format!("`{name}` could not answer ({why}). Go on without it and say so."));
    }
    let said = || messages.iter().filter(|m| m.body.role() == Role::Assistant);
    let words: Vec<&str> = said().map(|m| m.body.text().trim()).filter(|text| !text.is_empty()).collect();
    let mut sources = Vec::new();
    said().for_each(|m| Source::add(&mut sources, &m.untrusted));
    if reach.is_outside(&reach.me, asked) {
        Source::add(&mut sources, &[of_agent(asked)]);
    }
    sources.retain(|source| *source != of_agent(&reach.me));
    let mut text = if words.is_empty() { format!("`{name}` has said nothing.") } else { words.join("\n\n") };
    if run.stop_reason != Some(StopReason::EndTurn) {
        text.push_str("\n[It stopped before it was done.]");
    }
    ToolOutcome { sources, ..ToolOutcome::text(fit_result(&text, context.result_budget)) }
}
