//! Items of the context service: who reads and writes them, and sharing.

use sid_store::{Below, ItemFilter, NewItem, StoreError, Whose, Written};
use sid_types::{
    Item, ItemId, ItemKind, KeyId, OperatorScope, Owner, Scope, ShareLevel, Sharee, Team, TeamId, TeamRole, TenantId, User, UserId,
};

use super::World;
use super::items::{ALL, below, change, delete, make, titled, titles};
use super::world::assert_error;

impl World {
    pub(super) async fn level(&self, scope: &Scope, item: &Item) -> Option<ShareLevel> {
        match self.store.item(scope, item.id).await {
            Ok(seen) => Some(seen.level),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) async fn share(&self, scope: &Scope, item: &Item, with: Sharee, level: ShareLevel) {
        self.store.share_item(scope, item.id, with, Some(level)).await.expect("shared");
    }

    /// Puts a person into our team.
    async fn join(&self, user: &User) {
        let o = &self.ours;
        self.store.set_team_member(&o.scope, o.team.id, user.id, Some(TeamRole::Member)).await.expect("joined");
    }

    /// What of change, add and delete works: each on items that are there for it alone.
    async fn may(&self, scope: &Scope, top: &Item) -> (bool, bool, bool) {
        let worked = |outcome: Result<Written, StoreError>| match outcome {
            Ok(_) => true,
            Err(StoreError::Forbidden { .. }) => false,
            Err(error) => panic!("{error}"),
        };
        let spare = self.make(&self.ours.scope, below(top, "spare")).await;
        let changed = worked(self.put(scope, change(top, titled("changed"))).await);
        let added = worked(self.put(scope, make(below(top, "added"))).await);
        let deleted = worked(self.put(scope, delete(&spare)).await);
        (changed, added, deleted)
    }
}

const READ: (bool, bool, bool) = (false, false, false);
const EDIT: (bool, bool, bool) = (true, true, false);
const FULL: (bool, bool, bool) = (true, true, true);

/// A user's items are read and written by the user and by each of the user's assistants.
pub async fn a_users_items_are_all_assistants(w: World) {
    let o = &w.ours;
    let item = w.note(&o.as_turn(&o.agent, Some(&o.ann)), w.anns(), "hers").await;
    for scope in [o.scope, o.as_user(&o.ann), o.as_turn(&o.agent, Some(&o.ann)), o.as_turn(&o.other_agent, Some(&o.ann))] {
        assert_eq!(w.level(&scope, &item).await, Some(ShareLevel::Full));
        assert_eq!(w.may(&scope, &item).await, FULL);
    }
    for scope in [o.as_user(&o.bob), o.as_turn(&o.agent, Some(&o.bob)), o.as_turn(&o.agent, None), w.theirs.scope] {
        assert_eq!(w.level(&scope, &item).await, None);
        assert_error!(w.put(&scope, make(NewItem::new(ItemKind::Note, w.anns(), "x"))).await, StoreError::NotFound { .. });
    }
}

/// What one assistant keeps for its user, the user's other assistants read and do not write.
pub async fn what_an_assistant_keeps_the_others_read(w: World) {
    let o = &w.ours;
    let item = w.note(&o.as_turn(&o.agent, Some(&o.ann)), o.pair(), "kept").await;
    for scope in [o.scope, o.as_user(&o.ann), o.as_turn(&o.agent, Some(&o.ann))] {
        assert_eq!(w.level(&scope, &item).await, Some(ShareLevel::Full));
        assert_eq!(w.may(&scope, &item).await, FULL);
    }
    let other = o.as_turn(&o.other_agent, Some(&o.ann));
    assert_eq!(w.level(&other, &item).await, Some(ShareLevel::Read));
    assert_eq!(w.may(&other, &item).await, READ);
    assert_error!(w.put(&other, make(NewItem::new(ItemKind::Note, o.pair(), "x"))).await, StoreError::Forbidden { .. });
    assert_error!(w.put(&other, delete(&item)).await, StoreError::Forbidden { .. });
    let own = Owner::Pair { agent: o.other_agent.id, user: o.ann.id };
    w.wait(1);
    w.note(&other, own, "its own").await;
    let levels: Vec<(String, ShareLevel)> = w
        .list(&other, &ItemFilter { below: Some(Below::Tops), ..ItemFilter::of(Whose::User(o.ann.id)) })
        .await
        .into_iter()
        .map(|seen| (seen.item.title, seen.level))
        .collect();
    assert_eq!(levels, [("its own".into(), ShareLevel::Full), ("changed".into(), ShareLevel::Read)]);
    for scope in [o.as_user(&o.bob), o.as_turn(&o.agent, Some(&o.bob)), o.as_turn(&o.agent, None), w.theirs.scope] {
        assert_eq!(w.level(&scope, &item).await, None);
    }
}

/// Items of teams, agents and the tenant have the rights of their memory.
pub async fn items_of_many_have_their_rights(w: World) {
    let o = &w.ours;
    let (ann, bob) = (o.as_user(&o.ann), o.as_user(&o.bob));
    let (turn, other, alone) = (o.as_turn(&o.agent, Some(&o.ann)), o.as_turn(&o.other_agent, Some(&o.ann)), o.as_turn(&o.agent, None));
    let (full, read) = (Some(ShareLevel::Full), Some(ShareLevel::Read));
    let table = [
        (Owner::Tenant, [full, read, read, read, read, read]),
        (Owner::Team { team: o.team.id }, [full, full, None, read, None, None]),
        (Owner::Agent { agent: o.agent.id }, [full, None, None, read, None, full]),
    ];
    for (owner, levels) in table {
        let item = w.note(&o.scope, owner, "of many").await;
        for (scope, level) in [o.scope, ann, bob, turn, other, alone].into_iter().zip(levels) {
            assert_eq!(w.level(&scope, &item).await, level, "{owner:?} for {:?}", scope.principal());
            let own = w.put(&scope, make(NewItem::new(ItemKind::Note, owner, "x"))).await;
            let listed = w.store.items(&scope, &ItemFilter::of(Whose::Owner(owner)), ALL()).await;
            match level {
                Some(ShareLevel::Full) => assert!(own.is_ok() && listed.is_ok()),
                Some(_) => {
                    assert_error!(own, StoreError::Forbidden { .. });
                    assert!(listed.is_ok_and(|page| page.items.iter().all(|seen| Some(seen.level) == level)));
                    assert_eq!(w.may(&scope, &item).await, READ);
                }
                None => {
                    assert_error!(own, StoreError::NotFound { .. });
                    assert_error!(listed, StoreError::NotFound { .. });
                }
            }
        }
    }
    assert_error!(
        w.put(&o.scope, make(NewItem::new(ItemKind::Note, Owner::Team { team: TeamId::new() }, "x"))).await,
        StoreError::NotFound { .. }
    );
}

/// A foreign item answers as a random one does, from every method.
pub async fn strangers_get_nothing(w: World) {
    let o = &w.ours;
    w.join(&o.bob).await;
    let item = w.note(&o.scope, w.anns(), "rutabaga").await;
    w.share(&o.scope, &item, Sharee::User { user: o.bob.id }, ShareLevel::Full).await;
    let knock = async |scope: &Scope, item: &Item, owner: Owner, user: UserId| -> Vec<(&'static str, String)> {
        fn told<T>(name: &'static str, outcome: Result<T, StoreError>) -> (&'static str, String) {
            (name, outcome.map_or_else(|error| format!("{} {error}", error.code()), |_| "it worked".into()))
        }
        let s = &w.store;
        let list = async |filter: ItemFilter| s.items(scope, &filter, ALL()).await;
        let own = ItemFilter::of(Whose::User(user));
        vec![
            told("item", s.item(scope, item.id).await),
            told("make", w.put(scope, make(NewItem::new(ItemKind::Note, owner, "x"))).await),
            told("make below", w.put(scope, make(below(item, "x"))).await),
            told("change", w.put(scope, change(item, titled("x"))).await),
            told("delete", w.put(scope, delete(item)).await),
            told("share", s.share_item(scope, item.id, Sharee::User { user: o.bob.id }, Some(ShareLevel::Read)).await),
            told("unshare", s.share_item(scope, item.id, Sharee::User { user: o.bob.id }, None).await),
            told("shares", s.shares(scope, item.id).await),
            told("of a user", list(own.clone()).await),
            told("of an owner", list(ItemFilter::of(Whose::Owner(owner))).await),
            told("shared with", list(ItemFilter::of(Whose::SharedWith(user))).await),
            told("parts", list(ItemFilter { below: Some(Below::Parent(item.id)), ..own.clone() }).await),
            told("tree", list(ItemFilter { below: Some(Below::Tree(item.id)), ..own }).await),
        ]
    };
    let mallory = User { id: UserId::new(), handle: "mallory".into(), ..o.bob.clone() };
    let mallory = w.store.create_user(&o.scope, mallory).await.expect("made");
    let t = &w.theirs;
    for scope in [
        o.as_user(&mallory),
        o.as_turn(&o.agent, Some(&mallory)),
        o.as_turn(&o.agent, None),
        t.scope,
        t.as_user(&t.ann),
        t.as_user(&o.ann),
        t.as_turn(&o.agent, Some(&o.ann)),
    ] {
        let foreign = knock(&scope, &item, w.anns(), o.ann.id).await;
        let user = UserId::new();
        let random = knock(&scope, &Item { id: ItemId::new(), ..item.clone() }, Owner::User { user }, user).await;
        for ((name, foreign), (_, random)) in foreign.into_iter().zip(random) {
            assert!(foreign.starts_with("SID-STORE-NOT-FOUND"), "{name} for {:?}: {foreign}", scope.principal());
            assert_eq!(foreign, random, "{name} tells a foreign id from a random one");
        }
        assert!(w.find(&scope, "rutabaga").await.is_empty());
    }
    assert_error!(w.store.items(&o.as_user(&o.ann), &ItemFilter::of(Whose::Everybody), ALL()).await, StoreError::NotFound { .. });
    assert_eq!(w.store.item(&o.scope, item.id).await.expect("there").item, item);
    assert_eq!(w.store.shares(&o.scope, item.id).await.expect("visible").len(), 1);
    let nowhere = OperatorScope::grant().enter(TenantId::new(), KeyId::new());
    assert_error!(w.store.item(&nowhere, item.id).await, StoreError::NotFound { .. });
    assert_error!(w.store.items(&nowhere, &ItemFilter::of(Whose::Owner(Owner::Tenant)), ALL()).await, StoreError::NotFound { .. });
    assert_error!(w.store.write_items(&nowhere, vec![delete(&item)]).await, StoreError::NotFound { .. });
}

/// A share lets others read, or edit, or delete below the top: the person and all of the person's assistants, the whole tree.
pub async fn shares_have_levels(w: World) {
    let o = &w.ours;
    let top = w.make(&o.scope, NewItem::new(ItemKind::Project, w.anns(), "shared")).await;
    let early = w.make(&o.scope, below(&top, "early")).await;
    let with = Sharee::User { user: o.bob.id };
    let scopes = [o.as_user(&o.bob), o.as_turn(&o.agent, Some(&o.bob)), o.as_turn(&o.other_agent, Some(&o.bob))];
    for (level, may) in [(ShareLevel::Read, READ), (ShareLevel::Full, FULL), (ShareLevel::Edit, EDIT)] {
        w.share(&o.scope, &top, with, level).await;
        let late = w.make(&o.scope, below(&early, "late")).await;
        for scope in scopes {
            for item in [&top, &early, &late] {
                assert_eq!(w.level(&scope, item).await, Some(level));
            }
            assert_eq!(w.may(&scope, &top).await, may, "{level:?}");
            assert_error!(w.put(&scope, delete(&top)).await, StoreError::Forbidden { .. });
        }
    }
    let changed = w.change(&scopes[1], &early, titled("by bob's assistant")).await;
    assert_eq!((changed.owner, changed.written_by), (top.owner, Some(o.agent.id)));
    let added = w.make(&scopes[0], below(&top, "rutabaga")).await;
    assert_eq!(added.owner, top.owner, "what somebody adds is the owner's");
    assert_eq!(w.find(&o.as_user(&o.ann), "rutabaga").await, ["rutabaga"]);
    assert!(w.find(&scopes[0], "rutabaga").await.is_empty(), "memory is not shared with it");
    for scope in [o.as_turn(&o.agent, None), w.theirs.as_user(&o.bob), w.theirs.scope] {
        assert_eq!(w.level(&scope, &top).await, None);
    }
}

/// What is shared is listed by its tops, for the one with whom it is.
pub async fn what_is_shared_is_listed(w: World) {
    let o = &w.ours;
    w.join(&o.bob).await;
    let first = w.make(&o.scope, NewItem::new(ItemKind::Project, w.anns(), "first")).await;
    w.make(&o.scope, below(&first, "part")).await;
    w.wait(1);
    let second = w.make(&o.scope, NewItem::new(ItemKind::Page, o.pair(), "second")).await;
    let his = Owner::User { user: o.bob.id };
    let own = w.make(&o.scope, NewItem::new(ItemKind::Page, his, "his own")).await;
    w.make(&o.scope, NewItem::new(ItemKind::Page, w.anns(), "not shared")).await;
    let bob = Sharee::User { user: o.bob.id };
    w.share(&o.scope, &first, bob, ShareLevel::Read).await;
    w.share(&o.scope, &first, Sharee::Team { team: o.team.id }, ShareLevel::Edit).await;
    w.share(&o.scope, &second, bob, ShareLevel::Full).await;
    w.share(&o.as_user(&o.bob), &own, Sharee::Team { team: o.team.id }, ShareLevel::Read).await;
    let listed = async |scope: &Scope, user: &User| -> Vec<(String, ShareLevel)> {
        let filter = ItemFilter::of(Whose::SharedWith(user.id));
        w.list(scope, &filter).await.into_iter().map(|seen| (seen.item.title, seen.level)).collect()
    };
    let both = [("second".to_owned(), ShareLevel::Full), ("first".to_owned(), ShareLevel::Edit)];
    assert_eq!(listed(&o.as_user(&o.bob), &o.bob).await, both, "the higher of two levels, once");
    assert_eq!(listed(&o.as_turn(&o.agent, Some(&o.bob)), &o.bob).await, both);
    let plain = [("second".to_owned(), ShareLevel::Full), ("first".to_owned(), ShareLevel::Read)];
    assert_eq!(listed(&o.as_turn(&o.other_agent, Some(&o.bob)), &o.bob).await, plain, "an agent that may not read the team");
    assert_eq!(listed(&o.scope, &o.bob).await.len(), 2);
    assert_eq!(listed(&o.as_user(&o.ann), &o.ann).await, [("his own".to_owned(), ShareLevel::Read)]);
    let pages = ItemFilter::of(Whose::SharedWith(o.bob.id)).kind(ItemKind::Page);
    assert_eq!(titles(&w.list(&o.as_user(&o.bob), &pages).await), ["second"]);
    let own = ItemFilter::of(Whose::User(o.bob.id));
    assert_eq!(titles(&w.list(&o.as_user(&o.bob), &own).await), ["his own"], "what others share is not one's own");
    let tree = ItemFilter { below: Some(Below::Tree(first.id)), ..own };
    assert_eq!(w.list(&o.as_user(&o.bob), &tree).await.len(), 2, "it goes by the item, whoever owns it");
}

/// What is shared with a team is so with who is in it, or in a part of it, at the time.
pub async fn team_shares_follow_membership(w: World) {
    let o = &w.ours;
    let bob = o.as_user(&o.bob);
    let part = Team { id: TeamId::new(), name: "part".into(), parent: Some(o.team.id), created_at: w.now() };
    let part = w.store.create_team(&o.scope, part).await.expect("made");
    let top = w.make(&o.scope, NewItem::new(ItemKind::Project, w.anns(), "shared")).await;
    w.share(&o.scope, &top, Sharee::Team { team: o.team.id }, ShareLevel::Edit).await;
    let listed = async || w.list(&bob, &ItemFilter::of(Whose::SharedWith(o.bob.id))).await.len();
    assert_eq!((w.level(&bob, &top).await, listed().await), (None, 0));
    for team in [o.team.id, part.id] {
        w.store.set_team_member(&o.scope, team, o.bob.id, Some(TeamRole::Member)).await.expect("joined");
        assert_eq!((w.level(&bob, &top).await, listed().await), (Some(ShareLevel::Edit), 1));
        assert_eq!(w.level(&o.as_turn(&o.agent, Some(&o.bob)), &top).await, Some(ShareLevel::Edit));
        assert_eq!(w.level(&o.as_turn(&o.other_agent, Some(&o.bob)), &top).await, None, "this agent may not read the team");
        w.store.set_team_member(&o.scope, team, o.bob.id, None).await.expect("left");
        assert_eq!((w.level(&bob, &top).await, listed().await), (None, 0));
        assert_error!(w.put(&bob, change(&top, titled("x"))).await, StoreError::NotFound { .. });
    }
}

/// Sharing is changed and ended at once, also with somebody whom its owner does not know any more.
pub async fn sharing_ends_at_once(w: World) {
    let o = &w.ours;
    w.join(&o.bob).await;
    let (ann, bob, with) = (o.as_user(&o.ann), o.as_user(&o.bob), Sharee::User { user: o.bob.id });
    let top = w.make(&ann, NewItem::new(ItemKind::Project, w.anns(), "shared")).await;
    let made = w.now();
    for level in [ShareLevel::Full, ShareLevel::Read, ShareLevel::Read] {
        w.share(&ann, &top, with, level).await;
        assert_eq!(w.level(&bob, &top).await, Some(level));
        w.wait(1);
    }
    w.share(&ann, &top, Sharee::Team { team: o.team.id }, ShareLevel::Read).await;
    let shares = w.store.shares(&ann, top.id).await.expect("visible");
    assert_eq!(shares.iter().map(|s| (s.item, s.with)).collect::<Vec<_>>(), [(top.id, with), (top.id, Sharee::Team { team: o.team.id })]);
    assert_eq!((shares[0].created_at, shares[0].level), (made, ShareLevel::Read), "since when does not change with the level");
    w.store.set_team_member(&o.scope, o.team.id, o.bob.id, None).await.expect("left");
    assert_error!(w.store.share_item(&ann, top.id, with, Some(ShareLevel::Full)).await, StoreError::NotFound { .. });
    for _ in 0..2 {
        w.store.share_item(&ann, top.id, with, None).await.expect("ended");
        assert_eq!(w.level(&bob, &top).await, None);
    }
    assert_eq!(w.store.shares(&ann, top.id).await.expect("visible").len(), 1);
}

/// Only the person whose it is shares it, or the tenant's application; never an assistant, nor one with whom it is shared.
pub async fn only_the_owner_shares(w: World) {
    let o = &w.ours;
    w.join(&o.bob).await;
    let (ann, bob, with) = (o.as_user(&o.ann), o.as_user(&o.bob), Sharee::User { user: o.bob.id });
    for owner in [w.anns(), o.pair()] {
        let top = w.make(&ann, NewItem::new(ItemKind::Page, owner, "hers")).await;
        w.share(&ann, &top, with, ShareLevel::Full).await;
        for scope in [bob, o.as_turn(&o.agent, Some(&o.ann)), o.as_turn(&o.agent, Some(&o.bob))] {
            for level in [Some(ShareLevel::Read), None] {
                assert_error!(w.store.share_item(&scope, top.id, with, level).await, StoreError::Forbidden { .. });
            }
            assert_error!(w.store.shares(&scope, top.id).await, StoreError::Forbidden { .. });
        }
        let part = w.make(&ann, below(&top, "part")).await;
        assert_error!(w.store.share_item(&ann, part.id, with, Some(ShareLevel::Read)).await, StoreError::Invalid(_));
        let random = w.store.share_item(&ann, top.id, Sharee::User { user: UserId::new() }, Some(ShareLevel::Read)).await;
        let told = random.expect_err("nobody").to_string();
        for user in [o.ann.id, w.theirs.bob.id] {
            let refused = w.store.share_item(&ann, top.id, Sharee::User { user }, Some(ShareLevel::Read)).await;
            assert_eq!(refused.expect_err("not with oneself, not with strangers").to_string(), told);
        }
        for team in [TeamId::new(), w.theirs.team.id] {
            let refused = w.store.share_item(&ann, top.id, Sharee::Team { team }, Some(ShareLevel::Read)).await;
            assert_error!(refused, StoreError::NotFound { .. });
        }
    }
    let teams = w.make(&o.scope, NewItem::new(ItemKind::Page, Owner::Team { team: o.team.id }, "the team's")).await;
    assert_error!(w.store.share_item(&ann, teams.id, with, Some(ShareLevel::Read)).await, StoreError::Forbidden { .. });
    w.share(&o.scope, &teams, with, ShareLevel::Read).await;
}

/// Some kinds are never shared.
pub async fn some_kinds_are_never_shared(w: World) {
    let o = &w.ours;
    for kind in ItemKind::ALL {
        let item = w.make(&o.scope, NewItem::new(kind, w.anns(), "one")).await;
        let shared = w.store.share_item(&o.scope, item.id, Sharee::User { user: o.bob.id }, Some(ShareLevel::Read)).await;
        match kind {
            ItemKind::Session | ItemKind::Handoff | ItemKind::Secret | ItemKind::DataKey | ItemKind::Proposal => {
                assert_error!(shared, StoreError::Invalid(_));
                assert_eq!(w.level(&o.as_user(&o.bob), &item).await, None);
            }
            _ => shared.expect("shared"),
        }
    }
}
