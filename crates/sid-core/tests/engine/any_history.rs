//! Properties of whole conversations: whatever is said and answered, every request is valid and within its window, what left the
//! queue is in recall memory, and sequences are dense. Each checker is shown to fail on a planted bug.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::json;
use sid_llm::{ByteCounter, ChatMessage, ChatRequest, TokenCounter as _};
use sid_store::{MemorySearch as _, SearchQuery};
use sid_types::{Message, Seq, Tokens};

use crate::support::{House, Say, Scripted};

/// Everything that a strict engine would refuse in a request, or that does not fit its window.
fn problems(request: &ChatRequest, window: Tokens) -> Vec<String> {
    let mut out = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    let mut seen = HashSet::new();
    let mut size = 0;
    for (i, message) in request.messages.iter().enumerate() {
        size += 4;
        match message {
            ChatMessage::System { text } => {
                size += ByteCounter.count(text).0;
                if i > 0 {
                    out.push(format!("system message at {i}"));
                }
            }
            ChatMessage::Tool { call_id, text, .. } => {
                size += ByteCounter.count(text).0;
                match open.iter().position(|id| id == call_id) {
                    Some(at) => drop(open.remove(at)),
                    None => out.push(format!("orphan result {call_id}")),
                }
                continue;
            }
            ChatMessage::User { text } => {
                size += ByteCounter.count(text).0;
                if text.trim().is_empty() {
                    out.push("empty user message".into());
                }
            }
            ChatMessage::Assistant { text, tool_calls } => {
                size += ByteCounter.count(text).0;
                if text.trim().is_empty() && tool_calls.is_empty() {
                    out.push("empty assistant message".into());
                }
            }
        }
        if !open.is_empty() {
            out.push(format!("call {} has no result", open[0]));
            open.clear();
        }
        if let ChatMessage::Assistant { tool_calls, .. } = message {
            for call in tool_calls {
                size += ByteCounter.count(&serde_json::to_string(call).unwrap_or_default()).0;
                if !seen.insert(call.id.as_str()) {
                    out.push(format!("call id {} twice", call.id));
                }
                open.push(&call.id);
            }
        }
    }
    if !open.is_empty() {
        out.push("the last call has no result".into());
    }
    size += request.tools.iter().map(|t| ByteCounter.count(&serde_json::to_string(t).unwrap_or_default()).0).sum::<u32>();
    if Tokens(size) + request.max_tokens > window {
        out.push(format!("{size} tokens and {} reserved in a window of {window}", request.max_tokens));
    }
    out
}

fn gaps(messages: &[Message]) -> Option<Seq> {
    messages.iter().enumerate().find(|(i, m)| m.seq.0 != *i as u64 + 1).map(|(_, m)| m.seq)
}

#[derive(Debug, Clone)]
enum Turn {
    User(String),
    Model(u8),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let text = prop_oneof![
        4 => "[a-z ]{1,120}",
        1 => Just("   ".to_owned()),
        1 => Just("日本語の長い文章です。".repeat(60)),
        1 => (1_usize..8_000).prop_map(|n| "long ".repeat(n)),
        1 => Just("</context><core_memory>\u{0}\"}]".to_owned()),
    ];
    prop::collection::vec(prop_oneof![text.prop_map(Turn::User), (0_u8..9).prop_map(Turn::Model)], 1..40)
}

fn say(kind: u8, i: usize) -> Say {
    match kind {
        0 => Say::Call("conversation_search", json!({"query": format!("long word {i}")})),
        1 => Say::Call("core_memory_append", json!({"label": "human", "content": "fact ".repeat(60 + i)})),
        2 => Say::Calls(vec![("archival_memory_insert", json!({"content": "note"})), ("nope", json!({})), ("diary_read", json!({}))]),
        3 => Say::BadCall("conversation_search", "{{{"),
        4 => Say::Empty,
        5 => Say::Fail(sid_llm::LlmError::Interrupted { detail: "cut".into() }),
        6 => Say::Call("core_memory_replace", json!({"label": "human", "old_content": "fact", "new_content": ""})),
        7 => Say::Calls(vec![("conversation_search", json!({"query": "a"})), ("conversation_search", json!({"query": "a"}))]),
        _ => Say::Text("A plain answer of some length, as models like to give them."),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_history_in_any_window_gives_valid_prompts(turns in turns(), window in 512_u32..6_000) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let house = House::open(Scripted::new(window, vec![])).await;
            for (i, turn) in turns.iter().enumerate() {
                match turn {
                    Turn::Model(kind) => house.model.script.lock().push_back(say(*kind, i)),
                    Turn::User(text) => {
                        let run = house.say(text).await;
                        assert!(run.status.is_terminal());
                    }
                }
            }
            house.model.script.lock().clear();
            let run = house.say("And now?").await;
            assert_eq!(house.answer().await, "ok", "the last message works: {run:?}");
            for request in house.model.requests.lock().iter() {
                let found = problems(request, Tokens(window));
                assert!(found.is_empty(), "{found:?}\n{:#?}", request.messages);
            }
            let messages = house.messages().await;
            assert_eq!(gaps(&messages), None);
            // What has left the queue is found: each searchable message by its own words.
            let conversation = sid_store::Directory::conversation(&*house.store, &house.scope, house.conversation.id).await.expect("there");
            let left = messages.iter().filter(|m| m.seq < conversation.queue_start && m.body.is_searchable());
            for message in left.filter(|m| m.body.text().len() > 20).take(5) {
                let mut query = SearchQuery::new(message.body.text());
                query.per_channel = 1_000;
                let found = house.store.search(&house.scope, &query).await.expect("searches");
                assert!(found.items.iter().any(|c| c.record.id() == sid_store::RecordId::Message(message.id)), "{}", message.body.text());
            }
        });
    }
}

#[test]
fn the_checkers_fail_on_planted_bugs() {
    let user = |text: &str| ChatMessage::User { text: text.into() };
    let system = ChatMessage::System { text: "s".into() };
    let call = sid_types::ToolCall { id: "c1".into(), name: "x".into(), arguments: serde_json::Map::new(), for_client: false };
    let assistant = ChatMessage::Assistant { text: String::new(), tool_calls: vec![call.clone()] };
    let result = ChatMessage::Tool { call_id: "c1".into(), name: "x".into(), text: "r".into() };
    let request = |messages: Vec<ChatMessage>| ChatRequest { messages, max_tokens: Tokens(10), ..ChatRequest::default() };
    let fine = request(vec![system.clone(), user("a"), assistant.clone(), result.clone(), user("b")]);
    assert!(problems(&fine, Tokens(100)).is_empty());
    assert!(!problems(&fine, Tokens(20)).is_empty(), "too small a window");
    for bad in [
        vec![system.clone(), result.clone()],
        vec![system.clone(), assistant.clone(), user("b")],
        vec![system.clone(), assistant.clone()],
        vec![system.clone(), user("a"), system.clone()],
        vec![system.clone(), ChatMessage::Assistant { text: " ".into(), tool_calls: vec![] }],
        vec![system.clone(), assistant.clone(), result.clone(), assistant, result],
    ] {
        assert!(!problems(&request(bad.clone()), Tokens(1_000)).is_empty(), "{bad:?}");
    }
    let message =
        |seq| sid_types::NewMessage::user("x", sid_types::Timestamp::UNIX_EPOCH).placed(sid_types::ConversationId::new(), Seq(seq), None);
    assert_eq!(gaps(&[message(1), message(2)]), None);
    assert_eq!(gaps(&[message(1), message(3)]), Some(Seq(3)));
}
