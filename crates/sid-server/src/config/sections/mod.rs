//! The options themselves: the one table that parser, check, defaults and reference share.

mod context;
mod documents;
mod doors;
mod engine;
mod models;
mod server;
mod store;
mod tools;

pub use context::{Context, Secrets};
pub use documents::{Documents, Google};
pub use doors::{Issuer, Mcp, TrustedProxy};
pub use engine::{Engine, Limits};
pub use models::{Embedder, EmbedderKind, Model, ModelApi, Tokenizer, ToolMode};
pub use server::{Log, LogFormat, Server, Top};
pub use store::{Store, StoreKind, Vectors, VectorsKind};
pub use tools::{Builtin, Images, McpProgram, Tools, Webhooks};
