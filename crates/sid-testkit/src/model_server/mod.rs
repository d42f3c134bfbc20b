//! A model server that follows a script: the OpenAI chat API, Ollama's native one, `/v1/embeddings`, and every fault that
//! engines are known for.
//!
//! It is told what to do in three ways, the first that has an answer wins:
//!
//! 1. the queue of [`ModelServer::script`] (or `POST /_script`), one [`Behaviour`] per chat request;
//! 2. directives in the last paragraph of the last message of the user: `#tool:NAME {json}` (several lines = several calls), `#fault:NAME`
//!    (each time), `#fault-once:NAME` (the first time that it sees this message), `#say:TEXT` (rest of the line). Once the
//!    call of a directive has been made it answers in words;
//! 3. [`ServerOptions::default_text`].
//!
//! Under a JSON schema it answers in JSON: Sid's own envelope, or the least value that fits the schema.
//!
//! ```
//! use sid_testkit::model_server::{Behaviour, Fault, ModelServer};
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let server = ModelServer::start().await.unwrap();
//! server.script([Behaviour::Text("Hello!".into()), Behaviour::Fault(Fault::ServerError)]);
//! assert!(server.base_url().starts_with("http://127.0.0.1:"));
//! assert!(server.requests().is_empty());
//! # });
//! ```
//!
//! [`ScriptedModel`] does the same without HTTP.

mod behaviour;
mod breaking;
mod directive;
mod fault;
mod http;
mod ollama;
mod openai;
mod prompt;
mod routes;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;

pub use behaviour::Behaviour;
pub use fault::Fault;
pub use sid_llm::{Scripted, ScriptedModel};

/// Which engine it plays to those who discover.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Flavour {
    /// An engine that says nothing about itself.
    #[default]
    Generic,
    /// vLLM: `max_model_len`, `/tokenize`.
    Vllm,
    /// llama.cpp: `/props`, `/apply-template`, `/tokenize`.
    LlamaCpp,
    /// Ollama: `/api/show`, `/api/ps`.
    Ollama,
}

/// How the server behaves beside its script.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// 0 = a free one.
    pub port: u16,
    /// What it says when nothing else is asked of it. Default `Understood.`.
    pub default_text: String,
    /// The name of its model. Default `scripted`.
    pub model: String,
    /// Which engine it plays.
    pub flavour: Flavour,
    /// Its window in tokens (four bytes each): larger prompts are refused in the words of its flavour.
    pub window: Option<u32>,
    /// Whether the chat template supports tools (llama.cpp, Ollama); `false` also refuses requests with tools.
    pub has_tools: bool,
    /// Whether requests are kept for [`ModelServer::requests`]. `false` for benches.
    pub record: bool,
    /// Waits this long before each answer.
    pub delay: Duration,
    /// Waits this long between two pieces of a stream; zero writes it at once.
    pub chunk_delay: Duration,
    /// Answers 401 to requests without this key.
    pub api_key: Option<String>,
    /// How long [`Fault::HangBefore`] and [`Fault::HangMid`] hang, unless the client goes away. Default an hour.
    pub hang: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            port: 0,
            default_text: "Understood.".into(),
            model: "scripted".into(),
            flavour: Flavour::Generic,
            window: None,
            has_tools: true,
            record: true,
            delay: Duration::ZERO,
            chunk_delay: Duration::ZERO,
            api_key: None,
            hang: Duration::from_secs(3_600),
        }
    }
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedRequest {
    /// Such as `/v1/chat/completions`.
    pub path: String,
    /// The body; `Null` when there was none.
    pub body: Value,
    /// The body's bytes, for comparing prefixes.
    pub raw: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    options: ServerOptions,
    script: Mutex<VecDeque<Behaviour>>,
    requests: Mutex<Vec<RecordedRequest>>,
    /// Texts whose `#fault-once` has been done.
    done_once: Mutex<std::collections::HashSet<u64>>,
    count: AtomicUsize,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

/// A running server; dropping it stops it and closes its connections.
#[derive(Debug)]
pub struct ModelServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl ModelServer {
    /// Starts a server with the defaults on a free port of the loopback.
    ///
    /// Errors: those of binding.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(ServerOptions::default()).await
    }

    /// Starts a server.
    ///
    /// Errors: those of binding.
    pub async fn start_with(options: ServerOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", options.port)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            options,
            script: Mutex::default(),
            requests: Mutex::default(),
            done_once: Mutex::default(),
            count: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
        });
        let task = tokio::spawn(routes::serve(listener, Arc::clone(&shared)));
        Ok(Self { shared, address, task })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds to the queue; one entry answers one chat request.
    pub fn script(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.shared.script.lock().extend(behaviours);
    }

    /// Entries of the queue that are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.shared.script.lock().len()
    }

    /// The requests so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.requests.lock().clone()
    }

    /// The chat requests so far.
    #[must_use]
    pub fn chats(&self) -> Vec<Value> {
        let requests = self.shared.requests.lock();
        requests.iter().filter(|r| r.path.ends_with("/chat/completions") || r.path == "/api/chat").map(|r| r.body.clone()).collect()
    }

    /// Chat requests so far, also when they are not recorded.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// The most chat requests that it had at once.
    #[must_use]
    pub fn most_in_flight(&self) -> usize {
        self.shared.most_in_flight.load(Ordering::Relaxed)
    }

    /// Forgets script and requests.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Runs until the task is ended from outside.
    pub async fn run(mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn reset(&self) {
        self.script.lock().clear();
        self.requests.lock().clear();
        self.done_once.lock().clear();
    }
}
