//! Whose memory a turn and a person see, inside one tenant.

use std::collections::BTreeSet;

use sid_types::{Owner, Scope};

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
        w.store.set_team_member(&o.scope, o.team.id, o.ann.id, is_member).await.expect("set");
        for scope in [&ann, &turn] {
            assert_eq!(seen(&w, scope).await.contains("team"), is_member);
        }
        let talk = w.talk(&o.ann).await;
        let lease = w.begin(&talk, "hello").await;
        assert_eq!(w.load(&lease).await.teams.len(), usize::from(is_member));
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
