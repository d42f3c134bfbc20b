//! The events of a run as a stream: replayed from the store, then followed, resumable anywhere.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderName;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt as _};
use sid_store::StoreError;
use sid_types::{Event, EventBody, Run, RunId, Scope, StopReason};

use crate::App;
use crate::api::wire::EventJson;

/// Events are read in pieces of this many, so that a slow reader holds no more in memory.
const BATCH: usize = 256;
/// A look at the run now and then, in case its events were cleaned away.
const FOLLOW: Duration = Duration::from_secs(10);
const PING: Duration = Duration::from_secs(15);
/// Tells proxies not to hold the stream back.
pub(crate) const NO_BUFFERING: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

struct Reader {
    app: App,
    scope: Scope,
    run: RunId,
    after: u64,
    waiting: VecDeque<Event>,
    is_over: bool,
    faults: u32,
}

/// Events after number `after`, until `done`. Access is checked at each read. Ends early when the server closes or the store fails
/// for long: the client resumes after the last number it saw.
pub(crate) fn follow(app: App, scope: Scope, run: RunId, after: u64) -> impl Stream<Item = Event> + Send {
    let reader = Reader { app, scope, run, after, waiting: VecDeque::new(), is_over: false, faults: 0 };
    futures::stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((event, reader))
    })
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.after = event.seq;
                self.is_over |= matches!(event.body, EventBody::Done { .. });
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            match self.read().await {
                Ok(Some(events)) => {
                    self.faults = 0;
                    self.waiting = events.into();
                }
                Ok(None) => return None,
                Err(e) if e.is_transient() && self.faults < 20 => {
                    self.faults += 1;
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                Err(e) => {
                    tracing::warn!(run = %self.run, code = e.code(), "a stream ended early: {e}");
                    return None;
                }
            }
        }
    }

    /// The next events; `None` = there will be no more.
    async fn read(&self) -> Result<Option<Vec<Event>>, StoreError> {
        let store = self.app.store();
        let stored = store.events(&self.scope, self.run, self.after, BATCH).await?;
        if !stored.is_empty() {
            return Ok(Some(stored));
        }
        let run = store.run(&self.scope, self.run).await?;
        if run.status.is_terminal() {
            // The end may have been written between the two reads.
            let rest = store.events(&self.scope, self.run, self.after, BATCH).await?;
            if rest.is_empty() && store.events(&self.scope, self.run, 0, 1).await?.is_empty() {
                return Ok(Some(vec![end_of(&run, self.after)]));
            }
            return Ok(Some(rest).filter(|r| !r.is_empty()));
        }
        tokio::select! {
            events = store.follow(&self.scope, self.run, self.after, FOLLOW) => events.map(Some),
            () = self.app.closing().cancelled() => Ok(None),
        }
    }
}

/// The end of a run whose events were dropped by their age: what is still known of it, so that whoever waits for the end gets one.
fn end_of(run: &Run, after: u64) -> Event {
    let body = EventBody::Done {
        status: run.status,
        stop_reason: run.stop_reason.unwrap_or(StopReason::Internal),
        error: run.error.clone(),
        usage: run.usage,
    };
    Event { run: run.id, seq: after + 1, body, at: run.ended_at.unwrap_or(run.created_at) }
}

/// The run's events as SSE: `id:` is the number, `event:` the kind, `data:` the JSON of `GET /runs/{id}/events`.
pub(crate) fn sse(app: App, scope: Scope, run: RunId, after: u64) -> Response {
    let first = SseEvent::default().retry(Duration::from_millis(2_000)).comment("sid");
    let events = follow(app, scope, run, after).map(|event| {
        let (id, name) = (event.seq.to_string(), event.body.name());
        SseEvent::default().id(id).event(name).json_data(EventJson::from(event)).unwrap_or_else(|e| {
            tracing::error!("an event could not be written: {e}");
            SseEvent::default().comment("unreadable event")
        })
    });
    let stream = futures::stream::once(async move { first }).chain(events).map(Ok::<_, Infallible>);
    let run = [(HeaderName::from_static("x-sid-run"), run.to_string())];
    ([NO_BUFFERING], run, Sse::new(stream).keep_alive(KeepAlive::new().interval(PING).text("ping"))).into_response()
}

/// Whether the client asked for a stream.
pub(crate) fn wants_stream(headers: &axum::http::HeaderMap) -> bool {
    headers.get("accept").and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("text/event-stream"))
}
