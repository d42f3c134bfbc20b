//! Core memory blocks: templates, versions, history, links.

use sid_store::{BlockEdit, BlockWrite, Effect, Lease, NewBlock, StoreError};
use sid_types::{AgentSpec, Block, BlockAccess, BlockId, BlockOp, BlockTemplate, Owner, Provenance, Scope};

use super::World;
use super::world::{assert_error, provenance};

impl World {
    /// The pair's block with this label.
    async fn labelled(&self, owner: Owner, label: &str) -> Block {
        let blocks = self.store.blocks(&self.ours.scope, owner).await.expect("visible");
        blocks.into_iter().find(|b| b.label == label).expect("a block with this label")
    }

    async fn make_block(&self, owner: Owner, label: &str, value: &str) -> Block {
        self.store.create_block(&self.ours.scope, new_block(owner, label, value)).await.expect("a block is made")
    }

    async fn write(&self, scope: &Scope, block: BlockId, op: BlockOp, expected_version: Option<u64>) -> Result<Block, StoreError> {
        self.store.write_block(scope, block, BlockWrite { op, expected_version, provenance: provenance("api") }).await
    }

    async fn edit(&self, lease: &Lease, block: &Block, op: BlockOp) -> Result<(), StoreError> {
        let (expected_version, block) = (block.version, block.id);
        let provenance = Provenance { conversation: Some(lease.conversation), run: Some(lease.run), ..provenance("tool") };
        self.try_commit(lease, vec![Effect::EditBlock(BlockEdit { block, op, expected_version, provenance })]).await.map(drop)
    }
}

fn new_block(owner: Owner, label: &str, value: &str) -> NewBlock {
    let (id, label, description, value) = (BlockId::new(), label.to_owned(), "a test's".to_owned(), value.to_owned());
    NewBlock { id, owner, label, description, value, limit_chars: 100, provenance: provenance("api") }
}

fn set(value: &str) -> BlockOp {
    BlockOp::Set { value: value.into() }
}

fn append(text: &str) -> BlockOp {
    BlockOp::Append { text: text.into() }
}

/// A pair that meets for the first time gets the agent's templates, once, by whichever call comes first.
pub async fn pairs_get_the_templates_once(w: World) {
    let by_api = w.store.blocks(&w.ours.scope, w.ours.pair()).await.expect("visible");
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    let loaded = w.load(&lease).await.blocks;
    assert_eq!(loaded, by_api);
    assert_eq!(loaded.iter().map(|b| b.label.as_str()).collect::<Vec<_>>(), ["human", "persona"]);
    assert!(loaded.iter().all(|b| b.version == 1 && b.owner == w.ours.pair() && b.access == BlockAccess::Write && b.limit_chars == 2_000));
    let history = w.store.block_history(&w.ours.scope, loaded[0].id, 10).await.expect("visible");
    assert_eq!(history.iter().map(|v| (v.version, v.provenance.channel.as_str())).collect::<Vec<_>>(), [(1, "template")]);

    let bobs = w.talk(&w.ours.bob).await;
    let lease = w.begin(&bobs, "hello").await;
    let loaded = w.load(&lease).await.blocks;
    let owner = Owner::Pair { agent: w.ours.agent.id, user: w.ours.bob.id };
    assert_eq!(w.store.blocks(&w.ours.scope, owner).await.expect("visible"), loaded);
    assert!(loaded.iter().all(|b| by_api.iter().all(|other| other.id != b.id)), "each pair has its own copies");
}

/// A template's value, description and limit come along; a later change of the agent changes no copy.
pub async fn templates_are_copied_not_shared(w: World) {
    let template =
        |value: &str| BlockTemplate { label: "mood".into(), description: "how it goes".into(), value: value.into(), limit_chars: 30 };
    let spec = AgentSpec { blocks: vec![template("calm")], ..w.ours.agent.spec.clone() };
    w.store.update_agent(&w.ours.scope, w.ours.agent.id, spec.clone(), vec![]).await.expect("changed");
    let block = w.labelled(w.ours.pair(), "mood").await;
    assert_eq!((block.value.as_str(), block.description.as_str(), block.limit_chars), ("calm", "how it goes", 30));
    let spec = AgentSpec { blocks: vec![template("excited")], ..spec };
    w.store.update_agent(&w.ours.scope, w.ours.agent.id, spec, vec![]).await.expect("changed");
    assert_eq!(w.labelled(w.ours.pair(), "mood").await, block);
}

/// Writes count versions, and name what they change.
pub async fn writes_count_versions(w: World) {
    let block = w.make_block(Owner::Tenant, "house rules", "be kind").await;
    assert_eq!((block.version, block.value.as_str(), block.updated_at), (1, "be kind", w.now()));
    w.wait(5);
    let block = w.write(&w.ours.scope, block.id, append("no shouting"), Some(1)).await.expect("written");
    assert_eq!((block.version, block.value.as_str(), block.updated_at), (2, "be kind\nno shouting", w.now()));
    let replace = BlockOp::Replace { old: "kind".into(), new: "brief".into() };
    let block = w.write(&w.ours.scope, block.id, replace, None).await.expect("written");
    assert_eq!((block.version, block.value.as_str()), (3, "be brief\nno shouting"));
    assert_eq!(w.store.block(&w.ours.scope, block.id).await.expect("there"), block);
    assert_error!(w.write(&w.ours.scope, block.id, set("late"), Some(2)).await, StoreError::Conflict { expected: 2, found: 3 });
    let absent = BlockOp::Replace { old: "kind".into(), new: "rude".into() };
    assert_error!(w.write(&w.ours.scope, block.id, absent, None).await, StoreError::Invalid(_));
    assert_eq!(w.store.block(&w.ours.scope, block.id).await.expect("there"), block, "refused writes change nothing");
}

/// The history tells every version, newest first: what was done, what came of it, and where it came from.
pub async fn history_tells_every_version(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "I am a dentist").await;
    let block = w.labelled(w.ours.pair(), "human").await;
    w.edit(&lease, &block, append("is a dentist")).await.expect("written");
    w.write(&w.ours.scope, block.id, set("retired"), None).await.expect("written");
    let history = w.store.block_history(&w.ours.scope, block.id, 10).await.expect("visible");
    assert_eq!(history.iter().map(|v| v.version).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(history.iter().map(|v| v.value_after.as_str()).collect::<Vec<_>>(), ["retired", "is a dentist", ""]);
    assert_eq!((&history[0].edit, &history[1].edit), (&set("retired"), &append("is a dentist")));
    assert_eq!(history[0].provenance.channel, "api");
    assert_eq!((history[1].provenance.conversation, history[1].provenance.run), (Some(talk.id), Some(lease.run)));
    assert!(history.iter().all(|v| v.block == block.id));
    let newest = w.store.block_history(&w.ours.scope, block.id, 2).await.expect("visible");
    assert_eq!(newest, history[..2]);
}

/// Limits count characters, for new blocks, writes and edits of a turn.
pub async fn limits_count_characters(w: World) {
    let long = "é".repeat(101);
    assert_error!(w.store.create_block(&w.ours.scope, new_block(Owner::Tenant, "a", &long)).await, StoreError::TooLarge { .. });
    let block = w.make_block(Owner::Tenant, "a", &"é".repeat(100)).await;
    assert_error!(w.write(&w.ours.scope, block.id, append(""), None).await, StoreError::TooLarge { size: 101, limit: 100, .. });
    w.write(&w.ours.scope, block.id, set(&"\u{1F952}".repeat(100)), None).await.expect("a hundred characters");
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    let human = w.labelled(w.ours.pair(), "human").await;
    assert_error!(w.edit(&lease, &human, set(&"x".repeat(2_001))).await, StoreError::TooLarge { .. });
    w.edit(&lease, &human, set(&"é".repeat(2_000))).await.expect("two thousand characters");
}

/// Labels are unique among one owner's blocks; templates count, met or not.
pub async fn labels_are_unique_per_owner(w: World) {
    let block = new_block(Owner::Tenant, "rules", "");
    let made = w.store.create_block(&w.ours.scope, block.clone()).await.expect("made");
    assert_eq!(w.store.create_block(&w.ours.scope, block).await.expect("the same block again is a repetition"), made);
    assert_error!(w.store.create_block(&w.ours.scope, new_block(Owner::Tenant, "rules", "")).await, StoreError::Exists { .. });
    w.make_block(Owner::Team { team: w.ours.team.id }, "rules", "").await;
    assert_error!(w.store.create_block(&w.ours.scope, new_block(w.ours.pair(), "human", "")).await, StoreError::Exists { .. });
    w.make_block(w.ours.pair(), "hobbies", "").await;
    let labels: Vec<String> = w.store.blocks(&w.ours.scope, w.ours.pair()).await.expect("visible").into_iter().map(|b| b.label).collect();
    assert_eq!(labels, ["hobbies", "human", "persona"]);
}

/// A turn sees the blocks of its pair to write (those of the agent where nobody is with it), and those of all other owners that it may
/// see to read, ordered by label.
pub async fn turns_see_shared_blocks(w: World) {
    let o = &w.ours;
    let owners = [
        ("a-tenant", Owner::Tenant),
        ("b-team", Owner::Team { team: o.team.id }),
        ("c-user", Owner::User { user: o.ann.id }),
        ("d-agent", Owner::Agent { agent: o.agent.id }),
        ("e-pair", o.pair()),
        ("x-bob", Owner::User { user: o.bob.id }),
        ("y-other", Owner::Agent { agent: o.other_agent.id }),
        ("z-pair", Owner::Pair { agent: o.other_agent.id, user: o.ann.id }),
    ];
    for (label, owner) in owners {
        w.make_block(owner, label, "v").await;
    }
    let seen = async |talk| {
        let lease = w.begin(&talk, "hello").await;
        let blocks = w.load(&lease).await.blocks;
        blocks.into_iter().map(|b| format!("{}{}", b.label, if b.access == BlockAccess::Write { "!" } else { "" })).collect::<Vec<_>>()
    };
    assert_eq!(seen(w.talk(&o.ann).await).await, ["a-tenant", "b-team", "c-user", "d-agent", "e-pair!", "human!", "persona!"]);
    assert_eq!(seen(w.talk(&o.bob).await).await, ["a-tenant", "d-agent", "human!", "persona!", "x-bob"]);
    assert_eq!(seen(w.open(o, &o.agent, None).await).await, ["a-tenant", "d-agent!"]);
    let others = w.open(o, &o.other_agent, Some(&o.ann)).await;
    assert_eq!(seen(others).await, ["a-tenant", "c-user", "human!", "persona!", "y-other", "z-pair!"]);
}

/// A turn edits what it may write, and nothing else, whether it sees it or not.
pub async fn turns_edit_only_what_they_may_write(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    let shared = w.make_block(Owner::Tenant, "rules", "be kind").await;
    let bobs = w.labelled(Owner::Pair { agent: w.ours.agent.id, user: w.ours.bob.id }, "human").await;
    for block in [&shared, &bobs] {
        assert_error!(w.edit(&lease, block, set("mine now")).await, StoreError::NotFound { .. });
        assert_eq!(w.store.block(&w.ours.scope, block.id).await.expect("there").version, 1);
    }
    w.store.link_block(&w.ours.scope, shared.id, w.ours.agent.id, Some(BlockAccess::Write)).await.expect("linked");
    w.edit(&lease, &shared, set("be brief")).await.expect("the link lets it");
    assert_eq!(w.store.block(&w.ours.scope, shared.id).await.expect("there").value, "be brief");
    w.store.link_block(&w.ours.scope, shared.id, w.ours.agent.id, None).await.expect("unlinked");
    let shared = w.store.block(&w.ours.scope, shared.id).await.expect("there");
    assert_error!(w.edit(&lease, &shared, set("mine now")).await, StoreError::NotFound { .. });
    assert!(w.load(&lease).await.blocks.iter().any(|b| b.id == shared.id && b.access == BlockAccess::Read), "it still reads it");
}

/// A link shows another agent's block, but a user's memory never to another user.
pub async fn links_share_between_agents_not_between_users(w: World) {
    let o = &w.ours;
    let private = w.make_block(o.pair(), "hobbies", "pickling").await;
    let manual = w.make_block(Owner::Agent { agent: o.agent.id }, "manual", "step one").await;
    for block in [&private, &manual] {
        w.store.link_block(&o.scope, block.id, o.other_agent.id, Some(BlockAccess::Read)).await.expect("linked");
    }
    let seen = async |user| {
        let talk = w.open(o, &o.other_agent, Some(user)).await;
        let lease = w.begin(&talk, "hello").await;
        let blocks = w.load(&lease).await.blocks;
        blocks.into_iter().filter(|b| b.access == BlockAccess::Read).map(|b| b.label).collect::<Vec<_>>()
    };
    assert_eq!(seen(&o.ann).await, ["hobbies", "manual"]);
    assert_eq!(seen(&o.bob).await, ["manual"]);
    w.store.link_block(&o.scope, private.id, o.other_agent.id, None).await.expect("unlinked");
    w.store.link_block(&o.scope, private.id, o.other_agent.id, None).await.expect("again changes nothing");
    assert_eq!(seen(&o.ann).await, ["manual"]);
    let random = sid_types::AgentId::new();
    assert_error!(w.store.link_block(&o.scope, manual.id, random, Some(BlockAccess::Read)).await, StoreError::NotFound { .. });
    let crew = w.make_block(Owner::Team { team: o.team.id }, "crew", "").await;
    let refused = w.store.link_block(&o.scope, crew.id, o.other_agent.id, Some(BlockAccess::Read)).await;
    assert_error!(refused, StoreError::NotFound { .. });
}

/// A turn's edits are compare-and-set; two in one commit follow each other.
pub async fn a_turns_edits_are_compare_and_set(w: World) {
    let (one, two) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    let (first, second) = (w.begin(&one, "a").await, w.begin(&two, "b").await);
    let block = w.labelled(w.ours.pair(), "human").await;
    w.edit(&first, &block, append("likes pickles")).await.expect("written");
    assert_error!(w.edit(&second, &block, append("hates pickles")).await, StoreError::Conflict { expected: 1, found: 2 });
    let block = w.labelled(w.ours.pair(), "human").await;
    let edit =
        |op, expected_version| Effect::EditBlock(BlockEdit { block: block.id, op, expected_version, provenance: provenance("tool") });
    let replace = BlockOp::Replace { old: "b".into(), new: "c".into() };
    w.commit(&second, vec![edit(append("b"), 2), edit(replace, 3)]).await;
    let block = w.labelled(w.ours.pair(), "human").await;
    assert_eq!((block.value.as_str(), block.version), ("likes pickles\nc", 4));
    let absent = BlockOp::Replace { old: "nowhere".into(), new: String::new() };
    assert_error!(w.edit(&second, &block, absent).await, StoreError::Invalid(_));
}

/// A head that was rendered before an edit from outside, a new link or a changed agent is rendered anew; an edit by another
/// conversation of the pair leaves it alone.
pub async fn edits_from_outside_take_the_prefix_away(w: World) {
    let (one, two) = (w.talk(&w.ours.ann).await, w.talk(&w.ours.ann).await);
    let bobs = w.talk(&w.ours.bob).await;
    let (first, second, third) = (w.begin(&one, "a").await, w.begin(&two, "b").await, w.begin(&bobs, "c").await);
    let block = w.labelled(w.ours.pair(), "human").await;
    let shared = w.make_block(Owner::Tenant, "rules", "").await;
    let render = async || {
        for lease in [&first, &second, &third] {
            w.commit(lease, vec![Effect::SetPrefix(Some("head".into()))]).await;
        }
    };
    let kept = async || {
        let mut kept = Vec::new();
        for talk in [&one, &two, &bobs] {
            kept.push(w.reread(talk).await.prefix.is_some());
        }
        kept
    };
    render().await;
    w.edit(&first, &block, append("likes pickles")).await.expect("written");
    assert_eq!(kept().await, [true, true, true], "a turn's own edit is in its queue already");
    w.write(&w.ours.scope, block.id, append("from outside"), None).await.expect("written");
    assert_eq!(kept().await, [false, false, true]);
    render().await;
    w.write(&w.ours.scope, shared.id, set("be kind"), None).await.expect("written");
    assert_eq!(kept().await, [false, false, false]);
    render().await;
    w.store.link_block(&w.ours.scope, shared.id, w.ours.agent.id, Some(BlockAccess::Write)).await.expect("linked");
    assert_eq!(kept().await, [false, false, false]);
    render().await;
    let spec = AgentSpec { instructions: "Be terse.".into(), ..w.ours.agent.spec.clone() };
    w.store.update_agent(&w.ours.scope, w.ours.agent.id, spec, vec![w.ours.team.id]).await.expect("changed");
    assert_eq!(kept().await, [false, false, false]);
}

/// Who may write an owner's passages may write its blocks; who may not is told that there is none.
pub async fn writing_blocks_has_its_rights(w: World) {
    let o = &w.ours;
    let (ann, bob, turn) = (o.as_user(&o.ann), o.as_user(&o.bob), o.as_turn(&o.agent, Some(&o.ann)));
    let shared = w.make_block(Owner::Tenant, "rules", "").await;
    let crew = w.make_block(Owner::Team { team: o.team.id }, "crew", "").await;
    let human = w.labelled(o.pair(), "human").await;
    for (scope, block) in [(&ann, &human), (&ann, &crew), (&turn, &human)] {
        w.write(scope, block.id, append("x"), None).await.expect("it may");
    }
    for (scope, block) in [(&ann, &shared), (&bob, &human), (&bob, &crew), (&turn, &shared), (&turn, &crew)] {
        assert_error!(w.write(scope, block.id, append("x"), None).await, StoreError::NotFound { .. });
        let link = w.store.link_block(scope, block.id, o.agent.id, Some(BlockAccess::Write)).await;
        assert_error!(link, StoreError::NotFound { .. });
    }
    assert_error!(w.store.create_block(&ann, new_block(Owner::Tenant, "mine", "")).await, StoreError::NotFound { .. });
    assert_error!(w.store.create_block(&bob, new_block(o.pair(), "mine", "")).await, StoreError::NotFound { .. });
    w.store.create_block(&ann, new_block(o.pair(), "mine", "")).await.expect("her own");
    w.store.block(&ann, shared.id).await.expect("everybody reads the tenant's");
    assert_error!(w.store.block(&bob, crew.id).await, StoreError::NotFound { .. });
    assert_error!(w.store.block_history(&bob, human.id, 10).await, StoreError::NotFound { .. });
    assert_error!(w.store.blocks(&bob, o.pair()).await, StoreError::NotFound { .. });
}
