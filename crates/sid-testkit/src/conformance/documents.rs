//! Documents: kept with their bytes, read once, found by their parts, and whose they are.

use std::time::Duration;

use sid_store::{
    DOCUMENT_CHANNEL, DocumentFilter, EraseTarget, GenerationId, NewDocument, PageRequest, Reading, StoreError, UnreadDocument,
};
use sid_types::{
    Channel, Citation, ConversationId, Document, DocumentFormat, DocumentId, DocumentStatus, NewPassage, Owner, Place, Provenance, Scope,
    Source,
};

use super::world::{assert_error, provenance};
use super::{Tenancy, World};

const HOLD: Duration = Duration::from_secs(10);
const ALL: PageRequest = PageRequest { after: None, limit: 100 };
const MOST: u64 = 100;

const fn anns(o: &Tenancy) -> Owner {
    Owner::User { user: o.ann.id }
}

/// A document of this owner; its digest stands for its bytes.
fn document(owner: Owner, content: &str) -> NewDocument {
    NewDocument {
        id: DocumentId::new(),
        owner,
        title: "Handbook \u{0} \u{10FFFF}0 ü 😀".into(),
        format: DocumentFormat::Markdown,
        origin: None,
        digest: format!("digest of {content}"),
        content: content.as_bytes().to_vec(),
        provenance: provenance("api"),
    }
}

fn brought_in(new: NewDocument, conversation: ConversationId) -> NewDocument {
    NewDocument { provenance: Provenance { conversation: Some(conversation), ..new.provenance }, ..new }
}

/// What reading it gives: a part for each text.
fn read(w: &World, document: &Document, texts: &[&str]) -> Reading {
    let part = |(number, text): (u32, &&str)| {
        let place = Place { part: number, page: Some(number), ..Place::default() };
        let citation = Citation { document: document.id, title: document.title.clone(), place };
        NewPassage {
            id: Document::part_id(document.id, document.version, number),
            owner: document.owner,
            text: (*text).to_owned(),
            tags: vec![document.id.to_string()],
            at: w.now(),
            provenance: Provenance {
                channel: DOCUMENT_CHANNEL.into(),
                untrusted: vec![Source::new(Channel::Import, document.title.clone())],
                citation: Some(Box::new(citation)),
                ..document.provenance.clone()
            },
        }
    };
    Reading::Done { parts: (1..).zip(texts).map(part).collect(), pages: Some(2) }
}

async fn put(w: &World, scope: &Scope, new: NewDocument) -> Document {
    w.store.put_document(scope, new, MOST).await.expect("a document is kept")
}

async fn taken(w: &World, want: usize) -> Vec<UnreadDocument> {
    w.store.take_documents(want, HOLD).await.expect("a look")
}

/// Reads what waits longest, as the engine does.
async fn settle(w: &World, texts: &[&str]) -> Document {
    let unread = taken(w, 1).await.remove(0);
    let reading = read(w, &unread.document, texts);
    w.store.settle_document(&unread.scope, unread.document.id, unread.document.version, reading).await.expect("settled")
}

async fn seen(w: &World, scope: &Scope) -> Vec<DocumentId> {
    w.store.documents(scope, &DocumentFilter::default(), ALL).await.expect("a list").items.into_iter().map(|d| d.id).collect()
}

/// A document and its bytes are read back as they were put, and listed newest first, in pages.
pub async fn documents_are_kept_as_they_were_put(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let new = NewDocument { content: bytes.clone(), origin: Some("https://example.org/a".into()), ..document(anns(o), "a") };
    let made = put(&w, &o.scope, new.clone()).await;
    assert_eq!((made.id, made.owner, &made.title, made.size), (new.id, new.owner, &new.title, 100_000));
    assert_eq!((made.status, made.version, made.parts, &made.origin), (DocumentStatus::Reading, 1, None, &new.origin));
    assert_eq!(s.document(&o.scope, made.id).await.expect("there"), made);
    assert_eq!(s.document_content(&o.scope, made.id).await.expect("there"), bytes);
    w.wait(1);
    let second = put(&w, &o.scope, document(anns(o), "b")).await;
    w.wait(1);
    let third = put(&w, &o.scope, document(Owner::Tenant, "b")).await;
    let page = s.documents(&o.scope, &DocumentFilter::default(), PageRequest { after: None, limit: 2 }).await.expect("a page");
    assert_eq!(page.items, [third, second.clone()]);
    let rest = s.documents(&o.scope, &DocumentFilter::default(), PageRequest { after: page.next, limit: 2 }).await.expect("a page");
    assert_eq!((rest.items, rest.next), (vec![made.clone()], None));
    let own = s.documents(&o.scope, &DocumentFilter { owner: Some(anns(o)) }, ALL).await.expect("a list").items;
    assert_eq!(own, [second, made]);
    let bad = |change: fn(&mut NewDocument)| {
        let mut new = document(anns(o), "bad");
        change(&mut new);
        new
    };
    assert_error!(s.put_document(&o.scope, bad(|d| d.title = " ".into()), MOST).await, StoreError::Invalid(_));
    assert_error!(s.put_document(&o.scope, bad(|d| d.title = "x".repeat(201)), MOST).await, StoreError::Invalid(_));
    assert_error!(s.put_document(&o.scope, bad(|d| d.content.clear()), MOST).await, StoreError::Invalid(_));
}

/// The same bytes of the same owner are one document, however many bring them at once; of an owner there are only so many.
pub async fn the_same_bytes_are_one_document(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let at_once = (0..6).map(|_| s.put_document(&o.scope, document(anns(o), "a"), MOST));
    let ids: Vec<DocumentId> = futures::future::join_all(at_once).await.into_iter().map(|made| made.expect("kept").id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(seen(&w, &o.scope).await, [ids[0]]);
    let shared = put(&w, &o.scope, document(Owner::Tenant, "a")).await;
    assert_ne!(shared.id, ids[0], "another owner's");
    let talk = w.talk(&o.ann).await;
    let in_talk = put(&w, &o.scope, brought_in(document(anns(o), "a"), talk.id)).await;
    assert_ne!(in_talk.id, ids[0], "what goes with a conversation is another one");
    assert_error!(s.put_document(&o.scope, document(anns(o), "b"), 2).await, StoreError::Invalid(_));
    assert_eq!(s.put_document(&o.scope, document(anns(o), "a"), 2).await.expect("no new one").id, ids[0]);
    let other = NewDocument { id: ids[0], ..document(Owner::Tenant, "c") };
    assert_error!(s.put_document(&o.scope, other, MOST).await, StoreError::Exists { .. });
}

/// Who sees an owner's memory sees its documents, and who writes it changes them; for all others there are none.
pub async fn documents_are_seen_by_their_people(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let (ann, bob) = (w.ours.as_user(&o.ann), w.ours.as_user(&o.bob));
    let pair = put(&w, &ann, document(o.pair(), "pair")).await;
    w.wait(1);
    let own = put(&w, &ann, document(anns(o), "own")).await;
    w.wait(1);
    let shared = put(&w, &o.scope, document(Owner::Tenant, "all")).await;
    w.wait(1);
    let agents = put(&w, &o.scope, document(Owner::Agent { agent: o.agent.id }, "agent")).await;
    assert_eq!(seen(&w, &o.scope).await, [agents.id, shared.id, own.id, pair.id]);
    assert_eq!(seen(&w, &ann).await, [shared.id, own.id, pair.id]);
    assert_eq!(seen(&w, &bob).await, [shared.id]);
    let turn = |agent, user| o.scope.turn(agent, user);
    assert_eq!(seen(&w, &turn(o.agent.id, Some(o.ann.id))).await, [agents.id, shared.id, own.id, pair.id]);
    assert_eq!(seen(&w, &turn(o.other_agent.id, Some(o.ann.id))).await, [shared.id, own.id]);
    assert_eq!(seen(&w, &turn(o.agent.id, None)).await, [agents.id, shared.id]);
    assert!(seen(&w, &w.theirs.scope).await.is_empty());
    for stranger in [&bob, &w.theirs.scope, &turn(o.other_agent.id, Some(o.bob.id))] {
        assert_error!(s.document(stranger, own.id).await, StoreError::NotFound { what: "document" });
        assert_error!(s.document_content(stranger, own.id).await, StoreError::NotFound { what: "document" });
        assert_error!(s.drop_document(stranger, own.id).await, StoreError::NotFound { what: "document" });
        assert_error!(s.put_document(stranger, document(anns(o), "x"), MOST).await, StoreError::NotFound { .. });
    }
    // Reading is not writing.
    assert_error!(s.drop_document(&bob, shared.id).await, StoreError::NotFound { what: "document" });
    assert_error!(s.put_document(&bob, document(Owner::Tenant, "x"), MOST).await, StoreError::NotFound { .. });
    let as_turn = turn(o.agent.id, Some(o.ann.id));
    assert_error!(s.drop_document(&as_turn, own.id).await, StoreError::NotFound { what: "document" });
    s.drop_document(&as_turn, pair.id).await.expect("its own");
    s.drop_document(&ann, own.id).await.expect("her own");
    assert_eq!(seen(&w, &o.scope).await, [agents.id, shared.id]);
}

/// Documents in teams are seen by those who are in the team, through agents that may read it.
pub async fn documents_of_a_team_are_its_members(w: World) {
    let o = &w.ours;
    let shared = put(&w, &o.scope, document(Owner::Team { team: o.team.id }, "team")).await;
    for scope in [
        w.ours.as_user(&o.ann),
        w.ours.as_user(&o.bob),
        o.scope.turn(o.agent.id, Some(o.ann.id)),
        o.scope.turn(o.other_agent.id, Some(o.ann.id)),
    ] {
        let sees = w.store.document(&scope, shared.id).await.is_ok();
        assert_eq!(seen(&w, &scope).await.contains(&shared.id), sees, "a list shows what can be read: {scope:?}");
    }
}

/// What waits is taken once while it is held, longest waiting first, and again when nobody has settled it.
pub async fn unread_documents_are_taken_and_held(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    assert!(taken(&w, 9).await.is_empty());
    let first = put(&w, &o.scope, document(anns(o), "a")).await;
    w.wait(1);
    let second = put(&w, &o.scope, document(anns(o), "b")).await;
    let mut got = Vec::new();
    for batch in futures::future::join_all((0..4).map(|_| taken(&w, 1))).await {
        got.extend(batch.into_iter().map(|unread| unread.document.id));
    }
    got.sort();
    let mut both = [first.id, second.id];
    both.sort();
    assert_eq!(got, both, "each by one");
    w.wait(11);
    let again = taken(&w, 1).await.remove(0);
    assert_eq!((again.document.clone(), again.attempts), (first.clone(), 2));
    assert_eq!(s.document_content(&again.scope, first.id).await.expect("there"), b"a");
    let reading = Reading::Failed { problem: "it is no text".into() };
    let failed = s.settle_document(&again.scope, first.id, 1, reading).await.expect("settled");
    assert_eq!((failed.status, failed.problem.as_deref(), failed.parts), (DocumentStatus::Failed, Some("it is no text"), None));
    w.wait(60);
    assert_eq!(taken(&w, 9).await.iter().map(|u| u.document.id).collect::<Vec<_>>(), [second.id]);
}

/// A tenant with many documents does not keep another one waiting.
pub async fn tenants_take_turns_with_documents(w: World) {
    for n in 0..5 {
        put(&w, &w.ours.scope, document(Owner::Tenant, &n.to_string())).await;
    }
    w.wait(1);
    let theirs = put(&w, &w.theirs.scope, document(Owner::Tenant, "theirs")).await;
    let got = taken(&w, 2).await;
    assert!(got.iter().any(|unread| unread.document.id == theirs.id && unread.scope.tenant() == w.theirs.scope.tenant()));
}

/// What a document says is found when it was read, all of it at once, and never a mixture of two versions.
pub async fn a_document_is_found_when_it_was_read(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let new = document(anns(o), "a");
    let made = put(&w, &o.scope, new.clone()).await;
    assert!(w.find(&o.scope, "pickle").await.is_empty());
    let ready = settle(&w, &["pickle one", "pickle two"]).await;
    assert_eq!((ready.status, ready.parts.map(|p| (p.version, p.count, p.pages))), (DocumentStatus::Ready, Some((1, 2, Some(2)))));
    assert_eq!(s.document(&o.scope, made.id).await.expect("there"), ready);
    assert_eq!(w.find(&w.ours.as_user(&o.ann), "pickle").await, ["pickle one", "pickle two"]);
    assert!(w.find(&w.ours.as_user(&o.bob), "pickle").await.is_empty());
    assert_eq!(put(&w, &o.scope, new.clone()).await, ready, "the same again changes nothing");
    let ids: Vec<_> = ready.part_ids().collect();
    let part = s.passage(&o.scope, ids[1]).await.expect("a part is a passage");
    let citation = part.provenance.citation.expect("it knows its place");
    assert_eq!((citation.document, citation.place.page, part.provenance.untrusted.len()), (made.id, Some(2), 1));
    let generation = GenerationId("test/2".into());
    assert_eq!(w.embed_all(&generation, |_| vec![1.0, 0.0]).await, 2, "parts are embedded");

    // New bytes: what was read is found until they were, and a late reader of the old ones is told.
    let next = put(&w, &o.scope, NewDocument { digest: "new".into(), content: b"new".to_vec(), ..new.clone() }).await;
    assert_eq!((next.id, next.version, next.status, next.parts), (made.id, 2, DocumentStatus::Reading, ready.parts));
    assert_eq!(w.find(&o.scope, "pickle").await.len(), 2);
    let unread = taken(&w, 1).await.remove(0);
    let late = s.settle_document(&unread.scope, made.id, 1, read(&w, &made, &["pickle late"])).await;
    assert_error!(late, StoreError::Conflict { expected: 1, found: 2 });
    let mixed = s.settle_document(&unread.scope, made.id, 2, read(&w, &made, &["pickle late"])).await;
    assert_error!(mixed, StoreError::Invalid(_));
    assert_eq!(w.find(&o.scope, "pickle").await.len(), 2);
    s.settle_document(&unread.scope, made.id, 2, read(&w, &unread.document, &["pickle three"])).await.expect("settled");
    assert_eq!(w.find(&o.scope, "pickle").await, ["pickle three"]);
    assert_error!(s.passage(&o.scope, ids[0]).await, StoreError::NotFound { .. });

    // Bytes that cannot be read leave what could be.
    put(&w, &o.scope, NewDocument { digest: "bad".into(), content: b"bad".to_vec(), ..new.clone() }).await;
    let unread = taken(&w, 1).await.remove(0);
    let failed = s.settle_document(&unread.scope, made.id, 3, Reading::Failed { problem: "broken".into() }).await.expect("settled");
    assert_eq!((failed.status, failed.parts.map(|p| p.version)), (DocumentStatus::Failed, Some(2)));
    assert_eq!(w.find(&o.scope, "pickle").await, ["pickle three"]);
    // What could not be read is tried again when it is brought again, whatever its id.
    for id in [made.id, DocumentId::new()] {
        let again = put(&w, &o.scope, NewDocument { id, digest: "bad".into(), content: b"bad".to_vec(), ..new.clone() }).await;
        assert_eq!((again.id, again.status, again.problem.as_deref()), (made.id, DocumentStatus::Reading, None));
        let unread = taken(&w, 1).await.remove(0);
        assert_eq!((unread.attempts, unread.document.version), (1, again.version));
        let reading = Reading::Failed { problem: "broken".into() };
        s.settle_document(&unread.scope, made.id, again.version, reading).await.expect("settled");
    }
    let failed = s.document(&o.scope, made.id).await.expect("there");
    assert_eq!(w.find(&o.scope, "pickle").await, ["pickle three"]);
    assert_error!(
        s.settle_document(&w.ours.as_user(&o.ann), made.id, failed.version, read(&w, &failed, &["x"])).await,
        StoreError::NotFound { .. }
    );

    // New bytes at the moment in which parts of those before are put in place: none of these is left behind.
    for round in 0..10 {
        let version = |name: &str| NewDocument { id: made.id, ..document(anns(o), &format!("{name} {round}")) };
        put(&w, &o.scope, version("old")).await;
        let unread = taken(&w, 1).await.remove(0);
        let reading = read(&w, &unread.document, &["pickle old", "pickle older"]);
        let settled = s.settle_document(&unread.scope, made.id, unread.document.version, reading);
        let (settled, _) = futures::future::join(settled, put(&w, &o.scope, version("new"))).await;
        assert!(matches!(settled, Ok(_) | Err(StoreError::Conflict { .. })), "{settled:?}");
        // Whoever was refused may hold the document for a moment longer.
        let mut unread = taken(&w, 1).await;
        for _ in 0..500 {
            if unread.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                unread = taken(&w, 1).await;
            }
        }
        let unread = unread.remove(0);
        let reading = read(&w, &unread.document, &["pickle new"]);
        s.settle_document(&unread.scope, made.id, unread.document.version, reading).await.expect("settled");
        assert_eq!(w.find(&o.scope, "pickle").await, ["pickle new"]);
    }
}

/// What a document says goes with it, and its parts change in no other way.
pub async fn parts_go_with_their_document(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let made = put(&w, &o.scope, document(anns(o), "a")).await;
    let ready = settle(&w, &["pickle one", "pickle two"]).await;
    let part = ready.part_ids().next().expect("a part");
    assert_error!(s.delete(&o.scope, &[part]).await, StoreError::Invalid(_));
    let over = NewPassage { id: part, ..w.passage(anns(o), "forged") };
    assert_error!(s.upsert(&o.scope, vec![over]).await, StoreError::Invalid(_));
    let forged = NewPassage { provenance: provenance(DOCUMENT_CHANNEL), ..w.passage(anns(o), "forged") };
    assert_error!(s.upsert(&o.scope, vec![forged]).await, StoreError::Invalid(_));
    s.drop_document(&o.scope, made.id).await.expect("gone");
    assert!(w.find(&o.scope, "pickle").await.is_empty());
    assert!(s.list(&o.scope, anns(o), ALL).await.expect("a list").items.is_empty());
    assert_error!(s.document(&o.scope, made.id).await, StoreError::NotFound { .. });
    assert_error!(s.settle_document(&o.scope, made.id, 1, read(&w, &made, &["x"])).await, StoreError::NotFound { .. });
}

/// Documents go with their person, their agent and the conversation that they were brought in, and those of others stay.
pub async fn documents_go_with_their_people(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let (talk, other) = (w.talk(&o.ann).await, w.talk(&o.ann).await);
    let kept = async |new: NewDocument| {
        w.wait(1);
        let made = put(&w, &o.scope, new).await;
        settle(&w, &[&format!("pickle {}", made.digest)]).await.id
    };
    let first = kept(brought_in(document(o.pair(), "a"), talk.id)).await;
    let second = kept(brought_in(document(o.pair(), "b"), other.id)).await;
    let third = kept(document(anns(o), "c")).await;
    let shared = kept(document(Owner::Tenant, "d")).await;
    let agents = kept(document(Owner::Agent { agent: o.other_agent.id }, "e")).await;
    let bobs = kept(document(Owner::User { user: o.bob.id }, "f")).await;
    s.erase(&o.scope, EraseTarget::Conversation(talk.id)).await.expect("erased");
    assert_eq!(seen(&w, &o.scope).await, [bobs, agents, shared, third, second]);
    assert_error!(s.document_content(&o.scope, first).await, StoreError::NotFound { .. });
    s.erase(&o.scope, EraseTarget::User(o.ann.id)).await.expect("erased");
    assert_eq!(seen(&w, &o.scope).await, [bobs, agents, shared]);
    s.erase(&o.scope, EraseTarget::Agent(o.other_agent.id)).await.expect("erased");
    assert_eq!(seen(&w, &o.scope).await, [bobs, shared]);
    assert_eq!(w.find(&o.scope, "pickle").await, ["pickle digest of d", "pickle digest of f"]);
}
