//! What reaches beyond the engine: calls that leave the house, other writers, and the clocks of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use sid_core::EngineConfig;
use sid_store::{BlockStore as _, BlockWrite, InProcess};
use sid_tools::{EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::{BlockOp, Clock, Provenance, RunStatus, StopReason, SystemClock, Timestamp, ToolSpec};

use crate::support::{House, Say, Scripted};

/// A tool during whose calls somebody else edits the block that this turn edits, too.
struct Meddler {
    store: Arc<InProcess>,
    effect: EffectClass,
    calls: Arc<AtomicU32>,
}

#[async_trait]
impl Tool for Meddler {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: "ring".into(), description: "Rings.".into(), parameters: json!({"type": "object", "properties": {}}) }
    }

    fn effect(&self) -> EffectClass {
        self.effect
    }

    async fn call(&self, context: &ToolContext, _: Map<String, Value>) -> ToolOutcome {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let human = context.blocks.iter().find(|b| b.label == "human").expect("a pair has its blocks").id;
        let provenance =
            Provenance { conversation: None, run: None, user: context.scope.user(), channel: "api".into(), ..Provenance::default() };
        let write = BlockWrite { op: BlockOp::Append { text: "Meddled.".into() }, expected_version: None, provenance };
        self.store.write_block(&context.scope, human, write).await.expect("a turn may write its own block");
        ToolOutcome::text("It rang.")
    }
}

async fn house(effect: EffectClass) -> (House, Arc<AtomicU32>) {
    let both = vec![("core_memory_append", json!({"label": "human", "content": "Likes bells."})), ("ring", json!({}))];
    let calls = Arc::new(AtomicU32::new(0));
    let model = Scripted::new(4_000, vec![Say::Calls(both)]);
    let config = EngineConfig { poll: Duration::from_millis(20), ..EngineConfig::default() };
    let meddler = |store: &Arc<InProcess>| vec![Arc::new(Meddler { store: store.clone(), effect, calls: calls.clone() }) as Arc<dyn Tool>];
    (House::open_as(model, config, Arc::new(SystemClock), meddler).await, calls.clone())
}

/// A block conflict calls the memory tools again, never what has happened outside.
#[tokio::test]
async fn a_conflict_repeats_no_call_outside() {
    let (house, calls) = house(EffectClass::External { idempotent: false }).await;
    let run = house.say("Ring, and remember it.").await;
    assert_eq!(run.stop_reason, Some(StopReason::EndTurn), "{:?}", run.error);
    assert_eq!(calls.load(Ordering::SeqCst), 1, "the bell rang once");
    let results = house.results().await;
    assert_eq!(results.len(), 2);
    assert_eq!(results[1], "ring: It rang.");
    let blocks = house.store.blocks(&house.tenant, sid_types::Owner::Pair { agent: house.agent.id, user: house.user.id }).await;
    let human = blocks.expect("its blocks").into_iter().find(|b| b.label == "human").expect("a human block");
    assert!(human.value.contains("Meddled.") && human.value.contains("Likes bells."), "{}", human.value);
}

/// A run that has to be given up in the middle of its calls leaves a history without open calls, and a log that tells no more than it.
#[tokio::test]
async fn a_run_that_never_gets_its_commit_leaves_no_call_open() {
    let (house, calls) = house(EffectClass::Read).await;
    let run = house.say("Ring, and remember it.").await;
    assert_eq!((run.status, run.stop_reason), (RunStatus::Failed, Some(StopReason::Internal)));
    assert!(calls.load(Ordering::SeqCst) > 1, "a tool that only reads is called again");
    let results = house.results().await;
    assert_eq!(results.len(), 2, "{results:?}");
    assert!(results.iter().all(|r| r.contains("Not done: write conflict")), "{results:?}");
    let told = sid_store::EventLog::events(&*house.store, &house.scope, run.id, 0, 100).await.expect("events");
    let told = told.iter().filter(|e| e.body.name() == "message").count();
    assert_eq!(told, house.messages().await.len() - 1, "each message but the stimulus is told once");
}

/// A clock that is off by an hour.
struct Wrong(i64);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        Timestamp::now() + jiff::SignedDuration::from_hours(self.0)
    }
}

/// A run's time is not the difference between two clocks.
#[tokio::test]
async fn an_engine_with_a_wrong_clock_keeps_to_a_runs_time() {
    for hours in [-1, 1] {
        let model = Scripted::new(4_000, vec![Say::Text("Hello."), Say::Hang]);
        let config = EngineConfig { poll: Duration::from_millis(20), ..EngineConfig::default() };
        let house = House::open_as(model, config, Arc::new(Wrong(hours)), |_| vec![]).await;
        assert_eq!(house.say("Hi").await.stop_reason, Some(StopReason::EndTurn), "{hours} h off");
        let limits = sid_types::RunLimits { max_time_ms: 300, ..sid_types::RunLimits::default() };
        let run = house.submit("Think for ever", Timestamp::now(), Some(limits)).await;
        let run = house.engine.wait(&house.scope, run.id, Duration::from_secs(20)).await.expect("it ends");
        assert_eq!(run.stop_reason, Some(StopReason::MaxTime), "{hours} h off");
    }
}
