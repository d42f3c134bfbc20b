//! Sid's REST API as an application's client sees it: several addresses, one key, and the ordinary retry.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::checker::{Event, Message, Run};

/// A caller. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    bases: Arc<Vec<String>>,
    next: Arc<AtomicUsize>,
    key: String,
    tenant: Option<String>,
}

/// Why a request was not answered with 2xx.
#[derive(Debug, Clone)]
pub enum Failure {
    /// The server said no.
    Refused {
        /// The HTTP status.
        status: u16,
        /// Seconds of `Retry-After`, if it came.
        retry_after: Option<u64>,
        /// `code` of the problem, such as `SID-STORE-BUSY`.
        code: String,
        /// The body.
        body: String,
    },
    /// No whole answer came: whether the request took effect is not known.
    Cut(String),
}

impl Failure {
    /// Whether an ordinary client sends it again: cut connections, and 429 and 503 that say when.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { status, retry_after, .. } => matches!(status, 429 | 503) && retry_after.is_some(),
            Self::Cut(_) => true,
        }
    }

    /// A short name to count it by.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Refused { status, retry_after: None, .. } if matches!(status, 429 | 503) => format!("{status} without Retry-After"),
            Self::Refused { status, .. } => status.to_string(),
            Self::Cut(_) => "cut".into(),
        }
    }

    /// The HTTP status, if there was one.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Cut(_) => None,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { status, body, .. } => write!(f, "HTTP {status}: {body}"),
            Self::Cut(why) => write!(f, "no answer: {why}"),
        }
    }
}

impl std::error::Error for Failure {}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
    next: Option<String>,
}

/// Time enough for the longest wait of a test; a hung connection ends some day.
const LONGEST: Duration = Duration::from_secs(60);

impl Api {
    /// A caller of all of these servers, one after the other.
    ///
    /// # Panics
    /// When no HTTP client can be made.
    #[must_use]
    pub fn new(bases: Vec<String>, key: impl Into<String>) -> Self {
        Self { client: client(true), bases: Arc::new(bases), next: Arc::default(), key: key.into(), tenant: None }
    }

    /// The same, inside a tenant.
    #[must_use]
    pub fn tenant(&self, name: &str) -> Self {
        Self { tenant: Some(name.to_owned()), next: Arc::default(), ..self.clone() }
    }

    /// The same at other addresses.
    #[must_use]
    pub fn at(&self, bases: Vec<String>) -> Self {
        Self { bases: Arc::new(bases), next: Arc::default(), ..self.clone() }
    }

    /// The same on one of its servers.
    #[must_use]
    pub fn only(&self, server: usize) -> Self {
        self.at(vec![self.base(server)])
    }

    /// The same with a connection for each request.
    #[must_use]
    pub fn unpooled(&self) -> Self {
        Self { client: client(false), next: Arc::default(), ..self.clone() }
    }

    /// The address of one of its servers, counted around.
    #[must_use]
    pub fn base(&self, server: usize) -> String {
        self.bases[server % self.bases.len()].clone()
    }

    /// How many servers it knows.
    #[must_use]
    pub fn servers(&self) -> usize {
        self.bases.len()
    }

    /// A request to the next server.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let base = &self.bases[self.next.fetch_add(1, Ordering::Relaxed) % self.bases.len()];
        let path = if path.starts_with("/health") || path.starts_with("/metrics") { path.to_owned() } else { format!("/api/v1{path}") };
        let mut request = self.client.request(method, format!("{base}{path}")).bearer_auth(&self.key);
        if let Some(tenant) = &self.tenant {
            request = request.header("x-sid-tenant", tenant);
        }
        request
    }

    /// Sends one request once; the status and the body of a 2xx.
    ///
    /// Errors: everything else.
    pub async fn once(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<(u16, String), Failure> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let cut = |e: reqwest::Error| Failure::Cut(format!("{e:?}"));
        let answer = request.send().await.map_err(cut)?;
        let status = answer.status();
        let retry_after = answer.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
        let body = answer.text().await.map_err(cut)?;
        if status.is_success() {
            return Ok((status.as_u16(), body));
        }
        let code = serde_json::from_str::<Value>(&body).ok().and_then(|p| Some(p["code"].as_str()?.to_owned())).unwrap_or_default();
        Err(Failure::Refused { status: status.as_u16(), retry_after, code, body })
    }

    /// Sends it again as an ordinary client does, for at most so long.
    ///
    /// Errors: what no repetition helps, or the last failure when the time is over.
    pub async fn patiently(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
        limit: Duration,
    ) -> Result<String, Failure> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            match self.once(method.clone(), path, body, key).await {
                Ok((_, body)) => return Ok(body),
                Err(failure) if failure.is_retryable() && began.elapsed() < limit => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Reads something, patiently.
    ///
    /// Errors: the answer is not 2xx, or not what it should be.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let body = self.patiently(reqwest::Method::GET, path, None, None, LONGEST).await.with_context(|| format!("GET {path}"))?;
        serde_json::from_str(&body).with_context(|| format!("GET {path} answered {body}"))
    }

    /// Makes something, patiently and once.
    ///
    /// Errors: the answer is not 2xx.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let key = uuid::Uuid::now_v7().to_string();
        let answer = self.patiently(reqwest::Method::POST, path, Some(body), Some(&key), LONGEST).await;
        let text = answer.map_err(|e| anyhow!("POST {path}: {e}"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// All items of a list.
    ///
    /// Errors: as [`get`](Self::get).
    pub async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let (mut items, mut after) = (Vec::new(), String::new());
        let mark = if path.contains('?') { '&' } else { '?' };
        loop {
            let page: List<T> = self.get(&format!("{path}{mark}limit=1000{after}")).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => after = format!("&after={next}"),
                None => return Ok(items),
            }
        }
    }

    /// All messages of a conversation, in order.
    ///
    /// Errors: as [`get`](Self::get).
    pub async fn messages(&self, conversation: &str) -> Result<Vec<Message>> {
        self.all(&format!("/conversations/{conversation}/messages")).await
    }

    /// The newest thousand runs of a conversation, newest first.
    ///
    /// Errors: as [`get`](Self::get).
    pub async fn runs(&self, conversation: &str) -> Result<Vec<Run>> {
        self.all(&format!("/conversations/{conversation}/runs")).await
    }

    /// All events of a run.
    ///
    /// Errors: as [`get`](Self::get).
    pub async fn events(&self, run: &str) -> Result<Vec<Event>> {
        self.all(&format!("/runs/{run}/events")).await
    }

    /// A tenant, once; answers the API inside it.
    ///
    /// Errors: as [`post`](Self::post).
    pub async fn make_tenant(&self, name: &str) -> Result<Self> {
        match self.once(reqwest::Method::POST, "/tenants", Some(&json!({"name": name})), None).await {
            Ok(_) => Ok(self.tenant(name)),
            // An answer that was lost: the second request finds what the first has made.
            Err(e) if e.status() == Some(409) => Ok(self.tenant(name)),
            Err(e) => Err(e.into()),
        }
    }

    /// An agent, by name.
    ///
    /// Errors: as [`post`](Self::post).
    pub async fn make_agent(&self, name: &str) -> Result<()> {
        self.post("/agents", &json!({"name": name})).await.map(drop)
    }

    /// A conversation of a new user with an agent; its id.
    ///
    /// Errors: as [`post`](Self::post).
    pub async fn make_conversation(&self, agent: &str, user: &str) -> Result<String> {
        self.post("/users", &json!({"handle": user})).await?;
        let body = json!({"agent": format!("@{agent}"), "user": format!("@{user}"), "key": "torture"});
        let made = self.post("/conversations", &body).await?;
        Ok(made["id"].as_str().context("a conversation has an id")?.to_owned())
    }

    /// So many conversations, each of a user of its own, over these many agents.
    ///
    /// Errors: as [`post`](Self::post).
    pub async fn make_conversations(&self, count: usize, agents: usize) -> Result<Vec<String>> {
        for agent in 0..agents {
            self.make_agent(&format!("agent{agent}")).await?;
        }
        let mut made = Vec::with_capacity(count);
        for i in 0..count {
            made.push(self.make_conversation(&format!("agent{}", i % agents), &format!("user{i}")).await?);
        }
        Ok(made)
    }

    /// Says something and does not wait for the answer; the run's id.
    ///
    /// Errors: as [`once`](Self::once).
    pub async fn say(&self, conversation: &str, text: &str, key: &str) -> Result<String, Failure> {
        let body = json!({"text": text, "wait": false});
        let (_, answer) = self.once(reqwest::Method::POST, &messages_path(conversation), Some(&body), Some(key)).await?;
        run_of(&answer)
    }

    /// Says something and waits for the answer; run and reply.
    ///
    /// Errors: as [`once`](Self::once).
    pub async fn ask(&self, conversation: &str, text: &str, key: &str) -> Result<(Run, String), Failure> {
        let (_, answer) = self.once(reqwest::Method::POST, &messages_path(conversation), Some(&json!({"text": text})), Some(key)).await?;
        let odd = || Failure::Cut(format!("an answer without a run: {answer}"));
        let turn: Value = serde_json::from_str(&answer).map_err(|_| odd())?;
        let run = serde_json::from_value(turn["run"].clone()).map_err(|_| odd())?;
        Ok((run, turn["reply"].as_str().unwrap_or_default().to_owned()))
    }

    /// Opens the stream of a run's events after number `after`.
    ///
    /// Errors: the stream does not open.
    pub async fn stream(&self, run: &str, after: u64) -> Result<EventStream, Failure> {
        let request = self.request(reqwest::Method::GET, &format!("/runs/{run}/events")).header("accept", "text/event-stream");
        let request = if after > 0 { request.header("last-event-id", after.to_string()) } else { request };
        EventStream::open(request).await
    }
}

/// Where messages are sent to.
#[must_use]
pub fn messages_path(conversation: &str) -> String {
    format!("/conversations/{conversation}/messages")
}

fn run_of(answer: &str) -> Result<String, Failure> {
    let id = serde_json::from_str::<Value>(answer).ok().and_then(|turn| Some(turn["run"]["id"].as_str()?.to_owned()));
    id.ok_or_else(|| Failure::Cut(format!("an answer without a run: {answer}")))
}

pub(super) fn client(is_pooled: bool) -> reqwest::Client {
    // `reqwest` is built without a provider of its own; a second installation changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().timeout(LONGEST).connect_timeout(Duration::from_secs(5)).tcp_nodelay(true).no_proxy();
    let builder = if is_pooled { builder } else { builder.pool_max_idle_per_host(0) };
    builder.build().expect("an HTTP client can be made")
}

/// Server-sent events of a run, as they come.
#[derive(Debug)]
pub struct EventStream {
    answer: reqwest::Response,
    /// What has come and is no whole event yet.
    buffer: Vec<u8>,
}

impl EventStream {
    /// Opens one with a request of one's own.
    ///
    /// Errors: the answer is not 200.
    pub async fn open(request: reqwest::RequestBuilder) -> Result<Self, Failure> {
        let answer = request.send().await.map_err(|e| Failure::Cut(format!("{e:?}")))?;
        if answer.status().as_u16() != 200 {
            let (status, retry_after) =
                (answer.status().as_u16(), answer.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok()));
            let body = answer.text().await.unwrap_or_default();
            return Err(Failure::Refused { status, retry_after, code: String::new(), body });
        }
        Ok(Self { answer, buffer: Vec::new() })
    }

    /// The next event; `None` when the stream has ended properly.
    ///
    /// Errors: it was cut. What had come of an unfinished event is no event.
    pub async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|w| w == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(event) = parse(&block)? {
                    return Ok(Some(event));
                }
            }
            match self.answer.chunk().await {
                Ok(Some(bytes)) => self.buffer.extend_from_slice(&bytes),
                Ok(None) => return Ok(None),
                Err(e) => return Err(Failure::Cut(format!("{e:?}"))),
            }
        }
    }
}

/// One block of a stream; `None` for comments and settings.
fn parse(block: &[u8]) -> Result<Option<Event>, Failure> {
    let text = String::from_utf8_lossy(block);
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let Some(data) = field("data:") else { return Ok(None) };
    let odd = || Failure::Cut(format!("an event that cannot be read: {text}"));
    let event: Event = serde_json::from_str(data).map_err(|_| odd())?;
    if field("id:") != Some(event.seq.to_string().as_str()) || field("event:") != Some(event.event.as_str()) {
        return Err(odd());
    }
    Ok(Some(event))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn blocks_are_events_or_nothing() {
        let event = parse(b"id: 3\nevent: done\ndata: {\"seq\":3,\"event\":\"done\",\"status\":\"completed\"}\n\n")
            .expect("readable")
            .expect("an event");
        assert_eq!((event.seq, event.event.as_str(), event.status.as_deref()), (3, "done", Some("completed")));
        assert!(parse(b": ping\n\n").expect("readable").is_none());
        assert!(parse(b"id: 4\nevent: done\ndata: {\"seq\":3,\"event\":\"done\"}\n\n").is_err(), "the number and the event differ");
    }
}
