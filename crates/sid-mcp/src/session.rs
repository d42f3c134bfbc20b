//! One connection to a server, from its greeting to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rmcp::model::{
    ClientCapabilities, ClientRequest, ElicitRequestParams, ElicitResult, ElicitationAction, ErrorData, Implementation,
    InitializeRequestParams, PingRequest,
};
use rmcp::service::{ClientCacheConfig, NotificationContext, RequestContext, RunningService};
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::common::client_side_sse::FixedInterval;
use rmcp::transport::streamable_http_client::{StreamableHttpClientTransport, StreamableHttpClientTransportConfig};
use rmcp::{ClientHandler, Peer, RoleClient, ServiceExt as _};
use sid_tools::http::Headers;
use tokio::time::{Instant, timeout};

use crate::http::Door;
use crate::question::Talk;
use crate::stdio::{Process, Program};

/// Bytes of one message from a local server.
const MOST_LINE: usize = 5_000_000;
/// A server that has let a call run out of time is asked whether it is there, and has so long to say so.
const PING: Duration = Duration::from_secs(2);

/// Hears what a server says by itself. It is given no model and no folders here, and people's answers only where the toolset wants that.
#[derive(Clone)]
pub(crate) struct Ears {
    has_changed: Arc<AtomicBool>,
    /// Of the call that is under way; `None`: it may not ask.
    talk: Option<Arc<Talk>>,
}

impl ClientHandler for Ears {
    fn get_info(&self) -> InitializeRequestParams {
        let mut capabilities = ClientCapabilities::default();
        if self.talk.is_some() {
            capabilities.elicitation = Some(serde_json::from_value(serde_json::json!({"form": {}, "url": {}})).unwrap_or_default());
        }
        InitializeRequestParams::new(capabilities, Implementation::new("sid", env!("CARGO_PKG_VERSION")))
    }

    async fn create_elicitation(&self, asked: ElicitRequestParams, _: RequestContext<RoleClient>) -> Result<ElicitResult, ErrorData> {
        Ok(self.talk.as_ref().map_or_else(|| ElicitResult::new(ElicitationAction::Decline), |talk| talk.answer(&asked)))
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.has_changed.store(true, Ordering::Relaxed);
    }
}

/// A connection.
pub(crate) struct Session {
    service: RunningService<RoleClient, Ears>,
    /// What it was opened with.
    pub(crate) headers: Arc<Headers>,
    problem: Arc<Mutex<Option<String>>>,
    process: Option<Process>,
    used: Mutex<Instant>,
    is_doubtful: AtomicBool,
    /// The server has not taken the token that it was shown.
    is_refused: Arc<AtomicBool>,
    pub(crate) talk: Option<Arc<Talk>>,
    /// A question does not say which call it is of: where the server may ask, its calls come one after the other.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

impl Session {
    /// Errors: in words.
    pub(crate) async fn over_http(url: &str, door: Door, has_changed: Arc<AtomicBool>, asks: bool) -> Result<Self, String> {
        let (headers, problem, is_refused) = (door.headers.clone(), door.problem.clone(), door.is_refused.clone());
        let talk = asks.then(Arc::<Talk>::default);
        let mut config = StreamableHttpClientTransportConfig::with_uri(url);
        let mut retries = FixedInterval::default();
        retries.max_times = Some(3);
        retries.duration = Duration::from_secs(1);
        config.retry_config = Arc::new(retries);
        let transport = StreamableHttpClientTransport::with_client(door, config);
        match (Ears { has_changed, talk: talk.clone() }).serve(transport).await {
            Ok(service) => Ok(Self::new(service, headers, problem, None, is_refused, talk).await),
            Err(error) => Err(problem.lock().take().unwrap_or_else(|| format!("it does not answer as an MCP server does: {error}"))),
        }
    }

    /// Errors: in words.
    pub(crate) async fn over_stdio(name: &str, program: &Program, has_changed: Arc<AtomicBool>, asks: bool) -> Result<Self, String> {
        let (mut process, stdout, stdin) = program.start(name).await?;
        let talk = asks.then(Arc::<Talk>::default);
        let transport = AsyncRwTransport::new(stdout, stdin).with_max_line_length(MOST_LINE);
        match (Ears { has_changed, talk: talk.clone() }).serve(transport).await {
            Ok(service) => Ok(Self::new(service, Arc::default(), Arc::default(), Some(process), Arc::default(), talk).await),
            Err(error) => {
                let said = process.last_words().await;
                Err(format!("it does not answer as an MCP server does: {}", if said.is_empty() { error.to_string() } else { said }))
            }
        }
    }

    async fn new(
        service: RunningService<RoleClient, Ears>,
        headers: Arc<Headers>,
        problem: Arc<Mutex<Option<String>>>,
        process: Option<Process>,
        is_refused: Arc<AtomicBool>,
        talk: Option<Arc<Talk>>,
    ) -> Self {
        // How long a list is good for is not the server's to say.
        service.peer().set_response_cache_config(ClientCacheConfig::disabled()).await;
        Self {
            service,
            headers,
            problem,
            process,
            used: Mutex::new(Instant::now()),
            is_doubtful: AtomicBool::new(false),
            is_refused,
            talk,
            turn: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn peer(&self) -> &Peer<RoleClient> {
        *self.used.lock() = Instant::now();
        self.service.peer()
    }

    pub(crate) fn idle(&self) -> Duration {
        self.used.lock().elapsed()
    }

    /// What went wrong below the protocol since this was last asked.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().take()
    }

    /// Whether the server has not taken the token that it was shown.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// A call ran out of time.
    pub(crate) fn doubt(&self) {
        self.is_doubtful.store(true, Ordering::Relaxed);
    }

    /// Whether it can be used.
    pub(crate) async fn is_good(&self) -> bool {
        if self.service.is_closed() || self.service.peer().is_transport_closed() {
            return false;
        }
        if !self.is_doubtful.load(Ordering::Relaxed) {
            return true;
        }
        let ping = ClientRequest::PingRequest(PingRequest::default());
        let is_there = matches!(timeout(PING, self.service.peer().send_request(ping)).await, Ok(Ok(_)));
        self.is_doubtful.store(!is_there, Ordering::Relaxed);
        is_there
    }

    /// Whether it is a process of this machine's.
    pub(crate) const fn is_local(&self) -> bool {
        self.process.is_some()
    }
}
