//! What a backend says that it can do, in both senses.

use sid_store::{Accept, BlockWrite, DiaryQuery, Effect, GenerationId, IdempotencyKey, PageRequest, QueryVector, SearchQuery};
use sid_types::{BlockOp, EventBody, NewMessage, OperatorScope, Owner};

use super::World;
use super::world::{TTL, finish, provenance, texts};

impl World {
    /// Closes the store and opens its data again.
    async fn reopened(mut self) -> Self {
        let reopen = self.reopen.take().expect("a store that says `durable` gives its fixture a `reopen`");
        self.store = reopen(self.store).await;
        self.reopen = Some(reopen);
        self
    }
}

/// What was acknowledged is there after reopening, in a durable store; in another one, nothing is.
pub async fn what_was_acknowledged_survives(w: World) {
    let is_durable = w.store.capability().durable;
    if w.reopen.is_none() {
        assert!(!is_durable, "a store that says `durable` gives its fixture a `reopen`");
        return;
    }
    let talk = w.talk(&w.ours.ann).await;
    w.turn(&talk, "I love pickles", "noted").await;
    let keyed = Accept { idempotency: Some(IdempotencyKey { key: "k".into(), fingerprint: [1; 32] }), ..w.stimulus(&talk, "a question") };
    let keyed = Accept { claim_for: Some((w.worker, TTL)), ..keyed };
    let lease = w.store.accept(&w.ours.scope, keyed.clone()).await.expect("accepted").lease.expect("idle");
    w.store.append_events(&lease, vec![EventBody::TextDelta { text: "hm".into() }]).await.expect("held");
    w.commit(&lease, vec![Effect::Append(vec![NewMessage::assistant("let me see", w.now())])]).await;
    let waiting = w.say(&talk, "and another").await.run;
    w.keep(&w.ours, Owner::Tenant, "pickles are sour").await;
    let g = GenerationId("test/durable".into());
    w.embed_all(&g, |_| vec![0.6, 0.8]).await;
    let human = w.store.blocks(&w.ours.scope, w.ours.pair()).await.expect("visible").remove(0);
    let write = BlockWrite { op: BlockOp::Set { value: "a pickle lover".into() }, expected_version: None, provenance: provenance("api") };
    let human = w.store.write_block(&w.ours.scope, human.id, write).await.expect("written");
    let old = NewMessage::user("long ago", "2026-01-06T10:00:00Z".parse().expect("a timestamp"));
    w.store.append(&w.ours.scope, w.talk(&w.ours.bob).await.id, vec![old]).await.expect("imported");
    w.write_diary().await;
    let bobs = Owner::Pair { agent: w.ours.agent.id, user: w.ours.bob.id };
    let pages = DiaryQuery { level: None, from: None, to: None, limit: 10 };
    let diary = w.store.diary(&w.ours.scope, bobs, &pages).await.expect("visible");
    let run = w.store.run(&w.ours.scope, lease.run).await.expect("there");
    let (messages, before) = (w.messages(&talk).await, w.reread(&talk).await);

    let w = w.reopened().await;
    if !is_durable {
        assert!(w.store.tenants(&OperatorScope::grant()).await.expect("listed").is_empty(), "a store that keeps data says so");
        return;
    }
    assert_eq!(w.store.tenants(&OperatorScope::grant()).await.expect("listed"), [w.ours.tenant.clone(), w.theirs.tenant.clone()]);
    assert_eq!((w.messages(&talk).await, w.reread(&talk).await), (messages, before));
    assert_eq!(w.store.run(&w.ours.scope, lease.run).await.expect("there"), run);
    assert_eq!(w.store.events(&w.ours.scope, lease.run, 0, 10).await.expect("visible").len(), 1);
    assert_eq!(w.store.waiting_messages(&w.ours.scope, waiting.id).await.expect("visible"), waiting.stimulus);
    assert_eq!(w.store.block(&w.ours.scope, human.id).await.expect("there"), human);
    assert_eq!(w.store.block_history(&w.ours.scope, human.id, 10).await.expect("visible").len(), 2);
    assert_eq!(w.store.diary(&w.ours.scope, bobs, &pages).await.expect("visible"), diary);
    assert_eq!(w.store.list(&w.ours.scope, Owner::Tenant, PageRequest { after: None, limit: 9 }).await.expect("visible").items.len(), 1);
    assert!(w.find(&w.ours.scope, "pickles").await.contains(&"I love pickles".to_owned()));
    let vector = Some(QueryVector { generation: g.clone(), values: vec![0.6, 0.8] });
    let found = w.store.search(&w.ours.scope, &SearchQuery { vector, ..SearchQuery::new("xyzzy") }).await.expect("a search answers");
    assert!(found.items.iter().any(|c| c.channels.dense > 0.9 && c.record.text() == "pickles are sour"));
    assert!(w.store.accept(&w.ours.scope, keyed).await.expect("answered again").replayed);
    // The lease is data like the rest: whoever holds it goes on.
    let next = w.commit(&lease, vec![finish(sid_types::StopReason::EndTurn)]).await.next.expect("another run waits");
    assert_eq!(next.run, waiting.id);
    assert_eq!(texts(&w.messages(&talk).await).last(), Some(&"and another"));
}

/// A run whose worker died with the process is taken up again: when its lease has expired, or at once in a store that serves one process.
pub async fn a_run_survives_the_process(w: World) {
    if w.reopen.is_none() || !w.store.capability().durable {
        assert!(!w.store.capability().durable, "a store that says `durable` gives its fixture a `reopen`");
        return;
    }
    let talk = w.talk(&w.ours.ann).await;
    let lease = w.begin(&talk, "hello").await;
    let w = w.reopened().await;
    if w.store.capability().shared {
        // Another process may hold it: it is waited for.
        assert!(w.claim().await.is_none(), "its lease still holds");
        w.wait(31);
    }
    let taken = w.claim().await.expect("its worker is gone");
    assert_eq!(taken.run, lease.run);
    assert!(taken.epoch > lease.epoch);
    w.answer(&taken, "hi").await;
    assert_eq!(texts(&w.messages(&talk).await), ["hello", "hi"]);
    let w = w.reopened().await;
    assert_eq!(texts(&w.messages(&talk).await), ["hello", "hi"]);
    assert!(w.claim().await.is_none());
}

/// A store that compares vectors finds by them; one that says it does not, does not.
pub async fn dense_is_as_it_says(w: World) {
    let g = GenerationId("test/dense".into());
    w.keep(&w.ours, Owner::Tenant, "cucumber").await;
    w.embed_all(&g, |_| vec![1.0, 0.0]).await;
    let vector = Some(QueryVector { generation: g, values: vec![1.0, 0.0] });
    let found = w.find_with(&w.ours.scope, &SearchQuery { vector, ..SearchQuery::new("xyzzy") }).await;
    assert_eq!(found == ["cucumber"], w.store.capability().dense);
}
