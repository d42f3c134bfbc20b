//! The OpenAI front door, `/v1`: agents as models, with memory behind a stateless API.
//!
//! A client sends the whole chat each time; Sid has it already. So only the *new* messages count: the user messages after the last
//! assistant message. System and developer messages of the client are ignored: an agent's instructions are its maker's. Which
//! conversation is meant comes from `X-Sid-Conversation`, `metadata.conversation` or `metadata.conversation_id` (the application's own
//! key, or a `conv_` id); without any there is one conversation, `default`, per agent and user. The user is the key's, or `X-Sid-User`,
//! or the body's `user` (a handle, made at first use); a tenant key that names none speaks for the user `default`.
//!
//! The client's own `tools` are offered beside the agent's. A call of one ends the answer with `tool_calls`; tool messages after it are
//! the answers, and the conversation goes on with them.

mod chat;
mod conversation;
mod models;
mod stream;
mod tools;

use utoipa_axum::router::OpenApiRouter;

use crate::App;

/// The routes, `/v1` included.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().merge(models::router()).merge(chat::router())
}
