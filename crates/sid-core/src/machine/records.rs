//! What a run writes into its conversation: messages, results, events, steps.

use sid_llm::ChatReply;
use sid_store::Effect;
use sid_tools::ToolOutcome;
use sid_types::{Body, EventBody, Message, NewMessage, Source, Step, StepId, Timestamp, Usage};

use super::{RunMachine, ToCall};
use crate::taint;

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

impl RunMachine {
    pub(super) fn new_message(&self, body: Body) -> NewMessage {
        let mut message = NewMessage::of(body, self.now);
        message.tokens = Some(self.counter.count(message.body.text()));
        message.untrusted = self.tainted_by();
        message
    }

    pub(super) fn result(&self, call: &ToCall, outcome: ToolOutcome) -> NewMessage {
        let name = &call.planned.call.name;
        let text = if outcome.text.is_empty() { "Done.".into() } else { outcome.text };
        let is_from_outside = call.asks.is_none() && self.gate.as_ref().is_some_and(|gate| gate.is_from_outside(name));
        let mut sources = outcome.sources;
        if is_from_outside && sources.is_empty() {
            sources.push(taint::of_tool(name));
        }
        let mut message = self.new_message(Body::Tool {
            call_id: call.planned.call.id.clone(),
            name: name.clone(),
            text: if sources.is_empty() { text } else { taint::marked(text) },
            is_error: outcome.is_error,
            quotes: outcome.quotes,
        });
        Source::add(&mut message.untrusted, &sources);
        message
    }

    pub(super) fn append(&mut self, messages: Vec<NewMessage>) {
        // The sequence numbers are known before the commit: this run is the conversation's only writer while its lease holds.
        let mut seq = self.state.conversation.last_seq;
        for message in &messages {
            seq = seq.next();
            let placed: Message = message.clone().placed(self.state.conversation.id, seq, Some(self.state.run.id));
            self.event(EventBody::Message { message: Box::new(placed) });
        }
        self.effects.push(Effect::Append(messages));
    }

    pub(super) fn record_step(&mut self, reply: &ChatReply, facts: StepFacts, clock_now: Timestamp) {
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
}
