#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod chat;
mod embed;
mod error;
mod profile;

#[cfg(any(feature = "openai", feature = "ollama"))]
mod connect;
#[cfg(any(feature = "openai", feature = "ollama"))]
mod discover;
#[cfg(any(feature = "openai", feature = "ollama"))]
mod document;
#[cfg(any(feature = "openai", feature = "ollama"))]
mod http;
#[cfg(any(feature = "openai", feature = "ollama"))]
mod probe;
#[cfg(any(feature = "openai", feature = "ollama"))]
mod provider;
#[cfg(any(feature = "openai", feature = "ollama"))]
mod turns;

mod arguments;
mod assemble;
mod lenient;
mod refusal;
mod salvage;
mod schema;
mod sse;

mod ladder;
mod layer;

mod count;
#[cfg(feature = "openai")]
mod count_engine;
mod embedders;
#[cfg(feature = "scripted")]
mod scripted;
#[cfg(feature = "tiktoken")]
mod tiktoken;

pub use assemble::{Assembler, AssemblerOptions, CallDelta};
pub use chat::{
    BadArguments, ChatEvent, ChatMessage, ChatModel, ChatReply, ChatRequest, ChatStream, Finish, MAX_CALLS, ReplyCall, complete,
};
#[cfg(any(feature = "openai", feature = "ollama"))]
pub use connect::{AnyModel, ModelConfig};
pub use count::{ByteCounter, CalibratedCounter, LargerOf, TokenCounter};
#[cfg(any(feature = "openai", feature = "ollama"))]
pub use discover::discover;
pub use embed::{EmbedInput, Embedder, EmbeddingGeneration};
pub use embedders::HashEmbedder;
#[cfg(feature = "fastembed")]
pub use embedders::{FastembedConfig, FastembedEmbedder, FastembedSource};
#[cfg(feature = "openai")]
pub use embedders::{OpenAiEmbedder, OpenAiEmbedderConfig};
pub use error::{LlmError, TimeoutStage};
pub use ladder::{LadderPolicy, ToolLadder};
pub use layer::{
    BreakerPolicy, BreakerState, BudgetPolicy, CircuitBreaker, ConcurrencyLimit, EndpointGuard, FailFast, ModelExt, Retry, RetryBudget,
    RetryPolicy, Standard, Timeouts, Traced, WithBreaker, WithTimeouts,
};
#[cfg(any(feature = "openai", feature = "ollama"))]
pub use probe::{Verdict, probe};
pub use profile::{Engine, ModelInfo, ModelProfile, ProfileOverrides, Rung};
#[cfg(feature = "ollama")]
pub use provider::{Ollama, OllamaConfig};
#[cfg(feature = "openai")]
pub use provider::{OpenAiCompatible, OpenAiConfig};
#[cfg(feature = "scripted")]
pub use scripted::{Scripted, ScriptedModel};
pub use sse::{EventTooLarge, SseEvent, SseParser};
#[cfg(feature = "tiktoken")]
pub use tiktoken::{TiktokenCounter, Vocabulary};
