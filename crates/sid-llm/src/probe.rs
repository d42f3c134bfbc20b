//! Tries what an endpoint can, for people: `sid doctor`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde::Serialize;
use serde_json::{Value, json};
use sid_types::{Tokens, ToolSpec};

use crate::{
    ChatEvent, ChatMessage, ChatModel, ChatReply, ChatRequest, EmbedInput, Embedder, LlmError, ModelConfig, ModelExt as _, ModelProfile,
    ProfileOverrides, Rung, Timeouts, discover,
};

/// What a trial of one capability showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What was tried: `reachable`, `auth`, `model`, `chat`, `streaming`, `usage`, `tool_call`, `json_schema`, `context_window`,
    /// `embeddings`.
    pub capability: &'static str,
    /// Whether it works. Sid can do without `tool_call`, `json_schema`, `streaming`, `usage` and `embeddings`.
    pub ok: bool,
    /// What was seen, or what to do about it.
    pub detail: String,
    /// How long it took.
    pub ms: u64,
}

fn verdict(capability: &'static str, ok: bool, detail: impl Into<String>, start: Instant) -> Verdict {
    Verdict { capability, ok, detail: detail.into(), ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX) }
}

/// Tries a model, at most `patience` per question, and its embeddings when an embedder is given.
///
/// Costs a few short requests. After an endpoint that cannot be reached nothing else is tried.
pub async fn probe(
    config: &ModelConfig,
    overrides: &ProfileOverrides,
    embedder: Option<&dyn Embedder>,
    patience: Duration,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let start = Instant::now();
    let discovered = discover(config).await;
    let is_reached = !matches!(discovered, Err(LlmError::Unreachable { .. } | LlmError::Timeout { .. } | LlmError::Config(_)));
    let reached = discovered.as_ref().err().filter(|_| !is_reached).map_or_else(|| "the endpoint answers".to_owned(), ToString::to_string);
    verdicts.push(verdict("reachable", is_reached, reached, start));
    if is_reached {
        let is_refused = matches!(discovered, Err(LlmError::Unauthorized { .. }));
        let detail = if is_refused {
            "the endpoint refuses the credentials: set the model's api_key"
        } else {
            "the credentials are accepted, or none are needed"
        };
        verdicts.push(verdict("auth", !is_refused, detail, start));
        if !is_refused {
            chat_verdicts(config, overrides, discovered, patience, &mut verdicts).await;
        }
    }
    if let Some(embedder) = embedder {
        let start = Instant::now();
        let outcome = tokio::time::timeout(patience, embedder.embed(EmbedInput::Query, &["pickles".to_owned()])).await;
        let generation = embedder.generation();
        verdicts.push(match outcome {
            Ok(Ok(vectors)) if vectors.first().is_some_and(|v| v.len() == generation.dimensions) => {
                let kind = if generation.is_semantic { "by meaning" } else { "lexical only: it finds shared words, not meaning" };
                verdict("embeddings", true, format!("{} ({kind})", generation.id), start)
            }
            Ok(Ok(_)) => verdict("embeddings", false, "the vectors have another length than announced", start),
            Ok(Err(error)) => verdict("embeddings", false, error.to_string(), start),
            Err(_) => verdict("embeddings", false, format!("no answer within {patience:?}"), start),
        });
    }
    verdicts
}

async fn chat_verdicts(
    config: &ModelConfig,
    overrides: &ProfileOverrides,
    discovered: Result<ModelProfile, LlmError>,
    patience: Duration,
    verdicts: &mut Vec<Verdict>,
) {
    let start = Instant::now();
    if let Err(error @ LlmError::Refused { .. }) = &discovered {
        verdicts.push(verdict("model", false, error.to_string(), start));
        return;
    }
    let profile = overrides.apply(discovered.unwrap_or_default());
    let model = match config.connect(profile.clone()) {
        Ok(model) => model.timeouts(Timeouts { first_byte: patience, idle: patience, total: patience }),
        Err(error) => {
            verdicts.push(verdict("model", false, error.to_string(), start));
            return;
        }
    };
    let plain = run(&model, request("Say the word pickle.")).await;
    match &plain {
        Ok(seen) => {
            verdicts.push(verdict("model", true, format!("`{}` on {:?}", config.model(), profile.engine), start));
            let detail = if seen.reply.is_empty() {
                "the answer is empty".to_owned()
            } else {
                format!("answered {} characters", seen.reply.text.chars().count())
            };
            verdicts.push(verdict("chat", !seen.reply.is_empty(), detail, start));
            let streams = seen.deltas > 1;
            let detail = if streams {
                format!("{} deltas, the first after {} ms", seen.deltas, seen.first_ms)
            } else {
                "the answer came in one piece".to_owned()
            };
            verdicts.push(verdict("streaming", streams, detail, start));
            let detail = match seen.reply.usage {
                Some(usage) => format!("{} prompt tokens reported", usage.prompt_tokens),
                None => "the engine reports no token counts: Sid counts by itself, on the safe side".to_owned(),
            };
            verdicts.push(verdict("usage", seen.reply.usage.is_some(), detail, start));
        }
        Err(LlmError::Refused { status: 404, detail }) => {
            verdicts.push(verdict("model", false, format!("the endpoint knows no model `{}`: {detail}", config.model()), start));
            return;
        }
        Err(error) => {
            verdicts.push(verdict("chat", false, error.to_string(), start));
            return;
        }
    }
    verdicts.push(tool_call(&model).await);
    verdicts.push(json_schema(&model).await);
    let start = Instant::now();
    verdicts.push(match profile.context_window {
        Some(window) if window >= Tokens(4_096) => verdict("context_window", true, format!("{window} tokens"), start),
        Some(window) => verdict("context_window", false, format!("{window} tokens are few: Sid wants 4,096 or more"), start),
        None => verdict("context_window", false, "the engine does not say: set the model's context_window", start),
    });
}

async fn tool_call(model: &dyn ChatModel) -> Verdict {
    let start = Instant::now();
    let tool = ToolSpec {
        name: "note_food".into(),
        description: "Notes a food that the user likes.".into(),
        parameters: json!({"type": "object", "properties": {"food": {"type": "string"}}, "required": ["food"]}),
    };
    let asked = ChatRequest { tools: vec![Arc::new(tool)], ..request("I like pickles. Call the tool note_food with that food.") };
    match run(model, asked).await.map(|seen| seen.reply) {
        Ok(reply) => match reply.calls.first() {
            Some(call) if call.name == "note_food" && call.arguments.is_ok() => {
                let native = reply.rung == Rung::Native;
                verdict("tool_call", native, if native { "native" } else { "the call was left in the text, and salvaged from it" }, start)
            }
            Some(call) => verdict("tool_call", false, format!("a malformed call of `{}`: Sid will ask in another way", call.name), start),
            None => verdict("tool_call", false, "the model made no call: set tool_mode to structured or text if it never does", start),
        },
        Err(error) => verdict("tool_call", false, format!("{error}; Sid will ask in another way"), start),
    }
}

async fn json_schema(model: &dyn ChatModel) -> Verdict {
    let start = Instant::now();
    let schema = json!({"type": "object", "properties": {"food": {"type": "string", "maxLength": 40}}, "required": ["food"], "additionalProperties": false});
    let asked = ChatRequest { json_schema: Some(schema), ..request("Name one food.") };
    match run(model, asked).await.map(|seen| seen.reply) {
        Ok(reply) => {
            let value: Option<Value> = serde_json::from_str(reply.text.trim()).ok();
            let obeyed = value.as_ref().and_then(|v| v.get("food")).is_some_and(Value::is_string);
            verdict("json_schema", obeyed, if obeyed { "obeyed" } else { "the answer does not fit the schema" }, start)
        }
        Err(error) => verdict("json_schema", false, error.to_string(), start),
    }
}

fn request(words: &str) -> ChatRequest {
    let messages =
        vec![ChatMessage::System { text: "You are a helpful assistant. Be brief.".into() }, ChatMessage::User { text: words.into() }];
    ChatRequest { messages, max_tokens: Tokens(200), temperature: Some(0.0), ..ChatRequest::default() }
}

struct Seen {
    reply: ChatReply,
    deltas: usize,
    first_ms: u128,
}

async fn run(model: &dyn ChatModel, request: ChatRequest) -> Result<Seen, LlmError> {
    let start = Instant::now();
    let mut stream = model.chat(request).await?;
    let (mut deltas, mut first_ms) = (0, 0);
    while let Some(event) = stream.next().await {
        match event? {
            ChatEvent::Done(reply) => return Ok(Seen { reply: *reply, deltas, first_ms }),
            ChatEvent::TextDelta(_) | ChatEvent::ReasoningDelta(_) => {
                deltas += 1;
                if deltas == 1 {
                    first_ms = start.elapsed().as_millis();
                }
            }
            ChatEvent::Restart => deltas = 0,
        }
    }
    Err(LlmError::Interrupted { detail: "the stream ended without an answer".into() })
}
