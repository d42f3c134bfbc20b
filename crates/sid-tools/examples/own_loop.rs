//! The tool registry in a loop of one's own: no store, no engine, any model client.
//!
//! `cargo run -p sid-tools --example own_loop`
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use sid_tools::{EffectClass, Registry, Tool, ToolContext, ToolOutcome};
use sid_types::{Timestamp, ToolSpec};

/// Tells the weather of a few towns.
struct Weather;

#[async_trait]
impl Tool for Weather {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "weather".into(),
            description: "Tells tomorrow's weather in a town.".into(),
            parameters: json!({
                "type": "object",
                "properties": {"town": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 3}},
                "required": ["town"]
            }),
        }
    }

    fn effect(&self) -> EffectClass {
        EffectClass::Read
    }

    async fn call(&self, _: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        match arguments.get("town").and_then(Value::as_str) {
            Some("Riga") => ToolOutcome::text("Rain, 8 degrees."),
            Some(other) => ToolOutcome::error(format!("No forecast for {other}. Known towns: Riga.")),
            None => ToolOutcome::error("Which town?"),
        }
    }
}

/// Stands in for a model: what it would call, given what it has been told.
fn pretend_model(told: &[String]) -> Option<(&'static str, Value)> {
    match told.len() {
        0 => Some(("wether", json!({"town": "Riga"}))),
        1 => Some(("weather", json!({"town": "Oslo", "days": "2"}))),
        2 => Some(("weather", json!({"town": "Riga", "days": 9}))),
        3 => Some(("weather", json!({"town": "Riga"}))),
        _ => None,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut registry = Registry::new();
    registry.register(Arc::new(Weather))?;
    println!("offered to the model: {}", serde_json::to_string(&registry.specs(None))?);

    let context = ToolContext::detached(Timestamp::now());
    let mut told = Vec::new();
    while let Some((name, arguments)) = pretend_model(&told) {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let outcome = registry.dispatch(name, arguments, &context).await;
        println!("{name}: {}{}", if outcome.is_error { "(error) " } else { "" }, outcome.text);
        told.push(outcome.text);
    }
    Ok(())
}
