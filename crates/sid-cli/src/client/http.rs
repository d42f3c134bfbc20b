//! The API over HTTP.

use std::time::Duration;

use axum::http::StatusCode;
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::Url;

use super::{Reply, Request};
use crate::error::CliError;

pub(super) struct Http {
    client: reqwest::Client,
    root: Url,
    key: Option<String>,
}

/// TLS wants its cryptography named once per process; somebody else in the process may have done it.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Http {
    pub(super) fn new(url: &str, key: Option<String>) -> Result<Self, CliError> {
        let root: Url = url.parse().map_err(|e| CliError::Usage(format!("--server {url} is not a URL: {e}")))?;
        if !matches!(root.scheme(), "http" | "https") || root.host_str().is_none() {
            return Err(CliError::Usage(format!("--server {url} must begin with http:// or https:// and name a host")));
        }
        if key.as_deref().is_some_and(|k| k.chars().any(|c| !c.is_ascii_graphic())) {
            return Err(CliError::Usage("--key has characters that no key has".into()));
        }
        install_tls();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sid-cli/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            // Runs may take minutes before they answer; streams carry a ping every 15 s.
            .read_timeout(Duration::from_secs(660));
        if root.host_str().is_some_and(is_this_machine) {
            // A proxy for the outside world cannot reach this machine's own loopback.
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|e| CliError::failed("SID-CLI-HTTP", format!("cannot set up HTTP: {}", reasons(&e)), ""))?;
        Ok(Self { client, root, key })
    }

    pub(super) const fn url(&self) -> &Url {
        &self.root
    }

    pub(super) async fn send(&self, request: Request) -> Result<Reply, CliError> {
        let mut builder = self.client.request(request.method.clone(), request.url(&self.root));
        if let Some(key) = &self.key {
            builder = builder.bearer_auth(key);
        }
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(body) = &request.body {
            builder = builder.json(body);
        }
        if let Some(bytes) = request.bytes {
            builder = builder.header("content-type", "application/octet-stream").body(bytes);
        }
        let root = self.root.clone();
        let response = builder.send().await.map_err(|e| unreachable(&root, &e))?;
        let status = StatusCode::from_u16(response.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
        let headers = response.headers().clone();
        let body = response.bytes_stream().map_err(move |e| unreachable(&root, &e)).boxed();
        Ok(Reply { status, headers, body })
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn unreachable(root: &Url, error: &reqwest::Error) -> CliError {
    if error.is_builder() {
        return CliError::Usage(format!("the request cannot be sent: {}", reasons(error)));
    }
    CliError::Unreachable {
        what: format!("the server at {root}"),
        why: reasons(error),
        hint: "is it running (`sid-server`), and is --server (or SID_SERVER) right? without --server, `sid` works on a data folder".into(),
    }
}

/// The innermost reason, which is the one that people can act on.
fn reasons(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
