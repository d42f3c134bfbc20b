//! How a step's calls are made: at the same time, in time, and each for itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use sid_core::EngineConfig;
use sid_tools::{Declaration, EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::{StopReason, SystemClock, ToolSpec};
use tokio::sync::Barrier;

use crate::support::{House, Say, Scripted};

#[derive(Clone)]
enum Does {
    /// Waits for the other one.
    Meets(Arc<Barrier>),
    Hangs,
    Panics,
}

struct Guest {
    name: &'static str,
    effect: EffectClass,
    does: Does,
}

#[async_trait]
impl Tool for Guest {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: self.name.into(), description: "A guest.".into(), parameters: json!({"type": "object", "properties": {}}) }
    }

    fn declaration(&self) -> Declaration {
        let timeout = if matches!(self.does, Does::Hangs) { Duration::from_millis(50) } else { Declaration::TIMEOUT };
        Declaration { timeout, ..Declaration::new(self.effect) }
    }

    async fn call(&self, _: &ToolContext, _: Map<String, Value>) -> ToolOutcome {
        match &self.does {
            Does::Meets(barrier) => {
                barrier.wait().await;
                ToolOutcome::text(format!("{} has met the other", self.name))
            }
            Does::Hangs => std::future::pending().await,
            Does::Panics => panic!("a planted panic"),
        }
    }
}

/// A house with these guests, in which the model calls `names` in one step.
async fn results(guests: Vec<Guest>, names: &[&'static str]) -> Vec<String> {
    let calls = names.iter().map(|name| (*name, json!({"label": "human", "content": "Was here."}))).collect();
    let model = Scripted::new(4_000, vec![Say::Calls(calls)]);
    let config = EngineConfig { poll: Duration::from_millis(20), ..EngineConfig::default() };
    let tools = |_: &_| guests.into_iter().map(|g| Arc::new(g) as Arc<dyn Tool>).collect();
    let house = House::open_as(model, config, Arc::new(SystemClock), tools).await;
    let run = house.say("Go.").await;
    assert_eq!(run.stop_reason, Some(StopReason::EndTurn), "{:?}", run.error);
    house.results().await
}

#[tokio::test]
async fn calls_of_one_step_are_under_way_at_the_same_time_and_answer_in_order() {
    let barrier = Arc::new(Barrier::new(2));
    let external = EffectClass::External { idempotent: false };
    let guest = |name, effect| Guest { name, effect, does: Does::Meets(barrier.clone()) };
    let results = results(vec![guest("one", external), guest("two", EffectClass::Read)], &["two", "one"]).await;
    assert_eq!(results, ["two: two has met the other", "one: one has met the other"]);
}

#[tokio::test]
async fn a_call_that_hangs_is_dropped_at_its_time_out_and_the_run_goes_on() {
    let hang = |effect| vec![Guest { name: "wait", effect, does: Does::Hangs }];
    let told = results(hang(EffectClass::External { idempotent: false }), &["wait"]).await;
    assert_eq!(told, ["wait: `wait` gave no answer within 0.05 s. It may or may not have happened; do not repeat it unasked."]);
    let told = results(hang(EffectClass::Read), &["wait"]).await;
    assert_eq!(told, ["wait: `wait` gave no answer within 0.05 s. Nothing was changed by it; go on without it, or ask it for less."]);
}

#[tokio::test]
async fn a_tool_that_panics_takes_neither_the_run_nor_its_neighbours_along() {
    let guests = vec![Guest { name: "broken", effect: EffectClass::Read, does: Does::Panics }];
    let told = results(guests, &["core_memory_append", "broken", "core_memory_append"]).await;
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[1].starts_with("broken: `broken` is broken: a fault of the tool"), "{told:?}");
    assert!(told[0].starts_with("core_memory_append:") && told[2].starts_with("core_memory_append:"), "{told:?}");
}
