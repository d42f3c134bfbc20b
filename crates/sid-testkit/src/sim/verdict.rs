//! The end: waits until everything has come to rest, and holds what is stored against what was heard.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use sid_llm::{Embedder as _, HashEmbedder};
use sid_store::{EmbeddingIndex as _, GenerationId, StateStore as _};
use sid_types::StopReason;

use super::people::Talk;
use super::replica::RUN_TIME;
use super::{Outcome, REST, Sim};
use crate::checker::{self, Conversation, Dump, Index};

/// Most of what a simulated conversation has.
const ALL: usize = 10_000;

/// Checks everything and ends the simulation.
pub(super) async fn pronounce(sim: &Arc<Sim>, seed: u64, is_at_rest: bool) -> Outcome {
    if !is_at_rest {
        sim.wrong(&format!("I1: after {} s of calm some client has no answer", REST.as_secs()));
    }
    let until = tokio::time::Instant::now() + REST;
    while tokio::time::Instant::now() < until && !is_quiet(sim).await {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let dump = dump(sim).await;
    // Whoever is still there would keep all others alive.
    sim.replicas.iter().for_each(super::replica::Replica::kill);
    let found = checker::check(&dump).into_iter().map(|violation| sim.trace.named(&violation.to_string()));
    let mut heard = sim.heard.lock();
    let wrong: Vec<String> = std::mem::take(&mut heard.wrong).into_iter().chain(found).collect();
    for what in &wrong {
        sim.trace.say("verdict", format_args!("{what}"));
    }
    let (trace, hash) = sim.trace.end();
    Outcome { seed, wrong, hash, trace, tally: heard.tally }
}

/// Whether every run has ended and nothing waits for its vectors.
async fn is_quiet(sim: &Sim) -> bool {
    let store = sim.store.truth();
    for talk in sim.people.talks() {
        let runs = store.runs(&talk.scope, talk.id, ALL).await.expect("it is there");
        if runs.iter().any(|run| !run.status.is_terminal()) {
            return false;
        }
    }
    !sim.plan.embeds || indexes(sim).await.iter().all(|index| index.pending == 0)
}

async fn indexes(sim: &Sim) -> Vec<Index> {
    let mut indexes = Vec::new();
    let generation = GenerationId(HashEmbedder::new().generation().id);
    for tenant in &sim.people.tenants {
        let status = sim.store.truth().index_status(&tenant.scope, &generation, None).await.expect("it is there");
        let (pending, indexed) = (status.pending, status.indexed);
        indexes.push(Index { name: tenant.name.into(), searchable: indexed + pending, indexed, pending });
    }
    indexes
}

async fn dump(sim: &Sim) -> Dump {
    let mut conversations = Vec::new();
    for talk in sim.people.talks() {
        conversations.push(conversation(sim, talk).await);
    }
    let indexes = if sim.plan.embeds { indexes(sim).await } else { Vec::new() };
    let heard = sim.heard.lock();
    Dump {
        conversations,
        ledger: heard.ledger.clone(),
        streams: heard.streams.clone(),
        writes: sim.store.writes(),
        indexes,
        effects: sim.bell.effects(),
        canaries: sim.people.canaries(),
        answers: heard.answers.clone(),
    }
}

async fn conversation(sim: &Sim, talk: &Talk) -> Conversation {
    let store = sim.store.truth();
    let conversation = checker::read_conversation(store, &talk.scope, talk.id).await.expect("it is there");
    for run in store.runs(&talk.scope, talk.id, ALL).await.expect("it is there") {
        let took = run.ended_at.unwrap_or_default().duration_since(run.started_at.unwrap_or_default());
        if run.stop_reason == Some(StopReason::MaxTime) && took < SignedDuration::try_from(RUN_TIME).expect("seconds") {
            sim.wrong(&format!("{} ended for its time after {took:#}", run.id));
        }
        let end = run.stop_reason.map_or_else(|| "has not ended".to_owned(), |reason| format!("ended: {reason:?}"));
        sim.trace.say(&talk.name, format_args!("{} {end}, {} steps", sim.trace.name(&run.id), run.steps));
        let mut heard = sim.heard.lock();
        heard.tally.runs += 1;
        heard.tally.steps += u64::from(run.steps);
    }
    let events = conversation.runs.iter().flat_map(|run| run.events.iter().flatten());
    sim.heard.lock().tally.page_outs += events.filter(|e| e.event == "page_out").count() as u64;
    sim.trace.say(&talk.name, format_args!("{} messages", conversation.messages.len()));
    conversation
}
