//! Archival memory: passages.

use sid_store::{PageRequest, StoreError};
use sid_types::{Citation, DocumentId, MessageId, NewPassage, Owner, PassageId, Place, Provenance, TeamId, UserId};

use super::World;
use super::world::assert_error;

const ALL: fn() -> PageRequest = || PageRequest { after: None, limit: 100 };

/// Passages come back as they were written, under their id and in their owner's list.
pub async fn passages_come_back_as_they_were(w: World) {
    let talk = w.talk(&w.ours.ann).await;
    let new = NewPassage {
        tags: vec!["food".into(), "é".into()],
        at: "2020-02-29T00:00:00Z".parse().expect("a timestamp"),
        provenance: Provenance {
            conversation: Some(talk.id),
            run: None,
            user: Some(w.ours.ann.id),
            channel: "import".into(),
            untrusted: Vec::new(),
            sources: vec![MessageId::new(), MessageId::new()],
            superseded_by: Some(PassageId::new()),
            citation: Some(Box::new(Citation {
                document: DocumentId::new(),
                title: "Handbook".into(),
                place: Place { part: 2, page: Some(3), heading: vec!["Food".into()], start: 5, end: 9 },
            })),
        },
        ..w.passage(w.ours.pair(), "Ann likes pickles.\n\u{1F952}")
    };
    let stored = w.store.upsert(&w.ours.scope, vec![new.clone()]).await.expect("stored").remove(0);
    assert_eq!((stored.id, stored.owner, &stored.text, &stored.tags), (new.id, new.owner, &new.text, &new.tags));
    assert_eq!((stored.at, &stored.provenance, stored.created_at), (new.at, &new.provenance, w.now()));
    assert_eq!(w.store.passage(&w.ours.scope, new.id).await.expect("there"), stored);
    assert_eq!(w.store.list(&w.ours.scope, w.ours.pair(), ALL()).await.expect("visible").items, [stored]);
}

/// The same id again replaces the passage.
pub async fn storing_again_replaces(w: World) {
    let id = w.keep(&w.ours, Owner::Tenant, "the shop opens at nine").await;
    let new = NewPassage { id, ..w.passage(Owner::Tenant, "the shop opens at ten") };
    w.store.upsert(&w.ours.scope, vec![new]).await.expect("replaced");
    assert_eq!(w.store.list(&w.ours.scope, Owner::Tenant, ALL()).await.expect("visible").items.len(), 1);
    assert_eq!(w.find(&w.ours.scope, "shop").await, ["the shop opens at ten"]);
    assert!(w.find(&w.ours.scope, "nine").await.is_empty());
    // A passage may also move to another owner.
    let moved = NewPassage { id, ..w.passage(w.ours.pair(), "the shop opens at ten") };
    w.store.upsert(&w.ours.scope, vec![moved]).await.expect("replaced");
    assert!(w.store.list(&w.ours.scope, Owner::Tenant, ALL()).await.expect("visible").items.is_empty());
    assert!(w.find(&w.ours.as_user(&w.ours.bob), "shop").await.is_empty());
    assert_eq!(w.find(&w.ours.as_user(&w.ours.ann), "shop").await.len(), 1);
}

/// Of several with one id, one is stored, and stays as it is; the others are told.
pub async fn inserting_at_once_stores_one(w: World) {
    let id = PassageId::new();
    let each = (0..8).map(|n| {
        let new = NewPassage { id, ..w.passage(w.ours.pair(), &format!("pickles of jar {n}")) };
        w.store.insert(&w.ours.scope, new)
    });
    let (stored, refused): (Vec<_>, Vec<_>) = futures::future::join_all(each).await.into_iter().partition(Result::is_ok);
    assert_eq!((stored.len(), refused.len()), (1, 7), "{refused:?}");
    for refusal in refused {
        assert_error!(refusal, StoreError::Exists { .. });
    }
    let stored = stored.into_iter().next().and_then(Result::ok).expect("one is stored");
    assert_eq!(w.store.passage(&w.ours.scope, id).await.expect("there"), stored);
    assert_eq!(w.find(&w.ours.scope, "pickles").await, [stored.text.as_str()]);
    // Who may not write it is not told that it is there.
    let others = NewPassage { id, ..w.passage(Owner::User { user: w.ours.bob.id }, "bob's") };
    assert_error!(w.store.insert(&w.ours.as_user(&w.ours.bob), others).await, StoreError::NotFound { .. });
}

/// One bad passage and none is stored.
pub async fn passages_are_stored_all_or_none(w: World) {
    let good = w.passage(w.ours.pair(), "good pickles");
    let id = good.id;
    for (bad, is_invalid) in
        [(w.passage(w.ours.pair(), " \n\t"), true), (w.passage(Owner::User { user: UserId::new() }, "for nobody"), false)]
    {
        match w.store.upsert(&w.ours.scope, vec![good.clone(), bad]).await {
            Err(StoreError::Invalid(_)) if is_invalid => {}
            Err(StoreError::NotFound { .. }) if !is_invalid => {}
            other => panic!("expected a refusal, found {other:?}"),
        }
        assert_error!(w.store.passage(&w.ours.scope, id).await, StoreError::NotFound { .. });
    }
    assert!(w.find(&w.ours.scope, "pickles").await.is_empty());
}

/// What was deleted is gone from every reading; deleting again deletes nothing.
pub async fn deleted_passages_are_gone(w: World) {
    let keep = w.keep(&w.ours, w.ours.pair(), "pickles, kept").await;
    let gone = w.keep(&w.ours, w.ours.pair(), "pickles, gone").await;
    assert_eq!(w.store.delete(&w.ours.scope, &[gone, PassageId::new()]).await.expect("deleted"), 1);
    assert_eq!(w.store.delete(&w.ours.scope, &[gone]).await.expect("nothing there"), 0);
    assert_error!(w.store.passage(&w.ours.scope, gone).await, StoreError::NotFound { .. });
    assert_eq!(w.find(&w.ours.scope, "pickles").await, ["pickles, kept"]);
    let listed = w.store.list(&w.ours.scope, w.ours.pair(), ALL()).await.expect("visible").items;
    assert_eq!(listed.iter().map(|p| p.id).collect::<Vec<_>>(), [keep]);
}

/// Lists run newest first, in pages that neither skip nor repeat, though passages come and go meanwhile.
pub async fn lists_are_read_in_pages(w: World) {
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.insert(0, w.keep(&w.ours, w.ours.pair(), &format!("passage {n}")).await);
        w.wait(1);
    }
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let page = w.store.list(&w.ours.scope, w.ours.pair(), PageRequest { after, limit: 3 }).await.expect("a page");
        assert!(page.items.len() <= 3);
        read.extend(page.items.iter().map(|p| p.id));
        if read.len() == 3 {
            w.store.delete(&w.ours.scope, &[ids[2]]).await.expect("the last one read may go");
            w.keep(&w.ours, w.ours.pair(), "a newcomer").await;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(read, ids);
}

/// Who may write whose memory; what may not be written is not there.
pub async fn writing_has_its_rights(w: World) {
    let o = &w.ours;
    let (ann, bob) = (Owner::User { user: o.ann.id }, Owner::User { user: o.bob.id });
    let (anns, bobs) = (o.pair(), Owner::Pair { agent: o.agent.id, user: o.bob.id });
    let (agent, team) = (Owner::Agent { agent: o.agent.id }, Owner::Team { team: o.team.id });
    let (other_agent, tenant) = (Owner::Agent { agent: o.other_agent.id }, Owner::Tenant);
    let table: [(&str, sid_types::Scope, &[Owner], &[Owner]); 5] = [
        (
            "tenant",
            o.scope,
            &[ann, bob, anns, bobs, agent, team, tenant],
            &[Owner::Team { team: TeamId::new() }, Owner::User { user: w.theirs.ann.id }],
        ),
        ("ann", o.as_user(&o.ann), &[ann, anns, team], &[bob, bobs, agent, tenant]),
        ("bob", o.as_user(&o.bob), &[bob, bobs], &[ann, anns, team, agent, tenant]),
        ("ann's turn", o.as_turn(&o.agent, Some(&o.ann)), &[anns], &[ann, bob, bobs, agent, team, tenant]),
        ("a turn with nobody", o.as_turn(&o.agent, None), &[agent], &[ann, anns, bobs, other_agent, team, tenant]),
    ];
    for (who, scope, may, may_not) in table {
        for owner in may {
            let passage = w.passage(*owner, "something");
            let id = passage.id;
            w.store.upsert(&scope, vec![passage]).await.unwrap_or_else(|e| panic!("{who} writes {owner:?}: {e}"));
            assert_eq!(w.store.delete(&scope, &[id]).await.expect("deleted"), 1, "{who} deletes from {owner:?}");
        }
        for owner in may_not {
            assert_error!(w.store.upsert(&scope, vec![w.passage(*owner, "something")]).await, StoreError::NotFound { .. });
            if *owner == Owner::Tenant || matches!(owner, Owner::User { user } if *user == o.bob.id) {
                let id = w.keep(o, *owner, "something").await;
                assert_eq!(w.store.delete(&scope, &[id]).await.expect("not there"), 0, "{who} deletes nothing of {owner:?}");
                w.store.passage(&o.scope, id).await.expect("it is still there");
                let stolen = NewPassage { id, ..w.passage(anns, "stolen") };
                if who.starts_with("ann") {
                    assert_error!(w.store.upsert(&scope, vec![stolen]).await, StoreError::NotFound { .. });
                }
            }
        }
    }
}
