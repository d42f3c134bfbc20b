//! The run machine: decides what a run does next, and does nothing itself.
//!
//! The driver asks [`RunMachine::next`], acts, and tells the outcome by an `on_…` call. Whatever changes the store leaves as
//! effects of a numbered commit, so that a crash resumes from the journal: a new machine over what [`sid_store::Loaded`] holds.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sid_llm::{BadArguments, ChatReply, LlmError, TokenCounter};
use sid_store::{BlockEdit, Commit, Committed, Effect, Loaded, PageOut, StoreError};
use sid_tools::ToolOutcome;
use sid_types::{
    Block, Body, CallState, EventBody, Message, NewMessage, PlannedCall, Provenance, RecursiveSummary, RunId, Seq, Step, StepId,
    StopReason, Timestamp, ToolCall, Usage,
};

/// What the driver is to do.
#[derive(Debug)]
pub enum Next {
    /// Prepare the prompt (recall at the first step, prefix, paging) and call the model.
    CallModel,
    /// Call these tools, in order.
    CallTools(Vec<ToCall>),
    /// Write this.
    Commit(Commit),
    /// The run is over and its end is written.
    Done(StopReason),
}

/// A call to be made, or to be answered without being made.
#[derive(Debug, Clone)]
pub struct ToCall {
    /// The call.
    pub planned: PlannedCall,
    /// What is wrong with its arguments, where they could not be read.
    pub bad_arguments: Option<BadArguments>,
    /// It was begun before a crash and must not be repeated.
    pub outcome_unknown: bool,
    /// It has left the house and come back, but its result could not be written yet: this is it, and it is not called again.
    pub known: Option<ToolOutcome>,
}

/// What a model call brought, for the step's record.
#[derive(Debug, Clone, Default)]
pub struct StepFacts {
    /// As reported, or as counted.
    pub usage: Usage,
    /// Milliseconds until the first token.
    pub first_token_ms: u64,
    /// Milliseconds in all.
    pub total_ms: u64,
    /// The tail that was sent.
    pub tail: Option<String>,
    /// The queue that was sent.
    pub queue: (u64, u64),
    /// What was recalled.
    pub recalled: Vec<(String, f32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Model,
    Tools,
    Commit,
    Done(StopReason),
}

/// Most empty or unusable answers in a row before a run gives up.
const MAX_EMPTY_REPLIES: u32 = 3;
/// Most times that a block edit is tried again after another writer was first.
const MAX_CONFLICTS: u32 = 3;

/// Decides what one run does next.
pub struct RunMachine {
    state: Loaded,
    now: Timestamp,
    started: Timestamp,
    counter: Arc<dyn TokenCounter>,
    phase: Phase,
    after_commit: Phase,
    effects: Vec<Effect>,
    to_call: Vec<ToCall>,
    empty_replies: u32,
    conflicts: u32,
    last_calls: Option<String>,
    repeats: u32,
    cancelled: bool,
    time_is_up: bool,
}

impl RunMachine {
    /// A machine for a run as loaded. `said_at` is the turn's present moment, `started` when the run began, by the engine's clock.
    #[must_use]
    pub fn new(state: Loaded, said_at: Timestamp, started: Timestamp, counter: Arc<dyn TokenCounter>) -> Self {
        let cancelled = state.run.cancel_requested;
        let to_call: Vec<ToCall> = state
            .open_calls
            .iter()
            .map(|p| ToCall { planned: p.clone(), bad_arguments: None, outcome_unknown: p.state == CallState::Started, known: None })
            .collect();
        let phase = if to_call.is_empty() { Phase::Model } else { Phase::Tools };
        Self {
            state,
            now: said_at,
            started,
            counter,
            phase,
            after_commit: Phase::Model,
            effects: Vec::new(),
            to_call,
            empty_replies: 0,
            conflicts: 0,
            last_calls: None,
            repeats: 0,
            cancelled,
            time_is_up: false,
        }
    }

    /// The state as this run has left it so far.
    #[must_use]
    pub const fn state(&self) -> &Loaded {
        &self.state
    }

    /// The turn's present moment.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The number of the step that is under way, from 1.
    #[must_use]
    pub const fn step_number(&self) -> u32 {
        self.state.run.steps + 1
    }

    /// The first message of this run's stimulus in the queue.
    #[must_use]
    pub fn stimulus_start(&self) -> Seq {
        let run = self.state.run.id;
        self.state.queue.iter().find(|m| m.run == Some(run)).map_or(self.state.conversation.last_seq.next(), |m| m.seq)
    }

    /// Adds an event to the next commit.
    pub fn event(&mut self, event: EventBody) {
        self.effects.push(Effect::Events(vec![event]));
    }

    /// Takes events that wait for the next commit, for a driver that wants to show them earlier.
    pub fn take_events(&mut self) -> Vec<EventBody> {
        let (events, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.effects).into_iter().partition(|e| matches!(e, Effect::Events(_)));
        self.effects = rest;
        events.into_iter().flat_map(|e| if let Effect::Events(list) = e { list } else { Vec::new() }).collect()
    }

    /// Somebody asked the run to stop.
    pub fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// Whether the machine knows that it is to stop.
    #[must_use]
    pub const fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Whether the end of the run is written.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Done(_))
    }

    /// How much of the run's time is left.
    #[must_use]
    pub fn time_left(&self, clock_now: Timestamp) -> Duration {
        let used = u64::try_from(clock_now.duration_since(self.started).as_millis()).unwrap_or(0);
        Duration::from_millis(self.state.run.limits.max_time_ms.saturating_sub(used))
    }

    /// The run's time was over in the middle of a model call.
    pub fn time_is_up(&mut self) {
        self.time_is_up = true;
    }

    /// What to do now. `clock_now` is the engine's clock.
    pub fn next(&mut self, clock_now: Timestamp) -> Next {
        match self.phase {
            Phase::Done(reason) => Next::Done(reason),
            Phase::Commit => Next::Commit(Commit { number: self.state.run.commits + 1, effects: self.effects.clone() }),
            Phase::Tools => Next::CallTools(self.to_call.clone()),
            Phase::Model => {
                if let Some(reason) = self.limit_reached(clock_now) {
                    self.finish(reason, None);
                    return self.next(clock_now);
                }
                Next::CallModel
            }
        }
    }

    fn limit_reached(&self, clock_now: Timestamp) -> Option<StopReason> {
        let run = &self.state.run;
        let elapsed_ms = clock_now.duration_since(self.started).as_millis();
        if self.cancelled {
            Some(StopReason::Cancelled)
        } else if self.repeats >= run.limits.max_repeats {
            Some(StopReason::RepeatedCalls)
        } else if run.steps >= run.limits.max_steps {
            Some(StopReason::MaxSteps)
        } else if run.usage.prompt_tokens + run.usage.completion_tokens >= run.limits.max_tokens {
            Some(StopReason::MaxTokens)
        } else if self.time_is_up || elapsed_ms >= i128::from(run.limits.max_time_ms) {
            Some(StopReason::MaxTime)
        } else {
            None
        }
    }

    /// The prompt's head was rendered anew.
    pub fn on_prefix(&mut self, prefix: String) {
        self.effects.push(Effect::SetPrefix(Some(prefix.clone())));
        self.state.conversation.prefix = Some(prefix);
    }

    /// Messages before `queue_start` leave the queue; the prefix has to be rendered anew.
    pub fn on_page_out(&mut self, queue_start: Seq, summary: RecursiveSummary) {
        let before = self.state.queue.len();
        self.state.queue.retain(|m| m.seq >= queue_start);
        let left = (before - self.state.queue.len()) as u64;
        self.event(EventBody::PageOut { messages: left, queue_start: queue_start.0, is_floor: summary.is_floor });
        self.effects.push(Effect::PageOut(PageOut { queue_start, summary: summary.clone() }));
        self.state.conversation.queue_start = queue_start;
        self.state.conversation.summary = summary;
        self.state.conversation.prefix = None;
    }

    /// The model has answered.
    pub fn on_reply(&mut self, reply: ChatReply, facts: StepFacts, clock_now: Timestamp) {
        let usage = facts.usage;
        self.state.run.usage += usage;
        if reply.is_empty() {
            self.empty_replies += 1;
            if self.empty_replies >= MAX_EMPTY_REPLIES {
                self.record_step(&reply, facts, clock_now);
                self.finish(StopReason::InvalidModelOutput, Some(format!("the model gave {MAX_EMPTY_REPLIES} empty answers in a row")));
            }
            return;
        }
        self.empty_replies = 0;
        self.track_repeats(&reply);

        let number = self.step_number();
        let calls: Vec<ToolCall> = reply
            .calls
            .iter()
            .map(|c| ToolCall { id: c.id.clone(), name: c.name.clone(), arguments: c.arguments.clone().unwrap_or_default() })
            .collect();
        let body = Body::Assistant {
            text: reply.text.clone(),
            reasoning: (!reply.reasoning.is_empty()).then(|| reply.reasoning.clone()),
            tool_calls: calls.clone(),
        };
        self.append(vec![self.new_message(body)]);
        self.record_step(&reply, facts, clock_now);
        if calls.is_empty() {
            self.finish(StopReason::EndTurn, None);
            return;
        }
        let planned: Vec<PlannedCall> = calls
            .iter()
            .enumerate()
            .map(|(i, call)| PlannedCall {
                call: call.clone(),
                token: PlannedCall::token_for(self.state.run.id, number, i),
                state: CallState::Planned,
            })
            .collect();
        for call in &calls {
            self.event(EventBody::ToolCall { call: call.clone() });
        }
        self.effects.push(Effect::Plan(planned.clone()));
        self.to_call = planned
            .into_iter()
            .zip(&reply.calls)
            .map(|(planned, c)| ToCall { planned, bad_arguments: c.arguments.clone().err(), outcome_unknown: false, known: None })
            .collect();
        self.commit_then(Phase::Tools);
    }

    /// The tools have answered, one outcome per call of [`Next::CallTools`], in order.
    pub fn on_outcomes(&mut self, outcomes: Vec<ToolOutcome>) {
        let mut calls = std::mem::take(&mut self.to_call);
        let provenance = Provenance {
            conversation: Some(self.state.conversation.id),
            run: Some(self.state.run.id),
            user: self.state.conversation.user,
            channel: "tool".into(),
        };
        let mut results = Vec::new();
        for (call, mut outcome) in calls.iter_mut().zip(outcomes) {
            if call.planned.state == CallState::Started {
                call.known = Some(outcome.clone());
            }
            for (block, op, expected_version) in std::mem::take(&mut outcome.block_edits) {
                if let Some(b) = self.state.blocks.iter_mut().find(|b| b.id == block) {
                    b.value = op.apply(&b.value).unwrap_or_else(|| b.value.clone());
                    b.version = expected_version + 1;
                }
                self.effects.push(Effect::EditBlock(BlockEdit { block, op, expected_version, provenance: provenance.clone() }));
            }
            for passage in std::mem::take(&mut outcome.passages) {
                self.effects.push(Effect::InsertPassage(passage));
            }
            results.push(self.result(&call.planned, outcome));
            self.effects.push(Effect::FinishCall(call.planned.token));
        }
        self.append(results);
        self.to_call = calls;
        self.commit_then(Phase::Model);
    }

    /// External calls are about to leave the house: the journal must know first.
    pub fn on_starting(&mut self, tokens: &[uuid::Uuid]) -> Commit {
        let commit = Commit { number: self.state.run.commits + 1, effects: tokens.iter().map(|t| Effect::StartCall(*t)).collect() };
        self.state.run.commits += 1;
        for call in self.to_call.iter_mut().filter(|call| tokens.contains(&call.planned.token)) {
            call.planned.state = CallState::Started;
        }
        commit
    }

    /// The commit of [`Next::Commit`] is durable.
    pub fn on_committed(&mut self, committed: &Committed) {
        self.state.run.commits += 1;
        let placed_step = self.effects.iter().any(|e| matches!(e, Effect::RecordStep(_)));
        if placed_step {
            self.state.run.steps += 1;
        }
        let appended: Vec<NewMessage> = std::mem::take(&mut self.effects)
            .into_iter()
            .flat_map(|e| if let Effect::Append(list) = e { list } else { Vec::new() })
            .collect();
        // A repeated commit answers without messages; this run is the only writer, so their places are known all the same.
        for (i, message) in appended.into_iter().enumerate() {
            let seq = committed.messages.get(i).map_or(self.state.conversation.last_seq.next(), |m| m.seq);
            self.state.conversation.last_seq = seq;
            self.state.queue.push(message.placed(self.state.conversation.id, seq, Some(self.state.run.id)));
        }
        if self.after_commit == Phase::Model {
            self.to_call.clear();
        }
        self.phase = self.after_commit;
    }

    /// Another writer changed a block first: with the blocks as they are now, the tools are called again, but for those that have left
    /// the house.
    ///
    /// Errors: the conflict itself once it has happened too often.
    pub fn on_conflict(&mut self, blocks: Vec<Block>, conflict: StoreError) -> Result<(), StoreError> {
        self.conflicts += 1;
        if self.conflicts > MAX_CONFLICTS || self.to_call.is_empty() {
            return Err(conflict);
        }
        self.state.blocks = blocks;
        self.effects.clear();
        self.phase = Phase::Tools;
        Ok(())
    }

    /// The model could not be got to answer.
    pub fn on_model_error(&mut self, error: &LlmError) {
        let reason = match error {
            LlmError::Unauthorized { .. } | LlmError::Refused { .. } | LlmError::Config(_) => StopReason::ModelRefused,
            LlmError::ContextOverflow { .. } => StopReason::WindowTooSmall,
            LlmError::OutputTooLarge { .. } => StopReason::InvalidModelOutput,
            _ => StopReason::ModelUnavailable,
        };
        self.fail(reason, error.to_string());
    }

    /// The store refused what the tools wanted to write: the model is told, and may do better.
    pub fn refuse_calls(&mut self, blocks: Vec<Block>, problem: &str) {
        self.state.blocks = blocks;
        self.effects.clear();
        let refused = self.to_call.iter().map(|call| call.known.clone().unwrap_or_else(|| ToolOutcome::error(problem))).collect();
        self.on_outcomes(refused);
    }

    /// The state as this run leaves it.
    #[must_use]
    pub fn into_state(self) -> Loaded {
        self.state
    }

    /// The run ends here.
    pub fn fail(&mut self, reason: StopReason, error: String) {
        // What was on its way into a commit is dropped, and what would have told of it: the run ends without it.
        self.effects.retain(|effect| match effect {
            Effect::Events(events) => {
                !events.iter().any(|e| matches!(e, EventBody::Message { .. } | EventBody::ToolCall { .. } | EventBody::Step { .. }))
            }
            other => matches!(other, Effect::PageOut(_) | Effect::SetPrefix(_)),
        });
        // Calls that are in the history already get a result all the same, so that it stays whole.
        if self.phase == Phase::Tools || self.after_commit == Phase::Model {
            let calls = std::mem::take(&mut self.to_call);
            let refused = || ToolOutcome::error(format!("Not done: {error}"));
            let results: Vec<_> = calls.iter().map(|call| self.result(&call.planned, call.known.clone().unwrap_or_else(refused))).collect();
            self.effects.extend(calls.iter().map(|call| Effect::FinishCall(call.planned.token)));
            if !results.is_empty() {
                self.append(results);
            }
        }
        self.finish(reason, Some(error));
    }

    fn finish(&mut self, reason: StopReason, error: Option<String>) {
        self.effects.push(Effect::Finish { reason, error });
        self.commit_then(Phase::Done(reason));
    }

    fn commit_then(&mut self, after: Phase) {
        self.after_commit = after;
        self.phase = Phase::Commit;
    }

    fn new_message(&self, body: Body) -> NewMessage {
        let mut message = NewMessage::of(body, self.now);
        message.tokens = Some(self.counter.count(message.body.text()));
        message
    }

    fn result(&self, planned: &PlannedCall, outcome: ToolOutcome) -> NewMessage {
        self.new_message(Body::Tool {
            call_id: planned.call.id.clone(),
            name: planned.call.name.clone(),
            text: if outcome.text.is_empty() { "Done.".into() } else { outcome.text },
            is_error: outcome.is_error,
            quotes: outcome.quotes,
        })
    }

    fn append(&mut self, messages: Vec<NewMessage>) {
        // The sequence numbers are known before the commit: this run is the conversation's only writer while its lease holds.
        let mut seq = self.state.conversation.last_seq;
        for message in &messages {
            seq = seq.next();
            let placed: Message = message.clone().placed(self.state.conversation.id, seq, Some(self.state.run.id));
            self.event(EventBody::Message { message: Box::new(placed) });
        }
        self.effects.push(Effect::Append(messages));
    }

    fn record_step(&mut self, reply: &ChatReply, facts: StepFacts, clock_now: Timestamp) {
        let number = self.step_number();
        self.event(EventBody::Step { number, usage: facts.usage, rung: reply.rung.name().into() });
        self.effects.push(Effect::RecordStep(Box::new(Step {
            id: StepId::new(),
            run: self.state.run.id,
            number,
            usage: facts.usage,
            rung: reply.rung.name().into(),
            first_token_ms: facts.first_token_ms,
            total_ms: facts.total_ms,
            tail: facts.tail,
            queue: facts.queue,
            recalled: facts.recalled,
            at: clock_now,
        })));
    }

    fn track_repeats(&mut self, reply: &ChatReply) {
        if reply.calls.is_empty() {
            self.last_calls = None;
            self.repeats = 0;
            return;
        }
        let shape: Vec<Value> = reply
            .calls
            .iter()
            .map(|c| match &c.arguments {
                Ok(map) => serde_json::json!([c.name, map]),
                Err(bad) => serde_json::json!([c.name, bad.raw]),
            })
            .collect();
        let shape = Value::Array(shape).to_string();
        if self.last_calls.as_deref() == Some(shape.as_str()) {
            self.repeats += 1;
        } else {
            self.repeats = 1;
            self.last_calls = Some(shape);
        }
    }

    /// The run's id.
    #[must_use]
    pub const fn run_id(&self) -> RunId {
        self.state.run.id
    }
}
