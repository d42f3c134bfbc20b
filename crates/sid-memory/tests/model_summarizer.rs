//! The summariser that asks a model: its window holds, faults end in an error that the caller's floor answers.
#![cfg(feature = "tools")]

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use sid_llm::{
    ByteCounter, ChatEvent, ChatModel, ChatReply, ChatRequest, ChatStream, Finish, LlmError, ModelInfo, ModelProfile, Rung,
    TokenCounter as _,
};
use sid_memory::{Item, ModelSummarizer, SummarizeError, Summarizer, SummaryTask};
use sid_types::Tokens;

/// Answers by a script and remembers what it was asked.
struct Model {
    seen: Mutex<Vec<ChatRequest>>,
    answer: fn(&ChatRequest) -> Result<String, LlmError>,
}

#[async_trait]
impl ChatModel for Model {
    fn info(&self) -> ModelInfo {
        ModelInfo { model: "scripted".into(), profile: ModelProfile::default() }
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let answer = (self.answer)(&request);
        self.seen.lock().push(request);
        let text = answer?;
        let reply = ChatReply { text, reasoning: String::new(), calls: Vec::new(), finish: Finish::Stop, usage: None, rung: Rung::None };
        Ok(Box::pin(stream::iter([Ok(ChatEvent::Done(Box::new(reply)))])))
    }
}

fn words_of(request: &ChatRequest) -> String {
    request
        .messages
        .iter()
        .map(|m| match m {
            sid_llm::ChatMessage::System { text } | sid_llm::ChatMessage::User { text } => text.as_str(),
            _ => "",
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn task(lines: u64, limit: u32) -> SummaryTask {
    let at = "2025-03-10T09:00:00Z".parse().expect("a time");
    let items: Vec<Item> = (1..=lines).map(|n| Item::user(n, at, format!("fact-{n} {}", "and so on ".repeat(20)))).collect();
    SummaryTask::queue("Old facts.", &items, Tokens(limit), &TimeZone::UTC)
}

async fn run(
    window: u32,
    task: &SummaryTask,
    answer: fn(&ChatRequest) -> Result<String, LlmError>,
) -> (Vec<ChatRequest>, Result<String, SummarizeError>) {
    let model = Arc::new(Model { seen: Mutex::default(), answer });
    let summarizer = ModelSummarizer::new(model.clone(), Tokens(window), Arc::new(ByteCounter));
    let result = summarizer.summarize(task).await;
    let seen = model.seen.lock().clone();
    (seen, result)
}

#[tokio::test]
async fn long_histories_are_folded_chunk_by_chunk_within_the_window() {
    for window in [512, 800, 2_048, 8_192] {
        let task = task(120, 60);
        let (seen, result) = run(window, &task, |request| {
            // Carries forward what it was given, as a summariser should: the last fact number it sees.
            let words = words_of(request);
            let fact = words.rsplit("fact-").next().and_then(|t| t.split_whitespace().next()).unwrap_or("?").to_owned();
            Ok(format!("Up to fact-{fact}. {}", "Very long winded. ".repeat(40)))
        })
        .await;
        let text = result.expect("the model answers");
        assert!(text.starts_with("Up to fact-120."), "{window}: {text}");
        assert!(ByteCounter.count(&text) <= Tokens(60));
        for request in &seen {
            let prompt = ByteCounter.count(&words_of(request));
            assert!(prompt + request.max_tokens <= Tokens(window), "{prompt} + {} in {window}", request.max_tokens);
            assert!(request.tools.is_empty() && words_of(request).contains("Summarize"));
        }
        let all = seen.iter().map(words_of).collect::<String>();
        assert!((1..=120).all(|n| all.contains(&format!("fact-{n} "))), "every fact was shown");
        assert!(all.contains("Old facts."));
    }
}

#[tokio::test]
async fn a_chunk_that_is_too_large_for_the_engine_is_halved() {
    let task = task(10, 60);
    let (seen, result) = run(8_192, &task, |request| {
        if ByteCounter.count(&words_of(request)) > Tokens(400) {
            return Err(LlmError::ContextOverflow { prompt: None, window: None });
        }
        Ok("Fine.".into())
    })
    .await;
    assert_eq!(result.expect("it fits in the end"), "Fine.");
    assert!(seen.len() > 4);
    let (_, never) = run(8_192, &task, |_| Err(LlmError::ContextOverflow { prompt: None, window: None })).await;
    assert!(matches!(never, Err(SummarizeError::Failed { .. })));
}

#[tokio::test]
async fn faults_and_empty_answers_are_errors() {
    let (seen, down) = run(2_048, &task(3, 60), |_| Err(LlmError::ServerFault { status: 500, detail: "down".into() })).await;
    assert!(matches!(down, Err(SummarizeError::Failed { .. })));
    assert_eq!(seen.len(), 1, "retrying is a layer's business");
    let (_, empty) = run(2_048, &task(3, 60), |_| Ok("  \n".into())).await;
    assert!(matches!(empty, Err(SummarizeError::Empty)));
}
