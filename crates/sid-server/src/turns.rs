//! One user message, from the door to the answer: the use case that REST and the OpenAI door share.

use std::time::Duration;

use sid_core::{RunEnd, Submit, Submitted};
use sid_store::{ApprovalFilter, PageRequest, StoreError};
use sid_types::{ApprovalId, ApprovalState, Channel, Message, NewMessage, Role, Run, Scope, Seq, Source, Timestamp, ToolCall};

use crate::App;
use crate::auth::Caller;
use crate::error::ApiError;

/// A run that was accepted. It goes on whether anybody waits or not.
pub(crate) struct Turn {
    pub(crate) scope: Scope,
    pub(crate) submitted: Submitted,
}

/// Accepts a stimulus. After `Ok`, it is stored and will be answered.
pub(crate) async fn submit(app: &App, scope: Scope, submit: Submit) -> Result<Turn, ApiError> {
    let submitted = app.engine().submit(&scope, submit).await?;
    sid_store::crash_point!("answer.before");
    Ok(Turn { scope, submitted })
}

impl Turn {
    /// Waits for the end. Answers the run as it is when the time is over or the server closes: it may be under way still.
    pub(crate) async fn end(self, app: &App) -> Result<RunEnd, ApiError> {
        let limit = Duration::from_millis(app.config().server.wait_limit_ms);
        tokio::select! {
            run = app.engine().end_of(&self.scope, &self.submitted, limit) => Ok(run?),
            () = app.closing().cancelled() => {
                Ok(RunEnd { run: app.store().run(&self.scope, self.submitted.run.id).await?, messages: None })
            }
        }
    }
}

/// All messages of a run, in order: what was said, tool results, the answer.
pub(crate) async fn messages_of(app: &App, scope: &Scope, end: RunEnd) -> Result<Vec<Message>, StoreError> {
    match end.messages {
        Some(messages) => Ok(messages),
        None => stored_messages_of(app, scope, &end.run).await,
    }
}

async fn stored_messages_of(app: &App, scope: &Scope, run: &Run) -> Result<Vec<Message>, StoreError> {
    const PAGE: usize = 100;
    const SHORT: usize = 8;
    let Some(first) = run.stimulus.first() else { return Ok(Vec::new()) };
    // Mostly the conversation ends with a short run, and it is this one.
    let mut end = app.store().page(scope, run.conversation, None, sid_store::Order::Descending, SHORT).await?;
    if let Some(start) = end.iter().position(|m| m.id == *first)
        && end.first().is_some_and(|m| m.run == Some(run.id))
    {
        end.truncate(start + 1);
        end.reverse();
        return Ok(end);
    }
    let first = match app.store().message(scope, *first).await {
        Ok(message) => message,
        // It waits with the run, and has no place yet.
        Err(StoreError::NotFound { .. }) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found: Vec<Message> = Vec::new();
    let mut from = Seq(first.seq.0.saturating_sub(1));
    loop {
        // A run's messages stay together.
        let page = app.store().page(scope, run.conversation, Some(from), sid_store::Order::Ascending, PAGE).await?;
        let count = page.len();
        found.extend(page.into_iter().take_while(|m| m.run == Some(run.id)));
        match found.last() {
            Some(last) if count == PAGE && last.seq.0 == from.0 + PAGE as u64 => from = last.seq,
            _ => return Ok(found),
        }
    }
}

/// What somebody says to an agent. The words of another agent are told, not followed.
pub(crate) fn said(caller: &Caller, text: String, at: Timestamp, is_untrusted: bool) -> NewMessage {
    let mut untrusted = caller.sources();
    if is_untrusted && untrusted.is_empty() {
        untrusted.push(Source::new(Channel::User, caller.user().map_or_else(|| "stranger".to_owned(), |user| user.to_string())));
    }
    NewMessage { untrusted, ..NewMessage::user(text, at) }
}

/// What a door that knows no approvals tells of a call that waits for one.
pub(crate) fn waiting_note(approval: ApprovalId, call: &ToolCall) -> String {
    let arguments = serde_json::Value::Object(call.arguments.clone());
    format!("[Waits for approval {approval}: {}({arguments}). Nothing has been done yet.]", call.name)
}

/// What a run asked for, as far as it waits still.
pub(crate) async fn waiting_of(app: &App, scope: &Scope, run: &Run, messages: &[Message]) -> Result<Vec<String>, StoreError> {
    if !messages.iter().any(|m| m.body.role() == Role::Tool) {
        return Ok(Vec::new());
    }
    let filter = ApprovalFilter { state: Some(ApprovalState::Pending), conversation: Some(run.conversation) };
    let mut waiting = app.store().approvals(scope, &filter, PageRequest { after: None, limit: 100 }).await?.items;
    waiting.retain(|a| a.run == run.id);
    Ok(waiting.iter().rev().map(|a| waiting_note(a.id, &a.call)).collect())
}

/// What the agent said to the human: the words of all steps, in order.
pub(crate) fn reply_of(messages: &[Message]) -> String {
    let words = messages.iter().filter(|m| m.body.role() == Role::Assistant).map(|m| m.body.text().trim()).filter(|t| !t.is_empty());
    words.collect::<Vec<_>>().join("\n\n")
}
