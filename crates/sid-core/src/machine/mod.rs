//! The run machine: decides what a run does next, and does nothing itself.
//!
//! The driver asks [`RunMachine::next`], acts, and tells the outcome by an `on_…` call. Whatever changes the store leaves as
//! effects of a numbered commit, so that a crash resumes from the journal: a new machine over what [`sid_store::Loaded`] holds.

use std::sync::Arc;
use std::time::Duration;

use sid_llm::{ChatReply, TokenCounter};
use sid_store::{BlockEdit, Commit, Committed, Effect, Loaded, PageOut, StoreError};
use sid_tools::ToolOutcome;
use sid_types::{
    ApprovedCall, Block, Body, CallState, EventBody, Message, NewApproval, NewMessage, PlannedCall, Provenance, RecursiveSummary, RunId,
    Seq, Source, StopReason, Timestamp,
};

mod ending;
mod records;
mod to_call;

pub use self::{records::StepFacts, to_call::ToCall};
use crate::approval::{self, Gate};
use crate::client_tools::{self, ClientTools};
use crate::perpetual;
use crate::rules::{self, Rules};
use crate::taint;

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
    client_tools: ClientTools,
    rules: Rules,
    reminders: u32,
    gate: Option<Gate>,
    /// What was recalled from outside: in the prompt, but in no message.
    recalled_from: Vec<Source>,
}

impl RunMachine {
    /// A machine for a run as loaded. `said_at` is the turn's present moment, `started` when the run began, by the engine's clock.
    #[must_use]
    pub fn new(state: Loaded, said_at: Timestamp, started: Timestamp, counter: Arc<dyn TokenCounter>) -> Self {
        let cancelled = state.run.cancel_requested;
        let to_call: Vec<ToCall> = state
            .open_calls
            .iter()
            .map(|planned| ToCall { outcome_unknown: planned.state == CallState::Started, ..ToCall::of(planned.clone()) })
            .collect();
        let phase = if to_call.is_empty() { Phase::Model } else { Phase::Tools };
        let mut machine = Self {
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
            client_tools: ClientTools::default(),
            rules: Rules::default(),
            reminders: 0,
            gate: None,
            recalled_from: Vec::new(),
        };
        machine.begin_approved();
        machine
    }

    /// Has calls that need somebody's word answered without being made.
    pub fn guard(&mut self, gate: Gate) {
        let (approved, sources) = (self.approved_call().cloned(), self.tainted_by());
        approval::guard(&gate, &mut self.to_call, approved.as_ref(), &sources, &self.state.queue);
        self.gate = Some(gate);
    }

    /// The call that somebody approved, and that this run was accepted to make.
    fn approved_call(&self) -> Option<&ApprovedCall> {
        let run = self.state.run.id;
        self.state.queue.iter().find(|m| m.run == Some(run)).and_then(|m| m.approved.as_deref())
    }

    /// A run that somebody's approval has woken begins with the call, not with the model.
    fn begin_approved(&mut self) {
        let is_first = self.state.run.commits == 0 && !self.cancelled;
        let Some(planned) = self.approved_call().filter(|_| is_first).map(approval::planned) else { return };
        let call = planned.call.clone();
        let body = Body::Assistant { text: String::new(), reasoning: None, tool_calls: vec![call.clone()] };
        self.append(vec![self.new_message(body)]);
        self.event(EventBody::ToolCall { call });
        self.effects.push(Effect::Plan(vec![planned.clone()]));
        self.to_call = vec![ToCall::of(planned)];
        self.commit_then(Phase::Tools);
    }

    /// Sources of what this run has read that is not to be trusted; none = it is under nobody's influence.
    #[must_use]
    pub fn tainted_by(&self) -> Vec<Source> {
        let mut sources = taint::of(&self.state);
        Source::add(&mut sources, &self.recalled_from);
        sources
    }

    /// With rules for its agent's tools.
    #[must_use]
    pub fn with_rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        // Calls that were open at a crash are judged as they were then. What was begun, or approved by somebody, is judged no more: the model is
        // told what became of it.
        let approved = self.approved_call().map(ApprovedCall::token);
        let queue = &self.state.queue;
        let last = queue.iter().rposition(|m| !m.body.tool_calls().is_empty()).filter(|_| !self.to_call.is_empty());
        if let Some(last) = last {
            let mut progress = self.rules.progress(self.since_stimulus().take_while(|m| m.seq < queue[last].seq));
            let verdicts: Vec<_> =
                queue[last].body.tool_calls().iter().map(|call| (call.id.clone(), self.rules.call(&mut progress, &call.name))).collect();
            let is_settled = |planned: &PlannedCall| planned.state == CallState::Started || approved == Some(planned.token);
            for call in self.to_call.iter_mut().filter(|call| !is_settled(&call.planned)) {
                call.refused = verdicts.iter().find(|(id, _)| *id == call.planned.call.id).and_then(|(_, refused)| refused.clone());
            }
        }
        self
    }

    /// What was said since the stimulus.
    fn since_stimulus(&self) -> impl Iterator<Item = &Message> {
        let from = self.stimulus().last().map(|m| m.seq);
        self.state.queue.iter().filter(move |m| from.is_none_or(|from| m.seq > from))
    }

    /// With tools that the caller carries out.
    #[must_use]
    pub fn with_client_tools(mut self, tools: ClientTools) -> Self {
        self.client_tools = tools;
        self
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

    /// Whether the agent may keep its answer to itself: nobody has asked.
    #[must_use]
    pub const fn may_be_silent(&self) -> bool {
        self.state.run.priority.is_self_begun()
    }

    /// What this run reacts to, as far as it is in the queue.
    #[must_use]
    pub fn stimulus(&self) -> Vec<&Message> {
        client_tools::stimulus(&self.state.queue, self.state.run.id)
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

    /// The prompt's head was rendered anew.
    pub fn on_prefix(&mut self, prefix: String) {
        self.effects.push(Effect::SetPrefix(Some(prefix.clone())));
        self.state.conversation.prefix = Some(prefix);
    }

    /// Messages before `queue_start` leave the queue; the prefix has to be rendered anew.
    pub fn on_page_out(&mut self, queue_start: Seq, mut summary: RecursiveSummary) {
        // What leaves the queue goes on in the summary, and so does its influence.
        summary.untrusted.clone_from(&self.state.conversation.summary.untrusted);
        for message in self.state.queue.iter().filter(|m| m.seq < queue_start) {
            Source::add(&mut summary.untrusted, &message.untrusted);
        }
        let before = self.state.queue.len();
        self.state.queue.retain(|m| m.seq >= queue_start);
        let left = (before - self.state.queue.len()) as u64;
        self.event(EventBody::PageOut { messages: left, queue_start: queue_start.0, is_floor: summary.is_floor });
        self.effects.push(Effect::PageOut(PageOut { queue_start, summary: summary.clone() }));
        self.state.conversation.queue_start = queue_start;
        self.state.conversation.summary = summary;
        self.state.conversation.prefix = None;
    }

    /// A memory was recalled that came from these sources.
    pub fn on_recalled(&mut self, from: &[Source]) {
        Source::add(&mut self.recalled_from, from);
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
        let mut progress = self.rules.progress(self.since_stimulus());
        let mut own = Vec::new();
        let mut calls = Vec::new();
        for (i, said) in reply.calls.iter().enumerate() {
            let token = PlannedCall::token_for(self.state.run.id, number, i);
            let refused = self.rules.call(&mut progress, &said.name);
            let to_call = self.to_call(said, token, refused);
            calls.push(to_call.planned.call.clone());
            if !to_call.planned.call.for_client {
                own.push(to_call);
            }
        }
        let body = if calls.is_empty() && self.may_be_silent() && perpetual::is_silent(&reply.text) {
            Body::Note { text: perpetual::SAID_NOTHING.into() }
        } else {
            Body::Assistant {
                text: reply.text.clone(),
                reasoning: (!reply.reasoning.is_empty()).then(|| reply.reasoning.clone()),
                tool_calls: calls.clone(),
            }
        };
        let unmet = if calls.is_empty() { rules::list(&self.rules.unmet(&progress)) } else { String::new() };
        let mut messages = vec![self.new_message(body)];
        if unmet.is_empty() {
            self.reminders = 0;
        } else {
            self.reminders += 1;
            messages.push(self.new_message(Body::Note { text: format!("This turn is not over: call {unmet} first.") }));
        }
        self.append(messages);
        self.record_step(&reply, facts, clock_now);
        if calls.is_empty() {
            if unmet.is_empty() {
                self.finish(StopReason::EndTurn, None);
            } else if self.reminders >= self.state.run.limits.max_repeats {
                self.finish(StopReason::RulesUnmet, Some(format!("the model would not call {unmet}, which the agent's rules require")));
            } else {
                self.commit_then(Phase::Model);
            }
            return;
        }
        for call in &calls {
            self.event(EventBody::ToolCall { call: call.clone() });
        }
        if own.is_empty() {
            self.finish(StopReason::ClientCalls, None);
            return;
        }
        self.effects.push(Effect::Plan(own.iter().map(|call| call.planned.clone()).collect()));
        self.to_call = own;
        if let Some(gate) = &self.gate {
            let sources = self.tainted_by();
            approval::guard(gate, &mut self.to_call, None, &sources, &self.state.queue);
        }
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
            untrusted: self.tainted_by(),
            ..Provenance::default()
        };
        let mut results = Vec::new();
        let mut is_ended = false;
        for (call, mut outcome) in calls.iter_mut().zip(outcomes) {
            is_ended |= !outcome.is_error && (outcome.ends_run || self.rules.ends_run(&call.planned.call.name));
            if call.planned.state == CallState::Started {
                call.known = Some(outcome.clone());
            }
            for (block, op, expected_version) in std::mem::take(&mut outcome.block_edits) {
                let op = op.marked(&provenance.untrusted);
                if let Some(b) = self.state.blocks.iter_mut().find(|b| b.id == block) {
                    b.value = op.apply(&b.value).unwrap_or_else(|| b.value.clone());
                    b.version = expected_version + 1;
                }
                self.effects.push(Effect::EditBlock(BlockEdit { block, op, expected_version, provenance: provenance.clone() }));
            }
            for mut passage in std::mem::take(&mut outcome.passages) {
                Source::add(&mut passage.provenance.untrusted, &provenance.untrusted);
                self.effects.push(Effect::InsertPassage(passage));
            }
            results.push(self.result(call, outcome));
            if let Some(asked) = &call.asks {
                let NewApproval { id, call, reason, .. } = &**asked;
                self.event(EventBody::ApprovalAsked { approval: *id, call: call.clone(), reason: reason.clone() });
                self.effects.push(Effect::AskApproval(asked.clone()));
            }
            self.effects.push(Effect::FinishCall(call.planned.token));
        }
        self.append(results);
        self.to_call = calls;
        let is_waiting = !client_tools::waiting(&self.state.queue).is_empty();
        match (self.cancelled, is_waiting, is_ended) {
            (_, false, false) => self.commit_then(Phase::Model),
            (true, _, _) => self.finish(StopReason::Cancelled, None),
            (false, true, _) => self.finish(StopReason::ClientCalls, None),
            (false, false, true) => self.finish(StopReason::EndTurn, None),
        }
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

    /// The store refused what the tools wanted to write: the model is told, and may do better.
    pub fn refuse_calls(&mut self, blocks: Vec<Block>, problem: &str) {
        self.state.blocks = blocks;
        self.effects.clear();
        self.to_call.iter_mut().for_each(|call| call.asks = None);
        let refused = self.to_call.iter().map(|call| call.known.clone().unwrap_or_else(|| ToolOutcome::error(problem))).collect();
        self.on_outcomes(refused);
    }

    /// The state as this run leaves it.
    #[must_use]
    pub fn into_state(self) -> Loaded {
        self.state
    }

    fn commit_then(&mut self, after: Phase) {
        self.after_commit = after;
        self.phase = Phase::Commit;
    }

    /// The run's id.
    #[must_use]
    pub const fn run_id(&self) -> RunId {
        self.state.run.id
    }
}
