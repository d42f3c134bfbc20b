//! Discovery, probing, counting and remote embedding against servers that play the engines.

use std::time::Duration;

use serde_json::json;
use sid_llm::{
    ChatMessage, ChatModel as _, ChatRequest, EmbedInput, Embedder as _, Engine, HashEmbedder, LlmError, ModelConfig, ModelProfile, Ollama,
    OllamaConfig, OpenAiCompatible, OpenAiConfig, OpenAiEmbedder, OpenAiEmbedderConfig, ProfileOverrides, Rung, complete, discover, probe,
};
use sid_testkit::model_server::{Flavour, ModelServer, ServerOptions};
use sid_types::Tokens;

async fn server(options: ServerOptions) -> ModelServer {
    ModelServer::start_with(options).await.expect("a free port")
}

fn openai(server: &ModelServer) -> ModelConfig {
    ModelConfig::OpenAi(OpenAiConfig::new(server.base_url(), "scripted"))
}

fn ollama(server: &ModelServer) -> ModelConfig {
    ModelConfig::Ollama(OllamaConfig::new(server.base_url(), "scripted"))
}

#[tokio::test]
async fn engines_are_recognised() {
    let window = Some(12_345);
    let vllm = server(ServerOptions { flavour: Flavour::Vllm, window, ..ServerOptions::default() }).await;
    let profile = discover(&openai(&vllm)).await.expect("answers");
    assert_eq!((profile.engine, profile.context_window, profile.tool_mode), (Engine::Vllm, Some(Tokens(12_345)), Rung::Native));
    assert!(profile.json_schema && profile.counts_tokens);

    for (has_tools, mode) in [(true, Rung::Native), (false, Rung::Structured)] {
        let llama = server(ServerOptions { flavour: Flavour::LlamaCpp, window, has_tools, ..ServerOptions::default() }).await;
        let profile = discover(&openai(&llama)).await.expect("answers");
        assert_eq!((profile.engine, profile.context_window, profile.tool_mode), (Engine::LlamaCpp, Some(Tokens(12_345)), mode));

        // Allocated, not trained; and without a loaded model a modest default.
        for (window, expected) in [(window, 12_345), (None, 8_192)] {
            let engine = server(ServerOptions { flavour: Flavour::Ollama, window, has_tools, ..ServerOptions::default() }).await;
            let profile = discover(&ollama(&engine)).await.expect("answers");
            assert_eq!((profile.engine, profile.context_window, profile.tool_mode), (Engine::Ollama, Some(Tokens(expected)), mode));
        }
    }

    let generic = server(ServerOptions::default()).await;
    assert_eq!(discover(&openai(&generic)).await.expect("answers"), ModelProfile::default());
    let better = ProfileOverrides { context_window: Some(Tokens(9_999)), tool_mode: Some(Rung::Text), ..ProfileOverrides::default() };
    let profile = better.apply(ModelProfile::default());
    assert_eq!((profile.context_window, profile.tool_mode, profile.engine), (Some(Tokens(9_999)), Rung::Text, Engine::Generic));
}

#[tokio::test]
async fn what_cannot_be_asked_is_an_error_and_what_is_not_said_is_not() {
    let gone = openai(&server(ServerOptions::default()).await);
    assert!(matches!(discover(&gone).await, Err(LlmError::Unreachable { .. })));
    let locked = server(ServerOptions { api_key: Some("secret".into()), ..ServerOptions::default() }).await;
    assert!(matches!(discover(&openai(&locked)).await, Err(LlmError::Unauthorized { status: 401 })));
    let with_key = OpenAiConfig { api_key: Some("secret".into()), ..OpenAiConfig::new(locked.base_url(), "scripted") };
    assert!(discover(&ModelConfig::OpenAi(with_key)).await.is_ok());
    let engine = server(ServerOptions { flavour: Flavour::Ollama, ..ServerOptions::default() }).await;
    let absent = ModelConfig::Ollama(OllamaConfig::new(engine.base_url(), "absent:7b"));
    let error = discover(&absent).await.expect_err("no such model").to_string();
    assert!(error.contains("ollama pull absent:7b"), "{error}");
}

#[tokio::test]
async fn ollama_is_asked_for_the_window_that_is_planned_with() {
    let engine = server(ServerOptions { flavour: Flavour::Ollama, ..ServerOptions::default() }).await;
    let profile = ModelProfile { context_window: Some(Tokens(6_000)), ..ModelProfile::default() };
    let model = Ollama::with_profile(OllamaConfig { think: Some(false), ..OllamaConfig::new(engine.base_url(), "scripted") }, profile)
        .expect("good");
    assert_eq!(model.info().profile.context_window, Some(Tokens(6_000)));
    let request = ChatRequest {
        messages: vec![ChatMessage::User { text: "hi".into() }],
        max_tokens: Tokens(77),
        temperature: Some(0.7),
        json_schema: Some(json!({"type": "object", "properties": {"food": {"type": "string"}}, "required": ["food"]})),
        ..ChatRequest::default()
    };
    let reply = complete(&model, request).await.expect("a reply");
    assert_eq!(reply.text, r#"{"food":"pickles"}"#);
    let sent = engine.chats().pop().expect("recorded");
    assert_eq!(sent["options"], json!({"num_ctx": 6_000, "num_predict": 77, "temperature": 0.7}));
    assert_eq!((&sent["think"], &sent["format"]["required"]), (&json!(false), &json!(["food"])));
}

#[tokio::test]
async fn the_engine_counts_a_whole_prompt() {
    let request = ChatRequest {
        messages: vec![ChatMessage::System { text: "s".repeat(400) }, ChatMessage::User { text: "u".repeat(400) }],
        ..ChatRequest::default()
    };
    for flavour in [Flavour::Vllm, Flavour::LlamaCpp] {
        let engine = server(ServerOptions { flavour, ..ServerOptions::default() }).await;
        let profile = discover(&openai(&engine)).await.expect("answers");
        let model = openai(&engine).connect(profile).expect("good");
        let count = model.count_prompt(&request).await.expect("an answer").expect("a count").0;
        assert!((200..=240).contains(&count), "{flavour:?}: {count}");
    }
    let silent = OpenAiCompatible::new(OpenAiConfig::new("http://localhost:1", "scripted")).expect("good");
    assert_eq!(silent.count_prompt(&request).await.expect("it is not asked"), None);
}

#[tokio::test]
async fn a_probe_says_what_works_and_what_to_do() {
    let patience = Duration::from_secs(5);
    let overrides = ProfileOverrides::default();
    let vllm = server(ServerOptions { flavour: Flavour::Vllm, window: Some(32_768), ..ServerOptions::default() }).await;
    vllm.script([
        sid_testkit::model_server::Behaviour::Text("A pickle, as you asked, and some more words.".into()),
        sid_testkit::model_server::Behaviour::Calls(vec![("note_food".into(), json!({"food": "pickles"}))]),
    ]);
    let verdicts = probe(&openai(&vllm), &overrides, Some(&HashEmbedder::new()), patience).await;
    let names: Vec<_> = verdicts.iter().map(|v| (v.capability, v.ok)).collect();
    let all = ["reachable", "auth", "model", "chat", "streaming", "usage", "tool_call", "json_schema", "context_window", "embeddings"];
    assert_eq!(names, all.map(|c| (c, true)), "{verdicts:#?}");

    let weak = server(ServerOptions { has_tools: false, ..ServerOptions::default() }).await;
    let verdicts = probe(&openai(&weak), &overrides, None, patience).await;
    let failed: Vec<_> = verdicts.iter().filter(|v| !v.ok).map(|v| v.capability).collect();
    assert_eq!(failed, ["streaming", "tool_call", "context_window"], "{verdicts:#?}");

    let locked = server(ServerOptions { api_key: Some("secret".into()), ..ServerOptions::default() }).await;
    let verdicts = probe(&openai(&locked), &overrides, None, patience).await;
    assert_eq!(verdicts.iter().map(|v| (v.capability, v.ok)).collect::<Vec<_>>(), [("reachable", true), ("auth", false)]);
    assert!(verdicts[1].detail.contains("api_key"));

    let wrong = ModelConfig::OpenAi(OpenAiConfig::new("http://127.0.0.1:1", "scripted"));
    let verdicts = probe(&wrong, &overrides, None, patience).await;
    assert!(verdicts.len() == 1 && !verdicts[0].ok && verdicts[0].detail.contains("127.0.0.1:1"), "{verdicts:#?}");
}

#[tokio::test]
async fn remote_vectors_come_in_order_and_in_unit_length() {
    let engine = server(ServerOptions::default()).await;
    let config =
        OpenAiEmbedderConfig { endpoint: OpenAiConfig::new(engine.base_url(), "hash"), batch: 2, ..OpenAiEmbedderConfig::default() };
    let embedder = OpenAiEmbedder::connect(config).await.expect("connects");
    assert_eq!(embedder.generation().id, "openai/hash/384/c1");
    let texts: Vec<String> = ["one pickle", "two gherkins", "", "four", "five"].map(str::to_owned).into();
    let vectors = embedder.embed(EmbedInput::Document, &texts).await.expect("vectors");
    let hash = HashEmbedder::new();
    for (vector, text) in vectors.iter().zip(&texts) {
        let near = vector.iter().zip(hash.vector(text)).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near, "{text}");
    }
    assert_eq!(engine.requests().len(), 4, "the probe and three batches");
}
