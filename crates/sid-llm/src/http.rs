//! One HTTP client for all providers: ring TLS, no proxies or environment unless asked for, no redirects, bounded bodies.

use std::collections::BTreeMap;
use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value;

use crate::{LlmError, TimeoutStage, refusal};

/// Most bytes of an error's body that are read.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// Where an endpoint is and how to talk to it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    client: reqwest::Client,
    /// Without a trailing slash and without the version.
    root: String,
    /// `/v1`, or what the operator wrote instead.
    #[cfg_attr(not(feature = "openai"), expect(dead_code, reason = "Ollama's own API has no version"))]
    version: String,
    connect_timeout: Duration,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("root", &self.root).finish_non_exhaustive()
    }
}

/// What all providers' configurations have in common.
pub(crate) struct Settings<'a> {
    pub(crate) base_url: &'a str,
    pub(crate) api_key: Option<&'a str>,
    pub(crate) headers: &'a BTreeMap<String, String>,
    pub(crate) proxy: Option<&'a str>,
    pub(crate) connect_timeout: Duration,
}

impl Endpoint {
    /// Errors: [`LlmError::Config`] when the URL, a header or the proxy is not one.
    pub(crate) fn new(settings: &Settings<'_>) -> Result<Self, LlmError> {
        static RING: Once = Once::new();
        // Fails only when the application has installed another provider, which is as good.
        RING.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));

        let written = settings.base_url.trim().trim_end_matches('/');
        let url = reqwest::Url::parse(written)
            .map_err(|e| LlmError::Config(format!("the model's base_url `{}` is not a URL: {e}", redact(written))))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(LlmError::Config(format!("the model's base_url `{}` must begin with http:// or https://", redact(written))));
        }
        let (root, version) = match written.rsplit_once('/') {
            Some((root, last)) if is_version(last) => (root, format!("/{last}")),
            _ => (written, "/v1".to_owned()),
        };
        let mut headers = HeaderMap::new();
        if let Some(key) = settings.api_key.filter(|k| !k.is_empty()) {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .map_err(|_| LlmError::Config("the model's api_key has characters that a header cannot carry".into()))?;
            value.set_sensitive(true);
            headers.insert(reqwest::header::AUTHORIZATION, value);
        }
        for (name, value) in settings.headers {
            let bad = || LlmError::Config(format!("the model's extra header `{name}` is not a valid header"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(settings.connect_timeout)
            // A redirect could carry the key elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(30))
            .no_proxy();
        if let Some(proxy) = settings.proxy {
            let proxy = reqwest::Proxy::all(proxy).map_err(|e| LlmError::Config(format!("the model's proxy is not a URL: {e}")))?;
            builder = builder.proxy(proxy);
        }
        let client = builder.build().map_err(|e| LlmError::Config(format!("cannot set up HTTP: {e}")))?;
        Ok(Self { client, root: root.to_owned(), version, connect_timeout: settings.connect_timeout })
    }

    /// A path below the version, such as `/chat/completions`.
    #[cfg(any(feature = "openai", test))]
    pub(crate) fn versioned(&self, path: &str) -> String {
        format!("{}{}{path}", self.root, self.version)
    }

    /// A path beside the version, such as `/props`.
    pub(crate) fn unversioned(&self, path: &str) -> String {
        format!("{}{path}", self.root)
    }

    pub(crate) async fn post(&self, url: &str, body: &impl Serialize) -> Result<reqwest::Response, LlmError> {
        let body = serde_json::to_vec(body).map_err(|e| LlmError::Config(format!("cannot write the request: {e}")))?;
        let request = self.client.post(url).header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        self.send(url, request).await
    }

    async fn send(&self, url: &str, request: reqwest::RequestBuilder) -> Result<reqwest::Response, LlmError> {
        let response = request.send().await.map_err(|e| self.transport(url, &e))?;
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(response);
        }
        let retry_after = retry_after(response.headers());
        let body = read_bounded(response, MAX_ERROR_BODY).await.unwrap_or_default();
        Err(match refusal::of_status(status, retry_after, &String::from_utf8_lossy(&body)) {
            // Mostly a wrong `base_url`, so say where that led.
            LlmError::Refused { status: status @ (404 | 405), detail } => {
                LlmError::Refused { status, detail: format!("{} answers: {detail}", redact(url)) }
            }
            error => error,
        })
    }

    /// A small JSON answer, within `limit`.
    pub(crate) async fn json(&self, url: &str, body: Option<&Value>, limit: Duration) -> Result<Value, LlmError> {
        let call = async {
            let response = match body {
                Some(body) => self.post(url, body).await?,
                None => self.send(url, self.client.get(url)).await?,
            };
            let body = read_bounded(response, 64 << 20).await?;
            serde_json::from_slice(&body)
                .map_err(|e| LlmError::Interrupted { detail: format!("{} answered with something that is not JSON: {e}", redact(url)) })
        };
        tokio::time::timeout(limit, call).await.map_err(|_| LlmError::Timeout { stage: TimeoutStage::Total, limit })?
    }

    fn transport(&self, url: &str, error: &reqwest::Error) -> LlmError {
        if error.is_timeout() && error.is_connect() {
            return LlmError::Timeout { stage: TimeoutStage::Connect, limit: self.connect_timeout };
        }
        if error.is_connect() {
            return LlmError::Unreachable { url: redact(url), detail: root_cause(error) };
        }
        if error.is_builder() {
            return LlmError::Config(format!("cannot build the request to {}: {}", redact(url), root_cause(error)));
        }
        LlmError::Interrupted { detail: root_cause(error) }
    }
}

/// `v1`, `v2`, `v1beta`.
fn is_version(segment: &str) -> bool {
    segment
        .strip_prefix('v')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.chars().all(|c| c.is_ascii_alphanumeric()))
}

/// The URL without user name, password and query.
pub(crate) fn redact(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://{}", &url[..scheme], &url[at + 1..]),
        _ => url.to_owned(),
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// The bytes of an answer; a broken connection is [`LlmError::Interrupted`].
pub(crate) fn bytes(response: reqwest::Response) -> impl Stream<Item = Result<Bytes, LlmError>> + Send + 'static {
    response.bytes_stream().map(|chunk| chunk.map_err(|e| LlmError::Interrupted { detail: root_cause(&e) }))
}

async fn read_bounded(response: reqwest::Response, limit: usize) -> Result<Vec<u8>, LlmError> {
    let mut body = Vec::new();
    let mut stream = std::pin::pin!(bytes(response));
    while let Some(chunk) = stream.next().await {
        body.extend_from_slice(&chunk?);
        if body.len() > limit {
            return Err(LlmError::OutputTooLarge { limit_bytes: limit });
        }
    }
    Ok(body)
}

/// Seconds, perhaps with a fraction, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    if let Some(millis) = text("retry-after-ms").and_then(|t| t.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(millis / 1_000.0).ok();
    }
    let text = text("retry-after")?;
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = until.duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(wait).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base_url: &str) -> Result<Endpoint, LlmError> {
        let headers = BTreeMap::new();
        Endpoint::new(&Settings {
            base_url,
            api_key: Some("secret"),
            headers: &headers,
            proxy: None,
            connect_timeout: Duration::from_secs(1),
        })
    }

    #[test]
    fn base_urls_with_and_without_version_and_slash() {
        for (written, chat, props) in [
            ("http://h:1", "http://h:1/v1/c", "http://h:1/p"),
            ("http://h:1/", "http://h:1/v1/c", "http://h:1/p"),
            ("http://h:1/v1", "http://h:1/v1/c", "http://h:1/p"),
            ("http://h:1/v1/", "http://h:1/v1/c", "http://h:1/p"),
            ("https://h/api/v2", "https://h/api/v2/c", "https://h/api/p"),
            ("https://h/openai", "https://h/openai/v1/c", "https://h/openai/p"),
        ] {
            let endpoint = endpoint(written).expect(written);
            assert_eq!((endpoint.versioned("/c"), endpoint.unversioned("/p")), (chat.to_owned(), props.to_owned()), "{written}");
        }
        for wrong in ["", "localhost:8000", "ftp://h", "http://"] {
            assert!(matches!(endpoint(wrong), Err(LlmError::Config(_))), "{wrong}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(redact("http://me:pw@h/x?key=1"), "http://h/x");
        assert!(!format!("{:?}", endpoint("http://h").expect("valid")).contains("secret"));
    }

    #[test]
    fn waits_in_every_form() {
        let header = |name: &'static str, value: &str| {
            let mut map = HeaderMap::new();
            map.insert(name, HeaderValue::from_str(value).expect("ascii"));
            retry_after(&map)
        };
        assert_eq!(header("retry-after", "2"), Some(Duration::from_secs(2)));
        assert_eq!(header("retry-after", "0.5"), Some(Duration::from_millis(500)));
        assert_eq!(header("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(header("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(header("retry-after", "soon"), None);
    }
}
