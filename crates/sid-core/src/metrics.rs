//! Metrics of the engine: names with their unit, labels without tenants or users.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use sid_llm::Rung;
use sid_types::StopReason;

use crate::machine::StepFacts;

/// A run has ended.
pub(crate) fn run_ended(reason: StopReason, took: Duration) {
    let reason = serde_json::to_value(reason).ok().and_then(|v| v.as_str().map(ToOwned::to_owned)).unwrap_or_default();
    counter!("sid_runs_total", "stop_reason" => reason).increment(1);
    histogram!("sid_run_seconds").record(took.as_secs_f64());
}

/// A step was made.
pub(crate) fn step(facts: &StepFacts, rung: Rung) {
    counter!("sid_steps_total", "rung" => rung.name()).increment(1);
    counter!("sid_prompt_tokens_total").increment(facts.usage.prompt_tokens);
    counter!("sid_completion_tokens_total").increment(facts.usage.completion_tokens);
    histogram!("sid_model_first_token_seconds").record(facts.first_token_ms as f64 / 1_000.0);
    histogram!("sid_model_call_seconds").record(facts.total_ms as f64 / 1_000.0);
}

/// The engine said that a prompt was too large although it had been counted as small enough.
pub(crate) fn overflow() {
    counter!("sid_context_overflows_total").increment(1);
}

/// A tenant has used most of its tokens. Which one is in the log.
pub(crate) fn budget_warning(period: &'static str) {
    counter!("sid_token_budget_warnings_total", "period" => period).increment(1);
}

/// A run ended because its tenant's tokens are used up.
pub(crate) fn budget_used_up(period: &'static str) {
    counter!("sid_token_budget_stops_total", "period" => period).increment(1);
}

/// A tool was called.
pub(crate) fn tool_called(name: &str, is_error: bool) {
    counter!("sid_tool_calls_total", "tool" => name.to_owned(), "failed" => if is_error { "true" } else { "false" }).increment(1);
}

/// A document was read, or could not be.
pub(crate) fn document_read(outcome: &'static str) {
    counter!("sid_documents_read_total", "outcome" => outcome).increment(1);
}

/// A timer was answered with a run, so long after it was due.
pub(crate) fn timer_fired(late: jiff::SignedDuration) {
    counter!("sid_timers_fired_total").increment(1);
    histogram!("sid_timer_late_seconds").record(late.as_secs_f64().max(0.0));
}

/// Late occurrences of a timer were left out.
pub(crate) fn timer_left_out(count: u64) {
    counter!("sid_timers_left_out_total").increment(count);
}

/// A run that nobody asked for was held back by a cap.
pub(crate) fn capped(by: sid_types::HeldBy) {
    counter!("sid_capped_total", "cap" => by.as_str()).increment(1);
}

/// A duty was taken, or is another replica's.
pub(crate) fn duty(name: &'static str, is_mine: bool) {
    gauge!("sid_duty_held", "duty" => name).set(if is_mine { 1.0 } else { 0.0 });
}

/// The store dropped a piece of what is old; `false` = it could not.
pub(crate) fn maintained(is_done: bool) {
    counter!("sid_maintenance_pieces_total", "failed" => if is_done { "false" } else { "true" }).increment(1);
}

/// Nothing old is left.
pub(crate) fn maintenance_is_complete(now: jiff::Timestamp) {
    gauge!("sid_maintenance_complete_timestamp_seconds").set(now.as_second() as f64);
}
