//! Documents: read in the background, opened and cited by agents, and text from outside whatever becomes of them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sid_core::{Bring, Engine, EngineConfig, Models};
use sid_store::{Directory as _, DocumentStore as _};
use sid_types::{Channel, Document, DocumentFormat, DocumentId, DocumentStatus, Message, Owner, Provenance, Role, Source, SystemClock};

use crate::support::{House, Say, Scripted};

const TOOLS: [&str; 3] = ["list_documents", "open_document", "search_documents"];

/// A house whose agent names the tools of documents.
async fn house(script: Vec<Say>) -> House {
    let house = House::open(Scripted::new(8_192, script)).await;
    let mut spec = house.agent.spec.clone();
    spec.tools = Some(TOOLS.map(str::to_owned).to_vec());
    house.store.update_agent(&house.tenant, house.agent.id, spec, vec![]).await.expect("changed");
    house
}

async fn bring(house: &House, engine: &Engine, title: &str, content: &[u8]) -> Document {
    let bring = Bring {
        id: DocumentId::new(),
        owner: Owner::User { user: house.user.id },
        title: title.into(),
        format: DocumentFormat::Markdown,
        origin: None,
        content: content.to_vec(),
        provenance: Provenance { user: Some(house.user.id), channel: "api".into(), ..Provenance::default() },
    };
    engine.library().bring(&house.scope, bring).await.expect("kept")
}

async fn read(house: &House, document: &Document) -> Document {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let known = house.store.document(&house.scope, document.id).await.expect("there");
        if known.status != DocumentStatus::Reading {
            return known;
        }
        assert!(tokio::time::Instant::now() < end, "it is read");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn told(house: &House) -> Vec<Message> {
    house.messages().await.into_iter().filter(|m| m.body.role() == Role::Tool).collect()
}

#[tokio::test]
async fn an_agent_opens_a_document_part_by_part_and_cites_it() {
    let house = house(vec![
        Say::Call("open_document", json!({"document": "handbook.md", "part": 2})),
        Say::Call("search_documents", json!({"query": "spare key", "document": "Handbook.md"})),
        Say::Text("Behind the mailbox."),
    ])
    .await;
    let text = "# Handbook\n\nBe kind.\n\n## Holidays\n\nThirty days.\n\n## Keys\n\nThe spare key hangs behind the mailbox.\n";
    let ready = read(&house, &bring(&house, &house.engine, "handbook.md", text.as_bytes()).await).await;
    assert_eq!((ready.status, ready.parts.map(|p| p.count)), (DocumentStatus::Ready, Some(3)));
    house.say("Where is the key?").await;
    let results = house.results().await;
    let [opened, found] = &results[..] else { panic!("{results:?}") };
    assert!(opened.contains("[handbook.md, Handbook > Holidays]") && opened.contains("Thirty days."), "{opened}");
    assert!(opened.contains("[handbook.md, Handbook > Keys]") && !opened.contains("Be kind."), "{opened}");
    assert!(found.contains("[handbook.md, Handbook > Keys]") && found.contains("mailbox"), "{found}");
    let source = Source::new(Channel::Import, "handbook.md");
    assert!(told(&house).await.iter().all(|m| source.is_among(&m.untrusted)), "both results are from outside");
}

#[tokio::test]
async fn what_is_said_of_a_document_that_cannot_be_read_is_from_outside_too() {
    let house = house(vec![Say::Call("open_document", json!({"document": "notes.md"})), Say::Text("I cannot.")]).await;
    let failed = read(&house, &bring(&house, &house.engine, "notes.md", b"\xff\xfe").await).await;
    assert_eq!(failed.status, DocumentStatus::Failed);
    house.say("What do my notes say?").await;
    let results = house.results().await;
    assert!(results[0].contains("UTF-8"), "the model learns what to do: {results:?}");
    let source = Source::new(Channel::Import, "notes.md");
    assert!(told(&house).await.iter().all(|m| source.is_among(&m.untrusted)));
}

#[tokio::test]
async fn another_replica_reads_what_this_one_has_kept() {
    let house = house(vec![]).await;
    house.engine.drain(Duration::from_secs(5)).await;
    let kept = bring(&house, &house.engine, "notes.md", b"The gherkin is green.").await;
    let other = Engine::new(house.store.clone(), Models::new(), None, Arc::new(SystemClock), EngineConfig::default());
    other.start();
    assert_eq!(read(&house, &kept).await.status, DocumentStatus::Ready);
}
