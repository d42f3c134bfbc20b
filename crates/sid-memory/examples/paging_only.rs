//! Paging over one's own message log: no store, no server, no async.
//!
//! The application keeps its log where it likes (here: a `Vec`). sid-memory decides what is still in the prompt, says what leaves it,
//! keeps a summary of that, and makes a prompt that is valid and fits, whatever happened.
//!
//! Run it: `cargo run -p sid-memory --example paging_only`

use std::io::Write as _;

use sid_memory::{Budget, FifoQueue, Item, Pressure, count_bytes, floor_summary, plan_eviction, pressure, valid_view};
use sid_types::{Timestamp, Tokens};

/// One line of the application's own log.
struct LogLine {
    number: u64,
    is_human: bool,
    text: String,
    at: Timestamp,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    let start: Timestamp = "2025-03-10T09:00:00Z".parse()?;
    let log: Vec<LogLine> = (1..=60)
        .map(|number| LogLine {
            number,
            is_human: number % 2 == 1,
            text: if number == 1 {
                "My sister Mia is allergic to peanuts.".into()
            } else {
                format!("Small talk, line {number}, of no use to anybody.")
            },
            at: start + jiff::SignedDuration::from_mins(40 * number as i64),
        })
        .collect();

    // A model with a window of 1,500 tokens. With a real tokenizer, count with that.
    let budget = Budget::for_window(Tokens(1_500));
    let mut queue = FifoQueue::default();
    let mut summary = String::new();

    for line in &log {
        let item =
            if line.is_human { Item::user(line.number, line.at, &line.text) } else { Item::assistant(line.number, line.at, &line.text) };
        queue.push(item, &count_bytes);

        if pressure(&queue, &budget) == Pressure::Warning {
            // A good moment to let the model save what matters, or to prepare a summary in the background.
        }
        if let Some(plan) = plan_eviction(&queue, &budget) {
            let evicted = queue.page_out(&plan, &count_bytes);
            summary = floor_summary(&summary, &evicted, budget.summary, queue.zone(), &count_bytes);
            writeln!(out, "line {}: {} lines leave (#{} to #{}), {} tokens", line.number, plan.count, plan.first, plan.last, plan.freed)?;
        }
        let view = valid_view(&queue, &budget, &count_bytes);
        assert!(view.tokens <= budget.queue);
        view.check()?;
    }

    writeln!(out, "\nsummary ({} of {} tokens):\n{summary}\n", count_bytes(&summary), budget.summary)?;
    let view = valid_view(&queue, &budget, &count_bytes);
    writeln!(out, "queue ({} of {} tokens):", view.tokens, budget.queue)?;
    for message in &view.messages {
        writeln!(out, "  {:?}: {}", message.body.role(), message.body.text())?;
    }
    Ok(())
}
