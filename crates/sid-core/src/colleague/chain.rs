//! How far agents wake each other: the place of a message among those that its run sends, and what it takes along.

use sid_store::{Order, Store, StoreError};
use sid_tools::ToolContext;
use sid_types::{ChainBudget, Message, PlannedCall, Sender, Seq, ToolCall};

use super::tools::NAMES;
use crate::EngineConfig;

/// Messages of one look at the history.
const PAGE: usize = 200;

/// What a message takes along.
pub(super) struct Link {
    pub(super) depth: u32,
    /// Tokens of its reader's run.
    pub(super) tokens: u64,
    /// What the reader may pass on.
    pub(super) left: ChainBudget,
}

/// What the `n`th message (from 0) of a run that `sender` has woken takes along. `wakes`: its reader has somebody to wake. Errors: why it may not
/// be sent, in words for the model.
pub(super) fn next(sender: Option<&Sender>, n: usize, wakes: bool, config: &EngineConfig) -> Result<Link, String> {
    let depth = sender.map_or(0, |s| s.depth) + 1;
    if depth > config.chain_depth {
        return Err(format!(
            "Not sent: {} agents have woken each other in a row, and more are not allowed. Go on by yourself and answer with what you know.",
            config.chain_depth
        ));
    }
    let whole = sender.map_or(config.chain_budget, |s| s.left);
    let part = whole.part(n).ok_or(
        "Not sent: the messages that agents may send each other about this are used up. Go on by yourself and answer with what you know.",
    )?;
    let (tokens, left) = part.shared_out(wakes && depth < config.chain_depth);
    Ok(Link { depth, tokens, left })
}

/// How many messages this call's run had sent, or had tried to, before it. Read from the history, where the calls stand in one order for good:
/// made again after a crash, the call has the same place.
pub(super) async fn sent_before(store: &dyn Store, context: &ToolContext) -> Result<usize, StoreError> {
    let run = store.run(&context.scope, context.run).await?;
    let Some(first) = run.stimulus.first() else { return Ok(0) };
    let first = store.message(&context.scope, *first).await?;
    // A run that makes a call that somebody approved makes it before all others.
    let approved = first.approved.as_deref().filter(|approved| is_sent_by(&approved.call));
    if approved.is_some_and(|approved| approved.token() == context.token) {
        return Ok(0);
    }
    let mut from = Seq(first.seq.0.saturating_sub(1));
    let mut own: Vec<Message> = Vec::new();
    loop {
        let page = store.page(&context.scope, context.conversation, Some(from), Order::Ascending, PAGE).await?;
        let (count, last) = (page.len(), page.last().map(|m| m.seq));
        own.extend(page.into_iter().filter(|m| m.run == Some(run.id) && !m.body.tool_calls().is_empty()));
        match last {
            Some(last) if count == PAGE => from = last,
            _ => break,
        }
    }
    Ok(usize::from(approved.is_some()) + place_of(context, &own))
}

fn is_sent_by(call: &ToolCall) -> bool {
    NAMES.contains(&call.name.as_str())
}

/// `own`: the run's messages with calls, oldest first. The call is one of the last message's.
fn place_of(context: &ToolContext, own: &[Message]) -> usize {
    let sent = |calls: &[ToolCall]| calls.iter().filter(|call| is_sent_by(call)).count();
    let Some((last, before)) = own.split_last() else { return 0 };
    let calls = last.body.tool_calls();
    // Steps count from 1; a step without calls has no message here.
    let steps = 1..=u32::try_from(own.len()).unwrap_or(u32::MAX).saturating_add(MOST_STEPS_WITHOUT_CALLS);
    let is_this = |index: usize| steps.clone().any(|step| PlannedCall::token_for(context.run, step, index) == context.token);
    let here = (0..calls.len()).find(|index| is_this(*index)).unwrap_or(calls.len());
    before.iter().map(|message| sent(message.body.tool_calls())).sum::<usize>() + sent(&calls[..here])
}

/// Steps of a run that end with neither calls nor the run: reminders of rules.
const MOST_STEPS_WITHOUT_CALLS: u32 = 16;
