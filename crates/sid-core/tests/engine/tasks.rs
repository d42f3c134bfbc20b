//! Tasks: worked on run by run, over restarts and replicas, with questions, budgets and reports.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sid_core::{CoreError, Engine, EngineConfig, ModelEntry, Models, NewTask};
use sid_llm::{
    ByteCounter, ChatEvent, ChatMessage, ChatModel, ChatReply, ChatRequest, ChatStream, Finish, LlmError, ModelInfo, ModelProfile,
    ReplyCall, Rung,
};
use sid_store::{
    Directory, EraseTarget, InProcess, NewConversation, Order, PageRequest, RecallStore, StateStore, StoreError, TaskFilter, TaskStore,
};
use sid_types::*;

/// What the model does on the side of a task, told the last brief and the results since.
type Worker = fn(&str, &[String]) -> Option<(&'static str, Value)>;

/// A model that reads its prompt: it works on tasks as `worker` says, and passes on what a user answers.
struct Reading {
    worker: Worker,
    requests: Mutex<Vec<ChatRequest>>,
}

fn text_of(message: &ChatMessage) -> &str {
    match message {
        ChatMessage::System { text }
        | ChatMessage::User { text }
        | ChatMessage::Assistant { text, .. }
        | ChatMessage::Tool { text, .. } => text,
    }
}

impl Reading {
    fn act(&self, request: &ChatRequest) -> Option<(&'static str, Value)> {
        let has = |name: &str| request.tools.iter().any(|t| t.name == name);
        let stimulus = request.messages.iter().rposition(|m| matches!(m, ChatMessage::User { .. }))?;
        let told = text_of(&request.messages[stimulus]);
        let since: Vec<String> = request.messages[stimulus + 1..]
            .iter()
            .filter_map(|m| if let ChatMessage::Tool { text, .. } = m { Some(text.clone()) } else { None })
            .collect();
        if has("complete_task") {
            return (self.worker)(told, &since);
        }
        if !since.is_empty() {
            return None;
        }
        if let Some((_, answer)) = told.split_once("My answer: ") {
            let (_, waiting) = told.split_once("Tasks that wait for an answer")?;
            let task = waiting.split_whitespace().find(|word| word.starts_with("task_"))?;
            return Some(("answer_task", json!({"task": task, "answer": answer.lines().next()})));
        }
        let (_, title) = told.split_once("Please: ")?;
        Some(("create_task", json!({"title": title.lines().next(), "objective": "as asked", "checks": ["it is good"]})))
    }
}

#[async_trait]
impl ChatModel for Reading {
    fn info(&self) -> ModelInfo {
        let profile = ModelProfile { context_window: Some(Tokens(32_000)), ..ModelProfile::default() };
        ModelInfo { model: "reading".into(), profile }
    }

    async fn chat(&self, request: ChatRequest) -> Result<ChatStream, LlmError> {
        let call = self.act(&request);
        self.requests.lock().push(request);
        let calls: Vec<ReplyCall> = call
            .map(|(name, arguments)| ReplyCall {
                id: format!("call_{}", uuid::Uuid::now_v7().simple()),
                name: name.into(),
                arguments: Ok(arguments.as_object().cloned().unwrap_or_default()),
            })
            .into_iter()
            .collect();
        let (text, finish) = if calls.is_empty() { ("I am ready.", Finish::Stop) } else { ("", Finish::ToolCalls) };
        let done = ChatReply { text: text.into(), reasoning: String::new(), calls, finish, usage: None, rung: Rung::Native };
        Ok(Box::pin(stream::iter([Ok(ChatEvent::Done(Box::new(done)))])))
    }
}

/// Plans two steps, does one a turn, and completes.
fn steady(brief: &str, since: &[String]) -> Option<(&'static str, Value)> {
    if !since.is_empty() {
        return None;
    }
    if brief.contains("There is no plan yet") {
        return Some(("plan_task", json!({"steps": ["one", "two"]})));
    }
    match (1..=2).find(|n| brief.contains(&format!("{n}. [open]"))) {
        Some(step) => Some(("update_task", json!({"step": step, "state": "done"}))),
        None => {
            let checks: Vec<Value> = if brief.contains("Checks:") { vec![json!({"met": true, "how": "I looked"})] } else { Vec::new() };
            Some(("complete_task", json!({"result": "All is done.", "how": "as said", "checks": checks})))
        }
    }
}

/// Asks before it does anything, and completes with the answer.
fn asking(brief: &str, since: &[String]) -> Option<(&'static str, Value)> {
    match brief.split_once("The answer: ") {
        _ if !since.is_empty() => None,
        Some((_, answer)) => Some((
            "complete_task",
            json!({"result": format!("Taken: {}", answer.lines().next().unwrap_or_default()), "checks": [{"met": true, "how": "she said so"}]}),
        )),
        None => Some(("ask_user", json!({"question": "Red or blue?"}))),
    }
}

/// Records progress for ever.
fn endless(_: &str, since: &[String]) -> Option<(&'static str, Value)> {
    since.is_empty().then(|| ("update_task", json!({"progress": "still at it"})))
}

/// Never calls anything.
fn idle(_: &str, _: &[String]) -> Option<(&'static str, Value)> {
    None
}

struct House {
    store: Arc<InProcess>,
    model: Arc<Reading>,
    engines: Vec<Engine>,
    tenant: Scope,
    ann: Scope,
    user: UserId,
    agent: AgentId,
    talk: ConversationId,
}

fn config() -> EngineConfig {
    EngineConfig { poll: Duration::from_millis(20), diary: false, ..EngineConfig::default() }
}

impl House {
    #[expect(clippy::disallowed_methods, reason = "tests make their own scopes")]
    async fn open(worker: Worker, engines: usize) -> Self {
        let store = Arc::new(InProcess::default());
        let row = store.create_tenant(&OperatorScope::grant(), "acme").await.expect("a tenant");
        let tenant = Scope::grant(row.id, Principal::Tenant { key: KeyId::new() });
        let (id, at) = (UserId::new(), Timestamp::UNIX_EPOCH);
        let user = User { id, handle: "ann".into(), display_name: "Ann".into(), timezone: None, quiet_hours: None, created_at: at };
        store.create_user(&tenant, user).await.expect("a user");
        let spec = AgentSpec { tasks: true, ..AgentSpec::new("helper", "m") };
        let agent = store.create_agent(&tenant, AgentId::new(), spec, vec![]).await.expect("an agent").id;
        let ann = Scope::grant(row.id, Principal::User { user: id });
        let new = NewConversation { agent, user: Some(id), key: Some("talk".into()) };
        let talk = store.open_conversation(&ann, ConversationId::new(), new).await.expect("a conversation").0.id;
        let model = Arc::new(Reading { worker, requests: Mutex::default() });
        let mut house = Self { store, model, engines: Vec::new(), tenant, ann, user: id, agent, talk };
        for _ in 0..engines {
            house.start(config());
        }
        house
    }

    fn start(&mut self, config: EngineConfig) {
        let (chat, counter) = (self.model.clone(), Arc::new(ByteCounter));
        let entry = ModelEntry { chat, counter, fallback_window: Tokens(32_000), summarizer: None };
        let engine = Engine::new(self.store.clone(), Models::new().with("m", entry), None, Arc::new(SystemClock), config);
        engine.start();
        self.engines.push(engine);
    }

    fn new_task(&self, title: &str) -> NewTask {
        let mut new = NewTask::new(self.agent, Some(self.user), title);
        new.report_to = Some(self.talk);
        new
    }

    async fn make(&self, new: NewTask) -> Task {
        self.engines[0].create_task(&self.ann, new).await.expect("a task is made")
    }

    async fn say(&self, text: &str) {
        let messages = vec![NewMessage::user(text, Timestamp::now())];
        let on_busy = sid_store::OnBusy::Queue;
        let submit = sid_core::Submit { on_busy, ..sid_core::Submit::new(self.talk, messages) };
        let run = self.engines[0].submit(&self.ann, submit).await.expect("accepted").run.id;
        let run = self.engines[0].wait(&self.ann, run, Duration::from_secs(30)).await.expect("visible");
        assert!(run.status.is_terminal());
    }

    async fn tasks(&self) -> Vec<Task> {
        let page = PageRequest { after: None, limit: 1_000 };
        self.store.tasks(&self.tenant, &TaskFilter::default(), page).await.expect("listed").items
    }

    /// Looks until something holds; the limit is generous, and decides nothing but a failure.
    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        for _ in 0..6_000 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not yet: {what}; tasks: {:#?}", self.tasks().await);
    }

    async fn until_state(&self, task: TaskId, state: TaskState) -> Task {
        self.until(state.as_str(), async || self.store.task(&self.tenant, task).await.expect("there").state == state).await;
        self.store.task(&self.tenant, task).await.expect("there")
    }

    /// Texts of the notes in the user's conversation.
    async fn notes(&self) -> Vec<String> {
        let page = self.store.page(&self.tenant, self.talk, None, Order::Ascending, 10_000).await.expect("a page");
        page.iter().filter(|m| m.body.role() == Role::Note).map(|m| m.body.text().to_owned()).collect()
    }

    /// Waits until nothing is on its way any more.
    async fn until_settled(&self) {
        self.until("settled", async || {
            self.tasks().await.iter().all(|t| t.work.run.is_none() && t.work.outbox.is_empty())
                && self.engines.iter().all(|e| e.active_runs() == 0)
        })
        .await;
    }
}

#[tokio::test]
async fn a_task_is_worked_on_turn_by_turn_until_it_is_done_and_reports() {
    let house = House::open(steady, 1).await;
    house.say("Please: find a venue").await;
    let made = house.tasks().await.pop().expect("the agent made it");
    assert_eq!(
        (made.title.as_str(), made.created_by, made.user),
        ("find a venue", TaskCreator::Agent { agent: house.agent }, Some(house.user))
    );
    let done = house.until_state(made.id, TaskState::Done).await;
    assert_eq!(done.result.as_ref().map(|r| r.checks.len()), Some(1));
    house.until_settled().await;
    let notes = house.notes().await;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("is done] All is done.") && notes[0].contains("it is good: I looked"), "{notes:?}");
    // Its runs: in its own conversation, one per turn, and what they used is what the task used.
    let task = house.store.task(&house.tenant, made.id).await.expect("there");
    let runs = house.store.runs(&house.tenant, task.conversation, 100).await.expect("visible");
    let mut turns: Vec<RunId> = (1..=task.work.turn).map(|n| task.run_of_turn(n)).collect();
    turns.reverse();
    assert_eq!(runs.iter().map(|r| r.id).collect::<Vec<_>>(), turns);
    assert_eq!((task.used.runs, task.used.steps), (4, runs.iter().map(|r| r.steps).sum()));
    assert_eq!(task.used.tokens, runs.iter().map(|r| r.usage.prompt_tokens + r.usage.completion_tokens).sum::<u64>());
}

#[tokio::test]
async fn a_question_reaches_the_user_and_the_answer_reaches_the_task() {
    let house = House::open(asking, 1).await;
    house.say("Please: choose a colour").await;
    let task = house.tasks().await.pop().expect("made").id;
    house.until_state(task, TaskState::WaitingUser).await;
    house.until("the question is told", async || house.notes().await.iter().any(|n| n.contains("asks] Red or blue?"))).await;
    house.until_settled().await;
    let turns = house.store.task(&house.tenant, task).await.expect("there").work.turn;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(house.store.task(&house.tenant, task).await.expect("there").work.turn, turns, "it waits");
    house.say("My answer: blue").await;
    let done = house.until_state(task, TaskState::Done).await;
    assert_eq!(done.result.map(|r| r.text).as_deref(), Some("Taken: blue"));
}

#[tokio::test]
async fn a_task_over_its_budget_ends_with_a_report_to_its_user() {
    let house = House::open(endless, 1).await;
    let mut new = house.new_task("paint the sea");
    new.budget.max_steps = 5;
    new.plan = vec!["fetch paint".into()];
    let task = house.make(new).await;
    let failed = house.until_state(task.id, TaskState::Failed).await;
    assert!(failed.failure.as_deref().is_some_and(|f| f.starts_with("budget")), "{:?}", failed.failure);
    assert_eq!(failed.used.steps, 5, "the last run was cut to what was left");
    house.until_settled().await;
    let notes = house.notes().await;
    assert_eq!(notes.len(), 1, "{notes:?}");
    for word in ["paint the sea", "budget", "[open] fetch paint", "still at it", "5 steps"] {
        assert!(notes[0].contains(word), "{word}: {notes:?}");
    }
}

#[tokio::test]
async fn money_and_deadlines_end_a_task_too_and_so_does_an_agent_that_does_nothing() {
    let mut house = House::open(endless, 0).await;
    let price = sid_core::ModelPrice { prompt: 1_000_000, completion: 0 };
    house.start(EngineConfig { prices: [("m".to_owned(), price)].into(), ..config() });
    let mut dear = house.new_task("dear");
    dear.budget.max_cost_micros = Some(1_000);
    let mut late = house.new_task("late");
    late.deadline = Some(Timestamp::now() - jiff::SignedDuration::from_secs(1));
    let (dear, late) = (house.make(dear).await, house.make(late).await);
    let dear = house.until_state(dear.id, TaskState::Failed).await;
    assert_eq!(dear.failure.as_deref(), Some("budget: its costs are used up"));
    assert!((1_000..=dear.used.tokens).contains(&dear.used.cost_micros), "{:?}", dear.used);
    assert_eq!(house.until_state(late.id, TaskState::Failed).await.failure.as_deref(), Some("deadline"));
    let idle_house = House::open(idle, 1).await;
    let task = idle_house.make(idle_house.new_task("t")).await;
    let failed = idle_house.until_state(task.id, TaskState::Failed).await;
    assert!(failed.failure.as_deref().is_some_and(|f| f.starts_with("no progress")), "{:?}", failed.failure);
    for house in [&house, &idle_house] {
        house.until_settled().await;
        let failed = house.tasks().await.iter().filter(|t| t.state == TaskState::Failed).count();
        assert_eq!(house.notes().await.len(), failed, "none ends in silence");
    }
}

#[tokio::test]
async fn two_hundred_tasks_on_two_replicas_all_end_each_turn_once() {
    let house = House::open(steady, 2).await;
    for i in 0..200 {
        house.make(house.new_task(&format!("task {i}"))).await;
    }
    // Who speaks meanwhile is answered: tasks leave room.
    house.say("How are you?").await;
    house.until("all have ended", async || house.tasks().await.iter().all(|t| t.state.is_over())).await;
    house.until_settled().await;
    let tasks = house.tasks().await;
    assert_eq!(tasks.len(), 200);
    for task in &tasks {
        assert_eq!(task.state, TaskState::Done);
        let runs = house.store.runs(&house.tenant, task.conversation, 100).await.expect("visible");
        assert_eq!((runs.len(), task.used.runs, task.work.turn), (4, 4, 4), "{}", task.title);
    }
    house.until("all are told of", async || house.notes().await.len() >= 200).await;
    assert_eq!(house.notes().await.len(), 200, "each once");
}

#[tokio::test]
async fn a_task_goes_on_in_another_engine_after_its_own_is_gone() {
    let mut house = House::open(asking, 1).await;
    let mut new = house.new_task("choose");
    new.acceptance.checks = vec!["she agrees".into()];
    let task = house.make(new).await;
    house.until_state(task.id, TaskState::WaitingUser).await;
    let gone = house.engines.remove(0);
    gone.drain(Duration::from_secs(10)).await;
    gone.leave_duties().await;
    house.start(config());
    let engine = &house.engines[0];
    assert!(matches!(engine.answer_task(&house.ann, TaskId::new(), "x", &[]).await, Err(CoreError::Store(StoreError::NotFound { .. }))));
    engine.answer_task(&house.ann, task.id, "blue", &[]).await.expect("answered");
    assert!(matches!(engine.answer_task(&house.ann, task.id, "red", &[]).await, Err(CoreError::Invalid(_))), "it is answered");
    assert_eq!(house.until_state(task.id, TaskState::Done).await.result.map(|r| r.text).as_deref(), Some("Taken: blue"));
}

#[tokio::test]
async fn a_task_that_is_called_off_stops_and_one_that_is_erased_is_gone() {
    let house = House::open(endless, 1).await;
    let task = house.make(house.new_task("t")).await;
    house.until("it works", async || house.store.task(&house.tenant, task.id).await.expect("there").work.turn >= 2).await;
    let cancelled = house.engines[0].cancel_task(&house.ann, task.id, "no longer needed", &[]).await.expect("cancelled");
    assert_eq!(cancelled.state, TaskState::Cancelled);
    house.until_settled().await;
    let turns = house.store.task(&house.tenant, task.id).await.expect("there").work.turn;
    assert!(house.engines[0].cancel_task(&house.ann, task.id, "again", &[]).await.is_err());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(house.store.task(&house.tenant, task.id).await.expect("there").work.turn, turns);
    let working = house.make(house.new_task("u")).await;
    let receipt = house.engines[0].erase(&house.tenant, EraseTarget::Conversation(house.talk)).await.expect("erased");
    assert_eq!(receipt.tasks, 2);
    assert!(house.tasks().await.is_empty());
    let left = house.store.conversation(&house.tenant, working.conversation).await;
    assert!(left.is_err(), "where it was worked on tells of what was said");
}

#[tokio::test]
async fn only_agents_with_tasks_have_the_tools_and_each_side_has_its_own() {
    let house = House::open(steady, 1).await;
    house.say("Please: x").await;
    house.until("done", async || house.tasks().await.iter().all(|t| t.state == TaskState::Done)).await;
    let requests = house.model.requests.lock().clone();
    let names = |r: &ChatRequest| r.tools.iter().map(|t| t.name.clone()).collect::<Vec<_>>();
    for request in &requests {
        let names = names(request);
        let is_work = names.iter().any(|n| n == "complete_task");
        for tool in ["create_task", "list_tasks", "answer_task", "cancel_task"] {
            assert_eq!(names.iter().any(|n| n == tool), !is_work, "{tool}: {names:?}");
        }
        for tool in ["plan_task", "update_task", "ask_user", "wait_until", "fail_task"] {
            assert_eq!(names.iter().any(|n| n == tool), is_work, "{tool}: {names:?}");
        }
        assert!(!names.iter().any(|n| n == "delegate_task"), "it reaches nobody");
    }
    let agent = house.store.agent(&house.tenant, house.agent).await.expect("there");
    let spec = AgentSpec { tasks: false, ..agent.spec };
    house.store.update_agent(&house.tenant, house.agent, spec, vec![]).await.expect("changed");
    house.say("Hello").await;
    let last = house.model.requests.lock().last().cloned().expect("asked");
    assert!(!names(&last).iter().any(|n| n.contains("task")), "{:?}", names(&last));
    let refused = house.engines[0].create_task(&house.ann, house.new_task("t")).await;
    assert!(matches!(refused, Err(CoreError::Invalid(_))));
}
