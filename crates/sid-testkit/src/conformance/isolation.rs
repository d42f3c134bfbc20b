//! A foreign scope gets nothing, from any method, and cannot tell a foreign id from a random one.

use std::time::Duration;

use jiff::civil::date;
use sid_store::{BlockWrite, DiaryQuery, Effect, EraseTarget, NewBlock, NewConversation, Order, PageRequest, SearchQuery, StoreError};
use sid_types::{
    AgentId, BlockAccess, BlockId, BlockOp, Conversation, ConversationId, EventBody, Message, MessageId, NewMessage, Owner, PassageId,
    RunId, Scope, TeamId, TeamRole, UserId,
};

use super::World;
use super::world::provenance;

/// Ids of things of one conversation and its surroundings.
struct Ids {
    conversation: ConversationId,
    run: RunId,
    message: MessageId,
    passage: PassageId,
    block: BlockId,
    owner: Owner,
    agent: AgentId,
    user: UserId,
    team: TeamId,
}

impl Ids {
    fn random() -> Self {
        let (agent, user) = (AgentId::new(), UserId::new());
        Self {
            conversation: ConversationId::new(),
            run: RunId::new(),
            message: MessageId::new(),
            passage: PassageId::new(),
            block: BlockId::new(),
            owner: Owner::Pair { agent, user },
            agent,
            user,
            team: TeamId::new(),
        }
    }
}

/// Ann's talk with our agent, with something of everything.
async fn furnish(w: &World) -> (Conversation, Vec<Message>, Ids) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "my secret is rutabaga").await;
    w.store.append_events(&lease, vec![EventBody::TextDelta { text: "rutabaga".into() }]).await.expect("held");
    let effects = vec![Effect::Append(vec![NewMessage::assistant("rutabaga it is", w.now())])];
    w.commit(&lease, effects).await;
    w.commit(&lease, vec![super::world::finish(sid_types::StopReason::EndTurn)]).await;
    let passage = w.keep(&w.ours, w.ours.pair(), "rutabaga passage").await;
    let block = w.store.blocks(&w.ours.scope, w.ours.pair()).await.expect("visible")[0].id;
    let messages = w.messages(&talk).await;
    let (agent, user, team) = (w.ours.agent.id, w.ours.ann.id, w.ours.team.id);
    let (conversation, run, message) = (talk.id, lease.run, messages[0].id);
    (talk, messages, Ids { conversation, run, message, passage, block, owner: w.ours.pair(), agent, user, team })
}

/// What a method answered, in a form that can be compared: the error's text, or that it worked.
fn told<T>(result: Result<T, StoreError>) -> Result<(), String> {
    result.map(drop).map_err(|error| format!("{} {error}", error.code()))
}

/// Every method that is about one conversation, run, message, passage, block or owner.
async fn knock(w: &World, scope: &Scope, ids: &Ids) -> Vec<(&'static str, Result<(), String>)> {
    let s = &*w.store;
    let page = || PageRequest { after: None, limit: 10 };
    let talk = Conversation { id: ids.conversation, ..w.talk(&w.ours.ann).await };
    let query = DiaryQuery { level: None, from: None, to: None, limit: 10 };
    let write = BlockWrite { op: BlockOp::Set { value: "x".into() }, expected_version: None, provenance: provenance("api") };
    let block = NewBlock {
        id: BlockId::new(),
        owner: ids.owner,
        label: "knock".into(),
        description: String::new(),
        value: String::new(),
        limit_chars: 10,
        provenance: provenance("api"),
    };
    let generation = sid_store::GenerationId("test/a".into());
    vec![
        ("accept", told(s.accept(scope, w.stimulus(&talk, "knock")).await)),
        ("run", told(s.run(scope, ids.run).await)),
        ("runs", told(s.runs(scope, ids.conversation, 10).await)),
        ("steps", told(s.steps(scope, ids.run).await)),
        ("cancel", told(s.cancel(scope, ids.run).await)),
        ("waiting_messages", told(s.waiting_messages(scope, ids.run).await)),
        ("events", told(s.events(scope, ids.run, 0, 10).await)),
        ("follow", told(s.follow(scope, ids.run, 0, Duration::from_millis(1)).await)),
        ("append", told(s.append(scope, ids.conversation, vec![NewMessage::user("knock", w.now())]).await)),
        ("page", told(s.page(scope, ids.conversation, None, Order::Ascending, 10).await)),
        ("message", told(s.message(scope, ids.message).await)),
        ("upsert", told(s.upsert(scope, vec![w.passage(ids.owner, "knock")]).await)),
        ("list", told(s.list(scope, ids.owner, page()).await)),
        ("passage", told(s.passage(scope, ids.passage).await)),
        ("index_status", told(s.index_status(scope, &generation, Some(ids.owner)).await)),
        ("create_block", told(s.create_block(scope, block).await)),
        ("blocks", told(s.blocks(scope, ids.owner).await)),
        ("block", told(s.block(scope, ids.block).await)),
        ("write_block", told(s.write_block(scope, ids.block, write).await)),
        ("block_history", told(s.block_history(scope, ids.block, 10).await)),
        ("link_block", told(s.link_block(scope, ids.block, w.ours.agent.id, Some(BlockAccess::Read)).await)),
        ("diary", told(s.diary(scope, ids.owner, &query).await)),
        ("day_messages", told(s.day_messages(scope, ids.owner, date(2026, 3, 2)).await)),
        ("conversation", told(s.conversation(scope, ids.conversation).await)),
        ("erase conversation", told(s.erase(scope, EraseTarget::Conversation(ids.conversation)).await)),
    ]
}

/// The methods that are about users, teams and agents.
async fn knock_at_directory(w: &World, scope: &Scope, ids: &Ids) -> Vec<(&'static str, Result<(), String>)> {
    let s = &*w.store;
    let (id, new) = (ConversationId::new(), NewConversation { agent: ids.agent, user: Some(ids.user), key: None });
    let user = sid_types::User { id: ids.user, display_name: "knock".into(), ..w.ours.ann.clone() };
    vec![
        ("user", told(s.user(scope, ids.user).await)),
        ("update_user", told(s.update_user(scope, user).await)),
        ("team", told(s.team(scope, ids.team).await)),
        ("team_members", told(s.team_members(scope, ids.team).await)),
        ("user_teams", told(s.user_teams(scope, ids.user).await)),
        ("set_team_member", told(s.set_team_member(scope, ids.team, ids.user, Some(TeamRole::Member)).await)),
        ("agent", told(s.agent(scope, ids.agent).await)),
        ("update_agent", told(s.update_agent(scope, ids.agent, w.ours.agent.spec.clone(), vec![]).await)),
        ("open_conversation", told(s.open_conversation(scope, id, new).await)),
        ("erase user", told(s.erase(scope, EraseTarget::User(ids.user)).await)),
        ("erase agent", told(s.erase(scope, EraseTarget::Agent(ids.agent)).await)),
    ]
}

fn assert_closed(foreign: Vec<(&'static str, Result<(), String>)>, random: Vec<(&'static str, Result<(), String>)>) {
    for ((method, foreign), (_, random)) in foreign.into_iter().zip(random) {
        let error = foreign.expect_err(method);
        assert!(error.starts_with("SID-STORE-NOT-FOUND"), "{method}: {error}");
        assert_eq!(Err(error), random, "{method} tells a foreign id from a random one");
    }
}

async fn assert_untouched(w: &World, talk: &Conversation, messages: &[Message], ids: &Ids) {
    assert_eq!(w.messages(talk).await, messages);
    assert_eq!(w.store.block(&w.ours.scope, ids.block).await.expect("there").version, 1);
    assert_eq!(w.store.list(&w.ours.scope, ids.owner, PageRequest { after: None, limit: 10 }).await.expect("visible").items.len(), 1);
    assert_eq!(w.store.blocks(&w.ours.scope, ids.owner).await.expect("visible").len(), 2);
    assert_eq!(w.store.user(&w.ours.scope, ids.user).await.expect("there"), w.ours.ann);
    assert_eq!(w.store.agent(&w.ours.scope, ids.agent).await.expect("there"), w.ours.agent);
    assert!(w.claim().await.is_none(), "nobody has put work in");
}

/// Another tenant's application.
pub async fn another_tenant_gets_nothing(w: World) {
    let (talk, messages, ids) = furnish(&w).await;
    let scope = w.theirs.scope;
    assert_closed(knock(&w, &scope, &ids).await, knock(&w, &scope, &Ids::random()).await);
    assert_closed(knock_at_directory(&w, &scope, &ids).await, knock_at_directory(&w, &scope, &Ids::random()).await);
    assert_eq!(w.store.delete(&scope, &[ids.passage]).await.expect("not there"), 0);
    assert!(w.find(&scope, "rutabaga").await.is_empty());
    let found = w.store.search(&scope, &SearchQuery::new("rutabaga")).await.expect("a search answers");
    assert_eq!((found.searched, found.bm25.max), (0, 0.0), "not even the statistics");
    let page = || PageRequest { after: None, limit: 100 };
    let listed = w.store.conversations(&scope, Some(ids.agent), Some(ids.user), page()).await.expect("listed").items;
    assert!(listed.is_empty());
    assert!(w.store.users(&scope, page()).await.expect("listed").items.iter().all(|u| u.id != ids.user));
    assert!(w.store.agents(&scope, page()).await.expect("listed").items.iter().all(|a| a.id != ids.agent));
    assert_untouched(&w, &talk, &messages, &ids).await;
}

/// Another tenant's user and turn, even with the ids of ours in their scope.
pub async fn another_tenants_people_and_turns_get_nothing(w: World) {
    let (talk, messages, ids) = furnish(&w).await;
    for scope in [
        w.theirs.as_user(&w.theirs.ann),
        w.theirs.as_user(&w.ours.ann),
        w.theirs.as_turn(&w.theirs.agent, Some(&w.theirs.ann)),
        w.theirs.as_turn(&w.ours.agent, Some(&w.ours.ann)),
    ] {
        assert_closed(knock(&w, &scope, &ids).await, knock(&w, &scope, &Ids::random()).await);
        assert_eq!(w.store.delete(&scope, &[ids.passage]).await.expect("not there"), 0);
        assert!(w.find(&scope, "rutabaga").await.is_empty());
    }
    assert_untouched(&w, &talk, &messages, &ids).await;
}

/// Another user of the same tenant and agent.
pub async fn another_user_gets_nothing(w: World) {
    let (talk, messages, ids) = furnish(&w).await;
    let scope = w.ours.as_user(&w.ours.bob);
    assert_closed(knock(&w, &scope, &ids).await, knock(&w, &scope, &Ids::random()).await);
    assert_eq!(w.store.delete(&scope, &[ids.passage]).await.expect("not there"), 0);
    assert!(w.find(&scope, "rutabaga").await.is_empty());
    assert_untouched(&w, &talk, &messages, &ids).await;
}

/// A turn of the same agent with another user, of another agent with the same user, and of the agent alone.
pub async fn another_turn_gets_nothing(w: World) {
    let (talk, messages, ids) = furnish(&w).await;
    let o = &w.ours;
    for scope in [o.as_turn(&o.agent, Some(&o.bob)), o.as_turn(&o.other_agent, Some(&o.ann)), o.as_turn(&o.agent, None)] {
        assert_closed(knock(&w, &scope, &ids).await, knock(&w, &scope, &Ids::random()).await);
        assert_eq!(w.store.delete(&scope, &[ids.passage]).await.expect("not there"), 0);
        assert!(w.find(&scope, "rutabaga").await.is_empty());
    }
    assert_untouched(&w, &talk, &messages, &ids).await;
}

/// The scopes that may, reach all of it: the same walk, the other way round.
pub async fn the_rightful_get_everything(w: World) {
    let o = &w.ours;
    for scope in [o.as_user(&o.ann), o.scope] {
        let (_, _, ids) = furnish(&w).await;
        let mut answers = knock(&w, &scope, &ids).await;
        let erased = answers.pop().expect("the last one");
        // The knock that was accepted waits; importing beside it is no fault.
        for (method, answer) in answers {
            let is_repeated_label = method == "create_block" && answer.as_ref().is_err_and(|e| e.starts_with("SID-STORE-EXISTS"));
            assert!(answer.is_ok() || is_repeated_label, "{method}: {answer:?}");
        }
        assert_eq!(erased.1, Ok(()));
        assert!(w.claim().await.is_none(), "the waiting run went with its conversation");
    }
}

/// Keys of conversations, handles and names live in their tenant: the same ones elsewhere are others.
pub async fn names_do_not_cross_tenants(w: World) {
    let key = Some("same".to_owned());
    let mut ids = Vec::new();
    for tenancy in [&w.ours, &w.theirs] {
        let new = NewConversation { agent: tenancy.agent.id, user: Some(tenancy.ann.id), key: key.clone() };
        let (conversation, is_new) = w.store.open_conversation(&tenancy.scope, ConversationId::new(), new).await.expect("opened");
        assert!(is_new);
        ids.push(conversation.id);
        assert_eq!(w.store.user_by_handle(&tenancy.scope, "ann").await.expect("there"), tenancy.ann);
        assert_eq!(w.store.agent_by_name(&tenancy.scope, "sid").await.expect("there"), tenancy.agent);
    }
    assert_ne!(ids[0], ids[1]);
}
