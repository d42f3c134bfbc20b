//! Requests and answers.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};

use crate::{FetchError, HostPattern, Refusal};

/// What to fetch.
///
/// ```
/// use sid_fetch::Request;
/// let request = Request::post("https://hooks.example.com/sid").json(b"{}".to_vec()).secret("authorization", "Bearer s3cret")?;
/// assert!(!format!("{request:?}").contains("s3cret"));
/// # Ok::<(), sid_fetch::FetchError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) hosts: Option<Vec<HostPattern>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_body_bytes: Option<usize>,
}

/// Headers that decide where a request goes, or where it ends: the client's own business.
const OWN_HEADERS: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "accept-encoding",
    "proxy-authorization",
    "proxy-connection",
];

impl Request {
    /// A request by any method.
    #[must_use]
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: HeaderMap::new(), body: None, hosts: None, timeout: None, max_body_bytes: None }
    }

    /// A GET.
    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url)
    }

    /// A POST.
    #[must_use]
    pub fn post(url: impl Into<String>) -> Self {
        Self::new(Method::POST, url)
    }

    /// With a body of JSON.
    #[must_use]
    pub fn json(mut self, body: Vec<u8>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body = Some(body);
        self
    }

    /// With the fields of a form as its body.
    #[must_use]
    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        self.body = Some(body.finish().into_bytes());
        self
    }

    /// What is sent, if anything is.
    #[must_use]
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_deref()
    }

    /// With a header.
    ///
    /// Errors: [`Refusal::Header`] for what is no header and for what the client sets itself.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, FetchError> {
        let (name, value) = checked(name, value)?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// With a header whose value nobody is shown.
    ///
    /// Errors: [`Refusal::Header`], without the value.
    pub fn secret(mut self, name: &str, value: &str) -> Result<Self, FetchError> {
        let (name, mut value) = checked(name, value)?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Only to these hosts, redirects included, whatever else the policy allows.
    #[must_use]
    pub fn only(mut self, hosts: Vec<HostPattern>) -> Self {
        self.hosts = Some(hosts);
        self
    }

    /// Within this time for all of it, if the policy does not ask for less.
    #[must_use]
    pub const fn within(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// At most this many bytes of body, if the policy does not ask for fewer.
    #[must_use]
    pub const fn at_most(mut self, bytes: usize) -> Self {
        self.max_body_bytes = Some(bytes);
        self
    }
}

fn checked(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Refusal> {
    let refused = || Refusal::Header(name.chars().take(100).collect());
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
    if OWN_HEADERS.contains(&name.as_str()) {
        return Err(refused());
    }
    let value = HeaderValue::from_str(value).map_err(|_| refused())?;
    Ok((name, value))
}

/// What came back, whatever its status.
#[derive(Debug, Clone)]
pub struct Response {
    /// Of the last hop.
    pub status: StatusCode,
    /// Of the last hop.
    pub headers: HeaderMap,
    /// Where the last hop went.
    pub url: Url,
    /// Decompressed.
    pub body: Vec<u8>,
}

impl Response {
    /// The media type without its parameters, in lower case; empty when the host does not say.
    #[must_use]
    pub fn media_type(&self) -> String {
        let value = self.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The body as text; what is not UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_steer_the_connection_are_the_clients_own() {
        for name in ["Host", "content-length", "Transfer-Encoding", "connection", "proxy-authorization", "bad name", ""] {
            assert!(Request::get("http://x").header(name, "v").is_err(), "{name}");
        }
        assert!(Request::get("http://x").header("x-ok", "line\r\nHost: inside").is_err(), "a value with a line break");
        assert!(Request::get("http://x").header("X-Ok", "v").is_ok());
    }

    #[test]
    fn a_secret_that_cannot_be_sent_is_not_in_the_error() {
        let error = Request::get("http://x").secret("authorization", "s3cret\n").expect_err("a line break");
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
}
