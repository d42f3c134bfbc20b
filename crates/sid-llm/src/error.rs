//! What can go wrong at a model endpoint, sorted by what the caller can do.

use std::time::Duration;

use sid_types::Tokens;

/// Which of the four time-outs struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutStage {
    /// No connection.
    Connect,
    /// Connected, but no first byte of an answer (prefill may be slow).
    FirstByte,
    /// The stream fell silent.
    Idle,
    /// The whole call took too long.
    Total,
}

impl std::fmt::Display for TimeoutStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::FirstByte => "waiting for the first byte",
            Self::Idle => "waiting for the next byte",
            Self::Total => "the whole call",
        })
    }
}

/// A model endpoint's failure. Nonsense that a model *answers* is not one: it arrives as a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LlmError {
    /// No connection, or it was refused.
    #[error("cannot reach the model at {url}: {detail}")]
    Unreachable {
        /// Where, without credentials.
        url: String,
        /// What failed.
        detail: String,
    },
    /// Too many requests.
    #[error("the model endpoint is rate limited{}", .retry_after.map(|d| format!("; it asks to wait {:.1} s", d.as_secs_f32())).unwrap_or_default())]
    RateLimited {
        /// The server's wish.
        retry_after: Option<Duration>,
    },
    /// The endpoint failed (5xx, or it is still loading).
    #[error("the model endpoint failed with status {status}: {detail}")]
    ServerFault {
        /// HTTP status.
        status: u16,
        /// The first 500 characters of its answer.
        detail: String,
    },
    /// A time-out struck.
    #[error("the model took longer than {limit:?} ({stage})")]
    Timeout {
        /// Which one.
        stage: TimeoutStage,
        /// Its length.
        limit: Duration,
    },
    /// The endpoint has failed so often of late that the call was not made.
    #[error("the model endpoint keeps failing, so it is left alone for another {:.1} s: the call was not made", .retry_after.as_secs_f32())]
    BreakerOpen {
        /// How long it is left alone; zero while one call tries whether it is back.
        retry_after: Duration,
    },
    /// The stream broke off or was not understood.
    #[error("the model's answer broke off: {detail}")]
    Interrupted {
        /// How.
        detail: String,
    },
    /// The prompt is larger than the window that the engine has allocated.
    #[error("the prompt is larger than the model's window{}", .window.map(|w| format!(" of {w} tokens")).unwrap_or_default())]
    ContextOverflow {
        /// Tokens of the prompt, if the engine said so.
        prompt: Option<Tokens>,
        /// The window, if the engine said so.
        window: Option<Tokens>,
    },
    /// The key was refused.
    #[error("the model endpoint refused the credentials (status {status}): set the model's api_key")]
    Unauthorized {
        /// HTTP status.
        status: u16,
    },
    /// The request was refused for another reason; the same one will be refused again.
    #[error("the model endpoint refused the request (status {status}): {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The first 500 characters of its answer.
        detail: String,
    },
    /// The answer grew beyond all measure and was cut off.
    #[error("the model's answer is larger than {limit_bytes} bytes")]
    OutputTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The set-up is wrong; the text says what to change.
    #[error("{0}")]
    Config(String),
}

impl LlmError {
    /// Whether the same call may succeed a little later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::RateLimited { .. }
            | Self::Interrupted { .. }
            | Self::Timeout { .. }
            | Self::BreakerOpen { .. } => true,
            Self::ServerFault { status, .. } => *status != 501,
            _ => false,
        }
    }

    /// The stable code, with a page in `docs/errors/`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "SID-LLM-UNREACHABLE",
            Self::RateLimited { .. } => "SID-LLM-RATE-LIMITED",
            Self::ServerFault { .. } => "SID-LLM-SERVER-FAULT",
            Self::Timeout { .. } => "SID-LLM-TIMEOUT",
            Self::BreakerOpen { .. } => "SID-LLM-BREAKER-OPEN",
            Self::Interrupted { .. } => "SID-LLM-INTERRUPTED",
            Self::ContextOverflow { .. } => "SID-LLM-CONTEXT-OVERFLOW",
            Self::Unauthorized { .. } => "SID-LLM-UNAUTHORIZED",
            Self::Refused { .. } => "SID-LLM-REFUSED",
            Self::OutputTooLarge { .. } => "SID-LLM-OUTPUT-TOO-LARGE",
            Self::Config(_) => "SID-LLM-CONFIG",
        }
    }
}
