//! Asking a service: what all of them have in common.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::Value;
use sid_fetch::{FetchError, Fetcher, HostPattern, Request, Response, StatusCode};
use sid_tools::http::Headers;
use sid_types::ImageFormat;
use uuid::Uuid;

use super::{ImageModel, Picture};

/// A service that wants longer to be left alone is not asked again.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Characters of what a service says that the model is told.
const TOLD: usize = 300;

/// What is wanted.
pub(super) struct Asked {
    pub(super) prompt: String,
    pub(super) size: String,
    pub(super) n: u32,
}

/// Why there is no image, for the model.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the service refuses this ({0}). Ask the user for another description; do not send the same again.")]
    Refused(String),
    #[error("the service takes no more requests now{0}. Tell the user; it may work later.")]
    Busy(String),
    #[error("{0}. Other arguments will not help; tell the user.")]
    NotMade(String),
    #[error("{0}. It may have been paid for: do not ask for it again without asking the user.")]
    Unusable(String),
}

/// What came of each image, as far as the service says anything of each.
pub(super) type Made = Result<Vec<Result<Picture, Failure>>, Failure>;

impl Failure {
    /// Whether an image may have been made that nobody has.
    pub(super) const fn may_have_cost(&self) -> bool {
        matches!(self, Self::Unusable(_))
    }
}

/// One service, for one call.
#[derive(Clone, Copy)]
pub(super) struct Service<'a> {
    pub(super) model: &'a ImageModel,
    pub(super) hosts: &'a [HostPattern],
    pub(super) fetcher: &'a Fetcher,
    pub(super) headers: &'a Headers,
    pub(super) token: Uuid,
}

impl Service<'_> {
    /// Asks, once more if the service says to come back soon. `images`: how many the answer may hold.
    pub(super) async fn ask(&self, path: &str, body: &Value, images: u32) -> Result<Value, Failure> {
        let mut answer = self.send(path, body, images).await?;
        if let Some(pause) = pause_of(&answer).filter(|pause| *pause <= LONGEST_PAUSE) {
            tokio::time::sleep(pause).await;
            answer = self.send(path, body, images).await?;
        }
        let status = answer.status;
        if status.is_success() {
            return serde_json::from_slice(&answer.body).map_err(|_| Failure::Unusable("the service's answer is no JSON".into()));
        }
        let says = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
        Err(failure(status, &says, pause_of(&answer)))
    }

    async fn send(&self, path: &str, body: &Value, images: u32) -> Result<Response, Failure> {
        let body = serde_json::to_vec(body).map_err(|e| Failure::NotMade(e.to_string()))?;
        // Base64 takes four bytes for three; a little for what stands around it.
        let most = (self.model.most_bytes / 3 * 4 + 4).saturating_mul(images as usize) + (64 << 10);
        let request = Request::post(format!("{}{path}", self.model.url)).only(self.hosts.to_vec()).json(body).at_most(most);
        let request = self.headers.put_on(request).and_then(|r| r.header("accept", "application/json"));
        let request = request.and_then(|r| r.header("idempotency-key", &self.token.to_string()));
        self.fetcher.send(request.map_err(|e| Failure::NotMade(e.to_string()))?).await.map_err(|error| match error {
            FetchError::TooLarge { .. } => Failure::Unusable(format!("{error}, which is more than an image may have")),
            FetchError::Timeout { .. } | FetchError::Interrupted { .. } => Failure::Unusable(error.to_string()),
            error => Failure::NotMade(error.to_string()),
        })
    }

    /// An image from base64, with or without what a data URL begins with.
    pub(super) fn decoded(&self, text: &str) -> Result<Picture, Failure> {
        let text = if text.starts_with("data:") { text.split_once(',').map_or("", |(_, data)| data) } else { text };
        let text: String = text.split_ascii_whitespace().collect();
        let bytes = STANDARD.decode(&text).or_else(|_| STANDARD_NO_PAD.decode(&text));
        self.picture(bytes.map_err(|_| Failure::Unusable("the service's answer is no whole base64".into()))?)
    }

    /// An image from where the service has put it: no header goes there, and it is read like any other page of strangers.
    pub(super) async fn fetched(&self, url: &str) -> Result<Picture, Failure> {
        if url.starts_with("data:") {
            return self.decoded(url);
        }
        let answer = self.fetcher.send(Request::get(url).at_most(self.model.most_bytes)).await;
        let answer =
            answer.map_err(|e| Failure::Unusable(format!("the image cannot be fetched from where the service has put it: {e}")))?;
        if !answer.status.is_success() {
            return Err(Failure::Unusable(format!("where the service has put the image, the answer is {}", answer.status)));
        }
        self.picture(answer.body)
    }

    fn picture(&self, bytes: Vec<u8>) -> Result<Picture, Failure> {
        if bytes.len() > self.model.most_bytes {
            return Err(Failure::Unusable(format!("the image has {} bytes, and {} are allowed", bytes.len(), self.model.most_bytes)));
        }
        // Not what the service says of them: it is what browsers will be told.
        let format = ImageFormat::of(&bytes).ok_or_else(|| Failure::Unusable("what the service sent is no PNG, JPEG or WebP".into()))?;
        Ok(Picture { format, bytes })
    }
}

/// When it may be asked again, if it is too busy now.
fn pause_of(answer: &Response) -> Option<Duration> {
    let is_busy = matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let seconds = answer.headers.get("retry-after")?.to_str().ok()?.trim().parse::<u64>().ok()?;
    is_busy.then(|| Duration::from_secs(seconds))
}

fn failure(status: StatusCode, says: &Value, pause: Option<Duration>) -> Failure {
    // OpenAI's and Google's errors are alike enough; some servers of open models have `detail`.
    let error = &says["error"];
    let message = [&error["message"], error, &says["detail"], &says["message"]].into_iter().find_map(Value::as_str).unwrap_or_default();
    let message = told(message);
    let code = error["code"].as_str().or_else(|| error["type"].as_str()).unwrap_or_default();
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let pause = pause.map(|p| format!(", it says to come back in {} s", p.as_secs())).unwrap_or_default();
            Failure::Busy(pause)
        }
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY if is_refusal(code) || is_refusal(&message) => Failure::Refused(message),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::NotMade(format!("the service does not take the key ({status})")),
        status => Failure::NotMade(format!("the service answers {status}{}{message}", if message.is_empty() { "" } else { ": " })),
    }
}

fn is_refusal(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["content_policy", "content policy", "moderation", "safety", "responsible ai", "sensitive words"].iter().any(|word| text.contains(word))
}

/// What a service says, on one short line.
pub(super) fn told(text: &str) -> String {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(TOLD).collect()
}
