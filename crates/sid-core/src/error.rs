//! What can go wrong above store and model.

use sid_llm::LlmError;
use sid_store::StoreError;

/// A failure of the engine, by what the caller can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// The store failed or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The model failed or refused.
    #[error(transparent)]
    Llm(#[from] LlmError),
    /// The agent names a model that is not configured.
    #[error("agent `{agent}` uses model `{model}`, which is not configured: add it under [models.{model}] or change the agent")]
    UnknownModel {
        /// The agent's name.
        agent: String,
        /// The model's name.
        model: String,
    },
    /// The message does not fit a request of this kind.
    #[error("{0}")]
    Invalid(String),
    /// A tool of the caller's request cannot be offered.
    #[error("{0}")]
    ClientTool(String),
    /// An answer names a call that this conversation's model never made.
    #[error("no call `{call}` waits in this conversation")]
    UnknownCall {
        /// The call's id.
        call: String,
    },
    /// An answer comes too late.
    #[error("call `{call}` waits no longer: it was answered, or something else was said")]
    CallOver {
        /// The call's id.
        call: String,
    },
    /// Answers leave calls open.
    #[error("all calls that wait are answered in one request; these have no answer: {}", calls.join(", "))]
    CallsOpen {
        /// Their ids.
        calls: Vec<String>,
    },
    /// The tenant's tokens are used up.
    #[error(
        "the tenant's tokens of this {period} are used up or reserved ({used} of {limit}); a new {period} begins at 00:00 UTC (SID-CORE-BUDGET)"
    )]
    Budget {
        /// `day` or `month`.
        period: &'static str,
        /// How many there are.
        limit: u64,
        /// How many are used, or reserved by steps that are under way.
        used: u64,
    },
    /// The engine is being shut down.
    #[error("the server is shutting down: send the request again")]
    Draining,
    /// The engine has as many runs as it may have.
    #[error("the server is at its limit of {limit} runs at once: try again soon")]
    Overloaded {
        /// The limit.
        limit: usize,
    },
}

impl CoreError {
    /// The stable code, with a page in `docs/errors/`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Store(e) => e.code(),
            Self::Llm(e) => e.code(),
            Self::UnknownModel { .. } => "SID-CORE-UNKNOWN-MODEL",
            Self::Invalid(_) => "SID-CORE-INVALID",
            Self::ClientTool(_) => "SID-CORE-CLIENT-TOOL",
            Self::UnknownCall { .. } => "SID-CORE-UNKNOWN-CALL",
            Self::CallOver { .. } => "SID-CORE-CALL-OVER",
            Self::CallsOpen { .. } => "SID-CORE-CALLS-OPEN",
            Self::Budget { .. } => "SID-CORE-BUDGET",
            Self::Draining => "SID-CORE-DRAINING",
            Self::Overloaded { .. } => "SID-CORE-OVERLOADED",
        }
    }

    /// Whether the same call may succeed a little later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Store(e) => e.is_transient(),
            Self::Llm(e) => e.is_transient(),
            Self::Draining | Self::Overloaded { .. } => true,
            _ => false,
        }
    }
}
