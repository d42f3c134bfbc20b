//! A request, before it is known how it travels.

use axum::http::Method;
use serde::Serialize;
use serde_json::Value;

/// One request, to `/api/v1` unless it was made by [`Request::mcp`].
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) method: Method,
    /// What stands before the segments.
    base: &'static [&'static str],
    segments: Vec<String>,
    query: Vec<(String, String)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
    /// Instead of `body`.
    pub(super) bytes: Option<Vec<u8>>,
}

impl Request {
    fn new(method: Method, segments: &[&str]) -> Self {
        let base = &["api", "v1"];
        Self {
            method,
            base,
            segments: segments.iter().map(|s| (*s).to_owned()).collect(),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            bytes: None,
        }
    }

    /// `GET` of a path below `/api/v1`, by its segments (which may hold any character).
    #[must_use]
    pub fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    /// `POST`.
    #[must_use]
    pub fn post(segments: &[&str]) -> Self {
        Self::new(Method::POST, segments)
    }

    /// `POST` to the MCP endpoint.
    #[must_use]
    pub fn mcp() -> Self {
        Self { base: &["mcp"], ..Self::new(Method::POST, &[]) }
    }

    /// `PUT`.
    #[must_use]
    pub fn put(segments: &[&str]) -> Self {
        Self::new(Method::PUT, segments)
    }

    /// `PATCH`.
    #[must_use]
    pub fn patch(segments: &[&str]) -> Self {
        Self::new(Method::PATCH, segments)
    }

    /// `DELETE`.
    #[must_use]
    pub fn delete(segments: &[&str]) -> Self {
        Self::new(Method::DELETE, segments)
    }

    /// Adds a parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a parameter that may be missing.
    #[must_use]
    pub fn query_if<T: ToString>(self, name: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds a header that may be missing.
    #[must_use]
    pub fn header_if(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// Sets the JSON body.
    #[must_use]
    pub fn json(mut self, body: impl Serialize) -> Self {
        // The bodies are maps and structs with text keys, which always have a JSON form.
        self.body = serde_json::to_value(body).ok();
        self
    }

    /// Sets a body of bytes.
    #[must_use]
    pub fn bytes(mut self, body: Vec<u8>) -> Self {
        self.bytes = Some(body);
        self
    }

    /// The URL below `root`, with every segment and parameter escaped.
    pub(super) fn url(&self, root: &reqwest::Url) -> reqwest::Url {
        let mut url = root.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(self.base).extend(&self.segments);
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        url
    }

    /// What it is about, for error messages.
    pub(super) fn describe(&self) -> String {
        let path: Vec<&str> = self.base.iter().copied().chain(self.segments.iter().map(String::as_str)).collect();
        format!("{} /{}", self.method, path.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_any_character_travel() {
        let root = "http://host:8700/base/".parse().expect("URL");
        let url = Request::get(&["users", "@ada/ü?#"]).query("text", "a&b c").url(&root);
        assert_eq!(url.as_str(), "http://host:8700/base/api/v1/users/@ada%2F%C3%BC%3F%23?text=a%26b+c");
    }
}
