//! Every fault of a model engine, streamed or not, by each provider: each ends in its documented error or reply, in time,
//! and the next message works.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::json;
use sid_llm::{
    AnyModel, ChatEvent, ChatMessage, ChatModel, ChatReply, ChatRequest, EndpointGuard, Finish, LlmError, ModelConfig, ModelExt as _,
    ModelProfile, OllamaConfig, OpenAiConfig, RetryBudget, RetryPolicy, Rung, Timeouts,
};
use sid_testkit::model_server::{Behaviour, Fault, Flavour, ModelServer, ServerOptions};
use sid_types::{Tokens, ToolSpec};

const SILENCE: Duration = Duration::from_millis(250);
const TOTAL: Duration = Duration::from_secs(20);

fn tools() -> Vec<Arc<ToolSpec>> {
    ["conversation_search", "archival_memory_insert"]
        .map(|name| {
            let parameters = json!({"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]});
            Arc::new(ToolSpec { name: name.into(), description: "A tool.".into(), parameters })
        })
        .into()
}

fn request(words: &str) -> ChatRequest {
    ChatRequest {
        messages: vec![ChatMessage::System { text: "You remember.".into() }, ChatMessage::User { text: words.into() }],
        tools: tools(),
        max_tokens: Tokens(256),
        ..ChatRequest::default()
    }
}

fn connect(server: &ModelServer, is_ollama: bool, stream: bool, profile: ModelProfile) -> AnyModel {
    let config = if is_ollama {
        ModelConfig::Ollama(OllamaConfig { stream, max_output_bytes: 400_000, ..OllamaConfig::new(server.base_url(), "scripted") })
    } else {
        ModelConfig::OpenAi(OpenAiConfig { stream, max_output_bytes: 400_000, ..OpenAiConfig::new(server.base_url(), "scripted") })
    };
    config.connect(profile).expect("a good configuration")
}

struct Seen {
    outcome: Result<ChatReply, LlmError>,
    /// What a user was shown in the end.
    shown: String,
}

async fn run(model: &dyn ChatModel, request: ChatRequest) -> Seen {
    let mut shown = String::new();
    let mut stream = match model.chat(request).await {
        Ok(stream) => stream,
        Err(error) => return Seen { outcome: Err(error), shown },
    };
    let mut outcome = Err(LlmError::Interrupted { detail: "no answer".into() });
    while let Some(event) = stream.next().await {
        match event {
            Ok(ChatEvent::TextDelta(text)) => shown.push_str(&text),
            Ok(ChatEvent::ReasoningDelta(_)) => {}
            Ok(ChatEvent::Restart) => shown.clear(),
            Ok(ChatEvent::Done(reply)) => outcome = Ok(*reply),
            Err(error) => outcome = Err(error),
        }
    }
    Seen { outcome, shown }
}

/// What a fault must end in.
enum End {
    Error(&'static str),
    Text(&'static str),
    Empty,
    /// So many calls of offered tools; whether their arguments are an object; how they were got.
    Calls(usize, bool, Rung),
    Unknown(&'static str),
}

fn documented(fault: Fault, stream: bool) -> End {
    match fault {
        Fault::RateLimited | Fault::RateLimitedRetryAfter | Fault::RateLimitedLong => End::Error("SID-LLM-RATE-LIMITED"),
        Fault::OverflowVllm | Fault::OverflowLlamaCpp | Fault::OverflowSglang | Fault::OverflowLmStudio | Fault::OverflowInStream => {
            End::Error("SID-LLM-CONTEXT-OVERFLOW")
        }
        Fault::Unauthorized => End::Error("SID-LLM-UNAUTHORIZED"),
        Fault::NoSuchModel | Fault::ToolsUnsupported => End::Error("SID-LLM-REFUSED"),
        Fault::ServerError | Fault::Unavailable => End::Error("SID-LLM-SERVER-FAULT"),
        Fault::ErrorInStream if !stream => End::Error("SID-LLM-SERVER-FAULT"),
        Fault::HangBefore | Fault::HangMid => End::Error("SID-LLM-TIMEOUT"),
        Fault::ErrorInStream
        | Fault::Reset
        | Fault::ResetMid
        | Fault::CutStream
        | Fault::NoEnd
        | Fault::BadJson
        | Fault::Html
        | Fault::EmptyChoices => End::Error("SID-LLM-INTERRUPTED"),
        Fault::HugeOutput => End::Error("SID-LLM-OUTPUT-TOO-LARGE"),
        Fault::SplitUtf8 => End::Text("Grüße, 世界 🥒!"),
        Fault::LoneSurrogate => End::Text("broken \u{fffd} here"),
        Fault::EmptyAnswer | Fault::ThinkOnly | Fault::AnnouncedCalls => End::Empty,
        Fault::UnknownFinish => End::Text("All is well."),
        Fault::UsageEverywhere => End::Text("Counted."),
        Fault::NoUsage => End::Text("Not counted."),
        Fault::UnknownTool => End::Unknown("launch_rockets"),
        Fault::CutArguments | Fault::BadArguments | Fault::DeepArguments => End::Calls(1, false, Rung::Native),
        Fault::PollutedName | Fault::MissingArguments | Fault::NullArguments | Fault::DoubleEncoded | Fault::EndlessCalls => {
            End::Calls(1, true, Rung::Native)
        }
        Fault::CallInText | Fault::CallInReasoning => End::Calls(1, true, Rung::Salvaged),
        Fault::DuplicateIds | Fault::MissingIndex | Fault::MissingId | Fault::IndexZero | Fault::TwoCalls => {
            End::Calls(2, true, Rung::Native)
        }
    }
}

fn check(cell: &str, fault: Fault, stream: bool, seen: &Seen) {
    match (documented(fault, stream), &seen.outcome) {
        (End::Error(code), Err(error)) => assert_eq!(error.code(), code, "{cell}: {error}"),
        (End::Text(text), Ok(reply)) => {
            assert_eq!((reply.text.as_str(), seen.shown.as_str()), (text, text), "{cell}");
            assert!(reply.calls.is_empty(), "{cell}");
        }
        (End::Empty, Ok(reply)) => assert!(reply.is_empty() && seen.shown.is_empty(), "{cell}: {reply:?}"),
        (End::Unknown(name), Ok(reply)) => assert_eq!(reply.calls[0].name, name, "{cell}"),
        (End::Calls(n, is_object, rung), Ok(reply)) => {
            assert_eq!((reply.calls.len(), reply.rung), (n, rung), "{cell}: {reply:?}");
            for call in &reply.calls {
                assert!(tools().iter().any(|t| t.name == call.name), "{cell}: {}", call.name);
                assert_eq!(call.arguments.is_ok(), is_object, "{cell}: {call:?}");
                assert!(!call.id.is_empty(), "{cell}");
            }
            let mut ids: Vec<&str> = reply.calls.iter().map(|c| c.id.as_str()).collect();
            ids.dedup();
            assert_eq!(ids.len(), n, "{cell}: ids are unique");
            assert!(!seen.shown.contains("tool_call") && !seen.shown.contains('{'), "{cell}: raw call shown: {}", seen.shown);
        }
        (_, outcome) => panic!("{cell}: {outcome:?}"),
    }
    if let Ok(reply) = &seen.outcome {
        match fault {
            Fault::UnknownFinish => assert_eq!(reply.finish, Finish::Other, "{cell}"),
            Fault::CutArguments => assert_eq!(reply.finish, Finish::Length, "{cell}"),
            Fault::NoUsage => assert_eq!(reply.usage, None, "{cell}"),
            Fault::UsageEverywhere => assert!(reply.usage.is_some_and(|u| u.prompt_tokens > 0 && u.completion_tokens > 0), "{cell}"),
            Fault::ThinkOnly => assert!(!reply.reasoning.is_empty(), "{cell}"),
            _ => {}
        }
    }
    if let Err(LlmError::ContextOverflow { prompt, window }) = &seen.outcome
        && fault != Fault::OverflowInStream
    {
        assert_eq!((*prompt, *window), (Some(Tokens(5_000)), Some(Tokens(4_096))), "{cell}");
    }
}

async fn column(is_ollama: bool, stream: bool) {
    let flavour = if is_ollama { Flavour::Ollama } else { Flavour::Generic };
    let server = ModelServer::start_with(ServerOptions { flavour, ..ServerOptions::default() }).await.expect("a free port");
    let model = connect(&server, is_ollama, stream, ModelProfile::default())
        .timeouts(Timeouts { first_byte: SILENCE, idle: SILENCE, total: TOTAL })
        .concurrency_limit(4)
        .retry(RetryPolicy { tries: 2, base: Duration::from_millis(2), ..RetryPolicy::default() }, RetryBudget::default());
    for fault in Fault::ALL.iter().copied() {
        let cell = format!("{} ollama={is_ollama} stream={stream}", fault.name());
        let start = Instant::now();
        let seen = run(&model, request(&format!("#fault:{}", fault.name()))).await;
        assert!(start.elapsed() < TOTAL, "{cell} took {:?}", start.elapsed());
        if matches!(fault, Fault::HangBefore | Fault::HangMid) {
            assert!(start.elapsed() < SILENCE * 2 + Duration::from_secs(2), "{cell} took {:?}", start.elapsed());
        }
        check(&cell, fault, stream, &seen);
        let next = run(&model, request("hello")).await;
        assert_eq!(next.outcome.expect(&cell).text, "Understood.", "the message after {cell}");
    }
}

#[tokio::test]
async fn openai_streamed() {
    column(false, true).await;
}

#[tokio::test]
async fn openai_whole() {
    column(false, false).await;
}

#[tokio::test]
async fn ollama_streamed() {
    column(true, true).await;
}

#[tokio::test]
async fn ollama_whole() {
    column(true, false).await;
}

#[tokio::test]
async fn lower_rungs_end_every_fault_too() {
    let server = ModelServer::start().await.expect("a free port");
    for (rung, stream) in [(Rung::Structured, true), (Rung::Structured, false), (Rung::Text, true), (Rung::None, true)] {
        let profile = ModelProfile { tool_mode: rung, json_schema: true, ..ModelProfile::default() };
        let model = connect(&server, false, stream, profile).standard(
            4,
            Timeouts { first_byte: SILENCE, idle: SILENCE, total: TOTAL },
            RetryPolicy { tries: 1, ..RetryPolicy::default() },
            EndpointGuard::default(),
        );
        for fault in Fault::ALL.iter().copied() {
            let cell = format!("{} on {} stream={stream}", fault.name(), rung.name());
            let seen = run(&model, request(&format!("#fault:{}", fault.name()))).await;
            match (documented(fault, stream), &seen.outcome) {
                (End::Error(code), Err(error)) => assert_eq!(error.code(), code, "{cell}"),
                // Nothing was offered natively, so nothing is refused.
                (End::Error(_), Ok(_)) => assert_eq!(fault, Fault::ToolsUnsupported, "{cell}"),
                (_, Ok(reply)) => {
                    assert!(matches!(reply.rung, Rung::Structured | Rung::Text | Rung::None), "{cell}: {:?}", reply.rung);
                    assert!(rung == Rung::None || !seen.shown.contains("arguments"), "{cell}: raw call shown: {}", seen.shown);
                    if let End::Calls(_, is_object, Rung::Native) = documented(fault, stream)
                        && rung == Rung::Structured
                        && !matches!(fault, Fault::NullArguments | Fault::MissingArguments)
                    {
                        assert!(reply.calls.first().is_some_and(|c| c.arguments.is_ok() == is_object), "{cell}: {reply:?}");
                    }
                }
                (_, Err(error)) => panic!("{cell}: {error}"),
            }
            let next = run(&model, request("hello")).await;
            assert_eq!(next.outcome.expect(&cell).text, "Understood.", "the message after {cell}");
            assert_eq!(next.shown, "Understood.", "the message after {cell}");
        }
    }
}

#[tokio::test]
async fn passing_faults_are_retried_and_what_was_shown_is_taken_back() {
    let server = ModelServer::start().await.expect("a free port");
    let model = connect(&server, false, true, ModelProfile::default())
        .timeouts(Timeouts { first_byte: SILENCE, idle: SILENCE, total: TOTAL })
        .retry(RetryPolicy { base: Duration::from_millis(2), ..RetryPolicy::default() }, RetryBudget::default());
    for fault in [
        Fault::ServerError,
        Fault::RateLimitedRetryAfter,
        Fault::HangBefore,
        Fault::HangMid,
        Fault::CutStream,
        Fault::ResetMid,
        Fault::BadJson,
    ] {
        let seen = run(&model, request(&format!("#fault-once:{}", fault.name()))).await;
        let reply = seen.outcome.unwrap_or_else(|error| panic!("{}: {error}", fault.name()));
        assert_eq!((reply.text.as_str(), seen.shown.as_str()), ("Understood.", "Understood."), "{}", fault.name());
    }
    // The same under a schema: half an envelope was shown and is taken back.
    let profile = ModelProfile { tool_mode: Rung::Structured, json_schema: true, ..ModelProfile::default() };
    let timeouts = Timeouts { first_byte: SILENCE, idle: SILENCE, total: TOTAL };
    let policy = RetryPolicy { base: Duration::from_millis(2), ..RetryPolicy::default() };
    let structured = connect(&server, false, true, profile).standard(4, timeouts, policy, EndpointGuard::default());
    for fault in [Fault::CutStream, Fault::ResetMid, Fault::HangMid] {
        let seen = run(&structured, request(&format!("#fault-once:{} again", fault.name()))).await;
        let reply = seen.outcome.unwrap_or_else(|error| panic!("{}: {error}", fault.name()));
        assert_eq!((reply.text.as_str(), seen.shown.as_str()), ("Understood.", "Understood."), "{}", fault.name());
    }
    // A server that wants two minutes is not waited for.
    let start = Instant::now();
    assert!(run(&model, request("#fault-once:rate-limited-long")).await.outcome.is_err());
    assert!(start.elapsed() < TOTAL);
}

#[tokio::test]
async fn the_ladder_goes_down_when_refused_and_when_calls_are_malformed() {
    let server = ModelServer::start_with(ServerOptions { has_tools: false, ..ServerOptions::default() }).await.expect("a free port");
    for (json_schema, expected) in [(true, Rung::Structured), (false, Rung::Text)] {
        let model =
            connect(&server, false, true, ModelProfile { json_schema, ..ModelProfile::default() }).ladder(sid_llm::LadderPolicy::default());
        let reply =
            run(&model, request("#tool:conversation_search {\"query\": \"pickles\"}")).await.outcome.expect("repeated on a lower rung");
        assert_eq!((reply.rung, reply.calls.len()), (expected, 1));
        assert_eq!(reply.calls[0].arguments.as_ref().ok().and_then(|a| a.get("query")), Some(&json!("pickles")));
        assert_eq!(model.info().profile.tool_mode, expected);
    }

    let server = ModelServer::start().await.expect("a free port");
    let model = connect(&server, false, true, ModelProfile { json_schema: true, ..ModelProfile::default() })
        .ladder(sid_llm::LadderPolicy { forget_after: Duration::from_millis(200), ..sid_llm::LadderPolicy::default() });
    for _ in 0..2 {
        let reply = run(&model, request("#fault:bad-arguments")).await.outcome.expect("a reply");
        assert_eq!(reply.rung, Rung::Native);
    }
    let reply = run(&model, request("#tool:conversation_search {\"query\": \"x\"}")).await.outcome.expect("a reply");
    assert_eq!(reply.rung, Rung::Structured);
    tokio::time::sleep(Duration::from_millis(250)).await;
    let reply = run(&model, request("#tool:conversation_search {\"query\": \"x\"}")).await.outcome.expect("a reply");
    assert_eq!(reply.rung, Rung::Native, "after a while the better rung is tried again");
}

#[tokio::test]
async fn structured_words_stream_and_calls_do_not_show() {
    let server = ModelServer::start_with(ServerOptions { chunk_delay: Duration::from_millis(5), ..ServerOptions::default() })
        .await
        .expect("a free port");
    let profile = ModelProfile { tool_mode: Rung::Structured, json_schema: true, ..ModelProfile::default() };
    let model = connect(&server, false, true, profile).ladder(sid_llm::LadderPolicy::default());
    server.script([Behaviour::Text("A \"quoted\" answer that is long enough to come in several pieces, 世界.".into())]);
    let mut stream = model.chat(request("hi")).await.expect("a stream");
    let mut deltas = 0;
    let mut shown = String::new();
    while let Some(event) = stream.next().await {
        match event.expect("no fault") {
            ChatEvent::TextDelta(text) => {
                deltas += 1;
                shown.push_str(&text);
            }
            ChatEvent::Done(reply) => assert_eq!(reply.text, shown),
            _ => {}
        }
    }
    assert!(deltas > 2 && shown.starts_with("A \"quoted\" answer"), "{deltas}: {shown}");

    // The history of a tool turn goes back as plain turns.
    let mut tool_turn = request("find it");
    tool_turn.messages.push(ChatMessage::Assistant {
        text: String::new(),
        tool_calls: vec![sid_types::ToolCall {
            id: "1".into(),
            name: "conversation_search".into(),
            arguments: serde_json::Map::new(),
            for_client: false,
        }],
    });
    tool_turn.messages.push(ChatMessage::Tool { call_id: "1".into(), name: "conversation_search".into(), text: "found".into() });
    run(&model, tool_turn).await.outcome.expect("a reply");
    let sent = server.chats().pop().expect("recorded");
    let roles: Vec<&str> = sent["messages"].as_array().expect("a list").iter().filter_map(|m| m["role"].as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);
    assert!(sent.get("tools").is_none() && sent["response_format"]["json_schema"]["schema"]["anyOf"].is_array());
}

#[tokio::test]
async fn requests_of_one_conversation_share_their_first_bytes() {
    for is_ollama in [false, true] {
        let flavour = if is_ollama { Flavour::Ollama } else { Flavour::Generic };
        let server = ModelServer::start_with(ServerOptions { flavour, ..ServerOptions::default() }).await.expect("a free port");
        let model = connect(&server, is_ollama, true, ModelProfile::default());
        let mut conversation = request("first");
        run(&model, conversation.clone()).await.outcome.expect("a reply");
        conversation.messages.push(ChatMessage::Assistant { text: "Understood.".into(), tool_calls: Vec::new() });
        conversation.messages.push(ChatMessage::System { text: "recalled: pickles".into() });
        conversation.messages.push(ChatMessage::User { text: "second".into() });
        run(&model, conversation).await.outcome.expect("a reply");
        let raw: Vec<Vec<u8>> = server.requests().into_iter().map(|r| r.raw).collect();
        let shared = raw[0].iter().zip(&raw[1]).take_while(|(a, b)| a == b).count();
        let first = String::from_utf8_lossy(&raw[0][..shared]).into_owned();
        assert!(first.ends_with(r#"{"role":"user","content":"first"}"#), "{first}");
    }
}

#[tokio::test]
async fn a_long_call_that_shows_nothing_is_not_idle() {
    let server = ModelServer::start_with(ServerOptions { chunk_delay: Duration::from_millis(20), ..ServerOptions::default() })
        .await
        .expect("a free port");
    let model =
        connect(&server, false, true, ModelProfile::default()).timeouts(Timeouts { first_byte: SILENCE, idle: SILENCE, total: TOTAL });
    server.script([Behaviour::Calls(vec![("conversation_search".into(), json!({"query": "pickles ".repeat(100)}))])]);
    let start = Instant::now();
    let mut stream = model.chat(request("hi")).await.expect("a stream");
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(event.expect("bytes keep coming"));
    }
    assert!(start.elapsed() > SILENCE * 2, "{:?}", start.elapsed());
    assert_eq!(events.len(), 1, "heartbeats stay inside: {events:?}");
}

#[tokio::test]
async fn no_more_calls_at_once_than_allowed() {
    let server =
        ModelServer::start_with(ServerOptions { delay: Duration::from_millis(20), ..ServerOptions::default() }).await.expect("a free port");
    let model = connect(&server, false, true, ModelProfile::default()).concurrency_limit(3);
    let calls = (0..12).map(|_| run(&model, request("hi")));
    let seen = futures::future::join_all(calls).await;
    assert!(seen.iter().all(|s| s.outcome.is_ok()));
    assert_eq!(server.most_in_flight(), 3);
}

#[tokio::test]
async fn fifty_megabytes_are_cut_off_early() {
    let server = ModelServer::start().await.expect("a free port");
    let config = ModelConfig::OpenAi(OpenAiConfig { stream: false, ..OpenAiConfig::new(server.base_url(), "scripted") });
    let model = config.connect(ModelProfile::default()).expect("a good configuration");
    let start = Instant::now();
    let seen = run(&model, request("#fault:huge-output")).await;
    assert!(matches!(seen.outcome, Err(LlmError::OutputTooLarge { limit_bytes: 8_000_000 })), "{:?}", seen.outcome);
    assert!(start.elapsed() < Duration::from_secs(20));
}
