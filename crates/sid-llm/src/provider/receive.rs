//! Receives an answer, streamed or whole, and feeds it to the assembler.

use async_stream::try_stream;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use crate::document::parse_document;
use crate::{Assembler, ChatEvent, ChatStream, LlmError, SseParser};

/// What the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// Server-sent events, or one JSON document where an engine does not stream.
    #[cfg(feature = "openai")]
    OpenAi,
    /// Lines of JSON, or one document.
    #[cfg(feature = "ollama")]
    Ollama,
}

/// JSON frames around every token: the bytes on the wire may be this many times those of the answer.
const FRAMING: usize = 32;

/// Turns the bytes into events.
///
/// A chunk of bytes that brings nothing to show gives an empty [`ChatEvent::ReasoningDelta`], so that the idle time-out
/// sees life while a long call comes in.
pub(super) fn receive(
    bytes: impl Stream<Item = Result<Bytes, LlmError>> + Send + 'static,
    assembler: Assembler,
    wire: Wire,
    max_output_bytes: usize,
) -> ChatStream {
    let stream = try_stream! {
        let mut bytes = std::pin::pin!(bytes);
        let mut decoder = Decoder::new(assembler, wire, max_output_bytes);
        while let Some(chunk) = bytes.next().await {
            let is_over = decoder.feed(&chunk?)?;
            let events = decoder.assembler.take_events();
            if events.is_empty() {
                yield ChatEvent::ReasoningDelta(String::new());
            }
            for event in events {
                yield event;
            }
            if is_over {
                break;
            }
        }
        for event in decoder.finish()? {
            yield event;
        }
    };
    stream.boxed()
}

struct Decoder {
    assembler: Assembler,
    wire: Wire,
    sse: SseParser,
    /// A whole document, or the last line.
    buffer: Vec<u8>,
    mode: Mode,
    received: usize,
    max_output_bytes: usize,
    saw_done: bool,
    events: Vec<crate::SseEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(all(feature = "openai", feature = "ollama")), expect(dead_code, reason = "each provider has its own modes"))]
enum Mode {
    /// No byte that tells has come.
    Unknown,
    Events,
    Lines,
    Document,
}

impl Decoder {
    const fn new(assembler: Assembler, wire: Wire, max_output_bytes: usize) -> Self {
        Self {
            assembler,
            wire,
            sse: SseParser::new(max_output_bytes.saturating_mul(2).saturating_add(1 << 16)),
            buffer: Vec::new(),
            mode: Mode::Unknown,
            received: 0,
            max_output_bytes,
            saw_done: false,
            events: Vec::new(),
        }
    }

    const fn too_large(&self) -> LlmError {
        LlmError::OutputTooLarge { limit_bytes: self.max_output_bytes }
    }

    /// Answers whether the stream is over.
    fn feed(&mut self, mut chunk: &[u8]) -> Result<bool, LlmError> {
        self.received = self.received.saturating_add(chunk.len());
        if self.received > self.max_output_bytes.saturating_mul(FRAMING).saturating_add(1 << 20) {
            return Err(self.too_large());
        }
        if self.mode == Mode::Unknown {
            let Some(first) = chunk.iter().position(|b| !b.is_ascii_whitespace()) else { return Ok(false) };
            chunk = &chunk[first..];
            self.mode = match self.wire {
                #[cfg(feature = "ollama")]
                Wire::Ollama => Mode::Lines,
                // An engine that ignores `stream: true` answers with a document, whatever it calls the type.
                #[cfg(feature = "openai")]
                Wire::OpenAi if matches!(chunk[0], b'{' | b'[') => Mode::Document,
                #[cfg(feature = "openai")]
                Wire::OpenAi => Mode::Events,
            };
        }
        match self.mode {
            Mode::Events => self.feed_events(chunk),
            Mode::Lines => self.feed_lines(chunk),
            Mode::Unknown | Mode::Document => {
                self.buffer.extend_from_slice(chunk);
                if self.buffer.len() > self.max_output_bytes.saturating_mul(2).saturating_add(1 << 16) {
                    return Err(self.too_large());
                }
                Ok(false)
            }
        }
    }

    fn feed_events(&mut self, chunk: &[u8]) -> Result<bool, LlmError> {
        let mut events = std::mem::take(&mut self.events);
        self.sse.feed(chunk, &mut events).map_err(|_| self.too_large())?;
        for event in events.drain(..) {
            self.event(&event)?;
        }
        self.events = events;
        Ok(self.saw_done)
    }

    fn event(&mut self, event: &crate::SseEvent) -> Result<(), LlmError> {
        let data = event.data.trim();
        if self.saw_done || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            self.saw_done = true;
            return Ok(());
        }
        let value = parse(data)?;
        if event.event.as_deref() == Some("error") && value.get("error").is_none() {
            return Err(crate::refusal::in_stream(&value));
        }
        self.document(&value)
    }

    fn feed_lines(&mut self, chunk: &[u8]) -> Result<bool, LlmError> {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            self.buffer.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.buffer);
            self.line(&line)?;
        }
        self.buffer.extend_from_slice(rest);
        if self.buffer.len() > self.max_output_bytes.saturating_mul(2).saturating_add(1 << 16) {
            return Err(self.too_large());
        }
        Ok(self.saw_done)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), LlmError> {
        let line = String::from_utf8_lossy(line);
        if line.trim().is_empty() || self.saw_done {
            return Ok(());
        }
        let value = parse(line.trim())?;
        self.document(&value)?;
        self.saw_done = self.assembler.is_finished();
        Ok(())
    }

    fn document(&mut self, value: &serde_json::Value) -> Result<(), LlmError> {
        match self.wire {
            #[cfg(feature = "openai")]
            Wire::OpenAi => self.assembler.openai(value),
            #[cfg(feature = "ollama")]
            Wire::Ollama => self.assembler.ollama(value),
        }
    }

    fn finish(mut self) -> Result<Vec<ChatEvent>, LlmError> {
        match self.mode {
            Mode::Events => {
                if let Some(event) = self.sse.finish() {
                    self.event(&event)?;
                }
            }
            Mode::Lines => {
                let line = std::mem::take(&mut self.buffer);
                self.line(&line)?;
            }
            Mode::Document => {
                let body = std::mem::take(&mut self.buffer);
                let value = parse(String::from_utf8_lossy(&body).trim())?;
                self.document(&value)?;
                // A whole document is whole, whatever it says about its end.
                self.saw_done = true;
            }
            Mode::Unknown => return Err(LlmError::Interrupted { detail: "the engine sent an empty body".into() }),
        }
        if !self.assembler.has_choice() {
            return Err(LlmError::Interrupted { detail: "the engine sent no choice".into() });
        }
        if !self.saw_done && !self.assembler.is_finished() {
            return Err(LlmError::Interrupted { detail: "the stream ended in the middle of the answer".into() });
        }
        Ok(self.assembler.finish())
    }
}

fn parse(text: &str) -> Result<serde_json::Value, LlmError> {
    parse_document(text).map_err(|error| LlmError::Interrupted {
        detail: format!("the engine sent something that is not JSON ({error}): {}", text.chars().take(120).collect::<String>()),
    })
}
