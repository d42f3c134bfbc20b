//! Whose memory a turn and a person see, inside one tenant.

use std::collections::BTreeSet;

use sid_types::{Owner, Scope, Team, TeamId, TeamRole};

use super::World;

/// One passage per owner, named after it.
async fn plant(w: &World) -> Vec<(&'static str, Owner)> {
    let o = &w.ours;
    let owners = vec![
        ("tenant", Owner::Tenant),
        ("team", Owner::Team { team: o.team.id }),
        ("ann", Owner::User { user: o.ann.id }),
        ("bob", Owner::User { user: o.bob.id }),
        ("agent", Owner::Agent { agent: o.agent.id }),
        ("other agent", Owner::Agent { agent: o.other_agent.id }),
        ("agent+ann", o.pair()),
        ("agent+bob", Owner::Pair { agent: o.agent.id, user: o.bob.id }),
        ("other agent+ann", Owner::Pair { agent: o.other_agent.id, user: o.ann.id }),
    ];
    for (name, owner) in &owners {
        w.keep(o, *owner, &format!("turnip {name}")).await;
    }
    owners
}

async fn seen(w: &World, scope: &Scope) -> BTreeSet<String> {
    w.find(scope, "turnip").await.iter().map(|t| t.trim_start_matches("turnip ").to_owned()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A search and a list see the same, and just what the rules say, for every kind of principal.
pub async fn everybody_sees_their_own_and_no_more(w: World) {
    let o = &w.ours;
    let owners = plant(&w).await;
    let table: [(Scope, &[&str]); 8] = [
        (o.scope, &["tenant", "team", "ann", "bob", "agent", "other agent", "agent+ann", "agent+bob", "other agent+ann"]),
        (o.as_user(&o.ann), &["tenant", "team", "ann", "agent+ann", "other agent+ann"]),
        (o.as_user(&o.bob), &["tenant", "bob", "agent+bob"]),
        (o.as_turn(&o.agent, Some(&o.ann)), &["tenant", "team", "ann", "agent", "agent+ann"]),
        (o.as_turn(&o.agent, Some(&o.bob)), &["tenant", "bob", "agent", "agent+bob"]),
        (o.as_turn(&o.other_agent, Some(&o.ann)), &["tenant", "ann", "other agent", "other agent+ann"]),
        (o.as_turn(&o.agent, None), &["tenant", "agent"]),
        (w.theirs.scope, &[]),
    ];
    for (scope, expected) in table {
        assert_eq!(seen(&w, &scope).await, set(expected), "{:?}", scope.principal());
        for (name, owner) in &owners {
            let page = sid_store::PageRequest { after: None, limit: 10 };
            let is_listed = match w.store.list(&scope, *owner, page).await {
                Ok(page) => !page.items.is_empty(),
                Err(sid_store::StoreError::NotFound { .. }) => false,
                Err(error) => panic!("{error}"),
            };
            assert_eq!(is_listed, expected.contains(name), "{name} for {:?}", scope.principal());
        }
    }
}

/// Who leaves a team loses its memory for the very next search, alone and in turns; who joins gains it.
pub async fn membership_is_in_force_at_once(w: World) {
    let o = &w.ours;
    plant(&w).await;
    let (ann, turn) = (o.as_user(&o.ann), o.as_turn(&o.agent, Some(&o.ann)));
    for is_member in [true, false, true] {
        w.store.set_team_member(&o.scope, o.team.id, o.ann.id, is_member.then_some(TeamRole::Member)).await.expect("set");
        for scope in [&ann, &turn] {
            assert_eq!(seen(&w, scope).await.contains("team"), is_member);
        }
        let talk = w.talk(&o.ann).await;
        let lease = w.begin(&talk, "hello").await;
        assert_eq!(w.load(&lease).await.teams.len(), usize::from(is_member));
        w.answer(&lease, "hi").await;
    }
}

/// A turn knows what its human is in each team, and where that was given.
pub async fn a_turn_knows_what_its_human_is_in_teams(w: World) {
    let o = &w.ours;
    let part = part_of_the_crew(&w).await;
    w.store.update_agent(&o.scope, o.agent.id, o.agent.spec.clone(), vec![part]).await.expect("changed");
    w.store.set_team_member(&o.scope, o.team.id, o.ann.id, None).await.expect("left");
    let talk = w.talk(&o.ann).await;
    for role in [TeamRole::Lead, TeamRole::Member] {
        w.store.set_team_member(&o.scope, part, o.ann.id, Some(role)).await.expect("set");
        let lease = w.begin(&talk, "hello").await;
        let mut told: Vec<_> = w.load(&lease).await.teams.into_iter().map(|m| (m.team.id, m.user.id, m.role, m.is_direct)).collect();
        told.sort_by_key(|(team, ..)| *team != part);
        assert_eq!(told, [(part, o.ann.id, role, true), (o.team.id, o.ann.id, role, false)]);
        w.answer(&lease, "hi").await;
    }
}

/// An agent that may no longer read a team stops seeing its memory at once; the members themselves go on.
pub async fn an_agents_teams_are_in_force_at_once(w: World) {
    let o = &w.ours;
    plant(&w).await;
    let (ann, turn) = (o.as_user(&o.ann), o.as_turn(&o.agent, Some(&o.ann)));
    w.store.update_agent(&o.scope, o.agent.id, o.agent.spec.clone(), vec![]).await.expect("changed");
    assert!(!seen(&w, &turn).await.contains("team"));
    assert!(seen(&w, &ann).await.contains("team"));
    w.store.update_agent(&o.scope, o.agent.id, o.agent.spec.clone(), vec![o.team.id]).await.expect("changed");
    assert!(seen(&w, &turn).await.contains("team"));
}

/// A team of ours that is a part of the crew.
async fn part_of_the_crew(w: &World) -> TeamId {
    let part = Team { id: TeamId::new(), name: "part".into(), parent: Some(w.ours.team.id), created_at: w.now() };
    w.store.create_team(&w.ours.scope, part).await.expect("made").id
}

/// A block of a team.
async fn team_block(w: &World, team: TeamId) -> sid_types::BlockId {
    let block = sid_store::NewBlock {
        id: sid_types::BlockId::new(),
        owner: Owner::Team { team },
        label: "rules".into(),
        description: String::new(),
        value: "be kind".into(),
        limit_chars: 100,
        provenance: super::world::provenance("api"),
    };
    w.store.create_block(&w.ours.scope, block).await.expect("made").id
}

/// Who is in a part sees and writes what the whole knows, blocks too, alone and in turns; not the other way round.
pub async fn parts_of_a_team_share_what_the_whole_knows(w: World) {
    let o = &w.ours;
    plant(&w).await;
    let part = part_of_the_crew(&w).await;
    w.keep(o, Owner::Team { team: part }, "turnip part").await;
    let (bob, turn) = (o.as_user(&o.bob), o.as_turn(&o.agent, Some(&o.bob)));
    team_block(&w, o.team.id).await;
    let talk = w.talk(&o.bob).await;
    for is_member in [true, false, true] {
        w.store.set_team_member(&o.scope, part, o.bob.id, is_member.then_some(TeamRole::Member)).await.expect("set");
        for scope in [&bob, &turn] {
            assert_eq!(seen(&w, scope).await.contains("team"), is_member);
        }
        assert_eq!(seen(&w, &bob).await.contains("part"), is_member);
        assert!(!seen(&w, &turn).await.contains("part"), "the agent may read the whole, not its part");
        let lease = w.begin(&talk, "hello").await;
        let loaded = w.load(&lease).await;
        assert_eq!(loaded.teams.iter().map(|m| m.team.id).collect::<Vec<_>>(), if is_member { vec![o.team.id] } else { vec![] });
        assert_eq!(loaded.blocks.iter().any(|b| b.label == "rules"), is_member);
        w.answer(&lease, "hi").await;
        let written = w.store.upsert(&bob, vec![w.passage(Owner::Team { team: o.team.id }, "bread")]).await;
        assert_eq!(written.is_ok(), is_member);
    }
    assert!(!seen(&w, &o.as_user(&o.ann)).await.contains("part"), "the whole is not in its parts");
}

/// An agent that may read a part of a team reads what the whole knows, too; it is told of the part alone.
pub async fn an_agent_of_a_part_reads_the_whole(w: World) {
    let o = &w.ours;
    plant(&w).await;
    let part = part_of_the_crew(&w).await;
    w.keep(o, Owner::Team { team: part }, "turnip part").await;
    let other = o.as_turn(&o.other_agent, Some(&o.ann));
    let spec = || o.other_agent.spec.clone();
    assert!(!seen(&w, &other).await.contains("team"));
    let changed = w.store.update_agent(&o.scope, o.other_agent.id, spec(), vec![part]).await.expect("changed");
    assert_eq!((changed.teams, w.store.agent(&o.scope, o.other_agent.id).await.expect("there").teams), (vec![part], vec![part]));
    assert!(seen(&w, &other).await.contains("team"));
    assert!(!seen(&w, &other).await.contains("part"), "ann is not in the part");
    let rules = team_block(&w, o.team.id).await;
    w.store.link_block(&o.scope, rules, o.other_agent.id, Some(sid_types::BlockAccess::Read)).await.expect("linked");
    w.store.update_agent(&o.scope, o.other_agent.id, spec(), vec![part, o.team.id]).await.expect("changed");
    w.store.update_agent(&o.scope, o.other_agent.id, spec(), vec![o.team.id]).await.expect("changed");
    assert!(seen(&w, &other).await.contains("team"));
    w.store.update_agent(&o.scope, o.other_agent.id, spec(), vec![]).await.expect("changed");
    assert!(!seen(&w, &other).await.contains("team"));
}

/// Recall memory belongs to the pair: another agent of the same user does not see it, nor does the same agent with another user.
pub async fn recall_belongs_to_the_pair(w: World) {
    let o = &w.ours;
    let (anns, bobs) = (w.talk(&o.ann).await, w.talk(&o.bob).await);
    let alone = w.open(o, &o.agent, None).await;
    w.turn(&anns, "turnip a", "ok").await;
    w.turn(&bobs, "turnip b", "ok").await;
    w.turn(&alone, "turnip c", "ok").await;
    let found = async |scope: Scope| -> BTreeSet<String> {
        w.find(&scope, "turnip").await.into_iter().filter(|t| t.starts_with("turnip")).collect()
    };
    assert_eq!(found(o.as_turn(&o.agent, Some(&o.ann))).await, set(&["turnip a", "turnip c"]));
    assert_eq!(found(o.as_turn(&o.agent, Some(&o.bob))).await, set(&["turnip b", "turnip c"]));
    assert_eq!(found(o.as_turn(&o.agent, None)).await, set(&["turnip c"]));
    assert_eq!(found(o.as_turn(&o.other_agent, Some(&o.ann))).await, set(&[]));
    assert_eq!(found(o.as_user(&o.ann)).await, set(&["turnip a"]));
    assert_eq!(found(o.scope).await, set(&["turnip a", "turnip b", "turnip c"]));
}
