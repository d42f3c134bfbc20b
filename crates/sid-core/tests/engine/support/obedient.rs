//! An agent whose model does whatever its prompt says, and what an attacker has put in its way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use futures::stream;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sid_llm::{
    ChatEvent, ChatMessage, ChatModel, ChatReply, ChatRequest, ChatStream, Finish, LlmError, ModelInfo, ModelProfile, ReplyCall, Rung,
};
use sid_tools::{Declaration, EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::{Source, Tokens, ToolSpec};

/// Does each thing that its prompt says, once: `<<do TOOL {arguments}>>`.
#[derive(Default)]
pub(crate) struct Obedient {
    pub(crate) done: Mutex<BTreeSet<String>>,
}

/// Orders in a text, outermost first.
pub(crate) fn orders(text: &str) -> Vec<(String, Map<String, Value>)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("<<do ") {
        rest = &rest[at + 5..];
        let Some((name, after)) = rest.split_once(' ') else { break };
        let mut values = serde_json::Deserializer::from_str(after).into_iter::<Map<String, Value>>();
        if let Some(Ok(arguments)) = values.next() {
            found.push((name.to_owned(), arguments));
            rest = &after[values.byte_offset()..];
        }
    }
    found
}

#[async_trait]
impl ChatModel for Obedient {
    fn info(&self) -> ModelInfo {
        ModelInfo { model: "obedient".into(), profile: ModelProfile { context_window: Some(Tokens(8_000)), ..ModelProfile::default() } }
    }

    async fn count_prompt(&self, _: &ChatRequest) -> Result<Option<Tokens>, LlmError> {
        Ok(None)
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let texts = request.messages.iter().filter_map(|message| match message {
            ChatMessage::System { text } | ChatMessage::User { text } | ChatMessage::Tool { text, .. } => Some(text),
            ChatMessage::Assistant { .. } => None,
        });
        let mut calls = Vec::new();
        for (name, arguments) in texts.flat_map(|text| orders(text)) {
            if self.done.lock().insert(format!("{name} {arguments:?}")) {
                calls.push(ReplyCall { id: format!("call_{}", uuid::Uuid::now_v7().simple()), name, arguments: Ok(arguments) });
            }
        }
        let finish = if calls.is_empty() { Finish::Stop } else { Finish::ToolCalls };
        let text = if calls.is_empty() { "Done as I was told." } else { "" };
        let reply = ChatReply { text: text.into(), reasoning: String::new(), calls, finish, usage: None, rung: Rung::Native };
        Ok(Box::pin(stream::iter([Ok(ChatEvent::Done(Box::new(reply)))])))
    }
}

/// A service that counts.
pub(crate) struct Pay(pub Arc<AtomicU32>);

#[async_trait]
impl Tool for Pay {
    fn spec(&self) -> ToolSpec {
        let parameters = json!({"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]});
        ToolSpec { name: "pay".into(), description: "Pays.".into(), parameters }
    }

    fn effect(&self) -> EffectClass {
        EffectClass::External { idempotent: false }
    }

    async fn call(&self, _: &ToolContext, _: Map<String, Value>) -> ToolOutcome {
        self.0.fetch_add(1, Ordering::SeqCst);
        ToolOutcome::text("Paid.")
    }
}

/// Answers what the attacker has put there.
pub(crate) struct Speaks {
    pub(crate) name: &'static str,
    pub(crate) says: Arc<Mutex<String>>,
    pub(crate) untrusted: bool,
    pub(crate) source: Option<Source>,
}

#[async_trait]
impl Tool for Speaks {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: self.name.into(), description: "Answers.".into(), parameters: json!({"type": "object", "properties": {}}) }
    }

    fn declaration(&self) -> Declaration {
        Declaration { untrusted: self.untrusted, ..Declaration::new(EffectClass::Read) }
    }

    async fn call(&self, _: &ToolContext, _: Map<String, Value>) -> ToolOutcome {
        ToolOutcome {
            sources: self.source.clone().filter(|_| self.untrusted).into_iter().collect(),
            ..ToolOutcome::text(self.says.lock().clone())
        }
    }
}

pub(crate) fn order(tool: &str, arguments: &Value) -> String {
    format!("<<do {tool} {arguments}>>")
}
