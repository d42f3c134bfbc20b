//! The scenario: turns with tools, a page-out, a queue, a cancelled run, a call that waits for a yes; and how it is finished in spite of one
//! failed call.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sid_core::{CoreError, Engine, EngineBuilder, EngineConfig, ModelEntry, Models, Submit};
use sid_llm::{
    ByteCounter, CalibratedCounter, ChatMessage, ChatModel, ChatRequest, ChatStream, HashEmbedder, LlmError, ModelInfo, Scripted,
    ScriptedModel,
};
use sid_store::{ApprovalFilter, IdempotencyKey, NewConversation, PageRequest, Store, Verdict};
use sid_testkit::checker::{self, Dump, Effect, Entry};
use sid_tools::{EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::{
    AgentId, AgentSpec, Approval, ApprovalState, Approvals, Ask, Clock, ConversationId, KeyId, NewMessage, OperatorScope, Principal, RunId,
    Scope, SystemClock, Timestamp, Tokens, ToolSpec, User, UserId,
};

use crate::nth::{Nth, Way};

/// Tries that are enough on any machine.
const PATIENCE: u32 = 200;

/// How fast a house lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tempo {
    pub(crate) lease: Duration,
    pub(crate) poll: Duration,
    pub(crate) model: Duration,
}

/// A clock that goes with tokio's.
pub(crate) struct Since(pub(crate) tokio::time::Instant);

impl Clock for Since {
    fn now(&self) -> Timestamp {
        Timestamp::constant(1_775_044_800, 0) + self.0.elapsed()
    }
}

/// One conversation over a store whose n-th call fails.
pub(crate) struct Scene {
    truth: Arc<dyn Store>,
    faulty: Arc<Nth>,
    tempo: Tempo,
    way: Way,
    scope: Scope,
    conversation: ConversationId,
    model: Arc<dyn ChatModel>,
    rings: Arc<Mutex<Vec<String>>>,
    ledger: Mutex<Vec<Entry>>,
}

impl Scene {
    pub(crate) async fn open(truth: Arc<dyn Store>, tempo: Tempo, n: u64, way: Way) -> Self {
        let tenant = truth.create_tenant(&OperatorScope::grant(), "acme").await.expect("a tenant").id;
        let whole = OperatorScope::grant().enter(tenant, KeyId::new());
        let ann = User {
            id: UserId::new(),
            handle: "ann".into(),
            display_name: "Ann".into(),
            timezone: None,
            quiet_hours: None,
            created_at: Timestamp::UNIX_EPOCH,
        };
        let user = truth.create_user(&whole, ann).await.expect("a user").id;
        let approvals = Approvals([("knock".to_owned(), Ask::Always)].into());
        let spec = AgentSpec { context_window: Some(Tokens(1_300)), approvals, ..AgentSpec::new("helper", "scripted") };
        let agent = truth.create_agent(&whole, AgentId::new(), spec, vec![]).await.expect("an agent").id;
        #[allow(clippy::disallowed_methods, reason = "tests make their own scopes")]
        let scope = Scope::grant(tenant, Principal::User { user });
        let new = NewConversation { agent, user: Some(user), key: None };
        let (talk, _) = truth.open_conversation(&scope, ConversationId::new(), new).await.expect("a conversation");
        Self {
            faulty: Arc::new(Nth::new(truth.clone(), n, way)),
            truth,
            tempo,
            way,
            scope,
            conversation: talk.id,
            model: Arc::new(Slow { model: ScriptedModel::answering(answer), pause: tempo.model }),
            rings: Arc::default(),
            ledger: Mutex::default(),
        }
    }

    /// Plays the scenario to its end. Answers which call failed.
    ///
    /// Panics: when it cannot be finished, or an invariant does not hold.
    pub(crate) async fn play(&self) -> Option<&'static str> {
        let engine = self.engine(self.faulty.clone());
        // Giving up an engine too early costs nothing where another one follows; otherwise a busy machine must not decide.
        let is_finished = self.act(&engine, if self.way.hangs() { 5 } else { PATIENCE }).await;
        let failed = self.faulty.failed();
        let what = format!("{failed:?} {:?}", self.way);
        // A lost call is no reason to need another process; one that hangs for ever may be.
        assert!(is_finished || self.way.hangs() && failed.is_some(), "{what}: the engine does not finish by itself");
        self.faulty.kill();
        let second = self.engine(self.truth.clone());
        assert!(self.act(&second, PATIENCE).await, "{what}: another engine does not finish");
        second.drain(Duration::from_secs(5)).await;
        let asked = self.approvals(&second).await.expect("they are there");
        assert_eq!(asked.iter().map(|a| a.state).collect::<Vec<_>>(), [ApprovalState::Approved], "{what}");
        self.check(&what).await;
        failed
    }

    fn engine(&self, store: Arc<dyn Store>) -> Engine {
        let entry = ModelEntry {
            chat: self.model.clone(),
            counter: Arc::new(CalibratedCounter::new(ByteCounter)),
            fallback_window: Tokens(8_192),
            summarizer: None,
        };
        let config = EngineConfig { lease_ttl: self.tempo.lease, poll: self.tempo.poll, diary: false, ..EngineConfig::default() };
        let bell = |name| Arc::new(Bell { name, rings: self.rings.clone() });
        let models = Models::new().with("scripted", entry);
        let engine = Engine::builder(store, models, Some(Arc::new(HashEmbedder::new())), Arc::new(SystemClock), config)
            .tool(bell("ring"))
            .and_then(|builder| builder.tool(bell("knock")))
            .and_then(EngineBuilder::build)
            .expect("the tools have different names");
        engine.start();
        engine
    }

    /// Everything that is said, each with its key: what was accepted before is not said again. Whether all runs have ended.
    async fn act(&self, engine: &Engine, tries: u32) -> bool {
        let all = [
            ("remember", "remember that I like pickles"),
            ("archive", "archive this and ring"),
            ("long", "much to tell"),
            ("endless", "endless: think about it for ever"),
            ("queued", "meanwhile, more to tell"),
            ("ask", "knock at the door"),
            ("last", "at last"),
        ];
        let mut endless = None;
        for (key, words) in all {
            let Some(run) = self.say(engine, key, words, tries).await else { return false };
            if key == "endless" {
                // The next one queues up behind it before it is cancelled, in the middle of its model call.
                endless = Some(run);
                continue;
            }
            if let Some(endless) = endless.take() {
                self.cancel(engine, endless).await;
            }
            if !self.ends(engine, run, tries).await {
                return false;
            }
        }
        let Some(run) = self.approve(engine, tries).await else { return false };
        self.ends(engine, run, tries).await
    }

    /// Says yes until that is acknowledged, however often it was heard before; answers the run that begins with the call.
    async fn approve(&self, engine: &Engine, tries: u32) -> Option<RunId> {
        for _ in 0..tries {
            let decided = tokio::time::timeout(self.tempo.lease, async {
                let asked = self.approvals(engine).await.ok()?.pop()?;
                engine.decide(&self.scope, asked.id, Verdict::Approve, None).await.ok()?.answered_by
            });
            if let Ok(Some(run)) = decided.await {
                return Some(run);
            }
            tokio::time::sleep(self.tempo.poll).await;
        }
        None
    }

    async fn approvals(&self, engine: &Engine) -> Result<Vec<Approval>, CoreError> {
        Ok(engine.approvals(&self.scope, &ApprovalFilter::default(), PageRequest { after: None, limit: 10 }).await?.items)
    }

    /// Says something until it is acknowledged; `None` when nobody answers for long.
    async fn say(&self, engine: &Engine, key: &str, words: &str, tries: u32) -> Option<RunId> {
        let text = format!("{words}{}", " and so on".repeat(25));
        for _ in 0..tries {
            let submit = Submit {
                idempotency: Some(IdempotencyKey { key: key.into(), fingerprint: [1; 32] }),
                ..Submit::new(self.conversation, vec![NewMessage::user(text.clone(), Timestamp::UNIX_EPOCH)])
            };
            if let Ok(Ok(submitted)) = tokio::time::timeout(self.tempo.lease, engine.submit(&self.scope, submit)).await {
                let run = submitted.run.id;
                self.ledger.lock().push(Entry {
                    conversation: self.conversation.to_string(),
                    text,
                    run: Some(run.to_string()),
                    ..Entry::default()
                });
                return Some(run);
            }
            tokio::time::sleep(self.tempo.poll).await;
        }
        None
    }

    async fn cancel(&self, engine: &Engine, run: RunId) {
        // Long enough for its lease to be renewed.
        tokio::time::sleep(self.tempo.lease / 2).await;
        for _ in 0..10 {
            if let Ok(Ok(_)) = tokio::time::timeout(self.tempo.lease, engine.cancel(&self.scope, run)).await {
                return;
            }
        }
    }

    /// Whether a run ends in good time: its lease may have to run out first.
    async fn ends(&self, engine: &Engine, run: RunId, tries: u32) -> bool {
        for _ in 0..tries {
            let wait = engine.wait(&self.scope, run, self.tempo.lease);
            if let Ok(Ok(run)) = tokio::time::timeout(self.tempo.lease * 2, wait).await
                && run.status.is_terminal()
            {
                return true;
            }
        }
        false
    }

    async fn check(&self, what: &str) {
        let conversation = checker::read_conversation(&*self.truth, &self.scope, self.conversation).await.expect("it is there");
        let events = || conversation.runs.iter().flat_map(|run| run.events.iter().flatten());
        assert!(events().any(|e| e.event == "page_out"), "{what}: nothing was paged out");
        let ended = |status: &str| conversation.runs.iter().filter(|run| run.status == status).count();
        assert_eq!((ended("completed"), ended("cancelled"), conversation.runs.len()), (7, 1, 8), "{what}");
        let said_yes = conversation.messages.iter().filter(|m| m.text.contains("was approved")).count();
        assert_eq!(said_yes, 1, "{what}: one yes is told once");
        let mut rings = self.rings.lock().clone();
        rings.sort_unstable();
        let effects = rings.chunk_by(|a, b| a == b).map(|same| Effect { token: same[0].clone(), times: same.len() as u64 }).collect();
        let mut ledger = self.ledger.lock().clone();
        ledger.dedup();
        let found = checker::check(&Dump { conversations: vec![conversation], ledger, effects, ..Dump::default() });
        assert!(found.is_empty(), "{what}: {found:#?}");
    }
}

/// Answers by what was said last: calls for some words, nothing for ever for others.
fn answer(request: &ChatRequest) -> Scripted {
    let Some(ChatMessage::User { text }) = request.messages.last() else { return Scripted::Text("Done.".into()) };
    // What is recalled stands before it, and may hold the same words.
    let text = text.rsplit("</context>").next().unwrap_or_default();
    if text.contains("remember that") {
        Scripted::Calls(vec![("core_memory_append".into(), json!({"label": "human", "content": "Likes pickles."}))])
    } else if text.contains("archive this") {
        Scripted::Calls(vec![
            ("archival_memory_insert".into(), json!({"content": "Pickles stand in the cellar."})),
            ("ring".into(), json!({})),
            ("conversation_search".into(), json!({"query": "pickles"})),
        ])
    } else if text.contains("knock at") {
        Scripted::Calls(vec![("knock".into(), json!({}))])
    } else if text.contains("endless:") {
        Scripted::Hang
    } else {
        Scripted::Text("I see, and I will keep it in mind.".into())
    }
}

/// A model that needs a moment before each piece.
struct Slow {
    model: ScriptedModel,
    pause: Duration,
}

#[async_trait]
impl ChatModel for Slow {
    fn info(&self) -> ModelInfo {
        self.model.info()
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let (stream, pause) = (self.model.chat(request).await?, self.pause);
        let slow = stream.then(move |event| async move {
            tokio::time::sleep(pause).await;
            event
        });
        Ok(slow.boxed())
    }
}

/// An effect outside that cannot be taken back.
struct Bell {
    name: &'static str,
    rings: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Tool for Bell {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: self.name.into(), description: "Rings the bell.".into(), parameters: json!({"type": "object", "properties": {}}) }
    }

    fn effect(&self) -> EffectClass {
        EffectClass::External { idempotent: false }
    }

    async fn call(&self, context: &ToolContext, _: Map<String, Value>) -> ToolOutcome {
        self.rings.lock().push(context.token.to_string());
        ToolOutcome::text("It rang.")
    }
}
