//! The tool contract.

use async_trait::async_trait;
use serde_json::{Map, Value};
use sid_types::{Block, ConversationId, MessageId, NewPassage, RunId, Scope, Seq, Source, Timestamp, Tokens, ToolSpec};
use uuid::Uuid;

use crate::Declaration;

/// What a tool touches; decides how the journal treats its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EffectClass {
    /// Reads only: safe to repeat.
    Read,
    /// Changes Sid's own store, by effects that are committed together with the result: happens exactly once.
    Memory,
    /// Changes something outside. A crash in the middle is reported as "outcome unknown" unless the tool is idempotent.
    External {
        /// Whether a second call with the same token has no second effect.
        idempotent: bool,
    },
}

/// What a call knows about its surroundings. It carries no store: tools that need one were built with it.
#[derive(Debug, Clone)]
pub struct ToolContext {
    /// What the turn may see.
    pub scope: Scope,
    /// The conversation.
    pub conversation: ConversationId,
    /// The run.
    pub run: RunId,
    /// Stable for this run, step and call: the idempotency key for the outside.
    pub token: Uuid,
    /// The turn's present moment (the client's, where it gave one).
    pub now: Timestamp,
    /// IANA zone of the user, `UTC` without one.
    pub timezone: String,
    /// Core memory as this step has left it so far.
    pub blocks: Vec<Block>,
    /// The first message that is in the prompt: search leaves out what comes after.
    pub queue_start: Seq,
    /// Most tokens that the result may have; longer ones are paged or cut.
    pub result_budget: Tokens,
    /// Sources that are not trusted, of what the turn has read: what a tool keeps of the call's arguments keeps these with it.
    pub untrusted: Vec<Source>,
}

impl ToolContext {
    /// A context outside any conversation, for loops of one's own and for tests: an own tenant, no blocks, 2,000 tokens per result.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a new tenant of its own: there is nothing that this scope could see")]
    pub fn detached(now: Timestamp) -> Self {
        let scope = Scope::grant(sid_types::TenantId::new(), sid_types::Principal::Turn { agent: sid_types::AgentId::new(), user: None });
        Self {
            scope,
            conversation: ConversationId::new(),
            run: RunId::new(),
            token: Uuid::now_v7(),
            now,
            timezone: "UTC".into(),
            blocks: Vec::new(),
            queue_start: Seq(1),
            result_budget: Tokens(2_000),
            untrusted: Vec::new(),
        }
    }
}

/// What a call came to. A failed call is an outcome too: the model reads it and goes on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolOutcome {
    /// What the model reads.
    pub text: String,
    /// Whether it failed.
    pub is_error: bool,
    /// Messages that `text` quotes.
    pub quotes: Vec<MessageId>,
    /// Block edits, in order: `(block, op, expected version)`.
    pub block_edits: Vec<(sid_types::BlockId, sid_types::BlockOp, u64)>,
    /// Passages to store.
    pub passages: Vec<NewPassage>,
    /// Sources that are not trusted, of which the text tells, where the tool knows that better than its declaration: the host of a page, those
    /// of a memory that was found.
    pub sources: Vec<sid_types::Source>,
    /// Whether the run is over with this call, if it succeeds: the agent wanted nothing more.
    pub ends_run: bool,
}

impl ToolOutcome {
    /// A success that changes nothing.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// A failure, in words that the model can act on.
    #[must_use]
    pub fn error(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_error: true, ..Self::default() }
    }
}

/// A function that an agent may call.
#[async_trait]
pub trait Tool: Send + Sync {
    /// How it is described to models.
    fn spec(&self) -> ToolSpec;

    /// What it touches. A tool with its own [`Tool::declaration`] says it there.
    fn effect(&self) -> EffectClass {
        EffectClass::External { idempotent: false }
    }

    /// What it declares beside its schema: effect, time-out, secrets, hosts. This is what callers go by.
    fn declaration(&self) -> Declaration {
        Declaration::new(self.effect())
    }

    /// Does it. `arguments` fit the schema of [`Tool::spec`]. Never panics for what a model wrote; a failure is an outcome.
    async fn call(&self, context: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome;
}
