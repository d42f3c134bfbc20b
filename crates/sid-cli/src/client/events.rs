//! The events of a run, resumed after the last one that was seen when the connection breaks.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sid_llm::SseParser;
use uuid::Uuid;

use super::{Client, Request};
use crate::error::CliError;

/// The server pings every 15 s: a stream that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(50);
const TRIES: u32 = 8;
/// A message with its tool results is far below this.
const MAX_EVENT_BYTES: usize = 64 * 1024 * 1024;

/// One thing that happened in a run.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its number in the run.
    pub seq: u64,
    /// The run.
    pub run: String,
    /// When.
    pub at: String,
    /// What.
    pub kind: EventKind,
    /// As it came.
    pub raw: Value,
}

/// Tokens that were used.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Of the prompts.
    pub prompt_tokens: u64,
    /// Of the answers.
    pub completion_tokens: u64,
    /// Of the prompts, taken from the engine's cache.
    pub cached_tokens: u64,
}

/// What happened. Kinds of a newer server are `Unknown` and passed over.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are those of docs/api.md")]
pub enum EventKind {
    Started {
        epoch: u64,
    },
    Recalled {
        items: Vec<crate::wire::Recalled>,
        prompt_tokens: u64,
        window_tokens: u64,
    },
    TextDelta {
        text: String,
    },
    ReasoningDelta {
        text: String,
    },
    ToolCall {
        call: Call,
    },
    Message {
        message: Box<crate::wire::Message>,
    },
    ApprovalAsked {
        approval: String,
        call: Call,
        reason: String,
    },
    PageOut {
        messages: u64,
        queue_start: u64,
        is_floor: bool,
    },
    Step {
        number: u64,
        usage: Usage,
        rung: String,
    },
    Done {
        status: String,
        stop_reason: String,
        error: Option<String>,
        usage: Usage,
    },
    #[serde(other)]
    Unknown,
}

/// A tool call.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Call {
    /// The tool.
    pub name: String,
    /// Its arguments.
    pub arguments: Value,
}

impl EventKind {
    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        matches!(self, Self::Done { .. })
    }
}

struct Stream {
    body: BoxStream<'static, Result<Bytes, CliError>>,
    parser: SseParser,
    ready: VecDeque<Event>,
}

impl Stream {
    fn of(body: BoxStream<'static, Result<Bytes, CliError>>) -> Self {
        Self { body, parser: SseParser::new(MAX_EVENT_BYTES), ready: VecDeque::new() }
    }

    /// The next event; `None` when the connection is over, for whatever reason.
    async fn next(&mut self) -> Result<Option<Event>, CliError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let piece = match tokio::time::timeout(SILENCE, self.body.next()).await {
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(_)) | None) | Err(_) => return Ok(None),
            };
            let mut found = Vec::new();
            self.parser.feed(&piece, &mut found).map_err(|e| CliError::odd_answer("a run's events", e))?;
            for event in found {
                self.ready.push_back(parse(&event.data)?);
            }
        }
    }
}

fn odd(error: serde_json::Error) -> CliError {
    CliError::odd_answer("a run's events", error)
}

fn parse(data: &str) -> Result<Event, CliError> {
    Event::read(serde_json::from_str(data).map_err(odd)?)
}

impl Event {
    /// Reads the JSON of an event.
    pub fn read(raw: Value) -> Result<Self, CliError> {
        #[derive(Deserialize)]
        struct Head {
            seq: u64,
            run: String,
            #[serde(default)]
            at: String,
        }
        let head = Head::deserialize(&raw).map_err(odd)?;
        let kind = EventKind::deserialize(&raw).map_err(odd)?;
        Ok(Self { seq: head.seq, run: head.run, at: head.at, kind, raw })
    }
}

/// A run's events, in order, each once.
pub struct RunEvents<'a> {
    client: &'a Client,
    run: String,
    last: u64,
    is_over: bool,
    stream: Option<Stream>,
    failures: u32,
}

impl<'a> RunEvents<'a> {
    pub(super) fn resume(client: &'a Client, run: String, after: u64) -> Self {
        Self { client, run, last: after, is_over: false, stream: None, failures: 0 }
    }

    pub(super) async fn start(client: &'a Client, conversation: &str, text: &str) -> Result<Self, CliError> {
        // The key makes it safe to send again when nobody knows whether the first time arrived.
        let request = Request::post(&["conversations", conversation, "messages"])
            .header("idempotency-key", Uuid::now_v7().to_string())
            .header("accept", "text/event-stream")
            .json(json!({"text": text, "stream": true}));
        let mut tries = 0;
        let reply = loop {
            match client.send(request.clone()).await {
                Err(CliError::Unreachable { .. }) if tries < 2 => {
                    tries += 1;
                    tokio::time::sleep(pause(tries)).await;
                }
                other => break other?,
            }
        };
        let run = reply.header("x-sid-run").unwrap_or_default().to_owned();
        let mut events = Self::resume(client, run, 0);
        events.stream = Some(Stream::of(reply.body));
        Ok(events)
    }

    /// The run; empty until the first event when the server did not name it before.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The next event; `None` after the last.
    ///
    /// Errors: the server refuses, or cannot be reached for about half a minute.
    pub async fn next(&mut self) -> Result<Option<Event>, CliError> {
        while !self.is_over {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    let is_patient = self.last > 0 || self.failures > 0;
                    self.stream.insert(connect(self.client, &self.run, self.last, is_patient).await?)
                }
            };
            match stream.next().await? {
                // Seen before the connection broke.
                Some(event) if event.seq <= self.last => {}
                Some(event) => {
                    self.failures = 0;
                    self.last = event.seq;
                    self.is_over = event.kind.is_last();
                    if self.run.is_empty() {
                        self.run.clone_from(&event.run);
                    }
                    return Ok(Some(event));
                }
                None => self.broken().await?,
            }
        }
        Ok(None)
    }

    /// The connection is over but the run is not.
    async fn broken(&mut self) -> Result<(), CliError> {
        self.stream = None;
        self.failures += 1;
        if self.failures > TRIES || self.run.is_empty() {
            return Err(CliError::Unreachable {
                what: self.client.describe(),
                why: "the stream of events broke off and could not be resumed".into(),
                hint: format!("the run goes on without us: `sid events {} --follow --after {}`", self.run, self.last),
            });
        }
        tokio::time::sleep(pause(self.failures)).await;
        Ok(())
    }
}

/// `is_patient`: the server was there before and may be starting again; a first connection fails at once.
async fn connect(client: &Client, run: &str, after: u64, is_patient: bool) -> Result<Stream, CliError> {
    let mut tries = 0;
    loop {
        let mut request = Request::get(&["runs", run, "events"]).header("accept", "text/event-stream");
        if after > 0 {
            request = request.header("last-event-id", after.to_string());
        }
        match client.send(request).await {
            Ok(reply) => return Ok(Stream::of(reply.body)),
            Err(error) => {
                let is_passing = match &error {
                    CliError::Unreachable { .. } => true,
                    CliError::Api(problem) => problem.status == 503,
                    _ => false,
                };
                if !is_patient || !is_passing || tries == TRIES {
                    return Err(error);
                }
                tries += 1;
                tokio::time::sleep(pause(tries)).await;
            }
        }
    }
}

/// 0.25 s, doubling to 8 s.
fn pause(failures: u32) -> Duration {
    Duration::from_millis(250 << failures.saturating_sub(1).min(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_unknown_kinds_passed_over() {
        let event = parse(r#"{"run":"run_1","seq":3,"at":"2026-01-01T00:00:00Z","event":"text_delta","text":"hi"}"#).expect("event");
        assert_eq!(event.seq, 3);
        assert!(matches!(event.kind, EventKind::TextDelta { ref text } if text == "hi"));
        let event = parse(r#"{"run":"run_1","seq":4,"event":"dreamt","of":"sheep"}"#).expect("event");
        assert!(matches!(event.kind, EventKind::Unknown));
        assert!(parse(r#"{"event":"done"}"#).is_err());
    }
}
