//! One message, and the answer as it comes.

use serde_json::json;

use super::opening::Place;
use crate::client::{Event, EventKind, Request, RunEvents, Usage};
use crate::error::CliError;
use crate::output::Output;
use crate::output::text::{cut, one_line, printable, thousands};
use crate::session::Session;
use crate::wire;

/// The code of a run that failed.
pub(super) const RUN_FAILED: &str = "SID-CLI-RUN-FAILED";

/// How a turn ended.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    run: String,
    reply: String,
    status: String,
    stop_reason: String,
    error: Option<String>,
    recalled: Vec<wire::Recalled>,
    prompt_tokens: u64,
    window_tokens: u64,
    usage: Usage,
    /// Calls that wait for a yes: their questions, and how they read.
    pub(super) asked: Vec<(String, String)>,
}

impl Outcome {
    /// The error of a run that failed.
    pub(super) fn failure(&self) -> Option<CliError> {
        if self.status != "failed" {
            return None;
        }
        let why = self.error.clone().unwrap_or_else(|| self.stop_reason.replace('_', " "));
        let hint = match self.stop_reason.as_str() {
            "model_unavailable" | "model_refused" | "invalid_model_output" => {
                "the message is stored; `sid doctor` says what is wrong with the model"
            }
            "window_too_small" => "give the agent a larger window (`sid agent update NAME --context-window TOKENS`) or a shorter message",
            "budget" => "the message is stored; more tokens come with the next day or month, or from an operator",
            _ => "the message is stored; `sid run show` says more",
        };
        Some(CliError::failed(RUN_FAILED, format!("no answer: {why}"), hint))
    }

    fn to_json(&self, conversation: &str) -> serde_json::Value {
        let usage = json!({
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "cached_tokens": self.usage.cached_tokens,
        });
        json!({
            "conversation": conversation, "run": self.run, "status": self.status, "stop_reason": self.stop_reason, "error": self.error,
            "approvals": self.asked.iter().map(|(id, _)| id).collect::<Vec<_>>(), "reply": self.reply, "recalled": self.recalled, "prompt_tokens": self.prompt_tokens, "window_tokens": self.window_tokens, "usage": usage,
        })
    }
}

/// Says something and prints the answer as it comes. Ctrl-C stops the run; once more leaves the program.
pub(super) async fn say(session: &Session, place: &Place, text: &str, shows_reasoning: bool) -> Result<Outcome, CliError> {
    let client = session.client().await?;
    let events = tokio::select! {
        events = client.say(&place.conversation.id, text) => events?,
        _ = tokio::signal::ctrl_c() => return Err(CliError::Interrupted),
    };
    follow(session, place, events, shows_reasoning).await
}

/// Prints the answer of a run as it comes.
pub(super) async fn follow(
    session: &Session,
    place: &Place,
    mut events: RunEvents<'_>,
    shows_reasoning: bool,
) -> Result<Outcome, CliError> {
    let mut page = Page { out: &session.out, shows_reasoning, outcome: Outcome::default(), is_mid_line: false, has_text: false };
    let mut interrupts = 0;
    loop {
        let event = tokio::select! {
            event = events.next() => event?,
            _ = tokio::signal::ctrl_c() => {
                interrupts += 1;
                if interrupts > 1 {
                    return Err(CliError::Interrupted);
                }
                page.new_line()?;
                session.out.note("stopping… (Ctrl-C again leaves)")?;
                stop(session, &events).await;
                continue;
            }
        };
        match event {
            Some(event) => page.show(event)?,
            None => break,
        }
    }
    page.end(&place.conversation.id)
}

/// A run that cannot be stopped (any more) ends by itself.
async fn stop(session: &Session, events: &RunEvents<'_>) {
    if let Ok(client) = session.client().await
        && !events.run().is_empty()
    {
        let _ = client.value(Request::post(&["runs", events.run(), "cancel"])).await;
    }
}

/// What stands on the screen of one turn.
struct Page<'a> {
    out: &'a Output,
    shows_reasoning: bool,
    outcome: Outcome,
    is_mid_line: bool,
    /// Text of the present step has been shown.
    has_text: bool,
}

impl Page<'_> {
    fn show(&mut self, event: Event) -> Result<(), CliError> {
        let paint = self.out.paint;
        match event.kind {
            EventKind::Started { .. } => {
                self.outcome.run = event.run;
                if self.is_mid_line {
                    self.aside("the server began this answer anew")?;
                }
                self.has_text = false;
            }
            EventKind::Recalled { items, prompt_tokens, window_tokens } => {
                self.outcome.recalled = items;
                self.outcome.prompt_tokens = prompt_tokens;
                self.outcome.window_tokens = window_tokens;
            }
            EventKind::TextDelta { text } => {
                self.has_text = true;
                self.write(&printable(&text))?;
            }
            EventKind::ReasoningDelta { text } if self.shows_reasoning => self.write(&paint.dim(&printable(&text)))?,
            EventKind::ToolCall { call } => self.aside(&format!("→ {}({})", call.name, one_line(&call.arguments.to_string())))?,
            EventKind::Message { message } if message.role == "assistant" => {
                let said = message.text.trim();
                if !said.is_empty() {
                    if !self.outcome.reply.is_empty() {
                        self.outcome.reply.push_str("\n\n");
                    }
                    self.outcome.reply.push_str(said);
                    if !self.has_text {
                        self.write(&printable(said))?;
                    }
                }
                self.has_text = false;
                self.new_line()?;
            }
            EventKind::Message { message } if message.is_error == Some(true) => self.aside(&format!("✗ {}", one_line(&message.text)))?,
            EventKind::ApprovalAsked { approval, call, .. } => {
                let arguments = one_line(&call.arguments.to_string());
                self.outcome.asked.push((approval, printable(&format!("{}({arguments})", call.name))));
            }
            EventKind::PageOut { messages, .. } => self.aside(&format!("{messages} messages left the prompt; they stay findable"))?,
            EventKind::Done { status, stop_reason, error, usage } => {
                self.outcome.status = status;
                self.outcome.stop_reason = stop_reason;
                self.outcome.error = error;
                self.outcome.usage = usage;
            }
            _ => {}
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), CliError> {
        if self.out.json || text.is_empty() {
            return Ok(());
        }
        self.is_mid_line = !text.ends_with('\n');
        self.out.text(text)
    }

    fn new_line(&mut self) -> Result<(), CliError> {
        if self.is_mid_line { self.write("\n") } else { Ok(()) }
    }

    /// Something beside the answer; only at a terminal, so that piped output is the answer alone.
    fn aside(&mut self, text: &str) -> Result<(), CliError> {
        self.new_line()?;
        if !self.out.is_terminal {
            return Ok(());
        }
        let text = self.out.cut_to().map_or_else(|| text.to_owned(), |columns| cut(text, columns));
        self.write(&format!("{}\n", self.out.paint.dim(&text)))
    }

    fn end(mut self, conversation: &str) -> Result<Outcome, CliError> {
        self.new_line()?;
        if self.out.json {
            self.out.line(&self.outcome.to_json(conversation).to_string())?;
            return Ok(self.outcome);
        }
        for (id, call) in &self.outcome.asked {
            self.out.note(&format!("waits for your yes: {call} (sid approvals approve {id}, or deny)"))?;
        }
        let outcome = &self.outcome;
        match (outcome.status.as_str(), outcome.stop_reason.as_str()) {
            ("cancelled", _) => self.out.note("stopped")?,
            ("completed", reason) if reason != "end_turn" => self.out.note(&format!("ended early: {}", reason.replace('_', " ")))?,
            ("completed", _) if outcome.reply.is_empty() => self.out.note("the agent said nothing")?,
            _ => {}
        }
        if outcome.window_tokens > 0 {
            let (prompt, window) = (thousands(outcome.prompt_tokens), thousands(outcome.window_tokens));
            let what = match outcome.recalled.len() {
                0 => "nothing recalled".into(),
                n => format!("{n} recalled (/recalled shows them)"),
            };
            self.aside(&format!("· {what} · prompt {prompt} of {window} tokens"))?;
        }
        Ok(self.outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failed_runs_are_errors() {
        let outcome = |status: &str, reason: &str| Outcome { status: status.into(), stop_reason: reason.into(), ..Outcome::default() };
        assert!(outcome("completed", "end_turn").failure().is_none());
        assert!(outcome("cancelled", "cancelled").failure().is_none());
        let error = outcome("failed", "model_unavailable").failure().expect("failure");
        assert_eq!(error.message(), "no answer: model unavailable");
        assert!(error.hint().contains("sid doctor"));
    }
}
