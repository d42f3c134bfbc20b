//! One call of a tool: in time, and without taking the run along when the tool is broken.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use sid_memory::TOOL_IMPORTANCE;
use sid_store::crash_point;
use sid_tools::{EffectClass, Registry, ToolContext, ToolOutcome};
use sid_types::Tokens;
use tracing::{Instrument as _, error, info_span, warn};

use crate::approval;
use crate::machine::ToCall;
use crate::metrics;

/// Most calls of one step at the same time; the others wait.
pub(crate) const AT_ONCE: usize = 8;

/// Most tokens of a result that is kept.
const MOST_KEPT: Tokens = Tokens(16_000);

/// Calls what was planned, or says why not.
pub(crate) async fn call(tools: &Registry, call: &ToCall, context: &ToolContext) -> ToolOutcome {
    let name = &call.planned.call.name;
    let is_idempotent = !matches!(tools.effect(name), Some(EffectClass::External { idempotent: false }));
    let outcome = if let Some(known) = &call.known {
        known.clone()
    } else if let Some(refused) = &call.refused {
        ToolOutcome::error(refused)
    } else if let Some(asked) = &call.asks {
        approval::waits(asked)
    } else if call.outcome_unknown && !is_idempotent {
        ToolOutcome::error(
            "Outcome unknown: the call was under way when the server stopped. It may or may not have happened; do not repeat it unasked.",
        )
    } else if let Some(bad) = &call.bad_arguments {
        ToolOutcome::error(format!("The arguments of `{name}` could not be read: {}. Call it again with a JSON object.", bad.problem))
    } else {
        // The memory tools have pages of their own; of all others the whole is kept, and the prompt shows its beginning.
        let has_pages = TOOL_IMPORTANCE.contains(&name.as_str());
        let result_budget = if has_pages { context.result_budget } else { MOST_KEPT };
        let context = ToolContext { token: call.planned.token, result_budget, ..context.clone() };
        crash_point!("tool.before");
        let outcome = contained(tools, call, &context).instrument(info_span!("sid.tool.call", tool = %name)).await;
        crash_point!("tool.after");
        outcome
    };
    // A name that the model made up must not become a label.
    let known = if tools.effect(name).is_some() { name.as_str() } else { "unknown" };
    metrics::tool_called(known, outcome.is_error);
    outcome
}

/// Whether a result says no more than that the call's arguments did not fit: then nothing was called.
pub(crate) fn is_about_arguments(result: &str) -> bool {
    result.starts_with("The arguments of `") || result.starts_with("Bad arguments for `")
}

/// The call itself. A tool that does not end is dropped at its time-out, and a panic is its own affair: both are outcomes.
async fn contained(tools: &Registry, call: &ToCall, context: &ToolContext) -> ToolOutcome {
    let name = &call.planned.call.name;
    let declared = tools.declaration(name);
    // A name that is no tool's answers at once.
    let most = declared.map_or(Duration::MAX, |d| d.timeout);
    let dispatch = AssertUnwindSafe(tools.dispatch(name, call.planned.call.arguments.clone(), context)).catch_unwind();
    match tokio::time::timeout(most, dispatch).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => {
            error!(tool = %name, "a tool panicked");
            ToolOutcome::error(format!(
                "`{name}` is broken: a fault of the tool, not of the arguments. {}",
                what_now(declared.map(|d| d.effect))
            ))
        }
        Err(_) => {
            warn!(tool = %name, seconds = most.as_secs_f64(), "a tool took too long");
            let seconds = most.as_secs_f64();
            ToolOutcome::error(format!("`{name}` gave no answer within {seconds} s. {}", what_now(declared.map(|d| d.effect))))
        }
    }
}

/// What the model should make of a call of which nobody knows what it did.
fn what_now(effect: Option<EffectClass>) -> &'static str {
    match effect {
        Some(EffectClass::External { idempotent: false }) => "It may or may not have happened; do not repeat it unasked.",
        Some(EffectClass::External { idempotent: true }) => "It may or may not have happened; it may be called again.",
        _ => "Nothing was changed by it; go on without it, or ask it for less.",
    }
}
