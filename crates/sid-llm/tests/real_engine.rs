//! A real engine with a small model, where `SID_LLM_URL` names one (such as a llama.cpp server with SmolLM2): protocol,
//! schema and counting, not wisdom. At most five short requests.
#![cfg(all(feature = "openai", feature = "ollama"))]

use std::time::Duration;

use serde_json::json;
use sid_llm::{
    ChatMessage, ChatModel as _, ChatRequest, LadderPolicy, ModelConfig, ModelExt as _, OpenAiConfig, ProfileOverrides, Rung, complete,
    discover, probe,
};
use sid_types::{Tokens, ToolSpec};

fn config() -> Option<OpenAiConfig> {
    let url = std::env::var("SID_LLM_URL").ok().filter(|u| !u.is_empty());
    if url.is_none() {
        #[expect(clippy::print_stderr, reason = "a skipped test says why")]
        {
            eprintln!("skipped: SID_LLM_URL is not set");
        }
    }
    let model = std::env::var("SID_LLM_MODEL").unwrap_or_else(|_| "default".into());
    url.map(|url| OpenAiConfig::new(url, model))
}

fn request() -> ChatRequest {
    ChatRequest {
        messages: vec![
            ChatMessage::System { text: "You are a helpful assistant. The user is Chad, who loves pickles.".into() },
            ChatMessage::User { text: "Please remember that I also love olives.".into() },
        ],
        max_tokens: Tokens(80),
        temperature: Some(0.0),
        ..ChatRequest::default()
    }
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "what was seen is of interest")]
async fn speaks_counts_and_obeys_schemas() {
    let Some(config) = config() else { return };
    let endpoint = ModelConfig::OpenAi(config.clone());
    let profile = discover(&endpoint).await.expect("the engine answers");
    eprintln!("{profile:?}");
    let model = endpoint.connect(profile.clone()).expect("a good configuration");

    let plain = complete(&model, request()).await.expect("an answer");
    eprintln!("plain: {plain:?}");
    assert!(!plain.is_empty());
    let reported = plain.usage.expect("usage is reported").prompt_tokens;
    if let Some(counted) = model.count_prompt(&request()).await.expect("an answer") {
        let counted = u64::from(counted.0);
        eprintln!("counted {counted}, reported {reported}");
        assert!(counted.abs_diff(reported) <= 2, "counted {counted}, reported {reported}");
    }

    let mut with_tools = request();
    let tool = |name: &str| ToolSpec {
        name: name.into(),
        description: "Keeps a fact about the user.".into(),
        parameters: json!({"type": "object", "properties": {"text": {"type": "string", "maxLength": 60}}, "required": ["text"]}),
    };
    with_tools.tools = vec![tool("core_memory_append").into(), tool("archival_memory_insert").into()];
    let mut structured = profile.clone();
    structured.tool_mode = Rung::Structured;
    let ladder = endpoint.connect(structured).expect("a good configuration").ladder(LadderPolicy::default());
    let reply = complete(&ladder, with_tools).await.expect("the engine takes the schema");
    eprintln!("structured: {reply:?}");
    assert_eq!(reply.rung, Rung::Structured);
    assert_eq!(ladder.info().profile.tool_mode, Rung::Structured, "the engine did not refuse the schema");
    assert!(!reply.is_empty());
    assert!(reply.calls.iter().all(|c| c.name == "core_memory_append" || c.name == "archival_memory_insert"));
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "what was seen is of interest")]
async fn the_probe_reaches_a_verdict() {
    let Some(config) = config() else { return };
    let verdicts = probe(&ModelConfig::OpenAi(config), &ProfileOverrides::default(), None, Duration::from_secs(60)).await;
    eprintln!("{verdicts:#?}");
    for needed in ["reachable", "auth", "model", "chat", "streaming", "usage", "json_schema"] {
        assert!(verdicts.iter().any(|v| v.capability == needed && v.ok), "{needed}: {verdicts:#?}");
    }
}
