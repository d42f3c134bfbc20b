//! A whole house in one thread, from one seed: replicas, their store, models, clocks, the network, the clients and the weather.
//!
//! [`simulate`] builds two or three [`Engine`](sid_core::Engine)s over one store, lets clients of two tenants talk to them, and meanwhile
//! loses requests and answers, fails store calls before and after their effect, cuts replicas off, freezes them for longer than their
//! leases, kills and drains them, and sets their clocks wrong. When the weather has calmed down, every invariant of
//! [`checker`](crate::checker) must hold. Time is tokio's paused clock, so hours pass in milliseconds; all chance comes from one
//! generator, so the same seed gives the same trace to the last line, and a failure is found again by its number.
//!
//! ```
//! use sid_testkit::sim::{Bug, simulate};
//! let (once, again) = (simulate(7, Bug::None), simulate(7, Bug::None));
//! assert!(once.wrong.is_empty(), "{:#?}", once.wrong);
//! assert_eq!(once.hash, again.hash);
//! ```
//!
//! What is real: the engine with its driver, background and paging, and the reference store. What is simulated: everything around them.
//! A crash is simulated at the process's edge: from then on no call of it reaches the store, a model or a client, and none is answered,
//! wherever its tasks stand. A frozen process is one whose calls wait, on their way out or on their way back.
//!
//! Reading order: `plan` (what a seed decides at once), `link` (a replica's way to the store), `watched` (the store, which can have a planted
//! bug), `model`, `replica`, `client`, `weather`, `verdict`.

mod bell;
mod client;
mod dice;
mod link;
mod model;
mod people;
mod plan;
mod replica;
mod time;
mod trace;
mod verdict;
mod watched;
mod weather;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sid_store::InProcess;

use crate::checker;
use dice::Dice;
use people::People;
use plan::Plan;
use replica::Replica;
use time::SimClock;
use trace::Trace;
pub use watched::Bug;
use watched::Watched;

/// Longest time, by the simulation's clock, that everything may take to come to rest after the weather has calmed down.
const REST: Duration = Duration::from_secs(180);

/// What became of one seed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was wrong at the end; empty = all invariants hold.
    pub wrong: Vec<String>,
    /// Hash of the whole trace.
    pub hash: u64,
    /// Everything that happened, in order. Ids are named by their first appearance.
    pub trace: Vec<String>,
    /// How many of what happened.
    pub tally: Tally,
}

/// What a simulation consisted of: a check over many seeds is only worth as much as what happened in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Acknowledged messages.
    pub acknowledged: u64,
    /// Runs that ended.
    pub runs: u64,
    /// Model calls that were committed.
    pub steps: u64,
    /// Store calls that failed, before or after their effect.
    pub store_faults: u64,
    /// Replicas that were killed.
    pub crashes: u64,
    /// Replicas that were frozen for longer than their leases.
    pub zombies: u64,
    /// Writes that were refused because another worker had taken over.
    pub fenced: u64,
    /// Events that clients read.
    pub streamed: u64,
    /// Page-outs.
    pub page_outs: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.runs += other.runs;
        self.steps += other.steps;
        self.store_faults += other.store_faults;
        self.crashes += other.crashes;
        self.zombies += other.zombies;
        self.fenced += other.fenced;
        self.streamed += other.streamed;
        self.page_outs += other.page_outs;
    }
}

/// What all parts of a simulation share.
struct Sim {
    dice: Dice,
    trace: Trace,
    plan: Plan,
    /// The true time.
    clock: SimClock,
    people: People,
    store: Arc<Watched>,
    bell: Arc<bell::Bell>,
    replicas: Vec<Replica>,
    /// Calls and requests get lost only while it storms.
    is_stormy: AtomicBool,
    /// What clients were told and saw, and what went wrong on the way.
    heard: parking_lot::Mutex<Heard>,
}

impl Sim {
    fn is_stormy(&self) -> bool {
        self.is_stormy.load(Ordering::Relaxed)
    }

    /// Milliseconds since the beginning, from 1.
    fn tick(&self) -> u64 {
        self.trace.millis() + 1
    }

    fn wrong(&self, what: &str) {
        let what = self.trace.named(what);
        self.trace.say("WRONG", format_args!("{what}"));
        self.heard.lock().wrong.push(what);
    }
}

/// What is collected on the way for the verdict.
#[derive(Default)]
struct Heard {
    ledger: Vec<checker::Entry>,
    streams: Vec<checker::Stream>,
    answers: Vec<checker::Answer>,
    /// Answers that no client should get.
    wrong: Vec<String>,
    tally: Tally,
}

/// Runs one seed from the first message to the verdict. Takes milliseconds, whatever time passes in it.
///
/// Panics: when called inside a tokio runtime.
#[must_use]
pub fn simulate(seed: u64, bug: Bug) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without IO needs nothing from the system").block_on(run(seed, bug))
}

async fn run(seed: u64, bug: Bug) -> Outcome {
    let dice = Dice::new(seed);
    let plan = Plan::draw(&dice);
    let trace = Trace::new();
    trace.say("sim", format_args!("seed {seed}: {plan:?}"));
    let clock = SimClock::begin(jiff::SignedDuration::ZERO);
    let truth = Arc::new(InProcess::new(Arc::new(clock)));
    let people = People::settle(&truth, &plan, &dice).await;
    let store = Arc::new(Watched::new(bug, truth, dice.clone(), &people));
    let replicas = (0..plan.replicas).map(|number| Replica::new(number, clock.with_skew(plan.skews[number]))).collect();
    let sim = Arc::new(Sim {
        dice,
        trace,
        plan,
        clock,
        people,
        store,
        bell: Arc::default(),
        replicas,
        is_stormy: AtomicBool::new(true),
        heard: parking_lot::Mutex::default(),
    });
    for replica in &sim.replicas {
        replica.start(&sim);
    }
    let clients: Vec<_> = client::all(&sim).into_iter().map(tokio::spawn).collect();
    weather::rage(&sim).await;
    let rest = async {
        for client in clients {
            client.await.expect("a client does not panic");
        }
    };
    let is_at_rest = tokio::time::timeout(REST, rest).await.is_ok();
    verdict::pronounce(&sim, seed, is_at_rest).await
}
