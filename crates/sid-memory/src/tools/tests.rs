use std::sync::Arc;

use jiff::civil::date;
use serde_json::{Map, Value, json};
use sid_llm::{ByteCounter, TokenCounter as _};
use sid_store::{ArchivalStore as _, DiaryStore as _, Directory as _, InProcess, NewConversation, RecallStore as _, Store};
use sid_tools::{EffectClass, Registry, ToolContext, ToolOutcome};
use sid_types::{
    AgentId, AgentSpec, Block, BlockAccess, BlockId, BlockOp, ConversationId, DiaryEntry, DiaryLevel, KeyId, NewMessage, NewPassage,
    OperatorScope, Owner, PassageId, Principal, Provenance, RunId, Scope, Seq, SummaryId, Tenant, Timestamp, Tokens, User, UserId,
};

use super::register_memory_tools;
use crate::{Budget, count_bytes, fit_specs, spec_tokens};

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// An agent with two users in an in-process store.
struct World {
    store: Arc<InProcess>,
    tools: Registry,
    tenant: Scope,
    agent: AgentId,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "tests make their own scopes")]
    async fn new() -> Self {
        let store = Arc::new(InProcess::default());
        let operator = OperatorScope::grant();
        let Tenant { id, .. } = store.create_tenant(&operator, "acme").await.expect("a tenant");
        let tenant = Scope::grant(id, Principal::Tenant { key: KeyId::new() });
        let agent = AgentId::new();
        store.create_agent(&tenant, agent, AgentSpec::new("helper", "m"), Vec::new()).await.expect("an agent");
        let mut tools = Registry::new();
        register_memory_tools(&mut tools, store.clone() as Arc<dyn Store>, None).expect("they register");
        Self { store, tools, tenant, agent }
    }

    /// A user who has said these texts, a day after the other from 2025-03-03 on, and the context of a turn with that user.
    async fn user(&self, handle: &str, texts: &[&str]) -> ToolContext {
        let user = User {
            id: UserId::new(),
            handle: handle.into(),
            display_name: handle.into(),
            timezone: None,
            quiet_hours: None,
            created_at: at("2025-03-01T00:00:00Z"),
        };
        let user = self.store.create_user(&self.tenant, user).await.expect("a user").id;
        let new = NewConversation { agent: self.agent, user: Some(user), key: None };
        let (conversation, _) = self.store.open_conversation(&self.tenant, ConversationId::new(), new).await.expect("a conversation");
        let said = |n: usize| at("2025-03-03T09:00:00Z") + jiff::SignedDuration::from_hours(24 * n as i64);
        let messages = texts.iter().enumerate().map(|(n, text)| NewMessage::user(*text, said(n))).collect();
        self.store.append(&self.tenant, conversation.id, messages).await.expect("imported");
        ToolContext {
            scope: self.tenant.turn(self.agent, Some(user)),
            conversation: conversation.id,
            run: RunId::new(),
            token: PassageId::new().uuid(),
            now: at("2025-04-01T12:00:00Z"),
            timezone: "UTC".into(),
            blocks: vec![block(self.agent, user, "human", "Likes tea.\nLives in Leeds.", BlockAccess::Write)],
            queue_start: Seq(texts.len() as u64 + 1),
            result_budget: Tokens(200),
            untrusted: Vec::new(),
        }
    }

    async fn call(&self, context: &ToolContext, name: &str, arguments: Value) -> ToolOutcome {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        self.tools.dispatch(name, arguments, context).await
    }
}

fn block(agent: AgentId, user: UserId, label: &str, value: &str, access: BlockAccess) -> Block {
    Block {
        id: BlockId::new(),
        owner: Owner::Pair { agent, user },
        label: label.into(),
        description: "about".into(),
        value: value.into(),
        limit_chars: 60,
        access,
        version: 3,
        updated_at: at("2025-03-01T00:00:00Z"),
    }
}

fn size(outcome: &ToolOutcome) -> Tokens {
    ByteCounter.count(&outcome.text)
}

#[tokio::test]
async fn specifications_are_small_and_fit_small_windows() {
    let world = World::new().await;
    let specs = world.tools.specs(None);
    assert_eq!(specs.len(), 6);
    let bytes = specs.iter().map(|s| serde_json::to_string(s).expect("json").len()).sum::<usize>();
    assert!(bytes < 1_900, "{bytes} bytes");
    let all: Tokens = specs.iter().map(|s| spec_tokens(s, &count_bytes)).sum();
    assert!(all <= Tokens(480), "{all} tokens as an engine gets them");
    let names = |window: u32| -> Vec<String> {
        fit_specs(specs.clone(), Budget::for_window(Tokens(window)).tools, &count_bytes).iter().map(|s| s.name.clone()).collect()
    };
    assert_eq!(names(2_400).len(), 6, "{all}");
    assert!(names(1_600).len() >= 4, "{:?}", names(1_600));
    assert_eq!(names(800), ["conversation_search", "core_memory_append"]);
    for spec in &specs {
        let effect = world.tools.effect(&spec.name).expect("it is there");
        assert!(matches!(effect, EffectClass::Read | EffectClass::Memory), "{} is {effect:?}", spec.name);
    }
}

#[tokio::test]
async fn conversation_search_finds_cites_and_pages() {
    let world = World::new().await;
    let context = world.user("ann", &["My dog is called Bolt.", "The weather is fine.", "I bought a boat."]).await;
    let found = world.call(&context, "conversation_search", json!({"query": "dog"})).await;
    // The message after it is found by its context, so it may follow.
    assert_eq!(found.text.lines().next(), Some("[2025-03-03 Mon] user: My dog is called Bolt."));
    assert_eq!(found.quotes.len(), found.text.lines().count());
    assert!(!found.is_error && !found.text.contains("boat"));

    let nothing = world.call(&context, "conversation_search", json!({"query": "zebra"})).await;
    assert!(nothing.text.starts_with("Nothing was found") && !nothing.is_error, "{}", nothing.text);
    let empty = world.call(&context, "conversation_search", json!({"query": " "})).await;
    assert!(empty.is_error);

    // What is in the prompt is left out.
    let in_prompt = ToolContext { queue_start: Seq(1), ..context.clone() };
    let found = world.call(&in_prompt, "conversation_search", json!({"query": "dog"})).await;
    assert!(found.text.starts_with("Nothing was found"), "{}", found.text);
}

#[tokio::test]
async fn results_of_any_number_fit_any_budget() {
    let world = World::new().await;
    let texts: Vec<String> = (0..40).map(|n| format!("boat number {n} {}", "and so on ".repeat(n))).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let context = world.user("ann", &texts).await;
    for budget in [24, 60, 200, 900] {
        let context = ToolContext { result_budget: Tokens(budget), ..context.clone() };
        let mut quoted = std::collections::BTreeSet::new();
        for page in 1..=60 {
            let found = world.call(&context, "conversation_search", json!({"query": "boat", "page": page})).await;
            assert!(size(&found) <= Tokens(budget), "page {page}: {} of {budget}", size(&found));
            if found.quotes.is_empty() {
                assert!(found.text.starts_with("There are only"), "{}", found.text);
                break;
            }
            if budget >= 60 {
                assert!(found.text.contains(&format!("page {page} of ")), "{}", found.text);
            }
            for id in found.quotes {
                assert!(quoted.insert(id), "a message is on two pages");
            }
        }
        assert_eq!(quoted.len(), 40, "with a budget of {budget}");
    }
}

#[tokio::test]
async fn a_long_message_is_read_page_by_page() {
    let world = World::new().await;
    let long: String = (0..2_000).map(|n| format!("w{n} ")).collect();
    let context = world.user("ann", &["short", &long]).await;
    let mut read = String::new();
    for page in 1..200 {
        let found = world.call(&context, "conversation_search", json!({"query": "#2", "page": page})).await;
        assert!(size(&found) <= context.result_budget);
        if found.quotes.is_empty() {
            assert!(found.text.contains("has only"), "{}", found.text);
            break;
        }
        assert_eq!(found.quotes.len(), 1);
        let body = found.text.strip_prefix("[2025-03-04 Tue] user: ").expect("the head");
        let body = body.split(" (page ").next().expect("before the mark");
        read.push_str(body);
        read.push(' ');
    }
    assert_eq!(read, long, "nothing is lost between pages");

    let both = world.call(&context, "conversation_search", json!({"query": "#1-#2"})).await;
    assert!(both.text.contains("user: short") && both.text.contains("(whole: \"#2\")"), "{}", both.text);
    let none = world.call(&context, "conversation_search", json!({"query": "#99"})).await;
    assert!(none.is_error);
}

#[tokio::test]
async fn no_argument_opens_another_users_memory() {
    let world = World::new().await;
    let ann = world.user("ann", &["My safe code is 4711."]).await;
    let bob = world.user("bob", &["Hello there."]).await;
    let owner = Owner::of_conversation(world.agent, ann.scope.user());
    let passage = NewPassage {
        id: PassageId::new(),
        owner,
        text: "Ann's safe code is 4711.".into(),
        tags: Vec::new(),
        at: ann.now,
        provenance: Provenance::default(),
    };
    world.store.upsert(&world.tenant, vec![passage]).await.expect("stored");
    let entry = page_of(owner, DiaryLevel::Day, date(2025, 3, 3), "Ann told her safe code 4711.");
    world.store.put_diary(&world.tenant, entry).await.expect("stored");

    let stolen = ann.scope.user().expect("a user").to_string();
    for (name, query) in [
        ("conversation_search", json!({"query": "safe code 4711"})),
        ("conversation_search", json!({"query": "#1"})),
        ("archival_memory_search", json!({"query": "safe code 4711"})),
        ("diary_read", json!({"from": "2025-03-03"})),
        ("diary_read", json!({"from": "2025-03-03", "level": "messages"})),
        ("diary_read", json!({})),
    ] {
        let mut arguments: Map<String, Value> = query.as_object().cloned().expect("an object");
        for key in ["user_id", "user", "owner", "conversation", "scope"] {
            arguments.insert(key.into(), Value::String(stolen.clone()));
        }
        let found = world.call(&bob, name, Value::Object(arguments.clone())).await;
        assert!(!found.text.contains("4711"), "{name} leaks: {}", found.text);
        let own = world.call(&ann, name, Value::Object(arguments)).await;
        assert!(own.text.contains("4711"), "{name} finds nothing for its owner: {}", own.text);
    }
}

#[tokio::test]
async fn inserting_is_an_effect_for_the_pair() {
    let world = World::new().await;
    let context = world.user("ann", &["hi"]).await;
    let stored = world.call(&context, "archival_memory_insert", json!({"content": " Ann rows. ", "tags": "sport"})).await;
    assert_eq!((stored.text.as_str(), stored.is_error, stored.passages.len()), ("Stored.", false, 1));
    let passage = &stored.passages[0];
    assert_eq!((passage.text.as_str(), passage.tags.as_slice(), passage.at), ("Ann rows.", ["sport".to_owned()].as_slice(), context.now));
    assert_eq!(passage.owner, Owner::of_conversation(world.agent, context.scope.user()));
    assert_eq!(passage.provenance.conversation, Some(context.conversation));
    let again = world.call(&context, "archival_memory_insert", json!({"content": "Ann rows.", "tags": ["sport"]})).await;
    assert_eq!(again.passages[0].id, passage.id, "the same call stores the same passage");
    assert!(world.call(&context, "archival_memory_insert", json!({"content": " "})).await.is_error);
    let too_long = world.call(&context, "archival_memory_insert", json!({"content": "x".repeat(9_000)})).await;
    assert!(too_long.is_error && too_long.text.contains("smaller parts") && too_long.passages.is_empty());
}

#[tokio::test]
async fn block_edits_and_their_mistakes() {
    let world = World::new().await;
    let mut context = world.user("ann", &["hi"]).await;
    let user = context.scope.user().expect("a user");
    context.blocks.push(block(world.agent, user, "policy", "No refunds.", BlockAccess::Read));
    let id = context.blocks[0].id;
    let check = async |name: &str, arguments: Value, expected: Result<BlockOp, &str>| {
        let outcome = world.call(&context, name, arguments.clone()).await;
        assert!(size(&outcome) <= context.result_budget);
        match expected {
            Ok(op) => assert_eq!((outcome.is_error, outcome.block_edits), (false, vec![(id, op, 3)]), "{arguments}: {}", outcome.text),
            Err(words) => {
                assert!(outcome.text.contains(words), "{arguments}: {}", outcome.text);
                assert!(outcome.block_edits.is_empty(), "{arguments}");
            }
        }
    };
    let append = |text: &str| BlockOp::Append { text: text.into() };
    let replace = |old: &str, new: &str| BlockOp::Replace { old: old.into(), new: new.into() };
    check("core_memory_append", json!({"label": "human", "content": "Has a dog."}), Ok(append("Has a dog."))).await;
    check("core_memory_append", json!({"label": "Human", "content": "Has a dog.\n"}), Ok(append("Has a dog."))).await;
    check("core_memory_append", json!({"label": "human", "content": "Likes tea."}), Err("says so already")).await;
    check("core_memory_append", json!({"label": "humans", "content": "x"}), Err("human (26 of 60 characters used)")).await;
    check("core_memory_append", json!({"label": "policy", "content": "x"}), Err("read-only")).await;
    check("core_memory_append", json!({"label": "human", "content": ""}), Err("empty")).await;
    check("core_memory_append", json!({"label": "human", "content": "y".repeat(40)}), Err("would have 67 of 60")).await;
    check("core_memory_append", json!({"label": "human", "content": "y".repeat(40)}), Err("Lives in Leeds.")).await;
    let args = |old: &str, new: &str| json!({"label": "human", "old_content": old, "new_content": new});
    check("core_memory_replace", args("Leeds", "York"), Ok(replace("Leeds", "York"))).await;
    check("core_memory_replace", args("lives in leeds.", ""), Ok(replace("Lives in Leeds.", ""))).await;
    check("core_memory_replace", args("Paris", "York"), Err("Likes tea.")).await;
    check("core_memory_replace", args("", "York"), Err("empty")).await;
    check("core_memory_replace", args("Leeds", &"z".repeat(99)), Err("of 60 characters")).await;
    check("core_memory_replace", json!({"label": "human"}), Err("Bad arguments")).await;
}

fn page_of(owner: Owner, level: DiaryLevel, start: jiff::civil::Date, text: &str) -> DiaryEntry {
    DiaryEntry {
        id: SummaryId::new(),
        owner,
        level,
        start,
        text: text.into(),
        messages: Vec::new(),
        is_floor: false,
        untrusted: Vec::new(),
        written_at: at("2025-04-01T00:00:00Z"),
    }
}

#[tokio::test]
async fn the_diary_drills_down() {
    let world = World::new().await;
    let context = world.user("ann", &["I planted roses.", "It rained."]).await;
    let owner = Owner::of_conversation(world.agent, context.scope.user());
    for entry in [
        page_of(owner, DiaryLevel::Day, date(2025, 3, 3), "Ann planted roses."),
        page_of(owner, DiaryLevel::Week, date(2025, 3, 3), "A week of gardening."),
        page_of(owner, DiaryLevel::Month, date(2025, 3, 1), "A month outdoors."),
        page_of(owner, DiaryLevel::Month, date(2025, 2, 1), "A cold month."),
    ] {
        world.store.put_diary(&world.tenant, entry).await.expect("stored");
    }
    let read = async |arguments: Value| world.call(&context, "diary_read", arguments).await.text;
    assert_eq!(read(json!({"from": "2025-03-03", "level": "day"})).await, "2025-03-03 Mon: Ann planted roses.");
    assert_eq!(read(json!({"from": "2025-03-05", "level": "week"})).await, "week of 2025-03-03: A week of gardening.");
    assert_eq!(read(json!({"from": "2025-03", "level": "month"})).await, "2025-03: A month outdoors.");
    assert_eq!(read(json!({"from": "2025-03-03", "level": "messages"})).await, "[2025-03-03 Mon 09:00] user: I planted roses.");
    // A day without a page shows what was said; the newest pages without a date; nothing, said so.
    assert_eq!(read(json!({"from": "2025-03-04"})).await, "[2025-03-04 Tue 09:00] user: It rained.");
    let newest = read(json!({})).await;
    assert!(newest.starts_with("2025-03-03 Mon: Ann planted roses."), "{newest}");
    assert!(newest.contains("2025-02: A cold month."), "{newest}");
    assert_eq!(read(json!({"from": "2024-01-01"})).await, "The diary has nothing about 2024-01-01.");
    assert!(read(json!({"from": "last week"})).await.contains("2025-03-10"), "it says how a date is written");
}
