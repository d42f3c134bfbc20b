//! Tool rules: the machine enforces them, whatever the model does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use sid_core::{Engine, EngineConfig, ModelEntry, Models};
use sid_llm::{ByteCounter, CalibratedCounter, ChatMessage};
use sid_store::Directory as _;
use sid_tools::{EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::{Body, Run, RunStatus, StopReason, SystemClock, Timestamp, Tokens, ToolRule, ToolSpec};

use crate::support::{House, Say, Scripted};

/// Counts its calls; the first `fails` of them fail.
struct Counted {
    name: &'static str,
    fails: u32,
    calls: Arc<AtomicU32>,
}

#[async_trait]
impl Tool for Counted {
    fn spec(&self) -> ToolSpec {
        let parameters = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        ToolSpec { name: self.name.into(), description: "Counts.".into(), parameters }
    }

    async fn call(&self, _: &ToolContext, _: Map<String, Value>) -> ToolOutcome {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if calls <= self.fails { ToolOutcome::error("it failed") } else { ToolOutcome::text(format!("{} {calls}", self.name)) }
    }
}

struct Ruled {
    house: House,
    calls: Vec<(&'static str, Arc<AtomicU32>)>,
}

impl Ruled {
    /// Tools `a` to `d`; the first call of `d` fails.
    async fn open(rules: Vec<ToolRule>, script: Vec<Say>) -> Self {
        let calls: Vec<_> = ["a", "b", "c", "d"].into_iter().map(|name| (name, Arc::new(AtomicU32::new(0)))).collect();
        let counted = calls.clone();
        let build = |_: &Arc<_>, mut builder: sid_core::EngineBuilder| {
            for (name, calls) in counted {
                builder = builder.tool(Arc::new(Counted { name, fails: u32::from(name == "d"), calls })).expect("a new name");
            }
            builder
        };
        let house = House::open_built(Scripted::new(8_000, script), EngineConfig::default(), Arc::new(SystemClock), build).await;
        let spec = sid_types::AgentSpec { tool_rules: rules, ..house.agent.spec.clone() };
        house.store.update_agent(&house.tenant, house.agent.id, spec, vec![]).await.expect("changed");
        Self { house, calls }
    }

    async fn say(&self, text: &str) -> Run {
        self.house.say(text).await
    }

    fn made(&self) -> Vec<(&str, u32)> {
        self.calls.iter().map(|(name, calls)| (*name, calls.load(Ordering::Relaxed))).filter(|(_, n)| *n > 0).collect()
    }
}

fn call(name: &'static str) -> Say {
    Say::Call(name, json!({}))
}
fn calls(names: &[&'static str]) -> Say {
    Say::Calls(names.iter().map(|name| (*name, json!({}))).collect())
}
fn first(tool: &str) -> ToolRule {
    ToolRule::RunFirst { tool: tool.into() }
}
fn required(tool: &str) -> ToolRule {
    ToolRule::RequiredBeforeExit { tool: tool.into() }
}

#[tokio::test]
async fn nothing_is_called_and_nothing_is_answered_before_what_runs_first() {
    let script = vec![call("b"), Say::Text("Hello."), calls(&["a", "b"]), call("b"), Say::Text("Done.")];
    let ruled = Ruled::open(vec![first("a")], script).await;
    let run = ruled.say("Hi").await;
    assert_eq!((run.stop_reason, run.steps), (Some(StopReason::EndTurn), 5));
    assert_eq!(ruled.made(), [("a", 1), ("b", 1)]);
    let results = ruled.house.results().await;
    assert!(results[0].contains("begins with `a`"), "{results:?}");
    assert!(results[2].contains("begins with `a`"), "not beside it either: {results:?}");
    let notes: Vec<_> = ruled.house.messages().await.into_iter().filter(|m| matches!(m.body, Body::Note { .. })).collect();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].body.text().contains("call `a` first"));
    // What is offered stands still.
    let requests = ruled.house.model.requests.lock().clone();
    assert!(requests.windows(2).all(|pair| pair[0].tools == pair[1].tools));
    assert!(matches!(&requests[0].messages[0], ChatMessage::System { text } if text.contains("Begin each turn with `a`.")));
    // The next turn begins anew.
    assert_eq!(ruled.say("Again").await.stop_reason, Some(StopReason::RulesUnmet));
}

#[tokio::test]
async fn a_run_does_not_end_without_what_is_required() {
    let script = vec![Say::Text("Bye."), call("d"), Say::Text("Bye now."), call("d"), Say::Text("Good night.")];
    let ruled = Ruled::open(vec![required("d")], script).await;
    let run = ruled.say("Bye").await;
    assert_eq!((run.stop_reason, run.steps), (Some(StopReason::EndTurn), 5), "a call that failed does not count");
    assert_eq!(ruled.made(), [("d", 2)]);
}

#[tokio::test]
async fn a_model_that_never_complies_ends_with_a_reason_that_says_so() {
    let ruled = Ruled::open(vec![required("a")], vec![]).await;
    let run = ruled.say("Hi").await;
    assert_eq!((run.status, run.stop_reason, run.steps), (RunStatus::Completed, Some(StopReason::RulesUnmet), 3));
    assert!(run.error.expect("a reason").contains("`a`"));
}

#[tokio::test]
async fn a_tool_waits_for_those_before_it() {
    let rule = ToolRule::OnlyAfter { tool: "c".into(), after: vec!["a".into(), "d".into()] };
    let script = vec![call("c"), calls(&["a", "d", "c"]), call("c"), call("d"), call("c")];
    let ruled = Ruled::open(vec![rule], script).await;
    assert_eq!(ruled.say("Hi").await.stop_reason, Some(StopReason::EndTurn));
    assert_eq!(ruled.made(), [("a", 1), ("c", 1), ("d", 2)]);
    let results = ruled.house.results().await;
    assert!(results[0].contains("only after `a` and `d`"), "{results:?}");
    assert!(results[4].contains("only after `d`"), "it failed the first time: {results:?}");
    assert_eq!(results.last().map(String::as_str), Some("c: c 1"));
}

#[tokio::test]
async fn a_tool_is_called_at_most_so_often_in_a_run() {
    let rule = ToolRule::AtMost { tool: "a".into(), times: 2 };
    // Arguments that do not fit are no call.
    let script =
        vec![Say::BadCall("a", "{"), Say::Call("a", json!({"n": "x"})), calls(&["a", "a", "a"]), call("a"), Say::Text("ok"), call("a")];
    let ruled = Ruled::open(vec![rule], script).await;
    assert_eq!(ruled.say("Hi").await.stop_reason, Some(StopReason::EndTurn));
    assert_eq!(ruled.made(), [("a", 2)]);
    assert_eq!(ruled.house.results().await.iter().filter(|r| r.contains("as often as it may be in one turn (2)")).count(), 2);
    ruled.say("Again").await;
    assert_eq!(ruled.made(), [("a", 3)], "each run has its own");
}

#[tokio::test]
async fn a_tool_ends_the_run_when_it_came_off_and_nothing_is_required_any_more() {
    let rules = vec![ToolRule::EndsRun { tool: "d".into() }, required("b")];
    let script = vec![call("d"), call("b"), call("d"), calls(&["d", "a"]), Say::Text("never said")];
    let ruled = Ruled::open(rules, script).await;
    let run = ruled.say("Hi").await;
    assert_eq!((run.stop_reason, run.steps), (Some(StopReason::EndTurn), 4), "the first call of `d` failed");
    assert_eq!(ruled.made(), [("a", 1), ("b", 1), ("d", 2)]);
    assert!(ruled.house.results().await[0].contains("`b` must be called before"));
}

#[tokio::test]
async fn a_rule_about_a_tool_that_is_not_there_means_nothing() {
    let ruled = Ruled::open(vec![first("gone"), required("gone")], vec![call("a")]).await;
    assert_eq!(ruled.say("Hi").await.stop_reason, Some(StopReason::EndTurn));
    assert_eq!(ruled.made(), [("a", 1)]);
}

/// Leaves the house and does not come back.
struct Lost;

#[async_trait]
impl Tool for Lost {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: "lost".into(), description: "Rings.".into(), parameters: json!({"type": "object", "properties": {}}) }
    }

    fn effect(&self) -> EffectClass {
        EffectClass::External { idempotent: false }
    }

    async fn call(&self, _: &ToolContext, _: Map<String, Value>) -> ToolOutcome {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_call_that_was_under_way_at_a_crash_is_not_judged_anew() {
    let config = EngineConfig { poll: Duration::from_millis(20), lease_ttl: Duration::from_millis(300), ..EngineConfig::default() };
    let lost = |_: &Arc<_>| vec![Arc::new(Lost) as Arc<dyn Tool>];
    let house = House::open_as(Scripted::new(8_000, vec![call("lost")]), config.clone(), Arc::new(SystemClock), lost).await;
    let run = house.submit("Ring.", Timestamp::now(), None).await;
    while !house.model.script.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    house.engine.drain(Duration::from_millis(10)).await;
    // Meanwhile its agent has got a rule against it.
    let rule = ToolRule::OnlyAfter { tool: "lost".into(), after: vec!["conversation_search".into()] };
    let spec = sid_types::AgentSpec { tool_rules: vec![rule], ..house.agent.spec.clone() };
    house.store.update_agent(&house.tenant, house.agent.id, spec, vec![]).await.expect("changed");
    let entry = ModelEntry {
        chat: house.model.clone(),
        counter: Arc::new(CalibratedCounter::new(ByteCounter)),
        fallback_window: Tokens(8_192),
        summarizer: None,
    };
    let builder = Engine::builder(house.store.clone(), Models::new().with("m", entry), None, Arc::new(SystemClock), config);
    let next = builder.tool(Arc::new(Lost)).expect("a new name").build().expect("an engine");
    next.start();
    next.wait(&house.scope, run.id, Duration::from_secs(20)).await.expect("it ends");
    let results = house.results().await;
    assert!(results[0].starts_with("lost: Outcome unknown"), "{results:?}");
}
