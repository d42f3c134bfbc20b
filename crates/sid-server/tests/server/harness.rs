//! A server, a model, and clients with a key.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use futures::StreamExt as _;
use serde_json::{Value, json};
use sid_server::App;
use sid_server::config::{Config, Sources};
use sid_testkit::model_server::{ModelServer, ServerOptions};
use sid_types::{Clock, SystemClock};
use tower::ServiceExt as _;

/// A fresh server with a `default` tenant, on a scripted model.
pub(crate) struct House {
    pub(crate) app: App,
    pub(crate) model: ModelServer,
    pub(crate) operator: Client,
}

pub(crate) fn flags(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(&[], ServerOptions::default()).await
    }

    pub(crate) async fn with(extra: &[(&str, &str)], model: ServerOptions) -> Self {
        Self::at(Arc::new(SystemClock), extra, model).await
    }

    /// With a clock of the test's own.
    pub(crate) async fn at(clock: Arc<dyn Clock>, extra: &[(&str, &str)], model: ServerOptions) -> Self {
        let model = ModelServer::start_with(model).await.expect("a free port");
        let url = format!("{}/v1", model.base_url());
        let mut all = flags(&[
            ("store.kind", "in-process"),
            ("models.default.base_url", &url),
            ("models.default.model", "scripted"),
            ("models.default.max_tries", "1"),
            ("engine.diary", "false"),
            ("server.log_requests", "false"),
        ]);
        all.extend(flags(extra));
        let config = Config::load(Sources { flags: all, ..Sources::default() }).expect("a good configuration");
        let app = App::open_with_clock(config, clock).await.expect("opens");
        let operator = Client::new(app.router(), app.first_key().expect("a new store"));
        Self { app, model, operator }
    }

    /// A client with a new tenant's key.
    pub(crate) async fn tenant(&self, name: &str) -> Client {
        let tenant = self.operator.post("/api/v1/tenants", json!({"name": name})).await.ok();
        let role = json!({"type": "tenant", "tenant": tenant["id"]});
        let key = self.operator.post("/api/v1/keys", json!({"name": name, "role": role})).await.ok();
        self.operator.with_key(key["key"].as_str().expect("a key"))
    }
}

/// Who calls.
#[derive(Clone)]
pub(crate) struct Client {
    router: Router,
    headers: Vec<(String, String)>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The body of a success.
    pub(crate) fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{}: {}", self.status, String::from_utf8_lossy(&self.body));
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// The status and code of a problem+json answer.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", String::from_utf8_lossy(&self.body));
        let body = self.json();
        assert_eq!(body["status"], self.status.as_u16());
        assert_eq!(body["request_id"].as_str(), self.headers["x-request-id"].to_str().ok());
        let code = body["code"].as_str().expect("a code").to_owned();
        assert!(body["type"].as_str().expect("a type").ends_with(&format!("/docs/errors/{code}.md")));
        assert!(!body["title"].as_str().expect("a title").is_empty() && !body["detail"].as_str().expect("a detail").is_empty());
        (self.status.as_u16(), code)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

impl Client {
    pub(crate) fn new(router: Router, key: &str) -> Self {
        Self { router, headers: vec![("authorization".into(), format!("Bearer {key}"))] }
    }

    pub(crate) fn nobody(&self) -> Self {
        Self { router: self.router.clone(), headers: Vec::new() }
    }

    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self::new(self.router.clone(), key)
    }

    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut new = self.clone();
        new.headers.push((name.into(), value.into()));
        new
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: impl Into<Body>) -> axum::response::Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        self.router.clone().oneshot(request.body(body.into()).expect("a request")).await.expect("infallible")
    }

    pub(crate) async fn raw(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let response = self.send(method, path, body).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.raw(Method::GET, path, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.raw(Method::POST, path, body.to_string()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.raw(Method::PATCH, path, body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.raw(Method::PUT, path, body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.raw(Method::DELETE, path, Body::empty()).await
    }

    /// The events of a stream, until it ends or `most` have come.
    pub(crate) async fn stream(&self, method: Method, path: &str, body: Value, most: usize) -> Vec<Sse> {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.send(method, path, body).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        let mut chunks = response.into_body().into_data_stream();
        let mut text = String::new();
        while let Some(chunk) = chunks.next().await {
            text.push_str(std::str::from_utf8(&chunk.expect("a chunk")).expect("whole characters"));
            if parse(&text).len() >= most {
                break;
            }
        }
        parse(&text)
    }

    /// An agent and a conversation with a user; answers the conversation's id.
    pub(crate) async fn conversation(&self, agent: &str, user: &str) -> String {
        if self.get(&format!("/api/v1/agents/@{agent}")).await.status == StatusCode::NOT_FOUND {
            self.post("/api/v1/agents", json!({"name": agent})).await.ok();
        }
        if self.get(&format!("/api/v1/users/@{user}")).await.status == StatusCode::NOT_FOUND {
            self.post("/api/v1/users", json!({"handle": user})).await.ok();
        }
        let opened = self.post("/api/v1/conversations", json!({"agent": format!("@{agent}"), "user": format!("@{user}"), "key": "main"}));
        opened.await.ok()["id"].as_str().expect("an id").to_owned()
    }

    /// A client with the key of a user of this tenant, who is made.
    pub(crate) async fn user(&self, handle: &str) -> Self {
        if self.get(&format!("/api/v1/users/@{handle}")).await.status == StatusCode::NOT_FOUND {
            self.post("/api/v1/users", json!({"handle": handle})).await.ok();
        }
        let role = json!({"type": "user", "user": format!("@{handle}")});
        let key = self.post("/api/v1/keys", json!({"name": handle, "role": role})).await.ok();
        self.with_key(key["key"].as_str().expect("a key"))
    }
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sse {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: String,
}

impl Sse {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).expect("JSON")
    }
}

fn parse(text: &str) -> Vec<Sse> {
    let mut found = Vec::new();
    for block in text.split_inclusive("\n\n").filter(|b| b.ends_with("\n\n")) {
        let field = |name: &str| block.lines().find_map(|l| l.strip_prefix(name)).map(str::trim).unwrap_or_default().to_owned();
        let event = Sse { id: field("id:"), event: field("event:"), data: field("data:") };
        if !event.data.is_empty() {
            found.push(event);
        }
    }
    found
}
