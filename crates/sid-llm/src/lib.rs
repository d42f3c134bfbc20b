//! Chat models and embedders behind small contracts, with providers and layers.
#![warn(missing_docs)]

mod chat;
mod count;
mod embed;
mod error;
mod profile;

pub use chat::{BadArguments, ChatEvent, ChatMessage, ChatModel, ChatReply, ChatRequest, ChatStream, Finish, ReplyCall, complete};
pub use count::{ByteCounter, CalibratedCounter, TokenCounter};
pub use embed::{EmbedInput, Embedder, EmbeddingGeneration};
pub use error::{LlmError, TimeoutStage};
pub use profile::{Engine, ModelInfo, ModelProfile, Rung};
