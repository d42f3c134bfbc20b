//! What agents begin by themselves, on a clock that the test moves: heartbeats, sleep, quiet hours, caps, the background model.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;
use sid_core::{Engine, EngineConfig, ModelEntry, Models, NewTask, NewTimer, Submit};
use sid_llm::{ByteCounter, ChatModel, ChatRequest, LlmError, Scripted, ScriptedModel};
use sid_store::{
    DiaryQuery, DiaryStore as _, Directory as _, EventLog as _, InProcess, NewConversation, Order as Direction, RecallStore as _,
    StateStore as _, TaskStore as _, TenantLimits, TimerStore as _, UsageStore as _,
};
use sid_types::*;

/// What the model answers to the note or message that woke it.
type Answer = fn(&str) -> Option<Scripted>;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HALF_AN_HOUR: Heartrate = Heartrate { every_ms: 1_800_000, only_when_open: false };

struct House {
    store: Arc<InProcess>,
    clock: Arc<ManualClock>,
    engine: Engine,
    model: ScriptedModel,
    /// The background model fails.
    is_cheap_down: Arc<AtomicBool>,
    tenant: Scope,
    ann: Scope,
    user: User,
    agent: Agent,
    talk: ConversationId,
}

fn woken_by(request: &ChatRequest) -> String {
    let said = request.messages.iter().rev().find_map(|m| match m {
        sid_llm::ChatMessage::User { text } => Some(text.clone()),
        _ => None,
    });
    said.unwrap_or_default()
}

impl House {
    /// Monday 2026-03-02 at noon by the clock of UTC; the agent as `spec` makes it.
    #[expect(clippy::disallowed_methods, reason = "tests make their own scopes")]
    async fn open(answer: Answer, spec: impl FnOnce(&mut AgentSpec)) -> Self {
        let clock = Arc::new(ManualClock::new("2026-03-02T12:00:00Z".parse().expect("a time")));
        let store = Arc::new(InProcess::new(clock.clone()));
        let row = store.create_tenant(&OperatorScope::grant(), "acme").await.expect("a tenant");
        let tenant = Scope::grant(row.id, Principal::Tenant { key: KeyId::new() });
        let (id, created_at) = (UserId::new(), clock.now());
        let user = User { id, handle: "ann".into(), display_name: "Ann".into(), timezone: None, quiet_hours: None, created_at };
        let user = store.create_user(&tenant, user).await.expect("a user");
        let mut own = AgentSpec { tasks: true, ..AgentSpec::new("helper", "m") };
        spec(&mut own);
        let agent = store.create_agent(&tenant, AgentId::new(), own, vec![]).await.expect("an agent");
        let ann = Scope::grant(row.id, Principal::User { user: id });
        let new = NewConversation { agent: agent.id, user: Some(id), key: Some("talk".into()) };
        let talk = store.open_conversation(&ann, ConversationId::new(), new).await.expect("a conversation").0.id;
        let model = ScriptedModel::answering(move |request| answer(&woken_by(request)).unwrap_or_else(|| Scripted::Text("ok".into())));
        let is_cheap_down = Arc::new(AtomicBool::new(false));
        let is_down = is_cheap_down.clone();
        let answer = move |_: &ChatRequest| match is_down.load(Ordering::SeqCst) {
            true => Scripted::Error(LlmError::Interrupted { detail: "busy".into() }),
            false => Scripted::Text("{\"facts\":[]}".into()),
        };
        let cheap = ScriptedModel::answering(answer);
        let entry = |model: &ScriptedModel| {
            let chat: Arc<dyn ChatModel> = Arc::new(model.clone());
            ModelEntry { chat, counter: Arc::new(ByteCounter), fallback_window: Tokens(32_000), summarizer: None }
        };
        let models = Models::new().with("m", entry(&model)).with("cheap", entry(&cheap));
        let (poll, idle) = (Duration::from_millis(20), Duration::from_millis(50));
        let config = EngineConfig { poll, idle, timer_patience: Duration::from_secs(600), ..EngineConfig::default() };
        let engine = Engine::builder(store.clone(), models, None, clock.clone(), config).build().expect("an engine");
        engine.start();
        Self { store, clock, engine, model, is_cheap_down, tenant, ann, user, agent, talk }
    }

    async fn say(&self, text: &str) -> Run {
        let submit = Submit::new(self.talk, vec![NewMessage::user(text, self.clock.now())]);
        let run = self.engine.submit(&self.ann, submit).await.expect("accepted").run.id;
        self.engine.wait(&self.ann, run, Duration::from_secs(60)).await.expect("it ends")
    }

    /// Looks until something holds; the limit decides nothing but a failure.
    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        for _ in 0..3_000 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not yet: {what}");
    }

    async fn beat(&self) -> Timer {
        let id = Timer::heartbeat_of(self.agent.id, Some(self.user.id));
        self.until("there is a heartbeat", async || self.store.timer(&self.tenant, id).await.is_ok()).await;
        self.store.timer(&self.tenant, id).await.expect("there")
    }

    /// Goes forward, and waits until the timer was looked at.
    async fn after(&self, by: SignedDuration, timer: TimerId) -> Timer {
        let before = self.store.timer(&self.tenant, timer).await.expect("there").version;
        self.clock.advance(by);
        self.until("the timer is looked at", async || self.store.timer(&self.tenant, timer).await.expect("there").version > before).await;
        let timer = self.store.timer(&self.tenant, timer).await.expect("there");
        if let Some(run) = timer.last_run {
            self.until("its run ends", async || self.store.run(&self.tenant, run).await.expect("there").status.is_terminal()).await;
        }
        timer
    }

    /// The messages of a timer's last run.
    async fn told(&self, timer: &Timer) -> Vec<Message> {
        let run = self.store.run(&self.tenant, timer.last_run.expect("it fired")).await.expect("there");
        let page = self.store.page(&self.tenant, run.conversation, None, Direction::Ascending, 1_000).await.expect("a page");
        page.into_iter().filter(|m| m.run == Some(run.id)).collect()
    }

    async fn change_agent(&self, change: impl FnOnce(&mut AgentSpec)) {
        let mut spec = self.store.agent(&self.tenant, self.agent.id).await.expect("there").spec;
        change(&mut spec);
        self.store.update_agent(&self.tenant, self.agent.id, spec, vec![]).await.expect("changed");
    }

    async fn quiet(&self, hours: &str, zone: &str) {
        let user = User { quiet_hours: Some(hours.parse().expect("hours")), timezone: Some(zone.into()), ..self.user.clone() };
        self.store.update_user(&self.tenant, user).await.expect("changed");
    }

    async fn timer(&self, name: &str, after: SignedDuration, in_quiet_hours: InQuietHours) -> Timer {
        let when = When::At { at: self.clock.now() + after };
        let spec = TimerSpec {
            name: name.into(),
            stimulus: "Water the plants.".into(),
            when,
            late: Late::RunOnce,
            kind: TimerKind::Reminder,
            in_quiet_hours,
            only_when_open: false,
            until: None,
            most: None,
        };
        let (id, agent, user) = (TimerId::new(), self.agent.id, Some(self.user.id));
        let new = NewTimer { id, agent, user, conversation: Some(self.talk), spec, made_by: TimerMaker::Api, untrusted: Vec::new() };
        self.engine.create_timer(&self.tenant, new).await.expect("made")
    }
}

fn silent(woken_by: &str) -> Option<Scripted> {
    woken_by.contains("heartbeat").then(|| Scripted::Text("NO_REPLY".into()))
}

fn sleepy(woken_by: &str) -> Option<Scripted> {
    let call = || Scripted::Calls(vec![("sleep".into(), json!({"minutes": 120}))]);
    // What was said is recalled in a heartbeat as well.
    (woken_by.contains("Sleep now") && !woken_by.contains("heartbeat")).then(call)
}

#[tokio::test]
async fn an_agent_wakes_by_itself_and_may_say_nothing() {
    let house = House::open(silent, |spec| spec.heartrate = Some(HALF_AN_HOUR)).await;
    house.say("Hello").await;
    let beat = house.beat().await;
    assert_eq!(
        (beat.spec.kind, beat.made_by, beat.next_due),
        (TimerKind::Heartbeat, TimerMaker::Agent, Some(house.clock.now() + MINUTE * 30))
    );
    let beat = house.after(MINUTE * 30, beat.id).await;
    assert_eq!((beat.fired, beat.held), (1, None));
    let told = house.told(&beat).await;
    let note = told[0].body.text();
    assert!(
        note.contains("12:30") && note.contains("Nothing is open.") && note.contains("write to Ann") && note.contains("NO_REPLY"),
        "{note}"
    );
    assert!(matches!(&told[1].body, Body::Note { text } if text == "You said nothing."), "{:?}", told[1]);
    let run = house.store.run(&house.tenant, beat.last_run.expect("it fired")).await.expect("there");
    assert_eq!((run.priority, run.stop_reason), (Priority::Heartbeat, Some(StopReason::EndTurn)));
    let events = house.store.events(&house.ann, run.id, 0, 100).await.expect("read");
    assert!(!events.iter().any(|e| matches!(e.body, EventBody::TextDelta { .. })), "nobody is shown it: {events:?}");
}

#[tokio::test]
async fn a_heartbeat_for_open_things_is_left_out_while_nothing_is_open() {
    let rate = Heartrate { only_when_open: true, ..HALF_AN_HOUR };
    let house = House::open(silent, |spec| spec.heartrate = Some(rate)).await;
    house.say("Hello").await;
    let beat = house.beat().await;
    let mut beat = house.after(MINUTE * 30, beat.id).await;
    assert_eq!((beat.fired, beat.skipped, beat.held.map(|h| h.by)), (0, 1, Some(HeldBy::NothingOpen)));
    let page = Source::new(Channel::Web, "plants.example");
    // A task that nobody works on is soon over: one of these is still open when the heartbeat comes.
    for _ in 0..50 {
        let mut task = NewTask::new(house.agent.id, Some(house.user.id), "Find a venue");
        task.untrusted = vec![page.clone()];
        house.engine.create_task(&house.tenant, task).await.expect("made");
        beat = house.after(MINUTE * 30, beat.id).await;
        if beat.fired > 0 {
            break;
        }
    }
    let note = house.told(&beat).await.remove(0);
    assert!(note.body.text().contains("Find a venue"), "{note:?}");
    assert_eq!(note.untrusted, [page], "what it tells is from outside");
}

#[tokio::test]
async fn a_heartbeat_follows_its_agent_unless_it_was_set_for_the_user() {
    let house = House::open(silent, |spec| spec.heartrate = Some(HALF_AN_HOUR)).await;
    house.say("Hello").await;
    let beat = house.beat().await;
    house.change_agent(|spec| spec.heartrate = Some(Heartrate { every_ms: 3_600_000, only_when_open: false })).await;
    let beat = house.after(MINUTE * 30, beat.id).await;
    assert_eq!(beat.next_due, Some(house.clock.now() + MINUTE * 60));
    let often = Heartrate { every_ms: 300_000, only_when_open: false };
    let (agent, user) = (house.agent.id, Some(house.user.id));
    let too_often = Heartrate { every_ms: 1_000, ..often };
    assert!(house.engine.set_heartrate(&house.ann, agent, user, None, too_often, TimerMaker::User).await.is_err());
    let own = house.engine.set_heartrate(&house.ann, agent, user, None, often, TimerMaker::User).await.expect("set");
    assert_eq!((own.id, own.next_due), (beat.id, Some(house.clock.now() + MINUTE * 5)));
    house.change_agent(|spec| spec.heartrate = None).await;
    let own = house.after(MINUTE * 5, own.id).await;
    assert_eq!((own.fired, own.held), (1, None), "it is the user's");
    house.store.drop_timer(&house.tenant, own.id).await.expect("dropped");
    house.say("Hello again").await;
    assert!(house.store.timer(&house.tenant, own.id).await.is_err(), "an agent without a heartrate has no heartbeat");
}

#[tokio::test]
async fn a_run_ends_with_sleep_and_heartbeats_pause_until_the_user_writes() {
    let house = House::open(sleepy, |spec| {
        spec.heartrate = Some(HALF_AN_HOUR);
        spec.tools = Some(vec!["sleep".into()]);
    })
    .await;
    let run = house.say("Sleep now").await;
    assert_eq!((run.steps, run.stop_reason), (1, Some(StopReason::EndTurn)), "the model is not asked again");
    let beat = house.beat().await;
    let beat = house.after(MINUTE * 30, beat.id).await;
    assert_eq!((beat.fired, beat.held.map(|h| h.by)), (0, Some(HeldBy::Asleep)));
    assert_eq!(house.say("Are you there?").await.stop_reason, Some(StopReason::EndTurn));
    let beat = house.after(MINUTE * 30, beat.id).await;
    assert_eq!((beat.fired, beat.held), (1, None), "the user has woken it");
    let page = sid_store::PageRequest { after: None, limit: 10 };
    let timers = house.store.timers(&house.tenant, &sid_store::PairFilter::default(), page).await.expect("listed");
    let sleep = timers.items.into_iter().find(|t| t.spec.kind == TimerKind::Sleep).expect("there");
    // A turn's present moment goes on by a watch.
    let sleep = house.after(MINUTE * 61, sleep.id).await;
    assert_eq!((sleep.fired, sleep.state, sleep.held.map(|h| h.by)), (0, TimerState::Done, Some(HeldBy::StillAwake)));
}

#[tokio::test]
async fn what_agents_begin_waits_until_quiet_hours_are_over() {
    let house = House::open(silent, |spec| spec.heartrate = Some(HALF_AN_HOUR)).await;
    house.say("Hello").await;
    // From 12:15 to 18:00 on the wall in UTC+5:30, which now shows 17:30.
    house.quiet("17:45-23:30", "Asia/Kolkata").await;
    let over: Timestamp = "2026-03-02T18:00:00Z".parse().expect("a time");
    let (waits, fires) =
        (house.timer("waits", MINUTE * 20, InQuietHours::Wait).await, house.timer("fires", MINUTE * 20, InQuietHours::Fire).await);
    house.clock.advance(MINUTE * 20);
    let done = async |id| house.store.timer(&house.tenant, id).await.expect("there").fired == 1;
    house.until("a person's own timer fires", async || done(fires.id).await).await;
    house.until("the other one waits", async || house.store.timer(&house.tenant, waits.id).await.expect("there").held.is_some()).await;
    let beat = house.beat().await;
    let beat = house.after(MINUTE * 10, beat.id).await;
    let held = beat.held.expect("it waits");
    assert_eq!((held.by, held.until, beat.fired, beat.skipped), (HeldBy::QuietHours, Some(over), 0, 0));
    assert_eq!(house.say("Are you up?").await.stop_reason, Some(StopReason::EndTurn), "who writes is answered");
    house.clock.advance(over.duration_since(house.clock.now()));
    house.until("both go on", async || done(waits.id).await && done(beat.id).await).await;
    let waits = house.store.timer(&house.tenant, waits.id).await.expect("there");
    let note = house.told(&waits).await.remove(0);
    assert!(note.body.text().contains("It waited until the quiet hours were over"), "{note:?}");
}

#[tokio::test]
async fn quiet_hours_of_the_agent_are_for_users_who_have_said_nothing() {
    let house = House::open(silent, |spec| {
        spec.heartrate = Some(HALF_AN_HOUR);
        spec.quiet_hours = Some("12:15-13:15".parse().expect("hours"));
    })
    .await;
    house.say("Hello").await;
    let beat = house.beat().await;
    let beat = house.after(MINUTE * 30, beat.id).await;
    assert_eq!(beat.held.map(|h| h.by), Some(HeldBy::QuietHours));
    house.quiet("01:00-02:00", "UTC").await;
    let beat = house.after(MINUTE * 45, beat.id).await;
    assert_eq!((beat.fired, beat.held), (1, None));
}

#[tokio::test]
async fn caps_hold_back_what_agents_begin_with_a_record_and_never_the_user() {
    let house = House::open(silent, |spec| {
        spec.heartrate = Some(HALF_AN_HOUR);
        spec.caps = Caps { runs_per_day: Some(1), ..Caps::default() };
    })
    .await;
    house.say("Hello").await;
    let beat = house.beat().await;
    let beat = house.after(MINUTE * 30, beat.id).await;
    assert_eq!((beat.fired, beat.held), (1, None));
    let beat = house.after(MINUTE * 30, beat.id).await;
    assert_eq!((beat.fired, beat.skipped, beat.held.map(|h| (h.by, h.until))), (1, 1, Some((HeldBy::AgentRunsPerDay, None))), "left out");
    let timer = house.timer("plants", MINUTE, InQuietHours::Fire).await;
    let timer = house.after(MINUTE, timer.id).await;
    let tomorrow: Timestamp = "2026-03-03T00:00:00Z".parse().expect("a time");
    assert_eq!((timer.fired, timer.held.map(|h| (h.by, h.until))), (0, Some((HeldBy::AgentRunsPerDay, Some(tomorrow)))), "it waits");
    for _ in 0..3 {
        assert_eq!(house.say("And you?").await.stop_reason, Some(StopReason::EndTurn));
    }
    house.change_agent(|spec| spec.heartrate = None).await;
    house.clock.advance(tomorrow.duration_since(house.clock.now()));
    house.until("it fires", async || house.store.timer(&house.tenant, timer.id).await.expect("there").fired == 1).await;
    let limits = TenantLimits { caps: Caps { runs_per_hour: Some(1), ..Caps::default() }, ..TenantLimits::default() };
    house.store.set_limits(&OperatorScope::grant(), house.tenant.tenant(), limits).await.expect("set");
    house.engine.forget_limits(house.tenant.tenant());
    house.change_agent(|spec| spec.caps = Caps::default()).await;
    let timer = house.timer("ferns", MINUTE, InQuietHours::Fire).await;
    let timer = house.after(MINUTE, timer.id).await;
    assert_eq!(timer.held.map(|h| h.by), Some(HeldBy::TenantRunsPerHour));
}

#[tokio::test]
async fn runs_of_tasks_wait_for_caps_and_their_reports_for_the_end_of_quiet_hours() {
    fn failing(woken_by: &str) -> Option<Scripted> {
        let call = || Scripted::Calls(vec![("fail_task".into(), json!({"reason": "no venue"}))]);
        woken_by.contains("Find a venue").then(call)
    }
    let house = House::open(failing, |spec| spec.caps = Caps { runs_per_hour: Some(1), ..Caps::default() }).await;
    let timer = house.timer("plants", MINUTE, InQuietHours::Fire).await;
    house.after(MINUTE, timer.id).await;
    let mut task = NewTask::new(house.agent.id, Some(house.user.id), "Find a venue");
    task.report_to = Some(house.talk);
    let task = house.engine.create_task(&house.tenant, task).await.expect("made");
    let now = async || house.store.task(&house.tenant, task.id).await.expect("there");
    house.until("it waits", async || now().await.work.held.is_some()).await;
    let held = now().await.work.held.expect("held");
    assert_eq!((held.by, held.until), (HeldBy::AgentRunsPerHour, Some("2026-03-02T13:00:00Z".parse().expect("a time"))));
    house.change_agent(|spec| spec.caps = Caps::default()).await;
    house.quiet("12:00-18:00", "UTC").await;
    house.clock.advance(MINUTE * 60);
    house.until("it fails, and its letter is kept back", async || !now().await.work.kept_back.is_empty()).await;
    let kept = now().await;
    assert_eq!((kept.state, kept.work.held.map(|h| h.by)), (TaskState::Failed, Some(HeldBy::QuietHours)));
    let notes = async || {
        let page = house.store.page(&house.tenant, house.talk, None, Direction::Ascending, 100).await.expect("a page");
        page.iter().filter(|m| m.body.text().contains("no venue")).count()
    };
    assert_eq!(notes().await, 0);
    house.clock.advance(MINUTE * 60 * 5);
    house.until("it is told", async || notes().await == 1).await;
    house.until("nothing is kept back", async || now().await.work.kept_back.is_empty() && now().await.work.outbox.is_empty()).await;
}

#[tokio::test]
async fn the_background_model_writes_the_diary_and_what_it_fails_at_is_tried_again() {
    let house = House::open(|_| None, |spec| spec.background_model = Some("cheap".into())).await;
    house.is_cheap_down.store(true, Ordering::SeqCst);
    let then: Timestamp = "2026-02-24T10:00:00Z".parse().expect("a time");
    house.store.append(&house.tenant, house.talk, vec![NewMessage::user("I moved to Oslo.", then)]).await.expect("brought in");
    let owner = Owner::Pair { agent: house.agent.id, user: house.user.id };
    let day = async || {
        let query = DiaryQuery { level: Some(DiaryLevel::Day), limit: 10, ..DiaryQuery::default() };
        house.store.diary(&house.ann, owner, &query).await.expect("read").into_iter().next()
    };
    house.until("a page stands in", async || day().await.is_some_and(|page| page.is_floor)).await;
    house.is_cheap_down.store(false, Ordering::SeqCst);
    house.clock.advance(MINUTE * 9);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(day().await.is_some_and(|page| page.is_floor), "not before its time");
    house.clock.advance(MINUTE * 2);
    house.until("the model has written it", async || day().await.is_some_and(|page| !page.is_floor)).await;
    assert_eq!(house.model.requests().len(), 0, "the agent's own model has nothing to do with it");
}
