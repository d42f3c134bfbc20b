//! An agent with more tools than fit its prompt finds them, and what is offered stands still.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sid_core::EngineConfig;
use sid_llm::ChatMessage;
use sid_store::Directory as _;
use sid_tools::{Tool, ToolContext, ToolOutcome};
use sid_types::{AgentSpec, StopReason, SystemClock, Tokens, ToolRule, ToolSpec};

use crate::support::{House, Say, Scripted};

type Called = Arc<Mutex<Vec<(String, Map<String, Value>)>>>;

struct Many(String, &'static str, Called);

#[async_trait]
impl Tool for Many {
    fn spec(&self) -> ToolSpec {
        let about = "What it is to be done with, in a few words that say enough for whoever does it.";
        let properties = json!({"what": {"type": "string", "description": about}, "n": {"type": "integer", "description": about}});
        ToolSpec { name: self.0.clone(), description: self.1.into(), parameters: json!({"type": "object", "properties": properties}) }
    }

    async fn call(&self, _: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        self.2.lock().push((self.0.clone(), arguments));
        ToolOutcome::text(format!("{} is done", self.0))
    }
}

/// A house with 200 tools, of which two are about bread and invoices.
async fn house(script: Vec<Say>, config: EngineConfig) -> (House, Called) {
    let called = Called::default();
    let all = called.clone();
    let build = move |_: &Arc<_>, mut builder: sid_core::EngineBuilder| {
        let others = (0..198).map(|n| (format!("machine_{n:03}"), "Turns a machine of the plant on or off."));
        for (name, about) in
            others.chain([("bakeBread".to_owned(), "Bakes a loaf in the oven."), ("send_invoice".to_owned(), "Bills a customer.")])
        {
            builder = builder.tool(Arc::new(Many(name, about, all.clone()))).expect("a new name");
        }
        builder
    };
    (House::open_built(Scripted::new(16_000, script), config, Arc::new(SystemClock), build).await, called)
}

fn offered(request: &sid_llm::ChatRequest) -> Vec<&str> {
    request.tools.iter().map(|t| t.name.as_str()).collect()
}

#[tokio::test]
async fn tools_that_do_not_fit_are_found_and_called_and_the_prompts_beginning_stands_still() {
    let script = vec![
        Say::Call("find_tools", json!({"query": "bake bread"})),
        Say::Call("bakeBread", json!({"what": "rye", "n": "2"})),
        Say::Call("call_tool", json!({"name": "send_invoice", "arguments": {"what": "rye"}})),
        Say::Call("call_tool", json!({"name": "send_invoice", "arguments": "{\"n\": 3}"})),
        Say::Call("call_tool", json!({"arguments": {}})),
        Say::Text("Done."),
        Say::Call("bakeBread", json!({"what": "wheat"})),
    ];
    let (house, called) = house(script, EngineConfig::default()).await;
    let run = house.say("Bake and bill.").await;
    assert_eq!(run.stop_reason, Some(StopReason::EndTurn), "{:?}", run.error);
    let results = house.results().await;
    let names: Vec<&str> = results[0].split("\n\n").skip(1).filter_map(|found| found.split(':').next()).collect();
    assert_eq!(names.first(), Some(&"bakeBread"), "{}", results[0]);
    assert!(results[0].contains("\"what\""), "with its arguments: {}", results[0]);
    assert!(results[4].contains("`name` is missing"), "{results:?}");
    house.say("And another.").await;
    let calls: Vec<(String, Value)> = called.lock().iter().map(|(name, a)| (name.clone(), Value::Object(a.clone()))).collect();
    let expected = [
        ("bakeBread", json!({"what": "rye", "n": 2})),
        ("send_invoice", json!({"what": "rye"})),
        ("send_invoice", json!({"n": 3})),
        ("bakeBread", json!({"what": "wheat"})),
    ];
    assert_eq!(calls, expected.map(|(name, arguments)| (name.to_owned(), arguments)));
    // The history knows the tool itself.
    assert!(results.iter().any(|r| r == "send_invoice: send_invoice is done"), "{results:?}");

    let requests = house.model.requests.lock().clone();
    assert!(offered(&requests[0]).ends_with(&["find_tools", "call_tool"]) && offered(&requests[0]).contains(&"conversation_search"));
    for pair in requests.windows(2) {
        assert_eq!(pair[0].tools, pair[1].tools);
        assert_eq!(pair[0].messages[0], pair[1].messages[0]);
    }
    // Within the run each prompt begins with the whole of the one before.
    for pair in requests[..6].windows(2) {
        assert_eq!(pair[1].messages[..pair[0].messages.len()], pair[0].messages[..]);
    }
}

#[tokio::test]
async fn words_that_fit_nothing_are_answered_with_names() {
    let (house, _) = house(vec![Say::Call("find_tools", json!({"query": "zzzz"}))], EngineConfig::default()).await;
    house.say("Hi").await;
    assert!(house.results().await[0].contains("machine_000"));
    assert!(matches!(house.model.last().messages.last(), Some(ChatMessage::Tool { .. })));
}

#[tokio::test]
async fn pinned_tools_are_offered_and_an_agent_calls_only_what_it_has() {
    let script = vec![Say::Call("machine_005", json!({})), Say::Call("machine_006", json!({}))];
    let (house, called) = house(script, EngineConfig::default()).await;
    let mut tools: Vec<String> = vec!["send_invoice".into()];
    tools.extend((10..150).map(|n| format!("machine_{n:03}")));
    tools.extend(["machine_005".into(), "conversation_search".into()]);
    let tool_rules = vec![ToolRule::AtMost { tool: "machine_140".into(), times: 1 }];
    let spec = AgentSpec { tools: Some(tools), tool_rules, ..house.agent.spec.clone() };
    house.store.update_agent(&house.tenant, house.agent.id, spec, vec![]).await.expect("changed");
    house.say("Hi").await;
    let request = house.model.last();
    let names = offered(&request);
    assert!(names.contains(&"send_invoice"), "the first that it names: {names:?}");
    assert!(names.contains(&"machine_140"), "one that a rule names: {names:?}");
    assert!(!names.contains(&"machine_005"), "the last: {names:?}");
    let made: Vec<String> = called.lock().iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(made, ["machine_005"], "what it has, offered or not, and nothing else");
}

#[tokio::test]
async fn a_limit_makes_fewer_tools_searched() {
    let config = EngineConfig { most_tool_tokens: Some(Tokens(900)), ..EngineConfig::default() };
    let (house, _) = house(vec![], config).await;
    house.say("Hi").await;
    let request = house.model.last();
    let size: usize = request.tools.iter().map(|t| serde_json::to_string(t).expect("JSON").len()).sum();
    assert!(size < 900 * 4, "{size}");
    assert!(offered(&request).contains(&"find_tools"));
}
