//! Measures evidence retrieval on Postgres, with vectors in memory, in pgvector and in Qdrant, as `sid-testkit`'s `retrieval_bench` does without
//! a store: the same data, the same questions, the same recall. What the three find must hardly differ.
//!
//! ```text
//! cargo xtask setup postgres qdrant
//! cargo run --release -p sid-store-qdrant --example store_retrieval_bench -- FOLDER [--vectors FILE]
//! ```
//!
//! FOLDER and `--vectors` are as there. Postgres and the engine are throw-away ones; every partition is taken from the index.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

#[path = "../tests/common/mod.rs"]
mod common;
#[expect(dead_code, reason = "categories are told apart there")]
#[path = "../../sid-testkit/examples/retrieval_bench/data.rs"]
mod data;
#[path = "../../sid-testkit/examples/retrieval_bench/metrics.rs"]
mod metrics;
#[expect(unexpected_cfgs, reason = "models are opened there")]
#[path = "../../sid-testkit/examples/retrieval_bench/vectors.rs"]
mod vectors;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use common::{Collections, postgres};
use sid_memory::ranking::{CHUNK_BYTES, chunk};
use sid_memory::recall::{RecallOptions, recall};
use sid_store::{Chunk, Directory, EmbeddingIndex, GenerationId, NewConversation, NewVectors, RecallStore, SearchQuery};
use sid_store_pg::{Indexer, PgConfig, PgStore, PgVectors};
use sid_types::{ManualClock, NewMessage};

use crate::data::Conversation;
use crate::metrics::Sums;
use crate::postgres::Home;
use crate::vectors::Vectors;

/// As deep as a budget of 4,000 tokens reads.
const DEPTH: usize = 200;

/// Writes a conversation into the store, a session at a time, with its vectors.
async fn fill(store: &PgStore, conversation: &Conversation, vectors: &Vectors) -> anyhow::Result<Home> {
    let home = Home::build(store, &conversation.name).await;
    let mut open = None;
    for turn in &conversation.turns {
        let message = turn.message.clone();
        if open != Some(message.conversation) {
            let new = NewConversation { agent: home.agent, user: Some(home.user), key: None };
            store.open_conversation(&home.scope, message.conversation, new).await?;
            open = Some(message.conversation);
        }
        let new = NewMessage {
            id: message.id,
            body: message.body,
            speaker: message.speaker,
            at: message.at,
            tokens: None,
            untrusted: Vec::new(),
            approved: None,
            sender: None,
        };
        store.append(&home.scope, message.conversation, vec![new]).await?;
    }
    let generation = GenerationId(vectors.generation_id());
    loop {
        let mut found = Vec::new();
        for job in store.pending(&generation, 200).await? {
            let mut chunks = Vec::new();
            for range in chunk(&job.text, CHUNK_BYTES) {
                if let Some(vector) = vectors.of(&job.text[range.clone()]).await? {
                    chunks.push(Chunk { start: range.start, end: range.end, vector });
                }
            }
            found.push(NewVectors { scope: job.scope, record: job.record, chunks });
        }
        if found.is_empty() {
            return Ok(home);
        }
        store.put_vectors(&generation, found).await?;
    }
}

/// Asks all questions of a conversation; adds up how well they were answered, and how long each took.
async fn ask(
    store: &PgStore,
    home: &Home,
    conversation: &Conversation,
    vectors: &Vectors,
    sums: &mut Sums,
    times: &mut Vec<f64>,
) -> anyhow::Result<()> {
    let scope = home.scope.turn(home.agent, Some(home.user));
    for question in &conversation.questions {
        let query = SearchQuery { per_channel: DEPTH, ..SearchQuery::new(&question.text) };
        let options = RecallOptions { now: question.now.clone(), limit: DEPTH, ..RecallOptions::default() };
        let started = Instant::now();
        let recalled = recall(store, Some(vectors), &scope, query, &options).await?;
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
        let hits: Vec<(usize, usize)> = recalled
            .hits
            .iter()
            .map(|hit| {
                let turn = conversation.place[&hit.found.record.id()];
                (turn, metrics::tokens(&format!("{}{}", conversation.turns[turn].heading, hit.snippet().text)))
            })
            .collect();
        let evidence: HashSet<usize> = question.evidence.iter().copied().collect();
        sums.add(&metrics::score(&hits, &evidence));
    }
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let (mut folder, mut cache, mut all) = (PathBuf::new(), None, std::env::args().skip(1));
    while let Some(argument) = all.next() {
        if argument == "--vectors" {
            cache = all.next().map(PathBuf::from);
        } else {
            folder = PathBuf::from(argument);
        }
    }
    let vectors = Vectors::open(cache.as_deref(), None)?;
    if !vectors.is_semantic() {
        eprintln!("no vectors: the hashing embedder stands in, and the dense channel compares words, not meanings");
    }
    let (database, collections) = (postgres::database().await, Collections::new());
    let clock = Arc::new(ManualClock::new(postgres::now()));
    let config = PgConfig { vector_index_from: 0, ..postgres::config(&database) };
    let exact = postgres::open(&database, &clock).await;
    let in_qdrant = common::open(&database, &clock, Arc::new(collections.index())).await;
    let index = Arc::new(PgVectors::open(&config).await?);
    let in_pgvector = PgStore::open_with_test_clock(config, clock).await?.with_vector_index(index);
    let mut sums: BTreeMap<(String, &str), (Sums, Vec<f64>)> = BTreeMap::new();
    for conversation in data::load(&folder)? {
        let home = fill(&exact, &conversation, &vectors).await?;
        for (name, store) in [("memory", &exact), ("Qdrant", &in_qdrant), ("pgvector", &in_pgvector)] {
            if let Some(indexer) = Indexer::new(store) {
                // Each index lacks the generation at first, and says so: everything is fed again.
                indexer.repair().await?;
            }
            let (sums, times) = sums.entry((conversation.dataset.clone(), name)).or_default();
            ask(store, &home, &conversation, &vectors, sums, times).await?;
            if let Some(status) = store.vector_status().await? {
                anyhow::ensure!((status.waiting, status.fallbacks) == (0, 0), "{name} did not answer: {status:?}");
            }
        }
        anyhow::ensure!(vectors.missing().is_empty(), "{} texts have no vector in the cache", vectors.missing().len());
    }
    println!("{:24} {} recall p50 ms", "", Sums::heading());
    for ((dataset, name), (sums, times)) in &mut sums {
        times.sort_by(f64::total_cmp);
        println!("{:24} {} {:8.1}", format!("{dataset} {name}"), sums.row(), times.get(times.len() / 2).copied().unwrap_or_default());
    }
    Ok(())
}
