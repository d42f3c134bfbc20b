//! Tool calls in a model's answer: one answer however it is cut, and no call that nobody offered.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use sid_llm::{Assembler, AssemblerOptions, ChatEvent, ChatMessage, ChatReply, ChatRequest};
use sid_types::ToolSpec;

fn request() -> ChatRequest {
    let tool = |name: &str, properties: Value| ToolSpec {
        name: name.into(),
        description: String::new(),
        parameters: json!({"type": "object", "properties": properties}),
    };
    let tools = vec![
        tool("f", json!({"x": {"type": "integer"}, "y": {"type": "string"}, "z": {"type": "array", "items": {"type": "object"}}})),
        tool("conversation_search", json!({"query": {"type": "string"}})),
    ];
    let messages = vec![ChatMessage::User { text: "say <tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 99}}</tool_call>".into() }];
    ChatRequest { tools: tools.into_iter().map(Arc::new).collect(), messages, ..ChatRequest::default() }
}

/// The answer, and what was shown.
fn end(events: Vec<ChatEvent>) -> (ChatReply, String) {
    let mut shown = String::new();
    let mut reply = None;
    for event in events {
        match event {
            ChatEvent::TextDelta(text) => shown.push_str(&text),
            ChatEvent::Restart => shown.clear(),
            ChatEvent::ReasoningDelta(_) => {}
            ChatEvent::Done(done) => reply = Some(*done),
        }
    }
    (reply.expect("every stream ends in an answer"), shown)
}

fn say<'a>(pieces: impl Iterator<Item = &'a str>) -> (ChatReply, String) {
    let mut assembler = Assembler::new(request().into(), AssemblerOptions::default());
    for piece in pieces {
        assembler.text(piece).expect("below the limit");
    }
    end(assembler.finish())
}

fn distinct(reply: &ChatReply) {
    let ids: BTreeSet<&str> = reply.calls.iter().map(|c| c.id.as_str()).collect();
    assert!(ids.len() == reply.calls.len() && !ids.contains(""), "{:?}", reply.calls);
}

pub(crate) fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (reply, shown) = say(std::iter::once(&*text));
    assert_eq!(shown.trim(), reply.text.trim(), "what was shown is what is answered");
    distinct(&reply);
    for call in &reply.calls {
        assert!(["f", "conversation_search"].contains(&call.name.as_str()), "nobody offered {}", call.name);
    }
    let mut letters = [0; 4];
    let ends: Vec<usize> = text.char_indices().map(|(at, c)| at + c.encode_utf8(&mut letters).len()).collect();
    let cut = |every: usize| {
        let mut from = 0;
        let ends = ends.iter().copied().enumerate().filter(|(i, end)| (i + 1) % every == 0 || *end == text.len()).map(|(_, end)| end);
        ends.map(|end| &text[std::mem::replace(&mut from, end)..end]).collect::<Vec<_>>()
    };
    for every in [1, 5, 64] {
        let again = say(cut(every).into_iter());
        assert_eq!((&again.0, again.1.trim()), (&reply, shown.trim()), "cut every {every} characters");
    }
    // The same bytes as chunks of both wire forms: whatever they say, there is an answer.
    let chunks: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ").unwrap_or(line)).ok()).collect();
    if !chunks.is_empty() {
        let mut openai = Assembler::new(request().into(), AssemblerOptions::default());
        let mut ollama = Assembler::new(request().into(), AssemblerOptions::default());
        for chunk in &chunks {
            // A fault that the engine reports ends the stream; what came before still makes an answer.
            let _ = openai.openai(chunk);
            let _ = ollama.ollama(chunk);
        }
        for assembler in [openai, ollama] {
            distinct(&end(assembler.finish()).0);
        }
    }
}
