//! Answers that are read as they come.

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use reqwest::{StatusCode, Url};

use crate::FetchError;
use crate::body::root_cause;

/// An answer whose body is still to come: see [`Fetcher::open`](crate::Fetcher::open).
#[derive(Debug)]
pub struct Opened {
    /// Of the last hop.
    pub status: StatusCode,
    /// Of the last hop.
    pub headers: HeaderMap,
    /// Where the last hop went.
    pub url: Url,
    response: reqwest::Response,
    limit: usize,
    taken: usize,
}

impl Opened {
    pub(crate) fn new(response: reqwest::Response, limit: usize) -> Result<Self, FetchError> {
        // Nothing packed was asked for, and what is unpacked could not be counted.
        if let Some(encoding) = response.headers().get(CONTENT_ENCODING).filter(|e| !e.as_bytes().eq_ignore_ascii_case(b"identity")) {
            let encoding: String = encoding.to_str().unwrap_or("?").chars().take(40).collect();
            return Err(FetchError::Interrupted { problem: format!("its content encoding is `{encoding}`, which was not asked for") });
        }
        if response.content_length().is_some_and(|n| n > limit as u64) {
            return Err(FetchError::TooLarge { limit_bytes: limit });
        }
        let (status, headers, url) = (response.status(), response.headers().clone(), response.url().clone());
        Ok(Self { status, headers, url, response, limit, taken: 0 })
    }

    /// The media type without its parameters, in lower case; empty when the host does not say.
    #[must_use]
    pub fn media_type(&self) -> String {
        let value = self.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The next part of the body; `None` at its end. It waits as long as the host does: put a limit around it.
    ///
    /// Errors: [`FetchError::TooLarge`] when all parts together are more than allowed, [`FetchError::Interrupted`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        let chunk = self.response.chunk().await.map_err(|e| FetchError::Interrupted { problem: root_cause(&e) })?;
        if let Some(chunk) = &chunk {
            self.taken += chunk.len();
            if self.taken > self.limit {
                return Err(FetchError::TooLarge { limit_bytes: self.limit });
            }
        }
        Ok(chunk)
    }

    /// All that is still to come. Errors: as [`Opened::chunk`].
    pub async fn rest(&mut self) -> Result<Vec<u8>, FetchError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}
