//! Long results of tools: the prompt shows the first page, and the whole can be read.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use sid_core::EngineConfig;
use sid_llm::ChatMessage;
use sid_tools::{Tool, ToolContext, ToolOutcome, fit_result};
use sid_types::{SystemClock, ToolSpec};

use crate::support::{House, Say, Scripted};

struct Report;

#[async_trait]
impl Tool for Report {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: "report".into(), description: "Reports.".into(), parameters: json!({"type": "object", "properties": {}}) }
    }

    async fn call(&self, context: &ToolContext, _: Map<String, Value>) -> ToolOutcome {
        let lines: Vec<String> = (0..1_000).map(|n| format!("line {n:04} of the report says so")).collect();
        ToolOutcome::text(fit_result(&lines.join("\n"), context.result_budget))
    }
}

fn result(message: &ChatMessage) -> Option<&str> {
    if let ChatMessage::Tool { text, .. } = message { Some(text) } else { None }
}

#[tokio::test]
async fn a_long_result_is_kept_whole_shown_by_its_first_page_and_read_on_by_its_number() {
    let script = vec![
        Say::Call("report", json!({})),
        Say::Text("I see the beginning."),
        Say::Call("conversation_search", json!({"query": "#3", "page": 4})),
    ];
    let build = |_: &Arc<_>, builder: sid_core::EngineBuilder| builder.tool(Arc::new(Report)).expect("a new name");
    let house = House::open_built(Scripted::new(16_000, script), EngineConfig::default(), Arc::new(SystemClock), build).await;
    house.say("Report.").await;
    let kept = house.results().await.remove(0);
    assert!(kept.contains("line 0999"), "all of it is kept: {}", kept.len());
    let request = house.model.last();
    let shown = request.messages.iter().find_map(result).expect("a result").to_owned();
    assert!(shown.contains("line 0000") && !shown.contains("line 0500") && shown.len() < 9_000, "{}", shown.len());
    assert!(shown.contains("read on: conversation_search \"#3\""), "{}", &shown[shown.len() - 120..]);
    house.say("Read on.").await;
    let page = house.results().await.remove(1);
    assert!(page.contains("page 4 of") && page.contains("line 0"), "{page}");
    // Byte for byte as it was.
    assert_eq!(house.model.last().messages.iter().find_map(result), Some(shown.as_str()));
}
