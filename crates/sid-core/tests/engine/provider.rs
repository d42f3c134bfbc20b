//! Functions that a tenant gave its agents, beside the engine's own.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sid_core::{EngineConfig, GivenTools, ToolProvider};
use sid_store::{Directory as _, StoreError};
use sid_tools::{Tool, ToolContext, ToolOutcome};
use sid_types::{Scope, StopReason, SystemClock, ToolSpec};

use crate::support::{House, Say, Scripted};

struct Named(&'static str);

#[async_trait]
impl Tool for Named {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: self.0.into(), description: "Given.".into(), parameters: json!({"type": "object", "properties": {}}) }
    }

    async fn call(&self, _: &ToolContext, _: Map<String, Value>) -> ToolOutcome {
        ToolOutcome::text(format!("given {}", self.0))
    }
}

/// What the tenant gave; changes while the engine runs.
#[derive(Default)]
struct Given(Mutex<Option<Arc<GivenTools>>>);

impl Given {
    fn set(&self, names: &[&'static str], defaults: &[&str]) {
        let mut given = GivenTools { defaults: defaults.iter().map(|d| (*d).to_owned()).collect(), ..GivenTools::default() };
        for name in names {
            given.registry.register(Arc::new(Named(name))).expect("a new name");
        }
        *self.0.lock() = Some(Arc::new(given));
    }
}

#[async_trait]
impl ToolProvider for Given {
    async fn given(&self, _: &Scope) -> Result<Option<Arc<GivenTools>>, StoreError> {
        Ok(self.0.lock().clone())
    }
}

async fn house(script: Vec<Say>) -> (House, Arc<Given>) {
    let given = Arc::new(Given::default());
    let toolbox = given.clone();
    let build = |_: &Arc<_>, builder: sid_core::EngineBuilder| builder.tool_provider(toolbox);
    (House::open_built(Scripted::new(8_000, script), EngineConfig::default(), Arc::new(SystemClock), build).await, given)
}

fn offered(house: &House) -> Vec<String> {
    house.model.last().tools.iter().map(|t| t.name.clone()).collect()
}

#[tokio::test]
async fn an_agent_calls_what_its_tenant_gave_it() {
    let (house, given) = house(vec![Say::Text("hello"), Say::Call("weather", json!({}))]).await;
    house.say("Hi").await;
    assert!(!offered(&house).contains(&"weather".to_owned()));
    // Given while the engine runs: the next run has it.
    given.set(&["weather", "extra"], &["weather"]);
    let run = house.say("What is the weather?").await;
    assert_eq!(run.stop_reason, Some(StopReason::EndTurn), "{:?}", run.error);
    assert_eq!(house.results().await, ["weather: given weather"]);
    let names = offered(&house);
    assert!(names.contains(&"weather".to_owned()) && names.contains(&"conversation_search".to_owned()), "{names:?}");
    assert!(!names.contains(&"extra".to_owned()), "it is not given to everybody");
}

#[tokio::test]
async fn an_agent_that_names_its_tools_has_those_and_no_more() {
    let (house, given) = house(vec![]).await;
    given.set(&["weather", "extra"], &["weather"]);
    let mut spec = house.agent.spec.clone();
    spec.tools = Some(vec!["extra".into(), "archival_memory_search".into()]);
    house.store.update_agent(&house.tenant, house.agent.id, spec, vec![]).await.expect("changed");
    house.say("Hi").await;
    assert_eq!(offered(&house), ["archival_memory_search", "extra"]);
}

#[tokio::test]
async fn a_name_of_the_engine_stays_the_engines() {
    let (house, given) = house(vec![Say::Call("conversation_search", json!({"query": "pickles"}))]).await;
    given.set(&["conversation_search"], &["conversation_search"]);
    house.say("Search.").await;
    let results = house.results().await;
    assert!(!results[0].contains("given"), "{results:?}");
    assert_eq!(offered(&house).iter().filter(|n| *n == "conversation_search").count(), 1);
}
