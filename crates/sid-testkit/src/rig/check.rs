//! Reads everything back over the public API, and has the checker judge it against the ledger.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;

use super::api::Api;
use crate::checker::{self, Conversation, Dump, Entry, Index, Run, Step, Violation};

/// How much is read.
#[derive(Debug, Clone, Copy)]
pub struct Depth {
    /// Events and steps of so many runs of each conversation, the newest.
    pub runs: usize,
    /// Waits so long until nothing waits for the index any more; then says how far it came.
    pub index_wait: Duration,
}

impl Default for Depth {
    fn default() -> Self {
        Self { runs: 20, index_wait: Duration::from_secs(60) }
    }
}

/// Requests at once.
const AT_ONCE: usize = 8;

/// Everything about these conversations, and the ledger beside it.
///
/// Errors: something cannot be read.
pub async fn dump(api: &Api, conversations: &[String], ledger: Vec<Entry>, depth: Depth) -> Result<Dump> {
    let each = conversations.iter().map(|id| conversation(api, id, depth));
    let conversations = futures::stream::iter(each).buffered(AT_ONCE).try_collect().await?;
    let indexes = vec![index(api, depth.index_wait).await?];
    Ok(Dump { conversations, ledger, indexes, ..Dump::default() })
}

/// [`dump`], judged.
///
/// Errors: something cannot be read.
pub async fn examine(api: &Api, conversations: &[String], ledger: Vec<Entry>, depth: Depth) -> Result<Vec<Violation>> {
    let dump = dump(api, conversations, ledger, depth).await?;
    // Off the runtime: a large dump takes a moment.
    Ok(tokio::task::spawn_blocking(move || checker::check(&dump)).await?)
}

async fn conversation(api: &Api, id: &str, depth: Depth) -> Result<Conversation> {
    let messages = api.messages(id).await?;
    let mut runs: Vec<Run> = api.runs(id).await?;
    // The list ends with the newest thousand; the others are asked for one by one.
    let listed: BTreeSet<&str> = runs.iter().map(|r| r.id.as_str()).collect();
    let missing: BTreeSet<String> = messages.iter().filter_map(|m| m.run.clone()).filter(|run| !listed.contains(run.as_str())).collect();
    for run in missing {
        runs.push(api.get(&format!("/runs/{run}")).await?);
    }
    for run in runs.iter_mut().take(depth.runs) {
        run.events = Some(api.events(&run.id).await?);
        run.step_records = Some(api.all::<Step>(&format!("/runs/{}/steps", run.id)).await?);
    }
    Ok(Conversation { id: id.to_owned(), messages, runs })
}

async fn index(api: &Api, wait: Duration) -> Result<Index> {
    #[derive(Deserialize)]
    struct Status {
        indexed: u64,
        pending: u64,
    }
    let began = Instant::now();
    loop {
        let status: Status = api.get("/index?wait_ms=5000").await?;
        if status.pending == 0 || began.elapsed() > wait {
            return Ok(Index { name: "tenant".into(), searchable: status.indexed, indexed: status.indexed, pending: status.pending });
        }
    }
}

/// Waits until every run of these conversations is terminal; answers how long that took.
///
/// Errors: some are not after `limit`.
pub async fn settled(api: &Api, conversations: &[String], limit: Duration) -> Result<Duration> {
    let began = Instant::now();
    let mut open: Vec<&String> = conversations.iter().collect();
    loop {
        let asked = open.iter().map(|id| async move {
            // Runs end in order: the newest say whether one is open.
            let runs: Vec<Run> = api.runs(id).await?;
            anyhow::Ok((*id, runs.into_iter().filter(|r| !is_terminal(r)).map(|r| format!("{} is {}", r.id, r.status)).next()))
        });
        let asked: Vec<(&String, Option<String>)> = futures::stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
        let waiting: Vec<_> = asked.into_iter().filter(|(_, why)| why.is_some()).collect();
        if waiting.is_empty() {
            return Ok(began.elapsed());
        }
        if began.elapsed() > limit {
            bail!("after {limit:?} runs of {} conversations are not terminal: {:?}", waiting.len(), waiting[0]);
        }
        open = waiting.into_iter().map(|(id, _)| id).collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a run has ended.
#[must_use]
pub fn is_terminal(run: &Run) -> bool {
    matches!(run.status.as_str(), "completed" | "failed" | "cancelled")
}
