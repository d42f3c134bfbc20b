//! Tools that the attributes make.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sid_tools::{Declaration, EffectClass, Registry, Tool, ToolContext, ToolOutcome, Toolbox, tool, toolbox};
use sid_types::{Timestamp, Tokens};

/// What kind of bread.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Bread {
    Rye,
    Wheat,
}

#[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
struct Topping {
    name: String,
    grams: u32,
}

/// Orders a sandwich. It is made
/// at once.
///
/// Ask before you order.
#[tool(external, idempotent, timeout_ms = 2_500, name = "order", secrets = ["kitchen_key"], hosts = ["kitchen.example"])]
async fn order_sandwich(
    /// The bread.
    bread: Bread,
    /// What goes on it.
    toppings: Vec<Topping>,
    #[schemars(range(min = 1, max = 9))]
    #[serde(default = "one")]
    count: u8,
    title: Option<String>,
    context: &ToolContext,
) -> Result<BTreeMap<String, Value>, std::num::TryFromIntError> {
    let grams = u8::try_from(toppings.iter().map(|t| t.grams).sum::<u32>())?;
    let bread = matches!(bread, Bread::Rye);
    Ok(BTreeMap::from([
        ("grams".into(), json!(grams)),
        ("rye".into(), json!(bread)),
        ("count".into(), json!(count)),
        ("title".into(), json!(title)),
        ("zone".into(), json!(context.timezone)),
    ]))
}

fn one() -> u8 {
    1
}

/// Adds.
#[tool(read)]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Says nothing.
#[tool]
async fn silence() {}

/// Says much.
#[tool(read)]
async fn babble() -> String {
    "word ".repeat(10_000)
}

/// Says that it failed.
#[tool(read)]
async fn outcome() -> ToolOutcome {
    ToolOutcome::error("no luck")
}

struct Counter(AtomicU64);

#[toolbox]
impl Counter {
    /// Counts up.
    #[tool]
    async fn count_up(
        &self,
        /** By how much. */
        by: u64,
    ) -> u64 {
        self.0.fetch_add(by, Ordering::SeqCst) + by
    }

    /// Tells the count.
    #[tool(read)]
    async fn counted(&self) -> u64 {
        self.value()
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    let counter = Arc::new(Counter(AtomicU64::new(0)));
    let own: Vec<Arc<dyn Tool>> = vec![Arc::new(OrderSandwich), Arc::new(Add), Arc::new(Silence), Arc::new(Babble), Arc::new(Outcome)];
    for tool in own.into_iter().chain(counter.tools()) {
        registry.register(tool).expect("it registers");
    }
    registry
}

async fn call(registry: &Registry, name: &str, arguments: Value) -> ToolOutcome {
    let context = ToolContext::detached(Timestamp::UNIX_EPOCH);
    registry.dispatch(name, arguments.as_object().cloned().expect("an object"), &context).await
}

#[test]
fn a_signature_becomes_a_schema_without_noise() {
    let spec = OrderSandwich.spec();
    assert_eq!(spec.name, "order");
    assert_eq!(spec.description, "Orders a sandwich. It is made at once.\n\nAsk before you order.");
    assert_eq!(
        spec.parameters,
        json!({
            "type": "object",
            "properties": {
                "bread": {"description": "The bread.", "type": "string", "enum": ["rye", "wheat"]},
                "toppings": {
                    "description": "What goes on it.",
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"name": {"type": "string"}, "grams": {"type": "integer", "minimum": 0}},
                        "required": ["name", "grams"]
                    }
                },
                "count": {"type": "integer", "minimum": 1, "maximum": 9, "default": 1},
                "title": {"type": "string"}
            },
            "required": ["bread", "toppings"],
            "additionalProperties": false
        })
    );
    assert_eq!(Silence.spec().parameters, json!({"type": "object", "properties": {}, "additionalProperties": false}));
}

#[test]
fn options_become_the_declaration() {
    let declared = Declaration {
        timeout: Duration::from_millis(2_500),
        secrets: vec!["kitchen_key".into()],
        hosts: vec!["kitchen.example".into()],
        ..Declaration::new(EffectClass::External { idempotent: true })
    };
    assert_eq!(registry().declaration("order"), Some(&declared));
    assert_eq!(Add.declaration(), Declaration::new(EffectClass::Read));
    assert_eq!(registry().effect("silence"), Some(EffectClass::External { idempotent: false }));
}

#[tokio::test]
async fn calls_pass_arguments_and_tell_results() {
    let registry = registry();
    let order = json!({"bread": "rye", "toppings": [{"name": "pickles", "grams": 40}], "title": null});
    let told = call(&registry, "order", order).await;
    assert_eq!((told.text.as_str(), told.is_error), (r#"{"count":1,"grams":40,"rye":true,"title":null,"zone":"UTC"}"#, false));
    assert_eq!(call(&registry, "add", json!({"a": "2", "b": 3})).await.text, "5");
    assert_eq!(call(&registry, "silence", json!({})).await.text, "Done.");
    assert_eq!(call(&registry, "outcome", json!({})).await, ToolOutcome::error("no luck"));
    assert_eq!(call(&registry, "count_up", json!({"by": 3})).await.text, "3");
    assert_eq!(call(&registry, "counted", json!({})).await.text, "3");
}

#[tokio::test]
async fn failures_are_told_in_words() {
    let registry = registry();
    let heavy = json!({"bread": "rye", "toppings": [{"name": "pickles", "grams": 4000}]});
    let told = call(&registry, "order", heavy).await;
    assert!(told.is_error && told.text.contains("out of range"), "{}", told.text);
    let told = call(&registry, "order", json!({"bread": "corn", "toppings": []})).await;
    assert!(told.is_error && told.text.contains("rye"), "{}", told.text);
    let told = call(&registry, "order", json!({"bread": "rye", "toppings": [], "count": 10})).await;
    assert!(told.is_error && told.text.contains("maximum"), "{}", told.text);
}

#[tokio::test]
async fn a_long_result_is_cut_to_the_budget() {
    let told = call(&registry(), "babble", json!({})).await;
    assert!(sid_tools::most_tokens(&told.text) <= Tokens(2_000) && told.text.contains("of 50000 characters"));
}

#[tokio::test]
async fn the_function_stays_a_function() {
    assert_eq!(add(1, 2).await, 3);
}
