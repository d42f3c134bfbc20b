//! Egos: put, changed by version, and whose they are; and who of the tenant's agents there is.

use sid_store::{MOST_EGO_BYTES, MOST_EGOS, MOST_MEMBERS, NewConversation, StoreError};
use sid_types::{AgentId, BlockTemplate, Body, ChainBudget, ConversationId, EgoMemory, EgoSpec, NewMessage, RunId, Sender, Timestamp};

use super::World;
use super::world::{Tenancy, assert_error};

fn spec(house: &Tenancy, text: &str) -> EgoSpec {
    let block = BlockTemplate { label: "case".into(), description: text.into(), value: String::new(), limit_chars: 100 };
    EgoSpec { spokesperson: house.agent.id, members: vec![house.other_agent.id], memory: EgoMemory::Shared, blocks: vec![block] }
}

/// What is put is read as it was, under its name; putting it again counts, dropping forgets it, and a new one begins anew.
pub async fn egos_are_kept_as_they_were_put(w: World) {
    let (s, scope) = (&*w.store, &w.ours.scope);
    let odd = spec(&w.ours, "\u{0} \u{fffd} ü 😀 \\u0000");
    let first = s.put_ego(scope, "office", odd.clone(), None).await.expect("put");
    assert_eq!((first.name.as_str(), &first.spec, first.version), ("office", &odd, 1));
    let other = EgoSpec { memory: EgoMemory::PerUser, ..spec(&w.ours, "x") };
    s.put_ego(scope, "a-b_C9", other.clone(), None).await.expect("put");
    w.wait(60);
    let again = s.put_ego(scope, "office", other.clone(), None).await.expect("put again");
    assert_eq!((again.version, again.created_at), (2, first.created_at));
    assert!(again.updated_at > first.updated_at);
    assert_eq!(s.ego(scope, "office").await.expect("there"), again);
    let names: Vec<String> = s.egos(scope).await.expect("listed").into_iter().map(|e| e.name).collect();
    assert_eq!(names, ["a-b_C9", "office"]);
    s.drop_ego(scope, "office", None).await.expect("dropped");
    assert_error!(s.ego(scope, "office").await, StoreError::NotFound { .. });
    assert_error!(s.drop_ego(scope, "office", None).await, StoreError::NotFound { .. });
    assert_eq!(s.put_ego(scope, "office", odd, Some(0)).await.expect("anew").version, 1);
}

/// Who has read another version than the one that is there changes nothing; of several at once one wins.
pub async fn egos_change_by_version(w: World) {
    let (s, scope) = (&*w.store, &w.ours.scope);
    let one = spec(&w.ours, "a");
    assert_error!(s.put_ego(scope, "e", one.clone(), Some(1)).await, StoreError::Conflict { expected: 1, found: 0 });
    s.put_ego(scope, "e", one.clone(), Some(0)).await.expect("made");
    assert_error!(s.put_ego(scope, "e", one.clone(), Some(0)).await, StoreError::Conflict { expected: 0, found: 1 });
    assert_error!(s.drop_ego(scope, "e", Some(2)).await, StoreError::Conflict { expected: 2, found: 1 });
    let written = futures::future::join_all((0..8).map(|_| s.put_ego(scope, "e", one.clone(), Some(1)))).await;
    assert_eq!(written.iter().filter(|r| r.is_ok()).count(), 1, "{written:?}");
    assert_eq!(s.ego(scope, "e").await.expect("there").version, 2);
    s.drop_ego(scope, "e", Some(2)).await.expect("dropped");
}

/// They are the tenant's: its people and turns read them and change nothing, other tenants have their own, of their own agents.
pub async fn egos_are_the_tenants(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let ours = spec(o, "ours");
    let put = s.put_ego(&o.scope, "e", ours.clone(), None).await.expect("put");
    for scope in [o.as_turn(&o.agent, Some(&o.ann)), o.as_user(&o.ann)] {
        assert_eq!(s.egos(&scope).await.expect("listed"), std::slice::from_ref(&put));
        assert_eq!(s.ego(&scope, "e").await.expect("there"), put);
        assert_error!(s.put_ego(&scope, "e", ours.clone(), None).await, StoreError::NotFound { .. });
        assert_error!(s.drop_ego(&scope, "e", None).await, StoreError::NotFound { .. });
    }
    let theirs = &w.theirs.scope;
    assert!(s.egos(theirs).await.expect("listed").is_empty());
    assert_error!(s.ego(theirs, "e").await, StoreError::NotFound { .. });
    assert_error!(s.drop_ego(theirs, "e", None).await, StoreError::NotFound { .. });
    assert_error!(s.put_ego(theirs, "e", ours, None).await, StoreError::NotFound { what: "agent" });
    s.put_ego(theirs, "e", spec(&w.theirs, "theirs"), Some(0)).await.expect("their own");
    assert_eq!(s.ego(&o.scope, "e").await.expect("there"), put);
}

/// Names, sizes and numbers have limits, which are told.
pub async fn egos_have_limits(w: World) {
    let (s, scope) = (&*w.store, &w.ours.scope);
    let one = spec(&w.ours, "x");
    for name in ["", "a b", "ü", "a:b", &"x".repeat(65)] {
        assert_error!(s.put_ego(scope, name, one.clone(), None).await, StoreError::Invalid(_));
    }
    let wrong = [
        EgoSpec { members: vec![], ..one.clone() },
        EgoSpec { members: vec![one.spokesperson], ..one.clone() },
        EgoSpec { members: vec![one.members[0]; 2], ..one.clone() },
        EgoSpec { members: (0..=MOST_MEMBERS).map(|_| AgentId::new()).collect(), ..one.clone() },
        EgoSpec { blocks: vec![one.blocks[0].clone(), one.blocks[0].clone()], ..one.clone() },
    ];
    for wrong in wrong {
        assert_error!(s.put_ego(scope, "e", wrong, None).await, StoreError::Invalid(_));
    }
    let stranger = EgoSpec { members: vec![AgentId::new()], ..one.clone() };
    assert_error!(s.put_ego(scope, "e", stranger, None).await, StoreError::NotFound { what: "agent" });
    let mut large = one.clone();
    large.blocks[0].description = "x".repeat(usize::try_from(MOST_EGO_BYTES).expect("small"));
    assert_error!(s.put_ego(scope, "e", large, None).await, StoreError::TooLarge { .. });
    for i in 0..MOST_EGOS {
        s.put_ego(scope, &format!("e{i}"), one.clone(), None).await.expect("put");
    }
    assert_error!(s.put_ego(scope, "more", one.clone(), None).await, StoreError::Invalid(_));
    s.put_ego(scope, "e0", one.clone(), None).await.expect("what is there may change");
    s.drop_ego(scope, "e1", None).await.expect("dropped");
    s.put_ego(scope, "more", one, None).await.expect("there is room");
}

/// Everybody in a tenant is told of all its agents, by name, and of no others.
pub async fn the_roster_is_the_tenants(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let all = s.roster(&o.scope).await.expect("a roster");
    let names: Vec<&str> = all.iter().map(|a| a.spec.name.as_str()).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert!([&o.agent, &o.other_agent].iter().all(|there| all.iter().any(|a| a.id == there.id)), "{names:?}");
    for scope in [o.as_turn(&o.agent, Some(&o.ann)), o.as_user(&o.ann)] {
        assert_eq!(s.roster(&scope).await.expect("a roster"), all);
    }
    let theirs = s.roster(&w.theirs.scope).await.expect("a roster");
    assert!(!theirs.is_empty() && theirs.iter().all(|a| all.iter().all(|ours| ours.id != a.id)));
}

/// A message that an agent wrote to another one is read with all that it carries.
pub async fn a_message_keeps_its_sender(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let new = NewConversation { agent: o.agent.id, user: Some(o.ann.id), key: Some("from:elsewhere".into()) };
    let conversation = s.open_conversation(&o.scope, ConversationId::new(), new).await.expect("opened").0.id;
    let sender = Sender {
        agent: AgentId::new(),
        name: "ü \u{0} desk".into(),
        conversation: ConversationId::new(),
        origin: RunId::new(),
        depth: 3,
        asks: true,
        ego: Some("office".into()),
        left: ChainBudget { messages: 7, tokens: u64::from(u32::MAX) + 9 },
    };
    let mut message = NewMessage::of(Body::Note { text: "a word".into() }, Timestamp::UNIX_EPOCH);
    message.sender = Some(Box::new(sender.clone()));
    s.append(&o.scope, conversation, vec![message.clone()]).await.expect("appended");
    let read = s.message(&o.scope, message.id).await.expect("there");
    assert_eq!(read.sender.as_deref(), Some(&sender));
    let page = s.page(&o.scope, conversation, None, sid_store::Order::Ascending, 10).await.expect("a page");
    assert_eq!(page[0].sender.as_deref(), Some(&sender));
}
