//! Before the guard: a key for those who send none, and who listens.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::InvalidHeaderValue;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use parking_lot::Mutex;

/// How long a client may take to open the stream that it opens after its handshake.
const PATIENCE: Duration = Duration::from_secs(30);

/// State of the layer.
#[derive(Clone)]
pub(crate) struct Door {
    key: HeaderValue,
    /// Sessions whose client has opened the stream on which it hears what belongs to no request.
    listening: Arc<Mutex<HashSet<String>>>,
}

impl Door {
    pub(crate) fn new(key: &str) -> Result<Self, InvalidHeaderValue> {
        Ok(Self { key: format!("Bearer {key}").parse()?, listening: Arc::default() })
    }

    /// Ready when the client of this session listens: what is sent before that is lost.
    pub(crate) async fn listens(&self, session: &str) {
        let opened = async {
            while !self.listening.lock().contains(session) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, opened).await;
    }
}

/// The session that a request belongs to.
pub(crate) fn session(headers: &HeaderMap) -> Option<String> {
    headers.get("mcp-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned)
}

pub(crate) async fn pass(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    request.headers_mut().entry(header::AUTHORIZATION).or_insert_with(|| door.key.clone());
    let listener = (request.method() == Method::GET).then(|| session(request.headers())).flatten();
    let response = next.run(request).await;
    if response.status().is_success() {
        door.listening.lock().extend(listener);
    }
    response
}
