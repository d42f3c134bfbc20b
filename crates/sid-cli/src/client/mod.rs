//! One small client for the REST API, with two ways to reach it: over HTTP, or in this process on a data folder.

mod embedded;
mod events;
mod http;
mod request;

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use events::{Call, Event, EventKind, RunEvents, Usage};
pub(crate) use http::install_tls;
pub use request::Request;

use crate::error::{CliError, Problem};

/// Larger answers than this are not for a person at a terminal (backup and export are streams and have no limit).
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// Where the API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A server, with its root URL and the key to show.
    Server {
        /// Such as `http://127.0.0.1:8700`.
        url: String,
        /// An API key.
        key: Option<String>,
    },
    /// This process, on a data folder, acting as the operator.
    Embedded {
        /// The folder; the configuration's own when `None`.
        data: Option<std::path::PathBuf>,
        /// The configuration file.
        config: Option<std::path::PathBuf>,
        /// `key=value` configuration flags.
        set: Vec<(String, String)>,
    },
}

/// Who acts where: sent with every request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// `X-Sid-Tenant`: id or name.
    pub tenant: Option<String>,
    /// `X-Sid-User`: id or handle.
    pub user: Option<String>,
    /// `X-Sid-Agent`: id or `@name`.
    pub agent: Option<String>,
}

enum Backend {
    Http(http::Http),
    Embedded(embedded::Embedded),
}

/// Speaks with the API.
pub struct Client {
    backend: Backend,
    identity: Identity,
}

/// An answer whose body has not been read yet.
pub struct Reply {
    /// Its status; a success when it comes from [`Client::send`].
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, piece by piece.
    pub body: BoxStream<'static, Result<Bytes, CliError>>,
}

/// A page of a list.
#[derive(Debug, Clone, Deserialize)]
pub struct List {
    /// The items as they came.
    pub items: Vec<Value>,
    /// Where to read on; `None` = there is nothing more.
    pub next: Option<String>,
}

impl Client {
    /// Connects (nothing is sent yet), or opens the data folder.
    ///
    /// Errors: a URL that is none; a data folder or configuration that cannot be used.
    pub async fn open(target: Target, identity: Identity) -> Result<Self, CliError> {
        let backend = match target {
            Target::Server { url, key } => Backend::Http(http::Http::new(&url, key)?),
            Target::Embedded { data, config, set } => Backend::Embedded(embedded::Embedded::open(data, config, set).await?),
        };
        Ok(Self { backend, identity })
    }

    /// Whether the API runs in this process.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        matches!(self.backend, Backend::Embedded(_))
    }

    /// What is at the other end, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.backend {
            Backend::Http(http) => format!("the server at {}", http.url()),
            Backend::Embedded(embedded) => format!("the data folder {}", embedded.folder().display()),
        }
    }

    /// The operator key of a data folder that was made just now: it is shown once.
    #[must_use]
    pub fn first_key(&self) -> Option<&str> {
        match &self.backend {
            Backend::Http(_) => None,
            Backend::Embedded(embedded) => embedded.first_key(),
        }
    }

    /// Lets background work end. An embedded run that is under way is finished by whoever opens the folder next.
    pub async fn close(self) {
        if let Backend::Embedded(embedded) = self.backend {
            embedded.close().await;
        }
    }

    /// Sends a request; everything but a success is an error.
    pub async fn send(&self, request: Request) -> Result<Reply, CliError> {
        let reply = self.exchange(request).await?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        Err(CliError::Api(Box::new(reply.problem().await)))
    }

    /// Sends a request; any answer is an answer.
    pub async fn exchange(&self, request: Request) -> Result<Reply, CliError> {
        let Identity { tenant, user, agent } = &self.identity;
        let request = request
            .header_if("x-sid-tenant", tenant.as_deref())
            .header_if("x-sid-user", user.as_deref())
            .header_if("x-sid-agent", agent.as_deref());
        match &self.backend {
            Backend::Http(http) => http.send(request).await,
            Backend::Embedded(embedded) => embedded.send(request).await,
        }
    }

    /// Sends a request and reads the whole answer as JSON (`null` when it is empty).
    pub async fn value(&self, request: Request) -> Result<Value, CliError> {
        let what = request.describe();
        let body = self.send(request).await?.bytes().await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|e| CliError::odd_answer(&what, e))
    }

    /// Reads a list over as many pages as it takes to have `most` items.
    pub async fn list(&self, request: Request, after: Option<&str>, most: usize) -> Result<List, CliError> {
        // The most that the server gives at once: some lists (runs, versions, diary pages) have no cursor.
        const PAGE: usize = 1_000;
        let mut after = after.map(str::to_owned);
        let mut items = Vec::new();
        loop {
            let limit = PAGE.min(most - items.len());
            let page = request.clone().query("limit", limit).query_if("after", after.as_deref());
            let page: List = read(self.value(page).await?, "a list")?;
            let is_stuck = page.items.is_empty() || page.next.is_some() && page.next == after;
            items.extend(page.items);
            // Lists that are never long ignore the limit and come whole.
            if page.next.is_none() || is_stuck || items.len() >= most {
                return Ok(List { items, next: page.next.filter(|_| !is_stuck) });
            }
            after = page.next;
        }
    }

    /// Reads a list that always comes whole.
    pub async fn whole(&self, request: Request) -> Result<List, CliError> {
        read(self.value(request).await?, "a list")
    }

    /// The events of a run after number `after`, until `done`, over broken connections.
    #[must_use]
    pub fn events(&self, run: &str, after: u64) -> RunEvents<'_> {
        RunEvents::resume(self, run.to_owned(), after)
    }

    /// Sends a message and follows the run that answers it.
    pub async fn say(&self, conversation: &str, text: &str) -> Result<RunEvents<'_>, CliError> {
        RunEvents::start(self, conversation, text).await
    }
}

impl Reply {
    /// The whole body.
    pub async fn bytes(mut self) -> Result<Vec<u8>, CliError> {
        let mut all = Vec::new();
        while let Some(piece) = self.body.next().await {
            all.extend_from_slice(&piece?);
            if all.len() > MAX_ANSWER_BYTES {
                return Err(CliError::odd_answer("the request", "it is larger than 256 MiB"));
            }
        }
        Ok(all)
    }

    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    async fn problem(self) -> Problem {
        let status = self.status;
        let body = self.bytes().await.unwrap_or_default();
        let mut problem = serde_json::from_slice::<Problem>(&body).unwrap_or_else(|_| {
            // Something between us and the server answered, or it is no Sid server.
            let text = crate::output::text::one_line(&String::from_utf8_lossy(&body));
            Problem { detail: crate::output::text::cut(&format!("HTTP {status}: {text}"), 300), ..Problem::default() }
        });
        problem.status = status.as_u16();
        problem
    }
}

/// Reads an answer into the shape that it should have.
pub fn read<T: DeserializeOwned>(value: Value, what: &str) -> Result<T, CliError> {
    serde_json::from_value(value).map_err(|e| CliError::odd_answer(what, e))
}
