//! A bakery on the terminal, with an agent behind the counter: no server, a data folder, tools of its own, any OpenAI-compatible endpoint.
//!
//! `cargo run -p example-bakery -- http://127.0.0.1:8080 the-models-name ann`
#![allow(clippy::print_stdout, reason = "it talks to its reader")]

mod bakery;
mod household;

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sid_core::{Engine, EngineConfig, ModelEntry, Models, Submit};
use sid_llm::{ByteCounter, CalibratedCounter, EndpointGuard, ModelConfig, ModelExt as _, OpenAiConfig, RetryPolicy, Timeouts, discover};
use sid_store::EventLog as _;
use sid_store_sqlite::{SqliteConfig, SqliteStore};
use sid_tools::Toolbox as _;
use sid_types::{ConversationId, EventBody, NewMessage, Scope, SystemClock, Timestamp, Tokens};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().context("usage: example-bakery BASE_URL MODEL GUEST [CONVERSATION]");
    let (url, model, guest) = (argument()?, argument()?, argument()?);
    let name = argument().unwrap_or_else(|_| Timestamp::now().strftime("%F").to_string());

    let folder = PathBuf::from("bakery-data");
    let store = Arc::new(SqliteStore::open(SqliteConfig::new(&folder), Arc::new(SystemClock)).await?);
    let bakery = Arc::new(bakery::Bakery::open(folder.join("orders.json"))?);

    let mut builder = Engine::builder(store.clone(), models(url, model).await?, None, Arc::new(SystemClock), EngineConfig::default());
    builder = builder.tool(Arc::new(bakery::Price))?;
    for tool in bakery.tools() {
        builder = builder.tool(tool)?;
    }
    let engine = builder.build()?;
    engine.start();

    let scope = household::enter(&store).await?;
    let conversation = household::conversation(&store, &scope, &guest, &name).await?;
    let mut lines = std::io::stdin().lock().lines();
    loop {
        print!("{guest}> ");
        std::io::stdout().flush()?;
        let Some(line) = lines.next().transpose()?.filter(|l| !l.trim().is_empty()) else { break };
        turn(&engine, &store, &scope, conversation.id, line).await?;
    }
    engine.drain(Duration::from_secs(10)).await;
    Ok(())
}

/// Asks the endpoint what it can do, and puts the usual layers around it.
async fn models(url: String, model: String) -> Result<Models> {
    let endpoint = ModelConfig::OpenAi(OpenAiConfig::new(url, model));
    let profile = discover(&endpoint).await?;
    let chat = endpoint.connect(profile)?.standard(4, Timeouts::default(), RetryPolicy::default(), EndpointGuard::default());
    let counter = Arc::new(CalibratedCounter::new(ByteCounter));
    Ok(Models::new().with("default", ModelEntry { chat: Arc::new(chat), counter, fallback_window: Tokens(8_192), summarizer: None }))
}

/// One message, and the answer as it comes.
async fn turn(engine: &Engine, store: &SqliteStore, scope: &Scope, conversation: ConversationId, text: String) -> Result<()> {
    let messages = vec![NewMessage::user(text, Timestamp::now())];
    let submit = Submit::new(conversation, messages);
    let run = engine.submit(scope, submit).await?.run.id;
    let (mut after, mut pieces) = (0, String::new());
    loop {
        for event in store.follow(scope, run, after, Duration::from_secs(10)).await? {
            after = event.seq;
            match event.body {
                EventBody::TextDelta { text } => {
                    print!("{text}");
                    pieces += &text;
                }
                EventBody::ToolCall { call } => println!("  ({} {})", call.name, serde_json::Value::Object(call.arguments)),
                // What was said in whole; a quick answer comes without pieces.
                EventBody::Message { message } if message.body.role() == sid_types::Role::Assistant => {
                    let text = message.body.text();
                    if !text.is_empty() {
                        println!("{}", text.strip_prefix(&pieces).unwrap_or(text));
                    }
                    pieces.clear();
                }
                EventBody::Done { error: Some(error), .. } => {
                    println!("(no answer: {error})");
                    return Ok(());
                }
                EventBody::Done { .. } => return Ok(()),
                _ => {}
            }
            std::io::stdout().flush()?;
        }
    }
}
