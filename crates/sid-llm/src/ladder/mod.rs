//! The tool-call ladder: asks for calls in the best way that the model can, and goes down a rung when it cannot.

mod envelope;
mod prompt;

use std::sync::Arc;
use std::time::Duration;

use async_stream::try_stream;
use async_trait::async_trait;
use futures::StreamExt as _;
use parking_lot::Mutex;
use sid_types::Tokens;
use tokio::time::Instant;

use crate::salvage::{Context, Piece, Scanner};
use crate::{ChatEvent, ChatModel, ChatReply, ChatRequest, ChatStream, Finish, LlmError, ModelInfo, Rung, assemble};
use envelope::EnvelopeReader;

/// When to go down, and when to try again higher up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LadderPolicy {
    /// Malformed calls in a row after which the next rung is used. Default 2.
    pub malformed_limit: u32,
    /// After this long on a lower rung the profile's own is tried again, so that one odd conversation does not decide for
    /// all others. A rung that the engine refused is not tried again. Default 600 s.
    pub forget_after: Duration,
}

impl Default for LadderPolicy {
    fn default() -> Self {
        Self { malformed_limit: 2, forget_after: Duration::from_secs(600) }
    }
}

/// A model that can be asked for calls in several ways.
///
/// The rung starts at the profile's `tool_mode`. `Native` passes the tools on. `Structured` asks for one JSON object,
/// `{"reply": …}` or `{"action": {"tool": …, "arguments": …}}`, under a JSON schema. `Text` describes the tools in the
/// system instructions and finds the calls in the text. `None` drops the tools. On all but `Native`, earlier calls and
/// results are written as plain turns, so that templates without tools can take them.
///
/// `Native` goes down to `Structured` (when the profile has `json_schema`) or to `Text`; `Structured` to `Text`; `Text`
/// stays. An engine that answers 400 because it knows no tools, or no schemas, costs a rung at once, and the request is
/// repeated.
#[derive(Debug)]
pub struct ToolLadder<M> {
    inner: M,
    policy: LadderPolicy,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// The best rung that the engine has not refused.
    best: Rung,
    /// The present rung, and since when it is below the best.
    rung: Rung,
    since: Option<Instant>,
    malformed: u32,
    has_schema: bool,
}

impl State {
    const fn below(&self, rung: Rung) -> Rung {
        match rung {
            Rung::Native | Rung::Salvaged if self.has_schema => Rung::Structured,
            Rung::None => Rung::None,
            _ => Rung::Text,
        }
    }

    fn current(&mut self, policy: LadderPolicy) -> Rung {
        if self.since.is_some_and(|since| since.elapsed() >= policy.forget_after) {
            self.rung = self.best;
            self.since = None;
            self.malformed = 0;
        }
        self.rung
    }

    /// The engine knows nothing of this rung.
    fn refuse(&mut self, rung: Rung) {
        let below = self.below(rung);
        self.has_schema &= rung != Rung::Structured;
        self.best = self.best.max(below);
        self.rung = self.rung.max(below);
        self.since = None;
        self.malformed = 0;
    }

    fn note(&mut self, used: Rung, reply: &ChatReply, policy: LadderPolicy) {
        // A reply of an earlier rung says nothing about the present one.
        if used != self.rung {
            return;
        }
        let announced_only = reply.calls.is_empty() && reply.finish == Finish::Other && reply.is_empty();
        let is_malformed = reply.calls.iter().any(|c| c.arguments.is_err()) || (announced_only && used == Rung::Native);
        if !is_malformed {
            if !reply.calls.is_empty() {
                self.malformed = 0;
            }
            return;
        }
        self.malformed += 1;
        let below = self.below(used);
        if self.malformed >= policy.malformed_limit && below != used {
            tracing::warn!(from = used.name(), to = below.name(), "the model writes malformed calls: asking for them in another way");
            self.rung = below;
            self.since = Some(Instant::now());
            self.malformed = 0;
        }
    }
}

impl<M: ChatModel> ToolLadder<M> {
    pub(crate) fn new(inner: M, policy: LadderPolicy) -> Self {
        let profile = inner.info().profile;
        let best = if profile.tool_mode == Rung::Salvaged { Rung::Native } else { profile.tool_mode };
        let state = State { best, rung: best, since: None, malformed: 0, has_schema: profile.json_schema };
        Self { inner, policy, state: Arc::new(Mutex::new(state)) }
    }

    /// The rung that the next request with tools will use.
    pub fn rung(&self) -> Rung {
        self.state.lock().current(self.policy)
    }
}

/// Whether an engine refused because of the way it was asked.
fn is_refusal_of(rung: Rung, error: &LlmError) -> bool {
    let (LlmError::Refused { status: 400 | 404 | 422, detail } | LlmError::ServerFault { status: 500 | 501, detail }) = error else {
        return false;
    };
    let words = detail.to_ascii_lowercase();
    let has = |list: &[&str]| list.iter().any(|w| words.contains(w));
    match rung {
        Rung::Native | Rung::Salvaged => {
            has(&["tool", "function call", "--jinja"])
                && has(&[
                    "not support",
                    "unsupported",
                    "requires",
                    "not enabled",
                    "not available",
                    "unknown",
                    "--jinja",
                    "extra fields",
                    "not permitted",
                    "unrecognized",
                ])
        }
        Rung::Structured => {
            has(&["response_format", "json_schema", "json schema", "grammar", "guided", "structured output", "invalid format"])
        }
        Rung::Text | Rung::None => false,
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for ToolLadder<M> {
    /// The inner model's, with the present rung as `tool_mode`.
    fn info(&self) -> ModelInfo {
        let mut info = self.inner.info();
        info.profile.tool_mode = self.rung();
        info
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        if request.tools.is_empty() && !prompt::mentions_tools(&request.messages) {
            return self.inner.chat(request).await;
        }
        let request = Arc::new(request);
        loop {
            let rung = self.rung();
            match self.inner.chat(prompt::render(&request, rung)).await {
                Ok(stream) => return Ok(self.watch(stream, rung, request)),
                Err(error) if is_refusal_of(rung, &error) && !request.tools.is_empty() => {
                    tracing::warn!(rung = rung.name(), "the engine refuses this way of asking for calls: going down the ladder");
                    self.state.lock().refuse(rung);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// As the present rung would ask.
    async fn count_prompt(&self, request: &ChatRequest) -> Result<Option<Tokens>, LlmError> {
        if request.tools.is_empty() && !prompt::mentions_tools(&request.messages) {
            return self.inner.count_prompt(request).await;
        }
        self.inner.count_prompt(&prompt::render(request, self.rung())).await
    }
}

impl<M> ToolLadder<M> {
    /// Reads the stream as the rung wants it, and learns from the reply.
    fn watch(&self, mut inner: ChatStream, rung: Rung, request: Arc<ChatRequest>) -> ChatStream {
        let (state, policy) = (Arc::clone(&self.state), self.policy);
        let stream = try_stream! {
            let mut reader = Reader::new(rung);
            while let Some(event) = inner.next().await {
                match event? {
                    ChatEvent::TextDelta(text) => {
                        for event in reader.push(&request, &text) {
                            yield event;
                        }
                    }
                    ChatEvent::Restart => {
                        reader = Reader::new(rung);
                        yield ChatEvent::Restart;
                    }
                    ChatEvent::Done(reply) => {
                        let (rest, reply) = reader.finish(&request, *reply, rung);
                        for event in rest {
                            yield event;
                        }
                        state.lock().note(rung, &reply, policy);
                        yield ChatEvent::Done(Box::new(reply));
                        return;
                    }
                    event @ ChatEvent::ReasoningDelta(_) => yield event,
                }
            }
        };
        stream.boxed()
    }
}

/// Reads the text of one attempt.
enum Reader {
    /// The provider has done it all.
    Through,
    Structured(EnvelopeReader),
    Text(Scanner),
}

impl Reader {
    const fn new(rung: Rung) -> Self {
        match rung {
            Rung::Structured => Self::Structured(EnvelopeReader::new()),
            Rung::Text => Self::Text(Scanner::new()),
            Rung::Native | Rung::Salvaged | Rung::None => Self::Through,
        }
    }

    fn push(&mut self, request: &ChatRequest, text: &str) -> Vec<ChatEvent> {
        match self {
            Self::Through => vec![ChatEvent::TextDelta(text.to_owned())],
            Self::Structured(reader) => reader.push(text).into_iter().map(ChatEvent::TextDelta).collect(),
            Self::Text(scanner) => deltas(scanner.push(&context(request), text)),
        }
    }

    fn finish(&mut self, request: &ChatRequest, mut reply: ChatReply, rung: Rung) -> (Vec<ChatEvent>, ChatReply) {
        let calls = match self {
            Self::Through => {
                if rung == Rung::None {
                    reply.rung = Rung::None;
                }
                return (Vec::new(), reply);
            }
            Self::Structured(reader) => {
                let outcome = reader.finish(&context(request), &reply.text);
                reply.rung = Rung::Structured;
                reply.text = outcome.text;
                let events = outcome.rest.into_iter().map(ChatEvent::TextDelta).collect();
                (
                    events,
                    outcome.calls.into_iter().map(|c| assemble::finish_call(c, request)).chain(outcome.undecodable).collect::<Vec<_>>(),
                )
            }
            Self::Text(scanner) => {
                let events = deltas(scanner.finish(&context(request)));
                let (text, _, calls) = assemble::sort(&context(request), &reply.text);
                reply.rung = Rung::Text;
                reply.text = envelope::unwrap_reply(&text).unwrap_or(text);
                (events, calls.into_iter().map(|c| assemble::finish_call(c, request)).collect())
            }
        };
        let (events, calls) = calls;
        reply.calls = calls;
        if !reply.calls.is_empty() {
            reply.text = reply.text.trim().to_owned();
            assemble::unique_ids(&mut reply.calls, rand::random());
            if reply.finish != Finish::Length {
                reply.finish = Finish::ToolCalls;
            }
        }
        (events, reply)
    }
}

fn context(request: &ChatRequest) -> Context<'_> {
    Context { tools: &request.tools, prompt: &request.messages, bare: true, asked: true }
}

fn deltas(pieces: Vec<Piece>) -> Vec<ChatEvent> {
    let one = |piece| match piece {
        Piece::Text(text) => Some(ChatEvent::TextDelta(text)),
        Piece::Reasoning(text) => Some(ChatEvent::ReasoningDelta(text)),
        Piece::Calls(_) => None,
        Piece::TextWasReasoning => Some(ChatEvent::Restart),
    };
    pieces.into_iter().filter_map(one).collect()
}
