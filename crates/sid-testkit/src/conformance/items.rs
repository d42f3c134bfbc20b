//! Items of the context service: who reads and writes them, trees, sharing, lists, and the passages that they are, too.

use std::collections::BTreeSet;

use serde_json::json;
use sid_store::{
    Below, Effect, GenerationId, ITEM_CHANNEL, ItemChange, ItemFilter, ItemWrite, NewItem, PageRequest, SeenItem, StoreError, Whose,
    Written,
};
use sid_types::{
    AgentId, Item, ItemId, ItemKind, KeyId, OperatorScope, Owner, PassageId, Provenance, Scope, ShareLevel, Sharee, Team, TeamId, TeamRole,
    TenantId, User, UserId,
};

use super::World;
use super::world::{assert_error, provenance};

const ALL: fn() -> PageRequest = || PageRequest { after: None, limit: 1_000 };

fn make(new: NewItem) -> ItemWrite {
    ItemWrite::Make(Box::new(new))
}

fn change(item: &Item, change: ItemChange) -> ItemWrite {
    ItemWrite::Change { item: item.id, expected_version: None, change: Box::new(change) }
}

const fn delete(item: &Item) -> ItemWrite {
    ItemWrite::Delete { item: item.id, expected_version: None }
}

fn titled(title: &str) -> ItemChange {
    ItemChange { title: Some(title.into()), provenance: provenance("api"), ..ItemChange::default() }
}

fn below(parent: &Item, title: &str) -> NewItem {
    NewItem { parent: Some(parent.id), ..NewItem::new(ItemKind::Page, parent.owner, title) }
}

fn moved(parent: ItemId) -> ItemChange {
    ItemChange { parent: Some(parent), ..ItemChange::default() }
}

fn titles(items: &[SeenItem]) -> Vec<&str> {
    items.iter().map(|seen| seen.item.title.as_str()).collect()
}

impl World {
    async fn put(&self, scope: &Scope, write: ItemWrite) -> Result<Written, StoreError> {
        let mut written = self.store.write_items(scope, vec![write]).await?;
        assert_eq!(written.len(), 1, "one answer for each write");
        Ok(written.remove(0))
    }

    pub(super) async fn make(&self, scope: &Scope, new: NewItem) -> Item {
        self.put(scope, make(new)).await.expect("an item is made").item().expect("an item is answered")
    }

    async fn note(&self, scope: &Scope, owner: Owner, title: &str) -> Item {
        self.make(scope, NewItem::new(ItemKind::Note, owner, title)).await
    }

    async fn change(&self, scope: &Scope, item: &Item, to: ItemChange) -> Item {
        self.put(scope, change(item, to)).await.expect("an item is changed").item().expect("an item is answered")
    }

    async fn list(&self, scope: &Scope, filter: &ItemFilter) -> Vec<SeenItem> {
        self.store.items(scope, filter, ALL()).await.expect("items are listed").items
    }

    async fn level(&self, scope: &Scope, item: &Item) -> Option<ShareLevel> {
        match self.store.item(scope, item.id).await {
            Ok(seen) => Some(seen.level),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    async fn share(&self, scope: &Scope, item: &Item, with: Sharee, level: ShareLevel) {
        self.store.share_item(scope, item.id, with, Some(level)).await.expect("shared");
    }

    fn anns(&self) -> Owner {
        Owner::User { user: self.ours.ann.id }
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

/// Items come back as they were written, alone and in lists.
pub async fn items_come_back_as_they_were(w: World) {
    let o = &w.ours;
    let talk = w.talk(&o.ann).await;
    let new = NewItem {
        position: -3,
        body: "First line.\nSecond line, with é and \u{1F952}.".into(),
        tags: vec!["food".into(), "two words".into(), "food".into()],
        state: "open".into(),
        recipient: Some(o.other_agent.id),
        data: json!({"n": 1, "list": [true, null, "x"]}).as_object().expect("an object").clone(),
        provenance: Provenance { conversation: Some(talk.id), run: None, user: Some(o.ann.id), channel: "mcp".into() },
        ..NewItem::new(ItemKind::Memory, o.pair(), "Likes pickles")
    };
    let turn = o.as_turn(&o.agent, Some(&o.ann));
    let made = w.make(&turn, new.clone()).await;
    let expected = Item {
        id: new.id,
        kind: ItemKind::Memory,
        owner: o.pair(),
        parent: None,
        root: new.id,
        position: -3,
        title: new.title.clone(),
        body: new.body.clone(),
        tags: vec!["food".into(), "two words".into()],
        state: "open".into(),
        recipient: new.recipient,
        data: new.data.clone(),
        version: 1,
        written_by: Some(o.agent.id),
        provenance: new.provenance.clone(),
        created_at: w.now(),
        updated_at: w.now(),
    };
    assert_eq!(made, expected);
    assert_eq!(w.store.item(&turn, made.id).await.expect("there"), SeenItem { item: expected.clone(), level: ShareLevel::Full });
    let filter = ItemFilter { bodies: true, ..ItemFilter::of(Whose::Owner(o.pair())) };
    assert_eq!(w.list(&turn, &filter).await, [SeenItem { item: expected, level: ShareLevel::Full }]);
    assert_eq!(w.note(&o.as_user(&o.ann), o.pair(), "by hand").await.written_by, None);
    assert!(w.store.write_items(&turn, Vec::new()).await.expect("nothing to do").is_empty());
}

/// A change touches what it names, counts, and says who made it; one that was made for another version is a conflict.
pub async fn changes_count_versions(w: World) {
    let o = &w.ours;
    let turn = o.as_turn(&o.agent, Some(&o.ann));
    let new = NewItem {
        body: "as it was".into(),
        tags: vec!["old".into()],
        recipient: Some(o.agent.id),
        state: "open".into(),
        ..NewItem::new(ItemKind::Memory, w.anns(), "One")
    };
    let made = w.make(&o.as_user(&o.ann), new).await;
    w.wait(5);
    let second = w.change(&turn, &made, titled("Two")).await;
    let expected = Item {
        title: "Two".into(),
        version: 2,
        written_by: Some(o.agent.id),
        provenance: provenance("api"),
        updated_at: w.now(),
        ..made.clone()
    };
    assert_eq!(second, expected);
    let all = ItemChange {
        title: None,
        body: Some(String::new()),
        tags: Some(vec!["new".into(), "new".into()]),
        state: Some("done".into()),
        position: Some(7),
        parent: None,
        recipient: Some(None),
        data: Some(json!({"k": "v"}).as_object().expect("an object").clone()),
        provenance: provenance("tool"),
    };
    let stale = ItemWrite::Change { item: made.id, expected_version: Some(1), change: Box::new(all.clone()) };
    assert_error!(w.put(&turn, stale).await, StoreError::Conflict { expected: 1, found: 2 });
    assert_eq!(w.store.item(&turn, made.id).await.expect("there").item, second);
    let fresh = ItemWrite::Change { item: made.id, expected_version: Some(2), change: Box::new(all) };
    let third = w.put(&o.as_user(&o.ann), fresh).await.expect("changed").item().expect("an item");
    assert_eq!((third.version, third.written_by, third.body.as_str(), &third.tags), (3, None, "", &vec!["new".to_owned()]));
    assert_eq!((third.state.as_str(), third.position, third.recipient), ("done", 7, None));
    assert_eq!((third.data.len(), third.provenance.channel.as_str()), (1, "tool"));
    assert_eq!(w.store.item(&turn, made.id).await.expect("there").item, third);
    assert_error!(
        w.put(&turn, ItemWrite::Delete { item: made.id, expected_version: Some(2) }).await,
        StoreError::Conflict { expected: 2, found: 3 }
    );
    assert_error!(w.put(&turn, change(&Item { id: ItemId::new(), ..third }, titled("x"))).await, StoreError::NotFound { .. });
}

/// Two writes of one item at one moment still have an order in time.
pub async fn writes_at_one_moment_have_an_order(w: World) {
    let o = &w.ours;
    let first = w.note(&o.scope, w.anns(), "first").await;
    let other = w.note(&o.scope, w.anns(), "other").await;
    let second = w.change(&o.scope, &first, titled("second")).await;
    let third = w.change(&o.scope, &first, titled("third")).await;
    assert!(first.updated_at < second.updated_at && second.updated_at < third.updated_at, "{first:?} {second:?} {third:?}");
    assert_eq!(w.store.item(&o.scope, first.id).await.expect("there").item.updated_at, third.updated_at, "as it was answered");
    assert_eq!(titles(&w.list(&o.scope, &ItemFilter::of(Whose::Owner(w.anns()))).await), ["third", "other"]);
    assert_eq!(other.updated_at, first.updated_at);
}

/// Writes of one call are written all or none, in their order: each sees those before it.
pub async fn writes_are_all_or_none(w: World) {
    let o = &w.ours;
    let known = w.note(&o.scope, w.anns(), "known").await;
    let new = NewItem::new(ItemKind::Note, w.anns(), "rutabaga");
    let (id, stale) = (new.id, ItemWrite::Change { item: known.id, expected_version: Some(9), change: Box::new(titled("x")) });
    let writes = vec![make(new.clone()), change(&known, titled("rutabaga too")), stale];
    assert_error!(w.store.write_items(&o.scope, writes).await, StoreError::Conflict { .. });
    assert_error!(w.store.item(&o.scope, id).await, StoreError::NotFound { .. });
    assert_eq!(w.store.item(&o.scope, known.id).await.expect("there").item, known);
    assert!(w.find(&o.scope, "rutabaga").await.is_empty(), "no passage is left of it");
    let top = NewItem::new(ItemKind::Project, w.anns(), "top");
    let part = NewItem { parent: Some(top.id), ..NewItem::new(ItemKind::Section, w.anns(), "part") };
    let renamed = ItemWrite::Change { item: part.id, expected_version: Some(1), change: Box::new(titled("part, renamed")) };
    let top_id = top.id;
    let gone = ItemWrite::Delete { item: known.id, expected_version: Some(1) };
    let written = w.store.write_items(&o.scope, vec![make(top), make(part), renamed, gone]).await.expect("written");
    let [Written::Item(_), Written::Item(made), Written::Item(changed), Written::Deleted(1)] = written.as_slice() else {
        panic!("{written:?}")
    };
    assert_eq!((made.root, made.version, changed.id, changed.version), (top_id, 1, made.id, 2));
}

/// An id is taken once, by an item or by a passage.
pub async fn the_same_id_again_is_refused(w: World) {
    let o = &w.ours;
    let new = NewItem::new(ItemKind::Note, w.anns(), "once");
    w.make(&o.scope, new.clone()).await;
    assert_error!(w.put(&o.scope, make(NewItem { title: "twice".into(), ..new.clone() })).await, StoreError::Exists { .. });
    assert_error!(w.put(&o.as_user(&o.ann), make(new.clone())).await, StoreError::Exists { .. });
    assert_eq!(w.store.item(&o.scope, new.id).await.expect("there").item.title, "once");
    let theirs = NewItem { owner: Owner::Tenant, ..new };
    w.make(&w.theirs.scope, theirs).await;
    let passage = w.keep(o, w.anns(), "a passage of its own").await;
    let same = NewItem { id: ItemId::from_uuid(passage.uuid()), ..NewItem::new(ItemKind::Note, w.anns(), "same") };
    assert_error!(w.put(&o.scope, make(same)).await, StoreError::Exists { .. });
    assert_eq!(w.store.passage(&o.scope, passage).await.expect("there").text, "a passage of its own");
    let each = (0..8).map(|n| {
        let new = NewItem { id: ItemId::from_uuid(w.theirs.ann.id.uuid()), ..NewItem::new(ItemKind::Memory, w.anns(), format!("n{n}")) };
        w.store.write_items(&o.scope, vec![make(new)])
    });
    let outcomes = futures::future::join_all(each).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(StoreError::Exists { .. }))), "{outcomes:?}");
}

/// Of several who change one version at once, one does.
pub async fn of_several_who_change_one_version_one_does(w: World) {
    let o = &w.ours;
    let item = w.note(&o.scope, w.anns(), "as it was").await;
    let each = (0..8).map(|n| {
        let change = ItemWrite::Change { item: item.id, expected_version: Some(1), change: Box::new(titled(&format!("n{n}"))) };
        w.store.write_items(&o.scope, vec![change])
    });
    let outcomes = futures::future::join_all(each).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.iter().all(|o| matches!(o, Ok(_) | Err(StoreError::Conflict { expected: 1, found: 2 }))), "{outcomes:?}");
    assert_eq!(w.find(&o.scope, "was").await.len(), 0);
    let without = (0..8).map(|n| w.store.write_items(&o.scope, vec![change(&item, titled(&format!("m{n}")))]));
    for outcome in futures::future::join_all(without).await {
        outcome.expect("changed");
    }
    assert_eq!(w.store.item(&o.scope, item.id).await.expect("there").item.version, 10);
}

/// Items have parts: one tree has one top and one owner.
pub async fn trees_have_one_top_and_one_owner(w: World) {
    let o = &w.ours;
    let top = w.note(&o.scope, w.anns(), "top").await;
    let a = w.make(&o.scope, below(&top, "a")).await;
    w.wait(1);
    let b = w.make(&o.scope, below(&top, "b")).await;
    w.wait(1);
    let deep = w.make(&o.scope, below(&a, "deep")).await;
    w.wait(1);
    let apart = w.note(&o.scope, w.anns(), "apart").await;
    assert_eq!((top.root, top.parent), (top.id, None));
    for (item, parent) in [(&a, &top), (&b, &top), (&deep, &a)] {
        assert_eq!((item.root, item.parent, item.owner), (top.id, Some(parent.id), top.owner));
    }
    let at = async |place: Below| {
        let filter = ItemFilter { below: Some(place), ..ItemFilter::of(Whose::User(o.ann.id)) };
        titles(&w.list(&o.scope, &filter).await).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(at(Below::Tops).await, ["apart", "top"]);
    assert_eq!(at(Below::Parent(top.id)).await, ["b", "a"]);
    assert_eq!(at(Below::Parent(a.id)).await, ["deep"]);
    assert!(at(Below::Parent(deep.id)).await.is_empty());
    assert_eq!(at(Below::Tree(top.id)).await, ["deep", "b", "a", "top"]);
    assert_eq!(at(Below::Tree(deep.id)).await, ["deep", "b", "a", "top"], "the tree that it is in");
    let foreign = NewItem { owner: o.pair(), ..below(&top, "another's") };
    assert_error!(w.put(&o.scope, make(foreign)).await, StoreError::Invalid(_));
    let nowhere = NewItem { parent: Some(ItemId::new()), ..NewItem::new(ItemKind::Page, w.anns(), "nowhere") };
    assert_error!(w.put(&o.scope, make(nowhere)).await, StoreError::NotFound { .. });
    assert_eq!(w.list(&o.scope, &ItemFilter::of(Whose::Owner(w.anns()))).await.len(), 5, "nothing more: {apart:?}");
}

/// A tree has a depth, for what is made and for what is moved.
pub async fn trees_have_a_depth(w: World) {
    let o = &w.ours;
    let top = w.note(&o.scope, w.anns(), "level 1").await;
    let mut line = vec![top.clone()];
    for level in 2..=Item::DEPTH {
        let parent = line.last().expect("the top");
        line.push(w.make(&o.scope, below(parent, &format!("level {level}"))).await);
    }
    assert_error!(w.put(&o.scope, make(below(&line[Item::DEPTH - 1], "too deep"))).await, StoreError::Invalid(_));
    let side = w.make(&o.scope, below(&top, "side")).await;
    let under = w.make(&o.scope, below(&side, "under")).await;
    assert_error!(w.put(&o.scope, change(&side, moved(line[Item::DEPTH - 2].id))).await, StoreError::Invalid(_));
    w.change(&o.scope, &side, moved(line[Item::DEPTH - 3].id)).await;
    assert_error!(w.put(&o.scope, make(below(&under, "too deep"))).await, StoreError::Invalid(_));
}

/// Items move in their tree: not out of it, not below themselves, and tops do not move.
pub async fn items_move_in_their_tree(w: World) {
    let o = &w.ours;
    let (top, other) = (w.note(&o.scope, w.anns(), "top").await, w.note(&o.scope, w.anns(), "other").await);
    let a = w.make(&o.scope, below(&top, "a")).await;
    let b = w.make(&o.scope, below(&top, "b")).await;
    let under = w.make(&o.scope, below(&a, "under")).await;
    let moved_a = w.change(&o.scope, &a, moved(b.id)).await;
    assert_eq!((moved_a.parent, moved_a.root, moved_a.version, moved_a.title.as_str()), (Some(b.id), top.id, 2, "a"));
    for (item, to) in [(&b, under.id), (&b, b.id), (&b, other.id), (&top, b.id), (&other, top.id), (&a, ItemId::new())] {
        assert_error!(w.put(&o.scope, change(item, moved(to))).await, StoreError::Invalid(_));
    }
    let below_b = ItemFilter { below: Some(Below::Parent(b.id)), ..ItemFilter::of(Whose::User(o.ann.id)) };
    assert_eq!(titles(&w.list(&o.scope, &below_b).await), ["a"]);
    w.change(&o.scope, &under, moved(top.id)).await;
    assert_eq!(w.change(&o.scope, &b, moved(under.id)).await.parent, Some(under.id), "what was below it is not any more");
    assert_eq!(w.put(&o.scope, delete(&under)).await.expect("deleted"), Written::Deleted(3));
}

/// Two moves at once never make a ring.
pub async fn moving_at_once_makes_no_ring(w: World) {
    let o = &w.ours;
    for _ in 0..4 {
        let top = w.note(&o.scope, w.anns(), "top").await;
        let a = w.make(&o.scope, below(&top, "a")).await;
        let b = w.make(&o.scope, below(&top, "b")).await;
        let (one, other) = futures::join!(
            w.store.write_items(&o.scope, vec![change(&a, moved(b.id))]),
            w.store.write_items(&o.scope, vec![change(&b, moved(a.id))]),
        );
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        assert_error!(one.and(other), StoreError::Invalid(_));
        assert_eq!(w.put(&o.scope, delete(&top)).await.expect("deleted"), Written::Deleted(3));
    }
}

/// Deleting takes what is below, tells how many, and leaves the rest.
pub async fn deleting_takes_what_is_below(w: World) {
    let o = &w.ours;
    let top = w.note(&o.scope, w.anns(), "rutabaga").await;
    let a = w.make(&o.scope, NewItem { body: "rutabaga".into(), ..below(&top, "a") }).await;
    let b = w.make(&o.scope, below(&top, "rutabaga b")).await;
    let deep = w.make(&o.scope, below(&a, "rutabaga deep")).await;
    let apart = w.note(&o.scope, w.anns(), "rutabaga apart").await;
    w.share(&o.scope, &top, Sharee::User { user: o.bob.id }, ShareLevel::Read).await;
    assert_eq!(w.put(&o.scope, delete(&a)).await.expect("deleted"), Written::Deleted(2));
    for gone in [&a, &deep] {
        assert_error!(w.store.item(&o.scope, gone.id).await, StoreError::NotFound { .. });
        assert_error!(w.put(&o.scope, delete(gone)).await, StoreError::NotFound { .. });
    }
    assert_eq!(w.find(&o.scope, "rutabaga").await, ["rutabaga", "rutabaga apart", "rutabaga b"]);
    assert_eq!(w.put(&o.scope, delete(&top)).await.expect("deleted"), Written::Deleted(2));
    assert_eq!(w.find(&o.scope, "rutabaga").await, ["rutabaga apart"]);
    assert_eq!(titles(&w.list(&o.scope, &ItemFilter::of(Whose::Owner(w.anns()))).await), ["rutabaga apart"]);
    let again = w.make(&o.scope, NewItem { id: top.id, ..NewItem::new(ItemKind::Note, w.anns(), "again") }).await;
    assert_eq!(w.level(&o.as_user(&o.bob), &again).await, None, "its shares went with it: {b:?} {apart:?}");
}

/// Nothing is left below a tree that somebody adds to while it is deleted.
pub async fn adding_while_deleting_leaves_nothing_behind(w: World) {
    let o = &w.ours;
    let top = w.note(&o.scope, w.anns(), "top").await;
    let part = w.make(&o.scope, below(&top, "part")).await;
    let adding = (0..6).map(|n| w.store.write_items(&o.scope, vec![make(below(&part, &format!("rutabaga {n}")))]));
    let (added, deleted) = futures::join!(futures::future::join_all(adding), w.put(&o.scope, delete(&top)));
    assert!(added.iter().all(|outcome| matches!(outcome, Ok(_) | Err(StoreError::NotFound { .. }))), "{added:?}");
    let Written::Deleted(count) = deleted.expect("deleted") else { panic!("it tells how many") };
    assert_eq!(count, 2 + added.iter().filter(|outcome| outcome.is_ok()).count() as u64);
    assert!(w.list(&o.scope, &ItemFilter::of(Whose::Owner(w.anns()))).await.is_empty());
    assert!(w.find(&o.scope, "rutabaga").await.is_empty());
}

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

/// Lists are read in pages without gaps or repeats, the last changed first.
pub async fn items_are_listed_in_pages(w: World) {
    let o = &w.ours;
    let kinds = [ItemKind::Session, ItemKind::Secret, ItemKind::Proposal];
    let mut expected = Vec::new();
    for batch in 0..10 {
        // Many at one moment: their order is by id then.
        w.wait(1);
        let new = (0..100).map(|n| {
            let owner = if n % 2 == 0 { w.anns() } else { o.pair() };
            make(NewItem::new(kinds[n % 3], owner, format!("{batch} {n}")))
        });
        let written = w.store.write_items(&o.scope, new.collect()).await.expect("written");
        expected.extend(written.into_iter().filter_map(Written::item));
    }
    w.make(&o.scope, NewItem::new(ItemKind::Session, Owner::User { user: o.bob.id }, "bob's")).await;
    expected.sort_by_key(|item| std::cmp::Reverse((item.updated_at, item.id)));
    let all = async |filter: ItemFilter, limit: usize| {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let page = w.store.items(&o.scope, &filter, PageRequest { after, limit }).await.expect("a page");
            assert!(page.items.len() == limit || page.next.is_none());
            ids.extend(page.items.into_iter().map(|seen| seen.item.id));
            after = page.next;
            if after.is_none() {
                return ids;
            }
        }
    };
    let ids = |is_asked: &dyn Fn(&Item) -> bool| expected.iter().filter(|i| is_asked(i)).map(|i| i.id).collect::<Vec<_>>();
    let of_user = ItemFilter::of(Whose::User(o.ann.id));
    assert_eq!(all(of_user.clone(), 97).await, ids(&|_| true));
    assert_eq!(all(of_user.clone(), 1_000).await, ids(&|_| true));
    assert_eq!(all(of_user.clone().kind(ItemKind::Secret), 50).await, ids(&|i| i.kind == ItemKind::Secret));
    let two = of_user.clone().kind(ItemKind::Secret).kind(ItemKind::Session).kind(ItemKind::Secret);
    assert_eq!(all(two, 100).await, ids(&|i| i.kind != ItemKind::Proposal));
    assert_eq!(all(ItemFilter::of(Whose::Owner(o.pair())), 64).await, ids(&|i| i.owner == o.pair()));
    assert_eq!(all(ItemFilter::of(Whose::Everybody), 200).await.len(), 1_001);
    let one = |after: Option<String>, limit| PageRequest { after, limit };
    assert_eq!(w.store.items(&o.scope, &of_user, one(None, 0)).await.expect("a page").items.len(), 1);
    assert_error!(w.store.items(&o.scope, &of_user, one(Some("no cursor".into()), 3)).await, StoreError::Invalid(_));
}

/// Lists leave out what is not asked for.
pub async fn lists_filter(w: World) {
    let o = &w.ours;
    let new = |kind, title: &str| NewItem { body: format!("body of {title}"), ..NewItem::new(kind, w.anns(), title) };
    let tagged = |tags: &[&str], item: NewItem| NewItem { tags: tags.iter().map(ToString::to_string).collect(), ..item };
    w.make(&o.scope, tagged(&["a", "b"], new(ItemKind::Note, "n1"))).await;
    w.make(&o.scope, tagged(&["ab", "a,b"], new(ItemKind::Note, "n2"))).await;
    w.make(&o.scope, tagged(&["b"], new(ItemKind::Memory, "m1"))).await;
    for (title, state, recipient) in [("h1", "waiting", &o.agent), ("h2", "waiting", &o.other_agent), ("h3", "done", &o.agent)] {
        let handoff = NewItem { state: state.into(), recipient: Some(recipient.id), ..new(ItemKind::Handoff, title) };
        w.make(&o.scope, handoff).await;
    }
    let of = || ItemFilter::of(Whose::User(o.ann.id));
    let found = async |filter: ItemFilter| -> BTreeSet<String> {
        w.list(&o.as_user(&o.ann), &filter).await.into_iter().map(|seen| seen.item.title).collect()
    };
    let set = |titles: &[&str]| titles.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(found(of()).await.len(), 6);
    assert_eq!(found(of().kind(ItemKind::Note)).await, set(&["n1", "n2"]));
    assert_eq!(found(of().kind(ItemKind::Note).kind(ItemKind::Memory)).await, set(&["n1", "n2", "m1"]));
    for (tag, titles) in [("a", &["n1"][..]), ("b", &["n1", "m1"]), ("ab", &["n2"]), ("a,b", &["n2"]), ("", &[]), ("A", &[]), (",", &[])] {
        assert_eq!(found(ItemFilter { tag: Some(tag.into()), ..of() }).await, set(titles), "{tag}");
    }
    let states = |states: &[&str]| ItemFilter { states: states.iter().map(ToString::to_string).collect(), ..of() };
    assert_eq!(found(states(&["waiting"])).await, set(&["h1", "h2"]));
    assert_eq!(found(states(&["done", ""])).await, set(&["h3", "n1", "n2", "m1"]));
    let mine = ItemFilter { recipient: Some(o.agent.id), ..states(&["waiting"]) };
    assert_eq!(found(mine.clone()).await, set(&["h1"]));
    assert_eq!(found(ItemFilter { kinds: vec![ItemKind::Handoff], ..mine.clone() }).await, set(&["h1"]));
    assert_eq!(found(ItemFilter { kinds: vec![ItemKind::Note], ..mine.clone() }).await, set(&[]));
    assert_eq!(found(ItemFilter { states: vec![], ..mine.clone() }).await, set(&["h1", "h3"]));
    assert_eq!(found(ItemFilter { whose: Whose::Owner(w.anns()), ..mine.clone() }).await, set(&["h1"]));
    assert_eq!(found(ItemFilter { recipient: Some(AgentId::new()), ..of() }).await, set(&[]));
    let bodies = |items: Vec<SeenItem>| items.iter().filter(|seen| !seen.item.body.is_empty()).count();
    assert_eq!(bodies(w.list(&o.scope, &of()).await), 0, "left out unless asked for");
    let whole = w.list(&o.scope, &ItemFilter { bodies: true, ..of() }).await;
    assert!(whole.iter().all(|seen| seen.item.body == format!("body of {}", seen.item.title)));
}

/// What is too large, or no item at all, is refused before anything is written.
pub async fn items_have_their_limits(w: World) {
    let o = &w.ours;
    let note = || NewItem::new(ItemKind::Note, w.anns(), "fine");
    let words = |n: usize| (0..n).map(|i| format!("t{i}")).collect::<Vec<_>>();
    let data = |n: usize| json!({ "k": "x".repeat(n) }).as_object().expect("an object").clone();
    let largest = NewItem {
        title: "é".repeat(Item::TITLE_CHARS),
        body: "x".repeat(Item::BODY_BYTES),
        tags: words(Item::TAGS - 1).into_iter().chain(["é".repeat(Item::TAG_CHARS)]).collect(),
        data: data(Item::DATA_BYTES - 8),
        ..note()
    };
    let largest = w.make(&o.scope, largest).await;
    assert_eq!(w.store.item(&o.scope, largest.id).await.expect("there").item, largest);
    let too_large = [
        NewItem { title: "é".repeat(Item::TITLE_CHARS + 1), ..note() },
        NewItem { body: "x".repeat(Item::BODY_BYTES + 1), ..note() },
        NewItem { tags: words(Item::TAGS + 1), ..note() },
        NewItem { tags: vec!["é".repeat(Item::TAG_CHARS + 1)], ..note() },
        NewItem { data: data(Item::DATA_BYTES), ..note() },
    ];
    let senseless = [
        NewItem { title: " \t".into(), ..note() },
        NewItem { title: "two\nlines".into(), ..note() },
        NewItem { tags: vec![" ".into()], ..note() },
    ];
    let changed = |new: &NewItem| {
        let NewItem { title, body, tags, data, .. } = new.clone();
        let to = ItemChange { title: Some(title), body: Some(body), tags: Some(tags), data: Some(data), ..ItemChange::default() };
        change(&largest, to)
    };
    for new in &too_large {
        assert_error!(w.put(&o.scope, make(new.clone())).await, StoreError::TooLarge { .. });
        assert_error!(w.put(&o.scope, changed(new)).await, StoreError::TooLarge { .. });
    }
    for new in &senseless {
        assert_error!(w.put(&o.scope, make(new.clone())).await, StoreError::Invalid(_));
        assert_error!(w.put(&o.scope, changed(new)).await, StoreError::Invalid(_));
    }
    let left = w.list(&o.scope, &ItemFilter { bodies: true, ..ItemFilter::of(Whose::Owner(w.anns())) }).await;
    assert_eq!(left.into_iter().map(|seen| seen.item).collect::<Vec<_>>(), [largest]);
}

/// Any text comes back as it was, and is filtered by.
pub async fn odd_text_survives(w: World) {
    let o = &w.ours;
    for (n, odd) in ["a\0b", "\u{10FFFF}0", "\"],[\"", "\\u0000", "%_'", "\u{202E}\u{200D}\u{1F952}"].into_iter().enumerate() {
        let new = NewItem {
            body: format!("{odd}\r\n{odd}"),
            tags: vec![odd.into(), format!("x{odd}")],
            state: odd.into(),
            data: json!({ odd: odd }).as_object().expect("an object").clone(),
            provenance: provenance(odd),
            ..NewItem::new(ItemKind::Note, w.anns(), format!("{odd} {n}"))
        };
        let made = w.make(&o.scope, new).await;
        assert_eq!(w.store.item(&o.scope, made.id).await.expect("there").item, made, "{odd:?}");
        for filter in [
            ItemFilter { tag: Some(odd.into()), ..ItemFilter::of(Whose::User(o.ann.id)) },
            ItemFilter { states: vec!["y".into(), odd.into()], ..ItemFilter::of(Whose::User(o.ann.id)) },
        ] {
            let found = w.list(&o.scope, &ItemFilter { bodies: true, ..filter }).await;
            assert_eq!(found.into_iter().map(|seen| seen.item).collect::<Vec<_>>(), std::slice::from_ref(&made), "{odd:?}");
        }
        assert_eq!(w.store.passage(&o.scope, passage_of(&made)).await.expect("there").text, format!("{}\n{}", made.title, made.body));
    }
}

const fn passage_of(item: &Item) -> PassageId {
    PassageId::from_uuid(item.id.uuid())
}

/// A searchable item is found at once as what it is now, by those who see its owner's memory; others are never found.
pub async fn searchable_items_are_found(w: World) {
    let o = &w.ours;
    let turn = o.as_turn(&o.agent, Some(&o.ann));
    let new = NewItem { body: "It is a turnip.".into(), tags: vec!["food".into()], ..NewItem::new(ItemKind::Hint, o.pair(), "Rutabaga") };
    let made = w.make(&turn, new).await;
    assert_eq!(w.find(&turn, "rutabaga").await, ["Rutabaga\nIt is a turnip."]);
    assert_eq!(w.find(&turn, "turnip").await.len(), 1);
    assert!(w.find(&o.as_user(&o.bob), "turnip").await.is_empty());
    let passage = w.store.passage(&turn, passage_of(&made)).await.expect("it is a passage, too");
    assert_eq!((passage.owner, &passage.tags, passage.at, passage.created_at), (o.pair(), &made.tags, w.now(), made.created_at));
    assert_eq!(passage.provenance, Provenance { channel: ITEM_CHANNEL.into(), ..made.provenance.clone() });
    w.wait(60);
    let other = ItemChange { body: Some(" \n".into()), tags: Some(Vec::new()), ..titled("Swede") };
    let changed = w.change(&turn, &made, other).await;
    assert_eq!(w.find(&turn, "swede").await, ["Swede"], "a body of white space adds nothing");
    assert!(w.find(&turn, "rutabaga turnip").await.is_empty());
    let passage = w.store.passage(&turn, passage_of(&made)).await.expect("it is a passage, too");
    assert_eq!((passage.at, passage.created_at, passage.tags.len()), (changed.updated_at, made.created_at, 0));
    w.put(&turn, delete(&made)).await.expect("deleted");
    assert!(w.find(&turn, "swede").await.is_empty());
    assert_error!(w.store.passage(&turn, passage_of(&made)).await, StoreError::NotFound { .. });
    for kind in ItemKind::ALL {
        let new = NewItem { body: "kohlrabi".into(), ..NewItem::new(kind, w.anns(), format!("kohlrabi {kind}")) };
        let made = w.make(&o.scope, new).await;
        let is_found = w.find(&turn, "kohlrabi").await.contains(&format!("kohlrabi {kind}\nkohlrabi"));
        assert_eq!(is_found, kind.is_searchable(), "{kind}");
        assert_eq!(w.store.passage(&o.scope, passage_of(&made)).await.is_ok(), kind.is_searchable(), "{kind}");
    }
}

/// Items wait for their vectors as other memory does, and are compared by the newest.
pub async fn items_are_embedded(w: World) {
    if !w.store.capability().dense {
        return;
    }
    let o = &w.ours;
    let generation = GenerationId("test/items".into());
    let near = |text: &str| if text.contains("rutabaga") { vec![1.0, 0.0] } else { vec![0.0, 1.0] };
    let made = w.note(&o.scope, w.anns(), "rutabaga").await;
    w.make(&o.scope, NewItem::new(ItemKind::Secret, w.anns(), "rutabaga")).await;
    assert_eq!(w.embed_all(&generation, near).await, 1);
    assert_eq!(w.embed_all(&generation, near).await, 0);
    let query = |values: Vec<f32>| {
        let vector = sid_store::QueryVector { generation: GenerationId("test/items".into()), values };
        sid_store::SearchQuery { vector: Some(vector), ..sid_store::SearchQuery::new("zzz") }
    };
    assert_eq!(w.find_with(&o.scope, &query(vec![1.0, 0.0])).await, ["rutabaga"]);
    w.change(&o.scope, &made, titled("bread")).await;
    assert_eq!(w.embed_all(&generation, near).await, 1, "embedded anew");
    let found = w.store.search(&o.scope, &query(vec![0.0, 1.0])).await.expect("a search answers");
    assert_eq!(found.items.iter().map(|c| c.record.text()).collect::<Vec<_>>(), ["bread"]);
    assert_eq!((found.items[0].channels.dense > 0.9, found.dense.max > 0.9), (true, true));
    w.put(&o.scope, delete(&made)).await.expect("deleted");
    assert!(w.find_with(&o.scope, &query(vec![0.0, 1.0])).await.is_empty());
}

/// The passage of an item changes with it and in no other way.
pub async fn an_items_passage_is_not_written_as_one(w: World) {
    let o = &w.ours;
    let made = w.note(&o.scope, o.pair(), "rutabaga").await;
    let id = passage_of(&made);
    let over = sid_types::NewPassage { id, ..w.passage(o.pair(), "bread") };
    let forged = sid_types::NewPassage { provenance: provenance(ITEM_CHANNEL), ..w.passage(o.pair(), "forged bread") };
    for scope in [o.scope, o.as_user(&o.ann), o.as_turn(&o.agent, Some(&o.ann))] {
        for passage in [&over, &forged] {
            let beside = w.passage(o.pair(), "bread beside");
            assert_error!(w.store.upsert(&scope, vec![beside, passage.clone()]).await, StoreError::Invalid(_));
            assert_error!(w.store.insert(&scope, passage.clone()).await, StoreError::Invalid(_));
        }
        let plain = w.keep(o, o.pair(), "plain").await;
        assert_error!(w.store.delete(&scope, &[plain, id]).await, StoreError::Invalid(_));
        assert_eq!(w.store.delete(&scope, &[plain]).await.expect("deleted"), 1, "nothing had gone");
    }
    assert_error!(w.store.upsert(&o.as_user(&o.bob), vec![over.clone()]).await, StoreError::NotFound { .. });
    assert_eq!(w.store.delete(&o.as_user(&o.bob), &[id]).await.expect("not there"), 0);
    let talk = w.talk(&o.ann).await;
    let lease = w.begin(&talk, "hello").await;
    for passage in [over, forged] {
        assert_error!(w.try_commit(&lease, vec![Effect::InsertPassage(passage)]).await, StoreError::Invalid(_));
    }
    assert!(w.find(&o.scope, "bread").await.is_empty());
    assert_eq!(w.find(&o.scope, "rutabaga").await, ["rutabaga"]);
    assert_eq!(w.store.item(&o.scope, made.id).await.expect("there").item, made);
}
