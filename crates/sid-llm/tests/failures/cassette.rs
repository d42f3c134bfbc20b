//! Cassettes and how they are played.

use std::sync::Arc;

use serde_json::{Value, json};
use sid_llm::{Assembler, AssemblerOptions, ChatEvent, ChatMessage, ChatReply, ChatRequest, Finish, Rung};
use sid_types::ToolSpec;

pub(crate) fn tools() -> Vec<Arc<ToolSpec>> {
    let tool = |name: &str, properties: Value| {
        let parameters = json!({"type": "object", "properties": properties});
        Arc::new(ToolSpec { name: name.into(), description: String::new(), parameters })
    };
    vec![
        tool("conversation_search", json!({"query": {"type": "string"}, "k": {"type": "integer"}, "exact": {"type": "boolean"}})),
        tool("core_memory_append", json!({"label": {"type": "string"}, "text": {"type": "string"}})),
        tool("diary_read", json!({"levels": {"type": "array", "items": {"type": "string"}}})),
    ]
}

pub(crate) fn request(prompt: &str) -> ChatRequest {
    ChatRequest { messages: vec![ChatMessage::User { text: prompt.into() }], tools: tools(), ..ChatRequest::default() }
}

/// The reply, and what a user was shown in the end.
pub(crate) fn play(request: &ChatRequest, chunks: &[Value]) -> (ChatReply, String) {
    let mut assembler = Assembler::new(request.clone().into(), AssemblerOptions { id_seed: 7, ..AssemblerOptions::default() });
    let mut events = Vec::new();
    for chunk in chunks {
        assembler.openai(chunk).expect("no cassette fails");
        events.extend(assembler.take_events());
    }
    events.extend(assembler.finish());
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
    (reply.expect("an answer at the end"), shown)
}

pub(crate) fn delta(delta: Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

pub(crate) fn end(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

/// The same chunks with every text in single characters.
pub(crate) fn cut(chunks: &[Value]) -> Vec<Value> {
    let mut out = Vec::new();
    for chunk in chunks {
        let texts = ["content", "reasoning", "reasoning_content", "thinking"];
        let found = texts.iter().find_map(|k| Some((*k, chunk.pointer("/choices/0/delta")?.get(*k)?.as_str()?)));
        match found {
            Some((key, text))
                if chunk.pointer("/choices/0/index") == Some(&json!(0))
                    && chunk.pointer("/choices/0/delta").and_then(Value::as_object).is_some_and(|d| d.len() == 1) =>
            {
                out.extend(text.chars().map(|c| delta(json!({key: c.to_string()}))));
            }
            _ => out.push(chunk.clone()),
        }
    }
    out
}

pub(crate) struct Case {
    name: &'static str,
    chunks: Vec<Value>,
    text: &'static str,
    reasoning: &'static str,
    /// Names and arguments; a string = malformed arguments that begin like this.
    calls: Vec<(&'static str, Value)>,
    rung: Rung,
    finish: Finish,
}

impl Case {
    pub(crate) fn of(name: &'static str, chunks: Vec<Value>) -> Self {
        Self { name, chunks, text: "", reasoning: "", calls: Vec::new(), rung: Rung::Native, finish: Finish::Stop }
    }

    /// A content, then the end.
    pub(crate) fn content(name: &'static str, content: &str) -> Self {
        Self::of(name, vec![delta(json!({"content": content})), end("stop")])
    }

    pub(crate) fn text(self, text: &'static str) -> Self {
        Self { text, ..self }
    }

    pub(crate) fn reasoning(self, reasoning: &'static str) -> Self {
        Self { reasoning, ..self }
    }

    pub(crate) fn call(mut self, name: &'static str, arguments: Value) -> Self {
        self.calls.push((name, arguments));
        self.finish = Finish::ToolCalls;
        self
    }

    pub(crate) fn salvaged(self) -> Self {
        Self { rung: Rung::Salvaged, ..self }
    }

    pub(crate) fn finish(self, finish: Finish) -> Self {
        Self { finish, ..self }
    }

    pub(crate) fn check(&self) {
        let name = self.name;
        let request = request("Where did I put the pickles?");
        for (way, chunks) in [("whole", self.chunks.clone()), ("cut", cut(&self.chunks))] {
            let (reply, shown) = play(&request, &chunks);
            assert_eq!(reply.text, self.text, "{name} ({way}): text");
            assert_eq!(shown.trim(), self.text.trim(), "{name} ({way}): shown");
            assert_eq!(reply.reasoning, self.reasoning, "{name} ({way}): reasoning");
            assert_eq!(reply.rung, self.rung, "{name} ({way}): rung");
            assert_eq!(reply.finish, self.finish, "{name} ({way}): finish");
            assert_eq!(reply.calls.len(), self.calls.len(), "{name} ({way}): {:?}", reply.calls);
            for (call, (tool, arguments)) in reply.calls.iter().zip(&self.calls) {
                assert_eq!(call.name, *tool, "{name} ({way})");
                match (&call.arguments, arguments) {
                    (Ok(map), meant) => assert_eq!(Value::Object(map.clone()), *meant, "{name} ({way})"),
                    (Err(bad), Value::String(start)) => assert!(bad.raw.starts_with(start.as_str()), "{name} ({way}): {bad:?}"),
                    (Err(bad), _) => panic!("{name} ({way}): {bad:?}"),
                }
            }
            let mut ids: Vec<_> = reply.calls.iter().map(|c| &c.id).collect();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), reply.calls.len(), "{name} ({way}): ids are unique");
            assert!(reply.calls.iter().all(|c| !c.id.is_empty()), "{name} ({way}): ids are there");
        }
    }
}

pub(crate) fn pickles() -> Value {
    json!({"query": "pickles"})
}
