//! The driver: does what the run machine decides, and decides nothing.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use jiff::SignedDuration;
use sid_llm::{ChatEvent, ChatReply, ChatRequest, LlmError};
use sid_store::{Commit, Committed, Effect, Lease, Loaded, StoreError, crash_point};
use sid_tools::{EffectClass, ToolContext, ToolOutcome};
use sid_types::{CallState, EventBody, Message, Run, Seq, StopReason, Timestamp, Usage};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info_span, warn};

use crate::active::RunEnd;
use crate::budget::{self, Budget};
use crate::engine::Inner;
use crate::machine::{Next, RunMachine, StepFacts, ToCall};
use crate::perpetual::{self, Beat};
use crate::prepare::{Prepared, TurnPreparation};
use crate::{CoreError, Engine, compaction, metrics, tool_call};

/// Most times that a commit is tried again while the store cannot be reached.
const COMMIT_TRIES: u32 = 5;

/// Works on a conversation until nothing waits in it, or the lease is gone.
pub(crate) async fn drive(engine: Engine, lease: Lease) {
    let mut next = Some(lease);
    while let Some(lease) = next {
        let Some(stop) = engine.inner.active.take_up(&lease) else { break };
        let span = info_span!("sid.run", run = %lease.run, conversation = %lease.conversation);
        let run = AssertPanicSafe(Box::pin(run_one(&engine.inner, &lease, &stop))).catch().instrument(span).await;
        engine.inner.active.leave(&lease);
        next = match run {
            Ok(Ended { end, next, compact, beat }) => {
                tell_waiters(&engine.inner, &lease, end).await;
                crash_point!("run.left");
                engine.inner.new_memory.notify_one();
                if let Some(beat) = beat {
                    perpetual::keep(&engine, &lease.scope, beat).await;
                }
                if let Some(state) = compact {
                    compaction::prepare_ahead(&engine, *state);
                }
                next
            }
            // The lease runs out, and the poller takes the run up again from its last commit.
            Err(error) => {
                warn!(run = %lease.run, %error, "the run was put down");
                None
            }
        };
        if engine.is_draining()
            && let Some(lease) = next.take()
        {
            let _ = engine.inner.store.release(&lease).await;
        }
    }
    engine.inner.active.wake_if_waiting();
}

async fn tell_waiters(inner: &Inner, lease: &Lease, end: Option<RunEnd>) {
    if !inner.active.has_waiters(lease.run) {
        return;
    }
    match end {
        Some(end) => inner.active.finished(&end),
        None => {
            if let Ok(run) = inner.store.run(&lease.scope, lease.run).await {
                inner.active.finished(&RunEnd { run, messages: None });
            }
        }
    }
}

/// The end as it was committed. Messages that were paged out during the run are not at hand.
fn end_of(ended: Option<Run>, queue: &[Message]) -> Option<RunEnd> {
    let run = ended?;
    let messages: Vec<Message> = queue.iter().filter(|m| m.run == Some(run.id)).cloned().collect();
    let is_whole = messages.first().map(|m| m.id) == run.stimulus.first().copied();
    Some(RunEnd { run, messages: Some(messages).filter(|_| is_whole) })
}

/// What is left after a run.
struct Ended {
    /// The run as it ended; `None` when only the store knows.
    end: Option<RunEnd>,
    next: Option<Lease>,
    /// The state to prepare a summary from, when the queue is filling up.
    compact: Option<Box<compaction::Ahead>>,
    /// The heartbeat that is to be there from now on.
    beat: Option<Beat>,
}

/// Turns a panic in a run into an error of that run: one conversation's fault must not take the process along.
struct AssertPanicSafe<F>(F);

impl<F: Future<Output = Result<Ended, CoreError>>> AssertPanicSafe<F> {
    async fn catch(self) -> Result<Ended, CoreError> {
        match std::panic::AssertUnwindSafe(self.0).catch_unwind().await {
            Ok(result) => result,
            Err(_) => {
                error!("a run panicked");
                Err(CoreError::Invalid("a run panicked; it is taken up again from its last commit".into()))
            }
        }
    }
}

async fn run_one(inner: &Arc<Inner>, lease: &Lease, stop: &CancellationToken) -> Result<Ended, CoreError> {
    let began = Instant::now();
    let clock_now = inner.clock.now();
    let time = RunTime { from: clock_now, began };
    crash_point!("load.before");
    let loaded = inner.store.load(lease).await?;
    crash_point!("load.after");
    let started = clock_now - age(&loaded.run, lease, inner.config.lease_ttl);
    let said_at = said_at(&loaded, clock_now);
    let agent_name = loaded.agent.spec.name.clone();
    let model_name = loaded.agent.spec.model.clone();
    let Some(model) = inner.models.get(&model_name).cloned() else {
        let error = CoreError::UnknownModel { agent: agent_name, model: model_name };
        return fail_at_once(inner, lease, loaded, said_at, &error).await;
    };
    let mut turn = TurnPreparation::new(inner.clone(), lease.scope, model.clone(), &loaded).await?;
    let rules = turn.rules(&loaded.agent.spec.tool_rules);
    let mut machine =
        RunMachine::new(loaded, said_at, started, model.counter.clone()).with_rules(rules).with_client_tools(turn.take_client_tools());
    machine.guard(turn.gate(&machine.state().agent.spec));
    machine.event(EventBody::Started { epoch: lease.epoch });
    let mut next_lease = None;
    let mut ended = None;
    let mut has_failed = false;
    let reason = loop {
        if stop.is_cancelled() && !machine.is_cancelled() && !machine.is_over() {
            // Either somebody asked for it, or the lease was lost or handed back: then the work is dropped.
            if !inner.store.is_cancel_requested(lease).await? {
                return Err(StoreError::Fenced { held: lease.epoch, current: lease.epoch + 1 }.into());
            }
            machine.cancel();
        }
        match machine.next(time.now()) {
            Next::CallModel => match turn.prepare(&mut machine).await {
                Ok(prepared) => call_model(inner, lease, &model, &mut machine, &mut turn, prepared, (stop, time)).await?,
                Err(CoreError::Store(error)) => return Err(error.into()),
                Err(error) => machine.fail(StopReason::WindowTooSmall, error.to_string()),
            },
            Next::CallTools(calls) => {
                let outcomes = call_tools(inner, lease, &mut machine, &turn, calls).await?;
                machine.on_outcomes(outcomes);
            }
            Next::Commit(commit) => match commit_durably(inner, lease, commit).await {
                Ok(committed) => {
                    next_lease = committed.next.clone();
                    ended = committed.ended.clone();
                    machine.on_committed(&committed);
                }
                Err(conflict @ StoreError::Conflict { .. }) => {
                    let blocks = inner.store.load(lease).await?.blocks;
                    if let Err(conflict) = machine.on_conflict(blocks, conflict) {
                        machine.fail(StopReason::Internal, conflict.to_string());
                    }
                }
                Err(StoreError::TooLarge { what, size, limit }) => {
                    let blocks = inner.store.load(lease).await?.blocks;
                    machine.refuse_calls(blocks, &format!("{what} is too large: {size} of {limit}. Shorten it or replace something."));
                }
                Err(StoreError::Forbidden { what, why }) => {
                    let blocks = inner.store.load(lease).await?.blocks;
                    machine.refuse_calls(blocks, &format!("Not done: this {what} may not be changed: {why}."));
                }
                // Trying again would end the same way: the run ends here instead of for ever anew.
                Err(error @ (StoreError::Invalid(_) | StoreError::NotFound { .. } | StoreError::Exists { .. })) if !has_failed => {
                    has_failed = true;
                    machine.fail(StopReason::Internal, error.to_string());
                }
                Err(error) => return Err(error.into()),
            },
            Next::Done(reason) => break reason,
        }
    };
    metrics::run_ended(reason, began.elapsed());
    if turn.is_task() {
        inner.tasks_changed.notify_one();
    }
    let end = if inner.active.has_waiters(lease.run) { end_of(ended, &machine.state().queue) } else { None };
    let state = machine.state();
    let beat = Beat::of(&state.agent, state.conversation.user);
    Ok(Ended { end, next: next_lease, compact: turn.ahead(machine.into_state()).map(Box::new), beat })
}

/// The present as a run counts it: from the clock's word at its beginning on by a watch that nobody sets. A server's clock may jump in the
/// middle of a run, and the run is no longer for it.
#[derive(Debug, Clone, Copy)]
struct RunTime {
    from: Timestamp,
    began: Instant,
}

impl RunTime {
    fn now(self) -> Timestamp {
        let passed = SignedDuration::try_from(self.began.elapsed()).unwrap_or(SignedDuration::MAX);
        self.from.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }
}

/// How long ago the run began when it was claimed, by the store's clock alone: this engine's may be wrong by hours.
fn age(run: &Run, lease: &Lease, ttl: Duration) -> SignedDuration {
    let ttl = SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX);
    let claimed_at = lease.expires_at.saturating_sub(ttl).unwrap_or(lease.expires_at);
    run.started_at.map_or(SignedDuration::ZERO, |started| claimed_at.duration_since(started)).max(SignedDuration::ZERO)
}

/// The turn's present moment: the client's word for it where it gave one.
fn said_at(loaded: &Loaded, clock_now: Timestamp) -> Timestamp {
    let run = loaded.run.id;
    loaded.queue.iter().rfind(|m| m.run == Some(run)).map_or(clock_now, |m| m.at)
}

async fn fail_at_once(inner: &Arc<Inner>, lease: &Lease, loaded: Loaded, now: Timestamp, error: &CoreError) -> Result<Ended, CoreError> {
    let mut machine = RunMachine::new(loaded, now, inner.clock.now(), Arc::new(sid_llm::ByteCounter));
    machine.fail(StopReason::ModelRefused, error.to_string());
    let mut next = None;
    if let Next::Commit(commit) = machine.next(inner.clock.now()) {
        next = commit_durably(inner, lease, commit).await?.next;
    }
    metrics::run_ended(StopReason::ModelRefused, Duration::ZERO);
    Ok(Ended { end: None, next, compact: None, beat: None })
}

/// Where a crash finds a run: before and after each kind of commit.
fn pass_crash_points(commit: &Commit, is_done: bool) {
    for effect in &commit.effects {
        match (effect, is_done) {
            (Effect::Plan(_), false) => crash_point!("record.before"),
            (Effect::Plan(_), true) => crash_point!("record.after"),
            (Effect::StartCall(_), false) => crash_point!("start.before"),
            (Effect::StartCall(_), true) => crash_point!("start.after"),
            (Effect::FinishCall(_), false) => crash_point!("results.before"),
            (Effect::FinishCall(_), true) => crash_point!("results.after"),
            (Effect::PageOut(_), false) => crash_point!("page-out.before"),
            (Effect::PageOut(_), true) => crash_point!("page-out.after"),
            (Effect::Finish { .. }, false) => crash_point!("finish.before"),
            (Effect::Finish { .. }, true) => crash_point!("finish.after"),
            _ => {}
        }
    }
}

/// Commits, again with the same number while the store cannot be reached: a commit that did happen is recognised by it.
async fn commit_durably(inner: &Inner, lease: &Lease, commit: Commit) -> Result<Committed, StoreError> {
    let mut tries = 0;
    pass_crash_points(&commit, false);
    loop {
        let outcome = inner.store.commit(lease, commit.clone()).await;
        if outcome.is_ok() {
            pass_crash_points(&commit, true);
        }
        match outcome {
            Err(error @ (StoreError::Unavailable { .. } | StoreError::Full { .. })) => {
                tries += 1;
                if tries >= COMMIT_TRIES {
                    return Err(error);
                }
                warn!(%error, tries, "commit failed; trying again");
                tokio::time::sleep(Duration::from_millis(100 << tries)).await;
            }
            other => return other,
        }
    }
}

/// One model call: deltas go to the event log as they come, the reply to the machine.
async fn call_model(
    inner: &Arc<Inner>,
    lease: &Lease,
    model: &crate::ModelEntry,
    machine: &mut RunMachine,
    turn: &mut TurnPreparation,
    prepared: Prepared,
    (stop, time): (&CancellationToken, RunTime),
) -> Result<(), CoreError> {
    crash_point!("prompt.after");
    let Prepared { request, mut facts, counted } = prepared;
    // A run's time is up in the middle of a call too.
    let left = machine.time_left(time.now());
    let at_most = u64::from(counted.0) + u64::from(request.max_tokens.0);
    let is_reserved = match budget::reserve(inner, lease, at_most, left).await? {
        Budget::Unlimited => false,
        Budget::Reserved => true,
        Budget::UsedUp(error) => {
            machine.fail(StopReason::Budget, error.to_string());
            return Ok(());
        }
    };
    let began = Instant::now();
    let streamed = match tokio::time::timeout(left, stream_reply(inner, lease, model, machine, request, &mut facts, began, stop)).await {
        Ok(streamed) => streamed?,
        Err(_) => {
            machine.time_is_up();
            Streamed::Stopped
        }
    };
    facts.total_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    if is_reserved && !matches!(streamed, Streamed::Reply(_)) {
        budget::unreserve(inner, lease).await;
    }
    match streamed {
        Streamed::Reply(mut reply) => {
            turn.unwrap_calls(&mut reply);
            facts.usage = match reply.usage {
                Some(usage) if usage.prompt_tokens > 0 => {
                    model.counter.learn(counted, sid_types::Tokens(u32::try_from(usage.prompt_tokens).unwrap_or(u32::MAX)));
                    usage
                }
                _ => Usage {
                    prompt_tokens: u64::from(counted.0),
                    completion_tokens: u64::from((model.counter.count(&reply.text) + model.counter.count(&reply.reasoning)).0),
                    cached_tokens: 0,
                    is_estimated: true,
                },
            };
            crash_point!("model.after");
            metrics::step(&facts, reply.rung);
            machine.on_reply(reply, facts, time.now());
        }
        Streamed::Stopped => {}
        Streamed::Failed(LlmError::ContextOverflow { prompt, window }) if turn.shrink(counted, prompt, window) => {
            metrics::overflow();
        }
        Streamed::Failed(error) => machine.on_model_error(&error),
    }
    Ok(())
}

enum Streamed {
    Reply(ChatReply),
    Failed(LlmError),
    Stopped,
}

/// Reads one stream to its end. Deltas are written in batches: the first as soon as the model has taken longer than a flush.
#[allow(clippy::too_many_arguments, reason = "one call site; a struct of the same fields would only move them")]
async fn stream_reply(
    inner: &Arc<Inner>,
    lease: &Lease,
    model: &crate::ModelEntry,
    machine: &mut RunMachine,
    request: ChatRequest,
    facts: &mut StepFacts,
    began: Instant,
    stop: &CancellationToken,
) -> Result<Streamed, CoreError> {
    let mut deltas = Deltas {
        began,
        last_flush: None,
        every: inner.config.delta_flush,
        may_be_silent: machine.may_be_silent(),
        text: String::new(),
        reasoning: String::new(),
    };
    crash_point!("model.before");
    // In order, here and below: a stop is heard before anything else, and an endless stream does not hold back a flush.
    let mut stream = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(Streamed::Stopped),
        stream = model.chat.chat(request) => match stream {
            Ok(stream) => stream,
            Err(error) => return Ok(Streamed::Failed(error)),
        },
    };
    loop {
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Streamed::Stopped),
            () = tokio::time::sleep(deltas.until_flush()), if deltas.is_waiting() => {
                deltas.flush(inner, lease, machine).await?;
                continue;
            }
            event = stream.next() => event,
        };
        match event {
            Some(Ok(ChatEvent::TextDelta(text))) => {
                deltas.first(facts);
                deltas.text.push_str(&text);
            }
            Some(Ok(ChatEvent::ReasoningDelta(text))) => {
                deltas.first(facts);
                deltas.reasoning.push_str(&text);
            }
            Some(Ok(ChatEvent::Restart)) => {
                deltas.text.clear();
                deltas.may_be_silent = machine.may_be_silent();
                deltas.reasoning.clear();
                if deltas.last_flush.is_some() {
                    // Said again, a start makes the deltas after the last one void.
                    inner.store.append_events(lease, vec![EventBody::Started { epoch: lease.epoch }]).await?;
                }
            }
            Some(Ok(ChatEvent::Done(reply))) => {
                deltas.first(facts);
                if deltas.last_flush.is_some() {
                    deltas.flush(inner, lease, machine).await?;
                }
                return Ok(Streamed::Reply(*reply));
            }
            Some(Err(error)) => return Ok(Streamed::Failed(error)),
            None => return Ok(Streamed::Failed(LlmError::Interrupted { detail: "the stream ended without an answer".into() })),
        }
    }
}

/// Deltas on their way to the event log.
struct Deltas {
    began: Instant,
    last_flush: Option<Instant>,
    every: Duration,
    /// Text is held back while it may turn out to be no answer.
    may_be_silent: bool,
    text: String,
    reasoning: String,
}

impl Deltas {
    fn first(&self, facts: &mut StepFacts) {
        if facts.first_token_ms == 0 {
            facts.first_token_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        }
    }

    fn is_waiting(&self) -> bool {
        self.has_text() || !self.reasoning.is_empty()
    }

    fn has_text(&self) -> bool {
        !(self.text.is_empty() || self.may_be_silent && perpetual::may_become_silent(&self.text))
    }

    /// An answer that is whole before its first flush is never written as deltas: its message is enough.
    fn until_flush(&self) -> Duration {
        self.every.saturating_sub(self.last_flush.unwrap_or(self.began).elapsed())
    }

    async fn flush(&mut self, inner: &Inner, lease: &Lease, machine: &mut RunMachine) -> Result<(), CoreError> {
        self.last_flush = Some(Instant::now());
        let mut events = machine.take_events();
        if !self.reasoning.is_empty() {
            events.push(EventBody::ReasoningDelta { text: std::mem::take(&mut self.reasoning) });
        }
        if self.has_text() {
            // From now on it is an answer.
            self.may_be_silent = false;
            events.push(EventBody::TextDelta { text: std::mem::take(&mut self.text) });
        }
        if !events.is_empty() {
            crash_point!("events.before");
            inner.store.append_events(lease, events).await?;
            crash_point!("events.after");
        }
        Ok(())
    }
}

/// Calls the tools. Those that touch Sid's own memory are called in order, and each sees the blocks as the one before left them; what stands
/// between two of them is called at the same time.
async fn call_tools(
    inner: &Arc<Inner>,
    lease: &Lease,
    machine: &mut RunMachine,
    turn: &TurnPreparation,
    calls: Vec<ToCall>,
) -> Result<Vec<ToolOutcome>, CoreError> {
    let tools = turn.registry();
    let leaves_the_house = |call: &&ToCall| {
        matches!(tools.effect(&call.planned.call.name), Some(EffectClass::External { .. }))
            && call.planned.state == CallState::Planned
            && call.refused.is_none()
            && call.asks.is_none()
    };
    let starting: Vec<uuid::Uuid> = calls.iter().filter(leaves_the_house).map(|c| c.planned.token).collect();
    if !starting.is_empty() {
        let commit = machine.on_starting(&starting);
        commit_durably(inner, lease, commit).await?;
    }
    let state = machine.state();
    let mut context = ToolContext {
        scope: lease.scope,
        conversation: lease.conversation,
        run: lease.run,
        token: uuid::Uuid::nil(),
        now: machine.now(),
        timezone: state.user.as_ref().and_then(|u| u.timezone.clone()).unwrap_or_else(|| "UTC".into()),
        blocks: state.blocks.clone(),
        queue_start: Seq(state.conversation.queue_start.0.max(1)),
        result_budget: turn.tool_result_budget(calls.len()),
        untrusted: machine.tainted_by(),
    };
    let mut outcomes = Vec::with_capacity(calls.len());
    let stays_inside = |call: &ToCall| tools.effect(&call.planned.call.name) == Some(EffectClass::Memory);
    for group in calls.chunk_by(|a, b| !stays_inside(a) && !stays_inside(b)) {
        let together: Vec<_> = group.iter().map(|call| tool_call::call(tools, call, &context)).collect();
        let together: Vec<ToolOutcome> = futures::stream::iter(together).buffered(tool_call::AT_ONCE).collect().await;
        for outcome in together {
            for (block, op, version) in &outcome.block_edits {
                if let Some(b) = context.blocks.iter_mut().find(|b| b.id == *block) {
                    b.value = op.apply(&b.value).unwrap_or_else(|| b.value.clone());
                    b.version = version + 1;
                }
            }
            outcomes.push(outcome);
        }
    }
    Ok(outcomes)
}
