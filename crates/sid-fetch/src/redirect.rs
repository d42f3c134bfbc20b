//! What a redirect changes. Source: RFC 9110, section 15.4; what crosses an origin is the Fetch standard's, made stricter.

use reqwest::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, HeaderMap, LOCATION, USER_AGENT};
use reqwest::{Method, StatusCode, Url};

use crate::{FetchError, Policy, Refusal, Target};

/// One request of a chain.
pub(crate) struct Hop {
    pub(crate) target: Target,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Vec<u8>>,
}

/// Where an answer leads, if it is a redirect.
pub(crate) fn location(status: StatusCode, headers: &HeaderMap, base: &Url) -> Option<Url> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    base.join(headers.get(LOCATION)?.to_str().ok()?).ok()
}

impl Hop {
    /// The next request. Credentials, and whatever else a caller put into headers, stay with the origin they were meant for.
    ///
    /// Errors: [`FetchError::Refused`], as for a first address, and for what would carry a body or a secret elsewhere.
    pub(crate) fn next(self, status: StatusCode, to: Url, policy: &Policy) -> Result<Self, FetchError> {
        let target = policy.check(to)?;
        let (from, to) = (self.target.url(), target.url());
        if from.scheme() == "https" && to.scheme() != "https" {
            return Err(Refusal::Redirect("it leads from https to http").into());
        }
        let keeps_method = match status.as_u16() {
            307 | 308 => true,
            303 => self.method == Method::HEAD || self.method == Method::GET,
            _ => self.method != Method::POST,
        };
        let same_origin = from.origin() == to.origin();
        let (method, body) = if keeps_method { (self.method, self.body) } else { (Method::GET, None) };
        if !same_origin && !matches!(method, Method::GET | Method::HEAD) {
            return Err(Refusal::Redirect("it would repeat a change at another host").into());
        }
        let mut headers = self.headers;
        if !same_origin {
            headers = [ACCEPT, ACCEPT_LANGUAGE, USER_AGENT].into_iter().filter_map(|n| headers.get(&n).map(|v| (n, v.clone()))).collect();
        }
        if body.is_none() {
            headers.remove(CONTENT_TYPE);
        }
        Ok(Self { target, method, headers, body })
    }
}
