//! Figures of the embedded store: durable turns under load, searches, and a turn after a long history.
//!
//! `cargo run --release -p sid-store-sqlite --example store_bench [-- turns] [search] [history [messages]]`; without words: `turns search`.
//! Prints medians, p99 and CPU (user + system, this process, from `/proc`). The data folder is temporary, under `TMPDIR`.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sid_store::{
    Accept, Chunk, Commit, Directory, Effect, EmbeddingIndex, GenerationId, Lease, MemorySearch, NewConversation, NewVectors, OnBusy,
    QueryVector, RecallStore, RecordId, SearchQuery, StateStore,
};
use sid_store_sqlite::{SqliteConfig, SqliteStore};
use sid_types::{
    AgentId, AgentSpec, ConversationId, EventBody, KeyId, NewMessage, OperatorScope, Priority, RunId, RunLimits, Scope, Step, StepId,
    StopReason, SystemClock, Timestamp, Usage, User, UserId, WorkerId,
};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const CONVERSATIONS: usize = 64;
const TURNS: usize = 100;
const DIMENSIONS: usize = 384;

#[tokio::main]
async fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let asked = |word: &str| words.iter().any(|w| w == word) || (words.is_empty() && word != "history");
    if asked("turns") {
        turns(false).await?;
        turns(true).await?;
    }
    if asked("search") {
        for size in [10_000, 100_000] {
            searches(size).await?;
        }
    }
    if asked("history") {
        let messages = words.iter().find_map(|w| w.parse().ok()).unwrap_or(1_000_000);
        history(messages).await?;
    }
    Ok(())
}

fn tell(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// CPU seconds of this process; 0 where there is no `/proc`.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

fn shape(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99))
}

struct Home {
    scope: Scope,
    agent: AgentId,
    user: UserId,
}

impl Home {
    async fn build(store: &SqliteStore) -> Outcome<Self> {
        let tenant = store.create_tenant(&OperatorScope::grant(), "bench").await?;
        let scope = OperatorScope::grant().enter(tenant.id, KeyId::new());
        let created_at = Timestamp::now();
        let user =
            User { id: UserId::new(), handle: "ann".into(), display_name: "Ann".into(), timezone: None, quiet_hours: None, created_at };
        let user = store.create_user(&scope, user).await?.id;
        let agent = store.create_agent(&scope, AgentId::new(), AgentSpec::new("sid", "scripted"), Vec::new()).await?.id;
        Ok(Self { scope, agent, user })
    }

    async fn conversation(&self, store: &SqliteStore) -> Outcome<ConversationId> {
        let new = NewConversation { agent: self.agent, user: Some(self.user), key: None };
        Ok(store.open_conversation(&self.scope, ConversationId::new(), new).await?.0.id)
    }
}

/// Small deterministic numbers.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Twenty of 30,000 words, few of them frequent and many rare, as in speech (Zipf's law).
    fn text(&mut self) -> String {
        let mut word = || {
            let share = (self.next() % 1_000_000) as f64 / 1e6;
            format!("w{}", 30_000_f64.powf(share) as u64)
        };
        (0..20).map(|_| word()).collect::<Vec<_>>().join(" ")
    }

    fn vector(&mut self) -> Vec<f32> {
        let v: Vec<f32> = (0..DIMENSIONS).map(|_| (self.next() % 2_000) as f32 / 1_000.0 - 1.0).collect();
        let norm = v.iter().map(|x| x * x).sum::<f32>().sqrt();
        v.into_iter().map(|x| x / norm).collect()
    }
}

async fn accept(store: &SqliteStore, home: &Home, conversation: ConversationId, text: String) -> Outcome<Lease> {
    let accept = Accept {
        run: RunId::new(),
        conversation,
        messages: vec![NewMessage::user(text, Timestamp::now())],
        idempotency: None,
        limits: RunLimits::default(),
        priority: Priority::User,
        client_tools: Vec::new(),
        only_after: None,
        on_busy: OnBusy::Queue,
        queue_depth: 256,
        claim_for: Some((WorkerId::new(), Duration::from_secs(15))),
    };
    Ok(store.accept(&home.scope, accept).await?.lease.ok_or("the conversation is busy")?)
}

async fn finish(store: &SqliteStore, lease: &Lease, text: String) -> Outcome {
    let at = Timestamp::now();
    let usage = Usage::default();
    let step = Step {
        id: StepId::new(),
        run: lease.run,
        number: 1,
        usage,
        rung: "native".into(),
        first_token_ms: 1,
        total_ms: 2,
        tail: Some("the time is noon".into()),
        queue: (1, 2),
        recalled: Vec::new(),
        at,
    };
    let effects = vec![
        Effect::Append(vec![NewMessage::assistant(text, at)]),
        Effect::RecordStep(Box::new(step)),
        Effect::Events(vec![EventBody::Started { epoch: 1 }, EventBody::Step { number: 1, usage, rung: "native".into() }]),
        Effect::Finish { reason: StopReason::EndTurn, error: None },
    ];
    store.commit(lease, Commit { number: 1, effects }).await?;
    Ok(())
}

async fn turns(with_load: bool) -> Outcome {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(SqliteConfig::new(folder.path()), Arc::new(SystemClock)).await?;
    let home = Arc::new(Home::build(&store).await?);
    let mut tasks = Vec::new();
    let (begun, cpu_before) = (Instant::now(), cpu());
    for i in 0..CONVERSATIONS {
        let (store, home) = (store.clone(), Arc::clone(&home));
        tasks.push(tokio::spawn(async move {
            let conversation = home.conversation(&store).await?;
            let (mut dice, mut times) = (Dice(i as u64), [Vec::new(), Vec::new(), Vec::new()]);
            for _ in 0..TURNS {
                let (said, answered) = (dice.text(), dice.text());
                let at = Instant::now();
                let lease = accept(&store, &home, conversation, said).await?;
                times[0].push(at.elapsed());
                let at = Instant::now();
                if with_load {
                    // Nothing is paged out here: the queue grows to 200 messages.
                    store.load(&lease).await?;
                }
                times[1].push(at.elapsed());
                let at = Instant::now();
                finish(&store, &lease, answered).await?;
                times[2].push(at.elapsed());
            }
            Outcome::Ok(times)
        }));
    }
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    for task in tasks {
        for (all, times) in all.iter_mut().zip(task.await??) {
            all.extend(times);
        }
    }
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu() - cpu_before);
    let count = (CONVERSATIONS * TURNS) as f64;
    tell(&format!(
        "{CONVERSATIONS} conversations at once, durable, {}: {:.0} turns/s, {:.2} ms CPU per turn",
        if with_load { "accept + load + finish" } else { "accept + finish" },
        count / wall,
        cpu * 1e3 / count
    ));
    for (name, times) in ["accept", "load", "finish"].into_iter().zip(all) {
        tell(&format!("  {name}: {}", shape(times)));
    }
    if !with_load {
        return Ok(());
    }
    let conversation = home.conversation(&store).await?;
    let (mut dice, mut times, cpu_before) = (Dice(7), Vec::new(), self::cpu());
    for _ in 0..200 {
        let at = Instant::now();
        let lease = accept(&store, &home, conversation, dice.text()).await?;
        finish(&store, &lease, dice.text()).await?;
        times.push(at.elapsed());
    }
    let cpu = (self::cpu() - cpu_before) * 1e3 / 200.0;
    tell(&format!("one conversation alone, accept + finish: {}, {cpu:.2} ms CPU", shape(times)));
    store.close().await;
    let at = Instant::now();
    let store = SqliteStore::open(SqliteConfig::new(folder.path()), Arc::new(SystemClock)).await?;
    tell(&format!("open: {:.1} ms", at.elapsed().as_secs_f64() * 1e3));
    store.close().await;
    Ok(())
}

async fn import(store: &SqliteStore, home: &Home, conversation: ConversationId, count: usize) -> Outcome {
    let (mut dice, begun) = (Dice(1), Instant::now());
    let mut left = count;
    while left > 0 {
        let batch = left.min(1_000);
        let messages: Vec<NewMessage> = (0..batch).map(|_| NewMessage::user(dice.text(), Timestamp::now())).collect();
        store.append(&home.scope, conversation, messages).await?;
        left -= batch;
    }
    tell(&format!("{count} messages imported in {:.1} s", begun.elapsed().as_secs_f64()));
    Ok(())
}

async fn embed(store: &SqliteStore, generation: &GenerationId) -> Outcome {
    let (mut dice, begun, mut count) = (Dice(2), Instant::now(), 0);
    loop {
        let jobs = store.pending(generation, 500).await?;
        if jobs.is_empty() {
            break;
        }
        count += jobs.len();
        let vector = |dice: &mut Dice, record: RecordId, scope: Scope| NewVectors {
            scope,
            record,
            chunks: vec![Chunk { start: 0, end: 1, vector: dice.vector() }],
        };
        store.put_vectors(generation, jobs.into_iter().map(|j| vector(&mut dice, j.record, j.scope)).collect()).await?;
    }
    tell(&format!("{count} vectors stored in {:.1} s", begun.elapsed().as_secs_f64()));
    Ok(())
}

async fn searches(size: usize) -> Outcome {
    let folder = tempfile::tempdir()?;
    let config = SqliteConfig { synchronous_full: false, ..SqliteConfig::new(folder.path()) };
    let store = SqliteStore::open(config.clone(), Arc::new(SystemClock)).await?;
    let home = Home::build(&store).await?;
    let conversation = home.conversation(&store).await?;
    let generation = GenerationId("bench/384".into());
    import(&store, &home, conversation, size).await?;
    embed(&store, &generation).await?;
    store.close().await;

    let store = SqliteStore::open(config, Arc::new(SystemClock)).await?;
    let turn = home.scope.turn(home.agent, Some(home.user));
    let mut dice = Dice(3);
    let mut query = |with_vector: bool| {
        let text: String = dice.text().split(' ').take(8).collect::<Vec<_>>().join(" ");
        let mut query = SearchQuery::new(text);
        query.vector = with_vector.then(|| QueryVector { generation: generation.clone(), values: dice.vector() });
        query
    };
    let at = Instant::now();
    let found = store.search(&turn, &query(true)).await?;
    let first = at.elapsed().as_secs_f64() * 1e3;
    tell(&format!("{size} memories, first search (cold): {first:.1} ms, {} candidates", found.items.len()));
    // Until it is in memory.
    tokio::time::sleep(Duration::from_secs((size / 20_000) as u64 + 1)).await;
    for with_vector in [true, false] {
        store.search(&turn, &query(with_vector)).await?;
        let mut times = Vec::new();
        for _ in 0..100 {
            let query = query(with_vector);
            let at = Instant::now();
            store.search(&turn, &query).await?;
            times.push(at.elapsed());
        }
        tell(&format!("{size} memories, {} search: {}", if with_vector { "hybrid" } else { "lexical" }, shape(times)));
    }
    store.close().await;
    Ok(())
}

async fn history(messages: usize) -> Outcome {
    let folder = tempfile::tempdir()?;
    let config = SqliteConfig { synchronous_full: false, ..SqliteConfig::new(folder.path()) };
    let store = SqliteStore::open(config, Arc::new(SystemClock)).await?;
    let home = Home::build(&store).await?;
    for count in [1_000, messages] {
        let conversation = home.conversation(&store).await?;
        import(&store, &home, conversation, count).await?;
        let (mut dice, mut times) = (Dice(4), Vec::new());
        for _ in 0..100 {
            let (said, answered) = (dice.text(), dice.text());
            let at = Instant::now();
            let lease = accept(&store, &home, conversation, said).await?;
            store.load(&lease).await?;
            finish(&store, &lease, answered).await?;
            times.push(at.elapsed());
        }
        tell(&format!("next turn after {count} messages: {}", shape(times)));
        let turn = home.scope.turn(home.agent, Some(home.user));
        let mut times = Vec::new();
        // A search that waits for the partition to come into memory is not what is measured.
        let loading = Instant::now();
        while {
            let at = Instant::now();
            store.search(&turn, &SearchQuery::new("w1")).await?;
            at.elapsed() > Duration::from_millis(100)
        } {}
        tell(&format!("  in memory after {:.1} s", loading.elapsed().as_secs_f64()));
        for _ in 0..100 {
            let at = Instant::now();
            // As many words as a question has.
            let text: String = dice.text().split(' ').take(8).collect::<Vec<_>>().join(" ");
            store.search(&turn, &SearchQuery::new(text)).await?;
            times.push(at.elapsed());
        }
        tell(&format!("  its search: {}", shape(times)));
    }
    store.close().await;
    Ok(())
}
