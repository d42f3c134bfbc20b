//! What tenants may use up: places for their runs, and tokens.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use futures::stream;
use parking_lot::Mutex;
use sid_core::{Engine, EngineConfig, ModelEntry, Models, Submit};
use sid_llm::{
    ByteCounter, CalibratedCounter, ChatEvent, ChatModel, ChatReply, ChatRequest, ChatStream, Finish, LlmError, ModelInfo, ModelProfile,
    ReplyCall, Rung,
};
use sid_store::{Directory, InProcess, NewConversation, RecallStore, StateStore, TenantLimits, UsageStore};
use sid_types::*;
use tokio::sync::Semaphore;

/// Tokens of each answer: prompt and completion.
const STEP: u64 = 1_100;

#[derive(Default)]
struct Seen {
    at_work: HashMap<String, usize>,
    most: HashMap<String, usize>,
    calls: usize,
}

/// Answers when its gate lets it, and counts who is at work at once. The agent's instructions name the tenant.
struct Gated {
    gates: HashMap<&'static str, Arc<Semaphore>>,
    seen: Arc<Mutex<Seen>>,
    /// What goes wrong: by the number of the call.
    odd: fn(usize) -> Odd,
}

enum Odd {
    No,
    Fails,
    CallsATool,
}

#[async_trait]
impl ChatModel for Gated {
    fn info(&self) -> ModelInfo {
        ModelInfo { model: "gated".into(), profile: ModelProfile { context_window: Some(Tokens(8_192)), ..ModelProfile::default() } }
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let text = format!("{:?}", request.messages[0]);
        let name = *self.gates.keys().find(|name| text.contains(*name)).expect("the instructions name the tenant");
        let number = {
            let mut seen = self.seen.lock();
            seen.calls += 1;
            let at_work = seen.at_work.entry(name.into()).or_default();
            *at_work += 1;
            let now = *at_work;
            let most = seen.most.entry(name.into()).or_default();
            *most = (*most).max(now);
            seen.calls
        };
        self.gates[name].acquire().await.expect("open").forget();
        *self.seen.lock().at_work.get_mut(name).expect("entered") -= 1;
        let odd = (self.odd)(number);
        if matches!(odd, Odd::Fails) {
            return Err(LlmError::Refused { status: 400, detail: "planted".into() });
        }
        let arguments = serde_json::json!({"label": "human", "content": format!("fact {number}")});
        let call =
            ReplyCall { id: "c".into(), name: "core_memory_append".into(), arguments: Ok(arguments.as_object().cloned().expect("map")) };
        let calls = if matches!(odd, Odd::CallsATool) { vec![call] } else { Vec::new() };
        let finish = if calls.is_empty() { Finish::Stop } else { Finish::ToolCalls };
        let usage = Some(Usage { prompt_tokens: 1_000, completion_tokens: 100, ..Usage::default() });
        let reply = ChatReply { text: "ok".into(), reasoning: String::new(), calls, finish, usage, rung: Rung::Native };
        Ok(Box::pin(stream::iter([Ok(ChatEvent::Done(Box::new(reply)))])))
    }
}

struct Customer {
    tenant: TenantId,
    scope: Scope,
    gate: Arc<Semaphore>,
    talks: Vec<ConversationId>,
}

struct House {
    store: Arc<InProcess>,
    clock: Arc<ManualClock>,
    engines: Vec<Engine>,
    seen: Arc<Mutex<Seen>>,
    customers: HashMap<&'static str, Customer>,
}

impl House {
    /// Tenants by name with so many conversations each, served by so many engines.
    async fn open(engines: usize, tenants: &[(&'static str, usize)], config: EngineConfig, odd: fn(usize) -> Odd) -> Self {
        let clock = Arc::new(ManualClock::new("2026-03-02T09:00:00Z".parse().expect("a time")));
        let store = Arc::new(InProcess::new(clock.clone()));
        let seen = Arc::<Mutex<Seen>>::default();
        let mut customers = HashMap::new();
        for (name, count) in tenants {
            let tenant = store.create_tenant(&OperatorScope::grant(), name).await.expect("a tenant").id;
            let scope = OperatorScope::grant().enter(tenant, KeyId::new());
            let spec = AgentSpec { instructions: format!("You work for {name}."), ..AgentSpec::new("helper", "m") };
            let agent = store.create_agent(&scope, AgentId::new(), spec, vec![]).await.expect("an agent");
            let mut talks = Vec::new();
            for _ in 0..*count {
                let user = User {
                    id: UserId::new(),
                    handle: format!("u{}", talks.len()),
                    display_name: "U".into(),
                    timezone: None,
                    quiet_hours: None,
                    created_at: Timestamp::UNIX_EPOCH,
                };
                let user = store.create_user(&scope, user).await.expect("a user");
                let new = NewConversation { agent: agent.id, user: Some(user.id), key: None };
                talks.push(store.open_conversation(&scope, ConversationId::new(), new).await.expect("a conversation").0.id);
            }
            customers.insert(*name, Customer { tenant, scope, gate: Arc::new(Semaphore::new(0)), talks });
        }
        let gates: HashMap<_, _> = customers.iter().map(|(name, c)| (*name, c.gate.clone())).collect();
        let engine = |_| {
            let chat = Arc::new(Gated { gates: gates.clone(), seen: seen.clone(), odd });
            let counter = Arc::new(CalibratedCounter::new(ByteCounter));
            let entry = ModelEntry { chat, counter, fallback_window: Tokens(8_192), summarizer: None };
            let config = EngineConfig { worker: WorkerId::new(), diary: false, ..config.clone() };
            let engine = Engine::new(store.clone(), Models::new().with("m", entry), None, clock.clone(), config);
            engine.start();
            engine
        };
        let engines = (0..engines).map(engine).collect();
        Self { store, clock, engines, seen, customers }
    }

    fn of(&self, name: &str) -> &Customer {
        &self.customers[name]
    }

    /// Says something in one of a tenant's conversations, to one of the engines.
    async fn say(&self, name: &str, talk: usize, engine: usize) -> RunId {
        let customer = self.of(name);
        let submit = Submit::new(customer.talks[talk], vec![NewMessage::user("hello", self.clock.now())]);
        self.engines[engine].submit(&customer.scope, submit).await.expect("accepted").run.id
    }

    async fn end(&self, name: &str, run: RunId) -> Run {
        let run = self.engines[0].wait(&self.of(name).scope, run, Duration::from_secs(30)).await.expect("there");
        assert!(run.status.is_terminal(), "{run:?}");
        run
    }

    async fn used(&self, name: &str) -> sid_store::TokenUse {
        self.store.token_use(&OperatorScope::grant(), self.of(name).tenant).await.expect("read")
    }

    /// Sum over the steps of these runs.
    async fn spent(&self, name: &str, runs: &[RunId]) -> u64 {
        let mut sum = 0;
        for run in runs {
            let steps = self.store.steps(&self.of(name).scope, *run).await.expect("visible");
            sum += steps.iter().map(|s| s.usage.prompt_tokens + s.usage.completion_tokens).sum::<u64>();
        }
        sum
    }

    /// Waits until so many of a tenant's calls are under way.
    async fn until_at_work(&self, name: &str, count: usize) {
        let wait = async {
            while self.seen.lock().at_work.get(name).copied().unwrap_or(0) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("they come to work");
    }
}

/// Looks for waiting work once at the start, then only when told to: what goes on does so because a place became free.
fn hardly_polling(config: EngineConfig) -> EngineConfig {
    EngineConfig { poll: Duration::from_secs(3_600), lease_ttl: Duration::from_secs(60), ..config }
}

#[tokio::test]
async fn a_tenant_beyond_its_share_waits_and_others_do_not() {
    let config = hardly_polling(EngineConfig { max_runs_per_tenant: 2, ..EngineConfig::default() });
    let house = House::open(1, &[("greedy", 12), ("modest", 1)], config, |_| Odd::No).await;
    let runs = join_all((0..12).map(|i| house.say("greedy", i, 0))).await;
    house.until_at_work("greedy", 2).await;
    // Its places are all taken by calls that hang, and nobody else waits for them.
    house.of("modest").gate.add_permits(1);
    let run = house.say("modest", 0, 0).await;
    assert_eq!(house.end("modest", run).await.status, RunStatus::Completed);
    assert_eq!(house.seen.lock().calls, 3, "the others of the greedy one wait");
    // Whoever waits comes up as soon as a place is free, in the order of acceptance.
    house.of("greedy").gate.add_permits(12);
    for run in runs {
        assert_eq!(house.end("greedy", run).await.status, RunStatus::Completed);
    }
    assert_eq!(house.seen.lock().most["greedy"], 2);
}

#[tokio::test]
async fn all_places_are_shared_when_they_are_taken() {
    let config = hardly_polling(EngineConfig { max_runs: 3, max_runs_per_tenant: 32, ..EngineConfig::default() });
    let house = House::open(1, &[("greedy", 8), ("modest", 1)], config, |_| Odd::No).await;
    let runs = join_all((0..8).map(|i| house.say("greedy", i, 0))).await;
    house.until_at_work("greedy", 3).await;
    // The last to come is the next to be taken up: its tenant has the fewest runs.
    house.of("modest").gate.add_permits(1);
    let run = house.say("modest", 0, 0).await;
    house.of("greedy").gate.add_permits(1);
    assert_eq!(house.end("modest", run).await.status, RunStatus::Completed);
    assert!(house.seen.lock().calls <= 5, "three, and one more beside the modest one's at most");
    house.of("greedy").gate.add_permits(7);
    for run in runs {
        house.end("greedy", run).await;
    }
    assert_eq!(house.seen.lock().most["greedy"], 3);
}

fn daily(tokens: u64) -> TenantLimits {
    TenantLimits { tokens_per_day: Some(tokens), ..TenantLimits::default() }
}

#[tokio::test]
async fn runs_stop_when_the_tokens_are_used_up_and_go_on_the_next_day() {
    let config = EngineConfig { tenant_limits: daily(2 * STEP), ..EngineConfig::default() };
    let house = House::open(1, &[("acme", 1), ("other", 1)], config, |_| Odd::No).await;
    house.of("acme").gate.add_permits(100);
    house.of("other").gate.add_permits(100);
    for _ in 0..2 {
        let run = house.say("acme", 0, 0).await;
        assert_eq!(house.end("acme", run).await.stop_reason, Some(StopReason::EndTurn));
    }
    let run = house.say("acme", 0, 0).await;
    let run = house.end("acme", run).await;
    assert_eq!((run.status, run.stop_reason, run.steps), (RunStatus::Failed, Some(StopReason::Budget), 0));
    let error = run.error.expect("says why");
    assert!(error.contains("SID-CORE-BUDGET") && error.contains("2200 of 2200") && error.contains("day"), "{error}");
    assert_eq!(house.seen.lock().calls, 2, "no model was called");
    // Others go on, and the message is kept.
    let others = house.say("other", 0, 0).await;
    assert_eq!(house.end("other", others).await.stop_reason, Some(StopReason::EndTurn));
    let messages = house.store.page(&house.of("acme").scope, house.of("acme").talks[0], None, sid_store::Order::Ascending, 10).await;
    assert_eq!(messages.expect("a page").iter().filter(|m| m.body.role() == Role::User).count(), 3);
    // 2026-03-02 is over.
    house.clock.advance(jiff::SignedDuration::from_hours(15));
    let run = house.say("acme", 0, 0).await;
    assert_eq!(house.end("acme", run).await.stop_reason, Some(StopReason::EndTurn));
}

#[tokio::test]
async fn an_operators_word_for_one_tenant_holds() {
    let config = EngineConfig { tenant_limits: daily(1), ..EngineConfig::default() };
    let house = House::open(1, &[("acme", 1)], config, |_| Odd::No).await;
    house.of("acme").gate.add_permits(100);
    let tenant = house.of("acme").tenant;
    let stop = async || {
        let run = house.say("acme", 0, 0).await;
        house.end("acme", run).await.stop_reason
    };
    // The first step is granted, because something is left, and overshoots.
    assert_eq!(stop().await, Some(StopReason::EndTurn));
    assert_eq!(stop().await, Some(StopReason::Budget));
    let set = async |limits| {
        house.store.set_limits(&OperatorScope::grant(), tenant, limits).await.expect("set");
        house.engines[0].forget_limits(tenant);
    };
    set(daily(0)).await;
    assert_eq!(stop().await, Some(StopReason::EndTurn), "0 = no limit");
    set(TenantLimits { tokens_per_month: Some(2 * STEP), ..daily(0) }).await;
    assert_eq!(stop().await, Some(StopReason::Budget), "a month's");
    set(TenantLimits::default()).await;
    assert_eq!(stop().await, Some(StopReason::Budget), "as everybody");
}

/// Every third call fails and every fourth asks for a tool: whatever happens, the ledger is the sum of all steps, and nothing stays
/// reserved.
#[tokio::test]
async fn the_ledger_is_the_sum_of_all_steps_and_nothing_stays_reserved() {
    let odd = |n| match n {
        n if n % 3 == 0 => Odd::Fails,
        n if n % 4 == 0 => Odd::CallsATool,
        _ => Odd::No,
    };
    let config = EngineConfig { tenant_limits: daily(1_000_000), poll: Duration::from_millis(20), ..EngineConfig::default() };
    let house = House::open(2, &[("acme", 6)], config, odd).await;
    house.of("acme").gate.add_permits(1_000);
    let runs = join_all((0..30).map(|i| house.say("acme", i % 6, i % 2))).await;
    let mut failed = 0;
    for run in &runs {
        failed += usize::from(house.end("acme", *run).await.status == RunStatus::Failed);
    }
    assert!(failed > 5, "{failed}");
    let used = house.used("acme").await;
    assert_eq!((used.day, used.month, used.reserved), (house.spent("acme", &runs).await, used.day, 0));
    assert!(used.day > 0);
}

/// Two replicas, many conversations at once: together they stop at the limit, give or take the steps that were under way.
#[tokio::test]
async fn two_replicas_do_not_overshoot_by_more_than_one_step() {
    const LIMIT: u64 = 10 * STEP;
    let config = EngineConfig { tenant_limits: daily(LIMIT), poll: Duration::from_millis(20), ..EngineConfig::default() };
    let house = House::open(2, &[("acme", 16)], config, |_| Odd::No).await;
    house.of("acme").gate.add_permits(1_000);
    let mut runs = Vec::new();
    // Until nothing is left: near the limit, what others have reserved counts as used.
    for _ in 0..6 {
        let round = join_all((0..16).map(|i| house.say("acme", i, i % 2))).await;
        for run in &round {
            house.end("acme", *run).await;
        }
        runs.extend(round);
    }
    let run = house.say("acme", 0, 0).await;
    assert_eq!(house.end("acme", run).await.stop_reason, Some(StopReason::Budget));
    let used = house.used("acme").await;
    assert_eq!(used.day, house.spent("acme", &runs).await);
    assert!((LIMIT..LIMIT + STEP).contains(&used.day), "all of it is used and no more: {used:?}");
    assert_eq!(used.reserved, 0);
}

#[tokio::test]
async fn a_cancelled_call_gives_its_tokens_back() {
    let config = EngineConfig { tenant_limits: daily(1_000_000), ..EngineConfig::default() };
    let house = House::open(1, &[("acme", 1)], config, |_| Odd::No).await;
    let run = house.say("acme", 0, 0).await;
    house.until_at_work("acme", 1).await;
    assert!(house.used("acme").await.reserved > 0, "reserved while the model works");
    house.engines[0].cancel(&house.of("acme").scope, run).await.expect("asked");
    assert_eq!(house.end("acme", run).await.status, RunStatus::Cancelled);
    assert_eq!(house.used("acme").await, sid_store::TokenUse::default());
}

#[tokio::test]
async fn what_a_tenant_keeps_no_longer_goes_by_itself() {
    let config = EngineConfig { maintain: Duration::from_millis(20), ..EngineConfig::default() };
    let house = House::open(1, &[("acme", 1), ("other", 1)], config, |_| Odd::No).await;
    for tenant in ["acme", "other"] {
        house.of(tenant).gate.add_permits(10);
        let run = house.say(tenant, 0, 0).await;
        house.end(tenant, run).await;
    }
    let is_there = async |tenant: &str| house.store.conversation(&house.of(tenant).scope, house.of(tenant).talks[0]).await.is_ok();
    let limits = TenantLimits { keep_conversations_days: Some(30), ..TenantLimits::default() };
    house.store.set_limits(&OperatorScope::grant(), house.of("acme").tenant, limits).await.expect("set");
    house.clock.advance(jiff::SignedDuration::from_hours(29 * 24));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(is_there("acme").await, "it has a day left");
    house.clock.advance(jiff::SignedDuration::from_hours(2 * 24));
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while is_there("acme").await {
        assert!(std::time::Instant::now() < end, "it is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(is_there("other").await, "others keep theirs");
}
