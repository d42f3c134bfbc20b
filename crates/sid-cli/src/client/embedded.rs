//! The API in this process, on a data folder: the server's own routes, driven without a port.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{self, header};
use futures::{StreamExt as _, TryStreamExt as _};
use sid_server::App;
use sid_server::config::{Config, Sources};
use tower::ServiceExt as _;

use super::{Reply, Request};
use crate::error::CliError;

/// A run that is under way at the end may finish its step for this long; the rest is resumed at the next start.
const LAST_STEP: Duration = Duration::from_secs(5);
/// No connection is made, but a URL needs a host, and MCP looks at it.
const NOWHERE: &str = "http://localhost/";

pub(super) struct Embedded {
    app: App,
    router: Router,
    root: reqwest::Url,
    first_key: Option<String>,
}

impl Embedded {
    pub(super) async fn open(data: Option<PathBuf>, file: Option<PathBuf>, set: Vec<(String, String)>) -> Result<Self, CliError> {
        let config = load(data, file, set)?;
        let app = App::open(config).await.map_err(|e| {
            let (code, message) = (e.code(), e.to_string());
            open_error(code, message)
        })?;
        let first_key = app.first_key().map(str::to_owned);
        let root = NOWHERE.parse().map_err(|e| CliError::odd_answer("the embedded address", e))?;
        Ok(Self { router: app.trusted_router(), app, root, first_key })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.app.config().store.path
    }

    /// The operator key, if the folder is new.
    pub(super) fn first_key(&self) -> Option<&str> {
        self.first_key.as_deref()
    }

    /// Everything that was acknowledged is on the disk; only a step that is under way is worth waiting for. What is not done by then
    /// is resumed by whoever opens the folder next.
    pub(super) async fn close(self) {
        if self.app.engine().active_runs() == 0 {
            return;
        }
        tokio::select! {
            () = self.app.shutdown() => {}
            () = async {
                let end = tokio::time::Instant::now() + LAST_STEP;
                while self.app.engine().active_runs() > 0 && tokio::time::Instant::now() < end {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            } => {}
        }
    }

    pub(super) async fn send(&self, request: Request) -> Result<Reply, CliError> {
        let mut builder = http::Request::builder().method(request.method.clone()).uri(request.url(&self.root).as_str());
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let body = match (&request.body, request.bytes) {
            (_, Some(bytes)) => {
                builder = builder.header(header::CONTENT_TYPE, "application/octet-stream");
                Body::from(bytes)
            }
            (Some(body), None) => {
                builder = builder.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            (None, None) => Body::empty(),
        };
        let http_request = builder.body(body).map_err(|e| CliError::Usage(format!("the request cannot be sent: {e}")))?;
        let response = match self.router.clone().oneshot(http_request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (parts, body) = response.into_parts();
        let broken = |e: axum::Error| CliError::failed("SID-CLI-CUT-OFF", format!("the answer broke off: {e}"), "");
        Ok(Reply { status: parts.status, headers: parts.headers, body: body.into_data_stream().map_err(broken).boxed() })
    }
}

fn load(data: Option<PathBuf>, file: Option<PathBuf>, set: Vec<(String, String)>) -> Result<Config, CliError> {
    let mut flags = set;
    if let Some(data) = data {
        flags.push(("store.path".into(), data.to_string_lossy().into_owned()));
    }
    Config::load(Sources::of_process(file, flags))
        .map_err(|e| CliError::failed(e.code(), e.to_string(), "`sid-server config check` shows the values in force"))
}

fn open_error(code: &'static str, message: String) -> CliError {
    match code {
        "SID-STORE-UNAVAILABLE" => CliError::Unreachable {
            what: "the data folder".into(),
            why: message,
            hint: "if a server is at work on it, talk to that server: --server http://127.0.0.1:8700".into(),
        },
        code => CliError::failed(code, message, ""),
    }
}
