//! Load: many senders, each with a key per message, a ledger of what was acknowledged, and a count of how it was answered.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::api::{Api, Failure};
use super::ledger::Ledger;
use crate::checker::Entry;

/// Who sends what.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// The conversations.
    pub conversations: Vec<String>,
    /// Senders in each of them.
    pub senders: usize,
    /// Messages of each sender; `None` = until it is stopped.
    pub messages: Option<usize>,
    /// The pause after each acknowledgement, out of this range, in milliseconds.
    pub pause_ms: Range<u64>,
    /// The share of messages whose sender waits for the answer, and looks whether it is that of its own message.
    pub waits: f64,
    /// The share of messages that have the agent call a tool, which makes their runs two steps long.
    pub tools: f64,
    /// Names the texts apart from those of another load.
    pub name: String,
    /// What follows from it: texts, pauses, who waits.
    pub seed: u64,
}

impl LoadPlan {
    /// One sender per conversation, until it is stopped, without a pause, three in ten waiting, one in ten with a tool.
    #[must_use]
    pub fn new(conversations: Vec<String>, seed: u64) -> Self {
        Self { conversations, senders: 1, messages: None, pause_ms: 0..1, waits: 0.3, tools: 0.1, name: "m".into(), seed }
    }
}

/// How it was answered.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Acknowledged messages.
    pub accepted: u64,
    /// Milliseconds from the last try's first byte to the acknowledgement, of those who did not wait for the answer.
    pub accept_ms: Vec<f64>,
    /// Milliseconds from the first try to the whole answer, of those who waited.
    pub answer_ms: Vec<f64>,
    /// Answers that were no acknowledgement, by kind: `503`, `429`, `cut`, ...
    pub failures: BTreeMap<String, u64>,
    /// What must not happen: answers that no repetition helps, and answers to another message.
    pub wrong: Vec<String>,
    /// When the last acknowledgement came.
    pub last: Option<Instant>,
}

impl Tally {
    /// Failures of a kind.
    #[must_use]
    pub fn count(&self, kind: &str) -> u64 {
        self.failures.get(kind).copied().unwrap_or(0)
    }

    /// The failures in a line.
    #[must_use]
    pub fn shown(&self) -> String {
        let kinds: Vec<String> = self.failures.iter().map(|(kind, n)| format!("{n} x {kind}")).collect();
        if kinds.is_empty() { "none".into() } else { kinds.join(", ") }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Going,
    Paused,
    Ended,
}

/// Senders at work.
#[derive(Debug)]
pub struct Load {
    tally: Arc<Mutex<Tally>>,
    mode: watch::Sender<Mode>,
    tasks: JoinSet<()>,
}

struct Sender {
    number: usize,
    conversation: String,
    plan: LoadPlan,
    api: Api,
    ledger: Arc<Ledger>,
    tally: Arc<Mutex<Tally>>,
    mode: watch::Receiver<Mode>,
    rng: SmallRng,
}

impl Load {
    /// Sets them to work.
    #[must_use]
    pub fn start(plan: &LoadPlan, api: &Api, ledger: &Arc<Ledger>) -> Self {
        let tally: Arc<Mutex<Tally>> = Arc::default();
        let (mode, watched) = watch::channel(Mode::Going);
        let mut tasks = JoinSet::new();
        for number in 0..plan.conversations.len() * plan.senders {
            let sender = Sender {
                number,
                conversation: plan.conversations[number % plan.conversations.len()].clone(),
                plan: plan.clone(),
                // Its own turn through the servers.
                api: api.at((0..api.servers()).map(|i| api.base(number + i)).collect()),
                ledger: Arc::clone(ledger),
                tally: Arc::clone(&tally),
                mode: watched.clone(),
                rng: SmallRng::seed_from_u64(plan.seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            };
            tasks.spawn(sender.run());
        }
        Self { tally, mode, tasks }
    }

    /// The count so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally.lock().clone()
    }

    /// Nothing new is sent until [`resume`](Self::resume); what is under way is finished.
    pub fn pause(&self) {
        self.mode.send_replace(Mode::Paused);
    }

    /// On with it.
    pub fn resume(&self) {
        self.mode.send_replace(Mode::Going);
    }

    /// Ends when all have sent what they had to, or, without a number of messages, never.
    pub async fn done(mut self) -> Tally {
        while self.tasks.join_next().await.is_some() {}
        self.tally()
    }

    /// No new messages; each sender goes on with its last one until that is acknowledged.
    pub async fn stop(self) -> Tally {
        self.mode.send_replace(Mode::Ended);
        self.done().await
    }
}

/// How long one message is tried. Longer than any fault of a torture.
const PATIENCE: Duration = Duration::from_secs(90);

impl Sender {
    async fn run(mut self) {
        for number in 1..=self.plan.messages.unwrap_or(usize::MAX) {
            let _ = self.mode.wait_for(|mode| *mode != Mode::Paused).await;
            if *self.mode.borrow() == Mode::Ended {
                return;
            }
            if !self.send(number).await {
                return;
            }
            let pause = self.rng.random_range(self.plan.pause_ms.clone());
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// One message until it is acknowledged; `false` = something is wrong, and this sender has nothing more to say.
    async fn send(&mut self, number: usize) -> bool {
        let name = format!("{} s{} n{number}", self.plan.name, self.number);
        let tool = if self.rng.random_bool(self.plan.tools) {
            format!("\n#tool:archival_memory_insert {{\"content\": \"{}\"}}", fact_of(&name))
        } else {
            String::new()
        };
        let text = format!("{name}{tool}\n#say:{}", answer_to(&name));
        let key = format!("key {name}");
        let waits = self.rng.random_bool(self.plan.waits);
        let (began, sent_at) = (Instant::now(), self.ledger.moment());
        let mut pause = Duration::from_millis(20);
        loop {
            let tried = Instant::now();
            let sent = if waits {
                self.api.ask(&self.conversation, &text, &key).await.map(|(run, reply)| (run.id.clone(), Some((run, reply))))
            } else {
                self.api.say(&self.conversation, &text, &key).await.map(|run| (run, None))
            };
            match sent {
                Ok((run, answer)) => {
                    let conversation = self.conversation.clone();
                    let entry = Entry { conversation, text, run: Some(run), sent: sent_at, acknowledged: 0 };
                    self.ledger.add(entry).await;
                    let mut tally = self.tally.lock();
                    tally.accepted += 1;
                    tally.last = Some(Instant::now());
                    let Some((run, reply)) = answer else {
                        tally.accept_ms.push(tried.elapsed().as_secs_f64() * 1e3);
                        return true;
                    };
                    tally.answer_ms.push(began.elapsed().as_secs_f64() * 1e3);
                    if run.status == "completed" && reply != answer_to(&name) {
                        tally.wrong.push(format!("{name} was answered with `{reply}` by {}", run.id));
                    }
                    return true;
                }
                Err(failure) => {
                    let mut tally = self.tally.lock();
                    *tally.failures.entry(failure.kind()).or_default() += 1;
                    if !failure.is_retryable() || began.elapsed() > PATIENCE {
                        tally.wrong.push(format!("{name}: {failure}"));
                        return false;
                    }
                    // Ordinary clients keep to `Retry-After`; these are in a hurry, because a torture measures when service is back.
                    if let Failure::Refused { .. } = failure {
                        pause = pause.max(Duration::from_millis(50));
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }
}

/// What the scripted model says to the message of this name: an answer to any other message is seen.
#[must_use]
pub fn answer_to(name: &str) -> String {
    format!("heard {name}")
}

/// What the agent writes down when the message of this name has it call a tool.
#[must_use]
pub fn fact_of(name: &str) -> String {
    format!("fact of {name}")
}
