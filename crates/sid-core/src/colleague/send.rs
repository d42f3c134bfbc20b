//! A message on its way from one agent to another.

use std::sync::Arc;

use sid_store::{Accept, NewConversation, OnBusy, StoreError};
use sid_tools::{ToolContext, ToolOutcome};
use sid_types::{Agent, Body, Channel, Conversation, NewMessage, Run, RunId, RunLimits, Scope, Sender, Source};
use tracing::debug;
use uuid::Uuid;

use super::chain::{self, Link};
use super::reach::Reach;
use super::{conversation_for, key_for, words};
use crate::engine::{Engine, Inner};

/// A message that was stored, and the run that it started.
pub(super) struct Sent {
    /// As whom the reader acts.
    pub(super) there: Scope,
    pub(super) run: Run,
    /// Whether an earlier call had stored it.
    pub(super) is_again: bool,
}

/// Words to an agent. `asks`: whether the writer waits for the answer.
pub(super) struct Words<'w> {
    pub(super) to: &'w Agent,
    pub(super) text: &'w str,
    pub(super) asks: bool,
}

/// Stores a message and starts the run that it wakes, once for each call: the run's id is made of the call's token.
pub(super) async fn send(inner: &Arc<Inner>, reach: &Reach, context: &ToolContext, said: Words<'_>) -> Result<Sent, ToolOutcome> {
    let Words { to, text, asks } = said;
    let run = RunId::from_uuid(Uuid::new_v5(&context.token, b"message"));
    let there = context.scope.turn(to.id, context.scope.user());
    match inner.store.run(&there, run).await {
        Ok(run) => return Ok(Sent { there, run, is_again: true }),
        Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(failed(&error)),
    }
    let place = chain::sent_before(&*inner.store, context).await.map_err(|e| failed(&e))?;
    let ego = reach.ego.as_ref().filter(|ego| ego.spec.has(to.id));
    let wakes = ego.is_some() || !to.spec.colleagues.is_empty();
    let Link { depth, tokens, left } = chain::next(reach.sender.as_ref(), place, wakes, &inner.config).map_err(ToolOutcome::error)?;
    let (conversation, is_back) = conversation(inner, reach, context, &there, to, asks).await.map_err(|e| failed(&e))?;
    let text = match (asks, is_back) {
        (true, _) => words::question(&reach.me, text),
        (false, true) => words::back(&reach.me, text),
        (false, false) => words::message(&reach.me, text),
    };
    let mut message = NewMessage::of(Body::Note { text }, inner.clock.now());
    message.speaker = Some(reach.me.spec.name.clone());
    message.untrusted = context.untrusted.clone();
    if reach.is_outside(to, &reach.me) {
        Source::add(&mut message.untrusted, &[of_agent(&reach.me)]);
    }
    message.untrusted.retain(|source| *source != of_agent(to));
    let origin = reach.sender.as_ref().map_or(context.run, |s| s.origin);
    message.sender = Some(Box::new(Sender {
        agent: reach.me.id,
        name: reach.me.spec.name.clone(),
        conversation: context.conversation,
        origin,
        depth,
        asks,
        ego: ego.map(|ego| ego.name.clone()),
        left,
    }));
    debug!(%run, to = %to.spec.name, depth, tokens, ?left, "an agent writes to another one");
    let config = &inner.config;
    let accept = Accept {
        run,
        conversation: conversation.id,
        messages: vec![message],
        idempotency: None,
        limits: RunLimits { max_tokens: config.limits.max_tokens.min(tokens), ..config.limits },
        // Part of the same errand.
        priority: inner.store.run(&context.scope, context.run).await.map_err(|e| failed(&e))?.priority,
        on_busy: OnBusy::Queue,
        queue_depth: config.queue_depth,
        claim_for: None,
        client_tools: Vec::new(),
        only_after: None,
    };
    let accepted = Engine { inner: inner.clone() }.take_in(&there, accept).await.map_err(|e| failed(&e))?;
    Ok(Sent { there, run: accepted.run, is_again: false })
}

/// Where the reader works on it, and whether it had written from there. What is asked never goes back there: that conversation waits for the answer.
async fn conversation(
    inner: &Inner,
    reach: &Reach,
    context: &ToolContext,
    there: &Scope,
    to: &Agent,
    asks: bool,
) -> Result<(Conversation, bool), StoreError> {
    if let Some(sender) = reach.sender.as_ref().filter(|s| !asks && s.agent == to.id) {
        match inner.store.conversation(there, sender.conversation).await {
            Ok(conversation) if conversation.user == context.scope.user() => return Ok((conversation, true)),
            Ok(_) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let new = NewConversation { agent: to.id, user: context.scope.user(), key: Some(key_for(context.conversation)) };
    let opened = inner.store.open_conversation(there, conversation_for(context.conversation, to.id), new).await?;
    Ok((opened.0, false))
}

/// An agent's words as a source.
pub(super) fn of_agent(agent: &Agent) -> Source {
    Source::new(Channel::Agent, agent.spec.name.clone())
}

fn failed(error: &StoreError) -> ToolOutcome {
    match error {
        StoreError::NotFound { .. } => ToolOutcome::error("Not sent: that agent is not there any more."),
        other => ToolOutcome::error(format!("Not sent: {other}. Try again later.")),
    }
}
