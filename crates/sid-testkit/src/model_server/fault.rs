//! The faults of model engines, by name.

use std::str::FromStr;

use serde::Deserialize;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A way to go wrong. The names in directives and JSON are in kebab case.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Fault {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in directives and JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        impl FromStr for Fault {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text {
                    $($text => Ok(Self::$name),)*
                    _ => Err(()),
                }
            }
        }
    };
}

faults! {
    /// 429 without `Retry-After`.
    RateLimited = "rate-limited",
    /// 429 with `Retry-After: 0.05`.
    RateLimitedRetryAfter = "rate-limited-retry-after",
    /// 429 that asks to wait two minutes.
    RateLimitedLong = "rate-limited-long",
    /// 400, the prompt is too large, in vLLM's words.
    OverflowVllm = "overflow-vllm",
    /// The same in llama.cpp's words.
    OverflowLlamaCpp = "overflow-llamacpp",
    /// The same in SGLang's words.
    OverflowSglang = "overflow-sglang",
    /// The same in LM Studio's words.
    OverflowLmStudio = "overflow-lmstudio",
    /// The same as an error inside a stream that began with 200.
    OverflowInStream = "overflow-in-stream",
    /// 401.
    Unauthorized = "unauthorized",
    /// 404: no such model.
    NoSuchModel = "no-such-model",
    /// 400 that says tools are not supported, for requests with tools; an answer for others.
    ToolsUnsupported = "tools-unsupported",
    /// 500.
    ServerError = "server-error",
    /// 503, loading.
    Unavailable = "unavailable",
    /// An error of the engine in the middle of a stream.
    ErrorInStream = "error-in-stream",
    /// Accepts the request and says nothing.
    HangBefore = "hang-before",
    /// Falls silent in the middle.
    HangMid = "hang-mid",
    /// Resets the connection at once.
    Reset = "reset",
    /// Resets the connection in the middle.
    ResetMid = "reset-mid",
    /// Ends the connection properly in the middle of the answer.
    CutStream = "cut-stream",
    /// Ends the stream properly, but without a finish reason and `[DONE]`.
    NoEnd = "no-end",
    /// Something that is not JSON.
    BadJson = "bad-json",
    /// A whole page of HTML with status 200.
    Html = "html",
    /// Pieces that end inside a UTF-8 character.
    SplitUtf8 = "split-utf8",
    /// Half a surrogate pair as an escape.
    LoneSurrogate = "lone-surrogate",
    /// 50 MB.
    HugeOutput = "huge-output",
    /// `choices: []`.
    EmptyChoices = "empty-choices",
    /// No words and no calls.
    EmptyAnswer = "empty-answer",
    /// Reasoning and nothing else.
    ThinkOnly = "think-only",
    /// A finish reason that nobody has heard of.
    UnknownFinish = "unknown-finish",
    /// `finish_reason: tool_calls` without calls.
    AnnouncedCalls = "announced-calls",
    /// Stopped by the limit of tokens in the middle of a call's arguments.
    CutArguments = "cut-arguments",
    /// A tool that was not offered.
    UnknownTool = "unknown-tool",
    /// A name with control tokens behind it.
    PollutedName = "polluted-name",
    /// Arguments that are not JSON.
    BadArguments = "bad-arguments",
    /// Arguments without what is required.
    MissingArguments = "missing-arguments",
    /// Arguments as `null`.
    NullArguments = "null-arguments",
    /// Arguments encoded twice.
    DoubleEncoded = "double-encoded",
    /// Arguments 500 levels deep.
    DeepArguments = "deep-arguments",
    /// A call in the words.
    CallInText = "call-in-text",
    /// A call in the reasoning.
    CallInReasoning = "call-in-reasoning",
    /// Two calls with one id.
    DuplicateIds = "duplicate-ids",
    /// Calls without an index.
    MissingIndex = "missing-index",
    /// Calls without an id.
    MissingId = "missing-id",
    /// Two calls, both with index 0.
    IndexZero = "index-zero",
    /// Two calls at once, as it should be.
    TwoCalls = "two-calls",
    /// Another call after every result, without end.
    EndlessCalls = "endless-calls",
    /// Usage on every chunk.
    UsageEverywhere = "usage-everywhere",
    /// Usage nowhere.
    NoUsage = "no-usage",
}
