//! A replica: one process after the other, each an engine with its own way to the store.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sid_core::{Engine, EngineConfig, ModelEntry, Models};
use sid_llm::{ByteCounter, CalibratedCounter, Embedder};
use sid_types::{RunLimits, Tokens};

use super::Sim;
use super::bell::Rope;
use super::link::{Condition, Link};
use super::model::{SimModel, SlowEmbedder};
use super::plan::LEASE;
use super::time::SimClock;

/// Longest time of a run, by the limits that every run gets.
pub(super) const RUN_TIME: Duration = Duration::from_secs(20);

/// One of the replicas.
pub(super) struct Replica {
    number: usize,
    clock: SimClock,
    process: Mutex<Option<Process>>,
    /// Processes so far.
    started: Mutex<usize>,
}

/// A process that runs, or believes that it does.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) engine: Engine,
    pub(super) link: Arc<Link>,
}

impl Replica {
    pub(super) fn new(number: usize, clock: SimClock) -> Self {
        Self { number, clock, process: Mutex::default(), started: Mutex::default() }
    }

    /// The process, if one runs.
    pub(super) fn process(&self) -> Option<Process> {
        self.process.lock().clone()
    }

    /// Starts a process unless one runs.
    pub(super) fn start(&self, sim: &Arc<Sim>) {
        let mut process = self.process.lock();
        if process.is_some() {
            return;
        }
        let generation = {
            let mut started = self.started.lock();
            *started += 1;
            *started
        };
        let link = Link::new(format!("r{}.{generation}", self.number), sim);
        sim.trace.say(link.name(), format_args!("starts"));
        let entry = ModelEntry {
            chat: Arc::new(SimModel { sim: sim.clone(), link: link.clone() }),
            counter: Arc::new(CalibratedCounter::new(ByteCounter)),
            fallback_window: Tokens(8_192),
            summarizer: None,
        };
        let embedder: Arc<dyn Embedder> = Arc::new(SlowEmbedder { sim: sim.clone(), link: link.clone() });
        let config = EngineConfig {
            lease_ttl: LEASE,
            poll: Duration::from_millis(400),
            max_runs: 6,
            limits: RunLimits {
                max_steps: 6,
                max_time_ms: u64::try_from(RUN_TIME.as_millis()).expect("a few seconds"),
                ..RunLimits::default()
            },
            queue_depth: 4,
            diary: sim.plan.diary,
            idle: Duration::from_millis(500),
            ..EngineConfig::default()
        };
        let rope = Rope { bell: sim.bell.clone(), link: link.clone(), millis: sim.plan.model_millis };
        let models = Models::new().with("simulated", entry);
        let engine = Engine::builder(link.clone(), models, sim.plan.embeds.then_some(embedder), Arc::new(self.clock), config)
            .tool(Arc::new(rope))
            .and_then(sid_core::EngineBuilder::build)
            .expect("the tools have different names");
        engine.start();
        *process = Some(Process { engine, link });
    }

    /// The process is gone from this moment on.
    pub(super) fn kill(&self) {
        if let Some(Process { engine, link }) = self.process.lock().take() {
            link.set(Condition::Dead);
            // Its loops end; nothing of what they still do reaches anybody.
            tokio::spawn(async move { engine.drain(Duration::ZERO).await });
        }
    }

    /// The process hands its work over and ends.
    pub(super) async fn drain(&self, limit: Duration) {
        if let Some(Process { engine, link }) = self.process() {
            tokio::select! {
                biased;
                () = link.death() => {}
                () = engine.drain(limit) => {}
            }
            let mut process = self.process.lock();
            if process.as_ref().is_some_and(|p| Arc::ptr_eq(&p.link, &link)) {
                *process = None;
                link.set(Condition::Dead);
            }
        }
    }
}
