//! The directory: tenants, keys, users, teams, agents, conversations.

use std::collections::BTreeSet;

use sid_store::{MOST_TEAM_LEVELS, NewConversation, PageRequest, StoreError};
use sid_types::{
    AccessRole, AgentId, AgentSpec, ApiKey, ConversationId, KeyId, KeyRole, Membership, OperatorScope, Permission, Team, TeamId, TeamRole,
    TenantId, Tokens, User, UserId,
};

use super::World;
use super::world::assert_error;

fn page(after: Option<String>, limit: usize) -> PageRequest {
    PageRequest { after, limit }
}

fn user(w: &World, handle: &str) -> User {
    User {
        id: UserId::new(),
        handle: handle.into(),
        display_name: handle.to_uppercase(),
        timezone: None,
        quiet_hours: None,
        created_at: w.now(),
    }
}

/// Tenants are listed oldest first, and their names are unique.
pub async fn tenants_have_unique_names(w: World) {
    let operator = OperatorScope::grant();
    assert_error!(w.store.create_tenant(&operator, "ours").await, StoreError::Exists { .. });
    w.wait(1);
    let third = w.store.create_tenant(&operator, "third").await.expect("made");
    let tenants = w.store.tenants(&operator).await.expect("listed");
    assert_eq!(tenants, [w.ours.tenant.clone(), w.theirs.tenant.clone(), third.clone()]);
    for wanted in ["third", &third.id.to_string()] {
        assert_eq!(w.store.find_tenant(&operator, wanted).await.expect("looked up").as_ref(), Some(&third));
    }
    for unknown in ["fourth", "", "THIRD", &TenantId::new().to_string()] {
        assert_eq!(w.store.find_tenant(&operator, unknown).await.expect("looked up"), None, "{unknown}");
    }
}

/// Keys are found by their hash, listed by tenant, and revoked once.
pub async fn keys_are_found_and_revoked(w: World) {
    let operator = OperatorScope::grant();
    let key = |name: &str, role: KeyRole| ApiKey { name: name.into(), ..key(&w, role) };
    let (tenant, user) = (w.ours.tenant.id, w.ours.ann.id);
    let keys = [key("root", KeyRole::Operator), key("app", KeyRole::Tenant { tenant }), key("ann", KeyRole::User { tenant, user })];
    let theirs = key("their app", KeyRole::Tenant { tenant: w.theirs.tenant.id });
    for key in keys.iter().chain([&theirs]) {
        w.store.put_key(&operator, key.clone()).await.expect("stored");
        assert_eq!(w.store.key_by_hash(&key.hash).await.expect("asked").as_ref(), Some(key));
        w.wait(1);
    }
    assert_eq!(w.store.key_by_hash(&"0".repeat(64)).await.expect("asked"), None);
    let names = async |tenant| w.store.keys(&operator, tenant).await.expect("listed").into_iter().map(|k| k.name).collect::<Vec<_>>();
    assert_eq!(names(None).await, ["root", "app", "ann", "their app"]);
    assert_eq!(names(Some(tenant)).await, ["app", "ann"]);
    let revoked = w.store.revoke_key(&operator, keys[1].id).await.expect("revoked");
    assert_eq!(revoked.revoked_at, Some(w.now()));
    w.wait(60);
    assert_eq!(w.store.revoke_key(&operator, keys[1].id).await.expect("again"), revoked);
    assert_eq!(w.store.key_by_hash(&keys[1].hash).await.expect("asked"), Some(revoked), "revoked ones are answered, too");
    assert_error!(w.store.revoke_key(&operator, KeyId::new()).await, StoreError::NotFound { .. });
}

/// A key that stands for one of ours.
fn key(w: &World, role: KeyRole) -> ApiKey {
    ApiKey {
        id: KeyId::new(),
        name: "key".into(),
        role,
        access: role.usual_access(),
        scopes: None,
        hash: format!("{:064x}", KeyId::new().uuid().as_u128()),
        created_at: w.now(),
        expires_at: None,
        revoked_at: None,
    }
}

/// A key's role and scopes come back as they were stored, by hash and in lists; whom it stands for must be there.
pub async fn keys_keep_what_they_may_do(w: World) {
    let operator = OperatorScope::grant();
    let (tenant, user, agent) = (w.ours.tenant.id, w.ours.ann.id, w.ours.agent.id);
    let mut stored = Vec::new();
    for role in [KeyRole::Operator, KeyRole::Tenant { tenant }, KeyRole::User { tenant, user }, KeyRole::Agent { tenant, user, agent }] {
        for access in AccessRole::ALL {
            for scopes in [None, Some(Vec::new()), Some(vec![Permission::ContextRead, Permission::Chat])] {
                let key = ApiKey { access, scopes, ..key(&w, role) };
                w.store.put_key(&operator, key.clone()).await.expect("stored");
                assert_eq!(w.store.key_by_hash(&key.hash).await.expect("asked").as_ref(), Some(&key));
                stored.push(key);
            }
        }
    }
    stored.sort_by_key(|key| (key.created_at, key.id));
    assert_eq!(w.store.keys(&operator, None).await.expect("listed"), stored);
    stored.retain(|key| key.role != KeyRole::Operator);
    assert_eq!(w.store.keys(&operator, Some(tenant)).await.expect("listed"), stored);
    let changed = ApiKey { access: AccessRole::ReadOnly, scopes: Some(vec![Permission::Export]), ..stored[0].clone() };
    w.store.put_key(&operator, changed.clone()).await.expect("stored again");
    assert_eq!(w.store.key_by_hash(&changed.hash).await.expect("asked"), Some(changed));
    let t = &w.theirs;
    for role in [
        KeyRole::Agent { tenant, user, agent: AgentId::new() },
        KeyRole::Agent { tenant, user, agent: t.agent.id },
        KeyRole::Agent { tenant, user: t.ann.id, agent },
        KeyRole::Agent { tenant: t.tenant.id, user, agent },
    ] {
        assert_error!(w.store.put_key(&operator, key(&w, role)).await, StoreError::NotFound { .. });
    }
}

/// A key that is to end ends then, or when it would have ended anyway if that is sooner.
pub async fn keys_end_sooner_never_later(w: World) {
    let operator = OperatorScope::grant();
    let endless = key(&w, KeyRole::Tenant { tenant: w.ours.tenant.id });
    w.store.put_key(&operator, endless.clone()).await.expect("stored");
    let at = |seconds: i64| w.now() + jiff::SignedDuration::from_secs(seconds);
    for (asked, ends) in [(60, 60), (90, 60), (30, 30), (60, 30), (-10, -10)] {
        let ended = w.store.expire_key(&operator, endless.id, at(asked)).await.expect("ends");
        assert_eq!(ended, ApiKey { expires_at: Some(at(ends)), ..endless.clone() });
        assert_eq!(w.store.key_by_hash(&endless.hash).await.expect("asked"), Some(ended));
    }
    let revoked = w.store.revoke_key(&operator, endless.id).await.expect("revoked");
    assert_eq!((revoked.revoked_at, revoked.expires_at), (Some(w.now()), Some(at(-10))));
    assert_eq!(w.store.expire_key(&operator, endless.id, at(5)).await.expect("ends"), revoked, "revoked it stays");
    assert_error!(w.store.expire_key(&operator, KeyId::new(), at(5)).await, StoreError::NotFound { .. });
}

/// Users are found by id and handle; handles are unique in their tenant only.
pub async fn users_have_unique_handles(w: World) {
    let made = w.store.create_user(&w.ours.scope, user(&w, "cleo")).await.expect("made");
    assert_eq!(w.store.create_user(&w.ours.scope, made.clone()).await.expect("again changes nothing"), made);
    assert_error!(w.store.create_user(&w.ours.scope, user(&w, "cleo")).await, StoreError::Exists { .. });
    w.store.create_user(&w.theirs.scope, user(&w, "cleo")).await.expect("another tenant's cleo");
    assert_eq!(w.store.user(&w.ours.scope, made.id).await.expect("there"), made);
    assert_eq!(w.store.user_by_handle(&w.ours.scope, "cleo").await.expect("there"), made);
    assert_error!(w.store.user_by_handle(&w.ours.scope, "nobody").await, StoreError::NotFound { .. });
    let changed = User { display_name: "Cleo".into(), timezone: Some("Europe/Berlin".into()), ..made };
    assert_eq!(w.store.update_user(&w.ours.scope, changed.clone()).await.expect("changed"), changed);
    assert_eq!(w.store.user(&w.ours.scope, changed.id).await.expect("there"), changed);
    assert_error!(w.store.update_user(&w.ours.scope, user(&w, "ghost")).await, StoreError::NotFound { .. });
}

/// Lists are read in pages that neither skip nor repeat; a limit is cut to 1..=1,000.
pub async fn lists_are_read_in_pages(w: World) {
    for n in 0..8 {
        w.wait(1);
        w.store.create_user(&w.ours.scope, user(&w, &format!("u{n}"))).await.expect("made");
    }
    let (mut handles, mut after) = (Vec::new(), None);
    loop {
        let read = w.store.users(&w.ours.scope, page(after, 3)).await.expect("a page");
        handles.extend(read.items.into_iter().map(|u| u.handle));
        after = read.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(handles.len(), 10);
    assert_eq!(handles[..2].iter().collect::<BTreeSet<_>>().len(), 2);
    assert_eq!(handles[2..], (0..8).map(|n| format!("u{n}")).collect::<Vec<_>>(), "oldest first");
    assert_eq!(w.store.users(&w.ours.scope, page(None, 0)).await.expect("a page").items.len(), 1);
    assert_eq!(w.store.users(&w.ours.scope, page(None, usize::MAX)).await.expect("a page").items.len(), 10);
    assert_error!(w.store.users(&w.ours.scope, page(Some("no cursor at all".into()), 3)).await, StoreError::Invalid(_));
}

/// Teams and their members, by name and handle; joining and leaving again change nothing.
pub async fn teams_have_members(w: World) {
    let o = &w.ours;
    let team = Team { id: TeamId::new(), name: "alpha".into(), parent: None, created_at: w.now() };
    w.store.create_team(&o.scope, team.clone()).await.expect("made");
    let twin = Team { id: TeamId::new(), ..team.clone() };
    assert_error!(w.store.create_team(&o.scope, twin).await, StoreError::Exists { .. });
    assert_eq!(w.store.teams(&o.scope).await.expect("listed"), [team.clone(), o.team.clone()]);
    assert_eq!(w.store.team(&o.scope, team.id).await.expect("there"), team);
    let members =
        async || w.store.team_members(&o.scope, team.id).await.expect("listed").into_iter().map(|m| m.user.handle).collect::<Vec<_>>();
    for _ in 0..2 {
        for user in [&o.bob, &o.ann] {
            w.store.set_team_member(&o.scope, team.id, user.id, Some(TeamRole::Member)).await.expect("joined");
        }
        assert_eq!(members().await, ["ann", "bob"]);
    }
    for _ in 0..2 {
        w.store.set_team_member(&o.scope, team.id, o.ann.id, None).await.expect("left");
        assert_eq!(members().await, ["bob"]);
    }
    assert_error!(w.store.set_team_member(&o.scope, team.id, UserId::new(), Some(TeamRole::Member)).await, StoreError::NotFound { .. });
    assert_error!(w.store.set_team_member(&o.scope, TeamId::new(), o.ann.id, Some(TeamRole::Member)).await, StoreError::NotFound { .. });
    assert_error!(w.store.set_team_member(&o.scope, team.id, w.theirs.ann.id, Some(TeamRole::Member)).await, StoreError::NotFound { .. });
}

fn team(w: &World, name: &str, parent: Option<TeamId>) -> Team {
    Team { id: TeamId::new(), name: name.into(), parent, created_at: w.now() }
}

/// Teams are parts of others, eight levels at most.
pub async fn teams_have_parts(w: World) {
    let o = &w.ours;
    let mut line = vec![o.team.clone()];
    for level in 2..=MOST_TEAM_LEVELS {
        let part = team(&w, &format!("level {level}"), line.last().map(|whole| whole.id));
        assert_eq!(w.store.create_team(&o.scope, part.clone()).await.expect("made"), part);
        assert_eq!(w.store.team(&o.scope, part.id).await.expect("there"), part);
        line.push(part);
    }
    let deepest = line.last().expect("a line").clone();
    assert_error!(w.store.create_team(&o.scope, team(&w, "too deep", Some(deepest.id))).await, StoreError::Invalid(_));
    assert_eq!(w.store.create_team(&o.scope, deepest.clone()).await.expect("again changes nothing"), deepest);
    for parent in [TeamId::new(), w.theirs.team.id] {
        assert_error!(w.store.create_team(&o.scope, team(&w, "of nobody", Some(parent))).await, StoreError::NotFound { .. });
    }
    let taken = team(&w, "crew", Some(o.team.id));
    assert_error!(w.store.create_team(&o.scope, taken).await, StoreError::Exists { .. });
    assert_eq!(w.store.teams(&o.scope).await.expect("listed").len(), MOST_TEAM_LEVELS);
    // Who is in the deepest is in all.
    w.store.set_team_member(&o.scope, deepest.id, o.bob.id, Some(TeamRole::Member)).await.expect("joined");
    assert_eq!(w.store.teams(&o.as_user(&o.bob)).await.expect("listed").len(), MOST_TEAM_LEVELS);
    w.store.set_team_member(&o.scope, deepest.id, o.bob.id, None).await.expect("left");
    assert!(w.store.teams(&o.as_user(&o.bob)).await.expect("listed").is_empty());
}

/// Who is in a part of a team is in the team, with the highest role that was given anywhere, as long as that lasts.
pub async fn who_is_in_a_part_is_in_the_whole(w: World) {
    let o = &w.ours;
    let (whole, part, side) = (team(&w, "a whole", None), team(&w, "b part", None), team(&w, "c side", None));
    let (part, side) = (Team { parent: Some(whole.id), ..part }, Team { parent: Some(whole.id), ..side });
    let inner = team(&w, "d inner", Some(part.id));
    for team in [&whole, &part, &side, &inner] {
        w.store.create_team(&o.scope, team.clone()).await.expect("made");
    }
    let set = async |team: &Team, role| w.store.set_team_member(&o.scope, team.id, o.bob.id, role).await.expect("set");
    // Of bob's teams: the first letter, the role's first letter, and a star where it was given.
    let told = |m: &Membership| {
        let role = if m.role == TeamRole::Lead { 'L' } else { 'm' };
        format!("{}{role}{}", &m.team.name[..1], if m.is_direct { "*" } else { "" })
    };
    let bobs = async || {
        let teams = w.store.user_teams(&o.scope, o.bob.id).await.expect("listed");
        assert!(teams.iter().all(|m| m.user == o.bob));
        assert_eq!(w.store.user_teams(&o.as_user(&o.bob), o.bob.id).await.expect("listed"), teams);
        for m in &teams {
            let members = w.store.team_members(&o.scope, m.team.id).await.expect("listed");
            assert!(members.contains(m), "the same from the other side");
            assert_eq!(w.store.team(&o.as_user(&o.bob), m.team.id).await.expect("there"), m.team);
        }
        teams.iter().map(told).collect::<Vec<_>>().join(" ")
    };
    let (member, lead) = (Some(TeamRole::Member), Some(TeamRole::Lead));
    assert_eq!(bobs().await, "");
    set(&inner, member).await;
    assert_eq!(bobs().await, "am bm dm*");
    set(&side, lead).await;
    assert_eq!(bobs().await, "aL bm cL* dm*");
    set(&whole, member).await;
    assert_eq!(bobs().await, "aL* bm cL* dm*");
    set(&side, member).await;
    assert_eq!(bobs().await, "am* bm cm* dm*");
    set(&inner, lead).await;
    assert_eq!(bobs().await, "aL* bL cm* dL*");
    set(&whole, None).await;
    assert_eq!(bobs().await, "aL bL cm* dL*", "through its parts bob stays in it");
    set(&part, None).await;
    assert_eq!(bobs().await, "aL bL cm* dL*", "not given, so nothing to be taken");
    set(&inner, None).await;
    assert_eq!(bobs().await, "am cm*");
    set(&side, None).await;
    assert_eq!(bobs().await, "");
    assert!(w.store.team_members(&o.scope, whole.id).await.expect("listed").is_empty());
    // Beside others, by handle.
    w.store.set_team_member(&o.scope, inner.id, o.ann.id, lead).await.expect("set");
    set(&whole, member).await;
    let members = w.store.team_members(&o.scope, whole.id).await.expect("listed");
    assert_eq!(
        members.iter().map(|m| (m.user.handle.as_str(), m.role, m.is_direct)).collect::<Vec<_>>(),
        [("ann", TeamRole::Lead, false), ("bob", TeamRole::Member, true)]
    );
    assert_error!(w.store.user_teams(&o.as_user(&o.ann), o.bob.id).await, StoreError::NotFound { .. });
    assert_error!(w.store.user_teams(&o.scope, UserId::new()).await, StoreError::NotFound { .. });
    assert_error!(w.store.user_teams(&o.scope, w.theirs.ann.id).await, StoreError::NotFound { .. });
    // A turn is told of those that its agent may read.
    let seen = w.store.user_teams(&o.as_turn(&o.agent, Some(&o.ann)), o.ann.id).await.expect("listed");
    assert_eq!(seen.iter().map(|m| m.team.name.as_str()).collect::<Vec<_>>(), ["crew"]);
}

/// A person finds those who are in a team with her, and nobody else; lists show nobody else at all.
pub async fn people_know_who_is_in_a_team_with_them(w: World) {
    let o = &w.ours;
    let (ann, turn) = (o.as_user(&o.ann), o.as_turn(&o.agent, Some(&o.ann)));
    let part = w.store.create_team(&o.scope, team(&w, "part", Some(o.team.id))).await.expect("made");
    for role in [None, Some(TeamRole::Member), None] {
        w.store.set_team_member(&o.scope, part.id, o.bob.id, role).await.expect("set");
        for found in [w.store.user(&ann, o.bob.id).await, w.store.user_by_handle(&ann, "bob").await] {
            match role {
                Some(_) => assert_eq!(found.expect("known"), o.bob),
                None => assert_error!(found, StoreError::NotFound { .. }),
            }
        }
        assert_error!(w.store.user(&turn, o.bob.id).await, StoreError::NotFound { .. });
        assert_eq!(w.store.users(&ann, page(None, 10)).await.expect("listed").items, std::slice::from_ref(&o.ann));
    }
}

/// Agents come back as they were made, by id and name, and may be changed.
pub async fn agents_are_made_and_changed(w: World) {
    let o = &w.ours;
    let mut spec = AgentSpec::new("cook", "scripted");
    (spec.context_window, spec.max_output, spec.temperature) = (Some(Tokens(4_096)), Some(Tokens(512)), Some(0.25));
    spec.tools = Some(vec!["conversation_search".into()]);
    spec.metadata.insert("colour".into(), "green".into());
    let made = w.store.create_agent(&o.scope, AgentId::new(), spec.clone(), vec![o.team.id]).await.expect("made");
    assert_eq!((&made.spec, &made.teams, made.created_at), (&spec, &vec![o.team.id], w.now()));
    assert_eq!(w.store.agent(&o.scope, made.id).await.expect("there"), made);
    assert_eq!(w.store.agent_by_name(&o.scope, "cook").await.expect("there"), made);
    assert_error!(w.store.create_agent(&o.scope, AgentId::new(), spec.clone(), vec![]).await, StoreError::Exists { .. });
    let random = w.store.create_agent(&o.scope, AgentId::new(), AgentSpec::new("x", "m"), vec![TeamId::new()]).await;
    assert_error!(random, StoreError::NotFound { .. });
    let foreign = w.store.create_agent(&o.scope, AgentId::new(), AgentSpec::new("x", "m"), vec![w.theirs.team.id]).await;
    assert_error!(foreign, StoreError::NotFound { .. });
    w.wait(60);
    let renamed = AgentSpec { name: "chef".into(), ..spec.clone() };
    let changed = w.store.update_agent(&o.scope, made.id, renamed, vec![]).await.expect("changed");
    assert_eq!(
        (changed.spec.name.as_str(), changed.teams.len(), changed.created_at, changed.updated_at),
        ("chef", 0, made.created_at, w.now())
    );
    assert_eq!(w.store.agent(&o.scope, made.id).await.expect("there"), changed);
    assert_error!(w.store.agent_by_name(&o.scope, "cook").await, StoreError::NotFound { .. });
    let taken = AgentSpec { name: "sid".into(), ..spec };
    assert_error!(w.store.update_agent(&o.scope, made.id, taken, vec![]).await, StoreError::Exists { .. });
    let names: Vec<String> =
        w.store.agents(&o.scope, page(None, 10)).await.expect("listed").items.into_iter().map(|a| a.spec.name).collect();
    assert_eq!((names.len(), names.last().map(String::as_str)), (3, Some("chef")), "oldest first");
}

/// The same key opens the same conversation, for this agent and user; another user's key is another conversation.
pub async fn a_key_opens_one_conversation(w: World) {
    let o = &w.ours;
    let open = async |agent: AgentId, user: Option<UserId>, key: Option<&str>| {
        let new = NewConversation { agent, user, key: key.map(str::to_owned) };
        w.store.open_conversation(&o.scope, ConversationId::new(), new).await.expect("opened")
    };
    let (first, is_new) = open(o.agent.id, Some(o.ann.id), Some("thread-1")).await;
    assert!(is_new);
    assert_eq!((first.agent, first.user, first.key.as_deref(), first.created_at), (o.agent.id, Some(o.ann.id), Some("thread-1"), w.now()));
    assert_eq!(open(o.agent.id, Some(o.ann.id), Some("thread-1")).await, (first.clone(), false));
    for (agent, user, key) in [
        (o.agent.id, Some(o.bob.id), Some("thread-1")),
        (o.other_agent.id, Some(o.ann.id), Some("thread-1")),
        (o.agent.id, None, Some("thread-1")),
        (o.agent.id, Some(o.ann.id), Some("thread-2")),
        (o.agent.id, Some(o.ann.id), None),
        (o.agent.id, Some(o.ann.id), None),
    ] {
        assert!(open(agent, user, key).await.1, "another conversation");
    }
    assert!(!open(o.agent.id, None, Some("thread-1")).await.1, "those without a human have keys, too");
    assert_eq!(w.store.conversation(&o.scope, first.id).await.expect("there"), first);
    let again = NewConversation { agent: o.agent.id, user: Some(o.ann.id), key: Some("thread-1".into()) };
    assert_eq!(w.store.open_conversation(&o.scope, first.id, again).await.expect("a repetition"), (first, false));
    let new = NewConversation { agent: AgentId::new(), user: None, key: None };
    assert_error!(w.store.open_conversation(&o.scope, ConversationId::new(), new).await, StoreError::NotFound { .. });
}

/// Conversations are listed newest first, of one agent, one user, or all, in pages.
pub async fn conversations_are_listed_newest_first(w: World) {
    let o = &w.ours;
    let mut ids = Vec::new();
    for (agent, user) in [(&o.agent, &o.ann), (&o.agent, &o.bob), (&o.other_agent, &o.ann), (&o.agent, &o.ann)] {
        ids.insert(0, w.open(o, agent, Some(user)).await.id);
        w.wait(1);
    }
    let list = async |agent: Option<AgentId>, user: Option<UserId>| {
        let listed = w.store.conversations(&o.scope, agent, user, page(None, 10)).await.expect("listed");
        listed.items.into_iter().map(|c| c.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None).await, ids);
    assert_eq!(list(Some(o.agent.id), None).await, [ids[0], ids[2], ids[3]]);
    assert_eq!(list(None, Some(o.ann.id)).await, [ids[0], ids[1], ids[3]]);
    assert_eq!(list(Some(o.agent.id), Some(o.bob.id)).await, [ids[2]]);
    assert!(list(Some(AgentId::new()), None).await.is_empty());
    let first = w.store.conversations(&o.scope, None, None, page(None, 3)).await.expect("a page");
    let second = w.store.conversations(&o.scope, None, None, page(first.next, 3)).await.expect("a page");
    assert_eq!((second.items.len(), second.items[0].id, second.next), (1, ids[3], None));
}

/// A person reads the tenant's agents, herself, her teams and her conversations, and opens her own; nothing else.
pub async fn people_see_their_part_of_the_directory(w: World) {
    let o = &w.ours;
    let (ann, bob) = (o.as_user(&o.ann), o.as_user(&o.bob));
    assert_eq!(w.store.agents(&ann, page(None, 10)).await.expect("listed").items.len(), 2);
    w.store.agent(&ann, o.other_agent.id).await.expect("there");
    assert_eq!(w.store.users(&ann, page(None, 10)).await.expect("listed").items, std::slice::from_ref(&o.ann));
    assert_error!(w.store.user(&ann, o.bob.id).await, StoreError::NotFound { .. });
    assert_error!(w.store.user_by_handle(&ann, "bob").await, StoreError::NotFound { .. });
    assert_eq!(w.store.teams(&ann).await.expect("listed"), std::slice::from_ref(&o.team));
    assert!(w.store.teams(&bob).await.expect("listed").is_empty());
    assert_error!(w.store.team(&bob, o.team.id).await, StoreError::NotFound { .. });
    assert_error!(w.store.team_members(&bob, o.team.id).await, StoreError::NotFound { .. });
    let anns = w.talk(&o.ann).await;
    w.talk(&o.bob).await;
    w.open(o, &o.agent, None).await;
    let listed = w.store.conversations(&ann, None, None, page(None, 10)).await.expect("listed").items;
    assert_eq!(listed.iter().map(|c| c.id).collect::<Vec<_>>(), [anns.id]);
    let open = async |user| {
        let new = NewConversation { agent: o.agent.id, user, key: None };
        w.store.open_conversation(&ann, ConversationId::new(), new).await
    };
    open(Some(o.ann.id)).await.expect("her own");
    assert_error!(open(Some(o.bob.id)).await, StoreError::NotFound { .. });
    assert_error!(open(None).await, StoreError::NotFound { .. });
}

/// Only the application manages the directory.
pub async fn people_and_turns_do_not_manage(w: World) {
    let o = &w.ours;
    for scope in [o.as_user(&o.ann), o.as_turn(&o.agent, Some(&o.ann))] {
        assert_error!(w.store.create_user(&scope, user(&w, "mallory")).await, StoreError::NotFound { .. });
        assert_error!(w.store.update_user(&scope, User { display_name: "x".into(), ..o.bob.clone() }).await, StoreError::NotFound { .. });
        let team = Team { id: TeamId::new(), name: "mine".into(), parent: None, created_at: w.now() };
        assert_error!(w.store.create_team(&scope, team).await, StoreError::NotFound { .. });
        assert_error!(w.store.set_team_member(&scope, o.team.id, o.bob.id, Some(TeamRole::Member)).await, StoreError::NotFound { .. });
        let spec = AgentSpec::new("mine", "m");
        assert_error!(w.store.create_agent(&scope, AgentId::new(), spec.clone(), vec![]).await, StoreError::NotFound { .. });
        assert_error!(w.store.update_agent(&scope, o.agent.id, spec, vec![]).await, StoreError::NotFound { .. });
    }
    assert_eq!(w.store.users(&o.scope, page(None, 10)).await.expect("listed").items.len(), 2);
    assert_eq!(w.store.agent(&o.scope, o.agent.id).await.expect("there"), o.agent);
}
