//! From the pieces of an answer to the answer.
//!
//! One assembler serves streamed and whole answers, of the OpenAI and of the Ollama form. What engines get wrong is
//! settled here, so that nothing behind it needs to know: see the table of failures in the tests.

mod calls;
mod ollama;
mod openai;

use std::sync::Arc;

use sid_types::Usage;

pub use calls::CallDelta;
use calls::Slots;

use crate::salvage::{Context, Piece, RawCall, Scanner};
use crate::{ChatEvent, ChatReply, ChatRequest, Finish, LlmError, ReplyCall, Rung, arguments};

/// What an [`Assembler`] is told before it begins.
#[derive(Debug, Clone)]
pub struct AssemblerOptions {
    /// Most bytes of text, reasoning and arguments together. Default 8,000,000.
    pub max_output_bytes: usize,
    /// Makes the ids of calls that came without a usable one; the same seed gives the same ids.
    pub id_seed: u64,
}

impl Default for AssemblerOptions {
    fn default() -> Self {
        Self { max_output_bytes: 8_000_000, id_seed: 0 }
    }
}

/// Puts an answer together.
///
/// ```
/// use sid_llm::{Assembler, AssemblerOptions, ChatEvent, ChatRequest};
/// let mut assembler = Assembler::new(ChatRequest::default().into(), AssemblerOptions::default());
/// let chunk = serde_json::json!({"choices": [{"delta": {"content": "<think>hm</think>Hello"}, "finish_reason": "stop"}]});
/// assembler.openai(&chunk).unwrap();
/// let events = assembler.finish();
/// let ChatEvent::Done(reply) = events.last().unwrap() else { panic!() };
/// assert_eq!((reply.text.as_str(), reply.reasoning.as_str()), ("Hello", "hm"));
/// ```
#[derive(Debug)]
pub struct Assembler {
    request: Arc<ChatRequest>,
    options: AssemblerOptions,
    scanner: Scanner,
    /// The content as it came.
    content: String,
    /// What was passed on of it as words and is not void.
    shown: String,
    reasoning: String,
    slots: Slots,
    finish: Option<String>,
    usage: Option<Usage>,
    bytes: usize,
    has_choice: bool,
    events: Vec<ChatEvent>,
}

impl Assembler {
    /// An assembler for the answer to `request`.
    #[must_use]
    pub fn new(request: Arc<ChatRequest>, options: AssemblerOptions) -> Self {
        Self {
            request,
            options,
            scanner: Scanner::new(),
            content: String::new(),
            shown: String::new(),
            reasoning: String::new(),
            slots: Slots::default(),
            finish: None,
            usage: None,
            bytes: 0,
            has_choice: false,
            events: Vec::new(),
        }
    }

    /// Whether the engine has said that the answer is over.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Whether the engine has begun an answer at all.
    #[must_use]
    pub const fn has_choice(&self) -> bool {
        self.has_choice
    }

    /// The deltas since the last call.
    pub fn take_events(&mut self) -> Vec<ChatEvent> {
        std::mem::take(&mut self.events)
    }

    /// More of the content.
    ///
    /// Errors: [`LlmError::OutputTooLarge`].
    pub fn text(&mut self, text: &str) -> Result<(), LlmError> {
        self.grow(text.len())?;
        self.content.push_str(text);
        let request = Arc::clone(&self.request);
        let pieces = self.scanner.push(&context(&request), text);
        self.pass_on(pieces);
        Ok(())
    }

    /// More of the reasoning, from a field of its own.
    ///
    /// Errors: [`LlmError::OutputTooLarge`].
    pub fn reasoning(&mut self, text: &str) -> Result<(), LlmError> {
        self.grow(text.len())?;
        self.reasoning.push_str(text);
        if !text.is_empty() {
            self.events.push(ChatEvent::ReasoningDelta(text.to_owned()));
        }
        Ok(())
    }

    /// More of a call.
    ///
    /// Errors: [`LlmError::OutputTooLarge`].
    pub fn call(&mut self, delta: CallDelta) -> Result<(), LlmError> {
        self.grow(delta.size())?;
        self.slots.add(delta, &self.request.tools);
        Ok(())
    }

    /// The engine's last word. Several count as the most telling one.
    pub fn finish_reason(&mut self, reason: &str) {
        self.has_choice = true;
        if self.finish.is_none() || !matches!(reason, "" | "stop") {
            self.finish = Some(reason.to_owned());
        }
    }

    /// What the engine counted; a later report replaces an earlier one.
    pub const fn usage(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    const fn grow(&mut self, by: usize) -> Result<(), LlmError> {
        self.has_choice = true;
        self.bytes += by;
        if self.bytes > self.options.max_output_bytes {
            return Err(LlmError::OutputTooLarge { limit_bytes: self.options.max_output_bytes });
        }
        Ok(())
    }

    fn pass_on(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    self.shown.push_str(&text);
                    self.events.push(ChatEvent::TextDelta(text));
                }
                Piece::Reasoning(text) => self.events.push(ChatEvent::ReasoningDelta(text)),
                Piece::TextWasReasoning => {
                    // Those who have shown it as text are told to begin anew.
                    let was_shown = self.content.split("</think>").next().unwrap_or_default().to_owned();
                    self.shown.clear();
                    self.events.push(ChatEvent::Restart);
                    self.events.push(ChatEvent::ReasoningDelta(was_shown));
                }
                Piece::Calls(_) => {}
            }
        }
    }

    /// The last deltas and the answer.
    pub fn finish(mut self) -> Vec<ChatEvent> {
        let request = Arc::clone(&self.request);
        let context = context(&request);
        let last = self.scanner.finish(&context);
        self.pass_on(last);
        let (text, inline_reasoning, mut salvaged) = sort(&context, &self.content);
        let mut reasoning = self.reasoning;
        if !inline_reasoning.is_empty() {
            if !reasoning.is_empty() {
                reasoning.push('\n');
            }
            reasoning.push_str(&inline_reasoning);
        }
        let mut calls = std::mem::take(&mut self.slots).into_calls(&request.tools);
        let mut rung = if request.tools.is_empty() { Rung::None } else { Rung::Native };
        if calls.is_empty() && salvaged.is_empty() && text.trim().is_empty() && !request.tools.is_empty() {
            salvaged = calls_at_the_end(&Context { bare: false, ..context }, &reasoning);
        }
        if calls.is_empty() && !salvaged.is_empty() {
            rung = Rung::Salvaged;
            calls = salvaged.into_iter().map(|call| finish_call(call, &request)).collect();
        }
        unique_ids(&mut calls, self.options.id_seed);
        let text = if calls.is_empty() { text.trim_start_matches(['\n', ' ']).to_owned() } else { text.trim().to_owned() };
        let finish = finish_of(self.finish.as_deref(), !calls.is_empty(), !text.trim().is_empty());
        let mut events = self.events;
        if self.shown.trim() != text.trim() {
            // A piece meant something else once the rest was there: what was shown is void.
            events.push(ChatEvent::Restart);
            let again = [ChatEvent::ReasoningDelta(reasoning.clone()), ChatEvent::TextDelta(text.clone())];
            events
                .extend(again.into_iter().filter(|e| !matches!(e, ChatEvent::ReasoningDelta(t) | ChatEvent::TextDelta(t) if t.is_empty())));
        }
        events.push(ChatEvent::Done(Box::new(ChatReply { text, reasoning, calls, finish, usage: self.usage, rung })));
        events
    }
}

fn context(request: &ChatRequest) -> Context<'_> {
    Context { tools: &request.tools, prompt: &request.messages, bare: true, asked: false }
}

/// Text, reasoning and calls of a whole content.
pub(crate) fn sort(context: &Context<'_>, content: &str) -> (String, String, Vec<RawCall>) {
    let mut scanner = Scanner::new();
    let mut pieces = scanner.push(context, content);
    pieces.extend(scanner.finish(context));
    let (mut text, mut reasoning, mut calls) = (String::new(), String::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Text(more) => text.push_str(&more),
            Piece::Reasoning(more) => reasoning.push_str(&more),
            Piece::Calls(more) => calls.extend(more),
            Piece::TextWasReasoning => reasoning.push_str(&std::mem::take(&mut text)),
        }
    }
    (text, reasoning, calls)
}

/// Calls that end a reasoning. Earlier ones were only thought about.
fn calls_at_the_end(context: &Context<'_>, reasoning: &str) -> Vec<RawCall> {
    let mut scanner = Scanner::new();
    let mut pieces = scanner.push(context, reasoning);
    pieces.extend(scanner.finish(context));
    let mut last = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Calls(calls) => last.extend(calls),
            Piece::Text(text) | Piece::Reasoning(text) if !text.trim().is_empty() => last.clear(),
            _ => {}
        }
    }
    last
}

/// A salvaged call as one of a reply, without its id.
pub(crate) fn finish_call(call: RawCall, request: &ChatRequest) -> ReplyCall {
    let schema = request.tools.iter().find(|t| t.name == call.name).map(|t| &t.parameters);
    ReplyCall { id: String::new(), arguments: arguments::from_value(call.arguments, schema), name: call.name }
}

/// Keeps the first use of an id; the others, and missing ones, get nine characters made from `seed`: short enough for the
/// strictest chat template.
pub(crate) fn unique_ids(calls: &mut [ReplyCall], seed: u64) {
    for at in 0..calls.len() {
        let (before, rest) = calls.split_at_mut(at);
        let is_taken = |id: &str| id.is_empty() || before.iter().any(|c| c.id == id);
        let mut attempt = 0_u64;
        while is_taken(&rest[0].id) {
            rest[0].id = short_id(&format!("{seed}/{at}/{attempt}"));
            attempt += 1;
        }
    }
}

/// Nine characters of `[a-zA-Z0-9]` made from a text.
pub(crate) fn short_id(text: &str) -> String {
    use sha2::{Digest as _, Sha256};
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    Sha256::digest(text.as_bytes()).iter().take(9).map(|byte| char::from(ALPHABET[usize::from(*byte) % 62])).collect()
}

fn finish_of(reason: Option<&str>, has_calls: bool, has_text: bool) -> Finish {
    match reason {
        Some("length" | "max_tokens" | "max_length" | "model_length") => Finish::Length,
        _ if has_calls => Finish::ToolCalls,
        Some("stop" | "eos" | "end_turn" | "stop_sequence" | "eos_token") => Finish::Stop,
        // Calls were announced and none came.
        Some("tool_calls" | "function_call") if has_text => Finish::Stop,
        _ => Finish::Other,
    }
}
