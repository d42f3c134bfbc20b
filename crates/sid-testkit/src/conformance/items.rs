//! Items of the context service: making, changing and deleting them, and their trees. Who may is in `item_rights`, lists and search in
//! `item_lists`.

use serde_json::json;
use sid_store::{Below, ItemChange, ItemFilter, ItemWrite, NewItem, PageRequest, SeenItem, StoreError, Whose, Written};
use sid_types::{Item, ItemId, ItemKind, Owner, Provenance, Scope, ShareLevel, Sharee};

use super::World;
use super::world::{assert_error, provenance};

pub(super) const ALL: fn() -> PageRequest = || PageRequest { after: None, limit: 1_000 };

pub(super) fn make(new: NewItem) -> ItemWrite {
    ItemWrite::Make(Box::new(new))
}

pub(super) fn change(item: &Item, change: ItemChange) -> ItemWrite {
    ItemWrite::Change { item: item.id, expected_version: None, change: Box::new(change) }
}

pub(super) const fn delete(item: &Item) -> ItemWrite {
    ItemWrite::Delete { item: item.id, expected_version: None }
}

pub(super) fn titled(title: &str) -> ItemChange {
    ItemChange { title: Some(title.into()), provenance: provenance("api"), ..ItemChange::default() }
}

pub(super) fn below(parent: &Item, title: &str) -> NewItem {
    NewItem { parent: Some(parent.id), ..NewItem::new(ItemKind::Page, parent.owner, title) }
}

pub(super) fn moved(parent: ItemId) -> ItemChange {
    ItemChange { parent: Some(parent), ..ItemChange::default() }
}

pub(super) fn titles(items: &[SeenItem]) -> Vec<&str> {
    items.iter().map(|seen| seen.item.title.as_str()).collect()
}

impl World {
    pub(super) async fn put(&self, scope: &Scope, write: ItemWrite) -> Result<Written, StoreError> {
        let mut written = self.store.write_items(scope, vec![write]).await?;
        assert_eq!(written.len(), 1, "one answer for each write");
        Ok(written.remove(0))
    }

    pub(super) async fn make(&self, scope: &Scope, new: NewItem) -> Item {
        self.put(scope, make(new)).await.expect("an item is made").item().expect("an item is answered")
    }

    pub(super) async fn note(&self, scope: &Scope, owner: Owner, title: &str) -> Item {
        self.make(scope, NewItem::new(ItemKind::Note, owner, title)).await
    }

    pub(super) async fn change(&self, scope: &Scope, item: &Item, to: ItemChange) -> Item {
        self.put(scope, change(item, to)).await.expect("an item is changed").item().expect("an item is answered")
    }

    pub(super) async fn list(&self, scope: &Scope, filter: &ItemFilter) -> Vec<SeenItem> {
        self.store.items(scope, filter, ALL()).await.expect("items are listed").items
    }

    pub(super) fn anns(&self) -> Owner {
        Owner::User { user: self.ours.ann.id }
    }
}

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
        provenance: Provenance {
            conversation: Some(talk.id),
            run: None,
            user: Some(o.ann.id),
            channel: "mcp".into(),
            ..Provenance::default()
        },
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
