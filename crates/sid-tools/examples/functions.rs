//! Tools from Rust functions: all that a user writes stands between the two lines.
//!
//! `cargo run -p sid-tools --features macros --example functions`
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use sid_tools::{Registry, ToolContext};
// ---------------------------------------------------------------------------------------------------------------------------------------
use std::sync::Arc;

/// Orders a sandwich.
#[sid_tools::tool(external, timeout_ms = 5_000)]
async fn order_sandwich(
    /// What goes on it, at least one thing.
    toppings: Vec<String>,
    /// When it is picked up, like `12:30`; at once without it.
    at: Option<String>,
) -> Result<String, String> {
    let first = toppings.first().ok_or("What should go on it?")?;
    Ok(format!("A sandwich with {first} is made {}.", at.as_deref().unwrap_or("at once")))
}
// ---------------------------------------------------------------------------------------------------------------------------------------

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut registry = Registry::new();
    registry.register(Arc::new(OrderSandwich))?;
    println!("offered to the model: {}", serde_json::to_string_pretty(&registry.specs(None))?);
    let context = ToolContext::detached(sid_types::Timestamp::now());
    for arguments in [serde_json::json!({"toppings": "pickles"}), serde_json::json!({"toppings": []}), serde_json::json!({"at": "noon"})] {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        println!("{}", registry.dispatch("order_sandwich", arguments, &context).await.text);
    }
    Ok(())
}
