//! Providers: each turns a request into HTTP and the answer into events. They hold no loops: retry, time-outs and the
//! ladder are layers.

mod body;
#[cfg(feature = "ollama")]
mod ollama;
#[cfg(feature = "openai")]
mod openai;
mod receive;

#[cfg(feature = "openai")]
pub(crate) use body::openai_messages;
#[cfg(feature = "ollama")]
pub use ollama::{Ollama, OllamaConfig};
#[cfg(feature = "openai")]
pub use openai::{OpenAiCompatible, OpenAiConfig};

/// An API key that does not show in `Debug`.
pub(crate) fn redacted(key: Option<&String>) -> &'static str {
    if key.is_some() { "Some(redacted)" } else { "None" }
}
