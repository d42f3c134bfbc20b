//! A thousand timers of people in many zones, over days on which clocks are put forward and back: each is answered once and in time, although
//! replicas die, and what is late follows its policy. The clock is the test's own; nothing waits for it but the replicas.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sid_core::{Engine, EngineConfig, ModelEntry, Models, NewTimer};
use sid_llm::{ByteCounter, CalibratedCounter, Scripted, ScriptedModel};
use sid_store::{InProcess, NewConversation, Store};
use sid_store_sqlite::{SqliteConfig, SqliteStore};
use sid_types::{
    AgentId, AgentSpec, Clock, ConversationId, InQuietHours, KeyId, Late, ManualClock, OperatorScope, RunId, Scope, Timer, TimerId,
    TimerKind, TimerMaker, TimerSpec, Tokens, User, UserId, When,
};
use tokio::runtime::{Builder, Runtime};

/// How many timers there are.
const TIMERS: usize = 1_000;
/// How late a run may be.
const IN_TIME: SignedDuration = SignedDuration::from_secs(2);
/// So long a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Zones, each with a day on which something happens to its clocks, or nothing.
const DAYS: [(&str, Date); 24] = [
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("Europe/London", date(2026, 3, 29)),
    ("Europe/London", date(2026, 10, 25)),
    ("Europe/Athens", date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("America/Los_Angeles", date(2026, 3, 8)),
    ("America/Los_Angeles", date(2026, 11, 1)),
    ("America/St_Johns", date(2026, 3, 8)),
    ("America/St_Johns", date(2026, 11, 1)),
    ("America/Santiago", date(2026, 9, 6)),
    ("America/Phoenix", date(2026, 3, 8)),
    ("Australia/Sydney", date(2026, 4, 5)),
    ("Australia/Sydney", date(2026, 10, 4)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Pacific/Auckland", date(2026, 4, 5)),
    ("Pacific/Chatham", date(2026, 9, 27)),
    ("Asia/Kolkata", date(2026, 3, 29)),
    ("Asia/Kathmandu", date(2026, 3, 29)),
    ("Asia/Tokyo", date(2026, 10, 25)),
    ("Africa/Casablanca", date(2026, 3, 29)),
    ("UTC", date(2026, 3, 29)),
];

/// The moment at which the clock on the wall shows a time first, found by looking at the clock each minute; the moment at which it goes
/// on where it never does.
fn shown(zone: &TimeZone, day: Date, hour: i8, minute: i8) -> Timestamp {
    let wanted = day.at(hour, minute, 0, 0);
    let mut at = TimeZone::UTC.to_timestamp(wanted).expect("a time") - SignedDuration::from_hours(15);
    let mut beyond = None;
    for _ in 0..30 * 60 {
        let now = zone.to_datetime(at);
        if now == wanted {
            return at;
        }
        if now > wanted && beyond.is_none() {
            beyond = Some(at);
        }
        at += SignedDuration::from_mins(1);
    }
    beyond.expect("the clock goes on")
}

type Open = Box<dyn Fn(Arc<ManualClock>) -> BoxFuture<'static, Arc<dyn Store>>>;

/// A server: an engine with a runtime of its own, so that it can be ended in the middle of anything.
struct Replica {
    engine: Engine,
    runtime: Runtime,
}

impl Replica {
    fn start(open: &Open, clock: &Arc<ManualClock>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let store = runtime.block_on(open(Arc::clone(clock)));
        let entry = ModelEntry {
            chat: Arc::new(ScriptedModel::answering(|_| Scripted::Text("done".into()))),
            counter: Arc::new(CalibratedCounter::new(ByteCounter)),
            fallback_window: Tokens(8_192),
            summarizer: None,
        };
        let config = EngineConfig { poll: Duration::from_millis(5), diary: false, ..EngineConfig::default() };
        let engine = Engine::new(store, Models::new().with("m", entry), None, Arc::clone(clock) as _, config);
        let entered = runtime.enter();
        engine.start();
        drop(entered);
        Self { engine, runtime }
    }

    /// As if its process had been killed.
    fn kill(self) {
        self.runtime.shutdown_background();
    }
}

/// A timer and what must come of it.
struct Expected {
    timer: TimerId,
    conversation: ConversationId,
    due: Vec<Timestamp>,
}

struct Play {
    main: Runtime,
    open: Open,
    clock: Arc<ManualClock>,
    store: Arc<dyn Store>,
    scope: Scope,
    agent: AgentId,
    people: BTreeMap<&'static str, (UserId, ConversationId)>,
    replicas: Vec<Replica>,
}

impl Play {
    fn begin(open: Open) -> Self {
        let main = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let clock = Arc::new(ManualClock::new("2026-03-01T00:00:00Z".parse().expect("a time")));
        let store = main.block_on(open(Arc::clone(&clock)));
        let (scope, agent, people) = main.block_on(async {
            let operator = OperatorScope::grant();
            let scope = operator.enter(store.create_tenant(&operator, "acme").await.expect("a tenant").id, KeyId::new());
            let agent = store.create_agent(&scope, AgentId::new(), AgentSpec::new("sid", "m"), vec![]).await.expect("an agent").id;
            let mut people = BTreeMap::new();
            for (zone, _) in DAYS {
                if people.contains_key(zone) {
                    continue;
                }
                let user = User {
                    id: UserId::new(),
                    handle: zone.to_lowercase().replace('/', "-"),
                    display_name: zone.into(),
                    timezone: Some(zone.into()),
                    quiet_hours: None,
                    created_at: clock.now(),
                };
                let user = store.create_user(&scope, user).await.expect("a user").id;
                let new = NewConversation { agent, user: Some(user), key: None };
                let talk = store.open_conversation(&scope, ConversationId::new(), new).await.expect("a conversation").0.id;
                people.insert(zone, (user, talk));
            }
            (scope, agent, people)
        });
        let replicas = (0..2).map(|_| Replica::start(&open, &clock)).collect();
        Self { main, open, clock, store, scope, agent, people, replicas }
    }

    fn make(&self, zone: &'static str, when: When, late: Late, most: Option<u64>) -> Timer {
        let (user, conversation) = self.people[zone];
        let new = NewTimer {
            id: TimerId::new(),
            agent: self.agent,
            user: Some(user),
            conversation: Some(conversation),
            spec: TimerSpec {
                name: "plants".into(),
                stimulus: "Water the plants.".into(),
                when,
                late,
                kind: TimerKind::Reminder,
                in_quiet_hours: InQuietHours::Fire,
                only_when_open: false,
                until: None,
                most,
            },
            made_by: TimerMaker::Api,
            untrusted: Vec::new(),
        };
        self.main.block_on(self.replicas[0].engine.create_timer(&self.scope, new)).expect("a timer")
    }

    /// A thousand timers of three kinds, each due once.
    fn thousand(&self) -> Vec<Expected> {
        let make = |i: usize| {
            let (zone, day) = DAYS[i % DAYS.len()];
            let nth = i / DAYS.len();
            let (hour, minute) = ((nth % 5) as i8, [0, 15, 30, 45][nth / 5 % 4]);
            let due = shown(&TimeZone::get(zone).expect("a zone"), day, hour, minute);
            let when = match nth % 6 {
                0 => When::At { at: due },
                1 => When::Every { every_ms: 86_400_000, from: due },
                _ => When::Cron { expression: format!("{minute} {hour} {} {} *", day.day(), day.month()), timezone: zone.into() },
            };
            let timer = self.make(zone, when, Late::RunOnce, Some(1));
            assert_eq!(timer.next_due, Some(due), "{:?}", timer.spec.when);
            Expected { timer: timer.id, conversation: self.people[zone].1, due: vec![due] }
        };
        (0..TIMERS).map(make).collect()
    }

    fn set_clock(&self, at: Timestamp) {
        self.clock.advance(at.duration_since(self.clock.now()));
    }

    /// How many runs a timer has made.
    fn fired(&self, timer: TimerId) -> u64 {
        self.main.block_on(self.store.timer(&self.scope, timer)).expect("it is there").fired
    }

    fn wait(&self, what: &str, mut is_over: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_over() {
            assert!(Instant::now() < end, "{what}: not in {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Until nothing is under way, so that no lease expires because the clock jumps.
    fn settle(&self) {
        self.wait("runs end", || self.replicas.iter().all(|r| r.engine.active_runs() == 0));
    }

    /// One replica dies where it stands, and a new one comes.
    fn replace_one(&mut self) {
        let dead = self.replicas.remove(0);
        dead.kill();
        // What it had taken is free after a second.
        self.clock.advance(SignedDuration::from_millis(1_001));
        self.replicas.push(Replica::start(&self.open, &self.clock));
    }

    /// The time goes from one moment at which something is due to the next; two replicas die while they answer.
    fn run(&mut self, expected: &[Expected]) {
        let mut moments: BTreeMap<Timestamp, Vec<TimerId>> = BTreeMap::new();
        for one in expected {
            moments.entry(one.due[0]).or_default().push(one.timer);
        }
        let mut largest: Vec<(usize, Timestamp)> = moments.iter().map(|(at, timers)| (timers.len(), *at)).collect();
        largest.sort_unstable();
        let deaths: Vec<Timestamp> = largest.iter().rev().take(3).map(|(_, at)| *at).collect();
        for (i, (at, timers)) in moments.iter().enumerate() {
            // At some moment of the second in which it is due.
            self.set_clock((*at + SignedDuration::from_millis((i as i64 * 137) % 900)).max(self.clock.now()));
            if deaths.contains(at) {
                self.wait("the first are answered", || timers.iter().any(|timer| self.fired(*timer) > 0));
                self.replace_one();
            }
            self.wait("a timer is answered", || timers.iter().all(|timer| self.fired(*timer) > 0));
            self.settle();
        }
        // Leases of the dead expire, and others end their runs.
        self.clock.advance(SignedDuration::from_mins(1));
    }

    /// Every run that is there is one that must be, and none is missing.
    fn check(&self, expected: &[Expected]) {
        let mut wanted: BTreeMap<ConversationId, BTreeMap<RunId, Timestamp>> = BTreeMap::new();
        for one in expected {
            for due in &one.due {
                let before = wanted.entry(one.conversation).or_default().insert(Timer::run_for(one.timer, *due), *due);
                assert!(before.is_none(), "ids differ");
            }
        }
        for (conversation, wanted) in wanted {
            let runs = || self.main.block_on(self.store.runs(&self.scope, conversation, 10_000)).expect("runs");
            self.wait("every run ends", || runs().iter().all(|run| run.status.is_terminal()));
            let runs = runs();
            let there: Vec<RunId> = runs.iter().map(|run| run.id).collect();
            assert_eq!(there.len(), wanted.len(), "each occurrence has one run");
            for run in runs {
                let due = wanted.get(&run.id).expect("nothing else is run");
                let late = run.created_at.duration_since(*due);
                assert!(!late.is_negative() && late <= IN_TIME, "due at {due}, run at {}", run.created_at);
            }
        }
    }
}

fn a_thousand_timers(open: Open) {
    let mut play = Play::begin(open);
    let expected = play.thousand();
    play.run(&expected);
    play.check(&expected);
}

/// Nobody is there for some hours in which clocks go forward; then somebody comes.
fn late_ones(open: Open) {
    let mut play = Play::begin(open);
    // Berlin skips the hour from 2 to 3 on that day: 22, 23, 00, 01 and 03 (of summer time) are shown, at every full hour of UTC.
    play.set_clock("2026-03-28T20:30:00Z".parse().expect("a time"));
    let hourly = || When::Cron { expression: "0 * * * *".into(), timezone: "Europe/Berlin".into() };
    let made: Vec<(Late, Vec<Timer>)> =
        Late::ALL.map(|late| (late, (0..10).map(|_| play.make("Europe/Berlin", hourly(), late, None)).collect())).into();
    play.replicas.drain(..).for_each(Replica::kill);
    let now: Timestamp = "2026-03-29T02:30:00Z".parse().expect("a time");
    play.set_clock(now);
    play.replicas.push(Replica::start(&play.open, &play.clock));
    let next_due = |timer: TimerId| play.main.block_on(play.store.timer(&play.scope, timer)).expect("there").next_due.expect("active");
    play.wait("nothing is due any more", || made.iter().flat_map(|(_, timers)| timers).all(|t| next_due(t.id) > now));
    play.settle();
    let hours: Vec<Timestamp> = (0..6).map(|i| now - SignedDuration::from_mins(30) - SignedDuration::from_hours(5 - i)).collect();
    let mut expected = Vec::new();
    for (late, timers) in &made {
        for timer in timers {
            let due = match late {
                Late::Skip => &hours[..0],
                Late::RunOnce => &hours[5..],
                Late::RunAll => &hours[..],
            };
            assert_eq!(play.fired(timer.id), due.len() as u64, "{late:?}");
            expected.extend(due.iter().map(|due| Timer::run_for(timer.id, *due)));
        }
    }
    let talk = play.people["Europe/Berlin"].1;
    let mut there: Vec<RunId> =
        play.main.block_on(play.store.runs(&play.scope, talk, 10_000)).expect("runs").iter().map(|run| run.id).collect();
    there.sort_unstable();
    expected.sort_unstable();
    assert_eq!(there, expected);
}

/// One store for all replicas.
fn in_process() -> Open {
    let kept: parking_lot::Mutex<Option<Arc<dyn Store>>> = parking_lot::Mutex::default();
    Box::new(move |clock| {
        let store = Arc::clone(kept.lock().get_or_insert_with(|| Arc::new(InProcess::new(clock))));
        Box::pin(std::future::ready(store))
    })
}

/// One folder, and one process that has it open: replicas of one process.
fn sqlite(folder: &tempfile::TempDir) -> Open {
    let kept: Arc<tokio::sync::Mutex<Option<Arc<dyn Store>>>> = Arc::default();
    let path = folder.path().to_owned();
    Box::new(move |clock| {
        let (kept, path) = (Arc::clone(&kept), path.clone());
        Box::pin(async move {
            let mut kept = kept.lock().await;
            if kept.is_none() {
                let config = SqliteConfig { synchronous_full: false, ..SqliteConfig::new(path) };
                *kept = Some(Arc::new(SqliteStore::open(config, clock).await.expect("it opens")));
            }
            Arc::clone(kept.as_ref().expect("just made"))
        })
    })
}

#[test]
fn a_thousand_timers_are_answered_once_and_in_time_in_process() {
    a_thousand_timers(in_process());
}

#[test]
fn a_thousand_timers_are_answered_once_and_in_time_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    a_thousand_timers(sqlite(&folder));
}

#[test]
fn late_timers_follow_their_policy_in_process() {
    late_ones(in_process());
}

#[test]
fn late_timers_follow_their_policy_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    late_ones(sqlite(&folder));
}

#[cfg(feature = "postgres")]
mod postgres {
    use sid_store_pg::{PgConfig, PgStore};
    use sid_testkit::postgres::{Cluster, Database};

    use super::*;

    const SERVER: &str = "sid_test_server";

    /// Each replica has connections of its own.
    fn postgres() -> (Open, Database) {
        let cluster = Cluster::shared().unwrap_or_else(|why| panic!("{why}"));
        let prepare = async |admin: String| {
            PgStore::migrate(&admin).await.expect("the schema is made");
            // Roles belong to the cluster: another database may have made it.
            let role = format!("DO $$ BEGIN CREATE ROLE {SERVER} LOGIN IN ROLE sid_app; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
            let _ = cluster.sql("postgres", &role);
        };
        let runtime = Runtime::new().expect("a runtime");
        let database = runtime.block_on(cluster.database("schedules", prepare));
        let url = database.url(SERVER);
        let open: Open = Box::new(move |clock| {
            let patience = Duration::from_secs(180);
            let config = PgConfig {
                connections: 8,
                acquire_timeout: patience,
                statement_timeout: patience,
                lock_timeout: patience,
                ..PgConfig::new(url.clone())
            };
            Box::pin(async move { Arc::new(PgStore::open_with_test_clock(config, clock).await.expect("it opens")) as Arc<dyn Store> })
        });
        (open, database)
    }

    #[test]
    fn a_thousand_timers_are_answered_once_and_in_time_on_postgres() {
        let (open, database) = postgres();
        a_thousand_timers(open);
        drop(database);
    }

    #[test]
    fn late_timers_follow_their_policy_on_postgres() {
        let (open, database) = postgres();
        late_ones(open);
        drop(database);
    }
}
