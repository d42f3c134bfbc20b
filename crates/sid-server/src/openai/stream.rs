//! A run's events as OpenAI's chunks.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use serde_json::{Value, json};
use sid_types::{Event, EventBody, Role, RunId, Scope};

use super::chat::{OpenAiUsage, finish_reason};
use super::tools;
use crate::App;
use crate::events;

const PING: Duration = Duration::from_secs(15);

/// Turns events into chunks. What was sent cannot be taken back: when a step was begun anew after a fault, the words that came out
/// in the end are sent after those that are void, on a line of their own.
pub(super) struct Chunks {
    id: String,
    model: String,
    created: i64,
    with_usage: bool,
    /// Words of the present step that were sent.
    sent: String,
    /// Whether earlier steps have sent something.
    has_spoken: bool,
    /// Calls for the client that were sent.
    calls: usize,
}

impl Chunks {
    pub(super) fn new(id: String, model: String, created: i64, with_usage: bool) -> Self {
        Self { id, model, created, with_usage, sent: String::new(), has_spoken: false, calls: 0 }
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Value {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        self.envelope(json!([choice]), Value::Null)
    }

    fn envelope(&self, choices: Value, usage: Value) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if self.with_usage {
            chunk["usage"] = usage;
        }
        chunk
    }

    fn first(&self) -> Value {
        self.chunk(&json!({"role": "assistant", "content": ""}), None)
    }

    /// Words of the present step; a blank line parts them from those of the steps before.
    fn say(&mut self, text: &str) -> Option<Value> {
        if text.is_empty() {
            return None;
        }
        let text = if self.sent.is_empty() && self.has_spoken { format!("\n\n{text}") } else { text.to_owned() };
        Some(self.chunk(&json!({"content": text}), None))
    }

    /// The chunks of one event; `None` in the place of `[DONE]`.
    fn of(&mut self, event: Event) -> Vec<Option<Value>> {
        let mut out = Vec::new();
        match event.body {
            EventBody::TextDelta { text } => {
                // White space before the first word of a step is not worth a chunk, and would part the steps.
                let text = if self.sent.is_empty() { text.trim_start() } else { &text };
                out.extend(self.say(text).map(Some));
                self.sent.push_str(text);
            }
            EventBody::Message { message } if message.body.role() == Role::Assistant => {
                let whole = message.body.text().trim();
                match whole.strip_prefix(self.sent.trim_end()) {
                    Some(rest) if !rest.is_empty() => {
                        // `trim_end` may have taken white space that was sent already.
                        let rest = whole.strip_prefix(self.sent.as_str()).unwrap_or(rest);
                        out.extend(self.say(rest).map(Some));
                    }
                    Some(_) => {}
                    None => {
                        self.sent.clear();
                        self.has_spoken = true;
                        out.extend(self.say(whole).map(Some));
                    }
                }
                self.has_spoken |= !whole.is_empty();
                self.sent.clear();
            }
            EventBody::ToolCall { call } if call.for_client => {
                out.push(Some(self.chunk(&tools::delta(self.calls, &call), None)));
                self.calls += 1;
            }
            EventBody::ApprovalAsked { approval, call, .. } => {
                self.has_spoken |= !self.sent.is_empty();
                self.sent.clear();
                out.extend(self.say(&crate::turns::waiting_note(approval, &call)).map(Some));
                self.has_spoken = true;
            }
            EventBody::Done { stop_reason, error, usage, .. } => match finish_reason(Some(stop_reason), error.as_deref()) {
                Ok(reason) => {
                    out.push(Some(self.chunk(&json!({}), Some(reason))));
                    if self.with_usage {
                        let usage = serde_json::to_value(OpenAiUsage::from(usage)).unwrap_or_default();
                        out.push(Some(self.envelope(json!([]), usage)));
                    }
                    out.push(None);
                }
                Err(e) => {
                    out.push(Some(e.openai_body()));
                    out.push(None);
                }
            },
            _ => {}
        }
        out
    }
}

/// The run as SSE. The stream is observation only: closing it does not stop the run.
pub(super) fn respond(app: App, scope: Scope, run: RunId, mut chunks: Chunks) -> Response {
    let first = chunks.first();
    let events = events::follow(app, scope, run, 0).flat_map(move |event| futures::stream::iter(chunks.of(event)));
    let all = futures::stream::once(async move { Some(first) }).chain(events).map(|chunk| {
        let event = match chunk {
            Some(chunk) => SseEvent::default().data(chunk.to_string()),
            None => SseEvent::default().data("[DONE]"),
        };
        Ok::<_, Infallible>(event)
    });
    ([events::NO_BUFFERING], Sse::new(all).keep_alive(KeepAlive::new().interval(PING).text("ping"))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sid_types::{Body, ConversationId, Message, MessageId, RunStatus, Seq, StopReason, Timestamp, Usage};

    fn words(bodies: Vec<EventBody>) -> String {
        let mut chunks = Chunks::new("c".into(), "m".into(), 0, false);
        let run = RunId::new();
        let mut text = String::new();
        for (seq, body) in (1..).zip(bodies) {
            for chunk in chunks.of(Event { run, seq, body, at: Timestamp::UNIX_EPOCH }).into_iter().flatten() {
                text.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
            }
        }
        text
    }

    fn delta(text: &str) -> EventBody {
        EventBody::TextDelta { text: text.into() }
    }

    fn message(text: &str) -> EventBody {
        let body = Body::Assistant { text: text.into(), reasoning: None, tool_calls: Vec::new() };
        let conversation = ConversationId::new();
        EventBody::Message {
            message: Box::new(Message {
                id: MessageId::new(),
                conversation,
                seq: Seq(1),
                run: None,
                body,
                speaker: None,
                at: Timestamp::UNIX_EPOCH,
                tokens: None,
                untrusted: Vec::new(),
                approved: None,
                sender: None,
            }),
        }
    }

    #[test]
    fn deltas_are_the_answer_and_are_not_doubled_by_the_committed_message() {
        assert_eq!(words(vec![delta("Hel"), delta("lo."), message("Hello.")]), "Hello.");
        assert_eq!(words(vec![message("Hello.")]), "Hello.", "an engine that did not stream");
        assert_eq!(words(vec![delta("Hel"), message("Hello.")]), "Hello.", "the tail was not streamed");
        assert_eq!(words(vec![delta(" Hello.\n"), message("Hello.")]), "Hello.\n");
        assert_eq!(words(vec![delta("a "), message("a b")]), "a b");
    }

    #[test]
    fn steps_are_parted_and_void_words_are_followed_by_the_valid_ones() {
        assert_eq!(words(vec![delta("One."), message("One."), delta("Two."), message("Two.")]), "One.\n\nTwo.");
        assert_eq!(words(vec![delta("Wro"), message("Right.")]), "Wro\n\nRight.");
        assert_eq!(words(vec![message(""), delta("Only.")]), "Only.");
    }

    #[test]
    fn the_end_has_a_reason_and_usage_or_an_error() {
        let mut chunks = Chunks::new("c".into(), "m".into(), 0, true);
        let mut done = |stop_reason: StopReason| {
            let body = EventBody::Done {
                status: RunStatus::Completed,
                stop_reason,
                error: Some("why".into()),
                usage: Usage { prompt_tokens: 3, completion_tokens: 2, ..Usage::default() },
            };
            chunks.of(Event { run: RunId::new(), seq: 9, body, at: Timestamp::UNIX_EPOCH })
        };
        let good = done(StopReason::EndTurn);
        assert_eq!(good.len(), 3);
        assert_eq!(good[0].as_ref().expect("chunk")["choices"][0]["finish_reason"], "stop");
        assert_eq!(good[0].as_ref().expect("chunk")["usage"], Value::Null);
        assert_eq!(good[1].as_ref().expect("chunk")["usage"]["total_tokens"], 5);
        assert!(good[2].is_none());
        let bad = done(StopReason::ModelUnavailable);
        assert!(bad[0].as_ref().expect("chunk")["error"]["message"].as_str().expect("text").contains("why"));
        assert!(bad[1].is_none());
    }
}
