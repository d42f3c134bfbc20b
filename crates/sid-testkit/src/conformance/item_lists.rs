//! Items of the context service: lists, limits, search, and the passages that they are, too.

use std::collections::BTreeSet;

use serde_json::json;
use sid_store::{Effect, GenerationId, ITEM_CHANNEL, ItemChange, ItemFilter, NewItem, PageRequest, SeenItem, StoreError, Whose, Written};
use sid_types::{AgentId, Item, ItemKind, Owner, PassageId, Provenance};

use super::World;
use super::items::{change, delete, make, titled};
use super::world::{assert_error, provenance};

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
