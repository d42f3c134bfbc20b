//! A server: its sessions, what is known of its tools, and what happens when it is not there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rmcp::ServiceError;
use rmcp::model::{CallToolRequestParams, CallToolResponse};
use serde_json::{Map, Value, json};
use sid_fetch::{FetchError, HostPattern};
use sid_tools::http::{Connection, Headers, Secret};
use sid_tools::{EffectClass, ToolContext, ToolOutcome, fit_result};
use sid_types::UserId;
use tokio::time::{Instant, timeout};

use crate::discovery::{self, RemoteTool};
use crate::http::{self, Door};
use crate::login::Authorization;
use crate::oauth::Token;
use crate::outcome;
use crate::question::{self, Answers, Talk};
use crate::session::Session;
use crate::stdio::Program;

/// Sessions of one server at once; the one that was used longest ago makes room.
const MOST_SESSIONS: usize = 64;
/// A remote session that nobody has used for so long is closed.
const IDLE: Duration = Duration::from_secs(300);
/// Where a call's token stands: the key of its `_meta`, for servers that want to do nothing twice.
const TOKEN: &str = "sid/idempotency-key";

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Until a server has been reached and has told its tools. Default: 10 s. Since 0.1.
    pub discovery: Duration,
    /// For one call, once it is reached. Default: 60 s. Since 0.1.
    pub call: Duration,
    /// How often its tools are asked for again. Default: 5 minutes. Since 0.1.
    pub refresh: Duration,
    /// The first pause after a failure; it doubles with each, up to a minute. Default: 1 s. Since 0.1.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            discovery: Duration::from_secs(10),
            call: Duration::from_secs(60),
            refresh: Duration::from_secs(300),
            pause: Duration::from_secs(1),
        }
    }
}

impl Limits {
    fn pause_after(&self, failures: u32) -> Duration {
        self.pause.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(Duration::from_secs(60))
    }
}

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
}

/// An MCP server. Cheap to clone; its sessions end with the last clone.
#[derive(Clone)]
pub struct McpServer(Arc<Inner>);

/// What could not be done, and whether it may have been done all the same.
enum Failure {
    /// It was answered 401 to the token that it came with.
    Refused(String),
    NotMade(String),
    Unknown(String),
}

/// What goes with a call where the server may ask back.
pub(crate) struct Asking<'a> {
    /// What the user has said.
    pub(crate) answers: Answers,
    /// The function that brings answers.
    pub(crate) answer: &'a str,
    /// What models call the tool.
    pub(crate) tool: &'a str,
}

/// A call, and again with the answers that there are, until the server has no more questions or one that nobody has answered.
async fn rounds(session: &Session, talk: &Talk, first: CallToolRequestParams) -> Result<CallToolResponse, ServiceError> {
    let mut params = first.clone();
    for _ in 0..question::MOST {
        let wanted = match session.peer().call_tool_once(params).await? {
            CallToolResponse::InputRequired(wanted) => wanted,
            done => return Ok(done),
        };
        let asked = wanted.input_requests.clone().unwrap_or_default();
        let Some(responses) = talk.answer_all(&asked) else { return Ok(CallToolResponse::InputRequired(wanted)) };
        params = first.clone();
        params.input_responses = Some(responses);
        params.request_state = wanted.request_state;
    }
    Err(ServiceError::InputRequiredRoundsExceeded { max_rounds: question::MOST })
}

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
            if let Err(problem) = this.look(&context).await {
                tracing::warn!(server = %this.0.name, problem, "an MCP server cannot be used");
            }
        });
    }

    /// Asks the server for its tools, within [`Limits::discovery`].
    ///
    /// Errors: in words, for whoever added the server.
    pub async fn look(&self, context: &ToolContext) -> Result<Vec<RemoteTool>, String> {
        let limit = self.0.limits.discovery;
        self.0.has_changed.store(false, Ordering::Relaxed);
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
                known.next_look = Some(Instant::now() + self.0.limits.pause_after(known.failures));
                if known.found.problem.as_ref() != Some(problem) {
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

    /// Calls a tool. Whatever happens is an outcome that a model can read.
    pub(crate) async fn call(
        &self,
        context: &ToolContext,
        tool: &str,
        arguments: Map<String, Value>,
        effect: EffectClass,
        asking: Asking<'_>,
    ) -> ToolOutcome {
        let whose = match self.0.place {
            Place::Remote { .. } => Whose::Users(context.scope.user()),
            Place::Local(_) => Whose::Nobodys,
        };
        let limit = self.0.limits.discovery;
        let reached = match timeout(limit, self.session(whose, context)).await {
            Ok(reached) => reached.map_err(Failure::NotMade),
            Err(_) => Err(Failure::NotMade(format!("it does not greet within {:.1} s", limit.as_secs_f32()))),
        };
        let called = match reached {
            Ok(session) => {
                let first = self.call_on(&session, context, tool, arguments.clone(), &asking).await;
                // A call that was answered 401 was not made: once more with the next token. Another one's 401 says nothing of this.
                match first {
                    Err(Failure::Refused(_)) if self.has_login() => match self.session(whose, context).await {
                        Ok(session) => self.call_on(&session, context, tool, arguments, &asking).await,
                        Err(problem) => Err(Failure::NotMade(problem)),
                    },
                    first => first,
                }
            }
            Err(failure) => Err(failure),
        };
        called.unwrap_or_else(|failure| {
            let (problem, more) = match failure {
                Failure::NotMade(problem) | Failure::Refused(problem) => (problem, "The call was not made; it may work later."),
                Failure::Unknown(problem) if effect == EffectClass::Read => (problem, "It may work later."),
                Failure::Unknown(problem) => (problem, "It may have been carried out all the same: look before you repeat it."),
            };
            let problem = fit_result(&problem, sid_types::Tokens(context.result_budget.0 / 2));
            ToolOutcome::error(format!("The MCP server `{}` cannot be used now: {problem}. {more}", self.0.name))
        })
    }

    async fn call_on(
        &self,
        session: &Arc<Session>,
        context: &ToolContext,
        tool: &str,
        arguments: Map<String, Value>,
        asking: &Asking<'_>,
    ) -> Result<ToolOutcome, Failure> {
        let params = json!({"name": tool, "arguments": arguments, "_meta": {TOKEN: context.token.to_string()}});
        let params: CallToolRequestParams = serde_json::from_value(params).map_err(|e| Failure::NotMade(e.to_string()))?;
        let limit = self.0.limits.call;
        let Some(talk) = &session.talk else {
            return self.outcome(session, context, timeout(limit, session.peer().call_tool_once(params)).await);
        };
        let (answer, open) = {
            let _turn = session.turn.lock().await;
            talk.begin(asking.answers.clone());
            let called = timeout(limit, rounds(session, talk, params)).await;
            (called, talk.end())
        };
        let asked = (!open.is_empty()).then(|| session.headers.hide(question::told(&open, asking.answer, asking.tool)));
        match (answer, asked) {
            // The server wants an answer before it goes on: nothing else came of the call.
            (Ok(Ok(CallToolResponse::InputRequired(_))), Some(asked)) => Ok(ToolOutcome::error(fit_result(&asked, context.result_budget))),
            (answer, None) => self.outcome(session, context, answer),
            (answer, Some(asked)) => {
                let mut outcome = self.outcome(session, context, answer)?;
                outcome.text = fit_result(&format!("{asked}\n\n{}", outcome.text), context.result_budget);
                Ok(outcome)
            }
        }
    }

    fn outcome(
        &self,
        session: &Session,
        context: &ToolContext,
        answer: Result<Result<CallToolResponse, ServiceError>, tokio::time::error::Elapsed>,
    ) -> Result<ToolOutcome, Failure> {
        let limit = self.0.limits.call;
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) => {
                session.doubt();
                return Err(Failure::Unknown(format!("there was no answer within {:.1} s", limit.as_secs_f32())));
            }
        };
        match answer {
            Ok(CallToolResponse::Complete(result)) => Ok(outcome::of_result(&result, &session.headers, context.result_budget)),
            Ok(_) => Err(Failure::Unknown("it wants more than a tool's arguments, which this client cannot give".into())),
            // The server's own answer: arguments that it does not like, a tool that it no longer has.
            Err(ServiceError::McpError(error)) => {
                let says = session.headers.hide(error.message.to_string());
                Ok(ToolOutcome::error(fit_result(&format!("The server refuses the call: {says}"), context.result_budget)))
            }
            Err(error) => {
                session.doubt();
                let problem = session.problem().unwrap_or_else(|| session.headers.hide(error.to_string()));
                Err(if http::is_refused(&error) { Failure::Refused(problem) } else { Failure::Unknown(problem) })
            }
        }
    }

    /// An open session for this caller. Errors: in words.
    async fn session(&self, whose: Whose, context: &ToolContext) -> Result<Arc<Session>, String> {
        let slot = self.slot(whose);
        let mut slot = slot.lock().await;
        let headers = self.headers(whose, context, &mut slot).await?;
        if let Some(session) = slot.session.clone() {
            if session.headers.is_same(&headers) && !session.is_refused() && session.is_good().await {
                return Ok(session);
            }
            slot.session = None;
            if session.is_local() {
                tracing::warn!(server = %self.0.name, "a local MCP server has ended or does not answer, and is started again");
            }
        }
        if let Some(not_before) = slot.not_before.filter(|t| *t > Instant::now()) {
            let seconds = (not_before - Instant::now()).as_secs_f32().ceil();
            return Err(format!("{} (tried again in {seconds} s)", slot.problem));
        }
        // Should this future be dropped in the middle, nobody tries again at once.
        slot.failures += 1;
        slot.not_before = Some(Instant::now() + self.0.limits.pause_after(slot.failures));
        slot.problem = "it did not greet in time".into();
        let is_refused = Arc::default();
        let mut opened = self.open(headers, &is_refused).await;
        if is_refused.swap(false, Ordering::Relaxed) && self.has_login() {
            // The token may have ended before its time: once more, with the next one.
            slot.is_refused = true;
            let headers = self.headers(whose, context, &mut slot).await?;
            opened = self.open(headers, &is_refused).await;
            slot.is_refused = is_refused.load(Ordering::Relaxed);
        }
        match opened {
            Ok(session) => {
                let session = Arc::new(session);
                // A local server that ends at once, again and again, is not started again and again: it must have lived a while first.
                slot.failures = if session.is_local() { slot.failures } else { 0 };
                slot.not_before = session.is_local().then(|| Instant::now() + self.0.limits.pause_after(slot.failures));
                slot.problem = "it has ended".into();
                slot.session = Some(session.clone());
                self.watch(whose, &session);
                Ok(session)
            }
            Err(problem) => {
                slot.problem.clone_from(&problem);
                Err(problem)
            }
        }
    }

    fn slot(&self, whose: Whose) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.0.slots.lock();
        if slots.len() >= MOST_SESSIONS && !slots.contains_key(&whose) {
            // One that is being opened counts as just used.
            let idle = |slot: &Arc<tokio::sync::Mutex<Slot>>| {
                slot.try_lock().map_or(Duration::ZERO, |s| s.session.as_ref().map_or(Duration::MAX, |session| session.idle()))
            };
            if let Some(oldest) = slots.iter().map(|(whose, slot)| (idle(slot), *whose)).max_by_key(|(idle, _)| *idle) {
                slots.remove(&oldest.1);
            }
        }
        slots.entry(whose).or_default().clone()
    }

    /// With the secrets of whoever this is for, and a token if one is needed. Errors: in words.
    async fn headers(&self, whose: Whose, context: &ToolContext, slot: &mut Slot) -> Result<Arc<Headers>, String> {
        let Place::Remote { url, calls, looks, authorization, .. } = &self.0.place else { return Ok(Arc::default()) };
        let connection = if whose == Whose::Nobodys { looks } else { calls };
        let mut headers = connection.headers(context).await?;
        match authorization {
            None => {}
            Some(Authorization::Client(oauth)) => {
                let secret = connection.secret(context, &oauth.client_secret).await?;
                if !slot.token.as_ref().is_some_and(|token| token.is_good_for(&secret)) {
                    slot.token = Some(oauth.ask(connection.fetcher(), url, secret).await?);
                }
                if let Some(token) = &slot.token {
                    headers.put_secret("authorization", "Bearer ", "token", token.value());
                }
            }
            Some(Authorization::Login(login)) => {
                let shown = slot.shown.take().filter(|_| slot.is_refused || slot.session.as_ref().is_some_and(|s| s.is_refused()));
                slot.is_refused = false;
                let token = login.token(context, whose == Whose::Nobodys, shown.as_ref()).await?;
                slot.shown = Some(Secret::new(token.reveal()));
                headers.put_secret("authorization", "Bearer ", "token", token);
            }
        }
        Ok(Arc::new(headers))
    }

    async fn open(&self, headers: Arc<Headers>, is_refused: &Arc<AtomicBool>) -> Result<Session, String> {
        match &self.0.place {
            Place::Local(program) => Session::over_stdio(&self.0.name, program, self.0.has_changed.clone(), self.0.asks).await,
            Place::Remote { url, hosts, calls, .. } => {
                let door = Door {
                    fetcher: calls.fetcher().clone(),
                    headers,
                    hosts: hosts.clone(),
                    time: calls.timeout(),
                    problem: Arc::default(),
                    is_refused: is_refused.clone(),
                };
                Session::over_http(url, door, self.0.has_changed.clone(), self.0.asks).await
            }
        }
    }

    /// Closes a remote session that is no longer used; lets a local server that has lived for a while begin again without a pause.
    fn watch(&self, whose: Whose, session: &Arc<Session>) {
        let (server, session): (Weak<Inner>, Weak<Session>) = (Arc::downgrade(&self.0), Arc::downgrade(session));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(IDLE / 5).await;
                let (Some(server), Some(session)) = (server.upgrade(), session.upgrade()) else { return };
                let slot = server.slots.lock().get(&whose).cloned();
                let Some(slot) = slot else { return };
                let mut slot = slot.lock().await;
                if !slot.session.as_ref().is_some_and(|now| Arc::ptr_eq(now, &session)) {
                    return;
                }
                if session.is_local() {
                    slot.failures = 0;
                    slot.not_before = None;
                } else if session.idle() > IDLE {
                    slot.session = None;
                    return;
                }
            }
        });
    }
}
