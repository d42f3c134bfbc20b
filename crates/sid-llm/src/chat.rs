//! The chat contract: streaming is the primitive.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sid_types::{Tokens, ToolCall, ToolSpec, Usage};

use crate::{LlmError, ModelInfo, Rung};

/// One message of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum ChatMessage {
    /// Instructions.
    System {
        /// The words.
        text: String,
    },
    /// The human's words.
    User {
        /// The words.
        text: String,
    },
    /// The model's own earlier words and calls; never empty of both.
    Assistant {
        /// The words.
        text: String,
        /// The calls.
        tool_calls: Vec<ToolCall>,
    },
    /// The answer to a call of the assistant message before.
    Tool {
        /// Which call.
        call_id: String,
        /// The tool's name.
        name: String,
        /// The answer.
        text: String,
    },
}

/// A prompt and how to answer it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatRequest {
    /// The prompt, in order; the first is `System`, the last is not `Assistant`.
    pub messages: Vec<ChatMessage>,
    /// Tools that may be called, in a stable order.
    pub tools: Vec<Arc<ToolSpec>>,
    /// Most tokens of the answer; always sent.
    pub max_tokens: Tokens,
    /// Sampling temperature; the engine's default when `None`.
    pub temperature: Option<f32>,
    /// The answer must be JSON that fits this schema (`response_format: json_schema`). Not together with `tools`.
    pub json_schema: Option<Value>,
}

/// A call as it came out of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyCall {
    /// From the engine, or made by the assembler where it was missing or doubled.
    pub id: String,
    /// The name, stripped of control tokens. May be one that was not offered.
    pub name: String,
    /// The arguments as an object, or what was written and why it is none.
    pub arguments: Result<Map<String, Value>, BadArguments>,
}

/// Arguments that could not be made into an object, even by repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadArguments {
    /// What the model wrote, at most 2,000 characters.
    pub raw: String,
    /// What is wrong with it, in words that a model can act on.
    pub problem: String,
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// It was done.
    Stop,
    /// It asked for calls.
    ToolCalls,
    /// It reached `max_tokens`.
    Length,
    /// Something else that the engine named, or nothing.
    Other,
}

/// Most calls of one reply.
pub const MAX_CALLS: usize = 128;

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatReply {
    /// The words, without calls that were salvaged from them and without `<think>` parts.
    pub text: String,
    /// The reasoning, from whichever field or tag it came.
    pub reasoning: String,
    /// The calls, in order, with ids that are unique in this reply; at most [`MAX_CALLS`], what goes beyond is dropped.
    pub calls: Vec<ReplyCall>,
    /// Why it stopped.
    pub finish: Finish,
    /// As the engine reported; `None` = it did not.
    pub usage: Option<Usage>,
    /// How the calls were got.
    pub rung: Rung,
}

impl ChatReply {
    /// Whether there is nothing in it to go on with.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.trim().is_empty() && self.calls.is_empty()
    }
}

/// One thing that a stream brings.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatEvent {
    /// A piece of the words.
    TextDelta(String),
    /// A piece of the reasoning.
    ReasoningDelta(String),
    /// The call was begun anew after a fault: all deltas so far are void.
    Restart,
    /// The whole answer. Always the last event of a stream that did not fail.
    Done(Box<ChatReply>),
}

/// A stream of events; it ends after [`ChatEvent::Done`] or after an error.
pub type ChatStream = BoxStream<'static, Result<ChatEvent, LlmError>>;

/// A chat model, or a layer around one.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// What is known about the model.
    fn info(&self) -> ModelInfo;

    /// Answers a prompt. The stream does its work as it is polled; dropping it ends the call.
    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError>;

    /// The size of the prompt by the serving engine's own tokenizer, chat template and all. A round trip, meant for prompts that are
    /// nearly full. Default: `None`, for engines that cannot say.
    ///
    /// Errors: those of the endpoint; [`LlmError::Interrupted`] when its answer has no count.
    async fn count_prompt(&self, request: &ChatRequest) -> Result<Option<Tokens>, LlmError> {
        let _ = request;
        Ok(None)
    }
}

/// Folds a stream into its answer.
///
/// Errors: those of the stream; [`LlmError::Interrupted`] when it ends without an answer.
pub async fn complete(model: &dyn ChatModel, request: ChatRequest) -> Result<ChatReply, LlmError> {
    use futures::StreamExt as _;
    let mut stream = model.chat(request).await?;
    while let Some(event) = stream.next().await {
        if let ChatEvent::Done(reply) = event? {
            return Ok(*reply);
        }
    }
    Err(LlmError::Interrupted { detail: "the stream ended without an answer".into() })
}
