//! The loop with a scripted model over the in-process store: what a run does, and that nothing a model answers spoils the next one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sid_llm::{ChatMessage, LlmError};
use sid_store::{EventLog as _, StateStore as _};
use sid_types::{Body, EventBody, RunLimits, RunStatus, StopReason, Timestamp, Tokens};

use crate::support::{House, Say, Scripted, at, system_text};

#[tokio::test]
async fn a_plain_turn_is_answered_recorded_and_told() {
    let house = House::open(Scripted::new(4_000, vec![Say::Text("Hello Ann.")])).await;
    let run = house.say("Hi there").await;
    assert_eq!((run.status, run.stop_reason, run.steps), (RunStatus::Completed, Some(StopReason::EndTurn), 1));
    let texts: Vec<String> = house.messages().await.iter().map(|m| format!("{} {}", m.seq, m.body.text())).collect();
    assert_eq!(texts, ["1 Hi there", "2 Hello Ann."]);
    let events = house.store.events(&house.scope, run.id, 0, 100).await.expect("events");
    let names: Vec<&str> = events.iter().map(|e| e.body.name()).collect();
    assert_eq!(names, ["started", "recalled", "message", "step", "done"]);
    assert!(events.iter().enumerate().all(|(i, e)| e.seq == i as u64 + 1), "event numbers are dense");
    let request = house.model.last();
    assert!(system_text(&request).contains("talking with Ann"));
    assert!(
        matches!(request.messages.last(), Some(ChatMessage::User { text }) if text.ends_with("Hi there") && text.starts_with("<context>"))
    );
    assert_eq!(request.tools.len(), 6);
}

#[tokio::test]
async fn a_block_edit_is_in_the_next_prompt_and_has_a_source() {
    let script = vec![
        Say::Call("core_memory_append", json!({"label": "human", "content": "Loves pickles."})),
        Say::Text("Noted."),
        Say::Text("Extra pickles, right?"),
    ];
    let house = House::open(Scripted::new(4_000, script)).await;
    let run = house.say("I love pickles").await;
    assert_eq!((run.status, run.steps), (RunStatus::Completed, 2));
    house.say("Order me a sandwich").await;
    let request = house.model.last();
    let all: String = request.messages.iter().map(|m| format!("{m:?}\n")).collect();
    assert!(all.contains("Loves pickles."), "{all}");
    let roles: Vec<_> = house.messages().await.iter().map(|m| m.body.role()).collect();
    use sid_types::Role::{Assistant, Tool, User};
    assert_eq!(roles, [User, Assistant, Tool, Assistant, User, Assistant]);
}

/// A counter that is off by a quarter does not cost the answer its room where the engine can count.
#[tokio::test]
async fn nearly_full_prompts_are_counted_by_the_engine() {
    let house = House::open(Arc::new(Scripted { exact_percent: Some(125), ..Scripted::unshared(1_500, vec![]) })).await;
    for i in 0..40 {
        house.say(&format!("Message {i}, in which nothing of any use is said, as it goes with most messages of most days.")).await;
    }
    let requests = house.model.requests.lock();
    assert_eq!(requests.len(), 40);
    let sizes: Vec<u32> = requests.iter().map(|r| house.model.exact(r).expect("it counts").0 + r.max_tokens.0).collect();
    assert!(sizes.iter().all(|size| *size <= 1_500), "{sizes:?}");
    assert!(sizes.iter().any(|size| *size > 1_200), "the window is used: {sizes:?}");
}

/// Each fault of a model ends in its documented state, and the next message works.
#[tokio::test]
async fn nothing_a_model_does_poisons_the_conversation() {
    let endless = || Say::Call("conversation_search", json!({"query": "x"}));
    let cases: Vec<(&str, Vec<Say>, StopReason)> = vec![
        ("empty once", vec![Say::Empty], StopReason::EndTurn),
        ("empty for ever", vec![Say::Empty, Say::Empty, Say::Empty], StopReason::InvalidModelOutput),
        ("unknown tool", vec![Say::Call("launch_rockets", json!({}))], StopReason::EndTurn),
        ("bad arguments", vec![Say::BadCall("conversation_search", "{\"query\": \"half")], StopReason::EndTurn),
        ("missing arguments", vec![Say::Call("conversation_search", json!({}))], StopReason::EndTurn),
        ("two calls", vec![Say::Calls(vec![("conversation_search", json!({"query": "a"})), ("nope", json!({}))])], StopReason::EndTurn),
        ("repeated call", vec![endless(), endless(), endless(), endless()], StopReason::RepeatedCalls),
        ("rate limit", vec![Say::Fail(LlmError::RateLimited { retry_after: None })], StopReason::ModelUnavailable),
        ("bad key", vec![Say::Fail(LlmError::Unauthorized { status: 401 })], StopReason::ModelRefused),
        ("cut", vec![Say::Fail(LlmError::Interrupted { detail: "cut".into() })], StopReason::ModelUnavailable),
        ("too large", vec![Say::Fail(LlmError::OutputTooLarge { limit_bytes: 8 })], StopReason::InvalidModelOutput),
        (
            "overflow",
            vec![Say::Fail(LlmError::ContextOverflow { prompt: Some(Tokens(5_000)), window: Some(Tokens(3_000)) })],
            StopReason::EndTurn,
        ),
    ];
    for (name, script, reason) in cases {
        let house = House::open(Scripted::new(4_000, script)).await;
        let run = house.say("first").await;
        assert_eq!(run.stop_reason, Some(reason), "{name}: {:?}", run.error);
        assert_eq!(run.status, reason.status(), "{name}");
        assert_eq!(run.error.is_some(), reason.status() == RunStatus::Failed, "{name}: a failure has words");
        house.model.script.lock().clear();
        let run = house.say("second").await;
        assert_eq!(run.stop_reason, Some(StopReason::EndTurn), "{name}: the next message works");
        assert_eq!(house.answer().await, "ok", "{name}");
        check_request(&house, name);
    }
}

/// What a strict engine would refuse.
fn check_request(house: &House, name: &str) {
    for request in house.model.requests.lock().iter() {
        let mut open: Vec<String> = Vec::new();
        assert!(matches!(request.messages[0], ChatMessage::System { .. }), "{name}");
        for message in &request.messages[1..] {
            match message {
                ChatMessage::Tool { call_id, text, .. } => {
                    let i = open.iter().position(|id| id == call_id).unwrap_or_else(|| panic!("{name}: {call_id} is not open"));
                    open.remove(i);
                    assert!(!text.is_empty(), "{name}");
                }
                other => {
                    assert!(open.is_empty(), "{name}: {open:?} never answered");
                    if let ChatMessage::Assistant { text, tool_calls } = other {
                        assert!(!text.is_empty() || !tool_calls.is_empty(), "{name}: empty assistant");
                        open.extend(tool_calls.iter().map(|c| c.id.clone()));
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn limits_end_a_run_with_their_reason() {
    let call = |i: u32| Say::Call("conversation_search", json!({"query": format!("q{i}")}));
    let limits = RunLimits { max_steps: 3, ..RunLimits::default() };
    let house = House::open(Scripted::new(8_000, (0..10).map(call).collect())).await;
    let run = house.submit("loop", Timestamp::now(), Some(limits)).await;
    let run = house.engine.wait(&house.scope, run.id, Duration::from_secs(10)).await.expect("ends");
    assert_eq!((run.stop_reason, run.steps), (Some(StopReason::MaxSteps), 3));

    let limits = RunLimits { max_tokens: 100, ..RunLimits::default() };
    let house = House::open(Scripted::new(8_000, (0..10).map(call).collect())).await;
    let run = house.submit("loop", Timestamp::now(), Some(limits)).await;
    let run = house.engine.wait(&house.scope, run.id, Duration::from_secs(10)).await.expect("ends");
    assert_eq!((run.stop_reason, run.steps), (Some(StopReason::MaxTokens), 1));

    let limits = RunLimits { max_time_ms: 150, ..RunLimits::default() };
    let house = House::open(Scripted::new(8_000, vec![Say::Hang])).await;
    let run = house.submit("hang", Timestamp::now(), Some(limits)).await;
    let run = house.engine.wait(&house.scope, run.id, Duration::from_secs(10)).await.expect("ends");
    assert_eq!(run.stop_reason, Some(StopReason::MaxTime));
    assert_eq!(house.say("and now?").await.stop_reason, Some(StopReason::EndTurn));
}

#[tokio::test]
async fn a_cancel_ends_a_hanging_call_and_queued_messages_keep_their_order() {
    let house = House::open(Scripted::new(8_000, vec![Say::Hang])).await;
    let first = house.submit("one", Timestamp::now(), None).await;
    let second = house.submit("two", Timestamp::now(), None).await;
    let third = house.submit("three", Timestamp::now(), None).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    house.engine.cancel(&house.scope, second.id).await.expect("cancels what waits");
    house.engine.cancel(&house.scope, first.id).await.expect("cancels what runs");
    let end = |id| house.engine.wait(&house.scope, id, Duration::from_secs(10));
    assert_eq!(end(first.id).await.expect("ends").status, RunStatus::Cancelled);
    assert_eq!(end(second.id).await.expect("ends").status, RunStatus::Cancelled);
    assert_eq!(end(third.id).await.expect("ends").status, RunStatus::Completed);
    let texts: Vec<String> = house.messages().await.iter().map(|m| m.body.text().to_owned()).collect();
    assert_eq!(texts, ["one", "two", "three", "ok"], "what was said stays said, in order");
}

#[tokio::test]
async fn a_panic_in_a_run_is_taken_up_again() {
    let config = sid_core::EngineConfig {
        lease_ttl: Duration::from_millis(300),
        poll: Duration::from_millis(20),
        ..sid_core::EngineConfig::default()
    };
    let house = House::open_with(Scripted::new(8_000, vec![Say::Panic]), config).await;
    let run = house.say("hello").await;
    assert_eq!(run.status, RunStatus::Completed);
    assert_eq!(house.messages().await.len(), 2, "said once, answered once");
}

#[tokio::test]
async fn an_unknown_model_is_an_error_that_names_the_remedy() {
    let house = House::open(Scripted::new(8_000, vec![])).await;
    let mut spec = house.agent.spec.clone();
    spec.model = "gone".into();
    sid_store::Directory::update_agent(&*house.store, &house.tenant, house.agent.id, spec, vec![]).await.expect("updates");
    let run = house.say("hello").await;
    assert_eq!(run.status, RunStatus::Failed);
    assert!(run.error.as_deref().is_some_and(|e| e.contains("[models.gone]")), "{:?}", run.error);
}

#[tokio::test]
async fn between_page_outs_each_prompt_begins_with_the_one_before() {
    let house = House::open(Scripted::new(2_000, vec![])).await;
    let mut page_outs = 0;
    let mut reused = Vec::new();
    let mut before: Option<Vec<ChatMessage>> = None;
    for i in 0..60 {
        let run = house.say(&format!("Message number {i} about the garden, the weather and what the neighbours said on day {i}.")).await;
        let request = house.model.last();
        let total: Tokens =
            Tokens(request.messages.iter().map(|m| serde_json::to_string(m).map_or(0, |s| s.len() as u32)).sum::<u32>() / 4);
        assert!(total.0 < 2_000 + 400, "turn {i}: {total}");
        let events = house.store.events(&house.scope, run.id, 0, 100).await.expect("events");
        let paged = events.iter().any(|e| matches!(e.body, EventBody::PageOut { .. }));
        page_outs += usize::from(paged);
        if let (Some(before), false) = (&before, paged) {
            // All but the last message of the request before: that one carried the tail.
            let stable = &before[..before.len() - 1];
            assert_eq!(stable, &request.messages[..stable.len()], "turn {i}");
            reused.push(stable.len());
        }
        before = Some(request.messages.clone());
    }
    assert!(page_outs >= 2, "{page_outs} page-outs");
    assert!(reused.len() > 40);
}

#[tokio::test]
async fn what_left_the_queue_is_recalled_when_it_matters() {
    let house = House::open(Scripted::new(2_000, vec![])).await;
    house.say_at("My serial number is WX-5567-Q for the e-bike.", at("2025-03-03T09:00:00Z")).await;
    for i in 0..60 {
        house
            .say_at(&format!("Small talk {i} on soup, trains, curtains and other things of no weight at all."), at("2025-03-10T09:00:00Z"))
            .await;
    }
    house.say_at("The police want the serial number of my e-bike.", at("2025-05-20T09:00:00Z")).await;
    let request = house.model.last();
    let Some(ChatMessage::User { text }) = request.messages.last() else { panic!("ends with the user") };
    assert!(text.contains("[2025-03-03 Mon] user: My serial number is WX-5567-Q"), "{text}");
    assert!(
        text.contains("It is Tuesday, 2025-05-20 09:00 (UTC). The user last wrote 2 months ago.") || text.contains("71 days ago"),
        "{text}"
    );
    let run = house.store.runs(&house.scope, house.conversation.id, 1).await.expect("runs").remove(0);
    let step = house.store.steps(&house.scope, run.id).await.expect("steps").remove(0);
    assert!(!step.recalled.is_empty() && step.tail.is_some_and(|t| t.contains("WX-5567-Q")));
}

#[tokio::test]
async fn a_message_larger_than_the_window_is_kept_whole_and_shown_cut() {
    let house = House::open(Scripted::new(1_000, vec![])).await;
    let huge = "word ".repeat(20_000);
    assert_eq!(house.say(&huge).await.status, RunStatus::Completed);
    let Body::User { text } = &house.messages().await[0].body else { panic!("a user's") };
    assert_eq!(text.len(), huge.len());
    let shown: usize = house.model.last().messages.iter().map(|m| serde_json::to_string(m).map_or(0, |s| s.len())).sum();
    assert!(shown < 5_000, "{shown} bytes");
    assert_eq!(house.say("still there?").await.status, RunStatus::Completed);
}
