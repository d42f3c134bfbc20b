//! A server: where it is and what is known of its tools, also when it is not there.

mod calls;
mod limits;
mod sessions;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) use calls::Asking;
pub use limits::Limits;
use parking_lot::Mutex;
use sid_fetch::{FetchError, HostPattern};
use sid_tools::ToolContext;
use sid_tools::http::{Connection, Secret};
use sid_types::UserId;
use tokio::time::{Instant, timeout};

use crate::discovery::{self, RemoteTool};
use crate::login::Authorization;
use crate::oauth::Token;
use crate::session::Session;
use crate::stdio::Program;

enum Place {
    Remote {
        url: String,
        hosts: Vec<HostPattern>,
        /// For calls: secrets of the user's, or the tenant's.
        calls: Connection,
        /// For looking: what all of the tenant's agents are told must not be one user's.
        looks: Connection,
        authorization: Option<Authorization>,
    },
    Local(Program),
}

/// Whose session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Whose {
    /// For looking; a local server's only one.
    Nobodys,
    /// Sessions have state, which one user must not find another's in.
    Users(Option<UserId>),
}

/// One session, or why there is none.
#[derive(Default)]
struct Slot {
    session: Option<Arc<Session>>,
    token: Option<Token>,
    /// The login's token that was shown last.
    shown: Option<Secret>,
    /// It was not taken when a session was opened.
    is_refused: bool,
    failures: u32,
    not_before: Option<Instant>,
    problem: String,
}

/// What is known of a server's tools.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// As they were last told.
    pub tools: Vec<RemoteTool>,
    /// Why the last look failed; `None` = it did not, or nobody has looked.
    pub problem: Option<String>,
    /// Counts the changes of both.
    pub revision: u64,
}

#[derive(Default)]
struct Known {
    found: Found,
    next_look: Option<Instant>,
    failures: u32,
    is_looking: bool,
}

struct Inner {
    name: String,
    /// Whether it may ask back.
    asks: bool,
    place: Place,
    limits: Limits,
    slots: Mutex<HashMap<Whose, Arc<tokio::sync::Mutex<Slot>>>>,
    known: Mutex<Known>,
    has_changed: Arc<AtomicBool>,
    /// The last look waits for somebody to log in, and for nothing else.
    waits_for_login: AtomicBool,
}

/// An MCP server. Cheap to clone; its sessions end with the last clone.
#[derive(Clone)]
pub struct McpServer(Arc<Inner>);

impl McpServer {
    /// A server on the network. `calls` has its headers and the secrets of whoever a call is for; `looks` the same with secrets that all may
    /// profit from.
    ///
    /// Errors: [`FetchError::BadUrl`] and [`FetchError::Refused`], for a URL that the connection's policy does not let through.
    pub fn remote(
        name: &str,
        url: &str,
        calls: Connection,
        looks: Connection,
        authorization: Option<Authorization>,
        limits: Limits,
    ) -> Result<Self, FetchError> {
        let policy = calls.fetcher().policy();
        if let Some(Authorization::Client(oauth)) = &authorization {
            policy.target(&oauth.token_url)?;
        }
        let target = policy.target(url)?;
        let host = target.url().host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let hosts = vec![host.parse().map_err(|_| FetchError::BadUrl { problem: "its host cannot be declared".into() })?];
        let limits = Limits { call: limits.call.min(calls.timeout()), ..limits };
        Ok(Self::new(name, Place::Remote { url: target.url().to_string(), hosts, calls, looks, authorization }, limits))
    }

    /// A program on this machine.
    #[must_use]
    pub fn local(name: &str, program: Program, limits: Limits) -> Self {
        Self::new(name, Place::Local(program), limits)
    }

    fn has_login(&self) -> bool {
        matches!(&self.0.place, Place::Remote { authorization: Some(Authorization::Login(_)), .. })
    }

    fn new(name: &str, place: Place, limits: Limits) -> Self {
        let has_changed = Arc::default();
        Self(Arc::new(Inner {
            name: name.to_owned(),
            asks: false,
            place,
            limits,
            slots: Mutex::default(),
            known: Mutex::default(),
            has_changed,
            waits_for_login: AtomicBool::new(false),
        }))
    }

    /// Begins with tools that are known from before.
    #[must_use]
    pub fn knowing(self, tools: Vec<RemoteTool>) -> Self {
        self.0.known.lock().found.tools = tools;
        self
    }

    /// Lets the server ask back in the middle of a call. Each question is what its call comes to; [`McpAnswer`](crate::McpAnswer) brings answers.
    ///
    /// Before the first clone.
    #[must_use]
    pub fn asking(mut self, asks: bool) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.asks = asks;
        }
        self
    }

    /// Forgets sessions, and how long it is left alone after a failure: what it was shown has changed.
    pub fn greet_anew(&self) {
        self.0.slots.lock().clear();
    }

    /// Longest that a call may take, with all that is around it.
    #[must_use]
    pub fn longest_call(&self) -> Duration {
        self.0.limits.discovery + self.0.limits.call + Duration::from_secs(1)
    }

    pub(crate) fn hosts(&self) -> Vec<String> {
        match &self.0.place {
            Place::Remote { hosts, .. } => hosts.iter().map(ToString::to_string).collect(),
            Place::Local(_) => Vec::new(),
        }
    }

    pub(crate) fn secret_names(&self) -> Vec<String> {
        match &self.0.place {
            Place::Remote { calls, authorization, .. } => {
                let mut names = calls.secret_names();
                if let Some(Authorization::Client(oauth)) = authorization {
                    names.push(oauth.client_secret.clone());
                }
                names
            }
            Place::Local(_) => Vec::new(),
        }
    }

    /// What is known now. Waits for nothing.
    #[must_use]
    pub fn found(&self) -> Found {
        self.0.known.lock().found.clone()
    }

    /// Looks in the background, if the last look was long ago, has failed a while ago, or the server says that something has changed.
    pub fn keep_fresh(&self, context: ToolContext) {
        let has_changed = self.0.has_changed.load(Ordering::Relaxed);
        {
            let mut known = self.0.known.lock();
            let is_due = known.next_look.is_none_or(|next| next <= Instant::now());
            if known.is_looking || !(is_due || has_changed && known.failures == 0) {
                return;
            }
            known.is_looking = true;
        }
        let this = self.clone();
        tokio::spawn(async move {
            // What goes wrong is kept with what is known, and logged there.
            let _ = this.look(&context).await;
        });
    }

    /// Asks the server for its tools, within [`Limits::discovery`].
    ///
    /// Errors: in words, for whoever added the server.
    pub async fn look(&self, context: &ToolContext) -> Result<Vec<RemoteTool>, String> {
        let limit = self.0.limits.discovery;
        self.0.has_changed.store(false, Ordering::Relaxed);
        self.0.waits_for_login.store(false, Ordering::Relaxed);
        let looked = timeout(limit, self.look_without_limit(context)).await;
        let looked = looked.unwrap_or_else(|_| Err(format!("it has not told its tools within {:.1} s", limit.as_secs_f32())));
        let mut known = self.0.known.lock();
        known.is_looking = false;
        match &looked {
            Ok(tools) => {
                known.failures = 0;
                known.next_look = Some(Instant::now() + self.0.limits.refresh);
                if known.found.tools != *tools || known.found.problem.is_some() {
                    known.found = Found { tools: tools.clone(), problem: None, revision: known.found.revision + 1 };
                }
            }
            Err(problem) => {
                known.failures += 1;
                let waits_for_login = self.0.waits_for_login.load(Ordering::Relaxed);
                let pause = if waits_for_login { self.0.limits.pause } else { self.0.limits.pause_after(known.failures) };
                known.next_look = Some(Instant::now() + pause);
                if known.found.problem.as_ref() != Some(problem) {
                    tracing::warn!(server = %self.0.name, problem, "an MCP server cannot be used");
                    known.found.problem = Some(problem.clone());
                    known.found.revision += 1;
                }
            }
        }
        looked
    }

    async fn look_without_limit(&self, context: &ToolContext) -> Result<Vec<RemoteTool>, String> {
        let session = self.session(Whose::Nobodys, context).await?;
        match discovery::tools(session.peer()).await {
            Ok(tools) => Ok(tools),
            Err(problem) => {
                session.doubt();
                Err(session.problem().unwrap_or(problem))
            }
        }
    }
}
