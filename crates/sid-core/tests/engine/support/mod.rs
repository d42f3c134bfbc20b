//! A house for one agent: in-process store, a model that answers what the test says, and an engine over both.

pub(crate) mod obedient;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use parking_lot::Mutex;
use serde_json::Value;
use sid_core::{Engine, EngineBuilder, EngineConfig, ModelEntry, Models, Submit};
use sid_llm::{
    BadArguments, ByteCounter, CalibratedCounter, ChatEvent, ChatMessage, ChatModel, ChatReply, ChatRequest, ChatStream, Finish, LlmError,
    ModelInfo, ModelProfile, ReplyCall, Rung, TokenCounter as _,
};
use sid_store::{Directory, InProcess, NewConversation, Order, RecallStore};
use sid_tools::Tool;
use sid_types::*;

/// What the model does at one call.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    Text(&'static str),
    Call(&'static str, Value),
    Calls(Vec<(&'static str, Value)>),
    BadCall(&'static str, &'static str),
    Empty,
    Fail(LlmError),
    Hang,
    Panic,
}

/// A model that answers by script, then with "ok", and keeps what it was asked.
pub(crate) struct Scripted {
    pub(crate) script: Mutex<VecDeque<Say>>,
    pub(crate) requests: Mutex<Vec<ChatRequest>>,
    pub(crate) window: Tokens,
    pub(crate) system_anywhere: bool,
    /// The engine's own tokenizer makes so many tokens of a hundred of the counter's; `None` = it cannot be asked.
    pub(crate) exact_percent: Option<u32>,
}

impl Scripted {
    pub(crate) fn new(window: u32, script: Vec<Say>) -> Arc<Self> {
        Arc::new(Self::unshared(window, script))
    }

    pub(crate) fn unshared(window: u32, script: Vec<Say>) -> Self {
        Self {
            script: Mutex::new(script.into()),
            requests: Mutex::default(),
            window: Tokens(window),
            system_anywhere: false,
            exact_percent: None,
        }
    }

    /// A prompt's size as this engine's tokenizer would have it.
    pub(crate) fn exact(&self, request: &ChatRequest) -> Option<Tokens> {
        let tools = request.tools.iter().map(|t| serde_json::to_string(t).unwrap_or_default());
        let texts = request.messages.iter().map(|m| match m {
            ChatMessage::System { text } | ChatMessage::User { text } => text.clone(),
            ChatMessage::Assistant { text, tool_calls } => format!("{text}{}", serde_json::to_string(tool_calls).unwrap_or_default()),
            ChatMessage::Tool { text, .. } => text.clone(),
        });
        let counted: u32 = tools.chain(texts).map(|text| ByteCounter.count(&text).0).sum();
        self.exact_percent.map(|percent| Tokens(counted * percent / 100))
    }

    pub(crate) fn last(&self) -> ChatRequest {
        self.requests.lock().last().cloned().expect("a request was made")
    }
}

pub(crate) fn reply(text: &str, calls: Vec<ReplyCall>) -> ChatReply {
    let finish = if calls.is_empty() { Finish::Stop } else { Finish::ToolCalls };
    ChatReply { text: text.into(), reasoning: String::new(), calls, finish, usage: None, rung: Rung::Native }
}

#[async_trait]
impl ChatModel for Scripted {
    fn info(&self) -> ModelInfo {
        let profile = ModelProfile { context_window: Some(self.window), system_anywhere: self.system_anywhere, ..ModelProfile::default() };
        ModelInfo { model: "scripted".into(), profile }
    }

    async fn count_prompt(&self, request: &ChatRequest) -> Result<Option<Tokens>, LlmError> {
        Ok(self.exact(request))
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let number = {
            let mut requests = self.requests.lock();
            requests.push(request);
            requests.len()
        };
        let say = self.script.lock().pop_front().unwrap_or(Say::Text("ok"));
        let call = |i: usize, name: &str, arguments: Value| ReplyCall {
            id: format!("call_{number}_{i}"),
            name: name.into(),
            arguments: Ok(arguments.as_object().cloned().unwrap_or_default()),
        };
        let done = match say {
            Say::Text(text) => reply(text, vec![]),
            Say::Call(name, arguments) => reply("", vec![call(0, name, arguments)]),
            Say::Calls(list) => reply("", list.into_iter().enumerate().map(|(i, (n, a))| call(i, n, a)).collect()),
            Say::BadCall(name, raw) => {
                let bad = BadArguments { raw: raw.into(), problem: "not JSON".into() };
                reply("", vec![ReplyCall { id: format!("call_{number}"), name: name.into(), arguments: Err(bad) }])
            }
            Say::Empty => reply("", vec![]),
            Say::Fail(error) => return Err(error),
            Say::Hang => return Ok(Box::pin(stream::pending())),
            Say::Panic => panic!("a planted panic"),
        };
        let delta = ChatEvent::TextDelta(done.text.clone());
        Ok(Box::pin(stream::iter([Ok(delta), Ok(ChatEvent::Done(Box::new(done)))])))
    }
}

pub(crate) struct House {
    pub(crate) store: Arc<InProcess>,
    pub(crate) model: Arc<Scripted>,
    pub(crate) engine: Engine,
    pub(crate) tenant: Scope,
    pub(crate) scope: Scope,
    pub(crate) user: User,
    pub(crate) agent: Agent,
    pub(crate) conversation: Conversation,
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

impl House {
    pub(crate) async fn open(model: Arc<Scripted>) -> Self {
        Self::open_with(model, EngineConfig { poll: Duration::from_millis(20), ..EngineConfig::default() }).await
    }

    pub(crate) async fn open_with(model: Arc<Scripted>, config: EngineConfig) -> Self {
        Self::open_as(model, config, Arc::new(SystemClock), |_| vec![]).await
    }

    /// An engine with this clock and with tools of the test's own; the store keeps the system's time.
    pub(crate) async fn open_as(
        model: Arc<Scripted>,
        config: EngineConfig,
        clock: Arc<dyn Clock>,
        tools: impl FnOnce(&Arc<InProcess>) -> Vec<Arc<dyn Tool>>,
    ) -> Self {
        let with_tools = |store: &Arc<InProcess>, mut builder: EngineBuilder| {
            for tool in tools(store) {
                builder = builder.tool(tool).expect("a new name");
            }
            builder
        };
        Self::open_built(model, config, clock, with_tools).await
    }

    /// An engine that is built as the test wants.
    #[expect(clippy::disallowed_methods, reason = "tests make their own scopes")]
    pub(crate) async fn open_built(
        model: Arc<Scripted>,
        config: EngineConfig,
        clock: Arc<dyn Clock>,
        build: impl FnOnce(&Arc<InProcess>, EngineBuilder) -> EngineBuilder,
    ) -> Self {
        let store = Arc::new(InProcess::default());
        let tenant_row = store.create_tenant(&OperatorScope::grant(), "acme").await.expect("a tenant");
        let tenant = Scope::grant(tenant_row.id, Principal::Tenant { key: KeyId::new() });
        let user = User {
            id: UserId::new(),
            handle: "ann".into(),
            display_name: "Ann".into(),
            timezone: None,
            quiet_hours: None,
            created_at: Timestamp::UNIX_EPOCH,
        };
        let user = store.create_user(&tenant, user).await.expect("a user");
        let agent = store.create_agent(&tenant, AgentId::new(), AgentSpec::new("helper", "m"), vec![]).await.expect("an agent");
        let scope = Scope::grant(tenant_row.id, Principal::User { user: user.id });
        let new = NewConversation { agent: agent.id, user: Some(user.id), key: Some("talk".into()) };
        let (conversation, _) = store.open_conversation(&scope, ConversationId::new(), new).await.expect("a conversation");
        let entry = ModelEntry {
            chat: model.clone(),
            counter: Arc::new(CalibratedCounter::new(ByteCounter)),
            fallback_window: Tokens(8_192),
            summarizer: None,
        };
        let builder = Engine::builder(store.clone(), Models::new().with("m", entry), None, clock, config);
        let engine = build(&store, builder).build().expect("the tools have different names");
        engine.start();
        Self { store, model, engine, tenant, scope, user, agent, conversation }
    }

    pub(crate) async fn say(&self, text: &str) -> Run {
        self.say_at(text, Timestamp::now()).await
    }

    pub(crate) async fn say_at(&self, text: &str, at: Timestamp) -> Run {
        let run = self.submit(text, at, None).await;
        self.engine.wait(&self.scope, run.id, Duration::from_secs(20)).await.expect("the run ends")
    }

    pub(crate) async fn submit(&self, text: &str, at: Timestamp, limits: Option<RunLimits>) -> Run {
        let submit = Submit { limits, ..Submit::new(self.conversation.id, vec![NewMessage::user(text, at)]) };
        self.engine.submit(&self.scope, submit).await.expect("accepted").run
    }

    /// Results of all calls so far, as `name: text`.
    pub(crate) async fn results(&self) -> Vec<String> {
        let result = |m: &Message| match &m.body {
            Body::Tool { name, text, .. } => Some(format!("{name}: {text}")),
            _ => None,
        };
        self.messages().await.iter().filter_map(result).collect()
    }

    pub(crate) async fn messages(&self) -> Vec<Message> {
        self.store.page(&self.scope, self.conversation.id, None, Order::Ascending, 100_000).await.expect("a page")
    }

    /// The last message's text, which is the answer where there was one.
    pub(crate) async fn answer(&self) -> String {
        self.messages().await.last().map(|m| m.body.text().to_owned()).unwrap_or_default()
    }
}

pub(crate) fn system_text(request: &ChatRequest) -> &str {
    match &request.messages[0] {
        ChatMessage::System { text } => text,
        other => panic!("the first message is {other:?}"),
    }
}
