//! An agent inside a binary of one's own: no server, a data folder, a tool, and any OpenAI-compatible endpoint.
//!
//! `cargo run -p sid-core --example own_binary -- http://127.0.0.1:8080 the-models-name`
//!
//! It remembers what it was told in `own_binary_data`, across restarts. An empty line ends it.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use sid_core::{Engine, EngineConfig, ModelEntry, Models, Submit};
use sid_llm::{ByteCounter, CalibratedCounter, EndpointGuard, ModelConfig, ModelExt as _, OpenAiConfig, RetryPolicy, Timeouts, discover};
use sid_store::{Directory as _, NewConversation, Order, RecallStore as _};
use sid_store_sqlite::{SqliteConfig, SqliteStore};
use sid_tools::{EffectClass, Tool, ToolContext, ToolOutcome};
use sid_types::{
    AgentId, AgentSpec, BlockTemplate, ConversationId, KeyId, NewMessage, OperatorScope, Role, Scope, SystemClock, Timestamp, Tokens,
    ToolSpec, User, UserId,
};

/// A function of the application, for the agent to call.
struct OrderSandwich;

#[async_trait]
impl Tool for OrderSandwich {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "order_sandwich".into(),
            description: "Orders a sandwich with these toppings.".into(),
            parameters: json!({
                "type": "object",
                "properties": {"toppings": {"type": "array", "items": {"type": "string"}}},
                "required": ["toppings"]
            }),
        }
    }

    fn effect(&self) -> EffectClass {
        // It costs money: after a crash in the middle of it, it is not called again unasked.
        EffectClass::External { idempotent: false }
    }

    async fn call(&self, _: &ToolContext, arguments: Map<String, Value>) -> ToolOutcome {
        println!("  (the kitchen gets an order: {})", Value::Object(arguments));
        ToolOutcome::text("Ordered. It takes ten minutes.")
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("which model? own_binary BASE_URL MODEL".into());
    };

    // The model: ask the endpoint what it can do, and put the usual layers around it.
    let endpoint = ModelConfig::OpenAi(OpenAiConfig::new(url, name));
    let profile = discover(&endpoint).await?;
    let chat = endpoint.connect(profile)?.standard(4, Timeouts::default(), RetryPolicy::default(), EndpointGuard::default());
    let counter = Arc::new(CalibratedCounter::new(ByteCounter));
    let entry = ModelEntry { chat: Arc::new(chat), counter, fallback_window: Tokens(8_192), summarizer: None };

    // The store and the engine.
    let store = Arc::new(SqliteStore::open(SqliteConfig::new("own_binary_data"), Arc::new(SystemClock)).await?);
    let models = Models::new().with("default", entry);
    let engine = Engine::builder(store.clone(), models, None, Arc::new(SystemClock), EngineConfig::default())
        .tool(Arc::new(OrderSandwich))?
        .build()?;
    engine.start();

    let (scope, agent, user) = household(&store).await?;
    let new = NewConversation { agent, user: Some(user), key: Some("kitchen table".into()) };
    let (conversation, _) = store.open_conversation(&scope, ConversationId::new(), new).await?;

    let mut lines = std::io::stdin().lock().lines();
    loop {
        print!("> ");
        std::io::stdout().flush()?;
        let Some(line) = lines.next().transpose()?.filter(|l| !l.trim().is_empty()) else { break };
        let messages = vec![NewMessage::user(line, Timestamp::now())];
        let submit = Submit::new(conversation.id, messages);
        let run = engine.submit(&scope, submit).await?.run;
        let run = engine.wait(&scope, run.id, Duration::from_secs(120)).await?;
        let last = store.page(&scope, conversation.id, None, Order::Descending, 1).await?;
        match last.first().filter(|m| m.body.role() == Role::Assistant) {
            Some(answer) => println!("{}", answer.body.text()),
            None => println!("(no answer: {:?} {})", run.stop_reason, run.error.unwrap_or_default()),
        }
    }
    engine.drain(Duration::from_secs(10)).await;
    Ok(())
}

/// One tenant with one agent and one person; made at the first start, found again at the next.
async fn household(store: &SqliteStore) -> Result<(Scope, AgentId, UserId), Box<dyn Error>> {
    let operator = OperatorScope::grant();
    let tenant = match store.tenants(&operator).await?.into_iter().next() {
        Some(tenant) => tenant,
        None => store.create_tenant(&operator, "home").await?,
    };
    let scope = operator.enter(tenant.id, KeyId::new());
    let agent = match store.agent_by_name(&scope, "waiter").await {
        Ok(agent) => agent.id,
        Err(_) => {
            let mut spec = AgentSpec::new("waiter", "default");
            spec.instructions = "You run a sandwich bar. Be brief.".into();
            let human = BlockTemplate {
                label: "human".into(),
                description: "What is known of the guest.".into(),
                value: String::new(),
                limit_chars: 2_000,
            };
            spec.blocks = vec![human];
            store.create_agent(&scope, AgentId::new(), spec, Vec::new()).await?.id
        }
    };
    let user = match store.user_by_handle(&scope, "me").await {
        Ok(user) => user.id,
        Err(_) => {
            let me = User {
                id: UserId::new(),
                handle: "me".into(),
                display_name: "Me".into(),
                timezone: None,
                quiet_hours: None,
                created_at: Timestamp::now(),
            };
            store.create_user(&scope, me).await?.id
        }
    };
    Ok((scope, agent, user))
}
