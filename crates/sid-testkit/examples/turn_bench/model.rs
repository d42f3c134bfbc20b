//! The instant model: answers one short sentence, streamed, and keeps the requests that it saw.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use parking_lot::Mutex;

/// The model, listening.
pub(crate) struct Model {
    pub(crate) url: String,
    requests: Requests,
}

type Requests = Arc<Mutex<Vec<String>>>;

impl Model {
    /// A model that thinks for so long before it answers.
    pub(crate) async fn start(delay: Duration) -> Result<Self> {
        let requests = Requests::default();
        let app = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/v1/models", get(|| async { r#"{"object":"list","data":[{"id":"instant","object":"model"}]}"# }))
            .with_state((requests.clone(), delay));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { url, requests })
    }

    /// The bodies of all chat requests since the last call, in order.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock())
    }
}

const ANSWER: &str = concat!(
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"instant\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"That is good to hear, \"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"instant\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"tell me more about it.\"},\"finish_reason\":\"stop\"}]}\n\n",
    "data: [DONE]\n\n"
);

async fn chat(State((requests, delay)): State<(Requests, Duration)>, body: String) -> impl IntoResponse {
    requests.lock().push(body);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    ([(CONTENT_TYPE, "text/event-stream")], ANSWER)
}
