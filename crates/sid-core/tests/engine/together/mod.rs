//! A house of several agents, each with a model of its own that acts by what it reads.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use parking_lot::Mutex;
use serde_json::Value;
use sid_core::{Engine, EngineConfig, ModelEntry, Models, Submit};
use sid_llm::{
    ByteCounter, ChatEvent, ChatMessage, ChatModel, ChatReply, ChatRequest, ChatStream, Finish, LlmError, ModelInfo, ModelProfile,
    ReplyCall, Rung,
};
use sid_store::{Directory, InProcess, NewConversation, Order, PageRequest, RecallStore, StateStore};
use sid_types::*;

/// What a model does at one call.
pub(crate) enum Act {
    Say(String),
    SayAfter(Duration, String),
    Call(&'static str, Value),
    Calls(Vec<(&'static str, Value)>),
    Hang,
}

/// What an agent does: told its stimulus with what stands around it, and the results of its calls since.
pub(crate) type Part = fn(&str, &[String]) -> Act;

struct Acting {
    part: Part,
    requests: Mutex<Vec<ChatRequest>>,
}

pub(crate) fn text_of(message: &ChatMessage) -> &str {
    match message {
        ChatMessage::System { text }
        | ChatMessage::User { text }
        | ChatMessage::Assistant { text, .. }
        | ChatMessage::Tool { text, .. } => text,
    }
}

#[async_trait]
impl ChatModel for Acting {
    fn info(&self) -> ModelInfo {
        let profile = ModelProfile { context_window: Some(Tokens(32_000)), ..ModelProfile::default() };
        ModelInfo { model: "acting".into(), profile }
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let stimulus = request.messages.iter().rposition(|m| matches!(m, ChatMessage::User { .. })).expect("a stimulus");
        let results = request.messages[stimulus + 1..].iter().filter(|m| matches!(m, ChatMessage::Tool { .. }));
        let since: Vec<String> = results.map(|m| text_of(m).to_owned()).collect();
        let act = (self.part)(text_of(&request.messages[stimulus]), &since);
        self.requests.lock().push(request);
        let (text, calls) = match act {
            Act::Say(text) => (text, Vec::new()),
            Act::SayAfter(rest, text) => {
                tokio::time::sleep(rest).await;
                (text, Vec::new())
            }
            Act::Call(name, arguments) => (String::new(), vec![(name, arguments)]),
            Act::Calls(calls) => (String::new(), calls),
            Act::Hang => return Ok(Box::pin(stream::pending())),
        };
        let call = |(name, arguments): (&str, Value)| ReplyCall {
            id: format!("call_{}", uuid::Uuid::now_v7().simple()),
            name: name.into(),
            arguments: Ok(arguments.as_object().cloned().unwrap_or_default()),
        };
        let calls: Vec<ReplyCall> = calls.into_iter().map(call).collect();
        let finish = if calls.is_empty() { Finish::Stop } else { Finish::ToolCalls };
        let done = ChatReply { text, reasoning: String::new(), calls, finish, usage: None, rung: Rung::Native };
        Ok(Box::pin(stream::iter([Ok(ChatEvent::Done(Box::new(done)))])))
    }
}

pub(crate) fn config() -> EngineConfig {
    EngineConfig { poll: Duration::from_millis(20), diary: false, ..EngineConfig::default() }
}

pub(crate) struct House {
    pub(crate) store: Arc<InProcess>,
    pub(crate) engine: Engine,
    models: BTreeMap<String, Arc<Acting>>,
    pub(crate) agents: BTreeMap<String, AgentId>,
    pub(crate) tenant: Scope,
    pub(crate) ann: Scope,
    pub(crate) user: UserId,
    first: Mutex<Option<RunId>>,
}

#[expect(clippy::disallowed_methods, reason = "tests make their own scopes")]
impl House {
    /// Agents with what they do and whom they may speak with.
    pub(crate) async fn open(agents: &[(&str, Part, &[&str])], config: EngineConfig) -> Self {
        let store = Arc::new(InProcess::default());
        let row = store.create_tenant(&OperatorScope::grant(), "acme").await.expect("a tenant");
        let tenant = Scope::grant(row.id, Principal::Tenant { key: KeyId::new() });
        let ids: BTreeMap<String, AgentId> = agents.iter().map(|(name, ..)| ((*name).to_owned(), AgentId::new())).collect();
        let mut models = BTreeMap::new();
        for (name, part, colleagues) in agents {
            let spec = AgentSpec {
                colleagues: colleagues.iter().map(|c| AgentMatch::Agent(ids[*c])).collect(),
                tasks: true,
                ..AgentSpec::new(*name, *name)
            };
            store.create_agent(&tenant, ids[*name], spec, vec![]).await.expect("an agent");
            models.insert((*name).to_owned(), Arc::new(Acting { part: *part, requests: Mutex::default() }));
        }
        let engine = Self::engine(&store, &models, config);
        let user = UserId::new();
        let ann = Scope::grant(row.id, Principal::User { user });
        let house = Self { store, engine, models, agents: ids, tenant, ann, user, first: Mutex::default() };
        house.insert_user(user, "ann").await;
        house
    }

    fn engine(store: &Arc<InProcess>, models: &BTreeMap<String, Arc<Acting>>, config: EngineConfig) -> Engine {
        let entry = |chat: &Arc<Acting>| ModelEntry {
            chat: chat.clone(),
            counter: Arc::new(ByteCounter),
            fallback_window: Tokens(32_000),
            summarizer: None,
        };
        let models = models.iter().fold(Models::new(), |all, (name, chat)| all.with(name, entry(chat)));
        let engine = Engine::new(store.clone(), models, None, Arc::new(SystemClock), config);
        engine.start();
        engine
    }

    /// Another process over the same store, which takes the place of the first.
    pub(crate) fn start(&mut self, config: EngineConfig) {
        self.engine = Self::engine(&self.store, &self.models, config);
    }

    async fn insert_user(&self, id: UserId, handle: &str) {
        let at = Timestamp::UNIX_EPOCH;
        let user = User { id, handle: handle.into(), display_name: handle.into(), timezone: None, quiet_hours: None, created_at: at };
        self.store.create_user(&self.tenant, user).await.expect("a user");
    }

    pub(crate) async fn add_user(&self, handle: &str) -> UserId {
        let id = UserId::new();
        self.insert_user(id, handle).await;
        id
    }

    pub(crate) fn as_user(&self, user: UserId) -> Scope {
        Scope::grant(self.tenant.tenant(), Principal::User { user })
    }

    async fn change(&self, agent: &str, edit: impl FnOnce(&mut AgentSpec)) {
        let agent = self.store.agent(&self.tenant, self.agents[agent]).await.expect("there");
        let mut spec = agent.spec;
        edit(&mut spec);
        self.store.update_agent(&self.tenant, agent.id, spec, agent.teams).await.expect("changed");
    }

    pub(crate) async fn trust(&self, who: &str, whom: &str) {
        let whom = AgentMatch::Agent(self.agents[whom]);
        self.change(who, |spec| spec.trusts.push(whom)).await;
    }

    pub(crate) async fn reach(&self, who: &str, whom: &str) {
        let whom = self.agents[whom];
        self.change(who, |spec| spec.reaches.push(whom)).await;
    }

    pub(crate) async fn meet(&self, who: &str, whom: Vec<AgentMatch>) {
        self.change(who, |spec| spec.colleagues = whom).await;
    }

    pub(crate) async fn tag(&self, who: &str, tag: &str) {
        self.change(who, |spec| spec.tags.push(tag.into())).await;
    }

    pub(crate) async fn talk_of(&self, user: UserId, agent: &str) -> ConversationId {
        let new = NewConversation { agent: self.agents[agent], user: Some(user), key: Some("talk".into()) };
        self.store.open_conversation(&self.as_user(user), ConversationId::new(), new).await.expect("a conversation").0.id
    }

    pub(crate) async fn talk(&self, agent: &str) -> ConversationId {
        self.talk_of(self.user, agent).await
    }

    async fn submit(&self, user: UserId, conversation: ConversationId, text: &str, untrusted: Vec<Source>) -> RunId {
        let message = NewMessage { untrusted, ..NewMessage::user(text, Timestamp::now()) };
        let submitted = self.engine.submit(&self.as_user(user), Submit::new(conversation, vec![message])).await.expect("accepted");
        self.first.lock().get_or_insert(submitted.run.id);
        submitted.run.id
    }

    pub(crate) async fn begin(&self, agent: &str, text: &str) -> RunId {
        let talk = self.talk(agent).await;
        self.submit(self.user, talk, text, Vec::new()).await
    }

    /// Waits for a run and tells its last words.
    pub(crate) async fn end_of(&self, run: RunId) -> String {
        let run = self.engine.wait(&self.tenant, run, Duration::from_secs(120)).await.expect("visible");
        assert!(run.status.is_terminal(), "{run:?}");
        let messages = self.messages(run.conversation).await;
        let last = messages.iter().rfind(|m| m.run == Some(run.id) && m.body.role() == Role::Assistant);
        last.map(|m| m.body.text().to_owned()).unwrap_or_else(|| format!("{run:?}"))
    }

    /// Says something in a conversation and tells the answer.
    pub(crate) async fn say_in(&self, user: UserId, conversation: ConversationId, text: &str) -> String {
        let run = self.submit(user, conversation, text, Vec::new()).await;
        self.end_of(run).await
    }

    pub(crate) async fn say_untrusted_in(&self, user: UserId, conversation: ConversationId, text: &str, untrusted: Vec<Source>) -> String {
        let run = self.submit(user, conversation, text, untrusted).await;
        self.end_of(run).await
    }

    pub(crate) async fn say(&self, agent: &str, text: &str) -> String {
        let run = self.begin(agent, text).await;
        self.end_of(run).await
    }

    pub(crate) async fn say_as(&self, user: UserId, agent: &str, text: &str) -> String {
        let talk = self.talk_of(user, agent).await;
        self.say_in(user, talk, text).await
    }

    pub(crate) async fn say_of(&self, agent: &str, text: &str, untrusted: Vec<Source>) -> String {
        let talk = self.talk(agent).await;
        let run = self.submit(self.user, talk, text, untrusted).await;
        self.end_of(run).await
    }

    pub(crate) fn runs_of_first(&self, _agent: &str) -> RunId {
        self.first.lock().expect("something was said")
    }

    pub(crate) async fn all_conversations(&self) -> Vec<Conversation> {
        let page = PageRequest { after: None, limit: 1_000 };
        self.store.conversations(&self.tenant, None, None, page).await.expect("listed").items
    }

    pub(crate) async fn conversations(&self, agent: &str) -> Vec<Conversation> {
        let mut all = self.all_conversations().await;
        all.retain(|c| c.agent == self.agents[agent]);
        all
    }

    pub(crate) async fn only_conversation(&self, agent: &str) -> Conversation {
        let mut all = self.conversations(agent).await;
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    pub(crate) async fn messages(&self, conversation: ConversationId) -> Vec<Message> {
        self.store.page(&self.tenant, conversation, None, Order::Ascending, 10_000).await.expect("a page")
    }

    pub(crate) async fn runs(&self, conversation: ConversationId) -> Vec<Run> {
        self.store.runs(&self.tenant, conversation, 1_000).await.expect("visible")
    }

    /// The last result of a tool in the user's talk with an agent.
    pub(crate) async fn result(&self, agent: &str) -> Message {
        let messages = self.messages(self.talk(agent).await).await;
        messages.into_iter().rfind(|m| m.body.role() == Role::Tool).expect("a result")
    }

    /// What all messages between agents carry, in the order in which they were written.
    pub(crate) async fn senders(&self) -> Vec<Sender> {
        let mut found = Vec::new();
        for conversation in self.all_conversations().await {
            found.extend(self.messages(conversation.id).await.into_iter().filter_map(|m| m.sender.map(|s| (m.at, *s))));
        }
        found.sort_by(|a, b| (a.0, a.1.depth, b.1.left.tokens).cmp(&(b.0, b.1.depth, a.1.left.tokens)));
        found.into_iter().map(|(_, sender)| sender).collect()
    }

    pub(crate) async fn is_quiet(&self) -> bool {
        for conversation in self.all_conversations().await {
            if self.runs(conversation.id).await.iter().any(|run| !run.status.is_terminal()) {
                return false;
            }
        }
        true
    }

    /// Looks until something holds; the limit is generous, and decides nothing but a failure.
    pub(crate) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        for _ in 0..6_000 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not yet: {what}");
    }

    /// The last prompt that an agent's model was given, as text.
    pub(crate) fn prompt(&self, agent: &str) -> String {
        let requests = self.models[agent].requests.lock();
        let last = requests.last().expect("it was asked");
        last.messages.iter().map(text_of).collect::<Vec<_>>().join("\n")
    }
}
