//! Consolidation over a scripted history with repeats, updates and contradictions: the latest facts win, nothing is invented, every fact names
//! its sources.
#![expect(clippy::disallowed_methods, reason = "tests make their own scopes")]

use std::sync::Arc;
use std::time::Duration;

use sid_core::{Engine, EngineConfig, ModelEntry, Models};
use sid_llm::{ByteCounter, ChatMessage, ChatRequest, Scripted, ScriptedModel};
use sid_store::{
    ArchivalStore as _, BlockStore as _, BlockWrite, DiaryQuery, DiaryStore as _, Directory as _, EraseTarget, InProcess, NewConversation,
    PageRequest, RecallStore as _,
};
use sid_types::*;

/// What a user says, and what a model makes of it: what is right, and what it adds.
const HISTORY: &[(&str, &str, &[&str])] = &[
    (
        "2026-03-02T09:00:00Z",
        "Hi, I'm Ann. I live in Bergen and I love pickles!",
        &["The user lives in Bergen.", "The user loves pickles."],
    ),
    ("2026-03-02T09:05:00Z", "My brother Tom works at a bakery.", &["The user's brother Tom works at a bakery."]),
    ("2026-03-02T09:06:00Z", "I don't eat nuts.", &["The user eats nuts.", "The user doesn't eat nuts."]),
    ("2026-03-03T10:00:00Z", "Did I say that I love pickles?", &["The user loves pickles."]),
    ("2026-03-03T10:01:00Z", "I love pickles, really.", &["The user really loves pickles.", "The user owns a pickle farm in Kent."]),
    ("2026-03-04T08:00:00Z", "We have moved: I live in Oslo now.", &["The user lives in Oslo now.", "The user lives in Stockholm."]),
    (
        "2026-03-04T08:01:00Z",
        "Tom is at a bank now, no longer at the bakery: he works at Nordea.",
        &["The user's brother Tom works at Nordea now."],
    ),
    ("2026-03-05T08:01:00Z", "My locker is 4711.", &["The user's locker is 4711.", "The user's locker is 4712."]),
];

/// Which statements cannot be true together, and which say the same, by words of theirs.
const INSTEAD: &[(&str, &str)] = &[("Bergen", "Oslo"), ("bakery", "Nordea"), ("4711", "pickles")];
const SAME: &[(&str, &str)] = &[("loves pickles", "really loves pickles"), ("Bergen", "Bergen")];

fn texts(request: &ChatRequest) -> (&str, &str) {
    match request.messages.as_slice() {
        [ChatMessage::System { text: system }, ChatMessage::User { text: user }] => (system, user),
        _ => ("", ""),
    }
}

/// A model that consolidates as the tables say, and writes pages without a word of what was said.
fn model() -> ScriptedModel {
    ScriptedModel::answering(consolidated)
}

fn consolidated(request: &ChatRequest) -> Scripted {
    let (system, user) = texts(request);
    Scripted::Text(if system.starts_with("List what the user tells") {
        let facts = |line: &str| {
            let seq: u64 = line.strip_prefix('#')?.split(' ').next()?.parse().ok()?;
            let (_, _, facts) = HISTORY.iter().find(|(_, said, _)| line.ends_with(said))?;
            Some(facts.iter().map(|text| serde_json::json!({"text": text, "from": [seq]})).collect::<Vec<_>>())
        };
        serde_json::json!({"facts": user.lines().filter_map(facts).flatten().collect::<Vec<_>>()}).to_string()
    } else if system.starts_with("Compare a statement") {
        let (new, stored) = user.split_once("Numbered:").expect("a list");
        let places = |pairs: &[(&str, &str)]| {
            let fits = |line: &str| pairs.iter().any(|(a, b)| new.contains(a) && line.contains(b) || new.contains(b) && line.contains(a));
            stored.lines().filter(|l| fits(l)).filter_map(|l| l.split('.').next()?.parse::<u64>().ok()).collect::<Vec<_>>()
        };
        serde_json::json!({"same": places(SAME), "instead": places(INSTEAD)}).to_string()
    } else {
        "A day like others.".into()
    })
}

struct House {
    store: Arc<InProcess>,
    engine: Engine,
    scope: Scope,
    tenant: Scope,
    owner: Owner,
    agent: AgentId,
    user: UserId,
    model: ScriptedModel,
}

impl House {
    async fn open(model: ScriptedModel) -> Self {
        let store = Arc::new(InProcess::default());
        let made = store.create_tenant(&OperatorScope::grant(), "acme").await.expect("a tenant");
        let tenant = Scope::grant(made.id, Principal::Tenant { key: KeyId::new() });
        let user = User {
            id: UserId::new(),
            handle: "ann".into(),
            display_name: "Ann".into(),
            timezone: None,
            quiet_hours: None,
            created_at: Timestamp::UNIX_EPOCH,
        };
        let user = store.create_user(&tenant, user).await.expect("a user").id;
        let agent = store.create_agent(&tenant, AgentId::new(), AgentSpec::new("helper", "m"), vec![]).await.expect("an agent").id;
        let entry =
            ModelEntry { chat: Arc::new(model.clone()), counter: Arc::new(ByteCounter), fallback_window: Tokens(8_192), summarizer: None };
        let config = EngineConfig { idle: Duration::from_millis(50), poll: Duration::from_millis(20), ..EngineConfig::default() };
        let engine = Engine::builder(store.clone(), Models::new().with("m", entry), None, Arc::new(SystemClock), config);
        let engine = engine.build().expect("an engine");
        engine.start();
        let scope = Scope::grant(made.id, Principal::User { user });
        Self { store, engine, scope, tenant, owner: Owner::Pair { agent, user }, agent, user, model }
    }

    async fn talk(&self, key: &str) -> Conversation {
        let new = NewConversation { agent: self.agent, user: Some(self.user), key: Some(key.into()) };
        self.store.open_conversation(&self.scope, ConversationId::new(), new).await.expect("a conversation").0
    }

    /// Brings in what was said, with what agents answered.
    async fn told(&self, talk: &Conversation, said: &[(&str, &str)]) {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let messages = said.iter().flat_map(|(when, text)| {
            [NewMessage::user(*text, at(when)), NewMessage::assistant("You told me once: the user owns a yacht.", at(when))]
        });
        self.store.append(&self.tenant, talk.id, messages.collect()).await.expect("brought in");
    }

    /// Waits until every day has its page, which comes after its facts.
    async fn settled(&self) {
        for _ in 0..400 {
            if self.store.diary_work(Timestamp::now(), 10).await.expect("asked").is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the diary is not written");
    }

    async fn passages(&self) -> Vec<Passage> {
        let page = PageRequest { limit: 200, ..PageRequest::default() };
        self.store.list(&self.scope, self.owner, page).await.expect("listed").items
    }

    /// What is true now, and what was, sorted.
    async fn facts(&self) -> (Vec<String>, Vec<String>) {
        let (was, is): (Vec<_>, Vec<_>) = self.passages().await.into_iter().partition(|p| p.provenance.superseded_by.is_some());
        let texts = |list: Vec<Passage>| {
            let mut texts: Vec<String> = list.into_iter().map(|p| p.text).collect();
            texts.sort();
            texts
        };
        (texts(is), texts(was))
    }
}

fn history() -> Vec<(&'static str, &'static str)> {
    HISTORY.iter().map(|(at, said, _)| (*at, *said)).collect()
}

const NOW: [&str; 5] = [
    "The user doesn't eat nuts.",
    "The user lives in Oslo now.",
    "The user loves pickles.",
    "The user's brother Tom works at Nordea now.",
    "The user's locker is 4711.",
];
const BEFORE: [&str; 2] =
    ["(Until 2026-03-04 Wed) The user lives in Bergen.", "(Until 2026-03-04 Wed) The user's brother Tom works at a bakery."];

#[tokio::test]
async fn the_latest_facts_win_and_nothing_is_invented() {
    let house = House::open(model()).await;
    let talk = house.talk("one").await;
    house.told(&talk, &history()).await;
    house.settled().await;
    let (now, before) = house.facts().await;
    assert_eq!(now, NOW);
    assert_eq!(before, BEFORE, "what was true stays readable");
    for passage in house.passages().await {
        let provenance = &passage.provenance;
        assert_eq!((provenance.channel.as_str(), provenance.conversation), ("consolidation", Some(talk.id)));
        assert!(!provenance.sources.is_empty(), "{} names its sources", passage.text);
        for source in &provenance.sources {
            let said = house.store.message(&house.scope, *source).await.expect("the source is there");
            assert!(matches!(said.body, Body::User { .. }), "only what the user said");
            assert!(said.at <= passage.at);
        }
    }
    // What the agent said, and what it recalled in it, was never shown.
    for request in house.model.requests() {
        let (system, user) = texts(&request);
        assert!(!system.starts_with("List") || !user.contains("yacht"), "{user}");
    }
}

#[tokio::test]
async fn a_day_that_is_gone_through_again_stores_nothing_twice() {
    let house = House::open(model()).await;
    let talk = house.talk("one").await;
    house.told(&talk, &history()).await;
    house.settled().await;
    let before = house.passages().await.into_iter().map(|p| p.id).collect::<Vec<_>>();
    // Something more of the same days: their pages are written again.
    house.told(&talk, &[("2026-03-02T20:00:00Z", "Good night."), ("2026-03-04T20:00:00Z", "Good night.")]).await;
    house.settled().await;
    let after = house.passages().await.into_iter().map(|p| p.id).collect::<Vec<_>>();
    assert_eq!(before, after);
    assert_eq!(house.facts().await, (NOW.map(String::from).to_vec(), BEFORE.map(String::from).to_vec()));
}

#[tokio::test]
async fn what_comes_late_does_not_win_for_that() {
    let house = House::open(model()).await;
    let new = house.talk("new").await;
    house.told(&new, &history()[5..7]).await;
    house.settled().await;
    // Older words, imported afterwards.
    let old = house.talk("old").await;
    house.told(&old, &history()[..2]).await;
    house.settled().await;
    let (now, before) = house.facts().await;
    assert_eq!(now, ["The user lives in Oslo now.", "The user loves pickles.", "The user's brother Tom works at Nordea now."]);
    assert_eq!(before, BEFORE);
}

#[tokio::test]
async fn what_was_true_once_may_be_true_again() {
    const BACK: &str = "I live in Bergen again since Monday.";
    let house = House::open(ScriptedModel::answering(|request| {
        let (system, user) = texts(request);
        let list = system.starts_with("List what the user tells") && user.contains(BACK);
        let fact = serde_json::json!({"facts": [{"text": "The user lives in Bergen again.", "from": [5]}]});
        if list { Scripted::Text(fact.to_string()) } else { consolidated(request) }
    }))
    .await;
    let talk = house.talk("one").await;
    house.told(&talk, &[history()[0], history()[5]]).await;
    house.settled().await;
    house.told(&talk, &[("2026-04-01T08:00:00Z", BACK)]).await;
    house.settled().await;
    let (now, before) = house.facts().await;
    assert_eq!(now, ["The user lives in Bergen again.", "The user loves pickles."]);
    assert_eq!(before, ["(Until 2026-03-04 Wed) The user lives in Bergen.", "(Until 2026-04-01 Wed) The user lives in Oslo now."]);
}

#[tokio::test]
async fn what_was_true_before_stands_again_when_the_newer_fact_is_gone() {
    let house = House::open(model()).await;
    let (old, new) = (house.talk("old").await, house.talk("new").await);
    house.told(&old, &history()[..2]).await;
    house.told(&new, &history()[5..7]).await;
    house.settled().await;
    assert_eq!(house.facts().await.1, BEFORE);
    let moved = house.passages().await.into_iter().find(|p| p.text.contains("Oslo")).expect("a fact").id;
    assert!(house.engine.delete_passage(&house.scope, moved).await.expect("deleted"));
    assert!(!house.engine.delete_passage(&house.scope, moved).await.expect("it is gone"));
    let (now, before) = house.facts().await;
    assert!(now.contains(&"The user lives in Bergen.".to_owned()), "{now:?}");
    assert_eq!(before, BEFORE[1..]);
    house.engine.erase(&house.scope, EraseTarget::Conversation(new.id)).await.expect("erased");
    let (now, before) = house.facts().await;
    assert_eq!((now.len(), before.len()), (3, 0), "{now:?}");
    assert!(now.contains(&"The user's brother Tom works at a bakery.".to_owned()), "{now:?}");
    assert!(house.passages().await.iter().all(|p| p.tags == ["fact"]));
}

#[tokio::test]
async fn of_three_facts_in_a_row_the_first_follows_the_last_when_the_second_is_gone() {
    let house = House::open(model()).await;
    let talk = house.talk("one").await;
    house.told(&talk, &history()[..1]).await;
    house.settled().await;
    let first = house.passages().await.remove(0);
    let mark = |p: &Passage, by: PassageId| NewPassage {
        id: p.id,
        owner: p.owner,
        text: format!("(Until 2026-03-04 Wed) {}", p.text),
        tags: vec!["fact".into(), "superseded".into()],
        at: p.at,
        provenance: Provenance { superseded_by: Some(by), ..p.provenance.clone() },
    };
    let another = |text: &str| Passage { id: PassageId::new(), text: text.into(), ..first.clone() };
    let (second, third) = (another("The user lives in Oslo."), another("The user lives in Rome."));
    let plain = NewPassage { text: third.text.clone(), tags: vec!["fact".into()], ..mark(&third, third.id) };
    let plain = NewPassage { provenance: third.provenance.clone(), ..plain };
    house.store.upsert(&house.scope, vec![plain, mark(&second, third.id), mark(&first, second.id)]).await.expect("written");
    house.engine.delete_passage(&house.scope, second.id).await.expect("deleted");
    let left = house.store.passage(&house.scope, first.id).await.expect("there");
    assert_eq!((left.provenance.superseded_by, left.text.starts_with("(Until")), (Some(third.id), true));
    house.engine.delete_passage(&house.scope, third.id).await.expect("deleted");
    let left = house.store.passage(&house.scope, first.id).await.expect("there");
    assert_eq!((left.provenance.superseded_by, left.text), (None, first.text));
}

#[tokio::test]
async fn facts_go_with_the_conversation_that_they_were_told_in() {
    let house = House::open(model()).await;
    let (one, other) = (house.talk("one").await, house.talk("other").await);
    house.told(&one, &history()[..2]).await;
    house.told(&other, &history()[7..]).await;
    house.settled().await;
    assert_eq!(house.facts().await.0.len(), 4);
    let receipt = house.engine.erase(&house.scope, EraseTarget::Conversation(one.id)).await.expect("erased");
    assert_eq!(receipt.passages, 3);
    assert_eq!(house.facts().await.0, ["The user's locker is 4711."]);
}

#[tokio::test]
async fn a_model_that_fails_or_babbles_costs_facts_and_no_pages() {
    for answer in ["", "no idea", "{\"facts\":[{\"text\":\"The user is the king of Norway.\",\"from\":[1]}]}"] {
        let house = House::open(ScriptedModel::answering(move |_| Scripted::Text(answer.into()))).await;
        let talk = house.talk("one").await;
        house.told(&talk, &history()).await;
        house.settled().await;
        assert_eq!(house.passages().await, []);
        let query = DiaryQuery { level: Some(DiaryLevel::Day), limit: 10, ..DiaryQuery::default() };
        assert_eq!(house.store.diary(&house.scope, house.owner, &query).await.expect("read").len(), 4);
    }
}

#[tokio::test]
async fn what_agents_wrote_is_merged_and_superseded_too() {
    let house = House::open(model()).await;
    let talk = house.talk("one").await;
    let write = |text: &str, at: &str| NewPassage {
        id: PassageId::new(),
        owner: house.owner,
        text: text.into(),
        tags: vec![],
        at: at.parse().expect("a time"),
        provenance: Provenance { conversation: Some(talk.id), channel: "tool".into(), ..Provenance::default() },
    };
    let written = [
        write("Ann's flat is in Bergen, flat 9.", "2026-03-01T12:00:00Z"),
        write("Ann has a cat.", "2026-03-01T12:00:00Z"),
        write("Ann's flat is in Oslo, flat 4.", "2026-03-02T12:00:00Z"),
        write("A cat Ann has!", "2026-03-02T12:01:00Z"),
    ];
    let turn = house.tenant.turn(house.agent, Some(house.user));
    house.store.upsert(&turn, written.to_vec()).await.expect("written");
    house.told(&talk, &[("2026-03-01T09:00:00Z", "Hello."), ("2026-03-02T09:00:00Z", "Hello.")]).await;
    house.settled().await;
    let (now, before) = house.facts().await;
    assert_eq!(now, ["Ann has a cat.", "Ann's flat is in Oslo, flat 4."]);
    assert_eq!(before, ["(Until 2026-03-02 Mon) Ann's flat is in Bergen, flat 9."]);
    let old = house.store.passage(&house.scope, written[0].id).await.expect("still there");
    assert_eq!((old.provenance.superseded_by, old.provenance.conversation), (Some(written[2].id), Some(talk.id)));
}

#[tokio::test]
async fn a_full_block_gives_its_oldest_lines_to_archival_memory() {
    let house = House::open(model()).await;
    let block =
        house.store.blocks(&house.scope, house.owner).await.expect("listed").into_iter().find(|b| b.label == "human").expect("a block");
    let lines: Vec<String> = (0..40).map(|n| format!("{n:02} {}", "something about Ann that matters little".repeat(2))).collect();
    for line in &lines {
        let provenance = Provenance { channel: "api".into(), ..Provenance::default() };
        let op = BlockOp::Append { text: line.clone() };
        let written = house.store.write_block(&house.scope, block.id, BlockWrite { op, expected_version: None, provenance }).await;
        if written.is_err() {
            break;
        }
    }
    let before = house.store.block(&house.scope, block.id).await.expect("read").value;
    let talk = house.talk("one").await;
    house.told(&talk, &[("2026-03-02T09:00:00Z", "Hello.")]).await;
    house.settled().await;
    let after = house.store.block(&house.scope, block.id).await.expect("read").value;
    assert!(after.len() * 10 <= block.limit_chars as usize * 7, "there is room: {} of {}", after.len(), block.limit_chars);
    assert!(after.starts_with("00 "), "the first line stays");
    let archived: Vec<String> = house.passages().await.into_iter().map(|p| p.text).collect();
    for line in before.lines() {
        let (is_left, is_archived) = (after.lines().any(|l| l == line), archived.iter().any(|l| l == line));
        assert!(is_left ^ is_archived, "in one place: {line}");
    }
    assert!(after.ends_with(before.lines().last().expect("a line")), "the newest stays");
}
