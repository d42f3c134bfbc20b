//! Measures evidence retrieval: conversations go in message by message, each question asks for hits, hits are held against the annotated
//! evidence. Runs the index of `sid-store` and the recall of `sid-memory` in this process; no server, no store, no network.
//!
//! ```text
//! cargo run --release -p sid-testkit --example retrieval_bench -- FOLDER [--vectors FILE [--missing FILE]] [--model FOLDER] [--one-hop] [-v]
//! ```
//!
//! FOLDER holds `<dataset>__<name>.json` or `.json.gz` (read through `gzip`). `--vectors` names a cache: records of 16 bytes (UUIDv5 of the
//! text, OID name space) and 384 little-endian f32. Texts that it lacks are embedded with `--model` (needs the feature `fastembed`) and
//! appended, or else listed in `--missing` as one JSON string per line. Without vectors at all, the hashing embedder stands in: lexical.
//!
//! Each session is a conversation of the same memory. A hit costs the tokens (bytes / 4) of `[YYYY-MM-DDTHH:MM] speaker: excerpt`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

mod data;
mod metrics;
mod vectors;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::Instant;

use async_trait::async_trait;
use sid_memory::ranking::{CHUNK_BYTES, chunk};
use sid_memory::recall::{RecallOptions, recall};
use sid_store::index::{Document, PartitionIndex, embedded_text_of_message};
use sid_store::{Candidate, Candidates, Capability, Chunk, GenerationId, MemorySearch, Record, RecordId, SearchQuery, StoreError};
use sid_types::{AgentId, Message, Owner, Principal, Scope, TenantId};

use crate::data::Conversation;
use crate::metrics::Sums;
use crate::vectors::Vectors;

/// As deep as a budget of 4,000 tokens reads.
const DEPTH: usize = 200;

/// One memory without a store around it.
struct Memory {
    index: PartitionIndex,
    messages: HashMap<RecordId, Message>,
}

#[async_trait]
impl MemorySearch for Memory {
    fn capability(&self) -> Capability {
        Capability { durable: false, dense: true, shared: false, backup: false }
    }

    async fn search(&self, _scope: &Scope, query: &SearchQuery) -> Result<Candidates, StoreError> {
        let hits = self.index.search(query);
        let candidate = |h: &sid_store::index::IndexHit| Candidate {
            record: Record::Message(self.messages[&h.id].clone()),
            owner: Owner::Tenant,
            channels: h.channels,
            best_chunk: h.best_chunk,
            neighbours: h.neighbours,
        };
        Ok(Candidates {
            items: hits.items.iter().map(candidate).collect(),
            searched: hits.searched,
            bm25: hits.bm25,
            context_bm25: hits.context_bm25,
            dense: hits.dense,
            is_partial: false,
        })
    }
}

impl Memory {
    async fn of(conversation: &Conversation, vectors: &Vectors) -> anyhow::Result<Self> {
        let mut memory = Self { index: PartitionIndex::new(), messages: HashMap::new() };
        let generation = GenerationId(vectors.generation_id());
        for turn in &conversation.turns {
            let id = RecordId::Message(turn.message.id);
            if let Some(document) = Document::of_message(&turn.message) {
                memory.index.insert(&document);
                let text = embedded_text_of_message(&turn.message);
                let mut chunks = Vec::new();
                for range in chunk(&text, CHUNK_BYTES) {
                    if let Some(vector) = vectors.of(&text[range.clone()]).await? {
                        chunks.push(Chunk { start: range.start, end: range.end, vector });
                    }
                }
                memory.index.set_vectors(id, &generation, &chunks);
            }
            memory.messages.insert(id, turn.message.clone());
        }
        Ok(memory)
    }
}

struct Arguments {
    folder: PathBuf,
    vectors: Option<PathBuf>,
    missing: Option<PathBuf>,
    model: Option<PathBuf>,
    follow: bool,
    verbose: bool,
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut all = std::env::args().skip(1);
    let mut out = Arguments { folder: PathBuf::new(), vectors: None, missing: None, model: None, follow: true, verbose: false };
    while let Some(argument) = all.next() {
        let mut path = || all.next().map(PathBuf::from).ok_or_else(|| anyhow::anyhow!("{argument} needs a path"));
        match argument.as_str() {
            "--vectors" => out.vectors = Some(path()?),
            "--missing" => out.missing = Some(path()?),
            "--model" => out.model = Some(path()?),
            "--one-hop" => out.follow = false,
            "-v" => out.verbose = true,
            _ if argument.starts_with('-') => anyhow::bail!("unknown option {argument}"),
            _ => out.folder = PathBuf::from(argument),
        }
    }
    anyhow::ensure!(!out.folder.as_os_str().is_empty(), "give the folder that holds the conversations");
    Ok(out)
}

#[expect(clippy::disallowed_methods, reason = "a measurement, like a test, acts for nobody")]
fn scope() -> Scope {
    Scope::grant(TenantId::new(), Principal::Turn { agent: AgentId::new(), user: None })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = arguments()?;
    let vectors = Vectors::open(arguments.vectors.as_deref(), arguments.model.as_deref())?;
    if !vectors.is_semantic() {
        eprintln!("no vectors: the hashing embedder stands in, and the dense channel compares words, not meanings");
    }
    let scope = scope();
    let mut sums: BTreeMap<(String, String), Sums> = BTreeMap::new();
    let mut times: Vec<f64> = Vec::new();
    for conversation in data::load(&arguments.folder)? {
        let memory = Memory::of(&conversation, &vectors).await?;
        for question in &conversation.questions {
            let mut query = SearchQuery::new(&question.text);
            query.per_channel = DEPTH;
            let options = RecallOptions { now: question.now.clone(), limit: DEPTH, follow: arguments.follow, ..RecallOptions::default() };
            let started = Instant::now();
            let recalled = recall(&memory, Some(&vectors), &scope, query, &options).await?;
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
            let score = metrics::score(&hits, &evidence);
            for key in ["all", &question.category, &conversation.name] {
                sums.entry((conversation.dataset.clone(), key.to_owned())).or_default().add(&score);
            }
        }
    }
    let missing = vectors.missing();
    if !missing.is_empty() {
        let list = arguments.missing.ok_or_else(|| anyhow::anyhow!("{} texts have no vector; list them with --missing", missing.len()))?;
        let lines: Result<Vec<String>, _> = missing.iter().map(serde_json::to_string).collect();
        std::fs::write(&list, lines?.join("\n") + "\n")?;
        anyhow::bail!("{} texts have no vector: embed those in {} and run again", missing.len(), list.display());
    }
    println!("{:34} {}", "", Sums::heading());
    for ((dataset, key), sum) in sums.iter().filter(|((_, key), _)| arguments.verbose || key == "all") {
        println!("{:34} {}", format!("{dataset} {key}"), sum.row());
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((share * (times.len().max(1) - 1) as f64) as usize).copied().unwrap_or(0.0);
    println!("recall without the query's embedding: p50 {:.2} ms, p95 {:.2} ms over {} questions", at(0.5), at(0.95), times.len());
    Ok(())
}
